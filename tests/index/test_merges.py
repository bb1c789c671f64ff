"""Merges change nothing, alone and together; what merges and what does not, by hand."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import netsim
from netsim.index import Index
from netsim.index.liveness import Liveness
from netsim.index.merges import Merge, merges
from netsim.rules.evaluate import evaluate
from netsim.rules.model import (
    ACCEPT,
    CONTINUE,
    DROP,
    Action,
    ActionKind,
    Bits,
    Chain,
    Condition,
    In,
    Rule,
    RuleSet,
)
from netsim.space import Packet
from netsim.space.fields import Family
from tests.index.test_redundancy import same
from tests.strategies import MARKS, rule_sets, rules, small_packets


def carried_out(ruleset: RuleSet, found: tuple[Merge, ...]) -> RuleSet:
    gone = {id(r) for m in found for r in m.rules[1:]}
    wider = {id(m.rules[0]): m.conditions for m in found}
    return ruleset.replace(
        attrs.evolve(
            chain,
            rules=tuple(
                attrs.evolve(r, conditions=wider[id(r)]) if id(r) in wider else r
                for r in chain.rules
                if id(r) not in gone
            ),
        )
        for chain in ruleset.chains.values()
    )


_VALUES: st.SearchStrategy[Condition] = st.one_of(
    st.integers(0, 7).map(lambda n: In("src4", ((n, n),))),
    st.integers(0, 3).map(lambda n: In("dst4", ((2 * n, 2 * n + 1),))),
    st.integers(0, 5).map(lambda n: In("dport", ((n, n),))),
    st.integers(0, 3).map(lambda n: Bits("mark", 3, n)),
    st.sampled_from([In("protocol", ((6, 6),)), In("protocol", ((17, 17),)), In("state", ((0, 0),))]),
)


@st.composite
def lists(draw: st.DrawFn) -> RuleSet:
    """A rule set whose filter has many rules with few fields."""
    whole = draw(rule_sets())
    found: list[Rule] = []
    for n in range(draw(st.integers(2, 9))):
        if draw(st.integers(0, 5)) == 0:
            found.append(draw(rules("filter/base", n, ("filter/one", "filter/two"), False)))
            continue
        kind = draw(st.sampled_from(["accept", "accept", "drop", "mark", "jump"]))
        action = {"accept": ACCEPT, "drop": DROP, "mark": CONTINUE}.get(
            kind, Action(ActionKind.JUMP, "filter/one")
        )
        effects = (draw(st.sampled_from(MARKS)),) if kind == "mark" else ()
        conditions = {c.field: c for c in draw(st.lists(_VALUES, max_size=2)) if isinstance(c, In | Bits)}
        found.append(Rule(tuple(conditions.values()), action, effects, "filter/base", n))
    base: Chain = whole.chains["filter/base"]
    numbered = tuple(attrs.evolve(r, number=n) for n, r in enumerate(found, 1))
    return whole.replace([attrs.evolve(base, rules=numbered)])


@given(lists(), st.lists(small_packets(), min_size=3, max_size=6))
def test_merges_change_nothing(ruleset: RuleSet, some: list[Packet]) -> None:
    index = Index(ruleset)
    found = merges(index, Liveness(index))
    assert len({id(r) for m in found for r in m.rules}) == sum(len(m.rules) for m in found)
    after = carried_out(ruleset, found)
    assert same(ruleset, after)
    for merge in found:
        assert len(merge.rules) > 1
        assert same(ruleset, carried_out(ruleset, (merge,)))
    for packet in some:
        old, new = evaluate(ruleset, packet), evaluate(after, packet)
        if not any("does not say" in r.condition for r in (*old.because, *new.because)):
            assert old.outcomes == new.outcomes


def _found(*lines: str) -> list[tuple[list[int], str, object]]:
    text = "*filter\n:FORWARD DROP\n:out -\n" + "".join(f"-A FORWARD {line}\n" for line in lines) + "COMMIT\n"
    index = netsim.parse(text, family=Family.IPV4).index
    result = []
    for m in merges(index, Liveness(index)):
        (changed,) = (c for c in m.conditions if isinstance(c, In | Bits) and c.field == m.field)
        result.append(([r.number for r in m.rules], m.field, getattr(changed, "ranges", changed)))
    return result


def _net(text: str) -> tuple[tuple[int, int], ...]:
    import netaddr

    net = netaddr.IPNetwork(text)
    return ((net.first, net.last),)


def test_two_halves_are_a_whole_and_four_quarters_too() -> None:
    assert _found("-s 10.0.0.0/25 -j ACCEPT", "-s 10.0.0.128/25 -j ACCEPT") == [
        ([1, 2], "src4", _net("10.0.0.0/24"))
    ]
    assert _found("-s 10.0.1.0/25 -j ACCEPT", "-s 10.0.0.128/25 -j ACCEPT") == []
    quarters = [f"-s 10.0.0.{n}/26 -j ACCEPT" for n in (192, 0, 128, 64)]
    assert _found(*quarters) == [([1, 2, 3, 4], "src4", _net("10.0.0.0/24"))]
    assert _found(*quarters[:3]) == [([1, 3], "src4", _net("10.0.0.128/25"))]


def test_ports_become_a_list_as_long_as_a_rule_has_room() -> None:
    (merge,) = _found(*(f"-p tcp --dport {port} -j ACCEPT" for port in (80, 443, 8080)))
    assert merge == ([1, 2, 3], "dport", ((80, 80), (443, 443), (8080, 8080)))
    found = _found(*(f"-p tcp --dport {2 * n} -j ACCEPT" for n in range(1, 21)))
    assert [len(numbers) for numbers, _, _ in found] == [15, 5]


def test_a_rule_in_between_that_decides_otherwise_is_not_passed() -> None:
    ends = "-p tcp --dport 80 -j ACCEPT", "-p tcp --dport 443 -j ACCEPT"
    assert _found(ends[0], "-s 10.0.0.0/8 -j DROP", ends[1]) == []
    assert _found(ends[0], "-s 10.0.0.0/8 -p udp -j DROP", ends[1])[0][0] == [1, 3]
    assert _found(ends[0], "-j LOG", ends[1]) == []
    assert _found(ends[0], "-s 10.0.0.0/8 -j ACCEPT", ends[1])[0][0] == [1, 3]
    assert _found(ends[0], "-p tcp --dport 443 -j out", ends[1]) == []


@pytest.mark.parametrize(
    "lines",
    [
        ("-p tcp --dport 80 -j LOG", "-p tcp --dport 443 -j LOG"),
        ("-p tcp --dport 80 -m limit --limit 5/min -j ACCEPT", "-p tcp --dport 81 -m limit --limit 5/min -j ACCEPT"),
        ("-p tcp --dport 80 -m comment --comment a -j ACCEPT", "-p tcp --dport 81 -m comment --comment b -j ACCEPT"),
        ("-p tcp --dport 80 -j REJECT", "-p tcp --dport 81 -j REJECT --reject-with tcp-reset"),
        ("-p tcp --dport 80 -j ACCEPT", "-p udp --dport 81 -j ACCEPT"),
    ],
)  # fmt: skip
def test_these_stay_apart(lines: tuple[str, str]) -> None:
    assert _found(*lines) == []


def test_bits_that_do_not_matter() -> None:
    (merge,) = _found(*(f"-m mark --mark {n}/3 -j ACCEPT" for n in range(4) if n != 1))
    assert merge[1:] == ("mark", Bits("mark", 1, 0)) or merge[1:] == ("mark", Bits("mark", 2, 2))
    assert merges(Index(RuleSet({})), Liveness(Index(RuleSet({})))) == ()

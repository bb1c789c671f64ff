"""Pairs of rules: against every pair as diagrams, and by hand."""

from __future__ import annotations

from hypothesis import given

import netsim
from netsim.index import Index
from netsim.index.compile import Compiler
from netsim.index.liveness import Liveness
from netsim.index.pairs import Overlaps, pairs, summary
from netsim.rules.model import ActionKind, Rule, RuleSet
from netsim.space.diagram import AND, LESS
from netsim.space.fields import Family
from netsim.space.pool import POOL
from tests.strategies import rule_sets


def _outcome(rule: Rule, base: bool, policy: ActionKind | None) -> object:
    kind = rule.action.kind
    if kind is ActionKind.RETURN and base:
        return policy, ()
    if kind in (ActionKind.ACCEPT, ActionKind.DROP, ActionKind.REJECT, ActionKind.RETURN):
        return kind, rule.effects
    return None


def _brute(rules: RuleSet, living: set[int]) -> dict[str, tuple[set[str], set[str]]]:
    compiler = Compiler(rules)
    found: dict[str, tuple[set[str], set[str]]] = {}
    for chain in rules.chains.values():
        policy = chain.policy.kind if chain.policy else None
        for i, later in enumerate(chain.rules):
            for earlier in chain.rules[:i]:
                one, two = (_outcome(r, chain.hook is not None, policy) for r in (earlier, later))
                if one is None or two is None or one == two or not {id(earlier), id(later)} <= living:
                    continue
                a, b = compiler.rule_bounds(earlier), compiler.rule_bounds(later)
                if POOL.apply(AND, a[1], b[1]):
                    inside = not POOL.apply(LESS, a[1], b[0])
                    found.setdefault(later.id, (set(), set()))[not inside].add(earlier.id)
    return found


@given(rule_sets())
def test_pairs_are_those_of_every_rule_with_every_other(rules: RuleSet) -> None:
    index = Index(rules)
    liveness = Liveness(index)
    found = pairs(index, liveness)
    expected = _brute(rules, {id(r) for r in liveness.living})
    assert {
        o.rule.id: ({r.id for r in o.generalises}, {r.id for r in o.correlated}) for o in found
    } == expected
    for each in found:
        assert each.counts == (len(each.generalises), len(each.correlated))
    assert summary(found)["correlated"] == sum(len(across) for _, across in expected.values())


def _found(*lines: str) -> tuple[Overlaps, ...]:
    text = "*filter\n:FORWARD DROP\n" + "".join(f"-A FORWARD {line}\n" for line in lines) + "COMMIT\n"
    index = netsim.parse(text, family=Family.IPV4).index
    return pairs(index, Liveness(index))


def test_an_exception_and_a_crossing() -> None:
    (found,) = _found(
        "-s 10.0.1.0/24 -j DROP", "-d 10.9.0.0/16 -j DROP", "-p udp -j ACCEPT", "-s 10.0.0.0/8 -j ACCEPT"
    )[1:]
    assert found.rule.number == 4
    assert [r.number for r in found.generalises] == [1]
    assert [r.number for r in found.correlated] == [2]


def test_lists_of_ports_overlap_where_they_share_one() -> None:
    assert not _found("-p tcp -m multiport --dports 80,443 -j DROP", "-p tcp --dport 100:200 -j ACCEPT")
    (found,) = _found(
        "-p tcp --dport 443 -j DROP",
        "-p tcp --dport 90 -j DROP",
        "-p tcp -m multiport --dports 80,443 -j ACCEPT",
    )
    assert found.counts == (1, 0)


def test_unmodelled_conditions_are_part_of_the_set() -> None:
    time = "-m time --timestart 10:00"
    (found,) = _found(f"-p tcp {time} -j DROP", f"{time} -j ACCEPT")
    assert found.counts == (1, 0)
    (found,) = _found("-p tcp -j DROP", f"{time} -j ACCEPT")
    assert found.counts == (0, 1)
    assert not _found("-m owner --uid-owner 7 -p tcp -j DROP", "-m owner ! --uid-owner 7 -j ACCEPT")
    (found,) = _found("-p tcp -m limit --limit 5/min -j DROP", "-p tcp -j ACCEPT")
    assert found.counts == (1, 0)


def test_a_blocklist_before_an_allowance_is_counted_in_full() -> None:
    found = _found(*(f"-s 10.0.{n}.0/24 -j DROP" for n in range(200)), "-s 10.0.0.0/8 -j ACCEPT")
    assert [f.counts for f in found] == [(200, 0)]
    assert summary(found) == {"rules": 1, "generalised": 200, "correlated": 0}
    assert pairs(Index(RuleSet({})), Liveness(Index(RuleSet({})))) == ()

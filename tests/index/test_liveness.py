"""Dead rules are exactly those that no packet reaches: by diagrams of the whole, by the specification, by hand."""

from __future__ import annotations

from functools import reduce
from operator import or_

import pytest
from hypothesis import given

import netsim
from netsim.index import Index, liveness
from netsim.index.compile import Compiler
from netsim.index.flow import Watch
from netsim.index.liveness import ENDS, Dead, Death, Liveness
from netsim.index.witness import Visits
from netsim.rules.model import ActionKind, Point, RuleSet
from netsim.space import NOTHING, Packet, packets
from netsim.space.fields import Family
from netsim.space.packets import EVERYTHING, PacketSet
from netsim.space.pool import POOL
from tests.strategies import NATS, rule_sets, small_packets

NATS_OPEN = [(nat,) for nat in NATS[1:]]


@POOL.question()
def _whole(rules: RuleSet) -> set[str]:
    """The rules that some packet meets, by one walk over everything."""
    index = Index(rules)
    met: set[str] = set()
    for hook in (Point.FORWARD, Point.INPUT, Point.OUTPUT):
        watch = Watch(met={})
        index.flow.journey(EVERYTHING.node, hook, watch)
        met |= {r.id for r in rules.rules() if (watch.met or {}).get(id(r))}
    return met


@given(rule_sets())
def test_dead_rules_are_exactly_those_that_nothing_reaches(rules: RuleSet) -> None:
    found = Liveness(Index(rules))
    alive = _whole(rules)
    dead, every = {d.rule.id for d in found.dead}, {r.id for r in rules.rules()}
    assert {entry.rule.id for entry in found.live} == every - dead
    if any(r.action.kind is ActionKind.UNMODELLED or r.effects in NATS_OPEN for r in rules.rules()):
        # Behind a field that is left open, the walk over everything knows less than the cover test.
        assert every - alive <= dead
    else:
        assert dead == every - alive


@given(rule_sets(), small_packets())
def test_no_packet_meets_a_dead_rule(rules: RuleSet, packet: Packet) -> None:
    found = Liveness(Index(rules))
    met = Visits(rules).visit(packet.values(), Point.FORWARD)
    assert not met & {id(d.rule) for d in found.dead}


@given(rule_sets())
def test_every_live_rule_has_a_witness_that_meets_it(rules: RuleSet) -> None:
    for entry in Liveness(Index(rules)).live:
        walk = Visits(rules)
        walk.visit(entry.packet.values(), entry.hook)
        assert id(entry.rule) in walk.perhaps


@given(rule_sets())
def test_dropping_a_member_of_a_cover_uncovers(rules: RuleSet) -> None:
    plain = not any(r.effects or r.action.kind is ActionKind.UNMODELLED for r in rules.rules())
    for dead in Liveness(Index(rules)).dead:
        if dead.death is not Death.COVERED:
            continue
        assert dead.cover
        assert dead.rule not in dead.cover
        # What other chains take or send, and what marks have to do with it, is judged by hand below.
        chain = rules.chains[dead.rule.chain]
        first = not any(c.rules for c in rules.chains.values() if c.hook is not None and c is not chain)
        own = all(r.chain == chain.name and r.action.kind in ENDS for r in dead.cover)
        if plain and first and own and chain.hook is not None:
            assert _in_its_chain(rules, dead)


def _in_its_chain(rules: RuleSet, dead: Dead) -> bool:
    """Whether the conditions of the cover, in the rule's own chain, cover it and those of no part do."""
    if any(r.chain != dead.rule.chain for r in dead.cover):
        return False
    compiler = Compiler(rules)
    mine = PacketSet(compiler.rule_bounds(dead.rule)[1]) & packets(family=rules.family)
    sets = [PacketSet(compiler.rule_bounds(r)[0]) for r in dead.cover]
    parts = [sets, *([*sets[:i], *sets[i + 1 :]] for i in range(len(sets)))]
    return [mine <= reduce(or_, part, NOTHING) for part in parts] == [True] + [False] * len(sets)


def _liveness(body: str, head: str = ":FORWARD DROP") -> Liveness:
    return Liveness(netsim.parse(f"*filter\n{head}\n{body}\nCOMMIT\n", family=Family.IPV4).index)


def test_a_cover_does_not_lean_on_rules_that_nothing_meets() -> None:
    """Asked of diagrams, as the last rule may change every field. The third rule is dead, and no member."""
    found = _liveness(
        "-A FORWARD -p tcp -m tcp --sport 80 -j ACCEPT\n-A FORWARD -s 10.0.0.0/8 -j REJECT\n"
        "-A FORWARD -s 10.0.0.0/8 -j ACCEPT\n-A FORWARD ! -s 10.0.0.0/8 -p tcp -j REJECT\n"
        "-A FORWARD -d 10.0.0.0/28 -p tcp -m tcp --sport 80 -j ACCEPT\n-A FORWARD -j NFQUEUE"
    )
    covers = {d.rule.number: [r.number for r in d.cover] for d in found.dead}
    assert covers[5] in ([1], [2, 4])


def test_no_later_fragment_needs_a_cover_where_connections_are_tracked() -> None:
    rules = (
        "-A FORWARD -f -j DROP\n-A FORWARD ! -f -s 10.0.0.0/8 -j ACCEPT\n-A FORWARD -s 10.1.0.0/16 -j DROP\n"
    )
    tracked = _liveness(rules + "-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT")
    assert {d.rule.number: (d.death, [r.number for r in d.cover]) for d in tracked.dead} == {
        1: (Death.UNSENT, []),
        3: (Death.COVERED, [2]),
    }
    assert [[r.number for r in d.cover] for d in _liveness(rules).dead] == [[1, 2]]


def test_a_union_of_earlier_rules_covers() -> None:
    found = _liveness(
        "-A FORWARD -s 10.0.0.0/25 -j ACCEPT\n-A FORWARD -d 1.1.1.1 -j ACCEPT\n"
        "-A FORWARD -s 10.0.0.128/25 -j DROP\n-A FORWARD -s 10.0.0.0/24 -p tcp -j ACCEPT"
    )
    (dead,) = found.dead
    assert (dead.rule.number, dead.death, [r.number for r in dead.cover]) == (4, Death.COVERED, [1, 3])


def test_a_later_fragment_may_pass_a_test_of_ports_on_nft() -> None:
    icmp = "-A FORWARD -p icmp -m icmp --icmp-type 1 -f -j ACCEPT"
    syn = "-A FORWARD -i eth0 ! -p tcp -m tcp --syn -j ACCEPT"
    for line, backend, dead in ((icmp, "nft", 0), (icmp, "legacy", 1), (syn, "nft", 0)):
        rules = netsim.parse(f"*filter\n{line}\nCOMMIT\n", family=Family.IPV4, backend=backend)
        assert len(Liveness(rules.index).dead) == dead


def test_what_an_unmodelled_target_may_have_changed_may_match_then() -> None:
    found = _liveness(
        "-A FORWARD -m mark --mark 1 -j ACCEPT\n-A FORWARD -s 10.0.0.2 -j NFQUEUE\n"
        "-A FORWARD -m mark --mark 1 -j MARK --set-mark 2\n-A FORWARD -i eth0 -m mark --mark 1 -p tcp -j DROP"
    )
    assert found.dead == ()
    assert [live.rule.number for live in found.live] == [1, 2, 3, 4]


def test_conditions_that_contradict() -> None:
    (dead,) = _liveness("-A FORWARD -p tcp -m iprange --src-range 10.0.0.9-10.0.0.1 -j ACCEPT").dead
    assert dead.death is Death.CONTRADICTION


def test_a_chain_that_is_not_called_and_one_that_is_not_sent() -> None:
    found = _liveness(
        "-A FORWARD -p tcp -j web\n-A web -p udp -j ACCEPT\n-A web -p tcp -j ACCEPT\n-A idle -j DROP",
        ":FORWARD DROP\n:web -\n:idle -",
    )
    assert [(d.rule.id, d.death) for d in found.dead] == [
        ("filter/web/1", Death.UNSENT),
        ("filter/idle/1", Death.UNCALLED),
    ]


def test_a_chain_that_never_returns_covers_what_follows_the_jump() -> None:
    found = _liveness(
        "-A FORWARD -p tcp -j out\n-A FORWARD -p tcp --dport 80 -j ACCEPT\n-A out -j LOG\n-A out -j DROP",
        ":FORWARD DROP\n:out -",
    )
    (dead,) = found.dead
    assert (dead.rule.id, [r.id for r in dead.cover]) == ("filter/FORWARD/2", ["filter/out/2"])


def test_a_rule_and_its_negation_cover_whatever_the_unmodelled_says() -> None:
    found = _liveness(
        "-A FORWARD -m owner --uid-owner 7 -j ACCEPT\n-A FORWARD -m owner ! --uid-owner 7 -j DROP\n-A FORWARD -j ACCEPT"
    )
    (dead,) = found.dead
    assert (dead.rule.number, [r.number for r in dead.cover]) == (3, [1, 2])
    impure = "-A FORWARD -m limit --limit 5/min -j ACCEPT\n-A FORWARD -p tcp -j DROP"
    assert not _liveness(impure).dead


def test_a_dead_rule_behind_another_table() -> None:
    text = (
        "*mangle\n:PREROUTING ACCEPT\n-A PREROUTING -p udp -j DROP\nCOMMIT\n"
        "*filter\n:FORWARD DROP\n-A FORWARD -p udp -j ACCEPT\n-A FORWARD -p tcp -j ACCEPT\nCOMMIT\n"
    )
    (dead,) = Liveness(netsim.parse(text, family=Family.IPV4).index).dead
    assert (dead.rule.id, [r.id for r in dead.cover]) == ("filter/FORWARD/1", ["mangle/PREROUTING/1"])


@given(rule_sets())
def test_long_chains_are_decided_like_short_ones(rules: RuleSet) -> None:
    short = Liveness(Index(rules))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(liveness, "LONG", -1)
        long = Liveness(Index(rules))
    assert [(d.rule, d.death) for d in long.dead] == [(d.rule, d.death) for d in short.dead]
    for dead in long.dead:
        assert dead.irredundant
        if dead.death is Death.COVERED:
            assert dead.cover
    for entry in long.live:
        walk = Visits(rules)
        walk.visit(entry.packet.values(), entry.hook)
        assert id(entry.rule) in walk.perhaps

"""The index agrees with the specification on every packet that Hypothesis can think of."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given

import netsim
from netsim.index import Index
from netsim.rules.evaluate import evaluate
from netsim.rules.model import Chain, Hook, Outcome, Point, RuleSet, Verdict
from netsim.space import Packet
from netsim.space.packets import EVERYTHING, packet_set
from netsim.space.pool import POOL
from tests.strategies import rule_sets, small_packets


@given(rule_sets(), small_packets(), small_packets())
@POOL.question()
def test_one_packet_and_the_sets_agree_with_the_specification(
    rules: RuleSet, first: Packet, second: Packet
) -> None:
    index = Index(rules)
    node = index.flow.outcomes(EVERYTHING.node, Point.FORWARD)
    for packet in (first, second):
        spec = evaluate(rules, packet)
        fast = index.decide(packet)
        assert (fast.outcomes, fast.after, fast.step) == (spec.outcomes, spec.after, spec.step)
        mask = POOL.value(node, [v or 0 for v in packet.point()])
        if any("does not say" in reason.condition for reason in spec.because):
            assert not mask & ~spec.outcomes  # the sets know which open values go together
        else:
            assert mask == spec.outcomes


@given(rule_sets(), small_packets())
def test_the_rule_that_decides_a_packet_decides_it_in_the_sets(rules: RuleSet, packet: Packet) -> None:
    index = Index(rules)
    spec = evaluate(rules, packet)
    if spec.verdict in (Verdict.ACCEPT, Verdict.UNKNOWN) or spec.step is None:
        return
    one = packet_set(packet)
    found = [d for d in index.deciding(one) if d.verdict is spec.verdict]
    assert any(
        d.rule == spec.step.rule
        and d.chain == (spec.step.rule.chain if spec.step.rule else spec.step.chain.name)
        for d in found
    ) or any(d.possibly for d in found)


@given(rule_sets())
def test_outcomes_are_disjoint_and_complete(rules: RuleSet) -> None:
    parts = Index(rules).outcomes(EVERYTHING)
    total = EVERYTHING - EVERYTHING
    for mask, part in parts.items():
        assert mask & (Outcome.ACCEPT | Outcome.DROP | Outcome.REJECT)
        assert not part & total
        total |= part
    assert total == EVERYTHING


def test_an_empty_rule_set_accepts_everything_that_can_go_on() -> None:
    from netsim.space import packets

    index = Index(RuleSet({}))
    assert index.permitted() == packets(ttl=(2, 255))
    chain = Chain("filter/FORWARD", (), Hook(Point.FORWARD, 0), None)
    assert Index(RuleSet({chain.name: chain})).permitted() == index.permitted()


def test_shares_of_the_rules_that_decide() -> None:
    dump = "*filter\n:FORWARD DROP\n-A FORWARD -s 10.0.0.0/25 -p tcp -j ACCEPT\n-A FORWARD -s 10.0.0.0/26 -j REJECT\nCOMMIT\n"
    found = netsim.parse(dump).deciding(netsim.packets(src="10.0.0.0/24", ttl=64, fragment=False))
    assert [(d.rule.number if d.rule else "policy", d.verdict.value, d.share) for d in found] == [
        (1, "accept", Fraction(1, 2)),
        (2, "reject", Fraction(1, 4)),
        ("policy", "drop", Fraction(3, 4)),
    ]


def test_an_open_translation_may_have_changed_something() -> None:
    rules = netsim.parse(
        "*nat\n-A OUTPUT -p tcp -j REDIRECT\nCOMMIT\n"
        "*filter\n:OUTPUT DROP\n-A OUTPUT -m conntrack --ctstate DNAT -j ACCEPT\nCOMMIT\n"
    )
    packet = Packet(src="10.0.0.1", dst="10.0.9.9", protocol="tcp", sport=1, dport=2, iif="")
    assert rules.decide(packet, hook="output").verdict is Verdict.UNKNOWN
    assert rules.permitted_at("output", possibly=True) & packet_set(packet)


def test_a_packet_for_the_device_that_is_translated_away_may_leave_anywhere() -> None:
    rules = netsim.parse(
        "*nat\n-A PREROUTING -j DNAT --to-destination 10.5.5.5\nCOMMIT\n"
        "*filter\n:FORWARD DROP\n-A FORWARD -o eth1 -j ACCEPT\nCOMMIT\n",
        addresses={"eth0": ["10.0.0.254/24"]},
    )
    packet = Packet(
        src="10.0.0.1", dst="10.0.0.254", protocol="udp", sport=1, dport=2, iif="eth0", oif="", ttl=9
    )
    assert rules.decide(packet, hook="input").verdict is Verdict.UNKNOWN
    assert rules.permitted_at("input", possibly=True) & packet_set(packet)
    assert not rules.permitted_at("input") & packet_set(packet)


@pytest.mark.parametrize(
    ("policy", "last", "possible"), [("DROP", "ACCEPT", 2), ("ACCEPT", "ACCEPT", 1), ("DROP", "DROP", 1)]
)
def test_thirty_levels_of_two_undecided_jumps(policy: str, last: str, possible: int) -> None:
    lines = ["*filter", f":FORWARD {policy}", *(f":c{i} - [0:0]" for i in range(30)), "-A FORWARD -j c0"]
    for i in range(29):
        lines += [f"-A c{i} -p udp -j c{i + 1}", f"-A c{i} -m limit --limit 1/s -j c{i + 1}"]
    lines += [f"-A c29 -m owner --uid-owner 3 -j {last}", "COMMIT", ""]
    rules = netsim.parse("\n".join(lines))
    packet = Packet(src="10.0.0.1", dst="10.0.9.9", protocol="udp", sport=1, dport=2, ttl=9, iif="a", oif="b")
    decision = rules.decide(packet)
    assert len(decision.possible) == possible
    if possible > 1:
        assert decision.because
        assert all(reason.rule is not None for reason in decision.because)
    else:
        assert decision.row()["decided_by"] is not None

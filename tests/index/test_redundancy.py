"""Redundant rules are exactly those whose removal changes nothing: by diagrams of the whole, packet by packet, by hand."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st

import netsim
from netsim.index import Index
from netsim.index.differ import differently
from netsim.index.flow import Watch
from netsim.index.function import call_order
from netsim.index.liveness import Dead, Liveness
from netsim.index.reaches import written
from netsim.index.redundancy import Redundancy, Redundant, observes, redundant, removable
from netsim.rules.evaluate import evaluate
from netsim.rules.journey import uses_tracking
from netsim.rules.model import ActionKind, Point, Rule, RuleSet, Unmodelled
from netsim.space import EVERYTHING, Packet
from netsim.space.diagram import AND, DIFFER
from netsim.space.fields import Family
from netsim.space.pool import POOL
from tests.strategies import NATS, rule_sets, small_packets

OPEN = [(nat,) for nat in NATS[1:]]
HOOKS = (Point.FORWARD, Point.INPUT, Point.OUTPUT)


def _without(rules: RuleSet, gone: list[Rule]) -> RuleSet:
    ids = {id(r) for r in gone}
    return rules.replace(
        attrs.evolve(c, rules=tuple(r for r in c.rules if id(r) not in ids)) for c in rules.chains.values()
    )


@POOL.question()
def same(before: RuleSet, after: RuleSet) -> bool:
    """Whether every packet gets the same and every observer sees the same: one walk over everything."""
    variables = Index(before).flow.functions.compiler.variables
    first = min(variables.values(), default=0)
    numbers = {text: level - first for text, level in variables.items()}
    one, two = Index(before, variables=numbers), Index(after, variables=numbers)
    for hook in HOOKS:
        watches = Watch(met={}), Watch(met={})
        a, b = (i.flow.journey(EVERYTHING.node, hook, w) for i, w in zip((one, two), watches, strict=True))
        if POOL.apply(DIFFER, a.outcomes, b.outcomes) or differently(a.leaving, b.leaving):
            return False
        met, then = (w.met or {} for w in watches)
        if any(met.get(id(r), 0) != then.get(id(r), 0) for r in before.rules() if observes(r)):
            return False
    return True


@POOL.question()
def _shown(rules: RuleSet, rule: Rule) -> bool:
    """Whether an observer sees a packet that the rule, or what it calls, may have changed."""
    names = written(rule)
    if rule.action.kind in (ActionKind.JUMP, ActionKind.GOTO):
        for name in call_order(rules, (rule.action.chain,)):
            names = names.union(*map(written, rules.chains[name].rules))
    if not names:
        return False
    for hook in HOOKS:
        watch = Watch(met={})
        Index(rules).flow.journey(EVERYTHING.node, hook, watch)
        met = watch.met or {}
        for r in rules.rules():
            before = r.chain == rule.chain and r.number < rule.number  # it sees packets as they were
            if observes(r) and not before and POOL.apply(AND, met.get(id(rule), 0), met.get(id(r), 0)):
                return True
    return False


def _fresh(rules: RuleSet) -> RuleSet:
    """Conditions that answer afresh, as one unmodelled variable for each rule."""

    def one(rule: Rule) -> Rule:
        return attrs.evolve(
            rule,
            conditions=tuple(
                Unmodelled(f"{rule.id} {c.text}", True, c.negated) if c == Unmodelled("limit", False) else c
                for c in rule.conditions
            ),
        )

    return rules.map(one)


@given(rule_sets())
def test_redundant_rules_are_exactly_those_whose_removal_changes_nothing(rules: RuleSet) -> None:
    index = Index(rules)
    liveness = Liveness(index)
    found = {id(r.rule): r for r in redundant(index, liveness)}
    for live in liveness.live:
        less = _without(rules, [live.rule])
        expected = (
            same(rules, less) and not observes(live.rule) and uses_tracking(rules) == uses_tracking(less)
        )
        shown = _shown(rules, live.rule)
        proof = found.get(id(live.rule))
        if proof is not None:
            assert expected
            # Sets in the sender's header do not tell what an observer sees of a changed packet: equal rules do.
            assert not shown or all(b is not None and b.effects == live.rule.effects for b in proof.because)
            fresh = _fresh(rules)
            assert same(fresh, _without(fresh, [r for r in fresh.rules() if r.id == live.rule.id]))
        elif expected and not shown:
            # Which of several outcomes was chosen is not told by sets of them.
            assert any(observes(r) and r.action.kind is not ActionKind.CONTINUE for r in rules.rules())


@given(rule_sets(), st.lists(small_packets(), min_size=3, max_size=6))
def test_the_removable_go_together(rules: RuleSet, some: list[Packet]) -> None:
    index = Index(rules)
    gone = [r.rule for r in removable(index, Liveness(index))]
    left = _without(rules, gone)
    # Behind a field that is left open, the walk over everything knows less than the proof that a rule is dead.
    assert same(rules, left) or any(
        r.action.kind is ActionKind.UNMODELLED or r.effects in OPEN for r in rules.rules()
    )
    for packet in some:
        old, new = evaluate(rules, packet), evaluate(left, packet)
        if not any("does not say" in r.condition for r in (*old.because, *new.because)):
            assert old.outcomes == new.outcomes
    index = Index(left)
    liveness = Liveness(index)
    assert not redundant(index, liveness)
    assert all(Redundancy(index, liveness).last_tracker(d.rule) for d in liveness.dead)


@given(rule_sets(), st.data())
def test_those_that_decide_then_are_named(rules: RuleSet, data: st.DataObject) -> None:
    index = Index(rules)
    for entry in redundant(index, Liveness(index)):
        assert entry.because or entry.rule.action.kind not in (ActionKind.ACCEPT, ActionKind.DROP)
        assert all(r is None or (r is not entry.rule and r.number != 0) for r in entry.because)
        packet = data.draw(small_packets())
        without = evaluate(_without(rules, [entry.rule]), packet)
        step, ruling = without.step, evaluate(rules, packet)
        if step is None or without.because or ruling.because or ruling.step is None:
            continue
        if ruling.step.rule == entry.rule and all(r.modelled for r in rules.rules()):
            assert step.rule in entry.because


def _both(body: str, head: str = ":FORWARD DROP") -> tuple[Index, Liveness]:
    index = netsim.parse(f"*filter\n{head}\n{body}\nCOMMIT\n", family=Family.IPV4).index
    return index, Liveness(index)


def _found(body: str, head: str = ":FORWARD DROP") -> list[tuple[int, list[str]]]:
    def name(rule: Rule | None) -> str:
        return "end" if rule is None else str(rule.number)

    return [(r.rule.number, [name(b) for b in r.because]) for r in redundant(*_both(body, head))]


def test_a_later_rule_or_the_policy_does_the_same() -> None:
    assert _found("-A FORWARD -s 10.1.0.0/16 -j ACCEPT\n-A FORWARD -s 10.0.0.0/8 -j ACCEPT") == [(1, ["2"])]
    assert _found("-A FORWARD -p tcp -j DROP") == [(1, ["end"])]
    split = "-A FORWARD -s 10.0.0.0/24 -p tcp -j ACCEPT\n-A FORWARD -s 10.0.0.0/25 -j ACCEPT\n-A FORWARD -s 10.0.0.128/25 -j ACCEPT"
    assert _found(split) == [(1, ["2", "3"])]


def test_an_observer_before_two_equal_translations_sees_what_it_saw() -> None:
    text = "*nat\n:PREROUTING ACCEPT\n-A PREROUTING -j NFQUEUE\n" + 2 * (
        "-A PREROUTING -j DNAT --to-destination 10.0.0.3\n"
    )
    index = netsim.parse(text + "COMMIT\n").index
    found = redundant(index, Liveness(index))
    assert [(r.rule.number, [b and b.number for b in r.because]) for r in found] == [(2, [3])]


def test_a_rule_in_between_makes_it_needed() -> None:
    body = "-A FORWARD -p tcp --dport 80 -j ACCEPT\n-A FORWARD -s 10.0.0.0/8 -j DROP\n-A FORWARD -p tcp -j ACCEPT"
    assert _found(body) == []
    # unless an earlier rule takes what lies between
    assert _found("-A FORWARD -s 10.0.0.0/8 -j DROP\n" + body) == [(2, ["4"])]


def test_what_keeps_packets_from_a_log_is_needed() -> None:
    assert _found("-A FORWARD -p udp -j DROP\n-A FORWARD -p tcp -j LOG\n-A FORWARD -j DROP") == [
        (1, ["3"]),
        (3, ["end"]),
    ]
    assert _found("-A FORWARD -p udp -j DROP\n-A FORWARD -j LOG") == []
    assert _found("-A FORWARD -p udp", ":FORWARD ACCEPT") == []  # a rule that counts
    assert _found("-A FORWARD -p udp -j out", ":FORWARD DROP\n:out -\n-A out -j LOG") == []


def test_a_jump_that_does_nothing_and_a_mark_that_is_overwritten() -> None:
    assert _found("-A FORWARD -p udp -j out", ":FORWARD DROP\n:out -") == [(1, ["end"])]
    text = "*mangle\n:FORWARD ACCEPT\n-A FORWARD -p tcp -j MARK --set-mark 1\n-A FORWARD -j MARK --set-mark 2\nCOMMIT\n"
    index = netsim.parse(text, family=Family.IPV4).index
    (only,) = redundant(index, Liveness(index))
    assert (only.rule.number, next(r and r.number for r in only.because)) == (1, 2)


def test_another_kind_of_rejection_is_another_outcome() -> None:
    body = "-A FORWARD -p tcp -j REJECT --reject-with tcp-reset\n-A FORWARD -j REJECT"
    assert _found(body) == []
    assert _found("-A FORWARD -p tcp -j REJECT\n-A FORWARD -j REJECT") == [(1, ["2"])]


def test_of_two_that_stand_for_each_other_one_can_go() -> None:
    body = "-A FORWARD -s 10.0.0.0/25 -j ACCEPT\n-A FORWARD -s 10.0.0.0/24 -j ACCEPT\n-A FORWARD -s 10.0.0.0/24 -p tcp -j ACCEPT"
    index, liveness = _both(body)
    gone = removable(index, liveness)
    assert [(type(g), g.rule.number) for g in gone] == [(Dead, 3), (Redundant, 1)]


def test_what_was_needed_to_shield_a_dead_rule_goes_with_it() -> None:
    body = "-A FORWARD -p tcp -j DROP\n-A FORWARD -p tcp --dport 80 -j ACCEPT"
    assert _found(body) == []
    assert [g.rule.number for g in removable(*_both(body))] == [2, 1]


def test_nothing_in_nothing() -> None:
    index = Index(RuleSet({}))
    assert redundant(index, Liveness(index)) == removable(index, Liveness(index)) == ()

"""Dead rules against binary decision diagrams, one variable for each bit: none of our diagrams is used."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from netsim.index import Index
from netsim.index.liveness import Liveness
from netsim.rules.model import (  # fmt: skip
    ACCEPT,
    CONTINUE,
    DROP,
    RETURN,
    Action,
    ActionKind,
    Chain,
    Condition,
    Hook,
    In,
    Point,
    Rule,
    RuleSet,
)
from netsim.space.fields import Family

WIDTHS = {"src4": 32, "dport": 16, "protocol": 8, "fragment": 1}
BASE = 10 << 24


@st.composite
def listed(draw: st.DrawFn) -> RuleSet:
    """Two chains of a few rules over sources, protocols and ports, with boundaries that meet."""
    edges = st.integers(0, 7)

    def rule(chain: str, number: int) -> Rule:
        conditions: list[Condition] = []
        if draw(st.booleans()):
            a, b = sorted((draw(edges), draw(edges)))
            high = 0xFFFFFFFF if draw(st.integers(0, 4)) == 0 else BASE + b * 16 + 15
            conditions.append(In("src4", ((BASE + a * 16, high),)))
        kind = draw(st.integers(0, 3))
        if kind:
            conditions.append(In("protocol", ((6, 6),) if kind < 3 else ((6, 6), (17, 17))))
        if kind > 1:
            a, b = sorted((draw(edges), draw(edges)))
            conditions.append(In("dport", ((0, min(65535, 9000 * b + 8999)),) if a == 0 else ((9000 * a, 65535 if b == 7 else 9000 * b),)))  # fmt: skip
        actions = [ACCEPT, DROP, CONTINUE, ACCEPT, RETURN]
        if chain == "base":
            actions.append(Action(ActionKind.JUMP, "one"))
        return Rule(tuple(conditions), draw(st.sampled_from(actions)), (), chain, number)

    chains = {
        name: Chain(
            name, tuple(rule(name, n) for n in range(1, draw(st.integers(1, 8)) + 1)),
            Hook(Point.FORWARD, 0) if name == "base" else None, DROP if name == "base" else None,
        )
        for name in ("base", "one")
    }  # fmt: skip
    return RuleSet(chains, family=Family.IPV4)


class Bits:
    """Packets as BDDs."""

    def __init__(self) -> None:
        from oxidd.bdd import BDDManager

        self.manager: Any = BDDManager(200_000, 200_000, 1)
        count = sum(WIDTHS.values())
        if hasattr(self.manager, "new_var"):
            found = [self.manager.new_var() for _ in range(count)]
        else:
            found = [self.manager.var(i) for i in self.manager.add_vars(count)]
        self.bits: dict[str, list[Any]] = {}
        for name, width in WIDTHS.items():  # the highest bit first
            self.bits[name], found = found[:width], found[width:]
        self.none, self.all = self.manager.false(), self.manager.true()

    def at_least(self, field: str, value: int) -> Any:
        result = self.all
        for place, bit in enumerate(reversed(self.bits[field])):
            result = (bit & result) if value >> place & 1 else (bit | result)
        return result

    def within(self, field: str, low: int, high: int) -> Any:
        top = (1 << WIDTHS[field]) - 1
        above = self.none if high == top else self.at_least(field, high + 1)
        return self.at_least(field, low) & ~above

    def of(self, rule: Rule) -> Any:
        result = self.all
        for condition in rule.conditions:
            assert isinstance(condition, In)
            part = self.none
            for low, high in condition.ranges:
                part = part | self.within(condition.field, low, high)
            result = result & part
            if condition.field == "dport":
                result = result & ~self.bits["fragment"][0]
        return result

    def dead(self, rules: RuleSet) -> set[str]:
        met: set[str] = set()

        def through(chain: str, live: Any) -> Any:
            back = self.none
            for rule in rules.chains[chain].rules:
                hit = live & self.of(rule)
                if hit.satisfiable():
                    met.add(rule.id)
                kind = rule.action.kind
                if kind is ActionKind.CONTINUE:
                    continue
                live = live & ~hit
                if kind is ActionKind.RETURN:
                    back = back | hit
                elif kind is ActionKind.JUMP:
                    live = live | through(rule.action.chain, hit)
            return live | back

        through("base", self.all)
        return {r.id for r in rules.rules()} - met


@settings(max_examples=120)
@given(listed())
def test_dead_rules_agree_with_binary_decision_diagrams(rules: RuleSet) -> None:
    assert {d.rule.id for d in Liveness(Index(rules)).dead} == Bits().dead(rules)

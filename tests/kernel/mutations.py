"""Seeded mistakes in the evaluator: the kernel must catch each of them."""

from __future__ import annotations

from typing import Any

import netsim.parsers.iptables.matches as matches
import netsim.rules.conditions as rule_conditions
import netsim.rules.effects as effects
import netsim.rules.evaluate as evaluate
from netsim.rules.model import ActionKind, Bits, In, Verdict


def _goto_is_jump() -> None:
    finish = evaluate.Walk._finish

    def mutated(self: Any, state: Any, rule: Any, trail: Any, *, dropped: bool = False) -> Any:
        if rule.action.kind is ActionKind.GOTO and not dropped:
            target = self.rules.chains[rule.action.chain]
            state.frames = (*state.frames, (target, 0, (*trail, rule)))
            return None
        return finish(self, state, rule, trail, dropped=dropped)

    evaluate.Walk._finish = mutated  # type: ignore[method-assign]


def _negation_forgets_invalid() -> None:
    within = matches.within

    def mutated(field: str, ranges: Any, negated: bool = False) -> In:
        found = within(field, ranges, negated)
        if field == "state" and negated:
            return In(field, tuple((low, min(high, 2)) for low, high in found.ranges if low <= 2))
        return found

    matches.within = mutated


def _mark_is_ored() -> None:
    def mutated(values: Any, field: str, keep: int, value: int, source: str, mask: int) -> int:
        return (values[field] & keep) | value | ((values[source] & mask) if source else 0)

    effects._set_bits = mutated


def _flags_ignore_the_mask() -> None:
    holds = rule_conditions.holds

    def mutated(condition: Any, values: Any, known: Any) -> Any:
        if isinstance(condition, Bits) and condition.field == "tcp_flags":
            condition = Bits("tcp_flags", 0xFF, condition.value, condition.negated)
        return holds(condition, values, known)

    rule_conditions.holds = mutated


def _policies_accept() -> None:
    def mutated(self: Any, state: Any) -> Any:
        state.frames = state.frames[:-1]
        return None if state.frames else self._verdict(state, None, Verdict.ACCEPT, ())

    evaluate.Walk._return = mutated  # type: ignore[method-assign]


def _dnat_comes_late() -> None:
    pooled = effects._pooled

    def mutated(values: Any, kind: Any, field: str, pool: Any) -> Any:
        return values if kind.value == "destination" else pooled(values, kind, field, pool)

    effects._pooled = mutated


MUTATIONS = {
    "goto is a jump": (_goto_is_jump, ("flow", 4, "nft")),
    "a negated state forgets invalid": (_negation_forgets_invalid, ("matches output", 4, "legacy")),
    "marks are ored": (_mark_is_ored, ("targets mangle", 4, "nft")),
    "tcp flags ignore the mask": (_flags_ignore_the_mask, ("matches output", 4, "nft")),
    "policies accept": (_policies_accept, ("flow", 6, "legacy")),
    "dnat is not seen by filter": (_dnat_comes_late, ("targets nat", 4, "legacy")),
}
"""Name -> what it breaks, and the case that must notice."""


def apply(name: str) -> None:
    """Break this process' evaluator."""
    MUTATIONS[name][0]()

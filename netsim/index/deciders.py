"""Numbers for what decides: a rule with the jumps that lead to it, or a policy.

Theory of operation. A rule set is read as one list in which every jump is followed by the rules of its chain:
rule 1, rule 2 (a jump), the rules of its chain, rule 3, ..., policy; base chain by base chain in the
order of the text. A *decider* is a place in that list. Its number is an offset: sizes of chains add up from
callees to callers, so that a number is found from the jumps, and the jumps from a number, without
ever writing the list down. Numbers are the same for every hook and every packet.

Where that list would be longer than a number of 31 bits holds (30 levels of two jumps each are 2^30 paths),
rules are numbered without their jumps, in the order of the text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import attrs

from netsim.index.function import call_order
from netsim.rules.model import Action, ActionKind, Chain, Rule, RuleSet, Verdict

MOST = (1 << 31) - 2
"""The most deciders that numbers of 32 bits tell apart."""

_CALLS = (ActionKind.JUMP, ActionKind.GOTO)
_VERDICTS = {
    ActionKind.ACCEPT: Verdict.ACCEPT,
    ActionKind.DROP: Verdict.DROP,
    ActionKind.REJECT: Verdict.REJECT,
}


@attrs.frozen(slots=True)
class Decider:
    """A rule (None: the policy of `chain`) reached by the jumps in `trail` from the base chain `chain`.

    Where paths are too many, `chain` is the rule's own and the trail is empty.
    """

    chain: Chain
    rule: Rule | None
    trail: tuple[Rule, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """What it decides; unknown for a rule with an unmodelled target, or none."""
        action = self.rule.action if self.rule is not None else self.chain.policy or Action(ActionKind.ACCEPT)
        return _VERDICTS.get(action.kind, Verdict.UNKNOWN)


class Deciders(Sequence[Decider]):
    """The deciders of a rule set by their numbers. Nothing is written down: `len` and an item are arithmetic."""

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        roots = tuple(name for name, chain in rules.chains.items() if chain.hook is not None)
        self._starts: dict[str, list[int]] = {}  # chain -> where each rule begins, and the end
        for name in call_order(rules, roots):
            self._starts[name] = self._laid(rules.chains[name], paths=True)
        total = sum(self._starts[name][-1] + 1 for name in roots)
        self.paths = total <= MOST
        """Whether jumps are told apart."""
        if not self.paths:
            roots = tuple(rules.chains)
            self._starts = {name: self._laid(chain, paths=False) for name, chain in rules.chains.items()}
        self._bases: list[str] = list(roots)
        self._first: list[int] = [0]
        for name in roots:
            self._first.append(self._first[-1] + self._starts[name][-1] + 1)
        self._offset = dict(zip(roots, self._first, strict=False))
        self._ways: dict[str, int] | None = None  # chain -> the number before its first rule, by one way

    def _laid(self, chain: Chain, *, paths: bool) -> list[int]:
        starts = [0]
        for rule in chain.rules:
            below = self._starts[rule.action.chain][-1] if paths and rule.action.kind in _CALLS else 0
            starts.append(starts[-1] + 1 + below)
        return starts

    def __len__(self) -> int:
        return self._first[-1]

    def size(self, chain: Chain) -> int:
        """How many deciders a base chain has."""
        return self._starts[chain.name][-1] + 1

    def first(self, chain: Chain) -> int:
        """The number of a base chain's first decider."""
        return self._offset[chain.name]

    def starts(self, name: str) -> list[int]:
        """Where each rule of a chain begins, counted from the chain's beginning, and where the last ends."""
        return self._starts[name]

    def __getitem__(self, number):  # type: ignore[no-untyped-def]
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(f"deciders are numbered 0 to {len(self) - 1}, not {number}")
        number = int(number) % len(self)
        at = bisect_right(self._first, number) - 1
        base = chain = self.rules.chains[self._bases[at]]
        rest = number - self._first[at]
        if rest == self._starts[base.name][-1]:
            return Decider(base, None)
        trail: list[Rule] = []
        while True:
            starts = self._starts[chain.name]
            position = bisect_right(starts, rest) - 1
            rule = chain.rules[position]
            rest -= starts[position]
            if not rest:
                return Decider(base, rule, tuple(trail))
            trail.append(rule)
            chain = self.rules.chains[rule.action.chain]
            rest -= 1

    def number(self, chain: Chain, rule: Rule | None, trail: tuple[Rule, ...] = ()) -> int:
        """The number of a decider: of `rule`, or of the policy of the base chain `chain`."""
        if not self.paths and rule is not None:
            chain, trail = self.rules.chains[rule.chain], ()
        found = self._offset[chain.name]
        if rule is None:
            return found + self._starts[chain.name][-1]
        for jump in trail:
            found += self._starts[chain.name][_position(chain, jump)] + 1
            chain = self.rules.chains[jump.action.chain]
        return found + self._starts[chain.name][_position(chain, rule)]

    def some(self, rule: Rule) -> int:
        """The number of a rule, by one way that leads to it; -1 if none does."""
        if self._ways is None:
            self._ways = {}
            for name in self._bases:
                stack: list[tuple[str, int]] = [(name, self._offset[name])]
                while stack:
                    chain, begin = stack.pop()
                    if chain in self._ways:
                        continue
                    self._ways[chain] = begin
                    if self.paths:
                        starts = self._starts[chain]
                        stack += [
                            (r.action.chain, begin + starts[i] + 1)
                            for i, r in enumerate(self.rules.chains[chain].rules)
                            if r.action.kind in _CALLS
                        ]
        begin = self._ways.get(rule.chain, -1)
        if begin < 0:
            return -1
        return begin + self._starts[rule.chain][_position(self.rules.chains[rule.chain], rule)]


def _position(chain: Chain, rule: Rule) -> int:
    at = rule.number - 1
    if 0 <= at < len(chain.rules) and chain.rules[at] is rule:
        return at
    return next(i for i, each in enumerate(chain.rules) if each is rule)


__all__ = ["Decider", "Deciders"]

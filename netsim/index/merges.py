"""Which rules of a chain one rule can say.

Algebra. Rules *merge* if they do the same, their conditions differ in one field only, and the first of them with
that field's values joined, in its place, changes nothing when the others go: every packet has the same outcomes, is
the same packet afterwards and is seen by the same observers (`redundancy.observes`). Results share no rule, and all of
them can be carried out together. No rules, one rule: no merge. Rules with different comments stay apart; dead
rules, and observers, have no part in it.

Theory of operation. Rules with equal action, effects and comment are grouped by their conditions less one. Inside a
group, words of bits (addresses as prefixes, marks, flags) are joined bit by bit, two equal halves to a whole, as
long as there are any; other fields are joined one rule after the other as long as `says` has words
for the result. A rule moves to the first one's place past the rules in between, so it has to commute with each:
both end a packet's way and do the same, or no packet matches both and neither changes what the other
tests. A permutation whose exchanged pairs all commute is harmless, which is why merges do not disturb one another.

Cost. Linear in the rules, times the rules in between that overlap one that moves (bit vectors find them).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

import attrs

from netsim.index.boxes import Box, ChainBoxes, chain_boxes, meets, positions
from netsim.index.index import Index
from netsim.index.liveness import ENDS, Liveness, touches
from netsim.index.redundancy import changed_by, observes
from netsim.rules.model import ActionKind, Bits, Chain, Condition, In, Netmap, Rule, RuleSet
from netsim.space.fields import ADDRESS_FIELDS, FIELDS, Range, merge_ranges

TRIES = 64
"""How many rules in a row that do not join are tried for one first rule."""
PORTS = 15
"""How many ports a rule lists, a range counting as two."""

_ADDRESSES = frozenset(ADDRESS_FIELDS.values())


@attrs.frozen(slots=True)
class Merge:
    """Rules that one can say: the first of `rules`, with `conditions`, in its place. They differ in `field`."""

    rules: tuple[Rule, ...]
    field: str
    conditions: tuple[Condition, ...]


Says = Callable[[Rule, str, tuple[Condition, ...]], bool]
"""Whether there are words for a rule with other conditions; the field is the one that changed."""


def plain(rule: Rule, field: str, conditions: tuple[Condition, ...]) -> bool:
    """What any dialect can say: prefixes, lists of ports and of states, one range of anything else."""
    del rule
    for condition in conditions:
        if isinstance(condition, In) and condition.field == field:
            if field in ("sport", "dport"):
                return sum(1 if low == high else 2 for low, high in condition.ranges) <= PORTS
            return field == "state" or len(condition.ranges) == 1
    return True


def any_rule(rule: Rule) -> bool:
    """Every rule may merge."""
    del rule
    return True


def merges(
    index: Index, liveness: Liveness, *, says: Says = plain, may: Callable[[Rule], bool] = any_rule
) -> tuple[Merge, ...]:
    """The merges of those of an index' live rules that `may`, by the place of the first rule of each."""
    living = {id(rule) for rule in liveness.living}
    found: list[Merge] = []
    for chain in index.rules.chains.values():
        found += _Chain(index.rules, chain, living, liveness, says, may).found()
    return tuple(found)


@attrs.frozen(slots=True)
class _Member:
    position: int
    condition: In | Bits


class _Chain:
    """The merges of one chain."""

    def __init__(
        self,
        rules: RuleSet,
        chain: Chain,
        living: set[int],
        liveness: Liveness,
        says: Says,
        may: Callable[[Rule], bool],
    ) -> None:
        self.rules = rules
        self.chain = chain
        self.living = living
        self.liveness = liveness
        self.says = says
        self.may = may
        self.boxes: ChainBoxes = chain_boxes(chain)
        self.every = (1 << len(chain.rules)) - 1
        self.used: set[int] = set()
        self.same: dict[
            Hashable, int
        ] = {}  # what a rule does at the end of a packet's way -> those that do it
        self.changing: dict[int, set[str]] = {}  # the rules after which a packet goes on changed
        self.dead = 0
        for i, rule in enumerate(chain.rules):
            self.dead |= (id(rule) not in living) << i
            if rule.action.kind in ENDS:
                if not observes(rule):
                    key = _does(rule)
                    self.same[key] = self.same.get(key, 0) | 1 << i
            elif names := changed_by(rules, rule):
                self.changing[i] = names

    def found(self) -> list[Merge]:
        groups = sorted(self._groups(), key=lambda g: (-len(g), g[0].position))
        result: list[Merge] = []
        for group in groups:
            members = [m for m in group if m.position not in self.used]
            if len(members) < 2:
                continue
            joined = self._words(members) if _wordy(members[0].condition) else self._listed(members)
            for chosen, condition in joined:
                self.used.update(m.position for m in chosen)
                first = chosen[0]
                result.append(
                    Merge(
                        tuple(self.chain.rules[m.position] for m in chosen),
                        first.condition.field,
                        self._with(first, condition),
                    )
                )
        return sorted(result, key=lambda m: m.rules[0].number)

    def _groups(self) -> Iterable[list[_Member]]:
        """The live rules that differ in one condition at most; in the order of the chain, two or more of each."""
        groups: dict[Hashable, list[_Member]] = {}
        for i, rule in enumerate(self.chain.rules):
            if id(rule) not in self.living or observes(rule) or not self.may(rule):
                continue
            if any(isinstance(e, Netmap) for e in rule.effects):
                continue
            what = (rule.action, rule.effects, rule.comment)
            every = frozenset(rule.conditions)
            for condition in every:
                if isinstance(condition, In):
                    if sum(isinstance(c, In) and c.field == condition.field for c in every) == 1:
                        kind: Hashable = condition.field
                    else:
                        continue
                elif isinstance(condition, Bits) and not condition.negated and condition.field != "variables":
                    kind = (condition.field, condition.care)
                else:
                    continue
                key = (what, kind, every - {condition})
                groups.setdefault(key, []).append(_Member(i, condition))
        return [group for group in groups.values() if len(group) > 1]

    def _with(self, member: _Member, condition: Condition) -> tuple[Condition, ...]:
        rule = self.chain.rules[member.position]
        return tuple(condition if c == member.condition else c for c in rule.conditions)

    # Joining

    def _listed(self, members: Sequence[_Member]) -> Iterator[tuple[list[_Member], Condition]]:
        """Ranges joined to lists, as long as there are words for them."""
        left = list(members)
        while len(left) > 1:
            first, *rest = left
            assert isinstance(first.condition, In)
            chosen, condition, failed = [first], first.condition, 0
            for each in rest:
                assert isinstance(each.condition, In)
                joined = In(condition.field, merge_ranges([*condition.ranges, *each.condition.ranges]))
                if self._joins([*chosen, each], joined):
                    chosen, condition, failed = [*chosen, each], joined, 0
                else:
                    failed += 1
                    if failed > TRIES:
                        break
            if len(chosen) > 1:
                yield chosen, condition
            left = [m for m in left if m not in chosen]

    def _words(self, members: Sequence[_Member]) -> Iterator[tuple[list[_Member], Condition]]:
        """Words joined bit by bit: two that differ in one bit are one that does not care for it."""
        words: dict[tuple[int, int], list[_Member]] = {}
        for member in members:
            word = _word(member.condition)
            if word is not None:
                words.setdefault(word, [member])
        waiting = sorted(words)
        while waiting:
            care, value = waiting.pop()
            mine = words.get((care, value))
            if mine is None:
                continue
            for bit in _free(members[0].condition, care):
                other = words.get((care, value ^ bit))
                joined = (care & ~bit, value & ~bit)
                if other is None or joined in words:
                    continue
                both = sorted([*mine, *other], key=lambda m: m.position)
                if self._joins(both, _spoken(members[0].condition, *joined)):
                    del words[care, value], words[care, value ^ bit]
                    words[joined] = both
                    waiting.append(joined)
                    break
        for word, found in words.items():
            if len(found) > 1:
                yield found, _spoken(members[0].condition, *word)

    def _joins(self, members: Sequence[_Member], condition: In | Bits) -> bool:
        """Whether rules can stand in the first one's place, as one that has words."""
        first, *others = members
        rule = self.chain.rules[first.position]
        if rule.action.kind not in ENDS:
            # Done once, before and after: no packet may come twice.
            if self.liveness.fragments:
                return False
            boxes = [self.boxes.boxes[m.position] for m in members]
            changed = changed_by(self.rules, rule)
            for i, box in enumerate(boxes):
                if box is None or touches(box, changed):
                    return False
                if any(other is None or meets(box, other) for other in boxes[:i]):
                    return False
        own = sum(1 << m.position for m in members)
        if not all(self._moves(m.position, first.position, own) for m in others):
            return False
        return self.says(rule, condition.field, self._with(first, condition))

    # Moving

    def _moves(self, position: int, to: int, own: int) -> bool:
        """Whether a rule commutes with those between it and a place before it, its own group left aside."""
        rule = self.chain.rules[position]
        between = self.every & ((1 << position) - 1) & ~((1 << to) - 1) & ~own
        ends = rule.action.kind in ENDS
        if ends:
            between &= ~(self.same[_does(rule)] | self.dead)
        if not between:
            return True
        box = self.boxes.boxes[position]
        if box is None:
            return False
        for i, names in self.changing.items():
            if between >> i & 1 and touches(box, names):
                return False
        changed = self.changing.get(position)
        if self.liveness.fragments:  # where a later fragment may pass a test of ports, boxes say too little
            return not any(self._near(box, self.boxes.boxes[i]) for i in positions(between))
        if between & ~self.boxes.known:
            return False
        if changed and any(touches(self.boxes.boxes[i] or {}, changed) for i in positions(between)):
            return False
        for i in positions(between & self.boxes.overlapping(box)):
            there = self.boxes.boxes[i]
            if there is not None and meets(there, box):
                return False
        return True

    @staticmethod
    def _near(a: Box, b: Box | None) -> bool:
        """Whether two rules may match one packet, a later fragment's payload being read as anything."""
        if b is None:
            return True
        steady = [
            d
            for d in a
            if isinstance(d, str) and d != "protocol" and (d in _ADDRESSES or not FIELDS[d].needs)
        ]
        return meets({d: a[d] for d in steady}, {d: b[d] for d in steady if d in b})


def _does(rule: Rule) -> Hashable:
    """Equal for rules that end a packet's way through the chain alike."""
    text = rule.action.text if rule.action.kind is ActionKind.REJECT else ""
    apart = rule.id if any(isinstance(e, Netmap) for e in rule.effects) else ""
    return rule.action.kind, rule.action.chain, text, rule.effects, apart


def _wordy(condition: In | Bits) -> bool:
    return isinstance(condition, Bits) or condition.field in _ADDRESSES


def _word(condition: In | Bits) -> tuple[int, int] | None:
    """The bits that a condition cares for, and their values; of addresses only a prefix is a word."""
    if isinstance(condition, Bits):
        return None if condition.value & ~condition.care else (condition.care, condition.value)
    if len(condition.ranges) != 1:
        return None
    low, high = condition.ranges[0]
    free = low ^ high
    if free & (free + 1) or low & free or high & free != free:
        return None
    return FIELDS[condition.field].maximum & ~free, low


def _free(condition: In | Bits, care: int) -> Iterator[int]:
    """The bits that a word may stop to care for: of a prefix the last."""
    if isinstance(condition, In):
        if care:
            yield care & -care
        return
    for bit in positions(care):
        yield 1 << bit


def _spoken(condition: In | Bits, care: int, value: int) -> In | Bits:
    """A word as a condition of the same kind."""
    if isinstance(condition, Bits):
        return Bits(condition.field, care, value)
    span: Range = (value, value | FIELDS[condition.field].maximum & ~care)
    return In(condition.field, (span,))


__all__ = ["Merge", "Says", "merges", "plain"]

"""Rules as boxes: overlap, containment, and the cover test, without a diagram.

Theory of operation. A *box* is a product: for each restricted dimension its ranges. A dimension is an
interval field, or one bit of a bits field (`("mark", 3)`). What a field needs is part of the box: a test of
`dport` restricts protocol, fragment. Most rules are one box; the others have none here and are
decided by diagrams.

`cover(box, others)` subtracts the others from the box, one after the other, depth first: the first part
that nobody takes holds an uncovered point; if none is left, the others that took something cover it,
and those of them that are not needed are dropped one by one, so that dropping any member of what stays
uncovers. Parts are disjoint; their number may grow with the number of dimensions and members, so steps are
budgeted, and a budget that runs out says so (`None`), never a guess.

Overlaps of all boxes of a list at once are bit vectors: for each dimension, the boxes that begin at or
before a bound less those that end before another.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import attrs

from netsim.rules.journey import tracks
from netsim.rules.model import Bits, Chain, Condition, Deferred, In, Unmodelled
from netsim.space.fields import FIELDS, WORD, Kind, Range, merge_ranges

Dimension = str | tuple[str, int]
Box = Mapping[Dimension, tuple[Range, ...]]
"""Dimension -> sorted, disjoint, non-adjacent ranges; a dimension is named only if it is restricted."""

STEPS = 20_000
"""How many parts one cover test may look at."""
MANY, FEW = 500, 64
"""Lists of more than `MANY` boxes are scanned for the first `FEW` questions, and indexed for more."""
KEPT_BOXES = 1 << 18
"""For how many rules the boxes are kept."""


def top(dimension: Dimension) -> int:
    """The largest value of a dimension."""
    return FIELDS[dimension].maximum if isinstance(dimension, str) else 1


def intersect(a: tuple[Range, ...], b: tuple[Range, ...]) -> tuple[Range, ...]:
    """The common values of two range lists."""
    if a is b or a == b:
        return a
    if len(a) == len(b) == 1:
        (low, high), (lo, hi) = a[0], b[0]
        low, high = max(low, lo), min(high, hi)
        return ((low, high),) if low <= high else ()
    result: list[Range] = []
    i = j = 0
    while i < len(a) and j < len(b):
        low, high = max(a[i][0], b[j][0]), min(a[i][1], b[j][1])
        if low <= high:
            result.append((low, high))
        if a[i][1] < b[j][1]:
            i += 1
        else:
            j += 1
    return tuple(result)


def subtract(a: tuple[Range, ...], b: tuple[Range, ...]) -> tuple[Range, ...]:
    """The values of `a` that are not in `b`."""
    result: list[Range] = []
    for low, high in a:
        start = low
        for lo, hi in b[max(0, bisect_left(b, (low, -1)) - 1) :]:
            if lo > high:
                break
            if hi < start:
                continue
            if lo > start:
                result.append((start, lo - 1))
            start = hi + 1
        if start <= high:
            result.append((start, high))
    return tuple(result)


def _restrict(
    box: dict[Dimension, tuple[Range, ...]], dimension: Dimension, ranges: tuple[Range, ...]
) -> None:
    old = box.get(dimension)
    box[dimension] = ranges if old is None else intersect(old, ranges)


def _need(field: str) -> dict[Dimension, tuple[Range, ...]]:
    box: dict[Dimension, tuple[Range, ...]] = {}
    for other, values in FIELDS[field].needs:
        if FIELDS[other].kind is Kind.BITS:
            _bits(box, other, (1 << FIELDS[other].width) - 1, values[0])
        else:
            _restrict(box, other, merge_ranges([(v, v) for v in values]))
    return box


def _needed(box: dict[Dimension, tuple[Range, ...]], field: str) -> None:
    for dimension, ranges in _NEEDS[field]:
        _restrict(box, dimension, ranges)


def _bits(box: dict[Dimension, tuple[Range, ...]], field: str, care: int, value: int) -> None:
    bit = 0
    while care >> bit:
        if care >> bit & 1:
            _restrict(box, (field, bit), ((value >> bit & 1,) * 2,))
        bit += 1


_NEEDS = {field: tuple(_need(field).items()) for field in FIELDS}
"""What a field needs to exist, as restrictions of a box."""


def box_of(conditions: Iterable[Condition], *, certain: bool = True) -> Box | None:
    """The box where conditions hold; None if they are no box. An empty box has an empty dimension.

    With `certain` False, undecided conditions are left out: the box where they may hold.
    """
    box: dict[Dimension, tuple[Range, ...]] = {}
    for condition in conditions:
        if type(condition) is In:  # by far the most frequent
            field = condition.field
            if _NEEDS[field]:
                _needed(box, field)
            old = box.get(field)
            box[field] = condition.ranges if old is None else intersect(old, condition.ranges)
            continue
        match condition:
            case Bits(field, care, value, negated):
                if field == "ctmark":  # applies to packets with an entry only
                    return None
                if value & ~care or not care:
                    if (value & ~care == 0) == negated:  # never holds
                        box["protocol"] = ()
                    _needed(box, field)
                elif negated and care & (care - 1):
                    return None
                else:
                    _needed(box, field)
                    _bits(box, field, care, value ^ care if negated else value)
            case Unmodelled() | Deferred() if not certain:
                continue
            case _:
                return None
    whole = [d for d, ranges in box.items() if len(ranges) == 1 and not ranges[0][0] and _is_whole(d, ranges)]
    for dimension in whole:
        del box[dimension]
    return box


def _is_whole(dimension: Dimension, ranges: tuple[Range, ...]) -> bool:
    return len(ranges) == 1 and ranges[0][0] == 0 and ranges[0][1] == top(dimension)


def is_empty(box: Box) -> bool:
    """Whether no packet is in a box."""
    return not all(box.values())


def meets(a: Box, b: Box) -> bool:
    """Whether two boxes have a common packet."""
    for dimension, ranges in a.items():
        other = b.get(dimension)
        if other is None:
            if not ranges:
                return False
        elif len(ranges) == 1 == len(other):  # by far the most frequent
            (low, high), (lo, hi) = ranges[0], other[0]
            if low > hi or lo > high:
                return False
        elif not intersect(ranges, other):
            return False
    return all(b.values())


def within(a: Box, b: Box) -> bool:
    """Whether every packet of `a` is in `b`."""
    return is_empty(a) or all(d in a and not subtract(a[d], ranges) for d, ranges in b.items())


def minus(a: Box, b: Box) -> list[Box]:
    """Disjoint boxes whose union is `a` without `b`."""
    parts: list[Box] = []
    rest = dict(a)
    for dimension, ranges in b.items():
        mine = rest.get(dimension) or ((0, top(dimension)),)
        outside = subtract(mine, ranges)
        if outside:
            parts.append({**rest, dimension: outside})
        rest[dimension] = intersect(mine, ranges)
    return parts


@attrs.frozen(slots=True)
class Cover:
    """The result of a cover test: an uncovered `point` box, or the `members` (positions) that cover.

    `members` is irredundant: dropping any one uncovers. Both are None where the budget ran out.
    """

    point: Box | None = None
    members: tuple[int, ...] | None = None


def _uncovered(box: Box, others: Sequence[tuple[int, Box]], steps: int) -> tuple[Box | None, set[int], int]:
    """A part of `box` that none of the others takes, those that took something, and the steps left (< 0: none)."""
    used: set[int] = set()
    stack: list[tuple[Box, int]] = [(box, 0)]
    while stack:
        part, start = stack.pop()
        for at in range(start, len(others)):
            steps -= 1
            if steps < 0:
                return None, used, steps
            position, other = others[at]
            if meets(part, other):
                used.add(position)
                stack.extend((rest, at + 1) for rest in minus(part, other))
                break
        else:
            return part, used, steps
    return None, used, steps


def cover(box: Box, others: Sequence[tuple[int, Box]], *, steps: int = STEPS) -> Cover:
    """Whether the union of others (with their positions) covers a box. An empty box is covered by nothing at all."""
    if is_empty(box):
        return Cover(members=())
    near = [(position, other) for position, other in others if meets(box, other)]
    for position, other in near:
        if within(box, other):
            return Cover(members=(position,))
    point, used, steps = _uncovered(box, near, steps)
    if steps < 0:
        return Cover()
    if point is not None:
        return Cover(point=point)
    members = [(position, other) for position, other in near if position in used]
    for one in list(members):
        fewer = [m for m in members if m is not one]
        point, _, steps = _uncovered(box, fewer, steps)
        if steps < 0:
            return Cover()
        if point is None:
            members = fewer
    return Cover(members=tuple(position for position, _ in members))


class Boxes:
    """A list of boxes, some of them unknown (None), with the vectors that say which of them overlap a box.

    Vectors are integers whose bit i stands for position i; `known` are the positions with a box.
    """

    def __init__(self, boxes: Iterable[Box | None]) -> None:
        self.boxes = tuple(boxes)
        self.known = _vector(box is not None for box in self.boxes)
        self._asked = 0

    @cached_property
    def _dimensions(self) -> dict[Dimension, tuple[list[int], list[int], list[int], list[int], int]]:
        """For each dimension: bounds and vectors of the boxes that begin up to, end before; and the free ones."""
        tests: dict[Dimension, list[tuple[int, tuple[Range, ...]]]] = {}
        for position, box in enumerate(self.boxes):
            for dimension, ranges in (box or {}).items():
                tests.setdefault(dimension, []).append((position, ranges))
        found = {}
        for dimension, each in tests.items():
            free = self.known
            begins: dict[int, int] = {}
            ends: dict[int, int] = {}
            for position, ranges in each:
                free &= ~(1 << position)
                if ranges:  # the hull: exact for one range, else a superset that `meets` narrows
                    begins[ranges[0][0]] = begins.get(ranges[0][0], 0) | 1 << position
                    ends[ranges[-1][1]] = ends.get(ranges[-1][1], 0) | 1 << position
            found[dimension] = (*_sums(begins), *_sums(ends), free)
        return found

    @cached_property
    def _hulls(self) -> dict[Dimension, tuple[Any, Any, Any]]:
        """For each dimension that boxes restrict: their positions, and the first and last values, as arrays."""
        import numpy as np

        tests: dict[Dimension, tuple[list[int], list[int], list[int]]] = {}
        for position, box in enumerate(self.boxes):
            for dimension, ranges in (box or {}).items():
                row = tests.get(dimension)
                if row is None:
                    row = tests[dimension] = ([], [], [])
                if ranges:
                    row[0].append(position)
                    row[1].append(ranges[0][0])
                    row[2].append(ranges[-1][1])
        found = {}
        for dimension, (at, first, last) in tests.items():
            shift = _shift(dimension)
            if shift:  # the upper halves decide: a superset
                first, last = [v >> shift for v in first], [v >> shift for v in last]
            found[dimension] = (np.array(at, np.int64), np.array(first, np.uint64), np.array(last, np.uint64))
        return found

    def _scanned(self, box: Box) -> int:
        """The same as `overlapping` by one pass over all boxes: nothing is prepared but arrays."""
        import numpy as np

        away = np.zeros(len(self.boxes), np.bool_)
        for dimension, ranges in box.items():
            row = self._hulls.get(dimension)
            if row is None or not ranges:
                continue
            at, first, last = row
            shift = _shift(dimension)
            low, high = np.uint64(ranges[0][0] >> shift), np.uint64(ranges[-1][1] >> shift)
            away[at[(first > high) | (last < low)]] = True
        return self.known & ~int.from_bytes(np.packbits(away, bitorder="little").tobytes(), "little")

    def overlapping(self, box: Box) -> int:
        """The boxes that have a packet in common with `box`, as a bit vector; a superset where ranges are many."""
        if len(self.boxes) > MANY and "_dimensions" not in self.__dict__:
            self._asked += 1
            if self._asked <= FEW:
                return self._scanned(box)
        result = self.known
        for dimension, ranges in box.items():
            row = self._dimensions.get(dimension)
            if row is None or not ranges:
                continue
            begin_at, begins, end_at, ends, free = row
            first, last = ranges[0][0], ranges[-1][1]
            started = begins[bisect_right(begin_at, last)]
            ended = ends[bisect_left(end_at, first)]
            result &= (started & ~ended) | free
        return result

    def inside(self, box: Box) -> int:
        """The non-empty boxes inside `box`, as a bit vector; a superset where `box` has several ranges in a dimension."""
        result = self.known
        for dimension, ranges in box.items():
            row = self._dimensions.get(dimension)
            if row is None or not ranges:
                return 0
            begin_at, begins, end_at, ends, free = row
            first, last = ranges[0][0], ranges[-1][1]
            early = begins[bisect_left(begin_at, first)]
            result &= ends[bisect_right(end_at, last)] & ~early & ~free
        return result


_POSSIBLE: dict[int, tuple[tuple[Condition, ...], Box | None]] = {}


def possible_box(conditions: tuple[Condition, ...]) -> Box | None:
    """The box where conditions may hold; kept, since edits leave most rules alone."""
    found = _POSSIBLE.get(id(conditions))
    if found is not None and found[0] is conditions:
        return found[1]
    if len(_POSSIBLE) >= KEPT_BOXES:
        _POSSIBLE.clear()
    box = box_of(conditions, certain=False)
    _POSSIBLE[id(conditions)] = (conditions, box)
    return box


class ChainBoxes(Boxes):
    """The boxes where the rules of a chain may match, undecided conditions left out."""

    def __init__(self, chain: Chain) -> None:
        super().__init__(possible_box(rule.conditions) for rule in chain.rules)
        self.chain = chain

    @cached_property
    def certain(self) -> tuple[Box | None, ...]:
        """The boxes where the rules match for certain; None for a rule that is no box."""
        return tuple(
            None if any(isinstance(c, Unmodelled | Deferred) for c in rule.conditions) else box
            for rule, box in zip(self.chain.rules, self.boxes, strict=True)
        )

    @cached_property
    def tracking(self) -> int:
        """The rules that turn connection tracking on, as a bit vector."""
        return _vector(map(tracks, self.chain.rules))


_CHAINS: dict[int, ChainBoxes] = {}
_KEPT = 4096


def chain_boxes(chain: Chain) -> ChainBoxes:
    """The boxes where the rules of a chain may match; kept, since edits leave most chains alone."""
    found = _CHAINS.get(id(chain))
    if found is None or found.chain is not chain:
        if len(_CHAINS) >= _KEPT:
            _CHAINS.clear()
        found = _CHAINS[id(chain)] = ChainBoxes(chain)
    return found


def _vector(flags: Iterable[bool]) -> int:
    """The bit vector of flags, in linear time."""
    text = "".join("1" if flag else "0" for flag in flags)
    return int(text[::-1], 2) if text else 0


def _shift(dimension: Dimension) -> int:
    """How many lower bits of a dimension's values a machine word leaves out."""
    return 64 if top(dimension) > WORD else 0


def _sums(events: dict[int, int]) -> tuple[list[int], list[int]]:
    """Sorted values, and before the first and behind each the union of all events up to there."""
    at = sorted(events)
    sums = [0]
    for value in at:
        sums.append(sums[-1] | events[value])
    return at, sums


def positions(bits: int) -> Iterable[int]:
    """The set bits of a vector, ascending."""
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low


__all__ = [
    "Box",
    "Boxes",
    "ChainBoxes",
    "Cover",
    "box_of",
    "chain_boxes",
    "cover",
    "intersect",
    "is_empty",
    "meets",
    "minus",
    "positions",
    "subtract",
    "within",
]

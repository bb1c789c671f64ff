"""What two lists of rows decide differently, with the deciding rows of both: exact, and as local as the change.

Theory of operation. Each list ends in a row that holds everything. The lists are aligned: longest increasing
subsequence over equal rows of equal outcome. A packet that they treat differently is first-matched, in one
of them, by a row outside of the alignment (else its first matches in both would be the same pair). So for each
such row c, in the one list, and each row d of another outcome that meets it, in the other list, the packets are

    c and d, without the rows before c in its list, without the rows before d in the other one.

What the rows before c leave of c is computed once, as a diagram: one union, of the parts inside c that no other
part contains, so order does not matter. The rows of the other list that can decide any of it are those that have no partner before
c, up to the first that contains c. Their parts inside c are united in a balanced tree; what is left of c descends
it, the earlier half taking what it can (as `differ` finds deciding rules). So a change costs what it touches.

Lists of which more than `CHANGED` rows differ, or whose changed rows meet more than `MEETINGS` rows, are not local: the answer is None,
and diagrams of both lists are the better way. The twin is the comparison of such diagrams. Of lists too long to tell every
region by diagrams, `first_apart` tells those of the first changed rows.

Costs. Aligning: 1 us a row. A changed row: 10 us a row that it meets, less what one other row hides.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import numpy as np
from numpy.typing import NDArray

from netsim.errors import DEFAULT_LIMITS, Limits
from netsim.index.boxtree import BoxTree
from netsim.index.rows import INTERVALS, Rows
from netsim.kernels import Engine
from netsim.space.diagram import AND, FALSE, LESS, OR
from netsim.space.pool import POOL

CHANGED = 256
MEETINGS = 40_000
FIRST = 1000
"""How many parts of unlike lists are told."""
_NONE = np.iinfo(np.int64).max
_K = np.uint64(0x9E37_79B9_7F4A_7C15)


@attrs.frozen(slots=True)
class Apart:
    """Packets (a diagram) whose first match is one row before and another one after, of different outcomes."""

    before: int
    after: int
    node: int


def compare_rows(
    before: Rows,
    old: NDArray[np.uint8],
    after: Rows,
    new: NDArray[np.uint8],
    *,
    limits: Limits = DEFAULT_LIMITS,
    choice: Engine | None = None,
) -> list[Apart] | None:
    """The packets with different outcomes, by deciding rows; disjoint. None: too much differs for this way.

    `old` and `new` are the outcomes of the rows. Both lists end in a row that holds everything.
    Raises `BudgetExceeded` past `limits.nodes`.
    """
    lists = _Lists.of(before, old, after, new, choice)
    if len(lists.changed[0]) + len(lists.changed[1]) > CHANGED:
        return None
    spent = 0
    found: list[Apart] = []
    with POOL.lock, POOL.budget(limits):
        for second in (False, True):
            for row in lists.changed[second].tolist():
                side = lists.side(row, second)
                spent += side.meetings
                if spent > MEETINGS:
                    return None
                found += lists.parts(side, second)
    return found


def first_apart(
    before: Rows,
    old: NDArray[np.uint8],
    after: Rows,
    new: NDArray[np.uint8],
    *,
    limits: Limits = DEFAULT_LIMITS,
    choice: Engine | None = None,
) -> list[Apart]:
    """What `compare_rows` would begin with, whatever differs: the parts of the first changed rows of both lists.

    In the order of the rows, until `FIRST` parts are told or a row would meet more than the `MEETINGS` that are left. Each
    part is complete: all packets that its two rows decide.
    """
    lists = _Lists.of(before, old, after, new, choice)
    left = MEETINGS // 4
    found: list[Apart] = []
    order = [(row, second) for second in (False, True) for row in lists.changed[second].tolist()]
    with POOL.lock, POOL.budget(limits):
        for row, second in sorted(order):
            side = lists.side(row, second)
            left -= side.meetings
            if left < 0 or len(found) >= FIRST:
                break
            found += lists.parts(side, second)
    return found


@attrs.frozen(slots=True, eq=False)
class _Lists:
    """Two aligned lists: their trees, outcomes, partners (`_NONE` for changed rows) and changed rows, for each side."""

    trees: tuple[BoxTree, BoxTree]
    outcomes: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    partners: tuple[NDArray[np.int64], NDArray[np.int64]]
    changed: tuple[NDArray[np.int64], NDArray[np.int64]]

    @classmethod
    def of(
        cls, before: Rows, old: NDArray[np.uint8], after: Rows, new: NDArray[np.uint8], choice: Engine | None
    ) -> _Lists:
        one, two = _alike(before, after)
        a = BoxTree(one, choice)
        b = BoxTree(two, choice, like=a)
        to, back = _aligned(a, old, b, new)
        return cls(
            (a, b), (old, new), (to, back), (np.flatnonzero(to == _NONE), np.flatnonzero(back == _NONE))
        )

    def side(self, row: int, second: bool) -> _Side:
        """A changed row of a list."""
        (a, b), (old, new) = self.trees, self.outcomes
        if second:
            return _Side(b, a, new, old, self.partners[0], row)
        return _Side(a, b, old, new, self.partners[1], row)

    def parts(self, side: _Side, second: bool) -> Iterator[Apart]:
        """What differs of a changed row's packets, by the deciding rows."""
        (old, new), row = self.outcomes, side.row
        if not second:
            yield from (Apart(row, other, node) for other, node in side.parts(new != old[row]))
            return
        # Where a changed row decides in the first list too, that row has told it.
        for other, node in side.parts((old != new[row]) & (self.partners[0] != _NONE)):
            yield Apart(other, row, node)


class _Side:
    """One changed row: what the rows before it leave of it, and who decides that in the other list."""

    def __init__(
        self,
        mine: BoxTree,
        other: BoxTree,
        outcomes: NDArray[np.uint8],
        others: NDArray[np.uint8],
        partner: NDArray[np.int64],
        row: int,
    ) -> None:
        self.mine, self.other, self.row = mine, other, row
        self.box = mine.boxes[row]
        self.meetings = 0
        found, part = other.meeting(self.box, 0, len(other))
        last = int(other.containing(self.box, found[part == 1.0]).min())  # the part of 64 bits is rounded
        # A row whose partner comes before this one has taken its packets there already.
        takers = np.sort(found[(found <= last) & (partner[found] > row)])
        differing = takers[others[takers] != outcomes[row]]
        self.takers = (
            takers[: np.searchsorted(takers, differing[-1], "right")] if len(differing) else takers[:0]
        )
        if len(self.takers):
            self.earlier, _ = mine.meeting(self.box, 0, row)
            self.meetings = len(self.takers) + len(self.earlier)

    def parts(self, told: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
        """The rows of the other list that decide packets of this row, where `told` says so, and which packets."""
        if not len(self.takers):
            return
        _, boxes = self.mine.inside(self.box, self.earlier, self.row)
        gone = POOL.fold(OR, self.mine.nodes(boxes, self.box))
        left = POOL.apply(LESS, self.mine.nodes(self.box[None])[0], gone)
        if not left:
            return
        takers, boxes = self.other.inside(self.box, self.takers)
        if not len(takers):
            return
        asked = told[takers].tolist()
        for i, node in first_takers(left, self.other.nodes(boxes, self.box), asked):
            yield int(takers[i]), node


def first_takers(left: int, nodes: list[int], asked: list[bool]) -> Iterator[tuple[int, int]]:
    """A set by the first of some sets that holds each packet: (place, packets), where `asked`; in order, none empty.

    It descends a balanced tree of unions, in which the earlier half takes what it can. The caller holds the pool's lock.
    """
    layers, flags = [nodes], [asked]
    while len(layers[-1]) > 1:
        layer, some = layers[-1], flags[-1]
        layers.append([POOL.fold(OR, layer[i : i + 2]) for i in range(0, len(layer), 2)])
        flags.append([any(some[i : i + 2]) for i in range(0, len(some), 2)])
    waiting = [(len(layers) - 1, 0, left)]
    while waiting:
        depth, at, part = waiting.pop()
        if part == FALSE or not flags[depth][at]:
            continue
        if not depth:
            node = POOL.apply(AND, part, layers[0][at])
            if node:
                yield at, node
            continue
        first, second = 2 * at, 2 * at + 1
        union = layers[depth - 1][first]
        if second < len(layers[depth - 1]):
            waiting.append((depth - 1, second, POOL.apply(LESS, part, union)))
        waiting.append((depth - 1, first, POOL.apply(AND, part, union)))


def _alike(before: Rows, after: Rows) -> tuple[Rows, Rows]:
    """The same lists with the same columns."""
    intervals = [c for c in INTERVALS if c in before.low or c in after.low]
    words = sorted({*before.care, *after.care})

    def wider(rows: Rows) -> Rows:
        n = len(rows)
        low = {c: rows.low[c] if c in rows.low else np.zeros(n, np.uint64) for c in intervals}
        high = {c: rows.high[c] if c in rows.high else np.full(n, INTERVALS[c], np.uint64) for c in intervals}
        care = {c: rows.care[c] if c in rows.care else np.zeros(n, np.uint64) for c in words}
        value = {c: rows.value[c] if c in rows.value else np.zeros(n, np.uint64) for c in words}
        return Rows(low, high, rows.rule, care, value)

    return wider(before), wider(after)


def _aligned(
    a: BoxTree, old: NDArray[np.uint8], b: BoxTree, new: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The partner of each row in the other list, `_NONE` for those outside of the alignment."""
    to, back = np.full(len(a), _NONE), np.full(len(b), _NONE)
    shorter = min(len(a), len(b))
    same = (a.boxes[:shorter] == b.boxes[:shorter]).all(axis=1) & (old[:shorter] == new[:shorter])
    first = shorter if same.all() else int(same.argmin())
    most = shorter - first
    ends = (a.boxes[len(a) - most :] == b.boxes[len(b) - most :]).all(axis=1)
    ends = (ends & (old[len(a) - most :] == new[len(b) - most :]))[::-1]
    last = most if ends.all() else int(ends.argmin())
    to[:first] = back[:first] = np.arange(first)
    to[len(a) - last :], back[len(b) - last :] = (
        np.arange(len(b) - last, len(b)),
        np.arange(len(a) - last, len(a)),
    )
    middle_a, middle_b = np.arange(first, len(a) - last), np.arange(first, len(b) - last)
    if not len(middle_a) or not len(middle_b):
        return to, back
    # The n-th row of a content with the n-th one: hashes propose, contents decide.
    i, j = _paired(_hashed(a.boxes[middle_a], old[middle_a]), _hashed(b.boxes[middle_b], new[middle_b]))
    i, j = middle_a[i], middle_b[j]
    equal = (a.boxes[i] == b.boxes[j]).all(axis=1) & (old[i] == new[j])
    i, j = i[equal], j[equal]
    kept = a.increasing(j)
    to[i[kept]], back[j[kept]] = j[kept], i[kept]
    return to, back


def _hashed(boxes: NDArray[np.uint64], outcomes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    found = outcomes.astype(np.uint64)
    for k in range(boxes.shape[1]):
        found = (found ^ boxes[:, k]) * _K
        found ^= found >> np.uint64(29)
    return found


def _paired(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places in `a`, ascending, and in `b` of the n-th of each number that both have."""
    every = np.concatenate([a, b])
    order = np.argsort(every, kind="stable")
    begins = np.flatnonzero(np.append(True, every[order][1:] != every[order][:-1]))
    length = np.diff(np.append(begins, len(order)))
    ours = np.add.reduceat(
        order < len(a), begins, dtype=np.int64
    )  # they come first in each run of equal numbers
    start, ours_, length = (np.repeat(v, length) for v in (begins, ours, length))
    nth = np.arange(len(order)) - start
    paired = (nth < ours_) & (nth < length - ours_)
    i, j = order[paired], order[(start + ours_ + nth)[paired]] - len(a)
    up = np.argsort(i)
    return i[up], j[up]


__all__ = ["Apart", "compare_rows", "first_apart", "first_takers"]

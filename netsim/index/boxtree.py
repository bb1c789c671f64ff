"""A tree over the rows of a list: first matches of points, rows that meet a box, and what is alive.

`kernels.boxes` has the theory. Columns are put in the order in which they tell most rows apart, so that a row
which does not hold a point is left early. Without a kernel a `BoxTree` answers by passes over all rows, which
is also its slow twin; `Rows.scan` is the specification of both.

Invariants, enforced by `check_invariants`:

- T1  each row is at one place, below one leaf;
- T2  a leaf's rows ascend, a node knows the smallest row below it, and no child has all rows of its parent;
- T3  rows of the left child lie before the cut, of the right one behind it, of the middle one on both sides.

Costs. Building: 0.5-1 us a row. A first match: 0.1-0.5 us; rows that meet a box: as many as there are.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netsim.index.rows import INTERVALS, Rows
from netsim.kernels import Engine, engine, handed, kernel
from netsim.space.diagram import FALSE, TRUE
from netsim.space.fields import FIELDS
from netsim.space.pool import POOL

U64 = NDArray[np.uint64]
SEED = 0x1234_5678_9ABC_DEF1


class BoxTree:
    """The rows of a list as flat boxes, indexed.

    `boxes[row]` is (low, high) of each of `intervals`, then (care, value) of each of `words`; `columns` are both.
    """

    def __init__(self, rows: Rows, choice: Engine | None = None, like: BoxTree | None = None) -> None:
        """`like`: a tree of a list with the same columns, whose order of columns this one shall have."""
        self.rows = rows
        n = len(rows)
        choice = choice or engine()
        self.choice = choice
        self.kernel = kernel("boxes", choice)
        self.view = handed(choice)
        free = {c: int(((rows.low[c] == 0) & (rows.high[c] == INTERVALS[c])).sum()) for c in rows.low}
        self.intervals = tuple(sorted(rows.low, key=lambda c: (free[c], -INTERVALS[c])))
        self.words = tuple(c for c in rows.columns if c in rows.care)
        if like is not None:
            self.intervals, self.words = like.intervals, like.words
        self.columns = (*self.intervals, *self.words)
        self.boxes = np.empty((n, 2 * len(self.columns)), np.uint64)
        for k, c in enumerate(self.intervals):
            self.boxes[:, 2 * k], self.boxes[:, 2 * k + 1] = rows.low[c], rows.high[c]
        for k, c in enumerate(self.words, len(self.intervals)):
            self.boxes[:, 2 * k], self.boxes[:, 2 * k + 1] = rows.care[c], rows.value[c]
        self._tree: Any = None
        if self.kernel is not None and self.columns and n:
            view = self.view
            self._number = np.empty(n, np.int32)
            self._node = np.empty((2 * n + 1, 5), np.int32)
            self._cut = np.empty(2 * n + 1, np.uint64)
            self._tree = self.kernel.Tree(
                view(self.boxes), view(np.empty_like(self.boxes)), view(self._number), view(self._node), view(self._cut),
                view(np.empty(2 * n + 1, np.int32)), view(np.zeros(len(self.columns), np.uint64)),
                len(self.intervals), len(self.words),
            )  # fmt: skip
            self._tree.build(view(np.empty(n, np.int32)), view(np.empty(64, np.uint64)))
        self._found = np.empty(n, np.int64)
        self._part = np.empty(n, np.float64)

    def __len__(self) -> int:
        return len(self.boxes)

    def check_invariants(self) -> None:
        """Raises `AssertionError` if one of T1-T3 does not hold."""
        if self._tree is None:
            return
        assert sorted(self._number.tolist()) == list(range(len(self))), "T1"

        def rows(at: int) -> list[int]:
            column, left, right, middle, least = self._node[at].tolist()
            if column < 0:
                found: list[int] = self._number[left:right].tolist()
                assert found == sorted(found) and found[0] == least, "T2"
                return found
            cut, every = int(self._cut[at]), []
            for side, child in ((-1, left), (1, right), (0, middle)):
                below = rows(child) if child >= 0 else []
                for row in below:
                    one, two = self.boxes[row, 2 * column : 2 * column + 2].tolist()
                    if column < len(self.intervals):
                        assert side == (-1 if two < cut else 1 if one >= cut else 0), "T3"
                    else:
                        assert side == ((1 if two & cut else -1) if one & cut else 0), "T3"
                every += below
            assert min(every) == least and len(every) > max(
                len(rows(c)) for c in (left, right, middle) if c >= 0
            ), "T2"
            return every

        assert len(rows(0)) == len(self), "T1"

    def first(self, points: U64, start: int = 0) -> NDArray[np.int32]:
        """The first row from `start` on that holds each point (values in the order of `columns`); -1 if none."""
        out = np.full(len(points), -1, np.int32)
        if self._tree is not None:
            self._tree.first(self.view(np.ascontiguousarray(points)), start, self.view(out))
            return out
        for i, point in enumerate(points):
            holds = np.arange(len(self)) >= start
            for k in range(len(self.columns)):
                a, b = self.boxes[:, 2 * k], self.boxes[:, 2 * k + 1]
                holds &= (a <= point[k]) & (point[k] <= b) if k < len(self.intervals) else (point[k] & a) == b
            if holds.any():
                out[i] = int(holds.argmax())
        return out

    def near(self, box: U64, begin: int, end: int) -> NDArray[np.int64]:
        """The rows of `begin` to before `end` that meet a box, those that take most of it first."""
        found, part = self.meeting(box, begin, end)
        return found[np.lexsort((found, -part))]

    def meeting(self, box: U64, begin: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The rows of `begin` to before `end` that meet a box, in no order, and what part of it they take."""
        if self._tree is not None:
            count = self._tree.near(self.view(box), begin, end, self.view(self._found), self.view(self._part))
            return self._found[:count].copy(), self._part[:count].copy()
        found = np.arange(begin, end)
        part = np.ones(len(found))
        for k in range(len(self.intervals)):
            low = np.maximum(self.boxes[found, 2 * k], box[2 * k])
            high = np.minimum(self.boxes[found, 2 * k + 1], box[2 * k + 1])
            meets = low <= high
            found, part, low, high = found[meets], part[meets], low[meets], high[meets]
            part *= ((high - low).astype(np.float64) + 1) / (float(box[2 * k + 1] - box[2 * k]) + 1)
        for k in range(len(self.intervals), len(self.columns)):
            care, value = self.boxes[found, 2 * k], self.boxes[found, 2 * k + 1]
            meets = ((value ^ box[2 * k + 1]) & care & box[2 * k]) == 0
            found, part, care = found[meets], part[meets], care[meets]
            part *= [0.5 ** (int(c) & ~int(box[2 * k])).bit_count() for c in care]
        return found, part

    def containing(self, box: U64, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of some rows that contain a box."""
        cut = 2 * len(self.intervals)
        some = self.boxes[rows]
        holds = (some[:, 0:cut:2] <= box[0:cut:2]).all(axis=1) & (some[:, 1:cut:2] >= box[1:cut:2]).all(
            axis=1
        )
        care = some[:, cut::2]
        holds &= ((care & box[cut::2]) == care).all(axis=1) & (
            (box[cut + 1 :: 2] & care) == some[:, cut + 1 :: 2]
        ).all(axis=1)
        found: NDArray[np.int64] = rows[holds]
        return found

    def alive(self, tries: int) -> tuple[NDArray[np.int32], U64]:
        """What a few points say of each row: -1 alive, with a witness; an earlier row that contains it; -2 nothing."""
        found = np.full(len(self), -2, np.int32)
        witness = np.zeros((len(self), len(self.columns)), np.uint64)
        if self._tree is not None:
            self._tree.alive(tries, SEED, self.view(found), self.view(witness))
        return found, witness

    def cover(self, box: U64, bound: int, stack: U64, steps: int, point: U64) -> NDArray[np.int64] | None:
        """Rows before `bound` that cover a box (not all needed), in the order of cutting; none: `point` is uncovered.

        None where steps or room ran out, or there is no kernel. `stack` is room for boxes.
        """
        if self._tree is None:
            return None
        stack[0] = box
        members = np.empty(min(steps, 1 << 14), np.int32)
        code = self._tree.cover(bound, self.view(stack), self.view(members), steps, self.view(point))
        if code == self.kernel.STOPPED:  # type: ignore[union-attr]
            return None
        found = members[: max(0, code - self.kernel.STOPPED)].astype(np.int64)  # type: ignore[union-attr]
        return found[np.sort(np.unique(found, return_index=True)[1])]

    def inside(
        self, box: U64, rows: NDArray[np.int64], bound: int = -1, gone: tuple[int, int] = (0, 0)
    ) -> tuple[NDArray[np.int64], U64]:
        """What a box leaves of some rows that meet it, without rows of which one other row takes all of that.

        The other row comes before `bound`, or, if that is negative, before the row itself: `bound` is for unions, without it is
        for first matches. Of rows that leave the same the first stays. The rows `gone[0]` to before `gone[1]` are not there.
        """
        width = self.boxes.shape[1]
        if self._tree is not None:
            rows, out = rows.copy(), np.empty((len(rows), width), np.uint64)
            part = np.stack([box, box])
            kept = self._tree.inside(
                self.view(rows), len(rows), bound, self.view(part), self.view(out), *gone
            )
            return rows[:kept], out[:kept]
        cut = 2 * len(self.intervals)
        left = np.empty((len(rows), width), np.uint64)
        left[:, 0:cut:2] = np.maximum(self.boxes[rows, 0:cut:2], box[0:cut:2])
        left[:, 1:cut:2] = np.minimum(self.boxes[rows, 1:cut:2], box[1:cut:2])
        left[:, cut:] = self.boxes[rows, cut:] | box[cut:]
        hidden = np.zeros(len(rows), np.bool_)
        for i, row in enumerate(rows):
            holds = (left[:, 0:cut:2] <= left[i, 0:cut:2]).all(axis=1) & (
                left[:, 1:cut:2] >= left[i, 1:cut:2]
            ).all(axis=1)
            care, value = left[:, cut::2], left[:, cut + 1 :: 2]
            holds &= ((care & left[i, cut::2]) == care).all(axis=1)
            holds &= ((left[i, cut + 1 :: 2] & care) == value).all(axis=1)
            holds &= (rows < gone[0]) | (rows >= gone[1])
            earlier = rows < row
            hidden[i] = (holds & (earlier if bound < 0 else earlier | (left != left[i]).any(axis=1))).any()
        return rows[~hidden], left[~hidden]

    def increasing(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some different numbers are in a longest subsequence of them that increases."""
        kept = np.zeros(len(numbers), np.uint8)
        order = kernel("order", self.choice)
        if order is not None:
            work = np.empty((3, max(1, len(numbers))), np.int64)
            order.increasing(self.view(numbers), self.view(work), self.view(kept))
            return kept.astype(np.bool_)
        tops: list[int] = []
        piles: list[int] = []
        behind: list[int] = []
        for n, number in enumerate(numbers.tolist()):
            at = bisect_left(tops, number)
            behind.append(piles[at - 1] if at else -1)
            tops[at : at + 1], piles[at : at + 1] = [number], [n]
        n = piles[-1] if piles else -1
        while n >= 0:
            kept[n] = 1
            n = behind[n]
        return kept.astype(np.bool_)

    # As diagrams

    @cached_property
    def _levels(self) -> list[tuple[int, int, int]]:
        """(level, place of the column in a box, bit or -1), the last level first."""
        found = []
        for k, c in enumerate(self.columns):
            name, _, half = c.partition(".")
            if k < len(self.intervals):
                level = FIELDS[name].levels[1 if half == "low" else 0]
                found.append((level, 2 * k, -1))
            else:
                width, base = FIELDS[name].width, 64 if half == "high" else 0
                for bit in range(min(64, width - base)):
                    found.append((FIELDS[name].levels[width - 1 - base - bit], 2 * k, bit))
        return sorted(found, reverse=True)

    def nodes(self, boxes: U64, within: U64 | None = None) -> list[int]:
        """The diagrams of some boxes, inside a box that holds them all. The caller holds the pool's lock."""
        return POOL.boxes(np.ascontiguousarray(boxes), self._levels, () if within is None else within)

    def point_of(self, node: int) -> list[int]:
        """A point of a diagram that is not empty: a value for each column."""
        chosen: dict[int, int] = {}
        while node != TRUE:
            at = next(i for i, child in enumerate(POOL.children[node]) if child != FALSE)
            chosen[POOL.level[node]] = POOL.bounds[node][at]
            node = POOL.children[node][at]
        point = [0] * len(self.columns)
        for level, k, bit in self._levels:
            point[k // 2] |= chosen.get(level, 0) << max(0, bit)
        return point


__all__ = ["BoxTree"]

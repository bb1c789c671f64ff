"""Who decides the packets of a row if the row goes: the rows behind it, told exactly, in long lists.

Theory of operation. The packets of a row are its box without the rows before it: one union, of the parts inside the box that no
other part contains. Behind it only the rows up to the first that contains the box can decide any of them, without those
hidden inside the box; they take what is left in their order. If all of them do the same as the row nothing changes without it. So
the packets that a row behind decides *otherwise* are asked for first, with one diagram, and a packet of them is the disproof.

Costs. A row: 10 us for each row that meets it and is not hidden. The twin is the subtraction of boxes in
`redundancy`, which shorter chains and those with more than rows can say go.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from netsim.index.boxes import Box, is_empty
from netsim.index.boxrows import Columns, columns_of
from netsim.index.rowaudit import BoxCover
from netsim.index.rowdiff import first_takers
from netsim.space.diagram import FALSE, LESS, NEXT, OR, OVERRIDE, THEN, WITHIN
from netsim.space.pool import POOL

DRAWN = 64
"""In how many rows that do otherwise points are drawn before diagrams are made."""
_SAME, _OTHER = 2, 4


class Successors:
    """The boxes of a list with what each does: a number for each box, and one for the end of the list."""

    def __init__(self, cover: BoxCover, does: NDArray[np.int64]) -> None:
        self.cover = cover
        self.does = does
        self.end = len(does) - 1
        self._rng = np.random.default_rng(1)

    def of(self, box: Box, at: int) -> tuple[list[int] | None, Box | None]:
        """What decides the packets of box `at`, which meets `box` alone, without it, if all of that does the same: places.

        They ascend; the end of the list has the place behind the last. Else None, and a packet that is decided otherwise. The caller
        holds the pool's lock. Raises `BudgetExceeded`.
        """
        found: set[int] = set()
        for part in () if is_empty(box) else columns_of(box):
            places, other = self._part(part, at)
            if other is not None:
                return None, other
            found.update(places)
        return sorted(found), None

    def _part(self, part: Columns, at: int) -> tuple[set[int], Box | None]:
        tree, place = self.cover.tree, self.cover.place
        begin, end = (int(v) for v in np.searchsorted(place, (at, at + 1)))
        flat = self.cover.flat(part)
        later, share = tree.meeting(flat, end, len(tree))
        whole = tree.containing(flat, later[share == 1.0])
        if len(whole):
            later = later[later <= whole.min()]
        later, boxes = tree.inside(flat, np.sort(later), -1, (begin, end))
        does = self.does[place[later]]
        if not len(whole):
            does = np.append(does, self.does[self.end])
        mine = self.does[at]
        otherwise = np.flatnonzero(does[: len(later)] != mine)[:DRAWN]
        if len(otherwise):
            point = self._drawn(boxes[otherwise], begin, end, mine)
            if point is not None:
                return set(), self.cover.as_box(point, part)
        earlier, _ = tree.meeting(flat, 0, begin)
        _, taken = tree.inside(flat, np.sort(earlier), begin)
        left = POOL.apply(LESS, tree.nodes(flat[None])[0], POOL.fold(OR, tree.nodes(taken, flat)))
        nodes = tree.nodes(boxes, flat)
        same = does == mine
        if not same.all():
            last = np.flatnonzero(~same)[-1]
            codes = [_SAME if each else _OTHER for each in same[: last + 1]]
            first = [POOL.apply(THEN, node, code) for node, code in zip(nodes, codes, strict=False)]
            if len(codes) > len(nodes):
                first.append(_OTHER)
            decided = POOL.apply(WITHIN, left, POOL.fold(OVERRIDE, first, NEXT))
            other = POOL.where(decided, lambda t: t == _OTHER)
            if other:
                return set(), self.cover.as_box(tree.point_of(other), part)
        told = (
            {int(place[later[i]]) for i, _ in first_takers(left, nodes, [True] * len(nodes))}
            if nodes
            else set()
        )
        if not len(whole) and POOL.apply(LESS, left, POOL.fold(OR, nodes)) != FALSE:
            told.add(self.end)
        return told, None

    def _drawn(self, boxes: NDArray[np.uint64], begin: int, end: int, mine: np.int64) -> list[int] | None:
        """A point that the rows `begin` to before `end` decide, and without them one that does otherwise, if drawing finds one."""
        tree, inner = self.cover.tree, len(self.cover.tree.intervals)
        boxes = np.repeat(boxes, 2, axis=0)
        points = boxes[:, 1::2].copy()
        points[:, :inner] = self._rng.integers(
            boxes[:, 0 : 2 * inner : 2], points[:, :inner], dtype=np.uint64, endpoint=True
        )
        first = tree.first(points)
        points = points[(first >= begin) & (first < end)]
        if not len(points):
            return None
        later = tree.first(points, end)
        does = self.does[np.where(later >= 0, self.cover.place[later], self.end)]
        found = np.flatnonzero(does != mine)
        return [int(v) for v in points[found[0]]] if len(found) else None


__all__ = ["Successors"]

"""Which rows of a list are alive, and what covers the dead ones: exact, for lists of many thousand rows.

Theory of operation. A row is alive if some record has it as its first match. A point drawn in every row is looked
up in a tree of all rows (`index.boxtree`): if no earlier row holds it the row is alive, and the point is its
witness. Else, if an earlier row contains the row, it is dead; if none does, the point is moved out of what holds it, a
few times. What stays open is subtracted: a point of what is left is looked up, and the row found that takes most is
cut out, until a point is found by nobody (a witness) or nothing is left (a cover, made irredundant by leaving
out one member after another). Where the steps run out, the rows that meet the one in question
are decided by a diagram; where that takes too many nodes the answer is None, never a guess. Points are drawn with a
fixed seed and never say that a row is dead.

Without a kernel the points go through the classifier in one batch, and all earlier rows that meet an open one are
subtracted. The twin of both is `boxes.cover` on every earlier row.

Costs. About 0.5 us a row for the tree and as much for its point; a row that stays open 1 us a cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from netsim.errors import DEFAULT_LIMITS, BudgetExceeded, Limits
from netsim.index.boxes import Box, Cover, Dimension, is_empty
from netsim.index.boxrows import Columns, columns_of, rows_of_columns
from netsim.index.boxtree import BoxTree
from netsim.index.classifier import Classifier
from netsim.index.rows import INTERVALS, WORDS, Rows
from netsim.index.witness import WISHES, choose
from netsim.kernels import Engine, kernel
from netsim.space.diagram import FALSE, LESS, OR
from netsim.space.fields import WORD, Range
from netsim.space.pool import POOL

STEPS = 2_000_000
"""How many meetings one cover test may look at; a cut by the tree counts for 50."""
STACK = 1 << 16
SEED = 1
TRIES = 8
"""How often a point is moved."""
PARTS = 64
"""Of how many rows a box may be that is asked about."""
DRAWN = 2
"""Without a kernel: points drawn in each row, beside two corners."""


@attrs.frozen(eq=False)
class RowAudit:
    """The rows of a list, alive or dead.

    `covers` maps each dead row to the earlier rows that cover it together; without any one of them a part of it is
    open. `open` are the rows for which steps and nodes ran out. `witness` maps columns to a value for each row: the
    record that has the row as its first match, where `alive` says so, else without meaning.
    """

    alive: NDArray[np.bool_]
    covers: Mapping[int, tuple[int, ...]]
    open: tuple[int, ...]
    witness: Mapping[str, NDArray[np.uint64]]


def audit_rows(rows: Rows, *, limits: Limits = DEFAULT_LIMITS, choice: Engine | None = None) -> RowAudit:
    """Which rows are the first match of some record. No rows: nothing is alive or dead."""
    n = len(rows)
    tree = BoxTree(rows, choice)
    covers: dict[int, tuple[int, ...]] = {}
    if tree.kernel is None:
        alive = np.zeros(n, np.bool_)
        witness = {c: np.zeros(n, np.uint64) for c in rows.columns}
        if n:
            _sampled(rows, alive, witness, limits, choice)
    else:
        found, points = tree.alive(TRIES)
        alive = found == -1
        witness = {c: np.ascontiguousarray(points[:, k]) for k, c in enumerate(tree.columns)}
        covers = {row: (int(found[row]),) for row in np.flatnonzero(found >= 0).tolist()}
    left: list[int] = []
    rest = np.flatnonzero(~alive)
    if len(rest) > len(covers):
        covering = _Covering(tree, limits)
        for row in rest.tolist():
            if row in covers:
                continue
            members, point = covering.of(tree.boxes[row], row)
            if point is not None:
                alive[row] = True
                for c, value in zip(tree.columns, point, strict=True):
                    witness[c][row] = value
            elif members is None:
                left.append(row)
            else:
                covers[row] = members
    return RowAudit(alive, dict(sorted(covers.items())), tuple(left), witness)


def _sampled(
    rows: Rows, alive: NDArray[np.bool_], witness: dict[str, Any], limits: Limits, choice: Engine | None
) -> None:
    """Marks rows that are the first match of one of their points."""
    n = len(rows)
    try:
        classifier = Classifier(rows, limits=limits, choice=choice)
    except BudgetExceeded:
        return  # every row is decided by subtraction
    rng = np.random.default_rng(SEED)
    numbers = np.arange(n)
    for turn in range(2 + DRAWN):
        columns: dict[str, NDArray[np.uint64]] = {}
        for c in rows.low:
            low, high = rows.low[c], rows.high[c]
            columns[c] = (
                (low, high)[turn] if turn < 2 else rng.integers(low, high, dtype=np.uint64, endpoint=True)
            )
        for c in rows.care:
            columns[c] = rows.value[c]
        if turn == 0:
            open_, part = numbers, columns
        else:
            open_ = np.flatnonzero(~alive)
            if not len(open_):
                return
            part = {c: np.ascontiguousarray(values[open_]) for c, values in columns.items()}
        if not part:
            alive[0] = True
            return
        hit = open_[classifier.first(part) == open_]
        alive[hit] = True
        for c, values in columns.items():
            witness[c][hit] = values[hit]


U64 = NDArray[np.uint64]
_Answer = tuple[tuple[int, ...] | None, list[int] | None]
"""(irredundant cover, None), or (None, uncovered point), or (None, None) where nothing was decided."""


class _Covering:
    """The cover test on the rows of one list."""

    def __init__(self, tree: BoxTree, limits: Limits) -> None:
        self.tree, self.limits = tree, limits
        self.boxes, self.kernel, self.view = tree.boxes, kernel("subtract", tree.choice), tree.view
        self.intervals, self.words = len(tree.intervals), len(tree.words)
        room = STACK if self.kernel is not None else 0
        self.stack = np.empty((room, max(2, self.boxes.shape[1])), np.uint64)
        self.starts = np.zeros(room, np.int32)
        self.point = np.zeros(max(1, len(tree.columns)), np.uint64)

    def of(self, box: U64, bound: int) -> _Answer:
        """Whether the rows before `bound` cover a box."""
        members = self.tree.cover(box, bound, self.stack, STEPS // 50, self.point)
        if members is not None and not len(members):
            return None, self._point()
        if members is None:
            members = self.tree.near(box, 0, bound)
        code, used = self.test(box, members)
        if code == 0:
            return None, self._point()
        at = 0
        while code == 1 and at < len(members := members[used]):
            fewer = np.delete(members, at)
            code, taken = self.test(box, fewer)
            if code == 1:
                members, used = fewer, taken
            elif code == 0:
                code, used, at = 1, np.ones(len(members), np.bool_), at + 1
        if code == 2:
            return self._by_diagram(box, members)
        return tuple(sorted(int(m) for m in members)), None

    def _point(self) -> list[int]:
        return [int(v) for v in self.point[: len(self.tree.columns)]]

    def _by_diagram(self, box: U64, members: NDArray[np.int64]) -> _Answer:
        """The same by diagrams; (None, None) where they take too many nodes."""
        try:
            with POOL.lock, POOL.budget(self.limits):
                mine, *nodes = self.tree.nodes(np.concatenate([box[None], self.boxes[members]]))
                rest = POOL.apply(LESS, mine, POOL.fold(OR, nodes))
                if rest:
                    return None, self.tree.point_of(rest)
                behind = [FALSE]
                for node in reversed(nodes):
                    behind.append(POOL.apply(OR, behind[-1], node))
                kept, taken = [], FALSE
                for at, node in enumerate(nodes, 1):
                    if POOL.apply(LESS, mine, POOL.apply(OR, taken, behind[len(nodes) - at])):
                        kept.append(int(members[at - 1]))
                        taken = POOL.apply(OR, taken, node)
                return tuple(sorted(kept)), None
        except BudgetExceeded:
            return None, None

    def test(self, box: U64, members: NDArray[np.int64]) -> tuple[int, NDArray[np.bool_]]:
        """What `kernels.subtract.cover` says of a box and some members, and which of them took part."""
        if self.kernel is None:
            return self._plain(box, members)
        used = np.zeros(len(members), np.uint8)
        boxes = np.concatenate([box[None], self.boxes[members]])
        code = self.kernel.cover(
            self.view(boxes), self.view(np.arange(1, len(boxes))), len(members), 0, self.intervals, self.words,
            self.view(self.stack.reshape(-1)), self.view(self.starts), self.view(used), STEPS, self.view(self.point),
        )  # fmt: skip
        return int(code), used.astype(np.bool_)

    def _plain(self, box: U64, members: NDArray[np.int64]) -> tuple[int, NDArray[np.bool_]]:
        """The same on Python integers."""
        used = np.zeros(len(members), np.bool_)
        boxes = [[int(v) for v in self.boxes[m]] for m in members]
        stack = [([int(v) for v in box], 0)]
        steps = STEPS // 50
        while stack:
            part, at = stack.pop()
            while at < len(boxes) and not self._meets(part, boxes[at]):
                at += 1
            steps -= at + 1
            if steps < 0:
                return 2, used
            if at == len(boxes):
                values = part[0 : 2 * self.intervals : 2] + part[2 * self.intervals + 1 :: 2]
                self.point[: len(values)] = values
                return 0, used
            used[at] = True
            stack += [(piece, at + 1) for piece in self._outside(part, boxes[at])]
        return 1, used

    def _meets(self, a: list[int], b: list[int]) -> bool:
        cut = 2 * self.intervals
        return all(b[k] <= a[k + 1] and b[k + 1] >= a[k] for k in range(0, cut, 2)) and not any(
            (a[k + 1] ^ b[k + 1]) & a[k] & b[k] for k in range(cut, len(a), 2)
        )

    def _outside(self, part: list[int], box: list[int]) -> list[list[int]]:
        pieces, rest = [], list(part)
        for k in range(0, 2 * self.intervals, 2):
            if box[k] > rest[k]:
                pieces.append([*rest[: k + 1], box[k] - 1, *rest[k + 2 :]])
                rest[k] = box[k]
            if box[k + 1] < rest[k + 1]:
                pieces.append([*rest[:k], box[k + 1] + 1, *rest[k + 1 :]])
                rest[k + 1] = box[k + 1]
        for k in range(2 * self.intervals, len(rest), 2):
            for i in range(64):
                bit = 1 << i
                if box[k] & ~rest[k] & bit:
                    pieces.append(
                        [*rest[:k], rest[k] | bit, rest[k + 1] | (~box[k + 1] & bit), *rest[k + 2 :]]
                    )
                    rest[k] |= bit
                    rest[k + 1] |= box[k + 1] & bit
        return pieces


class BoxCover:
    """`boxes.cover` for a long list of boxes: whether the first of them cover a box."""

    def __init__(
        self, boxes: Sequence[Box], *, limits: Limits = DEFAULT_LIMITS, choice: Engine | None = None
    ) -> None:
        every: list[Columns] = []
        place: list[int] = []
        for i, box in enumerate(boxes):
            parts = () if is_empty(box) else columns_of(box)
            every += parts
            place += [i] * len(parts)
        self.tree = BoxTree(rows_of_columns(every, place), choice)
        self.covering = _Covering(self.tree, limits)
        self.place = np.array(place, np.int64)

    def cover(self, box: Box, end: int) -> Cover:
        """Whether the union of the first `end` boxes covers a box; see `boxes.cover`. The point is one of that box."""
        if is_empty(box):
            return Cover(members=())
        bound = int(np.searchsorted(self.place, end))
        parts = columns_of(box)
        if len(parts) > PARTS:
            return Cover()
        found: set[int] = set()
        for part in parts:
            flat = self.flat(part)
            members, point = self.covering.of(flat, bound)
            if point is not None:
                return Cover(point=self.as_box(self._wished(flat, point, bound), part))
            if members is None:
                return Cover()
            found.update(self.place[list(members)].tolist())
        kept = sorted(found)
        if len(parts) > 1:  # each part needs its members, all parts together perhaps fewer
            for one in list(kept):
                fewer = [m for m in kept if m != one]
                rows = np.flatnonzero(np.isin(self.place[:bound], fewer))
                codes = {self.covering.test(self.flat(part), rows)[0] for part in parts}
                if 2 in codes:
                    return Cover()
                if codes == {1}:
                    kept = fewer
        return Cover(members=tuple(kept))

    def outer(self, box: Box, end: int) -> list[int]:
        """Of the first `end` boxes, enough to take what all of them take of a box: none that another one hides there."""
        bound = int(np.searchsorted(self.place, end))
        found: set[int] = set()
        for part in () if is_empty(box) else columns_of(box):
            flat = self.flat(part)
            rows, _ = self.tree.inside(flat, np.sort(self.tree.meeting(flat, 0, bound)[0]), bound)
            found.update(self.place[rows].tolist())
        return sorted(found)

    def next(self, box: Box, at: int, count: int, rng: np.random.Generator) -> list[tuple[Box, int]]:
        """Points drawn in a box that box `at` is the first to hold, each with the next box that holds it, -1 if none does.

        A few, of different next boxes.
        """
        found: dict[int, Box] = {}
        for part in () if is_empty(box) else columns_of(box)[:PARTS]:
            flat = self.flat(part)
            points = np.empty((count, len(self.tree.columns)), np.uint64)
            for k in range(len(self.tree.columns)):
                one, two = flat[2 * k], flat[2 * k + 1]
                inner = k < len(self.tree.intervals)
                points[:, k] = rng.integers(one, two, count, np.uint64, endpoint=True) if inner else two
            first = self.tree.first(points)
            points = points[(first >= 0) & (self.place[np.maximum(first, 0)] == at)]
            if not len(points):
                continue
            later = self.tree.first(points, int(np.searchsorted(self.place, at + 1)))
            for row, point in zip(later.tolist(), points, strict=True):
                following = int(self.place[row]) if row >= 0 else -1
                if following not in found:
                    found[following] = self.as_box([int(v) for v in point], part)
        return [(point, following) for following, point in found.items()]

    def flat(self, part: Columns) -> U64:
        """A product as a box of the tree."""
        flat: list[int] = []
        for c in self.tree.columns:
            flat += part.get(c, (0, 0) if c in WORDS else (0, INTERVALS[c]))
        return np.array(flat, np.uint64)

    def _wished(self, flat: U64, point: list[int], bound: int) -> list[int]:
        """The point, with values that read well in as many columns as stay uncovered."""
        for k, c in enumerate(self.tree.intervals):
            name, _, half = c.partition(".")
            if half == "low":
                continue
            ks = (
                [k, self.tree.columns.index(name + ".low")]
                if half and name + ".low" in self.tree.columns
                else [k]
            )
            if half and len(ks) == 1:
                continue
            bounds = [int(v) for i in ks for v in flat[2 * i : 2 * i + 2]]
            low, high = bounds[0], bounds[1]
            if half:
                low, high = bounds[0] << 64 | bounds[2], bounds[1] << 64 | bounds[3]
            value = choose(((low, high),), WISHES.get(name, ()), None)
            wished = list(point)
            for i, v in zip(ks, (value >> 64, value & WORD) if half else (value,), strict=True):
                wished[i] = v
            if any(not int(flat[2 * i]) <= wished[i] <= int(flat[2 * i + 1]) for i in ks):
                continue
            row = int(self.tree.first(np.array([wished], np.uint64))[0])
            if row < 0 or row >= bound:
                point = wished
        return point

    def as_box(self, point: list[int], part: Columns) -> Box:
        """A point as a box; what no box of the list restricts is left out."""
        values = dict(zip(self.tree.columns, point, strict=True))
        found: dict[Dimension, tuple[Range, ...]] = {}
        for k, c in enumerate(self.tree.columns):
            name, _, half = c.partition(".")
            if c in WORDS:
                cares = (
                    int(np.bitwise_or.reduce(self.tree.boxes[:, 2 * k], initial=0)) | part.get(c, (0, 0))[0]
                )
                base = 64 if half == "high" else 0
                for bit in range(64):
                    if cares >> bit & 1:
                        found[name, base + bit] = ((values[c] >> bit & 1,) * 2,)
            elif not half:
                found[c] = ((values[c],) * 2,)
            elif name not in found:
                upper, lower = (
                    (values[h], values[h]) if (h := f"{name}.{end}") in values else part.get(h, (0, WORD))
                    for end in ("high", "low")
                )
                # Where the lower half alone is restricted the first of the upper ones will do.
                found[name] = ((upper[0] << 64 | lower[0], upper[0] << 64 | lower[1]),)
        return found


__all__ = ["BoxCover", "RowAudit", "audit_rows"]

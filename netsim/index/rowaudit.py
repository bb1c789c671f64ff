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

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from netsim.errors import DEFAULT_LIMITS, BudgetExceeded, Limits
from netsim.index.boxtree import BoxTree
from netsim.index.classifier import Classifier
from netsim.index.rows import Rows
from netsim.kernels import Engine
from netsim.space.diagram import FALSE, LESS, OR
from netsim.space.packets import POOL

STEPS = 2_000_000
"""How many meetings one cover test may look at; a cut by the tree counts for 50."""
STACK = 1 << 16
SEED = 1
TRIES = 8
"""How often a point is moved."""
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
            members, point = covering.of(row)
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


_Answer = tuple[tuple[int, ...] | None, list[int] | None]
"""(irredundant cover, None), or (None, uncovered point), or (None, None) where nothing was decided."""


class _Covering:
    """The cover test on the rows of one list."""

    def __init__(self, tree: BoxTree, limits: Limits) -> None:
        self.tree, self.limits = tree, limits
        self.boxes, self.kernel, self.view = tree.boxes, tree.kernel, tree.view
        self.intervals, self.words = len(tree.intervals), len(tree.words)
        room = STACK if self.kernel is not None else 0
        self.stack = np.empty((room, max(2, self.boxes.shape[1])), np.uint64)
        self.starts = np.zeros(room, np.int32)
        self.point = np.zeros(max(1, len(tree.columns)), np.uint64)

    def of(self, row: int) -> _Answer:
        """Whether the earlier rows cover a row."""
        members = self.tree.cover(row, self.stack, STEPS // 50, self.point)
        if members is None:
            near = self.tree.near(self.boxes[row], 0, row)
            code, used = self.test(row, near)
            if code == 2:
                return self._by_diagram(row, near)
            members = near[used] if code else near[:0]
            if not code:
                return None, [int(v) for v in self.point[: len(self.tree.columns)]]
        elif not len(members):
            return None, [int(v) for v in self.point[: len(self.tree.columns)]]
        else:
            code, used = self.test(row, members)
            if code == 2:
                return self._by_diagram(row, members)
            members = members[used]
        at = 0
        while at < len(members):
            fewer = np.delete(members, at)
            code, used = self.test(row, fewer)
            if code == 2:
                return self._by_diagram(row, members)
            if code == 1:
                members = fewer
            else:
                at += 1
        return tuple(sorted(int(m) for m in members)), None

    def _by_diagram(self, row: int, members: NDArray[np.int64]) -> _Answer:
        """The same by diagrams; (None, None) where they take too many nodes."""
        try:
            with POOL.lock, POOL.budget(self.limits.nodes):
                mine, *nodes = self.tree.nodes(self.boxes[[row, *members]])
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

    def test(self, row: int, members: NDArray[np.int64]) -> tuple[int, NDArray[np.bool_]]:
        """What `kernels.boxes.cover` says of some members, and which of them took part."""
        if self.kernel is None:
            return self._plain(row, members)
        used = np.zeros(len(members), np.uint8)
        code = self.kernel.cover(
            self.view(self.boxes), self.view(np.ascontiguousarray(members)), len(members), row, self.intervals, self.words,
            self.view(self.stack.reshape(-1)), self.view(self.starts), self.view(used), STEPS, self.view(self.point),
        )  # fmt: skip
        return int(code), used.astype(np.bool_)

    def _plain(self, row: int, members: NDArray[np.int64]) -> tuple[int, NDArray[np.bool_]]:
        """The same on Python integers."""
        used = np.zeros(len(members), np.bool_)
        boxes = [[int(v) for v in self.boxes[m]] for m in members]
        stack = [([int(v) for v in self.boxes[row]], 0)]
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


__all__ = ["RowAudit", "audit_rows"]

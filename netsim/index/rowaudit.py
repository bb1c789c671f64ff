"""Which rows of a list are alive, and what covers the dead ones: exact, for lists of many thousand rows.

Theory of operation. A row is alive if some record has it as its first match. A few points of every row, its
corners and some drawn with a fixed seed, go through the classifier in one batch: a row that is the first match of
one of its points is alive, and the point is its witness. Only for what stays open the earlier rows that meet it
are gathered and subtracted (`kernels.boxes`), which ends in a witness or in a cover, made irredundant by
leaving out one member after another. Where the steps run out the answer is None, never a guess; the caller has
diagrams for that. Sampling never says that a row is dead. The twin is `boxes.cover` on every earlier row.

Costs. Mostly those of building the classifier; a row that stays open costs one pass over the list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from netsim.errors import DEFAULT_LIMITS, BudgetExceeded, Limits
from netsim.index.classifier import Classifier
from netsim.index.rows import INTERVALS, Rows
from netsim.kernels import Engine, engine, kernel

STEPS = 2_000_000
"""How many meetings one cover test may look at."""
STACK = 1 << 16
SEED = 1
DRAWN = 2
"""Points drawn in each row, beside two corners."""


@attrs.frozen(eq=False)
class RowAudit:
    """The rows of a list, alive or dead.

    `covers` maps each dead row to the earlier rows that cover it together; without any one of them a part of it is
    open. `open` are the rows for which the steps ran out. `witness` maps columns to a value for each row: the
    record that has the row as its first match, where `alive` says so, else without meaning.
    """

    alive: NDArray[np.bool_]
    covers: Mapping[int, tuple[int, ...]]
    open: tuple[int, ...]
    witness: Mapping[str, NDArray[np.uint64]]


def audit_rows(rows: Rows, *, limits: Limits = DEFAULT_LIMITS, choice: Engine | None = None) -> RowAudit:
    """Which rows are the first match of some record. No rows: nothing is alive or dead."""
    n = len(rows)
    alive = np.zeros(n, np.bool_)
    witness = {c: np.zeros(n, np.uint64) for c in rows.columns}
    if n:
        _sampled(rows, alive, witness, limits, choice)
    covers: dict[int, tuple[int, ...]] = {}
    left: list[int] = []
    rest = np.flatnonzero(~alive)
    if len(rest):
        covering = _Covering(rows, choice)
        for row in rest.tolist():
            members, point = covering.of(row)
            if point is not None:
                alive[row] = True
                for c, value in zip(covering.columns, point, strict=True):
                    witness[c][row] = value
            elif members is None:
                left.append(row)
            else:
                covers[row] = members
    return RowAudit(alive, covers, tuple(left), witness)


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


class _Covering:
    """The cover test on the rows of one list, as flat boxes."""

    def __init__(self, rows: Rows, choice: Engine | None) -> None:
        self.rows = rows
        intervals = [c for c in rows.columns if c in rows.low]
        words = [c for c in rows.columns if c in rows.care]
        self.columns = (*intervals, *words)
        self.intervals, self.words = len(intervals), len(words)
        parts = [bound for c in intervals for bound in (rows.low[c], rows.high[c])]
        parts += [part for c in words for part in (rows.care[c], rows.value[c])]
        self.boxes = (
            np.ascontiguousarray(np.stack(parts, axis=1)) if parts else np.zeros((len(rows), 0), np.uint64)
        )
        choice = choice or engine()
        self.kernel = kernel("boxes", choice)
        self.view: Any = memoryview if choice == "uncompiled" else (lambda array: array)
        self.stack = np.zeros(STACK * max(1, self.boxes.shape[1]), np.uint64)
        self.starts = np.zeros(STACK, np.int32)
        self.point = np.zeros(max(1, len(self.columns)), np.uint64)

    def near(self, row: int) -> NDArray[np.int64]:
        """The earlier rows that meet a row, large ones first: they leave the fewest parts."""
        low, high = self.rows.low, self.rows.high
        # The column that the row restricts most is asked first, the others only about what is left.
        narrow = sorted(low, key=lambda c: int(high[c][row] - low[c][row]) / (INTERVALS[c] + 1))
        found = np.arange(row)
        for i, c in enumerate(narrow):
            below, above = (low[c][:row], high[c][:row]) if i == 0 else (low[c][found], high[c][found])
            found = found[(below <= high[c][row]) & (above >= low[c][row])]
        for c in self.rows.care:
            care, value = self.rows.care[c][found], self.rows.value[c][found]
            found = found[((value ^ self.rows.value[c][row]) & care & self.rows.care[c][row]) == 0]
        size = np.zeros(len(found))
        for k in range(self.intervals):
            begin = np.maximum(self.boxes[found, 2 * k], self.boxes[row, 2 * k])
            end = np.minimum(self.boxes[found, 2 * k + 1], self.boxes[row, 2 * k + 1])
            size += np.log2((end - begin).astype(np.float64) + 1)
        return np.asarray(found[np.argsort(-size, kind="stable")], np.int64)

    def of(self, row: int) -> tuple[tuple[int, ...] | None, list[int] | None]:
        """(irredundant cover, None), or (None, uncovered point), or (None, None) where the steps ran out."""
        near = self.near(row)
        code, used = self.test(row, near)
        if code == 0:
            return None, [int(v) for v in self.point[: len(self.columns)]]
        if code == 2:
            return None, None
        members = near[used]
        at = 0
        while at < len(members):
            fewer = np.delete(members, at)
            code, used = self.test(row, fewer)
            if code == 2:
                return None, None
            if code == 1:
                members = fewer
            else:
                at += 1
        return tuple(sorted(int(m) for m in members)), None

    def test(self, row: int, members: NDArray[np.int64]) -> tuple[int, NDArray[np.bool_]]:
        """What `kernels.boxes.cover` says of some members, and which of them took part."""
        if self.kernel is None:
            return self._plain(row, members)
        used = np.zeros(len(members), np.uint8)
        code = self.kernel.cover(
            self.view(self.boxes), self.view(np.ascontiguousarray(members)), len(members), row, self.intervals, self.words,
            self.view(self.stack), self.view(self.starts), self.view(used), STEPS, self.view(self.point),
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

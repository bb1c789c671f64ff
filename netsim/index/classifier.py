"""The batch classifier: for each record of a batch the first row that holds it.

Theory of operation. Two columns (or pairs of halves) are *axes*, in practice the addresses; what a row says of
all other columns is its *spec*. Rows that restrict IPv6 addresses and those that do not are *parts* with axes and
tables of their own; the earlier answer of the two counts.

1. The other columns become one class of values that no spec tells apart (`index.specs`).
2. On each axis a row is *narrow* or *wide*. The bounds of all rows cut an axis into segments (`index.segments`);
   a segment has a class among the narrow ranges (0 where there is none) and one among the wide. So there are
   at most four groups of rows, fewer where their tables are small all the same.
3. In each group the pair of classes names an entry: the rows of the group that hold it, first to last. Wide
   ranges are few and narrow ones meet few others, so that a list of rows has about as many entries
   (`index.tables`). The first row of an entry whose spec allows the class wins, unless another group has an
   earlier one. Entries of small groups, and long ones, are worked out for every class beforehand.
4. Long lists of scattered rows are hashed by the upper bits of both addresses, in up to three tables, where that
   leaves few rows to the groups; rows found there are compared whole.

Where step 1 would need a large table, bit vectors of rows answer instead: one for each class of each column,
ANDed word by word (Lakshman and Stiliadis, SIGCOMM 1998). All choices are made by the rows alone; nothing is
remembered from batch to batch. The steps run in `kernels.classify`; without it the same tables, but for the
hashed ones, are asked with numpy. The specification is `Rows.scan`.

Invariants: C1 every answer is the least row, over all groups and buckets, that holds the record; C2 class ids and hashed
rows are compared, never trusted; C3 arrays of the kernel's types are read as they are, others block by block.

Costs. Building is linear in rows and entries but for sorting; entries are bounded by `Limits.memory`, past which
the error is `BudgetExceeded`. A record costs a look-up a column, at most three an axis, and about two a group.
Where it is weak: rows with many different specs over many columns (bit vectors are slower), and many rows that
are neither narrow nor few on both axes (step 3). `start` costs a scan of the rows for each record whose first row
lies before its start.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from netsim.errors import DEFAULT_LIMITS, BudgetExceeded, Limits, QuestionError
from netsim.index.buckets import NONE
from netsim.index.programs import INPUTS, Group, Program
from netsim.index.rows import INTERVALS, WORDS, Rows
from netsim.index.segments import Axis
from netsim.index.specs import Step, TooMany, steps_of, unpacked
from netsim.index.tables import Part, part_of
from netsim.kernels import Engine, engine, handed, kernel

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
_INPUTS = [np.dtype(kind) for kind in ("u4", "u4", *["u1"] * INPUTS, *["u2"] * INPUTS)]
"""The types of the columns that a program reads as they are: axes, columns of 8 bits, of 16."""
BLOCK = 8192
"""Records that are converted, or go through numpy's steps, together."""


SCANNED = 1 << 22
"""How many records times rows one step of a scan with numpy looks at."""


@attrs.define(slots=True)
class _Vectors:
    """Bit vectors of rows for each class of each column, for rows that have no other tables."""

    numbers: I32
    steps: list[Step]
    offsets: I64
    bits: U64


class Classifier:
    """The index of `rows` for batches. `choice` is an engine, by default this process's.

    Raises `BudgetExceeded` where the tables would take more than `limits.memory` bytes.
    """

    def __init__(self, rows: Rows, *, limits: Limits = DEFAULT_LIMITS, choice: Engine | None = None) -> None:
        began = time.perf_counter()
        self.rows = rows
        self.limits = limits
        self._begin(choice or engine())
        six = np.zeros(len(rows), np.bool_)
        for c in rows.low:
            if c.startswith(("src6", "dst6")):
                six |= (rows.low[c] != 0) | (rows.high[c] != np.uint64(INTERVALS[c]))
        self._parts: list[Part | _Vectors] = [
            self._part(np.flatnonzero(six == which)) for which in (False, True) if bool((six == which).any())
        ]
        if self.memory() > limits.memory:
            raise BudgetExceeded(
                f"a classifier of these {len(rows)} rows takes {self.memory() >> 20} MiB, "
                f"more than {limits.memory >> 20} (Limits.memory)"
            )
        self.build_seconds = time.perf_counter() - began

    def _begin(self, choice: Engine) -> None:
        self._kernel = kernel("classify", choice)
        self._layout = kernel("layout", choice)
        self._view = handed(choice)

    def _part(self, member: I64) -> Part | _Vectors:
        """The tables of some rows; columns that none of them restricts are left out."""
        rows = self.rows
        every = len(member) == len(rows)
        low = {c: a if every else a[member] for c, a in rows.low.items()}
        high = {c: rows.high[c] if every else rows.high[c][member] for c in low}
        for c in list(low):
            if not low[c].any() and bool((high[c] == np.uint64(INTERVALS[c])).all()):
                del low[c], high[c]
        words = {c: (rows.care[c][member], rows.value[c][member]) for c in rows.care}
        words = {c: pair for c, pair in words.items() if pair[0].any()}
        numbers = member.astype(np.int32)
        try:
            return part_of(
                low, high, words, numbers, len(rows), self.limits, self._kernel, self._layout, self._view
            )
        except TooMany:
            return self._vectors({c: (low[c], high[c]) for c in low} | words, numbers)

    def _vectors(self, columns: Mapping[str, tuple[U64, U64]], numbers: I32) -> _Vectors:
        """Every row is a spec of its own."""
        n = len(numbers)
        steps: list[Step] = []
        for c, (one, two) in columns.items():
            try:
                steps += steps_of(c, one, two)
                total = sum(step.specs().nbytes for step in steps)
            except TooMany:
                total = self.limits.memory + (n * n >> 3)
            if total > self.limits.memory:
                raise BudgetExceeded(
                    f"a classifier of these {n} rows takes at least {total >> 20} MiB of bit vectors, "
                    f"more than {self.limits.memory >> 20} (Limits.memory)"
                )
        offsets = np.cumsum([0, *(step.count for step in steps[:-1])])
        bits = np.concatenate([step.specs() for step in steps])
        for step in steps:
            step.holds = None
        return _Vectors(numbers, steps, offsets, bits)

    # What an artifact keeps

    def state(self) -> dict[str, Any]:
        """What `restored` takes: arrays, numbers, texts, lists, and objects of `STORED`."""
        return {
            "parts": self._parts,
            "build_seconds": self.build_seconds,
            "kernels": self._kernel is not None,
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any], rows: Rows, limits: Limits) -> Classifier | None:
        """A classifier of the same rows; None where this process' engine is of another kind."""
        found = cls.__new__(cls)
        found.rows, found.limits = rows, limits
        found._begin(engine())
        found._parts, found.build_seconds = state["parts"], state["build_seconds"]
        return found if state["kernels"] == (found._kernel is not None) else None

    # Asking

    def first(self, columns: Mapping[str, NDArray[Any]], *, threads: int = 1) -> I32:
        """For each record the first row that holds it, -1 if none does.

        `columns` maps names of columns (`rows.INTERVALS`, `rows.WORDS`) to one-dimensional integer arrays of one
        length. A column that rows restrict and the batch lacks is 0; others are not looked at. No records: an empty
        array. Raises `QuestionError` for arrays of another shape or type and for values out of range.
        """
        size, taken = _checked(self.rows, columns)
        best = np.empty(size, np.int32)
        if not self._parts or not size:
            best.fill(-1)
            return best
        if threads > 1 and size > BLOCK:
            cuts = [size * k // threads for k in range(threads + 1)]
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(lambda k: self._slice(taken, cuts[k], cuts[k + 1], best), range(threads)))
        else:
            self._slice(taken, 0, size, best)
        return best

    def _slice(self, columns: Mapping[str, NDArray[Any]], start: int, stop: int, best: I32) -> None:
        """Some records through all parts."""
        work = np.zeros((7, 520), np.int32)
        last = len(self._parts) - 1
        for k, part in enumerate(self._parts):
            if isinstance(part, Part) and part.program is not None:
                self._program(part, part.program, columns, start, stop, best, work, k == 0, k == last)
                continue
            if k == 0:
                best[start:stop] = NONE
            for at in range(start, stop, BLOCK):
                end = min(at + BLOCK, stop)
                if isinstance(part, _Vectors):
                    self._by_vectors(part, columns, at, end, best)
                else:
                    _numpy(part, columns, at, end, best)
            if k == last:
                best[start:stop][best[start:stop] >= len(self.rows)] = -1

    def _program(
        self, part: Part, program: Program, columns: Mapping[str, NDArray[Any]], start: int, stop: int,
        best: I32, work: I32, fresh: bool, final: bool,
    ) -> None:  # fmt: skip
        """Some records through the compiled steps of a part."""
        kernel, view = self._kernel, self._view
        assert kernel is not None
        names = [
            *(axis.columns[0] if axis.direct else "" for axis in part.axes),
            *[*program.bytes, "", "", "", ""][:INPUTS],
            *[*program.words, "", "", "", ""][:INPUTS],
        ]
        natural = not program.ready and all(
            columns[c].dtype == kind and columns[c].flags.c_contiguous and columns[c].flags.writeable
            for c, kind in zip(names, _INPUTS, strict=True)
            if c
        )
        each = stop - start if natural else BLOCK
        tables = [view(program.code), *map(view, program.pools)]
        for at in range(start, stop, each):
            end = min(at + each, stop)
            inputs = [
                view(_taken(columns[c][at:end], kind) if c else np.zeros(0, kind))
                for c, kind in zip(names, _INPUTS, strict=True)
            ]
            ready = np.zeros((max(1, len(program.ready)), end - at if program.ready else 1), np.int32)
            for line, what in enumerate(program.ready):
                ready[line] = self._ready(part, what, columns, at, end)
            kernel.run(
                *tables,
                *inputs,
                view(ready),
                view(work),
                view(best[at:end]),
                fresh,
                len(self.rows) if final else 0,
            )

    def _ready(
        self, part: Part, what: int, columns: Mapping[str, NDArray[Any]], at: int, end: int
    ) -> NDArray[Any]:
        """One line of classes or segments that the program finds ready."""
        k, view = self._kernel, self._view
        assert k is not None
        step, names = None, part.axes[-1 - what].columns if what < 0 else ()
        starts: U64 | None = None
        if what < 0:
            starts = part.axes[-1 - what].starts if len(names) == 2 else part.axes[-1 - what].starts[0]
        if what >= 0:
            step = part.steps[what]
            names, starts = (step.column,), step.starts
            if step.classes is None:
                return step.of(columns[step.column][at:end])
        values = [view(_taken(columns[c][at:end], np.dtype(np.uint64))) for c in names]
        found = np.zeros(end - at, np.int32)
        (k.search64 if len(values) == 1 else k.search128)(*values, view(starts), view(found))
        if step is not None and step.classes is not None:
            return np.asarray(step.classes[found])
        return found * np.int32(max(1, len(part.summary["groups"])))

    def _by_vectors(
        self, part: _Vectors, columns: Mapping[str, NDArray[Any]], at: int, end: int, best: I32
    ) -> None:
        """One block by bit vectors."""
        found = np.stack([step.of(columns[step.column][at:end]) for step in part.steps]).astype(np.int32)
        numbers = np.append(part.numbers, np.int32(NONE))  # -1 is none
        if self._kernel is not None:
            row = np.zeros(end - at, np.int32)
            self._kernel.vectors(*map(self._view, (found, part.offsets, part.bits, row)))
            best[at:end] = np.minimum(best[at:end], numbers[row])
            return
        for some in range(0, end - at, 512):  # 512 records' vectors at a time
            classes = found[:, some : some + 512]
            left = part.bits[classes[0] + part.offsets[0]]
            for k in range(1, len(classes)):
                left &= part.bits[classes[k] + part.offsets[k]]
            bits = unpacked(left, len(part.numbers))
            row = np.where(bits.any(axis=1), bits.argmax(axis=1), -1)
            there = slice(at + some, at + some + len(row))
            best[there] = np.minimum(best[there], numbers[row])

    def memory(self) -> int:
        """The bytes of all tables."""
        return sum(p.memory() if isinstance(p, Part) else p.bits.nbytes for p in self._parts)

    def stats(self) -> dict[str, Any]:
        """Sizes, seconds and bytes: what the classifier is made of."""
        return {
            "rows": len(self.rows),
            "engine": "numpy" if self._kernel is None else "kernels",
            "build_seconds": round(self.build_seconds, 6),
            "memory_bytes": self.memory(),
            "parts": [
                {"method": "pairs", **p.summary, "memory_bytes": p.memory()}
                if isinstance(p, Part)
                else {"method": "bit vectors", "rows": len(p.numbers), "memory_bytes": p.bits.nbytes}
                for p in self._parts
            ],
        }


STORED = (Axis, Group, Part, Program, Step, _Vectors)
"""The classes that a classifier's state is made of."""


def scan(rows: Rows, columns: Mapping[str, NDArray[Any]], start: I32, choice: Engine | None = None) -> I32:
    """For each record the first row from `start` on that holds it, -1 if none does, one row after another.

    All columns that rows restrict are there.
    """
    size, first = len(start), int(start.min(initial=len(rows)))
    found = np.full(size, -1, np.int32)
    if first >= len(rows):
        return found
    records = {c: columns[c].astype(np.uint64) for c in rows.columns}
    low, high, care, value = (
        {c: a[first:] for c, a in of.items()} for of in (rows.low, rows.high, rows.care, rows.value)
    )
    chosen = choice or engine()
    asked = kernel("classify", chosen)
    if asked is not None:

        def lines(of: Mapping[str, Any], names: Iterable[str], length: int) -> U64:
            return np.stack([of[c] for c in names]) if names else np.zeros((0, length), np.uint64)

        n = len(rows) - first
        boxes = lines(low, low, n), lines(high, low, n), lines(care, care, n), lines(value, care, n)
        points = lines(records, low, size), lines(records, care, size)
        asked.scan(*map(handed(chosen), (*boxes, *points, start - np.int32(first), found)))
    else:
        each = max(1, SCANNED // (len(rows) - first))
        for at in range(0, size, each):
            some = slice(at, at + each)
            holds = np.arange(first, len(rows)) >= start[some, None]
            for c in low:
                holds &= (low[c] <= records[c][some, None]) & (records[c][some, None] <= high[c])
            for c in care:
                holds &= (records[c][some, None] & care[c]) == value[c]
            found[some] = np.where(holds.any(axis=1), holds.argmax(axis=1), -1)
    return np.where(found < 0, np.int32(-1), found + np.int32(first))


def _numpy(part: Part, columns: Mapping[str, NDArray[Any]], at: int, end: int, best: I32) -> None:
    """One block with numpy alone, on the same tables."""
    classes: NDArray[Any] = np.zeros(end - at, np.int64)
    for i, step in enumerate(part.steps):
        found = step.of(columns[step.column][at:end])
        classes = found if i == 0 else step.pairs[classes.astype(np.int64) * step.width + found]  # type: ignore[index]
    classes = classes.astype(np.int64)
    segments = [axis.of(columns, at, end) for axis in part.axes]
    for g in part.groups:
        a, b = (m[segment].astype(np.int64) for m, segment in zip(g.maps, segments, strict=True))
        if g.grid is not None:
            place = classes if g.of_class is None else g.of_class[classes]
            row = g.patterns[g.grid[a * g.sizes[1] + b].astype(np.int64), place].astype(np.int32)
            best[at:end] = np.minimum(best[at:end], row)
            continue
        key = (a << 32) | b
        place = np.minimum(np.searchsorted(g.keys, key), len(g.keys) - 1)
        left = np.flatnonzero(g.keys[place] == key)
        _lowered(part, g, place[left], classes[left], at + left, best)


def _lowered(part: Part, g: Group, entry: I64, classes: I64, where: I64, best: I32) -> None:
    """Lowers `best` by the entries of a group."""

    def allowed(spec: NDArray[Any], c: NDArray[Any]) -> NDArray[np.bool_]:
        word = part.allows[spec, c >> 6]
        return np.asarray(word >> (c & 63).astype(np.uint64) & np.uint64(1), np.bool_)

    cells = g.cells[entry]
    hit = allowed(cells[:, 2], classes) & (cells[:, 1] < best[where])
    best[where[hit]] = cells[hit, 1]
    known = cells[:, 3] < 0
    best[where[known]] = np.minimum(best[where[known]], g.patterns[-1 - cells[known, 3], classes[known]])
    go = ~hit & (cells[:, 3] > 0)
    place, c, there = cells[go, 3].astype(np.int64), classes[go], where[go]
    while len(place):
        row = g.rest[place]
        early = row < best[there]
        hit = early & allowed(g.rest[place + 1] * early, c)
        best[there[hit]] = row[hit]
        on = early & ~hit
        place, c, there = place[on] + 2, c[on], there[on]


def _taken(values: NDArray[Any], kind: np.dtype[Any]) -> NDArray[Any]:
    """Values as a kernel reads them; kernels want arrays that could be written to."""
    array = np.ascontiguousarray(values, kind)
    return array if array.flags.writeable else array.copy()


def _checked(rows: Rows, columns: Mapping[str, Any]) -> tuple[int, dict[str, NDArray[Any]]]:
    """The columns that rows restrict, as arrays of one length within their ranges."""
    taken: dict[str, NDArray[Any]] = {}
    size = -1
    for name, given in columns.items():
        if name not in INTERVALS and name not in WORDS:
            raise QuestionError.of(
                f"no column {name!r}", hint=f"columns are {', '.join((*INTERVALS, *WORDS))}"
            )
        array = np.asarray(given)
        if array.ndim != 1 or (array.dtype.kind not in "iub"):
            raise QuestionError.of(
                f"column {name!r} is {array.dtype} of shape {array.shape}",
                hint="a column is a one-dimensional array of integers, one for each record",
            )
        if size not in (-1, len(array)):
            raise QuestionError.of(
                f"column {name!r} has {len(array)} values, others have {size}",
                hint="all columns are of one length",
            )
        size = len(array)
        if name not in rows.low and name not in rows.care:
            continue
        top = INTERVALS.get(name, WORDS.get(name, 0))
        wider = array.dtype.kind == "i" or array.dtype.itemsize * 8 > top.bit_length() or top & (top + 1)
        if wider and len(array) and (int(array.min()) < 0 or int(array.max()) > top):
            raise QuestionError.of(
                f"column {name!r} goes from {int(array.min())} to {int(array.max())}",
                hint=f"its values are 0 to {top}",
            )
        taken[name] = array.view(np.uint8) if array.dtype.kind == "b" else array
    size = max(size, 0)
    for name in rows.columns:
        if name not in taken:
            taken[name] = np.zeros(size, np.uint16)
    return size, taken


__all__ = ["STORED", "Classifier", "scan"]

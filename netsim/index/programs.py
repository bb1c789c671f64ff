"""Programs: the tables of a part of the classifier as `kernels.classify` runs them.

Theory of operation. All tables lie one behind another in three pools; a step is a line of numbers, an operation
and places in the pools. Where one group has a table over pairs, its classes stand where the segments would, which
saves a look-up an axis; else a segment is the place where its classes in all groups lie side by side.

Entries that have no table over pairs lie in *slots*: the lines of the sparse table laid over each other so that no
two entries meet (Tarjan and Yao, Storing a sparse table, CACM 1979). A class on the first axis is where its line
begins; a slot names its class on the second, so one look decides. The axis with more classes gives the lines, which
are short then. Entries that do not fit so are searched in the order of their keys.

Invariants: P1 tables begin at lines of the cache; P2 no two lines of slots begin at one place, and that of class 0
is empty; P3 every list in a pool ends with `NONE`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from netsim.index.buckets import Buckets
from netsim.index.segments import Axis
from netsim.index.specs import Step

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
TRIES = 3000
"""Places that are tried for a line of slots before it goes to the end."""
SPREAD = 4
"""The most slots an entry may take; where they take more, entries are searched."""
LINE = 64
"""Bytes of a line of the cache."""
INPUTS = 4
"""How many columns of 8 bits, and how many of 16, a program reads as they are."""
WIDTH = 13
"""Numbers of a step."""


@attrs.define(slots=True, eq=False)
class Group:
    """Rows that are narrow or wide on one axis and on the other alike, by pairs of classes."""

    name: str
    rows: int
    maps: list[I32]  # for each axis, segment -> class, 0 where no row is
    sizes: tuple[int, int]  # how many classes
    keys: I64  # of each entry: classes, the first on the upper half; ascending
    cells: I32  # of each entry: (class on the second axis, row, spec, what comes next), see kernels.classify
    rest: I32
    patterns: NDArray[Any]  # the row for each class; where there is a grid, 0 is nothing's
    grid: NDArray[Any] | None = None  # pair -> pattern
    of_class: I32 | None = None  # class -> place in the patterns, where these tell fewer classes apart
    form: str = ""


@attrs.define(slots=True, eq=False)
class Program:
    """Steps, the pools of 16, 32 and 64 bits, and the columns that are read.

    `ready` says what is worked out before the program, a line each: a step (its place) or an axis (-1, -2).
    """

    code: I64
    pools: list[NDArray[Any]]
    bytes: list[str]
    words: list[str]
    ready: list[int]


class _Pools:
    def __init__(self) -> None:
        self._parts: dict[str, list[tuple[int, NDArray[Any]]]] = {"u2": [], "i4": [], "u8": []}
        self._sizes = dict.fromkeys(self._parts, 0)

    def put(self, array: NDArray[Any], kind: str) -> int:
        """Where the table begins."""
        each = LINE // np.dtype(kind).itemsize
        at = -(-self._sizes[kind] // each) * each
        self._parts[kind].append((at, array.ravel()))
        self._sizes[kind] = at + array.size
        return at

    def fitting(self, array: NDArray[Any]) -> tuple[int, bool]:
        """(the place, whether it is in the pool of 32 bits) in the pool of 16 bits where values fit in there."""
        wide = array.dtype != np.uint16 and bool(array.size) and int(array.max()) > 0xFFFF
        return self.put(array, "i4" if wide else "u2"), wide

    def pools(self) -> list[NDArray[Any]]:
        """The pools."""
        found = []
        for kind, parts in self._parts.items():
            size = np.dtype(kind).itemsize
            whole = np.zeros(self._sizes[kind] + 2 * LINE // size, kind)
            whole = whole[-whole.ctypes.data % LINE // size :]
            for at, array in parts:
                whole[at : at + array.size] = array
            found.append(whole)
        return found


class _Linker:
    """Writes a program."""

    def __init__(self, kernel: ModuleType, layout: ModuleType, view: Callable[[Any], Any]) -> None:
        self._kernel = kernel
        self._layout = layout
        self._view = view
        self._code: list[list[int]] = []
        self._pools = _Pools()
        self.bytes: list[str] = []
        self.words: list[str] = []
        self.ready: list[int] = []

    def _op(self, name: str, *operands: int) -> None:
        line = [self._kernel.OPS.index(name), *operands]
        self._code.append(line + [0] * (WIDTH - len(line)))

    def program(self) -> Program:
        code = np.array(self._code, np.int64).reshape(-1, WIDTH)
        return Program(code, self._pools.pools(), self.bytes, self.words, self.ready)

    def steps(self, steps: Sequence[Step]) -> None:
        """The class of the columns that are not axes."""
        for k, step in enumerate(steps):
            to, wide = (-1, False) if step.pairs is None else self._pools.fitting(step.pairs)
            kind = "bytes" if step.table is not None and len(step.table) <= 256 else "words"
            columns = self.bytes if kind == "bytes" else self.words
            if step.table is None or len(columns) == INPUTS:
                self._op("ready", len(self.ready), 0, to, step.width, wide)
                self.ready.append(k)
            else:
                self._op(kind, len(columns), self._pools.put(step.table, "u2"), to, step.width, wide)
                columns.append(step.column)

    def axis(self, k: int, axis: Axis, of: I32, scale: int) -> None:
        """Segments, replaced by `of`, which is `scale` times the segment where no table can hold it."""
        put = self._pools.put
        if not axis.columns:
            self._op("segment", k + 1, -1, int(of[0]))
        elif axis.nested is not None:
            top, middle, bottom = axis.nested
            upper = (put(np.ascontiguousarray(t).view(np.int32), "i4") for t in (top, middle))
            self._op("nested", k + 1, *upper, put(of[bottom], "i4"))
        elif axis.bucket is not None:
            starts = axis.starts[0].astype(np.uint32).view(np.int32)
            self._op("search", k + 1, put(axis.bucket, "i4"), axis.shift, put(starts, "i4"), scale)
        else:
            self._op("segment", k + 1, len(self.ready))
            self.ready.append(-1 - k)

    def groups(
        self, groups: Sequence[Group], axes: Sequence[Axis], classes: int, allows: tuple[int, int]
    ) -> None:
        """The axes, and the look-ups of all groups."""
        put, every = self._pools.put, len(groups)
        alone = every == 1 and groups[0].grid is not None
        alone = alone and all(axis.nested is not None or not axis.columns for axis in axes)
        for k, axis in enumerate(axes):
            if alone:
                of = groups[0].maps[k] * np.int32(1 if k else groups[0].sizes[1])
            else:
                of = np.arange(axis.count, dtype=np.int32) * np.int32(every)
            self.axis(k, axis, of, every)
        placed = [self._placed(g) for g in groups]
        maps = [-1, -1]
        if not alone:
            maps = [put(np.stack([p[0][k] for p in placed], axis=1), "i4") for k in range(2)]
        for k, (g, (_, swapped, slots)) in enumerate(zip(groups, placed, strict=True)):
            first, second = (m if alone else m + k for m in maps)
            if g.grid is not None:
                grid, wide = self._pools.fitting(g.grid)
                long = g.patterns.dtype != np.uint16
                patterns = put(g.patterns, "i4" if long else "u2")
                place = -1 if g.of_class is None else put(g.of_class, "i4")
                form = wide + 2 * long
                self._op("grid", first, second, place, grid, 0, patterns, g.patterns.shape[1], form)
                continue
            tables = (put(slots, "i4"), put(g.rest, "i4"), put(g.patterns, "i4"), classes, *allows)
            if g.form == "sorted":
                self._op("sorted", first, second, 0, *tables, put(g.keys, "u8"), len(g.keys))
            elif swapped:
                self._op("slots", second, first, 0, *tables, 2, 1)
            else:
                self._op("slots", first, second, 0, *tables, 1, 2)

    def buckets(self, buckets: Sequence[Buckets], allows: tuple[int, int]) -> None:
        """The hashed rows."""
        for b in buckets:
            tables = [self._pools.put(t, "i4") for t in (b.slots, b.rest)]
            self._op("bucket", *b.left_out, b.shift, *tables, self._pools.put(b.marks, "u2"), 0, *allows)

    def allows(self, allows: U64) -> tuple[int, int]:
        """Where `allows` lies, and the words of a spec."""
        return self._pools.put(allows, "u8"), allows.shape[1]

    def _placed(self, g: Group) -> tuple[list[I32], bool, I32]:
        """(the maps, whether the axes are swapped, the slots) of a group; sets its form."""
        if g.grid is not None:
            return [g.maps[0] * np.int32(g.sizes[1]), g.maps[1]], False, g.cells
        swapped = g.sizes[0] < g.sizes[1]
        x, y, cells = g.keys >> 32, g.keys & 0xFFFF_FFFF, g.cells
        if swapped:
            order = np.argsort((y << 32) | x)
            x, y, cells = y[order], x[order], cells[order]
        lines = np.flatnonzero(np.concatenate([[True], x[1:] != x[:-1]]))
        begin = np.append(lines, len(x))
        by_size = np.argsort(-np.diff(begin), kind="stable")
        goal = len(x) * 3 // 2 + min(g.sizes)
        most = SPREAD * len(x) + min(g.sizes) + 64
        taken, used = np.zeros(most, np.uint8), np.zeros(most, np.uint8)
        base = np.zeros(len(lines), np.int32)
        arrays = (begin, by_size, y.astype(np.int32), taken, used, base)
        size = self._layout.comb(*map(self._view, arrays), goal, TRIES)
        if size < 0:
            g.form = "sorted"
            return g.maps, False, g.cells
        g.form = "slots"
        slots = np.zeros((size + min(g.sizes) + 1, 4), np.int32)  # a class on the second axis is never 0
        place = np.repeat(base, np.diff(begin)) + y
        slots[place] = cells
        slots[place, 0] = y
        of_line = np.zeros(max(g.sizes), np.int32)
        of_line[x[lines]] = base
        maps = [g.maps[0], of_line[g.maps[1]]] if swapped else [of_line[g.maps[0]], g.maps[1]]
        return maps, swapped, slots


def program_of(
    steps: Sequence[Step], allows: U64, classes: int, axes: Sequence[Axis], groups: Sequence[Group],
    buckets: Sequence[Buckets], kernel: ModuleType, layout: ModuleType, view: Callable[[Any], Any],
) -> Program:  # fmt: skip
    """The program of a part's tables."""
    linker = _Linker(kernel, layout, view)
    linker.steps(steps)
    place = linker.allows(allows)
    if groups:
        linker.groups(groups, axes, classes, place)
    linker.buckets(buckets, place)
    return linker.program()


__all__ = ["INPUTS", "Group", "Program", "program_of"]

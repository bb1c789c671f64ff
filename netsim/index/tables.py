"""The tables of the batch classifier for one family of addresses: groups of rows, and the program.

Theory of operation: see `index.classifier`. A `Part` holds rows whose addresses lie on the same two axes.

Groups. In a group the pair of axis classes names an *entry*: the rows of the group that hold it, first to last.
Entries lie in a table over pairs where that is small and each has a pattern (the row for each class of the other
columns), else in slots: the lines of the sparse table over pairs laid over each other, each slot naming its
class on the second axis (Tarjan and Yao, CACM 1979), so that one look decides.

Long lists whose rows lie scattered are found in `index.buckets` instead, which leaves few rows to the groups.

Invariants: T1 each row is in one group or one bucket; T2 an entry's rows ascend; T3 a list ends with
`NONE`; T4 no two lines of slots begin at one place, and the line of class 0 is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from netsim.errors import BudgetExceeded, Limits
from netsim.index import buckets
from netsim.index.buckets import NONE, Buckets, buckets_of
from netsim.index.rows import INTERVALS
from netsim.index.segments import Axis, Bounds, axis_of, bounds_of, covered, segment, spans, wider
from netsim.index.specs import Step, specs_of, unpacked

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
LONG = 6
"""Lists of more rows are worked out for each class."""
MERGED = 1 << 18
"""The most entries of groups that are joined, counted with their rows."""
GRID = 1 << 18
"""Cells of a table over pairs that are granted."""
SOLVED = 3 << 20
"""The most bytes of a group's patterns for it to have a table over pairs."""
WIDTHS = (24, 26, 28, 20, 16, 30, 12)
"""Thresholds that are tried: ranges of more than 2^w values are wide (of 2^(w + 96) for 128 bits)."""
TRIES = 3000
"""Places that are tried for a line of slots before it goes to the end."""
SPREAD = 4
"""The most slots an entry may take; where they take more, entries are searched."""
LINE = 64
"""Bytes of a line of the cache."""
SLOT_INPUTS = 4
"""How many columns of 8 bits, and how many of 16, a program reads as they are."""


@attrs.define(slots=True)
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
    form: str = ""


class Pools:
    """The three pools of tables, and what has been put into them so far; tables begin at lines of the cache."""

    def __init__(self) -> None:
        self._parts: dict[str, list[tuple[int, NDArray[Any]]]] = {"<u2": [], "<i4": [], "<u8": []}
        self._sizes = dict.fromkeys(self._parts, 0)

    def put(self, array: NDArray[Any], kind: str) -> int:
        """Where the table begins."""
        each = LINE // np.dtype(kind).itemsize
        at = -(-self._sizes[kind] // each) * each
        self._parts[kind].append((at, array.ravel()))
        self._sizes[kind] = at + array.size
        return at

    def small(self, array: NDArray[Any]) -> tuple[int, int]:
        """The place in the pool of 16 bits, or of 32 where they are needed, and which of them: 0 or 1."""
        wide = bool(len(array)) and int(array.max()) > 0xFFFF
        return self.put(array, "<i4" if wide else "<u2"), int(wide)

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


def _lists(rows: I32, begin: I64, end: I64) -> tuple[I64, I64]:
    """(representative, number of each): which of the lists `rows[begin[k]:end[k]]`, one behind another, are equal."""
    size = end - begin
    draws = np.random.default_rng(1).integers(1, 1 << 63, int(rows.max()) + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        mixed = np.add.reduceat(draws[rows], begin)
    _, kept, number = np.unique(mixed, return_index=True, return_inverse=True)
    number = number.ravel()
    alike = kept[number]
    if np.array_equal(size[alike], size):
        there = np.repeat(begin[alike] - begin, size) + np.arange(len(rows))
        if np.array_equal(rows[there], rows):
            return kept.astype(np.int64), number.astype(np.int64)
    every = np.arange(len(begin))  # two lists with one hash: each stays as it is
    return every, every


class Part:
    """The tables of some rows, given as columns, with their numbers ascending."""

    def __init__(
        self,
        low: Mapping[str, U64],
        high: Mapping[str, U64],
        words: Mapping[str, tuple[U64, U64]],
        numbers: I32,
        limits: Limits,
        kernel: ModuleType | None,
        view: Callable[[Any], Any],
    ) -> None:
        self.limits = limits
        self._kernel = kernel
        self._view = view
        self.numbers = numbers
        self.short = bool(len(numbers)) and int(numbers[-1]) < 0xFFFF
        axes = _axes(low, high)
        others = {c: (low[c], high[c]) for c in low if not any(c in axis for axis in axes)} | dict(words)
        self.spec, self.steps, self.allows, self.classes = specs_of(others, len(numbers))
        ranges = [bounds_of(low, high, axis, len(numbers)) for axis in axes]
        left = np.arange(len(numbers))
        self.buckets: list[Buckets] = []
        direct = all(len(axis) == 1 and INTERVALS[axis[0]] == 0xFFFF_FFFF for axis in axes)
        if kernel is not None and direct and len(left) > buckets.BULK:
            first, second = ((r[0][0].astype(np.uint32), r[1][0].astype(np.uint32)) for r in ranges)
            self.buckets, left = buckets_of(first, second, numbers, self.spec, kernel, view)
        inside: list[Bounds] = [(r[0][:, left], r[1][:, left]) for r in ranges]
        self.axes: list[Axis] = [axis_of(axis, r) for axis, r in zip(axes, inside, strict=True)]
        self.groups: list[Group] = self._grouped(left, inside) if len(left) else []
        if kernel is not None:
            self._link()

    # Groups

    def _grouped(self, left: I64, ranges: list[Bounds]) -> list[Group]:
        """The groups of the rows `left`: few where their tables stay small, else the four of narrow and wide."""
        tops = [[INTERVALS[c] for c in axis.columns] or [0] for axis in self.axes]
        wides = self._threshold(ranges, tops)
        kinds = wides[0] * 2 + wides[1]
        for joined in ((0, 0, 0, 0), (0, 0, 1, 1), (0, 1, 0, 1)):
            members = [
                m for k in sorted(set(joined)) if len(m := np.flatnonzero(np.take(joined, kinds) == k))
            ]
            entries = cells = 0
            for member in members:
                a, b = (
                    spans((r[0][:, member], r[1][:, member]), t) for r, t in zip(ranges, tops, strict=True)
                )
                entries += int(((a[1] - a[0]) * (b[1] - b[0])).sum())
                cells = max(cells, (int(a[1].max()) + 1) * (int(b[1].max()) + 1))
            if entries <= MERGED and cells <= GRID:
                groups = [self._group(left, m, f"group {k}", ranges) for k, m in enumerate(members)]
                if all(g.grid is not None for g in groups):
                    return groups
        names = ("narrow, narrow", "narrow, wide", "wide, narrow", "wide, wide")
        groups = [
            self._group(left, m, names[k], ranges) for k in range(4) if len(m := np.flatnonzero(kinds == k))
        ]
        return sorted(groups, key=lambda g: -g.rows)

    def _threshold(self, ranges: list[Bounds], tops: list[list[int]]) -> list[NDArray[np.bool_]]:
        """Which rows are wide on each axis, by the threshold with the fewest entries."""
        found: tuple[int, list[NDArray[np.bool_]]] | None = None
        size = ranges[0][0].shape[1]
        for width in WIDTHS:
            wides = [wider(r, width + (96 if len(t) == 2 else 0)) for r, t in zip(ranges, tops, strict=True)]
            entries = 0
            for first in (True, False):
                for second in (True, False):
                    member = np.flatnonzero((wides[0] != first) & (wides[1] != second))
                    if len(member):
                        a, b = (
                            spans((low[:, member], high[:, member]), top)
                            for (low, high), top in zip(ranges, tops, strict=True)
                        )
                        entries += int(((a[1] - a[0]) * (b[1] - b[0])).sum())
            if found is None or entries < found[0]:
                found = (entries, wides)
            if entries <= 4 * size + 1000:
                break
        assert found
        if found[0] * 60 > self.limits.memory:
            raise BudgetExceeded(
                f"a classifier of these {size} rows has {found[0]} entries, "
                f"more than {self.limits.memory >> 20} MiB (Limits.memory) hold"
            )
        return found[1]

    def _group(self, left: I64, member: I64, name: str, ranges: list[Bounds]) -> Group:
        maps, ends, sizes = [], [], []
        for axis, (low, high) in zip(self.axes, ranges, strict=True):
            begin = segment(axis.starts, low[:, member])
            end = segment(axis.starts, high[:, member]) + 1
            of = covered(axis.count, begin, end)
            maps.append(of)
            sizes.append(int(of.max()) + 1)
            ends.append((of[begin].astype(np.int64), of[end - 1].astype(np.int64) + 1))
        (a0, a1), (b0, b1) = ends
        wide_b = b1 - b0
        counts = (a1 - a0) * wide_b
        total = int(counts.sum())
        of_row = np.repeat(np.arange(len(member)), counts)
        offset = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
        key = (a0[of_row] + offset // wide_b[of_row]) << 32 | (b0[of_row] + offset % wide_b[of_row])
        order = np.argsort(key, kind="stable")
        key = key[order]
        rows = left[member[of_row[order]]]
        listed, specs = self.numbers[rows], self.spec[rows]
        new = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
        end = np.append(new[1:], total)
        keys = key[new]
        group = Group(
            name, len(member), maps, (sizes[0], sizes[1]), keys, np.zeros((0, 4), np.int32),
            np.full(2, NONE, np.int32), np.zeros((0, self.classes), np.int32),
        )  # fmt: skip
        if sizes[0] * sizes[1] <= GRID:
            kept, number = _lists(listed, new, end)
            if (len(kept) + 1) * self.classes * (2 if self.short else 4) <= SOLVED:
                patterns = np.full((len(kept) + 1, self.classes), NONE, np.int32)
                self._resolve(new[kept], end[kept], listed, specs, patterns[1:])
                group.patterns = np.minimum(patterns, 0xFFFF).astype(np.uint16) if self.short else patterns
                small = np.uint16 if len(kept) < 0xFFFF else np.int32
                group.grid = np.zeros(sizes[0] * sizes[1], small)
                group.grid[(keys >> 32) * sizes[1] + (keys & 0xFFFF_FFFF)] = number + 1
                group.form = "table"
                return group
        self._listed(group, new, end, listed, specs)
        return group

    def _listed(self, group: Group, new: I64, end: I64, listed: I32, specs: I32) -> None:
        """The cells of a group's entries, the lists of what does not fit in, and patterns for long ones."""
        cells = np.zeros((len(new), 4), np.int32)
        cells[:, 0] = group.keys & 0xFFFF_FFFF
        cells[:, 1], cells[:, 2] = listed[new], specs[new]
        size = end - new
        long = np.flatnonzero(size > LONG)
        if len(long) * self.classes * 4 > min(self.limits.memory // 4, SOLVED):
            long = long[:0]
        if len(long):
            kept, number = _lists(
                listed[np.repeat(new[long] - _before(size[long]), size[long]) + np.arange(size[long].sum())],
                _before(size[long]),
                np.cumsum(size[long]),
            )
            group.patterns = np.full((len(kept), self.classes), NONE, np.int32)
            self._resolve(new[long[kept]], end[long[kept]], listed, specs, group.patterns)
            cells[long, 3] = -1 - number
        some = np.flatnonzero((size > 1) & (cells[:, 3] == 0))
        if len(some):
            more = size[some] - 1
            begin = _before(more + 1)  # each with its end behind it
            rest = np.full((int((more + 1).sum()) + 1, 2), NONE, np.int32)
            of = np.repeat(new[some] + 1 - _before(more), more) + np.arange(more.sum())
            to = np.repeat(begin + 1 - _before(more), more) + np.arange(more.sum())
            rest[to, 0], rest[to, 1] = listed[of], specs[of]
            cells[some, 3] = (begin + 1) * 2
            group.rest = rest.ravel()
        group.cells = cells

    def _resolve(self, first: I64, last: I64, rows: I32, specs: I32, patterns: I32) -> None:
        """The row of each class for lists `rows[first[k]:last[k]]`."""
        if self._kernel is not None:
            left = np.zeros(self.allows.shape[1], np.uint64)
            arrays = (first, last, rows, specs, self.allows)
            self._kernel.resolve(
                *(self._view(np.ascontiguousarray(a)) for a in arrays), self._view(patterns), self._view(left)
            )
            return
        allowed = unpacked(self.allows, self.classes)
        for k, (start, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
            inside = allowed[specs[start:end]]
            at = inside.argmax(axis=0)
            patterns[k] = np.where(inside.any(axis=0), rows[start:end][at], NONE)

    # The program

    def _link(self) -> None:
        """Puts all tables into pools and writes the program; what only numpy needs is dropped."""
        assert self._kernel is not None
        code: list[list[int]] = []
        pools = Pools()
        self.bytes: list[str] = []
        self.words: list[str] = []
        self.ready: list[
            Step | int
        ] = []  # lines of classes or segments that are worked out before the program

        def op(name: str, *operands: int) -> None:
            assert self._kernel is not None
            line = [self._kernel.OPS.index(name), *operands]
            code.append(line + [0] * (13 - len(line)))

        for step in self.steps:
            to, wide = (-1, 0) if step.pairs is None else pools.small(step.pairs)
            kind = "bytes" if step.table is not None and len(step.table) <= 256 else "words"
            columns = self.bytes if kind == "bytes" else self.words
            if step.table is None or len(columns) == SLOT_INPUTS:
                op("ready", len(self.ready), 0, to, step.width, wide)
                self.ready.append(step)
            else:
                table = pools.put(step.table, "<u2")
                op(kind, len(columns), table, to, step.width, wide)
                columns.append(step.column)
        alone = len(self.groups) == 1 and self.groups[0].grid is not None
        if alone:
            alone = all(axis.nested is not None or not axis.columns for axis in self.axes)
        for k, axis in enumerate(self.axes if self.groups else []):
            if alone:  # the classes stand where the segments would
                of = self.groups[0].maps[k] * np.int32(self.groups[0].sizes[1] if k == 0 else 1)
            else:  # a segment is where its classes begin
                of = np.arange(axis.count, dtype=np.int32) * np.int32(len(self.groups))
            self._link_axis(k, axis, of, op, pools)
        maps = None
        words = self.allows.shape[1]
        allows = pools.put(self.allows, "<u8")
        every = len(self.groups)
        placed = [self._placed(g) for g in self.groups]
        if every and not alone:
            maps = [pools.put(np.stack([p[0][k] for p in placed], axis=1), "<i4") for k in range(2)]
        for k, (g, (_, swapped, slots)) in enumerate(zip(self.groups, placed, strict=True)):
            first, second = (-1, -1) if maps is None else (maps[0] + k, maps[1] + k)
            if g.grid is not None:
                grid, wide = (
                    pools.put(g.grid, "<u2" if g.grid.dtype == np.uint16 else "<i4"),
                    int(g.grid.dtype != np.uint16),
                )
                patterns = pools.put(g.patterns, "<u2" if g.patterns.dtype == np.uint16 else "<i4")
                op(
                    "grid",
                    first,
                    second,
                    every,
                    grid,
                    0,
                    patterns,
                    self.classes,
                    wide + 2 * (g.patterns.dtype != np.uint16),
                )
                continue
            tables = (
                pools.put(slots, "<i4"),
                pools.put(g.rest, "<i4"),
                pools.put(g.patterns, "<i4"),
                self.classes,
                allows,
                words,
            )
            if g.form == "slots":
                lines = (2, 1) if swapped else (1, 2)
                if swapped:
                    first, second = second, first
                op("slots", first, second, every, *tables, *lines)
            else:
                op("sorted", first, second, every, *tables, pools.put(g.keys, "<u8"), len(g.keys))
        for b in self.buckets:
            op(
                "bucket",
                *b.left_out,
                b.shift,
                pools.put(b.slots, "<i4"),
                pools.put(b.rest, "<i4"),
                pools.put(b.marks, "<u2"),
                0,
                allows,
                words,
            )
        self.code = np.array(code, np.int64).reshape(-1, 13)
        self.pools = pools.pools()
        for g in self.groups:
            g.maps, g.keys, g.cells, g.rest = [], g.keys[:0], g.cells[:0], g.rest[:0]
            g.grid, g.patterns = (None if g.grid is None else g.grid[:0]), np.zeros((len(g.patterns), 0))
        for b in self.buckets:
            b.slots = b.rest = np.zeros((0, 0), np.int32)
            b.marks = b.marks[:0]
        for step in self.steps:
            step.pairs = step.holds = None  # type: ignore[assignment]
        for axis in self.axes:
            axis.nested = axis.bucket = None

    def _link_axis(self, k: int, axis: Axis, of: I32, op: Callable[..., None], pools: Pools) -> None:
        """One axis' steps; `of` is what segments are replaced by."""
        if not axis.columns:
            op("segment", k + 1, -1, int(of[0]))
        elif axis.nested is not None:
            top, middle, bottom = axis.nested
            bottom = of[bottom]
            op(
                "nested",
                k + 1,
                *(pools.put(np.ascontiguousarray(t).view(np.int32), "<i4") for t in (top, middle, bottom)),
            )
        elif axis.bucket is not None:
            starts = axis.starts[0].astype(np.uint32).view(np.int32)
            op(
                "search",
                k + 1,
                pools.put(axis.bucket, "<i4"),
                axis.shift,
                pools.put(starts, "<i4"),
                len(self.groups),
            )
        else:
            op("segment", k + 1, len(self.ready))
            self.ready.append(k)

    def _placed(self, g: Group) -> tuple[list[I32], bool, I32]:
        """(the maps, whether the axes are swapped, the slots) of a group."""
        if g.grid is not None:
            return [g.maps[0] * np.int32(g.sizes[1]), g.maps[1]], False, g.cells
        assert self._kernel is not None
        swapped = g.sizes[0] < g.sizes[1]
        x, y = g.keys >> 32, g.keys & 0xFFFF_FFFF
        cells = g.cells
        if swapped:
            x, y = y, x
            order = np.argsort((x << 32) | y)
            x, y, cells = x[order], y[order], cells[order]
        lines = np.flatnonzero(np.concatenate([[True], x[1:] != x[:-1]]))
        begin = np.append(lines, len(x))
        by_size = np.argsort(-np.diff(begin), kind="stable")
        goal = len(x) * 3 // 2 + min(g.sizes)
        most = SPREAD * len(x) + min(g.sizes) + 64
        taken, used = np.zeros(most, np.uint8), np.zeros(most, np.uint8)
        base = np.zeros(len(lines), np.int32)
        arrays = (begin, by_size, y.astype(np.int32), taken, used, base)
        size = self._kernel.comb(*map(self._view, arrays), goal, TRIES)
        if size < 0:
            g.form = "sorted"
            return g.maps, False, g.cells
        g.form = "slots"
        slots = np.full((size + min(g.sizes) + 1, 4), -1, np.int32)
        place = np.repeat(base, np.diff(begin)) + y
        slots[place] = cells
        slots[place, 0] = y
        slots[:, 2] = np.maximum(slots[:, 2], 0)
        of_line = np.zeros(max(g.sizes), np.int32)
        of_line[x[lines]] = base
        return (
            ([g.maps[0], of_line[g.maps[1]]] if swapped else [of_line[g.maps[0]], g.maps[1]]),
            swapped,
            slots,
        )

    def memory(self) -> int:
        """The bytes of all tables."""
        arrays: list[Any] = [self.allows, self.spec]
        if self._kernel is not None:
            arrays += [self.code, *self.pools]
        for step in self.steps:
            arrays += [step.table, step.starts, step.classes, step.pairs]
        for axis in self.axes:
            arrays += [axis.starts, axis.bucket, *(axis.nested or ())]
        for g in self.groups:
            arrays += [*g.maps, g.keys, g.cells, g.rest, g.patterns, g.grid]
        return sum(a.nbytes for a in arrays if a is not None)

    def stats(self) -> dict[str, Any]:
        """What the part is made of."""
        return {
            "rows": len(self.numbers),
            "classes": self.classes,
            "specs": len(self.allows) - 1,
            "segments": [axis.count for axis in self.axes],
            "groups": {g.name: {"rows": g.rows, "table": g.form} for g in self.groups},
            "buckets": [{"rows": b.rows, "bits_left_out": b.left_out} for b in self.buckets],
            "memory_bytes": self.memory(),
        }


def _before(sizes: I64) -> I64:
    """Where each of some lists begins, one behind another."""
    return np.asarray(np.cumsum(sizes) - sizes)


def _axes(low: Mapping[str, U64], high: Mapping[str, U64]) -> list[tuple[str, ...]]:
    """The columns of the two axes: IPv4 addresses where rows restrict them, else those of IPv6."""
    found: list[tuple[str, ...]] = []
    for side in ("src", "dst"):
        four, six = side + "4", (side + "6.high", side + "6.low")
        if four in low:
            found.append((four,))
        elif all(c in low for c in six):
            # A range of 128 bits where the upper half is a point, or the lower one is whole.
            point = low[six[0]] == high[six[0]]
            whole = (low[six[1]] == 0) & (high[six[1]] == np.uint64(INTERVALS[six[1]]))
            found.append(six if bool(np.all(point | whole)) else ())
        else:
            found.append(())
    return found


__all__ = ["Group", "Part", "Pools"]

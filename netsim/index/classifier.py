"""The batch classifier: for each record of a batch the first row that holds it.

Theory of operation. Two columns (or pairs of halves) are *axes*, in practice the addresses; what a row says of
all other columns is its *spec*.

1. The other columns become one class (Gupta and McKeown's recursive flow classification, SIGCOMM 1999): values
   that no spec tells apart are one class of a column, and classes of two columns are combined by a table, column
   by column. `allows` says which specs hold in a class.
2. On each axis a row is *narrow* or *wide*, so there are four groups of rows. The bounds of all rows cut an axis
   into segments; a segment has a class among the narrow ranges (0 where there is none) and one among the wide.
3. In each group the pair of classes names an *entry*: the rows of the group that hold it, first to last. The
   entries lie in a table over pairs where that is small, else in a hash table whose keys are compared. Wide
   ranges are few and narrow ones meet few others, so that a list of rows has about as many entries.
4. The first row of an entry whose spec allows the class wins, unless another group has an earlier one. Long
   lists are worked out for every class beforehand.

Where step 1 would need a large table, bit vectors of rows answer instead: one for each class of each column,
ANDed word by word. The threshold between narrow and wide is the one that makes the fewest entries. Nothing is remembered from batch
to batch. The compiled steps are `kernels.classify`; without them the same tables are asked with numpy. The
specification is `Rows.scan`.

Costs. Building is linear in rows and entries but for sorting; entries are bounded by `Limits.memory`, past which
the error is `BudgetExceeded`. A record costs a search on each axis, a table a column and four probes.
Where it is weak: rows with many different specs over many columns (bit vectors are slower), and many rows that are neither narrow nor
few on both axes (step 3).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from netsim.errors import DEFAULT_LIMITS, BudgetExceeded, Limits, QuestionError
from netsim.index.rows import INTERVALS, WORDS, Rows
from netsim.kernels import Engine, engine, kernel

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
NONE = 0x7FFF_FFFF
BLOCK = 8192
"""Records that go through the steps together: their intermediate classes stay in the cache."""
LONG = 6
"""Lists of more rows are worked out for each class."""
NESTED = 4096
"""The most blocks of 256 cells of an axis' direct tables; with more it is searched."""
ALONE = 1 << 18
"""The most pairs of classes for all rows to be one group."""
GRID = 1 << 19
"""Cells of a table over pairs that are always granted."""
SOLVED = 6 << 20
"""The most bytes of patterns for every list of a group to have one."""
TABLE = 16
"""Columns of so many bits are looked up by value."""
CELLS = 1 << 22
"""The most cells of a table that combines two columns."""
WIDTHS = (24, 26, 28, 20, 16, 30, 12)
"""Thresholds that are tried: ranges of more than 2^w values are wide (of 2^(w + 96) for 128 bits)."""


def _distinct(columns: Sequence[NDArray[Any]]) -> tuple[I64, I64]:
    """(representative, number of each): which tuples of several columns are equal.

    Tuples are told apart by a hash and compared afterwards; a hash that lets two differ as one is dropped for
    an exact sort.
    """
    mixed = np.zeros(len(columns[0]), np.uint64)
    with np.errstate(over="ignore"):
        for column in columns:
            mixed = (mixed ^ column.astype(np.uint64)) * np.uint64(0x9E37_79B9_7F4A_7C15)
            mixed ^= mixed >> np.uint64(29)
    _, first, number = np.unique(mixed, return_index=True, return_inverse=True)
    if all(np.array_equal(column[first][number], column) for column in columns):
        return first.astype(np.int64), number.astype(np.int64).ravel()
    stacked = np.stack([column.astype(np.uint64) for column in columns], axis=1)
    _, first, number = np.unique(stacked, axis=0, return_index=True, return_inverse=True)
    return first.astype(np.int64), number.astype(np.int64).ravel()


def _packed(bits: NDArray[np.bool_]) -> U64:
    """Rows of booleans as words of 64, the padding 0."""
    width = max(1, -(-bits.shape[1] // 64)) * 64
    whole = np.zeros((bits.shape[0], width), np.bool_)
    whole[:, : bits.shape[1]] = bits
    return np.packbits(whole, axis=1, bitorder="little").view(np.uint64)


def _unpacked(words: U64, size: int) -> NDArray[np.bool_]:
    return np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")[:, :size].astype(np.bool_)


@attrs.define(slots=True)
class _Step:
    """One column of the specs: how its values become classes, and the classes before it are joined with them."""

    column: str
    bits: int
    table: NDArray[np.uint16] | None  # value -> class
    starts: U64 | None  # or segments, searched
    classes: I32 | None
    care: int
    value: int  # or one test of a word: class 1 where it holds
    holds: U64  # class -> specs
    pairs: I32 | None = None  # class before * width + class -> class; None for the first column
    width: int = 1

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """The classes of values."""
        if self.table is not None:
            return np.asarray(self.table[values])
        if self.starts is not None:
            assert self.classes is not None
            found: I32 = self.classes[
                np.searchsorted(self.starts, values.astype(np.uint64), side="right") - 1
            ]
            return found
        test: I32 = ((values.astype(np.uint64) & np.uint64(self.care)) == np.uint64(self.value)).astype(
            np.int32
        )
        return test


@attrs.define(slots=True)
class _Axis:
    """The segments of an axis: sorted starts, one or two words each."""

    columns: tuple[str, ...]
    starts: U64  # (halves, segments)
    starts32: NDArray[np.uint32] | None = None  # with three at the end that are never reached
    bucket: I32 | None = None
    shift: int = 0
    nested: tuple[NDArray[np.uint32], NDArray[np.uint32], I32] | None = None

    def of(self, columns: Mapping[str, NDArray[Any]], start: int, stop: int) -> I32:
        """The segment of each record."""
        if self.nested is not None:
            top, middle, bottom = self.nested
            v = columns[self.columns[0]][start:stop].astype(np.uint32)
            cell = top[v >> np.uint32(16)]
            cell = middle[(cell >> np.uint32(8)) + (v >> np.uint32(8) & cell & np.uint32(255))]
            return np.asarray(bottom[(cell >> np.uint32(8)) + (v & cell & np.uint32(255))])
        values = [columns[c][start:stop].astype(np.uint64) for c in self.columns]
        if not values:
            return np.zeros(stop - start, np.int32)
        if len(values) == 1:
            return (np.searchsorted(self.starts[0], values[0], side="right") - 1).astype(np.int32)
        # Two halves: the upper one's run, then within it, by one search on their ranks.
        upper, rank = np.unique(self.starts[0], return_inverse=True)
        at = np.searchsorted(upper, values[0], side="right") - 1
        same = upper[at] == values[0]
        first = np.searchsorted(rank, at, side="left")
        last = np.searchsorted(rank, at, side="right") - 1
        found = last.copy()
        for i in np.flatnonzero(same):
            low, high = int(first[i]), int(last[i]) + 1
            found[i] = low + np.searchsorted(self.starts[1][low:high], values[1][i], side="right") - 1
        return found.astype(np.int32)


@attrs.define(slots=True)
class _Group:
    """The rows that are narrow or wide on one axis and on the other alike, by pairs of classes."""

    name: str
    rows: int
    keys: I64  # of each entry, the first on the upper half; entry 0 is empty
    maps: list[I32]  # for each axis, segment -> class, 0 where no row is; the first times the width of a grid
    width: int
    grid: I32 | None = None  # pair -> entry; where the group is solved, -> pattern
    slots: I64 | None = None  # or a hash table
    entries: I32 | None = None
    values: I32 | None = None  # entry -> what the hash table leads to
    shift: int = 0
    solved: bool = False
    heads: I32 = attrs.field(factory=lambda: np.zeros((1, 4), np.int32))
    rest: I32 = attrs.field(factory=lambda: np.zeros((1, 2), np.int32))
    patterns: NDArray[Any] = attrs.field(factory=lambda: np.zeros((1, 1), np.int32))

    def tabled(self, height: int, values: NDArray[Any]) -> None:
        """Makes the grid: pair -> value of its entry."""
        self.grid = np.zeros(height * self.width, np.int32)
        self.grid[(self.keys[1:] >> 32) * self.width + (self.keys[1:] & 0xFFFF_FFFF)] = values
        self.maps[0] = (self.maps[0] * np.int32(self.width)).astype(np.int32)


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


class Classifier:
    """The index of `rows` for batches. `choice` is an engine, by default this process's.

    Raises `BudgetExceeded` where the tables would take more than `limits.memory` bytes.
    """

    def __init__(self, rows: Rows, *, limits: Limits = DEFAULT_LIMITS, choice: Engine | None = None) -> None:
        began = time.perf_counter()
        self.rows = rows
        self.limits = limits
        self._kernel = kernel("classify", choice or engine())
        # Uncompiled kernels read plain integers, which only a memoryview gives.
        self._view: Any = memoryview if (choice or engine()) == "uncompiled" else (lambda array: array)
        self._axes: list[_Axis] = []
        self._steps: list[_Step] = []
        self._groups: list[_Group] = []
        self._maps: list[I32] = []
        self._classes = 1
        self._allows = np.zeros((1, 1), np.uint64)
        self._bits: U64 | None = None
        self._build()
        self.build_seconds = time.perf_counter() - began

    # Building

    def _build(self) -> None:
        rows = self.rows
        axes = _axes_of(rows)
        others = [c for c in rows.columns if not any(c in axis for axis in axes)]
        try:
            spec, self._allows = self._specs(others)
        except _TooMany:
            self._vectors()
            return
        ranges = [_ranges(rows, axis) for axis in axes]
        self._axes = [_axis(axis, r) for axis, r in zip(axes, ranges, strict=True)]
        everything = np.arange(len(rows))
        if self._alone(ranges):
            group = self._group(everything, "all", ranges, spec)
            if group.solved:
                self._groups = [group]
        if not self._groups:
            wides = self._threshold(ranges, axes)
            for first in (False, True):
                for second in (False, True):
                    member = np.flatnonzero((wides[0] == first) & (wides[1] == second))
                    if len(member):
                        name = f"{'wide' if first else 'narrow'}, {'wide' if second else 'narrow'}"
                        self._groups.append(self._group(member, name, ranges, spec))
            self._groups.sort(key=lambda g: -g.rows)
        self._maps = [
            np.ascontiguousarray(np.stack([g.maps[i] for g in self._groups], axis=1)).ravel()
            for i in range(2 if self._groups else 0)
        ]

    def _vectors(self) -> None:
        """Bit vectors of rows for each class of each column (Lakshman and Stiliadis, SIGCOMM 1998)."""
        n = len(self.rows)
        every = np.arange(n)
        self._steps = [step for c in self.rows.columns for step in _steps(self.rows, c, every, n)]
        total = sum(step.holds.nbytes for step in self._steps)
        if total > self.limits.memory:
            raise BudgetExceeded(
                f"a classifier of these {n} rows takes {total >> 20} MiB of bit vectors, "
                f"more than {self.limits.memory >> 20} (Limits.memory)"
            )
        sizes = [len(step.holds) for step in self._steps]
        self._offsets = np.cumsum([0, *sizes[:-1]])
        self._bits = np.concatenate([step.holds for step in self._steps])

    def _alone(self, ranges: list[tuple[U64, U64]]) -> bool:
        """Whether all rows may be one group: few enough pairs, each with a list."""
        if not len(self.rows) or self._axes[0].starts.shape[1] * self._axes[1].starts.shape[1] > ALONE:
            return False
        a, b = (_spans(r) for r in ranges)
        return int(((a[1] - a[0]) * (b[1] - b[0])).sum()) <= 4 * ALONE

    def _threshold(
        self, ranges: list[tuple[U64, U64]], axes: list[tuple[str, ...]]
    ) -> list[NDArray[np.bool_]]:
        """Which rows are wide on each axis, by the threshold with the fewest entries."""
        found: tuple[int, list[NDArray[np.bool_]]] | None = None
        for width in WIDTHS:
            wides = [
                _wider(r, width + (96 if len(axis) == 2 else 0)) for r, axis in zip(ranges, axes, strict=True)
            ]
            entries = 0
            for first in (True, False):
                for second in (True, False):
                    member = np.flatnonzero((wides[0] != first) & (wides[1] != second))
                    if len(member):
                        a, b = (_spans((low[:, member], high[:, member])) for low, high in ranges)
                        entries += int(((a[1] - a[0]) * (b[1] - b[0])).sum())
            if found is None or entries < found[0]:
                found = (entries, wides)
            if entries <= 4 * len(self.rows) + 1000:
                break
        assert found
        if found[0] * 40 > self.limits.memory:
            raise BudgetExceeded(
                f"a classifier of these {len(self.rows)} rows has {found[0]} entries, "
                f"more than {self.limits.memory >> 20} MiB (Limits.memory) hold"
            )
        return found[1]

    def _specs(self, columns: list[str]) -> tuple[I32, U64]:
        """The spec of each row, from 1 on, and for each spec the classes in which it holds; fills the steps."""
        rows, n = self.rows, len(self.rows)
        parts: list[NDArray[Any]] = []
        for c in columns:
            parts += [rows.low[c], rows.high[c]] if c in rows.low else [rows.care[c], rows.value[c]]
        if not parts or not n:
            return np.ones(n, np.int32), np.array([[0], [1]], np.uint64)
        chosen, number = _distinct(parts)
        count = len(chosen)
        steps: list[_Step] = []
        for c in columns:
            steps += _steps(rows, c, chosen, count)
        steps.sort(key=lambda s: len(s.holds))
        acc = steps[0].holds
        for step in steps[1:]:
            cells = len(acc) * len(step.holds)
            if cells > CELLS:
                raise _TooMany
            both = (acc[:, None, :] & step.holds[None, :, :]).reshape(cells, -1)
            kept, inverse = _distinct([both[:, w] for w in range(both.shape[1])])
            step.pairs, step.width = inverse.astype(np.int32), len(step.holds)
            acc = both[kept]
        self._steps = steps
        self._classes = len(acc)
        allowed = _unpacked(acc, count).T  # spec, class
        none = np.zeros((1, self._classes), np.bool_)
        return (number + 1).astype(np.int32), _packed(np.concatenate([none, allowed]))

    def _group(self, member: I64, name: str, ranges: list[tuple[U64, U64]], spec: I32) -> _Group:
        maps, spans, sizes = [], [], []
        for axis, (low, high) in zip(self._axes, ranges, strict=True):
            begin = _segment(axis.starts, low[:, member])
            end = _segment(axis.starts, high[:, member]) + 1
            of = _covered(axis.starts.shape[1], begin, end)
            maps.append(of)
            sizes.append(int(of.max()) + 1)
            spans.append((of[begin].astype(np.int64), of[end - 1].astype(np.int64) + 1))
        (a0, a1), (b0, b1) = spans
        wide_b = b1 - b0
        counts = (a1 - a0) * wide_b
        total = int(counts.sum())
        of_row = np.repeat(np.arange(len(member)), counts)
        offset = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
        a = a0[of_row] + offset // wide_b[of_row]
        b = b0[of_row] + offset % wide_b[of_row]
        key = (a << 32) | b
        order = np.argsort(key, kind="stable")
        key = key[order]
        listed = member[of_row[order]].astype(np.int32)
        specs = spec[listed]
        new = (
            np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])) if total else np.zeros(0, np.int64)
        )
        end = np.append(new[1:], total)
        keys = np.concatenate([[0], key[new]]).astype(np.int64)
        table = sizes[0] * sizes[1] <= max(GRID, 8 * len(new))
        group = _Group(name, len(member), keys, maps, sizes[1])
        if total:
            kept, number = _lists(listed, new, end)
            width = 2 if len(self.rows) < 0xFFFF else 4
            if (len(kept) + 1) * self._classes * width <= SOLVED:
                group.patterns = np.full((len(kept) + 1, self._classes), NONE, np.int32)
                self._resolved(new[kept], end[kept], listed, specs, group.patterns[1:])
                if len(self.rows) < 0xFFFF:
                    group.patterns = np.minimum(group.patterns, 0xFFFF).astype(np.uint16)
                group.solved = True
                self._entered(group, sizes[0], number + 1, table=table)
                return group
        heads = np.zeros((len(new) + 1, 4), np.int32)
        heads[0] = (NONE, 0, 0, 0)
        heads[1:, 0] = listed[new]
        heads[1:, 1] = specs[new]
        longer = end - new > 1
        heads[1:, 2] = np.where(longer, new + 1, 0)
        heads[1:, 3] = np.where(longer, end, 0)
        long = np.flatnonzero(end - new > LONG)
        if len(long) * self._classes * 4 > self.limits.memory // 4:
            long = long[:0]
        if len(long):
            group.patterns = np.full((len(long), self._classes), NONE, np.int32)
            self._resolved(new[long], end[long], listed, specs, group.patterns)
            heads[1 + long, 1] = 0
            heads[1 + long, 2] = np.arange(len(long))
            heads[1 + long, 3] = -1
        group.heads = heads
        if longer.any():
            group.rest = np.stack([listed, specs], axis=1)
        self._entered(group, sizes[0], np.arange(1, len(keys)), table=table)
        return group

    def _entered(self, group: _Group, height: int, values: NDArray[Any], *, table: bool) -> None:
        """The table of a group, or its hash table: pair -> value of its entry."""
        if table:
            group.tabled(height, values)
            return
        bits = max(4, int(len(group.keys) * 2 - 1).bit_length())
        group.shift = 66 - bits  # of buckets, four slots each
        group.slots, group.entries = np.zeros(1 << bits, np.int64), np.zeros(1 << bits, np.int32)
        group.values = np.concatenate([[0], values]).astype(np.int32)
        if self._kernel is not None:
            arrays = (group.keys, group.values, group.slots, group.entries)
            self._kernel.hashed(*map(self._view, arrays), group.shift)

    def _resolved(self, first: I64, last: I64, rows: I32, specs: I32, patterns: I32) -> None:
        if self._kernel is not None:
            left = np.zeros(self._allows.shape[1], np.uint64)
            arrays = (first, last, rows, specs, self._allows, patterns, left)
            self._kernel.resolve(
                *(self._view(np.ascontiguousarray(a)) for a in arrays[:5]),
                self._view(patterns),
                self._view(left),
            )
            return
        allowed = _unpacked(self._allows, self._classes)
        for k, (start, end) in enumerate(zip(first, last, strict=True)):
            inside = allowed[specs[start:end]]
            at = inside.argmax(axis=0)
            patterns[k] = np.where(inside.any(axis=0), rows[start:end][at], NONE)

    # Asking

    def first(self, columns: Mapping[str, NDArray[Any]], *, threads: int = 1) -> I32:
        """For each record the first row that holds it, -1 if none does.

        `columns` maps names of columns (`rows.INTERVALS`, `rows.WORDS`) to one-dimensional integer arrays of one
        length. A column that rows restrict and the batch lacks is 0; others are not looked at. No records: an
        empty array. Raises `QuestionError` for arrays of another shape or type and for values out of range.
        """
        size, columns = _checked(self.rows, columns)
        best = np.full(size, NONE, np.int32)
        if len(self.rows) and size:
            if threads > 1 and size > BLOCK:
                cuts = [size * k // threads for k in range(threads + 1)]
                with ThreadPoolExecutor(threads) as pool:
                    list(pool.map(lambda k: self._part(columns, cuts[k], cuts[k + 1], best), range(threads)))
            else:
                self._part(columns, 0, size, best)
        best[best >= len(self.rows)] = -1
        return best

    def _part(self, columns: Mapping[str, NDArray[Any]], start: int, stop: int, best: I32) -> None:
        work = _Work() if self._kernel is not None else None
        for at in range(start, stop, BLOCK):
            end = min(at + BLOCK, stop)
            if self._bits is not None:
                self._by_vectors(columns, at, end, best)
            elif work is not None:
                self._block(columns, at, end, best, work)
            else:
                self._numpy(columns, at, end, best)

    def _block(self, columns: Mapping[str, NDArray[Any]], at: int, end: int, best: I32, work: _Work) -> None:
        """One block through the compiled steps."""
        k, view = self._kernel, self._view
        assert k is not None
        n = end - at
        classes = view(work.classes[:n])
        if not self._steps:
            work.classes[:n] = 0
        for i, step in enumerate(self._steps):
            values = columns[step.column][at:end]
            if step.table is not None:
                if values.dtype != np.uint16 or not values.flags.c_contiguous:
                    np.copyto(work.values[:n], values, casting="unsafe")
                    values = work.values[:n]
                if i == 0:
                    k.direct(view(values), view(step.table), classes)
                else:
                    k.combine(view(values), view(step.table), view(step.pairs), step.width, classes)
                continue
            found = np.ascontiguousarray(step.of(values), np.int32)
            if i == 0:
                work.classes[:n] = found
            else:
                k.join(view(found), view(step.pairs), step.width, classes)
        segments = (view(work.first[:n]), view(work.second[:n]))
        for axis, out in zip(self._axes, segments, strict=True):
            values_ = [columns[c][at:end] for c in axis.columns]
            if not values_:
                np.asarray(out)[:] = 0
            elif axis.nested is not None:
                taken = np.ascontiguousarray(values_[0], np.uint32)
                k.nested(view(taken), *map(view, axis.nested), out)
            elif axis.starts32 is not None:
                taken = np.ascontiguousarray(values_[0], np.uint32)
                k.search32(view(taken), view(axis.bucket), axis.shift, view(axis.starts32), out)
            elif len(values_) == 1:
                k.search64(view(np.ascontiguousarray(values_[0], np.uint64)), view(axis.starts[0]), out)
            else:
                halves = [view(np.ascontiguousarray(v, np.uint64)) for v in values_]
                k.search128(*halves, view(axis.starts), out)
        lowest = view(best[at:end])
        every = len(self._groups)
        for at_group, g in enumerate(self._groups):
            tables = (
                view(g.heads.ravel()),
                view(g.rest.ravel()),
                view(g.patterns),
                view(self._allows),
                lowest,
            )
            maps = (*segments, *map(view, self._maps), every, at_group, classes)
            if g.solved and g.grid is None:
                sparse = k.sparse_solved16 if g.patterns.dtype == np.uint16 else k.sparse_solved32
                sparse(*maps, view(g.slots), view(g.entries), g.shift, view(g.patterns), lowest)
            elif g.solved:
                dense = k.solved16 if g.patterns.dtype == np.uint16 else k.solved32
                dense(*maps, view(g.grid), view(g.patterns), lowest)
            elif g.grid is not None:
                k.dense(*maps, view(g.grid), *tables)
            else:
                k.sparse(*maps, view(g.slots), view(g.entries), g.shift, *tables)

    def _by_vectors(self, columns: Mapping[str, NDArray[Any]], at: int, end: int, best: I32) -> None:
        """One block by bit vectors."""
        assert self._bits is not None
        found = np.stack([step.of(columns[step.column][at:end]) for step in self._steps]).astype(np.int32)
        if self._kernel is not None:
            arrays = (found, self._offsets, self._bits, best[at:end])
            self._kernel.vectors(*map(self._view, arrays))
            return
        for some in range(0, end - at, 512):  # 512 records' vectors at a time
            part = found[:, some : some + 512]
            left = self._bits[part[0] + self._offsets[0]]
            for k in range(1, len(part)):
                left &= self._bits[part[k] + self._offsets[k]]
            bits = _unpacked(left, len(self.rows))
            first = np.where(bits.any(axis=1), bits.argmax(axis=1), NONE)
            best[at + some : at + some + len(first)] = first

    def _numpy(self, columns: Mapping[str, NDArray[Any]], at: int, end: int, best: I32) -> None:
        """One block with numpy alone, on the same tables."""
        n = end - at
        classes: NDArray[Any] = np.zeros(n, np.int32)
        for i, step in enumerate(self._steps):
            found = step.of(columns[step.column][at:end])
            classes = found if i == 0 else step.pairs[classes.astype(np.int64) * step.width + found]  # type: ignore[index]
        classes = classes.astype(np.int64)
        segments = [axis.of(columns, at, end) for axis in self._axes]
        for g in self._groups:
            a, b = (m[segment].astype(np.int64) for m, segment in zip(g.maps, segments, strict=True))
            if g.grid is not None:
                entry = g.grid[a + b]
            else:
                key = (a << 32) | b
                place = np.minimum(np.searchsorted(g.keys, key), len(g.keys) - 1)
                assert g.values is not None
                entry = np.where((g.keys[place] == key) & (a > 0) & (b > 0), g.values[place], 0)
            if g.solved:
                best[at:end] = np.minimum(best[at:end], g.patterns[entry, classes])
                continue
            left = np.flatnonzero(entry)
            self._lowered(g, entry[left], classes[left], at + left, best)

    def _lowered(
        self, g: _Group, entry: NDArray[Any], classes: NDArray[Any], where: NDArray[Any], best: I32
    ) -> None:
        def allowed(spec: NDArray[Any], c: NDArray[Any]) -> NDArray[np.bool_]:
            word = self._allows[spec, c >> 6]
            return np.asarray(word >> (c & 63).astype(np.uint64) & np.uint64(1), np.bool_)

        heads = g.heads[entry]
        hit = allowed(heads[:, 1], classes) & (heads[:, 0] < best[where])
        best[where[hit]] = heads[hit, 0]
        known = heads[:, 3] < 0
        best[where[known]] = np.minimum(best[where[known]], g.patterns[heads[known, 2], classes[known]])
        go = ~hit & (heads[:, 3] > 0)
        row, stop, c, there = heads[go, 2].copy(), heads[go, 3], classes[go], where[go]
        while len(row):
            mine = g.rest[row]
            early = mine[:, 0] < best[there]
            hit = early & allowed(mine[:, 1], c)
            best[there[hit]] = mine[hit, 0]
            row = row + 1
            on = early & ~hit & (row < stop)
            row, stop, c, there = row[on], stop[on], c[on], there[on]

    def memory(self) -> int:
        """The bytes of all tables."""
        arrays: list[Any] = [self._allows, self._bits, *self._maps]
        for step in self._steps:
            arrays += [step.table, step.starts, step.classes, step.pairs]
        for axis in self._axes:
            arrays += [axis.starts, axis.starts32, axis.bucket, *(axis.nested or ())]
        for g in self._groups:
            arrays += [g.keys, g.heads, g.rest, g.patterns, g.grid, g.slots, g.entries]
        return sum(a.nbytes for a in arrays if a is not None)

    def stats(self) -> dict[str, Any]:
        """Sizes, seconds and bytes: what the classifier is made of."""
        return {
            "rows": len(self.rows),
            "method": "bit vectors" if self._bits is not None else "pairs",
            "engine": "numpy" if self._kernel is None else "kernels",
            "build_seconds": round(self.build_seconds, 6),
            "memory_bytes": self.memory(),
            "classes": self._classes,
            "specs": len(self._allows) - 1,
            "segments": [axis.starts.shape[1] for axis in self._axes],
            "groups": {
                g.name: {
                    "rows": g.rows,
                    "entries": len(g.keys) - 1,
                    "patterns": len(g.patterns) if g.solved else int((g.heads[:, 3] < 0).sum()),
                    "table": ("pairs" if g.grid is not None else "hash") + (", solved" if g.solved else ""),
                }
                for g in self._groups
            },
        }


class _TooMany(Exception):
    """Two columns have too many classes to be combined."""


class _Work:
    """The intermediate classes of one block, for one thread."""

    __slots__ = ("classes", "first", "second", "values")

    def __init__(self) -> None:
        self.classes = np.zeros(BLOCK, np.int32)
        self.first = np.zeros(BLOCK, np.int32)
        self.second = np.zeros(BLOCK, np.int32)
        self.values = np.zeros(BLOCK, np.uint16)


def _axes_of(rows: Rows) -> list[tuple[str, ...]]:
    """The columns of the two axes: the addresses that more rows restrict, or else the widest columns."""
    found: list[tuple[str, ...]] = []
    for side in ("src", "dst"):
        four, six = (side + "4",), (side + "6.high", side + "6.low")
        if any(c in rows.low for c in six) and four[0] not in rows.low:
            found.append(six if _one_range(rows, six) else ())
        else:
            found.append(four if four[0] in rows.low else ())
    return found


def _one_range(rows: Rows, halves: tuple[str, str]) -> bool:
    """Whether every row's two halves are one range of 128 bits: the upper one a point, or the lower one whole."""
    if any(c not in rows.low for c in halves):
        return False
    upper, lower = halves
    point = rows.low[upper] == rows.high[upper]
    whole = (rows.low[lower] == 0) & (rows.high[lower] == np.uint64(INTERVALS[lower]))
    return bool(np.all(point | whole))


def _ranges(rows: Rows, axis: tuple[str, ...]) -> tuple[U64, U64]:
    """Inclusive bounds, (halves, rows)."""
    if not axis:
        nothing = np.zeros((1, len(rows)), np.uint64)
        return nothing, nothing
    return np.stack([rows.low[c] for c in axis]), np.stack([rows.high[c] for c in axis])


def _wider(ranges: tuple[U64, U64], bits: int) -> NDArray[np.bool_]:
    """Which ranges hold more than 2^bits values."""
    low, high = ranges
    if len(low) == 1:
        return np.asarray((high[0] - low[0]) >= np.uint64(1 << min(bits, 63)))
    upper = high[0] - low[0]
    if bits >= 64:
        return np.asarray(upper >= np.uint64(1 << (bits - 64)))
    return np.asarray((upper > 0) | ((high[1] - low[1]) >= np.uint64(1 << bits)))


def _after(bounds: U64, tops: Sequence[int]) -> tuple[U64, NDArray[np.bool_]]:
    """The values behind inclusive bounds, and which of them exist."""
    if len(bounds) == 1:
        return bounds + np.uint64(1), bounds[0] < np.uint64(tops[0])
    with np.errstate(over="ignore"):
        lower = bounds[1] + np.uint64(1)
        upper = bounds[0] + (lower == 0).astype(np.uint64)
    exists = ~((bounds[0] == np.uint64(tops[0])) & (bounds[1] == np.uint64(tops[1])))
    return np.stack([upper, lower]), exists


def _cuts(low: U64, high: U64, tops: Sequence[int]) -> U64:
    """The sorted starts of the segments that ranges make, the first 0."""
    after, exists = _after(high, tops)
    if len(low) == 1:
        return np.unique(np.concatenate([np.zeros(1, np.uint64), low[0], after[0][exists]]))[None, :]
    both = np.concatenate([np.zeros((2, 1), np.uint64), low, after[:, exists]], axis=1)
    both = both[:, np.lexsort((both[1], both[0]))]
    new = np.concatenate([[True], (both[:, 1:] != both[:, :-1]).any(axis=0)])
    return np.ascontiguousarray(both[:, new])


def _segment(starts: U64, points: U64) -> I64:
    """The segment of each point, (halves, points)."""
    if len(starts) == 1:
        return np.asarray(np.searchsorted(starts[0], points[0], side="right") - 1, np.int64)
    every = np.concatenate([starts, points], axis=1)
    kind = np.concatenate([np.zeros(starts.shape[1], np.int64), np.ones(points.shape[1], np.int64)])
    order = np.lexsort((kind, every[1], every[0]))
    seen = np.cumsum(kind[order] == 0) - 1
    found = np.empty(points.shape[1], np.int64)
    places = order[kind[order] == 1] - starts.shape[1]
    found[places] = seen[kind[order] == 1]
    return found


def _spans(ranges: tuple[U64, U64]) -> tuple[I64, I64]:
    """For each range the segments that ranges make among themselves: first, and one behind the last."""
    low, high = ranges
    tops = [(1 << 64) - 1] * len(low)
    starts = _cuts(low, high, tops)
    return _segment(starts, low), _segment(starts, high) + 1


def _covered(count: int, begin: I64, end: I64) -> I32:
    """The classes of `count` segments for ranges of them: 0 where there is none, a new one at each bound."""
    depth = np.zeros(count + 1, np.int64)
    np.add.at(depth, begin, 1)
    np.add.at(depth, end, -1)
    bound = np.zeros(count + 1, np.bool_)
    bound[begin] = bound[end] = True
    covered = np.cumsum(depth)[:count] > 0
    return np.where(covered, np.cumsum(bound[:count] & covered), 0).astype(np.int32)


def _axis(columns: tuple[str, ...], ranges: tuple[U64, U64]) -> _Axis:
    low, high = ranges
    axis = _Axis(columns, _cuts(low, high, [INTERVALS[c] for c in columns] or [0]))
    if columns and len(columns) == 1 and INTERVALS[columns[0]] == 0xFFFF_FFFF:
        axis.nested = _nested(axis.starts[0])
        if axis.nested is None:
            _bucketed(axis)
    return axis


def _nested(starts: U64) -> tuple[NDArray[np.uint32], NDArray[np.uint32], I32] | None:
    """Tables for 16, 8 and 8 bits that lead a value to its segment; None where they would be large."""
    count = len(starts)
    # A block for each 16 bits, and for each 24, in which a segment begins behind the first value.
    split = np.unique(starts[(starts & np.uint64(0xFFFF)) != 0] >> np.uint64(16))
    deep = np.unique(starts[(starts & np.uint64(0xFF)) != 0] >> np.uint64(8))
    if len(split) + len(deep) > NESTED:
        return None
    begin = np.searchsorted(starts, np.arange(1 << 16, dtype=np.uint64) << np.uint64(16), side="right") - 1
    begin2 = _cells(starts, split, 8)
    cut = np.searchsorted(split, deep >> np.uint64(8)) * 256 + (deep & np.uint64(255)).astype(np.int64)
    bottom = np.concatenate([np.arange(count), _cells(starts, deep, 0)]).astype(np.int32)
    middle = np.concatenate([np.arange(count), begin2]).astype(np.uint32) << np.uint32(8)
    middle[count + cut] = ((count + np.arange(len(cut)) * 256) << 8 | 255).astype(np.uint32)
    top = begin.astype(np.uint32) << np.uint32(8)
    top[split.astype(np.int64)] = ((count + np.arange(len(split)) * 256) << 8 | 255).astype(np.uint32)
    return top, middle, bottom


def _cells(starts: U64, blocks: U64, shift: int) -> I64:
    """The segment at the beginning of each of the 256 cells of some blocks; a cell is 2^shift values."""
    whole = np.uint64(shift + 8)
    inside = np.searchsorted(blocks, starts >> whole)
    inside = np.minimum(inside, max(0, len(blocks) - 1))
    cell = (starts >> np.uint64(shift)) & np.uint64(255)
    late = (starts & np.uint64((1 << shift) - 1)) != 0  # begins behind the cell's first value
    place = inside * 256 + cell.astype(np.int64) + late
    mine = (
        starts & np.uint64((1 << (shift + 8)) - 1)
    ) != 0  # not at a block's beginning, which `first` counts
    mine &= (blocks[inside] == starts >> whole) if len(blocks) else False
    mine &= place < (inside + 1) * 256
    first = np.searchsorted(starts, blocks << whole, side="right") - 1
    counted = np.bincount(place[mine], minlength=len(blocks) * 256).reshape(-1, 256)
    return np.asarray((counted.cumsum(axis=1) + first[:, None]).ravel(), np.int64)


def _bucketed(axis: _Axis) -> None:
    starts, count = axis.starts[0], axis.starts.shape[1]
    axis.starts32 = np.append(starts.astype(np.uint32), np.full(3, 0xFFFF_FFFF, np.uint32))
    bits = min(18, max(8, (count * 2 - 1).bit_length()))
    axis.shift = 32 - bits
    firsts = np.arange(1 << bits, dtype=np.uint64) << np.uint64(axis.shift)
    bucket = np.searchsorted(starts, firsts, side="right") - 1
    axis.bucket = np.append(bucket, count - 1).astype(np.int32)


def _steps(rows: Rows, column: str, chosen: I64, count: int) -> list[_Step]:
    """The steps of one column for the specs whose representatives are `chosen`."""
    if column in rows.low:
        low, high = rows.low[column][chosen], rows.high[column][chosen]
        top = INTERVALS[column]
        after, exists = _after(high[None, :], [top])
        starts = np.unique(np.concatenate([np.zeros(1, np.uint64), low, after[0][exists]]))
        holds = _packed((low[None, :] <= starts[:, None]) & (starts[:, None] <= high[None, :]))
        kept, number = _distinct([holds[:, w] for w in range(holds.shape[1])])
        if top < 1 << TABLE:
            ends = np.append(starts[1:], np.uint64(top + 1)).astype(np.int64)
            sizes = ends - starts.astype(np.int64)
            table = np.zeros(1 << TABLE, np.uint16)
            table[: top + 1] = np.repeat(number, sizes)
            return [_Step(column, TABLE, table, None, None, 0, 0, holds[kept])]
        return [_Step(column, 64, None, starts, number.astype(np.int32), 0, 0, holds[kept])]
    care, value = rows.care[column][chosen], rows.value[column][chosen]
    if WORDS[column] < 1 << 8:
        values = np.arange(WORDS[column] + 1, dtype=np.uint64)
        holds = _packed((values[:, None] & care[None, :]) == value[None, :])
        kept, number = _distinct([holds[:, w] for w in range(holds.shape[1])])
        table = np.zeros(1 << TABLE, np.uint16)
        table[: len(number)] = number
        return [_Step(column, TABLE, table, None, None, 0, 0, holds[kept])]
    steps = []
    tests, number = _distinct([care, value])
    for k, t in enumerate(tests):
        if not care[t]:
            continue
        test = number == k
        holds = _packed(np.stack([~test, np.ones(count, np.bool_)]))
        steps.append(_Step(column, 64, None, None, None, int(care[t]), int(value[t]), holds))
    return steps


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
        taken[name] = array
    size = max(size, 0)
    for name in rows.columns:
        if name not in taken:
            taken[name] = np.zeros(size, np.uint16)
    return size, taken


__all__ = ["Classifier"]

"""The tables of the batch classifier for one family of addresses: groups of rows by pairs of classes.

Theory of operation: see `index.classifier`. A `Part` holds rows whose addresses lie on the same two axes.

In a group the pair of axis classes names an *entry*: the rows of the group that hold it, first to last. Entries lie
in a table over pairs where that is small and each has a pattern, the row for each class of the other columns; else
in slots (`index.programs`). Groups are joined where they keep such a table. Long lists whose rows lie scattered are
found in `index.buckets` instead, which leaves few rows to the groups.

Invariants: T1 each row is in one group or one bucket; T2 an entry's rows ascend; T3 a list ends with `NONE`.
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
from netsim.index.programs import Group, Program, program_of
from netsim.index.rows import INTERVALS
from netsim.index.segments import Axis, Bounds, axis_of, bounds_of, covered, is_direct, segment, spans, wider
from netsim.index.specs import Step, TooMany, distinct, packed, specs_of, unpacked
from netsim.space.fields import WORD

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
LONG = 6
"""Lists of more rows are worked out for each class."""
MERGED = 1 << 18
"""The most entries of groups that are joined, counted with their rows."""
ENTRIES = 1 << 23
"""The most entries of all groups, counted with their rows."""
GRID = 1 << 18
"""Cells of a table over pairs that are granted."""
SOLVED = 3 << 20
"""The most bytes of a group's patterns for it to have a table over pairs."""
MANY = 256
"""With so many classes, a group has those that its own specs tell apart."""
FEW = 2048
"""The most rows that are tried as one group by sets of rows."""
PAIRS = 1 << 19
"""The most pairs of classes of such a group."""
WHOLE = 17 << 20
"""The most bytes of its patterns."""
WIDTHS = (24, 26, 28, 20, 16, 30, 12)
"""Thresholds that are tried: ranges of more than 2^w values of 32 bits are wide, of 64 and 128 bits as many times more."""


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


@attrs.define(slots=True, eq=False)
class Part:
    """The tables of some rows: a program, or what numpy asks."""

    axes: list[Axis]
    steps: list[Step]
    summary: dict[str, Any]
    program: Program | None = None
    classes: int = 1
    allows: U64 = attrs.field(factory=lambda: np.zeros((1, 1), np.uint64))
    groups: list[Group] = attrs.field(factory=list)

    def memory(self) -> int:
        """The bytes of all tables."""
        arrays: list[Any] = [self.allows]
        if self.program is not None:
            arrays += [self.program.code, *self.program.pools]
        for step in self.steps:
            arrays += [step.table, step.starts, step.classes, step.pairs]
        for axis in self.axes:
            arrays += [axis.starts, axis.bucket, *(axis.nested or ())]
        for g in self.groups:
            arrays += [*g.maps, g.keys, g.cells, g.rest, g.patterns, g.grid]
        return sum(a.nbytes for a in arrays if a is not None)


def part_of(
    low: Mapping[str, U64],
    high: Mapping[str, U64],
    words: Mapping[str, tuple[U64, U64]],
    numbers: I32,
    size: int,
    limits: Limits,
    kernel: ModuleType | None,
    layout: ModuleType | None,
    view: Callable[[Any], Any],
) -> Part:
    """The tables of some of `size` rows, given as columns, with their numbers ascending.

    Raises `BudgetExceeded` and `TooMany`.
    """
    axes = _axes(low, high)
    others = {c: (low[c], high[c]) for c in low if not any(c in axis for axis in axes)} | dict(words)
    specs, steps, allows, classes = specs_of(others, len(numbers))
    ranges = [bounds_of(low, high, axis, len(numbers)) for axis in axes]
    left = np.arange(len(numbers))
    found: list[Buckets] = []
    direct = all(is_direct(axis) for axis in axes)
    if kernel is not None and direct and len(left) > buckets.BULK:
        first, second = ((r[0][0].astype(np.uint32), r[1][0].astype(np.uint32)) for r in ranges)
        found, left = buckets_of(first, second, numbers, specs, kernel, view)
    inside: list[Bounds] = [(r[0][:, left], r[1][:, left]) for r in ranges]
    lines = [axis_of(axis, r) for axis, r in zip(axes, inside, strict=True)]
    builder = _Groups(numbers, size, specs, allows, classes, lines, limits, layout, view)
    groups = builder.of(left, inside) if len(left) else []
    program = None
    if kernel is not None and layout is not None:
        program = program_of(steps, allows, classes, lines, groups, found, kernel, layout, view)
    part = Part(lines, steps, {}, program, classes, allows, groups)
    part.summary = {
        "rows": len(numbers),
        "classes": classes,
        "specs": len(allows) - 1,
        "segments": [axis.count for axis in lines],
        "groups": {g.name: {"rows": g.rows, "table": g.form} for g in groups},
        "buckets": [{"rows": b.rows, "bits_left_out": list(b.left_out)} for b in found],
    }
    for step in steps:
        step.holds = None
    if program is not None:  # what only numpy needs goes
        part.allows, part.groups = allows[:0], []
        part.steps = [steps[k] for k in program.ready if k >= 0]
        place = iter(range(len(program.ready)))
        program.ready = [next(place) if k >= 0 else k for k in program.ready]
        for axis in lines:
            axis.nested = axis.bucket = None
            if axis.direct or not axis.columns:
                axis.starts = axis.starts[:, :0]
    return part


class _Groups:
    """Builds the groups of a part."""

    def __init__(
        self,
        numbers: I32,
        size: int,
        spec: I32,
        allows: U64,
        classes: int,
        axes: list[Axis],
        limits: Limits,
        layout: ModuleType | None,
        view: Callable[[Any], Any],
    ) -> None:
        self.numbers = numbers
        self.short = size <= 0xFFFF  # 0xFFFF is no row then, of this part or another
        self.spec, self.allows, self.classes, self.axes = spec, allows, classes, axes
        self.limits = limits
        self._layout = layout
        self._view = view

    def of(self, left: I64, ranges: list[Bounds]) -> list[Group]:
        """The groups of the rows `left`: few where their tables stay small, else the four of narrow and wide."""
        whole = self._whole(left, ranges) if self._layout is not None and len(left) <= FEW else None
        if whole is not None:
            return [whole]
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

    def _whole(self, left: I64, ranges: list[Bounds]) -> Group | None:
        """All rows as one group, worked out from sets of rows; None where its tables would be large.

        Segments that the same rows hold are one class; pairs of classes that share the same rows have one pattern.
        """
        assert self._layout is not None
        sets, maps = [], []
        for axis, (low, high) in zip(self.axes, ranges, strict=True):
            begin, end = segment(axis.starts, low), segment(axis.starts, high)
            places = np.arange(axis.count)[:, None]
            held = packed((begin[None, :] <= places) & (places <= end[None, :]))
            kept, of = distinct([held[:, w] for w in range(held.shape[1])])
            sets.append(held[kept])
            maps.append(of.astype(np.int32))
        sizes = (len(sets[0]), len(sets[1]))
        if sizes[0] * sizes[1] > PAIRS:
            return None
        view = self._view
        hashes = np.zeros(sizes, np.uint64)
        self._layout.meets(*map(view, (*sets, hashes)))
        _, first, number = np.unique(hashes.ravel(), return_index=True, return_inverse=True)
        chosen, number = first.astype(np.int64), number.astype(np.int64).ravel()
        if len(chosen) * self.classes * (2 if self.short else 4) > WHOLE:
            return None
        if not self._layout.alike(*map(view, (*sets, chosen, number))):
            return None  # two sets with one hash: other groups have none
        patterns = np.full((len(chosen), self.classes), NONE, np.int32)
        words = np.zeros(self.allows.shape[1], np.uint64)
        rows, specs = self.numbers[left], self.spec[left]
        self._layout.resolve_meets(*map(view, (*sets, chosen, rows, specs, self.allows, patterns, words)))
        return Group(
            "all", len(left), maps, sizes, np.zeros(0, np.int64), np.zeros((0, 4), np.int32), np.zeros(0, np.int32),
            np.minimum(patterns, 0xFFFF).astype(np.uint16) if self.short else patterns,
            number.astype(np.uint16 if len(chosen) <= 0xFFFF else np.int32), form="table",
        )  # fmt: skip

    def _threshold(self, ranges: list[Bounds], tops: list[list[int]]) -> list[NDArray[np.bool_]]:
        """Which rows are wide on each axis, by the threshold with the fewest entries."""
        found: tuple[int, list[NDArray[np.bool_]]] | None = None
        size = ranges[0][0].shape[1]
        for width in WIDTHS:
            wides = [
                wider(r, width + (96 if len(t) == 2 else 32 if t[0] == WORD else 0))
                for r, t in zip(ranges, tops, strict=True)
            ]
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
        if found[0] > ENTRIES:
            raise TooMany
        if found[0] * 120 > self.limits.memory:
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
            of_class, allows, own = self._narrowed(specs)
            classes = self.classes if of_class is None else int(of_class.max()) + 1
            if (len(kept) + 1) * classes * (2 if self.short else 4) <= SOLVED:
                patterns = np.full((len(kept) + 1, classes), NONE, np.int32)
                self._resolve(new[kept], end[kept], listed, own, allows, patterns[1:])
                group.patterns = np.minimum(patterns, 0xFFFF).astype(np.uint16) if self.short else patterns
                group.of_class = of_class
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
            self._resolve(new[long[kept]], end[long[kept]], listed, specs, self.allows, group.patterns)
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

    def _narrowed(self, specs: I32) -> tuple[NDArray[np.int32] | None, U64, I32]:
        """(what each class is among those that some specs tell apart, their `allows`, the specs in it).

        None where that are most of all classes.
        """
        used, own = np.unique(specs, return_inverse=True)
        allowed = unpacked(self.allows[used], self.classes)
        columns = packed(allowed.T)
        kept, number = distinct([columns[:, w] for w in range(columns.shape[1])])
        if len(kept) * 2 > self.classes or self.classes < MANY:
            return None, self.allows, specs
        return number.astype(np.int32), packed(allowed[:, kept]), own.astype(np.int32).ravel()

    def _resolve(self, first: I64, last: I64, rows: I32, specs: I32, allows: U64, patterns: I32) -> None:
        """The row of each class for lists `rows[first[k]:last[k]]`."""
        if self._layout is not None:
            left = np.zeros(allows.shape[1], np.uint64)
            arrays = (first, last, rows, specs, allows)
            self._layout.resolve(
                *(self._view(np.ascontiguousarray(a)) for a in arrays), self._view(patterns), self._view(left)
            )
            return
        allowed = unpacked(allows, patterns.shape[1])
        for k, (start, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
            inside = allowed[specs[start:end]]
            at = inside.argmax(axis=0)
            patterns[k] = np.where(inside.any(axis=0), rows[start:end][at], NONE)


def _before(sizes: I64) -> I64:
    """Where each of some lists begins, one behind another."""
    return np.asarray(np.cumsum(sizes) - sizes)


def _axes(low: Mapping[str, U64], high: Mapping[str, U64]) -> list[tuple[str, ...]]:
    """The columns of the two axes: IPv4 addresses where rows restrict them, else those of IPv6.

    Prefixes of IPv6 that are no longer than 64 bits leave the lower halves free.
    """
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
        elif six[0] in low and six[1] not in low:
            found.append(six[:1])
        else:
            found.append(())
    return found


__all__ = ["Group", "Part", "Program", "part_of"]

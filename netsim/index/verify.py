"""Checks that the tables of a loaded index stay within themselves, before anything is asked of them.

Theory of operation. Kernels trust their tables: a place that lies outside of a pool would be read. A file's checksums
find damage, not intent, so a loader works out for each step of a program which numbers the step before can
leave, and that every place that follows from them lies in its pool: the largest class of the columns, the largest
segment on each axis, and from them every cell, list and pattern. A list is followed to its end. What numpy reads is
checked by numpy; what it would refuse late is refused here where that is cheap.

Raises `ValueError` with what is wrong. Costs one pass over the tables, some milliseconds for ten megabytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netsim.index.classifier import Classifier
from netsim.index.flatten import Does
from netsim.index.plans import NONE, Plan, Ready, RowList
from netsim.index.programs import INPUTS, WIDTH, Program
from netsim.index.rows import INTERVALS, WORDS, Rows
from netsim.index.segments import Axis
from netsim.index.specs import Step
from netsim.index.tables import Part

_TOP = (1 << 31) - 1
"""The largest number that a step leaves."""
_MARKED = 1 << 24
"""Up to so large segments are noted in a table of marks."""
_DTYPES = ("u2", "i4", "u8")


def _must(holds: object, what: str) -> None:
    if not holds:
        raise ValueError(what)


def _array(value: Any, kind: str, dimensions: int = 1) -> NDArray[Any]:
    _must(isinstance(value, np.ndarray) and value.ndim == dimensions, "a table of another shape")
    _must(value.dtype == np.dtype(kind), "a table of another type")
    found: NDArray[Any] = value
    return found


def _whole(value: object) -> int:
    _must(isinstance(value, int) and not isinstance(value, bool), "a number is missing")
    assert isinstance(value, int)
    return value


class _Machine:
    """What a program leaves between its steps: the largest class, and every segment. Everything starts at 0."""

    def __init__(self, part: Part, program: Program, rows: Rows, ops: tuple[str, ...]) -> None:
        self.ops = ops
        self.part = part
        self.program = program
        self.rows = rows
        self.classes = 0
        self.segments = dict.fromkeys((1, 2), np.zeros(1, np.int64))
        self.pools = [_array(pool, kind) for pool, kind in zip(program.pools, _DTYPES, strict=True)]
        self.ready = [self._ready(what) for what in program.ready]  # the numbers on each line

    def region(self, pool: int, begin: int, size: int) -> NDArray[Any]:
        """The cells of a table in a pool (16, 32 or 64 bits)."""
        _must(
            begin >= 0 and size > 0 and begin + size <= len(self.pools[pool]), "a table outside of its pool"
        )
        return self.pools[pool][begin : begin + size]

    def places(self, pool: int, begin: int, size: int) -> int:
        """The largest of the cells of a table whose cells are places: none is negative."""
        found = self.region(pool, begin, size)
        _must(pool == 0 or int(found.min()) >= 0, "a place before its table")
        return int(found.max())

    def _ready(self, what: object) -> NDArray[np.int64]:
        """The numbers on a line that is worked out before the program."""
        number = _whole(what)
        part = self.part
        if number < 0:
            _must(number in (-1, -2), "no such axis")
            axis = part.axes[-1 - number]
            _must(len(axis.columns) in (1, 2) and axis.count, "an axis without columns")
            _must(bool(axis.starts[0, 0] == 0), "starts that do not begin with 0")
            groups = part.summary["groups"]
            _must(isinstance(groups, dict), "no groups")
            return self._times(axis.count, max(1, len(groups)))
        _must(number < len(part.steps), "no such step")
        return np.arange(_step(part.steps[number], self.rows) + 1)

    def _times(self, count: int, scale: int) -> NDArray[np.int64]:
        self._fits((count - 1) * scale)
        return np.arange(count) * scale

    @staticmethod
    def _fits(number: int) -> int:
        _must(0 <= number <= _TOP, "a number of more than 31 bits")
        return number

    # Steps

    def run(self) -> None:
        """Every step."""
        code = _array(self.program.code, "i8", 2)
        _must(code.shape[1] == WIDTH, "steps of another width")
        steps: dict[str, Callable[..., None]] = {
            "bytes": self._bytes, "words": self._words, "ready": self._line, "nested": self._nested,
            "search": self._search, "segment": self._segment, "grid": self._grid, "slots": self._slots,
            "sorted": self._sorted, "bucket": self._bucket,
        }  # fmt: skip
        for op, *operands in code.tolist():
            _must(0 <= op < len(self.ops), "no such operation")
            steps[self.ops[op]](*operands)

    def _joined(self, most: int, to: int, width: int, wide: int) -> None:
        """Classes joined with the classes before them."""
        if to < 0:
            self.classes = self._fits(most)
            return
        _must(width >= 1, "a table without a width")
        last = self._fits(self.classes * width + most)
        self.classes = self._fits(self.places(1 if wide else 0, to, last + 1))

    def _bytes(self, which: int, table: int, to: int, width: int, wide: int, *_: int) -> None:
        column = self._column(self.program.bytes, which)
        top = INTERVALS.get(column, WORDS.get(column, 0))
        _must(top < 1 << 8, "a column of more than 8 bits")
        self._joined(self.places(0, table, top + 1), to, width, wide)

    def _words(self, which: int, table: int, to: int, width: int, wide: int, *_: int) -> None:
        column = self._column(self.program.words, which)
        top = INTERVALS.get(column, WORDS.get(column, 0))
        _must(top < 1 << 16, "a column of more than 16 bits")
        self._joined(self.places(0, table, top + 1), to, width, wide)

    def _column(self, names: list[str], which: int) -> str:
        _must(0 <= which < len(names) <= INPUTS, "a column that is not read")
        _must(names[which] in self.rows.columns, "a column that no row has")
        return names[which]

    def _line(self, line: int, _: int, to: int, width: int, wide: int, *__: int) -> None:
        _must(0 <= line < len(self.ready), "a line that is not there")
        self._joined(int(self.ready[line].max()), to, width, wide)

    def _axis(self, which: int) -> None:
        _must(which in (1, 2), "no such axis")
        axis = self.part.axes[which - 1]
        _must(
            len(axis.columns) == 1 and INTERVALS.get(axis.columns[0]) == 0xFFFF_FFFF,
            "an axis that is no column",
        )

    def _nested(self, which: int, top: int, middle: int, bottom: int, *_: int) -> None:
        self._axis(which)
        last = (1 << 16) - 1
        for table in (top, middle):
            cells = self.region(1, table, last + 1).view(np.uint32)
            last = int(((cells >> np.uint32(8)) + (cells & np.uint32(255))).max())
        most = self.places(1, bottom, last + 1)
        values = self.region(1, bottom, last + 1)
        if most > _MARKED:
            self.segments[which] = np.unique(values).astype(np.int64)
            return
        seen = np.zeros(most + 1, np.bool_)
        seen[values] = True
        self.segments[which] = np.flatnonzero(seen)

    def _search(self, which: int, bucket: int, shift: int, starts: int, scale: int, *_: int) -> None:
        self._axis(which)
        _must(0 <= shift < 32 and scale >= 1, "a search without a table")
        cells = self.region(1, bucket, (0xFFFF_FFFF >> shift) + 2)
        _must(int(cells.min()) >= 0 and bool(np.all(cells[1:] >= cells[:-1])), "a search that goes back")
        last = int(cells.max())
        self.region(1, starts, last + 1)
        self.segments[which] = self._times(last + 1, scale)

    def _segment(self, which: int, line: int, value: int, *_: int) -> None:
        _must(which in (1, 2), "no such axis")
        if line < 0:
            self.segments[which] = np.array([self._fits(value)])
            return
        _must(line < len(self.ready), "a line that is not there")
        self.segments[which] = self.ready[line]

    def _maps(self, first: int, second: int, line: int = 1, other: int = 2) -> tuple[int, int]:
        """The largest class on each axis. Maps of several groups lie side by side, a segment apart."""
        found = []
        for table, of in ((first, line), (second, other)):
            segments = self.segments[of]
            cells = self.region(1, table, int(segments.max()) + 1)[segments]
            _must(int(cells.min()) >= 0, "a class before the first")
            found.append(int(cells.max()))
        return found[0], found[1]

    def _rows(self, rows: NDArray[Any]) -> None:
        _must(not rows.size or rows.dtype == np.uint16 or int(rows.min()) >= 0, "a row before the first")

    def _grid(
        self,
        first: int,
        second: int,
        place: int,
        grid: int,
        _: int,
        patterns: int,
        classes: int,
        form: int,
        *__: int,
    ) -> None:
        _must(0 <= form <= 3, "a table of no form")
        _must(classes >= 1, "a table without classes")
        alone = first < 0
        one, two = (int(self.segments[k].max()) for k in (1, 2)) if alone else self._maps(first, second)
        line = self.classes if place < 0 else self.places(1, place, self.classes + 1)
        most = self.places(form & 1, grid, self._fits(one + two) + 1)
        self._rows(self.region(form >> 1, patterns, self._fits(most * classes + line) + 1))

    def _allows(self, specs: NDArray[Any], allows: int, words: int) -> None:
        if not specs.size:
            return
        _must(words >= 1 and int(specs.min()) >= 0, "a spec before the first")
        self.region(2, allows, int(specs.max()) * words + (self.classes >> 6) + 1)

    def _lists(self, begin: NDArray[Any], stride: int, row: int, spec: int, allows: int, words: int) -> None:
        """Lists in the pool of 32 bits: each ends with `NONE` in it, and has specs up to there."""
        pool = self.pools[1]
        begin = np.unique(begin.astype(np.int64))
        _must(not len(begin) or (begin[0] >= 0 and begin[-1] + row < len(pool)), "a list outside of its pool")
        for rest in np.unique(begin % stride).tolist():
            mine = begin[begin % stride == rest]
            rows = pool[rest + row :: stride]
            ends = np.flatnonzero(rows == NONE)
            first = (mine - rest) // stride
            at = np.searchsorted(ends, first)
            _must(len(ends) and int(at.max()) < len(ends), "a list without an end")
            inside = np.zeros(len(rows) + 1, np.int64)
            np.add.at(inside, first, 1)
            np.add.at(inside, ends[at], -1)
            member = np.flatnonzero(np.cumsum(inside[:-1]) > 0)
            self._rows(rows[member])
            places = rest + member * stride
            _must(not len(places) or int(places[-1]) + stride <= len(pool), "a list outside of its pool")
            self._allows(pool[places + spec], allows, words)

    def _cells(
        self, cells: NDArray[Any], rest: int, patterns: int, classes: int, allows: int, words: int
    ) -> None:
        """Slots of 4 numbers, their lists and patterns."""
        self._rows(cells[:, 1])
        self._allows(cells[:, 2], allows, words)
        following = cells[:, 3].astype(np.int64)
        if bool((following < 0).any()):
            _must(classes >= 1, "a table without classes")
            most = int((-1 - following).max())
            self._rows(self.region(1, patterns, most * classes + self.classes + 1))
        self._lists(rest + following[following > 0], 2, 0, 1, allows, words)

    def _slots(
        self, first: int, second: int, _: int, slots: int, rest: int, patterns: int, classes: int, allows: int,
        words: int, line: int, other: int, *__: int,
    ) -> None:  # fmt: skip
        _must({line, other} == {1, 2}, "no such axis")
        one, two = self._maps(first, second, line, other)
        cells = self.region(1, slots, (self._fits(one + two) + 1) * 4).reshape(-1, 4)
        self._cells(cells, rest, patterns, classes, allows, words)

    def _sorted(
        self, first: int, second: int, _: int, slots: int, rest: int, patterns: int, classes: int, allows: int,
        words: int, keys: int, size: int, *__: int,
    ) -> None:  # fmt: skip
        self._maps(first, second)
        self.region(2, keys, size)
        self._cells(self.region(1, slots, size * 4).reshape(-1, 4), rest, patterns, classes, allows, words)

    def _bucket(
        self, left: int, right: int, shift: int, slots: int, rest: int, marks: int, _: int, allows: int, words: int,
        *__: int,
    ) -> None:  # fmt: skip
        self._axis(1)
        self._axis(2)
        _must(0 <= left <= 32 and 0 <= right <= 32 and 34 <= shift <= 63, "a bucket of no bits")
        size = 1 << (64 - shift)
        self.region(0, marks, size)
        cells = self.region(1, slots, size * 8).reshape(-1, 8)
        self._rows(cells[:, 4])
        self._allows(cells[:, 5], allows, words)
        _must(int(cells[:, 6].min()) >= 0, "a list before its table")
        begin = rest + cells[:, 6].astype(np.int64)
        self._lists(begin[cells[:, 6] > 0], 8, 4, 5, allows, words)


def _step(step: Step, rows: Rows) -> int:
    """The largest class of a step that numpy asks."""
    _must(step.column in rows.columns, "a column that no row has")
    top = INTERVALS.get(step.column, WORDS.get(step.column, 0))
    if step.table is not None:
        table = _array(step.table, "u2")
        _must(len(table) > top, "a table that ends before its column")
        return int(table.max())
    starts = _array(step.starts, "u8")
    _must(len(starts) and bool(np.all(starts[1:] > starts[:-1])), "starts that do not ascend")
    if step.classes is not None:
        classes = _array(step.classes, "i4")
        _must(
            starts[0] == 0 and len(classes) == len(starts) and int(classes.min()) >= 0,
            "classes of no segment",
        )
        return int(classes.max())
    _must(isinstance(step.care, int) and 0 <= step.care < 1 << 64, "a mask of no word")
    return len(starts)


def _axis(axis: Axis, rows: Rows) -> None:
    _must(isinstance(axis, Axis) and isinstance(axis.columns, tuple) and len(axis.columns) < 3, "no axis")
    _must(all(c in rows.low for c in axis.columns), "an axis that no row has")
    starts = _array(axis.starts, "u8", 2)
    _must(starts.shape[0] == max(1, len(axis.columns)), "an axis of other columns")


def check_rows(rows: Rows) -> None:
    """W1, and columns that exist."""
    size = len(_array(rows.rule, "i4"))
    for names, known in (((rows.low, rows.high), INTERVALS), ((rows.care, rows.value), WORDS)):
        _must(
            all(isinstance(each, dict) for each in names) and names[0].keys() == names[1].keys(),
            "half a column",
        )
        for each in names:
            for name, column in each.items():
                _must(name in known and len(_array(column, "u8")) == size, "a column of another length")


def check_classifier(found: Classifier) -> None:
    """The tables of a classifier stay within their bounds."""
    rows = found.rows
    _must(isinstance(found._parts, list), "no parts")
    for part in found._parts:
        if not isinstance(part, Part):
            _vectors(part, rows)
            continue
        _must(len(part.axes) == 2 and isinstance(part.summary, dict), "a part without axes")
        for axis in part.axes:
            _axis(axis, rows)
        for step in part.steps:
            _must(isinstance(step, Step), "no step")
        if found._kernel is None:
            _must(part.program is None, "a program that nobody runs")
            continue
        program = part.program
        _must(isinstance(program, Program) and len(program.pools) == len(_DTYPES), "a part without a program")
        assert program is not None
        for names in (program.bytes, program.words):
            _must(len(names) <= INPUTS and all(n in rows.columns for n in names), "a column that no row has")
        _Machine(part, program, rows, found._kernel.OPS).run()


def _vectors(part: Any, rows: Rows) -> None:
    """Bit vectors: a line for each class, a bit for each row."""
    numbers = _array(part.numbers, "i4")
    bits, offsets = _array(part.bits, "u8", 2), _array(part.offsets, "i8")
    _must(bits.shape[1] * 64 - 64 < len(numbers) <= bits.shape[1] * 64, "vectors of another length")
    beyond = bits[:, -1] >> np.uint64((len(numbers) - 1) % 64) >> np.uint64(1)
    _must(not bool(beyond.any()), "a bit for no row")
    _must(int(numbers.min()) >= 0 and int(numbers.max()) < len(rows), "a row behind the last")
    _must(len(offsets) == len(part.steps) > 0, "vectors without a column")
    for step, offset in zip(part.steps, offsets.tolist(), strict=True):
        most = _step(step, rows)
        _must(offset >= 0 and offset + most < len(bits), "a class without a vector")


def _list(found: RowList, size: int) -> None:
    places = _array(found.places, "i4")
    _must(bool(np.all(places[1:] > places[:-1])), "rows that do not ascend")
    _must(not len(places) or (places[0] >= 0 and places[-1] < size), "a row behind the last")
    check_rows(found.rows)
    _must(len(found.rows) == len(places), "rows of another number")
    for classifier in found._from.values():
        if classifier is not None:
            check_classifier(classifier)


def check_plan(plan: Plan, deciders: int) -> None:
    """The stages of a plan: rows, what they do, where they go on, and the tables that find them."""
    for stage in plan.stages:
        if not isinstance(stage, Ready):
            continue
        does, target, decider = (
            _array(stage.does, "i1"),
            _array(stage.target, "i4"),
            _array(stage.decider, "i4"),
        )
        size = len(does)
        _must(size and len(target) == size == len(decider), "rows of another number")
        _must(int(does.min()) >= 0 and int(does.max()) < len(Does), "a row that does nothing known")
        _must(int(decider.min()) >= 0 and int(decider.max()) < deciders, "a row of no rule")
        every = np.arange(size)
        resumes = does == int(Does.RESUME)
        _must(bool(np.all((target > every) & (target < size) | ~resumes)), "a row that goes on before itself")
        changes = np.flatnonzero(does == int(Does.CHANGE))
        for row in changes.tolist():
            _must(row in stage.effects, "a change without effects")
        after = target[changes]
        _must(
            bool(np.all((after < 0) | (after > changes) & (after < size))), "a row that goes on before itself"
        )
        for each in stage.lists():
            _list(each, size)
        places = stage.sure.places
        last = len(places) and int(places[-1]) == size - 1 and int(does[-1]) <= int(Does.REJECT)
        _must(last, "a chain without an end")
        first = {c: (stage.sure.rows.low[c][-1], stage.sure.rows.high[c][-1]) for c in stage.sure.rows.low}
        _must(
            all(low == 0 and int(high) == INTERVALS[c] for c, (low, high) in first.items()),
            "an end that holds not all",
        )
        _must(all(int(care[-1]) == 0 for care in stage.sure.rows.care.values()), "an end that holds not all")


__all__ = ["check_classifier", "check_plan", "check_rows"]

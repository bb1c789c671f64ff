"""The steps of the batch classifier: a small interpreter, each step one loop over a chunk of records.

Theory of operation: see `index.classifier`, whose numpy path is the slow twin of `run`. A *program* is a table of
numbers: an operation a line, the operation first (its place in `OPS`), its operands behind it. All tables of a
program lie one behind another in three pools of 16, 32 and 64 bits; operands are places in them. A chunk of 512
records goes through all steps before the next one, so that what is between two steps stays in the first cache:
the class of the other columns, and the segment of each axis. Loops take no branch that depends on a record, so
that many look-ups are on their way at once; the few records that a step cannot finish are put on a list, which
a second loop walks.

Slots, of 4 numbers: (class on the second axis, row, its spec, what comes next: 0 nothing, otherwise the place of
the list of the others in pairs of (row, spec), or, negative, one less than minus the number of a pattern). Records of
buckets: see `index.buckets`. Lists end with the row `NONE`, which is larger than every row.

Integers of 32 bits that stand for addresses are stored as signed ones and masked when they are read, so that
the uncompiled program, whose integers have no width, computes the same.
"""

from __future__ import annotations

import cython

OPS = ("bytes", "words", "ready", "nested", "search", "segment", "grid", "slots", "sorted", "bucket")
"""The operations; the constants below are their places."""
BYTES = cython.declare(cython.int, 0)
WORDS = cython.declare(cython.int, 1)
READY = cython.declare(cython.int, 2)
NESTED = cython.declare(cython.int, 3)
SEARCH = cython.declare(cython.int, 4)
SEGMENT = cython.declare(cython.int, 5)
GRID = cython.declare(cython.int, 6)
SLOTS = cython.declare(cython.int, 7)
SORTED = cython.declare(cython.int, 8)
BUCKET = cython.declare(cython.int, 9)

CHUNK = cython.declare(cython.int, 512)

Value = cython.fused_type(cython.uchar, cython.ushort)
Cell = cython.fused_type(cython.ushort, cython.int)
Cell2 = cython.fused_type(cython.ushort, cython.int)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _class(
    values: Value[::1],
    at: cython.Py_ssize_t,
    n: cython.Py_ssize_t,
    t16: cython.ushort[::1],
    table: cython.Py_ssize_t,
    pairs: Cell[::1],
    to: cython.Py_ssize_t,
    width: cython.int,
    work: cython.int[:, ::1],
) -> cython.void:
    """The class of each value by table; joined with the class before it where `to` is a place."""
    i: cython.Py_ssize_t
    if to < 0:
        for i in range(n):
            work[0, i] = t16[table + values[at + i]]
    else:
        for i in range(n):
            work[0, i] = pairs[to + work[0, i] * width + t16[table + values[at + i]]]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _ready(
    ready: cython.int[:, ::1],
    line: cython.Py_ssize_t,
    at: cython.Py_ssize_t,
    n: cython.Py_ssize_t,
    pairs: Cell[::1],
    to: cython.Py_ssize_t,
    width: cython.int,
    work: cython.int[:, ::1],
) -> cython.void:
    """The same for classes that are there already."""
    i: cython.Py_ssize_t
    if to < 0:
        for i in range(n):
            work[0, i] = ready[line, at + i]
    else:
        for i in range(n):
            work[0, i] = pairs[to + work[0, i] * width + ready[line, at + i]]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _nested(
    values: cython.uint[::1],
    at: cython.Py_ssize_t,
    n: cython.Py_ssize_t,
    t32: cython.int[::1],
    top: cython.Py_ssize_t,
    middle: cython.Py_ssize_t,
    bottom: cython.Py_ssize_t,
    work: cython.int[:, ::1],
    line: cython.Py_ssize_t,
) -> cython.void:
    """The segment of each value by three tables, for 16, 8 and 8 bits.

    A cell of the first two is (where the block below begins) * 256 + (255, or 0 where the block is one cell).
    """
    i: cython.Py_ssize_t
    v: cython.uint
    cell: cython.uint
    for i in range(n):
        v = values[at + i]
        cell = t32[top + (v >> 16)]
        cell = t32[middle + (cell >> 8) + ((v >> 8) & cell & 255)]
        work[line, i] = t32[bottom + (cell >> 8) + (v & cell & 255)]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _search(
    values: cython.uint[::1],
    at: cython.Py_ssize_t,
    n: cython.Py_ssize_t,
    t32: cython.int[::1],
    bucket: cython.Py_ssize_t,
    shift: cython.int,
    starts: cython.Py_ssize_t,
    scale: cython.int,
    work: cython.int[:, ::1],
    line: cython.Py_ssize_t,
) -> cython.void:
    """The segment of each value: the last whose start is not larger; the upper bits bound the search."""
    low32: cython.ulonglong = 0xFFFF_FFFF
    i: cython.Py_ssize_t
    v: cython.longlong
    low: cython.Py_ssize_t
    size: cython.Py_ssize_t
    half: cython.Py_ssize_t
    for i in range(n):
        v = values[at + i]
        low = t32[bucket + (v >> shift)]
        size = t32[bucket + (v >> shift) + 1] - low + 1
        while size > 1:
            half = size >> 1
            low = low + half if (t32[starts + low + half] & low32) <= v else low
            size -= half
        work[line, i] = low * scale


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _grid(
    n: cython.Py_ssize_t,
    at: cython.Py_ssize_t,
    t32: cython.int[::1],
    first: cython.Py_ssize_t,
    second: cython.Py_ssize_t,
    grid: Cell[::1],
    place: cython.Py_ssize_t,
    patterns: Cell2[::1],
    base: cython.Py_ssize_t,
    classes: cython.Py_ssize_t,
    of_class: cython.Py_ssize_t,
    work: cython.int[:, ::1],
    best: cython.int[::1],
) -> cython.void:
    """Lowers `best` by a group with a table over pairs of classes that leads to patterns: the row for each class.

    `of_class` leads to the classes that the patterns have, -1 where they have all. Without maps (`first` is -1)
    segments are the classes; the first ones are times the table's width.
    """
    i: cython.Py_ssize_t
    row: cython.int
    bound: cython.int
    line: cython.Py_ssize_t = 0
    if of_class >= 0:
        line = 3
        for i in range(n):
            work[3, i] = t32[of_class + work[0, i]]
    if first < 0:
        for i in range(n):
            row = patterns[base + grid[place + work[1, i] + work[2, i]] * classes + work[line, i]]
            bound = best[at + i]
            best[at + i] = bound ^ ((bound ^ row) & -(row < bound))  # a choice without a branch
    else:
        for i in range(n):
            row = patterns[
                base
                + grid[place + t32[first + work[1, i]] + t32[second + work[2, i]]] * classes
                + work[line, i]
            ]
            bound = best[at + i]
            best[at + i] = bound ^ ((bound ^ row) & -(row < bound))  # a choice without a branch


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _rest(
    count: cython.Py_ssize_t,
    at: cython.Py_ssize_t,
    t32: cython.int[::1],
    rest: cython.Py_ssize_t,
    patterns: cython.Py_ssize_t,
    classes: cython.Py_ssize_t,
    t64: cython.ulonglong[::1],
    allows: cython.Py_ssize_t,
    words: cython.Py_ssize_t,
    work: cython.int[:, ::1],
    best: cython.int[::1],
) -> cython.void:
    """Goes on, for the records on the list, behind the first row of their slots."""
    i: cython.Py_ssize_t
    k: cython.Py_ssize_t
    p: cython.Py_ssize_t
    c: cython.int
    row: cython.int
    bound: cython.int
    for k in range(count):
        i = work[3, k]
        p = work[4, k]
        c = work[0, i]
        bound = best[at + i]
        if p < 0:
            row = t32[patterns + (-1 - p) * classes + c]
            best[at + i] = row if row < bound else bound
            continue
        p += rest
        row = t32[p]
        while row < bound:
            if (t64[allows + t32[p + 1] * words + (c >> 6)] >> (c & 63)) & 1:
                best[at + i] = row
                break
            p += 2
            row = t32[p]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _slots(
    n: cython.Py_ssize_t,
    at: cython.Py_ssize_t,
    t32: cython.int[::1],
    first: cython.Py_ssize_t,
    second: cython.Py_ssize_t,
    slots: cython.Py_ssize_t,
    t64: cython.ulonglong[::1],
    allows: cython.Py_ssize_t,
    words: cython.Py_ssize_t,
    line: cython.Py_ssize_t,
    other: cython.Py_ssize_t,
    work: cython.int[:, ::1],
    best: cython.int[::1],
) -> cython.Py_ssize_t:
    """Lowers `best` by the slots of a group; gives how many records are on the list.

    The class on the first axis is where its slots begin, that on the second the distance from there; a slot
    is another's where it names another class.
    """
    none: cython.int = 0x7FFF_FFFF
    i: cython.Py_ssize_t
    s: cython.Py_ssize_t
    count: cython.Py_ssize_t = 0
    y: cython.int
    c: cython.int
    row: cython.int
    bound: cython.int
    same: cython.int
    hit: cython.int
    for i in range(n):  # a loop of few steps has many look-ups on their way at once
        work[3, i] = t32[first + work[line, i]] + t32[second + work[other, i]]
    for i in range(n):
        s = slots + cython.cast(cython.Py_ssize_t, work[3, i]) * 4
        row = t32[s + 1]
        y = t32[second + work[other, i]]
        work[4, i] = none ^ ((none ^ row) & -(t32[s] == y))
        work[5, i] = t32[s + 2]
        work[6, i] = t32[s + 3]
    for i in range(n):
        c = work[0, i]
        bound = best[at + i]
        row = work[4, i]
        same = row < bound
        hit = cython.cast(cython.int, (t64[allows + work[5, i] * words + (c >> 6)] >> (c & 63)) & 1) & same
        best[at + i] = bound ^ ((bound ^ row) & -hit)
        work[3, count] = i
        work[4, count] = work[6, i]
        count += same & (hit ^ 1) & (work[6, i] != 0)
    return count


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _sorted(
    n: cython.Py_ssize_t,
    at: cython.Py_ssize_t,
    t32: cython.int[::1],
    first: cython.Py_ssize_t,
    second: cython.Py_ssize_t,
    slots: cython.Py_ssize_t,
    t64: cython.ulonglong[::1],
    allows: cython.Py_ssize_t,
    words: cython.Py_ssize_t,
    keys: cython.Py_ssize_t,
    size: cython.Py_ssize_t,
    work: cython.int[:, ::1],
    best: cython.int[::1],
) -> cython.Py_ssize_t:
    """The same where the slots lie in the order of their keys, both classes side by side."""
    i: cython.Py_ssize_t
    s: cython.Py_ssize_t
    low: cython.Py_ssize_t
    left: cython.Py_ssize_t
    half: cython.Py_ssize_t
    count: cython.Py_ssize_t = 0
    key: cython.ulonglong
    c: cython.int
    row: cython.int
    bound: cython.int
    same: cython.int
    hit: cython.int
    for i in range(n):
        key = t32[first + work[1, i]]
        key = (key << 32) | cython.cast(cython.ulonglong, t32[second + work[2, i]])
        low = 0
        left = size
        while left > 1:
            half = left >> 1
            low = low + half if t64[keys + low + half] <= key else low
            left -= half
        s = slots + low * 4
        c = work[0, i]
        bound = best[at + i]
        row = t32[s + 1]
        same = (t64[keys + low] == key) & (row < bound)
        hit = cython.cast(cython.int, (t64[allows + t32[s + 2] * words + (c >> 6)] >> (c & 63)) & 1) & same
        best[at + i] = bound ^ ((bound ^ row) & -hit)
        work[3, count] = i
        work[4, count] = t32[s + 3]
        count += same & (hit ^ 1) & (t32[s + 3] != 0)
    return count


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _bucket(
    first: cython.uint[::1],
    second: cython.uint[::1],
    n: cython.Py_ssize_t,
    at: cython.Py_ssize_t,
    left_a: cython.int,
    left_b: cython.int,
    shift: cython.int,
    t16: cython.ushort[::1],
    marks: cython.Py_ssize_t,
    t32: cython.int[::1],
    slots: cython.Py_ssize_t,
    rest: cython.Py_ssize_t,
    t64: cython.ulonglong[::1],
    allows: cython.Py_ssize_t,
    words: cython.Py_ssize_t,
    work: cython.int[:, ::1],
    best: cython.int[::1],
) -> cython.void:
    """Lowers `best` by the rows of a bucket, which the upper bits of both addresses choose; each is compared whole.

    A bucket has 16 marks, set where it holds rows of such a hash: most records that meet none leave here.
    """
    low32: cython.ulonglong = 0xFFFF_FFFF
    whole: cython.ulonglong = 0xFFFF_FFFF_FFFF_FFFF
    factor: cython.ulonglong = 0x9E37_79B9_7F4A_7C15
    second_factor: cython.ulonglong = 0xC2B2_AE3D_27D4_EB4F
    i: cython.Py_ssize_t
    k: cython.Py_ssize_t
    s: cython.Py_ssize_t
    met: cython.Py_ssize_t = 0
    count: cython.Py_ssize_t = 0
    a: cython.ulonglong
    b: cython.ulonglong
    h: cython.ulonglong
    c: cython.int
    row: cython.int
    bound: cython.int
    hit: cython.int
    for i in range(n):  # loops of few steps have many look-ups on their way at once
        a = first[at + i]
        b = second[at + i]
        h = ((((a >> left_a) * second_factor) & whole) + (b >> left_b)) * factor & whole
        work[3, met] = i
        work[4, met] = h >> shift
        met += (t16[marks + cython.cast(cython.Py_ssize_t, h >> shift)] >> ((h >> 24) & 15)) & 1
    for k in range(met):
        work[5, k] = t32[slots + cython.cast(cython.Py_ssize_t, work[4, k]) * 8 + 4]
    for k in range(met):
        i = work[3, k]
        s = slots + cython.cast(cython.Py_ssize_t, work[4, k]) * 8
        a = first[at + i]
        b = second[at + i]
        c = work[0, i]
        bound = best[at + i]
        row = work[5, k]
        hit = (
            (((a - t32[s]) & low32) <= (t32[s + 1] & low32))
            & (((b - t32[s + 2]) & low32) <= (t32[s + 3] & low32))
            & (row < bound)
            & cython.cast(cython.int, (t64[allows + t32[s + 5] * words + (c >> 6)] >> (c & 63)) & 1)
        )
        best[at + i] = bound ^ ((bound ^ row) & -hit)
        work[5, count] = i
        work[6, count] = t32[s + 6]
        count += (hit ^ 1) & (t32[s + 6] != 0)
    for k in range(count):
        work[4, k] = t32[rest + work[6, k] + 4]
    for k in range(count):
        i = work[5, k]
        s = rest + work[6, k]
        a = first[at + i]
        b = second[at + i]
        c = work[0, i]
        bound = best[at + i]
        row = work[4, k]
        while row < bound:
            if (
                (((a - t32[s]) & low32) <= (t32[s + 1] & low32))
                & (((b - t32[s + 2]) & low32) <= (t32[s + 3] & low32))
                & cython.cast(cython.int, (t64[allows + t32[s + 5] * words + (c >> 6)] >> (c & 63)) & 1)
            ):
                best[at + i] = row
                break
            s += 8
            row = t32[s + 4]


def run(
    code: cython.longlong[:, ::1],
    t16: cython.ushort[::1],
    t32: cython.int[::1],
    t64: cython.ulonglong[::1],
    first: cython.uint[::1],
    second: cython.uint[::1],
    b0: cython.uchar[::1],
    b1: cython.uchar[::1],
    b2: cython.uchar[::1],
    b3: cython.uchar[::1],
    w0: cython.ushort[::1],
    w1: cython.ushort[::1],
    w2: cython.ushort[::1],
    w3: cython.ushort[::1],
    ready: cython.int[:, ::1],
    work: cython.int[:, ::1],
    best: cython.int[::1],
    fresh: cython.int,
    final: cython.int,
) -> None:
    """Lowers `best` to the first row of each record.

    `fresh`: it holds nothing yet. `final`, if it is not 0, is the number of rows: what is none becomes -1. Columns that the program does not name may be empty. `work` is 7 x 520, one a thread.
    """
    none: cython.int = 0x7FFF_FFFF
    total: cython.Py_ssize_t = best.shape[0]
    at: cython.Py_ssize_t
    n: cython.Py_ssize_t
    i: cython.Py_ssize_t
    k: cython.Py_ssize_t
    op: cython.longlong
    which: cython.longlong
    count: cython.Py_ssize_t
    bytes_: cython.uchar[::1] = b0
    words_: cython.ushort[::1] = w0
    axis: cython.uint[::1] = first
    with cython.nogil:
        at = 0
        while at < total:
            n = CHUNK if total - at > CHUNK else total - at
            if fresh:
                for i in range(n):
                    best[at + i] = none
            for i in range(n):
                work[0, i] = 0
            for k in range(code.shape[0]):
                op = code[k, 0]
                which = code[k, 1]
                if op == BYTES:
                    bytes_ = b0
                    if which == 1:
                        bytes_ = b1
                    elif which == 2:
                        bytes_ = b2
                    elif which == 3:
                        bytes_ = b3
                    if code[k, 5]:
                        _class(bytes_, at, n, t16, code[k, 2], t32, code[k, 3], code[k, 4], work)
                    else:
                        _class(bytes_, at, n, t16, code[k, 2], t16, code[k, 3], code[k, 4], work)
                elif op == WORDS:
                    words_ = w0
                    if which == 1:
                        words_ = w1
                    elif which == 2:
                        words_ = w2
                    elif which == 3:
                        words_ = w3
                    if code[k, 5]:
                        _class(words_, at, n, t16, code[k, 2], t32, code[k, 3], code[k, 4], work)
                    else:
                        _class(words_, at, n, t16, code[k, 2], t16, code[k, 3], code[k, 4], work)
                elif op == READY:
                    if code[k, 5]:
                        _ready(ready, which, at, n, t32, code[k, 3], code[k, 4], work)
                    else:
                        _ready(ready, which, at, n, t16, code[k, 3], code[k, 4], work)
                elif op in (NESTED, SEARCH):
                    axis = first
                    if which == 2:
                        axis = second
                    if op == NESTED:
                        _nested(axis, at, n, t32, code[k, 2], code[k, 3], code[k, 4], work, which)
                    else:
                        _search(axis, at, n, t32, code[k, 2], code[k, 3], code[k, 4], code[k, 5], work, which)
                elif op == SEGMENT:
                    if code[k, 2] < 0:
                        for i in range(n):
                            work[which, i] = code[k, 3]
                    else:
                        for i in range(n):
                            work[which, i] = ready[code[k, 2], at + i]
                elif op == GRID:
                    if code[k, 8] == 0:
                        _grid(n, at, t32, which, code[k, 2], t16, code[k, 4], t16, code[k, 6], code[k, 7], code[k, 3], work, best)  # fmt: skip
                    elif code[k, 8] == 1:
                        _grid(n, at, t32, which, code[k, 2], t32, code[k, 4], t16, code[k, 6], code[k, 7], code[k, 3], work, best)  # fmt: skip
                    elif code[k, 8] == 2:
                        _grid(n, at, t32, which, code[k, 2], t16, code[k, 4], t32, code[k, 6], code[k, 7], code[k, 3], work, best)  # fmt: skip
                    else:
                        _grid(n, at, t32, which, code[k, 2], t32, code[k, 4], t32, code[k, 6], code[k, 7], code[k, 3], work, best)  # fmt: skip
                elif op in (SLOTS, SORTED):
                    if op == SLOTS:
                        count = _slots(n, at, t32, which, code[k, 2], code[k, 4], t64, code[k, 8], code[k, 9], code[k, 10], code[k, 11], work, best)  # fmt: skip
                    else:
                        count = _sorted(n, at, t32, which, code[k, 2], code[k, 4], t64, code[k, 8], code[k, 9], code[k, 10], code[k, 11], work, best)  # fmt: skip
                    _rest(count, at, t32, code[k, 5], code[k, 6], code[k, 7], t64, code[k, 8], code[k, 9], work, best)  # fmt: skip
                else:
                    _bucket(first, second, n, at, which, code[k, 2], code[k, 3], t16, code[k, 6], t32, code[k, 4], code[k, 5], t64, code[k, 8], code[k, 9], work, best)  # fmt: skip
            if final:
                for i in range(n):
                    best[at + i] |= -(best[at + i] >= final)
            at += CHUNK


def search64(values: cython.ulonglong[::1], starts: cython.ulonglong[::1], out: cython.int[::1]) -> None:
    """The segment of each value of 64 bits."""
    i: cython.Py_ssize_t
    n: cython.Py_ssize_t = values.shape[0]
    v: cython.ulonglong
    low: cython.Py_ssize_t
    size: cython.Py_ssize_t
    half: cython.Py_ssize_t
    with cython.nogil:
        for i in range(n):
            v = values[i]
            low = 0
            size = starts.shape[0]
            while size > 1:
                half = size >> 1
                low = low + half if starts[low + half] <= v else low
                size -= half
            out[i] = low


def search128(
    upper: cython.ulonglong[::1],
    lower: cython.ulonglong[::1],
    starts: cython.ulonglong[:, ::1],
    out: cython.int[::1],
) -> None:
    """The segment of each value of two halves; `starts[:, i]` are the halves of a start."""
    i: cython.Py_ssize_t
    n: cython.Py_ssize_t = upper.shape[0]
    u: cython.ulonglong
    v: cython.ulonglong
    low: cython.Py_ssize_t
    size: cython.Py_ssize_t
    half: cython.Py_ssize_t
    s: cython.Py_ssize_t
    with cython.nogil:
        for i in range(n):
            u = upper[i]
            v = lower[i]
            low = 0
            size = starts.shape[1]
            while size > 1:
                half = size >> 1
                s = low + half
                low = s if (starts[0, s] < u) | ((starts[0, s] == u) & (starts[1, s] <= v)) else low
                size -= half
            out[i] = low


def occupied(
    first: cython.uint[::1],
    second: cython.uint[::1],
    left_a: cython.int,
    left_b: cython.int,
    shift: cython.int,
    where: cython.int[::1],
    mark: cython.uchar[::1],
    counts: cython.int[::1],
) -> None:
    """The bucket and the mark of each row, as `_bucket` computes them, and how many rows each bucket has."""
    second_factor: cython.ulonglong = 0xC2B2_AE3D_27D4_EB4F
    factor: cython.ulonglong = 0x9E37_79B9_7F4A_7C15
    whole: cython.ulonglong = 0xFFFF_FFFF_FFFF_FFFF
    i: cython.Py_ssize_t
    a: cython.ulonglong
    b: cython.ulonglong
    h: cython.ulonglong
    with cython.nogil:
        for i in range(first.shape[0]):
            a = first[i]
            b = second[i]
            h = ((((a >> left_a) * second_factor) & whole) + (b >> left_b)) * factor & whole
            where[i] = h >> shift
            mark[i] = (h >> 24) & 15
            counts[where[i]] += 1


def vectors(
    classes: cython.int[:, ::1],
    offsets: cython.longlong[::1],
    bits: cython.ulonglong[:, ::1],
    best: cython.int[::1],
) -> None:
    """The first row that every column admits: `bits[offsets[k] + class]` are the rows that column k admits."""
    whole: cython.ulonglong = 0xFFFF_FFFF_FFFF_FFFF
    i: cython.Py_ssize_t
    k: cython.Py_ssize_t
    w: cython.Py_ssize_t
    columns: cython.Py_ssize_t = classes.shape[0]
    words: cython.Py_ssize_t = bits.shape[1]
    v: cython.ulonglong
    one: cython.ulonglong = 1
    row: cython.int
    with cython.nogil:
        for i in range(classes.shape[1]):
            best[i] = -1
            for w in range(words):
                v = whole
                for k in range(columns):
                    v = v & bits[offsets[k] + classes[k, i], w]
                    if v == 0:
                        break
                if v != 0:
                    row = w * 64
                    while not (v & one):
                        v = v >> one
                        row += 1
                    best[i] = row
                    break


def scan(
    low: cython.ulonglong[:, ::1],
    high: cython.ulonglong[:, ::1],
    care: cython.ulonglong[:, ::1],
    value: cython.ulonglong[:, ::1],
    ranges: cython.ulonglong[:, ::1],
    bits: cython.ulonglong[:, ::1],
    start: cython.int[::1],
    best: cython.int[::1],
) -> None:
    """The first row from `start[i]` on that holds record i, one row after another; columns are lines."""
    i: cython.Py_ssize_t
    k: cython.Py_ssize_t
    r: cython.Py_ssize_t
    inside: cython.int
    with cython.nogil:
        for i in range(start.shape[0]):
            best[i] = -1
            for r in range(start[i], low.shape[1]):
                inside = 1
                for k in range(low.shape[0]):
                    if not (low[k, r] <= ranges[k, i] <= high[k, r]):
                        inside = 0
                        break
                if inside:
                    for k in range(care.shape[0]):
                        if bits[k, i] & care[k, r] != value[k, r]:
                            inside = 0
                            break
                if inside:
                    best[i] = r
                    break

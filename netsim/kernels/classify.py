"""The steps of the batch classifier, each one loop over a block of records.

Theory of operation: see `index.classifier`, which builds the tables and calls the steps in order; its numpy
path is the slow twin of every function here. A *spec* is what a row says of all columns but the two axes;
`allows` holds one bit for each spec and each class of those columns. An *entry* is the list of rows of one
pair of axis classes: `heads[entry]` is (its first row, that row's spec, where the others begin, where they end).
Where the end is -1, the second last is the number of a pattern: the row for each class, worked out beforehand.
Entry 0 is the empty list. `NONE`, larger than every row, is no row; in patterns of 16 bits it is 65535.
"""

from __future__ import annotations

import cython

NONE = 0x7FFF_FFFF
Pattern = cython.fused_type(cython.ushort, cython.int)


def direct(values: cython.ushort[::1], table: cython.ushort[::1], out: cython.int[::1]) -> None:
    """The class of each value by table."""
    i: cython.Py_ssize_t
    n: cython.Py_ssize_t = values.shape[0]
    with cython.nogil:
        for i in range(n):
            out[i] = table[values[i]]


def combine(
    values: cython.ushort[::1],
    table: cython.ushort[::1],
    pairs: cython.int[::1],
    width: cython.int,
    out: cython.int[::1],
) -> None:
    """`out[i]`, a class, becomes the class of itself and of a value: pairs[out * width + table[value]]."""
    i: cython.Py_ssize_t
    n: cython.Py_ssize_t = values.shape[0]
    with cython.nogil:
        for i in range(n):
            out[i] = pairs[out[i] * width + table[values[i]]]


def join(classes: cython.int[::1], pairs: cython.int[::1], width: cython.int, out: cython.int[::1]) -> None:
    """`out[i]` becomes the class of itself and of `classes[i]`."""
    i: cython.Py_ssize_t
    n: cython.Py_ssize_t = classes.shape[0]
    with cython.nogil:
        for i in range(n):
            out[i] = pairs[out[i] * width + classes[i]]


def search32(
    values: cython.uint[::1],
    bucket: cython.int[::1],
    shift: cython.int,
    starts: cython.uint[::1],
    out: cython.int[::1],
) -> None:
    """The segment of each value: the last whose start is not larger; `bucket` bounds the search by the upper bits.

    `starts` ends with three more values, which are looked at and not used.
    """
    i: cython.Py_ssize_t
    n: cython.Py_ssize_t = values.shape[0]
    v: cython.uint
    b: cython.Py_ssize_t
    low: cython.int
    size: cython.int
    half: cython.int
    with cython.nogil:
        for i in range(n):
            v = values[i]
            b = v >> shift
            low = bucket[b]
            size = bucket[b + 1] - low + 1
            if size > 4:
                while size > 1:
                    half = size >> 1
                    low = low + half if starts[low + half] <= v else low
                    size -= half
                out[i] = low
            else:
                out[i] = (
                    low
                    + ((size > 1) & (starts[low + 1] <= v))
                    + ((size > 2) & (starts[low + 2] <= v))
                    + ((size > 3) & (starts[low + 3] <= v))
                )


def search64(values: cython.ulonglong[::1], starts: cython.ulonglong[::1], out: cython.int[::1]) -> None:
    """The segment of each value of 64 bits."""
    i: cython.Py_ssize_t
    n: cython.Py_ssize_t = values.shape[0]
    v: cython.ulonglong
    low: cython.int
    high: cython.int
    middle: cython.int
    last: cython.int = starts.shape[0] - 1
    with cython.nogil:
        for i in range(n):
            v = values[i]
            low = 0
            high = last
            while low < high:
                middle = (low + high + 1) >> 1
                if starts[middle] <= v:
                    low = middle
                else:
                    high = middle - 1
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
    low: cython.int
    high: cython.int
    middle: cython.int
    last: cython.int = starts.shape[1] - 1
    with cython.nogil:
        for i in range(n):
            u = upper[i]
            v = lower[i]
            low = 0
            high = last
            while low < high:
                middle = (low + high + 1) >> 1
                if starts[0, middle] < u or (starts[0, middle] == u and starts[1, middle] <= v):
                    low = middle
                else:
                    high = middle - 1
            out[i] = low


def nested(
    values: cython.uint[::1],
    top: cython.uint[::1],
    middle: cython.uint[::1],
    bottom: cython.int[::1],
    out: cython.int[::1],
) -> None:
    """The segment of each value by three tables, for 16, 8 and 8 bits, without a branch.

    A cell of the first two is (where the block below begins) * 256 + (255, or 0 where the block is one cell).
    """
    i: cython.Py_ssize_t
    n: cython.Py_ssize_t = values.shape[0]
    v: cython.uint
    cell: cython.uint
    with cython.nogil:
        for i in range(n):
            v = values[i]
            cell = top[v >> 16]
            cell = middle[(cell >> 8) + ((v >> 8) & cell & 255)]
            out[i] = bottom[(cell >> 8) + (v & cell & 255)]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _later(
    entry: cython.int,
    c: cython.int,
    bound: cython.int,
    heads: cython.int[::1],
    rest: cython.int[::1],
    patterns: cython.int[:, ::1],
    allows: cython.ulonglong[:, ::1],
) -> cython.int:
    """The first row of an entry behind its head that admits class `c` and is less than `bound`, else `bound`."""
    row: cython.int
    at: cython.int = heads[entry * 4 + 2]
    end: cython.int = heads[entry * 4 + 3]
    one: cython.ulonglong = 1
    if end < 0:
        row = patterns[at, c]
        return row if row < bound else bound
    while at < end:
        row = rest[at * 2]
        if row >= bound:
            return bound
        if (allows[rest[at * 2 + 1], c >> 6] >> (c & 63)) & one:
            return row
        at += 1
    return bound


def dense(
    a: cython.int[::1],
    b: cython.int[::1],
    maps_a: cython.int[::1],
    maps_b: cython.int[::1],
    groups: cython.Py_ssize_t,
    group: cython.Py_ssize_t,
    classes: cython.int[::1],
    grid: cython.int[::1],
    heads: cython.int[::1],
    rest: cython.int[::1],
    patterns: cython.int[:, ::1],
    allows: cython.ulonglong[:, ::1],
    best: cython.int[::1],
) -> None:
    """Lowers `best` by a group whose entries are found by a table over pairs.

    `maps_a` and `maps_b` hold the classes of a segment in every group side by side; the first is already times
    the table's width.
    """
    i: cython.Py_ssize_t
    n: cython.Py_ssize_t = a.shape[0]
    entry: cython.int
    row: cython.int
    bound: cython.int
    c: cython.int
    hit: cython.int
    one: cython.ulonglong = 1
    with cython.nogil:
        for i in range(n):
            entry = grid[maps_a[a[i] * groups + group] + maps_b[b[i] * groups + group]]
            c = classes[i]
            bound = best[i]
            row = heads[entry * 4]
            hit = ((allows[heads[entry * 4 + 1], c >> 6] >> (c & 63)) & one) & (row < bound)
            best[i] = bound ^ ((bound ^ row) & -hit)  # a choice without a branch
            if heads[entry * 4 + 3] != 0 and not hit and row < bound:
                best[i] = _later(entry, c, bound, heads, rest, patterns, allows)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _solved(
    a: cython.int[::1],
    b: cython.int[::1],
    maps_a: cython.int[::1],
    maps_b: cython.int[::1],
    groups: cython.Py_ssize_t,
    group: cython.Py_ssize_t,
    classes: cython.int[::1],
    grid: cython.int[::1],
    patterns: Pattern[:, ::1],
    best: cython.int[::1],
) -> cython.void:
    """The same where every entry is a pattern: `grid` holds them."""
    i: cython.Py_ssize_t
    n: cython.Py_ssize_t = a.shape[0]
    row: cython.int
    bound: cython.int
    for i in range(n):
        row = patterns[grid[maps_a[a[i] * groups + group] + maps_b[b[i] * groups + group]], classes[i]]
        bound = best[i]
        best[i] = bound ^ ((bound ^ row) & -(row < bound))


def solved16(
    a: cython.int[::1],
    b: cython.int[::1],
    maps_a: cython.int[::1],
    maps_b: cython.int[::1],
    groups: cython.Py_ssize_t,
    group: cython.Py_ssize_t,
    classes: cython.int[::1],
    grid: cython.int[::1],
    patterns: cython.ushort[:, ::1],
    best: cython.int[::1],
) -> None:
    """The same where every entry is a pattern: `grid` holds them."""
    with cython.nogil:
        _solved(a, b, maps_a, maps_b, groups, group, classes, grid, patterns, best)


def solved32(
    a: cython.int[::1],
    b: cython.int[::1],
    maps_a: cython.int[::1],
    maps_b: cython.int[::1],
    groups: cython.Py_ssize_t,
    group: cython.Py_ssize_t,
    classes: cython.int[::1],
    grid: cython.int[::1],
    patterns: cython.int[:, ::1],
    best: cython.int[::1],
) -> None:
    """The same where every entry is a pattern: `grid` holds them."""
    with cython.nogil:
        _solved(a, b, maps_a, maps_b, groups, group, classes, grid, patterns, best)


def sparse(
    a: cython.int[::1],
    b: cython.int[::1],
    maps_a: cython.int[::1],
    maps_b: cython.int[::1],
    groups: cython.Py_ssize_t,
    group: cython.Py_ssize_t,
    classes: cython.int[::1],
    slots: cython.longlong[::1],
    entries: cython.int[::1],
    shift: cython.int,
    heads: cython.int[::1],
    rest: cython.int[::1],
    patterns: cython.int[:, ::1],
    allows: cython.ulonglong[:, ::1],
    best: cython.int[::1],
) -> None:
    """Lowers `best` by a group whose entries are found by an open hash table of pairs: `slots`, and `entries` beside them."""
    i: cython.Py_ssize_t
    n: cython.Py_ssize_t = a.shape[0]
    mask: cython.ulonglong = slots.shape[0] - 1
    x: cython.ulonglong
    y: cython.ulonglong
    key: cython.longlong
    h: cython.ulonglong
    entry: cython.int
    row: cython.int
    bound: cython.int
    c: cython.int
    hit: cython.int
    one: cython.ulonglong = 1
    factor: cython.ulonglong = 0x9E37_79B9_7F4A_7C15
    second: cython.ulonglong = 0xC2B2_AE3D_27D4_EB4F
    whole: cython.ulonglong = 0xFFFF_FFFF_FFFF_FFFF
    with cython.nogil:
        for i in range(n):
            x = maps_a[a[i] * groups + group]
            y = maps_b[b[i] * groups + group]
            if x != 0 and y != 0:
                key = (x << 32) | y
                h = (((y ^ ((x * second) & whole)) * factor) & whole) >> shift
                h = (h << 2) & mask
                entry = (
                    (entries[h] & -(slots[h] == key))
                    | (entries[h + 1] & -(slots[h + 1] == key))
                    | (entries[h + 2] & -(slots[h + 2] == key))
                    | (entries[h + 3] & -(slots[h + 3] == key))
                )
                while slots[h + 3] != 0 and entry == 0:  # a full bucket goes on in the next one
                    h = (h + 4) & mask
                    entry = (
                        (entries[h] & -(slots[h] == key))
                        | (entries[h + 1] & -(slots[h + 1] == key))
                        | (entries[h + 2] & -(slots[h + 2] == key))
                        | (entries[h + 3] & -(slots[h + 3] == key))
                    )
                c = classes[i]
                bound = best[i]
                row = heads[entry * 4]
                hit = ((allows[heads[entry * 4 + 1], c >> 6] >> (c & 63)) & one) & (row < bound)
                best[i] = bound ^ ((bound ^ row) & -hit)  # a choice without a branch
                if heads[entry * 4 + 3] != 0 and not hit and row < bound:
                    best[i] = _later(entry, c, bound, heads, rest, patterns, allows)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _sparse_solved(
    a: cython.int[::1],
    b: cython.int[::1],
    maps_a: cython.int[::1],
    maps_b: cython.int[::1],
    groups: cython.Py_ssize_t,
    group: cython.Py_ssize_t,
    classes: cython.int[::1],
    slots: cython.longlong[::1],
    entries: cython.int[::1],
    shift: cython.int,
    patterns: Pattern[:, ::1],
    best: cython.int[::1],
) -> cython.void:
    """The same where every entry is a pattern."""
    i: cython.Py_ssize_t
    n: cython.Py_ssize_t = a.shape[0]
    mask: cython.ulonglong = slots.shape[0] - 1
    x: cython.ulonglong
    y: cython.ulonglong
    key: cython.longlong
    h: cython.ulonglong
    entry: cython.int
    row: cython.int
    bound: cython.int
    factor: cython.ulonglong = 0x9E37_79B9_7F4A_7C15
    second: cython.ulonglong = 0xC2B2_AE3D_27D4_EB4F
    whole: cython.ulonglong = 0xFFFF_FFFF_FFFF_FFFF
    for i in range(n):
        x = maps_a[a[i] * groups + group]
        y = maps_b[b[i] * groups + group]
        if x != 0 and y != 0:
            key = (x << 32) | y
            h = (((y ^ ((x * second) & whole)) * factor) & whole) >> shift
            h = (h << 2) & mask
            entry = (
                (entries[h] & -(slots[h] == key))
                | (entries[h + 1] & -(slots[h + 1] == key))
                | (entries[h + 2] & -(slots[h + 2] == key))
                | (entries[h + 3] & -(slots[h + 3] == key))
            )
            while slots[h + 3] != 0 and entry == 0:  # a full bucket goes on in the next one
                h = (h + 4) & mask
                entry = (
                    (entries[h] & -(slots[h] == key))
                    | (entries[h + 1] & -(slots[h + 1] == key))
                    | (entries[h + 2] & -(slots[h + 2] == key))
                    | (entries[h + 3] & -(slots[h + 3] == key))
                )
            row = patterns[entry, classes[i]]
            bound = best[i]
            best[i] = bound ^ ((bound ^ row) & -(row < bound))


def sparse_solved16(
    a: cython.int[::1],
    b: cython.int[::1],
    maps_a: cython.int[::1],
    maps_b: cython.int[::1],
    groups: cython.Py_ssize_t,
    group: cython.Py_ssize_t,
    classes: cython.int[::1],
    slots: cython.longlong[::1],
    entries: cython.int[::1],
    shift: cython.int,
    patterns: cython.ushort[:, ::1],
    best: cython.int[::1],
) -> None:
    """The same where every entry is a pattern."""
    with cython.nogil:
        _sparse_solved(a, b, maps_a, maps_b, groups, group, classes, slots, entries, shift, patterns, best)


def sparse_solved32(
    a: cython.int[::1],
    b: cython.int[::1],
    maps_a: cython.int[::1],
    maps_b: cython.int[::1],
    groups: cython.Py_ssize_t,
    group: cython.Py_ssize_t,
    classes: cython.int[::1],
    slots: cython.longlong[::1],
    entries: cython.int[::1],
    shift: cython.int,
    patterns: cython.int[:, ::1],
    best: cython.int[::1],
) -> None:
    """The same where every entry is a pattern."""
    with cython.nogil:
        _sparse_solved(a, b, maps_a, maps_b, groups, group, classes, slots, entries, shift, patterns, best)


def hashed(
    keys: cython.longlong[::1],
    values: cython.int[::1],
    slots: cython.longlong[::1],
    entries: cython.int[::1],
    shift: cython.int,
) -> None:
    """Enters the keys from 1 on, with their values, into a hash table of buckets of four slots, filled in order and spilling over."""
    i: cython.Py_ssize_t
    n: cython.Py_ssize_t = keys.shape[0]
    mask: cython.ulonglong = slots.shape[0] - 1
    h: cython.ulonglong
    x: cython.ulonglong
    y: cython.ulonglong
    factor: cython.ulonglong = 0x9E37_79B9_7F4A_7C15
    second: cython.ulonglong = 0xC2B2_AE3D_27D4_EB4F
    whole: cython.ulonglong = 0xFFFF_FFFF_FFFF_FFFF
    with cython.nogil:
        for i in range(1, n):
            x = keys[i] >> 32
            y = keys[i] & 0x7FFF_FFFF
            h = (((y ^ ((x * second) & whole)) * factor) & whole) >> shift
            h = (h << 2) & mask
            while slots[h] != 0:
                h = (h + 1) & mask
            slots[h] = keys[i]
            entries[h] = values[i]


def resolve(
    first: cython.longlong[::1],
    last: cython.longlong[::1],
    rows: cython.int[::1],
    specs: cython.int[::1],
    allows: cython.ulonglong[:, ::1],
    patterns: cython.int[:, ::1],
    left: cython.ulonglong[::1],
) -> None:
    """The patterns of lists `first[k] .. last[k] - 1`: for each class the first row that admits it; they begin as NONE."""
    k: cython.Py_ssize_t
    i: cython.longlong
    w: cython.Py_ssize_t
    c: cython.int
    words: cython.Py_ssize_t = left.shape[0]
    some: cython.ulonglong
    one: cython.ulonglong = 1
    whole: cython.ulonglong = 0xFFFF_FFFF_FFFF_FFFF
    with cython.nogil:
        for k in range(first.shape[0]):
            for w in range(words):
                left[w] = whole
            for i in range(first[k], last[k]):
                for w in range(words):
                    some = left[w] & allows[specs[i], w]
                    if some != 0:
                        left[w] = left[w] ^ some
                        c = w * 64
                        while some != 0:
                            if some & one:
                                patterns[k, c] = rows[i]
                            some = some >> one
                            c += 1


def vectors(
    classes: cython.int[:, ::1],
    offsets: cython.longlong[::1],
    bits: cython.ulonglong[:, ::1],
    best: cython.int[::1],
) -> None:
    """The first row that every column admits: `bits[offsets[k] + class]` are the rows that column k admits."""
    i: cython.Py_ssize_t
    k: cython.Py_ssize_t
    w: cython.Py_ssize_t
    columns: cython.Py_ssize_t = classes.shape[0]
    words: cython.Py_ssize_t = bits.shape[1]
    v: cython.ulonglong
    one: cython.ulonglong = 1
    whole: cython.ulonglong = 0xFFFF_FFFF_FFFF_FFFF
    row: cython.int
    with cython.nogil:
        for i in range(classes.shape[1]):
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

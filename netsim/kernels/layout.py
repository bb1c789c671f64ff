"""How the tables of the batch classifier are laid out: sparse lines over each other, lists worked out, lists met.

Theory of operation: see `index.tables` and `index.programs`. *Patterns* hold for each class of columns the first row of
a list whose spec allows it (`allows`, one bit for each spec and class); they begin as 0x7FFFFFFF, no row. Sets of
rows are words of 64 bits. Sets that have one hash are compared by `alike`.
"""

from __future__ import annotations

import cython


def comb(
    begin: cython.longlong[::1],
    order: cython.longlong[::1],
    second: cython.int[::1],
    taken: cython.uchar[::1],
    used: cython.uchar[::1],
    base: cython.int[::1],
    goal: cython.Py_ssize_t,
    tries: cython.int,
) -> int:
    """Lays sparse lines of a table over each other so that no two entries meet (Tarjan and Yao, CACM 1979).

    Line k has entries at `second[begin[k]:begin[k + 1]]`, ascending; lines are laid in `order`, long ones first.
    `base[k]` becomes where line k begins, different for each; the first base is left to nobody. A line goes to
    the first place after that of the line before it where it fits, around within `goal` places, and after
    `tries` behind all others. `taken` is as long as the result may be. Gives the length of the result, or -1
    where it would be longer.
    """
    j: cython.Py_ssize_t
    k: cython.Py_ssize_t
    e: cython.Py_ssize_t
    s: cython.Py_ssize_t = 0
    behind: cython.Py_ssize_t = 0
    place: cython.Py_ssize_t
    left: cython.int
    fits: cython.int
    size: cython.Py_ssize_t = taken.shape[0]
    low: cython.Py_ssize_t
    last: cython.Py_ssize_t
    failed: cython.int = 0
    with cython.nogil:
        used[0] = 1
        for j in range(order.shape[0]):
            k = order[j]
            low = second[begin[k]]
            last = second[begin[k + 1] - 1]
            left = tries
            fits = 0
            while not fits:
                if left > 0 and s - low + last >= goal:
                    s = low
                if left == 0 and s < behind:
                    s = behind
                if s < low:
                    s = low
                left -= 1
                place = s - low
                if place + last >= size:
                    failed = 1
                    break
                fits = not (taken[s] | used[place])
                if fits:
                    for e in range(begin[k] + 1, begin[k + 1]):
                        if taken[place + second[e]]:
                            fits = 0
                            break
                s += 1
            if failed:
                break
            used[place] = 1
            base[k] = place
            for e in range(begin[k], begin[k + 1]):
                taken[place + second[e]] = 1
            if place + last + 1 > behind:
                behind = place + last + 1
    return -1 if failed else behind


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _admit(
    left: cython.ulonglong[::1],
    allows: cython.ulonglong[:, ::1],
    spec: cython.int,
    patterns: cython.int[:, ::1],
    k: cython.Py_ssize_t,
    row: cython.int,
) -> cython.void:
    """The classes in `left` that a spec admits get the row in pattern k, and are left no longer."""
    w: cython.Py_ssize_t
    c: cython.Py_ssize_t
    some: cython.ulonglong
    one: cython.ulonglong = 1
    for w in range(left.shape[0]):
        some = left[w] & allows[spec, w]
        if some != 0:
            left[w] = left[w] ^ some
            c = w * 64
            while some != 0:
                if some & 255 == 0:
                    some = some >> 8
                    c += 8
                    continue
                if some & one:
                    patterns[k, c] = row
                some = some >> one
                c += 1


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
    whole: cython.ulonglong = 0xFFFF_FFFF_FFFF_FFFF
    k: cython.Py_ssize_t
    i: cython.longlong
    w: cython.Py_ssize_t
    words: cython.Py_ssize_t = left.shape[0]
    with cython.nogil:
        for k in range(first.shape[0]):
            for w in range(words):
                left[w] = whole
            for i in range(first[k], last[k]):
                _admit(left, allows, specs[i], patterns, k, rows[i])


def meets(
    first: cython.ulonglong[:, ::1], second: cython.ulonglong[:, ::1], out: cython.ulonglong[:, ::1]
) -> None:
    """A hash of what each set of `first` shares with each of `second`."""
    a: cython.Py_ssize_t
    b: cython.Py_ssize_t
    w: cython.Py_ssize_t
    h: cython.ulonglong
    whole: cython.ulonglong = 0xFFFF_FFFF_FFFF_FFFF
    factor: cython.ulonglong = 0x9E37_79B9_7F4A_7C15
    with cython.nogil:
        for a in range(first.shape[0]):
            for b in range(second.shape[0]):
                h = 0
                for w in range(first.shape[1]):
                    h = ((h ^ (first[a, w] & second[b, w])) * factor) & whole
                    h = h ^ (h >> 29)
                out[a, b] = h


def alike(
    first: cython.ulonglong[:, ::1],
    second: cython.ulonglong[:, ::1],
    chosen: cython.longlong[::1],
    number: cython.longlong[::1],
) -> bool:
    """Whether each pair of sets shares the same as the pair that stands for it: `chosen[number]`, by their places."""
    a: cython.Py_ssize_t
    b: cython.Py_ssize_t
    c: cython.Py_ssize_t
    d: cython.Py_ssize_t
    w: cython.Py_ssize_t
    width: cython.Py_ssize_t = second.shape[0]
    differ: cython.ulonglong = 0
    with cython.nogil:
        for a in range(first.shape[0]):
            for b in range(width):
                c = chosen[number[a * width + b]] // width
                d = chosen[number[a * width + b]] % width
                for w in range(first.shape[1]):
                    differ = differ | ((first[a, w] & second[b, w]) ^ (first[c, w] & second[d, w]))
    return differ == 0


def resolve_meets(
    first: cython.ulonglong[:, ::1],
    second: cython.ulonglong[:, ::1],
    chosen: cython.longlong[::1],
    rows: cython.int[::1],
    specs: cython.int[::1],
    allows: cython.ulonglong[:, ::1],
    patterns: cython.int[:, ::1],
    left: cython.ulonglong[::1],
) -> None:
    """The patterns of what the chosen pairs of sets share; bit i is the row `rows[i]` with `specs[i]`."""
    k: cython.Py_ssize_t
    i: cython.Py_ssize_t
    w: cython.Py_ssize_t
    v: cython.Py_ssize_t
    width: cython.Py_ssize_t = second.shape[0]
    words: cython.Py_ssize_t = left.shape[0]
    shared: cython.ulonglong
    one: cython.ulonglong = 1
    whole: cython.ulonglong = 0xFFFF_FFFF_FFFF_FFFF
    with cython.nogil:
        for k in range(chosen.shape[0]):
            for v in range(words):
                left[v] = whole
            for w in range(first.shape[1]):
                shared = first[chosen[k] // width, w] & second[chosen[k] % width, w]
                i = w * 64
                while shared != 0:
                    if shared & 255 == 0:
                        shared = shared >> 8
                        i += 8
                        continue
                    if shared & one:
                        _admit(left, allows, specs[i], patterns, k, rows[i])
                    shared = shared >> one
                    i += 1

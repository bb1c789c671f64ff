"""Buckets: rows that lie scattered over both addresses, found by a hash of the upper bits of the two.

Theory of operation. A table leaves out some lower bits of each address; a row whose range lies within one cell
of the rest may be in it (tuple space search, Srinivasan, Suri and Varghese, SIGCOMM 1999; few tables for many
tuples as in TupleMerge, Daly et al., IEEE/ACM ToN 2019). The bits are those that put most rows into short buckets,
tried one after another on the rows themselves. What does not fit into short buckets is left to other tables.

A bucket is a record of 8 numbers, one cache line for two: (start, size less one, the same of the second address,
row, spec, where the others begin or 0, 0); the others lie one behind another, up to one whose row is `NONE`. Before it
is read, 16 bits say which hashes its rows have. Rows are compared whole, so the hash is trusted with nothing.

Invariants: B1 each row is in at most one bucket; B2 the rows of a bucket ascend; B3 a list ends with `NONE`.
Costs: a pass over the rows for each pair of bits, up to three times; 32 bytes a row and about as much for empty
buckets.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
Ends = tuple[NDArray[np.uint32], NDArray[np.uint32]]
"""Inclusive bounds of one address."""

NONE = 0x7FFF_FFFF
BULK = 4000
"""Lists of more rows may have buckets."""
TABLES = 3
"""The most tables."""
LEFT_OUT = (0, 6, 12, 16, 20, 32)
"""How many lower bits of an address may be left out."""
DEEP = 5
"""The most rows of a bucket."""
SHARE = 4
"""A table holds at least one of so many rows that are left."""


@attrs.define(slots=True)
class Buckets:
    """A hash table of rows."""

    left_out: tuple[int, int]
    shift: int
    marks: NDArray[np.uint16]
    slots: I32
    rest: I32
    rows: int


@attrs.frozen(slots=True, eq=False)
class _Choice:
    """Rows of a table, sorted by their buckets."""

    left_out: tuple[int, int]
    shift: int
    rows: I64
    where: I32
    mark: NDArray[np.uint8]


def nanoseconds(rows: int) -> float:
    """About what a record costs in groups of so many rows; as measured on ClassBench lists, only used to compare."""
    return 16.0 * math.pow(max(rows, 1) / 1000, 0.4)


def buckets_of(
    first: Ends, second: Ends, numbers: I32, specs: I32, kernel: ModuleType, view: Callable[[Any], Any]
) -> tuple[list[Buckets], I64]:
    """Tables for some rows where they are worth it, and the places of the rows that are left."""
    every = np.arange(len(numbers))
    left = every
    choices: list[_Choice] = []
    cost = 0.0
    while len(left) > BULK // 4 and len(choices) < TABLES:
        choice = _best(first, second, left, kernel, view)
        if choice is None:
            break
        choices.append(choice)
        cost += 6 if len(choice.rows) < 20_000 else 12
        keep = np.ones(len(numbers), np.bool_)
        keep[choice.rows] = False
        left = left[keep[left]]
    if not choices or cost + nanoseconds(len(left)) > nanoseconds(len(numbers)):
        return [], every
    return [_filled(choice, first, second, numbers, specs) for choice in choices], left


def _best(
    first: Ends, second: Ends, left: I64, kernel: ModuleType, view: Callable[[Any], Any]
) -> _Choice | None:
    """The table that puts most rows into short buckets; None if all hold few."""
    a0, a1, b0, b1 = (e[left] for e in (*first, *second))
    inside_a, inside_b = (
        [(low.astype(np.uint64) ^ high) >> np.uint64(k) == 0 for k in LEFT_OUT]
        for low, high in ((a0, a1), (b0, b1))
    )
    most, best = 0.0, None
    for bits_a, of_a in zip(LEFT_OUT, inside_a, strict=True):
        for bits_b, of_b in zip(LEFT_OUT, inside_b, strict=True):
            member = np.flatnonzero(of_a & of_b)
            if len(member) < max(len(left) / SHARE, most):
                continue
            shift = 64 - max(8, int(len(member) * 1.2).bit_length())
            where, mark = np.zeros(len(member), np.int32), np.zeros(len(member), np.uint8)
            counts = np.zeros(1 << (64 - shift), np.int32)
            tables = map(view, (where, mark, counts))
            kernel.occupied(view(a0[member]), view(b0[member]), bits_a, bits_b, shift, *tables)
            kept = np.minimum(counts, DEEP)
            score = float((kept - 0.1 * kept * (kept - 1)).sum())
            if score > most:
                most, best = score, _Choice((bits_a, bits_b), shift, left[member], where, mark)
    if best is None:
        return None
    order = np.argsort(best.where, kind="stable")  # rows ascend within a bucket
    at = best.where[order]
    begin = np.flatnonzero(np.concatenate([[True], at[1:] != at[:-1]]))
    rank = np.arange(len(at)) - np.repeat(begin, np.diff(np.append(begin, len(at))))
    order = order[rank < DEEP]
    if len(order) < len(left) / SHARE:
        return None
    return _Choice(best.left_out, best.shift, best.rows[order], best.where[order], best.mark[order])


def _filled(choice: _Choice, first: Ends, second: Ends, numbers: I32, specs: I32) -> Buckets:
    rows, where = choice.rows, choice.where
    records = np.zeros((len(rows), 8), np.int32)
    for k, (low, high) in ((0, first), (2, second)):
        records[:, k] = low[rows].view(np.int32)
        records[:, k + 1] = (high[rows] - low[rows]).view(np.int32)
    records[:, 4], records[:, 5] = numbers[rows], specs[rows]
    head = np.concatenate([[True], where[1:] != where[:-1]])
    last = np.append(head[1:], True)
    slots = np.zeros((1 << (64 - choice.shift), 8), np.int32)
    slots[:, 4] = NONE
    slots[where[head]] = records[head]
    # The lists of the others, each with an end behind it; the first record is nobody's.
    end = last & ~head
    place = np.cumsum(~head) + np.cumsum(end) - end
    rest = np.zeros((1 + int((~head).sum()) + int(end.sum()), 8), np.int32)
    rest[:, 4] = NONE
    rest[place[~head]] = records[~head]
    second_rows = ~head & np.concatenate([[False], head[:-1]])
    slots[where[second_rows], 6] = place[second_rows] * 8
    marks = np.zeros(len(slots), np.uint16)
    marks[where[head]] = np.bitwise_or.reduceat(
        np.left_shift(np.uint16(1), choice.mark.astype(np.uint16)), np.flatnonzero(head)
    )
    return Buckets(choice.left_out, choice.shift, marks, slots, rest, len(rows))


__all__ = ["NONE", "Buckets", "buckets_of"]

"""Axes: an address of 32 or 128 bits, or the upper half of one, in segments that no row of a list tells apart.

Theory of operation. The bounds of all ranges on an axis cut it into *segments*, numbered from 0 in order. A
value is led to its segment by direct tables for 16, 8 and 8 bits where they stay small (Gupta, Lin and McKeown,
INFOCOM 1998, with one level more); else by a table of its upper bits and a search between two of its cells; a
value of 64 bits is searched, one of 128 bits as a pair of halves.

Invariants: G1 the first start is 0; G2 starts ascend strictly; G3 no cell of a table points behind the tables.
Costs: sorting the bounds; a block of 256 cells for each 16 bits and for each 24 bits that a bound splits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from netsim.index.rows import INTERVALS

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
Bounds = tuple[U64, U64]
"""Inclusive bounds of ranges, (halves, ranges) each."""

NESTED = 4096
"""The most blocks of 256 cells of an axis' direct tables; with more it is searched."""


@attrs.define(slots=True)
class Axis:
    """The segments of an axis: sorted starts, one or two words each."""

    columns: tuple[str, ...]
    starts: U64  # (halves, segments)
    bucket: I32 | None = None
    shift: int = 0
    nested: tuple[NDArray[np.uint32], NDArray[np.uint32], I32] | None = None
    ranks: tuple[U64, U64, I64] | None = None  # halves that occur, and the starts as pairs of their ranks

    @property
    def direct(self) -> bool:
        """Whether it is an address of 32 bits."""
        return is_direct(self.columns)

    @property
    def count(self) -> int:
        """How many segments there are."""
        return int(self.starts.shape[1])

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
        if self.ranks is None:
            upper, u = np.unique(self.starts[0], return_inverse=True)
            lower, w = np.unique(self.starts[1], return_inverse=True)
            self.ranks = (upper, lower, (u.ravel() << 32) + w.ravel() + 1)
        upper, lower, keys = self.ranks
        at = np.searchsorted(upper, values[0], side="right") - 1
        within = np.searchsorted(lower, values[1], side="right")
        key = (at << 32) + np.where(upper[at] == values[0], within, 0xFFFF_FFFF)
        return (np.searchsorted(keys, key, side="right") - 1).astype(np.int32)


def is_direct(columns: tuple[str, ...]) -> bool:
    """Whether columns are one address of 32 bits, which tables lead to its segment."""
    return len(columns) == 1 and INTERVALS[columns[0]] == 0xFFFF_FFFF


def bounds_of(low: Mapping[str, U64], high: Mapping[str, U64], columns: tuple[str, ...], size: int) -> Bounds:
    """The bounds of `size` rows on an axis; without columns everything is 0."""
    if not columns:
        nothing = np.zeros((1, size), np.uint64)
        return nothing, nothing
    return np.stack([low[c] for c in columns]), np.stack([high[c] for c in columns])


def wider(ranges: Bounds, bits: int) -> NDArray[np.bool_]:
    """Which ranges hold more than 2^bits values."""
    low, high = ranges
    if len(low) == 1:
        return np.asarray((high[0] - low[0]) >= np.uint64(1 << min(bits, 63)))
    upper = high[0] - low[0]
    if bits >= 64:
        return np.asarray(upper >= np.uint64(1 << (bits - 64)))
    return np.asarray((upper > 0) | ((high[1] - low[1]) >= np.uint64(1 << bits)))


def _behind(bounds: U64, tops: Sequence[int]) -> tuple[U64, NDArray[np.bool_]]:
    """The values behind inclusive bounds, and which of them exist."""
    with np.errstate(over="ignore"):
        last = bounds[-1] + np.uint64(1)
        if len(bounds) == 1:
            return last[None, :], bounds[0] < np.uint64(tops[0])
        upper = bounds[0] + (last == 0).astype(np.uint64)
    exists = ~((bounds[0] == np.uint64(tops[0])) & (bounds[1] == np.uint64(tops[1])))
    return np.stack([upper, last]), exists


def cuts(ranges: Bounds, tops: Sequence[int]) -> U64:
    """The sorted starts of the segments that ranges make, the first 0."""
    low, high = ranges
    behind, exists = _behind(high, tops)
    if len(low) == 1:
        return np.unique(np.concatenate([np.zeros(1, np.uint64), low[0], behind[0][exists]]))[None, :]
    both = np.concatenate([np.zeros((2, 1), np.uint64), low, behind[:, exists]], axis=1)
    both = both[:, np.lexsort((both[1], both[0]))]
    new = np.concatenate([[True], (both[:, 1:] != both[:, :-1]).any(axis=0)])
    return np.ascontiguousarray(both[:, new])


def segment(starts: U64, points: U64) -> I64:
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


def spans(ranges: Bounds, tops: Sequence[int]) -> tuple[I64, I64]:
    """For each range the segments that ranges make among themselves: first, and one behind the last."""
    starts = cuts(ranges, tops)
    return segment(starts, ranges[0]), segment(starts, ranges[1]) + 1


def covered(count: int, begin: I64, end: I64) -> I32:
    """The classes of `count` segments for ranges of them: 0 where there is none, a new one at each bound."""
    depth = np.bincount(begin, minlength=count + 1) - np.bincount(end, minlength=count + 1)
    bound = np.zeros(count + 1, np.bool_)
    bound[begin] = bound[end] = True
    inside = np.cumsum(depth)[:count] > 0
    return np.where(inside, np.cumsum(bound[:count] & inside), 0).astype(np.int32)


def axis_of(columns: tuple[str, ...], ranges: Bounds) -> Axis:
    """The axis of some columns (none, one or two halves) and the ranges of rows on it."""
    axis = Axis(columns, cuts(ranges, [INTERVALS[c] for c in columns] or [0]))
    if axis.direct:
        axis.nested = nested(axis.starts[0])
        if axis.nested is None:
            bits = min(18, max(8, (axis.count * 2 - 1).bit_length()))
            axis.shift = 32 - bits
            firsts = np.arange(1 << bits, dtype=np.uint64) << np.uint64(axis.shift)
            bucket = np.searchsorted(axis.starts[0], firsts, side="right") - 1
            axis.bucket = np.append(bucket, axis.count - 1).astype(np.int32)
    return axis


def nested(starts: U64) -> tuple[NDArray[np.uint32], NDArray[np.uint32], I32] | None:
    """Tables for 16, 8 and 8 bits that lead a value to its segment; None where they would be large.

    A cell of the first two is (where the block below begins) * 256 + (255, or 0 where the block is one cell).
    """
    count = len(starts)
    # A block for each 16 bits, and for each 24, in which a segment begins behind the first value.
    split = np.unique(starts[(starts & np.uint64(0xFFFF)) != 0] >> np.uint64(16))
    deep = np.unique(starts[(starts & np.uint64(0xFF)) != 0] >> np.uint64(8))
    if len(split) + len(deep) > NESTED:
        return None
    begin = np.cumsum(np.bincount((starts >> np.uint64(16)).astype(np.int64), minlength=1 << 16)) - 1
    late = (starts & np.uint64(0xFFFF)) != 0  # does not count for its own first value
    begin -= np.bincount((starts[late] >> np.uint64(16)).astype(np.int64), minlength=1 << 16)
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
    mine = (starts & np.uint64((1 << (shift + 8)) - 1)) != 0  # `first` counts those at a block's beginning
    mine &= (blocks[inside] == starts >> whole) if len(blocks) else False
    mine &= place < (inside + 1) * 256
    first = np.searchsorted(starts, blocks << whole, side="right") - 1
    counted = np.bincount(place[mine], minlength=len(blocks) * 256).reshape(-1, 256)
    return np.asarray((counted.cumsum(axis=1) + first[:, None]).ravel(), np.int64)


__all__ = [
    "Axis",
    "Bounds",
    "axis_of",
    "bounds_of",
    "covered",
    "cuts",
    "is_direct",
    "segment",
    "spans",
    "wider",
]

"""Specs: what a row says of all columns but the axes, and the classes of values that no spec tells apart.

Theory of operation. Values of a column that no spec tells apart are one class; classes of two columns are
combined by a table, column by column, those with few classes first (Gupta and McKeown's recursive flow
classification, SIGCOMM 1999). `allows` says which specs hold in a class.

Invariants: S1 spec 0 is no row's and holds nowhere; S2 two classes of the last step differ in a spec; S3 classes
are told apart by the bits of all specs, never by a hash alone. Costs: classes times specs bits, and a cell for each
pair of classes that are combined; `TooMany` where that would be large.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from netsim.index.rows import INTERVALS, WORDS

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
TABLE = 16
"""Columns of so many bits are looked up by value."""
CELLS = 1 << 21
"""The most cells of a table that combines two columns."""
WORK = 1 << 27
"""The most bits, cells times specs, that are compared for such a table."""
SLICE = 1 << 24
"""Cells of booleans that are worked on together."""
BITS = 1 << 31
"""The most bits that say which specs hold in the segments of one column."""


class TooMany(Exception):
    """Columns have too many classes to be combined."""


def distinct(columns: Sequence[NDArray[Any]]) -> tuple[I64, I64]:
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
    number = number.ravel()
    if all(np.array_equal(column[first][number], column) for column in columns):
        return first.astype(np.int64), number.astype(np.int64)
    stacked = np.stack([column.astype(np.uint64) for column in columns], axis=1)
    _, first, number = np.unique(stacked, axis=0, return_index=True, return_inverse=True)
    return first.astype(np.int64), number.astype(np.int64).ravel()


def packed(bits: NDArray[np.bool_]) -> U64:
    """Rows of booleans as words of 64, the padding 0."""
    width = max(1, -(-bits.shape[1] // 64)) * 64
    whole = np.zeros((bits.shape[0], width), np.bool_)
    whole[:, : bits.shape[1]] = bits
    return np.packbits(whole, axis=1, bitorder="little").view(np.uint64)


def unpacked(words: U64, size: int) -> NDArray[np.bool_]:
    """What `packed` packed."""
    return np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")[:, :size].astype(np.bool_)


@attrs.define(slots=True)
class Step:
    """One column of the specs: how its values become classes, and the classes before it are joined with them."""

    column: str
    table: NDArray[np.uint16] | None  # value -> class
    starts: U64 | None  # or the starts of segments and their classes
    classes: I32 | None
    care: int  # or, for a word, the values that these bits are compared with, in `starts`: class 0 where none is met
    holds: U64 | None  # class -> specs; None once it has been built in
    pairs: I32 | None = None  # class before * width + class -> class; None for the first column
    width: int = 1

    @property
    def count(self) -> int:
        """How many classes there are, while it is built."""
        return len(self.specs())

    def specs(self) -> U64:
        """`holds`, while it is built."""
        assert self.holds is not None
        return self.holds

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """The classes of values."""
        if self.table is not None:
            return np.asarray(self.table[values])
        assert self.starts is not None
        if self.classes is not None:
            at = np.searchsorted(self.starts, values.astype(np.uint64), side="right") - 1
            return np.asarray(self.classes[at])
        bits = values.astype(np.uint64) & np.uint64(self.care)
        place = np.minimum(np.searchsorted(self.starts, bits), len(self.starts) - 1)
        return np.where(self.starts[place] == bits, place + 1, 0).astype(np.int32)


def steps_of(column: str, one: U64, two: U64) -> list[Step]:
    """The steps of one column; `one` and `two` are the bounds, or the masks and values, of each spec."""
    if column in INTERVALS:
        top = INTERVALS[column]
        behind = two[two < np.uint64(top)] + np.uint64(1)
        starts = np.unique(np.concatenate([np.zeros(1, np.uint64), one, behind]))
        if len(starts) * len(one) > BITS:
            raise TooMany
        each = max(1, SLICE // max(1, len(one)))
        parts = [starts[k : k + each, None] for k in range(0, len(starts), each)]
        holds = np.concatenate([packed((one <= part) & (part <= two)) for part in parts])
        kept, number = distinct([holds[:, w] for w in range(holds.shape[1])])
        if top < 1 << TABLE:
            ends = np.append(starts[1:], np.uint64(top + 1))
            sizes = (ends - starts).astype(np.int64)
            table = np.repeat(number, sizes).astype(np.uint16)
            return [Step(column, table, None, None, 0, holds[kept])]
        return [Step(column, None, starts, number.astype(np.int32), 0, holds[kept])]
    if WORDS[column] < 1 << 8:
        values = np.arange(WORDS[column] + 1, dtype=np.uint64)
        holds = packed((values[:, None] & one) == two)
        kept, number = distinct([holds[:, w] for w in range(holds.shape[1])])
        return [Step(column, number.astype(np.uint16), None, None, 0, holds[kept])]
    found = []
    for care in np.unique(one[one != 0]):
        asked = one == care
        values = np.unique(two[asked])
        if len(values) * len(one) > BITS:
            raise TooMany
        holds = packed(np.concatenate([np.zeros((1, len(one)), np.bool_), values[:, None] == two]) | ~asked)
        found.append(Step(column, None, values, None, int(care), holds))
    return found


def specs_of(columns: Mapping[str, tuple[U64, U64]], size: int) -> tuple[I32, list[Step], U64, int]:
    """(the spec of each row, the steps, `allows`, how many classes) of `size` rows.

    `columns` maps names to bounds or to masks and values. Raises `TooMany`.
    """
    if not columns or not size:
        return np.ones(size, np.int32), [], np.array([[0], [1]], np.uint64), 1
    chosen, number = distinct([a for pair in columns.values() for a in pair])
    steps: list[Step] = []
    for column, (one, two) in columns.items():
        steps += steps_of(column, one[chosen], two[chosen])
    steps.sort(key=lambda s: s.count)
    holds = steps[0].specs()
    for step in steps[1:]:
        cells = len(holds) * step.count
        if cells > CELLS or cells * len(chosen) > WORK:
            raise TooMany
        both = (holds[:, None, :] & step.specs()[None, :, :]).reshape(cells, -1)
        kept, inverse = distinct([both[:, w] for w in range(both.shape[1])])
        step.pairs, step.width = inverse.astype(np.int32), step.count
        holds = both[kept]
    allowed = unpacked(holds, len(chosen)).T  # spec, class
    allows = packed(np.concatenate([np.zeros((1, len(holds)), np.bool_), allowed]))
    return (number + 1).astype(np.int32), steps, allows, len(holds)


__all__ = ["Step", "TooMany", "distinct", "packed", "specs_of", "steps_of", "unpacked"]

"""Rows: a list of boxes as columns of arrays; the first that holds a packet decides.

Theory of operation. A *column* is a level of an interval field, or a whole bits field in words of 64
bits. A row is a product of one inclusive interval in each interval column and one (care, value) pair in
each word column: `packet & care == value`. Columns that no row restricts are left out. A condition that is
no such product (several ranges, a range of addresses that is no product of two halves) becomes several
rows of one rule. Rows are what the classifier and the box kernels work on.

Invariants, enforced by `check_invariants`:

- W1  all columns are as long as `rule`;
- W2  `low <= high` and both lie within the column's largest value;
- W3  `value` has no bit outside of `care`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from netsim.space.fields import FIELDS, LEVEL_MAXIMA, WORD, Kind

U64 = NDArray[np.uint64]


def _columns() -> tuple[dict[str, int], dict[str, int]]:
    intervals: dict[str, int] = {}
    words: dict[str, int] = {}
    for name, field in FIELDS.items():
        if field.kind is Kind.BITS:
            if field.width <= 64:
                words[name] = (1 << field.width) - 1
            else:
                words |= {name + ".high": (1 << (field.width - 64)) - 1, name + ".low": WORD}
        elif len(field.levels) == 2:
            intervals |= {name + ".high": WORD, name + ".low": WORD}
        else:
            intervals[name] = LEVEL_MAXIMA[field.level]
    return intervals, words


INTERVALS, WORDS = _columns()
"""The columns and their largest values: those of intervals, and those of (care, value) words; in level order."""


@attrs.frozen(slots=True, eq=False)
class Rows:
    """A list of boxes in order.

    `low` and `high` map interval columns to inclusive bounds, `care` and `value` map word columns to masks, all
    `uint64` of one length. `rule` says for each row the number of what it stands for (`int32`).
    """

    low: Mapping[str, U64]
    high: Mapping[str, U64]
    rule: NDArray[np.int32]
    care: Mapping[str, U64] = attrs.field(factory=dict)
    value: Mapping[str, U64] = attrs.field(factory=dict)

    def __len__(self) -> int:
        return len(self.rule)

    @property
    def columns(self) -> tuple[str, ...]:
        """The restricted columns, in level order."""
        return tuple(c for c in (*INTERVALS, *WORDS) if c in self.low or c in self.care)

    def holds(self, row: int, record: Mapping[str, Any]) -> bool:
        """Whether a record (column -> value; a column that is not named is 0) lies in a row."""
        return all(
            int(self.low[c][row]) <= int(record.get(c, 0)) <= int(self.high[c][row]) for c in self.low
        ) and all(
            int(record.get(c, 0)) & int(self.care[c][row]) == int(self.value[c][row]) for c in self.care
        )

    def scan(self, record: Mapping[str, Any], start: int = 0) -> int:
        """The first row from `start` on that holds a record, -1 if none: the specification of every index of rows."""
        return next((row for row in range(start, len(self)) if self.holds(row, record)), -1)

    def check_invariants(self) -> None:
        """Raises `AssertionError` if one of W1-W3 does not hold."""
        for c, top in INTERVALS.items():
            if c in self.low:
                low, high = self.low[c], self.high[c]
                assert low.dtype == high.dtype == np.uint64 and len(low) == len(high) == len(self), f"W1: {c}"
                assert bool(np.all(low <= high)) and bool(np.all(high <= np.uint64(top))), f"W2: {c}"
        for c in self.care:
            care, value = self.care[c], self.value[c]
            assert care.dtype == value.dtype == np.uint64 and len(care) == len(value) == len(self), f"W1: {c}"
            assert bool(np.all(value & ~care == 0)), f"W3: {c}"
        assert set(self.low) == set(self.high) <= set(INTERVALS), "W1"
        assert set(self.care) == set(self.value) <= set(WORDS), "W1"


__all__ = ["INTERVALS", "WORDS", "Rows"]

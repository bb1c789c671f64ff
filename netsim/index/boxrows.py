"""Boxes of rules as rows: the bridge from `boxes`, which the short lists use, to the kernels of the long ones.

A box (`boxes.Box`) becomes the product of its ranges: one row where every dimension has one range, more where
there are several, or where a range of 128 bits is no product of its halves. What fields need is part of a box
already. The rows of conditions are kept, since edits leave most rules alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain as chained
from itertools import product

import numpy as np
from numpy.typing import NDArray

from netsim.errors import BudgetExceeded
from netsim.index.boxes import KEPT_BOXES, Box, is_empty, possible_box
from netsim.index.rows import INTERVALS, WORDS, Rows, _interval
from netsim.index.rows import rows_of as products_of
from netsim.rules.model import Condition, Deferred, Unmodelled
from netsim.space.fields import FIELDS, Range

Columns = Mapping[str, Range]
"""One product: column -> bounds, of a word (care, value)."""

PRODUCTS = 64
"""The most products of conditions that are no box."""


def columns_of(box: Box) -> tuple[Columns, ...]:
    """A box as products of one range in each column; those of a word are (care, value)."""
    plain: dict[str, Range] = {}
    several: list[list[dict[str, Range]]] = []
    for dimension, ranges in box.items():
        if isinstance(dimension, str):
            if len(ranges) == 1 and dimension in INTERVALS:
                plain[dimension] = ranges[0]
            else:
                several.append([dict(p) for p in _interval(dimension, ranges)])
            continue
        if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
            name, bit = dimension
            column = name
            if FIELDS[name].width > 64:
                column, bit = name + (".high" if bit >= 64 else ".low"), bit % 64
            care, value = plain.get(column, (0, 0))
            plain[column] = care | 1 << bit, value | ranges[0][0] << bit
    if not several:
        return (plain,)
    found = []
    for parts in product(*several):
        one = dict(plain)
        for part in parts:
            one.update(part)
        found.append(one)
    return tuple(found)


def rows_of_columns(every: list[Columns], rule: list[int]) -> Rows:
    """Products as rows."""
    used = {c for columns in every for c in columns}

    def pairs(names: Mapping[str, int], *, word: bool) -> Iterable[tuple[str, NDArray[np.uint64]]]:
        for c, top in names.items():
            if c in used:
                free = (0, 0) if word else (0, top)
                numbers = chained.from_iterable(columns.get(c, free) for columns in every)
                yield c, np.fromiter(numbers, np.uint64, 2 * len(every)).reshape(-1, 2)

    found, masks = dict(pairs(INTERVALS, word=False)), dict(pairs(WORDS, word=True))
    return Rows(
        {c: np.ascontiguousarray(v[:, 0]) for c, v in found.items()},
        {c: np.ascontiguousarray(v[:, 1]) for c, v in found.items()},
        np.array(rule, np.int32),
        {c: np.ascontiguousarray(v[:, 0]) for c, v in masks.items()},
        {c: np.ascontiguousarray(v[:, 1]) for c, v in masks.items()},
    )


def rows_of(conditions: tuple[Condition, ...]) -> tuple[Columns, ...] | None:
    """Where conditions hold, as products; None if they are undecided somewhere, or more than `PRODUCTS`. Kept."""
    found = _ROWS.get(id(conditions))
    if found is not None and found[0] is conditions:
        return found[1]
    box = possible_box(conditions)
    rows: tuple[Columns, ...] | None = None
    if not any(isinstance(c, Unmodelled | Deferred) for c in conditions):
        rows = _products(conditions) if box is None else () if is_empty(box) else columns_of(box)
    if len(_ROWS) >= KEPT_BOXES:
        _ROWS.clear()
    _ROWS[id(conditions)] = conditions, rows
    return rows


def _products(conditions: tuple[Condition, ...]) -> tuple[Columns, ...] | None:
    """The products of conditions that are no box, such as a negated mask."""
    try:
        found = products_of(conditions)
    except BudgetExceeded:
        return None
    if len(found) > PRODUCTS or not all(sure for _, sure in found):
        return None
    return tuple(product for product, _ in found)


_ROWS: dict[int, tuple[tuple[Condition, ...], tuple[Columns, ...] | None]] = {}


__all__ = ["Columns", "columns_of", "rows_of", "rows_of_columns"]

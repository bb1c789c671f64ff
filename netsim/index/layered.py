"""Long lists of rows as one diagram: layers, sorted in space and folded as balanced trees.

Theory of operation. A row is a small diagram: its outcome inside of its box, NEXT outside. Overriding them
from first to last gives the list's function; the order matters only between rows that overlap and decide
differently, so rows are put into layers (`kernels.layers`), each layer is sorted and folded, and the layers
are folded. The work happens in a pool of its own, which is compacted whenever it has doubled, and only the
result is copied. `fold` without layers is the twin that the tests hold this to.
"""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netsim.index.rows import WORDS, Rows
from netsim.kernels import engine, kernel
from netsim.space.compiled import CompiledPool, make_pool
from netsim.space.diagram import NEXT, OVERRIDE, Pool
from netsim.space.fields import FIELDS, LEVEL_MAXIMA
from netsim.space.packets import POOL

FAN = 8


def _level(column: str) -> int:
    name, _, half = column.partition(".")
    return FIELDS[name].levels[1 if half == "low" else 0]


def layers(rows: Rows, decision: NDArray[np.int32]) -> NDArray[np.int32]:
    """The layer of each row; rows of equal decision never wait for one another. Words are left out, which is safe."""
    module = kernel("layers")
    assert module
    n = len(rows)
    columns = [c for c in rows.columns if c in rows.low] or list(rows.low)
    low = (
        np.ascontiguousarray(np.stack([rows.low[c] for c in columns]))
        if columns
        else np.zeros((0, n), np.uint64)
    )
    high = np.ascontiguousarray(np.stack([rows.high[c] for c in columns])) if columns else low
    order = _spatial(low, high)
    place = np.empty_like(order)
    place[order] = np.arange(n)
    starts, size = [0], n
    while True:
        size = -(-size // FAN)
        starts.append(starts[-1] + size)
        if size == 1:
            break
    total = starts[-1]
    result = np.zeros(n, np.int32)
    nothing = np.full(total, -1, np.int32)
    module.layers(
        low, high, np.ascontiguousarray(decision, np.int32), order, place, np.array(starts, np.int64),
        np.full((len(columns), total), 2**64 - 1, np.uint64), np.zeros((len(columns), total), np.uint64),
        nothing, nothing.copy(), nothing.copy(), np.zeros(FAN * len(starts) + 1, np.int64), result,
    )  # fmt: skip
    return result


def _spatial(low: NDArray[np.uint64], high: NDArray[np.uint64]) -> NDArray[np.int64]:
    """An order in which boxes that lie near one another stand near one another: by width, then along a curve."""
    if not len(low):
        return np.arange(low.shape[1], dtype=np.int64)
    spread = [len(np.unique(column)) for column in low]
    chosen = np.argsort(spread)[::-1][:2]
    keys: list[Any] = []
    for c in chosen:
        keys.append(_rank(low[c]))
    wide = sum(
        (_rank(high[c] - low[c]) >> np.uint64(14)).astype(np.int64) * 4**i for i, c in enumerate(chosen)
    )
    curve = _interleaved(*keys) if len(keys) == 2 else keys[0]
    return np.lexsort((curve, wide)).astype(np.int64)


def _rank(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Values as 16-bit ranks among the distinct ones."""
    distinct, inverse = np.unique(values, return_inverse=True)
    return (inverse.astype(np.uint64) * np.uint64(65535)) // np.uint64(max(1, len(distinct) - 1))


def _interleaved(x: NDArray[np.uint64], y: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The bits of two 16-bit numbers by turns (a Morton code)."""
    result = np.zeros(len(x), np.uint64)
    one = np.uint64(1)
    for bit in range(16):
        b = np.uint64(bit)
        result |= ((x >> b) & one) << np.uint64(2 * bit) | ((y >> b) & one) << np.uint64(2 * bit + 1)
    return result

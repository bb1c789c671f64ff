"""Records to classify, as columns: always the same for a list, a kind and a seed. No record comes twice."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.classbench import COLUMNS, TOP, List

TYPES = {"src4": np.uint32, "dst4": np.uint32, "sport": np.uint16, "dport": np.uint16, "protocol": np.uint8}
KINDS = ("uniform", "zipf", "miss")


def random_headers(count: int, rng: np.random.Generator) -> dict[str, NDArray[np.uint64]]:
    return {c: rng.integers(0, TOP[c] + 1, count, dtype=np.uint64) for c in COLUMNS}


def _points(given: List, rules: NDArray[np.int64], rng: np.random.Generator) -> dict[str, NDArray[np.uint64]]:
    """A point drawn uniformly in each of some rules."""
    found = {}
    for c in COLUMNS:
        low, high = given.low[c][rules], given.high[c][rules]
        found[c] = rng.integers(low, high, dtype=np.uint64, endpoint=True)
    return found


def _distinct(columns: dict[str, NDArray[np.uint64]], count: int, rng: np.random.Generator) -> dict[str, Any]:
    """At most `count` records, each once, shuffled."""
    addresses = columns["src4"] << np.uint64(32) | columns["dst4"]
    rest = columns["sport"] << np.uint64(24) | columns["dport"] << np.uint64(8) | columns["protocol"]
    order = np.lexsort((rest, addresses))
    a, b = addresses[order], rest[order]
    new = np.concatenate([[True], (a[1:] != a[:-1]) | (b[1:] != b[:-1])])
    kept = rng.permutation(order[new])[:count]
    return {c: np.ascontiguousarray(columns[c][kept].astype(TYPES[c])) for c in COLUMNS}


def make(
    given: List, kind: str, count: int = 1_000_000, *, seed: int = 2026, miss: Any = None
) -> dict[str, Any]:
    """A trace. `uniform`: a rule drawn uniformly, a point uniform in it, 10 % random headers. `zipf`: the same with
    the rules drawn by their rank in a random order. `miss`: random headers for which `miss(columns)` is true."""
    rng = np.random.default_rng((seed, KINDS.index(kind)))
    if kind == "miss":
        columns = _distinct(random_headers(3 * count, rng), 3 * count, rng)
        left = np.flatnonzero(miss(columns))[:count]
        return {c: np.ascontiguousarray(columns[c][left]) for c in COLUMNS}
    drawn, size = count + count // 4, len(given.deny)
    if kind == "uniform":
        rules = rng.integers(0, size, drawn)
    else:
        weights = 1 / np.arange(1, size + 1)
        rules = rng.permutation(size)[rng.choice(size, drawn, p=weights / weights.sum())]
    columns_ = _points(given, rules, rng)
    other = rng.random(drawn) < 0.1
    for c, values in random_headers(int(other.sum()), rng).items():
        columns_[c][other] = values
    return _distinct(columns_, count, rng)

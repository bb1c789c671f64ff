"""Records to classify, as columns: always the same for a list, a kind and a seed. No record comes twice.

Seeds of traces are used for nothing else: a classifier sees its rules, and samples that it draws itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.lists import U64, List
from netsim.index.rows import INTERVALS, WORDS

KINDS = ("uniform", "zipf", "miss")
TOP = INTERVALS | WORDS
Trace = dict[str, NDArray[Any]]


def random_headers(columns: tuple[str, ...], count: int, rng: np.random.Generator) -> dict[str, U64]:
    return {c: rng.integers(0, TOP[c], count, dtype=np.uint64, endpoint=True) for c in columns}


def _points(given: List, rules: NDArray[np.int64], rng: np.random.Generator) -> dict[str, U64]:
    """A point drawn uniformly in each of some rules."""
    found = {}
    for c in given.low:
        low, high = given.low[c][rules], given.high[c][rules]
        found[c] = rng.integers(low, high, dtype=np.uint64, endpoint=True)
    for c, drawn in random_headers(tuple(given.care), len(rules), rng).items():
        found[c] = drawn & ~given.care[c][rules] | given.value[c][rules]
    return found


def _words(columns: dict[str, U64]) -> list[U64]:
    """The records in as few words as hold them."""
    words: list[U64] = []
    free = 0
    for c, values in columns.items():
        width = TOP[c].bit_length()
        if width > free:
            words.append(np.zeros(len(values), np.uint64))
            free = 64
        free -= width
        words[-1] = words[-1] | values << np.uint64(free)
    return words


def _distinct(columns: dict[str, U64], count: int, rng: np.random.Generator) -> Trace:
    """At most `count` records, each once, shuffled, in the smallest types that hold them."""
    words = _words(columns)
    order = np.lexsort(words)
    new = np.zeros(len(order), np.bool_)
    new[:1] = True
    for word in words:
        ordered = word[order]
        new[1:] |= ordered[1:] != ordered[:-1]
    kept = rng.permutation(order[new])[:count]
    return {
        c: np.ascontiguousarray(values[kept].astype(f"u{1 << (TOP[c].bit_length() - 1).bit_length() >> 3}"))
        for c, values in columns.items()
    }


def make(
    given: List,
    kind: str,
    count: int = 1_000_000,
    *,
    seed: int = 2026,
    miss: Callable[[Trace], NDArray[np.bool_]] | None = None,
) -> Trace:
    """A trace. `uniform`: a rule drawn uniformly, a point uniform in it, 10 % random headers. `zipf`: the same with
    the rules drawn by their rank in a random order. `miss`: random headers for which `miss(columns)` is true."""
    rng = np.random.default_rng((seed, KINDS.index(kind)))
    if kind == "miss":
        assert miss is not None
        trace = _distinct(random_headers(given.columns, 3 * count, rng), 3 * count, rng)
        left = np.flatnonzero(miss(trace))[:count]
        return {c: np.ascontiguousarray(values[left]) for c, values in trace.items()}
    drawn, size = count + count // 4, len(given)
    if kind == "uniform":
        rules = rng.integers(0, size, drawn)
    else:
        weights = 1 / np.arange(1, size + 1)
        rules = rng.permutation(size)[rng.choice(size, drawn, p=weights / weights.sum())]
    columns = _points(given, rules, rng)
    other = rng.random(drawn) < 0.1
    for c, values in random_headers(given.columns, int(other.sum()), rng).items():
        columns[c][other] = values
    return _distinct(columns, count, rng)


def edges(given: List, count: int, *, seed: int = 2027) -> Trace:
    """Records at the ends of rules' ranges, one before, one behind, and between: for checks, not for times."""
    rng = np.random.default_rng(seed)
    rules = rng.integers(0, len(given), count)
    columns = _points(given, rules, rng)
    one = np.uint64(1)
    with np.errstate(over="ignore"):
        for c in given.low:
            low, high = given.low[c][rules], given.high[c][rules]
            ends = [low, high, low - one, high + one]
            moved = np.choose(rng.integers(0, 5, count), [*ends, columns[c]])
            columns[c] = moved & np.uint64(TOP[c])  # what lies beyond an end of the field is at the other one
    return _distinct(columns, count, rng)

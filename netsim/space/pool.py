"""The pool of this process, what may be kept of it, and the diagrams of single fields.

For the layers that work with ids; sets as values are in `packets`. Whoever holds an id does as `collection` says.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from netsim.space.collection import Computed
from netsim.space.compiled import make_pool
from netsim.space.diagram import AND, FALSE, OR, TRUE
from netsim.space.fields import FIELDS, LEVEL_MAXIMA, Field, Kind, Range, merge_ranges

POOL = make_pool(LEVEL_MAXIMA)
"""The pool of every packet set in this process. Whoever holds its ids does as `space.collection` says."""

T = TypeVar("T")


def kept(compute: Callable[[Any], T]) -> Computed[T]:
    """An attribute that is computed once, and anew after a collection, since ids of `POOL` are in it."""
    return Computed(POOL, compute)


def remembered(size: int | None = None) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """A function whose last `size` results (None: all) are remembered until a collection, since ids are in them."""

    def wrapped(function: Callable[..., T]) -> Callable[..., T]:
        found = lru_cache(maxsize=size)(function)
        POOL.cache(found.cache_clear)
        return found

    return wrapped


HALF = (1 << 64) - 1
"""The largest value of half an IPv6 address, or of half an interface name."""
VARIABLE_LEVELS = frozenset(FIELDS["variables"].levels)


# Diagrams of single fields


def field_node(field: Field, ranges: tuple[Range, ...]) -> int:
    """The points whose value of an interval field is in `ranges`, wherever the field applies or not."""
    if len(field.levels) == 1:
        return POOL.interval(field.level, ranges)
    high, low = field.levels
    # One pass over the upper halves: whole halves are TRUE, partial ones test the lower half.
    parts: dict[int, list[Range]] = {}
    whole: list[Range] = []
    for first, last in ranges:
        top, bottom = first >> 64, last >> 64
        if top == bottom:
            parts.setdefault(top, []).append((first & HALF, last & HALF))
            continue
        if first & HALF:
            parts.setdefault(top, []).append((first & HALF, HALF))
            top += 1
        if last & HALF != HALF:
            parts.setdefault(bottom, []).append((0, last & HALF))
            bottom -= 1
        if top <= bottom:
            whole.append((top, bottom))
    rows: list[tuple[int, int, int]] = [(a, b, TRUE) for a, b in whole]
    for upper, halves in parts.items():
        rows.append((upper, upper, POOL.interval(low, merge_ranges(halves))))
    return POOL.pieces(high, sorted(rows))


def bits_node(field: Field, care: int, value: int) -> int:
    """The points with `field & care == value`."""
    if value & ~care:
        return FALSE
    node = TRUE
    for i in range(field.width - 1, -1, -1):
        shift = field.width - 1 - i
        if care >> shift & 1:
            pair = (FALSE, node) if value >> shift & 1 else (node, FALSE)
            node = POOL.node(field.levels[i], (0, 1), pair)
    return node


@remembered()
def applies_node(name: str) -> int:
    """The points to which field `name` applies."""
    node = TRUE
    for other, values in FIELDS[name].needs:
        field = FIELDS[other]
        if field.kind is Kind.BITS:
            test = POOL.fold(OR, [bits_node(field, (1 << field.width) - 1, v) for v in values])
        else:
            test = field_node(field, merge_ranges([(v, v) for v in values]))
        node = POOL.apply(AND, node, test)
    return node


@remembered()
def well_formed_node() -> int:
    """The points in which every field that does not apply is 0, and so are the unmodelled variables."""
    node = TRUE
    for name, field in FIELDS.items():
        if name == "variables":
            zero = bits_node(field, (1 << field.width) - 1, 0)
        elif not field.needs:
            continue
        else:
            if field.kind is Kind.BITS:
                zero = bits_node(field, (1 << field.width) - 1, 0)
            else:
                zero = field_node(field, ((0, 0),))
            zero = POOL.apply(OR, applies_node(name), zero)
        node = POOL.apply(AND, node, zero)
    return node


def condition_node(name: str, ranges: tuple[Range, ...]) -> int:
    """The packets to which interval field `name` applies with a value in `ranges`."""
    return POOL.apply(AND, applies_node(name), field_node(FIELDS[name], ranges))


__all__ = [
    "HALF",
    "POOL",
    "VARIABLE_LEVELS",
    "applies_node",
    "bits_node",
    "condition_node",
    "field_node",
    "kept",
    "remembered",
    "well_formed_node",
]

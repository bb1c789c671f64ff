"""Addresses by family, as sorted ranges of integers: what an end of a question has.

Algebra. `less` and `common` are those of sets; a family without addresses is left out.
"""

from __future__ import annotations

from collections.abc import Iterable

from netsim.space.fields import Family, Range, complement_ranges, merge_ranges
from netsim.topology.model import Prefix

Addresses = tuple[tuple[Family, tuple[Range, ...]], ...]


def addresses_of(prefixes: Iterable[Prefix], *, whole: bool = False) -> Addresses:
    """The addresses of prefixes, or with `whole` those of their networks."""
    found: dict[Family, list[Range]] = {}
    for p in prefixes:
        found.setdefault(p.family, []).append((p.first, p.last) if whole else (p.address, p.address))
    return tuple((family, merge_ranges(rs)) for family, rs in sorted(found.items()))


def less(some: Addresses, others: Addresses) -> Addresses:
    """Addresses without others; families of which nothing is left vanish."""
    away = dict(others)
    found = []
    for family, ranges in some:
        top = (1 << family.bits) - 1
        rest = merge_ranges([*complement_ranges(ranges, top), *away.get(family, ())])
        if left := complement_ranges(rest, top):
            found.append((family, left))
    return tuple(found)


def common(some: Addresses, others: Addresses) -> Addresses:
    """The addresses of both."""
    return less(some, less(some, others))


def count(addresses: Addresses) -> int:
    """How many addresses there are."""
    return sum(high - low + 1 for _, ranges in addresses for low, high in ranges)


__all__ = ["Addresses", "addresses_of", "common", "count", "less"]

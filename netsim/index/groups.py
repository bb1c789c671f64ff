"""Groups of records that no rule of a rule set tells apart: one answer is the answer of all.

Every test of an interval field is constant between the bounds of all tests of that field; what an effect computes
with keeps its value. A translation looks at an address or port only to see whether it is in its range. Records
alike in all segments, masked bits and kept values go one way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from netsim.index.columns import Batch
from netsim.index.rows import WORDS
from netsim.rules.journey import Addresses
from netsim.rules.model import Adjust, Bits, In, Nat, NatKind, Netmap, RuleSet, SetBits, SetField, flat
from netsim.space.fields import ADDRESS_FIELDS, FIELDS, WORD

_WHOLE = ("family", "protocol", "state", "fragment", "ttl", "direction")
"""Columns that the journey itself looks at, or that are small: every value is its own segment."""


class Groups:
    """The segments of a rule set's tests."""

    def __init__(self, rules: RuleSet, addresses: Addresses) -> None:
        cuts: dict[str, set[int]] = {}
        masks: dict[str, int] = {}
        whole = set(_WHOLE)

        def cut(field: str, low: int, high: int) -> None:
            if len(FIELDS[field].levels) == 1:
                cuts.setdefault(field, set()).update((low, high + 1))
                return
            upper, lower = cuts.setdefault(field + ".high", set()), cuts.setdefault(field + ".low", set())
            for value in (low, high):
                upper.update((value >> 64, (value >> 64) + 1))
            lower.update((low & WORD, (high & WORD) + 1))

        for rule in rules.rules():
            for condition in flat(rule.conditions):
                if isinstance(condition, In):
                    for low, high in condition.ranges:
                        cut(condition.field, low, high)
                elif isinstance(condition, Bits):
                    masks[condition.field] = masks.get(condition.field, 0) | condition.care
            for effect in rule.effects:
                match effect:
                    case SetBits(field=field, source=source):
                        whole |= {field, source}
                    case SetField(field=field) | Adjust(field=field):
                        whole.add(field)
                    case Netmap(kind=kind, family=family):
                        field = ADDRESS_FIELDS["src" if kind is NatKind.SOURCE else "dst", family]
                        whole |= {field, field + ".high", field + ".low", "ct_status"}
                    case Nat(kind=kind, family=family, pools=pools):
                        side = "src" if kind is NatKind.SOURCE else "dst"
                        whole.add("ct_status")
                        for pool in pools:
                            if pool.addresses is not None:
                                cut(ADDRESS_FIELDS[side, family], *pool.addresses)
                            if pool.ports is not None:
                                cut(side[0] + "port", *pool.ports)
                            if pool.interface or pool.own:
                                whole |= {d + end for d in ("iif", "oif") for end in (".high", ".low")}
        for family, ranges in addresses.ranges:
            for low, high in ranges:
                cut(ADDRESS_FIELDS["dst", family], low, high)
        self._cuts = {
            name: np.array(sorted(v for v in values if 0 < v <= WORD), np.uint64)
            for name, values in cuts.items()
        }
        self._masks = masks
        self._whole = whole

    def of(self, batch: Batch, where: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """(a record of each group, the group of each record) for the records in `where`."""
        keys: list[NDArray[np.uint64]] = []
        for name, column in batch.columns.items():
            values = column[where]
            if name in self._whole:
                keys.append(values.astype(np.uint64))
            elif name in WORDS:
                if self._masks.get(name):
                    keys.append(values.astype(np.uint64) & np.uint64(self._masks[name]))
            elif name in self._cuts:
                found: Any = np.searchsorted(self._cuts[name], values.astype(np.uint64), side="right")
                keys.append(found.astype(np.uint64))
        number = np.zeros(len(where), np.intp)
        for key in keys:
            distinct, code = np.unique(key, return_inverse=True)
            if len(distinct) > 1:
                _, number = np.unique(number * len(distinct) + code.ravel(), return_inverse=True)
                number = number.ravel()
        _, first = np.unique(number, return_index=True)
        return where[first], number


__all__ = ["Groups"]

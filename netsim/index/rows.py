"""Rows: a list of boxes as columns of arrays; the first that holds a packet decides.

Theory of operation. A *column* is a level of an interval field, or a whole bits field in words of 64
bits. A row is a product of one inclusive interval in each interval column and one (care, value) pair in
each word column: `packet & care == value`. Columns that no row restricts are left out. A condition that is
no such product (several ranges, a range of addresses that is no product of two halves) becomes several
rows of one rule. Rows are what the classifier and the box kernels work on.

`rows_of` is the one place where conditions become such products. What a field needs is part of them: a test
of `dport` restricts protocol and fragment. A range of 128 bits is at most three products of its halves: the
rest of the first upper half, the whole ones between, the beginning of the last. A product *surely* holds
where no condition in it is undecided; the others say where the conditions may hold.

Invariants, enforced by `check_invariants`:

- W1  all columns are as long as `rule`;
- W2  `low <= high` and both lie within the column's largest value;
- W3  `value` has no bit outside of `care`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from netsim.errors import BudgetExceeded
from netsim.rules.journey import HAS_ENTRY
from netsim.rules.model import AnyOf, Bits, Chain, Condition, In
from netsim.space.fields import FIELDS, LEVEL_MAXIMA, WORD, Kind, Range, merge_ranges

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

    @classmethod
    def of(cls, products: Sequence[Product], rule: Sequence[int] | NDArray[np.int32]) -> Rows:
        """The rows of some products, in order, and of what each stands for."""
        tests: dict[str, tuple[list[int], list[int], list[int]]] = {}
        for row, product in enumerate(products):
            for column, (one, two) in product.items():
                at, ones, twos = tests.setdefault(column, ([], [], []))
                at.append(row)
                ones.append(one)
                twos.append(two)
        found: dict[str, tuple[U64, U64]] = {}
        for column, (at, ones, twos) in tests.items():
            first = np.zeros(len(products), np.uint64)
            second = np.full(len(products), INTERVALS.get(column, 0), np.uint64)
            first[at], second[at] = np.array(ones, np.uint64), np.array(twos, np.uint64)
            found[column] = (first, second)
        ranges = {c: found[c] for c in INTERVALS if c in found}
        masks = {c: found[c] for c in WORDS if c in found}
        return cls(
            {c: pair[0] for c, pair in ranges.items()},
            {c: pair[1] for c, pair in ranges.items()},
            np.asarray(rule, np.int32),
            {c: pair[0] for c, pair in masks.items()},
            {c: pair[1] for c, pair in masks.items()},
        )

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


Product = Mapping[str, Range]
"""Column -> inclusive bounds, or (care, value) for a column of bits; a free column is left out."""

Possible = tuple[Product, bool]
"""Where conditions may hold, and whether they surely do there."""

MOST = 1 << 20
"""How many products one rule may have."""

EVERYTHING: tuple[Possible, ...] = (({}, True),)
_ALL: list[Product] = [{}]


def meet(a: Product, b: Product) -> Product | None:
    """The product of what is in both; None if nothing is."""
    if not a or not b:
        return a or b
    result = dict(a)
    for column, (one, two) in b.items():
        old = result.get(column)
        if old is None:
            result[column] = (one, two)
        elif column in WORDS:
            if (old[1] ^ two) & old[0] & one:
                return None
            result[column] = (old[0] | one, old[1] | two)
        else:
            low, high = max(old[0], one), min(old[1], two)
            if low > high:
                return None
            result[column] = (low, high)
    return result


def minus(a: Product, b: Product) -> list[Product]:
    """Disjoint products whose union is `a` without `b`."""
    if meet(a, b) is None:
        return [a]
    parts: list[Product] = []
    rest = dict(a)
    for column, (one, two) in b.items():
        if column in WORDS:
            care, value = rest.get(column, (0, 0))
            left = one & ~care
            while left:
                bit = left & -left
                left ^= bit
                parts.append({**rest, column: (care | bit, value | (bit & ~two))})
                care, value = care | bit, value | (bit & two)
            rest[column] = (care, value)
            continue
        low, high = rest.get(column, (0, INTERVALS[column]))
        if low < one:
            parts.append({**rest, column: (low, one - 1)})
        if two < high:
            parts.append({**rest, column: (two + 1, high)})
        rest[column] = (max(low, one), min(high, two))
    return parts


def _interval(field: str, ranges: Iterable[Range]) -> list[Product]:
    """The products of an interval field's ranges."""
    top = FIELDS[field].maximum
    if len(FIELDS[field].levels) == 1:
        return [{} if (low, high) == (0, top) else {field: (low, high)} for low, high in ranges]
    upper, lower = field + ".high", field + ".low"
    found: list[Product] = []
    for low, high in ranges:
        first, start, last, end = low >> 64, low & WORD, high >> 64, high & WORD
        if first == last:
            found.append({upper: (first, first), lower: (start, end)})
            continue
        if start:
            found.append({upper: (first, first), lower: (start, WORD)})
            first += 1
        if end != WORD:
            found.append({upper: (last, last), lower: (0, end)})
            last -= 1
        if first <= last:
            found.append({upper: (first, last)})
    return [{c: r for c, r in product.items() if r != (0, WORD)} for product in found]


def _word(field: str, care: int, value: int) -> Product:
    """The product of `field & care == value`."""
    width = FIELDS[field].width
    if width <= 64:
        return {field: (care, value)} if care else {}
    halves = {".high": (care >> 64, value >> 64), ".low": (care & WORD, value & WORD)}
    return {field + end: pair for end, pair in halves.items() if pair[0]}


@cache
def _applies(field: str, free: frozenset[str]) -> list[Product]:
    """Where a field applies; needs of what is in `free` are met."""
    found: list[Product] = [{}]
    for other, values in FIELDS[field].needs:
        if other in free:
            continue
        if FIELDS[other].kind is Kind.BITS:
            each = [_word(other, (1 << FIELDS[other].width) - 1, values[0])]
        else:
            each = _interval(other, merge_ranges([(v, v) for v in values]))
        found = [m for a in found for b in each if (m := meet(a, b)) is not None]
    if field == "ctmark":
        entry = merge_ranges([(int(s), int(s)) for s in HAS_ENTRY])
        found = [m for a in found for b in _interval("state", entry) if (m := meet(a, b)) is not None]
    return found


def both(a: Sequence[Possible], b: Sequence[Possible]) -> Sequence[Possible]:
    """Where both of two conditions may hold, the products where they surely do first if those of each are."""
    if a is EVERYTHING or b is EVERYTHING:
        return b if a is EVERYTHING else a
    if len(a) * len(b) > MOST:
        raise BudgetExceeded(f"the conditions of one rule make more than {MOST} rows")
    found = [(m, s and t) for p, s in a for q, t in b if (m := meet(p, q)) is not None]
    if (len(found) > 1 and found[0][1] != found[-1][1]) or (len(a) > 1 and len(b) > 1):
        found.sort(key=lambda p: not p[1])
    return found


def _without(found: list[Product], others: Iterable[Product]) -> list[Product]:
    for other in others:
        found = [part for product in found for part in minus(product, other)]
        if len(found) > MOST:
            raise BudgetExceeded(f"the conditions of one rule make more than {MOST} rows")
    return found


def _condition(condition: Condition, open_: frozenset[str], free: frozenset[str]) -> Sequence[Possible]:
    match condition:
        case In(field, ranges):
            if not ranges:
                return ()
            applies = _applies(field, free)
            if field in open_:
                return [(product, False) for product in applies]
            inside = _interval(field, ranges)
            if applies == _ALL:
                return [(product, True) for product in inside]
            return [(m, True) for a in applies for b in inside if (m := meet(a, b)) is not None]
        case Bits(field, care, value, negated):
            never = bool(value & ~care)
            if never and not negated:
                return ()
            applies = _applies(field, free)
            if never or not care:
                return [] if negated != never else [(product, True) for product in applies]
            if field in open_:
                return [(product, False) for product in applies]
            equal = _word(field, care, value)
            if negated:
                return [(part, True) for product in applies for part in minus(product, equal)]
            return [(m, True) for a in applies if (m := meet(a, equal)) is not None]
        case AnyOf(alternatives, negated):
            every = [p for one in alternatives for p in rows_of(one, open_=open_, free=free)]
            if not negated:
                return sorted(every, key=lambda p: not p[1])
            surely = _without([{}], [product for product, _ in every])
            if all(s for _, s in every):
                return [(product, True) for product in surely]
            perhaps = _without([{}], [product for product, s in every if s])
            return [*((p, True) for p in surely), *((p, False) for p in perhaps)]
    return [({}, False)]


def _needy(condition: Condition) -> bool:
    """Fields that need others come behind them, and meet fewer products."""
    return type(condition) is In and bool(FIELDS[condition.field].needs)


def rows_of(
    conditions: Iterable[Condition],
    *,
    open_: frozenset[str] = frozenset(),
    free: frozenset[str] = frozenset(),
) -> Sequence[Possible]:
    """The products where every one of some conditions may hold, those where they surely do first.

    None: everything, surely. No products: nowhere. Undecided conditions leave the others' products, which
    then are not sure; so does a test of a field in `open_`, whose value is not known. A sure product may
    overlap one that is not. Fields that need something of a field in `free` apply whatever that is.
    Raises `BudgetExceeded` where one rule makes more than `MOST` products.
    """
    found: Sequence[Possible] = EVERYTHING
    for condition in sorted(conditions, key=_needy):
        found = both(found, _condition(condition, open_, free))
        if not found:
            return ()
    return found


def chain_rows(chain: Chain) -> tuple[Rows, NDArray[np.bool_]]:
    """The rows of one chain's rules, in order, and which of them surely hold.

    `Rows.rule` is the position of the rule in the chain, whatever its action. Raises `BudgetExceeded`.
    """
    products: list[Product] = []
    rule: list[int] = []
    sure: list[bool] = []
    for position, each in enumerate(chain.rules):
        for product, holds in rows_of(each.conditions):
            products.append(product)
            rule.append(position)
            sure.append(holds)
    return Rows.of(products, rule), np.array(sure, np.bool_)


__all__ = [
    "EVERYTHING",
    "INTERVALS",
    "WORDS",
    "Possible",
    "Product",
    "Rows",
    "both",
    "chain_rows",
    "meet",
    "minus",
    "rows_of",
]

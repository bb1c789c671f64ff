"""Conditions as rows, against `conditions.holds`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netsim.index.rows import INTERVALS, WORDS, Possible, Rows, chain_rows, meet, minus, rows_of
from netsim.rules.conditions import all_hold
from netsim.rules.model import AnyOf, Bits, Condition, Deferred, In, RuleSet, Unmodelled
from netsim.space import Packet
from netsim.space.fields import FIELDS, WORD, Kind
from tests.strategies import conditions, full_packets, rule_sets


def record(values: Mapping[str, int | None]) -> dict[str, int]:
    """The columns of a packet's values; a field that does not apply, or is open, is 0."""
    found: dict[str, int] = {}
    for name, value in values.items():
        field = FIELDS[name]
        if field.width > 64:
            found |= {name + ".high": (value or 0) >> 64, name + ".low": (value or 0) & WORD}
        else:
            found[name] = value or 0
    return found


def holding(found: Sequence[Possible], columns: Mapping[str, int]) -> bool | None:
    """Whether a record is in a sure product, in none, or in one that is not sure (None)."""
    rows = Rows.of([product for product, _ in found], range(len(found)))
    rows.check_invariants()
    row = rows.scan(columns)
    return False if row < 0 else True if found[row][1] else None


@st.composite
def any_interval(draw: st.DrawFn) -> In:
    """A test of any field at its edges, and of several ranges."""
    field = draw(st.sampled_from([f for f in FIELDS.values() if f.kind is Kind.INTERVAL]))
    edges = sorted({0, 1, 3, 1 << field.width // 2, field.maximum - 1, field.maximum, WORD, WORD + 1})
    at = sorted(
        draw(st.sets(st.sampled_from([e for e in edges if e <= field.maximum]), min_size=1, max_size=4))
    )
    if len(at) % 2:
        at.append(at[-1])
    pairs = list(zip(at[::2], at[1::2], strict=True))
    return In(field.name, tuple(pairs))


wide: st.SearchStrategy[Condition] = st.one_of(
    any_interval(),
    conditions,
    st.builds(Bits, st.sampled_from(["ctmark", "ct_status", "fragment"]), st.integers(0, 1), st.integers(0, 3), st.booleans()),
    st.builds(Deferred, st.just("set"), st.just(()), st.just("set"), st.booleans()),
    st.builds(
        AnyOf,
        st.lists(st.lists(st.one_of(conditions, any_interval()), max_size=2).map(tuple), max_size=3).map(tuple),
        st.booleans(),
    ),
)  # fmt: skip


@given(st.lists(wide, max_size=3), full_packets())
def test_the_rows_hold_what_the_conditions_hold(found: list[Condition], packet: Packet) -> None:
    values = packet.values()
    answer = all_hold(found, values, {})
    assert holding(rows_of(found), record(values)) == (answer if isinstance(answer, bool) else None)


@given(st.lists(wide, max_size=3), full_packets(), st.sets(st.sampled_from(["iif", "oif", "sport", "dport", "src4", "src6", "ttl", "length", "mac"])))  # fmt: skip
def test_a_test_of_an_open_field_is_not_sure(found: list[Condition], packet: Packet, open_: set[str]) -> None:
    values = packet.values()
    values |= {name: None for name in open_ if name in values}
    answer = all_hold(found, values, {})
    assert holding(rows_of(found, open_=frozenset(open_)), record(values)) == (
        answer if isinstance(answer, bool) else None
    )


@given(st.lists(wide, max_size=3), st.lists(wide, max_size=3), full_packets())
def test_products_meet_and_leave(one: list[Condition], two: list[Condition], packet: Packet) -> None:
    columns = record(packet.values())

    def inside(product: Mapping[str, tuple[int, int]] | None) -> bool:
        return product is not None and Rows.of([product], [0]).holds(0, columns)

    for a, _ in rows_of(one)[:4]:
        for b, _ in rows_of(two)[:4]:
            assert inside(meet(a, b)) == (inside(a) and inside(b))
            parts = [part for part in minus(a, b) if inside(part)]
            assert len(parts) == (inside(a) and not inside(b))


@given(rule_sets(), full_packets())
def test_the_rows_of_a_chain_are_those_of_its_rules(rules: RuleSet, packet: Packet) -> None:
    chain = rules.chains["filter/base"]
    rows, sure = chain_rows(chain)
    rows.check_invariants()
    assert len(rows) == len(sure)
    assert list(rows.rule) == sorted(rows.rule)
    columns = record(packet.values())
    for position, rule in enumerate(chain.rules):
        answer = all_hold(rule.conditions, packet.values(), {})
        mine = [i for i in np.flatnonzero(rows.rule == position) if rows.holds(int(i), columns)]
        assert bool(mine) == (answer is not False)
        assert any(sure[i] for i in mine) == (answer is True)


@pytest.mark.parametrize(
    ("low", "high", "count"),
    [
        (0, (1 << 128) - 1, 1),
        (1, (1 << 128) - 1, 2),
        (5, 9, 1),
        (WORD, WORD + 1, 2),
        (WORD, (3 << 64) | 7, 3),
        (1 << 64, (2 << 64) - 1, 1),
        (1 << 64, (4 << 64) - 1, 1),
    ],
)
def test_a_wide_range_is_at_most_three_products(low: int, high: int, count: int) -> None:
    found = rows_of([In("iif", ((low, high),))])
    assert len(found) == count
    for value in (low - 1, low, low + 1, high - 1, high, high + 1):
        if 0 <= value < 1 << 128:
            columns = {"iif.high": value >> 64, "iif.low": value & WORD}
            assert (holding(found, columns) is True) == (low <= value <= high)


def test_columns_are_the_fields_levels() -> None:
    assert {"iif.high", "src6.low", "dport"} <= set(INTERVALS)
    assert {"mark", "variables.high"} <= set(WORDS)
    assert len(rows_of([Unmodelled("time", True)])) == 1

"""What two lists of rows decide differently, against every point of a small space and scans of large ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netsim.errors import BudgetExceeded, Limits
from netsim.index import rowdiff
from netsim.index.rowdiff import compare_rows
from netsim.index.rows import INTERVALS, Rows
from netsim.space.pool import POOL
from tests.index.test_boxtree import levels
from tests.index.test_classifier import SHAPES, engines, random_rows, records
from tests.index.test_rowaudit import POINTS, small_rows


def chosen(rows: Rows, which: Any) -> Rows:
    """Some rows of a list, and one that holds everything."""

    def part(columns: Any, last: Any) -> dict[str, Any]:
        return {c: np.append(v[which], np.uint64(last(c))) for c, v in columns.items()}

    return Rows(
        part(rows.low, lambda c: 0), part(rows.high, INTERVALS.get), np.arange(len(which) + 1, dtype=np.int32),
        part(rows.care, lambda c: 0), part(rows.value, lambda c: 0),
    )  # fmt: skip


def edited(rng: np.random.Generator, n: int, edits: int) -> list[int]:
    which = list(range(n))
    for _ in range(edits):
        match int(rng.integers(0, 3)) if which else 0:
            case 0 if n:
                which.insert(int(rng.integers(0, len(which) + 1)), int(rng.integers(0, n)))
            case 1:
                del which[int(rng.integers(0, len(which)))]
            case 2:
                which.insert(int(rng.integers(0, len(which))), which.pop(int(rng.integers(0, len(which)))))
    return which


def check(before: Rows, old: Any, after: Rows, new: Any, some: list[dict[str, int]]) -> None:
    for engine in engines():
        found = compare_rows(before, old, after, new, choice=engine)  # type: ignore[arg-type]
        assert found is not None
        assert len({(f.before, f.after) for f in found}) == len(found)
        assert all(f.node for f in found)
        for record in some:
            one, two = before.scan(record), after.scan(record)
            told = [(f.before, f.after) for f in found if POOL.value(f.node, levels(record))]
            assert told == ([(one, two)] if old[one] != new[two] else [])


@given(seed=st.integers(0, 2**32), n=st.integers(0, 12), m=st.integers(0, 12))
def test_every_point_of_unrelated_lists(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    before, after = chosen(small_rows(seed, n), np.arange(n)), chosen(small_rows(seed + 1, m), np.arange(m))
    old, new = (rng.integers(1, 4, len(rows)).astype(np.uint8) for rows in (before, after))
    check(before, old, after, new, POINTS)


@given(seed=st.integers(0, 2**32), n=st.integers(0, 16), edits=st.integers(0, 4))
def test_every_point_of_edited_lists(seed: int, n: int, edits: int) -> None:
    rng = np.random.default_rng(seed)
    rows = small_rows(seed, n)
    outcomes = rng.integers(1, 3, n + 1).astype(np.uint8)
    which = edited(rng, n, edits)
    check(chosen(rows, np.arange(n)), outcomes, chosen(rows, which), outcomes[[*which, n]], POINTS)


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=st.integers(0, 2**32), n=st.integers(0, 30), edits=st.integers(0, 4))
def test_points_of_edited_lists(shape: str, seed: int, n: int, edits: int) -> None:
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, n, *SHAPES[shape])
    outcomes = rng.integers(1, 3, n + 1).astype(np.uint8)
    which = edited(rng, n, edits)
    columns = records(rng, rows, 25)
    some = [{c: int(v[i]) for c, v in columns.items()} for i in range(25)]
    check(chosen(rows, np.arange(n)), outcomes, chosen(rows, which), outcomes[[*which, n]], some)


def test_columns_of_one_list_only() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        before = chosen(random_rows(rng, 8, ("dport",), ("mark",)), np.arange(8))
        after = chosen(random_rows(rng, 8, ("dport", "protocol")), np.arange(8))
        old, new = (rng.integers(1, 3, 9).astype(np.uint8) for _ in "ab")
        columns = records(rng, after, 30) | {"mark": records(rng, before, 30)["mark"]}
        check(before, old, after, new, [{c: int(v[i]) for c, v in columns.items()} for i in range(30)])


def test_too_much_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    rows = random_rows(rng, 60, *SHAPES["five"])
    before, after = chosen(rows, np.arange(60)), chosen(rows, np.arange(60)[::-1])
    outcomes = rng.integers(1, 3, 61).astype(np.uint8)
    args = before, outcomes, after, outcomes[[*range(59, -1, -1), 60]]
    with pytest.raises(BudgetExceeded):
        compare_rows(*args, limits=Limits(nodes=3))
    assert compare_rows(*args)
    monkeypatch.setattr(rowdiff, "MEETINGS", 5)
    assert compare_rows(*args) is None
    monkeypatch.setattr(rowdiff, "CHANGED", 5)
    assert compare_rows(*args) is None


def test_one_value_of_64_bits() -> None:
    """A row that holds all values but one takes a part that is rounded to the whole."""
    top = INTERVALS["src6.low"]

    def rows(high: int) -> Rows:
        bounds = {"src6.low": np.zeros(2, np.uint64)}, {"src6.low": np.array([high, top], np.uint64)}
        return Rows(*bounds, np.arange(2, dtype=np.int32))

    old, new = np.array([4, 4], np.uint8), np.array([4, 8], np.uint8)
    found = compare_rows(rows(top), old, rows(top - 1), new)
    assert found is not None
    assert [(each.before, each.after) for each in found] == [(0, 1)]

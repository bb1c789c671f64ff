"""Live and dead rows against brute force, the Python cover test, and packets drawn inside dead rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netsim.errors import Limits
from netsim.index import rowaudit
from netsim.index.boxes import Box, cover, meets, within
from netsim.index.rowaudit import BoxCover, audit_rows
from netsim.index.rows import Rows
from netsim.space.fields import FIELDS, merge_ranges
from tests.index.test_classifier import FIVE, SHAPES, engines, random_rows, records

SMALL = ("protocol", "ttl")


def small_rows(seed: int, n: int) -> Rows:
    """Rows over two columns of which only the values 0 to 7 are distinct in kind."""
    rng = np.random.default_rng(seed)
    low, high = {}, {}
    for c in SMALL:
        a, b = rng.integers(0, 8, n), rng.integers(0, 8, n)
        low[c], high[c] = np.minimum(a, b).astype(np.uint64), np.maximum(a, b).astype(np.uint64)
    care = rng.integers(0, 4, n).astype(np.uint64)
    value = rng.integers(0, 4, n).astype(np.uint64) & care
    return Rows(low, high, np.arange(n, dtype=np.int32), {"tcp_flags": care}, {"tcp_flags": value})


POINTS = [{"protocol": p, "ttl": t, "tcp_flags": f} for p in range(8) for t in range(8) for f in range(4)]


@given(seed=st.integers(0, 2**32), n=st.integers(0, 14))
def test_against_every_point(seed: int, n: int) -> None:
    rows = small_rows(seed, n)
    firsts = {rows.scan(point) for point in POINTS}
    for engine in engines():
        found = audit_rows(rows, choice=engine)  # type: ignore[arg-type]
        assert not found.open
        assert {int(row) for row in np.flatnonzero(found.alive)} == firsts - {-1}
        assert set(found.covers) == set(range(n)) - firsts
        for row, members in found.covers.items():
            inside = [p for p in POINTS if rows.holds(row, p)]
            assert all(any(rows.holds(m, p) for m in members) for p in inside)
            for left_out in members:
                assert not all(any(rows.holds(m, p) for m in members if m != left_out) for p in inside)
                assert left_out < row


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=st.integers(0, 2**32), n=st.integers(0, 16))
def test_witnesses_and_covers(shape: str, seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, n, *SHAPES[shape])
    answers = []
    for engine in engines():
        found = audit_rows(rows, choice=engine)  # type: ignore[arg-type]
        answers.append((found.alive.tolist(), sorted(found.covers), found.open))
        for row in np.flatnonzero(found.alive).tolist():
            assert rows.scan({c: int(values[row]) for c, values in found.witness.items()}) == row
        some = records(rng, rows, 20)
        for i in range(20):
            assert rows.scan({c: int(v[i]) for c, v in some.items()}) not in found.covers
    assert all(answer == answers[0] for answer in answers)


def as_box(rows: Rows, row: int) -> Box:
    box: dict[Any, Any] = {}
    for c in rows.low:
        bounds = (int(rows.low[c][row]), int(rows.high[c][row]))
        box[c] = (bounds,)
    for c in rows.care:
        name, _, half = c.partition(".")
        for bit in range(64):
            if int(rows.care[c][row]) >> bit & 1:
                value = int(rows.value[c][row]) >> bit & 1
                box[name, bit + (64 if half == "high" else 0)] = ((value, value),)
    return box


@pytest.mark.parametrize("seed", range(6))
def test_against_the_cover_of_boxes(seed: int) -> None:
    rows = random_rows(np.random.default_rng(seed), 120, FIVE)
    found = audit_rows(rows)
    assert found.covers
    boxes = [as_box(rows, i) for i in range(len(rows))]
    for row in range(len(rows)):
        other = cover(boxes[row], list(enumerate(boxes[:row])), steps=10**7)
        assert (other.members is not None) == (row in found.covers)


def test_steps_that_run_out_leave_it_to_diagrams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rowaudit, "STEPS", 3)
    monkeypatch.setattr(rowaudit, "DRAWN", 0)
    monkeypatch.setattr(rowaudit, "TRIES", 0)
    for shape in SHAPES.values():
        rows = random_rows(np.random.default_rng(0), 60, *shape)
        boxes = [as_box(rows, i) for i in range(len(rows))]
        for engine in engines():
            found = audit_rows(rows, choice=engine)  # type: ignore[arg-type]
            assert not found.open
            for row in np.flatnonzero(found.alive).tolist():
                assert rows.scan({c: int(values[row]) for c, values in found.witness.items()}) == row
            for row, members in found.covers.items():
                assert cover(boxes[row], [(m, boxes[m]) for m in members], steps=10**7).members == members


def test_steps_and_nodes_that_run_out_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rowaudit, "STEPS", 3)
    monkeypatch.setattr(rowaudit, "DRAWN", 0)
    monkeypatch.setattr(rowaudit, "TRIES", 0)
    rows = random_rows(np.random.default_rng(3), 120, FIVE)
    for engine in engines():
        found = audit_rows(rows, choice=engine, limits=Limits(nodes=5))  # type: ignore[arg-type]
        assert found.open
        assert not set(found.open) & set(found.covers)
        assert not found.alive[list(found.open)].any()


WIDE = ("dst6", "src6", "iif", "dport", "ttl")
PAIRS = st.tuples(st.integers(0, 5), st.integers(0, 5))


@st.composite
def wide_boxes(draw: st.DrawFn) -> Box:
    """Boxes with several ranges, ranges of 128 bits that are no products of halves, and bits."""
    found: dict[Any, Any] = {}
    for name in WIDE:
        if draw(st.integers(0, 2)):
            continue
        size = FIELDS[name].maximum.bit_length()
        marks = [0, 1, (1 << size // 2) - 1, 1 << size // 2, (1 << size) - 2, (1 << size) - 1]
        pairs = draw(st.lists(PAIRS, min_size=1, max_size=2))
        ranges = merge_ranges([(marks[min(p)], marks[max(p)]) for p in pairs])
        if ranges != ((0, marks[-1]),):
            found[name] = ranges
    for bit in (0, 3):
        if draw(st.integers(0, 2)) == 0:
            found["mark", bit] = ((draw(st.integers(0, 1)),) * 2,)
    return found


@given(wide_boxes(), st.lists(wide_boxes(), max_size=8), st.integers(0, 8))
def test_long_lists_of_boxes_cover_what_short_ones_do(box: Box, others: list[Box], end: int) -> None:
    some = list(enumerate(others[:end]))
    expected = cover(box, some, steps=10**6)
    for engine in engines():
        found = BoxCover(others, choice=engine).cover(box, end)  # type: ignore[arg-type]
        assert (found.members is None) == (expected.members is None)
        if found.members is not None:
            assert cover(box, [some[m] for m in found.members], steps=10**6).members == found.members
        else:
            assert found.point is not None
            point = {**box, **found.point}
            assert within(point, box)
            assert not any(meets(point, other) for _, other in some)

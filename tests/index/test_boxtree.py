"""The tree over rows, compiled, uncompiled and without a kernel, against scans of the rows."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netsim.index.boxtree import BoxTree
from netsim.index.rows import Rows
from netsim.space.fields import FIELDS, LEVEL_MAXIMA, Kind
from netsim.space.pool import POOL
from tests.index.test_classifier import SHAPES, engines, random_rows, records


def trees(rows: Rows) -> list[BoxTree]:
    found = [BoxTree(rows, engine) for engine in engines()]  # type: ignore[arg-type]
    for tree in found:
        tree.check_invariants()
        assert tree.columns == found[0].columns
    return found


def points(tree: BoxTree, columns: dict[str, Any], n: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    return (
        np.stack([columns[c] for c in tree.columns], axis=1) if tree.columns else np.zeros((n, 0), np.uint64)
    )


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=st.integers(0, 2**32), n=st.integers(0, 60))
def test_first_match_is_that_of_a_scan(shape: str, seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, n, *SHAPES[shape])
    columns = records(rng, rows, 12)
    expected = [rows.scan({c: int(v[i]) for c, v in columns.items()}) for i in range(12)]
    later = [rows.scan({c: int(v[i]) for c, v in columns.items()}, n // 2) for i in range(12)]
    for tree in trees(rows):
        assert tree.first(points(tree, columns, 12)).tolist() == expected
        assert tree.first(points(tree, columns, 12), n // 2).tolist() == later


def meets(tree: BoxTree, row: int, box: Any) -> bool:
    cut = 2 * len(tree.intervals)
    mine, other = tree.boxes[row].tolist(), box.tolist()
    return all(mine[k] <= other[k + 1] and other[k] <= mine[k + 1] for k in range(0, cut, 2)) and not any(
        (mine[k + 1] ^ other[k + 1]) & mine[k] & other[k] for k in range(cut, len(mine), 2)
    )


def holds(tree: BoxTree, row: Any, point: list[int]) -> bool:
    cut = len(tree.intervals)
    box = row.tolist()
    return all(box[2 * k] <= point[k] <= box[2 * k + 1] for k in range(cut)) and all(
        point[k] & box[2 * k] == box[2 * k + 1] for k in range(cut, len(point))
    )


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 40))
def test_rows_that_meet_a_box(shape: str, seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, n, *SHAPES[shape])
    every = trees(rows)
    asked = every[0].boxes[int(rng.integers(0, n))]
    begin, end = sorted(rng.integers(0, n + 1, 2).tolist())
    expected = [row for row in range(begin, end) if meets(every[0], row, asked)]
    for tree in every:
        found, part = tree.meeting(asked, begin, end)
        assert sorted(found.tolist()) == expected
        assert bool(((part > 0) & (part <= 1)).all())
        near = tree.near(asked, begin, end)
        assert near.tolist() == every[0].near(asked, begin, end).tolist()
        sizes = dict(zip(found.tolist(), part.tolist(), strict=True))
        assert all(sizes[a] >= sizes[b] for a, b in pairwise(near.tolist()))


def contains(tree: BoxTree, outer: Any, inner: Any) -> bool:
    cut = 2 * len(tree.intervals)
    a, b = outer.tolist(), inner.tolist()
    return all(a[k] <= b[k] and a[k + 1] >= b[k + 1] for k in range(0, cut, 2)) and all(
        a[k] & b[k] == a[k] and b[k + 1] & a[k] == a[k + 1] for k in range(cut, len(a), 2)
    )


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 30))
def test_what_a_box_leaves_of_rows(shape: str, seed: int, n: int) -> None:
    """What is hidden changes no union and no first match inside the box."""
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, n, *SHAPES[shape])
    every = trees(rows)
    last = int(rng.integers(0, n))
    box = every[0].boxes[last]
    some = records(rng, rows, 30)
    inside = [p for p in points(every[0], some, 30).tolist() if holds(every[0], box, p)]
    for bound, gone in ((-1, (0, 0)), (last, (0, 0)), (-1, (last, last + 1))):
        answers = []
        for tree in every:
            near = np.sort(tree.meeting(box, 0, n if bound < 0 else bound)[0])
            assert tree.containing(box, near).tolist() == [
                r for r in near.tolist() if contains(tree, tree.boxes[r], box)
            ]
            near = near[(near < gone[0]) | (near >= gone[1])]
            kept, left = tree.inside(box, near, bound, gone)
            answers.append((kept.tolist(), left.tolist()))
            for point in inside:
                before = [r for r in near.tolist() if holds(tree, tree.boxes[r], point)]
                after = [r for r, part in zip(kept.tolist(), left, strict=True) if holds(tree, part, point)]
                assert bool(before) == bool(after)
                assert bound >= 0 or before[:1] == after[:1]
        assert all(answer == answers[0] for answer in answers)


@given(numbers=st.lists(st.integers(0, 40), unique=True))
def test_longest_increasing_subsequence(numbers: list[int]) -> None:
    longest = [1] * len(numbers)
    for i in range(len(numbers)):
        longest[i] = max([1, *(longest[j] + 1 for j in range(i) if numbers[j] < numbers[i])])
    for tree in trees(random_rows(np.random.default_rng(0), 3, *SHAPES["five"])):
        kept = np.array(numbers, np.int64)[tree.increasing(np.array(numbers, np.int64))].tolist()
        assert kept == sorted(kept)
        assert len(kept) == max(longest, default=0)


def levels(columns: dict[str, int]) -> list[int]:
    """A record as a point of a diagram."""
    found = [0] * len(LEVEL_MAXIMA)
    for column, value in columns.items():
        name, _, half = column.partition(".")
        field = FIELDS[name]
        if field.kind is Kind.BITS:
            base = 64 if half == "high" else 0
            for bit in range(min(64, field.width - base)):
                found[field.levels[field.width - 1 - base - bit]] = value >> bit & 1
        else:
            found[field.levels[1 if half == "low" else 0]] = value
    return found


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=st.integers(0, 2**32))
def test_diagrams_of_boxes(shape: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, 6, *SHAPES[shape])
    tree = BoxTree(rows)
    some = points(tree, records(rng, rows, 20), 20).tolist()
    kept, left = tree.inside(tree.boxes[0], np.sort(tree.meeting(tree.boxes[0], 0, 6)[0]))
    with POOL.lock:
        nodes, parts = tree.nodes(tree.boxes), tree.nodes(left, tree.boxes[0])
    for point in some:
        at = levels(dict(zip(tree.columns, point, strict=True)))
        for row, node in enumerate(nodes):
            assert bool(POOL.value(node, at)) == holds(tree, tree.boxes[row], point)
        for row, node in zip(kept.tolist(), parts, strict=True):
            within = holds(tree, tree.boxes[0], point)
            assert not within or bool(POOL.value(node, at)) == holds(tree, tree.boxes[row], point)
    for row, node in enumerate(nodes):
        assert holds(tree, tree.boxes[row], tree.point_of(node))

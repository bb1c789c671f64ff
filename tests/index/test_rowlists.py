"""Rows of ClassBench lists: what is alive, held to scans and to the cover test of boxes. Needs NETSIM_DATA."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import classbench
from netsim.index.boxes import cover
from netsim.index.boxtree import BoxTree
from netsim.index.rowaudit import audit_rows
from netsim.index.rowdiff import compare_rows
from netsim.space.pool import POOL
from tests.index.test_boxtree import levels
from tests.index.test_rowaudit import as_box
from tests.index.test_rowdiff import chosen, edited

LISTS = ("acl1_1k", "fw1_1k", "ipc1_1k", "fw1_1k+flags")


@pytest.mark.parametrize("name", LISTS)
def test_live_rows_and_covers(name: str) -> None:
    rows = classbench.load(name).rows
    found = audit_rows(rows)
    assert not found.open
    assert set(np.flatnonzero(~found.alive).tolist()) == set(found.covers)
    for row in np.flatnonzero(found.alive).tolist()[::7]:
        assert rows.scan({c: int(v[row]) for c, v in found.witness.items()}) == row
    boxes = [as_box(rows, i) for i in range(len(rows))]
    for row, members in found.covers.items():
        assert max(members) < row
        assert cover(boxes[row], [(m, boxes[m]) for m in members]).members == members
    plain = audit_rows(rows, choice="plain")
    assert set(plain.covers) == set(found.covers)


@pytest.mark.parametrize("name", LISTS)
def test_edited_lists(name: str) -> None:
    given = classbench.load(name)
    rng = np.random.default_rng(1)
    outcomes = np.append(np.where(given.deny, 1, 2), 1).astype(np.uint8)
    which = edited(rng, len(given), 6)
    before, after = chosen(given.rows, np.arange(len(given))), chosen(given.rows, which)
    new = outcomes[[*which, len(given)]]
    found = compare_rows(before, outcomes, after, new)
    assert found is not None
    one = BoxTree(before)
    two = BoxTree(after, like=one)
    for each in found:  # a point of each difference
        point = np.array([one.point_of(each.node)], np.uint64)
        assert (one.first(point)[0], two.first(point)[0]) == (each.before, each.after)
        assert outcomes[each.before] != new[each.after]
    drawn = rng.integers(0, len(given), 300)
    points = one.boxes[drawn][:, 0 : 2 * len(one.intervals) : 2]
    if not one.words:
        firsts = zip(points.tolist(), one.first(points), two.first(points), strict=True)
        for point_, a, b in firsts:
            at = levels(dict(zip(one.columns, point_, strict=True)))
            told = [(f.before, f.after) for f in found if POOL.value(f.node, at)]
            assert told == ([(a, b)] if outcomes[a] != new[b] else [])

"""Boxes against brute force: overlap, containment, subtraction, the cover test."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from netsim.index.boxes import Box, Boxes, box_of, cover, is_empty, meets, minus, positions, within
from netsim.index.compile import Compiler
from netsim.rules.model import Bits, Condition, In, RuleSet, Unmodelled
from netsim.space.diagram import AND
from netsim.space.fields import FIELDS, merge_ranges
from netsim.space.pool import POOL, bits_node, field_node
from tests.strategies import conditions

_DIMENSIONS = ("ttl", "tos", ("mark", 0))


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    found: dict[str | tuple[str, int], tuple[tuple[int, int], ...]] = {}
    for dimension in _DIMENSIONS:
        if draw(st.booleans()):
            high = 1 if isinstance(dimension, tuple) else 5
            pairs = draw(st.lists(st.tuples(st.integers(0, high), st.integers(0, high)), max_size=2))
            ranges = merge_ranges([(min(p), max(p)) for p in pairs])
            if ranges != ((0, 1),) or high > 1:  # a free dimension is not named
                found[dimension] = ranges
    return found


_POINTS = [dict(zip(_DIMENSIONS, p, strict=True)) for p in product(range(7), range(7), range(2))]


def _holds(box: Box, point: dict[object, int]) -> bool:
    return all(any(low <= point[d] <= high for low, high in ranges) for d, ranges in box.items())


def _members(box: Box) -> set[int]:
    return {i for i, point in enumerate(_POINTS) if _holds(box, point)}  # type: ignore[arg-type]


@given(boxes(), boxes())
def test_pairs(a: Box, b: Box) -> None:
    one, two = _members(a), _members(b)
    assert meets(a, b) == bool(one & two)
    assert is_empty(a) == (not one)
    assert within(a, b) == (one <= two)
    if one:
        parts = [_members(part) for part in minus(a, b)]
        assert set().union(*parts) == one - two
        assert sum(map(len, parts)) == len(one - two)


@given(boxes(), st.lists(boxes(), max_size=5))
def test_a_cover_covers_and_none_of_it_can_go(box: Box, others: list[Box]) -> None:
    found = cover(box, list(enumerate(others)))
    mine = _members(box)
    union = set().union(*map(_members, others)) if others else set()
    if mine <= union:
        assert found.members is not None
        sets = [_members(others[i]) for i in found.members]
        assert mine <= set().union(*sets)
        for i in range(len(sets)):
            assert not mine <= set().union(*sets[:i], *sets[i + 1 :])
    else:
        assert found.point is not None
        assert _members(found.point) <= mine - union
        assert _members(found.point)


def test_a_cover_without_budget_says_nothing() -> None:
    halves: list[tuple[int, Box]] = [(0, {"ttl": ((0, 3),)}), (1, {"ttl": ((4, 255),)})]
    assert cover({"tos": ((1, 1),)}, halves).members == (0, 1)
    found = cover({"tos": ((1, 1),)}, halves, steps=2)
    assert (found.point, found.members) == (None, None)


@given(st.lists(boxes(), max_size=6), boxes())
def test_overlaps_are_never_missed(many: list[Box], box: Box) -> None:
    near = set(positions(Boxes(many).overlapping(box)))
    for i, other in enumerate(many):
        if meets(box, other):
            assert i in near


@given(st.lists(conditions, max_size=3))
@POOL.question()
def test_the_box_of_conditions_is_their_set(found: list[Condition]) -> None:
    box = box_of(found)
    if box is None:
        assert any(not isinstance(c, In | Bits) or isinstance(c, Bits) for c in found)
        return
    node = 1
    for dimension, ranges in box.items():
        if isinstance(dimension, str):
            test = field_node(FIELDS[dimension], ranges)
        else:
            bit = 1 << dimension[1]
            test = bits_node(FIELDS[dimension[0]], bit, bit * ranges[0][0]) if ranges else 0
        node = POOL.apply(AND, node, test)
    sure, _ = Compiler(RuleSet({})).bounds_of(tuple(found))
    assert node == sure


def test_undecided_conditions_leave_the_box_where_they_may_hold() -> None:
    rule = (In("protocol", ((6, 6),)), Unmodelled("limit", False))
    assert box_of(rule) is None
    assert box_of(rule, certain=False) == {"protocol": ((6, 6),)}

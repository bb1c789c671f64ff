"""Wide nodes, which the kernel divides by digits: the same functions as the plain pool's, and as one values says."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netsim import kernels
from netsim.errors import BudgetExceeded
from netsim.space import diagram as d
from netsim.space.compiled import CompiledPool

MAXIMA = (1, 255, 4, 255)
"""Two levels that can be divided, and two that cannot."""
POINTS = [(b % 2, b, b % 5, (b * 7 + c) % 256) for b in range(256) for c in (0, 131)]
SAME = ((0, 255, 0),)
DIVISIONS = ((2, 1), (3, 2), (6, 2), (2, 4), (1, 1))
"""How many edges are wide, and the bits of a digit."""
ENGINES = ("uncompiled", "compiled")


def divided(choice: Any, wide: int, digit: int) -> CompiledPool:
    if choice == "compiled" and kernels.engine() != "compiled":
        pytest.skip("nothing was compiled here")
    return CompiledPool(MAXIMA, choice=choice, wide=wide, digit=digit)


def function(pool: d.Pool, rng: random.Random, values: tuple[int, ...], level: int = 0) -> int:
    """A random function of the levels from `level` on: many intervals, some of them periodic, children shared."""
    if level == len(MAXIMA):
        return rng.choice(values)
    below = [function(pool, rng, values, level + 1) for _ in range(rng.choice((1, 2, 2, 3)))]
    top = MAXIMA[level]
    size = min(top + 1, rng.choice((1, 2, 5, 17, 60)))
    if rng.random() < 0.3 and top > 4:  # the same part again and again
        part = [rng.choice(below) for _ in range(rng.choice((2, 4, 8)))]
        return pool.node(level, range(top + 1), [part[i % len(part)] for i in range(top + 1)])
    bounds = [*sorted(rng.sample(range(top), size - 1)), top]
    return pool.node(level, bounds, [rng.choice(below) for _ in bounds])


def table(pool: d.Pool, node: int) -> list[int]:
    return [pool.value(node, point) for point in POINTS]


def invariants(pool: CompiledPool) -> None:
    pool.check_invariants()
    pool.check_division()


@pytest.mark.parametrize("choice", ENGINES)
@pytest.mark.parametrize("division", DIVISIONS)
@settings(max_examples=settings().max_examples // 4)  # each is ten functions and a hundred operations
@given(seed=st.integers(0, 10**6))
def test_divided_nodes_are_the_plain_ones(choice: str, division: tuple[int, int], seed: int) -> None:
    pool, plain = divided(choice, *division), d.Pool(MAXIMA)
    sets, masks = (0, 1), (0, 1, 2, 4, 9)
    ones = [function(plain, random.Random(seed + i), sets if i < 3 else masks) for i in range(6)]
    others = [function(pool, random.Random(seed + i), sets if i < 3 else masks) for i in range(6)]
    for one, other in zip(ones, others, strict=True):
        assert pool.digest(other) == plain.digest(one)
        assert table(pool, other) == table(plain, one)
        assert pool.load(*plain.export(one)) == other
        assert pool.terminals(other) == plain.terminals(one)
        assert pool.support(other) == plain.support(one)
        assert len(pool.reachable(other)) == len(plain.reachable(one))
    pairs = [(op, i, j) for op in (d.AND, d.OR, d.LESS, d.XOR) for i, j in ((0, 1), (1, 2), (2, 0))]
    pairs += [(op, i, j) for op in (d.UNION, d.OVERRIDE) for i, j in ((3, 4), (4, 5), (5, 3))]
    pairs += [(op, i, j) for op in (d.WITHIN, d.OUTSIDE) for i, j in ((0, 4), (1, 5))]
    for operation, i, j in pairs:
        one, other = plain.apply(operation, ones[i], ones[j]), pool.apply(operation, others[i], others[j])
        assert pool.digest(other) == plain.digest(one)
    assert pool.count(others[0]) == plain.count(ones[0])
    wishes = [(), (3, 999, 77), (1,)], [(1,), (), (), (255, 100)], ()
    for one, other in zip(ones, others, strict=True):
        assert [pool.pick(other, w) for w in wishes] == [plain.pick(one, w) for w in wishes]
    for levels in ((1,), (3,), (0, 1), (2, 3), (1, 3)):
        for i, operation in ((0, d.OR), (1, d.AND), (3, d.UNION)):
            one, other = (
                plain.quantify(ones[i], levels, operation),
                pool.quantify(others[i], levels, operation),
            )
            assert pool.digest(other) == plain.digest(one)
    mappings: list[dict[int, d.LevelMap]] = [
        {1: d.Const(77)},
        {1: d.Const(255), 3: d.Const(0), 2: d.Const(4)},
        {3: d.Const(17), 1: d.Choice(((3, 9), (200, 255)))},
        {1: d.Shift(3, ((0, 155, 100), (156, 255, -156))), 0: d.Const(1)},
        {1: d.Shift(3, SAME), 3: d.Shift(1, SAME)},
        {3: d.Shift(1, SAME), 2: d.Const(3)},
        {1: d.Shift(3, SAME), 3: d.Choice(((0, 4), (90, 91))), 0: d.Parity((0,), 1)},
        {1: d.Shift(1, ((0, 100, 50), (101, 255, 0)))},
        {0: d.Parity((0,), 1)},
    ]
    for mapping in mappings:
        for i, choices in ((0, d.OR), (4, d.UNION)):
            one = plain.substitute(ones[i], mapping, choices)
            assert pool.digest(pool.substitute(others[i], mapping, choices)) == plain.digest(one)
    invariants(pool)
    before = [pool.digest(n) for n in others]
    others = pool.sweep(others)
    assert [pool.digest(n) for n in others] == before
    invariants(pool)
    folded = pool.fold(d.OVERRIDE, [others[3], others[4], others[5]])
    assert pool.digest(folded) == plain.digest(plain.fold(d.OVERRIDE, ones[3:]))


@pytest.mark.parametrize("choice", ENGINES)
def test_a_function_of_low_bits_only_keeps_its_level(choice: str) -> None:
    pool = divided(choice, 2, 1)
    node = pool.node(1, range(256), [i % 2 for i in range(256)])
    assert pool.level[node] == 1
    assert pool.bounds[node] == tuple(range(256))
    assert pool.children[node] == (0, 1) * 128
    assert pool.count(node) == 128 * 2 * 5 * 256
    assert pool.negate(pool.negate(node)) == node
    assert pool.size() < d.TERMINALS + 24  # and not one edge for each value
    invariants(pool)


@pytest.mark.parametrize("choice", ENGINES)
def test_the_divided_form_of_a_narrow_node_is_nobodys(choice: str) -> None:
    pool = divided(choice, 4, 2)
    wide = pool.node(1, range(256), [i * i % 7 % 2 for i in range(256)])
    narrow = pool.interval(1, ((3, 90),))
    both = pool.apply(d.AND, wide, narrow)
    assert pool.apply(d.LESS, narrow, both) == pool.apply(d.LESS, narrow, wide)
    assert pool.interval(1, ((3, 90),)) == narrow
    invariants(pool)
    assert pool.sweep([narrow]) != [narrow]
    assert pool.size() == d.TERMINALS + 1


def test_levels_of_64_bits_are_divided() -> None:
    pools = [CompiledPool((2**64 - 1, 2**64 - 1), choice=c, wide=3, digit=4) for c in ("uncompiled",)]
    if kernels.engine() == "compiled":
        pools.append(CompiledPool((2**64 - 1, 2**64 - 1), choice="compiled", wide=3, digit=4))
    plain = d.Pool((2**64 - 1, 2**64 - 1))
    for pool in pools:
        rng = random.Random(4)
        found, expected = d.FALSE, d.FALSE
        for _ in range(60):
            low = rng.choice((rng.randrange(2**64), 2**64 - 1 - rng.randrange(9), rng.randrange(9)))
            high = min(2**64 - 1, low + rng.choice((0, 1, 2**20, 2**62)))
            for p in (pool, plain):
                box = p.node(0, [low - 1, high, 2**64 - 1][low == 0 : 3 - (high == 2**64 - 1)], [0, 1, 0][low == 0 : 3 - (high == 2**64 - 1)])  # fmt: skip
                if p is pool:
                    found = p.apply(d.XOR, found, box)
                else:
                    expected = p.apply(d.XOR, expected, box)
        assert pool.digest(found) == plain.digest(expected)
        assert pool.count(found) == plain.count(expected)
        pool.check_invariants()
        pool.check_division()


LONG = (2**16 - 1, 2**16 - 1, 3)


def long_function(pool: d.Pool, rng: random.Random) -> int:
    """Wide nodes; what is made of it is more than the first arrays hold."""
    below = [pool.interval(2, ((i % 4, 3),)) for i in range(4)]
    middle = []
    for _ in range(60):
        bounds = [*sorted(rng.sample(range(LONG[1]), rng.choice((3, 9, 30)))), LONG[1]]
        middle.append(pool.node(1, bounds, [rng.choice(below) for _ in bounds]))
    bounds = [*sorted(rng.sample(range(LONG[0]), 200)), LONG[0]]
    return pool.node(0, bounds, [rng.choice(middle) for _ in bounds])


SWAP: dict[int, d.LevelMap] = {0: d.Shift(1, ((0, LONG[0], 0),)), 1: d.Shift(0, ((0, LONG[0], 0),))}


def made_anew(pool: d.Pool) -> list[bytes]:
    """Digests of what is made of a long function: levels forgotten, constant, exchanged."""
    node = long_function(pool, random.Random(5))
    made = [
        pool.quantify(node, (0,), d.OR),
        pool.quantify(node, (1,), d.AND),
        pool.substitute(node, {1: d.Const(4711)}, d.OR),
        pool.substitute(node, SWAP, d.OR),
    ]
    return [pool.digest(n) for n in made]


@pytest.mark.parametrize("wide", [4, 10**6])
@pytest.mark.parametrize("choice", ENGINES)
def test_making_anew_finds_room(choice: Any, wide: int) -> None:
    if choice == "compiled" and kernels.engine() != "compiled":
        pytest.skip("nothing was compiled here")
    expected = made_anew(d.Pool(LONG))
    pool = CompiledPool(LONG, choice=choice, wide=wide, digit=4)
    assert made_anew(pool) == expected
    small = CompiledPool(LONG, choice=choice, wide=wide, digit=4)
    node = long_function(small, random.Random(5))
    small.memory = 2 * small.bytes() + 2000
    with pytest.raises(BudgetExceeded):
        small.substitute(node, SWAP, d.OR)
    with pytest.raises(BudgetExceeded):
        small.quantify(node, (0,), d.XOR)
    small.memory = pool.memory
    assert small.digest(small.substitute(node, SWAP, d.OR)) == expected[-1]


@pytest.mark.parametrize("choice", ["plain", *ENGINES])
def test_a_constant_that_no_level_has_is_an_error(choice: str) -> None:
    pool = d.Pool(MAXIMA) if choice == "plain" else divided(choice, 2, 4)
    node = pool.node(1, range(256), [i % 3 % 2 for i in range(256)])
    with pytest.raises(IndexError):
        pool.substitute(node, {1: d.Const(256)}, d.OR)
    assert pool.substitute(node, {1: d.Const(255)}, d.OR) == d.FALSE


@pytest.mark.parametrize("choice", ENGINES)
def test_equal_children_are_joined_once(choice: str) -> None:
    """A wide node that is not divided, of few different children: no union of two of them for each pair of edges."""
    pool = divided(choice, 3, 3)
    rng = random.Random(8)
    below = [pool.interval(3, ((20 * i, 20 * i + 9),)) for i in range(12)]
    node = pool.node(1, range(256), [below[(i + rng.randrange(11)) % 12] for i in range(256)])
    before = pool.size()
    assert pool.quantify(node, (1,), d.OR) == pool.fold(d.OR, below)
    assert pool.size() - before <= 2 * len(below)


@pytest.mark.parametrize("choice", ENGINES)
def test_an_operation_is_known_when_its_table_is(choice: str) -> None:
    class Interrupted(list[int]):
        def __getitem__(self, i: Any) -> Any:
            raise KeyboardInterrupt

    pool = divided(choice, 2, 4)
    operation = d.Operation(10_000, lambda a, b: a | b, left={}, right={}, same=-1, commutative=True)
    table, operation.table = operation.table, Interrupted(operation.table)
    one, other = pool.interval(1, ((3, 90),)), pool.interval(1, ((80, 99),))
    with pytest.raises(KeyboardInterrupt):
        pool.apply(operation, one, other)
    operation.table = table
    assert pool.apply(operation, one, other) == pool.interval(1, ((3, 99),))


@pytest.mark.parametrize("choice", ENGINES)
@pytest.mark.parametrize("calls", [0, 1, 2, 3])
def test_arrays_that_belong_together_grow_together(
    choice: Any, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = divided(choice, 10**6, 4)
    node = pool.node(1, range(256), [pool.interval(3, ((i, i),)) for i in range(256)])
    module: Any = kernels.kernel("diagram", choice)
    zeros, left = module._zeros, calls

    def few(code: str, size: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise MemoryError
        return zeros(code, size)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_zeros", few)
        with pytest.raises(BudgetExceeded):
            pool.quantify(node, (1,), d.OR)
    assert pool.quantify(node, (1,), d.OR) == d.TRUE
    assert len(pool.reachable(node)) == 257

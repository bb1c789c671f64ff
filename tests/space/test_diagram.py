"""The diagram against brute force, and against binary decision diagrams."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netsim import kernels
from netsim.errors import BudgetExceeded, Limits
from netsim.space import diagram as d
from netsim.space.compiled import make_pool
from netsim.space.operations import coded, first_of, pair_of

MAXIMA = (3, 1, 4, 1, 2)
POINTS = list(product(*(range(m + 1) for m in MAXIMA)))
OPERATIONS = {"and": d.AND, "or": d.OR, "less": d.LESS, "xor": d.XOR}
OUTCOMES = {"union": d.UNION, "override": d.OVERRIDE, "within": d.WITHIN, "outside": d.OUTSIDE}


ENGINES = ("plain", "uncompiled", "compiled")


def new_pool(choice: Any, maxima: Any = MAXIMA) -> d.Pool:
    if choice == "compiled" and kernels.engine() != "compiled":
        pytest.skip("nothing was compiled here")
    return make_pool(maxima, choice)


@pytest.fixture(scope="module", params=ENGINES)
def pool(request: pytest.FixtureRequest) -> Any:
    found = new_pool(request.param)
    yield found
    found.check_invariants()


def build(pool: d.Pool, values: list[int]) -> int:
    """The function with these terminals at POINTS, by splitting level by level."""

    def at(level: int, start: int, size: int) -> int:
        if level == len(MAXIMA):
            return values[start % len(values)]
        step = size // (MAXIMA[level] + 1)
        children = [at(level + 1, start + i * step, step) for i in range(MAXIMA[level] + 1)]
        return pool.node(level, list(range(MAXIMA[level] + 1)), children)

    return at(0, 0, len(POINTS))


def table(pool: d.Pool, node: int) -> list[int]:
    return [pool.value(node, point) for point in POINTS]


sets = st.lists(st.integers(0, 1), min_size=3, max_size=60)
masks = st.lists(st.integers(0, 31), min_size=3, max_size=60)


@given(sets, sets, st.sampled_from(sorted(OPERATIONS)))
def test_operations_on_sets(pool: d.Pool, a: list[int], b: list[int], name: str) -> None:
    x, y = build(pool, a), build(pool, b)
    expected = {
        "and": lambda p, q: p & q,
        "or": lambda p, q: p | q,
        "less": lambda p, q: p & ~q,
        "xor": lambda p, q: p ^ q,
    }
    result = pool.apply(OPERATIONS[name], x, y)
    assert table(pool, result) == [
        expected[name](p, q) for p, q in zip(table(pool, x), table(pool, y), strict=True)
    ]


@given(masks, masks, masks)
def test_operations_on_outcomes(pool: d.Pool, a: list[int], b: list[int], c: list[int]) -> None:
    x, y, z = build(pool, a), build(pool, b), build(pool, c)
    cases: list[tuple[d.Operation, Callable[[int, int], int]]] = [
        (d.UNION, lambda p, q: p | q),
        (d.OVERRIDE, lambda p, q: ((p & ~1) | q) if p & 1 else p),
        (d.WITHIN, lambda p, q: q if p else 0),
        (d.OUTSIDE, lambda p, q: 0 if p else q),
        (d.THEN, lambda p, q: q if p else 1),
        (first_of(tuple(range(32))), lambda p, q: p or q),
        (first_of(tuple(range(31, -1, -1))), lambda p, q: 31 - (p or q)),
        (pair_of(a[0], b[0]), lambda p, q: int(p == a[0] and q == b[0])),
        (
            coded(((a[0], b[0]), (31 - a[0], b[0]))),
            lambda p, q: 1 if (p, q) == (a[0], b[0]) else 2 if (p, q) == (31 - a[0], b[0]) else 0,
        ),
    ]
    for operation, expected in cases:
        got = table(pool, pool.apply(operation, x, y))
        assert got == [expected(p, q) for p, q in zip(table(pool, x), table(pool, y), strict=True)]
    expected_pairs = [pool.apply(d.UNION, x, y), pool.apply(d.UNION, z, x)]
    assert list(pool.pairs(d.UNION, [x, y, z, x, 5])) == expected_pairs
    left = pool.apply(d.OVERRIDE, pool.apply(d.OVERRIDE, x, y), z)
    assert left == pool.apply(d.OVERRIDE, x, pool.apply(d.OVERRIDE, y, z))


@given(sets)
def test_count_paths_and_pick(pool: d.Pool, a: list[int]) -> None:
    node = build(pool, a)
    members = [p for p in POINTS if pool.value(node, p)]
    assert pool.count(node) == len(members)
    covered = [
        p
        for path in pool.paths(node)
        for p in POINTS
        if all(any(lo <= p[level] <= hi for lo, hi in ranges) for level, ranges in path.items())
    ]
    assert sorted(covered) == members  # disjoint and complete
    import random

    for rng in (None, random.Random(3)):
        picked = pool.pick(node, (), rng)
        assert (picked is None) == (not members)
        assert picked is None or tuple(picked) in members


@given(masks, st.sets(st.integers(0, 4)))
def test_quantify(pool: d.Pool, a: list[int], levels: set[int]) -> None:
    node = build(pool, a)
    result = pool.quantify(node, levels, d.UNION)
    for point in POINTS:
        wanted = 0
        for other in POINTS:
            if all(other[i] == point[i] for i in range(5) if i not in levels):
                wanted |= pool.value(node, other)
        assert pool.value(result, point) == wanted


@given(masks)
def test_substitute(pool: d.Pool, a: list[int]) -> None:
    node = build(pool, a)
    mapping: dict[int, d.LevelMap] = {
        0: d.Shift(2, ((0, 1, 0), (2, 3, -1), (4, 4, -1))),
        1: d.Parity((1, 3), 1),
        2: d.Choice(((0, 0), (2, 3))),
        4: d.Const(1),
    }
    result = pool.substitute(node, mapping, d.UNION)
    for p in POINTS:
        shifted = p[2] if p[2] < 2 else p[2] - 1
        wanted = 0
        for chosen in (0, 2, 3):
            wanted |= pool.value(node, (shifted, p[1] ^ p[3] ^ 1, chosen, p[3], 1))
        assert pool.value(result, p) == wanted


@given(sets)
def test_export_digest_and_other_pools(pool: d.Pool, a: list[int]) -> None:
    node = build(pool, a)
    other = d.Pool(MAXIMA)
    moved = other.load(*pool.export(node))
    assert table(other, moved) == table(pool, node)
    assert other.digest(moved) == pool.digest(node)
    assert (pool.digest(node) == pool.digest(pool.negate(node))) is False


@given(st.lists(st.tuples(st.sampled_from(sorted(OPERATIONS)), sets), min_size=1, max_size=6))
def test_against_binary_decision_diagrams(steps: list[tuple[str, list[int]]]) -> None:
    from oxidd.bdd import BDDManager

    pool = d.Pool(MAXIMA)
    bits = [m.bit_length() for m in MAXIMA]
    manager = BDDManager(100_000, 100_000, 1)
    variables = (
        [manager.new_var() for _ in range(sum(bits))]
        if hasattr(manager, "new_var")
        else _variables(manager, sum(bits))
    )

    def blast(node: int) -> Any:
        result = manager.false()
        for point in POINTS:
            if pool.value(node, point):
                cube, position = manager.true(), 0
                for value, width in zip(point, bits, strict=True):
                    for bit in range(width):
                        variable = variables[position + bit]
                        cube = cube & (variable if value >> bit & 1 else ~variable)
                    position += width
                result = result | cube
        return result

    node = build(pool, steps[0][1])
    other = blast(node)
    everything = blast(d.TRUE)
    for name, values in steps[1:]:
        operand = build(pool, values)
        node = pool.apply(OPERATIONS[name], node, operand)
        right = blast(operand)
        other = {"and": lambda a, b: a & b, "or": lambda a, b: a | b, "less": lambda a, b: a & ~b,
                 "xor": lambda a, b: (a & ~b) | (b & ~a)}[name](other, right)  # fmt: skip
    assert (other & everything).sat_count(sum(bits)) == pool.count(node)
    assert (other & everything) == blast(node)


def _variables(manager: Any, count: int) -> list[Any]:
    return [manager.var(i) for i in manager.add_vars(count)]


@pytest.mark.parametrize("choice", ENGINES)
def test_a_budget_is_a_named_error(choice: str) -> None:
    pool = new_pool(choice, (100, 100))
    with pool.budget(Limits(nodes=3)), pytest.raises(BudgetExceeded, match="diagram nodes"):
        for low in range(50):
            pool.node(0, [low, 100], [0, pool.interval(1, ((low, low + 7),))])


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (lambda p, n: p.bounds.__setitem__(n, p.bounds[n][::-1]), "D2"),
        (lambda p, n: p.children.__setitem__(n, (1, 1)), "D3"),
        (lambda p, n: p.level.__setitem__(n, 4), "D"),
        (lambda p, n: p._unique.clear(), "D4"),
    ],
)
def test_each_broken_invariant_is_caught(damage: Any, name: str) -> None:
    pool = d.Pool(MAXIMA)
    node = pool.interval(0, ((1, 2),))
    pool.check_invariants()
    damage(pool, node)
    with pytest.raises(AssertionError, match=name):
        pool.check_invariants()


@pytest.mark.parametrize("choice", ENGINES)
def test_memory_is_a_named_error(choice: str) -> None:
    pool = new_pool(choice, (2**40, 2**40))
    pool.memory = 100_000
    with pytest.raises(BudgetExceeded, match="MiB of diagrams"):
        for low in range(5000):
            pool.node(0, [low, 2**40], [0, pool.interval(1, ((low, low + 7),))])


def drawn(pool: d.Pool, seed: int, steps: int = 250) -> list[bytes]:
    """Digests of functions over wide levels, made by random operations: more than the first arrays hold."""
    rng = random.Random(seed)
    made, found = [0, 1], []
    for _ in range(steps):
        level = rng.randrange(len(pool.maxima))
        low = rng.randint(0, pool.maxima[level])
        node = pool.interval(level, ((low, rng.randint(low, pool.maxima[level])),))
        for _ in range(3):
            node = pool.apply(rng.choice([d.AND, d.OR, d.LESS, d.XOR]), node, rng.choice(made[-10:]))
        made.append(node)
        found.append(pool.digest(node))
    masks = [
        pool.relabel(n, [rng.choice((1, 2, 4, 8)) if t == 1 else 1 for t in range(32)]) for n in made[-40:]
    ]
    folded = pool.fold(d.OVERRIDE, masks)
    found += [pool.digest(folded), pool.digest(pool.where(folded, lambda t: t == 4))]
    found += [pool.digest(pool.quantify(n, {1, 5}, d.OR)) for n in made[-20:]]
    mapping: dict[int, d.LevelMap] = {0: d.Const(2), 5: d.Choice(((3, 2**60),)), 1: d.Parity((3,), 1)}
    found += [pool.digest(pool.substitute(n, mapping, d.OR)) for n in made[-20:]]
    assert pool.terminals(folded) == {c for n in pool.reachable(folded) for c in pool.children[n] if c < 32}
    assert pool.size() > 1024 or steps < 250
    return found


@pytest.mark.parametrize("seed", range(3))
def test_the_engines_give_equal_digests(seed: int) -> None:
    wide = (3, 1, 4, 1, 2, 2**64 - 1, 255)
    first = drawn(new_pool("plain", wide), seed)
    for choice in ENGINES[1:]:
        pool = new_pool(choice, wide)
        assert drawn(pool, seed) == first
        pool.check_invariants()


@pytest.mark.parametrize("choice", ENGINES[1:])
def test_operations_without_end_find_a_place_in_the_kernel(choice: str) -> None:
    pool = new_pool(choice)
    node = pool.interval(0, ((1, 2),), inside=3, outside=1)
    for k in range(600):
        table = [(t * 7 + k // 31) % 32 if t == 3 else k % 31 for t in range(32)]
        result = pool.relabel(node, table)
        assert (pool.value(result, (1, 0, 0, 0, 0)), pool.value(result, (0, 0, 0, 0, 0))) == (
            table[3],
            table[1],
        )


@pytest.mark.parametrize("choice", ENGINES)
def test_threads_share_a_pool(choice: str) -> None:
    wide = (3, 1, 4, 1, 2, 2**64 - 1, 255)
    steps = 60 if choice == "uncompiled" else 250
    alone = [drawn(new_pool(choice, wide), seed, steps) for seed in range(4)]
    shared = new_pool(choice, wide)

    def work(seed: int) -> list[bytes]:
        return drawn(shared, seed, steps)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(work, range(4))) == alone
    shared.check_invariants()


@pytest.mark.parametrize("choice", ENGINES)
def test_foreign_data_is_refused(choice: str) -> None:
    with pytest.raises(ValueError, match="not the nodes"):
        new_pool(choice).load(32, [(9, (1,), (0,))])

"""Collections of a pool: what handles hold stays what it is, everything else goes, and never during a question."""

from __future__ import annotations

import pickle
import random
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import netsim
from netsim.errors import BudgetExceeded, Limits
from netsim.space import diagram as d
from netsim.space.collection import Computed
from netsim.space.compiled import make_pool
from netsim.space.packets import PacketSet, packets
from netsim.space.pool import POOL
from tests.space.test_diagram import ENGINES, MAXIMA, POINTS, build, new_pool, table


class Held:
    """A handle of any pool."""

    def __init__(self, pool: d.Pool, node: int) -> None:
        self._node = node
        pool.hold(self)


def both(pool: d.Pool, one: tuple[Held, list[int]], two: tuple[Held, list[int]]) -> tuple[Held, list[int]]:
    values = [p & q for p, q in zip(one[1], two[1], strict=True)]
    return Held(pool, pool.apply(d.AND, one[0]._node, two[0]._node)), values


@pytest.mark.parametrize("choice", ENGINES)
@given(seed=st.integers(0, 10_000))
def test_what_is_held_stays_what_it_is(choice: Any, seed: int) -> None:
    rng = random.Random(seed)
    pool = new_pool(choice)
    size = len(POINTS)
    held: list[tuple[Held, list[int]]] = []
    for _ in range(12):
        values = [rng.randrange(2) for _ in range(size)]
        held.append((Held(pool, build(pool, values)), values))
        if len(held) > 1 and rng.random() < 0.6:
            held.append(both(pool, *rng.sample(held, 2)))
        if rng.random() < 0.4:
            held.pop(rng.randrange(len(held)))
        if rng.random() < 0.4:
            assert pool.collect()
            pool.check_invariants()
            reached = {n for h, _ in held for n in pool.reachable(h._node)}
            assert pool.size() == d.TERMINALS + len(reached)
    fresh = new_pool("plain")
    for handle, values in held:
        assert table(pool, handle._node) == values
        assert pool.digest(handle._node) == fresh.digest(build(fresh, values))
        assert build(pool, values) == handle._node


@pytest.mark.parametrize("choice", ENGINES)
def test_an_id_of_before_is_an_error(choice: Any) -> None:
    pool = new_pool(choice)
    lost, kept = pool.interval(0, ((1, 1),)), Held(pool, pool.interval(1, ((0, 0),)))
    pool.collect()
    again = pool.interval(2, ((1, 1),))
    assert again != lost
    for use in (
        lambda: pool.apply(d.AND, lost, kept._node),
        lambda: pool.level[lost],
        lambda: pool.children[lost],
        lambda: pool.reachable(lost),
        lambda: pool.value(lost, (0,) * len(MAXIMA)),
        lambda: pool.level[pool.children[pool.node(0, (0, MAXIMA[0]), (lost, 1))][0]],
        lambda: pool.fold(d.OR, [lost, again, kept._node]),
    ):
        with pytest.raises(LookupError):
            use()


@pytest.mark.parametrize("choice", ENGINES)
def test_a_question_keeps_every_id_also_in_other_threads(choice: Any) -> None:
    pool = new_pool(choice)
    pool.due = lambda: True  # type: ignore[method-assign]
    with pool.question():
        node = pool.interval(0, ((1, 1),))
        epoch = pool.epoch

        def other() -> None:
            with pool.question():
                pool.interval(1, ((0, 0),))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        with pool.question():
            assert not pool.collect()
        assert pool.epoch is epoch
        assert pool.level[node] == 0
    with pool.question():
        assert pool.epoch is not epoch


def filled(pool: d.Pool, first: int, count: int) -> int:
    """A function with `count` intervals."""
    top = pool.maxima[0]
    return pool.interval(0, [(first + 4 * i, first + 4 * i + 1) for i in range(count) if first + 4 * i < top])


@pytest.mark.parametrize("choice", ["plain", "compiled"])
def test_a_question_may_take_what_the_first_one_might(choice: Any) -> None:
    pool = make_pool((2**40, 2**40), choice)
    pool.memory, pool.patience = 64 << 20, 16 << 20
    sizes = []
    for turn in range(6):
        count = 0
        with pytest.raises(BudgetExceeded, match="half of Limits"), pool.question():
            while True:
                filled(pool, turn + 10_000 * count, 1000)
                count += 1
        sizes.append(count)
    assert min(sizes) > 0.9 * max(sizes)
    assert pool.bytes() <= pool.memory


@pytest.mark.parametrize("choice", ["plain", "compiled"])
def test_a_budget_may_grant_less(choice: Any) -> None:
    pool = make_pool((2**40, 2**40), choice)
    with pool.question():  # room that is granted here is not that of the budget
        filled(pool, 0, 10_000)
    small = Limits(memory=4 << 20)
    counts = []
    for turn in range(1, 3):
        count = 0
        with pytest.raises(BudgetExceeded, match="more than 2 MiB of diagrams"), pool.budget(small):
            while True:
                filled(pool, turn + 10_000 * count, 1000)
                count += 1
        counts.append(count)
    assert 5 < min(counts) > 0.9 * max(counts)
    with pool.budget(Limits()):
        assert filled(pool, 3, 200_000)
    with pool.budget(small), pool.budget(Limits()), pytest.raises(BudgetExceeded):
        filled(pool, 4, 400_000)


@pytest.mark.parametrize("choice", ["plain", "compiled"])
def test_packet_sets_that_take_all_the_room_are_named(choice: Any) -> None:
    pool = make_pool((2**40, 2**40), choice)
    pool.memory, pool.patience = 64 << 20, 16 << 20
    held = []
    with pytest.raises(BudgetExceeded, match="beside what was there"):
        for turn in range(10_000):
            with pool.question():
                held.append(Held(pool, filled(pool, turn, 1000)))
    held.clear()
    with pool.question():  # there is room again
        assert filled(pool, 1, 1000)
    assert pool.bytes() < pool.memory // 4


@pytest.mark.parametrize("choice", ["plain", "compiled"])
def test_room_that_was_kept_for_long_comes_back(choice: Any) -> None:
    pool = make_pool((2**40, 2**40), choice)
    pool.memory, pool.patience = 64 << 20, 16 << 20
    held: list[Held] = []
    while pool.bytes() < pool.memory * 0.6:
        with pool.question():
            held.append(Held(pool, filled(pool, len(held), 1000)))
    assert pool.collect()
    held.clear()
    for turn in range(1000):  # no question dies of the garbage of those before it
        with pool.question():
            filled(pool, 10**9 + turn, 1000)


def test_algebra_alone_gives_memory_back() -> None:
    before, patience = POOL.epoch, POOL.patience
    POOL.patience = 0
    try:
        total = packets(dport=1)
        for i in range(2, 3000):
            total |= packets(dport=2 * i, src=f"10.{i % 200}.0.0/16")
        assert total.count()
    finally:
        POOL.patience = patience
    assert POOL.epoch is not before


def test_a_handle_of_an_id_of_before_is_refused() -> None:
    node = packets(dport=4711).node
    assert POOL.collect()
    with pytest.raises(LookupError):
        PacketSet(node)


def test_what_is_computed_is_computed_anew_and_caches_are_emptied() -> None:
    pool = new_pool("plain")
    found: dict[int, int] = {}
    pool.cache(found.clear)

    class Asker:
        node = Computed(pool, lambda self: pool.interval(0, ((1, 1),)))

    asker = Asker()
    first = found[0] = asker.node
    assert asker.node == first
    pool.collect()
    assert not found
    assert asker.node != first
    with pytest.raises(AttributeError):
        asker.node = 3


def test_sets_networks_and_rules_outlive_a_collection() -> None:
    rules = netsim.parse(
        "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -s 10.0.0.0/8 -p tcp --dport 443 -j ACCEPT\nCOMMIT\n"
    )
    asked = packets(src="10.1.0.0/16", protocol="tcp", dport=443, ttl=64)
    permitted = rules.permitted
    digest, count = permitted.digest(), permitted.count()
    for _ in range(3):
        assert POOL.collect()
        assert permitted == rules.permitted
        assert (permitted.digest(), permitted.count()) == (digest, count)
        assert asked <= permitted
        assert pickle.loads(pickle.dumps(permitted)) == permitted


def test_boxes_that_are_still_taken_hold_a_collection_up() -> None:
    boxes = (packets(dport=443) | packets(sport=53)).boxes()
    first = next(boxes)
    assert not POOL.collect()
    rest = list(boxes)
    assert POOL.collect()
    assert first not in rest
    assert rest


def test_a_network_is_pickled_without_what_was_compiled() -> None:
    net = netsim.load(Path(netsim.__file__).parent / "demo_site" / "during")
    net.reach("auth", "db")
    again = pickle.loads(pickle.dumps(net))
    assert "forwards" in net.__dict__
    assert "forwards" not in again.__dict__
    assert again.reach("auth", "db").status is net.reach("auth", "db").status


def test_handles_that_are_gone_are_forgotten() -> None:
    for i in range(5000):
        PacketSet(packets(dport=i).node)
    assert len(POOL._handles) < 4096 + 2 * len([r for r in POOL._handles if r() is not None])

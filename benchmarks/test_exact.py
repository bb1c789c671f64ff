"""Exact questions on long lists: what is dead, what is accepted, what differs. One core, after parsing.

`NETSIM_BENCH_SIZES` (default 100 1k 10k 100k) chooses the ClassBench lists.
"""

from __future__ import annotations

import random
from typing import Any

import attrs
import numpy as np
import pytest

import netsim
from benchmarks import classbench
from benchmarks.test_classify import LISTS
from netsim.errors import BudgetExceeded
from netsim.index.index import Index
from netsim.index.rowaudit import audit_rows
from netsim.queries.verdict import Rules
from netsim.rules.model import RuleSet


def of(*sizes: str) -> list[str]:
    return [name for name in LISTS if name.split("_")[1] in sizes]


@pytest.mark.parametrize("name", of("1k", "10k", "100k"))
def test_dead_rows(benchmark: Any, name: str) -> None:
    rows = classbench.load(name).rows
    found = benchmark.pedantic(
        lambda: audit_rows(rows), rounds=5 if "100k" not in name else 2, warmup_rounds=1
    )
    assert not found.open
    benchmark.extra_info.update(list=name, dead=len(found.covers))


@pytest.mark.parametrize("name", of("1k", "10k"))
def test_accepted_set(benchmark: Any, name: str) -> None:
    given = classbench.load(name)
    seeds = iter(range(1, 100))

    def compiled() -> tuple[tuple[Any], dict[str, Any]]:
        # Every round denies other rules: a pool finds again what it has compiled before.
        rng = random.Random(next(seeds))
        deny = np.array([rng.random() < 0.3 for _ in given.deny])
        return (Index(attrs.evolve(given, deny=deny).rules()),), {}

    try:
        assert benchmark.pedantic(Index.permitted, setup=compiled, rounds=3 if "10k" not in name else 1)
    except BudgetExceeded as error:
        pytest.skip(str(error))


def edited(rules: RuleSet, lines: int, seed: int) -> RuleSet:
    """The list with some lines inserted, deleted or moved."""
    rng = random.Random(seed)
    every = list(rules.rules())
    new = list(every)
    for _ in range(lines):
        match rng.choice("idm"):
            case "i":
                new.insert(rng.randrange(len(new)), rng.choice(every))
            case "d":
                del new[rng.randrange(len(new))]
            case _:
                new.insert(rng.randrange(len(new)), new.pop(rng.randrange(len(new))))
    return RuleSet.of(new)


@pytest.mark.parametrize("name", of("1k", "10k"))
def test_compare_with_ten_lines_edited(benchmark: Any, name: str) -> None:
    rules = classbench.load(name).rules()
    seeds = iter(range(1000))

    def pair() -> tuple[tuple[Any, Any], dict[str, Any]]:
        return (Rules(rules), Rules(edited(rules, 10, next(seeds)))), {}

    assert benchmark.pedantic(netsim.compare, setup=pair, rounds=7, warmup_rounds=1) is not None

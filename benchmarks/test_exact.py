"""Exact questions on long lists: what is dead, what is accepted, what differs. One core, after parsing.

`NETSIM_BENCH_SIZES` (default 100 1k 10k 100k) chooses the lists. What keeps diagrams is asked in processes of its own
(`benchmarks.fresh`), so that nothing is remembered and memory is that of one question.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import numpy as np
import pytest

import netsim
from benchmarks import fresh
from benchmarks.interleave import against
from benchmarks.lists import List, generate, iptables, listed
from benchmarks.peers import Missing
from benchmarks.peers.bdd import Bdd
from benchmarks.test_classify import GENERATED, LISTS, SIZES, of
from netsim.errors import BudgetExceeded
from netsim.index.index import Index
from netsim.index.rowaudit import audit_rows
from netsim.index.rowdiff import compare_rows
from netsim.index.rows import INTERVALS, Rows
from netsim.queries.verdict import Rules
from netsim.rules.model import ACCEPT, Rule, RuleSet

T = TypeVar("T")
LONG = [name for name in LISTS + GENERATED if not name.endswith("_100")]


def denied(given: List, seed: int) -> List:
    """The list with other rules that deny: a pool finds again what it has compiled before."""
    rng = random.Random(seed)
    return attrs.evolve(given, deny=np.array([rng.random() < 0.3 for _ in given.deny]))


def edited(rules: RuleSet, lines: int, seed: int) -> RuleSet:
    """The list with some lines inserted, deleted or moved."""
    return RuleSet.of(shuffled(list(rules.rules()), lines, seed))


def shuffled(every: list[T], lines: int, seed: int) -> list[T]:
    """A list with some members inserted, deleted or moved."""
    rng = random.Random(seed)
    new = list(every)
    for _ in range(lines):
        match rng.choice("idm"):
            case "i":
                new.insert(rng.randrange(len(new)), rng.choice(every))
            case "d":
                del new[rng.randrange(len(new))]
            case _:
                new.insert(rng.randrange(len(new)), new.pop(rng.randrange(len(new))))
    return new


@pytest.mark.parametrize("name", LONG)
def test_dead_rows(benchmark: Any, name: str) -> None:
    """Boxes of rules: which are alive, with a witness, and what covers the dead ones."""
    rows = listed(name).rows
    rounds = 5 if "100k" not in name else 2
    found = benchmark.pedantic(lambda: audit_rows(rows), rounds=rounds, warmup_rounds=1)
    assert not found.open
    benchmark.extra_info.update(list=name, dead=len(found.covers))


@fresh.timed
@pytest.mark.parametrize("name", of("1k", "10k"))
def test_audit(benchmark: Any, name: str) -> None:
    """Every kind of finding, with its proof."""
    fresh.measure(benchmark, "audit", name, rounds=2, list=name)


@fresh.timed
@pytest.mark.parametrize("name", [n for n in LONG if not n.startswith("site") or n.endswith(("_1k", "_10k"))])
def test_accepted_set(benchmark: Any, name: str) -> None:
    fresh.measure(benchmark, "accepted", name, rounds=1 if "100k" in name else 3, list=name)


def with_end(rows: Rows, which: list[int]) -> Rows:
    """Some rows of a list, and one that holds everything."""
    return Rows(
        {c: np.append(v[which], np.uint64(0)) for c, v in rows.low.items()},
        {c: np.append(v[which], np.uint64(INTERVALS[c])) for c, v in rows.high.items()},
        np.arange(len(which) + 1, dtype=np.int32),
    )


@pytest.mark.parametrize("name", of("1k", "10k", "100k"))
def test_compare_rows_with_ten_lines_edited(benchmark: Any, name: str) -> None:
    given = listed(name)
    every = list(range(len(given)))
    outcomes = np.append(np.where(given.deny, 8, 4), 8).astype(np.uint8)
    before = with_end(given.rows, every)
    seeds = iter(range(1000))

    def pair() -> tuple[tuple[Any, ...], dict[str, Any]]:
        which = shuffled(every, 10, next(seeds))
        return (before, outcomes, with_end(given.rows, which), outcomes[[*which, -1]]), {}

    assert benchmark.pedantic(compare_rows, setup=pair, rounds=15, warmup_rounds=1) is not None


@pytest.mark.parametrize("name", of("1k", "10k", "100k"))
def test_compare_with_ten_lines_edited(benchmark: Any, name: str) -> None:
    rules = listed(name).rules()
    seeds = iter(range(1000))

    def pair() -> tuple[tuple[Any, Any], dict[str, Any]]:
        return (Rules(rules), Rules(edited(rules, 10, next(seeds)))), {}

    rounds = 9 if "100k" not in name else 3
    try:
        assert benchmark.pedantic(netsim.compare, setup=pair, rounds=rounds, warmup_rounds=1) is not None
    except BudgetExceeded as error:  # rows do not say all of it, and the whole sets do not fit
        pytest.skip(f"{name}: {error}")
    benchmark.extra_info.update(list=name)


@fresh.timed
@pytest.mark.parametrize("size", [s for s in SIZES if s in ("1k", "10k")])
@pytest.mark.parametrize("families", ["acl1 fw1", "fw1 ipc1", "ipc1 acl1"])
def test_compare_unrelated_lists(benchmark: Any, families: str, size: str) -> None:
    names = [f"{family}_{size}" for family in families.split()]
    assert fresh.measure(benchmark, "compare", *names, rounds=1)


@fresh.timed
@pytest.mark.parametrize("question", ["accepted", "audit"])
@pytest.mark.parametrize("name", of("100", "1k"))
def test_without_the_extension(benchmark: Any, question: str, name: str) -> None:
    """The plain engine, which answers where nothing was compiled."""
    fresh.measure(benchmark, question, name, rounds=2, engine="plain", list=name)


ROUNDS = 5


@pytest.mark.parametrize("question", ["dead rows", "accepted set"])
@pytest.mark.parametrize("name", of("100", "1k"))
def test_beside_oxidd(benchmark: Any, question: str, name: str) -> None:
    """The same questions of binary decision diagrams; every round has diagrams and rules of its own."""
    given = listed(name)
    variants = [denied(given, seed) for seed in range(2 * ROUNDS + 4)]
    ours, theirs = iter(variants), iter(variants)
    try:
        ready = iter([Bdd(next(theirs), nodes=1 << 21) for _ in range(ROUNDS + 2)])
    except Missing as missing:
        pytest.skip(str(missing))
    asked: Callable[[], Any]
    if question == "dead rows":
        found = sorted(audit_rows(given.rows).covers)
        assert next(ready).dead() == found
        benchmark.extra_info["dead"] = len(found)
        asked, other = (lambda: audit_rows(given.rows)), (lambda: next(ready).dead())
    else:
        one = next(ready)
        accepted = Index(one.given.rules()).permitted()
        tcp = netsim.packets(src="0.0.0.0/0", protocol="tcp", dport=[(0, 65535)])
        tcp &= Index(RuleSet.of([Rule((), ACCEPT)])).permitted()  # whose ttl lets it be forwarded
        function = one.accepted()
        assert one.share(function, 6) * tcp.count() == (accepted & tcp).count()
        benchmark.extra_info["nodes"] = function.node_count()
        indices = iter([Index(v.rules()) for v in list(ours)[ROUNDS + 2 :]])
        asked, other = (lambda: next(indices).permitted()), (lambda: next(ready).accepted())
    against(benchmark, asked, {"OxiDD": other}, rounds=ROUNDS, list=name)


HUNDRED = 12


def _hundreds() -> list[List]:
    return [generate(100, seed=seed) for seed in range(HUNDRED)]


@pytest.mark.parametrize("question", ["decide", "dead rows", "accepted set", "compare", "audit"])
def test_a_hundred_rules(benchmark: Any, question: str) -> None:
    """Every round asks another generated list of 100 rules; the process is warm."""
    every = iter(_hundreds())
    packet = netsim.Packet(src="10.0.1.5", dst="10.0.2.9", protocol="tcp", sport=4000, dport=443)

    def fresh_list() -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = next(every)
        if question == "dead rows":
            return (given.rows,), {}
        rules = netsim.parse(iptables(given))
        if question == "compare":
            return (rules, Rules(edited(rules.ruleset, 3, 1))), {}
        return (rules.index,) if question == "accepted set" else (rules,), {}

    asked: dict[str, Callable[..., Any]] = {
        "decide": lambda rules: rules.decide(packet),
        "dead rows": audit_rows,
        "accepted set": Index.permitted,
        "compare": netsim.compare,
        "audit": netsim.audit,
    }
    benchmark.pedantic(asked[question], setup=fresh_list, rounds=HUNDRED - 2, warmup_rounds=2)


def zones(seed: int) -> netsim.Network:
    """Twenty zones, each behind a firewall of 500 rules, around one router."""
    devices: dict[str, Any] = {}
    ports, ways = {}, []
    for n in range(20):
        devices[f"fw{n:02}"] = {
            "rules": iptables(generate(500, seed=100 * seed + n)),
            "ip_forward": True,
            "rp_filter": 0,
            "interfaces": {
                "inside": {"address": f"10.0.{3 * n}.1/24", "link": f"z{n:02}"},
                "up": {"address": f"172.16.{n}.1/30", "link": f"up{n:02}"},
            },
            "routes": [{"to": "0.0.0.0/0", "via": f"172.16.{n}.2"}],
        }
        ports[f"p{n:02}"] = {"address": f"172.16.{n}.2/30", "link": f"up{n:02}"}
        ways.append({"to": f"10.0.{3 * n}.0/24", "via": f"172.16.{n}.1"})
    devices["core"] = {"interfaces": ports, "routes": ways, "ip_forward": True, "rp_filter": 0}
    return netsim.Network.build(devices=devices, zones={f"z{n:02}": [f"z{n:02}"] for n in range(20)})


def test_matrix_of_20_zones_behind_500_rules(benchmark: Any) -> None:
    """All pairs, the rules compiled in the round; every round has other rules."""
    seeds = iter(range(1, 10))
    found = benchmark.pedantic(
        netsim.matrix, setup=lambda: ((zones(next(seeds)), "zones"), {}), rounds=4, warmup_rounds=1
    )
    assert len(found.cells) >= 20 * 19

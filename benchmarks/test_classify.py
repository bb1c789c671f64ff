"""The batch classifier on the ClassBench lists and on generated ones, with the peers in the same run.

`NETSIM_BENCH_SIZES` (default 100 1k 10k 100k) chooses the lists.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from benchmarks import classbench, traces
from benchmarks.interleave import against
from benchmarks.lists import List, listed, scan
from benchmarks.peers import Missing, Peer
from benchmarks.peers.aclcheck import Aclcheck
from benchmarks.peers.dpdk import Dpdk
from benchmarks.peers.loops import NetaddrLoop, NumpyLoop
from netsim.errors import BudgetExceeded
from netsim.index.classifier import Classifier
from netsim.kernels import engine

SIZES = os.environ.get("NETSIM_BENCH_SIZES", " ".join(classbench.SIZES)).split()
LISTS = [f"{family}_{size}" for size in SIZES for family in classbench.FAMILIES]
GENERATED = [f"{kind}_{size}" for size in SIZES for kind in ("site4", "site6")]
FLAGS = [f"{name}+flags" for name in LISTS if name.endswith(("_1k", "_10k"))]
PACKETS = 1_000_000


def of(*sizes: str) -> list[str]:
    """The chosen lists of some sizes."""
    return [name for name in LISTS if name.split("_")[1] in sizes]


@lru_cache(maxsize=1)
def ready(name: str) -> tuple[List, Classifier]:
    """A list and our classifier of it."""
    given = listed(name)
    try:
        return given, Classifier(given.rows)
    except BudgetExceeded as error:
        pytest.skip(str(error))


@lru_cache(maxsize=1)
def dpdk_of(name: str) -> Dpdk | Missing:
    """DPDK's classifier of a list, or the word why it is missing."""
    try:
        return Dpdk(listed(name))
    except Missing as missing:
        return missing


def beside_dpdk(benchmark: Any, name: str, kind: str) -> None:
    """One trace on one list: DPDK's two algorithms by turns with ours; every row is compared.

    Ours says row and verdict of each record, DPDK's the row.
    """
    given, ours = ready(name)
    dpdk = dpdk_of(name)
    trace = traces.make(given, kind, PACKETS, miss=lambda columns: ours.first(columns) < 0)
    packets = len(trace["protocol"])
    if not packets:
        pytest.skip("nothing misses this list")
    found = ours.first(trace)
    checked: dict[str, traces.Trace] = {"ends": traces.edges(given, 100_000), "trace": trace}
    for some_of in checked.values():
        some = min(len(some_of["protocol"]), 5000 if len(given) < 20_000 else 500)
        assert np.array_equal(scan(given, some_of, some), ours.first(some_of)[:some])
    verdicts = np.append(given.deny, True)  # the last is for no row: 2^32 - 1 as an unsigned number

    def answered() -> Any:
        rows = ours.first(trace)
        return rows, verdicts.take(rows.view(np.uint32), mode="clip")

    assert np.array_equal(answered()[1], verdicts[found])
    peers: dict[str, Callable[[], Any]] = {}
    if isinstance(dpdk, Dpdk):
        for some_of in checked.values():
            dpdk.prepare(some_of)
            for algorithm in dpdk.algorithms:
                assert np.array_equal(dpdk.rows(algorithm), ours.first(some_of)), algorithm
        for algorithm in dpdk.algorithms:
            peers[algorithm] = lambda algorithm=algorithm: dpdk.classify(algorithm)  # type: ignore[misc]
    info = ours.stats()
    ratios = against(
        benchmark, answered, peers, work=packets, kind=kind, list=name, rules=len(given),
        memory=info["memory_bytes"], build=info["build_seconds"],
    )  # fmt: skip
    if isinstance(dpdk, Dpdk):
        benchmark.extra_info["dpdk"] = {
            "ratio": min(ratios.values()), "algorithm": min(ratios, key=lambda a: ratios[a]),
            "version": dpdk.version, "build": dpdk.build_seconds, "memory": dpdk.memory_bytes,
        }  # fmt: skip
    else:
        benchmark.extra_info["without"] = f"DPDK: {dpdk}"


@pytest.mark.parametrize("kind", traces.KINDS)
@pytest.mark.parametrize("name", LISTS)
def test_classify(benchmark: Any, name: str, kind: str) -> None:
    beside_dpdk(benchmark, name, kind)


@pytest.mark.parametrize("name", FLAGS + GENERATED)
def test_classify_other_lists(benchmark: Any, name: str) -> None:
    """With TCP flags as a sixth field, and generated lists of IPv4 and of IPv6."""
    beside_dpdk(benchmark, name, "uniform")


@pytest.mark.parametrize("name", LISTS + GENERATED)
def test_build(benchmark: Any, name: str) -> None:
    """From parsed boxes to tables."""
    rows = listed(name).rows
    try:
        memory = Classifier(rows).memory()
    except BudgetExceeded as error:
        pytest.skip(str(error))
    benchmark.pedantic(lambda: Classifier(rows), rounds=7 if not name.endswith("_100k") else 3)
    benchmark.extra_info.update(list=name, memory=memory)


@pytest.mark.parametrize("name", of("1k", "10k", "100k"))
def test_two_threads(benchmark: Any, name: str) -> None:
    given, ours = ready(name)
    trace = traces.make(given, "uniform", PACKETS)
    peers = {"one thread": lambda: ours.first(trace)}
    against(benchmark, lambda: ours.first(trace, threads=2), peers, list=name, work=PACKETS)


PEERS: tuple[type[Peer], ...] = (NumpyLoop, NetaddrLoop, Aclcheck)


def beside_loops(
    benchmark: Any, name: str, ours: Classifier, records: int, kinds: tuple[type[Peer], ...]
) -> None:
    """The uniform trace; slow peers take its first records, and the ratio is for one."""
    given = listed(name)
    trace = traces.make(given, "uniform", records)
    found = ours.first(trace)
    peers, theirs, without = {}, {}, []
    for kind in kinds:
        try:
            peer = kind(given)
        except Missing as missing:
            without.append(str(missing))
            continue
        peer.prepare(trace)
        rows = peer.classify()
        assert np.array_equal(rows, found[getattr(peer, "places", slice(len(rows)))]), peer.name
        peers[peer.name], theirs[peer.name] = peer.classify, len(rows)
    against(
        benchmark, lambda: ours.first(trace), peers, rounds=5, work=records, theirs=theirs, list=name,
        without="; ".join(without),
    )  # fmt: skip


@pytest.mark.parametrize("name", of("100", "1k"))
def test_classify_beside_loops(benchmark: Any, name: str) -> None:
    beside_loops(benchmark, name, Classifier(listed(name).rows), PACKETS, PEERS)


@pytest.mark.parametrize("name", of("100", "1k", "10k"))
def test_classify_without_the_extension(benchmark: Any, name: str) -> None:
    """Our numpy path, which answers where nothing was compiled."""
    beside_loops(benchmark, name, Classifier(listed(name).rows, choice="plain"), 100_000, (NumpyLoop,))


@pytest.mark.parametrize("name", of("100", "1k", "10k", "100k"))
def test_classify_with_numba(benchmark: Any, name: str) -> None:
    """The same kernels compiled by numba."""
    from benchmarks.peers import jit

    if engine() != "compiled":
        pytest.skip("the extension is not installed")
    given, ours = ready(name)
    try:
        peer = jit.classifier(given.rows)
    except Missing as missing:
        pytest.skip(str(missing))
    trace = traces.make(given, "uniform", PACKETS)
    assert np.array_equal(peer.first(trace), ours.first(trace))
    against(
        benchmark, lambda: ours.first(trace), {"numba": lambda: peer.first(trace)}, list=name, work=PACKETS
    )

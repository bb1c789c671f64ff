"""The batch classifier on the ClassBench lists, with the peers in the same run.

`NETSIM_BENCH_SIZES` (default 100 1k 10k 100k) chooses the lists.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from benchmarks import classbench, traces
from benchmarks.interleave import against
from benchmarks.peers.dpdk import Dpdk, Missing
from netsim.index.classifier import Classifier

LISTS = [
    f"{family}_{size}"
    for size in os.environ.get("NETSIM_BENCH_SIZES", "100 1k 10k 100k").split()
    for family in classbench.FAMILIES
]
PACKETS = 1_000_000


@lru_cache(maxsize=1)
def ready(name: str) -> tuple[classbench.List, Classifier, Any]:
    """A list, our classifier and DPDK's, or the word why it is missing."""
    given = classbench.load(name)
    try:
        peer: Any = Dpdk(given.low, given.high)
    except Missing as missing:
        peer = missing
    return given, Classifier(given.rows), peer


@pytest.mark.parametrize("kind", traces.KINDS)
@pytest.mark.parametrize("name", LISTS)
def test_classify(benchmark: Any, name: str, kind: str) -> None:
    given, ours, dpdk = ready(name)
    trace = traces.make(given, kind, PACKETS, miss=lambda columns: ours.first(columns) < 0)
    packets = len(trace["src4"])
    if not packets:
        pytest.skip("nothing misses this list")
    peers = {}
    found = ours.first(trace)
    if isinstance(dpdk, Dpdk):
        dpdk.prepare(trace)
        for algorithm in ("AVX512X32", "AVX512X16") if "AVX512X32" in dpdk.algorithms else dpdk.algorithms:
            peers[algorithm] = lambda algorithm=algorithm: dpdk.classify(algorithm)
    info = ours.stats()
    ratios = against(
        benchmark, lambda: ours.first(trace), peers, rounds=9, packets=packets, kind=kind, list=name,
        memory=info["memory_bytes"], build=info["build_seconds"],
    )  # fmt: skip
    if isinstance(dpdk, Dpdk):
        different = int((dpdk.results.astype(np.int64) - 1 != found).sum())
        assert different == 0
        benchmark.extra_info["dpdk"] = {
            "ratio": min(ratios.values()), "algorithm": min(ratios, key=lambda a: ratios[a]),
            "build": dpdk.build_seconds, "memory": dpdk.memory_bytes, "different": different,
        }  # fmt: skip
    else:
        benchmark.extra_info["without"] = f"dpdk: {dpdk}"
    some = 5000 if len(given.deny) < 20_000 else 500
    assert np.array_equal(classbench.scan(given, trace, min(some, packets)), found[:some])


@pytest.mark.parametrize("name", LISTS)
def test_build(benchmark: Any, name: str) -> None:
    given = classbench.load(name)
    rows = given.rows
    benchmark.pedantic(lambda: Classifier(rows), rounds=7, warmup_rounds=1)
    benchmark.extra_info.update(list=name, memory=Classifier(rows).memory())


@pytest.mark.parametrize("name", [n for n in LISTS if n.endswith("_10k")])
def test_two_threads(benchmark: Any, name: str) -> None:
    given, ours, _ = ready(name)
    trace = traces.make(given, "uniform", PACKETS)
    peers = {"one thread": lambda: ours.first(trace)}
    against(benchmark, lambda: ours.first(trace, threads=2), peers, list=name, packets=PACKETS)


@pytest.mark.parametrize("name", [n for n in LISTS if n.endswith(("_100", "_1k"))])
def test_numpy_path(benchmark: Any, name: str) -> None:
    """Without the extension, beside a numpy loop over the rules."""
    given = classbench.load(name)
    ours = Classifier(given.rows, choice="plain")
    trace = {c: v[:100_000] for c, v in traces.make(given, "uniform", 200_000).items()}
    peers = {"numpy loop": lambda: classbench.scan(given, trace, 100_000)}
    against(benchmark, lambda: ours.first(trace), peers, rounds=5, list=name, packets=100_000)

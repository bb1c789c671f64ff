"""What the benchmarks measure with: lists, traces, peers that agree with a scan, the table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netsim
from benchmarks import classbench, table, traces
from benchmarks.lists import FOUR, SIX, List, generate, iptables, named, scan
from benchmarks.peers import Missing, Peer, jit
from benchmarks.peers.aclcheck import Aclcheck
from benchmarks.peers.bdd import Bdd
from benchmarks.peers.dpdk import Dpdk
from benchmarks.peers.loops import NetaddrLoop, NumpyLoop
from benchmarks.test_batches import batch_of
from netsim.index.classifier import Classifier
from netsim.index.rows import INTERVALS
from netsim.rules.model import Rule

FILTERS = (
    "@10.1.2.0/24\t192.168.0.0/16\t0 : 65535\t80 : 80\t0x06/0xFF\t0x0200/0x1200\t\n"
    "@0.0.0.0/0\t192.168.7.1/32\t1024 : 65535\t53 : 99\t0x11/0xFF\t0x0000/0x0000\t\n"
    "@10.0.0.0/8\t0.0.0.0/0\t0 : 65535\t0 : 65535\t0x00/0x00\t0x0000/0x0000\t\n"
)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "classbench"
    folder.mkdir()
    (folder / "own_3").write_text(FILTERS)
    monkeypatch.setenv("NETSIM_DATA", str(tmp_path))
    classbench.load.cache_clear()
    yield
    classbench.load.cache_clear()


@pytest.mark.usefixtures("data")
def test_classbench_lines_are_read_as_they_are_written() -> None:
    given = classbench.load("own_3")
    assert given.low["src4"].tolist() == [0x0A010200, 0, 0x0A000000]
    assert given.high["src4"].tolist() == [0x0A0102FF, 0xFFFFFFFF, 0x0AFFFFFF]
    assert given.low["dport"].tolist() == [80, 53, 0] and given.high["dport"].tolist() == [80, 99, 65535]
    assert given.low["protocol"].tolist() == [6, 17, 0] and given.high["protocol"].tolist() == [6, 17, 255]
    given.rows.check_invariants()
    with_flags = classbench.load("own_3+flags")
    assert with_flags.care["tcp_flags"].tolist() == [0x12, 0, 0]
    assert with_flags.value["tcp_flags"].tolist() == [0x02, 0, 0]
    assert [len(rule.conditions) for rule in with_flags.rules().rules()] == [5, 4, 1]


def test_without_data_lists_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NETSIM_DATA", raising=False)
    with pytest.raises(pytest.skip.Exception, match="NETSIM_DATA is not set"):
        classbench.load("acl1_100")


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("size", [100, 2000])
def test_generated_lists_are_lists_of_a_site(family: int, size: int) -> None:
    given = generate(size, family=family, seed=5)
    given.rows.check_invariants()
    assert len(given) == size and given.columns == (FOUR if family == 4 else SIX)
    generate.cache_clear()
    again = generate(size, family=family, seed=5)
    assert all(np.array_equal(given.low[c], again.low[c]) for c in given.columns)
    assert 0.1 < given.deny.mean() < 0.5
    rows = np.stack([bound[c] for c in given.columns for bound in (given.low, given.high)])
    assert len(np.unique(rows, axis=1)[0]) < size  # some rules are there twice


def test_a_closed_list_leaves_nothing_open() -> None:
    given = generate(100, closed=True)
    trace = traces.make(given, "uniform", 1000)
    assert scan(given, trace, 1000).min() >= 0 and given.deny[-1]


@pytest.mark.parametrize("family", [4, 6])
def test_a_dump_of_a_generated_list_says_the_same(family: int) -> None:
    given = generate(300, family=family)

    def said(rules: Any) -> list[Any]:
        found: list[Rule] = list(rules)
        return [(set(rule.conditions), rule.action.kind) for rule in found]

    assert said(netsim.parse(iptables(given)).ruleset.rules()) == said(given.rules().rules())


@pytest.mark.parametrize("kind", traces.KINDS)
@pytest.mark.parametrize("name", ["site4_100", "site6_1k"])
def test_traces_have_no_repeats_and_are_always_the_same(name: str, kind: str) -> None:
    given = named(name)
    ours = Classifier(given.rows)

    def make() -> traces.Trace:
        return traces.make(given, kind, 3000, miss=lambda columns: ours.first(columns) < 0)

    trace, again = make(), make()
    assert all(np.array_equal(trace[c], again[c]) for c in given.columns)
    assert len(np.unique(np.stack([trace[c].astype(np.uint64) for c in given.columns]), axis=1)[0]) == 3000
    found = scan(given, trace, 3000)
    assert [given.rows.scan({c: trace[c][i] for c in trace}) for i in range(20)] == found[:20].tolist()
    if kind == "miss":
        assert found.max() == -1
    else:
        assert 0.02 < (found == -1).mean() < 0.12


def test_edges_lie_at_the_ends_of_ranges() -> None:
    given = named("site4_100")
    trace = traces.edges(given, 2000)
    found = scan(given, trace, len(trace["protocol"]))
    assert np.array_equal(Classifier(given.rows).first(trace), found)
    assert (found == -1).mean() > 0.2
    ends = np.unique(np.concatenate([given.low["src4"], given.high["src4"]]))
    assert np.isin(trace["src4"], ends).mean() > 0.3


def flagged() -> List:
    """A generated list with flags in some rules."""
    given = generate(200)
    care = np.where(np.arange(200) % 3 == 0, 0x12, 0).astype(np.uint64)
    return List(
        "flags", given.low, given.high, given.deny, {"tcp_flags": care}, {"tcp_flags": care & np.uint64(2)}
    )


LISTS = {"four": lambda: generate(200), "six": lambda: generate(200, family=6), "flags": flagged}


@pytest.mark.parametrize("given", LISTS)
@pytest.mark.parametrize("kind", [NumpyLoop, NetaddrLoop, Aclcheck])
def test_loops_agree_with_a_scan(kind: type[Peer], given: str) -> None:
    chosen = LISTS[given]()
    try:
        peer = kind(chosen)
    except Missing as missing:
        pytest.skip(str(missing))
    trace = traces.make(chosen, "uniform", 1000)
    peer.prepare(trace)
    rows = peer.classify()
    assert np.array_equal(rows, scan(chosen, trace, 1000)[getattr(peer, "places", slice(len(rows)))])


@pytest.mark.parametrize("given", LISTS)
def test_dpdk_and_the_classifier_agree_with_a_scan(given: str) -> None:
    chosen = LISTS[given]()
    trace = traces.make(chosen, "uniform", 1000)
    expected = scan(chosen, trace, 1000)
    assert np.array_equal(Classifier(chosen.rows).first(trace), expected)
    try:
        peer = Dpdk(chosen)
    except Missing as missing:
        pytest.skip(str(missing))
    peer.prepare(trace)
    for algorithm in peer.algorithms:
        assert np.array_equal(peer.rows(algorithm), expected), algorithm


@pytest.mark.filterwarnings("ignore")
def test_numba_agrees_with_a_scan() -> None:
    given = generate(200)
    try:
        peer = jit.classifier(given.rows)
    except Missing as missing:
        pytest.skip(str(missing))
    trace = traces.make(given, "uniform", 1000)
    assert np.array_equal(peer.first(trace), scan(given, trace, 1000))


def test_diagrams_of_oxidd_say_which_rules_are_dead() -> None:
    low = {c: np.zeros(3, np.uint64) for c in FOUR}
    high = {c: np.array([INTERVALS[c]] * 3, np.uint64) for c in FOUR}
    high["sport"][0], low["sport"][1], high["dport"][2] = 99, 100, 9
    given = List("three", low, high, np.array([False, True, False]))
    try:
        diagrams = Bdd(given, nodes=1 << 16)
    except Missing as missing:
        pytest.skip(str(missing))
    assert diagrams.dead() == [2]
    assert diagrams.share(diagrams.accepted(), 6) * 65536 == 100


def test_verdicts_of_a_batch_are_those_of_decide() -> None:
    rules = netsim.parse(iptables(generate(300)))
    trace = traces.make(generate(300), "uniform", 200)
    batch = batch_of(trace)
    names = rules.classify(batch).names
    for i in range(200):
        packet: dict[str, Any] = {name: int(values[i]) for name, values in batch.items()}
        if packet["protocol"] not in (6, 17, 33, 132, 136):
            del packet["sport"], packet["dport"]
        packet |= {side: _dotted(packet[side]) for side in ("src", "dst")}
        assert names[i] == rules.decide(netsim.Packet(**packet)).verdict.value


def _dotted(value: int) -> str:
    return ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))


def row(name: str, median: float, **info: Any) -> dict[str, Any]:
    return {
        "name": name,
        "stats": {"median": median, "min": median / 2, "max": median * 2},
        "extra_info": info,
    }


def test_the_table_has_peers_and_geometric_means() -> None:
    rows = [
        row(
            f"test_classify[{family}_1k-uniform]", median, list=f"{family}_1k", work=1_000_000, memory=2e6, build=0.004,
            peers={"AVX512X32": {"work": 1_000_000, "median": 2 * median, "best": median, "ratio": 2.0}},
            dpdk={"algorithm": "AVX512X32", "ratio": 2.0, "build": 0.1, "memory": 8e6},
        )
        for family, median in (("acl1", 0.01), ("fw1", 0.02), ("ipc1", 0.04))
    ]  # fmt: skip
    rows.append(row("test_build[acl1_1k]", 0.003, list="acl1_1k"))
    lines = list(table.table(rows))
    assert lines[2] == (
        "| classify, uniform: acl1_1k | 100.0 M/s | 200.0 M/s | 50.0 M/s | DPDK AVX512X32 50.0 M/s, 100.0 M/s (2.00x, 2.00x) | 4 ms, DPDK 100 ms"
        " | 2.0 MB, DPDK 8.0 MB |"
    )
    assert lines[5] == (
        "| classify, uniform: **mean of 3, 1k** | 50.0 M/s | 100.0 M/s | 25.0 M/s | DPDK 25.0 M/s, 50.0 M/s (2.00x, 2.00x) | 4 ms, DPDK 100 ms"
        " | 2.0 MB, DPDK 8.0 MB |"
    )
    assert lines[6] == "| build: acl1_1k | 3 ms | 1.5 ms | 6 ms |  |  |  |"
    assert len(lines) == 7

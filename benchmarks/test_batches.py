"""Batches through the whole of `Rules.classify` and of `Network.classify`; saved indices; and the first answer."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netsim
from benchmarks import traces
from benchmarks.generate import generate as zones
from benchmarks.lists import generate, iptables, listed
from benchmarks.test_classify import of
from benchmarks.test_speed import dump
from netsim.queries.verdict import Rules
from netsim.space.fields import PORT_PROTOCOLS

PACKETS = 1_000_000
NAMES = {"src4": "src", "dst4": "dst", "sport": "sport", "dport": "dport", "protocol": "protocol"}


def batch_of(trace: traces.Trace) -> dict[str, Any]:
    """A trace as `classify` takes it: where a protocol has no ports they are 0."""
    ported = np.isin(trace["protocol"], PORT_PROTOCOLS)
    found = {NAMES[c]: values for c, values in trace.items()}
    return found | {name: np.where(ported, found[name], 0).astype(np.uint16) for name in ("sport", "dport")}


@pytest.mark.parametrize("name", of("100", "1k", "10k"))
def test_classify_a_batch(benchmark: Any, name: str) -> None:
    """Column arrays to verdict and rule, on ClassBench lists as rule sets."""
    given = listed(name)
    rules = Rules(given.rules())
    batch = batch_of(traces.make(given, "uniform", PACKETS))
    found = benchmark.pedantic(lambda: rules.classify(batch), rounds=5, warmup_rounds=1)
    assert len(found.verdict) == PACKETS
    benchmark.extra_info.update(list=name, work=PACKETS)


@pytest.mark.parametrize("name", of("1k", "10k"))
def test_load_a_saved_index(benchmark: Any, name: str, tmp_path: Path) -> None:
    """A file of `Rules.save` mapped, its checksums verified, and a first small batch."""
    given = listed(name)
    path = tmp_path / "index"
    Rules(given.rules()).save(path, hooks=["forward"])
    batch = {c: values[:100] for c, values in batch_of(traces.make(given, "uniform", 1000)).items()}
    benchmark.pedantic(lambda: netsim.load_index(path).classify(batch), rounds=10, warmup_rounds=1)
    benchmark.extra_info.update(list=name, bytes=path.stat().st_size)


@lru_cache(maxsize=1)
def site(name: str) -> netsim.Network:
    """The demo site, or a generated one of so many zones."""
    if name == "demo":
        found: netsim.Network = netsim.load(Path(netsim.__file__).parent / "demo_site" / "before")
        return found
    return netsim.Network.build(**zones(int(name)))


def between_hosts(network: netsim.Network, size: int) -> dict[str, Any]:
    """Records from hosts to hosts, to ports that somebody serves."""
    rng = np.random.default_rng(3)
    names = sorted(network.hosts)
    addresses = np.array([network.hosts[name].addresses[0].address for name in names], np.uint32)
    entry = rng.integers(0, len(names), size)
    return {
        "src": addresses[entry],
        "dst": addresses[rng.integers(0, len(names), size)],
        "protocol": rng.choice(np.array([6, 17], np.uint8), size),
        "sport": rng.integers(1024, 65536, size, dtype=np.uint16),
        "dport": rng.choice(np.array([22, 53, 80, 443, 5432, 8080, 8443], np.uint16), size),
        "ingress": (entry, names),
    }


@pytest.mark.parametrize("name", ["demo", "100"])
def test_classify_through_a_site(benchmark: Any, name: str) -> None:
    """Column arrays to the verdict end to end, hop by hop."""
    network = site(name)
    batch = between_hosts(network, 200_000)
    found = benchmark.pedantic(lambda: network.classify(batch), rounds=5, warmup_rounds=1)
    assert (found.outcomes > 0).all()
    benchmark.extra_info.update(site=name, work=200_000)


@pytest.mark.parametrize("name", ["demo", "100"])
def test_load_a_saved_site(benchmark: Any, name: str, tmp_path: Path) -> None:
    """A file of `Network.save` mapped, its checksums and tables verified."""
    network = site(name)
    path = tmp_path / "site"
    network.save(path)
    loaded = benchmark.pedantic(lambda: netsim.load_index(path), rounds=10, warmup_rounds=1)
    batch = between_hosts(network, 1000)
    assert (loaded.classify(batch).verdict == network.classify(batch).verdict).all()
    benchmark.extra_info.update(site=name, bytes=path.stat().st_size)


@pytest.mark.parametrize("size", [600, 5000])
def test_classify_a_batch_on_a_dump(benchmark: Any, size: int) -> None:
    """Interfaces, states, two chains; a record has every field that they test."""
    rules = netsim.parse(dump(size))
    rng = np.random.default_rng(7)
    n = 200_000
    batch = {
        "src": rng.integers(10 << 24, (10 << 24) + (64 << 16), n, dtype=np.uint32),
        "dst": rng.integers(172 << 24 | 16 << 16, 172 << 24 | 17 << 16, n, dtype=np.uint32),
        "protocol": rng.choice(np.array([6, 17], np.uint8), n),
        "sport": rng.integers(1024, 65536, n, dtype=np.uint16),
        "dport": rng.choice(np.array([22, 80, 443, 5432, 8050], np.uint16), n),
    }
    benchmark.pedantic(lambda: rules.classify(batch), rounds=5, warmup_rounds=1)
    benchmark.extra_info.update(work=n)


FIRST = {
    "batch": "rules.classify({'src': [167772165], 'dst': [167772421], 'protocol': [6], 'sport': [4000], 'dport': [443]})",
    "audit": "netsim.audit(rules)",
    "decision": "rules.decide(netsim.Packet(src='10.0.0.5', dst='10.0.1.5', protocol='tcp', sport=4000, dport=443))",
}


@pytest.mark.parametrize("what", FIRST)
def test_first_answer_of_a_fresh_process(benchmark: Any, what: str, tmp_path: Path) -> None:
    """From starting Python to the answer, on 1 000 generated rules; bytecode is there, as behind `pip install`."""
    path = tmp_path / "x.rules"
    path.write_text(iptables(generate(1000)))
    code = f"import netsim; rules = netsim.parse({str(path)!r}); {FIRST[what]}"
    installed = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}

    def start() -> None:
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=installed)

    benchmark.pedantic(start, rounds=7, warmup_rounds=1)


@pytest.mark.parametrize("family", [4, 6])
def test_parse_a_generated_list(benchmark: Any, family: int) -> None:
    """10 000 rules of `iptables-save` or `ip6tables-save`."""
    text = iptables(generate(10_000, family=family))
    rules = benchmark.pedantic(netsim.parse, (text,), rounds=3)
    assert sum(1 for _ in rules.ruleset.rules()) == 10_000

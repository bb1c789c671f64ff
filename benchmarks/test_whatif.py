"""What-if: edits, comparison and audit, on lists and on the demo. `test_speed.dump` makes the lists."""

from __future__ import annotations

import random
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import netsim
from benchmarks.test_speed import dump
from netsim.index import Index
from netsim.index.liveness import Liveness
from netsim.queries.audit import audit_rules
from netsim.queries.compare import compare_rules
from netsim.queries.tidy import tidy
from netsim.rules.model import RuleSet

DEMO = Path(netsim.__file__).parent / "demo_site"
EDITS = ("-j ACCEPT", "-j DROP"), ("-j DROP", "-j REJECT"), ("--dport 443", "--dport 444")


def edited(text: str, lines: int, seed: int = 3) -> str:
    """A copy in which some rules are changed, moved or gone."""
    rng = random.Random(seed)
    found = text.split("\n")
    for _ in range(lines):
        at = rng.randrange(8, len(found) - 4)
        kind = rng.randrange(3)
        if kind == 0:
            found.insert(rng.randrange(8, len(found) - 4), found.pop(at))
        elif kind == 1:
            del found[at]
        else:
            for old, new in EDITS:
                if old in found[at]:
                    found[at] = found[at].replace(old, new)
                    break
    return "\n".join(found)


def fresh(rules: RuleSet) -> RuleSet:
    """A rule set that no cache knows."""
    return rules.map(lambda r: r).replace(list(rules.chains.values()))


@pytest.mark.parametrize("size", [100, 1000])
def test_audit(benchmark: Any, size: int) -> None:
    rules = [netsim.parse(dump(size, seed)).ruleset for seed in range(1, 12)]
    turn = count()
    result = benchmark.pedantic(lambda: audit_rules(rules[next(turn) % 11]), rounds=10, warmup_rounds=1)
    benchmark.extra_info["findings"] = len(result.findings)


@pytest.mark.parametrize("size", [100, 1000])
def test_liveness(benchmark: Any, size: int) -> None:
    rules = [netsim.parse(dump(size, seed)).ruleset for seed in range(1, 12)]
    turn = count()
    benchmark.pedantic(lambda: Liveness(Index(rules[next(turn) % 11])), rounds=10, warmup_rounds=1)


@pytest.mark.parametrize("size", [100, 1000])
def test_compare_with_six_lines_edited(benchmark: Any, size: int) -> None:
    texts = [dump(size, seed) for seed in range(1, 12)]
    pairs = [(netsim.parse(t), netsim.parse(edited(t, 6))) for t in texts]
    turn = count()
    result = benchmark.pedantic(lambda: compare_rules(*pairs[next(turn) % 11]), rounds=10, warmup_rounds=1)
    assert not result.equal


def test_compare_equal_lists(benchmark: Any) -> None:
    one, two = netsim.parse(dump(1000)), netsim.parse(dump(1000))
    assert benchmark(lambda: compare_rules(one, two)).equal


def test_what_if_on_the_demo(benchmark: Any) -> None:
    """An edit, and what it changes end to end; the network was loaded and compared once before."""
    network = netsim.load(DEMO / "during")
    lengths = [*range(24, 31)]
    turn = count()

    def ask() -> Any:
        text = f"-s 10.0.14.0/{lengths[next(turn) % 7]} -j ACCEPT"
        return netsim.compare(network, network.edit().replace("fw1:filter/AUTH-DB/4", text).network)

    ask()
    assert benchmark.pedantic(ask, rounds=12).gained


def large() -> netsim.Network:
    """Twenty firewalls in a row, 200 rules each."""
    devices = {}
    for n in range(20):
        devices[f"fw{n}"] = {
            "rules": dump(200, n) + "\n",
            "ip_forward": True,
            "interfaces": {
                "eth0": {"address": f"10.255.{n}.1/30", "link": f"l{n}"},
                "eth1": {"address": f"10.255.{n + 1}.2/30", "link": f"l{n + 1}"},
            },
            "routes": [{"to": "172.16.0.0/12", "via": f"10.255.{n + 1}.1"}] if n < 19 else [],
        }
    return netsim.Network.build(devices=devices)


@pytest.mark.parametrize("what", ["whole network", "one edited device"])
def test_only_what_an_edit_touches_is_compiled_again(benchmark: Any, what: str) -> None:
    """The compiled chains of a network of 20 devices, from nothing and after an edit of one rule."""
    seeds = count(1)

    def compiled(network: netsim.Network) -> int:
        return sum(len(i.flow.functions.base(c)) for found in network.indexes.values() for i in found
                   for c in ("filter/FORWARD", "filter/INPUT"))  # fmt: skip

    base = large()
    compiled(base)

    def whole() -> tuple[tuple[netsim.Network], dict[str, Any]]:
        return (large(),), {}

    def one() -> tuple[tuple[netsim.Network], dict[str, Any]]:
        text = f"-s 10.1.{next(seeds) % 256}.0/24 -j DROP"
        return (base.edit().insert("fw7:filter/FORWARD", text, before=20).network,), {}

    benchmark.pedantic(compiled, setup=whole if what == "whole network" else one, rounds=6)


@pytest.mark.parametrize("size", [100, 1000])
def test_tidy(benchmark: Any, size: int) -> None:
    texts = [dump(size, seed) for seed in range(1, 8)]
    rules = [netsim.parse(text) for text in texts]
    turn = count()

    def work() -> Any:
        n = next(turn) % 7
        return tidy(rules[n], text=texts[n])

    result = benchmark.pedantic(work, rounds=6, warmup_rounds=1)
    benchmark.extra_info["rules"] = result.counts

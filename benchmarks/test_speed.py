"""What a user waits for: import, cold start, parsing, reach, decide, and chains of chains."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import netsim
from benchmarks.generate import generate
from netsim.parsers import parse

DEMO = Path(netsim.__file__).parent / "demo_site"


def dump(count: int, seed: int = 1) -> str:
    """A realistic filter table: subnets, services, states, interfaces, a few chains."""
    rng = random.Random(seed)
    lines = ["*filter", ":INPUT DROP [0:0]", ":FORWARD DROP [0:0]", ":OUTPUT ACCEPT [0:0]", ":web - [0:0]"]
    lines += [
        "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A FORWARD -p tcp -m tcp --dport 80 -j web",
    ]
    for _ in range(count - 3):
        src = f"10.{rng.randrange(64)}.{rng.randrange(256)}.0/{rng.choice((16, 20, 24, 28))}"
        dst = f"172.16.{rng.randrange(256)}.{rng.randrange(256)}/{rng.choice((24, 32, 32))}"
        proto = rng.choice(("tcp", "tcp", "udp"))
        port = rng.choice(("22", "80", "443", "5432", "8000:8100", str(rng.randrange(1024, 65536))))
        action = rng.choice(("ACCEPT", "ACCEPT", "DROP"))
        interface = rng.choice(("", "", "-i eth0 ", "-o eth1 "))
        lines.append(
            f"-A FORWARD -s {src} -d {dst} {interface}-p {proto} -m {proto} --dport {port} -j {action}"
        )
    return "\n".join([*lines, "-A web -s 10.0.0.0/8 -j ACCEPT", "COMMIT", ""])


def fresh(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def test_import_in_a_fresh_process(benchmark: Any) -> None:
    code = "import time; t = time.perf_counter(); import netsim; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    benchmark.extra_info["import_seconds"] = float(done.stdout)
    benchmark.pedantic(fresh, ("-c", "import netsim"), rounds=10)


def test_cold_test_of_one_packet_on_600_rules(benchmark: Any, tmp_path: Path) -> None:
    rules, packets = tmp_path / "x.rules", tmp_path / "p.jsonl"
    rules.write_text(dump(600))
    packets.write_text(
        '{"id":1,"src":"10.1.2.3","dst":"172.16.3.4","proto":"tcp","sport":4000,"dport":443,"iif":"eth0","oif":"eth1"}\n'
    )
    benchmark.pedantic(
        fresh, ("-m", "netsim", "test", str(rules), "--packets", str(packets), "--json"), rounds=5
    )


def test_parse_10_000_rules(benchmark: Any) -> None:
    text = dump(10_000)
    rules = benchmark.pedantic(parse, (text,), rounds=3)
    assert sum(1 for _ in rules.rules()) == 10_000


def test_reach_on_the_demo_warm(benchmark: Any) -> None:
    network = netsim.load(DEMO / "during")
    assert benchmark(network.reach, "auth", "db", "tcp/5432").cut_off == ("auth4",)


def test_decide_warm_on_600_rules(benchmark: Any) -> None:
    rules = netsim.parse(dump(600))
    packet = netsim.Packet(
        src="10.1.2.3",
        dst="172.16.3.4",
        protocol="tcp",
        sport=4000,
        dport=443,
        iif="eth0",
        oif="eth1",
        ttl=64,
    )
    benchmark(rules.decide, packet)


def test_rows_a_second_on_600_rules(benchmark: Any) -> None:
    rules = netsim.parse(dump(600))
    row = {
        "id": 1,
        "src": "10.1.2.3",
        "dst": "172.16.3.4",
        "proto": "tcp",
        "sport": 4000,
        "dport": 443,
        "iif": "eth0",
        "oif": "eth1",
    }
    benchmark(lambda: list(rules.decide_rows([row] * 100)))


def test_thirty_levels_of_two_jumps(benchmark: Any) -> None:
    names = [f"c{i}" for i in range(30)]
    lines = ["*filter", ":FORWARD DROP [0:0]", *(f":{n} - [0:0]" for n in names), "-A FORWARD -j c0"]
    for a, b in zip(names, names[1:], strict=False):
        lines += [f"-A {a} -p tcp -j {b}", f"-A {a} -s 10.0.0.0/8 -j {b}"]
    text = "\n".join([*lines, "-A c29 -p udp -j ACCEPT", "COMMIT", ""])
    benchmark(lambda: netsim.parse(text).permitted)


@pytest.mark.parametrize("count", [600, 5000])
def test_permitted_set(benchmark: Any, count: int) -> None:
    text = dump(count)
    benchmark.pedantic(lambda: netsim.parse(text).permitted, rounds=2)


@pytest.mark.parametrize("ends", ["services", "zones"])
def test_matrix_of_the_demo_warm(benchmark: Any, ends: str) -> None:
    network = netsim.load(DEMO / "during")
    assert benchmark(network.matrix, ends).leaks


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_matrix_of_100_zones(benchmark: Any, warm: bool) -> None:
    """All pairs of 100 zones and the internet, four classes and anything else, both families.

    Cold: a network that was never asked, its rules compiled in the round.
    """
    seeds = iter(range(1, 100))

    def fresh_network() -> tuple[tuple[Any, str], dict[str, Any]]:
        return (netsim.Network.build(**generate(100, seed=1 if warm else next(seeds))), "zones"), {}

    if warm:
        netsim.matrix(*fresh_network()[0])
    m = benchmark.pedantic(netsim.matrix, setup=fresh_network, rounds=3)
    assert len(m.cells) == 101 * 101 * 4


def test_fix_on_the_demo(benchmark: Any) -> None:
    network = netsim.load(DEMO / "during")
    assert len(benchmark(network.fix, "auth", "db", "tcp/5432").edits) == 1

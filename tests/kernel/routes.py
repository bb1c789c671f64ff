"""Runs in a namespace: random routing tables in the kernel and in netsim; prints the differences."""

from __future__ import annotations

import json
import random
import subprocess
import sys

from netsim.space import Family, Packet
from netsim.space.pool import POOL
from netsim.topology.forwarding import forwarding
from netsim.topology.model import Device, Interface, Prefix
from netsim.topology.routes import parse_routes, parse_rules, prefix

ERRORS = {
    "Invalid argument": "blackhole",
    "No route to host": "unreachable",
    "Permission denied": "prohibit",
    "Network is unreachable": "no-route",
}
ADDRESSES = {"e0": "10.0.1.1/24", "e1": "10.0.2.1/24"}


def ip(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr}")
    return done


def kernel(address: str, mark: int, source: str) -> str:
    """`local`, the interface, or what the kernel refuses with."""
    done = ip("route", "get", address, "from", source, "mark", str(mark), check=False)
    if done.returncode:
        return next((name for text, name in ERRORS.items() if text in done.stderr), done.stderr)
    words = done.stdout.split()
    return "local" if words[0] == "local" else words[words.index("dev") + 1]


def netsim(device: Device, address: str, mark: int, source: str) -> str:
    point = [v or 0 for v in Packet(src=source, dst=address, mark=mark).point()]
    found = [f for f in forwarding(device) if POOL.value(f.packets, point)]
    assert len(found) == 1
    if found[0].action == "forward":
        return found[0].hops[0].interface
    return found[0].action


def main(seed: int) -> None:
    rng = random.Random(seed)
    ip("link", "set", "lo", "up")
    for name, address in ADDRESSES.items():
        ip("tuntap", "add", "dev", name, "mode", "tap")
        ip("link", "set", name, "up")
        ip("addr", "add", address, "dev", name)
    ip("rule", "add", "priority", "100", "fwmark", "0x1/0x1", "lookup", "7")
    ip("rule", "add", "priority", "200", "from", "10.0.2.1", "lookup", "8")
    different, asked = [], 0
    for _ in range(6):
        routes: dict[tuple[str, str, int], str] = {}
        for table in ("main", "7", "8"):
            ip("route", "flush", "table", table, "proto", "static", check=False)
            for _ in range(rng.randint(2, 7)):
                length = rng.choice((0, 4, 6, 8, 16, 24))
                net = f"{rng.randrange(20, 24)}.{rng.randrange(3)}.{rng.randrange(2)}.0"
                target = str(prefix(f"{net}/{length}"))
                first = Prefix(Family.IPV4, prefix(f"{net}/{length}").first, length)
                metric = rng.choice((0, 10, 20))
                kind = rng.choice(
                    ("unicast", "unicast", "unicast", "blackhole", "unreachable", "prohibit", "throw")
                )
                dev = rng.choice(("e0", "e1"))
                key = (table, str(first), metric)
                if key in routes:
                    continue
                via = ("via", f"10.0.{1 if dev == 'e0' else 2}.{rng.randint(2, 9)}", "dev", dev)
                text = [*(() if kind == "unicast" else (kind,)), str(first), *(via if kind == "unicast" else ()),
                        "metric", str(metric), "table", table, "proto", "static"]  # fmt: skip
                ip("route", "add", *text)
                routes[key] = target
        # netsim reads what the kernel prints, as text and as JSON
        text = ip("route", "show", "table", "all").stdout
        as_text = [r for r in parse_routes(text, family=Family.IPV4) if r.prefix.family is Family.IPV4]
        rows = json.loads(ip("-j", "-4", "route", "show", "table", "all").stdout)
        as_json = parse_routes(json.dumps(rows), family=Family.IPV4)
        rules = parse_rules(ip("-j", "rule").stdout)
        assert [r.priority for r in rules] == [r.priority for r in parse_rules(ip("rule").stdout)]
        interfaces = tuple(Interface(n, (prefix(a),), n) for n, a in ADDRESSES.items())
        kept = [r for r in as_json if r.table != "local" and "kernel" not in r.source.text]
        device = Device("d", interfaces, routes=tuple(kept), route_rules=rules)
        assert {(str(r.prefix), r.table, r.metric, r.type) for r in as_json} <= {
            (str(r.prefix), r.table, r.metric, r.type) for r in as_text
        }
        for _ in range(80):
            address = (
                f"{rng.randrange(19, 26)}.{rng.randrange(4)}.{rng.randrange(3)}.{rng.choice((0, 1, 255))}"
            )
            if rng.random() < 0.15:
                address = rng.choice(("10.0.1.1", "10.0.2.77", "10.0.1.255", "127.0.0.1"))
            mark, source = rng.choice((0, 1, 2, 3)), rng.choice(("10.0.1.1", "10.0.2.1"))
            asked += 1
            want, got = kernel(address, mark, source), netsim(device, address, mark, source)
            if address == "10.0.1.255":
                want = "local" if want == "e0" else want  # a broadcast: delivered here, and sent
            if want != got:
                different.append((address, mark, source, want, got))
    print(json.dumps({"asked": asked, "different": different}))


if __name__ == "__main__":
    main(int(sys.argv[1]))

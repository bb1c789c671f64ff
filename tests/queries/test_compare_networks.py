"""Comparisons of networks against one packet after the other, before and after random edits."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netsim
from netsim.index.differ import Kind
from netsim.queries.compare import Change, Comparison
from netsim.space import Packet, PacketSet
from netsim.space.pool import POOL
from tests.queries.test_against_tracing import LINKS, Header, fate, parts, rules

RANK = {"blocked": 0, "split": 1, "allowed": 2}
PORTS = ("tcp/80", "tcp/81")


def network(rng: random.Random) -> netsim.Network:
    """A network at random with a service on every host."""
    found = parts(rng)
    if rng.random() < 0.5:  # then an address of a zone sends and answers like a host on its link
        for host in found["hosts"].values():
            host.pop("gateway", None)
    services = {f"s-{h}": {"instances": [h], "ports": list(PORTS)} for h in found["hosts"]}
    return netsim.Network.build(**found, services=services)


def edited(rng: random.Random, net: netsim.Network) -> netsim.Network:
    """One or two edits: of rules, of a policy, of a whole rule set, of a route, or an interface that goes down."""
    for n in range(rng.randint(1, 2)):
        name = rng.choice(sorted(net.devices))
        device = net.devices[name]
        links = sorted(i.link for i in device.interfaces)
        edit = net.edit()
        filters = [r for r in device.rulesets[0].rules() if r.chain.startswith("filter/")]
        lines = rules(rng, links, int(name[1:])).split("\n")
        line = next((x for x in lines if x.startswith("-A FORWARD")), "-A FORWARD -j DROP")
        kind = rng.choice(["insert", "insert", "delete", "replace", "swap", "policy", "route", "down"])
        if kind in ("delete", "replace") and filters:
            rule = rng.choice(filters)
            line = line.replace("FORWARD", rule.chain.partition("/")[2])
            if kind == "replace" and rule.chain.endswith("one"):
                line = line.replace("-j one", "-j RETURN")
            edit = edit.delete(rule.id) if kind == "delete" else edit.replace(rule.id, line)
        elif kind == "swap":
            edit = edit.swap(name, "\n".join(lines))
        elif kind == "policy":
            edit = edit.policy(f"{name}:filter/FORWARD", rng.choice(["ACCEPT", "DROP"]))
        elif kind == "route":
            metric = 7 + n  # two routes of one prefix have different ones
            edit = edit.add_route(name, f"blackhole 10.0.{rng.randrange(len(LINKS))}.0/28 metric {metric}")
        elif kind == "down":
            edit = edit.down(f"{name}:{rng.choice(links)}")
        else:
            edit = edit.insert(f"{name}:filter/FORWARD", line, before=1 if rng.random() < 0.6 else None)
        net = edit.network
    return net


def has(packets: PacketSet, packet: Packet) -> bool:
    return bool(POOL.value(packets.node, [v or 0 for v in packet.point()]))


def opening(header: Header) -> Packet:
    return Packet(**header, protocol="tcp", tcp_flags="SYN", state="new", length=60)


def kinds_at(changes: list[Change], packet: Packet) -> list[Kind]:
    return [c.kind for c in changes if has(c.packets, packet)]


def wanted(old: tuple[str, Any], new: tuple[str, Any]) -> list[Kind]:
    if RANK[old[0]] != RANK[new[0]]:
        return [Kind.GAINED if RANK[new[0]] > RANK[old[0]] else Kind.LOST]
    return [Kind.CHANGED] if old[0] == "allowed" and old[1] != new[1] else []


def check(rng: random.Random) -> None:
    before = network(rng)
    after = edited(rng, before)
    comparison: Comparison = netsim.compare(before, after)
    by_place: dict[str, list[Change]] = {}
    for change in comparison.changes:
        assert change.packets
        mine = by_place.setdefault(change.where, [])
        assert not any(change.packets & other.packets for other in mine), change.where
        mine.append(change)
    for source in sorted(before.hosts):
        for target in sorted(before.hosts):
            if source == target or rng.random() < 0.3:
                continue
            for port in (80, 81):
                header: Header = {
                    "src": before.hosts[source].addresses[0].address,
                    "dst": before.hosts[target].addresses[0].address,
                    "sport": rng.choice((40000, 40001)), "dport": port, "ttl": rng.choice((64, 65)),
                }  # fmt: skip
                fates = [fate(net, source, target, header) for net in (before, after)]
                packet = opening(header)
                expected = wanted(fates[0], fates[1])
                where = f"s-{source} -> s-{target} tcp/{port}"
                assert kinds_at(by_place.get(where, []), packet) == expected, (where, packet, fates)
                if any(h.gateway for h in before.hosts.values()):
                    continue
                zones = f"{source[0]} -> {target[0]} tcp"
                assert kinds_at(by_place.get(zones, []), packet) == expected, (zones, packet, fates)
    named(comparison, before, after)


def named(comparison: Comparison, before: netsim.Network, after: netsim.Network) -> None:
    """A side that says "blocked" names a rule that drops, or a policy, or something else that exists."""
    for change in comparison.changes:
        for side, net in ((change.before, before), (change.after, after)):
            assert side.verdict
            if side.rule is None:
                continue
            mine = [r for d in net.devices.values() for x in d.rulesets for r in x.rules()]
            assert any(r is side.rule or r == side.rule for r in mine)
            if side.verdict.startswith("blocked"):
                assert side.rule.action.kind.value in ("drop", "reject")
            if side.verdict == "allowed":
                assert side.rule.action.kind.value == "accept"


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_every_packet_is_where_its_ways_put_it(seed: int) -> None:
    check(random.Random(seed))


@pytest.mark.soak
def test_many_more_packets() -> None:
    for seed in range(1_000):
        check(random.Random(seed))

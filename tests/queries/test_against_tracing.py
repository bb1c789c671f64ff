"""`reach` against one packet after the other: a second tracer, plain and slow, on networks at random."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netsim
from netsim.queries.reach import Reachability
from netsim.rules.evaluate import evaluate
from netsim.rules.model import Point, RuleSet, Tracking, Verdict
from netsim.space.fields import Direction, State
from netsim.space.packet import Packet
from netsim.topology.model import Device, Host, Interface, NextHop, Prefix, Route, RouteType

Header = dict[str, Any]


@attrs.frozen
class Seen:
    """What a device remembers of an opening packet."""

    device: str
    group: str
    before: tuple[tuple[str, Any], ...]
    after: tuple[Any, ...]


class Trace:
    """Every way that one packet may take; each ends in `"arrived"` or in the name of what stops it."""

    def __init__(
        self, network: netsim.Network, wanted: set[int], seen: tuple[Seen, ...] | None = None
    ) -> None:
        self.network = network
        self.wanted = wanted
        self.seen = seen
        self.ends: list[tuple[str, Header, tuple[Seen, ...], str]] = []

    def send(self, host: Host, header: Header) -> None:
        if self.on_link(host.link, header["dst"]):
            self.deliver(host.link, header["dst"], None, header, (), ())
            return
        gateways = [a for _, a in host.gateway] or [
            p.address for _, i in self.interfaces(host.link) for p in i.addresses
        ]
        if not gateways:
            self.ends.append(("no-gateway", header, (), host.link))
        for gateway in gateways:
            self.deliver(host.link, header["dst"], gateway, header, (), ())

    def interfaces(self, link: str) -> Iterator[tuple[Device, Interface]]:
        for device in self.network.devices.values():
            for interface in device.interfaces:
                if interface.link == link and interface.up:
                    yield device, interface

    def on_link(self, link: str, address: int) -> bool:
        return (
            any(p.first <= address <= p.last for _, i in self.interfaces(link) for p in i.addresses)
            or self.host_at(link, address) is not None
        )

    def host_at(self, link: str, address: int) -> Host | None:
        for host in self.network.hosts.values():
            if host.link == link and any(p.address == address for p in host.addresses):
                return host
        return None

    def deliver(
        self,
        link: str,
        address: int,
        via: int | None,
        header: Header,
        way: tuple[Any, ...],
        seen: tuple[Seen, ...],
    ) -> None:
        target = address if via is None else via
        for device, interface in self.interfaces(link):
            if any(p.address == target for p in interface.addresses):
                self.cross(device, interface, header, way, seen)
                return
        if via is None and self.host_at(link, address) is not None:
            self.ends.append(("arrived", header, seen, link))
            return
        self.ends.append(("no-neighbour", header, seen, link))

    def ask(self, device: Device, points: set[Point], hook: Point, header: Header) -> Header | None:
        """The header behind the chains of some hook points; None if it is stopped."""
        for ruleset in device.rulesets:
            chains = {n: c for n, c in ruleset.chains.items() if c.hook is None or c.hook.point in points}
            part = RuleSet(chains, family=ruleset.family)
            packet = Packet(
                **{k: v for k, v in header.items() if k not in ("entry",)},
                protocol="tcp",
                length=60,
                tos=0,
                mac="02:00:00:00:00:01",
                ctmark=0,
                ct_status=0,
            )
            ruling = evaluate(part, packet, hook=hook)
            assert ruling.verdict is not Verdict.UNKNOWN, ruling.because
            if ruling.verdict is not Verdict.ACCEPT:
                return None
            after = ruling.after
            assert after is not None
            header = {
                **header, "src": after["src4"], "dst": after["dst4"], "sport": after["sport"],
                "dport": after["dport"], "mark": after["mark"], "ttl": after["ttl"],
            }  # fmt: skip
        return header

    def cross(
        self,
        device: Device,
        interface: Interface,
        header: Header,
        way: tuple[Any, ...],
        seen: tuple[Seen, ...],
    ) -> None:
        def stop(why: str) -> None:
            self.ends.append((why, header, seen, device.name))

        if (device.name, interface.name) in way:
            return stop("forwarding-loop")
        way = (*way, (device.name, interface.name))
        before = tuple(header.items())
        known = None
        tracking = device.tracking or Tracking.FILTERED
        header = {**header, "iif": interface.name, "oif": "", "mark": 0, "state": State.NEW,
                  "direction": Direction.ORIGINAL}  # fmt: skip
        if tracking is Tracking.UNTRACKED:
            header["state"] = State.UNTRACKED
        elif self.seen is not None:
            for each in self.seen:
                # An entry is looked up by the ends, as they are here.
                ends = (header["dst"], header["dport"], header["src"], header["sport"])
                same = each.device == device.name or (each.group and each.group == device.state_group)
                if same and each.after == ends:
                    known = dict(each.before)
                    header |= {"state": State.ESTABLISHED, "direction": Direction.REPLY}
                    break
            else:
                header["state"] = State.INVALID
        passed = tracking is Tracking.PASSED and known is not None
        if tracking is Tracking.PASSED and self.seen is not None and known is None:
            return stop("asymmetric-return")
        if not passed:
            found = self.ask(device, {Point.PREROUTING}, Point.INPUT, header)
            if found is None:
                return stop("rules")
            header = found
        if known is not None:
            header = {**header, "dst": known["src"], "dport": known["sport"]}
        own = {p.address for i in device.interfaces for p in i.addresses}
        if header["src"] in own:
            return stop("martian")
        mode = max(device.rp_filter or 0, interface.rp_filter or 0)
        if mode:
            back = self.route(device, {**header, "src": header["dst"], "dst": header["src"], "mark": 0})
            if not isinstance(back, Route) or back.type is not RouteType.UNICAST:
                return stop("rp-filter")
            if mode == 1 and all(h.interface != interface.name for h in self.hops(device, back)):
                return stop("rp-filter")
        route = self.route(device, header)
        if route == "local":
            if not passed and self.ask(device, {Point.INPUT}, Point.INPUT, header) is None:
                return stop("rules")
            self.ends.append(
                ("arrived" if header["dst"] in self.wanted else "local", header, seen, device.name)
            )
            return None
        if not isinstance(route, Route) or route.type is not RouteType.UNICAST:
            return stop("route")
        if device.ip_forward is False:
            return stop("ip-forward")
        for hop in self.hops(device, route):
            self.leave(device, hop, header, before, known, passed, way, seen)
        return None

    def leave(
        self, device: Device, hop: Any, header: Header, before: tuple[Any, ...], known: Header | None,
        passed: bool, way: tuple[Any, ...], seen: tuple[Seen, ...],
    ) -> None:  # fmt: skip
        out: Header | None = {**header, "oif": hop.interface}
        assert out is not None
        if passed:
            out["ttl"] -= 1
        else:
            out = self.ask(device, {Point.FORWARD, Point.POSTROUTING}, Point.FORWARD, out)
        if out is None:
            self.ends.append(("rules", header, seen, device.name))
            return
        if known is not None:
            out = {**out, "src": known["dst"], "sport": known["dport"]}
        interface = device.interface(hop.interface)
        assert interface is not None
        kept = {k: out[k] for k in ("src", "dst", "sport", "dport", "ttl", "tcp_flags")}
        more = seen
        if self.seen is None and (device.tracking or Tracking.FILTERED) is not Tracking.UNTRACKED:
            ends = (out["src"], out["sport"], out["dst"], out["dport"])
            more = (*seen, Seen(device.name, device.state_group, before, ends))
        via = hop.via[1] if hop.via else None
        self.deliver(interface.link, kept["dst"], via, kept, way, more)

    def hops(self, device: Device, route: Route) -> list[Any]:
        found = []
        for hop in route.hops:
            if hop.interface:
                found.append(hop)
                continue
            for interface in device.interfaces:
                if not interface.up:
                    continue
                if hop.via is not None and any(hop.via in p for p in interface.addresses):
                    found.append(attrs.evolve(hop, interface=interface.name))
                    break
        return found

    def route(self, device: Device, header: Header) -> Route | str | None:
        """Policy rules in order, then longest prefix and lowest metric: the obvious way."""
        dst = header["dst"]
        for interface in device.interfaces:
            for p in interface.addresses:
                if dst in (p.address, p.last):
                    return "local"
        for rule in sorted(device.route_rules, key=lambda r: r.priority):
            if rule.fwmark is not None and header["mark"] & rule.fwmark[1] != rule.fwmark[0]:
                continue
            if rule.src is not None and not rule.src.first <= header["src"] <= rule.src.last:
                continue
            found = self.lookup(device, rule.table, dst)
            if found is not None and found.type is not RouteType.THROW:
                return found
        if device.route_rules:
            return None
        return self.lookup(device, "main", dst)

    def lookup(self, device: Device, table: str, dst: int) -> Route | None:
        routes = [r for r in device.routes if r.table == table]
        if table == "main":  # those that the interfaces bring are older than every other
            near = [(p, i.name) for i in device.interfaces if i.up for p in i.addresses]
            routes = [
                *(Route(Prefix(p.family, p.first, p.length), (NextHop(name),)) for p, name in near),
                *routes,
            ]
        if not all(i.up for i in device.interfaces):  # what leads through one that is down is gone
            routes = [r for r in routes if r.type is not RouteType.UNICAST or self.hops(device, r)]
        fitting = [r for r in routes if r.prefix.first <= dst <= r.prefix.last]
        return min(fitting, key=lambda r: (-r.prefix.length, r.metric), default=None)


def outcome(network: netsim.Network, source: str, target: str, header: Header) -> str:
    """allowed, blocked or split, by every way of the packet and of its answers."""
    return fate(network, source, target, header)[0]


def fate(
    network: netsim.Network, source: str, target: str, header: Header
) -> tuple[str, frozenset[tuple[Any, ...]]]:
    """The outcome, and as which packets it arrives: source, destination and their ports."""
    wanted = {p.address for p in network.hosts[target].addresses}
    opening = Trace(network, wanted)
    opening.send(network.hosts[source], {**header, "tcp_flags": "SYN"})
    results = []
    arrivals = set()
    for why, arrived, seen, link in opening.ends:
        if why != "arrived":
            results.append(False)
            continue
        arrivals.add(tuple(arrived[key] for key in ("src", "sport", "dst", "dport")))
        swapped = {
            "src": arrived["dst"], "dst": arrived["src"], "sport": arrived["dport"], "dport": arrived["sport"],
            "ttl": header["ttl"], "tcp_flags": "SYN,ACK",
        }  # fmt: skip
        answer = Trace(network, {header["src"]}, seen)
        host = opening.host_at(link, arrived["dst"])
        assert host is not None
        answer.send(host, swapped)
        for why, came, *_ in answer.ends:
            # The client waits for an answer from where it has sent to.
            ends = (came["src"], came["sport"], came["dst"], came["dport"])
            asked = (header["dst"], header["dport"], header["src"], header["sport"])
            results.append(why == "arrived" and ends == asked)
    status = "allowed" if all(results) else "split" if any(results) else "blocked"
    return status, frozenset(arrivals)


LINKS = "abcd"


def rules(rng: random.Random, links: list[str], number: int) -> str:
    def host() -> str:
        return f"10.0.{rng.randrange(len(LINKS))}.{rng.choice((11, 12))}"

    def condition() -> str:
        return rng.choice([
            "", f"-s {host()}", f"-d {host()}", "-p tcp --dport 80", "-p tcp --dport 81", "-p tcp --sport 40000",
            f"-i {rng.choice(links)}", f"-o {rng.choice(links)}", f"-s 10.0.{rng.randrange(4)}.0/24",
            "-m conntrack --ctstate NEW", "-m conntrack --ctstate ESTABLISHED", "-m conntrack ! --ctstate INVALID",
            "-m mark --mark 1", "-m ttl --ttl-lt 64", "-p tcp --tcp-flags SYN,ACK SYN", "-m conntrack --ctdir REPLY",
        ])  # fmt: skip

    def words(*more: str) -> str:
        return " ".join(w for w in more if w)

    lines = ["*mangle", ":PREROUTING ACCEPT"]
    if rng.random() < 0.4:
        given = condition()
        lines.append(words("-A PREROUTING", given if "-o " not in given else "", "-j MARK --set-mark 1"))
    lines += ["COMMIT", "*nat", ":PREROUTING ACCEPT", ":POSTROUTING ACCEPT"]
    if rng.random() < 0.3:
        port = rng.choice(("", ":80"))
        lines.append(f"-A PREROUTING -d {host()} -p tcp --dport 81 -j DNAT --to-destination {host()}{port}")
    if rng.random() < 0.3:
        link = rng.choice(links)
        lines.append(f"-A POSTROUTING -o {link} -p tcp -j SNAT --to-source 10.0.{LINKS.index(link)}.{number}")
    lines += [
        "COMMIT",
        "*filter",
        f":FORWARD {rng.choice(('ACCEPT', 'ACCEPT', 'DROP'))}",
        ":INPUT ACCEPT",
        ":one -",
    ]
    if rng.random() < 0.7:
        lines.append("-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT")
    for _ in range(rng.randrange(4)):
        chain = rng.choice(("FORWARD", "FORWARD", "one"))
        jumps = ["one"] if chain == "FORWARD" else ["RETURN"]
        lines.append(words("-A", chain, condition(), "-j", rng.choice(["ACCEPT", "ACCEPT", "DROP", *jumps])))
    return "\n".join([*lines, "COMMIT", ""])


def network(rng: random.Random) -> netsim.Network:
    return netsim.Network.build(**parts(rng))


def parts(rng: random.Random) -> dict[str, Any]:
    """Devices and hosts of a network at random."""
    devices: dict[str, Any] = {}
    where: dict[str, list[str]] = {}
    for number in range(1, rng.randint(1, 3) + 1):
        where[f"r{number}"] = sorted(rng.sample(LINKS, rng.randint(2, 3)))
    for number, (name, links) in enumerate(where.items(), 1):
        near = [f"10.0.{LINKS.index(link)}.{n}" for link in links
                for n, other in enumerate(where, 1) if n != number and link in where[other]]  # fmt: skip
        routes = []
        for link in LINKS:
            if near and (link not in links or rng.random() < 0.1):
                to = rng.choice(
                    (f"10.0.{LINKS.index(link)}.0/24", f"10.0.{LINKS.index(link)}.0/28", "default")
                )
                hops = [{"via": v} for v in rng.sample(near, min(len(near), rng.choice((1, 1, 2))))]
                table = rng.choice(("main", "main", "main", "7"))
                metric = rng.choice((0, 0, 10))
                kind = rng.choice(("unicast",) * 8 + ("blackhole", "prohibit", "throw"))
                more = {"nexthops": hops} if kind == "unicast" else {"type": kind}
                routes.append({"to": to, "table": table, "metric": metric, **more})
        marks = [{"priority": 100, "fwmark": 1, "table": 7}] if rng.random() < 0.3 else []
        devices[name] = {
            "rules": rules(rng, links, number), "ip_forward": rng.random() < 0.95,
            "rp_filter": rng.choice((0, 0, 1, 2)), "state_group": rng.choice(("", "pair")),
            "tracking": rng.choice(("filtered", "filtered", "filtered", "passed", "untracked")),
            "interfaces": {x: {"address": f"10.0.{LINKS.index(x)}.{number}/24", "link": x} for x in links},
            "routes": routes, "route_rules": marks,
        }  # fmt: skip
    used = sorted({link for links in where.values() for link in links})
    hosts = {}
    for link in used:
        for n in (11, 12):
            at = LINKS.index(link)
            near = [f"10.0.{at}.{m}" for m, r in enumerate(where, 1) if link in where[r]]
            gateway = {"gateway": rng.choice(near)} if rng.random() < 0.6 else {}
            hosts[f"{link}{n}"] = {"address": f"10.0.{at}.{n}", "link": link, **gateway}
    return {"devices": devices, "hosts": hosts}


def check(rng: random.Random) -> None:
    net = network(rng)
    source, target = rng.sample(sorted(net.hosts), 2)
    ports = (40000, 40001)
    r: Reachability = net.reach(source, target, "tcp/80,81", source_ports=ports)
    parts = {"allowed": r.allowed, "blocked": r.blocked, "split": r.split}
    assert not r.unknown, (net, r)
    assert r.asked == r.allowed | r.blocked | r.split
    assert not (r.allowed & r.blocked or r.allowed & r.split or r.blocked & r.split)
    stopped = netsim.NOTHING
    for blocker in r.blockers:
        stopped |= blocker.packets
    assert r.blocked | r.split <= stopped
    assert not stopped & r.allowed
    for sport in ports:
        for dport in (80, 81):
            for ttl in (64, 65):
                header: Header = {"src": net.hosts[source].addresses[0].address, "dst": net.hosts[target].addresses[0].address,
                          "sport": sport, "dport": dport, "ttl": ttl}  # fmt: skip
                packet = Packet(**header, protocol="tcp")
                wanted = outcome(net, source, target, header)
                got = [name for name, part in parts.items() if part & one(packet)]
                assert got == [wanted], (source, target, packet, got, wanted, str(r))


def one(packet: Packet) -> netsim.PacketSet:
    return netsim.packets(sport=packet.sport, dport=packet.dport, ttl=packet.ttl)


@settings(max_examples=150)
@given(st.integers(0, 2**32))
def test_reach_agrees_with_every_way_of_single_packets(seed: int) -> None:
    check(random.Random(seed))


@pytest.mark.soak
def test_reach_agrees_with_many_more() -> None:
    for seed in range(5_000):
        check(random.Random(seed))

"""Routing: what a device does with a packet by its destination, and what its sources may be.

Theory of operation. The routing policy rules are asked in the order of their priority; each looks up a
table; a table answers with the longest prefix that holds the destination, of several the one with the
lowest metric; `throw` and no match go on with the next rule. A table becomes disjoint ranges of
destinations in one sweep over its sorted prefixes. Sources: ip-rule(8), ip-route(8), and for reverse
path filtering and martians Linux' ip-sysctl.rst and net/ipv4/route.c.

An interface that is down, as `ip link set DEV down` leaves it (measured on Linux 6.18): its connected and
broadcast routes, the routes through it and its part of equal-cost routes are gone; its IPv4 addresses stay
local, its IPv6 addresses do not.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from netsim.space.addresses import show_address
from netsim.space.diagram import AND, LESS, OR, TRUE, LevelMap, Shift
from netsim.space.fields import ABSENT, ADDRESS_FIELDS, FIELDS, Family, Range, interface_value, merge_ranges
from netsim.space.pool import POOL, bits_node, condition_node, field_node
from netsim.space.transform import Transformation, constant
from netsim.topology.model import Device, NextHop, Prefix, Route, RouteRule, RouteType

DEFAULT_RULES = (RouteRule(0, "local"), RouteRule(32766, "main"), RouteRule(32767, "default"))


@attrs.frozen(slots=True)
class Forward:
    """Part of a device's forwarding: `packets` is a diagram over the current header.

    `action` is local, forward, blackhole, unreachable, prohibit or no-route; `route` decided it.
    """

    packets: int
    action: str
    hops: tuple[NextHop, ...] = ()
    route: Route | None = None


def connected(device: Device) -> tuple[Route, ...]:
    """The routes that the interfaces bring: local addresses, broadcasts and connected prefixes."""
    found: list[Route] = []
    for interface in device.interfaces:
        main = interface.vrf or "main"
        local = interface.vrf or "local"
        hop = (NextHop(interface.name),)
        for p in interface.addresses:
            own = Prefix(p.family, p.address, p.family.bits)
            if interface.up or p.family is Family.IPV4:
                found.append(Route(own, hop, RouteType.LOCAL, 0, local, interface.source))
            if not interface.up:
                continue
            if p.length < p.family.bits:
                net = Prefix(p.family, p.first, p.length)
                found.append(Route(net, hop, RouteType.UNICAST, 0, main, interface.source))
                if p.family is Family.IPV4 and p.length < 31:
                    last = Prefix(p.family, p.last, 32)
                    found.append(Route(last, hop, RouteType.BROADCAST, 0, local, interface.source))
    every = Prefix(Family.IPV4, (1 << 32) - 1, 32)
    found += [
        Route(every, (NextHop(i.name),), RouteType.BROADCAST, 0, i.vrf or "local") for i in device.interfaces
    ]
    found.append(Route(Prefix(Family.IPV4, 127 << 24, 8), (NextHop("lo"),), RouteType.LOCAL, 0, "local"))
    found.append(Route(Prefix(Family.IPV6, 1, 128), (NextHop("lo"),), RouteType.LOCAL, 0, "local"))
    return tuple(found)


def resolved(device: Device) -> tuple[tuple[Route, ...], tuple[Route, ...]]:
    """The device's active routes, next hops without an interface resolved, and those that are not active."""
    own = connected(device)
    active, dead = list(own), []
    down = {i.name for i in device.interfaces if not i.up}
    for route in device.routes:
        hops: list[NextHop] = []
        for hop in route.hops:
            if not hop.interface and hop.via is not None:
                # Where it was resolved when it was added: a route does not move to another interface.
                link = next((i for i in device.interfaces for p in i.addresses if hop.via in p), None)
                if link is None:
                    continue
                hop = attrs.evolve(hop, interface=link.name)
            if hop.interface not in down:
                hops.append(hop)
        if not hops and (route.hops or route.type is RouteType.UNICAST):
            dead.append(route)
        else:
            active.append(attrs.evolve(route, hops=tuple(hops)))
    return tuple(active), tuple(dead)


def best_routes(routes: Iterable[Route], family: Family) -> list[tuple[Range, Route]]:
    """Disjoint ranges of destinations with the route that wins each: longest prefix, then lowest metric.

    Of equal prefix and metric the first one wins, as the kernel keeps the older one.
    """
    chosen: dict[tuple[int, int], Route] = {}
    for route in routes:
        if route.prefix.family is not family:
            continue
        key = (route.prefix.first, route.prefix.length)
        if key not in chosen or route.metric < chosen[key].metric:
            chosen[key] = route
    result: list[tuple[Range, Route]] = []
    stack: list[Route] = []
    position = 0

    def close(until: int) -> None:
        """Emit up to (not including) `until`, leaving prefixes that end before it."""
        nonlocal position
        while stack and stack[-1].prefix.last < until:
            top = stack.pop()
            if position <= top.prefix.last:
                result.append(((position, top.prefix.last), top))
                position = top.prefix.last + 1
        if stack and position < until:
            result.append(((position, until - 1), stack[-1]))
        position = max(position, until)

    for (first, _), route in sorted(chosen.items()):
        close(first)
        stack.append(route)
    close(1 << family.bits)
    return result


def _rule_node(rule: RouteRule) -> int:
    """The packets that look up a rule's table."""
    node = within = TRUE
    family = (
        rule.family if rule.family is not None else next((p.family for p in (rule.src, rule.dst) if p), None)
    )
    if family is not None:
        within = field_node(FIELDS["family"], ((family, family),))
    for side, prefix in (("src", rule.src), ("dst", rule.dst)):
        if prefix is not None:
            name = ADDRESS_FIELDS[side, prefix.family]
            node = POOL.apply(AND, node, condition_node(name, ((prefix.first, prefix.last),)))
    for field, name in (("iif", rule.iif), ("oif", rule.oif)):
        if name:
            # what the device sends itself arrives, for a rule, on `lo`
            value = ABSENT if (field, name) == ("iif", "lo") else interface_value(name)
            node = POOL.apply(AND, node, field_node(FIELDS[field], ((value, value),)))
    if rule.fwmark is not None:
        value, mask = rule.fwmark
        node = POOL.apply(AND, node, bits_node(FIELDS["mark"], mask, value & mask))
    if rule.tos:  # the two bits of ECN do not count, and 0 is no condition
        low = rule.tos & 0xFC
        node = POOL.apply(AND, node, field_node(FIELDS["tos"], ((low, low | 3),)))
    return POOL.apply(AND, within, POOL.negate(node) if rule.negated else node)


def _vrf_rules(device: Device) -> list[RouteRule]:
    """Packets that arrive in a VRF look up its table (l3mdev, priority 1000)."""
    return [RouteRule(1000, i.vrf, iif=i.name) for i in device.interfaces if i.vrf] + [
        # and, once they are in it, nothing else
        RouteRule(1001, "", iif=i.name, action=RouteType.UNREACHABLE)
        for i in device.interfaces
        if i.vrf
    ]


def forwarding(device: Device) -> tuple[Forward, ...]:
    """What the device does with packets: disjoint parts whose union is everything.

    The diagrams are over the current header: destination, and what policy rules ask (source, iif, mark).
    """
    routes, _ = resolved(device)
    tables: dict[str, list[Route]] = {}
    for route in routes:
        tables.setdefault(route.table, []).append(route)
    given = device.route_rules or DEFAULT_RULES
    if not any(r.table == "local" for r in given):
        given = (DEFAULT_RULES[0], *given)
    rules = sorted([*given, *_vrf_rules(device)], key=lambda r: r.priority)
    found: list[Forward] = []
    rest = TRUE
    for rule in rules:
        if not rest:
            break
        asked = POOL.apply(AND, rest, _rule_node(rule))
        if not asked:
            continue
        if rule.action is not RouteType.UNICAST:
            found.append(Forward(asked, rule.action.value))
            rest = POOL.apply(LESS, rest, asked)
            continue
        for packets, route in _lookup(tables.get(rule.table, ())):
            part = POOL.apply(AND, asked, packets)
            if not part or route.type is RouteType.THROW:
                continue
            rest = POOL.apply(LESS, rest, part)
            action = {
                RouteType.UNICAST: "forward",
                RouteType.LOCAL: "local",
                RouteType.BROADCAST: "local",
            }.get(route.type, route.type.value)
            found.append(Forward(part, action, route.hops, route))
    if rest:
        found.append(Forward(rest, "no-route"))
    return tuple(found)


def grouped(forwards: Iterable[Forward]) -> tuple[Forward, ...]:
    """The same forwarding, with the parts that go one way joined: what is sent needs no route by name.

    A part that ends here keeps its route, which answers name.
    """
    found: dict[object, Forward] = {}
    for forward in forwards:
        sent = forward.action in ("forward", "local")
        key: object = (
            (forward.action, forward.hops if forward.action == "forward" else ()) if sent else forward
        )
        known = found.get(key)
        if known is not None:
            forward = attrs.evolve(known, packets=POOL.apply(OR, known.packets, forward.packets))
        found[key] = forward
    return tuple(found.values())


def _lookup(routes: Iterable[Route]) -> list[tuple[int, Route]]:
    """A table as packets -> route."""
    listed = list(routes)
    result: list[tuple[int, Route]] = []
    for family in Family:
        grouped: dict[int, tuple[Route, list[Range]]] = {}
        for span, route in best_routes(listed, family):
            grouped.setdefault(id(route), (route, []))[1].append(span)
        field = ADDRESS_FIELDS["dst", family]
        result += [(condition_node(field, merge_ranges(r)), route) for route, r in grouped.values()]
    return result


def reverse_path(device: Device, interface: str, forwards: tuple[Forward, ...]) -> tuple[int, int]:
    """The rp_filter mode of an interface and the packets whose IPv4 source passes it.

    Mode 0 passes all, 1 (strict) those whose source is routed back through the same interface, 2 (loose)
    those whose source is routed at all. The larger of the device's and the interface's setting counts.
    """
    found = device.interface(interface)
    mode = max(device.rp_filter or 0, (found.rp_filter or 0) if found else 0)
    if mode == 0:
        return 0, TRUE
    back = _backwards(interface if found is not None and found.vrf else "")
    good = field_node(FIELDS["family"], ((Family.IPV6, Family.IPV6),))
    for forward in forwards:
        if forward.action != "forward":
            continue
        if mode == 1 and all(hop.interface != interface for hop in forward.hops):
            continue
        good = POOL.apply(OR, good, back.preimage(POOL, forward.packets, OR))
    return mode, good


def _backwards(iif: str) -> Transformation:
    """The lookup that a source is checked with: the ends exchanged, unmarked, as if sent by the device.

    fib_validate_source() in net/ipv4/fib_frontend.c; marks count only with src_valid_mark.
    """
    ends = {"src4": "dst4", "dst4": "src4"}
    maps: dict[int, LevelMap] = {
        FIELDS[to].level: Shift(FIELDS[origin].level, ((0, FIELDS[origin].maximum, 0),))
        for to, origin in ends.items()
    }
    change = Transformation.of(maps).then(constant("mark", 0)).then(constant("oif", ABSENT))
    return change.then(constant("iif", interface_value(iif) if iif else ABSENT))


def martians(device: Device, vrf: str = "") -> tuple[tuple[str, int], ...]:
    """The packets that routing refuses whatever the tables say, by name: (name, packets).

    `martian-source`: 0.0.0.0, multicast, limited broadcast, loopback, and the device's own addresses (not
    those of other VRFs); `martian-destination`: 0.0.0.0, loopback, and multicast, which unicast routing does not forward
    (ip_route_input_rcu() in net/ipv4/route.c, Linux 5.3 and newer; RFC 4291 for IPv6).
    """
    own4 = [
        (p.address, p.address)
        for i in device.interfaces
        if i.vrf in ("", vrf)  # the table `local` is asked before that of the VRF
        for p in i.addresses
        if p.family is Family.IPV4
    ]
    never = [(0, 0), (127 << 24, (128 << 24) - 1), (224 << 24, (240 << 24) - 1)]
    bad = [*never, ((1 << 32) - 1, (1 << 32) - 1)]
    bad6 = ((0, 1), (0xFF << 120, (1 << 128) - 1))
    source = POOL.apply(OR, condition_node("src4", merge_ranges([*bad, *own4])), condition_node("src6", bad6))
    destination = POOL.apply(OR, condition_node("dst4", merge_ranges(never)), condition_node("dst6", bad6))
    return (("martian-source", source), ("martian-destination", destination))


def explain_route(forward: Forward) -> str:
    """A route as text for answers."""
    if forward.route is None:
        return "no route to the destination"
    hops = ", ".join(
        (f"via {show_address(*h.via)} " if h.via else "") + f"dev {h.interface}" for h in forward.hops
    )
    return f"{forward.action}: {forward.route.prefix} {hops}".strip()


__all__ = [
    "DEFAULT_RULES",
    "Forward",
    "best_routes",
    "connected",
    "explain_route",
    "forwarding",
    "grouped",
    "martians",
    "resolved",
    "reverse_path",
]

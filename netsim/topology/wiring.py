"""What an edit does to a device besides its rules in place: whole rule files, links and interfaces, routes.

Functions of values. Sources: ip-route(8), ip-link(8), and what Linux 6.18 was seen to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from netsim.errors import DEFAULT_LIMITS, Diagnostic, InputError, QuestionError, near_misses
from netsim.parsers import parse, parse_file, said_of
from netsim.parsers.ipset import parse_ipsets
from netsim.parsers.text import decode, read_bytes
from netsim.rules.bind import NamedSet
from netsim.rules.model import RuleSet
from netsim.source import Source
from netsim.space.addresses import show_address
from netsim.topology.forwarding import connected
from netsim.topology.model import Device, Interface, NextHop, Route, RouteType
from netsim.topology.network import Network, bound
from netsim.topology.routes import parse_routes

# Rules


def read_rules(
    device: Device,
    rules: str | Path | RuleSet,
    ipsets: str | Path | Mapping[str, NamedSet] | None,
    name: str,
) -> tuple[Device, str, str]:
    """The device with other rules of one family, what they take the place of ('' nothing), and their name.

    `name` is the file that the rules of a text name. Raises `InputError`.
    """
    found, sets = _ruleset(device, rules, name), device.sets
    if isinstance(ipsets, Mapping):
        sets = ipsets
    elif ipsets is not None:
        inline = isinstance(ipsets, str) and "\n" in ipsets
        data: Any = ipsets if inline else read_bytes(ipsets, DEFAULT_LIMITS)
        sets = parse_ipsets(data, file=name if inline else str(ipsets))
    new = bound(device, found, sets)
    old = next((r for r in device.rulesets if r.family == new.family), None)
    if old is None:
        rulesets = (*device.rulesets, new)
    else:
        rulesets = tuple(new if r is old else r for r in device.rulesets)
    changed = attrs.evolve(device, rulesets=rulesets, sets=sets)
    return changed, (old.file or "its rules") if old else "", found.file or name


def _ruleset(device: Device, rules: str | Path | RuleSet, name: str) -> RuleSet:
    if isinstance(rules, RuleSet):
        return rules
    text, shown = "", name
    if isinstance(rules, str) and "\n" in rules:
        text = rules
    else:
        shown = str(rules)
        if not Path(rules).is_file():
            parse_file(rules)  # says why it cannot be read
        text = decode(read_bytes(rules, DEFAULT_LIMITS), shown, DEFAULT_LIMITS)
    family, said = said_of(text)
    if family is None and len(device.rulesets) == 1:
        family = device.rulesets[0].family
    backend = device.backend
    if not backend and not said:
        # Neither the site nor the text says it: what the rules that go are read with.
        backend = next((r.backend for r in device.rulesets if family in (None, r.family)), "")
    return parse(text, file=shown, family=family, backend=backend or None)


# Links and interfaces


def take_down(network: Network, what: str) -> Network:
    """The network without a link, an interface or a device. Raises `QuestionError` for what is not there."""
    kind, colon, name = what.partition(":")
    links = _links(network)
    if colon and kind == "link" and (kind not in network.devices or name in links):
        if name not in links:
            raise QuestionError.of(f"no link {name[:60]!r}", code="NS309", hint=near_misses(name, links))
        devices = {
            device.name: _down(device, [i for i in device.interfaces if i.link == name])
            for device in network.devices.values()
        }
        down = network.down if name in network.down else (*network.down, name)
        return attrs.evolve(network, devices=devices, down=down)
    if colon:
        device = network.device(kind)
        found = device.interface(name)
        if found is None:
            hint = near_misses(name, [i.name for i in device.interfaces])
            raise QuestionError.of(f"{kind} has no interface {name[:60]!r}", code="NS309", hint=hint)
        return network.with_device(_down(device, [found]))
    if what not in network.devices:
        known = [*network.devices, *(f"link:{link}" for link in links)]
        hint = near_misses(what, known) or (f"write link:{what}" if what in links else "")
        raise QuestionError.of(f"no device {what[:60]!r}", code="NS309", hint=hint)
    device = network.devices[what]
    return network.with_device(_down(device, list(device.interfaces)))


def _links(network: Network) -> list[str]:
    found = [i.link for d in network.devices.values() for i in d.interfaces if i.link]
    found += [h.link for h in network.hosts.values()]
    found += [s.link for s in network.subnets.values()]
    return list(dict.fromkeys([*found, *network.internet]))


def _down(device: Device, which: list[Interface]) -> Device:
    """The device with some interfaces down; the same object if they are already."""
    names = {i.name for i in which if i.up}
    if not names:
        return device
    interfaces = tuple(attrs.evolve(i, up=False) if i.name in names else i for i in device.interfaces)
    return attrs.evolve(device, interfaces=interfaces)


# Routes


def _read_route(text: str, source: Source) -> Route:
    words = text.split()
    if words[:1] == ["ip"]:
        words = words[1:]
    if words[:1] in (["-4"], ["-6"]):
        words = words[1:]
    if words[:1] == ["route"] and words[1:2] and words[1] in ("add", "append", "del", "delete"):
        words = words[2:]
    try:
        found = parse_routes(" ".join(words))
    except InputError as error:
        raise InputError([attrs.evolve(d, source=source) for d in error.diagnostics]) from None
    if len(found) != 1:
        raise InputError([Diagnostic(source, "NS210", "one route is expected")])
    return attrs.evolve(found[0], source=source)


def new_route(device: Device, text: str, name: str) -> Route:
    """The route of a text, as `ip route add` would take it. Raises `InputError`."""
    source = Source(pointer=name, text=text)
    route = _read_route(text, source)
    if route.type is RouteType.UNICAST and not route.hops:
        raise QuestionError.of(f"{text[:80]!r} has no next hop", code="NS308", hint="say via or dev")
    for hop in route.hops:
        _reachable(device, hop)
    for other in device.routes:
        if _key(other) == _key(route):
            message = f"{device.name} has such a route already: {other}"
            raise QuestionError.of(message, code="NS308", hint="give it another metric, or delete that one")
    return route


def _key(route: Route) -> tuple[object, ...]:
    return route.prefix.family, route.prefix.first, route.prefix.length, route.metric, route.table


def _reachable(device: Device, hop: NextHop) -> None:
    up = [i for i in device.interfaces if i.up]
    if hop.interface and hop.interface not in {i.name for i in up}:
        known = device.interface(hop.interface) is not None
        what = f"{hop.interface} is down" if known else f"no interface {hop.interface[:40]!r}"
        hint = "" if known else near_misses(hop.interface, [i.name for i in up])
        raise QuestionError.of(f"{device.name}: {what}", code="NS308", hint=hint)
    if hop.via is None or hop.interface:
        return
    if not any(hop.via in p for i in up for p in i.addresses):
        networks = ", ".join(str(p) for i in up for p in i.addresses if p.family is hop.via[0])
        raise QuestionError.of(
            f"{device.name}: the next hop {show_address(*hop.via)} is on no connected network",
            code="NS308",
            hint=f"it is on {networks[:200]}" if networks else "",
        )


def delete_route(device: Device, text: str) -> Device:
    """The device without the route that fits a text. Raises `QuestionError` if that is none, or several."""
    wanted = _read_route(text, Source(text=text))
    words = text.split()
    target = (wanted.prefix.family, wanted.prefix.first, wanted.prefix.length)

    def fits(route: Route) -> bool:
        hops = all(
            any(
                (not w.interface or w.interface == h.interface) and (w.via is None or w.via == h.via)
                for h in route.hops
            )
            for w in wanted.hops
        )
        return (
            (route.prefix.family, route.prefix.first, route.prefix.length) == target
            and hops
            and ("metric" not in words or route.metric == wanted.metric)
            and route.table == wanted.table
            and (wanted.type is RouteType.UNICAST or route.type is wanted.type)
        )

    found = [r for r in device.routes if fits(r)]
    if len(found) == 1:
        return attrs.evolve(device, routes=tuple(r for r in device.routes if r is not found[0]))
    if found:
        several = "; ".join(_shown(r) for r in found[:4])
        raise QuestionError.of(f"{text[:80]!r} is more than one route: {several}", code="NS308")
    if any(fits(r) for r in connected(device)):
        raise QuestionError.of(
            f"{device.name}: {text[:80]!r} comes with an interface's address",
            code="NS308",
            hint="take the interface down",
        )
    shown = [_shown(r) for r in device.routes]
    hint = near_misses(text, shown) or (
        f"its routes are {'; '.join(shown[:6])}" if shown else "it has no routes"
    )
    raise QuestionError.of(f"{device.name} has no route {text[:80]!r}", code="NS308", hint=hint)


def _shown(route: Route) -> str:
    metric = f" metric {route.metric}" if route.metric else ""
    table = f" table {route.table}" if route.table != "main" else ""
    return f"{route}{metric}{table}"


__all__ = ["delete_route", "new_route", "read_rules", "take_down"]

"""A site: `netsim.yaml` and the devices' own files, or the same said in Python.

The schema is documented in docs/site.md. Every violation is a diagnostic with its place, all at once;
files never leave the folder that was given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs

from netsim.errors import DEFAULT_LIMITS, Diagnostic, InputError, Limits, near_misses
from netsim.parsers import parse, parse_file
from netsim.parsers.ipset import parse_ipsets
from netsim.parsers.text import decode, read_bytes
from netsim.rules.model import RuleSet, Tracking
from netsim.source import NOWHERE, Source
from netsim.space.fields import Family, Range
from netsim.topology.forwarding import DEFAULT_RULES
from netsim.topology.model import (
    Assumption,
    Device,
    Host,
    Interface,
    NextHop,
    Prefix,
    Route,
    RouteRule,
    RouteType,
    Service,
    Subnet,
    Zone,
)
from netsim.topology.network import Network, bound, inactive_routes
from netsim.topology.nodes import Mistakes, Node, from_plain, load_yaml
from netsim.topology.routes import host_address, parse_routes, parse_rules, prefix, table_name

T = TypeVar("T")

TOP = ("version", "name", "devices", "hosts", "services", "links", "subnets", "internet",
       "zones", "source_ports")  # fmt: skip
DEVICE = ("rules", "ipsets", "backend", "interfaces", "routes", "route_files", "route_rules", "ip_forward",
          "rp_filter", "tracking", "state_group")  # fmt: skip
INTERFACE = ("address", "link", "vrf", "rp_filter")
ROUTE = ("to", "via", "dev", "metric", "type", "table", "nexthops")
RULE = ("priority", "from", "to", "iif", "oif", "fwmark", "table", "not", "type", "tos")
HOST = ("address", "link", "gateway")
SERVICE = ("instances", "ports")
SUBNET = ("prefix", "link")


def _port_range(text: str) -> Range:
    """`1024-65535`. Raises `ValueError`."""
    low, dash, high = text.partition("-")
    if not (low.isdecimal() and (not dash or high.isdecimal()) and len(text) <= 11):
        raise ValueError(f"a range of ports is low-high, not {text[:40]!r}")
    found = int(low), int(high if dash else low)
    if not found[0] <= found[1] <= 65535:
        raise ValueError(f"{text[:40]} is no range of ports")
    return found


class _Reader:
    """Turns nodes into a network; `root` None: there are no files, rules are given as text."""

    def __init__(self, root: Path | None, limits: Limits) -> None:
        self.root = root
        self.limits = limits
        self.mistakes = Mistakes()
        self.assumptions: list[Assumption] = []
        self.extra_hosts: dict[str, Host] = {}

    def value(self, node: Node, parse_value: Callable[[str], T], what: str) -> T | None:
        text = self.mistakes.text(node, what)
        if not text:
            return None
        try:
            return parse_value(text)
        except ValueError as error:
            self.mistakes.note(node.source, f"{what}: {error}", code="NS204")
            return None

    def file(self, node: Node) -> tuple[str, Path] | None:
        """A file of the site's folder: its name for answers, and where it is."""
        name = self.mistakes.text(node, "a file name")
        if not name or self.root is None:
            return None
        path = self.root / name
        try:
            inside = path.resolve().is_relative_to(self.root.resolve())
            there = path.is_file()
        except OSError:  # no such name can exist
            inside, there = True, False
        except (RuntimeError, ValueError):
            inside = there = False
        if Path(name).is_absolute() or not inside:
            self.mistakes.note(node.source, f"{name[:80]!r} leaves the site's folder", code="NS205")
            return None
        if not there:
            self.mistakes.note(node.source, f"there is no file {name[:80]!r}", code="NS206")
            return None
        return name, path

    def collect(self, read: Callable[[], T]) -> T | None:
        """The result of a reader of another file; its mistakes join ours."""
        try:
            return read()
        except InputError as error:
            self.mistakes.found += error.diagnostics
            return None

    def network(self, top: Node) -> Network:
        site = self.mistakes.mapping(top, "a site", TOP)
        version = site.get("version")
        if version is not None and version.value != 1:
            self.mistakes.note(version.source, "version 1 is expected")
        devices = {n: self.device(n, d) for n, d in self.named(site.get("devices"), "devices")}
        hosts = {n: self.host(n, h) for n, h in self.named(site.get("hosts"), "hosts")}
        services = {n: self.service(n, s, hosts) for n, s in self.named(site.get("services"), "services")}
        subnets = {n: self.subnet(n, s) for n, s in self.named(site.get("subnets"), "subnets")}
        hosts = {**hosts, **self.extra_hosts}
        self.mistakes.mapping(site.get("links"), "links")
        internet = self.mistakes.mapping(site.get("internet"), "internet", ("links",))
        links = tuple(
            self.mistakes.text(n, "a link") for n in self.mistakes.items(internet.get("links"), "links")
        )
        self.distinct(site, self.extra_hosts)
        zones = tuple(self.zone(n, z) for n, z in self.named(site.get("zones"), "zones"))
        known = {i.link for d in devices.values() for i in d.interfaces if i.link}
        for kind, found in (("host", hosts), ("subnet", subnets)):
            for each in found.values():
                if each.link not in known:
                    hint = near_misses(each.link, known) or "no device has an interface on it"
                    self.mistakes.note(
                        each.source,
                        f"{kind} {each.name}: no link {each.link[:40]!r}",
                        code="NS207",
                        hint=hint,
                    )
        self.zone_links(site.get("zones"), known)
        for node in self.mistakes.items(internet.get("links"), "links"):
            link = self.mistakes.text(node, "a link")
            if link not in known:
                hint = near_misses(link, known) or "no device has an interface on it"
                self.mistakes.note(node.source, f"internet: no link {link[:40]!r}", code="NS207", hint=hint)
        name = self.mistakes.text(site.get("name"), "name")
        ports = (
            self.value(site["source_ports"], _port_range, "source_ports") if "source_ports" in site else None
        )
        self.mistakes.finish()
        for device in devices.values():
            self.assumptions += inactive_routes(device)
        return Network(
            devices, hosts, services, subnets, links, name or (self.root.name if self.root else ""),
            str(self.root or ""), tuple(self.assumptions), zones, source_ports=ports,
        )  # fmt: skip

    def named(self, node: Node | None, what: str) -> list[tuple[str, Node]]:
        return list(self.mistakes.mapping(node, what).items())

    def distinct(self, site: Mapping[str, Node], extra: Mapping[str, Host]) -> None:
        seen: dict[str, str] = dict.fromkeys(extra, "hosts")
        for kind in ("devices", "hosts", "services", "subnets", "zones"):
            node = site.get(kind)
            for name in self.mistakes.mapping(node, kind) if node is not None else ():
                source = node.keys.get(name, node.source) if node is not None else NOWHERE
                if name in seen:
                    self.mistakes.note(
                        source, f"{name[:40]!r} is the name of one of {seen[name]} too", code="NS203"
                    )
                if name == "internet":
                    self.mistakes.note(source, "'internet' is a reserved name", code="NS203")
                seen[name] = kind

    # Devices

    def device(self, name: str, node: Node) -> Device:
        m = self.mistakes
        d = m.mapping(node, f"device {name}", DEVICE)
        interfaces = tuple(
            self.interface(n, i) for n, i in m.mapping(d.get("interfaces"), f"{name}: interfaces").items()
        )
        routes: list[Route] = []
        for r in m.items(d.get("routes"), f"{name}: routes"):
            routes += self.route(r)
        for f in m.items(d.get("route_files"), f"{name}: route_files"):
            routes += self.from_file(f, lambda text, shown: parse_routes(text, file=shown))
        rules: list[RouteRule] = []
        listed = False
        for r in m.items(d.get("route_rules"), f"{name}: route_rules"):
            if isinstance(r.value, dict):
                rule = self.rule(r)
                rules += [rule] if rule else []
            else:
                listed = True
                rules += self.from_file(r, lambda text, shown: parse_rules(text, file=shown))
        if rules and not listed:  # `ip rule add` adds to what is there; `ip rule` lists everything
            rules += DEFAULT_RULES
        tracking = None
        if d.get("tracking") is not None:
            word = m.text(d["tracking"], "tracking")
            tracking = next((t for t in Tracking if t.value == word), None)
            if tracking is None:
                m.note(d["tracking"].source, "tracking is filtered, passed or untracked", code="NS204")
        forward = m.truth(d.get("ip_forward"), f"{name}: ip_forward")
        if forward is None:
            self.assumptions.append(
                Assumption("ip-forward", f"{name} forwards packets (ip_forward is not given)", node.source)
            )
        rp = m.integer(d.get("rp_filter"), f"{name}: rp_filter", 0, 2)
        if rp is None and not any(i.rp_filter is not None for i in interfaces):
            self.assumptions.append(
                Assumption(
                    "rp-filter",
                    f"{name} does not filter by reverse path (rp_filter is not given)",
                    node.source,
                )
            )
        device = Device(
            name, interfaces, (), tuple(routes), tuple(rules), forward, rp, tracking,
            m.text(d.get("state_group"), "state_group"), node.source,
        )  # fmt: skip
        return self.with_rules(device, d)

    def with_rules(self, device: Device, d: Mapping[str, Node]) -> Device:
        sets: dict[str, Any] = {}
        given = False
        for node in m_items(self, d.get("ipsets"), "ipsets"):
            given = True
            found = self.from_text(
                node, lambda text, shown: parse_ipsets(text, file=shown, limits=self.limits)
            )
            sets.update(found or {})
        backend = self.mistakes.text(d.get("backend"), "backend") or None
        if backend not in (None, "nft", "legacy"):
            self.mistakes.note(d["backend"].source, "backend is nft or legacy", code="NS204")
            backend = None
        result: list[RuleSet] = []
        families: set[Family | None] = set()
        for node in m_items(self, d.get("rules"), "rules"):
            ruleset = self.ruleset(node, backend)
            if ruleset is None:
                continue
            if ruleset.family in families:
                self.mistakes.note(
                    node.source,
                    f"{device.name} has rules for {ruleset.family.name if ruleset.family else 'both families'} twice",
                    code="NS203",
                )
            families.add(ruleset.family)
            if backend is None and any(w.code == "NS130" for w in ruleset.warnings):
                text = f"{device.name}: {ruleset.file or 'its rules'} does not name its back end: legacy is assumed"
                self.assumptions.append(Assumption("back-end", text, node.source))
            result.append(bound(device, ruleset, sets if given else None))
        return attrs.evolve(
            device, rulesets=tuple(result), sets=sets if given else None, backend=backend or ""
        )

    def ruleset(self, node: Node, backend: str | None) -> RuleSet | None:
        if isinstance(node.value, RuleSet):
            return node.value
        if self.root is None:
            text = self.mistakes.text(node, "rules")
            return self.collect(
                lambda: parse(text, file=node.source.pointer, backend=backend, limits=self.limits)
            )
        found = self.file(node)
        if found is None:
            return None
        name, path = found
        return self.collect(lambda: parse_file(path, name=name, backend=backend, limits=self.limits))

    def from_text(self, node: Node, read: Callable[[str, str], T]) -> T | None:
        if self.root is None:
            text = self.mistakes.text(node, "a text")
            return self.collect(lambda: read(text, node.source.pointer))
        found = self.file(node)
        if found is None:
            return None
        name, path = found
        return self.collect(lambda: read(decode(read_bytes(path, self.limits), name, self.limits), name))

    def from_file(self, node: Node, read: Callable[[str, str], tuple[T, ...]]) -> tuple[T, ...]:
        return self.from_text(node, read) or ()

    def interface(self, name: str, node: Node) -> Interface:
        m = self.mistakes
        i = m.mapping(node, f"interface {name}", INTERFACE)
        addresses = self.prefixes(i.get("address"), "address")
        if len(name.encode()) > 15:
            m.note(node.source, "an interface name has at most 15 bytes", code="NS204")
        return Interface(
            name, addresses, m.text(i.get("link"), "link"), m.text(i.get("vrf"), "vrf"),
            m.integer(i.get("rp_filter"), "rp_filter", 0, 2), node.source,
        )  # fmt: skip

    def interface_name(self, node: Node | None, what: str) -> str:
        name = self.mistakes.text(node, what)
        if node is not None and len(name.encode()) > 15:
            self.mistakes.note(node.source, "an interface name has at most 15 bytes", code="NS204")
            return ""
        return name

    def prefixes(self, node: Node | None, what: str) -> tuple[Prefix, ...]:
        found = [self.value(n, prefix, what) for n in self.mistakes.items(node, what)]
        return tuple(p for p in found if p is not None)

    def route(self, node: Node) -> list[Route]:
        if not isinstance(node.value, dict):
            text = self.mistakes.text(node, "a route")
            try:
                found = parse_routes(text)
            except InputError as error:
                for each in error.diagnostics:
                    self.mistakes.note(node.source, f"a route: {each.message}", code=each.code)
                return []
            return [attrs.evolve(r, source=node.source) for r in found]
        m = self.mistakes
        r = m.mapping(node, "a route", ROUTE)
        via = self.value(r["via"], host_address, "via") if "via" in r else None
        hops: list[NextHop] = []
        if "via" in r or "dev" in r:
            hops.append(NextHop(self.interface_name(r.get("dev"), "dev"), via))
        for hop in m.items(r.get("nexthops"), "nexthops"):
            h = m.mapping(hop, "a next hop", ("via", "dev", "weight"))
            towards = self.value(h["via"], host_address, "via") if "via" in h else None
            hops.append(
                NextHop(
                    self.interface_name(h.get("dev"), "dev"),
                    towards,
                    m.integer(h.get("weight"), "weight", 1, 256, 1),
                )
            )
        if "to" not in r:
            m.note(node.source, "a route needs 'to'", code="NS208")
            return []
        family = hops[0].via[0] if hops and hops[0].via else None
        to = self.value(r["to"], lambda text: prefix(text, family), "to")
        kind = m.text(r.get("type"), "type") or "unicast"
        kinds = {t.value: t for t in RouteType}
        if kind not in kinds:
            m.note(r["type"].source, f"a route's type is {', '.join(kinds)}", code="NS204")
        if to is None or kind not in kinds:
            return []
        if kind == "unicast" and not hops:
            m.note(node.source, "a route needs 'via', 'dev' or 'nexthops'", code="NS208")
            return []
        table = table_name(m.text(r.get("table"), "table") or "main")
        return [
            Route(
                to,
                tuple(hops),
                kinds[kind],
                m.integer(r.get("metric"), "metric", 0, 2**32 - 1, 0),
                table,
                node.source,
            )
        ]

    def rule(self, node: Node) -> RouteRule | None:
        m = self.mistakes
        r = m.mapping(node, "a routing rule", RULE)
        mark = None
        if "fwmark" in r:
            value, _, mask = m.text(r["fwmark"], "fwmark").partition("/")
            try:
                mark = (int(value, 0), int(mask, 0) if mask else 0xFFFFFFFF)
            except ValueError:
                m.note(r["fwmark"].source, "fwmark is VALUE or VALUE/MASK", code="NS204")
        priority = m.integer(r.get("priority"), "priority", 0, 2**32 - 1)
        if priority is None:
            m.note(node.source, "a routing rule needs 'priority'", code="NS208")
            return None
        kinds = {t.value: t for t in RouteType}
        action = kinds.get(m.text(r.get("type"), "type") or "unicast", RouteType.UNICAST)
        return RouteRule(
            priority, table_name(m.text(r.get("table"), "table") or "main"), None,
            self.value(r["from"], prefix, "from") if "from" in r else None,
            self.value(r["to"], prefix, "to") if "to" in r else None,
            self.interface_name(r.get("iif"), "iif"), self.interface_name(r.get("oif"), "oif"), mark,
            m.integer(r.get("tos"), "tos", 0, 255), bool(m.truth(r.get("not"), "not")), action, node.source,
        )  # fmt: skip

    # Ends

    def host(self, name: str, node: Node) -> Host:
        m = self.mistakes
        h = m.mapping(node, f"host {name}", HOST)
        addresses = self.prefixes(h.get("address"), "address")
        if not self.mistakes.items(h.get("address"), "address"):
            m.note(node.source, f"host {name} has no address", code="NS208")
        gateways = [self.value(g, host_address, "gateway") for g in m.items(h.get("gateway"), "gateway")]
        return Host(
            name,
            addresses,
            m.text(h.get("link"), "link"),
            tuple(g for g in gateways if g is not None),
            node.source,
        )

    def service(self, name: str, node: Node, hosts: Mapping[str, Host]) -> Service:
        m = self.mistakes
        s = m.mapping(node, f"service {name}", SERVICE)
        found = s.get("instances")
        instances: list[tuple[str, int]] = []
        if found is not None and isinstance(found.value, dict):
            for host, value in found.value.items():
                inner = m.mapping(value, f"instance {host}", ("weight", *HOST))
                weight = m.integer(inner.get("weight"), "weight", 1, 10**9, 1)
                if host not in hosts and "address" in inner:
                    plain = Node({k: v for k, v in inner.items() if k != "weight"}, value.source, value.keys)
                    self.extra_hosts[host] = self.host(host, plain)
                self.known(host, {**hosts, **self.extra_hosts}, found.keys.get(host, found.source))
                instances.append((host, weight))
        else:
            for member in m.items(found, "instances"):
                host = m.text(member, "an instance")
                self.known(host, hosts, member.source)
                if any(host == other for other, _ in instances):
                    m.note(member.source, f"{host[:40]!r} is named twice; give it a weight", code="NS203")
                instances.append((host, 1))
        if not instances:
            m.note(node.source, f"service {name} has no instances", code="NS208")
        ports = tuple(m.text(p, "a port") for p in m.items(s.get("ports"), "ports"))
        return Service(name, tuple(instances), ports, node.source)

    def known(self, host: str, hosts: Mapping[str, Host], source: Source) -> None:
        if host not in hosts:
            self.mistakes.note(source, f"no host {host[:40]!r}", code="NS207", hint=near_misses(host, hosts))

    def subnet(self, name: str, node: Node) -> Subnet:
        s = self.mistakes.mapping(node, f"subnet {name}", SUBNET)
        found = self.prefixes(s.get("prefix"), "prefix")
        if not self.mistakes.items(s.get("prefix"), "prefix"):
            self.mistakes.note(node.source, f"subnet {name} has no prefix", code="NS208")
        return Subnet(name, found, self.mistakes.text(s.get("link"), "link"), node.source)

    def zone(self, name: str, node: Node) -> Zone:
        m = self.mistakes
        links = tuple(m.text(n, "a link") for n in m.items(node, f"zone {name}"))
        if not links and node.value in (None, []):
            m.note(node.source, f"zone {name} has no links", code="NS208")
        return Zone(name, tuple(dict.fromkeys(links)), node.source)

    def zone_links(self, node: Node | None, known: set[str]) -> None:
        """A link of a zone is one that a device has an interface on."""
        for name, zone in self.named(node, "zones"):
            members = zone.value if isinstance(zone.value, list) else [zone]
            for member in members:
                if isinstance(member.value, str | int) and str(member.value) not in known:
                    link = str(member.value)
                    hint = near_misses(link, known) or "no device has an interface on it"
                    self.mistakes.note(
                        member.source, f"zone {name}: no link {link[:40]!r}", code="NS207", hint=hint
                    )


def m_items(reader: _Reader, node: Node | None, what: str) -> list[Node]:
    """The members of a list of files."""
    return reader.mistakes.items(node, what)


def load(path: str | Path, *, limits: Limits = DEFAULT_LIMITS) -> Network:
    """The network of a site folder. Raises `InputError` with every mistake in every file."""
    root = Path(path)
    file = root / "netsim.yaml"
    if not file.is_file():
        raise InputError([Diagnostic(Source(str(file)), "NS206", "a site is a folder with a netsim.yaml")])
    text = decode(read_bytes(file, limits), "netsim.yaml", limits)
    return _Reader(root, limits).network(load_yaml(text, "netsim.yaml", limits))


def build(site: Mapping[str, Any], *, limits: Limits = DEFAULT_LIMITS) -> Network:
    """The network of plain data in the schema of a site; rules are texts or rule sets."""
    return _Reader(None, limits).network(from_plain(site))

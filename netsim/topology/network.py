"""A network as a value: devices, hosts, services, subnets and the links between them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from functools import cached_property
from typing import Any

import attrs

from netsim.display import Displayed, Document, Heading, Paragraph, Span, Table, Tone
from netsim.errors import QuestionError, near_misses
from netsim.index import Index
from netsim.rules.bind import own_addresses
from netsim.rules.model import RuleSet
from netsim.space.addresses import ranges as address_ranges
from netsim.space.diagram import FALSE, OR
from netsim.space.fields import ADDRESS_FIELDS, Family, Range, complement_ranges, merge_ranges
from netsim.space.pool import POOL, condition_node, kept
from netsim.topology.addresses import Addresses, addresses_of, common, count, less
from netsim.topology.forwarding import Forward, forwarding, grouped, martians, resolved, reverse_path
from netsim.topology.model import Assumption, Device, Host, Prefix, Service, Subnet, Zone
from netsim.topology.zones import PREFIX, link_addresses, zones_of


@attrs.frozen(slots=True)
class Instance:
    """One end of a question: its addresses by family, its weight, and the links where it is attached."""

    name: str
    addresses: Addresses
    weight: int
    links: tuple[str, ...]
    gateway: tuple[tuple[Family, int], ...] = ()
    host: bool = True


_GLOBAL4: tuple[Range, ...] = complement_ranges(
    tuple(
        address_ranges(
            ["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
             "192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
             "203.0.113.0/24", "224.0.0.0/3"]
        )[Family.IPV4]
    ),
    (1 << 32) - 1,
)  # fmt: skip
_GLOBAL6: tuple[Range, ...] = address_ranges("2000::/3")[Family.IPV6]


def _by_name(items: Any) -> Mapping[str, Any]:
    if isinstance(items, Mapping):
        return dict(items)
    return {item.name: item for item in items}


@attrs.frozen(eq=False, slots=False)
class Network(Displayed):
    """A frozen network. Names of devices, hosts, services, subnets and declared zones are distinct.

    `internet` are the links where the internet enters, `down` those that are dead: who is on one is cut
    off, also from its neighbours there. `assumptions` is what the site does not say. `declared_zones` are the
    site's own; `zones` are those, or what stands for them. Two networks are equal if everything in them is.
    """

    devices: Mapping[str, Device] = attrs.field(converter=_by_name, factory=dict)
    hosts: Mapping[str, Host] = attrs.field(converter=_by_name, factory=dict)
    services: Mapping[str, Service] = attrs.field(converter=_by_name, factory=dict)
    subnets: Mapping[str, Subnet] = attrs.field(converter=_by_name, factory=dict)
    internet: tuple[str, ...] = ()
    name: str = ""
    root: str = ""
    assumptions: tuple[Assumption, ...] = ()
    down: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    declared_zones: tuple[Zone, ...] = ()
    source_ports: Range | None = attrs.field(default=None, kw_only=True)
    """The source ports of clients, where the site says them."""
    inherited: Mapping[tuple[str, str], int] = attrs.field(factory=dict, repr=False)
    """The unmodelled variables of the network that this one was edited from."""

    def _key(self) -> tuple[Any, ...]:
        parts = (dict(self.devices), dict(self.hosts), dict(self.services), dict(self.subnets))
        zones = {z.name: z for z in self.declared_zones}
        return (*parts, self.internet, self.down, zones, self.source_ports or ())

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Network) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(tuple(sorted(part)) for part in self._key()))

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: what a site says, not what was compiled from it."""
        return {field.name: self.__dict__[field.name] for field in attrs.fields(Network)}

    # What is compiled, once a network

    @cached_property
    def variables(self) -> Mapping[tuple[str, str], int]:
        """The variable of each pure unmodelled condition, by device and text; see `index.compile.numbered`."""
        from netsim.index.compile import numbered, pure_texts

        texts = [
            (name, text)
            for name, device in self.devices.items()
            for ruleset in device.rulesets
            for text in pure_texts(ruleset)
        ]
        return numbered(texts, self.inherited)

    @cached_property
    def indexes(self) -> Mapping[str, tuple[Index, ...]]:
        """The index of each rule set of each device; a device's variables are its own."""
        mine: dict[str, dict[str, int]] = {}
        for (name, text), position in self.variables.items():
            mine.setdefault(name, {})[text] = position
        found: dict[str, tuple[Index, ...]] = {}
        for name, device in self.devices.items():
            own = own_addresses(device.addresses())
            found[name] = tuple(_index(r, own, mine.get(name, {})) for r in device.rulesets)
        return found

    @kept
    def forwards(self) -> Mapping[str, tuple[Forward, ...]]:
        """The forwarding of each device."""
        return {name: _forwarding(device) for name, device in self.devices.items()}

    @kept
    def ways(self) -> Mapping[str, tuple[Forward, ...]]:
        """The forwarding of each device, with the routes that go the same way joined."""
        return {name: grouped(forwards) for name, forwards in self.forwards.items()}

    @kept
    def refused(self) -> Mapping[tuple[str, str], tuple[tuple[str, int], ...]]:
        """What routing refuses on each interface of each device, by name: martians and reverse paths."""
        found: dict[tuple[str, str], tuple[tuple[str, int], ...]] = {}
        for name, device in self.devices.items():
            for interface in device.interfaces:
                bad = martians(device, interface.vrf)
                mode, good = reverse_path(device, interface.name, self.forwards[name])
                extra = ((f"rp-filter {mode}", POOL.negate(good)),) if mode else ()
                found[name, interface.name] = (*bad, *extra)
        return found

    @cached_property
    def site_index(self) -> Any:
        """The network made ready for batches of packets (`index.sites.SiteBatches`)."""
        return _query("site_index")(self)

    @cached_property
    def graph(self) -> Any:
        """The network as a frozen `networkx.MultiDiGraph`; see `topology.graph` for its attributes."""
        from netsim.topology.graph import to_graph

        return to_graph(self)

    # Names

    def names(self) -> list[str]:
        """Everything that can be asked about by name."""
        named = [*self.services, *self.hosts, *self.subnets, *self.devices]
        return [*named, *(z for z in map(self.zone_label, self.zones) if z not in named)]

    @cached_property
    def zones(self) -> Mapping[str, Zone]:
        """The zones by name; see `topology.zones`. `internet` is one where the site declares it."""
        return zones_of(self)

    @cached_property
    def link_addresses(self) -> Mapping[str, Addresses]:
        """Link -> the addresses that end systems on it may have."""
        return link_addresses(self)

    def zone_label(self, name: str) -> str:
        """What a zone is asked about as: its name, or `zone:NAME` where that name stands for something else."""
        if any(name in part for part in (self.services, self.hosts, self.devices)):
            return PREFIX + name
        if name in self.subnets:
            zone = self.zones[name]
            (subnet,) = self.instances(name)
            same = zone.links == subnet.links and self.link_addresses.get(zone.links[0]) == subnet.addresses
            return name if same else PREFIX + name
        return name

    def device(self, name: str) -> Device:
        """The device of that name. Raises `QuestionError`."""
        found = self.devices.get(name)
        if found is None:
            raise QuestionError.of(
                f"no device {name[:60]!r}", code="NS301", hint=near_misses(name, self.devices)
            )
        return found

    def instances(self, name: str) -> tuple[Instance, ...]:
        """What a name or prefix stands for. Raises `QuestionError` if it stands for nothing here."""
        if name in self.services:
            service = self.services[name]
            return tuple(attrs.evolve(self._host(self.hosts[h]), weight=w) for h, w in service.instances)
        if name in self.hosts:
            return (self._host(self.hosts[name]),)
        if name in self.subnets:
            subnet = self.subnets[name]
            whole = addresses_of(subnet.prefixes, whole=True)
            ends = less(whole, self.taken(subnet.link))
            return (Instance(name, ends or whole, 1, self._links((subnet.link,), name), (), False),)
        if name in self.devices:
            device = self.devices[name]
            prefixes = [p for i in device.interfaces for p in i.addresses]
            links = tuple(dict.fromkeys(i.link for i in device.interfaces if i.link))
            return (Instance(name, addresses_of(prefixes), 1, links, (), False),)
        zone = name.removeprefix(PREFIX)
        if zone == "internet":
            return (self._internet(),)
        if zone in self.zones:
            return self._zone(self.zones[zone])
        if zone != name:
            raise QuestionError.of(f"no zone {zone[:60]!r}", code="NS301", hint=near_misses(zone, self.zones))
        return self._prefix(name)

    def _zone(self, zone: Zone) -> tuple[Instance, ...]:
        label = self.zone_label(zone.name)
        return tuple(
            Instance(
                label if len(zone.links) == 1 else f"{label} on {link}",
                self.link_addresses.get(link, ()), 1, self._links((link,), label), (), False,
            )
            for link in zone.links
        )  # fmt: skip

    def _host(self, host: Host) -> Instance:
        links = self._links((host.link,), host.name)
        return Instance(host.name, addresses_of(host.addresses), 1, links, host.gateway)

    def _links(self, links: tuple[str, ...], who: str) -> tuple[str, ...]:
        """The links as one end sees them: a dead link is one of its own, on which there is nobody else."""
        return tuple(f"{link} (down, {who})" if link in self.down else link for link in links)

    def _internet(self) -> Instance:
        if not self.internet:
            raise QuestionError.of(
                "this site declares no internet", code="NS302", hint="add 'internet: {links: [...]}'"
            )
        own: dict[Family, list[Range]] = {f: [] for f in Family}
        for device in self.devices.values():
            for i in device.interfaces:
                for p in i.addresses:
                    own[p.family].append((p.first, p.last))
        addresses = []
        for family, world in ((Family.IPV4, _GLOBAL4), (Family.IPV6, _GLOBAL6)):
            top = (1 << family.bits) - 1
            outside = complement_ranges(world, top)
            left = complement_ranges(merge_ranges([*outside, *own[family]]), top)
            addresses.append((family, left))
        return Instance("internet", tuple(addresses), 1, self._links(self.internet, "internet"), (), False)

    def _prefix(self, text: str) -> tuple[Instance, ...]:
        try:
            found = address_ranges(text)
        except ValueError:
            hint = near_misses(text, self.names()) or "a name of the site, an address or a prefix is expected"
            raise QuestionError.of(f"nothing is called {text[:60]!r}", code="NS301", hint=hint) from None
        result: list[Instance] = []
        wanted: Addresses = tuple(found.items())
        outside = wanted
        for link, prefixes in self._link_prefixes().items():
            here = addresses_of(prefixes, whole=True)
            ends = less(common(wanted, here), self.taken(link))
            outside = less(outside, here)
            if ends:
                links = self._links((link,), text)
                result.append(Instance(f"{text} on {link}", ends, count(ends), links, (), False))
        for device in self.devices:
            (all_of_it,) = self.instances(device)
            own = common(wanted, all_of_it.addresses)
            outside = less(outside, own)
            if own:
                result.append(attrs.evolve(all_of_it, addresses=own, weight=count(own)))
        if outside and self.internet:
            links = self._links(self.internet, text)
            result.append(Instance(f"{text} outside", outside, count(outside), links, (), False))
        if not result:
            raise QuestionError.of(f"{text[:60]} is on no link of this site", code="NS302")
        return tuple(result)

    def partly(self, text: str, instances: Iterable[Instance]) -> bool:
        """Whether a prefix or subnet holds addresses that `instances`, what it stands for, do not."""
        subnet = self.subnets.get(text)
        if subnet is None and (text in (*self.names(), "internet") or text.startswith(PREFIX)):
            return False
        wanted = (
            tuple(address_ranges(text).items())
            if subnet is None
            else addresses_of(subnet.prefixes, whole=True)
        )
        for instance in instances:
            wanted = less(wanted, instance.addresses)
        return bool(wanted)

    def others(self, source: Instance, targets: Iterable[Instance]) -> tuple[Instance, ...]:
        """The targets that a source can talk to: all but itself, unless it is many end systems."""
        return tuple(t for t in targets if t.name != source.name or self.wide(t))

    def wide(self, instance: Instance) -> bool:
        """Whether an instance is many end systems, which may talk to one another."""
        return not instance.host and instance.name not in self.devices

    def taken(self, link: str) -> Addresses:
        """The addresses that no end system on a link has: the devices' own and the broadcasts."""
        found: dict[Family, list[Range]] = {}
        for device in self.devices.values():
            for interface in device.interfaces:
                for p in interface.addresses:
                    found.setdefault(p.family, []).append((p.address, p.address))
                    if interface.link == link and p.family is Family.IPV4 and p.length < 31:
                        found[p.family].append((p.last, p.last))
        return tuple((family, merge_ranges(ranges)) for family, ranges in found.items())

    def _link_prefixes(self) -> dict[str, list[Prefix]]:
        found: dict[str, list[Prefix]] = {}
        for device in self.devices.values():
            for i in device.interfaces:
                if i.link:
                    found.setdefault(i.link, []).extend(i.addresses)
        for host in self.hosts.values():
            found.setdefault(host.link, []).extend(host.addresses)
        for subnet in self.subnets.values():
            found.setdefault(subnet.link, []).extend(subnet.prefixes)
        return found

    # Links

    @cached_property
    def neighbours(self) -> Mapping[str, tuple[tuple[Device, Any], ...]]:
        """Link -> the device interfaces on it that are up."""
        found: dict[str, list[tuple[Device, Any]]] = {}
        for device in self.devices.values():
            for interface in device.interfaces:
                if interface.link and interface.up:
                    found.setdefault(interface.link, []).append((device, interface))
        return {link: tuple(each) for link, each in found.items()}

    @cached_property
    def residents(self) -> Mapping[str, tuple[Host, ...]]:
        """Link -> the hosts on it."""
        found: dict[str, list[Host]] = {}
        for host in self.hosts.values():
            found.setdefault(host.link, []).append(host)
        return {link: tuple(each) for link, each in found.items()}

    @cached_property
    def owners(self) -> Mapping[tuple[Family, int], tuple[str, ...]]:
        """Address -> the devices whose own it is."""
        found: dict[tuple[Family, int], dict[str, None]] = {}
        for device in self.devices.values():
            for interface in device.interfaces:
                for p in interface.addresses:
                    found.setdefault((p.family, p.address), {})[device.name] = None
        return {address: tuple(names) for address, names in found.items()}

    @kept
    def attached(self) -> Mapping[tuple[str, Family], int]:
        """Link and family -> the packets whose destination is an end system that is known to be there."""
        found: dict[tuple[str, Family], list[Range]] = {}
        for host in self.hosts.values():
            for p in host.addresses:
                found.setdefault((host.link, p.family), []).append((p.address, p.address))
        for subnet in self.subnets.values():
            for p in subnet.prefixes:
                found.setdefault((subnet.link, p.family), []).append((p.first, p.last))
        for link in self.internet:
            for family, ranges in self._internet().addresses:
                found.setdefault((link, family), []).extend(ranges)
        return {key: _destinations(key[1], ranges) for key, ranges in found.items()}

    @kept
    def near(self) -> Mapping[tuple[str, Family], int]:
        """Link and family -> the packets whose destination a host there takes to be on the link."""
        found: dict[tuple[str, Family], list[Range]] = {}
        for link, each in self.neighbours.items():
            for _, interface in each:
                for p in interface.addresses:
                    found.setdefault((link, p.family), []).append((p.first, p.last))
        nodes = {key: _destinations(key[1], ranges) for key, ranges in found.items()}
        for key, node in self.attached.items():
            nodes[key] = POOL.apply(OR, nodes.get(key, FALSE), node)
        return nodes

    # Changes

    def with_device(self, device: Device) -> Network:
        """This network with one device added or exchanged."""
        return attrs.evolve(self, devices={**self.devices, device.name: device}, inherited=self.variables)

    def reach(self, src: str, dst: str, traffic: Any = None, **more: Any) -> Any:
        """Whether `src` reaches `dst`; see `netsim.queries.reach.reach`."""
        return _query("reach")(self, src, dst, traffic, **more)

    def matrix(self, ends: Any = None, traffic: Any = None, **more: Any) -> Any:
        """Every pair of ends by traffic class; see `netsim.queries.matrix.matrix`."""
        return _query("matrix")(self, ends, traffic, **more)

    def audit(self, **more: Any) -> Any:
        """What is wrong in this network; see `netsim.queries.audit.audit_network`."""
        return _query("audit")(self, **more)

    def fix(self, src: str, dst: str, traffic: Any = None, **more: Any) -> Any:
        """The smallest edit after which `src` reaches `dst`, or does not; see `netsim.queries.fix`."""
        return _query("fix")(self, src, dst, traffic, **more)

    def classify(self, batch: Any, *, ingress: str | None = None, threads: int = 1) -> Any:
        """What becomes of each record of a batch of columns, end to end; see docs/classify.md.

        `batch` maps fields of `Packet` to arrays of one length, `src` and `dst` among them, as `Rules.classify` takes
        them. Its column `ingress`, or `ingress` for all, says where a record enters: a host, a subnet, a zone of one
        link, a link, or an interface as `device[interface]`. Raises `QuestionError` for what is no such batch.
        """
        return self.site_index.classify(batch, ingress=ingress, threads=threads)

    def save(self, path: Any) -> None:
        """Writes this network, made ready for batches, to a file, which `netsim.load_index` maps in milliseconds.

        The file is replaced in one step. Raises `OSError` where it cannot be written.
        """
        self.site_index.save(path)

    def edit(self) -> Any:
        """A change of this network: chain its methods; `.network` is the result. See `topology.edit`."""
        from netsim.topology.edit import Edit

        return Edit(self)

    @classmethod
    def build(cls, **site: Any) -> Network:
        """A network without files: the keys of `netsim.yaml`, with rules as text or as rule sets.

        Raises `InputError` for what a site file would be refused for.
        """
        from netsim.topology.site import build

        return build(site)

    # Showing

    def rows(self) -> list[dict[str, Any]]:
        """The devices as plain rows."""
        return [
            {
                "device": d.name,
                "interfaces": len(d.interfaces),
                "rules": sum(1 for r in d.rulesets for _ in r.rules()),
                "partly_unmodelled": sum(1 for r in d.rulesets for rule in r.rules() if not rule.modelled),
                "routes": len(d.routes),
                "files": [r.file for r in d.rulesets],
            }
            for d in self.devices.values()
        ]

    def frame(self) -> Any:
        """The rows as a pandas data frame; needs the extra `frames`."""
        from netsim.display.frame import frame

        return frame(self.rows(), ("device", "interfaces", "rules", "partly_unmodelled", "routes", "files"))

    def document(self) -> Document:
        """Devices, services and assumptions."""
        devices = [
            (str(r["device"]), str(r["interfaces"]), str(r["rules"]), str(r["partly_unmodelled"]),
             ", ".join(r["files"]))
            for r in self.rows()
        ]  # fmt: skip
        services = [
            (s.name, str(len(s.instances)), ", ".join(h for h, _ in s.instances), ", ".join(s.ports))
            for s in self.services.values()
        ]
        title = f"Network {self.name or self.root or ''}".strip()
        blocks: list[Any] = [Heading(title)]
        columns = ("device", "interfaces", "rules", "unmodelled", "files")
        blocks.append(Table(columns, devices, right=columns[1:4]))
        if services:
            blocks += [
                Heading("Services"),
                Table(("service", "instances", "hosts", "ports"), services, right=("instances",)),
            ]
        if self.assumptions:
            blocks.append(Heading("Assumptions"))
            blocks += [Paragraph([Span(f"{a.code} ", Tone.DIM), a.text]) for a in self.assumptions]
        return Document(blocks)


def _destinations(family: Family, ranges: list[Range]) -> int:
    return condition_node(ADDRESS_FIELDS["dst", family], merge_ranges(ranges))


_QUERIES: dict[str, Any] = {}


def _query(name: str) -> Any:
    """A registered query; its module, which lies above, is found by name on first use."""
    if name not in _QUERIES:
        from importlib import import_module

        import_module(f"netsim.queries.{name}")
    return _QUERIES[name]


def register(name: str, query: Any) -> None:
    """Let a query of the layer above be asked as a method of the network."""
    _QUERIES[name] = query


_INDEXES: dict[Hashable, tuple[RuleSet, Index]] = {}
_FORWARDS: dict[int, tuple[Device, tuple[Forward, ...]]] = {}
POOL.cache(_FORWARDS.clear)
_KEPT = 256


def _index(ruleset: RuleSet, own: Any, variables: Mapping[str, int]) -> Index:
    """The index of a rule set; an edit of one device does not compile the others again."""
    key = (id(ruleset), tuple(sorted(variables.items())), own)
    found = _INDEXES.get(key)
    if found is None or found[0] is not ruleset:
        if len(_INDEXES) >= _KEPT:
            _INDEXES.clear()
        found = _INDEXES[key] = (ruleset, Index(ruleset, addresses=own, variables=variables))
    return found[1]


def _forwarding(device: Device) -> tuple[Forward, ...]:
    key = hash((device.name, device.interfaces, device.routes, device.route_rules))
    found = _FORWARDS.get(key)
    if (
        found is None
        or found[0].interfaces != device.interfaces
        or found[0].routes != device.routes
        or (found[0].route_rules != device.route_rules)
    ):
        if len(_FORWARDS) >= _KEPT:
            _FORWARDS.clear()
        found = _FORWARDS[key] = (device, forwarding(device))
    return found[1]


def inactive_routes(device: Device) -> tuple[Assumption, ...]:
    """The routes whose next hop is on no connected network."""
    _, dead = resolved(device)
    return tuple(
        Assumption(
            "inactive-route",
            f"{device.name}: route {r} is inactive, its next hop is on no connected network",
            r.source,
        )
        for r in dead
    )


def bound(device: Device, ruleset: RuleSet, sets: Mapping[str, Any] | None) -> RuleSet:
    """A rule set with the device's own addresses and its sets bound."""
    from netsim.rules.bind import bind

    return bind(ruleset.named(device.name), addresses=device.addresses(), sets=sets)


__all__ = ["Instance", "Network", "bound", "inactive_routes"]

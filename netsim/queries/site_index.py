"""A network as tables for batches of packets: questions, ways, and the legs of every device.

What the tables say is what `trace.Tracer` does with a packet set in one direction that says its own state: see
there for the order of a device's steps. Every address that an end system on a link may have counts as present, every
device answers for its own addresses, and the internet is everything else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from netsim.index import Index
from netsim.index.legs import Leg, any_acts, matters
from netsim.index.sites import Member, SiteBatches
from netsim.index.sorter import SorterBuilder
from netsim.index.walks import CROSS, ENDS, FORWARD, LINK, LOCAL, Station, Tables
from netsim.rules.journey import uses_tracking
from netsim.rules.model import Point
from netsim.space.diagram import FALSE, OR, TRUE
from netsim.space.fields import (
    ABSENT,
    ADDRESS_FIELDS,
    FIELDS,
    WORD,
    Family,
    Range,
    interface_value,
    merge_ranges,
)
from netsim.space.pool import POOL, condition_node
from netsim.topology.addresses import Addresses, addresses_of, less
from netsim.topology.model import Device, Interface, NextHop, Prefix
from netsim.topology.network import Instance, Network, register

_BEFORE = frozenset({Point.PREROUTING})
_INWARD = frozenset({Point.INPUT})
_THROUGH = frozenset({Point.FORWARD, Point.POSTROUTING})


def present(network: Network) -> Mapping[str, Addresses]:
    """Link -> the addresses that somebody there may have: in its networks, and beyond where the internet enters."""
    prefixes: dict[str, list[Prefix]] = {}
    for device in network.devices.values():
        for interface in device.interfaces:
            prefixes.setdefault(interface.link, []).extend(interface.addresses)
    for host in network.hosts.values():
        prefixes.setdefault(host.link, []).extend(host.addresses)
    for subnet in network.subnets.values():
        prefixes.setdefault(subnet.link, []).extend(subnet.prefixes)
    own = [p for d in network.devices.values() for i in d.interfaces for p in i.addresses]
    known = addresses_of([p for link, each in prefixes.items() if link for p in each], whole=True)
    every: Addresses = tuple((f, ((0, (1 << f.bits) - 1),)) for f in Family)
    beyond = less(less(every, known), addresses_of(own))
    found: dict[str, Addresses] = {}
    for link in (*prefixes, *network.internet):
        here = less(addresses_of(prefixes.get(link, ()), whole=True), network.taken(link))
        found[link] = (*here, *beyond) if link in network.internet else here
    return found


def _destinations(addresses: Addresses, family: Family) -> int:
    ranges: list[Range] = [r for f, each in addresses if f is family for r in each]
    return condition_node(ADDRESS_FIELDS["dst", family], merge_ranges(ranges)) if ranges else FALSE


class _Builder:
    """Numbers what a network is made of."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.sorter = SorterBuilder()
        self.devices = tuple(network.devices)
        self.number = {name: i for i, name in enumerate(self.devices)}
        self.present = present(network)
        self.kinds: list[int] = []
        self.ways: list[tuple[int, ...]] = []
        self._way: dict[tuple[int, tuple[int, ...]], int] = {}
        self.places: dict[tuple[str, str], int] = {}
        self.incoming: list[tuple[Device, Interface]] = []
        for name, device in network.devices.items():
            for interface in device.interfaces:
                self.places[name, interface.name] = len(self.incoming)
                self.incoming.append((device, interface))
        self.links: dict[str, int] = {}
        self.exits: dict[tuple[str, NextHop], int] = {}
        self.exit_rows: list[tuple[int, int, int]] = []
        self._sources: dict[Any, tuple[int, int]] = {}

    def end(self, name: str) -> int:
        """The way that is an end."""
        return self.way(ENDS.index(name))

    def way(self, kind: int, *to: int) -> int:
        """The number of a way."""
        found = self._way.get((kind, to))
        if found is None:
            found = self._way[kind, to] = len(self.kinds)
            self.kinds.append(kind)
            self.ways.append(to)
        return found

    def link(self, name: str) -> int:
        """The number of a link."""
        return self.links.setdefault(name, len(self.links))

    def holders(self, link: str, via: tuple[Family, int]) -> list[int]:
        """The places of those who have an address on a link."""
        return [
            self.places[device.name, interface.name]
            for device, interface in self.network.neighbours.get(link, ())
            if any((p.family, p.address) == via for p in interface.addresses)
        ]

    # Questions

    def routed(self, device: Device, interface: Interface, family: Family) -> int:
        """What a device does with packets that come by an interface."""
        sets: list[tuple[int, int]] = []
        for name, bad in self.network.refused[device.name, interface.name]:
            sets.append((bad, self.end(name.partition(" ")[0])))
        for forward in self.network.ways[device.name]:
            if forward.action == "local":
                way = self.way(LOCAL)
            elif forward.action != "forward":
                way = self.end(forward.action)
            elif device.ip_forward is False:
                way = self.end("ip-forward")
            else:
                way = self.way(FORWARD, *(self.exit(device, hop) for hop in forward.hops))
            sets.append((forward.packets, way))
        value = interface_value(interface.name)
        fixed = dict(zip(FIELDS["iif"].levels, (value >> 64, value & WORD), strict=True))
        fixed |= dict.fromkeys(FIELDS["oif"].levels, ABSENT)
        return self.sorter.add(sets, fixed | {FIELDS["family"].level: int(family)})

    def exit(self, device: Device, hop: NextHop) -> int:
        """The number of an interface by which packets go to a next hop."""
        key = (device.name, attrs.evolve(hop, weight=1))
        found = self.exits.get(key)
        if found is None:
            found = self.exits[key] = len(self.exit_rows)
            interface = device.interface(hop.interface)
            if interface is None or not interface.link:
                way = self.end("no-link")
            elif hop.via is None:
                way = -1 - self.link(interface.link)
            else:
                places = self.holders(interface.link, hop.via)
                way = self.way(CROSS, *places) if places else self.end("no-neighbour")
            self.exit_rows.append((self.number[device.name], interface_value(hop.interface), way))
        return found

    def taken(self, link: str, family: Family) -> int:
        """Who takes packets off a link that are for nobody's gateway."""
        sets: list[tuple[int, int]] = []
        for device, interface in self.network.neighbours.get(link, ()):
            own = tuple((p.family, ((p.address, p.address),)) for p in interface.addresses)
            sets.append(
                (_destinations(own, family), self.way(CROSS, self.places[device.name, interface.name]))
            )
        sets.append((self._there(link, family), self.end("link")))
        return self.sorter.add(
            [*sets, (TRUE, self.end("no-neighbour"))], {FIELDS["family"].level: int(family)}
        )

    def _there(self, link: str, family: Family) -> int:
        known = self.network.attached.get((link, family), FALSE)
        return POOL.apply(OR, known, _destinations(self.present.get(link, ()), family))

    def source(self, link: str, gateways: Sequence[tuple[Family, int]]) -> tuple[int, int]:
        """What an end system does with its packets: to its link, or to its gateways; a question for each family."""
        key = (link, tuple(gateways))
        found = self._sources.get(key)
        if found is None:
            found = self._sources[key] = (
                self._sent(link, gateways, Family.IPV4), self._sent(link, gateways, Family.IPV6)
            )  # fmt: skip
        return found

    def _sent(self, link: str, gateways: Sequence[tuple[Family, int]], family: Family) -> int:
        network = self.network
        near = POOL.apply(OR, network.near.get((link, family), FALSE), self._there(link, family))
        mine = [g for g in gateways if g[0] is family] or [
            (p.family, p.address)
            for _, interface in network.neighbours.get(link, ())
            for p in interface.addresses
            if p.family is family
        ]
        far = self.end("no-gateway")
        if mine:
            far = self.way(CROSS, *(place for g in mine for place in self.holders(link, g) or [-1]))
        sets = [(near, self.way(LINK, self.link(link))), (TRUE, far)]
        return self.sorter.add(sets, {FIELDS["family"].level: int(family)})

    # Entries

    def entries(self) -> dict[str, list[tuple[int, int]]]:
        """Where records enter, by name: what is one end system or one link, and the devices' interfaces."""
        network = self.network
        found: dict[str, list[tuple[int, int]]] = {}
        for link in dict.fromkeys([*network.neighbours, *network.link_addresses]):
            found[link] = [self.source(link, ())]
        for name in network.names():
            if name in network.devices:
                continue
            instances = network.instances(name)
            if len(instances) == 1:
                found[name] = self._entry(instances[0])
            else:
                found.pop(name, None)
        for device, interface in self.incoming:
            if interface.up:
                crossing = self.sorter.add(
                    [(TRUE, self.way(CROSS, self.places[device.name, interface.name]))]
                )
                found[f"{device.name}[{interface.name}]"] = [(crossing, crossing)]
        return found

    def _entry(self, instance: Instance) -> list[tuple[int, int]]:
        return [self.source(link, instance.gateway) for link in instance.links]

    def tables(self) -> Tables:
        """The network as numbers."""
        routed = [[self.routed(d, i, f) for f in Family] for d, i in self.incoming]
        entries = self.entries()
        taken: list[list[int]] = []
        while len(taken) < len(self.links):
            name = list(self.links)[len(taken)]
            taken.append([self.taken(name, f) for f in Family])
        starts = [start for each in entries.values() for start in each]
        values = [interface_value(i.name) for _, i in self.incoming]
        return Tables(
            self.devices,
            {name: e for e, name in enumerate(entries)},
            self.sorter.sorter(),
            np.array([self.number[d.name] for d, _ in self.incoming], np.int32),
            _words(values),
            np.array(routed, np.int32).reshape(-1, 2),
            np.array([row[0] for row in self.exit_rows], np.int32),
            _words([row[1] for row in self.exit_rows]),
            np.array([row[2] for row in self.exit_rows], np.int32),
            np.array(taken, np.int32).reshape(-1, 2),
            np.array(self.kinds, np.int32),
            _begins(self.ways),
            np.array([to for way in self.ways for to in way], np.int32),
            _begins(list(entries.values())),
            np.array(starts, np.int32).reshape(-1, 2),
        )


def _words(values: Sequence[int]) -> Any:
    return np.array([(v >> 64, v & WORD) for v in values], np.uint64).reshape(-1, 2)


def _begins(lists: Sequence[Sequence[Any]]) -> Any:
    return np.cumsum([0, *(len(each) for each in lists)]).astype(np.int32)


def _legs(indexes: Sequence[Index], members: Sequence[Member], bases: Sequence[int], name: str) -> Station:
    """The legs of a device, which its rule sets share a member each for."""
    station = Station(name, {}, {}, {}, {})
    for family in Family:
        mine = [k for k, index in enumerate(indexes) if index.rules.family in (None, family)]
        forward = (
            [_THROUGH] if len(mine) < 2 else [frozenset({Point.FORWARD}), frozenset({Point.POSTROUTING})]
        )
        for into, hook, groups in (
            (station.before, Point.INPUT, [_BEFORE]),
            (station.inward, Point.INPUT, [_INWARD]),
            (station.through, Point.FORWARD, forward),
        ):
            into[family] = []
            for points in groups:
                for k in mine:
                    if any_acts(indexes[k].rules, points):
                        into[family].append((_leg(indexes[k], members[k], points, hook), bases[k]))
        kinds = [0]
        for k in mine:
            rules = indexes[k].rules
            kinds.append(1 if uses_tracking(rules) else 2 if rules.backend == "nft" else 0)
        station.fragments[family] = 1 if 1 in kinds else max(kinds)
    return station


def _leg(index: Index, member: Member, points: frozenset[Point], hook: Point) -> Leg:
    """The leg of a member at some points: one for both families."""
    for leg in member.legs:
        if leg.points == points:
            return leg
    leg = Leg(index, points, hook, matters(index.rules), index.limits)
    member.legs.append(leg)
    return leg


def site_index(network: Network) -> SiteBatches:
    """A network made ready for batches. Rows and classifiers are made when a batch first needs them."""
    with POOL.lock, POOL.question():
        tables = _Builder(network).tables()
    members: list[Member] = []
    stations: list[Station] = []
    base = 0
    for name in network.devices:
        indexes = network.indexes[name]
        mine = [Member(name, index, len(index.deciders), []) for index in indexes]
        bases = []
        for member in mine:
            bases.append(base)
            base += member.count
        stations.append(_legs(indexes, mine, bases, name))
        members += mine
    return SiteBatches(network.name, tables, stations, members)


register("site_index", site_index)


__all__ = ["present", "site_index"]

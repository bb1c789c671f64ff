"""Zones: named sets of links, and the addresses that end systems on them may have.

A zone's addresses are those of its links' networks, subnets and hosts, without what no end system there
can have: the devices' own addresses and broadcasts (`Network.taken`). A link between routers whose
network has room for nobody carries no zone by itself; a declared zone of such links has no addresses,
and a question about it asks nothing.

Without a declaration each link is a zone, named by the subnet on it if there is exactly one, else by
the link. Where something else has that name, the zone is asked about as `zone:NAME`, which always works.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from netsim.space.fields import Family, Range, merge_ranges
from netsim.topology.addresses import Addresses, addresses_of, less
from netsim.topology.model import Prefix, Zone

if TYPE_CHECKING:
    from netsim.topology.network import Network

PREFIX = "zone:"
"""What names a zone without doubt."""


def link_addresses(network: Network) -> Mapping[str, Addresses]:
    """For each link the addresses that end systems on it may have; links without any are left out.

    Where the first address of an IPv4 network alone is free, there is no room either.
    """
    room: dict[str, dict[Family, list[Range]]] = {}
    firsts: dict[str, list[Prefix]] = {}

    def add(link: str, family: Family, span: Range) -> None:
        room.setdefault(link, {}).setdefault(family, []).append(span)

    for device in network.devices.values():
        for interface in device.interfaces:
            for p in interface.addresses:
                add(interface.link, p.family, (p.first, p.last))
                if p.family is Family.IPV4 and p.length < 31:
                    firsts.setdefault(interface.link, []).append(attrs.evolve(p, address=p.first))
    for subnet in network.subnets.values():
        for p in subnet.prefixes:
            add(subnet.link, p.family, (p.first, p.last))
    for host in network.hosts.values():
        for p in host.addresses:
            add(host.link, p.family, (p.address, p.address))
    found: dict[str, Addresses] = {}
    for link, families in room.items():
        whole = tuple((family, merge_ranges(families[family])) for family in sorted(families))
        free = less(whole, network.taken(link))
        if link and less(free, addresses_of(firsts.get(link, ()))):
            found[link] = free
    return found


def derived_zones(network: Network) -> dict[str, Zone]:
    """Each link with room for end systems as a zone, in the order of the devices' interfaces."""
    subnets: dict[str, list[str]] = {}
    for subnet in network.subnets.values():
        subnets.setdefault(subnet.link, []).append(subnet.name)
    found: dict[str, Zone] = {}
    carrying = network.link_addresses
    links = [i.link for d in network.devices.values() for i in d.interfaces if i.link in carrying]
    for link in dict.fromkeys([*links, *carrying]):
        names = subnets.get(link, [])
        name = names[0] if len(names) == 1 else link
        if name in found or name == "internet":  # another link is called like this link's subnet
            name = link
        found[name] = Zone(name, (link,))
    return found


def zones_of(network: Network) -> dict[str, Zone]:
    """The declared zones, or the derived ones; and `internet` where the site declares it."""
    found = {z.name: z for z in network.declared_zones} or derived_zones(network)
    if network.internet:
        found["internet"] = Zone("internet", network.internet)
    return found


__all__ = ["PREFIX", "derived_zones", "link_addresses", "zones_of"]

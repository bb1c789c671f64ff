"""Zones: named sets of links, and the addresses that end systems on them may have.

A zone's addresses are those of its links' networks, subnets and hosts, without what no end system there
can have: the devices' own addresses, and of an IPv4 network its first and last address (RFC 919, RFC
1812 4.2.3.1; networks of /31 and /32 have neither). A link whose networks leave room for nobody, a /30
between two routers, carries no zone by itself; a declared zone of such links has no addresses, and a
question about it asks nothing.

Without a declaration each link is a zone, named by the subnet on it if there is exactly one, else by
the link. Where something else has that name, the zone is asked about as `zone:NAME`, which always works.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from netsim.space.fields import Family, Range, complement_ranges, merge_ranges
from netsim.topology.model import Zone

if TYPE_CHECKING:
    from netsim.topology.network import Addresses, Network

PREFIX = "zone:"
"""What names a zone without doubt."""


def link_addresses(network: Network) -> Mapping[str, Addresses]:
    """For each link the addresses that end systems on it may have; links without any are left out."""
    taken: dict[tuple[str, Family], list[Range]] = {}
    room: dict[tuple[str, Family], list[Range]] = {}
    for device in network.devices.values():
        for interface in device.interfaces:
            for p in interface.addresses:
                key = interface.link, p.family
                room.setdefault(key, []).append((p.first, p.last))
                taken.setdefault(key, []).append((p.address, p.address))
                if p.family is Family.IPV4 and p.length < 31:
                    taken[key] += [(p.first, p.first), (p.last, p.last)]
    for subnet in network.subnets.values():
        for p in subnet.prefixes:
            room.setdefault((subnet.link, p.family), []).append((p.first, p.last))
    for host in network.hosts.values():
        for p in host.addresses:
            room.setdefault((host.link, p.family), []).append((p.address, p.address))
    found: dict[str, list[tuple[Family, tuple[Range, ...]]]] = {}
    for (link, family), ranges in sorted(room.items(), key=lambda item: item[0][1]):
        top = (1 << family.bits) - 1
        outside = complement_ranges(merge_ranges(ranges), top)
        free = complement_ranges(merge_ranges([*outside, *taken.get((link, family), [])]), top)
        if link and free:
            found.setdefault(link, []).append((family, free))
    return {link: tuple(each) for link, each in found.items()}


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

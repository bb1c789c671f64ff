"""What a network is made of: devices, hosts, services, links, routes. All of it frozen.

Inside, an address is a family and an integer; an `Attachment` is an interface on a link. What a site
does not say is an `Assumption`, which answers show.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

import attrs

from netsim.rules.bind import NamedSet
from netsim.rules.model import RuleSet, Tracking
from netsim.source import NOWHERE, Source
from netsim.space.addresses import show_address
from netsim.space.fields import Family


@attrs.frozen(slots=True)
class Assumption:
    """Something an answer takes for granted: a stable code, a sentence, and where it could be said."""

    code: str
    text: str
    source: Source = NOWHERE


@attrs.frozen(slots=True, order=True)
class Prefix:
    """An address with the length of its network."""

    family: Family
    address: int
    length: int

    @property
    def first(self) -> int:
        """The first address of the network."""
        host = self.family.bits - self.length
        return self.address >> host << host

    @property
    def last(self) -> int:
        """The last address of the network."""
        return self.first | (1 << (self.family.bits - self.length)) - 1

    def __contains__(self, address: tuple[Family, int]) -> bool:
        return address[0] is self.family and self.first <= address[1] <= self.last

    def __str__(self) -> str:
        return f"{show_address(self.family, self.address)}/{self.length}"


@attrs.frozen(slots=True)
class Interface:
    """An interface of a device: its addresses, the link it is on, its VRF ('' is the main one).

    An interface that is not `up` keeps its addresses and loses its routes, see `forwarding`.
    """

    name: str
    addresses: tuple[Prefix, ...] = ()
    link: str = ""
    vrf: str = ""
    rp_filter: int | None = None
    source: Source = NOWHERE
    up: bool = True


class RouteType(Enum):
    """Route types of ip-route(8)."""

    UNICAST = "unicast"
    LOCAL = "local"
    BROADCAST = "broadcast"
    BLACKHOLE = "blackhole"
    UNREACHABLE = "unreachable"
    PROHIBIT = "prohibit"
    THROW = "throw"


@attrs.frozen(slots=True)
class NextHop:
    """Where a route sends packets: a neighbour (`via` None: the destination itself) on an interface."""

    interface: str
    via: tuple[Family, int] | None = None
    weight: int = 1


@attrs.frozen(slots=True)
class Route:
    """One route. Several next hops are equal-cost paths."""

    prefix: Prefix
    hops: tuple[NextHop, ...] = ()
    type: RouteType = RouteType.UNICAST
    metric: int = 0
    table: str = "main"
    source: Source = NOWHERE

    def __str__(self) -> str:
        kind = "" if self.type is RouteType.UNICAST else f"{self.type.value} "
        hops = " ".join(
            (f"via {show_address(*h.via)} " if h.via else "") + (f"dev {h.interface}" if h.interface else "")
            for h in self.hops
        )
        return f"{kind}{self.prefix} {hops}".strip()


@attrs.frozen(slots=True)
class RouteRule:
    """A rule of ip-rule(8): which packets look up which table. Conditions that are None do not restrict."""

    priority: int
    table: str = "main"
    family: Family | None = None
    src: Prefix | None = None
    dst: Prefix | None = None
    iif: str = ""
    oif: str = ""
    fwmark: tuple[int, int] | None = None
    tos: int | None = None
    negated: bool = False
    action: RouteType = RouteType.UNICAST
    source: Source = NOWHERE


@attrs.frozen(slots=True)
class Device:
    """A router or firewall. `rulesets` holds one for each family (or one for both).

    `ip_forward` None is not said: forwarding is assumed. `rp_filter` None is off, as in the kernel.
    `state_group` names devices that share their connection states. `sets` are its ipsets (None: not
    given) and `backend` what its site says of it ('' nothing): what a new rule of it is read with.
    """

    name: str
    interfaces: tuple[Interface, ...] = ()
    rulesets: tuple[RuleSet, ...] = ()
    routes: tuple[Route, ...] = ()
    route_rules: tuple[RouteRule, ...] = ()
    ip_forward: bool | None = None
    rp_filter: int | None = None
    tracking: Tracking | None = None
    state_group: str = ""
    source: Source = NOWHERE
    sets: Mapping[str, NamedSet] | None = attrs.field(default=None, eq=False, repr=False)
    backend: str = ""

    def interface(self, name: str) -> Interface | None:
        """The interface of that name."""
        return next((i for i in self.interfaces if i.name == name), None)

    def addresses(self) -> dict[str, list[str]]:
        """Its own addresses by interface, as `rules.bind` takes them."""
        return {i.name: [str(p) for p in i.addresses] for i in self.interfaces}


@attrs.frozen(slots=True)
class Host:
    """An end system on a link. Without a gateway, the devices on its link are its routers."""

    name: str
    addresses: tuple[Prefix, ...]
    link: str
    gateway: tuple[tuple[Family, int], ...] = ()
    source: Source = NOWHERE


@attrs.frozen(slots=True)
class Service:
    """A set of instances, each a host with a weight; `ports` is the traffic it serves."""

    name: str
    instances: tuple[tuple[str, int], ...]
    ports: tuple[str, ...] = ()
    source: Source = NOWHERE


@attrs.frozen(slots=True)
class Subnet:
    """A prefix on a link, asked about as a whole."""

    name: str
    prefixes: tuple[Prefix, ...]
    link: str
    source: Source = NOWHERE


@attrs.frozen(slots=True)
class Zone:
    """A named set of links, asked about as a whole."""

    name: str
    links: tuple[str, ...]
    source: Source = NOWHERE


def freeze(value: Mapping[str, object]) -> Mapping[str, object]:
    """A read-only copy of a mapping."""
    return MappingProxyType(dict(value))

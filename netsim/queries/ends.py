"""Who is asked about, and who answers: the ends of a question on the links and devices of a network.

An end system is *attached* to a link if the site says so (hosts, subnets, the internet) or if the
question does: a target of the question counts as present. Several questions may share one trace; then
each target comes with its *members*, the packets, in the sender's header, of the questions that ask
about it, and it is there for those packets only. A question alone has every packet for a member.
Without targets nobody but what the site declares is anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from netsim.space.diagram import AND, FALSE, LESS, OR, TRUE, Operation
from netsim.space.fields import ADDRESS_FIELDS, Family, merge_ranges
from netsim.space.pool import POOL, condition_node
from netsim.space.transform import Transformation
from netsim.topology.model import Host
from netsim.topology.network import Instance, Network


def address_node(side: str, instance: Instance, family: Family) -> int:
    """The packets whose `"src"` or `"dst"` is an address of an instance."""
    found = next((ranges for f, ranges in instance.addresses if f is family), ())
    return condition_node(ADDRESS_FIELDS[side, family], found) if found else FALSE


@attrs.frozen(slots=True)
class Target:
    """A target on a link: its addresses as destinations, and the packets that it is there for."""

    instance: Instance
    own: int
    members: int


class Ends:
    """The targets of one or more questions, of one family, each with its members."""

    def __init__(
        self,
        network: Network,
        family: Family,
        targets: Iterable[tuple[Instance, int]],
    ) -> None:
        self.network = network
        self.family = family
        self._on: dict[str, list[Target]] = {}
        self._devices: dict[str, int] = {}
        for target, mine in targets:
            names = [target.name] if target.name in network.devices else []
            for kind, ranges in target.addresses:
                for low, high in ranges:
                    if low == high:
                        names += network.owners.get((kind, low), ())
            for name in names:
                self._devices[name] = POOL.apply(OR, self._devices.get(name, FALSE), mine)
            own = address_node("dst", target, family)
            if own and target.name not in network.devices:
                for link in target.links:
                    self._on.setdefault(link, []).append(Target(target, own, mine))

    def attached(
        self, link: str, packets: int, change: Transformation, *, near: bool = False, but: int = FALSE
    ) -> int:
        """The part of packets whose destination may be on a link (not in `but`); with `near`, in its networks too."""
        known = (self.network.near if near else self.network.attached).get((link, self.family), FALSE)
        found = POOL.apply(AND, packets, change.preimage(POOL, POOL.apply(LESS, known, but), OR))
        for target in self._on.get(link, ()):
            part = POOL.apply(AND, packets, change.preimage(POOL, POOL.apply(LESS, target.own, but), OR))
            found = POOL.apply(OR, found, POOL.apply(AND, part, target.members))
        return found

    def settled(
        self, link: str, packets: int, change: Transformation, others: int, choices: Operation
    ) -> int:
        """The part of packets whose destination is on a link or in `others`: by some or every choice of an open one."""
        known = POOL.apply(OR, others, self.network.attached.get((link, self.family), FALSE))
        targets = self._on.get(link, ())
        known = POOL.fold(OR, [known, *(t.own for t in targets if t.members == TRUE)])
        found = POOL.apply(AND, packets, change.preimage(POOL, known, choices))
        for target in targets:
            if target.members != TRUE:
                every = change.preimage(POOL, POOL.apply(OR, known, target.own), choices)
                part = POOL.apply(AND, packets, POOL.apply(AND, every, target.members))
                found = POOL.apply(OR, found, part)
        return found

    def asked_of(self, device: str) -> int:
        """The packets for which a device is asked about, by its name or one of its addresses."""
        return self._devices.get(device, FALSE)

    def names(self, link: str, packets: int, change: Transformation, among: Iterable[Host] = ()) -> str:
        """The hosts of a link that packets are addressed to (or of those `among`), else the link."""
        found = [
            host.name
            for host in among or self.network.residents.get(link, ())
            if POOL.apply(AND, packets, change.preimage(POOL, self._own((host,)), OR))
        ]
        return ", ".join(found) or link

    def answerers(
        self, device: str, link: str, packets: int, change: Transformation
    ) -> list[tuple[Instance, int]]:
        """Who answers packets that arrived at a device, or on a link if that is '', each with its part.

        Hosts answer what is addressed to them, those with the same gateway together; targets what is left and
        theirs; what arrived for somebody that has no name is answered by somebody on the link.
        """
        if device:
            return [(self.network.instances(device)[0], packets)]
        found: list[tuple[Instance, int]] = []
        alike: dict[object, list[Host]] = {}
        for host in self.network.residents.get(link, ()):
            alike.setdefault(host.gateway, []).append(host)
        everyone = FALSE
        for hosts in alike.values():
            own = self._own(hosts)
            everyone = POOL.apply(OR, everyone, own)
            part = POOL.apply(AND, packets, change.preimage(POOL, own, OR))
            if part:
                name = self.names(link, part, change, hosts)
                found.append((attrs.evolve(self.network.instances(hosts[0].name)[0], name=name), part))
        rest = POOL.apply(AND, packets, change.preimage(POOL, POOL.negate(everyone), OR))
        others = [(rest, everyone)] if rest else []  # packets, and the destinations that are somebody's
        for target in self._on.get(link, ()) if rest else ():
            mine = POOL.apply(AND, rest, target.members)
            own = POOL.apply(LESS, target.own, everyone)
            part = POOL.apply(AND, mine, change.preimage(POOL, own, OR))
            if part:
                found.append((target.instance, part))
            split = [(POOL.apply(AND, node, mine), POOL.apply(OR, known, own)) for node, known in others] + [
                (POOL.apply(LESS, node, mine), known) for node, known in others
            ]
            others = [(node, known) for node, known in split if node]
        for node, known in others:
            part = POOL.apply(AND, node, change.preimage(POOL, POOL.negate(known), OR))
            if part:
                found.append((Instance(link, (), 1, (link,), (), False), part))
        return found

    def _own(self, hosts: Iterable[Host]) -> int:
        """The packets to an address of one of the hosts."""
        ranges = [(p.address, p.address) for h in hosts for p in h.addresses if p.family is self.family]
        field = ADDRESS_FIELDS["dst", self.family]
        return condition_node(field, merge_ranges(ranges)) if ranges else FALSE


__all__ = ["Ends", "address_node"]

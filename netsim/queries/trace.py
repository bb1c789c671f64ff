"""Packets through the network: from a sender to wherever they end, and the answers back.

Theory of operation. A *traveller* is a set in the sender's header with the transformation so far, on a
link or at a device. A device asks its chains in the kernel's order (PREROUTING, routing, INPUT or
FORWARD, POSTROUTING); what stops part of a traveller becomes a `Blocker` with exactly that part. Every
set stays in the sender's header, so blockers, shares and witnesses can be read as they are. Equal-cost
paths copy a traveller; undecided conditions split it into parts that are not `sure`.

An answer starts where an opening packet arrived, with addresses and ports swapped. On a device that the
opening packet went through (or that shares its states with one) it is established, and translations are
undone: the destination when it arrives, the source when it leaves. Elsewhere connection tracking does
not know it (SEMANTICS of Linux: SYN+ACK is INVALID, UDP is NEW).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import attrs

from netsim.errors import DEFAULT_LIMITS
from netsim.index.flow import Blocked, Decision, Flow, Piece, hopped
from netsim.queries.connections import Crossing, answers, restored
from netsim.queries.ends import Ends
from netsim.queries.traffic import Traffic
from netsim.queries.travellers import Admit, Hop, Steps, Stop, Traveller
from netsim.rules.journey import is_filter
from netsim.rules.model import ActionKind, Point, Rule, RuleSet, Tracking, Verdict
from netsim.space.addresses import show_address
from netsim.space.diagram import AND, FALSE, LESS, OR, TRUE, Choice, Const, LevelMap, Operation, Parity
from netsim.space.fields import (
    ABSENT,
    ADDRESS_FIELDS,
    FIELDS,
    NO_MAC,
    CtStatus,
    Direction,
    Family,
    State,
    interface_value,
)
from netsim.space.pool import POOL, condition_node
from netsim.space.transform import Transformation, constant
from netsim.topology.forwarding import Forward, explain_route
from netsim.topology.model import Device, Interface, NextHop
from netsim.topology.network import Instance, Network

_ENDS = frozenset(
    level for name in ("src4", "src6", "dst4", "dst6", "sport", "dport") for level in FIELDS[name].levels
)
_CONTEXT = frozenset(
    level
    for name in ("iif", "oif", "state", "direction", "mark", "ctmark", "ct_status", "mac")
    for level in FIELDS[name].levels
)


_ANY_MAC = Transformation.of({FIELDS["mac"].level: Choice(((0, NO_MAC - 1),))})
"""The frame of a neighbour whose address nobody has said."""


@lru_cache(maxsize=4096)
def _constant(field: str, value: int) -> Transformation:
    return constant(field, value)


def _sets(field: str, value: int) -> dict[int, LevelMap]:
    return dict(_constant(field, value).maps)


_ROUTED_BY = tuple(
    level for name in ("src4", "src6", "dst4", "dst6", "mark", "tos") for level in FIELDS[name].levels
)


def _same_route(one: Transformation, other: Transformation) -> bool:
    return all(one.level_map(level) == other.level_map(level) for level in _ROUTED_BY)


class Tracer:
    """Traces one class of traffic of one family. Collects what `arrived` and what did not on its way.

    `stopped` and `perhaps` are the parts that are stopped, for certain or not, and `stops` says by what.
    `answering`: the opening packets' crossings, for an answer. `admits`: where to note what lets packets through.
    """

    EXPLAINS = True
    """Whether `stops` and `undecided` are collected."""

    def __init__(
        self,
        network: Network,
        traffic: Traffic,
        family: Family,
        targets: Sequence[Instance] | Ends,
        *,
        answering: tuple[Crossing, ...] | None = None,
        steps: Steps | None = None,
        admits: list[Admit] | None = None,
    ) -> None:
        self.steps = steps or Steps(DEFAULT_LIMITS.paths)
        self.admits = admits
        self.network = network
        self.traffic = traffic
        self.family = family
        self.ends = (
            targets if isinstance(targets, Ends) else Ends(network, family, [(t, TRUE) for t in targets])
        )
        self.answering = answering
        self.stops: list[Stop] = []
        self.stopped: list[int] = []
        self.perhaps: list[int] = []
        self.arrived: list[Traveller] = []
        self.undecided: list[tuple[Rule, int]] = []
        self.assumed: dict[str, None] = {}

    @property
    def direction(self) -> str:
        """What is traced, for blockers."""
        return "opening" if self.answering is None else "answer"

    # Starting

    def start(self, source: Instance, packets: int, change: Transformation) -> None:
        """Send packets from an end system (or a device) and follow them to their ends."""
        self.follow(self.departures(source, packets, change))

    def departures(self, source: Instance, packets: int, change: Transformation) -> list[Traveller]:
        """Packets as they leave an end system or a device."""
        device = self.network.devices.get(source.name)
        first = (Hop(source.name),)
        if device is not None:
            return self._local_out(device, Traveller(packets, change, True, "", None, first))
        found: list[Traveller] = []
        for link in source.links:
            found += self._leave_host(source, link, packets, change, first)
        return found

    def follow(self, waiting: list[Traveller]) -> None:
        """Follow travellers to their ends."""
        while waiting:
            self.steps.take()
            waiting += self._deliver(waiting.pop())

    def _leave_host(
        self, source: Instance, link: str, packets: int, change: Transformation, path: tuple[Hop, ...]
    ) -> list[Traveller]:
        """A host sends on its link what is there, and the rest to its gateways."""
        here = self.ends.attached(link, packets, change, near=True)
        far = POOL.apply(LESS, packets, here)
        found = [Traveller(here, change, True, link, None, path)] if here else []
        if not far:
            return found
        gateways = [g for g in source.gateway if g[0] is self.family]
        if not gateways:
            gateways = [
                (p.family, p.address)
                for _, interface in self.network.neighbours.get(link, ())
                for p in interface.addresses
                if p.family is self.family
            ]
            if len(gateways) > 1:
                self.assumed.setdefault(f"{source.name} uses each router on {link} (no gateway is given)")
        if not gateways:
            self._stop("no-gateway", source.name, f"{source.name} has no router on {link}", far, True, path)
        return found + [Traveller(far, change, True, link, g, path) for g in gateways]

    # One link

    def _deliver(self, t: Traveller) -> list[Traveller]:
        """Who takes a traveller off its link."""
        found: list[Traveller] = []
        rest = t.packets
        devices = FALSE  # the packets to their addresses
        taken = False
        for device, interface in self.network.neighbours.get(t.link, ()):
            if t.via is not None:
                # Several devices may have it (VRRP): which one takes the packet is open, as with equal cost.
                if any((p.family, p.address) == t.via for p in interface.addresses):
                    taken = True
                    found += self._cross(device, interface, t)
                continue
            own = [(p.address, p.address) for p in interface.addresses if p.family is self.family]
            if own:
                node = condition_node(ADDRESS_FIELDS["dst", self.family], tuple(sorted(own)))
                mine = POOL.apply(LESS, node, devices)
                devices = POOL.apply(OR, devices, node)
                here = POOL.apply(AND, rest, t.change.preimage(POOL, mine, OR))
                if here:  # the other addresses of an open destination go on
                    rest = POOL.apply(LESS, rest, t.change.preimage(POOL, devices, _whole(t.sure)))
                    found += self._cross(device, interface, attrs.evolve(t, packets=here))
        if taken:
            return found
        if t.via is not None:
            text = f"nobody on {t.link} has the next hop {show_address(*t.via)}"
            self._stop("no-neighbour", t.path[-1].name, text, t.packets, t.sure, t.path)
            return found
        here = self.ends.attached(t.link, rest, t.change, but=devices)
        if here:
            who = self.ends.names(t.link, here, t.change) if self.EXPLAINS else t.link
            self.arrived.append(attrs.evolve(t, packets=here, path=(*t.path, Hop(who))))
            rest = POOL.apply(LESS, rest, self.ends.settled(t.link, rest, t.change, devices, _whole(t.sure)))
        if rest:
            text = f"nobody on {t.link} has the destination's address"
            self._stop("no-neighbour", t.path[-1].name, text, rest, t.sure, t.path)
        return found

    # One device

    def _cross(self, device: Device, interface: Interface, t: Traveller) -> list[Traveller]:
        again = [node for name, iif, node in t.seen if (name, iif) == (device.name, interface.name)]
        looped = POOL.apply(AND, t.packets, POOL.fold(OR, again))
        if looped:
            text = f"{device.name} forwards in a circle"
            self._stop("forwarding-loop", device.name, text, looped, t.sure, t.path)
            t = attrs.evolve(t, packets=POOL.apply(LESS, t.packets, looped))
            if not t.packets:
                return []
        t = attrs.evolve(t, seen=(*t.seen, (device.name, interface.name, t.packets)))
        found: list[Traveller] = []
        for crossing, part in self._known(device, t):
            found += self._cross_as(device, interface, part, crossing)
        return found

    def _cross_as(
        self, device: Device, interface: Interface, t: Traveller, crossing: Crossing | None
    ) -> list[Traveller]:
        """A traveller, known to the device as the answer to what crossed it, or not at all."""
        path = (*t.path, Hop(device.name, interface.name))
        change = self._context(t.change, crossing, interface.name, device)
        if self.answering is not None or len(t.path) > 1:  # another sender's frame
            change = change.then(_ANY_MAC)
        passed = crossing is not None and self._tracking(device) is Tracking.PASSED
        pieces: tuple[Piece, ...] = (Piece(t.packets, change, t.sure),)
        if self.answering is not None and crossing is None and self._unknown_session(device):
            text = f"{device.name} has no session for this answer"
            self._stop("asymmetric-return", device.name, text, t.packets, t.sure, path)
            return []
        if not passed:
            pieces = self._chains(device, Point.PREROUTING, pieces, path, crossing)
        if crossing is not None:
            pieces = tuple(attrs.evolve(p, change=restored(p.change, crossing, "dst", "src")) for p in pieces)
        found: list[Traveller] = []
        for piece in self._admitted(device, interface, pieces, path):
            for forward in self.network.ways[device.name]:
                node = POOL.apply(AND, piece.packets, piece.change.preimage(POOL, forward.packets, OR))
                if node:
                    part = attrs.evolve(piece, packets=node)
                    found += self._forward(device, forward, part, t, path, crossing, passed)
        return found

    def _forward(
        self,
        device: Device,
        forward: Forward,
        piece: Piece,
        t: Traveller,
        path: tuple[Hop, ...],
        crossing: Crossing | None,
        passed: bool,
    ) -> list[Traveller]:
        if forward.action == "local":
            self._local_in(device, piece, t, path, crossing, passed)
            return []
        if forward.action != "forward":
            self._stop(forward.action, device.name, explain_route(forward), piece.packets, piece.sure, path)
            return []
        if device.ip_forward is False:
            self._stop(
                "ip-forward",
                device.name,
                f"{device.name} does not forward (ip_forward is off)",
                piece.packets,
                piece.sure,
                path,
            )
            return []
        found: list[Traveller] = []
        for hop in forward.hops:
            here = (*path[:-1], attrs.evolve(path[-1], oif=hop.interface))
            out = interface_value(hop.interface)
            first = attrs.evolve(piece, change=piece.change.then(_constant("oif", out)))
            pieces, expired = hopped((first,))
            for end in expired:
                text = f"the TTL ends at {device.name}"
                self._stop("ttl-exceeded", device.name, text, end.packets, end.sure, here)
            if not passed:
                pieces = self._chains(device, Point.FORWARD, pieces, here, crossing)
            found += self._depart(device, hop.interface, hop.via, pieces, t, here, crossing, passed)
        return found

    def _depart(
        self,
        device: Device,
        oif: str,
        via: tuple[Family, int] | None,
        pieces: tuple[Piece, ...],
        t: Traveller,
        path: tuple[Hop, ...],
        crossing: Crossing | None,
        passed: bool,
    ) -> list[Traveller]:
        if not passed:
            pieces = self._chains(device, Point.POSTROUTING, pieces, path, crossing)
        interface = device.interface(oif)
        if interface is None or not interface.link:
            for piece in pieces:
                text = f"{device.name}: {oif or 'the interface'} is on no link"
                self._stop("no-link", device.name, text, piece.packets, piece.sure, path)
            return []
        found: list[Traveller] = []
        for piece in pieces:
            change = piece.change
            if crossing is not None:
                change = restored(change, crossing, "src", "dst")
            crossings = t.crossings
            if self.answering is None:
                crossings = (*crossings, self._kept(device, t.change, piece))
            outside = change.without(_CONTEXT)
            found.append(
                attrs.evolve(
                    t,
                    packets=piece.packets,
                    change=outside,
                    sure=piece.sure,
                    link=interface.link,
                    via=via,
                    path=path,
                    crossings=crossings,
                )
            )
        return found

    def _kept(self, device: Device, before: Transformation, piece: Piece) -> Crossing:
        """What a device remembers of an opening packet."""
        ctmark = tuple((k, m) for k, m in piece.change.maps if k in FIELDS["ctmark"].levels)
        status = int(CtStatus.SEEN_REPLY | CtStatus.CONFIRMED)
        for i, level in enumerate(FIELDS["ct_status"].levels):
            by = piece.change.level_map(level)
            bit = 1 << (FIELDS["ct_status"].width - 1 - i)
            if bit in (CtStatus.SNAT, CtStatus.DNAT) and isinstance(by, Parity) and by.constant:
                status |= bit
        untracked = piece.change.level_map(FIELDS["state"].level) == Const(int(State.UNTRACKED))
        after = Transformation(tuple((k, m) for k, m in piece.change.maps if k in _ENDS))
        return Crossing(device.name, device.state_group, before, after, ctmark, status, not untracked)

    def _admitted(
        self, device: Device, interface: Interface, pieces: Iterable[Piece], path: tuple[Hop, ...]
    ) -> list[Piece]:
        """What routing looks at: martians and reverse paths are stopped, by name."""
        refused = self.network.refused[device.name, interface.name]
        result: list[Piece] = []
        for piece in pieces:
            rest = piece.packets
            gone = FALSE  # what was refused so far; of an open header the rest goes on
            for name, bad in refused:
                new = POOL.apply(LESS, bad, gone)
                gone = POOL.apply(OR, gone, bad)
                node = POOL.apply(AND, rest, piece.change.preimage(POOL, new, OR))
                if node:
                    kind, _, number = name.partition(" ")
                    what = f" ({'strict' if number == '1' else 'loose'})" if number else ""
                    text = f"{device.name} refuses these sources on {interface.name}: {kind}{what}"
                    self._stop(kind, device.name, text, node, piece.sure, path)
                    rest = POOL.apply(LESS, rest, piece.change.preimage(POOL, gone, _whole(piece.sure)))
            if rest:
                result.append(attrs.evolve(piece, packets=rest))
        return result

    def _local_in(
        self, device: Device, piece: Piece, t: Traveller, path: tuple[Hop, ...],
        crossing: Crossing | None, passed: bool,
    ) -> None:  # fmt: skip
        """A packet for the device itself."""
        pieces: tuple[Piece, ...] = (piece,)
        if not passed:
            pieces = self._chains(device, Point.INPUT, pieces, path, crossing)
        wanted = self.ends.asked_of(device.name)
        for p in pieces:
            other = POOL.apply(LESS, p.packets, wanted)
            if other:
                kind = "asymmetric-return" if self.answering is not None else "local-delivery"
                text = f"{device.name} takes these packets for itself"
                self._stop(kind, device.name, text, other, p.sure, path)
                p = attrs.evolve(p, packets=POOL.apply(AND, p.packets, wanted))
            if not p.packets:
                continue
            crossings = t.crossings
            if self.answering is None:
                crossings = (*crossings, self._kept(device, t.change, p))
            change = p.change
            if crossing is not None:  # behind INPUT the source is as the device itself had sent to
                change = restored(change, crossing, "src", "dst")
            outside = change.without(_CONTEXT)
            self.arrived.append(
                attrs.evolve(
                    t, packets=p.packets, change=outside, sure=p.sure, path=path, crossings=crossings,
                    device=device.name,
                )
            )  # fmt: skip

    def _local_out(self, device: Device, t: Traveller) -> list[Traveller]:
        """A packet that the device itself sends: routing, OUTPUT, POSTROUTING."""
        found: list[Traveller] = []
        for crossing, part in self._known(device, t):
            found += self._local_out_as(device, part, crossing)
        return found

    def _local_out_as(self, device: Device, t: Traveller, crossing: Crossing | None) -> list[Traveller]:
        change = self._context(t.change, crossing, "", device).then(constant("mac", NO_MAC))
        found: list[Traveller] = []
        for hop, sent, path in self._routed_out(device, Piece(t.packets, change, t.sure), t):
            pieces = self._chains(device, Point.OUTPUT, (sent,), path, crossing)
            kept = tuple(p for p in pieces if _same_route(p.change, sent.change))
            found += self._depart(device, hop.interface, hop.via, kept, t, path, crossing, False)
            for piece in pieces:  # routed again, with what OUTPUT has made of them (ip_route_me_harder())
                if piece not in kept:
                    for other, again, way in self._routed_out(device, piece, t):
                        found += self._depart(
                            device, other.interface, other.via, (again,), t, way, crossing, False
                        )
        return found

    def _routed_out(
        self, device: Device, piece: Piece, t: Traveller
    ) -> Iterator[tuple[NextHop, Piece, tuple[Hop, ...]]]:
        """Where routing sends the parts of a piece that the device itself sends."""
        asked = piece.change.then(_constant("oif", ABSENT))
        for forward in self.network.ways[device.name]:
            node = POOL.apply(AND, piece.packets, asked.preimage(POOL, forward.packets, OR))
            if not node:
                continue
            if forward.action != "forward":
                kind = "local-delivery" if forward.action == "local" else forward.action
                self._stop(kind, device.name, explain_route(forward), node, piece.sure, t.path)
                continue
            for hop in forward.hops:
                change = piece.change.then(_constant("oif", interface_value(hop.interface)))
                path = (*t.path[:-1], attrs.evolve(t.path[-1], oif=hop.interface))
                yield hop, attrs.evolve(piece, packets=node, change=change), path

    # Connection tracking

    def _tracking(self, device: Device) -> Tracking:
        if device.tracking is not None:
            return device.tracking
        return device.rulesets[0].tracking if device.rulesets else Tracking.FILTERED

    def _known(self, device: Device, t: Traveller) -> Iterator[tuple[Crossing | None, Traveller]]:
        """The parts of a traveller that a device knows as answers, each with what it answers; and the rest.

        An answer is established where an opening packet left with its ends exchanged (RFC 6146 and Linux look the
        connection up by addresses and ports, as they are on that device).
        """
        rest = t.packets
        if self.answering is not None and self._tracking(device) is not Tracking.UNTRACKED:
            for crossing in self.answering:
                group = crossing.group and crossing.group == device.state_group
                if not rest or not crossing.entry or not (crossing.device == device.name or group):
                    continue
                part = POOL.apply(AND, rest, answers(t.change, crossing.after, self.family))
                if part:
                    rest = POOL.apply(LESS, rest, part)
                    yield crossing, t if part == t.packets else attrs.evolve(t, packets=part)
        if rest:
            yield None, t if rest == t.packets else attrs.evolve(t, packets=rest)

    def _unknown_session(self, device: Device) -> bool:
        return self._tracking(device) is Tracking.PASSED and self.traffic.protocol == 6

    def _context(
        self, change: Transformation, crossing: Crossing | None, iif: str, device: Device
    ) -> Transformation:
        """The packet as a device gets it: unmarked, on its interface, in the state that the device knows."""
        entry = None if crossing is None else (crossing.ctmark, crossing.status)
        state = direction = None
        if crossing is not None:
            state, direction = State.ESTABLISHED, Direction.REPLY
        elif self.answering is not None:
            state = State.NEW if self.traffic.protocol not in (6, 1, 58, 132, 33) else State.INVALID
            if self._tracking(device) is Tracking.UNTRACKED:
                state = State.UNTRACKED
            direction = Direction.ORIGINAL
        elif not self.traffic.raw:
            direction = Direction.ORIGINAL
            if self._tracking(device) is Tracking.UNTRACKED:
                state = State.UNTRACKED
        return _as_received(change, iif, state, direction, entry)

    # Chains

    def _chains(
        self,
        device: Device,
        point: Point,
        pieces: tuple[Piece, ...],
        path: tuple[Hop, ...],
        crossing: Crossing | None,
    ) -> tuple[Piece, ...]:
        """The base chains of one hook point, of every rule set of the family."""
        for index in self.network.indexes[device.name]:
            if index.rules.family not in (None, self.family):
                continue
            flow: Flow = index.flow
            passage = flow.at(point, pieces)
            for blocked in passage.blocked:
                (self.stopped if blocked.sure else self.perhaps).append(blocked.packets)
            if passage.blocked and self.EXPLAINS:
                self._blame(device, flow, point, pieces, passage.blocked, path, crossing)
            if self.admits is not None:
                self._admitted_by(device, flow, point, pieces)
            if self.EXPLAINS and _has_doubts(index.rules):
                for decision in flow.decisions(point, pieces):
                    for rule in (*decision.trail, decision.rule):
                        if rule is not None and not rule.modelled:
                            self.undecided.append((rule, POOL.apply(OR, decision.sure, decision.maybe)))
            pieces = passage.out
        return pieces

    def _admitted_by(self, device: Device, flow: Flow, point: Point, pieces: Sequence[Piece]) -> None:
        """The rules and policies of the point's filter that accept part of the pieces."""
        assert self.admits is not None
        for d in flow.decisions(point, pieces):
            if d.verdict is Verdict.ACCEPT and is_filter(d.base, point):
                node = POOL.apply(OR, d.sure, d.maybe)
                self.admits.append(Admit(device.name, d.rule, d.chain, node, d.trail, self.direction))

    def _blame(
        self,
        device: Device,
        flow: Flow,
        point: Point,
        pieces: Sequence[Piece],
        blocked: Sequence[Blocked],
        path: tuple[Hop, ...],
        crossing: Crossing | None,
    ) -> None:
        """Every rule and policy that blocks part of the pieces, with that part."""
        sure = POOL.fold(OR, [b.packets for b in blocked if b.sure])
        either = POOL.fold(OR, [b.packets for b in blocked])
        asked = [attrs.evolve(p, packets=POOL.apply(AND, p.packets, either)) for p in pieces]
        lost = (
            self.answering is not None
            and crossing is None
            and self._tracking(device) is not Tracking.UNTRACKED
        )
        named = FALSE
        for decision in flow.decisions(point, asked):
            if decision.verdict is Verdict.ACCEPT:
                continue
            part = POOL.apply(AND, decision.sure, sure)
            rest = POOL.apply(LESS, POOL.apply(OR, decision.sure, decision.maybe), part)
            if part or rest:
                named = POOL.apply(OR, named, POOL.apply(OR, part, rest))
                self.stops.append(self._rule_stop(device, decision, part, rest, path, lost))
        missed = POOL.apply(LESS, either, named)
        if missed:  # a translation that drops (MASQUERADE without an address)
            text = f"{device.name} drops these packets while translating them"
            certain = POOL.apply(AND, missed, sure)
            self.stops.append(
                Stop(
                    "translation", device.name, None, text, "", "drop", certain,
                    POOL.apply(LESS, missed, certain), (), self.direction, path,
                )
            )  # fmt: skip

    def _rule_stop(
        self, device: Device, d: Decision, sure: int, maybe: int, path: tuple[Hop, ...], lost: bool
    ) -> Stop:
        verdict = d.verdict.value if d.verdict is not None else "unknown"
        kind = "rule" if d.rule is not None else "policy"
        if lost:
            kind = "asymmetric-return"
        text = d.rule.text if d.rule is not None else f"policy of {d.chain.name}"
        return Stop(
            kind, device.name, d.rule, text, d.chain.name, verdict, sure, maybe, d.trail, self.direction, path
        )

    def _stop(
        self, kind: str, device: str, text: str, packets: int, sure: bool, path: tuple[Hop, ...]
    ) -> None:
        (self.stopped if sure else self.perhaps).append(packets)
        if not self.EXPLAINS:
            return
        parts = (packets, FALSE) if sure else (FALSE, packets)
        self.stops.append(Stop(kind, device, None, text, "", "drop", *parts, (), self.direction, path))


def _whole(sure: bool) -> Operation:
    """How what was taken is taken out of a traveller with an open header: where every value is, if it is sure.

    One that is not sure is unknown wherever it ends, so it is not followed to every end.
    """
    return AND if sure else OR


@lru_cache(maxsize=256)
def _has_doubts(rules: RuleSet) -> bool:
    """Whether a rule that is not modelled in full can change a verdict (a LOG with a limit cannot)."""
    return any(
        not r.modelled and (r.effects or r.action.kind is not ActionKind.CONTINUE) for r in rules.rules()
    )


@lru_cache(maxsize=16_384)
def _as_received(
    change: Transformation,
    iif: str,
    state: State | None,
    direction: Direction | None,
    entry: tuple[tuple[tuple[int, LevelMap], ...], int] | None,
) -> Transformation:
    """A packet as a device gets it; `entry` is what the device kept of its connection, marks and status."""
    maps: dict[int, LevelMap] = {**dict(change.without(_CONTEXT).maps)}
    maps |= _sets("iif", interface_value(iif) if iif else ABSENT)
    maps |= _sets("oif", ABSENT)
    maps |= _sets("mark", 0)
    ctmark, status = entry or ((), 0)
    maps |= _sets("ctmark", 0) | dict(ctmark) | _sets("ct_status", status)
    if state is not None:
        maps |= _sets("state", state)
    if direction is not None:
        maps |= _sets("direction", direction)
    return Transformation.of(maps)


__all__ = ["Crossing", "Tracer"]

"""Many questions in one trace: from many sources to many targets, opening packets and answers.

Theory of operation. Every set stays in the sender's header, so a source and a target are conditions
on a packet, and questions that no packet shares can be traced together: what is found is cut apart
afterwards. Three things depend on more than the packet. Who is asked about is kept as the members of
`ends`. The answer of a protocol differs only in fields that other protocols lack; on a device that does
not know the connection, where it differs more, the packets are taken apart by protocol. And which way
packets came: travellers that are on one link in the same form are joined, whatever way they took, and
`seen` keeps which packets came by which interface.

Invariants: W1 the sources of one sweep have disjoint addresses; W2 packets of an answered class are of
its protocol; W3 joined travellers agree in link, next hop, transformation, certainty and crossings, and
a packet that two of them share has `seen` the same.

Costs. An interface is crossed once for each different crossing history instead of once for each pair;
blockers are not named. Nothing asked costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from netsim.queries.ends import Ends, address_node
from netsim.queries.leaves import Leaves
from netsim.queries.trace import Crossing, Tracer
from netsim.queries.traffic import Traffic, joint_answer
from netsim.queries.travellers import Steps, Traveller
from netsim.rules.model import Tracking
from netsim.space.diagram import AND, FALSE, OR
from netsim.space.fields import FIELDS, Family
from netsim.space.packets import NOTHING, PacketSet
from netsim.space.pool import POOL, field_node
from netsim.space.transform import IDENTITY, Transformation
from netsim.topology.model import Device, Interface
from netsim.topology.network import Instance, Network

Seen = tuple[tuple[str, str, int], ...]


@attrs.frozen(slots=True)
class Bundle:
    """Classes of one family whose packets are treated alike: answered or not, raw or not."""

    classes: tuple[Traffic, ...]
    answered: bool
    raw: bool

    @property
    def opening(self) -> int:
        """The packets of all classes."""
        return POOL.fold(OR, [t.opening.node for t in self.classes])


def bundles(classes: Iterable[Traffic]) -> tuple[Bundle, ...]:
    """Classes of one family in bundles: answered ones, those in one direction, and raw sets.

    A class that says it is answered and holds packets of several protocols is a bundle alone (W2).
    """
    found: dict[object, list[Traffic]] = {}
    for traffic in classes:
        key: object = (traffic.answered, traffic.raw)
        if traffic.answered and not _regular(traffic):
            key = traffic.text, traffic.opening.node
        found.setdefault(key, []).append(traffic)
    return tuple(Bundle(tuple(each), each[0].answered, each[0].raw) for each in found.values())


def _regular(traffic: Traffic) -> bool:
    return traffic.protocol is not None and not traffic.raw and not _without(traffic)


def _without(traffic: Traffic) -> int:
    """The packets of a class that are of another protocol than its own."""
    mine = _protocol(traffic.protocol or 0)
    return POOL.apply(AND, traffic.opening.node, POOL.negate(mine))


def _protocol(number: int) -> int:
    return field_node(FIELDS["protocol"], ((number, number),))


class Sweep(Tracer):
    """A tracer that joins travellers and names no blockers. `kinds` are the protocols of answers."""

    EXPLAINS = False

    def __init__(
        self,
        network: Network,
        family: Family,
        ends: Ends,
        kinds: Sequence[Traffic],
        *,
        steps: Steps,
        answering: tuple[Crossing, ...] | None = None,
    ) -> None:
        super().__init__(network, kinds[0], family, ends, answering=answering, steps=steps)
        self.kinds = kinds

    def follow(self, waiting: list[Traveller]) -> None:
        """Follow travellers hop by hop, joined before each."""
        while waiting:
            level, waiting = joined(waiting), []
            for traveller in level:
                self.steps.take()
                waiting += self._deliver(traveller)

    def _cross_as(
        self, device: Device, interface: Interface, t: Traveller, crossing: Crossing | None
    ) -> list[Traveller]:
        found: list[Traveller] = []
        for part in self._apart(device, t, crossing):
            found += super()._cross_as(device, interface, part, crossing)
        return found

    def _local_out_as(self, device: Device, t: Traveller, crossing: Crossing | None) -> list[Traveller]:
        found: list[Traveller] = []
        for part in self._apart(device, t, crossing):
            found += super()._local_out_as(device, part, crossing)
        return found

    def _apart(self, device: Device, t: Traveller, crossing: Crossing | None) -> Iterable[Traveller]:
        """A traveller by protocol, where a device treats the protocols' answers differently."""
        known = self.answering is None or crossing is not None
        if known or len(self.kinds) == 1 or self._tracking(device) is Tracking.UNTRACKED:
            yield t
            return
        for kind in self.kinds:
            node = POOL.apply(AND, t.packets, _protocol(kind.protocol or 0))
            if node:
                self.traffic = kind
                yield attrs.evolve(t, packets=node)


def joined(travellers: Iterable[Traveller]) -> list[Traveller]:
    """Travellers with those joined that go on alike (W3)."""
    found: dict[object, list[Traveller]] = {}
    for t in travellers:
        key = (t.link, t.via, t.sure, t.change, t.crossings, len(t.path) > 1)  # or still the sender's frame
        alike = found.setdefault(key, [])
        for i, other in enumerate(alike):
            if t.seen == other.seen or not POOL.apply(AND, t.packets, other.packets):
                packets = POOL.apply(OR, t.packets, other.packets)
                alike[i] = attrs.evolve(other, packets=packets, seen=_seen(t, other))
                break
        else:
            alike.append(t)
    return [t for alike in found.values() for t in alike]


def _seen(a: Traveller, b: Traveller) -> Seen:
    """What the packets of either have seen; the sets of each are cut to its packets first."""
    if a.seen == b.seen:
        return a.seen
    found: dict[tuple[str, str], int] = {}
    for t in (a, b):
        for device, interface, node in t.seen:
            mine = POOL.apply(AND, node, t.packets)
            if mine:
                key = device, interface
                found[key] = POOL.apply(OR, found.get(key, FALSE), mine)
    return tuple((*key, node) for key, node in found.items())


def sweep(
    network: Network,
    family: Family,
    sources: Sequence[tuple[Instance, int]],
    targets: Ends,
    asked: Sequence[Bundle],
    assumed: dict[str, None],
    paths: int,
    arrivals: dict[Transformation, PacketSet],
) -> list[tuple[int, int, int, int]]:
    """For each bundle: what was asked, and of it what is allowed, blocked and split.

    `sources` come with the packets asked of them, whatever the class. All bundles are raw, or none is.
    What was taken for granted on the way is added to `assumed`, and to `arrivals` what arrived, by what was done to
    it. The whole takes at most `paths` steps. Raises `BudgetExceeded`.
    """
    wanted = [b.opening for b in asked]
    every = POOL.fold(OR, wanted)
    steps = Steps(paths)
    there = Sweep(network, family, targets, asked[0].classes[:1], steps=steps)
    starts: list[Traveller] = []
    for source, node in sources:
        packets = POOL.apply(AND, node, every)
        if packets:
            starts += there.departures(source, packets, IDENTITY)
    there.follow(starts)
    for t in there.arrived:
        arrivals[t.change] = arrivals.get(t.change, NOTHING) | PacketSet(t.packets)
    back = Ends(network, family, [(s, address_node("src", s, family)) for s, _ in sources])
    stopped, perhaps = POOL.fold(OR, there.stopped), POOL.fold(OR, there.perhaps)
    sent = POOL.fold(OR, [node for _, node in sources])
    result = []
    for bundle, opening in zip(asked, wanted, strict=True):
        mine = POOL.apply(AND, sent, opening)
        leaves = Leaves(FALSE, POOL.apply(AND, stopped, mine), POOL.apply(AND, perhaps, mine))
        arrived = [attrs.evolve(t, packets=POOL.apply(AND, t.packets, opening)) for t in there.arrived]
        arrived = [t for t in arrived if t.packets]
        if not bundle.answered:
            for t in arrived:
                leaves.add(Leaves.of(t))
        else:
            _answers(network, family, arrived, targets, back, bundle, leaves, assumed, steps)
        result.append((mine, *leaves.verdict(mine)))
    assumed.update(there.assumed)
    return result


def _answers(
    network: Network,
    family: Family,
    arrived: list[Traveller],
    targets: Ends,
    back: Ends,
    bundle: Bundle,
    leaves: Leaves,
    assumed: dict[str, None],
    steps: Steps,
) -> None:
    """The answers of what arrived, joined where they went through the same devices."""
    alone = not _regular(bundle.classes[0])
    kinds = list({t.protocol: t for t in bundle.classes}.values())
    groups: dict[tuple[tuple[Crossing, ...], bool], list[Traveller]] = {}
    for t in arrived:
        groups.setdefault((t.crossings, t.sure), []).append(t)
    for (crossings, sure), group in groups.items():
        answer = Sweep(network, family, back, kinds, steps=steps, answering=crossings)
        starts: list[Traveller] = []
        headers: dict[Transformation, Transformation] = {}
        for t in group:
            header = headers.get(t.change)
            if header is None:
                header = kinds[0].answer(t.change, family) if alone else joint_answer(t.change, family)
                headers[t.change] = header
            for target, part in targets.answerers(t.device, t.link, t.packets, t.change):
                starts += answer.departures(target, part, header)
        answer.follow(starts)
        came = Leaves(FALSE, POOL.fold(OR, answer.stopped), POOL.fold(OR, answer.perhaps))
        for returned in answer.arrived:
            came.add(Leaves.of_answer(returned, family))
        leaves.add(came if sure else came.doubted())
        assumed.update(answer.assumed)


__all__ = ["Bundle", "Sweep", "bundles", "joined", "sweep"]

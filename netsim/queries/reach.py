"""Can a source reach a destination? The whole answer: exact sets, every blocker, witnesses, shares.

Algebra. What was asked falls into four disjoint sets in the sender's header: `allowed` (every path, for
certain), `blocked` (no path, for certain), `split` (some paths, for certain) and `unknown` (something
unmodelled decides). The status is allowed or blocked if that set is everything; else unknown if
`unknown` is not empty and `blocked` and `split` are; else partial. Nothing asked is an error. A share
counts source addresses of a family, or a service's instances by weight; never packets.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from fractions import Fraction
from typing import Any

import attrs

from netsim.display import Displayed, Document
from netsim.errors import DEFAULT_LIMITS, BudgetExceeded, Limits, QuestionError
from netsim.queries.trace import Hop, Steps, Stop, Tracer, Traveller
from netsim.queries.traffic import EPHEMERAL, Traffic, TrafficLike, for_family, parse_traffic
from netsim.rules.model import Rule
from netsim.space.diagram import AND, FALSE, LESS, OR
from netsim.space.fields import ADDRESS_FIELDS, Family, Range, merge_ranges
from netsim.space.packet import Packet
from netsim.space.packets import NOTHING, POOL, VARIABLE_LEVELS, PacketSet, address_set, condition_node
from netsim.space.transform import IDENTITY
from netsim.topology.model import Assumption
from netsim.topology.network import Instance, Network, register

Gateway = tuple[tuple[Family, int], ...]

DEFINED = frozenset({"source-ports", "answers", "not-asked"})
"""Assumptions that belong to what is asked, not to what a site leaves out."""


class Status(Enum):
    """The answer in one word."""

    ALLOWED = "allowed"
    BLOCKED = "blocked"
    PARTIAL = "partial"
    UNKNOWN = "unknown"


@attrs.frozen(slots=True)
class Blocker:
    """What stops part of what was asked.

    `kind`: rule, policy, no-route, blackhole, unreachable, prohibit, rp-filter, martian-source,
    martian-destination, ip-forward, asymmetric-return, no-neighbour, no-gateway, no-link,
    local-delivery, forwarding-loop, ttl-exceeded or translation. `packets` are stopped for certain, `possibly` perhaps.
    `direction` is opening or answer; `share` is the part of the sources that it touches.
    """

    kind: str
    device: str
    rule: Rule | None
    text: str
    chain: str
    verdict: str
    packets: PacketSet
    possibly: PacketSet
    trail: tuple[Rule, ...]
    direction: str
    path: tuple[Hop, ...]
    share: Fraction

    @property
    def place(self) -> str:
        """`file:line` of the rule, or the device and what it lacks."""
        if self.rule is not None:
            return self.rule.source.line_place
        return f"{self.device}:{self.chain}" if self.chain else self.device


@attrs.frozen(slots=True)
class SourceShare:
    """One source of the question and what becomes of its packets.

    `cut_off` is the part of its addresses from which nothing comes through for certain.
    """

    name: str
    status: Status
    weight: int
    sources: PacketSet
    cut_off: Fraction = Fraction(0)


@attrs.frozen(slots=True)
class Path:
    """One way through the network and the packets that take it, opening and answer."""

    hops: tuple[Hop, ...]
    packets: PacketSet

    def __str__(self) -> str:
        return " -> ".join(map(str, self.hops))


@attrs.frozen(slots=True)
class Because:
    """A condition that `unknown` depends on."""

    rule: Rule
    conditions: tuple[str, ...]


@attrs.frozen(slots=True, eq=False)
class Reachability(Displayed):
    """The answer of `reach`. `bool` of it raises: ask `status`, or one of the four sets."""

    src: str
    dst: str
    traffic: str
    status: Status
    asked: PacketSet
    allowed: PacketSet
    blocked: PacketSet
    split: PacketSet
    unknown: PacketSet
    blockers: tuple[Blocker, ...]
    paths: tuple[Path, ...]
    sources: tuple[SourceShare, ...]
    witnesses: Mapping[str, Packet]
    assumptions: tuple[Assumption, ...]
    because: tuple[Because, ...]

    def __bool__(self) -> bool:
        raise TypeError("a Reachability is neither true nor false; compare .status, or test .blocked")

    @property
    def witness(self) -> Packet | None:
        """A packet of the first of blocked, split, unknown, allowed that is not empty."""
        return next(iter(self.witnesses.values()), None)

    @property
    def cut_off(self) -> tuple[str, ...]:
        """The sources from which nothing comes through for certain."""
        return tuple(s.name for s in self.sources if s.status is Status.BLOCKED)

    @property
    def share_cut_off(self) -> Fraction:
        """The part of the sources that is cut off: by weight among them, by addresses within each."""
        total = sum(s.weight for s in self.sources)
        lost = sum((s.weight * s.cut_off for s in self.sources), Fraction(0))
        return lost / total if total else Fraction(0)

    def explain(self) -> Document:
        """Why: the verdict, the blockers with their lines, the witness, the paths, the assumptions."""
        from netsim.queries.explain import explain

        return explain(self)

    def document(self) -> Document:
        """The same as `explain()`."""
        return self.explain()

    def rows(self) -> list[dict[str, Any]]:
        """The blockers as plain rows."""
        return [
            {
                "kind": b.kind, "device": b.device, "place": b.place, "rule": b.rule.id if b.rule else None,
                "text": b.text, "verdict": b.verdict, "direction": b.direction, "share": float(b.share),
                "certain": bool(b.packets),
            }
            for b in self.blockers
        ]  # fmt: skip


def reach(
    network: Network,
    src: str | PacketSet,
    dst: str | PacketSet,
    traffic: TrafficLike | None = None,
    *,
    any_instance: bool = False,
    source_ports: tuple[int, int] = EPHEMERAL,
    strict: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> Reachability:
    """Whether `src` reaches `dst` with `traffic`: opening packet and answer.

    `src` and `dst` are names of services, hosts, subnets and devices, `internet`, or prefixes. `traffic` may
    be left out where `dst` is a service with ports. A service is every instance to every instance;
    with `any_instance` one instance of `dst` is enough for each source. With `strict`, an answer that
    rests on something the site does not say is unknown. Raises `QuestionError` for a
    question that has no answer.
    """
    if isinstance(src, PacketSet) or isinstance(dst, PacketSet):
        raise QuestionError.of("ends are names or prefixes; give packet sets as traffic", code="NS304")
    low, high = source_ports
    if not 0 <= low <= high <= 65535:
        raise QuestionError.of(f"source ports {low}-{high} are not within 0-65535", code="NS311")
    sources, targets = network.instances(src), network.instances(dst)
    if traffic is None:
        service = network.services.get(dst)
        if service is None or not service.ports:
            raise QuestionError.of(
                f"which traffic to {dst[:60]!r}?", code="NS310", hint="write tcp/443, udp/53 or any"
            )
        try:
            classes = parse_traffic(service.ports, source_ports=source_ports)
        except QuestionError as error:
            raise QuestionError(
                attrs.evolve(d, source=service.source, message=f"service {dst[:60]}: {d.message}")
                for d in error.diagnostics
            ) from None
    else:
        classes = parse_traffic(traffic, source_ports=source_ports)
    with POOL.lock, POOL.budget(limits.nodes):
        return _Question(network, src, dst, sources, targets, classes, any_instance, strict, limits).answer()


@attrs.define
class _Leaves:
    """Diagrams in the sender's header: came through, was stopped, or perhaps."""

    through: int = FALSE
    stopped: int = FALSE
    perhaps: int = FALSE

    def add(self, other: _Leaves) -> None:
        self.through = POOL.apply(OR, self.through, other.through)
        self.stopped = POOL.apply(OR, self.stopped, other.stopped)
        self.perhaps = POOL.apply(OR, self.perhaps, other.perhaps)


class _Question:
    def __init__(
        self,
        network: Network,
        src: str,
        dst: str,
        sources: tuple[Instance, ...],
        targets: tuple[Instance, ...],
        classes: tuple[Traffic, ...],
        any_instance: bool,
        strict: bool,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.limits = limits
        self.network = network
        self.src, self.dst = src, dst
        self.sources, self.targets, self.classes = sources, targets, classes
        self.any_instance = any_instance
        self.strict = strict
        self.stops: list[Stop] = []
        self.paths: dict[tuple[Hop, ...], int] = {}
        self.undecided: list[tuple[Rule, int]] = []
        self.assumed: dict[str, None] = {}
        self.over_budget = ""

    def answer(self) -> Reachability:
        asked = allowed = blocked = split = NOTHING
        shares: list[SourceShare] = []
        for source in self.sources:
            mine, sets = self._source(source)
            if not mine:
                continue
            asked |= mine
            allowed |= sets[0]
            blocked |= sets[1]
            split |= sets[2]
            lost = _cut_off(mine, sets[1])
            shares.append(SourceShare(source.name, _status(mine, *sets), source.weight, mine, lost))
        if not asked:
            raise QuestionError.of(
                f"nothing is asked: no packet goes from {self.src!r} to {self.dst!r} like this",
                code="NS312",
                hint="source and destination need addresses of one family",
            )
        assumptions = self._assumptions()
        if self.strict and any(a.code not in DEFINED for a in assumptions):
            allowed = blocked = split = NOTHING
            shares = [attrs.evolve(s, status=Status.UNKNOWN, cut_off=Fraction(0)) for s in shares]
        unknown = asked - allowed - blocked - split
        parts = {"blocked": blocked, "split": split, "unknown": unknown, "allowed": allowed}
        witnesses = {name: part.sample() for name, part in parts.items() if part}
        return Reachability(
            self.src, self.dst, "; ".join(t.text for t in self.classes),
            _status(asked, allowed, blocked, split), asked, allowed, blocked, split, unknown,
            self._blockers(asked, shares), self._paths(), tuple(shares),
            {k: v for k, v in witnesses.items() if v is not None}, assumptions, self._because(unknown),
        )  # fmt: skip

    def _source(self, source: Instance) -> tuple[PacketSet, tuple[PacketSet, PacketSet, PacketSet]]:
        asked, allowed, blocked, split = NOTHING, NOTHING, NOTHING, NOTHING
        groups = [(t,) for t in self.targets] if self.any_instance else [self.targets]
        for traffic in self.classes:
            for family in Family:
                base = for_family(traffic, family).opening & _ends("src", (source,), family)
                results = []
                for group in groups:
                    others = tuple(t for t in group if t.name != source.name or self._wide(t))
                    wanted = base & _ends("dst", others, family)
                    if wanted:
                        results.append(
                            (
                                wanted,
                                *self._trace(source, others, for_family(traffic, family), family, wanted),
                            )
                        )
                for wanted, *_ in results:
                    asked |= wanted
                if self.any_instance and results:
                    # The best of the instances: allowed, else what is unknown, else split, else blocked.
                    some_ok = some_open = some_part = NOTHING
                    for wanted, ok, no, part in results:
                        some_ok |= ok.some("dst")
                        some_open |= (wanted - ok - no - part).some("dst")
                        some_part |= part.some("dst")
                    for wanted, *_ in results:
                        allowed |= wanted & some_ok
                        split |= (wanted & some_part) - some_ok - some_open
                        blocked |= wanted - some_ok - some_open - some_part
                else:
                    for _, ok, no, part in results:
                        allowed |= ok
                        blocked |= no
                        split |= part
        return asked, (allowed, blocked, split)

    def _wide(self, instance: Instance) -> bool:
        """Whether an instance is many end systems, which may talk to one another."""
        return not instance.host and instance.name not in self.network.devices

    def _trace(
        self,
        source: Instance,
        targets: tuple[Instance, ...],
        traffic: Traffic,
        family: Family,
        asked: PacketSet,
    ) -> tuple[PacketSet, PacketSet, PacketSet]:
        try:
            leaves = self._both_ways(source, targets, traffic, family, asked)
        except BudgetExceeded as error:
            self.over_budget = str(error)
            return NOTHING, NOTHING, NOTHING
        a, b, m = leaves.through, leaves.stopped, leaves.perhaps
        outside = POOL.apply(OR, b, m)
        ok = POOL.apply(LESS, a, outside)
        no = POOL.apply(LESS, POOL.apply(LESS, b, a), m)
        part = POOL.apply(LESS, POOL.apply(AND, a, b), m)
        return tuple(  # type: ignore[return-value]
            PacketSet(POOL.apply(AND, asked.node, POOL.quantify(node, VARIABLE_LEVELS, AND)))
            for node in (ok, no, part)
        )

    def _both_ways(
        self,
        source: Instance,
        targets: tuple[Instance, ...],
        traffic: Traffic,
        family: Family,
        asked: PacketSet,
    ) -> _Leaves:
        steps = Steps(self.limits.paths)
        tracer = Tracer(self.network, traffic, family, targets, steps=steps)
        tracer.start(source, asked.node, IDENTITY)
        leaves = self._leaves(tracer)
        for arrived in tracer.arrived:
            if not traffic.answered:
                leaves.add(_arrived(arrived))
                self._path(arrived.path, arrived.packets)
                continue
            answer = Tracer(
                self.network, traffic, family, (source,), answering=arrived.crossings, steps=steps
            )
            header = traffic.answer(arrived.change, family)
            for target, part in self._answerers(arrived, targets, family):
                answer.start(target, part, header)
            back = self._leaves(answer)
            for returned in answer.arrived:
                leaf = _arrived(returned)
                if not arrived.sure:
                    leaf = _Leaves(perhaps=returned.packets)
                back.add(leaf)
                self._path((*arrived.path, *returned.path[1:]), returned.packets)
            if not arrived.sure:
                back = _Leaves(
                    perhaps=POOL.apply(OR, back.through, POOL.apply(OR, back.stopped, back.perhaps))
                )
            leaves.add(back)
        return leaves

    def _answerers(
        self, arrived: Traveller, targets: tuple[Instance, ...], family: Family
    ) -> list[tuple[Instance, int]]:
        """Who answers, and what: the device or the hosts that were addressed, else whoever was asked about.

        Hosts with the same gateway answer alike, and together.
        """
        last = arrived.path[-1]
        if last.iif and last.name in self.network.devices:
            return [(self.network.instances(last.name)[0], arrived.packets)]
        field = ADDRESS_FIELDS["dst", family]
        alike: dict[Gateway, list[Instance]] = {}
        everyone: list[Range] = []
        for host in self.network.hosts.values():
            if host.link == arrived.link:
                alike.setdefault(host.gateway, []).append(self.network.instances(host.name)[0])
        found: list[tuple[Instance, int]] = []
        for hosts in alike.values():
            ranges = [r for h in hosts for f, rs in h.addresses if f is family for r in rs]
            everyone += ranges
            part = self._sent_to(arrived, condition_node(field, merge_ranges(ranges)))
            if part:
                name = ", ".join(h.name for h in hosts if h.name in last.name.split(", "))
                found.append((attrs.evolve(hosts[0], name=name or hosts[0].name), part))
        rest = self._sent_to(arrived, POOL.negate(condition_node(field, merge_ranges(everyone))))
        if rest:
            others = (t for t in targets if arrived.link in t.links and self._wide(t))
            found.append((next(others, Instance(arrived.link, (), 1, (arrived.link,), (), False)), rest))
        return found

    def _sent_to(self, arrived: Traveller, destinations: int) -> int:
        return POOL.apply(AND, arrived.packets, arrived.change.preimage(POOL, destinations, OR))

    def _leaves(self, tracer: Tracer) -> _Leaves:
        self.stops += tracer.stops
        self.undecided += tracer.undecided
        self.assumed.update(tracer.assumed)
        return _Leaves(
            FALSE,
            POOL.fold(OR, [s.sure for s in tracer.stops]),
            POOL.fold(OR, [s.maybe for s in tracer.stops]),
        )

    def _path(self, path: tuple[Hop, ...], node: int) -> None:
        self.paths[path] = POOL.apply(OR, self.paths.get(path, FALSE), node)

    # Putting the answer together

    def _blockers(self, asked: PacketSet, shares: list[SourceShare]) -> tuple[Blocker, ...]:
        joined: dict[tuple[object, ...], Stop] = {}
        for stop in self.stops:
            key = (stop.kind, stop.device, stop.rule, stop.text, stop.chain, stop.direction)
            old = joined.get(key)
            if old is not None:
                stop = attrs.evolve(
                    old, sure=POOL.apply(OR, old.sure, stop.sure), maybe=POOL.apply(OR, old.maybe, stop.maybe)
                )
            joined[key] = stop
        found: list[Blocker] = []
        for stop in joined.values():
            either = POOL.quantify(POOL.apply(OR, stop.sure, stop.maybe), VARIABLE_LEVELS, OR)
            sure = PacketSet(POOL.quantify(stop.sure, VARIABLE_LEVELS, AND)) & asked
            maybe = (PacketSet(either) & asked) - sure
            if sure or maybe:
                found.append(
                    Blocker(
                        stop.kind,
                        stop.device,
                        stop.rule,
                        stop.text,
                        stop.chain,
                        stop.verdict,
                        sure,
                        maybe,
                        stop.trail,
                        stop.direction,
                        stop.path,
                        _share(sure | maybe, shares),
                    )
                )
        return tuple(sorted(found, key=lambda b: (not b.packets, -b.share)))

    def _paths(self) -> tuple[Path, ...]:
        found = []
        for hops, node in self.paths.items():
            found.append(Path(hops, PacketSet(POOL.quantify(node, VARIABLE_LEVELS, OR))))
        return tuple(found)

    def _assumptions(self) -> tuple[Assumption, ...]:
        found: list[Assumption] = []
        if any(t.ephemeral for t in self.classes):
            found.append(Assumption("source-ports", "clients use the source ports 1024-65535"))
        if any(t.answered for t in self.classes):
            found.append(Assumption("answers", "the answer takes its own routes and must come through too"))
        crossed = {h.name for path in self.paths for h in path} | {s.device for s in self.stops}
        crossed |= {h.name for s in self.stops for h in s.path}
        for assumption in self.network.assumptions:
            if any(assumption.text.startswith((f"{name} ", f"{name}:")) for name in crossed):
                found.append(assumption)
        for text, instances in {self.src: self.sources, self.dst: self.targets}.items():
            if self.network.partly(text, instances):
                words = (
                    f"{text} stands for those of its addresses that an end system or a device here can have"
                )
                found.append(Assumption("not-asked", words))
        found += [Assumption("gateway", text) for text in self.assumed]
        if self.over_budget:
            found.append(Assumption("budget", self.over_budget))
        return tuple(found)

    def _because(self, unknown: PacketSet) -> tuple[Because, ...]:
        found: dict[str, Because] = {}
        for rule, node in self.undecided:
            if POOL.apply(AND, POOL.quantify(node, VARIABLE_LEVELS, OR), unknown.node):
                texts = tuple(c.text for c in rule.undecided()) or (rule.action.text or rule.text,)
                found.setdefault(rule.id, Because(rule, texts))
        return tuple(found.values())


def _arrived(t: Traveller) -> _Leaves:
    return _Leaves(through=t.packets) if t.sure else _Leaves(perhaps=t.packets)


def _ends(side: str, instances: tuple[Instance, ...], family: Family) -> PacketSet:
    result = NOTHING
    for instance in instances:
        mine = {f: ranges for f, ranges in instance.addresses if f is family and ranges}
        if mine:
            result |= address_set(side, mine)
    return result


def _status(asked: PacketSet, allowed: PacketSet, blocked: PacketSet, split: PacketSet) -> Status:
    if asked == allowed:
        return Status.ALLOWED
    if asked == blocked:
        return Status.BLOCKED
    unknown = asked - allowed - blocked - split
    return Status.UNKNOWN if unknown and not blocked and not split else Status.PARTIAL


def _cut_off(asked: PacketSet, blocked: PacketSet) -> Fraction:
    """The part of the source addresses from which everything is blocked."""
    if asked == blocked or not blocked:
        return Fraction(1 if blocked else 0)
    total, left = asked.address_counts("src"), (asked - blocked).address_counts("src")
    return 1 - Fraction(sum(left.values()), sum(total.values()))


def _share(part: PacketSet, shares: list[SourceShare]) -> Fraction:
    """The part of the sources that a set touches: by addresses within a source, by weight among them."""
    found = Fraction(0)
    for share in shares:
        touched, total = (part & share.sources).address_counts("src"), share.sources.address_counts("src")
        values = [Fraction(touched.get(family, 0), count) for family, count in total.items()]
        found += share.weight * max(values, default=Fraction(0))
    weight = sum(s.weight for s in shares)
    return found / weight if weight else Fraction(0)


register("reach", reach)

__all__ = ["Because", "Blocker", "Path", "Reachability", "SourceShare", "Status", "reach"]

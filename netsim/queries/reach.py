"""Can a source reach a destination? The whole answer: exact sets, every blocker, witnesses, shares.

Algebra. What was asked falls into four disjoint sets in the sender's header: `allowed` (every path, for
certain), `blocked` (no path, for certain), `split` (some paths, for certain) and `unknown` (something
unmodelled decides). The status is allowed or blocked if that set is everything; else unknown if
`unknown` is not empty and `blocked` and `split` are; else partial. Nothing asked is an error. A share
counts source addresses of a family, or a service's instances by weight; never packets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from fractions import Fraction
from typing import Any

import attrs

from netsim.display import Displayed, Document
from netsim.errors import DEFAULT_LIMITS, BudgetExceeded, Limits, QuestionError
from netsim.queries.leaves import Leaves
from netsim.queries.trace import Tracer
from netsim.queries.traffic import EPHEMERAL, Traffic, TrafficLike, for_family, parse_traffic
from netsim.queries.travellers import Admit, Hop, Steps, Stop, Traveller
from netsim.rules.model import Chain, Rule
from netsim.space.diagram import AND, FALSE, LESS, OR
from netsim.space.fields import Family, Range
from netsim.space.packet import Packet
from netsim.space.packets import NOTHING, PacketSet, address_set
from netsim.space.pool import POOL, VARIABLE_LEVELS
from netsim.space.transform import IDENTITY
from netsim.topology.model import Assumption, Service
from netsim.topology.network import Instance, Network, register

DEFINED = frozenset({"source-ports", "answers", "not-asked"})
"""Assumptions that belong to what is asked, not to what a site leaves out."""


class Status(Enum):
    """The answer in one word."""

    ALLOWED = "allowed"
    BLOCKED = "blocked"
    PARTIAL = "partial"
    UNKNOWN = "unknown"


COLUMNS = ("kind", "device", "place", "rule", "text", "verdict", "direction", "share", "certain")
"""The keys of every row of a reachability."""


@attrs.frozen(slots=True)
class Blocker:
    """What stops part of what was asked.

    `kind`: rule, policy, no-route, blackhole, unreachable, prohibit, rp-filter, martian-source,
    martian-destination, ip-forward, asymmetric-return, one-way-nat, no-neighbour, no-gateway, no-link,
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
class Admitter:
    """What lets part of what was asked through a device's filter: a rule, or the policy of `chain` (`rule` None).

    `packets` are let through here, perhaps or for certain; `direction` is opening or answer.
    """

    device: str
    rule: Rule | None
    chain: Chain
    packets: PacketSet
    trail: tuple[Rule, ...]
    direction: str

    @property
    def place(self) -> str:
        """`file:line` of the rule, or the device and its chain."""
        return self.rule.source.line_place if self.rule is not None else f"{self.device}:{self.chain.name}"


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
    admitters: tuple[Admitter, ...] = ()

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

    def frame(self) -> Any:
        """The rows as a pandas data frame; needs the extra `frames`."""
        from netsim.display.frame import frame

        return frame(self.rows(), COLUMNS)


def reach(
    network: Network,
    src: str | PacketSet,
    dst: str | PacketSet,
    traffic: TrafficLike | None = None,
    *,
    any_instance: bool = False,
    source_ports: Range | None = None,
    strict: bool = False,
    admitters: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> Reachability:
    """Whether `src` reaches `dst` with `traffic`: opening packet and answer.

    `src` and `dst` are names of services, hosts, subnets and devices, `internet`, or prefixes. `traffic` may
    be left out where `dst` is a service with ports. A service is every instance to every instance;
    with `any_instance` one instance of `dst` is enough for each source. With `strict`, an answer that
    rests on something the site does not say is unknown. With `admitters`, the answer names
    the rules that let packets through as well as those that do not. Raises `QuestionError` for a
    question that has no answer.
    """
    asked = question(
        network, src, dst, traffic, any_instance=any_instance, source_ports=source_ports, strict=strict,
        limits=limits,
    )  # fmt: skip
    with POOL.lock, POOL.budget(limits):
        asked.admits = [] if admitters else None
        return asked.answer()


def question(
    network: Network,
    src: str | PacketSet,
    dst: str | PacketSet,
    traffic: TrafficLike | None = None,
    *,
    any_instance: bool = False,
    source_ports: Range | None = None,
    strict: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> Question:
    """The question that `reach` answers. Raises `QuestionError`."""
    if isinstance(src, PacketSet) or isinstance(dst, PacketSet):
        raise QuestionError.of("ends are names or prefixes; give packet sets as traffic", code="NS304")
    source_ports = source_ports or network.source_ports or EPHEMERAL
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
        classes = service_traffic(service, source_ports)
    else:
        classes = parse_traffic(traffic, source_ports=source_ports)
    return Question(network, src, dst, sources, targets, classes, any_instance, strict, limits)


def service_traffic(service: Service, source_ports: Range) -> tuple[Traffic, ...]:
    """The classes of a service's ports. Raises `QuestionError` at the service's place."""
    try:
        return parse_traffic(service.ports, source_ports=source_ports)
    except QuestionError as error:
        raise QuestionError(
            attrs.evolve(d, source=service.source, message=f"service {service.name[:60]}: {d.message}")
            for d in error.diagnostics
        ) from None


class Question:
    """One question on its way to its answer; `tracer` follows the packets."""

    tracer: type[Tracer] = Tracer

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
        self.admits: list[Admit] | None = None
        self.paths: dict[tuple[Hop, ...], int] = {}
        self.undecided: list[tuple[Rule, int]] = []
        self.assumed: dict[str, None] = {}
        self.over_budget = ""

    def answer(self) -> Reachability:
        """The answer; the caller holds the pool's lock."""
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
            lost = cut_off(mine, sets[1])
            shares.append(SourceShare(source.name, status_of(mine, *sets), source.weight, mine, lost))
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
            status_of(asked, allowed, blocked, split), asked, allowed, blocked, split, unknown,
            self._blockers(asked, shares), self._paths(), tuple(shares),
            {k: v for k, v in witnesses.items() if v is not None}, assumptions, self._because(unknown),
            self._admitters(asked),
        )  # fmt: skip

    def _source(self, source: Instance) -> tuple[PacketSet, tuple[PacketSet, PacketSet, PacketSet]]:
        asked, allowed, blocked, split = NOTHING, NOTHING, NOTHING, NOTHING
        groups = [(t,) for t in self.targets] if self.any_instance else [self.targets]
        for traffic in self.classes:
            for family in Family:
                base = for_family(traffic, family).opening & ends_of("src", (source,), family)
                results = []
                for group in groups:
                    others = self.network.others(source, group)
                    wanted = base & ends_of("dst", others, family)
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
        ok, no, part = map(PacketSet, leaves.verdict(asked.node))
        return ok, no, part

    def _both_ways(
        self,
        source: Instance,
        targets: tuple[Instance, ...],
        traffic: Traffic,
        family: Family,
        asked: PacketSet,
    ) -> Leaves:
        steps = Steps(self.limits.paths)
        tracer = self.tracer(self.network, traffic, family, targets, steps=steps, admits=self.admits)
        tracer.start(source, asked.node, IDENTITY)
        leaves = self._leaves(tracer)
        for arrived in tracer.arrived:
            if not traffic.answered:
                leaves.add(Leaves.of(arrived))
                self._path(arrived.path, arrived.packets)
                continue
            answer = self.tracer(
                self.network, traffic, family, (source,), answering=arrived.crossings, steps=steps,
                admits=self.admits,
            )  # fmt: skip
            header = traffic.answer(arrived.change, family)
            who = tracer.ends.answerers(arrived.device, arrived.link, arrived.packets, arrived.change)
            for target, part in who:
                answer.start(target, part, header)
            back = self._leaves(answer)
            for returned in answer.arrived:
                leaf = Leaves.of_answer(returned, family)
                back.add(leaf)
                self._one_way(arrived, returned, leaf)
                self._path((*arrived.path, *returned.path[1:]), returned.packets)
            if not arrived.sure:
                back = back.doubted()
            leaves.add(back)
        return leaves

    def _one_way(self, arrived: Traveller, returned: Traveller, leaf: Leaves) -> None:
        """An answer whose ends are not those that the sender waits for: a translation that nobody undid."""
        sure = leaf.stopped
        maybe = POOL.apply(LESS, leaf.perhaps, sure) if returned.sure else FALSE
        if not sure and not maybe:
            return
        back = {hop.name for hop in returned.path}
        missed = [c.device for c in arrived.crossings if c.translated and c.device not in back]
        names = " and ".join(missed) or "nobody undoes the translation"
        text = f"the answer does not pass {names}, which translated the opening packet" if missed else names
        device = missed[0] if missed else returned.path[-1].name
        path = (*arrived.path, *returned.path[1:])
        self.stops.append(
            Stop("one-way-nat", device, None, text, "", "drop", sure, maybe, (), "answer", path)
        )

    def _leaves(self, tracer: Tracer) -> Leaves:
        self.stops += tracer.stops
        self.undecided += tracer.undecided
        self.assumed.update(tracer.assumed)
        return Leaves(FALSE, POOL.fold(OR, tracer.stopped), POOL.fold(OR, tracer.perhaps))

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
                        share_of(sure | maybe, shares),
                    )
                )
        return tuple(sorted(found, key=lambda b: (not b.packets, -b.share)))

    def _admitters(self, asked: PacketSet) -> tuple[Admitter, ...]:
        joined: dict[tuple[object, ...], tuple[Admit, int]] = {}
        for a in self.admits or ():
            key = (a.device, a.rule and a.rule.id, a.chain.name, a.direction)
            node = joined[key][1] if key in joined else FALSE
            joined[key] = a, POOL.apply(OR, node, a.packets)
        found = []
        for a, node in joined.values():
            packets = PacketSet(POOL.quantify(node, VARIABLE_LEVELS, OR)) & asked
            if packets:
                found.append(Admitter(a.device, a.rule, a.chain, packets, a.trail, a.direction))
        return tuple(found)

    def _paths(self) -> tuple[Path, ...]:
        found = []
        for hops, node in self.paths.items():
            found.append(Path(hops, PacketSet(POOL.quantify(node, VARIABLE_LEVELS, OR))))
        return tuple(found)

    def _assumptions(self) -> tuple[Assumption, ...]:
        found: list[Assumption] = []
        if any(t.ephemeral for t in self.classes) and self.network.source_ports is None:
            found.append(Assumption("source-ports", "clients use the source ports 1024-65535"))
        if any(t.answered for t in self.classes):
            found.append(Assumption("answers", "the answer takes its own routes and must come through too"))
        crossed = {h.name for path in self.paths for h in path} | {s.device for s in self.stops}
        crossed |= {h.name for s in self.stops for h in s.path}
        for assumption in self.network.assumptions:
            if any(assumption.text.startswith((f"{name} ", f"{name}:")) for name in crossed):
                found.append(assumption)
        lost = dict.fromkeys(s.device for s in self.stops if s.kind == "asymmetric-return")
        for device in lost:
            if not self.network.devices[device].state_group:
                text = f"{device} shares its connections with no other device (no state_group is given)"
                found.append(Assumption("state-sharing", text))
        found += not_asked(self.network, {self.src: self.sources, self.dst: self.targets})
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


def ends_of(side: str, instances: tuple[Instance, ...], family: Family) -> PacketSet:
    """The packets whose `"src"` or `"dst"` is an address of one of the instances."""
    result = NOTHING
    for instance in instances:
        mine = {f: ranges for f, ranges in instance.addresses if f is family and ranges}
        if mine:
            result |= address_set(side, mine)
    return result


def status_of(asked: PacketSet, allowed: PacketSet, blocked: PacketSet, split: PacketSet) -> Status:
    """The answer in one word, by the algebra above."""
    if asked == allowed:
        return Status.ALLOWED
    if asked == blocked:
        return Status.BLOCKED
    unknown = asked - allowed - blocked - split
    return Status.UNKNOWN if unknown and not blocked and not split else Status.PARTIAL


def cut_off(asked: PacketSet, blocked: PacketSet) -> Fraction:
    """The part of the source addresses from which everything is blocked."""
    if asked == blocked or not blocked:
        return Fraction(1 if blocked else 0)
    total, left = asked.address_counts("src"), (asked - blocked).address_counts("src")
    return 1 - Fraction(sum(left.values()), sum(total.values()))


def share_of(part: PacketSet, shares: Sequence[SourceShare]) -> Fraction:
    """The part of the sources that a set touches: by addresses within a source, by weight among them."""
    found = Fraction(0)
    for share in shares:
        touched, total = (part & share.sources).address_counts("src"), share.sources.address_counts("src")
        values = [Fraction(touched.get(family, 0), count) for family, count in total.items()]
        found += share.weight * max(values, default=Fraction(0))
    weight = sum(s.weight for s in shares)
    return found / weight if weight else Fraction(0)


def not_asked(network: Network, ends: Mapping[str, tuple[Instance, ...]]) -> list[Assumption]:
    """That names stand for less than their prefixes hold, where they do."""
    words = "stands for those of its addresses that an end system or a device here can have"
    return [Assumption("not-asked", f"{n} {words}") for n, each in ends.items() if network.partly(n, each)]


register("reach", reach)

__all__ = [
    "Admitter", "Because", "Blocker", "Path", "Question", "Reachability", "SourceShare", "Status", "question", "reach",
]  # fmt: skip

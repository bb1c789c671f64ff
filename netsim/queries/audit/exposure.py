"""Findings about what a rule set lets through: too much, without a default deny, or without an answer.

The score of an over-permissive rule is explained, and nothing but arithmetic on its condition: how much of the
sources, the destinations and the services it leaves free, on a logarithmic scale (each free address bit
counts the same). A rule in a chain that is jumped to is judged with the conditions of the jumps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import log2

import attrs

from netsim.index import Index
from netsim.index.boxes import Box, box_of, cover, intersect, is_empty, within
from netsim.index.flow import Watch
from netsim.index.liveness import Liveness
from netsim.index.sides import first_deciders
from netsim.index.witness import values_in
from netsim.queries.audit.finding import Finding, Severity
from netsim.rules.journey import is_filter
from netsim.rules.model import (
    ActionKind,
    Chain,
    Nat,
    Netmap,
    Outcome,
    Point,
    Rule,
    RuleSet,
    Tracking,
    Verdict,
)
from netsim.space.diagram import AND, FALSE, LESS, OR, Const, LevelMap, Shift
from netsim.space.fields import ADDRESS_FIELDS, FIELDS, LEVEL_MAXIMA, Family, Range, State, interface_value
from netsim.space.packet import Packet
from netsim.space.packets import EVERYTHING, NOTHING, PacketSet, packets
from netsim.space.pool import POOL, VARIABLE_LEVELS
from netsim.space.transform import Transformation, bits, constant

MANAGEMENT: Mapping[int, str] = {
    22: "ssh", 23: "telnet", 111: "portmapper", 135: "msrpc", 139: "netbios", 161: "snmp", 445: "smb",
    623: "ipmi", 1433: "mssql", 1521: "oracle", 2049: "nfs", 2375: "docker", 2379: "etcd", 3306: "mysql",
    3389: "rdp", 5432: "postgresql", 5900: "vnc", 5985: "winrm", 5986: "winrm", 6379: "redis", 6443: "kubernetes",
    8291: "winbox", 9200: "elasticsearch", 10250: "kubelet", 11211: "memcached", 27017: "mongodb",
}  # fmt: skip
"""Ports with which machines are managed or stores are read (IANA service names, and their projects' documents)."""

SCORE = 60
"""From this score on a rule is called over-permissive."""
_HOOKS = (Point.FORWARD, Point.INPUT)


def filters(rules: RuleSet) -> Iterator[tuple[Point, Chain]]:
    """The filter chains of the hooks forward and input."""
    for hook in _HOOKS:
        for chain in rules.base_chains(hook):
            if is_filter(chain, hook):
                yield hook, chain


# Over-permissive rules


def permissive_findings(index: Index, liveness: Liveness) -> Iterator[Finding]:
    """Accepting rules that leave much free, those that leave everything free, and open management ports."""
    dead = {id(d.rule) for d in liveness.dead}
    worst: dict[int, tuple[int, Finding]] = {}
    for hook, base in filters(index.rules):
        for rule, box in _accepting(index.rules, base, {}):
            if id(rule) in dead or is_empty(box) or not _opens(box):
                continue
            for family in _families(index.rules, box):
                score, finding = _judged(rule, box, hook, family)
                if finding is not None and score > worst.get(id(rule), (-1, finding))[0]:
                    worst[id(rule)] = (score, finding)
    yield from (finding for _, finding in worst.values())


def _families(rules: RuleSet, box: Box) -> tuple[Family, ...]:
    """The IP versions of a rule's packets."""
    if rules.family is not None:
        return (rules.family,)
    ranges = box.get("family", ((0, 1),))
    return tuple(f for f in Family if any(low <= f <= high for low, high in ranges))


_CONTEXTS = 64
"""In how many contexts one jump is followed; one that lies within another adds nothing."""


def _accepting(rules: RuleSet, base: Chain, context: Box) -> Iterator[tuple[Rule, Box]]:
    """The accepting rules behind a base chain, each with the box of its condition and the jumps to it."""
    seen: dict[int, list[Box]] = {}
    waiting: list[tuple[Chain, Box]] = [(base, context)]
    while waiting:
        chain, outside = waiting.pop()
        for rule in chain.rules:
            kind = rule.action.kind
            if kind not in (ActionKind.ACCEPT, ActionKind.JUMP, ActionKind.GOTO):
                continue
            box = box_of(rule.conditions, certain=False)
            if box is None:
                continue
            box = _both(outside, box)
            if kind is ActionKind.ACCEPT:
                yield rule, box
            elif not is_empty(box):
                known = seen.setdefault(id(rule), [])
                if len(known) < _CONTEXTS and not any(within(box, other) for other in known):
                    known.append(box)
                    waiting.append((rules.chains[rule.action.chain], box))


def _both(a: Box, b: Box) -> Box:
    result = dict(a)
    for dimension, ranges in b.items():
        result[dimension] = intersect(result[dimension], ranges) if dimension in result else ranges
    return result


_LO = interface_value("lo")


def _opens(box: Box) -> bool:
    """Whether a box holds opening packets that do not come from the device itself."""
    new = int(State.NEW)
    state = box.get("state", ((new, new),))
    iif = box.get("iif")
    return any(low <= new <= high for low, high in state) and iif != ((_LO, _LO),)


def _size(box: Box, dimension: str) -> int:
    ranges = box.get(dimension)
    return FIELDS[dimension].maximum + 1 if ranges is None else sum(h - lo + 1 for lo, h in ranges)


def _free(box: Box, dimension: str, width: int) -> float:
    """How free a dimension is: 0 for one value, 1 for all, each bit the same."""
    return log2(max(1, _size(box, dimension))) / width


def _judged(rule: Rule, box: Box, hook: Point, family: Family) -> tuple[int, Finding | None]:
    src = _free(box, ADDRESS_FIELDS["src", family], family.bits)
    dst = _free(box, ADDRESS_FIELDS["dst", family], family.bits)
    service, said = _service(box)
    anywhere = "iif" not in box
    if hook is Point.INPUT:  # the destination is the device
        score = 55 * src + 45 * service
    else:
        score = 40 * src + 30 * dst + 30 * service
    if "protocol" in box and not any(_carries(box, p) for p in range(256) if p not in (1, 58)):
        score *= 0.5  # what ICMP opens is not a service
    score = round(score * (1 if anywhere else 0.8))
    explained = f"score {score} of 100: sources {src:.0%} free"
    if hook is not Point.INPUT:
        explained += f", destinations {dst:.0%} free"
    explained += f", {said}, {'any interface' if anywhere else 'one side of the interfaces'}"
    rules = (rule,)
    world = _worldwide(box, family)
    managed = (
        [f"{port} ({name})" for port, name in MANAGEMENT.items() if _opens_port(box, port)] if world else []
    )
    if src == dst == service == 1.0 and anywhere and "oif" not in box:
        return 200, Finding(
            "any-any", Severity.HIGH, f"it accepts every new connection at {hook.name.lower()}",
            proof=explained, rules=rules, edit=f"replace {rule.id} by what is needed",
        )  # fmt: skip
    if managed and service < 1.0:
        return 100 + score, Finding(
            "management-open", Severity.HIGH, f"open to the world: {', '.join(managed[:6])}",
            proof=f"its sources hold the whole public address space; {explained}", rules=rules,
            edit=f"replace {rule.id} by one with the sources that manage it",
        )  # fmt: skip
    if score >= SCORE:
        return score, Finding(
            "over-permissive", Severity.MEDIUM, f"it accepts much at {hook.name.lower()}", proof=explained, rules=rules,
            edit=f"replace {rule.id} by what is needed",
        )  # fmt: skip
    return score, None


def _service(box: Box) -> tuple[float, str]:
    protocols = _size(box, "protocol")
    if protocols == FIELDS["protocol"].maximum + 1:
        return 1.0, "any service"
    if "dport" in box or any(_carries(box, p) for p in (6, 17)):
        free = _free(box, "dport", 16)
        ports = _size(box, "dport")
        return 0.9 * free, "any port" if free == 1 else f"{ports} port{'' if ports == 1 else 's'}"
    return 0.3, "one protocol without ports"


def _carries(box: Box, protocol: int) -> bool:
    return any(low <= protocol <= high for low, high in box.get("protocol", ((0, 255),)))


def _opens_port(box: Box, port: int) -> bool:
    ports = box.get("dport", ((0, 65535),))
    return (_carries(box, 6) or _carries(box, 17)) and any(low <= port <= high for low, high in ports)


_PUBLIC: Mapping[Family, tuple[Range, ...]] = {
    # Half of the public unicast space is taken for "the world"; any rule that names networks is far below.
    Family.IPV4: ((1 << 24, (127 << 24) - 1),),
    Family.IPV6: ((0x2000 << 112, (0x3000 << 112) - 1),),
}


def _worldwide(box: Box, family: Family) -> bool:
    """Whether the sources of a box hold at least half of the public address space."""
    ranges = box.get(ADDRESS_FIELDS["src", family])
    if ranges is None:
        return True
    public = _PUBLIC[family]
    inside = sum(h - lo + 1 for lo, h in intersect(ranges, public))
    return 2 * inside >= sum(h - lo + 1 for lo, h in public)


# Default deny


def default_findings(index: Index) -> Iterator[Finding]:
    """Filter chains that accept what no rule decides."""
    for hook, base in filters(index.rules):
        if base.policy is None or base.policy.kind is not ActionKind.ACCEPT:
            continue
        witness = _undecided(index, base, hook)
        if witness is None:
            continue
        severity = Severity.MEDIUM if base.rules else Severity.LOW
        text = f"{base.name} accepts what none of its {len(base.rules)} rules decides"
        yield Finding(
            "missing-default-deny", severity, text if base.rules else f"{base.name} has no rules and accepts everything",
            proof="this new packet is accepted by the policy", place=_place(base), witness=witness,
            edit=f"policy {base.name} DROP, after the rules that accept what is needed",
        )  # fmt: skip


def _undecided(index: Index, base: Chain, hook: Point) -> Packet | None:
    """A new packet that the policy of a base chain accepts; None is proven."""
    new: Box = {"state": ((int(State.NEW),) * 2,)}
    family = index.rules.family
    if family is not None:
        new = {**new, "family": ((int(family),) * 2,)}
    boxes = []
    for i, rule in enumerate(base.rules):
        box = box_of(rule.conditions)
        if box is not None and rule.action.kind in (ActionKind.ACCEPT, ActionKind.DROP, ActionKind.REJECT):
            boxes.append((i, box))
            if within(new, box):
                return None
    point = cover(new, boxes).point
    if point is not None:
        packet = Packet.from_values(values_in({**new, **point}, family, hook))
        ruling = index.decide(packet, hook=hook)
        if ruling.outcomes == Outcome.ACCEPT and ruling.step is not None and ruling.step.rule is None:
            return packet
    for d in index.deciding(packets(state=State.NEW), hook=hook):
        if d.rule is None and d.chain == base.name:
            found = d.packets or d.possibly
            return found.sample()  # type: ignore[no-any-return]
    return None


def _place(chain: Chain) -> str:
    place = chain.source.line_place
    return place if place != "(no place)" else chain.name


# Answers


def answer_findings(index: Index) -> Iterator[Finding]:
    """Forwarded tcp and udp that is accepted while its answer is not.

    Rule sets that translate are left to the network, where the answer's addresses are known.
    """
    rules = index.rules
    if rules.tracking is Tracking.PASSED:
        return
    if any(isinstance(e, Nat | Netmap) for r in rules.rules() for e in r.effects):
        return
    untracked = rules.tracking is Tracking.UNTRACKED
    if not any(hook is Point.FORWARD for hook, _ in filters(rules)) or (
        not untracked and _admits_answers(rules)
    ):
        return
    opening = packets(protocol=["tcp", "udp"], fragment=False, ttl=(64, 255))
    opening &= packets(state=State.UNTRACKED if untracked else State.NEW)
    opening &= packets(protocol="udp") | packets(protocol="tcp", tcp_flags=("SYN,ACK,FIN,RST", "SYN"))
    if rules.family is not None:
        opening &= packets(family=rules.family)
    outcomes = index.outcomes(EVERYTHING)
    sure = outcomes.get(Outcome.ACCEPT, NOTHING)
    changes: list[tuple[PacketSet, Transformation]] = []
    twice = attrs.evolve(index.limits, nodes=2 * index.limits.nodes)
    with POOL.lock, POOL.budget(twice):
        accepted = POOL.fold(OR, [part.node for mask, part in outcomes.items() if mask & Outcome.ACCEPT])
        lost: list[int] = []
        for protocol in (6, 17):
            asked = POOL.apply(AND, POOL.apply(AND, opening.node, packets(protocol=protocol).node), sure.node)
            change = _answer(protocol, untracked)
            back = change.only(POOL.support(accepted)).preimage(POOL, accepted)
            lost.append(POOL.apply(LESS, asked, back))
            changes.append((packets(protocol=protocol), change))
        found = _admitting(index, lost)
    for rule, part in found:
        yield _unanswered(index, rule, part, changes)


def _admits_answers(rules: RuleSet) -> bool:
    """Whether the forward filter accepts everything established before a rule that decides otherwise. Sufficient."""
    established: Box = {"state": ((int(State.ESTABLISHED),) * 2,)}
    if rules.family is not None:
        established = {**established, "family": ((int(rules.family),) * 2,)}
    chains = [c for c in rules.base_chains(Point.FORWARD) if c.rules]
    if any(not is_filter(c, Point.FORWARD) for c in chains):
        return False
    for chain in chains:
        for rule in chain.rules:
            if rule.action.kind is ActionKind.CONTINUE and not rule.effects:
                continue
            box = box_of(rule.conditions)
            wide = box_of(rule.conditions, certain=False)
            if rule.action.kind is ActionKind.ACCEPT:
                if box is not None and within(established, box):
                    return True
                continue
            if wide is None or not is_empty(_both(established, wide)):
                return False
        return False
    return False


def _answer(protocol: int, untracked: bool) -> Transformation:
    """The answer's header as a function of the opening packet's: ends, ports and interfaces exchanged."""
    maps: dict[int, LevelMap] = {}
    names = ("src4", "dst4"), ("src6", "dst6"), ("sport", "dport"), ("iif", "oif")
    for a, b in names:
        for to, source in ((a, b), (b, a)):
            for level, origin in zip(FIELDS[to].levels, FIELDS[source].levels, strict=True):
                maps[level] = Shift(origin, ((0, LEVEL_MAXIMA[origin], 0),))
    if not untracked:
        maps[FIELDS["state"].level] = Const(int(State.ESTABLISHED))
        maps[FIELDS["direction"].level] = Const(1)
    change = Transformation.of(maps)
    if protocol == 6:
        change = change.then(bits("tcp_flags", 0, 0x12))
    return change.then(constant("mac", 0x02_00_00_00_00_02))


def _admitting(index: Index, lost: Sequence[int]) -> list[tuple[Rule, PacketSet]]:
    """The rules that accept some of these packets, each with its part."""
    asked = POOL.fold(OR, lost)
    if not asked:
        return []
    told = first_deciders(index, asked, Point.FORWARD, ActionKind.ACCEPT)
    if told is not None:
        return [(rule, PacketSet(part)) for rule, part in told]
    watch = Watch()
    index.flow.journey(asked, Point.FORWARD, watch)
    found: dict[int, tuple[Rule, int]] = {}
    for d in watch.decisions:
        if d.rule is not None and d.verdict is Verdict.ACCEPT:
            part = POOL.quantify(POOL.apply(OR, d.sure, d.maybe), VARIABLE_LEVELS, OR)
            old = found.get(id(d.rule), (d.rule, FALSE))[1]
            found[id(d.rule)] = d.rule, POOL.apply(OR, old, part)
    return [(rule, PacketSet(part)) for rule, part in found.values() if part]


def _unanswered(
    index: Index, rule: Rule, part: PacketSet, changes: Iterable[tuple[PacketSet, Transformation]]
) -> Finding:
    witness, change = next((here.sample(), change) for these, change in changes if (here := part & these))
    assert witness is not None
    point = [value or 0 for value in change.at([v or 0 for v in witness.point()])]
    answer = Packet.from_point(point)
    ruling = index.decide(answer)
    by = ruling.step.rule if ruling.step is not None else None
    proof = f"the answer {answer} gets {ruling.verdict.value}" + ("" if by else " from the policy")
    return Finding(
        "blocked-answer", Severity.HIGH, "it accepts connections whose answers are not accepted", proof=proof,
        rules=(rule,), related=(by,) if by else (), packets=part, witness=witness,
        edit="accept the answers: -m conntrack --ctstate ESTABLISHED -j ACCEPT"
        if index.rules.tracking is Tracking.FILTERED else "accept the answers as well",
    )  # fmt: skip


__all__ = ["MANAGEMENT", "answer_findings", "default_findings", "filters", "permissive_findings"]

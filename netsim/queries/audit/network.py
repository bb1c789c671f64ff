"""The audit of a network: its devices' rule sets, IPv6 beside IPv4, and the answers between its ends.

Answers are asked about where somebody depends on them: every pair of services, about the destination's ports.
A pair whose opening packets come through while the answers do not is a finding, with what stops them.
A network without rules and without services has no findings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from netsim.errors import DEFAULT_LIMITS, BudgetExceeded
from netsim.index import Index
from netsim.queries.audit.exposure import filters
from netsim.queries.audit.finding import Audit, Finding, Severity
from netsim.queries.audit.rules import Progress, audit_index
from netsim.queries.audit.structure import named_words
from netsim.queries.matrix import matrix
from netsim.queries.reach import Blocker
from netsim.rules.model import ActionKind, Chain, Point, RuleSet
from netsim.space.diagram import AND, LESS, OR
from netsim.space.fields import FIELDS, Family, State
from netsim.space.packet import Packet
from netsim.space.packets import PacketSet, packets
from netsim.space.pool import POOL
from netsim.topology.model import Device
from netsim.topology.network import Network, register

_WORLD = {Family.IPV4: "1.0.0.0-126.255.255.255", Family.IPV6: "2000::/3"}
"""Sources that stand for the world."""


def audit_network(network: Network, *, since: str = "", progress: Progress | None = None) -> Audit:
    """Every finding about a network and its devices, the gravest first."""
    findings: list[Finding] = []
    live: dict[str, Packet] = {}
    unfinished: list[str] = []
    rules = 0
    indexes = [(d, i) for d in network.devices.values() for i in network.indexes[d.name]]
    total = len(indexes) + len(network.devices) + 1
    for done, (device, index) in enumerate(indexes):
        _tell(progress, done, total)
        found = audit_index(
            index, sets=device.sets or None, elsewhere=_named(network, device, index), since=since
        )
        findings += (attrs.evolve(f, device=device.name) for f in found.findings)
        live.update(found.live)
        rules += found.rules
        unfinished += (f"{device.name}: {text}" for text in found.unfinished)
    for done, device in enumerate(network.devices.values(), len(indexes)):
        _tell(progress, done, total)
        try:
            findings += _families(network, device)
        except BudgetExceeded as error:
            unfinished.append(f"{device.name}, IPv6 beside IPv4: {error}")
    _tell(progress, total - 1, total)
    try:
        findings += _answers(network)
    except BudgetExceeded as error:
        unfinished.append(f"answers between services: {error}")
    _tell(progress, total, total)
    findings.sort(key=lambda f: -f.severity)
    what = network.name or network.root or "the network"
    return Audit(what, tuple(findings), live, rules, tuple(unfinished))


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)


def _named(network: Network, device: Device, index: Index) -> set[str]:
    """The sets of a device that need no name in these rules: lists and its other rules name them."""
    sets = device.sets or {}
    mine = network.indexes[device.name]
    if index is not mine[0]:
        return set(sets)  # told with its first rules
    found = {name for each in sets.values() for name in each.listed}
    return found.union(*(named_words(other.rules) for other in mine if other is not index))


# IPv6 beside IPv4


def _families(network: Network, device: Device) -> Iterator[Finding]:
    """Services that are open to the world over IPv6 and closed over IPv4."""
    by_family = {
        family: [i for i in network.indexes[device.name] if i.rules.family in (None, family)]
        for family in Family
    }
    has_v6 = any(p.family is Family.IPV6 for i in device.interfaces for p in i.addresses)
    if not by_family[Family.IPV4] or not (has_v6 or by_family[Family.IPV6]):
        return
    for hook in (Point.INPUT, Point.FORWARD):
        closed = [i for i in by_family[Family.IPV4] if any(h is hook for h, _ in filters(i.rules))]
        if not closed or (hook is Point.FORWARD and device.ip_forward is False):
            continue
        with POOL.lock, POOL.budget(DEFAULT_LIMITS):
            four = _services(closed, Family.IPV4, hook)
            six = _services(by_family[Family.IPV6], Family.IPV6, hook)
            more = PacketSet(POOL.apply(LESS, six, four))
        if not more:
            continue
        rules6 = by_family[Family.IPV6]
        place = _place(rules6[0].rules, hook) if rules6 else device.name
        how = "these are accepted from anywhere over IPv6 and over IPv4 from nowhere"
        if not rules6:
            how = "the device has IPv6 addresses and no IPv6 rules at all"
        yield Finding(
            "ipv6-open", Severity.HIGH, f"at {hook.name.lower()} IPv6 is open where IPv4 is closed", proof=how,
            device=device.name, place=place, packets=more, witness=more.sample(),
            edit="give IPv6 the rules that IPv4 has (ip6tables)",
        )  # fmt: skip


def _services(indexes: Iterable[Index], family: Family, hook: Point) -> int:
    """The protocols and destination ports that the world may open at a hook, as a set of both families."""
    new = packets(src=_WORLD[family], protocol=["tcp", "udp"], state=State.NEW, fragment=False, ttl=64)
    node = new.node
    for index in indexes:
        accepted = index.permitted(hook=hook, possibly=True).node
        node = POOL.apply(AND, node, accepted)
    kept = {*FIELDS["protocol"].levels, *FIELDS["dport"].levels, *FIELDS["fragment"].levels}
    others = [level for level in range(len(POOL.maxima)) if level not in kept]
    return POOL.quantify(node, others, OR)


def _place(rules: RuleSet, hook: Point) -> str:
    chains: list[Chain] = [c for h, c in filters(rules) if h is hook]
    if chains and chains[0].source.line:
        return chains[0].source.line_place
    return rules.file or rules.device


# Answers

_KINDS = {"asymmetric-return": Severity.HIGH, "one-way-nat": Severity.HIGH}


def _answers(network: Network) -> Iterator[Finding]:
    """Pairs of services whose answers do not come back, by what stops them."""
    if not any(s.ports for s in network.services.values()):
        return
    found: dict[object, tuple[Blocker, list[str]]] = {}
    for cell in matrix(network, "services").cells:
        if cell.src == cell.dst or cell.traffic not in network.services[cell.dst].ports:
            continue
        if not cell.occurs & {"blocked", "split", "unknown"}:
            continue
        for blocker in cell.reach().blockers:
            if blocker.direction == "answer" and _counts(network, blocker):
                key = (blocker.kind, blocker.device, blocker.rule and blocker.rule.id, blocker.text)
                pairs = found.setdefault(key, (blocker, []))[1]
                pairs.append(f"{cell.src} -> {cell.dst} {cell.traffic}")
    for blocker, pairs in found.values():
        code = blocker.kind if blocker.kind in _KINDS else "blocked-answer"
        yield Finding(
            code, Severity.HIGH, f"answers are stopped: {', '.join(pairs[:6])}"
            + (f" and {len(pairs) - 6} more" if len(pairs) > 6 else ""),
            proof=f"{blocker.text}; the opening packets come through",
            rules=(blocker.rule,) if blocker.rule else (), device=blocker.device, place=blocker.place,
            packets=blocker.packets | blocker.possibly, witness=(blocker.packets | blocker.possibly).sample(),
            edit=_advice(code, blocker),
        )  # fmt: skip


def _counts(network: Network, blocker: Blocker) -> bool:
    """Whether an answer is stopped by what filters or translates, not by a missing route."""
    if blocker.kind in _KINDS:
        return True
    device = network.devices.get(blocker.device)
    if blocker.kind not in ("rule", "policy") or device is None:
        return False
    return not (blocker.rule is not None and blocker.rule.action.kind is ActionKind.UNMODELLED)


def _advice(code: str, blocker: Blocker) -> str:
    if code == "asymmetric-return":
        return f"route the answer through the way of the opening packet, or let the devices share their states (state_group); {blocker.device} does not know the connection"
    if code == "one-way-nat":
        return f"route the answer through {blocker.device}"
    return "accept the answers there"


register("audit", audit_network)

__all__ = ["audit_network"]

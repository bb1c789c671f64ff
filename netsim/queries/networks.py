"""What differs end to end between two networks: by pair of services and by pair of zones.

Algebra. A packet between two ends is *gained* if more of its ways let it through than before (none; some or
unknown; all), *lost* if fewer do, and *changed* if it is split where it was unknown or the reverse, or if it
arrives as another packet (a translation). Only what the ends see counts: a rule that changes behind another one
that blocks is noted, not a change. What one of the networks cannot be asked (an end without such an address)
counts as blocked there. Networks whose parts are equal are equal without a packet being looked at.

Pairs of services are asked about the ports of the destination; pairs of zones about everything: tcp, udp and icmp
with their answers, and anything else in one direction. So equal zones are equal networks for everything
that enters at a link with an address of that link.

Costs. Two matrices (`queries.matrix`), each one trace for many sources; then, for the pairs that differ
alone, the whole answers of `reach` with what blocks and what lets through. Where the networks differ in rules
alone and nothing translates addresses, the rules are compared first, device by device (`index.differ`): a packet that
no device treats differently, and whose answer none does, is not asked about at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import attrs

from netsim.errors import QuestionError, near_misses
from netsim.index import Index
from netsim.index.differ import Differ, Kind, moved
from netsim.queries.compare import Change, Comparison, Judgement, compare_indexes, not_told
from netsim.queries.matrix import Cell, Matrix, matrix
from netsim.queries.reach import Admitter, Blocker, Reachability, ends_of, reach
from netsim.queries.sheets import Sheet
from netsim.queries.traffic import exchanged
from netsim.rules.bind import own_addresses
from netsim.rules.model import ActionKind, Nat, Netmap, Point, Rule, RuleSet
from netsim.source import NOWHERE
from netsim.space.diagram import AND, OR
from netsim.space.fields import FIELDS, Family
from netsim.space.packets import EVERYTHING, NOTHING, PacketSet
from netsim.space.pool import POOL
from netsim.topology.forwarding import explain_route, forwarding
from netsim.topology.model import Device
from netsim.topology.network import Network, register

Progress = Callable[[int, int], object]
_ASIDE = frozenset(
    level
    for name in ("iif", "oif", "state", "direction", "ct_status", "variables", "ttl", "mac", "mark", "ctmark")
    for level in FIELDS[name].levels
)
"""What the receiver does not see of a packet, or what changes at every hop."""

ALL_CLASSES = ("tcp", "udp", "icmp")
"""The classes by which zones are asked about; the matrix adds anything else."""


def compare_networks(
    before: Network, after: Network, *, scope: PacketSet = EVERYTHING, progress: Progress | None = None
) -> Comparison:
    """What two networks let through differently, end to end. `scope` in the sender's header.

    Raises `QuestionError` if they have no service and no zone in common.
    """
    names = _title(before, "before"), _title(after, "after")
    kept = dict(before.variables)
    if after.inherited != kept:
        after = attrs.evolve(after, inherited={**after.inherited, **kept})
    services = [s for s in before.services if s in after.services]
    zones = [z for z in map(before.zone_label, before.zones) if z in set(map(after.zone_label, after.zones))]
    if not services and not zones:
        known = [*after.services, *map(after.zone_label, after.zones)]
        ours = [*before.services, *map(before.zone_label, before.zones)]
        hint = "; ".join(filter(None, (near_misses(name, known) for name in ours[:5])))
        raise QuestionError.of(
            "the two networks have no service and no zone in common: nothing to compare", code="NS323",
            hint=hint or f"one has {', '.join(ours[:6]) or 'none'}, the other {', '.join(known[:6]) or 'none'}",
        )  # fmt: skip
    compared = f"{len(services)} services and {len(zones)} zones, every pair, opening packets and answers"
    if before == after:
        return Comparison(*names, (), _missing(before, after), f"{compared}; the networks are the same")
    where = _touched(before, after)
    if where is not None:
        scope &= where
        compared += "; asked again about the packets that a device treats differently"
    work = _Work(before, after, scope, progress)
    changes = [*work.services(services), *work.zones(zones)]
    notes = (*_missing(before, after), *_inside(before, after, changes), *not_told(changes))
    return Comparison(*names, tuple(changes), notes, compared)


_FORGOTTEN = frozenset(
    level
    for name in (
        "iif",
        "oif",
        "state",
        "direction",
        "length",
        "ttl",
        "tos",
        "mac",
        "mark",
        "ctmark",
        "ct_status",
        "variables",
    )
    for level in FIELDS[name].levels
)
"""What the packets of one sender may differ in from hop to hop, or their answers from them."""


def _touched(before: Network, after: Network) -> PacketSet | None:
    """The packets which, or whose answers, some device treats differently; None if that cannot be said so simply.

    A superset, in the sender's header: without translations, ends, protocol and ports stay what they are on the
    whole way, and everything else is forgotten.
    """
    parts = [(attrs.evolve(net, devices={}, inherited={}), net.devices) for net in (before, after)]
    if parts[0][0] != parts[1][0] or parts[0][1].keys() != parts[1][1].keys():
        return None
    names = []
    for name, old in before.devices.items():
        new = after.devices[name]
        if any(_translates(r) for r in (*old.rulesets, *new.rulesets)):
            return None
        if old.rulesets != new.rulesets:
            bare = [attrs.evolve(d, rulesets=()) for d in (old, new)]
            if bare[0] != bare[1] or [r.family for r in old.rulesets] != [r.family for r in new.rulesets]:
                return None
            names.append(name)
        elif old != new:
            return None
    found = NOTHING
    for name in names:
        for one, two in zip(before.indexes[name], after.indexes[name], strict=True):
            for hook in (Point.FORWARD, Point.INPUT, Point.OUTPUT):
                for *_, packets in Differ(one, two, hook, EVERYTHING).parts:
                    found |= packets
    with POOL.lock, POOL.question():
        opening = POOL.quantify(found.node, _FORGOTTEN, OR)
        more = {*FIELDS["tcp_flags"].levels, *FIELDS["icmp_type"].levels, *FIELDS["icmp_code"].levels}
        answer = exchanged().preimage(POOL, POOL.quantify(opening, more, OR))
        return PacketSet(POOL.apply(OR, opening, answer))


def _translates(rules: RuleSet) -> bool:
    return any(
        r.action.kind is ActionKind.UNMODELLED or any(isinstance(e, Nat | Netmap) for e in r.effects)
        for r in rules.rules()
    )


def _title(network: Network, otherwise: str) -> str:
    return network.name or network.root or otherwise


def _missing(before: Network, after: Network) -> tuple[str, ...]:
    """The ends that only one of the networks has."""
    notes = []
    for what, old, new in (("service", before.services, after.services), ("zone", before.zones, after.zones)):
        for name in old:
            if name not in new:
                notes.append(f"{what} {name} is only in the first: not compared")
        for name in new:
            if name not in old:
                notes.append(f"{what} {name} is only in the second: not compared")
    return tuple(notes)


def _inside(before: Network, after: Network, changes: list[Change]) -> Iterator[str]:
    """The devices whose rules differ, and whether that has an effect."""
    told = {c.device for c in changes if c.device}
    for name, device in after.devices.items():
        old = before.devices.get(name)
        if old is None or old.rulesets == device.rulesets:
            continue
        regions = 0
        for family in Family:
            pair = [
                [i for i in net.indexes[name] if i.rules.family in (None, family)] for net in (before, after)
            ]
            if all(len(indexes) == 1 for indexes in pair):
                regions += len(compare_indexes(pair[0][0], pair[1][0]))
        if regions and name not in told:
            yield f"{name}: its rules differ in {regions} region{'s' if regions > 1 else ''}, without an effect end to end"


class _Work:
    """Two networks, asked the same questions."""

    def __init__(self, before: Network, after: Network, scope: PacketSet, progress: Progress | None) -> None:
        self.networks = before, after
        self.scope = scope
        self.progress = progress

    def services(self, names: list[str]) -> Iterator[Change]:
        """The changes between services, about the destination's ports."""
        before, after = self.networks
        ports = {
            n: tuple(dict.fromkeys((*before.services[n].ports, *after.services[n].ports))) for n in names
        }
        classes = list(dict.fromkeys(p for each in ports.values() for p in each))
        if classes:
            for cells in self._differing(names, classes):
                if cells[0].traffic in ports[cells[0].dst]:
                    yield from self._changes(*cells)

    def zones(self, names: list[str]) -> Iterator[Change]:
        """The changes between zones, about everything."""
        if names:
            for cells in self._differing(names, list(ALL_CLASSES)):
                yield from self._changes(*cells)

    def _differing(self, names: list[str], classes: list[str]) -> Iterator[tuple[Cell, Cell, PacketSet]]:
        """The pairs of cells that may differ, with the packets that may arrive otherwise than before."""
        old, new = (
            matrix(n, names, classes, within=self.scope, progress=self.progress) for n in self.networks
        )
        with POOL.lock, POOL.question():
            elsewhere = PacketSet(POOL.fold(OR, [_elsewhere(old, new, family) for family in Family]))
            differ = _sheets(old.answers.sheets, new.answers.sheets)
        where = None if differ is None else (differ | elsewhere) & self.scope
        if where is not None and not where:
            return
        near = None if where is None else self._near(names, where)
        for cell, other in zip((*old.cells, *old.beyond), (*new.cells, *new.beyond), strict=True):
            if near is None or (cell.src, cell.dst) in near:
                yield cell, other, elsewhere

    def _near(self, names: list[str], where: PacketSet) -> set[tuple[str, str]]:
        """The pairs of ends between which some packets of a set may go."""
        sides: dict[str, dict[str, PacketSet]] = {"src": {}, "dst": {}}
        for name in names:
            instances = [i for net in self.networks for i in net.instances(name)]
            for side, found in sides.items():
                ends = [ends_of(side, tuple(instances), family) for family in Family]
                found[name] = (ends[0] | ends[1]) & where
        starts = [name for name, found in sides["src"].items() if found]
        stops = [name for name, found in sides["dst"].items() if found]
        return {(a, b) for a in starts for b in stops if sides["src"][a] & sides["dst"][b]}

    def _changes(self, cell: Cell, other: Cell, elsewhere: PacketSet) -> Iterator[Change]:
        """What differs in one cell."""
        some, some_other = cell.split | cell.unknown, other.split | other.unknown
        lost = (cell.allowed - other.allowed) | (some - some_other - other.allowed)
        gained = (other.allowed - cell.allowed) | (some_other - some - cell.allowed)
        both = (cell.split & other.unknown) | (cell.unknown & other.split)
        arriving = elsewhere & cell.allowed & other.allowed
        found = [
            (kind, part & self.scope)
            for kind, part in ((Kind.LOST, lost), (Kind.GAINED, gained), (Kind.CHANGED, both))
        ]
        arriving &= self.scope
        if not arriving and not any(part for _, part in found):
            return
        where = f"{cell.src} -> {cell.dst} {cell.traffic}"
        answers = [self._asked(net, c) for net, c in zip(self.networks, (cell, other), strict=True)]
        for kind, part in found:
            if part:
                yield from _regions(kind, where, part, *answers)
        if arriving:
            yield _translated(where, arriving, *answers)

    @staticmethod
    def _asked(network: Network, cell: Cell) -> Reachability | None:
        """The whole answer for a cell, None where nothing can be asked."""
        if cell.status is None:
            return None
        found: Reachability = reach(network, cell.src, cell.dst, cell.classes, admitters=True)
        return found


def _sheets(old: Iterable[Sheet], new: Iterable[Sheet]) -> PacketSet | None:
    """The packets that two matrices treat differently; None if they were not asked in the same parts."""
    ours, theirs = _by_part(old), _by_part(new)
    if ours.keys() != theirs.keys():
        return None
    result = NOTHING
    for part, sheet in ours.items():
        other = theirs[part]
        for a, b in (
            (sheet.allowed, other.allowed),
            (sheet.blocked, other.blocked),
            (sheet.split, other.split),
        ):
            result |= a ^ b
    return result


def _by_part(sheets: Iterable[Sheet]) -> dict[object, Sheet]:
    return {(s.sources, s.targets, s.family, s.classes): s for s in sheets}


def _elsewhere(old: Matrix, new: Matrix, family: Family) -> int:
    """The packets that arrive in both and are not the same packet then."""
    one, two = (
        {change: packets.node for change, packets in each.answers.arrivals.get(family, {}).items()}
        for each in (old, new)
    )
    return moved(one, two, _ASIDE)


# Who decides


def _regions(
    kind: Kind, where: str, packets: PacketSet, before: Reachability | None, after: Reachability | None
) -> Iterator[Change]:
    """A difference by what blocks on the one side and what lets through on the other."""
    stopping, passing = (after, before) if kind is Kind.LOST else (before, after)
    for part, stopped, blocker in _stopped(packets, stopping):
        for piece, let, path in _passed(part, passing, blocker):
            sides = (let, stopped) if kind is Kind.LOST else (stopped, let)
            device = blocker.device if blocker is not None else ""
            yield Change(kind, where, piece, *sides, path, device)


def _stopped(
    packets: PacketSet, answer: Reachability | None
) -> Iterator[tuple[PacketSet, Judgement, Blocker | None]]:
    """Packets by the first thing that stops them; the rest is unknown, split, or not asked about."""
    if answer is None:
        yield packets, Judgement("not asked", "an end that has no such address"), None
        return
    rest = packets
    for blocker in answer.blockers:
        part = rest & (blocker.packets | blocker.possibly)
        if part:
            rest -= part
            yield part, _blocked(blocker, part, answer), blocker
    for name, found in (("allowed", answer.allowed), ("split", answer.split), ("unknown", answer.unknown)):
        part = rest & found
        if part:
            rest -= part
            yield part, _open(name, answer), None
    if rest:
        yield rest, Judgement("not asked", "an end that has no such address"), None


def _blocked(b: Blocker, packets: PacketSet, answer: Reachability) -> Judgement:
    how = {"drop": "dropped", "reject": "rejected"}.get(b.verdict, "perhaps stopped")
    if b.rule is None and b.kind != "policy":
        how = b.kind
    status = "blocked" if packets <= answer.blocked else "split" if packets & answer.split else "unknown"
    if packets <= answer.blocked or packets & answer.split:
        verdict = f"{status}, {how}"
    else:
        verdict = f"unknown, perhaps {how.removeprefix('perhaps ')}"
    if b.direction == "answer":
        verdict += " (the answer)"
    return Judgement(verdict, b.place, b.rule, b.text, b.trail)


def _open(name: str, answer: Reachability) -> Judgement:
    if name == "unknown" and answer.because:
        rule: Rule = answer.because[0].rule
        return Judgement(name, rule.source.line_place, rule, rule.text)
    return Judgement(name, "")


def _passed(
    packets: PacketSet, answer: Reachability | None, blocker: Blocker | None
) -> Iterator[tuple[PacketSet, Judgement, tuple[str, ...]]]:
    """Packets by what lets them through where the other side stops them, with one of their paths."""
    if answer is None:
        yield packets, Judgement("not asked", "an end that has no such address"), ()
        return
    rest = packets
    for admitter in answer.admitters if blocker is not None else ():
        assert blocker is not None
        if admitter.device != blocker.device or admitter.direction != blocker.direction:
            continue
        part = rest & admitter.packets
        if part:
            rest -= part
            yield part, _let(admitter, part, answer), _path(part, answer, blocker)
    if rest:
        verdict = "allowed" if rest <= answer.allowed else "split" if rest & answer.split else "unknown"
        yield rest, Judgement(verdict, ""), _path(rest, answer, blocker)


def _let(a: Admitter, packets: PacketSet, answer: Reachability) -> Judgement:
    verdict = "allowed" if packets <= answer.allowed else "split" if packets & answer.split else "unknown"
    if a.rule is not None:
        return Judgement(verdict, a.place, a.rule, a.rule.text, a.trail)
    place = a.chain.source.line_place if a.chain.source != NOWHERE else f"{a.device}"
    return Judgement(verdict, f"the policy of {a.chain.name}, {place}", None, a.chain.source.text.strip())


def _path(packets: PacketSet, answer: Reachability, blocker: Blocker | None) -> tuple[str, ...]:
    for path in answer.paths:
        if path.packets & packets:
            return tuple(map(str, path.hops))
    return tuple(map(str, blocker.path)) if blocker is not None else ()


def _translated(
    where: str, packets: PacketSet, before: Reachability | None, after: Reachability | None
) -> Change:
    """Packets that arrive on both sides, as different packets."""
    text = "allowed, and arrives as another packet than on the other side"
    path = _path(packets, after, None) if after is not None else ()
    del before
    return Change(Kind.CHANGED, where, packets, Judgement(text, ""), Judgement(text, ""), path)


# Devices


def compare_devices(before: Device, after: Device, *, scope: PacketSet = EVERYTHING) -> Comparison:
    """What two devices, or two states of one, decide differently: rules at each hook, and where packets are sent.

    `where` is `forward`, `input` or `output` for rules (with the family where a device has rules of both) and
    `routing` for packets that routing sends elsewhere; those are *changed*. Rules of a family that only one of
    them has are compared with none, which accept everything.
    """
    found: list[Change] = []
    for family in Family:
        pair = []
        for device in (before, after):
            own = own_addresses(device.addresses())
            mine = [r for r in device.rulesets if r.family in (None, family)] or [RuleSet({}, family=family)]
            pair.append(Index(mine[0], addresses=own))
        if pair[0].rules.chains or pair[1].rules.chains:
            both = sum(bool(d.rulesets) and len(d.rulesets) > 1 for d in (before, after))
            prefix = f"{family.name.lower()} " if both else ""
            found += compare_indexes(pair[0], pair[1], scope=scope, prefix=prefix)
        if any(r.family is None for r in (*before.rulesets, *after.rulesets)):
            break
    found += _routed(before, after, scope)
    return Comparison(before.name, after.name, tuple(found), compared="rules at every hook, and routing")


def _routed(before: Device, after: Device, scope: PacketSet) -> Iterator[Change]:
    """The packets that routing sends elsewhere, by where."""
    with POOL.lock, POOL.question():
        old, new = forwarding(before), forwarding(after)
        for one in old:
            for two in new:
                if (one.action, one.hops) == (two.action, two.hops):
                    continue
                part = PacketSet(POOL.apply(AND, one.packets, two.packets)) & scope
                if part:
                    was, now = (Judgement(f"sent {explain_route(f)}", "") for f in (one, two))
                    yield Change(Kind.CHANGED, "routing", part, was, now)


register("compare", compare_networks)

__all__ = ["compare_devices", "compare_networks"]

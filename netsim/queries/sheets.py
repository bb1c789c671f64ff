"""Every pair of ends at once: the sets behind a matrix, and which of them are empty for each pair.

Theory of operation. The sources come in batches, the ends asked about in rounds, and one sweep answers a
batch against a round for every class; a *sheet* is its answer for one bundle of classes: three sets in
the sender's header, for all pairs together. A pair's sets are cut out of the sheets when somebody looks
at them. Its status needs less: the sheet as one function of source and destination alone, whose value
says which of allowed (1), blocked (2), split (4) and unknown (8) occur, read at the pair's addresses.

Invariants: M1 the sources of a batch have disjoint addresses; M2 two ends of a round have disjoint
addresses, or both are made of hosts alone, which are where the site says and need no members.

A sweep that runs out of its budget is cut in halves, down to one source and one end, which then is
unknown. An end without addresses of a family asks nothing in it; no ends, no sheets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs

from netsim.errors import BudgetExceeded, Limits
from netsim.queries.ends import Ends, address_node
from netsim.queries.sweep import Bundle, bundles, sweep
from netsim.queries.traffic import Traffic, for_family
from netsim.space.diagram import AND, FALSE, LESS, OR, UNION, WITHIN
from netsim.space.fields import ADDRESS_FIELDS, FIELDS, LEVEL_MAXIMA, Family, Range, merge_ranges
from netsim.space.packets import PacketSet
from netsim.space.pool import POOL, field_node
from netsim.space.transform import Transformation
from netsim.topology.network import Instance, Network

BATCH = 32
"""How many sources one sweep has: large enough to share the work, small enough to report progress."""

ALLOWED, BLOCKED, SPLIT, UNKNOWN = 1, 2, 4, 8

Progress = Callable[[int, int], object]
Class = tuple[int, int]
"""A column, and the position of a class in it."""


@attrs.frozen(slots=True)
class End:
    """One row or column: what is asked about as a whole.

    `members` are its instances by a key that no other instance of the matrix has: two parts of one device
    have its name both.
    """

    name: str
    members: Mapping[str, Instance]

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The instances."""
        return tuple(self.members.values())


def ends_by_name(network: Network, names: Iterable[str]) -> dict[str, End]:
    """The ends of a matrix. Raises `QuestionError` for a name that stands for nothing."""
    known: dict[Instance, str] = {}
    found: dict[str, End] = {}
    for name in names:
        members: dict[str, Instance] = {}
        for instance in network.instances(name):
            same = attrs.evolve(instance, weight=1)
            key = known.setdefault(same, f"{len(known)} {instance.name}")
            members.setdefault(key, instance)
        found[name] = End(name, members)
    return found


@attrs.frozen(slots=True, eq=False)
class Sheet:
    """What became of the packets of some sources to some ends, of one family, for some classes."""

    sources: frozenset[str]
    targets: frozenset[str]
    family: Family
    classes: frozenset[Class]
    allowed: PacketSet
    blocked: PacketSet
    split: PacketSet


@attrs.define
class Answers:
    """The sheets, for each (source key, end, column) which sets occur, and why it is not exact.

    `arrivals` are the packets that arrive, by family and by what is done to them on their way.
    """

    sheets: list[Sheet] = attrs.Factory(list)
    occurs: dict[tuple[str, str, int], int] = attrs.Factory(dict)
    over_budget: str = ""
    assumed: dict[str, None] = attrs.Factory(dict)
    arrivals: dict[Family, dict[Transformation, PacketSet]] = attrs.Factory(dict)


Ranges = dict[Family, tuple[Range, ...]]


def _ranges(instances: Iterable[Instance]) -> Ranges:
    found: dict[Family, list[Range]] = {}
    for instance in instances:
        for family, ranges in instance.addresses:
            found.setdefault(family, []).extend(ranges)
    return {family: merge_ranges(ranges) for family, ranges in found.items()}


def _meet(a: Ranges, b: Ranges) -> bool:
    """Whether two lists of ranges have an address in common."""
    for family, mine in a.items():
        other = b.get(family, ())
        i = j = 0
        while i < len(mine) and j < len(other):
            if mine[i][0] <= other[j][1] and other[j][0] <= mine[i][1]:
                return True
            if mine[i][1] < other[j][1]:
                i += 1
            else:
                j += 1
    return False


def _joined(a: Ranges, b: Ranges) -> Ranges:
    return {f: merge_ranges([*a.get(f, ()), *b.get(f, ())]) for f in {**a, **b}}


Sources = list[tuple[str, Instance]]


def batches(sources: Iterable[tuple[str, Instance]]) -> list[Sources]:
    """Sources, with their keys, by the sweep that they are asked in (M1)."""
    found: list[tuple[Sources, Ranges]] = []
    for source in sources:
        mine = _ranges([source[1]])
        for i, (batch, taken) in enumerate(found):
            if len(batch) < BATCH and not _meet(mine, taken):
                batch.append(source)
                found[i] = batch, _joined(taken, mine)
                break
        else:
            found.append(([source], mine))
    return [batch for batch, _ in found]


def rounds(network: Network, ends: Iterable[End]) -> list[list[End]]:
    """Ends by the sweep that they are asked about in (M2)."""
    found: list[tuple[list[End], Ranges, Ranges]] = []
    for end in ends:
        mine = _ranges(end.instances)
        owned = any((f, low) in network.owners for f, ranges in mine.items() for low, _ in ranges)
        plain = all(i.host for i in end.instances) and not owned
        for i, (each, taken, guarded) in enumerate(found):
            if not _meet(mine, guarded if plain else taken):
                each.append(end)
                found[i] = each, _joined(taken, mine), guarded if plain else _joined(guarded, mine)
                break
        else:
            found.append(([end], mine, {} if plain else mine))
    return [each for each, _, _ in found]


def answer(
    network: Network,
    ends: Sequence[End],
    columns: Sequence[Sequence[Traffic]],
    limits: Limits,
    progress: Progress | None,
) -> Answers:
    """The answers for every pair of ends and every column."""
    sources = {key: i for end in ends for key, i in end.members.items()}
    tasks = [(batch, each) for batch in batches(sources.items()) for each in rounds(network, ends)]
    tasks.reverse()
    total, done = sum(len(batch) * len(each) for batch, each in tasks), 0
    found = Answers()
    while tasks:
        batch, each = tasks.pop()
        task = _Task(network, batch, each, columns, found, limits.paths * len(batch))
        try:
            with POOL.lock, POOL.budget(limits):
                task.run()
        except BudgetExceeded as error:
            half = (len(batch) + 1) // 2
            if len(batch) > 1:
                tasks += [(batch[half:], each), (batch[:half], each)]
                continue
            half = (len(each) + 1) // 2
            if len(each) > 1:
                tasks += [(batch, each[half:]), (batch, each[:half])]
                continue
            found.over_budget = str(error)
            with POOL.lock, POOL.question():
                task.give_up()
        done += len(batch) * len(each)
        if progress is not None:
            progress(done, total)
    return found


class _Task:
    """A batch of sources against a round of ends."""

    def __init__(
        self,
        network: Network,
        batch: Sources,
        ends: Sequence[End],
        columns: Sequence[Sequence[Traffic]],
        answers: Answers,
        paths: int,
    ) -> None:
        self.paths = paths
        self.network = network
        self.batch, self.ends, self.columns, self.answers = batch, ends, columns, answers
        self.targets = {key: i for end in ends for key, i in end.members.items()}
        self.ranges = {key: _ranges([t]) for key, t in self.targets.items()}

    def run(self) -> None:
        """Ask, and keep what is found."""
        kept: list[tuple[Sheet, Bundle, int]] = []
        for family, asked, places, sources in self._questions():
            for raw in (False, True):
                mine = [b for b in asked if b.raw is raw]
                if mine:
                    ends = Ends(self.network, family, self._placed(family))
                    arrivals = self.answers.arrivals.setdefault(family, {})
                    assumed = self.answers.assumed
                    found = sweep(self.network, family, sources, ends, mine, assumed, self.paths, arrivals)
                    kept += [self._sheet(family, b, places, *r) for b, r in zip(mine, found, strict=True)]
        for sheet, bundle, node in kept:  # nothing is kept of a task that runs out of its budget
            self._keep(sheet, bundle, node)

    def give_up(self) -> None:
        """Everything that is asked is unknown."""
        for family, asked, places, sources in self._questions():
            sent = POOL.fold(OR, [node for _, node in sources])
            for bundle in asked:
                mine = POOL.apply(AND, sent, bundle.opening)
                self._keep(*self._sheet(family, bundle, places, mine, FALSE, FALSE, FALSE))

    def _questions(
        self,
    ) -> Iterable[tuple[Family, tuple[Bundle, ...], dict[int, Class], list[tuple[Instance, int]]]]:
        for family in Family:
            classes: list[Traffic] = []
            places: dict[int, Class] = {}
            for i, column in enumerate(self.columns):
                for j, traffic in enumerate(column):
                    mine = for_family(traffic, family)
                    if mine.opening:
                        classes.append(mine)
                        places[id(mine)] = i, j
            sources = self._asked(family)
            if classes and sources:
                yield family, bundles(classes), places, sources

    def _asked(self, family: Family) -> list[tuple[Instance, int]]:
        """Each source with the packets that it is asked to send: to every target that it can talk to."""
        nodes = {key: address_node("dst", t, family) for key, t in self.targets.items()}
        every = POOL.fold(OR, list(nodes.values()))
        found = []
        for _, source in self.batch:
            others = every
            own = [key for key, t in self.targets.items() if not self.network.others(source, (t,))]
            if own:
                taken = _ranges([self.targets[key] for key in own])
                alike = [nodes[k] for k, r in self.ranges.items() if k not in own and _meet(taken, r)]
                others = POOL.apply(LESS, every, POOL.fold(OR, [nodes[key] for key in own]))
                others = POOL.apply(OR, others, POOL.fold(OR, alike))
            node = POOL.apply(AND, address_node("src", source, family), others)
            if node:
                found.append((source, node))
        return found

    def _placed(self, family: Family) -> list[tuple[Instance, int]]:
        """The targets that are there because they are asked about (M2), with their members."""
        found: dict[str, int] = {}
        for end in self.ends:
            node = POOL.fold(OR, [address_node("dst", i, family) for i in end.instances])
            for key, target in end.members.items():
                if target.host and not self._owned(target):
                    continue
                mine = node
                for _, source in self.batch:
                    if source.name == target.name and not self.network.others(source, (target,)):
                        mine = POOL.apply(LESS, mine, address_node("src", source, family))
                found[key] = POOL.apply(OR, found.get(key, FALSE), mine)
        return [(self.targets[key], node) for key, node in found.items()]

    def _owned(self, target: Instance) -> bool:
        return any((f, low) in self.network.owners for f, ranges in target.addresses for low, _ in ranges)

    def _sheet(
        self,
        family: Family,
        bundle: Bundle,
        places: dict[int, Class],
        asked: int,
        ok: int,
        no: int,
        part: int,
    ) -> tuple[Sheet, Bundle, int]:
        sheet = Sheet(
            frozenset(key for key, _ in self.batch), frozenset(e.name for e in self.ends), family,
            frozenset(places[id(t)] for t in bundle.classes),
            PacketSet(ok), PacketSet(no), PacketSet(part),
        )  # fmt: skip
        unknown = POOL.apply(LESS, asked, POOL.fold(OR, [ok, no, part]))
        masks = [
            POOL.apply(WITHIN, node, mask)
            for node, mask in ((ok, ALLOWED), (no, BLOCKED), (part, SPLIT), (unknown, UNKNOWN))
            if node
        ]
        by_class = {places[id(t)]: t for t in bundle.classes}
        ordered = attrs.evolve(bundle, classes=tuple(by_class[c] for c in sorted(by_class)))
        return sheet, ordered, POOL.fold(UNION, masks)

    def _keep(self, sheet: Sheet, bundle: Bundle, masks: int) -> None:
        """Note the sheet, and for each source and end which sets occur."""
        self.answers.sheets.append(sheet)
        family = sheet.family
        dst, src = (FIELDS[ADDRESS_FIELDS[side, family]] for side in ("dst", "src"))
        others = set(range(len(LEVEL_MAXIMA))) - {*dst.levels, *src.levels}
        wanted = [
            (column, POOL.quantify(POOL.apply(WITHIN, t.opening.node, masks), others, UNION))
            for (column, _), t in zip(sorted(sheet.classes), bundle.classes, strict=True)
        ]
        senders = [
            (key, s, field_node(src, dict(s.addresses)[family]))
            for key, s in self.batch
            if dict(s.addresses).get(family)
        ]
        read: dict[tuple[int, str], int] = {}
        occurs = self.answers.occurs
        for end in self.ends:
            names = {i.name for i in end.instances if not self.network.wide(i)}
            whole = [(column, _seen_from(node, end.instances, family)) for column, node in wanted]
            for source, instance, sender in senders:
                views = whole
                if instance.name in names:
                    rest = self.network.others(instance, end.instances)
                    views = [(column, _seen_from(node, rest, family)) for column, node in wanted]
                for column, node in views:
                    if not node:
                        continue
                    mask = read.get((node, source))
                    if mask is None:
                        mask = 0
                        for terminal in POOL.terminals(POOL.apply(WITHIN, sender, node)):
                            mask |= terminal
                        read[node, source] = mask
                    if mask:
                        key = source, end.name, column
                        occurs[key] = occurs.get(key, 0) | mask


def _seen_from(masks: int, instances: Iterable[Instance], family: Family) -> int:
    """A function of source and destination, for the destinations that instances have: of the source."""
    dst = FIELDS[ADDRESS_FIELDS["dst", family]]
    ranges = _ranges(instances).get(family, ())
    if not ranges or not masks:
        return FALSE
    return POOL.quantify(POOL.apply(WITHIN, field_node(dst, ranges), masks), dst.levels, UNION)


__all__ = [
    "ALLOWED",
    "BLOCKED",
    "SPLIT",
    "UNKNOWN",
    "Answers",
    "End",
    "Progress",
    "Sheet",
    "answer",
    "ends_by_name",
]

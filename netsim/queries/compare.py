"""What differs between two rule sets, devices or networks: complete, exact, and with both lines.

Algebra. `gained`, `lost` and `changed` are disjoint at each place that is compared (a hook of a rule set, a
pair of ends of a network); each is the union of its `changes`, which are disjoint too. `equal` is a proof over
all packets: nothing is sampled. Equal inputs, and an empty scope, are equal.

For rule sets, see `index.differ`: gained is accepted more surely, lost less surely, changed means another
refusal, another packet afterwards, or another unmodelled condition. For networks, see `queries.networks`:
only what arrives, or no longer arrives, end to end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from netsim.display import Displayed, Document, Heading, Items, Paragraph, Span, Table, Tone
from netsim.errors import QuestionError
from netsim.index import Index
from netsim.index.differ import Differ, Kind, Region
from netsim.index.sides import Side
from netsim.queries.verdict import Rules
from netsim.rules.model import VERDICTS_OF, Outcome, Point, Rule, RuleSet
from netsim.source import NOWHERE
from netsim.space.packet import Packet
from netsim.space.packets import EVERYTHING, NOTHING, PacketSet

COLUMNS = (
    "kind", "where", "packets", "before", "before_place", "before_rule", "before_text",
    "after", "after_place", "after_rule", "after_text", "path", "witness",
)  # fmt: skip
"""The keys of every row of a comparison."""

MANY = "one of very many rules"
"""The place of a judgement that is not told by its rule."""
NOT_TOLD = (
    "More rules decide these differences than are listed: the first ones are told by their rules, all others are "
    "one entry for each way to differ, with its complete set of packets."
)

_HOOKS = (Point.FORWARD, Point.INPUT, Point.OUTPUT)


@attrs.frozen(slots=True)
class Judgement:
    """What one side does with some packets: `verdict` in words, and the rule or policy that says so.

    `place` is its `file:line`, or the name of what else decides; `text` is what stands there.
    """

    verdict: str
    place: str
    rule: Rule | None = None
    text: str = ""
    trail: tuple[Rule, ...] = ()


@attrs.frozen(slots=True)
class Change:
    """Packets that are treated differently in one way, at one place.

    `where` names the place: a hook (`fw1 forward`) or a pair of ends (`auth -> db tcp/5432`).
    `witness` is one of the packets; `path` are the stations of a network that they pass, on one of their ways;
    `device` is the one whose decision changed, where that is known.
    """

    kind: Kind
    where: str
    packets: PacketSet
    before: Judgement
    after: Judgement
    path: tuple[str, ...] = ()
    device: str = ""

    @property
    def witness(self) -> Packet | None:
        """A packet that is treated differently."""
        return self.packets.sample()

    def row(self) -> dict[str, Any]:
        """The change as a plain row."""
        return {
            "kind": self.kind.value,
            "where": self.where,
            "packets": self.packets.lines(limit=4),
            **_row("before", self.before),
            **_row("after", self.after),
            "path": list(self.path),
            "witness": str(self.witness),
        }


def _row(side: str, j: Judgement) -> dict[str, Any]:
    return {
        side: j.verdict,
        f"{side}_place": j.place,
        f"{side}_rule": j.rule.id if j.rule is not None else None,
        f"{side}_text": j.text,
    }


@attrs.frozen(slots=True, eq=False)
class Comparison(Displayed):
    """The answer of `compare`. `equal` is proven; `bool` of it raises."""

    before: str
    after: str
    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()
    compared: str = ""

    def __bool__(self) -> bool:
        raise TypeError("a Comparison is neither true nor false; ask .equal, .gained, .lost or .changed")

    @property
    def equal(self) -> bool:
        """Whether nothing differs, for all packets of the scope."""
        return not self.changes

    def _of(self, kind: Kind) -> PacketSet:
        result = NOTHING
        for change in self.changes:
            if change.kind is kind:
                result |= change.packets
        return result

    @property
    def gained(self) -> PacketSet:
        """What is newly or more surely let through, at some place."""
        return self._of(Kind.GAINED)

    @property
    def lost(self) -> PacketSet:
        """What is no longer or less surely let through, at some place."""
        return self._of(Kind.LOST)

    @property
    def changed(self) -> PacketSet:
        """What is treated differently without being gained or lost, at some place."""
        return self._of(Kind.CHANGED)

    def at(self, where: str) -> Comparison:
        """The part of one place (`forward`, `auth -> db tcp/5432`)."""
        return attrs.evolve(self, changes=tuple(c for c in self.changes if c.where == where))

    def only(self, kinds: Iterable[Kind | str]) -> Comparison:
        """The changes of some kinds."""
        wanted = {Kind(k) for k in kinds}
        return attrs.evolve(self, changes=tuple(c for c in self.changes if c.kind in wanted))

    def rows(self) -> list[dict[str, Any]]:
        """The changes as plain rows with the keys `COLUMNS`."""
        return [change.row() for change in self.changes]

    def frame(self) -> Any:
        """The rows as a pandas data frame; needs the extra `frames`."""
        from netsim.display.frame import frame

        return frame(self.rows(), COLUMNS)

    def document(self, *, limit: int = 40) -> Document:
        """The counts, then every change with both lines and a witness, at most `limit` of them."""
        head: list[str | Span] = [f"{self.before} -> {self.after}: "]
        if self.equal:
            head.append(Span("proven equal", Tone.GOOD))
            blocks: list[Any] = [Heading(head)]
            if self.compared:
                blocks.append(Paragraph(Span(self.compared, Tone.DIM)))
            return Document([*blocks, *(Paragraph(note) for note in self.notes)])
        counts = {kind: sum(c.kind is kind for c in self.changes) for kind in Kind}
        words = [f"{n} {kind.value}" for kind, n in counts.items() if n]
        head.append(Span(", ".join(words), Tone.BAD if counts[Kind.LOST] else Tone.WARN))
        blocks = [Heading(head)]
        blocks += [Paragraph(note) for note in self.notes]
        if len(self.changes) > 1:
            blocks.append(_summary(self.changes))
        for change in self.changes[:limit]:
            blocks += _change(change)
        if len(self.changes) > limit:
            blocks.append(Paragraph(Span(f"... and {len(self.changes) - limit} more", Tone.DIM)))
        return Document(blocks)


_TONES = {Kind.GAINED: Tone.WARN, Kind.LOST: Tone.BAD, Kind.CHANGED: Tone.STRONG}


def _summary(changes: Sequence[Change]) -> Table:
    places: dict[str, dict[Kind, int]] = {}
    for c in changes:
        row = places.setdefault(c.where, dict.fromkeys(Kind, 0))
        row[c.kind] += 1
    rows = [(where, *(str(row[kind] or "") for kind in Kind)) for where, row in list(places.items())[:30]]
    columns = ("where", *(kind.value for kind in Kind))
    return Table(columns, rows, right=columns[1:])


def _change(c: Change) -> list[Any]:
    lines = c.packets.lines(limit=3)
    blocks: list[Any] = [Heading([Span(c.kind.value, _TONES[c.kind]), f"  {c.where}"])]
    items: list[Any] = [(0, line) for line in lines]
    for name, j in (("before", c.before), ("after", c.after)):
        items.append((0, [f"{name}: ", Span(j.verdict, Tone.STRONG), f" by {j.place}" if j.place else ""]))
        if j.text:
            items.append((1, j.text))
        items += [(2, Span(f"reached by {t.source.line_place}: {t.text}", Tone.DIM)) for t in j.trail]
    if c.path:
        items.append((0, Span("on the way " + " -> ".join(c.path), Tone.DIM)))
    items.append((0, Span(f"for example {c.witness}", Tone.DIM)))
    return [*blocks, Items(items)]


# Rule sets


def _judgement(side: Side, rules: RuleSet) -> Judgement:
    verdicts = [v.value for v in VERDICTS_OF[side.outcomes]]
    verdict = verdicts[0] if len(verdicts) == 1 else f"unknown ({' or '.join(verdicts)})"
    if side.rule is not None:
        return Judgement(verdict, side.rule.source.line_place, side.rule, side.rule.text, side.trail)
    if side.many:
        return Judgement(verdict, MANY)
    if not side.decided:
        accepted = side.outcomes == Outcome.ACCEPT
        return Judgement(verdict, "no chain" if accepted else "forwarding", None, "")
    chain = rules.chains[side.chain]
    place = f"the policy of {chain.name}"
    if chain.source != NOWHERE:
        place += f", {chain.source.line_place}"
    return Judgement(verdict, place, None, chain.source.text.strip())


def _changes(differ: Differ, before: RuleSet, after: RuleSet, prefix: str) -> Iterable[Change]:
    where = f"{prefix}{differ.hook.name.lower()}"
    for region in _ordered(differ.regions()):
        sides = _judgement(region.before, before), _judgement(region.after, after)
        yield Change(region.kind, where, region.packets, *sides)


def _ordered(regions: Iterable[Region]) -> list[Region]:
    rank = {Kind.LOST: 0, Kind.GAINED: 1, Kind.CHANGED: 2}
    return sorted(regions, key=lambda r: rank[r.kind])


def compare_indexes(
    before: Index, after: Index, *, scope: PacketSet = EVERYTHING, prefix: str = ""
) -> tuple[Change, ...]:
    """Every change between two indexed rule sets, at the hooks forward, input and output."""
    found: list[Change] = []
    for hook in _HOOKS:
        differ = Differ(before, after, hook, scope)
        found += _changes(differ, before.rules, after.rules, prefix)
    return tuple(found)


def not_told(changes: Iterable[Change]) -> tuple[str, ...]:
    """The note that some changes are not told by their rules, if there are such."""
    return (NOT_TOLD,) if any(MANY in (c.before.place, c.after.place) for c in changes) else ()


def _name(rules: RuleSet) -> str:
    return rules.file or rules.device or rules.dialect or "rules"


def compare_rules(
    before: Rules | RuleSet, after: Rules | RuleSet, *, scope: PacketSet = EVERYTHING
) -> Comparison:
    """What two rule sets decide differently at the hooks forward, input and output.

    They may be of different dialects. Raises `QuestionError` if one is for IPv4 and the other for IPv6.
    """
    one, two = (r.index if isinstance(r, Rules) else Index(r) for r in (before, after))
    families = {one.rules.family, two.rules.family}
    if len(families) == 2 and None not in families:
        raise QuestionError.of(
            f"{_name(one.rules)} and {_name(two.rules)} are for different IP versions: nothing to compare",
            code="NS321",
            hint="compare the files of one family, or two sites",
        )
    counted = [sum(1 for _ in index.rules.rules()) for index in (one, two)]
    changes = compare_indexes(one, two, scope=scope)
    return Comparison(
        _name(one.rules), _name(two.rules), changes, not_told(changes),
        compared=f"every packet at the hooks forward, input and output, through {counted[0]} and {counted[1]} rules",
    )  # fmt: skip


__all__ = [
    "COLUMNS",
    "Change",
    "Comparison",
    "Judgement",
    "Kind",
    "compare_indexes",
    "compare_rules",
    "not_told",
]

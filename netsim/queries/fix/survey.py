"""Which chains packets would meet if no rule stopped them, and what each position of a chain sees of them.

Theory of operation. A survey follows a question as `reach` does, but lets through what a chain drops, as if a rule
in front of the one that drops had accepted it. So one pass finds every chain on every way, opening and answer, also those
behind the first that blocks. What stops packets even so (no route, a reverse path, an address that nobody has)
is nothing that a rule's edit can mend: `stops`.

A *visit* is one base chain that part of the packets goes through. `at` holds, for each position of that chain and of
the chains that it calls, the pieces that come so far: a rule inserted there sees exactly these. An *arrival*
is what the packets asked about look like as they come to a device, for one hook: what a comparison of the device's
rules calls by the same names.

Costs: one trace, and one walk for each visit. Nothing asked, nothing visited.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from netsim.errors import BudgetExceeded
from netsim.index.flow import Piece, merged
from netsim.queries.reach import Question
from netsim.queries.trace import Crossing, Tracer
from netsim.queries.travellers import Hop, Stop, Traveller
from netsim.rules.model import Chain, Point, Rule, Verdict
from netsim.space.diagram import AND, FALSE, LESS, OR
from netsim.space.fields import ABSENT, FIELDS, interface_value
from netsim.space.packets import PacketSet
from netsim.space.pool import POOL, VARIABLE_LEVELS
from netsim.space.transform import Transformation, constant
from netsim.topology.forwarding import Forward
from netsim.topology.model import Device, NextHop

Where = tuple[str, int]
"""A rule set: its device, and its place among the device's rule sets."""

Position = tuple[str, int]
"""A chain and the number of the rule in front of which one stands; one more than there are rules is its end."""


@attrs.define(slots=True)
class Visit:
    """Packets at one base chain of a rule set, in the sender's header.

    `passed` and `blocked` (by this chain, for certain or perhaps) may overlap where something is undecided. `rules`
    are those that accept, drop or reject part of them, each with what comes from where.
    """

    where: Where
    base: str
    point: Point
    direction: str
    path: tuple[Hop, ...]
    passed: int
    blocked: int
    at: dict[Position, list[Piece]] = attrs.Factory(dict)
    rules: list[tuple[Rule, Verdict | None, int]] = attrs.Factory(list)

    @property
    def key(self) -> tuple[Where, str]:
        """The chain that is visited."""
        return self.where, self.base

    def reach(self, position: Position, *, sure: bool) -> int:
        """The packets that come to a position, for certain or at all."""
        return POOL.fold(OR, [p.packets for p in self.at.get(position, ()) if p.sure or not sure])


@attrs.frozen(slots=True)
class Arrival:
    """Packets as a device gets them for one hook: the set in the sender's header, and what has happened to it."""

    device: str
    hook: Point
    packets: int
    change: Transformation


@attrs.define(slots=True)
class Survey:
    """What was found: visits, arrivals, and what no rule stops."""

    visits: list[Visit] = attrs.Factory(list)
    arrivals: list[Arrival] = attrs.Factory(list)
    stops: list[Stop] = attrs.Factory(list)
    over_budget: str = ""

    def blocking(self) -> dict[tuple[Where, str], list[Visit]]:
        """The chains that block part of the packets."""
        return _by_key(v for v in self.visits if v.blocked)

    def passing(self) -> dict[tuple[Where, str], list[Visit]]:
        """The chains that let through part of the opening packets."""
        return _by_key(v for v in self.visits if v.passed and v.direction == "opening")


def _by_key(visits: Iterable[Visit]) -> dict[tuple[Where, str], list[Visit]]:
    found: dict[tuple[Where, str], list[Visit]] = {}
    for visit in visits:
        found.setdefault(visit.key, []).append(visit)
    return found


_MARKED = frozenset(level for name in ("mark", "ctmark", "tos", "ttl") for level in FIELDS[name].levels)
"""What rules change of a packet on its way through a chain, apart from translations."""


class _SurveyTracer(Tracer):
    """A tracer that goes on where a chain drops. `let` False: it stops there, and notes what passes."""

    survey: Survey
    wanted: int
    let: bool

    def _chains(
        self,
        device: Device,
        point: Point,
        pieces: tuple[Piece, ...],
        path: tuple[Hop, ...],
        crossing: Crossing | None,
    ) -> tuple[Piece, ...]:
        for number, index in enumerate(self.network.indexes[device.name]):
            if index.rules.family not in (None, self.family):
                continue
            for base in index.rules.base_chains(point):
                asked, beside = index.flow.asked(base, pieces)
                passage = index.flow.through(base, asked)
                blocked = POOL.fold(OR, [b.packets for b in passage.blocked])
                out = passage.out
                if base.hook is not None and base.hook.nat:
                    if blocked:
                        text = f"{device.name} drops these packets while translating them"
                        self._stop("translation", device.name, text, blocked, True, path)
                else:
                    opened = self._visit((device.name, number), index.flow, base, asked, out, blocked, path)
                    if self.let and blocked:
                        kept = [attrs.evolve(p, packets=POOL.apply(LESS, p.packets, blocked)) for p in out]
                        out = merged((*kept, *opened))
                pieces = merged((*out, *beside))
        return pieces

    def _visit(
        self,
        where: Where,
        flow: Any,
        base: Chain,
        asked: tuple[Piece, ...],
        out: tuple[Piece, ...],
        blocked: int,
        path: tuple[Hop, ...],
    ) -> list[Piece]:
        """Note what a base chain does; what it drops, as a rule in front of the one that drops would let it through."""
        passed = POOL.fold(OR, [p.packets for p in out])
        mine = POOL.apply(AND, blocked if self.let else passed, self.wanted)
        assert base.hook is not None
        visit = Visit(where, base.name, base.hook.point, self.direction, path,
                      POOL.apply(AND, passed, self.wanted), POOL.apply(AND, blocked, self.wanted))  # fmt: skip
        self.survey.visits.append(visit)
        opened: list[Piece] = []
        for piece in asked:
            part = attrs.evolve(piece, packets=POOL.apply(AND, piece.packets, mine))
            if part.packets:
                opened += self._walk(flow, base, part, visit)
            rest = POOL.fold(OR, [p.packets for p in opened])
            rest = POOL.apply(LESS, POOL.apply(AND, piece.packets, blocked), rest)
            opened.append(attrs.evolve(piece, packets=rest))
        return opened

    def _walk(self, flow: Any, base: Chain, piece: Piece, visit: Visit) -> list[Piece]:
        """Note how far a piece comes; its parts where they are dropped, with the marks that they have there."""
        mine: dict[Position, list[Piece]] = {}

        def seen(chain: Chain, number: int, live: tuple[Piece, ...]) -> None:
            mine.setdefault((chain.name, number), []).extend(live)

        opened: list[Piece] = []
        for d in flow.walk(base, (piece,), seen):
            node = POOL.apply(OR, d.sure, d.maybe)
            position = (base.name, len(base.rules) + 1)
            if d.rule is not None:
                visit.rules.append((d.rule, d.verdict, node))
                position = (d.chain.name, d.rule.number)
            if d.verdict is Verdict.ACCEPT:
                continue
            for there in mine.get(position, ()):
                maps = dict(piece.change.without(_MARKED).maps)
                maps |= {level: by for level, by in there.change.maps if level in _MARKED}
                part = POOL.apply(AND, there.packets, POOL.apply(AND, node, visit.blocked))
                opened.append(attrs.evolve(piece, packets=part, change=Transformation.of(maps)))
        for where, found in mine.items():
            visit.at.setdefault(where, []).extend(found)
        return opened

    # Arrivals

    def _forward(
        self, device: Device, forward: Forward, piece: Piece, t: Traveller, path: tuple[Hop, ...],
        crossing: Crossing | None, passed: bool,
    ) -> list[Traveller]:  # fmt: skip
        change = piece.change
        if crossing is None:  # as it came, before this device translated it
            change = self._context(t.change, None, path[-1].iif, device)
        if forward.action == "local":
            self._arrive(device, Point.INPUT, piece, change)
        elif forward.action == "forward":
            for hop in forward.hops:
                out = constant("oif", interface_value(hop.interface))
                self._arrive(device, Point.FORWARD, piece, change.then(out))
        return super()._forward(device, forward, piece, t, path, crossing, passed)

    def _routed_out(
        self, device: Device, piece: Piece, t: Traveller
    ) -> Iterator[tuple[NextHop, Piece, tuple[Hop, ...]]]:
        for hop, sent, path in super()._routed_out(device, piece, t):
            self._arrive(device, Point.OUTPUT, sent, sent.change.then(constant("iif", ABSENT)))
            yield hop, sent, path

    def _arrive(self, device: Device, hook: Point, piece: Piece, change: Transformation) -> None:
        self.survey.arrivals.append(Arrival(device.name, hook, piece.packets, change))


def survey(question: Question, wanted: PacketSet, *, let: bool = True) -> Survey:
    """The chains that the `wanted` part of a question's packets meets.

    With `let`, as if no chain dropped them; without, as far as they come. The caller holds the pool's lock.
    """
    result = Survey()
    classes = tuple(attrs.evolve(c, opening=c.opening & wanted) for c in question.classes)
    tracer = type("_Tracer", (_SurveyTracer,), {"survey": result, "wanted": wanted.node, "let": let})
    asked = _Surveyed(
        question.network, question.src, question.dst, question.sources, question.targets,
        tuple(c for c in classes if c.opening), False, False, question.limits,
    )  # fmt: skip
    asked.tracer = tracer
    try:
        asked.trace()
    except BudgetExceeded as error:
        result.over_budget = str(error)
    result.over_budget = result.over_budget or asked.over_budget
    result.stops = [s for s in asked.stops if POOL.apply(AND, POOL.apply(OR, s.sure, s.maybe), wanted.node)]
    return result


class _Surveyed(Question):
    """A question that is traced and not answered."""

    def trace(self) -> None:
        """Follow every source's packets."""
        for source in self.sources:
            self._source(source)


def plain(node: int) -> int:
    """A diagram without unmodelled variables: where it holds for some value of them."""
    return POOL.quantify(node, VARIABLE_LEVELS, OR) if node != FALSE else node


__all__ = ["Arrival", "Position", "Survey", "Visit", "Where", "plain", "survey"]

"""The fewest lines that stop packets which come through, and of those the ones that stop least besides.

Theory of operation. A survey of what comes through finds every chain that lets part of the opening packets pass.
Candidates are, in each chain, a DROP in front of the first rule that accepts part of them (a later place does not
stop all of them, an earlier one stops no less besides), and every line that accepts, deleted. Each is put into the
network and asked: a candidate is good if everything is blocked and each expectation lets through exactly what it
did. Where one line does not stop every way (equal-cost paths, several firewalls), sets of two, then of three, and so
on are asked. It is the opening packets that are stopped: a dropped answer would leave the destination exposed.

Expectations. Packets that are asked to stop and that an expectation needs are a conflict: no edit can do both, and the
answer names them. Else a DROP whose tightest box meets packets that an expectation needs is split: its packets' boxes
are joined again, greedily, as long as no joint box meets such packets; each group is a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

import attrs

from netsim.errors import Inexpressible, InputError
from netsim.index.flow import Piece
from netsim.parsers import dialect_of
from netsim.queries.fix.cover import Narrow
from netsim.queries.fix.model import EditKind, Kept, Reason, Searched
from netsim.queries.fix.opening import Goal, Plan, latest, pieces_at, with_network
from netsim.queries.fix.place import (
    Effect,
    Proposal,
    applied,
    asked_at,
    effect,
    ruleset_of,
    sight_of,
    written,
)
from netsim.queries.fix.search import TRIES, Candidate, Progress, worth
from netsim.queries.fix.survey import Position, Survey, Visit, Where, plain, survey
from netsim.queries.reach import Question
from netsim.rules.journey import is_filter
from netsim.rules.model import ACCEPT, DROP, Bits, Chain, Condition, In, Point, Verdict
from netsim.space.diagram import AND, OR, TRUE
from netsim.space.fields import FIELDS
from netsim.space.packets import NOTHING, PacketSet
from netsim.space.pool import POOL, applies_node, bits_node, condition_node
from netsim.topology.network import Network

GROUPS = 24
"""Into how many boxes the packets of one place are split to spare an expectation."""

Keeps = tuple[tuple[Question, Kept], ...]


def plan(question: Question, exposed: PacketSet, keeps: Keeps, progress: Progress | None) -> Plan:
    """The lines that close what is exposed."""
    conflicts = [
        Reason("expectation", "", f"{k.src} -> {k.dst} {k.traffic} needs these packets", k.allowed & exposed)
        for _, k in keeps
        if k.allowed & exposed
    ]
    if conflicts:
        return Plan(reasons=conflicts)
    return _Closing(question, exposed, keeps, progress).plan()


class _Closing:
    def __init__(
        self, question: Question, exposed: PacketSet, keeps: Keeps, progress: Progress | None
    ) -> None:
        self.question = question
        self.network: Network = question.network
        self.exposed = exposed
        self.keeps = keeps
        self.progress = progress
        self.survey = survey(question, exposed, let=False)
        self.needed: list[Survey] = [survey(q, k.allowed, let=False) for q, k in keeps]

    def plan(self) -> Plan:
        result = Plan(survey=self.survey)
        if self.survey.over_budget:
            return result
        passing = self.survey.passing()
        wheres = list(dict.fromkeys(where for where, _ in passing))
        seen = POOL.fold(OR, [plain(v.passed) for visits in passing.values() for v in visits])
        unseen = self.exposed - PacketSet(seen)
        if unseen:
            text = "no rule sees these packets on their way"
            result.reasons.append(Reason("no-rules", "", text, unseen))
            return result
        candidates: list[Candidate] = []
        for where in wheres:
            try:
                dialect_of(ruleset_of(self.network, where))
            except Inexpressible as error:
                result.reasons.append(Reason("not-expressible", where[0], str(error), self.exposed))
                continue
            candidates += self._candidates(where, passing)
        tried = candidates[:TRIES]
        good: list[tuple[Candidate, ...]] = []
        some: list[Candidate] = []
        for n, c in enumerate(tried):
            if self.progress is not None:
                self.progress(n, len(tried))
            closes, keeps = self._closes((c,))
            if closes and keeps:
                good.append((c,))
            elif keeps:
                some.append(c)
        combined = len(tried)
        fewest = min((len(s[0]) for s in good), default=len(some) + 1)
        chosen = [s for s in good if len(s[0]) == fewest]
        more, looked = self._several(some, fewest)
        combined += looked
        if more and sum(map(len, more[0])) < fewest:
            chosen = more
        if not chosen:
            if not result.reasons:
                text = "no edited line, and no set of lines, that was tried stops them" + (
                    " and keeps every expectation" if self.keeps else ""
                )
                result.reasons.append(Reason("not-found", "", text, self.exposed))
            return result
        result.reasons = []
        best = min(chosen, key=self._worth)
        result.lines = [p for c in best for p in c.lines]
        complete = len(tried) == len(candidates) and looked < TRIES
        result.searched = Searched(
            len(tried), combined, complete, _statement(len(result.lines), len(tried), complete)
        )
        return result

    def _several(self, some: Sequence[Candidate], fewest: int) -> tuple[list[tuple[Candidate, ...]], int]:
        """The sets of several candidates that close together with fewer lines than `fewest`, the smallest."""
        looked = 0
        total = sum(map(len, some))
        for lines in range(2, min(fewest, total + 1, 9)):
            found: list[tuple[Candidate, ...]] = []
            for size in range(2, lines + 1):
                for chosen in combinations(some, size):
                    if sum(map(len, chosen)) != lines or len({_place(c) for c in chosen}) < size:
                        continue
                    looked += 1
                    if looked > TRIES:
                        return found, looked
                    if self._closes(chosen) == (True, True):
                        found.append(chosen)
            if found:
                return found, looked
        return [], looked

    def _closes(self, chosen: Sequence[Candidate]) -> tuple[bool, bool]:
        """Whether lines block everything, and whether every expectation lets through what it did."""
        try:
            after = applied(self.network, [p for c in chosen for p in c.lines]).network
        except InputError:
            return False, False
        for q, k in self.keeps:
            if with_network(q, after).answer().allowed != k.allowed:
                return False, False
        answer = with_network(self.question, after).answer()
        return answer.asked == answer.blocked, True

    def _worth(self, chosen: tuple[Candidate, ...]) -> tuple[int, ...]:
        lines = [p for c in chosen for p in c.lines]
        after = applied(self.network, lines).network
        gained = lost = changed = NOTHING
        for where in dict.fromkeys(p.where for p in lines):
            arrivals = asked_at(self.network, where, self.survey.arrivals)
            found = effect(self.network, after, where, arrivals)
            gained, lost, changed = gained | found.gained, lost | found.lost, changed | found.changed
        return worth(chosen, Effect(gained, lost, changed), closing=True)

    # Candidates

    def _candidates(self, where: Where, passing: dict[Goal, list[Visit]]) -> Iterator[Candidate]:
        rules = ruleset_of(self.network, where)
        keys = [k for k in passing if k[0] == where]
        places: dict[str, list[Goal]] = {}
        for key in keys:
            base = rules.chains[key[1]]
            if base.rules or is_filter(base, _point(base)):
                for chain in dict.fromkeys(chain for v in passing[key] for chain, _ in v.at):
                    places.setdefault(chain, []).append(key)
        for chain, callers in places.items():
            for group in (callers, *([k] for k in callers if len(callers) > 1)):
                home = all(is_filter(rules.chains[name], _point(rules.chains[name])) for _, name in group)
                visits = [v for k in group for v in passing[k]]
                wanted = [attrs.evolve(v, blocked=v.passed) for v in visits]
                count = len(rules.chains[chain].rules)
                for number in dict.fromkeys(latest(chain, count, wanted, sure) for sure in (False, True)):
                    if number:
                        yield from self._insertion(where, chain, number, visits, home)
        accepting = {
            id(r): r
            for k in keys
            for v in passing[k]
            for r, verdict, _ in v.rules
            if verdict is Verdict.ACCEPT
        }
        for rule in accepting.values():
            if rule.action == ACCEPT and not rule.effects:
                line = Proposal(EditKind.DELETE, where, rule.chain, rule.number, rule)
                yield Candidate((line,), frozenset(keys))

    def _insertion(
        self, where: Where, chain: str, number: int, visits: Sequence[Visit], home: bool
    ) -> Iterator[Candidate]:
        rules = ruleset_of(self.network, where).chains[chain].rules
        pieces = pieces_at((chain, number), visits)
        held = [
            p
            for s in self.needed
            for p in pieces_at((chain, number), (v for v in s.visits if v.where == where))
        ]
        rule = rules[number - 1] if number <= len(rules) else None
        lines: list[Proposal] = []
        for group in self._groups(where, chain, visits, pieces, held):
            written_ = self._drop(where, chain, visits, group)
            if written_ is None:
                return
            text, conditions, narrow = written_
            lines.append(Proposal(EditKind.INSERT, where, chain, number, rule, text, conditions, narrow))
        if not lines:
            return
        near = [r.number - number for v in visits for r, verdict, _ in v.rules
                if verdict is Verdict.ACCEPT and r.chain == chain and r.number >= number]  # fmt: skip
        yield Candidate(tuple(lines), frozenset(), min(near, default=len(rules) + 1 - number), home)

    def _drop(
        self, where: Where, chain: str, visits: Sequence[Visit], pieces: Sequence[Piece]
    ) -> tuple[str, tuple[Condition, ...], tuple[Narrow, ...]] | None:
        try:
            return written(self.network, where, chain, DROP, pieces, sight_of(self.network, where, visits))
        except Inexpressible:
            return None

    def _groups(
        self,
        where: Where,
        chain: str,
        visits: Sequence[Visit],
        pieces: Sequence[Piece],
        held: Sequence[Piece],
    ) -> list[list[Piece]]:
        """The packets of a place in as few groups as are found whose tightest rules spare what is needed."""

        def spares(group: Sequence[Piece]) -> bool:
            found = self._drop(where, chain, visits, group)
            return found is not None and not _meets(found[1], held)

        if not held or spares(pieces):
            return [list(pieces)]
        parts = [[p] for p in _boxes(pieces)]
        if len(parts) > GROUPS or not all(spares(p) for p in parts):
            return []
        merged = True
        while merged:
            merged = False
            for i, j in combinations(range(len(parts)), 2):
                both = parts[i] + parts[j]
                if spares(both):
                    parts = [p for n, p in enumerate(parts) if n not in (i, j)] + [both]
                    merged = True
                    break
        return parts


def _point(base: Chain) -> Point:
    return base.hook.point if base.hook is not None else Point.FORWARD


def _place(c: Candidate) -> Position:
    return (f"{c.lines[0].where}:{c.lines[0].chain}", c.lines[0].number)


def _boxes(pieces: Iterable[Piece]) -> list[Piece]:
    """Pieces cut into boxes."""
    found: list[Piece] = []
    for piece in pieces:
        for path in POOL.paths(plain(piece.packets)):
            node = TRUE
            for level in sorted(path, reverse=True):
                node = POOL.apply(AND, POOL.interval(level, path[level]), node)
            found.append(attrs.evolve(piece, packets=node))
            if len(found) > GROUPS:
                return found
    return found


def _meets(conditions: Sequence[Condition], pieces: Iterable[Piece]) -> bool:
    """Whether a packet of some pieces matches plain conditions."""
    node = TRUE
    for c in conditions:
        if isinstance(c, In):
            test = condition_node(c.field, c.ranges)
        else:
            assert isinstance(c, Bits)
            test = POOL.apply(AND, applies_node(c.field), bits_node(FIELDS[c.field], c.care, c.value))
        node = POOL.apply(AND, node, test)
    return any(POOL.apply(AND, p.packets, p.change.preimage(POOL, node, OR)) for p in pieces)


def _statement(lines: int, tried: int, complete: bool) -> str:
    rest = "" if complete else "; not every set of lines was tried (the limit was reached)"
    if lines == 1:
        return f"one line is the fewest, since something comes through; of {tried} candidates that were tried this one stops least besides{rest}"
    return (
        f"no fewer lines do, of {tried} candidates and their sets, each put into the network and asked{rest}"
    )


__all__ = ["plan"]

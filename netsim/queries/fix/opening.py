"""The fewest lines that let packets through, and of those the ones that let through least besides.

Theory of operation. A survey of the packets that are missing finds every chain that drops part of them, on all ways,
opening and answer. Each such chain is a *goal*. Candidates are single lines: in each chain that the packets
pass, an ACCEPT in front of the first rule that blocks them (no later place lets all of them through, and an
earlier one lets through no less besides); in place of each rule that blocks; and without each rule that they
match. What a candidate achieves is traced, not argued. A chain whose packets come from several callers, or that is
passed by the opening packet and the answer, can be several goals' line.

Lower bound. Something is missing, so no edit is not enough. That fewer lines than those proposed do not do is
searched: each single line was tried, and no set of fewer achieves all goals. Where no rule that the packets match
changes them (marks, tracking), a line outside of a chain and those that it calls leaves what the chain does alone, so
the search misses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import attrs

from netsim.errors import Inexpressible, InputError
from netsim.index.flow import Piece
from netsim.parsers import dialect_of
from netsim.queries.fix.model import EditKind, Reason, Searched
from netsim.queries.fix.place import (
    Proposal,
    applied,
    asked_at,
    effect,
    ruleset_of,
    sight_of,
    written,
)
from netsim.queries.fix.search import TRIES, Candidate, Progress, covers, worth
from netsim.queries.fix.survey import Position, Survey, Visit, Where, plain, survey
from netsim.queries.reach import Question
from netsim.rules.model import ACCEPT, ActionKind, Chain, Nat, Netmap, Rule, Verdict
from netsim.space.diagram import AND, FALSE, LESS, OR
from netsim.space.packets import PacketSet
from netsim.space.pool import POOL
from netsim.topology.network import Network

Goal = tuple[Where, str]


@attrs.define(slots=True)
class Plan:
    """The lines of a fix before they are checked as a whole; `reasons` why there are none."""

    lines: list[Proposal] = attrs.Factory(list)
    reasons: list[Reason] = attrs.Factory(list)
    searched: Searched = attrs.Factory(Searched)
    survey: Survey = attrs.Factory(Survey)


def plan(question: Question, missing: PacketSet, progress: Progress | None) -> Plan:
    """The lines that open what is missing."""
    return _Opening(question, missing, progress).plan()


class _Opening:
    def __init__(self, question: Question, missing: PacketSet, progress: Progress | None) -> None:
        self.question = question
        self.network: Network = question.network
        self.missing = missing
        self.progress = progress
        self.survey = survey(question, missing)
        self.blocking = self.survey.blocking()
        self.goals = frozenset(self.blocking)

    def plan(self) -> Plan:
        reasons = [*stopped(self.survey, self.missing), *self._speechless()]
        if reasons or not self.goals or self.survey.over_budget:
            return Plan(reasons=reasons, survey=self.survey)
        result = Plan(survey=self.survey)
        proposals = [
            (p, keys, far, home)
            for where in dict.fromkeys(where for where, _ in self.blocking)
            for p, keys, far, home in self._proposals(where)
        ]
        tried = proposals[:TRIES]
        found: dict[Where, list[Candidate]] = {}
        unclean: dict[Where, list[Candidate]] = {}
        for n, (p, _, far, home) in enumerate(tried):
            if self.progress is not None:
                self.progress(n, len(tried))
            does, clean = self._does(p)
            if does:
                kept = found if clean else unclean
                kept.setdefault(p.where, []).append(Candidate((p,), does, far, home))
        looked, complete = 0, len(tried) == len(proposals)
        for where in dict.fromkeys(where for where, _ in self.blocking):
            mine = frozenset(g for g in self.goals if g[0] == where)
            cover = covers(mine, found.get(where, []))
            looked += cover.looked
            if not cover.sets:
                cover = covers(mine, [*found.get(where, []), *unclean.get(where, [])])
                complete = False
            complete = complete and cover.complete
            if not cover.sets:
                text = "no edited line that was tried lets these packets through"
                result.reasons.append(Reason("not-found", where[0], text, self.missing))
                continue
            best = self._best(where, cover.sets)
            result.lines += [p for c in best for p in c.lines]
        if result.reasons:
            result.lines = []
        count = len(result.lines)
        result.searched = Searched(len(tried), looked, complete, self._statement(count, len(tried), complete))
        return result

    def _statement(self, lines: int, tried: int, complete: bool) -> str:
        if lines == 1:
            return f"one line is the fewest, since something is blocked; of {tried} single lines that were tried this one lets through least besides"
        chains = ", ".join(sorted(f"{where[0]}:{base}" for where, base in self.goals))
        rest = "" if complete else "; not every line was tried (the limit was reached)"
        return (
            f"no single line is enough: each of {tried} was tried; nor are fewer than {lines}, over what each of them "
            f"lets through by itself (part is dropped in {chains}){rest}"
        )

    def _speechless(self) -> Iterator[Reason]:
        """The rule sets that have no dialect to write a rule in."""
        for where in dict.fromkeys(where for where, _ in self.blocking):
            try:
                dialect_of(ruleset_of(self.network, where))
            except Inexpressible as error:
                yield Reason("not-expressible", where[0], str(error), self.missing)

    # What a line achieves

    def _does(self, p: Proposal) -> tuple[frozenset[Goal], bool]:
        """The goals that a line achieves by itself, and whether no other chain blocks more than before.

        None if something else than rules stops the packets then.
        """
        try:
            after = applied(self.network, (p,)).network
        except InputError:
            return frozenset(), False
        found = survey(with_network(self.question, after), self.missing)
        if found.over_budget or found.stops:
            return frozenset(), False
        left = found.blocking()
        clean = all(
            not POOL.apply(LESS, _blocked(visits), _blocked(self.blocking.get(goal, ())))
            for goal, visits in left.items()
        )
        return self.goals - frozenset(left), clean

    def _best(self, where: Where, sets: Sequence[tuple[Candidate, ...]]) -> tuple[Candidate, ...]:
        if len(sets) == 1:
            return sets[0]
        arrivals = asked_at(self.network, where, self.survey.arrivals)
        best: tuple[tuple[int, ...], tuple[Candidate, ...]] | None = None
        for chosen in sets:
            try:
                after = applied(self.network, [p for c in chosen for p in c.lines]).network
            except InputError:
                continue
            value = worth(chosen, effect(self.network, after, where, arrivals))
            if best is None or value < best[0]:
                best = value, chosen
        return best[1] if best is not None else ()

    # Candidates

    def _proposals(self, where: Where) -> Iterator[tuple[Proposal, frozenset[Goal], int, bool]]:
        rules = ruleset_of(self.network, where)
        keys = [k for k in self.blocking if k[0] == where]
        visits = [v for k in keys for v in self.blocking[k]]
        yielded: set[tuple[str, int, frozenset[Goal]]] = set()
        for chain in dict.fromkeys(chain for v in visits for chain, _ in v.at):
            here = [k for k in keys if any(chain == c for v in self.blocking[k] for c, _ in v.at)]
            for group in (tuple(here), *((k,) for k in here if len(here) > 1)):
                found = [v for k in group for v in self.blocking[k]]
                for number in self._positions(rules.chains[chain], found):
                    key = (chain, number, frozenset(group))
                    if key not in yielded:
                        yielded.add(key)
                        yield from self._insertion(where, chain, number, group)
        for visit_rules in {
            id(r): r for v in visits for r, verdict, _ in v.rules if verdict is not Verdict.ACCEPT
        }.values():
            yield from self._replacement(where, visit_rules, keys)
        for rule in self._matched(where, visits):
            yield Proposal(EditKind.DELETE, where, rule.chain, rule.number, rule), frozenset(keys), 0, True

    @staticmethod
    def _positions(chain: Chain, visits: Sequence[Visit]) -> list[int]:
        """Where a line lets through what a chain blocks: as late as possible, or before what marks packets."""
        count = len(chain.rules)
        last = [latest(chain.name, count, visits, sure) for sure in (False, True)]
        marking = [r.number for r in chain.rules if r.effects and r.number < last[0]]
        early = [n for n in marking if covers_all((chain.name, n), visits, sure=False)]
        return [n for n in dict.fromkeys([*last, *early]) if n]

    def _insertion(
        self, where: Where, chain: str, number: int, group: Sequence[Goal]
    ) -> Iterator[tuple[Proposal, frozenset[Goal], int, bool]]:
        visits = [v for k in group for v in self.blocking[k]]
        line = self._accept(where, chain, number, visits)
        if line is None:
            return
        rules = ruleset_of(self.network, where).chains[chain].rules
        rule = rules[number - 1] if number <= len(rules) else None
        proposal = attrs.evolve(line, kind=EditKind.INSERT, number=number, rule=rule)
        near = [r.number - number for v in visits for r, verdict, _ in v.rules
                if verdict is not Verdict.ACCEPT and r.chain == chain and r.number >= number]  # fmt: skip
        home = ruleset_of(self.network, where).chains[chain].hook is not None or any(
            r.action.kind is ActionKind.ACCEPT for r in rules
        )
        yield proposal, frozenset(group), min(near, default=len(rules) + 1 - number), home

    def _replacement(
        self, where: Where, rule: Rule, keys: Sequence[Goal]
    ) -> Iterator[tuple[Proposal, frozenset[Goal], int, bool]]:
        visits = [v for k in keys for v in self.blocking[k] if (rule.chain, rule.number) in v.at]
        line = self._accept(where, rule.chain, rule.number, visits)
        if line is not None:
            yield (
                attrs.evolve(line, kind=EditKind.REPLACE, number=rule.number, rule=rule),
                frozenset(keys),
                0,
                True,
            )

    def _accept(self, where: Where, chain: str, number: int, visits: Sequence[Visit]) -> Proposal | None:
        pieces = pieces_at((chain, number), visits)
        if not pieces:
            return None
        sight = sight_of(self.network, where, visits)
        try:
            text, conditions, narrow = written(self.network, where, chain, ACCEPT, pieces, sight)
        except Inexpressible:
            return None
        return Proposal(EditKind.INSERT, where, chain, number, None, text, conditions, narrow)

    def _matched(self, where: Where, visits: Iterable[Visit]) -> Iterator[Rule]:
        """The rules that the packets may match where they are blocked, but for those that accept or only watch."""
        device, number = where
        index = self.network.indexes[device][number]
        compiler = index.flow.functions.compiler
        seen: set[int] = set()
        for visit in visits:
            for (chain, at), pieces in visit.at.items():
                rules = index.rules.chains[chain].rules
                if at > len(rules) or id(rules[at - 1]) in seen:
                    continue
                rule = rules[at - 1]
                kind = rule.action.kind
                if kind is ActionKind.ACCEPT or (kind is ActionKind.CONTINUE and not rule.effects):
                    continue
                possible = compiler.rule_bounds(rule)[1]
                if any(POOL.apply(AND, p.packets, p.change.preimage(POOL, possible, OR)) for p in pieces):
                    seen.add(id(rule))
                    yield rule
        for chain_ in index.rules.chains.values():
            if chain_.hook is not None and chain_.hook.nat:
                continue
            for rule in chain_.rules:  # what marks packets, or keeps them from tracking, for a later chain
                changes = [e for e in rule.effects if not isinstance(e, Nat | Netmap)]
                if changes and id(rule) not in seen:
                    seen.add(id(rule))
                    yield rule


def _blocked(visits: Iterable[Visit]) -> int:
    return POOL.fold(OR, [plain(v.blocked) for v in visits])


def latest(chain: str, count: int, visits: Sequence[Visit], sure: bool) -> int:
    """The last position of a chain that all blocked packets of some visits come to; 0 if there is none."""
    positions = range(count + 1, 0, -1)
    return next((n for n in positions if covers_all((chain, n), visits, sure=sure)), 0)


def covers_all(position: Position, visits: Sequence[Visit], *, sure: bool) -> bool:
    """Whether all blocked packets of some visits come to a position, whatever the unmodelled says."""
    return all(not POOL.apply(LESS, v.blocked, v.reach(position, sure=sure)) for v in visits)


def pieces_at(position: Position, visits: Iterable[Visit]) -> list[Piece]:
    """The pieces of visits at a position."""
    return [p for v in visits for p in v.at.get(position, ()) if p.packets != FALSE]


def stopped(found: Survey, asked: PacketSet) -> list[Reason]:
    """What stops packets that every rule lets through, by kind and place."""
    joined: dict[tuple[str, str, str], PacketSet] = {}
    for stop in found.stops:
        part = PacketSet(plain(POOL.apply(OR, stop.sure, stop.maybe))) & asked
        key = (stop.kind, stop.device, stop.text)
        if part:
            joined[key] = joined[key] | part if key in joined else part
    return [Reason(*key, part) for key, part in joined.items()]


def with_network(question: Question, network: Network) -> Question:
    """The same question to another network."""
    return Question(
        network, question.src, question.dst, question.sources, question.targets, question.classes,
        False, False, question.limits,
    )  # fmt: skip


__all__ = ["Goal", "Plan", "latest", "pieces_at", "plan", "stopped", "with_network"]

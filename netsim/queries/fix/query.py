"""`fix`: the question, the plan, and the check of the plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from netsim.errors import DEFAULT_LIMITS, Limits, QuestionError
from netsim.queries.compare import Comparison, compare_indexes
from netsim.queries.fix import closing, opening
from netsim.queries.fix.model import Fix, FixStatus, Kept, Searched
from netsim.queries.fix.opening import Plan
from netsim.queries.fix.place import Proposal, applied, asked_at, effect, line_of, ordered
from netsim.queries.fix.search import Progress
from netsim.queries.fix.survey import Where, survey
from netsim.queries.reach import Question, Reachability, Status, question
from netsim.queries.traffic import TrafficLike
from netsim.space.fields import Range
from netsim.space.packets import NOTHING, PacketSet, packets
from netsim.space.pool import POOL
from netsim.topology.edit import Edit
from netsim.topology.network import Network, register

LATER = (
    "the opening packets and their answers come through, but the rules do not let through all later packets of these "
    "connections: a rule for established ones is missing"
)

ROUNDS = 8
"""How often a plan is made anew for what it leaves."""

NOT_FOUND = "not-found"

Expectation = tuple[str, str, TrafficLike | None]
"""A source, a destination and traffic that must come through as it does now."""


def fix(
    network: Network,
    src: str,
    dst: str,
    traffic: TrafficLike | None = None,
    *,
    close: bool = False,
    keep: Iterable[Expectation] = (),
    source_ports: Range | None = None,
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress | None = None,
) -> Fix:
    """The fewest edited lines after which `src` reaches `dst` with `traffic`, or with `close` does not.

    The ends and the traffic are those of `reach`. With `close`, each expectation of `keep` lets through exactly what it does
    now. `progress` is told (tried, of) while lines are tried. Raises `QuestionError` for a question that has no answer.
    """
    asked = question(network, src, dst, traffic, source_ports=source_ports, limits=limits)
    kept = tuple(keep)
    if kept and not close:
        raise QuestionError.of(
            "keep= is for closing: an opening edit stops nothing", code="NS330", hint="say close=True"
        )
    keeps = tuple(question(network, *each, source_ports=source_ports, limits=limits) for each in kept)
    with POOL.lock, POOL.budget(limits):
        before = asked.answer()
        wrong = (before.asked - before.blocked) if close else (before.asked - before.allowed)
        if not wrong:
            return _answer(asked, close, FixStatus.NOTHING, before)
        if close:
            held = tuple(Kept(q.src, q.dst, _traffic(q), q.answer().allowed) for q in keeps)
            plan = closing.plan(asked, wrong, tuple(zip(keeps, held, strict=True)), progress)
        else:
            held = ()
            plan = opening.plan(asked, wrong, progress)
        if any(r.kind != NOT_FOUND for r in plan.reasons):
            return _answer(asked, close, FixStatus.IMPOSSIBLE, before, plan, kept=held)
        if not plan.lines:
            return _answer(asked, close, FixStatus.UNKNOWN, before, plan, kept=held)
        rounds = [Round(network, plan, applied(network, plan.lines))]
        while not close and len(rounds) < ROUNDS:
            now = opening.with_network(asked, rounds[-1].edit.network)
            answer = now.answer()
            more = opening.plan(now, answer.asked - answer.allowed, progress)
            if not more.lines:
                break
            edit = applied(now.network, more.lines, rounds[-1].edit)
            rounds.append(Round(now.network, more, edit))
        return _checked(asked, close, before, wrong, rounds, tuple(zip(keeps, held, strict=True)))


@attrs.frozen(slots=True, eq=False)
class Round:
    """A plan, the network that it is for, and the steps after it. A line may change what later chains see."""

    network: Network
    plan: Plan
    edit: Edit


def _traffic(q: Question) -> str:
    return "; ".join(c.text for c in q.classes)


def _answer(
    asked: Question, close: bool, status: FixStatus, before: Reachability, plan: Plan | None = None,
    *, kept: tuple[Kept, ...] = (), notes: tuple[str, ...] = (),
) -> Fix:  # fmt: skip
    """A fix without edits."""
    plan = plan or Plan()
    if plan.survey.over_budget:
        notes = (*notes, plan.survey.over_budget)
    return Fix(
        asked.src, asked.dst, before.traffic, close, status, (), asked.network.edit(), before, before, {},
        NOTHING, {}, plan.searched, tuple(plan.reasons), before.because, kept, notes,
    )  # fmt: skip


def _checked(
    asked: Question,
    close: bool,
    before: Reachability,
    wrong: PacketSet,
    rounds: list[Round],
    keeps: tuple[tuple[Question, Kept], ...],
) -> Fix:
    """The plan put into the network, and what that does, decided anew."""
    network, plan, edit = asked.network, rounds[0].plan, rounds[-1].edit
    after = opening.with_network(asked, edit.network).answer()
    held = tuple(
        attrs.evolve(k, after=opening.with_network(q, edit.network).answer().allowed) for q, k in keeps
    )
    done = after.status is (Status.BLOCKED if close else Status.ALLOWED)
    if not done or any(k.allowed != k.after for k in held):
        what = "the best lines that were found leave part of it as it was"
        because = after.because or before.because
        return attrs.evolve(
            _answer(asked, close, FixStatus.UNKNOWN, before, plan, kept=held, notes=(what,)), because=because
        )
    wheres = dict.fromkeys(p.where for r in rounds for p in r.plan.lines)
    # All that was asked about, not only what was missing or exposed, as it arrives at each device.
    arrivals = survey(asked, before.asked).arrivals
    besides: dict[str, PacketSet] = {}
    aside: dict[str, PacketSet] = {}
    for where in wheres:
        found = effect(network, edit.network, where, asked_at(network, where, arrivals))
        part, other = (found.lost, found.gained) if close else (found.gained, found.lost)
        for kept, packets_ in ((besides, part), (aside, other | found.changed)):
            if packets_:
                kept[where[0]] = kept.get(where[0], NOTHING) | packets_
    lines = tuple(
        line_of(r.network, p, _why(p, close, before)) for r in rounds for p in ordered(r.plan.lines)
    )
    return Fix(
        asked.src, asked.dst, before.traffic, close, FixStatus.FOUND, lines, edit, before, after,
        _comparisons(network, edit, wheres), wrong, besides, _searched(rounds), (), (), held,
        _notes(asked, edit, close), aside,
    )  # fmt: skip


def _searched(rounds: list[Round]) -> Searched:
    """The search of all rounds."""
    if len(rounds) == 1:
        return rounds[0].plan.searched
    each = [r.plan.searched for r in rounds]
    lines = sum(len(r.plan.lines) for r in rounds)
    return Searched(
        sum(s.tried for s in each), sum(s.combined for s in each), False,
        f"{lines} lines were found in {len(rounds)} rounds, since a line changes what later chains see; fewer may do",
    )  # fmt: skip


def _comparisons(network: Network, edit: Edit, wheres: Iterable[Where]) -> Mapping[str, Comparison]:
    found: dict[str, Comparison] = {}
    for device, number in wheres:
        one, two = (n.indexes[device][number] for n in (network, edit.network))
        counted = [sum(1 for _ in index.rules.rules()) for index in (one, two)]
        changes = compare_indexes(one, two, prefix=f"{device} ")
        old = found[device].changes if device in found else ()
        found[device] = Comparison(
            device, f"{device} edited", (*old, *changes),
            compared=f"every packet at the hooks forward, input and output, through {counted[0]} and {counted[1]} rules",
        )  # fmt: skip
    return found


def _why(p: Proposal, close: bool, before: Reachability) -> str:
    """Why this line is edited."""
    if close:
        what = {"insert": "stops what was let through", "replace": "stops what this rule accepts",
                "delete": "this rule lets the packets through"}  # fmt: skip
        return what[p.kind.value]
    mine = [b for b in before.blockers if b.device == p.where[0]]
    names = [b.place for b in mine if b.rule is not None and b.rule is not p.rule]
    if p.kind.value == "insert" and p.rule is not None and any(b.rule is p.rule for b in mine):
        return "in front of the rule that blocks"
    if p.kind.value == "insert":
        behind = f" ({', '.join(names[:3])})" if names else ""
        return f"before what blocks{behind}"
    return "in place of the rule that blocks" if p.kind.value == "replace" else "without the rule that blocks"


def _notes(asked: Question, edit: Edit, close: bool) -> tuple[str, ...]:
    """What the answer does not say by itself: the packets that follow the first two of a connection."""
    if close or not any(c.answered for c in asked.classes):
        return ()
    for c in asked.classes:
        if c.protocol != 6:
            continue
        later = packets(protocol=6, state="established", tcp_flags=("SYN,ACK,FIN,RST", "ACK"), fragment=False)
        opening_ = c.opening.some("state").some("tcp_flags") & later
        follow = attrs.evolve(c, opening=opening_, answered=False, raw=True, protocol=None)
        q = Question(
            edit.network,
            asked.src,
            asked.dst,
            asked.sources,
            asked.targets,
            (follow,),
            False,
            False,
            asked.limits,
        )
        if q.answer().status is not Status.ALLOWED:
            return (LATER,)
    return ()


register("fix", fix)

__all__ = ["LATER", "Expectation", "fix"]

"""`fix`: the question, the plan, and the check of the plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from netsim.errors import DEFAULT_LIMITS, Limits, QuestionError
from netsim.queries.compare import Comparison, compare_indexes
from netsim.queries.fix import closing, opening
from netsim.queries.fix.model import Fix, FixStatus, Kept, Reason
from netsim.queries.fix.opening import Plan
from netsim.queries.fix.place import Proposal, applied, asked_at, effect, line_of, ordered
from netsim.queries.fix.search import Progress
from netsim.queries.fix.survey import Where, survey
from netsim.queries.reach import Question, Reachability, Status, question
from netsim.queries.traffic import EPHEMERAL, TrafficLike
from netsim.space.packets import NOTHING, POOL, PacketSet, packets
from netsim.topology.edit import Edit
from netsim.topology.network import Network, register

LATER = (
    "the opening packets and their answers come through, but the rules do not let through all later packets of these "
    "connections: a rule for established ones is missing"
)

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
    source_ports: tuple[int, int] = EPHEMERAL,
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
    with POOL.lock, POOL.budget(limits.nodes):
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
        if plan.reasons:
            return _answer(asked, close, FixStatus.IMPOSSIBLE, before, plan, kept=held)
        if not plan.lines:
            return _answer(asked, close, FixStatus.UNKNOWN, before, plan, kept=held)
        return _checked(asked, close, before, wrong, plan, tuple(zip(keeps, held, strict=True)))


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
    plan: Plan,
    keeps: tuple[tuple[Question, Kept], ...],
) -> Fix:
    """The plan put into the network, and what that does, decided anew."""
    network = asked.network
    edit = applied(network, plan.lines)
    after = opening.with_network(asked, edit.network).answer()
    held = tuple(
        attrs.evolve(k, after=opening.with_network(q, edit.network).answer().allowed) for q, k in keeps
    )
    done = after.status is (Status.BLOCKED if close else Status.ALLOWED)
    if not done or any(k.allowed != k.after for k in held):
        left = (after.asked - after.blocked) if close else (after.asked - after.allowed)
        what = "the best lines that were found leave part of it as it was"
        if after.unknown:
            return attrs.evolve(
                _answer(asked, close, FixStatus.UNKNOWN, before, plan, kept=held, notes=(what,)),
                because=after.because,
            )
        plan.reasons.append(Reason("not-found", "", what, left))
        return _answer(asked, close, FixStatus.IMPOSSIBLE, before, plan, kept=held)
    wheres = dict.fromkeys(p.where for p in plan.lines)
    # All that was asked about, not only what was missing or exposed, as it arrives at each device.
    arrivals = survey(asked, before.asked).arrivals
    besides: dict[str, PacketSet] = {}
    for where in wheres:
        found = effect(network, edit.network, where, asked_at(network, where, arrivals))
        part = found.lost if close else found.gained
        if part:
            besides[where[0]] = besides.get(where[0], NOTHING) | part
    lines = tuple(line_of(network, p, _why(p, close, before)) for p in ordered(plan.lines))
    return Fix(
        asked.src, asked.dst, before.traffic, close, FixStatus.FOUND, lines, edit, before, after,
        _comparisons(network, edit, wheres), wrong, besides, plan.searched, (), (), held,
        _notes(asked, edit, close),
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

"""The audit of one rule set: every kind of finding, the gravest first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from netsim.errors import BudgetExceeded
from netsim.index import Index
from netsim.index.liveness import Liveness
from netsim.queries.audit.doubts import unmodelled_findings
from netsim.queries.audit.exposure import answer_findings, default_findings, permissive_findings
from netsim.queries.audit.finding import Audit, Finding
from netsim.queries.audit.order import merge_findings, pair_findings, redundant_findings
from netsim.queries.audit.structure import (
    chain_findings,
    counter_findings,
    dead_findings,
    order_findings,
    set_findings,
)
from netsim.queries.verdict import Rules
from netsim.rules.model import RuleSet

Progress = Callable[[int, int], object]
"""Told how many steps are done, of how many."""


def audit_index(
    index: Index,
    *,
    sets: Iterable[str] | None = None,
    elsewhere: Collection[str] = (),
    since: str = "",
    progress: Progress | None = None,
) -> Audit:
    """Every finding about an indexed rule set; `sets` are the names of the sets given (None: none were).

    `elsewhere` are those that something besides these rules names.

    `since` says when the counters were reset, in any words; without it that is unknown. A part that exceeds the
    budget is named in `unfinished`, the others stand.
    """
    rules = index.rules
    findings = list(chain_findings(rules))
    what = rules.file or rules.device or rules.dialect or "rules"
    if findings:  # nothing that follows a missing chain can be said
        return Audit(what, tuple(findings), {}, sum(1 for _ in rules.rules()))
    liveness = Liveness(index)
    steps: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
        ("dead rules", lambda: dead_findings(index, liveness)),
        ("redundant rules", lambda: redundant_findings(index, liveness)),
        ("order of rules", lambda: pair_findings(index, liveness)),
        ("mergeable rules", lambda: merge_findings(index, liveness)),
        ("permissive rules", lambda: permissive_findings(index, liveness)),
        ("default deny", lambda: default_findings(index)),
        ("answers", lambda: answer_findings(index)),
        ("sets", lambda: set_findings(rules, sets, elsewhere)),
        ("order of base chains", lambda: order_findings(index)),
        ("unmodelled conditions", lambda: unmodelled_findings(index, liveness)),
        ("counters", lambda: counter_findings(rules, since)),
    ]
    unfinished: list[str] = []
    if liveness.undecided:
        places = ", ".join(r.source.line_place for r in liveness.undecided[:6])
        more = len(liveness.undecided) - 6
        unfinished.append(
            f"dead rules: {places}{f' and {more} more' if more > 0 else ''} need more work than is granted"
        )
    for done, (name, step) in enumerate(steps):
        if progress is not None:
            progress(done, len(steps))
        try:
            findings += step()
        except BudgetExceeded as error:
            unfinished.append(f"{name}: {error}")
    if progress is not None:
        progress(len(steps), len(steps))
    findings.sort(key=lambda f: -f.severity)
    live = {entry.rule.id: entry.packet for entry in liveness.live}
    return Audit(what, tuple(findings), live, sum(1 for _ in rules.rules()), tuple(unfinished))


def audit_rules(rules: Rules | RuleSet, *, since: str = "", progress: Progress | None = None) -> Audit:
    """Every finding about one rule set; see `audit_index`."""
    if isinstance(rules, Rules):
        return audit_index(
            rules.index, sets=rules.sets, elsewhere=rules.listed, since=since, progress=progress
        )
    return audit_index(Index(rules), since=since, progress=progress)


__all__ = ["Progress", "audit_index", "audit_rules"]

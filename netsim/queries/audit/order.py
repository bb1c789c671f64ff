"""Findings about rules beside one another: superfluous ones, exceptions, overlaps, and what one rule can say.

A redundant rule is told apart from a dead one: packets do reach it, and the same happens to them without it.
Exceptions and overlaps are no mistakes; they are where the order of rules matters.
"""

from __future__ import annotations

from collections.abc import Iterator

from netsim.errors import Inexpressible
from netsim.index import Index
from netsim.index.liveness import Liveness
from netsim.index.merges import merges
from netsim.index.pairs import pairs
from netsim.index.redundancy import redundant
from netsim.parsers import dialect_of
from netsim.queries.audit.finding import Finding, Severity

_SHOWN = 8


def redundant_findings(index: Index, liveness: Liveness) -> Iterator[Finding]:
    """Live rules without which nothing changes."""
    for each in redundant(index, liveness):
        others = tuple(r for r in each.because if r is not None)
        ends = None in each.because
        then = "its packets then meet " + " and ".join(
            filter(
                None,
                ("these rules, which do the same" if others else "", "the end of its chain" if ends else ""),
            )
        )
        yield Finding(
            "redundant-rule", Severity.LOW, "without this rule every packet is treated the same", proof=then,
            rules=(each.rule,), related=others, edit=f"delete {each.rule.id}",
        )  # fmt: skip


def pair_findings(index: Index, liveness: Liveness) -> Iterator[Finding]:
    """Rules that decide otherwise than earlier ones of whose packets they match all, or some."""
    for found in pairs(index, liveness):
        inside, across = found.counts
        if inside:
            what = (
                "an earlier rule is an exception" if inside == 1 else f"{inside} earlier rules are exceptions"
            )
            yield Finding(
                "generalised-rule", Severity.INFO, f"{what} to this one",
                proof="it matches every packet that they match, and decides otherwise", rules=(found.rule,),
                related=found.generalises[:_SHOWN],
            )  # fmt: skip
        if across:
            what = "an earlier rule shares" if across == 1 else f"{across} earlier rules share"
            yield Finding(
                "correlated-rules", Severity.INFO, f"{what} some packets with it and decide{'s' * (across == 1)} otherwise",
                proof="some packets match both, and each matches packets that the other does not", rules=(found.rule,),
                related=found.correlated[:_SHOWN],
            )  # fmt: skip


def merge_findings(index: Index, liveness: Liveness) -> Iterator[Finding]:
    """Rules of which one can say what they say."""
    for merge in merges(index, liveness):
        first = merge.rules[0]
        try:
            text = dialect_of(index.rules).rewrite_rule(first, merge.conditions, ruleset=index.rules)
        except Inexpressible:
            continue
        rest = ", ".join(r.id for r in merge.rules[1:])
        yield Finding(
            "mergeable-rules", Severity.INFO, f"{len(merge.rules)} rules differ in {merge.field} only: one can say the same",
            proof="they do the same, and nothing between them decides otherwise about their packets",
            rules=merge.rules, edit=f"replace {first.id} by {text}; delete {rest}",
        )  # fmt: skip


__all__ = ["merge_findings", "pair_findings", "redundant_findings"]

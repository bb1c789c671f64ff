"""Findings about what is not modelled: how much depends on each rule that cannot be decided in full."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from netsim.index import Index
from netsim.index.liveness import Liveness
from netsim.queries.audit.finding import Finding, Severity
from netsim.rules.journey import POINTS
from netsim.rules.model import VERDICTS_OF, Deferred, Rule
from netsim.space.fields import Family
from netsim.space.packets import NOTHING, PacketSet


def unmodelled_findings(index: Index, liveness: Liveness) -> Iterator[Finding]:
    """For each rule with something unmodelled, the packets whose verdict depends on it, most first.

    A rule whose undecided condition changes no verdict (a LOG with a limit) is no finding.
    """
    found: list[tuple[Fraction, Finding]] = []
    for rule in index.rules.rules():
        if rule.modelled or rule.chain not in liveness.hooks:
            continue
        depends = NOTHING
        for hook in POINTS:
            if hook not in liveness.hooks[rule.chain]:
                continue
            met = liveness.matched(rule, hook)
            if not met:
                continue
            for mask, part in index.outcomes(met, hook=hook).items():
                if len(VERDICTS_OF[mask]) > 1:
                    depends |= part
        if depends:
            share = _share(depends, index.rules.family)
            found.append((share, _finding(rule, depends, share)))
    found.sort(key=lambda pair: -pair[0])
    yield from (finding for _, finding in found)


def _finding(rule: Rule, depends: PacketSet, share: Fraction) -> Finding:
    texts = [c.text for c in rule.undecided()] or [rule.action.text or "its translation"]
    hints = [c.hint for c in rule.undecided() if isinstance(c, Deferred) and c.hint]
    return Finding(
        "unmodelled", Severity.INFO, f"unknown because of {'; '.join(dict.fromkeys(texts))}",
        proof=f"packets of {_percent(share)} of the sources have more than one possible verdict here",
        rules=(rule,), packets=depends, witness=depends.sample(), edit="; ".join(dict.fromkeys(hints)),
    )  # fmt: skip


def _percent(share: Fraction) -> str:
    value = float(share * 100)
    return f"{value:.0f} %" if value >= 1 or not value else f"{value:.2g} %"


def _share(part: PacketSet, family: Family | None) -> Fraction:
    """The part of all source addresses of the family (the larger of both) that a set touches."""
    sizes = [
        Fraction(sum(h - lo + 1 for lo, h in ranges), 1 << kind.bits)
        for kind, ranges in part.address_ranges("src").items()
        if family in (None, kind)
    ]
    return max(sizes, default=Fraction(0))


__all__ = ["unmodelled_findings"]

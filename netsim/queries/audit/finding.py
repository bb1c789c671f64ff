"""What an audit says: findings with their proof, and the whole of them.

A finding's `code` is stable, its `severity` orders it, its `text` says what is wrong and `proof` why that is so,
`edit` is a suggestion in the words of `net.edit()`. Evidence (counters) is never a proof and is called evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from functools import cached_property
from typing import Any

import attrs

from netsim.display import Displayed, Document, Heading, Items, Paragraph, Span, Table, Tone
from netsim.rules.model import Rule
from netsim.space.packet import Packet
from netsim.space.packets import PacketSet

COLUMNS = (
    "severity", "code", "device", "place", "rule", "rule_text", "text", "proof", "related", "evidence", "edit", "witness",
)  # fmt: skip
"""The keys of every row of an audit."""


class Severity(IntEnum):
    """How much a finding matters; `info` is worth knowing, `high` contradicts what somebody meant to have."""

    INFO = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3

    @property
    def word(self) -> str:
        """Its name as the command line writes it."""
        return self.name.lower()


CODES: Mapping[str, str] = {
    "dead-rule": "no packet matches it, in any context, for any unmodelled",
    "never-matches": "its own conditions contradict each other",
    "unused-chain": "nobody jumps to it",
    "unreachable-chain": "it is called, but for no packet that any rule of it matches",
    "redundant-rule": "without it every packet is treated the same",
    "generalised-rule": "an earlier rule with another verdict is an exception from it",
    "correlated-rules": "they overlap and decide differently: their order matters",
    "mergeable-rules": "one rule can say the same",
    "over-permissive": "it accepts a large part of the space",
    "any-any": "it accepts everything from everywhere",
    "management-open": "a management port is open to the world",
    "missing-default-deny": "what no rule decides is accepted",
    "undefined-set": "a rule names a set that is not given",
    "unused-set": "no rule names it",
    "undefined-chain": "a rule jumps to a chain that is not there",
    "blocked-answer": "what it accepts is not answered: the answer is stopped",
    "asymmetric-return": "the answer takes a way on which nobody knows the connection",
    "one-way-nat": "the answer misses the device that translated the packet",
    "ipv6-open": "IPv6 is open where IPv4 is closed",
    "unmodelled": "answers depend on what is not modelled",
    "order-dependent": "answers depend on the order of base chains of equal priority",
    "never-hit": "its counter is zero",
    "no-evidence": "all counters are zero",
}
"""Every code and what it means."""


@attrs.frozen(slots=True, eq=False)
class Finding:
    """One result. `rules` are those it is about, `related` those that prove it (a cover, the other of a pair)."""

    code: str
    severity: Severity
    text: str
    proof: str = ""
    rules: tuple[Rule, ...] = ()
    related: tuple[Rule, ...] = ()
    device: str = ""
    place: str = ""
    evidence: str = ""
    edit: str = ""
    packets: PacketSet | None = None
    witness: Packet | None = None

    @property
    def where(self) -> str:
        """`file:line` of what it is about, or the name of the device or chain."""
        return self.place or (self.rules[0].source.line_place if self.rules else self.device)

    def row(self) -> dict[str, Any]:
        """The finding as a plain row with the keys `COLUMNS`."""
        return {
            "severity": self.severity.word,
            "code": self.code,
            "device": self.device or None,
            "place": self.where,
            "rule": self.rules[0].id if self.rules else None,
            "rule_text": self.rules[0].text if self.rules else None,
            "text": self.text,
            "proof": self.proof or None,
            "related": [r.source.line_place for r in self.related],
            "evidence": self.evidence or None,
            "edit": self.edit or None,
            "witness": str(self.witness) if self.witness is not None else None,
        }


_TONES = {
    Severity.HIGH: Tone.BAD,
    Severity.MEDIUM: Tone.WARN,
    Severity.LOW: Tone.STRONG,
    Severity.INFO: Tone.DIM,
}
_SHOWN = {Severity.HIGH: 60, Severity.MEDIUM: 40, Severity.LOW: 25, Severity.INFO: 12}


@attrs.frozen(eq=False)
class Audit(Displayed):
    """The answer of `audit`: findings, the gravest first; `bool` of it raises.

    `live` maps the id of each live rule to a packet that matches it; `dead` are the rules proven dead. Every rule is
    in one of the two, but for those of an `unfinished` part (over budget), which says so.
    """

    what: str
    findings: tuple[Finding, ...]
    live: Mapping[str, Packet] = attrs.field(factory=dict)
    rules: int = 0
    unfinished: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        raise TypeError("an Audit is neither true nor false; ask .findings, .worst or .at_least(severity)")

    @cached_property
    def dead(self) -> tuple[Rule, ...]:
        """The rules that no packet reaches."""
        codes = {"dead-rule", "never-matches", "unused-chain", "unreachable-chain"}
        return tuple(r for f in self.findings if f.code in codes for r in f.rules)

    @property
    def worst(self) -> Severity | None:
        """The gravest severity, None without findings."""
        return max((f.severity for f in self.findings), default=None)

    def at_least(self, severity: Severity | str) -> tuple[Finding, ...]:
        """The findings of a severity or a graver one."""
        least = Severity[severity.upper()] if isinstance(severity, str) else severity
        return tuple(f for f in self.findings if f.severity >= least)

    def of(self, code: str) -> tuple[Finding, ...]:
        """The findings of one code."""
        return tuple(f for f in self.findings if f.code == code)

    def rows(self) -> list[dict[str, Any]]:
        """The findings as plain rows with the keys `COLUMNS`."""
        return [f.row() for f in self.findings]

    def frame(self) -> Any:
        """The rows as a pandas data frame; needs the extra `frames`."""
        from netsim.display.frame import frame

        return frame(self.rows(), COLUMNS)

    def document(self) -> Document:
        """A count by code, then the findings, the gravest first."""
        count = len(self.findings)
        head = f"{self.what}: {self.rules} rules, {len(self.live)} live, {len(self.dead)} dead, "
        head += f"{count} finding{'' if count == 1 else 's'}"
        blocks: list[Any] = [Heading(head)]
        blocks += [Paragraph(Span(f"not finished: {text}", Tone.WARN)) for text in self.unfinished]
        if not self.findings:
            return Document([*blocks, Paragraph(Span("nothing to report", Tone.GOOD))])
        counts: dict[tuple[Severity, str], int] = {}
        for f in self.findings:
            counts[f.severity, f.code] = counts.get((f.severity, f.code), 0) + 1
        rows = [
            (Span(s.word, _TONES[s]), code, str(n), CODES[code])
            for (s, code), n in sorted(counts.items(), key=lambda item: (-item[0][0], item[0][1]))
        ]
        blocks.append(Table(("severity", "code", "count", "meaning"), rows, right=("count",)))
        for severity in sorted(Severity, reverse=True):
            mine = [f for f in self.findings if f.severity is severity]
            groups = _groups(mine)
            for group in groups[: _SHOWN[severity]]:
                blocks += _finding(group)
            if len(groups) > _SHOWN[severity]:
                left = sum(len(group) for group in groups[_SHOWN[severity] :])
                more = f"... and {left} more of severity {severity.word} (--json has all)"
                blocks.append(Paragraph(Span(more, Tone.DIM)))
        return Document(blocks)


def _groups(findings: list[Finding]) -> list[list[Finding]]:
    """Findings that say the same for the same reason of several rules, told together."""
    found: dict[object, list[Finding]] = {}
    for f in findings:
        key = (f.code, f.text, f.proof, f.evidence, tuple(map(id, f.related))) if f.rules else id(f)
        found.setdefault(key if f.packets is None else id(f), []).append(f)
    return list(found.values())


_TOLD = 8
"""How many rules of one group are shown."""


def _finding(group: list[Finding]) -> list[Any]:
    f = group[0]
    items: list[Any] = []
    for each in group[:_TOLD]:
        if each.rules:
            place = [Span(f"{each.where}  ", Tone.DIM)] if len(group) > 1 else []
            items.append((0, [*place, each.rules[0].text]))
        if len(each.rules) > 1:
            items.append((1, Span(f"and {_places(each.rules[1:])}", Tone.DIM)))
    if len(group) > _TOLD:
        items.append((0, Span(f"and {_places(tuple(each.rules[0] for each in group[_TOLD:]))}", Tone.DIM)))
    items.append((0, f.text if len(group) == 1 else f"each of these {len(group)}: {f.text}"))
    if f.proof:
        items.append((0, [Span("proof: ", Tone.DIM), f.proof]))
    items += [(1, Span(f"{r.source.line_place}: {r.text}", Tone.DIM)) for r in f.related[:6]]
    if len(f.related) > 6:
        items.append((1, Span(f"... and {len(f.related) - 6} more", Tone.DIM)))
    if f.packets is not None:
        items += [(1, Span(line, Tone.DIM)) for line in f.packets.lines(limit=2)]
    if f.witness is not None:
        items.append((0, Span(f"for example {f.witness}", Tone.DIM)))
    if f.evidence:
        items.append((0, [Span("evidence: ", Tone.DIM), f.evidence]))
    if f.edit:
        edit = f.edit if len(group) == 1 else f"{f.edit}, and so on"
        items.append((0, [Span("suggestion: ", Tone.DIM), edit]))
    head = f"  {f.code}  {f.where}" if len(group) == 1 else f"  {f.code}  {len(group)} rules"
    return [Heading([Span(f.severity.word, _TONES[f.severity]), head]), Items(items)]


def _places(rules: tuple[Rule, ...]) -> str:
    shown = ", ".join(r.source.line_place for r in rules[:8])
    return shown + (f" and {len(rules) - 8} more" if len(rules) > 8 else "")


__all__ = ["CODES", "COLUMNS", "Audit", "Finding", "Severity"]

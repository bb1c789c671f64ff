"""Reachability in words: a document that text, HTML and rich render."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from netsim.display import Document, Excerpt, Heading, Items, Pairs, Paragraph, Span, Tone
from netsim.queries.reach import Blocker, Reachability, Status

_TONES = {
    Status.ALLOWED: Tone.GOOD,
    Status.BLOCKED: Tone.BAD,
    Status.PARTIAL: Tone.BAD,
    Status.UNKNOWN: Tone.WARN,
}


def percent(share: Fraction) -> str:
    """A share as a percentage, exact where that is short."""
    value = share * 100
    return f"{value.numerator}%" if value.denominator == 1 else f"{float(value):.2f}%"


def explain(r: Reachability) -> Document:
    """The verdict first, then every blocker with its line, the witness, paths and assumptions."""
    head: list[str | Span] = [f"{r.src} -> {r.dst} {r.traffic}: ", Span(r.status.value, _TONES[r.status])]
    blocks: list[Any] = [Heading(head)]
    if r.cut_off and len(r.sources) > 1:
        total = sum(s.weight for s in r.sources)
        lost = sum(s.weight for s in r.sources if s.status is Status.BLOCKED)
        blocks.append(
            Paragraph(
                [
                    "cut off: ",
                    Span(", ".join(r.cut_off), Tone.BAD),
                    f" ({lost} of {total} sources by weight, {percent(r.share_cut_off)})",
                ]
            )
        )
    elif r.share_cut_off and r.status is Status.PARTIAL:
        blocks.append(
            Paragraph(["cut off: ", Span(f"{percent(r.share_cut_off)} of the source addresses", Tone.BAD)])
        )
    for blocker in r.blockers:
        blocks += _blocker(blocker)
    for because in r.because:
        blocks.append(Paragraph([Span("unknown because of ", Tone.WARN), "; ".join(because.conditions)]))
        blocks.append(Excerpt.of(because.rule.source))
    pairs: list[tuple[str, Any]] = [(f"{name} witness", str(packet)) for name, packet in r.witnesses.items()]
    pairs += [(f"{name} set", r_set.lines(limit=3)[0]) for name, r_set in _sets(r) if r_set]
    if pairs:
        blocks.append(Heading("Packets"))
        blocks.append(Pairs(pairs))
    if r.paths:
        blocks.append(Heading("Paths (opening and answer)"))
        blocks.append(Items([(0, str(path)) for path in r.paths[:12]]))
        if len(r.paths) > 12:
            blocks.append(Paragraph(Span(f"... and {len(r.paths) - 12} more", Tone.DIM)))
    if r.assumptions:
        blocks.append(Heading("Assumptions"))
        blocks.append(Items([(0, [Span(f"{a.code}: ", Tone.DIM), a.text]) for a in r.assumptions]))
    return Document(blocks)


def _sets(r: Reachability) -> list[tuple[str, Any]]:
    return [("blocked", r.blocked), ("split", r.split), ("unknown", r.unknown), ("allowed", r.allowed)]


def _blocker(b: Blocker) -> list[Any]:
    verb = {"drop": "dropped", "reject": "rejected"}.get(b.verdict, "perhaps stopped")
    if not b.packets:
        verb = f"perhaps {verb.removeprefix('perhaps ')}"
    way = "" if b.direction == "opening" else "the answer is "
    words: list[str | Span] = [f"{way}{verb} by ", Span(b.place, Tone.STRONG)]
    if b.kind not in ("rule", "policy"):
        words.append(f" ({b.kind})")
    words.append(f", {percent(b.share)} of the sources")
    blocks: list[Any] = [Paragraph(words)]
    if b.rule is not None:
        lines: list[Any] = [(0, b.text), (0, Span(f"rule {b.rule.id}", Tone.DIM))]
        if b.rule.comment:
            lines.append((0, Span(f'comment "{b.rule.comment}"', Tone.DIM)))
        lines += [(1, Span(f"reached by {t.source.line_place}: {t.text}", Tone.DIM)) for t in b.trail]
        blocks.append(Items(lines))
    else:
        blocks.append(Items([(0, b.text)]))
    if b.path:
        blocks.append(Items([(0, Span("on the way " + " -> ".join(map(str, b.path)), Tone.DIM))]))
    return blocks

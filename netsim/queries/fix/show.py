"""A fix in words: a document that text, HTML and rich render."""

from __future__ import annotations

from typing import Any

from netsim.display import Document, Excerpt, Heading, Items, Pairs, Paragraph, Span, Tone
from netsim.queries.fix.model import EditKind, Fix, FixStatus, LineEdit

_TONES = {
    FixStatus.NOTHING: Tone.GOOD,
    FixStatus.FOUND: Tone.GOOD,
    FixStatus.IMPOSSIBLE: Tone.BAD,
    FixStatus.UNKNOWN: Tone.WARN,
}


def explain(f: Fix) -> Document:
    """The status first, then every line with its place and command, what it opens, and what was searched."""
    verb = "close " if f.closing else ""
    count = f"{len(f.edits)} edited line{'s' if len(f.edits) != 1 else ''}"
    word = count if f.status is FixStatus.FOUND else f.status.value
    blocks: list[Any] = [Heading([f"{verb}{f.src} -> {f.dst} {f.traffic}: ", Span(word, _TONES[f.status])])]
    if f.status is FixStatus.NOTHING:
        done = "everything that was asked about is blocked" if f.closing else "nothing is blocked"
        return Document([*blocks, Paragraph(f"{done}; no line needs an edit.")])
    for reason in f.impossible:
        end = "" if reason.kind == "not-found" else "; an edit of rules cannot help"
        where = f" at {reason.device}" if reason.device else ""
        blocks.append(Paragraph([Span(reason.kind, Tone.BAD), f"{where}: ", reason.text, end]))
        blocks.append(Items([(0, Span(line, Tone.DIM)) for line in reason.packets.lines(limit=3)]))
    for because in f.because if f.status is FixStatus.UNKNOWN else ():
        blocks.append(Paragraph([Span("unknown because of ", Tone.WARN), "; ".join(because.conditions)]))
        blocks.append(Excerpt.of(because.rule.source))
    for edit in f.edits:
        blocks += _edit(edit)
    if f.edits:
        blocks += _effect(f)
    if f.searched.statement:
        blocks += [Heading("Fewest lines"), Paragraph(f.searched.statement)]
    blocks += [Paragraph([Span("note: ", Tone.WARN), note]) for note in f.notes]
    return Document(blocks)


def _edit(e: LineEdit) -> list[Any]:
    at = f"{e.device}:{e.chain}"
    if e.kind is not EditKind.INSERT:
        head = f"{e.kind.value} {e.place}, rule {e.rule.id if e.rule is not None else ''}"
    elif e.rule is not None:
        head = f"insert into {at} in front of rule {e.number}, {e.place}"
    else:
        head = f"add to the end of {at}"
    blocks: list[Any] = [Heading(head), Paragraph(Span(e.why, Tone.DIM))]
    if e.rule is not None:
        blocks.append(Excerpt.of(e.rule.source))
    if e.text:
        blocks.append(Items([(0, [Span("+ ", Tone.DIM), Span(e.text, Tone.GOOD)])]))
    blocks.append(Paragraph(["on the device: ", Span(e.command, Tone.STRONG)]))
    if e.narrow:
        blocks.append(Paragraph("no condition can be narrower:"))
        blocks.append(Items([(0, Span(n.text, Tone.DIM)) for n in e.narrow]))
    return blocks


def _effect(f: Fix) -> list[Any]:
    verb = "closes" if f.closing else "opens"
    pairs: list[tuple[str, Any]] = [
        ("after the edit", Span(f.reach.status.value, Tone.GOOD)),
        (f"it {verb}", f.opened.lines(limit=1)[0]),
    ]
    blocks: list[Any] = [Heading("What changes"), Pairs(pairs)]
    if not f.besides and not f.aside:
        blocks.append(
            Paragraph([Span("and nothing else", Tone.GOOD), ", by comparison of every edited device's rules"])
        )
    for device, packets in f.besides.items():
        what = "stops besides" if f.closing else "lets through besides"
        blocks.append(Paragraph([Span(f"{device} {what}", Tone.WARN), ":"]))
        blocks.append(Items([(0, line) for line in packets.lines(limit=4)]))
    for device, packets in f.aside.items():
        blocks.append(Paragraph([Span(f"{device} treats otherwise besides", Tone.WARN), ":"]))
        blocks.append(Items([(0, line) for line in packets.lines(limit=4)]))
    for kept in f.kept:
        blocks.append(Paragraph([Span("kept: ", Tone.GOOD), f"{kept.src} -> {kept.dst} {kept.traffic}"]))
    return blocks


__all__ = ["explain"]

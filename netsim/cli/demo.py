"""`netsim demo`: the outage that netsim was born from, on real files."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Annotated, Any

import typer

from netsim.cli.common import NO, OK, SCHEMA, emit, show
from netsim.cli.reach import row
from netsim.display import Document, Excerpt, Heading, Items, Paragraph, Span, Tone


def demo(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """The outage: auth cannot reach its database; which line blocks, and the edit that mends it."""
    from netsim.queries.explain import percent
    from netsim.queries.reach import Status, reach
    from netsim.topology.site import load

    with as_file(files("netsim") / "demo_site") as folder:
        before, during, repaired = (load(folder / name) for name in ("before", "during", "repaired"))
    ask = ("auth", "db", "tcp/5432")
    was, now = reach(before, *ask), reach(during, *ask)
    rule = next(b.rule for b in now.blockers if b.rule is not None)
    text = "-s 10.0.14.0/24 -j ACCEPT"
    edited = during.edit().replace(rule.id, text)
    after, file_after = reach(edited.network, *ask), reach(repaired, *ask)
    good = (
        was.status is Status.ALLOWED
        and now.status is Status.PARTIAL
        and after.status is Status.ALLOWED
        and file_after.status is Status.ALLOWED
        and after.allowed == was.allowed == file_after.allowed
    )
    if as_json:
        steps = {"before": was, "during": now, "edited": after, "repaired": file_after}
        emit(
            {
                "schema": SCHEMA,
                "command": "demo",
                "edit": {"rule": rule.id, "text": text},
                **{k: row(v) for k, v in steps.items()},
            }
        )
        return OK if good else NO
    lost = sum(s.weight for s in now.sources if s.status is Status.BLOCKED)
    total = sum(s.weight for s in now.sources)
    blocks: list[Any] = [
        Heading("1. Before the maintenance"),
        Paragraph(["auth -> db tcp/5432: ", Span(was.status.value, Tone.GOOD)]),
        Heading("2. After the maintenance, users cannot log in"),
    ]
    show(Document(blocks))
    typer.echo()
    show(now)
    share = f"{lost} of {total} auth instances cannot reach the database: {percent(now.share_cut_off)} of the users."
    line = rule.source.line_place
    blocks = [
        Heading("3. The share of users"),
        Paragraph(share),
        Heading("4. The edit that mends it"),
        Paragraph(f"replace {line}"),
        Excerpt.of(rule.source),
        Paragraph("by"),
        Items([(2, Span(f"-A {rule.chain.partition('/')[2]} {text}", Tone.GOOD))]),
        Heading("5. The all-clear"),
        Paragraph(["with the edit: auth -> db tcp/5432: ", Span(after.status.value, Tone.GOOD)]),
        Paragraph(["the repaired files: auth -> db tcp/5432: ", Span(file_after.status.value, Tone.GOOD)]),
        Paragraph(
            "the allowed packets are the same set as before the maintenance: "
            + str(after.allowed == was.allowed)
        ),
    ]
    typer.echo()
    show(Document(blocks))
    return OK if good else NO

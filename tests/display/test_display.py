"""Documents: plain, escaped, and never read as markup."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

import netsim
from netsim.display import Displayed, Document, Excerpt, Heading, Items, Pairs, Paragraph, Span, Table, Tone
from netsim.display.text import to_text

HOSTILE = "<script>alert(1)</script>[bold]\x1b[31m\u202e"
DOCUMENT = Document(
    [
        Heading(["auth ", Span("blocked", Tone.BAD)]),
        Paragraph(HOSTILE),
        Pairs([("name", "value"), ("longer name", HOSTILE)]),
        Items([(0, "first"), (1, HOSTILE)]),
        Table(("a", "b"), [("x", "10"), (HOSTILE, "2")], right=("b",)),
        Excerpt("fw1.rules:3", HOSTILE),
        Heading("Second"),
    ]
)


def test_text() -> None:
    text = to_text(DOCUMENT)
    assert text.startswith("auth blocked\n")
    assert "\n\nSecond" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\x1b" in text
    assert str(DOCUMENT) == text


def test_wrapping() -> None:
    text = to_text(Document([Paragraph("word " * 60)]), width=60)
    assert max(map(len, text.split("\n"))) <= 60


def test_html() -> None:
    html = DOCUMENT._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "\x1b" not in html


def test_rich_never_reads_markup() -> None:
    out = io.StringIO()
    Console(file=out, width=200, force_terminal=False).print(DOCUMENT)
    shown = out.getvalue()
    assert "[bold]" in shown
    assert "\x1b" not in shown


def test_every_result_has_a_frame_with_the_columns_of_its_rows() -> None:
    network = netsim.load(Path(netsim.__file__).parent / "demo_site" / "during")
    rules = netsim.parse("*filter\n:FORWARD DROP\n-A FORWARD -m limit --limit 1/s -j ACCEPT\nCOMMIT\n")
    answer = network.reach("auth", "db", "tcp/5432")
    results = [answer, network, rules, network.matrix(), network.audit(), netsim.compare(network, network),
               netsim.fix(network, "auth", "db", "tcp/5432"), rules.decide(netsim.Packet(src="1.1.1.1", dst="2.2.2.2", protocol=47))]  # fmt: skip
    for result in results:
        frame = result.frame()
        for row in result.rows():
            assert set(row) <= set(frame.columns), type(result)
        assert len(frame) == len(result.rows())


def test_what_shows_itself_has_a_document() -> None:
    class Nothing(Displayed):
        pass

    with pytest.raises(TypeError, match="document"):
        Nothing()  # type: ignore[abstract]

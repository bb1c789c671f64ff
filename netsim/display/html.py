"""Documents as self-contained HTML for notebooks; everything is escaped, nothing is loaded."""

from __future__ import annotations

from html import escape

from netsim.display.document import (
    Block,
    Document,
    Excerpt,
    Heading,
    Items,
    Pairs,
    Paragraph,
    Span,
    Table,
    Tone,
)
from netsim.display.text import visible

_STYLE = {
    Tone.STRONG: "font-weight:600",
    Tone.GOOD: "color:#1a7f37;font-weight:600",
    Tone.BAD: "color:#cf222e;font-weight:600",
    Tone.WARN: "color:#9a6700;font-weight:600",
    Tone.DIM: "opacity:.65",
}


def inline(spans: tuple[Span, ...]) -> str:
    """Spans as HTML."""
    parts = []
    for span in spans:
        text = escape(visible(span.text))
        style = _STYLE.get(span.tone)
        parts.append(f'<span style="{style}">{text}</span>' if style else text)
    return "".join(parts)


def _block(block: Block) -> str:
    match block:
        case Heading(text):
            return f'<div style="font-weight:600;margin:.6em 0 .2em">{inline(text)}</div>'
        case Paragraph(text):
            return f'<div style="margin:.2em 0">{inline(text)}</div>'
        case Pairs(rows):
            body = "".join(
                f'<tr><th style="text-align:left;font-weight:normal;opacity:.65">{escape(visible(name))}</th>'
                f'<td style="text-align:left">{inline(value)}</td></tr>'
                for name, value in rows
            )
            return f"<table>{body}</table>"
        case Items(lines):
            return "".join(
                f'<div style="margin-left:{1 + depth * 1.5:.1f}em">{inline(text)}</div>'
                for depth, text in lines
            )
        case Table(columns, rows, right):
            head = "".join(
                f'<th style="text-align:{"right" if name in right else "left"}">{escape(visible(name))}</th>'
                for name in columns
            )
            body = "".join(
                "<tr>"
                + "".join(
                    f'<td style="text-align:{"right" if name in right else "left"}">{inline(cell)}</td>'
                    for cell, name in zip(row, columns, strict=True)
                )
                + "</tr>"
                for row in rows
            )
            return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        case Excerpt(place, line):
            place, line = escape(visible(place)), escape(visible(line.strip()))
            return f'<pre style="margin:.2em 1em"><span style="opacity:.65">{place}</span>\n{line}</pre>'


def to_html(document: Document) -> str:
    """The document as one `div`."""
    return '<div class="netsim">' + "".join(map(_block, document.blocks)) + "</div>"

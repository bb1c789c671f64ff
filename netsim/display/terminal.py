"""Documents as rich renderables; text is never read as markup."""

from __future__ import annotations

from typing import Any

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
    Tone.PLAIN: "",
    Tone.STRONG: "bold",
    Tone.GOOD: "bold green",
    Tone.BAD: "bold red",
    Tone.WARN: "bold yellow",
    Tone.DIM: "dim",
}


def _text(spans: tuple[Span, ...]) -> Any:
    from rich.text import Text

    result = Text()
    for span in spans:
        result.append(visible(span.text), _STYLE[span.tone])
    return result


def _block(block: Block) -> list[Any]:
    from rich.padding import Padding
    from rich.table import Table as RichTable
    from rich.text import Text

    match block:
        case Heading(text):
            return [
                Text(),
                _text(tuple(Span(s.text, Tone.STRONG if s.tone is Tone.PLAIN else s.tone) for s in text)),
            ]
        case Paragraph(text):
            return [_text(text)]
        case Pairs(rows):
            grid = RichTable.grid(padding=(0, 2))
            for name, value in rows:
                grid.add_row(Text("  " + visible(name), "dim"), _text(value))
            return [grid]
        case Items(lines):
            return [Padding(_text(text), (0, 0, 0, 2 + 2 * depth)) for depth, text in lines]
        case Table(columns, rows, right):
            table = RichTable(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
            for name in columns:
                # A header given as a str would be read as markup.
                table.add_column(
                    Text(visible(name)), justify="right" if name in right else "left", overflow="fold"
                )
            for row in rows:
                table.add_row(*map(_text, row))
            return [Padding(table, (0, 0, 0, 2))]
        case Excerpt(place, line):
            return [
                Text("  " + visible(place), "cyan"),
                Text("      " + visible(line.strip())),
            ]


def to_rich(document: Document) -> Any:
    """The document as a group of renderables."""
    from rich.console import Group

    parts = [part for block in document.blocks for part in _block(block)]
    while parts and str(parts[0]) == "":
        parts.pop(0)
    return Group(*parts)

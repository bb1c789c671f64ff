"""Documents as plain text, at most `width` columns where the content allows."""

from __future__ import annotations

import textwrap
import unicodedata

from netsim.display.document import Block, Document, Excerpt, Heading, Items, Pairs, Paragraph, Span, Table


def visible(text: str) -> str:
    """`text` with every character that does not print shown as an escape; tabs are blanks.

    That is control characters, line ends, bidirectional overrides, invisible format characters and lone
    surrogates: whatever a terminal or a browser would act on, or hide, instead of showing it.
    """
    text = text.replace("\t", " ")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(ord(c)) for c in text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _cells(text: str) -> int:
    """How many columns of a terminal `text` takes: ideographs take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def _pad(text: str, size: int, right: bool = False) -> str:
    """`text` filled up with blanks to `size` columns of a terminal."""
    blanks = " " * (size - _cells(text))
    return blanks + text if right else text + blanks


def plain(spans: tuple[Span, ...]) -> str:
    """The text of some spans."""
    return visible("".join(span.text for span in spans))


def _block(block: Block, width: int) -> list[str]:
    match block:
        case Heading(text):
            return [plain(text)]
        case Paragraph(text):
            return textwrap.wrap(plain(text), width, break_on_hyphens=False, break_long_words=False) or [""]
        case Pairs(rows):
            names = [visible(name) for name, _ in rows]
            size = max(map(_cells, names), default=0)
            lines: list[str] = []
            for name, (_, value) in zip(names, rows, strict=True):
                wrapped = textwrap.wrap(
                    plain(value), max(20, width - size - 4), break_on_hyphens=False, break_long_words=False
                ) or [""]
                lines.append(f"  {_pad(name, size)}  {wrapped[0]}")
                lines += [" " * (size + 4) + more for more in wrapped[1:]]
            return lines
        case Items(items):
            found: list[str] = []
            for depth, text in items:
                indent = "  " * (depth + 1)
                found += textwrap.wrap(
                    plain(text), width, initial_indent=indent, subsequent_indent=indent + "    ",
                    break_on_hyphens=False, break_long_words=False,
                ) or [""]  # fmt: skip
            return found
        case Table(columns, rows, right):
            cells = [[visible(name) for name in columns], *([plain(cell) for cell in row] for row in rows)]
            sizes = [max(_cells(row[i]) for row in cells) for i in range(len(columns))]
            return [
                "  "
                + "  ".join(
                    _pad(cell, size, name in right)
                    for cell, size, name in zip(row, sizes, columns, strict=True)
                ).rstrip()
                for row in cells
            ]
        case Excerpt(place, line):
            return [f"  {visible(place)}", f"      {visible(line.strip())}"]


def to_text(document: Document, width: int = 100) -> str:
    """The document as text; a blank line stands before each heading but the first."""
    lines: list[str] = []
    for block in document.blocks:
        if lines and isinstance(block, Heading):
            lines.append("")
        lines += _block(block, width)
    return "\n".join(lines)

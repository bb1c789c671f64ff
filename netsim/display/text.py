"""Documents as plain text, at most `width` columns where the content allows."""

from __future__ import annotations

import textwrap

from netsim.display.document import Block, Document, Excerpt, Heading, Items, Pairs, Paragraph, Span, Table


def visible(text: str) -> str:
    """`text` with control characters and bidirectional overrides shown as escapes; tabs are blanks."""
    text = text.replace("\t", " ")
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}" for c in text
    )


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
            size = max((len(name) for name, _ in rows), default=0)
            lines: list[str] = []
            for name, value in rows:
                wrapped = textwrap.wrap(
                    plain(value), max(20, width - size - 4), break_on_hyphens=False, break_long_words=False
                ) or [""]
                lines.append(f"  {name:<{size}}  {wrapped[0]}")
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
            cells = [list(columns), *([plain(cell) for cell in row] for row in rows)]
            sizes = [max(len(row[i]) for row in cells) for i in range(len(columns))]
            return [
                "  "
                + "  ".join(
                    cell.rjust(size) if name in right else cell.ljust(size)
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

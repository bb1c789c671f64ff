"""What a result says, as data: blocks of text, tables and excerpts, and the class that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

import attrs

from netsim.source import Source


class Tone(Enum):
    """How a piece of text is meant."""

    PLAIN = "plain"
    STRONG = "strong"
    GOOD = "good"
    BAD = "bad"
    WARN = "warn"
    DIM = "dim"


@attrs.frozen(slots=True)
class Span:
    """A piece of text and its tone."""

    text: str
    tone: Tone = Tone.PLAIN


TextLike = str | Span | Sequence[str | Span]


def spans(text: TextLike) -> tuple[Span, ...]:
    """Any text as spans."""
    if isinstance(text, Span):
        return (text,)
    if isinstance(text, str):
        return (Span(text),)
    return tuple(part if isinstance(part, Span) else Span(part) for part in text)


@attrs.frozen(slots=True)
class Heading:
    """A title."""

    text: tuple[Span, ...] = attrs.field(converter=spans)


@attrs.frozen(slots=True)
class Paragraph:
    """Running text."""

    text: tuple[Span, ...] = attrs.field(converter=spans)


@attrs.frozen(slots=True)
class Pairs:
    """Names and values, one pair a line."""

    rows: tuple[tuple[str, tuple[Span, ...]], ...] = attrs.field(
        converter=lambda rows: tuple((name, spans(value)) for name, value in rows)
    )


@attrs.frozen(slots=True)
class Items:
    """Lines, each with its depth: a list or a tree."""

    lines: tuple[tuple[int, tuple[Span, ...]], ...] = attrs.field(
        converter=lambda lines: tuple((depth, spans(text)) for depth, text in lines)
    )


@attrs.frozen(slots=True)
class Table:
    """Columns and rows; `right` names the columns that are aligned at the right."""

    columns: tuple[str, ...] = attrs.field(converter=tuple)
    rows: tuple[tuple[tuple[Span, ...], ...], ...] = attrs.field(
        converter=lambda rows: tuple(tuple(spans(cell) for cell in row) for row in rows)
    )
    right: tuple[str, ...] = ()


@attrs.frozen(slots=True)
class Excerpt:
    """A line of a configuration with its place."""

    source: Source


Block = Heading | Paragraph | Pairs | Items | Table | Excerpt


@attrs.frozen(slots=True)
class Document:
    """Blocks, one below the other."""

    blocks: tuple[Block, ...] = attrs.field(converter=tuple)

    def __str__(self) -> str:
        from netsim.display.text import to_text

        return to_text(self)

    def _repr_html_(self) -> str:
        from netsim.display.html import to_html

        return to_html(self)

    def __rich__(self) -> Any:
        from netsim.display.terminal import to_rich

        return to_rich(self)


class Displayed:
    """A result that shows itself: in text, in a notebook, in a rich terminal. Has `document()`."""

    __slots__ = ()

    def document(self) -> Document:
        """What the result says."""
        raise NotImplementedError

    def __str__(self) -> str:
        return str(self.document())

    def _repr_html_(self) -> str:
        return self.document()._repr_html_()

    def __rich__(self) -> Any:
        return self.document().__rich__()

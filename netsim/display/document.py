"""What a result says, as data: blocks of text, tables and excerpts, and the class that shows them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, Protocol

import attrs


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


def _pairs(rows: Iterable[tuple[str, TextLike]]) -> tuple[tuple[str, tuple[Span, ...]], ...]:
    return tuple((name, spans(value)) for name, value in rows)


def _items(lines: Iterable[tuple[int, TextLike]]) -> tuple[tuple[int, tuple[Span, ...]], ...]:
    return tuple((depth, spans(text)) for depth, text in lines)


def _cells(rows: Iterable[Iterable[TextLike]]) -> tuple[tuple[tuple[Span, ...], ...], ...]:
    return tuple(tuple(spans(cell) for cell in row) for row in rows)


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(names)


def _blocks(blocks: Iterable[Block]) -> tuple[Block, ...]:
    return tuple(blocks)


@attrs.frozen(slots=True)
class Pairs:
    """Names and values, one pair a line."""

    rows: tuple[tuple[str, tuple[Span, ...]], ...] = attrs.field(converter=_pairs)


@attrs.frozen(slots=True)
class Items:
    """Lines, each with its depth: a list or a tree."""

    lines: tuple[tuple[int, tuple[Span, ...]], ...] = attrs.field(converter=_items)


@attrs.frozen(slots=True)
class Table:
    """Columns and rows; `right` names the columns that are aligned at the right."""

    columns: tuple[str, ...] = attrs.field(converter=_names)
    rows: tuple[tuple[tuple[Span, ...], ...], ...] = attrs.field(converter=_cells)
    right: tuple[str, ...] = ()


class Place(Protocol):
    """What an excerpt needs of a source."""

    @property
    def line_place(self) -> str:
        """`file:line`."""

    @property
    def text(self) -> str:
        """The line."""


@attrs.frozen(slots=True)
class Excerpt:
    """A line of a configuration (`text`) with its place (`file:line`)."""

    place: str
    text: str

    @classmethod
    def of(cls, source: Place) -> Excerpt:
        """The excerpt of a source."""
        return cls(source.line_place, source.text)


Block = Heading | Paragraph | Pairs | Items | Table | Excerpt


@attrs.frozen(slots=True)
class Document:
    """Blocks, one below the other."""

    blocks: tuple[Block, ...] = attrs.field(converter=_blocks)

    def __str__(self) -> str:
        from netsim.display.text import to_text

        return to_text(self)

    def _repr_html_(self) -> str:
        from netsim.display.html import to_html

        return to_html(self)

    def __rich__(self) -> Any:
        from netsim.display.terminal import to_rich

        return to_rich(self)


class Displayed(ABC):
    """A result that shows itself: in text, in a notebook, in a rich terminal. Has `document()`."""

    __slots__ = ()

    @abstractmethod
    def document(self) -> Document:
        """What the result says."""

    def __str__(self) -> str:
        return str(self.document())

    def _repr_html_(self) -> str:
        return self.document()._repr_html_()

    def __rich__(self) -> Any:
        return self.document().__rich__()

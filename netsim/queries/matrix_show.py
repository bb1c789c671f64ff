"""A matrix in words: grids for a few ends, lists of who reaches whom for many."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from netsim.display import Document, Heading, Items, Pairs, Paragraph, Span, Table, Tone
from netsim.queries.matrix import ANYTHING_ELSE, Cell, Matrix
from netsim.queries.reach import Status

GRID = 12
"""Up to so many ends a class is a grid."""

SHOWN = 40
"""So many lines of a list are shown; the last line says how many are not."""

_SYMBOLS = {
    Status.ALLOWED: ("+", Tone.GOOD),
    Status.BLOCKED: (".", Tone.DIM),
    Status.PARTIAL: ("~", Tone.BAD),
    Status.UNKNOWN: ("?", Tone.WARN),
}
_TONES = {Status.ALLOWED: Tone.GOOD, Status.BLOCKED: Tone.BAD, Status.PARTIAL: Tone.BAD, Status.UNKNOWN: Tone.WARN}  # fmt: skip
_LEGEND = "+ allowed   ~ partial   . blocked   ? unknown   blank: nothing to ask; rows send, columns receive"


def cell_document(cell: Cell) -> Document:
    """The status and the sets that are not empty."""
    status = cell.status
    word = Span("nothing to ask", Tone.DIM) if status is None else Span(status.value, _TONES[status])
    blocks: list[Any] = [Heading([f"{cell.src} -> {cell.dst} {cell.traffic}: ", word])]
    sets = {n: getattr(cell, n) for n in ("blocked", "split", "unknown", "allowed") if n in cell.occurs}
    if sets:
        blocks.append(Pairs([(name, "; ".join(part.lines(limit=3))) for name, part in sets.items()]))
    return Document(blocks)


def matrix_document(matrix: Matrix) -> Document:
    """Class by class; then whether anything else gets through."""
    count = len(matrix.ends)
    asked = sum(1 for c in _apart(matrix.beyond) if c.status is not None)
    blocks: list[Any] = [Heading(f"{count} ends, {asked} pairs, {len(matrix.traffic)} classes of traffic")]
    if not count:
        blocks.append(Paragraph("There is nobody to ask about."))
    elif count <= GRID:
        blocks.append(Paragraph(Span(_LEGEND, Tone.DIM)))
    for text in matrix.traffic if count else ():
        cells = [c for c in matrix.cells if c.traffic == text]
        blocks.append(Heading([text, "  ", Span(_counts(cells), Tone.DIM)]))
        blocks += _grid(matrix, cells) if count <= GRID else _lists(matrix, cells)
    if count:
        blocks += _beyond(matrix)
    if matrix.assumptions:
        blocks.append(Heading("Assumptions"))
        lines = [(0, [Span(f"{a.code}: ", Tone.DIM), a.text]) for a in matrix.assumptions]
        blocks += _capped(lines)
    return Document(blocks)


def _apart(cells: Iterable[Cell]) -> list[Cell]:
    """The cells of two different ends: those that are counted, listed and judged."""
    return [c for c in cells if c.src != c.dst]


def _counts(cells: Iterable[Cell]) -> str:
    apart = _apart(cells)
    found = {s: sum(1 for c in apart if c.status is s) for s in Status}
    return ", ".join(f"{n} {s.value}" for s, n in found.items() if n) or "nothing to ask"


def _grid(matrix: Matrix, cells: list[Cell]) -> list[Any]:
    """Rows send, columns receive; columns are numbered, so that names of any length fit."""
    numbers = [str(n) for n in range(1, len(matrix.ends) + 1)]
    by_pair = {(c.src, c.dst): c for c in cells}
    rows: list[list[str | Span]] = []
    for number, src in zip(numbers, matrix.ends, strict=True):
        marks = [by_pair[src, dst].status for dst in matrix.ends]
        spans = [Span(" ") if m is None else Span(*_SYMBOLS[m]) for m in marks]
        rows.append([number, src, *spans])
    return [Table(("", "from", *numbers), rows, right=("", *numbers))]


def _lists(matrix: Matrix, cells: list[Cell]) -> list[Any]:
    """For each status but blocked, who reaches whom; sources that reach the same ends share a line."""
    blocks: list[Any] = []
    for status in (Status.ALLOWED, Status.PARTIAL, Status.UNKNOWN):
        lines = _pairs([c for c in _apart(cells) if c.status is status], len(matrix.ends))
        if lines:
            blocks.append(Paragraph(Span(status.value, _TONES[status])))
            blocks += _capped([(0, line) for line in lines])
    return blocks


def _pairs(cells: list[Cell], count: int) -> list[str]:
    """`a, b -> c, d`: grouped by source, sources with the same destinations joined."""
    reached: dict[str, list[str]] = {}
    for c in cells:
        reached.setdefault(c.src, []).append(c.dst)
    alike: dict[object, tuple[list[str], list[str]]] = {}
    for src, targets in reached.items():
        every = len(targets) >= count - 1
        alike.setdefault("every" if every else tuple(targets), ([], targets))[0].append(src)
    return [
        f"{_some(sources)} -> {'every other end' if key == 'every' else _some(targets)}"
        for key, (sources, targets) in alike.items()
    ]


def _some(names: list[str], limit: int = 12) -> str:
    left = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {left} more" if left > 0 else "")


def _beyond(matrix: Matrix) -> list[Any]:
    leaks, doubts = matrix.leaks, matrix.doubts
    blocks: list[Any] = [Heading([ANYTHING_ELSE, "  ", Span(_counts(matrix.beyond), Tone.DIM)])]
    if not leaks and not doubts:
        return [*blocks, Paragraph(Span("nothing else gets through on any pair", Tone.GOOD))]
    if leaks:
        blocks.append(Paragraph(Span(f"more than this gets through on {len(leaks)} pairs", Tone.BAD)))
    if doubts:
        blocks.append(Paragraph(Span(f"whether more gets through is unknown on {len(doubts)} pairs", Tone.WARN)))  # fmt: skip
    if len(matrix.ends) > GRID:
        for each, tone in ((leaks, Tone.BAD), (doubts, Tone.WARN)):
            lines = _pairs(list(each), len(matrix.ends))
            blocks += _capped([(0, Span(line, tone)) for line in lines])
        return blocks
    blocks += _grid(matrix, list(matrix.beyond))
    if leaks:
        blocks.append(Paragraph("For example:"))
        examples = [(c, (c.allowed | c.split).sample()) for c in leaks[:GRID]]
        blocks.append(Items([(0, f"{c.src} -> {c.dst}: {packet}") for c, packet in examples]))
    return blocks


def _capped(lines: list[Any]) -> list[Any]:
    left = len(lines) - SHOWN
    blocks: list[Any] = [Items(lines[:SHOWN])]
    if left > 0:
        blocks.append(Paragraph(Span(f"  ... and {left} more", Tone.DIM)))
    return blocks

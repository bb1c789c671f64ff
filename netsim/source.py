"""Where a piece of configuration came from.

Everything that netsim reads keeps a `Source`, and every answer hands it back, so that a verdict names
a line of a file and never "rule 17 of something".
"""

from __future__ import annotations

import attrs


@attrs.frozen(slots=True, order=True)
class Source:
    """A place in a text.

    `file` is the name as the caller gave it, `line` and `column` count from 1, and `end` is the column
    behind the last character of the place (0: to the end of the line). `text` is the whole line without
    its newline, or the statement if it has no line of its own. `pointer` names places that are not
    lines: a JSON pointer, a table row, or the name of an edit.
    """

    file: str = ""
    line: int = 0
    column: int = 0
    end: int = 0
    text: str = ""
    pointer: str = ""

    @property
    def place(self) -> str:
        """`file:line:column`, as far as it is known; an edit or a JSON value shows its pointer."""
        place = self.file
        if self.line:
            place = f"{place}:{self.line}" if place else str(self.line)
            if self.column:
                place = f"{place}:{self.column}"
        if self.pointer:
            place = f"{place}#{self.pointer}" if place else self.pointer
        return place or "(no place)"

    @property
    def line_place(self) -> str:
        """`file:line`: how answers name a rule."""
        return attrs.evolve(self, column=0).place

    def __str__(self) -> str:
        return self.place


NOWHERE = Source()

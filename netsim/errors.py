"""Errors are diagnostics: a place, a stable code, what is wrong, and what to do.

A reader collects every diagnostic of its input and raises one `InputError` at the end, so that all of a
file's mistakes are seen at once and nothing is half loaded. Codes: NS1xx texts of rules, NS2xx sites,
NS3xx questions, NS4xx packets, NS9xx limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from netsim.source import NOWHERE, Source


def visible(text: str) -> str:
    """`text` with control characters, bidirectional overrides and lone surrogates shown as escapes.

    Whatever comes out of a configuration is untrusted when it is shown in a terminal.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c if c.isprintable() and not 0x202A <= ord(c) <= 0x202E and not 0x2066 <= ord(c) <= 0x2069
        else f"\\x{ord(c):02x}" if ord(c) < 256
        else f"\\u{ord(c):04x}"
        for c in text
    )  # fmt: skip


@attrs.frozen(slots=True)
class Diagnostic:
    """One mistake: `source` is the place, `code` is stable, `hint` says what to do ('' if nothing helps)."""

    source: Source
    code: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        place = "" if self.source == NOWHERE else f"{visible(self.source.place)}: "
        head = f"{place}{self.code} {visible(self.message)}{visible(hint)}"
        return head + self.excerpt()

    def excerpt(self) -> str:
        """The line with the place underlined, preceded by a newline; '' where there is no text."""
        source = self.source
        if not source.text or not source.column:
            return ""
        text = source.text.expandtabs(1)
        start = max(0, source.column - 1)
        stop = source.end - 1 if source.end else len(text)
        # A window of the line: a hostile line may be a megabyte long.
        first = max(0, start - 60)
        window = text[first : first + 140]
        left, place = visible(text[first:start]), visible(text[start:stop][: max(1, 140 - (start - first))])
        dots = "..." if first else ""
        rest = "..." if first + 140 < len(text) else ""
        mark = "^" * max(1, len(place))
        return f"\n    {dots}{visible(window)}{rest}\n    {' ' * (len(dots) + len(left))}{mark}"


class NetsimError(Exception):
    """The base of every error that netsim raises on purpose. `code` is stable."""

    code = "NS900"


class InputError(NetsimError):
    """An input that is refused, with all of its `diagnostics` in the order of the text."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics: tuple[Diagnostic, ...] = tuple(diagnostics)
        self.code = self.diagnostics[0].code if self.diagnostics else "NS100"
        super().__init__("\n".join(map(str, self.diagnostics)))

    def __reduce__(self) -> tuple[type[InputError], tuple[tuple[Diagnostic, ...]]]:
        return (type(self), (self.diagnostics,))


class QuestionError(InputError):
    """A question that has no answer: an unknown name, traffic that does not parse, an empty set."""

    @classmethod
    def of(
        cls, message: str, *, code: str = "NS300", hint: str = "", source: Source = NOWHERE
    ) -> QuestionError:
        """An error of one diagnostic."""
        return cls([Diagnostic(source, code, message, hint)])


class Inexpressible(NetsimError):
    """Something that a dialect has no words for; the sentence says what, and why."""

    code = "NS140"


class BudgetExceeded(NetsimError):
    """A symbolic result needed more work than `Limits.nodes` grants; the answer becomes unknown."""

    code = "NS990"


@attrs.frozen(slots=True)
class Limits:
    """Every limit of netsim in one place. Each is a named error, never a truncation.

    Sizes are in bytes, the others are counts. `nodes` bounds the decision-diagram nodes that one
    compilation or question may create, `memory` the bytes of all of them: a question may add half of it, and
    the other half is for what is kept between questions (of the process: more than it has by default is not granted). `rows` are the rows of a rule set's
    chains with jumps expanded.
    """

    input_size: int = 64 << 20
    line_size: int = 1 << 20
    rules: int = 1_000_000
    nesting: int = 64
    yaml_depth: int = 128
    yaml_nodes: int = 5_000_000
    json_depth: int = 256
    set_elements: int = 5_000_000
    diagnostics: int = 200
    nodes: int = 20_000_000
    memory: int = 4 << 30
    states: int = 5_000
    paths: int = 10_000
    rows: int = 500_000


DEFAULT_LIMITS = Limits()


def near_misses(word: str, known: Sequence[str] | Iterable[str], count: int = 3) -> str:
    """`did you mean 'x'?` for the closest known words, '' if none is close."""
    import difflib

    close = difflib.get_close_matches(word[:64], list(known), n=count, cutoff=0.6)
    return f"did you mean {' or '.join(repr(c) for c in close)}?" if close else ""

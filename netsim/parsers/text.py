"""Reading text files of rules: bytes to lines, limits, and errors that are collected.

A reader never stops at the first mistake: it reports each through a `Report`, which raises them all at
once when the text is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs

from netsim.errors import Diagnostic, InputError, Limits
from netsim.source import Source


class Wrong(Exception):
    """A mistake at a word of the statement being read; `word` is its index, -1 the whole statement."""

    def __init__(self, word: int, message: str, *, code: str = "NS103", hint: str = "") -> None:
        super().__init__(message)
        self.word = word
        self.message = message
        self.code = code
        self.hint = hint


class Quoted(str):
    """A word that was written in quotes: never an option in the place of a value."""

    __slots__ = ()


@attrs.define(slots=True)
class Report:
    """The diagnostics of one text. Past `limits.diagnostics` mistakes reading stops."""

    file: str
    limits: Limits
    errors: list[Diagnostic] = attrs.Factory(list)
    warnings: list[Diagnostic] = attrs.Factory(list)

    def error(self, source: Source, code: str, message: str, hint: str = "") -> None:
        """Note a mistake; raises them all once there are too many."""
        self.errors.append(Diagnostic(source, code, message, hint))
        if len(self.errors) >= self.limits.diagnostics:
            raise InputError(self.errors)

    def warning(self, source: Source, code: str, message: str, hint: str = "") -> None:
        """Note something that does not refuse the text."""
        if len(self.warnings) < self.limits.diagnostics:
            self.warnings.append(Diagnostic(source, code, message, hint))

    def finish(self) -> None:
        """Raise `InputError` if there were mistakes."""
        if self.errors:
            raise InputError(self.errors)


def read_bytes(path: str | Path, limits: Limits) -> bytes:
    """The bytes of a file, at most `limits.input_size`. Raises `InputError` if it cannot be read."""
    try:
        with open(path, "rb") as file:
            data = file.read(limits.input_size + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError([Diagnostic(Source(str(path)), "NS120", f"cannot be read: {reason}")]) from None
    return data


def decode(data: bytes | str, file: str, limits: Limits) -> str:
    """The text of some bytes: UTF-8, a byte order mark is dropped, CRLF is a line end.

    Raises `InputError` for NUL, invalid UTF-8, too long lines or too much input.
    """
    size = len(data)
    if size > limits.input_size:
        message = f"the input has more than {limits.input_size} bytes (Limits.input_size)"
        raise InputError([Diagnostic(Source(file), "NS901", message)])
    if isinstance(data, bytes):
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = data[: error.start]
            line = before.count(b"\n") + 1
            start = before.rfind(b"\n") + 1
            stop = data.find(b"\n", start)
            shown = data[start : stop if stop >= 0 else None].decode("utf-8", "backslashreplace")
            column = len(data[start : error.start].decode("utf-8", "backslashreplace")) + 1
            source = Source(file, line, column, column + 4, shown)
            raise InputError([Diagnostic(source, "NS109", "this byte is not UTF-8")]) from None
    else:
        text = data.removeprefix("\ufeff")
    nul = text.find("\0")
    if nul >= 0:
        line = text.count("\n", 0, nul) + 1
        start = text.rfind("\n", 0, nul) + 1
        stop = text.find("\n", nul)
        shown = text[start : stop if stop >= 0 else None]
        source = Source(file, line, nul - start + 1, nul - start + 2, shown)
        raise InputError([Diagnostic(source, "NS109", "a NUL character")])
    return text.replace("\r\n", "\n")


def lines(text: str, file: str, limits: Limits) -> Iterator[tuple[int, str]]:
    """The lines of a text with their numbers. Raises `InputError` at a line that is too long."""
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > limits.line_size:
            source = Source(file, number, 1, 2, line[:200])
            message = f"the line has more than {limits.line_size} bytes (Limits.line_size)"
            raise InputError([Diagnostic(source, "NS902", message)])
        yield number, line


_WORDS = re.compile(r"[^ \t]+")


def words(line: str) -> list[str]:
    r"""A line's words as iptables-restore reads them: blanks separate, double quotes group, `\\` escapes.

    Raises `Wrong` where a quote is not closed.
    """
    if '"' not in line:
        return _WORDS.findall(line)
    return [word for word, _, _ in _scan(line)]


def quoted(word: str) -> str:
    r"""A word as `words` reads it back: in quotes where it must be, or where a quoted one looks like an option."""
    if word and not any(c in ' \t"' for c in word) and not (isinstance(word, Quoted) and word[0] in "-!"):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def word_place(line: str, index: int) -> tuple[int, int]:
    """The columns (first, behind the last) of a word; of the line if there is no such word."""
    try:
        found = _scan(line)
    except Wrong:
        found = []
    if 0 <= index < len(found):
        return found[index][1] + 1, found[index][2] + 1
    stripped = line.strip()
    if index >= len(found) > 0:
        end = len(line.rstrip())
        return end + 1, end + 2
    first = line.find(stripped) + 1
    return first, first + max(1, len(stripped))


def _scan(line: str) -> list[tuple[str, int, int]]:
    found: list[tuple[str, int, int]] = []
    position, length = 0, len(line)
    while position < length:
        if line[position] in " \t":
            position += 1
            continue
        start = position
        parts: list[str] = []
        quoted = False
        while position < length and (quoted or line[position] not in " \t"):
            char = line[position]
            if char == '"':
                quoted = not quoted
            elif char == "\\" and quoted and position + 1 < length:
                position += 1
                parts.append(line[position])
            else:
                parts.append(char)
            position += 1
        if quoted:
            raise Wrong(len(found), "a quote is not closed", code="NS101")
        text = "".join(parts)
        found.append((Quoted(text) if line[start] == '"' else text, start, position))
    return found

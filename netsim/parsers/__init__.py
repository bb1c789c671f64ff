"""Texts to rule sets: one package for each dialect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs

from netsim.errors import DEFAULT_LIMITS, Diagnostic, InputError, Limits
from netsim.parsers.iptables import parse as parse_iptables
from netsim.parsers.text import read_bytes
from netsim.rules.model import RuleSet
from netsim.source import Source
from netsim.space.fields import Family


@attrs.frozen(slots=True)
class Dialect:
    """A dialect: its name, whether a text looks like it, and its reader."""

    name: str
    sniff: Callable[[str], bool]
    parse: Callable[..., RuleSet]


def _looks_like_iptables(text: str) -> bool:
    for line in text.split("\n", 2000)[:2000]:
        word = line.strip()
        if word and word[0] != "#":
            return word[0] == "*" or word == "COMMIT"
    return True


DIALECTS = (Dialect("iptables", _looks_like_iptables, parse_iptables),)
"""The dialects that are read."""


def parse(
    text: str | bytes,
    *,
    file: str = "",
    family: Family | None = None,
    backend: str | None = None,
    device: str = "",
    limits: Limits = DEFAULT_LIMITS,
) -> RuleSet:
    """The rule set of a text in one of `DIALECTS`. Raises `InputError` with every mistake in it."""
    return parse_iptables(text, file=file, family=family, backend=backend, device=device, limits=limits)


def parse_file(
    path: str | Path,
    *,
    name: str | None = None,
    family: Family | None = None,
    backend: str | None = None,
    device: str = "",
    limits: Limits = DEFAULT_LIMITS,
) -> RuleSet:
    """The rule set of a file; `name` is what answers call it (default: the path as given)."""
    shown = name if name is not None else str(path)
    if Path(path).is_dir():
        raise InputError([Diagnostic(Source(shown), "NS120", "this is a folder, not a file of rules")])
    return parse(
        read_bytes(path, limits), file=shown, family=family, backend=backend, device=device, limits=limits
    )


__all__ = ["DIALECTS", "Dialect", "parse", "parse_file"]

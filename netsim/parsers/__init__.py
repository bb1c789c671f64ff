"""Texts to rule sets: one package for each dialect."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path

import attrs

from netsim.errors import DEFAULT_LIMITS, Diagnostic, Inexpressible, InputError, Limits
from netsim.parsers.iptables import edit as iptables_edit
from netsim.parsers.iptables import lines as iptables_lines
from netsim.parsers.iptables import parse as parse_iptables
from netsim.parsers.iptables import write as iptables_write
from netsim.parsers.iptables.dump import head
from netsim.parsers.iptables.edit import Spoken
from netsim.parsers.text import read_bytes
from netsim.rules.model import Condition, Rule, RuleSet
from netsim.source import Source
from netsim.space.fields import Family


@attrs.frozen(slots=True)
class Dialect:
    """A dialect: its name, whether a text looks like it, its reader, and how single rules are read and written.

    - `parse_rule(text, *, ruleset, chain, source)` are the rules of one statement; raises `InputError`.
    - `write_rule(rule, *, ruleset)` is a rule's text; `rewrite_rule(rule, conditions, *, ruleset)` keeps the target
      and the comment of the text that a rule was read from; `conditions_of_box(fields, *, family)` are the conditions
      of a box of packets. All three raise `Inexpressible`.
    - `command(verb, text, *, ruleset, chain, number)` is what one types on the device to insert, replace or delete a rule.
    - `rewrite_line(rules, conditions, *, ruleset)` is the line of several rules that become one, `write_dump(ruleset)`
      a whole text for rules that have none; `placed(rule)` says that a rule's line names its place by number.
    - `spoken(text)` takes a typed rule apart; `meaning(rule, ruleset)` is equal for rules that say the same;
      `check_jumps(ruleset, table)` is what the back end refuses, as a sentence, or ''.
    """

    name: str
    sniff: Callable[[str], bool]
    parse: Callable[..., RuleSet]
    parse_rule: Callable[..., tuple[Rule, ...]]
    write_rule: Callable[..., str]
    rewrite_rule: Callable[..., str]
    conditions_of_box: Callable[..., tuple[Condition, ...]]
    spoken: Callable[[str], Spoken]
    meaning: Callable[[Rule, RuleSet], Hashable]
    check_jumps: Callable[[RuleSet, str], str]
    command: Callable[..., str]
    rewrite_line: Callable[..., str]
    write_dump: Callable[[RuleSet], str]
    placed: Callable[[Rule], bool]


def _looks_like_iptables(text: str) -> bool:
    for line in text.split("\n", 2000)[:2000]:
        word = line.strip()
        if word and word[0] != "#":
            return word[0] == "*" or word == "COMMIT"
    return True


DIALECTS = (
    Dialect(
        "iptables", _looks_like_iptables, parse_iptables, iptables_edit.parse_rule, iptables_write.write_rule,
        iptables_write.rewrite_rule, iptables_write.conditions_of_box, iptables_edit.spoken, iptables_edit.meaning,
        iptables_edit.check_depth, iptables_edit.command, iptables_lines.rewrite_line, iptables_lines.write_dump,
        iptables_lines.placed,
    ),
)  # fmt: skip
"""The dialects that are read."""


def dialect_of(ruleset: RuleSet) -> Dialect:
    """The dialect that a rule set was written in. Raises `Inexpressible` for one that was built without."""
    for dialect in DIALECTS:
        if dialect.name == ruleset.dialect:
            return dialect
    name = ruleset.file or ruleset.device
    of = f" of {name}" if name else ""
    raise Inexpressible(f"the rules{of} were written in no dialect, so they have no text")


def said_of(text: str) -> tuple[Family | None, str]:
    """The family and the back end that a text names itself; None and '' where it does not."""
    found = head(text)
    return (None, "") if found is None else (found[1], found[2])


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


__all__ = ["DIALECTS", "Dialect", "dialect_of", "parse", "parse_file", "said_of"]

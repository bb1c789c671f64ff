"""One rule in iptables' own words, for edits: reading it, and telling whether two rules say the same."""

from __future__ import annotations

import shlex
from collections.abc import Hashable

import attrs

from netsim.errors import Diagnostic, InputError, near_misses
from netsim.parsers.iptables.dump import NFT_DEPTH, TABLES, read_rule
from netsim.parsers.iptables.statement import Statement
from netsim.parsers.text import Wrong, word_place, words
from netsim.rules.bind import changed_sets, unsettled
from netsim.rules.model import ActionKind, Bits, Condition, In, Nat, Rule, RuleSet
from netsim.source import Source
from netsim.space.fields import FIELDS, Family

PROGRAMS = frozenset(
    f"{name}{kind}" for name in ("iptables", "ip6tables") for kind in ("", "-legacy", "-nft")
)
"""The programs that may stand before a rule."""

_VERBS = frozenset(["-A", "--append", "-D", "--delete"])


@attrs.frozen(slots=True)
class Spoken:
    """A rule as somebody types it: the table and chain that it names ('' if it names none) and its own words.

    `shift` is how many words stand before those.
    """

    words: tuple[str, ...]
    table: str = ""
    chain: str = ""
    shift: int = 0


def spoken(text: str) -> Spoken:
    """The parts of `[iptables] [-t TABLE] [-A CHAIN] RULE`, counters left out. Raises `Wrong`."""
    found = words(text)
    at = 0
    table = chain = ""
    if found[:1] and found[0].rpartition("/")[2] in PROGRAMS:
        at = 1
    if found[at : at + 1] and found[at].startswith("[") and found[at].endswith("]"):
        at += 1
    while found[at : at + 1] in (["-t"], ["--table"], ["-w"], ["--wait"]):
        if found[at] in ("-w", "--wait"):
            at += 1
            continue
        table = found[at + 1] if at + 1 < len(found) else ""
        at += 2
    if found[at : at + 1] and found[at] in _VERBS:
        chain = found[at + 1] if at + 1 < len(found) else ""
        at += 2
    return Spoken(tuple(found[at:]), table, chain, at)


def parse_rule(text: str, *, ruleset: RuleSet, chain: str, source: Source) -> tuple[Rule, ...]:
    """The rules of `-s 10.0.1.0/24 -p tcp --dport 5432 -j ACCEPT`, with or without `-A CHAIN` before it.

    A program and `-t TABLE` may stand before it too. They are numbered from 1 in `chain`, and jump only
    where `ruleset` has a chain. Raises `InputError`.
    """
    table, _, name = chain.partition("/")
    source = attrs.evolve(source, text=text)

    def error(word: int, message: str, code: str, hint: str = "") -> InputError:
        column, end = word_place(text, word)
        return InputError([Diagnostic(attrs.evolve(source, column=column, end=end), code, message, hint)])

    shift = 0
    try:
        if "\n" in text or "\0" in text:
            raise Wrong(-1, "one rule on one line is expected", code="NS101")
        said = spoken(text)
        if said.table and said.table != table:
            raise Wrong(
                -1, f"the rule is for a chain of table {table}, not of {said.table[:40]}", code="NS101"
            )
        if said.chain and said.chain != name:
            raise Wrong(said.shift - 1, f"the rule is for chain {name}", code="NS101")
        shift = said.shift
        if not said.words and not said.chain:
            raise Wrong(-1, "the rule is empty", code="NS101")
        statement = Statement(list(said.words), ruleset.family or Family.IPV4, ruleset.backend, table, name)
        rules = read_rule(statement, None, source, 1, {})
    except Wrong as wrong:
        raise error(
            wrong.word + shift if wrong.word >= 0 else -1, wrong.message, wrong.code, wrong.hint
        ) from None
    for rule in rules:
        if rule.action.kind in (ActionKind.JUMP, ActionKind.GOTO):
            target = rule.action.chain
            if target not in ruleset.chains or target.partition("/")[2] in TABLES.get(table, {}):
                hint = near_misses(target, ruleset.chains)
                raise error(-1, f"no chain {target[:60]!r} to jump to", "NS106", hint)
    return tuple(unsettled(rules, changed_sets((*ruleset.rules(), *rules))))


@attrs.frozen(slots=True)
class Read:
    """A rule's own text read again: its rules, the words of its target alone, and how many comments it has."""

    rules: tuple[Rule, ...]
    target: tuple[str, ...]
    comments: int


def reread(rule: Rule, ruleset: RuleSet) -> Read | None:
    """A rule's own text, whatever its words' order; None if it has none that can be read alone."""
    if not rule.source.text or ruleset.dialect != "iptables":
        return None
    table, _, name = rule.chain.partition("/")
    try:
        own = placeless(spoken(rule.source.text).words)
        statement = Statement(list(own), ruleset.family or Family.IPV4, ruleset.backend, table, name)
        statement.chains = {c.short for c in ruleset.chains.values() if c.table == table}
        rules = read_rule(statement, None, rule.source, 1, {})
    except Wrong:
        return None
    target: list[str] = []
    if statement.jump >= 0:
        target = list(own[statement.jump : statement.jump + 2])
        for at, values, negated in statement.target_options:
            target += [*["!"] * negated, own[at], *values]
    return Read(
        tuple(unsettled(rules, changed_sets((*ruleset.rules(), *rules)))), tuple(target), statement.comments
    )


def placeless(own: tuple[str, ...]) -> tuple[str, ...]:
    """A rule's words without the place that -I names."""
    if own[:1] not in (("-I",), ("--insert",)):
        return own
    return own[3 if own[2:3] and own[2].isdecimal() else 2 :]


def command(verb: str, text: str, *, ruleset: RuleSet, chain: str, number: int) -> str:
    """What one types on the device to insert, replace or delete (`verb`) a rule; `text` may name the chain.

    `number` is the rule's own, or that of the rule in front of which a new one goes. Every word is quoted for a shell.
    """
    table, _, name = chain.partition("/")
    program = "ip6tables" if ruleset.family is Family.IPV6 else "iptables"
    head = [program, *(["-t", table] if table != "filter" else [])]
    if verb == "insert" and number == len(ruleset.chains[chain].rules) + 1:
        head += ["-A", name]
    else:
        head += [{"insert": "-I", "replace": "-R", "delete": "-D"}[verb], name, str(number)]
    return shlex.join([*head, *(spoken(text).words if verb != "delete" else ())])


def depth_of(ruleset: RuleSet, chain: str) -> int:
    """How many chains call one another from a chain on, without recursion; the jumps close no loop."""
    depth: dict[str, int] = {}
    waiting = [chain]
    while waiting:
        name = waiting[-1]
        callees = [r.action.chain for r in ruleset.chains[name].rules if r.action.chain in ruleset.chains]
        open_ = [c for c in callees if c not in depth]
        if open_:
            waiting += open_
            continue
        depth[name] = 1 + max((depth[c] for c in callees), default=-1)
        waiting.pop()
    return depth[chain]


def check_depth(ruleset: RuleSet, table: str) -> str:
    """What the back end refuses about the jumps of a table, as a sentence; '' if nothing."""
    if ruleset.backend != "nft":
        return ""
    for name in TABLES.get(table, {}):
        chain = f"{table}/{name}"
        if chain in ruleset.chains and depth_of(ruleset, chain) > NFT_DEPTH:
            return f"{chain}: chains call one another more than {NFT_DEPTH} deep, which nft refuses"
    return ""


def meaning(rule: Rule, ruleset: RuleSet) -> Hashable:
    """A key that is equal for rules that say the same in other words: order, `-m tcp`, spelled-out masks.

    Equal keys are equal rules; not every pair of equal rules has equal keys.
    """
    kept: set[Condition] = set(rule.conditions)
    whole = Bits("fragment", 1, 0)
    if (
        ruleset.backend != "nft"
        and whole in kept
        and any(isinstance(c, In | Bits) and _first_fragment(c.field) for c in kept)
    ):
        kept.discard(whole)  # what -m tcp adds in the legacy back end is what --dport says anyway
    effects = tuple((e.kind, e.family, e.text) if isinstance(e, Nat) else e for e in rule.effects)
    return frozenset(kept), rule.action, effects


def _first_fragment(field: str) -> bool:
    return ("fragment", (0,)) in FIELDS[field].needs


__all__ = [
    "PROGRAMS",
    "Read",
    "Spoken",
    "check_depth",
    "command",
    "meaning",
    "parse_rule",
    "placeless",
    "reread",
    "spoken",
]

"""One rule in iptables' own words, for edits."""

from __future__ import annotations

import attrs

from netsim.errors import Diagnostic, InputError, near_misses
from netsim.parsers.iptables.dump import TABLES, read_rule
from netsim.parsers.iptables.statement import Statement
from netsim.parsers.text import Wrong, word_place, words
from netsim.rules.bind import changed_sets, unsettled
from netsim.rules.model import ActionKind, Rule, RuleSet
from netsim.source import Source
from netsim.space.fields import Family


def parse_rule(text: str, *, ruleset: RuleSet, chain: str, source: Source) -> tuple[Rule, ...]:
    """The rules of `-s 10.0.1.0/24 -p tcp --dport 5432 -j ACCEPT`, with or without `-A CHAIN` before it.

    They are numbered from 1 in `chain`, and jump only where `ruleset` has a chain. Raises `InputError`.
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
        found = words(text)
        if found[:1] in (["-A"], ["--append"]):
            if found[1:2] != [name]:
                raise Wrong(1, f"the rule is for chain {name}", code="NS101")
            found, shift = found[2:], 2
        if not found:
            raise Wrong(-1, "the rule is empty", code="NS101")
        statement = Statement(found, ruleset.family or Family.IPV4, ruleset.backend, table, name)
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

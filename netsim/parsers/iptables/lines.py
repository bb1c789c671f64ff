"""Lines of a dump: the one line of several rules, and a dump for rules that have no text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from netsim.parsers.iptables.edit import placeless, reread, spoken
from netsim.parsers.iptables.write import rewrite_rule, write_rule
from netsim.parsers.text import quoted, words
from netsim.rules.model import Chain, Condition, Counters, Rule, RuleSet
from netsim.source import Source


def rewrite_line(rules: Sequence[Rule], conditions: Iterable[Condition], *, ruleset: RuleSet) -> str:
    """The line of the first of some rules with other conditions, which stands for them all.

    Counters, where a rule has them, are the sums of all rules'. Raises `Inexpressible`.
    """
    text = rewrite_rule(rules[0], conditions, ruleset=ruleset)
    counters = [rule.counters for rule in rules if rule.counters is not None]
    if not counters:
        return text
    return f"[{sum(c.packets for c in counters)}:{sum(c.bytes for c in counters)}] {text}"


def placed(rule: Rule) -> bool:
    """Whether a rule's line names its place by number (-I), so that it depends on the lines before it."""
    found = words(rule.source.text)
    return any(word in ("-I", "--insert") for word in found[:2])


def write_dump(ruleset: RuleSet) -> str:
    """A dump of a rule set: each rule's own line where it has one. Raises `Inexpressible`."""
    lines: list[str] = []
    table = ""
    tables = list(dict.fromkeys(c.table for c in ruleset.chains.values()))
    for chain in sorted(ruleset.chains.values(), key=lambda c: tables.index(c.table)):
        if chain.table != table:
            lines += ["COMMIT"] * bool(table) + [f"*{chain.table}"]
            table = chain.table
            same = [c for c in ruleset.chains.values() if c.table == table]
            lines += [f":{c.short} {_policy(c)} {_counted(c.counters or Counters(0, 0))}" for c in same]
        for rule in chain.rules:
            lines.append(_line(rule, ruleset))
    return "\n".join([*lines, *["COMMIT"] * bool(table), ""])


def _policy(chain: Chain) -> str:
    if chain.hook is None:
        return "-"
    return chain.policy.kind.value.upper() if chain.policy is not None else "ACCEPT"


def _counted(counters: Counters) -> str:
    return f"[{counters.packets}:{counters.bytes}]"


def _line(rule: Rule, ruleset: RuleSet) -> str:
    counters = f"{_counted(rule.counters)} " if rule.counters is not None else ""
    if not rule.source.text:
        return counters + write_rule(attrs.evolve(rule, source=Source()), ruleset=ruleset)
    read = reread(rule, ruleset)
    if read is None or len(read.rules) != 1:  # one of several of its line: a line of its own
        return counters + write_rule(rule, ruleset=ruleset)
    own = placeless(spoken(rule.source.text).words)
    if any(word in ("-c", "--set-counters") for word in own):
        counters = ""
    return counters + " ".join(map(quoted, ("-A", rule.chain.partition("/")[2], *own)))


__all__ = ["placed", "rewrite_line", "write_dump"]

"""Rules in iptables' own words: the inverse of the reader.

The law. `parse_rule(write_rule(rule))` is one rule that decides exactly the same packets (of the rule set's
family) with the same action, or `write_rule` raises `Inexpressible` with the condition that iptables has no words
for. Text of matches and targets that are not modelled is handed through. Words are those of iptables-save
1.8.9; iptables-restore of both back ends loads them (the kernel tests see to that).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping

import attrs

from netsim.errors import Inexpressible
from netsim.parsers.iptables.edit import reread
from netsim.parsers.iptables.write_match import match_words
from netsim.parsers.iptables.write_target import spoken_target, target_words
from netsim.parsers.text import quoted
from netsim.rules.journey import tracks
from netsim.rules.model import AnyOf, Bits, Condition, Deferred, In, Rule, RuleSet
from netsim.space.fields import FIELDS, Family, Kind, Range, merge_ranges


def write_rule(rule: Rule, *, ruleset: RuleSet) -> str:
    """A rule as iptables-save prints it, `-A CHAIN` first. Raises `Inexpressible`.

    The target's words are those of the rule's own text where they say what the rule does, LOG and its like
    included.
    """
    return _write(rule, ruleset, spoken_target(rule, ruleset) or target_words(rule, ruleset))


def rewrite_rule(rule: Rule, conditions: Iterable[Condition], *, ruleset: RuleSet) -> str:
    """A rule that was read from text with other conditions: its own target and comment, the conditions anew.

    Raises `Inexpressible`, also for a rule without a text of its own, with several comments, or with conditions
    that context decided: the text would say what holds now in their place. A rule that turns connection tracking on
    still does.
    """
    read = reread(rule, ruleset)
    name = rule.id or "the rule"
    if read is None or len(read.rules) != 1:
        raise Inexpressible(f"{name} has no text of its own to rewrite")
    if frozenset(map(_named, read.rules[0].conditions)) != frozenset(map(_named, rule.conditions)):
        raise Inexpressible(f"context decides part of {name}, which its text does not say")
    if read.comments > 1:
        raise Inexpressible(f"{name} has several comments")
    text = _write(rule, ruleset, list(read.target), tuple(conditions))
    if tracks(rule):
        again = reread(attrs.evolve(rule, source=attrs.evolve(rule.source, text=text)), ruleset)
        if again is None or not any(map(tracks, again.rules)):
            raise Inexpressible(f"{name} would no longer turn connection tracking on")
    return text


def _named(condition: Condition) -> Hashable:
    """A condition; a set by its name, whether its content is known or not."""
    if isinstance(condition, AnyOf | Deferred) and condition.text.startswith("set "):
        return condition.text, condition.negated
    return condition


def _write(
    rule: Rule, ruleset: RuleSet, target: list[str], conditions: tuple[Condition, ...] | None = None
) -> str:
    chain = rule.chain.partition("/")[2]
    if not chain:
        raise Inexpressible("the rule is in no chain")
    words = match_words(
        rule.conditions if conditions is None else conditions,
        family=ruleset.family or Family.IPV4,
        backend=ruleset.backend,
        chain=chain,
    )
    comment = ["-m", "comment", "--comment", rule.comment] if rule.comment else []
    found = ["-A", chain, *words, *comment, *target]
    for word in found:
        if any(c in word for c in "\n\r\0"):
            raise Inexpressible(f"{word[:40]!r} does not go on one line")
    return " ".join(quoted(word) for word in found)


def conditions_of_box(fields: Mapping[str, tuple[Range, ...]], *, family: Family) -> tuple[Condition, ...]:
    """The conditions of a box of packets (`space.packets.Box.fields`), for one rule of a family.

    Each field's ranges, for bits fields (care, value) pairs. That a port or an ICMP type is only in whole packets
    and first fragments goes without saying. Raises `Inexpressible` for a box that is more than one rule.
    """
    conditions: list[Condition] = []
    for name, ranges in fields.items():
        if name == "family":
            if merge_ranges(ranges) != ((family, family),):
                raise Inexpressible(f"a rule of {family.name} does not say {name} {ranges}")
        elif name not in FIELDS or name == "variables":
            what = "an unmodelled condition" if name == "variables" else name
            raise Inexpressible(f"{what} has no words of its own in iptables")
        elif (
            name == "fragment"
            and ranges == ((1, 0),)
            and any(("fragment", (0,)) in FIELDS[other].needs for other in fields if other in FIELDS)
        ):
            continue
        elif FIELDS[name].kind is Kind.BITS:
            conditions += [Bits(name, care, value) for care, value in ranges]
        else:
            conditions.append(In(name, merge_ranges(ranges)))
    match_words(conditions, family=family, backend="legacy", chain="FORWARD")
    return tuple(conditions)


__all__ = ["conditions_of_box", "rewrite_rule", "write_rule"]

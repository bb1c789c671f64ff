"""Rules in iptables' own words: the inverse of the reader.

The law. `parse_rule(write_rule(rule))` is one rule that decides exactly the same packets (of the rule set's
family) with the same action, or `write_rule` raises `Inexpressible` with the condition that iptables has no words
for. Text of matches and targets that are not modelled is handed through. Words are those of iptables-save
1.8.9; iptables-restore of both back ends loads them (the kernel tests see to that).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netsim.errors import Inexpressible
from netsim.parsers.iptables.write_match import match_words
from netsim.parsers.iptables.write_target import spoken_target, target_words
from netsim.parsers.text import quoted
from netsim.rules.model import Bits, Condition, In, Rule, RuleSet
from netsim.space.fields import FIELDS, Family, Kind, Range, merge_ranges


def write_rule(rule: Rule, *, ruleset: RuleSet) -> str:
    """A rule as iptables-save prints it, `-A CHAIN` first. Raises `Inexpressible`.

    The target's words are those of the rule's own text where they say what the rule does, LOG and its like
    included.
    """
    return _write(rule, ruleset, spoken_target(rule, ruleset) or target_words(rule, ruleset))


def rewrite_rule(rule: Rule, conditions: Iterable[Condition], *, ruleset: RuleSet) -> str:
    """A rule that was read from text with other conditions: its own target and comment, the conditions anew.

    Raises `Inexpressible`, also for a rule without a text.
    """
    words = spoken_target(rule, ruleset, trusted=True)
    if words is None:
        raise Inexpressible(f"{rule.id or 'the rule'} has no text of its own to rewrite")
    return _write(rule, ruleset, words, tuple(conditions))


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

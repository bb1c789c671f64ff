"""Changes of a rule set as pure functions: a rule set in, another one out.

Invariants. The rules of a chain stay numbered from 1 without gaps. A chain that a change does not touch stays the
same object, so that what was compiled of it can be kept; so does a rule whose number does not change. Where
nothing changes, the same rule set comes back. Jumps lead to user chains of the same table and never in a
circle. Each function raises `QuestionError` for a chain (NS305) or rule (NS306) that does not exist and for a
change that the rule set does not admit (NS307).
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from netsim.errors import QuestionError, near_misses
from netsim.rules.model import Action, ActionKind, Chain, Rule, RuleSet
from netsim.source import Source


def chain_of(ruleset: RuleSet, name: str) -> Chain:
    """The chain called `table/chain`."""
    found = ruleset.chains.get(name)
    if found is None:
        hint = near_misses(name, ruleset.chains)
        raise QuestionError.of(f"no chain {name[:60]!r}", code="NS305", hint=hint)
    return found


def rule_at(ruleset: RuleSet, chain: str, number: int) -> Rule:
    """The rule of that number, which counts from 1."""
    found = chain_of(ruleset, chain)
    if not 1 <= number <= len(found.rules):
        raise _no_position(found, number)
    return found.rules[number - 1]


def insert_rules(ruleset: RuleSet, chain: str, position: int, rules: Iterable[Rule]) -> RuleSet:
    """`rules` in front of rule number `position`; one more than there are rules is the end."""
    found = chain_of(ruleset, chain)
    if not 1 <= position <= len(found.rules) + 1:
        raise _no_position(found, position)
    new = tuple(rules)
    return _with(ruleset, found, (*found.rules[: position - 1], *new, *found.rules[position - 1 :]), new)


def delete_rule(ruleset: RuleSet, chain: str, number: int) -> RuleSet:
    """Without one rule."""
    rule_at(ruleset, chain, number)
    found = ruleset.chains[chain]
    return _with(ruleset, found, found.rules[: number - 1] + found.rules[number:])


def replace_rule(ruleset: RuleSet, chain: str, number: int, rules: Iterable[Rule]) -> RuleSet:
    """Other rules in the place of one."""
    rule_at(ruleset, chain, number)
    found = ruleset.chains[chain]
    new = tuple(rules)
    return _with(ruleset, found, (*found.rules[: number - 1], *new, *found.rules[number:]), new)


def move_rule(ruleset: RuleSet, chain: str, number: int, position: int, *, to: str | None = None) -> RuleSet:
    """One rule moved in front of what is rule number `position` before the move, of its chain or of `to`."""
    rule = rule_at(ruleset, chain, number)
    found, target = ruleset.chains[chain], chain_of(ruleset, to or chain)
    if not 1 <= position <= len(target.rules) + 1:
        raise _no_position(target, position)
    if target.table != found.table:
        message = f"a rule of {chain} cannot move to {target.name}: another table"
        raise QuestionError.of(message, code="NS307")
    if target.name == chain:
        rest = list(found.rules)
        del rest[number - 1]
        at = position - 1 - (position > number)
        return _with(ruleset, found, (*rest[:at], rule, *rest[at:]))
    shorter = _with(ruleset, found, found.rules[: number - 1] + found.rules[number:])
    return insert_rules(shorter, target.name, position, (rule,))


def set_policy(ruleset: RuleSet, chain: str, policy: Action, *, source: Source | None = None) -> RuleSet:
    """Another policy for a base chain; `source` is where the new policy stands."""
    found = chain_of(ruleset, chain)
    if found.hook is None:
        raise QuestionError.of(f"{chain} is no base chain and has no policy", code="NS307")
    if found.policy == policy:
        return ruleset
    return ruleset.replace([attrs.evolve(found, policy=policy, source=source or found.source)])


def delete_chain(ruleset: RuleSet, chain: str) -> RuleSet:
    """Without one user chain, to which nothing may jump."""
    return delete_chains(ruleset, (chain,))


def delete_chains(ruleset: RuleSet, chains: Iterable[str]) -> RuleSet:
    """Without some user chains, to which no rule of a chain that stays may jump."""
    gone = set(chains)
    for name in sorted(gone):
        if chain_of(ruleset, name).hook is not None:
            raise QuestionError.of(f"{name} is a base chain: it cannot be deleted", code="NS307")
    for rule in ruleset.rules():
        if rule.chain not in gone and _callee(rule) in gone:
            raise QuestionError.of(f"{_callee(rule)} is in use: {rule.id} jumps there", code="NS307")
    if not gone:
        return ruleset
    kept = {name: chain for name, chain in ruleset.chains.items() if name not in gone}
    return attrs.evolve(ruleset, chains=kept)


def circle(ruleset: RuleSet, chain: str) -> tuple[str, ...]:
    """The chains on a way of jumps from `chain` back to it, itself first; none if there is no such way."""
    before: dict[str, str] = {}
    waiting = [chain]
    while waiting:
        caller = waiting.pop()
        for rule in ruleset.chains[caller].rules:
            callee = _callee(rule)
            if callee == chain:
                way = [caller]
                while way[-1] != chain:
                    way.append(before[way[-1]])
                return tuple(reversed(way))
            if callee in ruleset.chains and callee not in before:
                before[callee] = caller
                waiting.append(callee)
    return ()


def _callee(rule: Rule) -> str:
    return rule.action.chain if rule.action.kind in (ActionKind.JUMP, ActionKind.GOTO) else ""


def _no_position(chain: Chain, number: int) -> QuestionError:
    count = len(chain.rules)
    has = f"it has {count} rule{'s' if count != 1 else ''}"
    return QuestionError.of(f"{chain.name} has no rule {number}", code="NS306", hint=has)


def _with(ruleset: RuleSet, chain: Chain, rules: tuple[Rule, ...], new: tuple[Rule, ...] = ()) -> RuleSet:
    """The rule set with other rules in one chain; `new` are those whose jumps have not been looked at."""
    for rule in new:
        callee = _callee(rule)
        if callee and (callee not in ruleset.chains or ruleset.chains[callee].hook is not None):
            hint = near_misses(callee, (n for n, c in ruleset.chains.items() if c.hook is None))
            raise QuestionError.of(f"no chain {callee[:60]!r} to jump to", code="NS307", hint=hint)
        if callee and callee.partition("/")[0] != chain.table:
            raise QuestionError.of(f"{callee} is of another table than {chain.name}", code="NS307")
    placed = tuple(
        rule
        if rule.number == n and rule.chain == chain.name
        else attrs.evolve(rule, number=n, chain=chain.name)
        for n, rule in enumerate(rules, 1)
    )
    if len(placed) == len(chain.rules) and all(a is b for a, b in zip(placed, chain.rules, strict=True)):
        return ruleset
    after = ruleset.replace([attrs.evolve(chain, rules=placed)])
    if any(_callee(rule) for rule in new) and (way := circle(after, chain.name)):
        names = " -> ".join([*way, chain.name])
        raise QuestionError.of(f"this jump closes a loop: {names[:200]}", code="NS307")
    return after

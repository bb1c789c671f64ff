"""Findings about the rules as they stand to one another: dead, unused, undefined, never hit.

Everything here is exact but for counters, which are evidence. A rule set without rules has no findings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import attrs

from netsim.index import Index
from netsim.index.differ import Differ
from netsim.index.liveness import Dead, Death, Liveness
from netsim.queries.audit.finding import Finding, Severity
from netsim.rules.model import ActionKind, Chain, Deferred, Point, Rule, RuleSet, flat
from netsim.space.packets import EVERYTHING


def dead_findings(index: Index, liveness: Liveness) -> Iterator[Finding]:
    """Dead rules with their covers, and chains that no packet reaches."""
    dead = {id(d.rule): d for d in liveness.dead}
    for chain in index.rules.chains.values():
        found = [dead[id(r)] for r in chain.rules if id(r) in dead]
        if chain.hook is None and chain.name not in liveness.hooks:
            yield _unused(chain, index.rules)
        elif (
            chain.hook is None
            and found
            and len(found) == len(chain.rules)
            and all(d.death is Death.UNSENT for d in found)
        ):
            callers = _callers(index.rules, chain.name)
            yield Finding(
                "unreachable-chain", Severity.MEDIUM, f"no packet that {chain.name} is called for matches a rule of it",
                proof="the conditions of its callers contradict those of every rule", rules=chain.rules,
                related=callers, place=_place(chain),
            )  # fmt: skip
        else:
            for entry in found:
                yield _dead(entry, index.rules)


def _dead(d: Dead, rules: RuleSet) -> Finding:
    delete = f"delete {d.rule.id}"
    if d.death is Death.CONTRADICTION:
        return Finding(
            "never-matches", Severity.MEDIUM, "this rule matches no packet at all",
            proof="its conditions have no packet in common", rules=(d.rule,), edit=delete,
        )  # fmt: skip
    if d.death is Death.UNSENT and rules.chains[d.rule.chain].hook is not None:
        return Finding(
            "dead-rule", Severity.MEDIUM, f"no packet that comes to {d.rule.chain} matches this rule",
            proof="what can come to this hook and what it matches have no packet in common", rules=(d.rule,),
            edit=delete,
        )  # fmt: skip
    if d.death is Death.UNSENT:
        return Finding(
            "dead-rule", Severity.MEDIUM, f"{d.rule.chain} is called for no packet that this rule matches",
            proof="what its callers send and what it matches have no packet in common", rules=(d.rule,),
            related=_callers(rules, d.rule.chain), edit=delete,
        )  # fmt: skip
    if not d.cover:
        return Finding(
            "dead-rule", Severity.MEDIUM, "no packet reaches this rule", rules=(d.rule,), edit=delete,
            proof="what reaches it is computed and empty; which rules take its packets needs more work than is granted",
        )  # fmt: skip
    same = all(_alike(d.rule, other) for other in d.cover)
    together = "takes" if len(d.cover) == 1 else "together take"
    what = "the same" if same else "another verdict"
    proof = f"{len(d.cover)} rule{'' if len(d.cover) == 1 else 's'} before it {together} every packet that it matches, with {what}"
    if len(d.cover) > 1:
        proof += (
            "; without any one of them it would be reached" if d.irredundant else "; some may not be needed"
        )
    if not same and d.cover[0].chain == d.rule.chain:
        delete += f", or move it before {d.cover[0].id}"
    return Finding(
        "dead-rule", Severity.LOW if same else Severity.HIGH, "no packet reaches this rule", proof=proof,
        rules=(d.rule,), related=d.cover, edit=delete,
    )  # fmt: skip


def _alike(a: Rule, b: Rule) -> bool:
    return a.action.kind is b.action.kind and a.action.chain == b.action.chain and a.effects == b.effects


def _unused(chain: Chain, rules: RuleSet) -> Finding:
    callers = _callers(rules, chain.name)
    text = f"nobody jumps to {chain.name}"
    if callers:
        text = f"{chain.name} is called only from chains that are not called themselves"
    return Finding(
        "unused-chain", Severity.LOW, text, proof="there is no way of jumps from a base chain to it",
        rules=chain.rules, related=callers, place=_place(chain), edit=f"delete the chain {chain.name}",
    )  # fmt: skip


def _callers(rules: RuleSet, name: str) -> tuple[Rule, ...]:
    jumps = (ActionKind.JUMP, ActionKind.GOTO)
    return tuple(r for r in rules.rules() if r.action.kind in jumps and r.action.chain == name)


def _place(chain: Chain) -> str:
    place = chain.source.line_place
    return place if place != "(no place)" else chain.name


def named_words(rules: RuleSet) -> set[str]:
    """The words of all rules: a set that is none of them is named nowhere."""
    return {word for rule in rules.rules() for word in rule.text.replace('"', " ").split()}


def set_findings(
    rules: RuleSet, given: Iterable[str] | None, elsewhere: Collection[str] = ()
) -> Iterator[Finding]:
    """Sets that rules name and nobody gives, and sets that nobody names. `given` None: no sets were given.

    `elsewhere` are the sets that lists of sets, or other rule sets of the device, name.
    """
    missing: dict[str, list[Rule]] = {}
    for rule in rules.rules():
        for c in flat(rule.conditions):
            if isinstance(c, Deferred) and c.kind == "set" and (given is None or c.argument[0] not in given):
                missing.setdefault(c.argument[0], []).append(rule)
    for name, users in missing.items():
        unique = tuple(dict.fromkeys(users))
        yield Finding(
            "undefined-set", Severity.MEDIUM, f"the set {name} is not given: what depends on it is unknown",
            proof="these rules name it", rules=unique, edit="give the sets (ipset save) with the rules",
        )  # fmt: skip
    words = named_words(rules) if given else set()
    for name in given or ():
        if name not in words and name not in elsewhere:
            yield Finding(
                "unused-set", Severity.LOW, f"no rule names the set {name}", place=rules.file or rules.device
            )


def chain_findings(rules: RuleSet) -> Iterator[Finding]:
    """Jumps to chains that are not there. Parsers refuse them; rule sets made in Python may have them."""
    for rule in rules.rules():
        if rule.action.kind in (ActionKind.JUMP, ActionKind.GOTO) and rule.action.chain not in rules.chains:
            yield Finding(
                "undefined-chain", Severity.HIGH, f"there is no chain {rule.action.chain}", rules=(rule,),
                edit=f"delete {rule.id}",
            )  # fmt: skip


def counter_findings(rules: RuleSet, since: str) -> Iterator[Finding]:
    """Rules that no packet has hit, as far as counters say. They are evidence: a counter may have been reset."""
    counted = [r for r in rules.rules() if r.counters is not None]
    if not counted:
        return
    when = f"since {since}" if since else "since an unknown time (counters start at the last load or reset)"
    if not any(r.counters and r.counters.packets for r in counted):
        yield Finding(
            "no-evidence",
            Severity.INFO,
            "the counters of all rules are zero: they say nothing",
            place=rules.file,
        )
        return
    for rule in counted:
        if rule.counters is not None and rule.counters.packets == 0:
            yield Finding(
                "never-hit", Severity.INFO, "no packet has matched this rule", rules=(rule,),
                evidence=f"0 packets {when}; other rules of this dump have hits",
            )  # fmt: skip


def order_findings(index: Index) -> Iterator[Finding]:
    """Base chains of one hook and priority whose order changes an answer."""
    rules = index.rules
    for point in Point:
        chains = rules.base_chains(point)
        for first, second in zip(chains, chains[1:], strict=False):
            if not (first.hook and second.hook and first.hook.priority == second.hook.priority):
                continue
            if not first.rules or not second.rules:
                continue
            names = {first.name: second, second.name: first}
            turned = attrs.evolve(
                rules, chains={c.name: c for c in (names.get(n, c) for n, c in rules.chains.items())}
            )
            other = Index(turned, addresses=index.addresses, variables=index.variables)
            for hook in (Point.FORWARD, Point.INPUT, Point.OUTPUT):
                parts = Differ(index, other, hook, EVERYTHING).parts
                if parts:
                    packets = parts[0][3]
                    yield Finding(
                        "order-dependent", Severity.MEDIUM,
                        f"{first.name} and {second.name} hang at one hook with one priority, and their order matters",
                        proof="with the order turned round these packets are treated differently", packets=packets,
                        witness=packets.sample(), place=_place(first),
                    )  # fmt: skip
                    break


__all__ = [
    "chain_findings",
    "counter_findings",
    "dead_findings",
    "named_words",
    "order_findings",
    "set_findings",
]

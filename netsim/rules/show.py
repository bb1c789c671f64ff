"""Rule sets in words: how many rules, what is modelled, what is not."""

from __future__ import annotations

from typing import Any

from netsim.display import Document, Heading, Items, Paragraph, Span, Table, Tone
from netsim.rules.model import ActionKind, Nat, Rule, RuleSet


def why_not_modelled(rule: Rule) -> str:
    """What of a rule is not decided by the packet alone; '' if it is modelled in full."""
    if rule.modelled:
        return ""
    words = [c.text for c in rule.undecided()]
    if rule.action.kind is ActionKind.UNMODELLED:
        words.append(f"target {rule.action.text}")
    words += [
        f"{e.deferred}: needs the device's addresses"
        for e in rule.effects
        if isinstance(e, Nat) and e.deferred
    ]
    return "; ".join(dict.fromkeys(words))


def counts(ruleset: RuleSet) -> dict[str, int]:
    """How many rules there are, are modelled in full, and are not."""
    rules = list(ruleset.rules())
    modelled = sum(r.modelled for r in rules)
    return {"rules": len(rules), "modelled": modelled, "partly_unmodelled": len(rules) - modelled}


def ruleset_document(ruleset: RuleSet) -> Document:
    """Chains, counts, and the rules that are partly unmodelled, with their places."""
    total = counts(ruleset)
    family = ruleset.family.name if ruleset.family is not None else "both families"
    head = (
        f"{ruleset.file or ruleset.device or 'rules'}: {ruleset.dialect} {family}, {ruleset.backend} back end"
    )
    rows = []
    for chain in ruleset.chains.values():
        policy = chain.policy.kind.value if chain.policy else "-"
        seen = f"{chain.counters.packets}" if chain.counters else ""
        hits = sum(r.counters.packets for r in chain.rules if r.counters)
        some = any(r.counters for r in chain.rules)
        rows.append(
            (chain.table, chain.short, policy, seen, str(len(chain.rules)), str(hits) if some else "")
        )
    columns = ("table", "chain", "policy", "policy packets", "rules", "rule packets")
    blocks: list[Any] = [
        Heading(head),
        Paragraph(
            f"{total['rules']} rules, {total['modelled']} modelled in full, "
            f"{total['partly_unmodelled']} partly unmodelled"
        ),
        Table(columns, rows, right=columns[3:]),
    ]
    partly = [r for r in ruleset.rules() if not r.modelled]
    if partly:
        blocks.append(Heading("Partly unmodelled"))
        lines: list[Any] = []
        for rule in partly:
            lines.append((0, f"{rule.source.line_place}: {rule.text}"))
            lines.append((1, Span(why_not_modelled(rule), Tone.WARN)))
        blocks.append(Items(lines))
    if ruleset.warnings:
        blocks.append(Heading("Notes"))
        blocks += [Paragraph(f"{w.source.place}: {w.message}") for w in ruleset.warnings]
    return Document(blocks)


def ruleset_row(ruleset: RuleSet) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "file": ruleset.file,
        "dialect": ruleset.dialect,
        "family": None if ruleset.family is None else ruleset.family.name.lower(),
        "backend": ruleset.backend,
        **counts(ruleset),
        "chains": [
            {
                "table": c.table, "chain": c.short, "rules": len(c.rules),
                "policy": c.policy.kind.value if c.policy else None,
                "packets": c.counters.packets if c.counters else None,
            }
            for c in ruleset.chains.values()
        ],
        "unmodelled": [
            {"file": r.source.file, "line": r.source.line, "rule": r.id, "text": r.text, "why": why_not_modelled(r)}
            for r in ruleset.rules()
            if not r.modelled
        ],
        "notes": [{"place": w.source.place, "code": w.code, "message": w.message} for w in ruleset.warnings],
    }  # fmt: skip

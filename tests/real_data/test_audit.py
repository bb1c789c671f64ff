"""Audits and comparisons of the real dumps: what they prove is asked again, packet by packet."""

from __future__ import annotations

import os
import random

import attrs
import pytest

import netsim
from netsim.index.boxes import Box, box_of, is_empty
from netsim.index.differ import Kind
from netsim.index.liveness import Liveness
from netsim.index.lookup import Lookup
from netsim.index.witness import Visits, values_in
from netsim.queries.audit import audit_rules
from netsim.queries.tidy import tidy
from netsim.rules.model import ActionKind, Point, Rule, RuleSet
from tests.real_data.test_iptables import ROOT, _dumps, _parametrize

pytestmark = pytest.mark.real_data
EACH = int(os.environ.get("NETSIM_DEAD_PACKETS", "10000"))
"""How many packets are drawn inside each dead rule."""
PER_DUMP = int(os.environ.get("NETSIM_DEAD_PACKETS_OF_A_DUMP", "50000"))
"""How many at most for one dump, so that the whole takes seconds; each dead rule then gets its part (printed)."""


def _box(rules: RuleSet, rule: Rule) -> Box | None:
    """Where the rule matches, as far as it is a box; the undecided is gone through by the walk."""
    box = box_of(rule.conditions, certain=False)
    if box is None or is_empty(box):
        return None
    return box if rules.family is None else {**box, "family": ((int(rules.family),) * 2,)}


@_parametrize("dump", _dumps())
def test_an_audit_keeps_its_word(dump: str) -> None:
    rules = netsim.parse(ROOT / dump)
    found = audit_rules(rules)
    assert not found.unfinished
    every = {r.id: r for r in rules.ruleset.rules()}
    dead = {r.id for r in found.dead}
    assert set(found.live) | dead == set(every)
    assert not set(found.live) & dead
    text = str(found).replace(str((ROOT / dump).parent), "")  # where the file lies is as long as it is
    assert max(map(len, text.splitlines()), default=0) <= 160  # rules are shown as they are
    assert len(found.rows()) == len(found.findings)
    liveness = Liveness(rules.index)
    walk = Visits(rules.ruleset, rules.index.addresses, Lookup(rules.ruleset))
    for entry in liveness.live:
        walk.visit(entry.packet.values(), entry.hook)
        assert id(entry.rule) in walk.met, (entry.rule.source.line_place, str(entry.packet))
    rng = random.Random(dump)
    count = min(EACH, max(200, PER_DUMP // max(1, len(liveness.dead))))
    drawn = 0
    for each in liveness.dead:
        box = _box(rules.ruleset, each.rule)
        for _ in range(count if box is not None else 0):
            assert box is not None
            hook = rng.choice(liveness.hooks.get(each.rule.chain) or (Point.FORWARD,))
            values = values_in(box, rules.ruleset.family, hook, rng)
            walk.visit(values, hook)
            assert id(each.rule) not in walk.met, (each.rule.source.line_place, values)
            drawn += 1
    print(f"{dump}: {len(liveness.dead)} dead rules, {count} packets drawn inside each, {drawn} in all")


@_parametrize("dump", _dumps())
def test_a_dump_equals_itself_and_not_an_edited_copy(dump: str) -> None:
    rules = netsim.parse(ROOT / dump)
    assert netsim.compare(rules, netsim.parse(ROOT / dump)).equal
    liveness = Liveness(rules.index)
    ends = {ActionKind.ACCEPT: "DROP", ActionKind.DROP: "ACCEPT"}
    for entry in liveness.live:
        rule = entry.rule
        if (
            not rule.chain.startswith("filter/")
            or rule.action.kind not in ends
            or not rule.modelled
            or rule.effects
        ):
            continue
        chain = rules.ruleset.chains[rule.chain]
        turned = netsim.parse(f"*filter\n:X -\n-A X -j {ends[rule.action.kind]}\nCOMMIT\n").ruleset
        action = next(turned.rules()).action
        changed = [attrs.evolve(r, action=action) if r is rule else r for r in chain.rules]
        after = rules.ruleset.replace([attrs.evolve(chain, rules=tuple(changed))])
        found = netsim.compare(rules, after)
        kinds = {c.kind for c in found.changes}
        assert kinds <= ({Kind.LOST} if rule.action.kind is ActionKind.ACCEPT else {Kind.GAINED}) | {
            Kind.CHANGED
        }
        for change in found.changes:
            if all(r.modelled for r in rules.ruleset.rules()):
                assert change.before.rule is rule
                witness = change.witness
                assert witness is not None
                hook = change.where
                assert rules.decide(witness, hook=hook).verdict.value == change.before.verdict
                assert netsim.Rules(after).decide(witness, hook=hook).verdict.value == change.after.verdict
        return


@_parametrize("dump", _dumps())
def test_a_tidy_dump_says_the_same(dump: str) -> None:
    rules = netsim.parse(ROOT / dump)
    found = tidy(rules)
    again = netsim.parse(found.text, family=rules.ruleset.family, backend=rules.ruleset.backend)
    assert netsim.compare(rules, again).equal
    assert not tidy(again, text=found.text).steps

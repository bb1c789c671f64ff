"""Changes of rule sets: against plain lists, and what is left alone."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netsim.errors import QuestionError
from netsim.rules.change import (
    circle,
    delete_chain,
    delete_chains,
    delete_rule,
    insert_rules,
    move_rule,
    replace_rule,
    rule_at,
    set_policy,
)
from netsim.rules.model import ACCEPT, DROP, Action, ActionKind, Chain, Hook, In, Point, Rule, RuleSet

BASE, USER, LAST = "filter/FORWARD", "filter/one", "filter/two"


def jump(to: str) -> Rule:
    return Rule((), Action(ActionKind.JUMP, to))


def named(value: int) -> Rule:
    """A rule that is told apart by a TTL."""
    return Rule((In("ttl", ((value, value),)),), DROP)


def rule_set(*sizes: int) -> RuleSet:
    chains = {}
    value = 0
    for name, size in zip((BASE, USER, LAST, "nat/three"), sizes, strict=False):
        rules = []
        for number in range(1, size + 1):
            value += 1
            rules.append(attrs.evolve(named(value), chain=name, number=number))
        hook = Hook(Point.FORWARD, 0) if name == BASE else None
        chains[name] = Chain(name, tuple(rules), hook, ACCEPT if hook else None)
    return RuleSet(chains)


def values(ruleset: RuleSet, chain: str) -> list[int]:
    return [
        r.conditions[0].ranges[0][0] for r in ruleset.chains[chain].rules if isinstance(r.conditions[0], In)
    ]


def well_numbered(ruleset: RuleSet) -> None:
    for chain in ruleset.chains.values():
        assert [r.number for r in chain.rules] == list(range(1, len(chain.rules) + 1))
        assert all(r.chain == chain.name for r in chain.rules)


@given(st.data(), st.tuples(st.integers(1, 6), st.integers(0, 4), st.integers(0, 2), st.integers(0, 2)))
def test_changes_are_those_of_lists(data: st.DataObject, sizes: tuple[int, int, int, int]) -> None:
    ruleset = rule_set(*sizes)
    untouched = ruleset.chains["nat/three"]
    model = {name: values(ruleset, name) for name in ruleset.chains}
    for new in range(200, 200 + data.draw(st.integers(1, 6))):
        before, chain = ruleset, data.draw(st.sampled_from([BASE, USER, LAST]))
        size = len(model[chain])
        kind = data.draw(st.sampled_from(["insert", "delete", "replace", "move", "policy"]))
        if kind == "insert" or (kind != "policy" and not size):
            at = data.draw(st.integers(1, size + 1))
            ruleset = insert_rules(ruleset, chain, at, [named(new), named(new + 50)])
            model[chain][at - 1 : at - 1] = [new, new + 50]
        elif kind == "policy":
            policy = data.draw(st.sampled_from([ACCEPT, DROP]))
            ruleset = set_policy(ruleset, BASE, policy)
            assert ruleset.chains[BASE].policy == policy
            chain = BASE
        else:
            at = data.draw(st.integers(1, size))
            if kind == "delete":
                ruleset = delete_rule(ruleset, chain, at)
                del model[chain][at - 1]
            elif kind == "replace":
                ruleset = replace_rule(ruleset, chain, at, [named(new)])
                model[chain][at - 1] = new
            else:
                to = data.draw(st.sampled_from([BASE, USER, LAST]))
                where = data.draw(st.integers(1, len(model[to]) + 1))
                ruleset = move_rule(ruleset, chain, at, where, to=to)
                value = model[chain][at - 1]
                model[to].insert(where - 1, -1)
                model[chain].remove(value)
                model[to][model[to].index(-1)] = value
                chain = ""
        well_numbered(ruleset)
        assert {name: values(ruleset, name) for name in ruleset.chains} == model
        assert ruleset.chains["nat/three"] is untouched
        if chain:
            assert all(ruleset.chains[n] is c for n, c in before.chains.items() if n != chain)


def test_nothing_changed_is_the_same_object() -> None:
    ruleset = rule_set(3)
    assert move_rule(ruleset, BASE, 2, 2) is ruleset
    assert move_rule(ruleset, BASE, 2, 3) is ruleset
    assert insert_rules(ruleset, BASE, 1, ()) is ruleset
    assert set_policy(ruleset, BASE, ACCEPT) is ruleset
    assert delete_chains(ruleset, ()) is ruleset
    assert insert_rules(ruleset, BASE, 4, [named(9)]).chains[BASE].rules[:3] == ruleset.chains[BASE].rules


def test_what_does_not_exist() -> None:
    ruleset = rule_set(2, 1, 0, 1)
    for change, code in (
        (lambda: insert_rules(ruleset, BASE, 4, [named(1)]), "NS306"),
        (lambda: insert_rules(ruleset, BASE, 0, [named(1)]), "NS306"),
        (lambda: delete_rule(ruleset, BASE, 3), "NS306"),
        (lambda: replace_rule(ruleset, LAST, 1, [named(1)]), "NS306"),
        (lambda: move_rule(ruleset, BASE, 1, 9), "NS306"),
        (lambda: rule_at(ruleset, BASE, 0), "NS306"),
        (lambda: delete_rule(ruleset, "filter/FORWRD", 1), "NS305"),
        (lambda: move_rule(ruleset, BASE, 1, 1, to="nat/three"), "NS307"),
        (lambda: set_policy(ruleset, USER, DROP), "NS307"),
        (lambda: delete_chain(ruleset, BASE), "NS307"),
        (lambda: insert_rules(ruleset, BASE, 1, [jump("filter/nowhere")]), "NS307"),
        (lambda: insert_rules(ruleset, USER, 1, [jump(BASE)]), "NS307"),
        (lambda: insert_rules(ruleset, BASE, 1, [jump("nat/three")]), "NS307"),
    ):
        with pytest.raises(QuestionError) as caught:
            change()
        assert caught.value.code == code
    with pytest.raises(QuestionError, match="did you mean 'filter/FORWARD'"):
        delete_rule(ruleset, "filter/FORWRD", 1)


def test_a_jump_never_closes_a_loop() -> None:
    ruleset = insert_rules(rule_set(1, 1, 1), USER, 1, [jump(LAST)])
    with pytest.raises(QuestionError, match="filter/two -> filter/one -> filter/two"):
        insert_rules(ruleset, LAST, 1, [jump(USER)])
    with pytest.raises(QuestionError, match="loop"):
        insert_rules(ruleset, LAST, 1, [jump(LAST)])
    with pytest.raises(QuestionError, match="loop"):
        move_rule(ruleset, USER, 1, 1, to=LAST)
    assert circle(ruleset, USER) == ()


def test_a_chain_goes_only_if_nothing_jumps_there() -> None:
    ruleset = insert_rules(rule_set(1, 1, 1), USER, 1, [jump(LAST)])
    with pytest.raises(QuestionError, match="filter/one/1 jumps there"):
        delete_chain(ruleset, LAST)
    assert set(delete_chains(ruleset, [USER, LAST]).chains) == {BASE}
    assert set(delete_chain(ruleset, USER).chains) == {BASE, LAST}

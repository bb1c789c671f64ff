"""A lone filter answers as a journey does, and chains compiled with their policy as those without."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netsim.index import Index
from netsim.index.compile import Compiler
from netsim.index.function import RETURN, Functions, relabelled
from netsim.index.lone import MASKS
from netsim.parsers.iptables import parse
from netsim.rules.model import Outcome, Point, RuleSet
from netsim.space.diagram import TRUE, UNION
from netsim.space.packets import packets
from netsim.space.pool import POOL, VARIABLE_LEVELS
from tests.index.test_rowwise import OTHER, PLAIN, line
from tests.strategies import rule_sets

HOOKS = (Point.FORWARD, Point.INPUT, Point.OUTPUT)
SOME = packets(src="10.0.0.0/23")


def plain(seed: int, extra: list[str]) -> RuleSet:
    rng = random.Random(seed)
    policy = rng.choice(("ACCEPT", "DROP"))
    lines = [line(rng, extra) for _ in range(rng.randrange(12))]
    return parse("\n".join(["*filter", f":FORWARD {policy} [0:0]", *lines, "COMMIT", ""]), file="f.rules")


@POOL.question()
def check(rules: RuleSet) -> int:
    """Every answer is that of the journey; at how many hooks a lone filter answered."""
    index, lonely = Index(rules), 0
    for hook in HOOKS:
        for within in (TRUE, SOME.node):
            lonely += index.flow.lone(within, hook) is not None
            expected = POOL.quantify(index.flow.journey(within, hook).outcomes, VARIABLE_LEVELS, UNION)
            assert index.flow.outcomes(within, hook) == expected
            turned = (0, *reversed(MASKS[1:]))
            assert index.flow.outcomes(within, hook, turned) == POOL.relabel(expected, turned)
        masks = index.outcomes(packets(), hook=hook).items()
        for possibly in (False, True):
            wanted = [
                part for mask, part in masks if mask == Outcome.ACCEPT or (possibly and mask & Outcome.ACCEPT)
            ]
            found = index.permitted(hook=hook, possibly=possibly)
            assert (not wanted and not found) or found == united(wanted)
    return lonely


def united(parts: list[object]) -> object:
    result = parts[0]
    for part in parts[1:]:
        result |= part  # type: ignore[operator]
    return result


@given(st.integers(0, 2**32))
def test_one_filter(seed: int) -> None:
    assert check(plain(seed, OTHER)) >= 0


def test_a_lone_filter_is_found() -> None:
    assert sum(check(plain(seed, PLAIN)) for seed in range(20)) >= 30


@given(rule_sets())
def test_any_rule_set(rules: RuleSet) -> None:
    check(rules)


@given(rule_sets())
@POOL.question()
def test_a_base_chain_with_its_policy(rules: RuleSet) -> None:
    one, two = (Functions(rules, Compiler(rules)) for _ in "ab")
    for chain in rules.chains.values():
        if chain.hook is not None:
            kind = {"accept": Outcome.ACCEPT, "drop": Outcome.DROP, "reject": Outcome.REJECT}
            end = kind[chain.policy.kind.value if chain.policy is not None else "accept"]
            expected = {
                t: POOL.relabel(node, relabelled(RETURN, int(end))) for t, node in one.of(chain.name).items()
            }
            assert two.base(chain.name) == expected
            assert one.base(chain.name) == expected


@pytest.mark.parametrize("together", [1, 2, 8])
@given(rules=rule_sets())
@POOL.question()
def test_conditions_of_many_rules_in_one_go(together: int, rules: RuleSet) -> None:
    compiler = Compiler(rules)
    every = [rule.conditions for rule in rules.rules()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("netsim.index.compile._TOGETHER", together)
        assert compiler.bounds_of_each(every) == [compiler.bounds_of(conditions) for conditions in every]

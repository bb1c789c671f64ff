"""Random batches through real dumps, against `decide`."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from netsim.index import Index
from netsim.index.plans import VERDICTS
from netsim.parsers import parse_file
from netsim.rules.journey import HOOKS
from netsim.rules.model import Bits, In, RuleSet, Verdict, flat
from netsim.space import Packet
from netsim.space.fields import FIELDS, Family
from tests.index.test_classify import batch
from tests.real_data.test_iptables import ROOT, _dumps, _parametrize

pytestmark = pytest.mark.real_data


def points(rules: RuleSet) -> dict[str, list[int]]:
    """For each field the edges of its tests, one off, and a few others."""
    found: dict[str, set[int]] = {name: {0, 1, field.maximum} for name, field in FIELDS.items()}
    for rule in rules.rules():
        for condition in flat(rule.conditions):
            if isinstance(condition, In):
                for low, high in condition.ranges:
                    found[condition.field] |= {low - 1, low, high, high + 1}
            elif isinstance(condition, Bits):
                found[condition.field] |= {condition.value, condition.care}
    return {
        name: sorted(v for v in values if 0 <= v <= FIELDS[name].maximum) for name, values in found.items()
    }


def packet(draw: Random, at: dict[str, list[int]], family: Family) -> Packet:
    values: dict[str, int | None] = {
        name: draw.choice(values) for name, values in at.items() if name != "variables"
    }
    values |= {"family": int(family), "direction": draw.randint(0, 1), "fragment": int(draw.random() < 0.02)}
    if draw.random() < 0.8:
        values |= {"state": draw.choice([0, 0, 1]), "ttl": 64}
    values["protocol"] = protocol = draw.choice([*at["protocol"], 6, 6, 17, 1])
    for name in ("iif", "oif"):
        if draw.random() < 0.9 and len(at[name]) > 3:
            values[name] = draw.choice(at[name][2:-1])
    whole = not values["fragment"]
    if not (whole and protocol in (6, 17, 33, 132, 136)):
        values["sport"] = values["dport"] = None
    if not (whole and protocol in (1, 58)):
        values["icmp_type"] = values["icmp_code"] = None
    if not (whole and protocol == 6):
        values["tcp_flags"] = None
    return Packet.from_values(values)


@_parametrize("dump", _dumps())
def test_batches_through_a_real_dump(dump: str) -> None:
    rules = parse_file(ROOT / dump)
    draw = Random(dump)
    at = points(rules)
    for name in ("iif", "oif"):  # names, not their neighbours
        at[name] = [v for v in at[name] if not v & 0xFF and v >> 120] or [0]
    packets = [packet(draw, at, rules.family or Family.IPV4) for _ in range(300)]
    index = Index(rules)
    unknown = 0
    for hook in HOOKS.values():
        found = index.classify(batch(packets), hook=hook)
        for i, each in enumerate(packets):
            ruling = index.decide(each, hook=hook)
            assert VERDICTS[found.verdict[i]] is ruling.verdict, (hook, str(each))
            unknown += ruling.verdict is Verdict.UNKNOWN
            if ruling.verdict is not Verdict.UNKNOWN and found.undecided[i] < 0:
                decider: Any = found.decider(i)
                step: Any = ruling.step
                assert (decider and (decider.rule, decider.trail)) == (step and (step.rule, step.trail))

"""What the writer writes, loaded by the real iptables-restore, saved by iptables-save, and read again.

Run under `unshare -n`, as root. Prints how many rules were loaded and which of them came back as others.
"""

from __future__ import annotations

import json
import re
import sys

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netsim.errors import Inexpressible
from netsim.parsers import parse
from netsim.parsers.iptables.write import write_rule
from netsim.rules.model import DROP, Condition, Rule, RuleSet
from netsim.source import NOWHERE
from netsim.space.fields import Family
from tests.kernel.judge import cases
from tests.kernel.kernel import run
from tests.parsers.test_write import SETS, bounds, conditions

# What only a test of the reader needs: matches with arguments that no kernel module takes.
_ODD = ("owner", "time", "string", "recent", "NFQUEUE", "--match-set s ")


def written(family: int, backend: str) -> list[tuple[RuleSet, list[str], str]]:
    """Rule sets as the writer writes them: (what they mean, their lines, the ipsets that they need)."""
    found = []
    for case in cases():
        if (case.family, case.backend) == (family, backend):
            ruleset = parse(case.text, family=Family(family == 6), backend=backend)
            found.append((ruleset, _dump(ruleset), case.ipsets))
    return [*found, _random(family, backend)]


def _dump(ruleset: RuleSet) -> list[str]:
    """A dump with every rule written anew, from the model alone where that can be."""
    lines: dict[str, list[str]] = {}
    for chain in ruleset.chains.values():
        policy = chain.policy.kind.value.upper() if chain.policy else "-"
        lines.setdefault(chain.table, [f"*{chain.table}"]).append(f":{chain.short} {policy} [0:0]")
    for rule in ruleset.rules():
        try:
            text = write_rule(attrs.evolve(rule, source=NOWHERE), ruleset=ruleset)
        except Inexpressible:
            text = write_rule(rule, ruleset=ruleset)
        lines[rule.chain.partition("/")[0]].append(text)
    return [line for table in lines.values() for line in [*table, "COMMIT"]]


def _random(family: int, backend: str) -> tuple[RuleSet, list[str], str]:
    """Rules from the conditions of the property test, all in one chain."""
    ruleset = SETS[Family(family == 6), backend]
    rules: list[Rule] = []
    # A handful of conditions each: what excludes itself is refused by iptables in some forms.
    quiet = settings(max_examples=400, derandomize=True, database=None, deadline=None,
                     suppress_health_check=list(HealthCheck))  # fmt: skip

    @quiet
    @given(st.lists(conditions(Family(family == 6)), min_size=3, max_size=3))
    def collect(found: list[Condition]) -> None:
        for some in (found[:1], found[:2], found):
            rule = Rule(tuple(some), DROP, (), "filter/FORWARD", len(rules) + 1)
            try:
                text = write_rule(rule, ruleset=ruleset)
            except Inexpressible:
                continue
            if not any(word in text for word in _ODD):
                rules.append(rule)

    collect()
    chains = {n: c for n, c in ruleset.chains.items() if n in ("filter/FORWARD", "filter/user")}
    chains["filter/FORWARD"] = attrs.evolve(chains["filter/FORWARD"], rules=tuple(rules))
    full = attrs.evolve(ruleset, chains=chains)
    return full, _dump(full), ""


def judge(ruleset: RuleSet, lines: list[str], ipsets: str, family: int, backend: str) -> list[str]:
    """Load, save, read again; the lines that came back as something else."""
    prefix = ("ip6tables" if family == 6 else "iptables") + ("-legacy" if backend == "legacy" else "-nft")
    if ipsets:
        run("ipset", "-exist", "restore", data=ipsets)
    try:
        run(f"{prefix}-restore", data="\n".join([*lines, ""]))
    except RuntimeError as error:
        numbers = re.findall(r"line:? (\d+)", str(error))
        return [str(error), *(lines[int(number) - 1] for number in numbers)]
    again = parse(run(f"{prefix}-save"), family=ruleset.family, backend=backend)
    wrong: list[str] = []
    for chain in ruleset.chains.values():
        read = again.chains[chain.name].rules if chain.name in again.chains else ()
        if len(read) != len(chain.rules):
            wrong.append(f"{chain.name}: {len(chain.rules)} rules, {len(read)} came back")
            continue
        both = bounds(ruleset, *chain.rules, *read)
        for before, after, one, two in zip(chain.rules, read, both, both[len(read) :], strict=False):
            if one != two or before.action != after.action or before.effects != after.effects:
                wrong.append(f"{write_rule(before, ruleset=ruleset)} -> {after.text}")
    tables = {c.table for c in ruleset.chains.values()}
    run(f"{prefix}-restore", data="".join(f"*{t}\nCOMMIT\n" for t in sorted(tables)))
    return wrong


def main(family: int, backend: str) -> None:
    """Judge everything of one family and back end."""
    loaded = 0
    wrong: list[str] = []
    for ruleset, lines, ipsets in written(family, backend):
        wrong += judge(ruleset, lines, ipsets, family, backend)
        loaded += sum(1 for line in lines if line.startswith("-A"))
    print(json.dumps({"loaded": loaded, "wrong": wrong}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

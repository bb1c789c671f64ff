"""Runs in a namespace: every rule set against the kernel and against netsim; prints one JSON report."""

from __future__ import annotations

import importlib
import json
import os
import random
import re
import subprocess
import sys
from typing import Any

import attrs

from netsim.api import parse
from netsim.parsers.ipset import parse_ipsets
from netsim.queries.verdict import Rules, packet_of
from netsim.rules.bind import bind
from netsim.rules.conditions import all_hold
from netsim.rules.journey import HOOKS
from netsim.rules.model import RuleSet
from netsim.space.fields import Family
from tests.kernel.frames import Row
from tests.kernel.generate import Boundaries, packet
from tests.kernel.kernel import OWN, Kernel
from tests.kernel.rulesets import (
    FLOW,
    FLOW6,
    FRAGMENTS,
    IPSETS,
    MATCHES,
    MIXED,
    MIXED_SETS,
    TARGETS,
    Construct,
    place,
    target_of,
)

WANTED = 12  # packets that match, and that fail only by it, for each construct and rule set


@attrs.frozen
class Case:
    """One rule set with what is asked of it."""

    name: str
    family: int
    backend: str
    text: str
    hooks: tuple[str, ...]
    constructs: tuple[
        tuple[Construct, tuple[str, ...], str, str], ...
    ] = ()  # construct, hook, dispatch, address
    ipsets: str = ""
    fragments: bool = False


def _rule(construct: Construct, family: int, dispatch: str, *, option: bool) -> str:
    text = construct.option4 if family == 4 else construct.option6
    base = construct.base
    if not option:  # most matches do not load without an option
        base = re.sub(r"-m (?!tcp$|udp$|sctp$|dccp$)\S+$", "", base).strip()
    return " ".join(part for part in (dispatch, base, text if option else "") if part)


def cases() -> list[Case]:
    """Every rule set: matches by hook, targets, control flow and fragments, in both families and back ends."""
    found: list[Case] = []
    for family in (4, 6):
        for backend in ("nft", "legacy"):
            for hook in ("forward", "input", "output"):
                lines, rows = [], []
                for number, c in enumerate(MATCHES):
                    text = c.option4 if family == 4 else c.option6
                    dispatch, address = place(c, number, family, hook)
                    if not text or hook not in c.hooks or not dispatch:
                        continue
                    rows.append((c, (hook,), dispatch, address))
                    lines.append(f"-A {hook.upper()} {_rule(c, family, dispatch, option=True)} -j ACCEPT")
                    lines.append(f"-A {hook.upper()} {dispatch} -j DROP")
                text = _filter(hook, lines)
                found.append(
                    Case(f"matches {hook}", family, backend, text, (hook,), tuple(rows), IPSETS[family])
                )
            found += _targets(family, backend)
            flow = FLOW if family == 4 else FLOW6
            found.append(Case("flow", family, backend, flow, ("forward", "input", "output")))
            if family == 4:
                hooks = ("forward", "input", "output")
                found.append(Case("mixed", family, backend, MIXED, hooks, ipsets=MIXED_SETS))
                found.append(Case("fragments", family, backend, FRAGMENTS, ("forward",), fragments=True))
    return found


def _filter(hook: str, lines: list[str]) -> str:
    policies = {h: "DROP" if h == hook else "ACCEPT" for h in ("forward", "input", "output")}
    heads = [f":{h.upper()} {policies[h]} [0:0]" for h in ("input", "forward", "output")]
    return "\n".join(["*filter", *heads, *lines, "COMMIT", ""])


def _targets(family: int, backend: str) -> list[Case]:
    """One rule set for each table, with a row for each target."""
    found = []
    for table in ("filter", "mangle", "raw", "nat"):
        rows, lines, chains = [], [], set()
        for number, c in enumerate(TARGETS):
            if c.table != table or not (c.option4 if family == 4 else c.option6):
                continue
            dispatch, address = place(c, number, family, "targets")
            rows.append((c, c.hooks, dispatch, address))
            chains.add(c.chain)
            lines.append(f"-A {c.chain} {_rule(c, family, dispatch, option=True)} -j {target_of(c, family)}")
        heads = [f":{chain} ACCEPT [0:0]" for chain in sorted(chains)]
        text = "\n".join([f"*{table}", *heads, *lines, "COMMIT", ""])
        if table == "raw":
            text += "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m conntrack --ctstate UNTRACKED -j DROP\nCOMMIT\n"
        elif table == "mangle":
            text += (
                "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n"
            )
        hooks = tuple(dict.fromkeys(h for r in rows for h in r[1]))
        found.append(Case(f"targets {table}", family, backend, text, hooks, tuple(rows)))
    return found


def addresses(family: int) -> dict[str, list[str]]:
    return {**{d: [own[0], own[1]] for d, own in OWN.items()}, "lo": ["127.0.0.1/8", "::1/128"]}


def load(case: Case) -> tuple[Rules, RuleSet]:
    """The case as netsim reads it."""
    sets = parse_ipsets(case.ipsets) if case.ipsets else None
    family = Family.IPV4 if case.family == 4 else Family.IPV6
    plain = parse(case.text, family=family, backend=case.backend)
    return Rules(plain.ruleset, addresses=addresses(case.family), sets=sets), plain.ruleset


def _conditions(case: Case, construct: Construct, dispatch: str, *, option: bool) -> Any:
    text = f"*filter\n:X - [0:0]\n-A X {_rule(construct, case.family, dispatch, option=option)}\nCOMMIT\n"
    family = Family.IPV4 if case.family == 4 else Family.IPV6
    ruleset = parse(text, family=family, backend=case.backend).ruleset
    sets = parse_ipsets(case.ipsets) if case.ipsets else None
    return bind(ruleset, addresses=addresses(case.family), sets=sets)


def packets(
    case: Case, rules: Rules, rng: random.Random, count: int
) -> tuple[list[Row], dict[str, list[int]]]:
    """The packets of a case, and for each construct how many match and how many fail only by it."""
    family = Family.IPV4 if case.family == 4 else Family.IPV6
    found: dict[str, Row] = {}
    tally: dict[str, list[int]] = {}

    def keep(row: Row) -> bool:
        key = json.dumps({k: v for k, v in row.items() if k[0] != "_"}, sort_keys=True)
        if key in found:
            return False
        found[key] = row
        return True

    for construct, hooks, dispatch, address in case.constructs:
        full = _conditions(case, construct, dispatch, option=True)
        base = _conditions(case, construct, dispatch, option=False)
        all_of = next(full.rules()).conditions
        base_of = next(base.rules()).conditions
        near = Boundaries(full)
        proto = _proto(construct.base)
        hits = misses = 0
        for _ in range(6000):
            if hits >= WANTED and misses >= WANTED:
                break
            fixed = {"proto": proto} if proto else {}
            if address:
                fixed["dst" if dispatch.startswith("-d") else "src"] = address
            row = packet(rng, near, family, rng.choice(hooks), **fixed)
            if row is None or (construct.new_only and row["state"] != "new"):
                continue
            if "ctdir" in construct.id and row["state"] == "related":
                continue  # a row does not say the direction of an error
            values = packet_of(clean(row))[0].values()
            if all_hold(base_of, values, {}) is not True:
                continue
            hit = all_hold(all_of, values, {})
            if (hit is True and hits >= WANTED) or (hit is False and misses >= WANTED):
                continue
            if keep(row):
                hits += hit is True
                misses += hit is False
        old = tally.setdefault(construct.id, [0, 0])
        old[0] += hits
        old[1] += misses
    near = Boundaries(rules.ruleset)
    tries = 0
    directed = {address for c, _, _, address in case.constructs if "ctdir" in c.id}
    while len(found) < count and tries < count * 20:
        tries += 1
        row = packet(rng, near, family, rng.choice(case.hooks))
        if row is not None and not (row["state"] == "related" and {row["src"], row["dst"]} & directed):
            if case.fragments:
                row["frag_off"] = rng.choice((0, 0, 1, 5, 185, 8000))
                row["state"] = "new"
                if row["frag_off"]:
                    for key in ("sport", "dport", "tcp_flags", "icmp_type", "icmp_code"):
                        row.pop(key, None)
            keep(row)
    rows = list(found.values())
    for number, row in enumerate(rows):
        row["id"] = number
    if case.fragments:
        tally["match:ip.fragment"] = [sum(bool(r.get("frag_off")) and r["src"].startswith("10.10.") for r in rows),
                                      sum(not r.get("frag_off") and r["src"].startswith("10.10.") for r in rows)]  # fmt: skip
        tally["match:ip.fragment!"] = [sum(not r.get("frag_off") and r["src"].startswith("10.20.") for r in rows),
                                       sum(bool(r.get("frag_off")) and r["src"].startswith("10.20.") for r in rows)]  # fmt: skip
    return rows, tally


def _proto(base: str) -> str | None:
    words = base.split()
    name = words[words.index("-p") + 1] if "-p" in words else None
    return {"ipv6-icmp": "icmpv6"}.get(name or "", name)


def clean(row: Row) -> Row:
    """The row without what only the test bed needs."""
    return {k: v for k, v in row.items() if k[0] != "_"}


def differences(want: Row, got: Row) -> list[str]:
    """Where netsim's row differs from the kernel's."""
    found = []
    if want["verdict"] != got["verdict"]:
        return [f"verdict: kernel {want['verdict']}, netsim {got['verdict']}"]
    ours = got["decided_by"] and {k: got["decided_by"][k] for k in ("table", "chain", "rule")}
    if want["decided_by"] is not None and ours is not None and ours != want["decided_by"]:
        found.append(f"decided by: kernel {want['decided_by']}, netsim {ours}")
    if (want["decided_by"] is None) != (ours is None) and want["verdict"] != "accept":
        found.append(f"decided by: kernel {want['decided_by']}, netsim {ours}")
    if want["after"] and got["after"]:
        for key in ("src", "dst", "sport", "dport", "mark", "tos"):
            value = got["after"][key]
            if value is not None and value != want["after"][key]:
                found.append(f"after {key}: kernel {want['after'][key]}, netsim {value}")
    return found


def one(case: Case, seed: int, count: int) -> Row:
    """Judge one case in this namespace."""
    rng = random.Random(seed)
    rules, _ = load(case)
    rows, tally = packets(case, rules, rng, count)
    kernel = Kernel()
    kernel.load(case.text, case.family, case.backend, case.ipsets)
    different: list[Row] = []
    unknown = 0
    recorded = []
    for row in rows:
        want = kernel.judge(row)
        shown = clean(row)
        asked, point = packet_of(shown, HOOKS[row["hook"]])
        got = rules.decide(asked, hook=point).row(row["id"])
        if got["verdict"] == "unknown":
            unknown += 1
            different.append({"packet": shown, "wrong": ["unknown"], "netsim": got})
        wrong = differences(want, got)
        if wrong:
            different.append({"packet": shown, "wrong": wrong, "netsim": got})
        recorded.append((shown, want))
    return {"name": case.name, "family": case.family, "backend": case.backend, "packets": len(rows),
            "different": len(different), "unknown": unknown, "examples": different[:5], "tally": tally,
            "keys": [json.dumps({k: v for k, v in r.items() if k != "id"}, sort_keys=True) for r, _ in recorded],
            "recorded": recorded if os.environ.get("NETSIM_RECORD") else []}  # fmt: skip


def main() -> None:
    """`judge.py list` or `judge.py FIRST COUNT SEED`: each case in a namespace of its own."""
    if sys.argv[1] == "one":
        mutation = os.environ.get("NETSIM_MUTATION")
        if mutation:
            importlib.import_module("tests.kernel.mutations").apply(mutation)
        case = cases()[int(sys.argv[2])]
        print(json.dumps(one(case, int(sys.argv[3]), int(sys.argv[4]))))
        return
    for index in range(len(cases())):
        done = subprocess.run(
            ["unshare", "-n", sys.executable, "-m", "tests.kernel.judge", "one", str(index), "1", sys.argv[2]],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        print(
            done.stdout.strip() or json.dumps({"error": done.stderr[-800:], "case": cases()[index].name}),
            flush=True,
        )


if __name__ == "__main__":
    main()

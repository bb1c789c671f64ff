"""Real dumps, and the machine-checked answers about some of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import netsim
from netsim.errors import Inexpressible
from netsim.parsers import parse_file
from netsim.queries.verdict import packet_of
from netsim.rules.bind import bind
from netsim.rules.model import RuleSet
from netsim.space.diagram import AND, OR
from netsim.space.fields import FIELDS, Family
from netsim.space.packets import PacketSet, packets
from netsim.space.pool import POOL
from tests.parsers.test_write import check

pytestmark = pytest.mark.real_data
ROOT = Path(os.environ.get("NETSIM_DATA", "")) / "iptables"


def _dumps() -> list[str]:
    found = []
    if "NETSIM_DATA" in os.environ:
        for path in sorted(ROOT.rglob("*")):
            if path.is_file() and path.suffix not in (".md", ".json", ".nft"):
                text = path.read_text(errors="replace")
                if "\n-A " in text or "] -A " in text:
                    found.append(str(path.relative_to(ROOT)))
    return found


def _answers(name: str) -> list[tuple[str, dict[str, Any]]]:
    path = ROOT / name
    if "NETSIM_DATA" not in os.environ or not path.exists():
        return []
    content = json.loads(path.read_text())
    return (
        list(content.items()) if isinstance(content, dict) else [(str(i), v) for i, v in enumerate(content)]
    )


def _parametrize(name: str, values: list[Any]) -> pytest.MarkDecorator:
    missing = pytest.param(None, marks=pytest.mark.skip(reason="NETSIM_DATA is not set"))
    shown = [pytest.param(v, id=str(v[0]) if isinstance(v, tuple) else str(v)) for v in values]
    return pytest.mark.parametrize(name, shown or [missing])


@_parametrize("dump", _dumps())
def test_a_dump_parses_and_no_rule_is_lost(dump: str) -> None:
    text = (ROOT / dump).read_text(errors="replace")
    rules = parse_file(ROOT / dump)
    lines = [line for line in text.split("\n") if line.strip().startswith(("-A", "-I")) or "] -A " in line]
    expected = 0
    for line in lines:
        words = line.split()
        many = [words[i + 1] for i, w in enumerate(words[:-1]) if w in ("-s", "-d")]
        product = 1
        for word in many:
            product *= len(word.split(","))
        expected += product
    assert sum(1 for _ in rules.rules()) == expected
    for rule in rules.rules():
        assert rule.source.line and rule.source.text in text


def test_nearly_every_rule_is_modelled_in_full(data: Path) -> None:
    total = modelled = 0
    for dump in _dumps():
        rules = netsim.parse(ROOT / dump, addresses={}).ruleset  # the device's addresses are context
        total += sum(1 for _ in rules.rules())
        modelled += sum(r.modelled for r in rules.rules())
    print(f"{modelled} of {total} rules modelled in full")
    assert modelled / total >= 0.95


@POOL.question()
def _accepted(rules: RuleSet, chain: str, closure: str) -> PacketSet:
    """What a base chain may accept ("upper") or surely accepts ("lower")."""
    index = netsim.Rules(rules).index
    function = index.flow.functions.base(chain)
    total = POOL.fold(_union(), list(function.values()))
    upper = closure.startswith("upper")
    node = POOL.where(total, (lambda t: bool(t & 4)) if upper else (lambda t: t == 4))
    levels = FIELDS["variables"].levels
    return PacketSet(POOL.quantify(node, levels, OR if upper else AND))


def _union() -> Any:
    from netsim.space.diagram import UNION

    return UNION


def _ends_only(s: PacketSet, *, keep: tuple[str, ...]) -> PacketSet:
    gone = [level for name, field in FIELDS.items() if name not in keep for level in field.levels]
    return PacketSet(POOL.quantify(s.node, gone, OR))


@_parametrize("case", _answers("expected_service_matrices.json"))
def test_service_matrix(case: tuple[str, dict[str, Any]]) -> None:
    _, m = case
    rules = parse_file(ROOT / m["input"])
    accepted = _accepted(rules, f"{m['table']}/{m['chain']}", m["closure"])
    asked = packets(
        family=4, protocol=m["proto"], sport=m["sport"], dport=m["dport"], state=m["state"], fragment=False
    )
    flags = {"NEW": "SYN", "ESTABLISHED": "ACK"}[m["state"]]
    asked &= packets(protocol="tcp", tcp_flags=flags)
    for interface, sources in (m["ipassmt"] or {}).items():
        asked &= packets(iif=interface, src=sources) | ~packets(iif=interface)
    wide = _ends_only(accepted & asked, keep=("src4", "dst4"))
    edges = {tuple(edge) for edge in m["edges"]}
    for source, from_ranges in m["nodes"].items():
        for target, to_ranges in m["nodes"].items():
            between = packets(
                src=[f"{low}-{high}" for low, high in from_ranges],
                dst=[f"{low}-{high}" for low, high in to_ranges],
            )
            between = _ends_only(between, keep=("src4", "dst4"))
            if (source, target) in edges:
                assert between <= wide, f"{source} -> {target} is allowed"
            else:
                assert not between & wide, f"{source} -> {target} is not allowed"


@_parametrize("case", _answers("expected_packets.json"))
def test_packet(case: tuple[str, dict[str, Any]]) -> None:
    _, m = case
    rules = netsim.parse(ROOT / m["input"])
    if "packet" in m:
        row = {k: v for k, v in m["packet"].items() if k not in ("flags", "state")}
        row |= {
            "tcp_flags": m["packet"]["flags"],
            "state": m["packet"]["state"].lower(),
            "hook": m["chain"].lower(),
        }
        packet, hook = packet_of(row)
        decision = rules.decide(packet, hook=hook)
        assert decision.verdict.value == m["verdict"].lower()
        return
    accepted = _accepted(rules.ruleset, f"{m['table']}/{m['chain']}", "lower")
    assert packets(family=4, state=["new", "established"]) <= accepted


def _simplified(lines: list[str]) -> RuleSet:
    """The rules of an expected list, in the form of `iptables -L` or in iptables' own."""
    text = ["*filter", ":FORWARD DROP"]
    for line in lines:
        if line.strip().startswith(("-", "!")):
            text.append("-A FORWARD " + line.strip())
            continue
        target, proto, _, src, dst, *more = line.split()
        words = ["-A FORWARD", "-s", src, "-d", dst]
        words += [] if proto == "all" else ["-p", proto]
        rest = iter(more)
        for word in rest:
            if word in ("in:", "out:"):
                words += ["-i" if word == "in:" else "-o", next(rest)]
            elif word in ("dports:", "sports:"):
                value = next(rest).strip("()").replace(",", ":")
                words += ["--dport" if word == "dports:" else "--sport", value]
            else:
                raise AssertionError(line)
        text.append(" ".join([*words, "-j", target]))
    family = Family.IPV6 if "::" in " ".join(lines) else Family.IPV4
    return netsim.parse("\n".join([*text, "COMMIT", ""]), family=family).ruleset


def _with_interfaces() -> list[tuple[str, dict[str, Any]]]:
    """Without the answers in which sources stand for interfaces; the matrices check those."""
    answers = _answers("expected_simplified_rules.json")
    return [(name, m) for name, m in answers if "w/o interfaces" not in m.get("note", "")]


@_parametrize("case", _with_interfaces())
def test_simplified_rules(case: tuple[str, dict[str, Any]]) -> None:
    name, m = case
    keep = ("family", "iif", "oif", "protocol", "src4", "dst4", "src6", "dst6", "sport", "dport")
    rules = parse_file(ROOT / m["input"])
    family = 6 if rules.family is Family.IPV6 else 4
    asked = packets(family=family, state=m["state"], fragment=False)
    ours = _ends_only(_accepted(rules, f"filter/{m['chain']}", m["closure"]) & asked, keep=keep)
    theirs = _ends_only(_accepted(_simplified(m["rules"]), "filter/FORWARD", "upper") & asked, keep=keep)
    difference = (ours ^ theirs).lines(limit=4)
    if m.get("note") == "primitive":
        assert ours == theirs, f"{name}: {difference}"
    else:  # the simple form cannot say everything: it is an upper bound of what may be accepted
        assert ours <= theirs, f"{name}: {difference}"


def test_every_rule_is_written_and_read_back_or_says_why_not(data: Path) -> None:
    total = written = 0
    reasons: dict[str, int] = {}
    for dump in _dumps():
        for addresses in (None, {"eth0": ["10.0.0.1/24"]}):
            ruleset = parse_file(ROOT / dump)
            if addresses is not None:
                ruleset = bind(ruleset, addresses=addresses)
            for rule in ruleset.rules():
                total += 1
                try:
                    check(rule, ruleset, addresses=addresses)
                    written += 1
                except Inexpressible as error:
                    reasons[str(error)] = reasons.get(str(error), 0) + 1
    print(f"{written} of {total} rules written and read back", reasons)
    assert written / total >= 0.99

"""One small case for each code of an audit, with a counter-case; and what holds of every audit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings

import netsim
from netsim.errors import Limits
from netsim.index import Index
from netsim.index.liveness import Liveness
from netsim.index.witness import Visits
from netsim.queries.audit import CODES, Audit, Severity, audit_index, audit_rules
from netsim.queries.audit.finding import COLUMNS
from netsim.rules.model import (
    ACCEPT,
    Action,
    ActionKind,
    Chain,
    Hook,
    Point,
    Rule,
    RuleSet,
)
from netsim.space.fields import Family
from netsim.topology.network import Network
from tests.queries.test_reach import accept, site
from tests.strategies import rule_sets

DEMO = Path(netsim.__file__).parent / "demo_site"
ANSWERS = "-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"


QUIET = ":INPUT DROP\n:FORWARD DROP"


def rules(*lines: str, head: str = QUIET, table: str = "filter", **more: Any) -> netsim.Rules:
    text = "\n".join([f"*{table}", *head.split("\n"), *lines, "COMMIT", ""])
    found: netsim.Rules = netsim.parse(text, **{"family": Family.IPV4, **more})
    return found


def audit(*lines: str, **more: Any) -> Audit:
    return audit_rules(rules(*lines, **more))


def told(found: Audit, code: str) -> list[tuple[int, ...]]:
    """The numbers of the rules of each finding of a code."""
    assert code in CODES
    return [tuple(r.number for r in f.rules) for f in found.of(code)]


# Dead rules


def test_dead_rule_by_another_verdict_is_high() -> None:
    found = audit(ANSWERS, "-A FORWARD -s 10.0.0.0/8 -j DROP", "-A FORWARD -s 10.1.0.0/16 -p tcp -j ACCEPT")
    (finding,) = found.of("dead-rule")
    assert finding.severity is Severity.HIGH
    assert [r.number for r in finding.rules] == [3]
    assert [r.number for r in finding.related] == [2]
    assert "another verdict" in finding.proof
    assert finding.edit == "delete filter/FORWARD/3, or move it before filter/FORWARD/2"
    assert [r.number for r in found.dead] == [3]


def test_dead_rule_by_the_same_verdict_is_low() -> None:
    found = audit(ANSWERS, "-A FORWARD -s 10.0.0.0/8 -j ACCEPT", "-A FORWARD -s 10.1.0.0/16 -p tcp -j ACCEPT")
    (finding,) = found.of("dead-rule")
    assert finding.severity is Severity.LOW
    assert "the same" in finding.proof


def test_dead_rule_by_a_union_of_which_nothing_can_be_left_out() -> None:
    lines = [f"-A FORWARD -p tcp --dport {low}:{low + 99} -j DROP" for low in (0, 100, 200, 500)]
    found = audit(*lines, "-A FORWARD -p tcp --dport 50:250 -j ACCEPT")
    (finding,) = found.of("dead-rule")
    assert [r.number for r in finding.related] == [1, 2, 3]
    assert "without any one of them it would be reached" in finding.proof
    for member in (0, 1, 2):
        fewer = [line for i, line in enumerate(lines) if i != member]
        assert not told(audit(*fewer, "-A FORWARD -p tcp --dport 50:250 -j ACCEPT"), "dead-rule")


def test_dead_rule_that_a_chain_is_not_called_for() -> None:
    found = audit(
        "-A FORWARD -p tcp -j one", "-A one -p udp -j ACCEPT", "-A one -s 10.0.0.1 -j ACCEPT",
        head=":INPUT DROP\n:FORWARD DROP\n:one -",
    )  # fmt: skip
    (finding,) = found.of("dead-rule")
    assert finding.rules[0].id == "filter/one/1"
    assert [r.id for r in finding.related] == ["filter/FORWARD/1"]
    assert not told(found, "unreachable-chain")


def test_a_fragment_rule_is_dead_where_connections_are_tracked() -> None:
    fragments = "-A FORWARD -i eth1 -f -j ACCEPT"
    (finding,) = audit("-A FORWARD -i eth0 -m conntrack --ctstate NEW -j DROP", fragments).of("dead-rule")
    assert finding.rules[0].number == 2
    assert "no packet that comes to filter/FORWARD" in finding.text
    assert not told(audit("-A FORWARD -i eth0 -j DROP", fragments), "dead-rule")


def test_an_unmodelled_rule_kills_nothing() -> None:
    lines = "-A FORWARD -p tcp -m limit --limit 1/s -j DROP", "-A FORWARD -p tcp --dport 22 -j ACCEPT"
    assert not told(audit(*lines), "dead-rule")
    pure = "-A FORWARD -m time --timestart 10:00 -j DROP"
    assert told(audit(pure, "-A FORWARD -p tcp -m time --timestart 10:00 -j ACCEPT"), "dead-rule") == [(2,)]


def test_never_matches() -> None:
    found = audit("-A FORWARD -p tcp --tcp-flags SYN SYN,ACK -j DROP", "-A FORWARD -p udp -j ACCEPT")
    (finding,) = found.of("never-matches")
    assert (finding.severity, finding.rules[0].number, finding.edit) == (
        Severity.MEDIUM, 1, "delete filter/FORWARD/1",
    )  # fmt: skip
    assert not told(audit("-A FORWARD -p tcp --tcp-flags SYN,ACK SYN -j DROP"), "never-matches")


def test_unused_chain() -> None:
    head = ":INPUT DROP\n:FORWARD DROP\n:one -\n:two -"
    lines = "-A one -p tcp -j two", "-A two -j ACCEPT"
    found = audit(*lines, head=head)
    assert [f.edit for f in found.of("unused-chain")] == [
        "delete the chain filter/one",
        "delete the chain filter/two",
    ]
    assert "only from chains that are not called" in found.of("unused-chain")[1].text
    assert {r.id for r in found.dead} == {"filter/one/1", "filter/two/1"}
    assert not told(audit("-A FORWARD -j one", *lines, head=head), "unused-chain")


def test_unreachable_chain() -> None:
    head = ":INPUT DROP\n:FORWARD DROP\n:one -"
    found = audit("-A FORWARD -p tcp -j one", "-A one -p udp -j ACCEPT", "-A one -p icmp -j DROP", head=head)
    assert told(found, "unreachable-chain") == [(1, 2)]
    assert not told(found, "dead-rule")
    assert not told(
        audit("-A FORWARD -p udp -j one", "-A one -p udp -j ACCEPT", head=head), "unreachable-chain"
    )


# What is let through


def test_over_permissive() -> None:
    (finding,) = audit(ANSWERS, "-A FORWARD -i eth1 -j ACCEPT").of("over-permissive")
    assert (finding.severity, finding.rules[0].number) == (Severity.MEDIUM, 2)
    assert finding.proof == (
        "score 80 of 100: sources 100% free, destinations 100% free, any service, one side of the interfaces"
    )
    narrow = "-A FORWARD -s 10.0.0.0/24 -d 10.0.1.0/24 -p tcp --dport 443 -j ACCEPT"
    assert not told(audit(ANSWERS, narrow), "over-permissive")
    assert not told(audit("-A FORWARD -i eth1 -j DROP"), "over-permissive")


def test_over_permissive_behind_jumps_takes_the_widest_way() -> None:
    head = ":INPUT DROP\n:FORWARD DROP\n:one -\n:two -"
    inner = "-A one -j two", "-A two -j ACCEPT"
    for order in (["-A FORWARD -j one", "-A FORWARD -s 10.0.0.5 -j one"],
                  ["-A FORWARD -s 10.0.0.5 -j one", "-A FORWARD -j one"]):  # fmt: skip
        assert told(audit(*order, *inner, head=head), "any-any") == [(1,)]
    found = audit("-A FORWARD -s 10.0.0.5 -d 10.0.0.6 -p tcp --dport 22 -j one", *inner, head=head)
    assert not found.of("any-any")
    assert not found.of("over-permissive")


def test_any_any() -> None:
    (finding,) = audit("-A FORWARD -j ACCEPT").of("any-any")
    assert finding.severity is Severity.HIGH
    assert told(audit("-A FORWARD -m conntrack --ctstate NEW -j ACCEPT"), "any-any") == [(1,)]
    for line in (ANSWERS, "-A FORWARD -i lo -j ACCEPT", "-A FORWARD -s 10.0.0.0/8 -j ACCEPT"):
        assert not told(audit(line), "any-any")
    assert not told(audit("-A FORWARD -j DROP", "-A FORWARD -j ACCEPT"), "any-any")  # dead


def test_any_any_of_one_family_is_none_of_the_other() -> None:
    """A rule of a rule set for both families is judged by the addresses that it tests."""
    from netsim.rules.model import In

    def of(conditions: tuple[In, ...]) -> Audit:
        rule = Rule(conditions, ACCEPT, (), "FORWARD", 1)
        chain = Chain("FORWARD", (rule,), Hook(Point.FORWARD, 0), Action(ActionKind.DROP))
        return audit_rules(RuleSet({"FORWARD": chain}))

    assert told(of(()), "any-any") == [(1,)]
    narrow = of(
        (In("src6", ((1, 1),)), In("dst6", ((2, 2),)), In("protocol", ((6, 6),)), In("dport", ((22, 22),)))
    )
    assert not narrow.of("any-any")
    assert not narrow.of("management-open")
    assert not narrow.of("over-permissive")


def test_management_open() -> None:
    (finding,) = audit("-A INPUT -p tcp --dport 22 -j ACCEPT", head=":INPUT DROP").of("management-open")
    assert (finding.severity, finding.text) == (Severity.HIGH, "open to the world: 22 (ssh)")
    for line in ("-A INPUT -s 10.0.0.0/8 -p tcp --dport 22 -j ACCEPT", "-A INPUT -p tcp --dport 443 -j ACCEPT",
                 "-A INPUT -m conntrack --ctstate ESTABLISHED -p tcp --dport 22 -j ACCEPT"):  # fmt: skip
        assert not told(audit(line, head=":INPUT DROP"), "management-open")


def test_missing_default_deny() -> None:
    found = audit("-A FORWARD -p tcp -j DROP", head=":INPUT DROP\n:FORWARD ACCEPT")
    (finding,) = found.of("missing-default-deny")
    assert finding.severity is Severity.MEDIUM
    assert finding.witness is not None
    ruling = rules("-A FORWARD -p tcp -j DROP", head=":INPUT DROP\n:FORWARD ACCEPT").decide(finding.witness)
    assert ruling.verdict.value == "accept"
    assert not found.dead
    (empty,) = audit(head=":INPUT DROP\n:FORWARD ACCEPT").of("missing-default-deny")
    assert empty.severity is Severity.LOW
    assert not audit(head=":INPUT DROP\n:FORWARD DROP").of("missing-default-deny")
    assert not audit(
        "-A FORWARD -p tcp -j ACCEPT", "-A FORWARD -j DROP", head=":INPUT DROP\n:FORWARD ACCEPT"
    ).of("missing-default-deny")
    both = "-A FORWARD -s 0.0.0.0/1 -j DROP", "-A FORWARD -s 128.0.0.0/1 -j DROP"
    assert not audit(*both, head=":INPUT DROP\n:FORWARD ACCEPT").of("missing-default-deny")


# Names


SETS = "create good hash:ip family inet\nadd good 10.0.0.1\ncreate idle hash:ip family inet\n"
NAMED = "-A FORWARD -m set --match-set good src -j ACCEPT"


def test_undefined_set() -> None:
    (finding,) = audit(NAMED).of("undefined-set")
    assert (finding.severity, [r.number for r in finding.rules]) == (Severity.MEDIUM, [1])
    assert "good" in finding.text
    assert not audit(NAMED, ipsets=SETS).of("undefined-set")


def test_unused_set() -> None:
    (finding,) = audit(NAMED, ipsets=SETS).of("unused-set")
    assert finding.text == "no rule names the set idle"
    assert not audit(NAMED).of("unused-set")
    assert not audit(NAMED, NAMED.replace("good", "idle"), ipsets=SETS).of("unused-set")
    listed = SETS + "create all list:set\nadd all idle\n"
    assert not audit(NAMED, NAMED.replace("good", "all"), ipsets=listed).of("unused-set")


def test_a_set_that_the_other_family_uses_is_used() -> None:
    v4 = f"# Generated by iptables-save v1.8.9\n*filter\n:FORWARD DROP\n{NAMED}\nCOMMIT\n"
    v6 = "# Generated by ip6tables-save v1.8.9\n*filter\n:FORWARD DROP\n-A FORWARD -m set --match-set six src -j ACCEPT\nCOMMIT\n"
    sets = SETS + "create six hash:ip family inet6\n"
    network = Network.build(devices={"fw": {"rules": [v4, v6], "ipsets": [sets], "interfaces": {}}})
    assert [f.text for f in network.audit().of("unused-set")] == ["no rule names the set idle"]


def test_undefined_chain() -> None:
    rule = Rule((), Action(ActionKind.JUMP, "gone"), (), "FORWARD", 1)
    chain = Chain("FORWARD", (rule,), Hook(Point.FORWARD, 0), Action(ActionKind.DROP))
    found = audit_rules(RuleSet({"FORWARD": chain}))
    (finding,) = found.of("undefined-chain")
    assert (finding.severity, finding.rules) == (Severity.HIGH, (rule,))
    assert found.live == {}
    assert not audit("-A FORWARD -j one", head=":INPUT DROP\n:FORWARD DROP\n:one -").of("undefined-chain")


# Answers


def test_blocked_answer() -> None:
    line = "-A FORWARD -s 10.0.0.0/24 -d 10.0.1.0/24 -p tcp --dport 443 -j ACCEPT"
    found = audit(line)
    (finding,) = found.of("blocked-answer")
    assert (finding.severity, [r.number for r in finding.rules]) == (Severity.HIGH, [1])
    assert "gets drop from the policy" in finding.proof
    assert not audit(ANSWERS, line).of("blocked-answer")
    assert not audit(line, line.replace("-s", "-x").replace("-d ", "-s ").replace("-x", "-d").replace("--dport", "--sport")).of("blocked-answer")  # fmt: skip
    (both,) = audit("-A FORWARD -s 10.0.0.0/24 -d 10.0.1.0/24 -j ACCEPT").of("blocked-answer")
    assert both.packets is not None  # tcp and udp: one finding
    assert both.packets & netsim.packets(protocol="udp")
    assert both.packets & netsim.packets(protocol="tcp")


def test_asymmetric_return() -> None:
    """The answer leaves through a router that has not seen the opening packet."""
    first = {"rules": accept("-A FORWARD -p tcp --dport 80 -j ACCEPT\n"), "ip_forward": True,
             "interfaces": {"a": {"address": "10.0.1.1/24", "link": "a"}, "b": {"address": "10.0.2.1/24", "link": "b"}}}  # fmt: skip
    second = {**first, "interfaces": {"a": {"address": "10.0.1.2/24", "link": "a"}, "b": {"address": "10.0.2.2/24", "link": "b"}}}  # fmt: skip

    def network(gateway: str) -> Network:
        return Network.build(
            devices={"r1": first, "r2": second},
            hosts={"client": {"address": "10.0.1.5", "link": "a", "gateway": "10.0.1.1"},
                   "server": {"address": "10.0.2.5", "link": "b", "gateway": gateway}},
            services={"users": {"instances": ["client"]}, "web": {"instances": ["server"], "ports": ["tcp/80"]}},
        )  # fmt: skip

    (finding,) = network("10.0.2.2").audit().of("asymmetric-return")
    assert (finding.severity, finding.device) == (Severity.HIGH, "r2")
    assert "users -> web tcp/80" in finding.text
    assert not network("10.0.2.1").audit().of("asymmetric-return")


def test_one_way_nat() -> None:
    """r1 translates the destination's port; the answer goes through r2, which does not know of it."""
    plain = "*filter\n:FORWARD ACCEPT\nCOMMIT\n"

    def device(number: int, text: str) -> dict[str, Any]:
        return {"rules": text, "ip_forward": True, "interfaces": {
            "a": {"address": f"10.0.1.{number}/24", "link": "a"}, "b": {"address": f"10.0.2.{number}/24", "link": "b"}}}  # fmt: skip

    def network(text: str) -> Network:
        return Network.build(
            devices={"r1": device(1, text), "r2": device(2, plain)},
            hosts={"client": {"address": "10.0.1.5", "link": "a", "gateway": "10.0.1.1"},
                   "server": {"address": "10.0.2.5", "link": "b", "gateway": "10.0.2.2"},
                   "spare": {"address": "10.0.1.99", "link": "a"}},
            services={"users": {"instances": ["client"]}, "web": {"instances": ["server"], "ports": ["tcp/80"]}},
        )  # fmt: skip

    dnat = "*nat\n:PREROUTING ACCEPT\n-A PREROUTING -d 10.0.2.5 -p tcp --dport 80 -j DNAT --to-destination 10.0.2.5:8080\nCOMMIT\n"
    found = network(dnat).audit().of("one-way-nat")
    assert [(f.severity, f.device) for f in found] == [(Severity.HIGH, "r1")]
    assert "does not pass r1" in found[0].proof
    assert not network(plain).audit().of("one-way-nat")


def test_blocked_answer_between_services() -> None:
    stateless = "*filter\n:FORWARD DROP\n-A FORWARD -p tcp --dport 80 -j ACCEPT\nCOMMIT\n"
    plain = site(stateless)
    plain["services"]["users"] = {"instances": ["client"]}
    found = Network.build(**plain).audit().of("blocked-answer")
    assert any("users -> web tcp/80" in f.text for f in found)
    good = site(accept("-A FORWARD -p tcp --dport 80 -j ACCEPT\n"))
    good["services"]["users"] = {"instances": ["client"]}
    assert not Network.build(**good).audit().of("blocked-answer")


def test_ipv6_open() -> None:
    v4 = "# Generated by iptables-save v1.8.9\n*filter\n:INPUT DROP\n-A INPUT -p tcp --dport 443 -j ACCEPT\nCOMMIT\n"
    v6 = v4.replace("iptables", "ip6tables")
    interfaces = {"eth0": {"address": ["192.0.2.1/24", "2001:db8::1/64"], "link": "a"}}

    def network(*texts: str) -> Network:
        return Network.build(devices={"fw": {"rules": list(texts), "interfaces": interfaces}})

    (none,) = network(v4).audit().of("ipv6-open")
    assert (none.severity, none.device) == (Severity.HIGH, "fw")
    assert "no IPv6 rules at all" in none.proof
    assert not network(v4, v6).audit().of("ipv6-open")
    (more,) = network(v4, v6.replace("443", "443:444")).audit().of("ipv6-open")
    assert more.packets is not None
    assert more.packets & netsim.packets(dport=444)
    assert not more.packets & netsim.packets(dport=443)


# What is unknown, order, counters


def test_unmodelled() -> None:
    few = "-A FORWARD -s 10.0.0.0/8 -p tcp -m limit --limit 1/s -j ACCEPT"
    many = "-A FORWARD -p udp -m time --timestart 10:00 -j ACCEPT"
    found = audit(few, many)
    assert told(found, "unmodelled") == [(2,), (1,)]
    assert found.of("unmodelled")[1].proof.startswith("packets of 0.39 % of the sources")
    assert all(f.severity is Severity.INFO for f in found.of("unmodelled"))
    assert not told(audit("-A FORWARD -m limit --limit 1/s -j LOG"), "unmodelled")
    assert not told(audit("-A FORWARD -m limit --limit 1/s -j DROP"), "unmodelled")


def two_tables(first: str, second: str, priority: int) -> RuleSet:
    one, two = (
        rules(line, head=":INPUT DROP\n:FORWARD ACCEPT").ruleset.chains["filter/FORWARD"]
        for line in (first, second)
    )

    def named(chain: Chain, name: str, hook: Hook) -> Chain:
        return attrs.evolve(
            chain, name=name, rules=tuple(attrs.evolve(r, chain=name) for r in chain.rules), hook=hook
        )

    chains = {
        "x": named(one, "x", Hook(Point.FORWARD, 0)),
        "y": named(two, "y", Hook(Point.FORWARD, priority)),
    }
    return RuleSet(chains, family=Family.IPV4)


def test_order_dependent() -> None:
    mark, test = "-A FORWARD -j MARK --set-mark 1", "-A FORWARD -m mark --mark 1 -j DROP"
    (finding,) = audit_rules(two_tables(mark, test, 0)).of("order-dependent")
    assert finding.severity is Severity.MEDIUM
    assert finding.witness is not None
    assert not audit_rules(two_tables(mark, test, 1)).of("order-dependent")
    assert not audit_rules(two_tables("-A FORWARD -p tcp -j DROP", test, 0)).of("order-dependent")


def test_never_hit_and_no_evidence() -> None:
    lines = ["[7:400] -A FORWARD -p tcp -j ACCEPT", "[0:0] -A FORWARD -p udp -j ACCEPT"]
    found = audit_rules(rules(*lines), since="Monday")
    assert told(found, "never-hit") == [(2,)]
    assert "since Monday" in found.of("never-hit")[0].evidence
    assert not found.of("no-evidence")
    unknown = audit(*lines)
    assert "since an unknown time" in unknown.of("never-hit")[0].evidence
    zero = audit(*(line.replace("7:400", "0:0") for line in lines))
    assert len(zero.of("no-evidence")) == 1
    assert not zero.of("never-hit")
    plain = audit("-A FORWARD -p tcp -j ACCEPT")
    assert not plain.of("never-hit")
    assert not plain.of("no-evidence")


# Of every audit


def test_every_meaning_fits_its_line() -> None:
    assert all(len(meaning) <= 60 for meaning in CODES.values())


@settings(max_examples=60)
@given(rule_sets())
def test_every_live_rule_has_a_witness_and_every_rule_is_live_or_dead(ruleset: RuleSet) -> None:
    found = audit_rules(ruleset)
    assert not found.unfinished
    every = {r.id for r in ruleset.rules()}
    assert set(found.live) | {r.id for r in found.dead} == every
    assert not set(found.live) & {r.id for r in found.dead}
    by_id = {r.id: r for r in ruleset.rules()}
    for name, packet in found.live.items():
        walk = Visits(ruleset)
        hooks = (Point.FORWARD, Point.INPUT, Point.OUTPUT)
        met = set()
        for hook in hooks:
            walk.visit(packet.values(), hook)
            met |= walk.perhaps
        assert id(by_id[name]) in met


def test_severities() -> None:
    found = audit("-A FORWARD -j ACCEPT", "-A FORWARD -p tcp -j ACCEPT")
    assert found.worst is Severity.HIGH
    assert [f.severity for f in found.findings] == sorted((f.severity for f in found.findings), reverse=True)
    assert found.at_least("high") == found.at_least(Severity.HIGH) == tuple(
        f for f in found.findings if f.severity is Severity.HIGH
    )  # fmt: skip
    assert found.at_least("info") == found.findings
    with pytest.raises(KeyError):
        found.at_least("grave")
    clean = audit(ANSWERS)
    assert clean.worst is None
    assert clean.at_least("info") == ()
    assert "nothing to report" in str(clean)
    with pytest.raises(TypeError, match="neither true nor false"):
        bool(clean)


def test_an_empty_rule_set_has_no_findings() -> None:
    for ruleset in (RuleSet({}), RuleSet({}, family=Family.IPV6)):
        found = audit_rules(ruleset)
        assert (found.findings, found.live, found.rules, found.unfinished) == ((), {}, 0, ())
    assert audit(head=QUIET).findings == ()
    assert Network.build().audit().findings == ()


def test_rows_and_frame_have_fixed_columns() -> None:
    import pandas  # type: ignore[import-untyped]

    found = audit("-A FORWARD -p tcp -j ACCEPT", "-A FORWARD -p tcp -j DROP")
    assert found.findings
    for row in found.rows():
        assert tuple(row) == COLUMNS
    assert tuple(found.frame().columns) == COLUMNS
    assert isinstance(found.frame(), pandas.DataFrame)
    assert tuple(audit(ANSWERS).frame().columns) == COLUMNS


def test_progress_is_told_to_the_end() -> None:
    calls: list[tuple[int, int]] = []
    audit_rules(rules(ANSWERS), progress=lambda done, total: calls.append((done, total)))
    assert calls == sorted(calls)
    assert calls[-1][0] == calls[-1][1]
    calls.clear()
    netsim.load(DEMO / "before").audit(progress=lambda done, total: calls.append((done, total)))
    assert calls[-1][0] == calls[-1][1]


def test_it_reads_well_and_hostile_names_stay_text() -> None:
    evil = '-A FORWARD -m comment --comment "<img src=x onerror=alert(1)>\x1b[31m" -j ACCEPT'
    found = audit(evil, "-A FORWARD -p tcp -j <b>", head=":INPUT DROP\n:FORWARD DROP\n:<b> -")
    html = found._repr_html_()
    assert "<img" not in html
    assert "<b>" not in html
    assert "\x1b" not in str(found)
    assert "\x1b" not in html
    many = audit(*(f"-A FORWARD -s 10.{i}.0.0/16 -p tcp --dport {i} -j ACCEPT" for i in range(1, 120)))
    for each in (found, many, netsim.load(DEMO / "during").audit()):
        assert max(map(len, str(each).splitlines())) <= 100
    assert "59 more of severity high" in str(many)


def test_over_budget_is_unfinished_and_no_error() -> None:
    lines = [
        f"-A FORWARD -s 10.66.{i}.0/25 -p tcp -m multiport --dports 1{i},2{i} -j MARK --set-mark {i}"
        for i in range(9)
    ]
    ruleset = rules(*lines, "-A FORWARD -m mark ! --mark 0x5/0x7 -j DROP").ruleset
    found = audit_index(Index(ruleset, limits=Limits(nodes=4)))
    assert found.unfinished
    assert found.rules == 10
    assert "not finished" in str(found)


def test_too_many_ways_are_no_error() -> None:
    """Every undecided rule changes the mark: 2^20 ways, and each rule is met on the first of them."""
    lines = [f"-A FORWARD -m limit --limit {i + 1}/s -j MARK --set-xmark 0x{1 << i:x}/0x0" for i in range(20)]
    ruleset = rules(*lines, "-A FORWARD -p tcp -j ACCEPT").ruleset
    found = Liveness(Index(ruleset, limits=Limits(states=50)))
    assert len(found.live) == 21
    assert not found.undecided


def test_redundant_rules_and_what_does_their_work() -> None:
    found = audit("-A FORWARD -s 10.0.1.0/24 -p tcp -j ACCEPT", "-A FORWARD -s 10.0.0.0/16 -j ACCEPT")
    (one,) = found.of("redundant-rule")
    assert (one.severity, one.rules[0].number, [r.number for r in one.related]) == (Severity.LOW, 1, [2])
    assert "meet these rules" in one.proof
    end = audit("-A FORWARD -p tcp -j DROP").of("redundant-rule")
    assert "the end of its chain" in end[0].proof
    assert not audit("-A FORWARD -p tcp -j LOG", "-A FORWARD -s 10.0.0.0/16 -j ACCEPT").of("redundant-rule")


def test_exceptions_and_overlaps() -> None:
    found = audit(
        "-A FORWARD -s 10.0.1.0/24 -j DROP",
        "-A FORWARD -s 10.0.0.0/16 -j ACCEPT",
        "-A FORWARD -p udp -j REJECT",
    )
    (one,) = found.of("generalised-rule")
    assert (one.severity, one.rules[0].number, [r.number for r in one.related]) == (Severity.INFO, 2, [1])
    (two,) = found.of("correlated-rules")
    assert (two.rules[0].number, [r.number for r in two.related]) == (3, [1, 2])
    apart = audit("-A FORWARD -s 10.0.1.0/24 -j DROP", "-A FORWARD -s 10.0.2.0/24 -j ACCEPT")
    assert not apart.of("generalised-rule")
    assert not apart.of("correlated-rules")


def test_rules_that_one_rule_can_say() -> None:
    lines = [f"-A FORWARD -s 10.0.0.1 -p tcp -m tcp --dport {port} -j ACCEPT" for port in (80, 443)]
    (one,) = audit(*lines).of("mergeable-rules")
    assert [r.number for r in one.rules] == [1, 2]
    assert "--dports 80,443" in one.edit
    between = audit(lines[0], "-A FORWARD -p tcp -j DROP", lines[1])
    assert not between.of("mergeable-rules")

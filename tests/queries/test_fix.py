"""Fixes: the fewest lines, nothing besides, proofs; and what no rule can help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netsim
from netsim.display.html import to_html
from netsim.errors import Limits, QuestionError
from netsim.parsers import dialect_of
from netsim.queries.fix import COLUMNS, EditKind, Fix, FixStatus
from netsim.queries.reach import Status
from netsim.rules.model import Bits, In, RuleSet
from netsim.space.packets import NOTHING, PacketSet, packets

DEMO = Path(netsim.__file__).parent / "demo_site"
SYN = ("SYN,ACK,FIN,RST", "SYN")


def accept(text: str = "", policy: str = "DROP", *, established: bool = True) -> str:
    first = "-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n" * established
    return f"*filter\n:FORWARD {policy} [0:0]\n{first}{text}COMMIT\n"


def site(rules: Any, **fw: Any) -> dict[str, Any]:
    """client - fw - server, and a second server."""
    interfaces = {
        "eth0": {"address": ["10.0.1.1/24", "2001:db8:1::1/64"], "link": "a"},
        "eth1": {"address": ["10.0.2.1/24", "2001:db8:2::1/64"], "link": "b"},
    }
    return {
        "devices": {"fw": {"rules": rules, "interfaces": interfaces, "ip_forward": True, **fw}},
        "hosts": {
            "client": {"address": ["10.0.1.5", "2001:db8:1::5"], "link": "a"},
            "server": {"address": ["10.0.2.5", "2001:db8:2::5"], "link": "b"},
            "other": {"address": "10.0.2.7", "link": "b"},
        },
        "services": {"web": {"instances": ["server", "other"], "ports": ["tcp/80"]}},
    }


def build(rules: Any, **fw: Any) -> netsim.Network:
    found: netsim.Network = netsim.Network.build(**site(rules, **fw))
    return found


def fixed(network: netsim.Network, *ask: Any, **more: Any) -> Fix:
    """A fix that was found, and does what it says."""
    f: Fix = network.fix(*ask, **more)
    assert f.status is FixStatus.FOUND, str(f)
    r = f.network.reach(*ask)
    assert r.status is (Status.BLOCKED if f.closing else Status.ALLOWED)
    assert f.reach.status is r.status
    assert len(f.edits) == len(f.edit.steps)
    assert list(f.rows()[0]) == list(COLUMNS)
    assert replayed(network, f) == f.network
    narrow_by_force(network, f)
    return f


def replayed(network: netsim.Network, f: Fix) -> netsim.Network:
    """The edits done again from their rows alone."""
    edit = network.edit()
    for e in f.edits:
        family = 6 if e.command.startswith("ip6tables") else 4
        several = len(network.devices[e.device].rulesets) > 1
        more: dict[str, Any] = {"family": family} if several else {}
        if e.kind is EditKind.INSERT:
            edit = edit.insert(f"{e.device}:{e.chain}", e.text, before=e.number, **more)
        elif e.kind is EditKind.DELETE:
            edit = edit.delete(f"{e.device}:{e.chain}/{e.number}", **more)
        else:
            edit = edit.replace(f"{e.device}:{e.chain}/{e.number}", e.text, **more)
    after: netsim.Network = edit.network
    return after


def narrow_by_force(network: netsim.Network, f: Fix) -> None:
    """Narrowing any range of any condition by one value at either end, or any bit, loses part of what was asked."""
    for line in f.edits:
        if line.kind is EditKind.DELETE:
            continue
        ruleset = next(
            r for r in f.network.devices[line.device].rulesets if _program(r) == line.command.split()[0]
        )
        rule = next(r for r in ruleset.chains[line.chain].rules if r.text == line.text)
        assert {n.field for n in line.narrow} <= {
            c.field for c in rule.conditions if isinstance(c, In | Bits)
        }
        for proof in line.narrow:
            assert proof.needed
            for _, packet in proof.needed:
                assert packet in f.before.asked
            for narrower in _narrower(proof.condition):
                conditions = tuple(narrower if _same_field(c, proof.condition) else c for c in _of(line))
                less = attrs.evolve(rule, conditions=conditions)
                after = attrs.evolve(ruleset, chains=ruleset.chains)
                chain = ruleset.chains[line.chain]
                after = after.replace(
                    [attrs.evolve(chain, rules=tuple(less if r is rule else r for r in chain.rules))]
                )
                device = f.network.devices[line.device]
                changed = attrs.evolve(
                    device, rulesets=tuple(after if r is ruleset else r for r in device.rulesets)
                )
                r = f.network.with_device(changed).reach(f.src, f.dst, _ask(f))
                assert r.status is not f.reach.status, (line.text, narrower)


def _ask(f: Fix) -> Any:
    return f.traffic if f.traffic != "the packets given" else f.before.asked


def _program(r: RuleSet) -> str:
    return dialect_of(r).command("delete", "", ruleset=r, chain=next(iter(r.chains)), number=1).split()[0]


def _of(line: Any) -> tuple[Any, ...]:
    return tuple(n.condition for n in line.narrow)


def _same_field(a: Any, b: Any) -> bool:
    return bool(a.field == b.field)


def _narrower(condition: Any) -> list[In | Bits]:
    if isinstance(condition, Bits):
        return [Bits(condition.field, condition.care | bit, condition.value | bit)
                for bit in (8,) if condition.field == "tcp_flags" and not condition.care & bit]  # fmt: skip
    found: list[In | Bits] = []
    for i, (low, high) in enumerate(condition.ranges):
        rest = [r for n, r in enumerate(condition.ranges) if n != i]
        if condition.field in ("iif", "oif") and low != high:
            continue  # a beginning of names: its ends are no names
        for part in {(low + 1, high), (low, high - 1)}:
            found.append(In(condition.field, tuple(sorted([*rest, *([part] if part[0] <= part[1] else [])]))))
    return found


# The demo


def test_the_demo() -> None:
    network = netsim.load(DEMO / "during")
    f = fixed(network, "auth", "db", "tcp/5432")
    (line,) = f.edits
    assert (line.kind, line.device, line.chain, line.number) == (EditKind.INSERT, "fw1", "filter/AUTH-DB", 4)
    assert line.place == "fw1.rules:20"
    assert line.command.startswith(
        "iptables -I AUTH-DB 4 -s 10.0.14.10/32 -d 10.0.20.10/32 -i eth4 -o eth0 -p tcp"
    )
    assert f.besides == f.opened_besides == {}
    assert f.opened == f.before.blocked
    gained = f.comparisons["fw1"].gained
    assert gained == packets(
        src="10.0.14.10", dst="10.0.20.10", protocol="tcp", sport=(1024, 65535), dport=5432, tcp_flags=SYN,
        iif="eth4", oif="eth0", state="new", fragment=False, ttl=(2, 255),
    )  # fmt: skip
    assert not f.comparisons["fw1"].lost and not f.comparisons["fw1"].changed
    assert "one line is the fewest" in f.searched.statement
    text = str(f)
    assert "and nothing else" in text and "fw1.rules:20" in text
    assert max(map(len, text.splitlines())) <= 100
    assert "AUTH-DB" in to_html(f.document())
    with pytest.raises(TypeError, match="neither true nor false"):
        bool(f)
    assert f.network.reach("auth", "db").allowed == netsim.load(DEMO / "repaired").reach("auth", "db").allowed


def test_nothing_is_blocked() -> None:
    f = netsim.load(DEMO / "before").fix("auth", "db", "tcp/5432")
    assert (f.status, f.edits, f.network) == (FixStatus.NOTHING, (), f.edit.network)
    assert "no line needs an edit" in str(f)
    closed = build(accept()).fix("client", "other", "tcp/80", close=True)
    assert closed.status is FixStatus.NOTHING


def test_wrong_questions_have_hints() -> None:
    network = netsim.load(DEMO / "during")
    with pytest.raises(QuestionError, match="did you mean 'auth'"):
        network.fix("auht", "db", "tcp/5432")
    with pytest.raises(QuestionError, match="NS330"):
        network.fix("auth", "db", "tcp/5432", keep=[("auth", "db", None)])
    with pytest.raises(QuestionError):
        network.fix("auth", "db", "tcp/5432", close=True, keep=[("auht", "db", None)])


# One device


def test_a_policy_that_drops_gets_a_rule_at_the_end() -> None:
    f = fixed(build(accept()), "client", "server", "tcp/80")
    (line,) = f.edits
    assert (line.number, line.rule, line.place) == (2, None, "fw:filter/FORWARD/2")
    assert line.command.startswith("iptables -A FORWARD ") and f.besides == {}


def one(rules: str, traffic: Any = "tcp/80", dst: str = "other", **fw: Any) -> Fix:
    """A fix of a small site; the other server has no IPv6 address."""
    return fixed(build(rules, **fw), "client", dst, traffic)


def test_the_last_place_before_the_rule_that_blocks() -> None:
    f = one(
        accept("-A FORWARD -p udp -j ACCEPT\n-A FORWARD -p tcp --dport 80 -j REJECT\n-A FORWARD -j ACCEPT\n")
    )
    assert [(e.kind, e.number) for e in f.edits] == [(EditKind.INSERT, 3)]
    assert f.besides == {}


def test_a_user_chain_that_only_drops_is_no_place_for_an_accept() -> None:
    rules = "*filter\n:FORWARD ACCEPT [0:0]\n:LOGDROP - [0:0]\n-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n-A FORWARD -j LOGDROP\n-A LOGDROP -j LOG\n-A LOGDROP -j DROP\nCOMMIT\n"
    f = one(rules)
    assert [(e.chain, e.number) for e in f.edits] == [("filter/FORWARD", 2)]


def test_parts_that_two_rules_block_need_one_line_before_both() -> None:
    rules = accept(
        "-A FORWARD -p tcp --sport 1024:9999 -j DROP\n-A FORWARD -p tcp --sport 10000:20000 -j REJECT\n-A FORWARD -j ACCEPT\n"
    )
    f = one(rules)
    assert [(e.number) for e in f.edits] == [2]
    assert "--sport 1024:20000" in f.edits[0].text
    assert f.opened == f.before.blocked


def test_a_deletion_where_it_opens_nothing_else() -> None:
    rules = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -p tcp -s 10.0.1.5/32 -d 10.0.2.7/32 -j DROP\n"
    rules += "-A FORWARD -s 10.0.1.5/32 -d 10.0.2.7/32 -i eth0 -o eth1 -p tcp -m tcp --sport 1024:65535 --dport 80 --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -j ACCEPT\n-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\nCOMMIT\n"
    f = fixed(build(rules), "client", "other", "tcp/80")
    assert f.besides == {}
    assert len(f.edits) == 1


def test_a_stateless_filter_that_blocks_the_answer() -> None:
    f = one("*filter\n:FORWARD DROP [0:0]\n-A FORWARD -p tcp --dport 80 -j ACCEPT\nCOMMIT\n")
    (line,) = f.edits
    assert "-s 10.0.2.7/32 -d 10.0.1.5/32 -i eth1 -o eth0" in line.text and "conntrack" not in line.text
    assert f.besides == {}


def test_one_line_for_both_directions_says_what_it_opens_besides() -> None:
    f = one("*filter\n:FORWARD DROP [0:0]\nCOMMIT\n", tracking="untracked")
    assert len(f.edits) == 1
    assert f.besides["fw"]
    assert "lets through besides" in str(f)
    assert any("later packets" in note for note in f.notes)


def test_two_chains_of_one_device_need_two_lines() -> None:
    rules = "*mangle\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p tcp --dport 80 -j DROP\nCOMMIT\n" + accept()
    f = one(rules)
    assert sorted(e.chain for e in f.edits) == ["filter/FORWARD", "mangle/FORWARD"]
    assert "no single line is enough" in f.searched.statement
    assert "-t mangle" in next(e.command for e in f.edits if e.chain.startswith("mangle"))
    assert f.besides == {}


def test_a_mark_that_blocks() -> None:
    rules = "*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -j MARK --set-mark 1\nCOMMIT\n"
    f = one(rules + accept("-A FORWARD -m mark --mark 1 -m conntrack --ctstate NEW -j DROP\n", "ACCEPT"))
    assert [e.chain for e in f.edits] == ["filter/FORWARD"]
    assert f.besides == {}


def test_a_mark_that_is_set_before_the_rule_that_drops() -> None:
    mangle = "*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j MARK --set-mark 2\n-A PREROUTING -s 10.0.1.5/32 -j DROP\nCOMMIT\n"
    f = one(mangle + accept("-A FORWARD -m mark --mark 2 -j DROP\n", "ACCEPT"))
    # In front of the mark one line is enough; behind it the filter would drop what the mark says.
    assert [(e.chain, e.number) for e in f.edits] == [("mangle/PREROUTING", 1)]
    # PREROUTING does not know yet where packets leave: that is all it lets through besides.
    assert f.besides["fw"] <= packets(src="10.0.1.5", dst="10.0.2.7", dport=80, iif="eth0")


def test_destination_nat_is_spoken_translated() -> None:
    nat = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 10.0.2.7 -p tcp --dport 80 -j DNAT --to-destination 10.0.2.5:8080\nCOMMIT\n"
    f = one(nat + accept())
    assert "-d 10.0.2.5/32" in f.edits[0].text and "--dport 8080" in f.edits[0].text
    # what addresses the translated end itself is let through besides: the filter cannot tell it apart
    assert f.besides["fw"] <= packets(dst="10.0.2.5", dport=8080)


def test_ipv6_and_both_families() -> None:
    v6 = "# Generated by ip6tables-save v1.8.9\n" + accept()
    f = fixed(build([accept(), v6]), "client", "server", "tcp/80")
    assert sorted(e.command.split()[0] for e in f.edits) == ["ip6tables", "iptables"]
    assert "2001:db8:2::5/128" in next(e.text for e in f.edits if e.command.startswith("ip6"))
    assert f.besides == {}


def test_a_service_in_one_line() -> None:
    f = fixed(build(accept()), "client", "web")
    assert sum(e.command.startswith("iptables ") for e in f.edits) == 1
    assert f.besides == {}


def test_services_in_several_subnets() -> None:
    network = netsim.load(DEMO / "during")
    edit = network.edit()
    for number in (2, 1):
        edit = edit.replace(f"fw1:filter/AUTH-DB/{number}", "-s 10.0.99.0/24 -j ACCEPT")
    f = fixed(edit.network, "auth", "db", "tcp/5432")
    (line,) = f.edits
    assert all(address in line.text for address in ("10.0.11.10", "10.0.14.10"))
    # the addresses are exact; the interfaces of three racks are one beginning of names
    assert f.besides["fw1"] <= packets(src=["10.0.11.10", "10.0.12.10", "10.0.14.10"])


def test_traffic_of_every_kind() -> None:
    for traffic in ("icmp", "udp/53", "tcp/80,443,8000-8080", "gre", "tcp/2000>80", "any"):
        f = fixed(build(accept()), "client", "other", traffic)
        assert len(f.edits) == 1 and f.besides == {}, traffic
    raw = packets(protocol="udp", dport=53, state="new", fragment=False, ttl=64, length=(0, 512))
    f = build(accept()).fix("client", "other", raw)
    assert f.status is FixStatus.FOUND and "--length 0:512" in f.edits[0].text and f.besides == {}


def test_the_device_itself() -> None:
    f = fixed(build("*filter\n:INPUT DROP [0:0]\nCOMMIT\n"), "client", "fw", "tcp/22")
    assert [e.chain for e in f.edits] == ["filter/INPUT"]
    assert f.besides == {}
    f = fixed(build("*filter\n:OUTPUT DROP [0:0]\nCOMMIT\n"), "fw", "client", "tcp/22")
    assert [e.chain for e in f.edits] == ["filter/OUTPUT"]


# Unmodelled


def test_an_undecided_rule_is_passed_by() -> None:
    f = one(accept("-A FORWARD -m time --timestart 08:00 -j DROP\n-A FORWARD -p tcp -j ACCEPT\n"))
    assert f.before.status is Status.UNKNOWN
    assert [e.number for e in f.edits] == [2]
    f = one(accept("-A FORWARD -p tcp -m limit --limit 5/s -j ACCEPT\n"))
    assert f.before.status is Status.UNKNOWN


def test_a_condition_that_is_passed_by_must_be_in_front_of_the_line() -> None:
    rules = "*filter\n:FORWARD DROP [0:0]\n:user - [0:0]\n-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n-A FORWARD -p tcp --dport 80 -j user\n-A user -m time --timestart 08:00 -j DROP\nCOMMIT\n"
    f = one(rules, "tcp/80,443;udp/53")
    assert [(e.chain, e.number) for e in f.edits] == [("filter/FORWARD", 2)]


def test_what_no_rule_decides_stays_unknown() -> None:
    rules = "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -m time --timestart 08:00 -j SNAT --to-source 10.0.2.250\nCOMMIT\n"
    network = build(rules + accept())
    f = network.fix("client", "other", "tcp/80")
    assert f.status in (FixStatus.UNKNOWN, FixStatus.IMPOSSIBLE)
    assert not f.edits


# Impossible


@pytest.mark.parametrize(
    ("fw", "dst", "kind"),
    [
        ({"ip_forward": False}, "other", "ip-forward"),
        ({"routes": ["blackhole 10.0.2.7/32"]}, "other", "blackhole"),
    ],
)
def test_no_rule_can_help(fw: dict[str, Any], dst: str, kind: str) -> None:
    f = build(accept(), **fw).fix("client", dst, "tcp/80")
    assert f.status is FixStatus.IMPOSSIBLE
    assert kind in {r.kind for r in f.impossible}
    assert not f.edits and "an edit of rules cannot help" in str(f)
    assert f.network == f.edit.network


def test_a_reverse_path_is_no_rule() -> None:
    found = site(accept(), rp_filter=1, routes=["10.0.9.0/24 via 10.0.2.5"])
    found["hosts"]["stray"] = {"address": "10.0.9.5", "link": "a", "gateway": "10.0.1.1"}
    f = netsim.Network.build(**found).fix("stray", "other", "tcp/80")
    assert f.status is FixStatus.IMPOSSIBLE
    assert {r.kind for r in f.impossible} >= {"rp-filter"}


def test_rules_without_a_dialect_have_no_words() -> None:
    network = build(accept())
    device = network.devices["fw"]
    bare = tuple(attrs.evolve(r, dialect="") for r in device.rulesets)
    f = network.with_device(attrs.evolve(device, rulesets=bare)).fix("client", "other", "tcp/80")
    assert f.status is FixStatus.IMPOSSIBLE
    assert {r.kind for r in f.impossible} == {"not-expressible"}


def test_a_budget_ends_as_unknown() -> None:
    f = build(accept()).fix("client", "other", "tcp/80", limits=Limits(paths=1))
    assert f.status is FixStatus.UNKNOWN
    assert "more than 1 steps" in str(f)


def test_hostile_names_are_quoted_for_a_shell() -> None:
    found = site(accept())
    interfaces = found["devices"]["fw"]["interfaces"]
    interfaces["a;reboot"] = interfaces.pop("eth0")
    f = netsim.Network.build(**found).fix("client", "other", "tcp/80")
    assert "'a;reboot'" in f.edits[0].command


# Several devices


def two(first: str, second: str, **more: Any) -> netsim.Network:
    found: netsim.Network = netsim.Network.build(
        devices={
            "fw1": {"rules": first, "ip_forward": True, "routes": ["10.0.3.0/24 via 10.0.2.2"],
                    "interfaces": {"eth0": {"address": "10.0.1.1/24", "link": "a"},
                                   "eth1": {"address": "10.0.2.1/24", "link": "b"}}, **more},
            "fw2": {"rules": second, "ip_forward": True, "routes": ["10.0.1.0/24 via 10.0.2.1"],
                    "interfaces": {"eth0": {"address": "10.0.2.2/24", "link": "b"},
                                   "eth1": {"address": "10.0.3.1/24", "link": "c"}}},
        },
        hosts={"client": {"address": "10.0.1.5", "link": "a"}, "server": {"address": "10.0.3.5", "link": "c"},
               "friend": {"address": "10.0.1.6", "link": "a"}},
    )  # fmt: skip
    return found


def test_two_devices_need_two_lines_and_neither_opens_more() -> None:
    f = fixed(two(accept(), accept()), "client", "server", "tcp/80")
    assert sorted(e.device for e in f.edits) == ["fw1", "fw2"]
    assert f.besides == {} and set(f.comparisons) == {"fw1", "fw2"}
    assert "no single line is enough: each of" in f.searched.statement
    f = fixed(two(accept(), accept("-A FORWARD -j ACCEPT\n")), "client", "server", "tcp/80")
    assert [e.device for e in f.edits] == ["fw1"]


# Closing


OPEN = accept("-A FORWARD -p tcp --dport 80 -j ACCEPT\n-A FORWARD -s 10.0.1.0/24 -j ACCEPT\n")


def test_closing_stops_that_and_nothing_else() -> None:
    f = fixed(build(OPEN), "client", "other", "tcp/80", close=True)
    assert [(e.kind, e.number) for e in f.edits] == [(EditKind.INSERT, 2)]
    assert f.edits[0].text.endswith("-j DROP")
    assert f.lost_besides == {} and f.opened_besides == {}
    assert f.opened == f.before.allowed


def test_closing_keeps_expectations() -> None:
    keep = [("client", "server", "tcp/80"), ("client", "other", "tcp/443")]
    network = build(OPEN)
    before = [network.reach(*k).allowed for k in keep]
    f = fixed(network, "client", "other", "tcp/80", close=True, keep=keep)
    assert [f.network.reach(*k).allowed for k in keep] == before
    assert [k.after == k.allowed for k in f.kept] == [True, True]
    assert "kept: " in str(f)


def test_a_box_that_holds_what_is_needed_is_split() -> None:
    f = fixed(build(accept("-A FORWARD -s 10.0.1.0/24 -j ACCEPT\n", "ACCEPT")), "client", "other", "tcp/22;udp/53",
              close=True, keep=[("client", "other", "tcp/80")])  # fmt: skip
    assert f.lost_besides == {}
    assert {c.split("-p ")[1].split()[0] for c in (e.command for e in f.edits)} == {"tcp", "udp"}


def test_a_conflict_names_its_packets() -> None:
    f = build(OPEN).fix("10.0.1.0/24", "other", "any", close=True, keep=[("client", "other", "tcp/80")])
    assert f.status is FixStatus.IMPOSSIBLE
    (reason,) = f.impossible
    assert reason.kind == "expectation" and "client -> other tcp/80" in reason.text
    assert reason.packets <= f.before.asked


def test_closing_on_two_ways_needs_two_lines() -> None:
    found = two(accept("", "ACCEPT"), accept("", "ACCEPT"))
    assert len(fixed(found, "client", "server", "tcp/22", close=True).edits) == 1
    f = build(accept("", "ACCEPT")).fix("client", "other", "udp/53", close=True)
    assert f.status is FixStatus.FOUND and f.lost_besides == {}


def test_closing_what_no_rule_sees() -> None:
    f = build(accept()).fix("server", "other", "tcp/80", close=True)
    assert f.status is FixStatus.IMPOSSIBLE and f.impossible[0].kind == "no-rules"
    f = build(accept("", "ACCEPT")).fix("client", "server", "tcp/80", close=True)  # no rules for IPv6
    assert [(r.kind, str(r.packets).count("2001")) for r in f.impossible] == [("no-rules", 2)]


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    build(accept()).fix("client", "other", "tcp/80", progress=lambda n, of: told.append((n, of)))
    assert told


# By brute force

LINES = [
    "-m conntrack --ctstate ESTABLISHED -j ACCEPT",
    "-m conntrack --ctstate INVALID -j DROP",
    "-s 10.0.1.0/24 -j DROP",
    "-s 10.0.1.5/32 -p tcp --dport 80 -j DROP",
    "-p tcp --dport 80 -j ACCEPT",
    "-p tcp --dport 80:90 -j REJECT",
    "-p tcp --sport 80 -j ACCEPT",
    "-p tcp --sport 1024:2000 -j DROP",
    "-p tcp --dport 80 -j user",
    "-s 10.0.1.0/24 -g user",
    "-p tcp -m limit --limit 1/s -j ACCEPT",
    "-p tcp -m time --timestart 08:00 -j DROP",
    "-i eth0 -j RETURN",
    "-j LOG",
]


@st.composite
def filters(draw: st.DrawFn) -> str:
    policy = draw(st.sampled_from(["ACCEPT", "DROP"]))
    forward = draw(st.lists(st.sampled_from(LINES), max_size=4))
    user = draw(st.lists(st.sampled_from([x for x in LINES if "user" not in x]), max_size=3))
    text = "".join(f"-A FORWARD {x}\n" for x in forward) + "".join(f"-A user {x}\n" for x in user)
    return f"*filter\n:FORWARD {policy} [0:0]\n:user - [0:0]\n{text}COMMIT\n"


UNIVERSE = ["-j ACCEPT", "-p tcp -j ACCEPT", "-s 10.0.1.0/24 -j ACCEPT", "-p tcp --dport 80 -j ACCEPT", "-j RETURN",
            "-p tcp --sport 80 -j ACCEPT"]  # fmt: skip


def single_edits(network: netsim.Network, universe: list[str]) -> Any:
    """Every network with one line edited: any insertion and replacement of a small universe, any deletion."""
    for name, device in network.devices.items():
        for chain in device.rulesets[0].chains.values():
            for number in range(1, len(chain.rules) + 2):
                for text in universe:
                    yield network.edit().insert(f"{name}:{chain.name}", text, before=number).network
            for rule in chain.rules:
                yield network.edit().delete(rule).network
                for text in universe[:4]:
                    yield network.edit().replace(rule, text).network


def opens(before: netsim.Network, after: netsim.Network, device: str) -> PacketSet:
    one, two = (n.indexes[device][0].permitted() for n in (before, after))
    found: PacketSet = two - one
    return found


def wanted_at(iif: str, oif: str, src: str, dst: str, tracked: bool) -> PacketSet:
    """The opening packets and answers as a device on the way gets them, written down by hand."""
    state: dict[str, Any] = {"state": "new"} if tracked else {}
    back: dict[str, Any] = {"state": "established"} if tracked else {}
    opening = packets(src=src, dst=dst, protocol="tcp", sport=(1024, 65535), dport=80, tcp_flags=SYN, iif=iif, oif=oif,
                      fragment=False, **state)  # fmt: skip
    answer = packets(src=dst, dst=src, protocol="tcp", dport=(1024, 65535), sport=80, tcp_flags="SYN,ACK", iif=oif,
                     oif=iif, fragment=False, **back)  # fmt: skip
    return opening | answer


@settings(max_examples=40, deadline=None)
@given(filters(), st.one_of(st.none(), filters()))
def test_minimal_and_exact_by_brute_force(first: str, second: str | None) -> None:
    network = two(first, second) if second is not None else build(first)
    dst = "server" if second is not None else "other"
    end = "10.0.3.5" if second is not None else "10.0.2.7"
    f = network.fix("client", dst, "tcp/80")
    r = network.reach("client", dst, "tcp/80")
    if r.status is Status.ALLOWED:
        assert f.status is FixStatus.NOTHING
        return
    # A rule can always be put in front of everything.
    assert f.status is FixStatus.FOUND
    assert f.network.reach("client", dst, "tcp/80").status is Status.ALLOWED
    assert f.opened == r.asked - r.allowed
    if len(f.edits) > 1:
        for after in single_edits(network, UNIVERSE):
            assert after.reach("client", dst, "tcp/80").status is not Status.ALLOWED
    for name in f.network.devices:
        tracked = any("conntrack" in x.text for x in network.devices[name].rulesets[0].rules())
        wanted = wanted_at("eth0", "eth1", "10.0.1.5", end, tracked)
        gained = opens(network, f.network, name)
        besides = f.besides.get(name, NOTHING)
        assert gained - wanted <= besides
        assert not besides & wanted
    narrow_by_force(network, f)


@settings(max_examples=25, deadline=None)
@given(filters(), st.one_of(st.none(), filters()), st.booleans())
def test_closing_by_brute_force(first: str, second: str | None, keeping: bool) -> None:
    network = two(first, second) if second is not None else build(first)
    dst = "server" if second is not None else "other"
    keep = [("client", dst, "udp/53")] if keeping else []
    held = [network.reach(*k).allowed for k in keep]
    f = network.fix("client", dst, "tcp/80", close=True, keep=keep)
    r = network.reach("client", dst, "tcp/80")
    if r.status is Status.BLOCKED:
        assert f.status is FixStatus.NOTHING
        return
    assert f.status is FixStatus.FOUND
    assert f.network.reach("client", dst, "tcp/80").status is Status.BLOCKED
    assert [f.network.reach(*k).allowed for k in keep] == held
    if len(f.edits) > 1:
        for after in single_edits(network, [x.replace("ACCEPT", "DROP") for x in UNIVERSE]):
            same = [after.reach(*k).allowed for k in keep] == held
            assert not same or after.reach("client", dst, "tcp/80").status is not Status.BLOCKED


def test_what_an_edit_treats_otherwise_is_said() -> None:
    """A line in front of what drops everything early: what it lets past is rejected later, no longer dropped."""
    rules = (
        "*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -s 10.0.1.0/24 -j DROP\nCOMMIT\n"
        "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n"
        "-A FORWARD -j REJECT\nCOMMIT\n"
    )
    f = fixed(build(rules), "client", "server", "tcp/80")
    assert f.besides == {}
    assert f.aside["fw"] & packets(src="10.0.1.5", dst="10.0.2.5", iif="eth0", oif="eth9")
    assert "and nothing else" not in str(f) and "treats otherwise besides" in str(f)

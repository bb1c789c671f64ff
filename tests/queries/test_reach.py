"""Reachability on small networks: every status, every kind of blocker, both directions."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import pytest

import netsim
from netsim.errors import InputError, Limits, QuestionError
from netsim.queries.reach import Status, reach
from netsim.space.fields import Family
from netsim.topology.graph import from_graph

DEMO = Path(netsim.__file__).parent / "demo_site"


def accept(text: str = "", policy: str = "DROP") -> str:
    return f"*filter\n:FORWARD {policy} [0:0]\n-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n{text}COMMIT\n"


def site(rules: str, **fw: Any) -> dict[str, Any]:
    """client - fw - server, and a second server."""
    interfaces = {
        "eth0": {"address": "10.0.1.1/24", "link": "a"},
        "eth1": {"address": "10.0.2.1/24", "link": "b"},
    }
    device = {"rules": rules, "backend": "legacy", "interfaces": interfaces, "ip_forward": True, **fw}
    return {
        "devices": {"fw": device},
        "hosts": {"client": {"address": "10.0.1.5", "link": "a"}, "server": {"address": "10.0.2.5", "link": "b"},
                  "other": {"address": "10.0.2.6", "link": "b"}},
        "services": {"web": {"instances": ["server", "other"], "ports": ["tcp/80"]}},
    }  # fmt: skip


def ask(
    rules: str, traffic: str = "tcp/80", src: str = "client", dst: str = "server", **fw: Any
) -> netsim.Reachability:
    result: netsim.Reachability = netsim.Network.build(**site(rules, **fw)).reach(src, dst, traffic)
    total = result.allowed | result.blocked | result.split | result.unknown
    assert total == result.asked
    assert not result.allowed & result.blocked
    return result


def test_the_demo() -> None:
    for name, status in (
        ("before", Status.ALLOWED),
        ("during", Status.PARTIAL),
        ("repaired", Status.ALLOWED),
    ):
        r = netsim.load(DEMO / name).reach("auth", "db", "tcp/5432")
        assert r.status is status
    r = netsim.load(DEMO / "during").reach("auth", "db")
    assert r.cut_off == ("auth4",)
    assert r.share_cut_off == Fraction(1, 5)
    assert [b.place for b in r.blockers] == ["fw1.rules:20"]
    assert r.witnesses["blocked"] in r.blocked
    assert str(r.blockers[0].trail[0].source.line_place) == "fw1.rules:13"
    with pytest.raises(TypeError, match="neither true nor false"):
        bool(r)
    assert "&lt;" not in r._repr_html_() or "<script" not in r._repr_html_()
    assert "auth4" in r._repr_html_()


def test_allowed_and_blocked_by_a_rule_and_by_the_policy() -> None:
    assert ask(accept("-A FORWARD -p tcp --dport 80 -j ACCEPT\n")).status is Status.ALLOWED
    r = ask(accept("-A FORWARD -p tcp --dport 80 -j DROP\n", "ACCEPT"))
    assert (r.status, r.blockers[0].kind) == (Status.BLOCKED, "rule")
    r = ask(accept())
    assert (r.status, r.blockers[0].kind, r.blockers[0].text) == (
        Status.BLOCKED,
        "policy",
        "policy of filter/FORWARD",
    )


def test_every_blocker_is_named() -> None:
    rules = accept(
        "-A FORWARD -p tcp --sport 1024:30000 -j DROP\n-A FORWARD -p tcp --sport 30001:40000 -j REJECT\n"
        "-A FORWARD -p tcp --dport 80 -j ACCEPT\n"
    )
    r = ask(rules)
    assert r.status is Status.PARTIAL
    assert [(b.rule.number, b.verdict) for b in r.blockers if b.rule] == [(2, "drop"), (3, "reject")]
    assert r.allowed == r.asked & netsim.packets(sport=(40001, 65535))


def test_a_stateless_filter_blocks_the_answer() -> None:
    rules = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -p tcp --dport 80 -j ACCEPT\nCOMMIT\n"
    r = ask(rules)
    assert r.status is Status.BLOCKED
    assert [(b.kind, b.direction) for b in r.blockers] == [("policy", "answer")]
    assert ask(rules, tracking="passed").status is Status.ALLOWED


def test_unknown_names_its_line() -> None:
    r = ask(accept("-A FORWARD -p tcp --dport 80 -m time --timestart 08:00 -j ACCEPT\n"))
    assert r.status is Status.UNKNOWN
    assert r.because[0].conditions == ("time --timestart 08:00",)
    assert "time --timestart" in str(r)


def test_an_opening_packet_has_its_direction_and_raw_sets_their_own() -> None:
    rules = "*filter\n:FORWARD DROP\n-A FORWARD -m conntrack --ctdir ORIGINAL -j ACCEPT\n-A FORWARD -m conntrack --ctdir REPLY -j ACCEPT\nCOMMIT\n"
    assert ask(rules).status is Status.ALLOWED
    assert ask(accept("-A FORWARD -j ACCEPT\n"), "any").status is Status.ALLOWED
    raw = netsim.packets(protocol="tcp", state="established", ttl=64, fragment=False)
    assert netsim.Network.build(**site(accept())).reach("client", "server", raw).status is Status.ALLOWED
    mixed = netsim.packets(protocol="tcp", state=["new", "established"], ttl=64, fragment=False)
    assert netsim.Network.build(**site(accept())).reach("client", "server", mixed).status is Status.PARTIAL


def test_strict_takes_nothing_for_granted() -> None:
    network = netsim.Network.build(**site(accept("-A FORWARD -j ACCEPT\n")))
    r = network.reach("client", "server", "tcp/80", strict=True)
    assert r.status is Status.UNKNOWN
    assert "rp-filter" in {a.code for a in r.assumptions}
    said = netsim.Network.build(**site(accept("-A FORWARD -j ACCEPT\n"), rp_filter=0))
    assert said.reach("client", "server", "tcp/80", strict=True).status is Status.ALLOWED


def test_routes_block_by_name() -> None:
    good = accept("-A FORWARD -j ACCEPT\n")
    for kind in ("blackhole", "unreachable", "prohibit"):
        r = ask(good, routes=[{"to": "10.0.2.5/32", "type": kind}])
        assert (r.status, r.blockers[0].kind) == (Status.BLOCKED, kind)
    r = ask(good, ip_forward=False)
    assert r.blockers[0].kind == "ip-forward"


def test_dnat_is_undone_for_the_answer() -> None:
    nat = "*nat\n:PREROUTING ACCEPT\n-A PREROUTING -d 10.0.1.1 -p tcp --dport 8080 -j DNAT --to-destination 10.0.2.5:80\nCOMMIT\n"
    rules = nat + accept("-A FORWARD -d 10.0.2.5 -p tcp --dport 80 -j ACCEPT\n")
    r = ask(rules, "tcp/8080", dst="10.0.1.1")
    assert r.status is Status.ALLOWED, str(r)
    assert [h.name for h in r.paths[0].hops] == ["client", "fw", "server", "fw", "client"]


def test_snat_is_undone_for_the_answer() -> None:
    nat = "*nat\n:POSTROUTING ACCEPT\n-A POSTROUTING -o eth1 -j MASQUERADE\nCOMMIT\n"
    r = ask(nat + accept("-A FORWARD -p tcp --dport 80 -j ACCEPT\n"))
    assert r.status is Status.ALLOWED, str(r)


def two_ways(rules_a: str, rules_b: str, **more: Any) -> netsim.Network:
    """client - (fwa | fwb) - server: two equal-cost ways."""

    def fw(n: int, rules: str) -> dict[str, Any]:
        return {"rules": rules, "ip_forward": True, "state_group": more.get("group", ""), "interfaces": {
            "in": {"address": f"10.0.1.{n}/24", "link": "a"}, "out": {"address": f"10.0.2.{n}/24", "link": "b"}}}  # fmt: skip

    gateway = more.get("server_gateway")
    server = {"address": "10.0.2.50", "link": "b", **({"gateway": gateway} if gateway else {})}
    return netsim.Network.build(
        devices={"fwa": fw(1, rules_a), "fwb": fw(2, rules_b)},
        hosts={"client": {"address": "10.0.1.50", "link": "a", **more.get("client", {})}, "server": server},
    )


def test_one_of_two_paths_blocked_is_split() -> None:
    both = accept("-A FORWARD -p tcp --dport 80 -j ACCEPT\n")
    network = two_ways(both, accept(), group="pair")
    r = network.reach("client", "server", "tcp/80")
    assert r.status is Status.PARTIAL
    assert r.split == r.asked
    assert two_ways(both, both, group="pair").reach("client", "server", "tcp/80").status is Status.ALLOWED


def test_an_asymmetric_return_has_a_name() -> None:
    rules = accept("-A FORWARD -p tcp --dport 80 -j ACCEPT\n")
    more = {"client": {"gateway": "10.0.1.1"}, "server_gateway": "10.0.2.2"}
    r = two_ways(rules, rules, **more).reach("client", "server", "tcp/80")
    assert (r.status, r.blockers[0].kind, r.blockers[0].direction) == (
        Status.BLOCKED,
        "asymmetric-return",
        "answer",
    )
    assert (
        two_ways(rules, rules, group="pair", **more).reach("client", "server", "tcp/80").status
        is Status.ALLOWED
    )


def test_rp_filter_and_martians() -> None:
    network = site(accept("-A FORWARD -j ACCEPT\n"), rp_filter=1)
    network["subnets"] = {"strange": {"prefix": "10.9.0.0/24", "link": "a"}}
    r = netsim.Network.build(**network).reach("strange", "server", "any")
    assert r.blockers[0].kind == "rp-filter"
    network["subnets"] = {"strange": {"prefix": "127.0.0.0/24", "link": "a"}}
    r = netsim.Network.build(**network).reach("strange", "server", "any")
    assert r.blockers[0].kind == "martian-source"


def test_services_weights_and_any() -> None:
    rules = accept("-A FORWARD -d 10.0.2.5 -p tcp --dport 80 -j ACCEPT\n")
    network = netsim.Network.build(**site(rules))
    assert network.reach("client", "web").status is Status.PARTIAL
    assert network.reach("client", "web", any_instance=True).status is Status.ALLOWED


def test_an_edit_leaves_the_network_alone() -> None:
    before = netsim.load(DEMO / "during")
    rule = before.reach("auth", "db").blockers[0].rule
    assert rule is not None
    after = before.edit().replace(rule.id, "-s 10.0.14.0/24 -j ACCEPT").network
    assert after.reach("auth", "db").status is Status.ALLOWED
    assert before.reach("auth", "db").status is Status.PARTIAL
    assert (
        before.edit()
        .delete("fw1.rules:20")
        .insert("fw1:filter/AUTH-DB", "-s 10.0.14.0/24 -j ACCEPT", before=1)
        .network.reach("auth", "db")
        .status
        is Status.ALLOWED
    )
    changed = next(r for r in after.devices["fw1"].rulesets[0].rules() if r.source.pointer)
    assert changed.source.place == "edit 1"
    with pytest.raises(QuestionError, match="no rule"):
        before.edit().delete("fw1:filter/AUTH-DB/99")
    with pytest.raises(InputError, match="a port"):
        before.edit().insert("fw1:filter/FORWARD", "-p tcp --dport x -j ACCEPT")
    with pytest.raises(QuestionError, match="did you mean 'filter/FORWARD'"):
        before.edit().insert("fw1:filter/FORWRD", "-j ACCEPT")


def test_questions_without_an_answer() -> None:
    network = netsim.load(DEMO / "before")
    for question, words in (
        (("auht", "db", "tcp/1"), "did you mean 'auth'"),
        (("auth", "db", "tpc/1"), "did you mean 'tcp'"),
        (("auth", "db", "tcp/70000"), "0-65535"),
        (("auth", "2001:db8::1", "tcp/1"), "on no link"),
        (("auth", "fw1", None), "which traffic"),
        (("internet", "db", "tcp/1"), "declares no internet"),
    ):
        with pytest.raises(QuestionError, match=words):
            network.reach(*question)


def test_the_graph_goes_round() -> None:
    network = netsim.load(DEMO / "before")
    graph = network.graph
    with pytest.raises(Exception, match="[Ff]rozen"):
        graph.add_node("x")
    again = from_graph(graph)
    assert again == network
    assert again.reach("auth", "db").status is Status.ALLOWED


def test_ipv6() -> None:
    rules = "# Generated by ip6tables-save v1.8.9\n" + accept("-A FORWARD -p tcp --dport 80 -j ACCEPT\n")
    network = site(rules)
    network["devices"]["fw"]["interfaces"] = {
        "eth0": {"address": "2001:db8:1::1/64", "link": "a"},
        "eth1": {"address": "2001:db8:2::1/64", "link": "b"},
    }
    network["hosts"] = {
        "client": {"address": "2001:db8:1::5", "link": "a"},
        "server": {"address": "2001:db8:2::5", "link": "b"},
    }
    network["services"] = {}
    assert netsim.Network.build(**network).reach("client", "server", "tcp/80").status is Status.ALLOWED
    assert netsim.Network.build(**network).reach("client", "server", "tcp/81").status is Status.BLOCKED


def test_vrfs_keep_their_own_routes() -> None:
    network = site(accept("-A FORWARD -j ACCEPT\n"))
    interfaces = network["devices"]["fw"]["interfaces"]
    interfaces["eth0"]["vrf"] = "red"
    apart = netsim.Network.build(**network).reach("client", "server", "tcp/80")
    assert (apart.status, apart.blockers[0].kind) == (Status.BLOCKED, "unreachable")
    interfaces["eth1"]["vrf"] = "red"
    assert netsim.Network.build(**network).reach("client", "server", "tcp/80").status is Status.ALLOWED


def test_policy_routing_by_source_and_by_mark() -> None:
    marks = "*mangle\n-A PREROUTING -p tcp --dport 81 -j MARK --set-mark 7\nCOMMIT\n"
    more: dict[str, Any] = {
        "route_rules": [{"priority": 50, "fwmark": "7", "table": "t"}],
        "routes": [{"to": "10.0.2.0/24", "type": "prohibit", "table": "t"}],
    }
    rules = marks + accept("-A FORWARD -j ACCEPT\n")
    more["route_rules"].append({"priority": 32766, "table": "main"})
    assert ask(rules, "tcp/80", **more).status is Status.ALLOWED
    r = ask(rules, "tcp/81", **more)
    assert (r.status, r.blockers[0].kind) == (Status.BLOCKED, "prohibit")


def test_what_is_dropped_by_one_rule_or_the_other_is_blocked() -> None:
    r = ask(accept("-A FORWARD -p tcp --dport 80 -m limit --limit 1/s -j DROP\n"))
    assert r.status is Status.BLOCKED
    assert [(b.kind, bool(b.packets)) for b in r.blockers] == [("rule", False), ("policy", False)]


def test_each_host_answers_its_own_packets() -> None:
    """One of two servers has a gateway that is nobody: only what is addressed to it has no answer."""
    network = site(accept("-A FORWARD -p tcp --dport 80 -j ACCEPT\n"))
    network["hosts"]["other"]["gateway"] = "10.0.2.99"
    r = netsim.Network.build(**network).reach("client", "web")
    assert r.status is Status.PARTIAL
    assert r.allowed == r.asked & netsim.packets(dst="10.0.2.5")
    assert r.blocked == r.asked & netsim.packets(dst="10.0.2.6")


def test_zones_are_asked_about_by_name() -> None:
    network = site(accept("-A FORWARD -p tcp --dport 80 -j ACCEPT\n"))
    network["subnets"] = {"lan": {"prefix": "10.0.1.0/24", "link": "a"}}
    derived = netsim.Network.build(**network)
    assert list(derived.zones) == ["lan", "b"]
    r = derived.reach("zone:lan", "b", "tcp/80")
    assert (r.status, r.src) == (Status.ALLOWED, "zone:lan")
    assert r.asked == derived.reach("lan", "10.0.2.0/24", "tcp/80").asked - netsim.packets(dst="10.0.2.1")
    network["zones"] = {"inside": ["a", "b"]}
    declared = netsim.Network.build(**network)
    assert declared.reach("inside", "inside", "tcp/80").status is Status.ALLOWED
    assert declared.reach("client", "inside", "tcp/80").status is Status.ALLOWED
    for name, hint in (("insid", "did you mean 'inside'"), ("zone:insid", "did you mean 'inside'")):
        with pytest.raises(QuestionError, match=hint):
            declared.reach("client", name, "tcp/80")


OPEN = accept("-A FORWARD -j ACCEPT\n")


def test_a_prefix_stands_for_its_end_systems_and_the_devices_in_it() -> None:
    network = netsim.Network.build(
        **site(OPEN, rp_filter=0), subnets={"a": {"prefix": "10.0.1.0/24", "link": "a"}}
    )
    for src, dst in (
        ("10.0.1.0/24", "server"),
        ("a", "server"),
        ("client", "10.0.2.0/24"),
        ("10.0.0.0/8", "server"),
    ):
        r = network.reach(src, dst, "tcp/80")
        assert r.status is Status.ALLOWED, str(r)
        assert "not-asked" in {a.code for a in r.assumptions}
        assert network.reach(src, dst, "tcp/80", strict=True).status is Status.ALLOWED
    r = network.reach("10.0.1.0/24", "server", "tcp/80")
    assert [(s.name, s.weight) for s in r.sources] == [("10.0.1.0/24 on a", 254), ("fw", 1)]
    r = network.reach("10.0.1.1", "server", "tcp/80")
    assert (r.status, r.paths[0].hops[0].name) == (Status.ALLOWED, "fw")
    assert "not-asked" not in {a.code for a in r.assumptions}


def test_shares_of_prefixes_count_addresses() -> None:
    network = netsim.Network.build(
        **site(accept("-A FORWARD -s 10.0.1.0/25 -j DROP\n-A FORWARD -j ACCEPT\n"))
    )
    r = network.reach("10.0.1.0/24", "server", "tcp/80")
    assert [b.share for b in r.blockers] == [Fraction(127, 255)]
    r = network.reach("10.0.0.0/16", "server", "tcp/80")
    assert [b.share for b in r.blockers] == [Fraction(127, 254 + 254 + 2)]


def test_a_subnet_reaches_itself_and_a_host_does_not_ask_itself() -> None:
    network = netsim.Network.build(**site(OPEN), subnets={"office": {"prefix": "10.0.1.128/25", "link": "a"}})
    assert network.reach("office", "office", "tcp/80").status is Status.ALLOWED
    assert network.reach("10.0.1.0/24", "10.0.1.0/24", "tcp/80").status is Status.ALLOWED
    with pytest.raises(QuestionError, match="nothing is asked"):
        network.reach("client", "client", "tcp/80")


def test_each_host_answers_through_its_own_gateway() -> None:
    both = accept("-A FORWARD -p tcp --dport 80 -j ACCEPT\n")
    network = site(both)
    network["devices"]["fw2"] = {"rules": accept(), "ip_forward": True, "interfaces": {
        "eth0": {"address": "10.0.1.2/24", "link": "a"}, "eth1": {"address": "10.0.2.2/24", "link": "b"}}}  # fmt: skip
    network["hosts"]["client"]["gateway"] = "10.0.1.1"
    network["hosts"]["server"]["gateway"] = "10.0.2.1"
    network["hosts"]["other"]["gateway"] = "10.0.2.2"
    r = netsim.Network.build(**network).reach("client", "web", "tcp/80")
    assert not r.split
    assert str(r.allowed.addresses("dst")) == "IPSet(['10.0.2.5/32'])"
    assert str(r.blocked.addresses("dst")) == "IPSet(['10.0.2.6/32'])"
    assert [(b.kind, b.device, str(b.path[0])) for b in r.blockers] == [("asymmetric-return", "fw2", "other")]


def test_a_link_may_have_the_name_of_a_device_or_a_host() -> None:
    network = site(OPEN)
    network["devices"]["fw"]["interfaces"]["eth1"]["link"] = "fw"
    network["hosts"]["server"]["link"] = network["hosts"]["other"]["link"] = "fw"
    network["subnets"] = {"far": {"prefix": "10.0.2.128/25", "link": "fw"}}
    r = netsim.Network.build(**network).reach("client", "far", "tcp/80")
    assert r.status is Status.ALLOWED
    assert [h.name for h in r.paths[0].hops] == ["client", "fw", "fw", "fw", "client"]


def test_two_devices_may_share_the_next_hop() -> None:
    network = two_ways(
        OPEN, accept("-A FORWARD -p tcp --dport 80 -j DROP\n"), client={"gateway": "10.0.1.250"}
    )
    devices = {
        n: {"rules": r, "ip_forward": True, "state_group": "pair", "interfaces": {
            "in": {"address": [f"10.0.1.{i}/24", "10.0.1.250/24"], "link": "a"},
            "out": {"address": f"10.0.2.{i}/24", "link": "b"}}}
        for n, i, r in (("fwa", 1, OPEN), ("fwb", 2, accept("-A FORWARD -p tcp --dport 80 -j DROP\n")))
    }  # fmt: skip
    hosts = {"client": {"address": "10.0.1.50", "link": "a", "gateway": "10.0.1.250"},
             "server": {"address": "10.0.2.50", "link": "b"}}  # fmt: skip
    r = netsim.Network.build(devices=devices, hosts=hosts).reach("client", "server", "tcp/80")
    assert r.split == r.asked
    assert network.reach("client", "server", "tcp/80").blockers[0].kind == "no-neighbour"


def test_any_instance_is_as_good_as_the_best() -> None:
    blocked, perhaps = (
        "-A FORWARD -d 10.0.2.5 -j DROP\n",
        "-A FORWARD -d 10.0.2.6 -m time --timestart 08:00 -j ACCEPT\n",
    )
    r = netsim.Network.build(**site(accept(blocked + perhaps))).reach("client", "web", any_instance=True)
    assert (r.status, r.unknown) == (Status.UNKNOWN, r.asked)
    r = netsim.Network.build(**site(accept(perhaps))).reach("client", "web", any_instance=True)
    assert r.status is Status.UNKNOWN
    r = netsim.Network.build(**site(accept())).reach("client", "web", any_instance=True)
    assert r.blocked == r.asked
    r = netsim.Network.build(**site(accept(blocked + "-A FORWARD -j ACCEPT\n"))).reach(
        "client", "web", any_instance=True
    )
    assert r.allowed == r.asked


def chain_of_two(first: str, second: str) -> netsim.Network:
    """client - fw1 - fw2 - server."""

    def fw(rules: str, a: str, b: str, to: str, via: str) -> dict[str, Any]:
        return {"rules": rules, "interfaces": {"l": {"address": f"{a}/24", "link": a[:6]}, "r": {"address": f"{b}/24", "link": b[:6]}},
                "routes": [{"to": to, "via": via}]}  # fmt: skip

    return netsim.Network.build(
        devices={"fw1": fw(first, "10.0.1.1", "10.0.2.1", "10.0.3.0/24", "10.0.2.2"),
                 "fw2": fw(second, "10.0.2.2", "10.0.3.2", "10.0.1.0/24", "10.0.2.1")},
        hosts={"client": {"address": "10.0.1.5", "link": "10.0.1"}, "server": {"address": "10.0.3.5", "link": "10.0.3"}},
    )  # fmt: skip


def test_each_hop_has_a_frame_of_its_own() -> None:
    mac = accept("-A FORWARD -m mac --mac-source 02:00:00:00:00:0{} -j ACCEPT\n")
    r = chain_of_two(mac.format(1), mac.format(2)).reach("client", "server", "tcp/80")
    assert r.unknown
    assert r.unknown == r.asked - r.blocked


def test_an_answer_is_sent_with_a_ttl_of_its_own() -> None:
    low = accept("-A FORWARD -p tcp --dport 80 -m ttl --ttl-gt 61 -j ACCEPT\n")
    strict = low.replace(
        "-m conntrack --ctstate ESTABLISHED", "-m conntrack --ctstate ESTABLISHED -m ttl --ttl-gt 62"
    )
    assert chain_of_two(OPEN, strict).reach("client", "server", "tcp/80").status is Status.ALLOWED


def test_an_untracked_device_calls_every_packet_untracked() -> None:
    rules = "*filter\n:FORWARD DROP\n-A FORWARD -m conntrack --ctstate UNTRACKED -j ACCEPT\nCOMMIT\n"
    assert ask(rules, tracking="untracked").status is Status.ALLOWED


def test_assumptions_belong_to_the_devices_on_the_way() -> None:
    network = chain_of_two(OPEN, accept())
    r = network.reach("client", "server", "tcp/80")
    assert r.blockers[0].device == "fw2"
    assert {a.text.split()[0] for a in r.assumptions if a.code == "ip-forward"} == {"fw1", "fw2"}
    again = from_graph(network.graph)
    assert again.reach("client", "server", "tcp/80").assumptions == r.assumptions


def test_a_graph_may_name_one_link_of_the_internet() -> None:
    import networkx

    graph: Any = networkx.MultiDiGraph(internet="wan")
    graph.add_node("r", kind="device", interfaces={"e": {"address": "10.0.0.1/24", "link": "wan"}})
    assert from_graph(graph).internet == ("wan",)


def test_a_service_with_wrong_ports_is_named_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "netsim.yaml").write_text(
        "devices: {fw: {interfaces: {e: {address: 10.0.0.1/24, link: a}}}}\n"
        "hosts: {h: {address: 10.0.0.2, link: a}, i: {address: 10.0.0.3, link: a}}\n"
        "services:\n  s: {instances: [h], ports: [tpc/80]}\n"
    )
    with pytest.raises(QuestionError, match=r"netsim.yaml:4:6: NS311 service s: .*did you mean 'tcp'"):
        netsim.load(tmp_path).reach("i", "s")


def test_what_a_device_sends_is_routed_again_after_output() -> None:
    nat = "*nat\n:OUTPUT ACCEPT\n-A OUTPUT -d 192.0.2.1 -p tcp -j DNAT --to-destination 10.0.2.5\nCOMMIT\n"
    network = site(
        nat + "*filter\n:OUTPUT DROP\n-A OUTPUT -o eth0 -j ACCEPT\nCOMMIT\n", routes=["default via 10.0.1.5"]
    )
    network["subnets"] = {"net": {"prefix": "192.0.2.1/32", "link": "a"}}
    r = netsim.Network.build(**network).reach("fw", "net", "tcp/80")
    assert r.status is Status.ALLOWED, str(r)
    assert [str(h) for h in r.paths[0].hops] == ["fw[eth1]", "server", "fw[eth1]"]
    marks = "*mangle\n:OUTPUT ACCEPT\n-A OUTPUT -p tcp --dport 81 -j MARK --set-mark 1\nCOMMIT\n"
    more: dict[str, Any] = {"route_rules": [{"priority": 5, "fwmark": 1, "table": "7"}],
                            "routes": [{"to": "10.0.2.0/24", "type": "prohibit", "table": "7"}]}  # fmt: skip
    assert ask(marks, "tcp/80", src="fw", **more).status is Status.ALLOWED
    assert [b.kind for b in ask(marks, "tcp/81", src="fw", **more).blockers] == ["prohibit"]


def test_many_equal_cost_paths_end_in_unknown_and_not_in_a_hang() -> None:
    network = two_ways(OPEN, OPEN, group="pair")
    r = network.reach("client", "server", "tcp/80", limits=Limits(paths=3))
    assert r.status is Status.UNKNOWN
    assert [a.code for a in r.assumptions if "Limits.paths" in a.text] == ["budget"]


def test_numbered_icmp_types_are_answered_like_named_ones() -> None:
    r = ask(OPEN, "icmp/8")
    assert r.status is Status.ALLOWED
    assert [h.name for h in r.paths[0].hops] == ["client", "fw", "server", "fw", "client"]
    stateless = "*filter\n:FORWARD DROP\n-A FORWARD -p icmp --icmp-type 8 -j ACCEPT\nCOMMIT\n"
    assert [b.direction for b in ask(stateless, "icmp/8").blockers] == ["answer"]


def test_source_ports_are_ports() -> None:
    with pytest.raises(QuestionError, match="65535"):
        netsim.Network.build(**site(OPEN)).reach("client", "server", "tcp/80", source_ports=(70000, 1))


def test_a_part_of_a_subnet_that_is_cut_off_is_counted() -> None:
    rules = accept(
        "-A FORWARD -s 10.0.1.128/26 -j DROP\n-A FORWARD -s 10.0.1.192/26 -p tcp --sport 40000 -j DROP\n-A FORWARD -j ACCEPT\n"
    )
    network = netsim.Network.build(
        **site(rules), subnets={"office": {"prefix": "10.0.1.128/25", "link": "a"}}
    )
    r = network.reach("office", "server", "tcp/80")
    assert (r.cut_off, r.share_cut_off) == ((), Fraction(64, 127))
    assert "cut off: 50.39% of the source addresses" in str(r)


def test_an_answer_that_nobody_translates_back_is_one_way_nat() -> None:
    """The client asks the firewall's address; the server answers by another router, with its own."""
    nat = "*nat\n:PREROUTING ACCEPT\n-A PREROUTING -d 10.0.1.100 -p tcp -j DNAT --to-destination 10.0.2.10\nCOMMIT\n"
    network = netsim.Network.build(
        devices={
            "fw": {
                "rules": nat, "ip_forward": True,
                "interfaces": {"eth0": {"address": ["10.0.1.1/24", "10.0.1.100/24"], "link": "a"},
                               "eth1": {"address": "10.0.2.1/24", "link": "b"}},
            },
            "other": {
                "ip_forward": True,
                "interfaces": {"eth0": {"address": "10.0.1.2/24", "link": "a"},
                               "eth1": {"address": "10.0.2.2/24", "link": "b"}},
            },
        },
        hosts={"client": {"address": "10.0.1.10", "link": "a", "gateway": "10.0.1.1"},
               "server": {"address": "10.0.2.10", "link": "b", "gateway": "10.0.2.2"}},
    )  # fmt: skip
    answer = network.reach("client", "10.0.1.100", "tcp/80")
    assert answer.status is Status.BLOCKED
    (blocker,) = answer.blockers
    assert (blocker.kind, blocker.device, blocker.direction) == ("one-way-nat", "fw", "answer")
    assert "does not pass fw" in blocker.text
    back = attrs.evolve(network.hosts["server"], gateway=((Family.IPV4, (10 << 24) + (2 << 8) + 1),))
    repaired = attrs.evolve(network, hosts={**network.hosts, "server": back})
    assert repaired.reach("client", "10.0.1.100", "tcp/80").status is Status.ALLOWED


def test_an_answer_names_what_let_it_through() -> None:
    network = netsim.load(Path(netsim.__file__).parent / "demo_site" / "before")
    answer = reach(network, "auth", "db", "tcp/5432", admitters=True)
    places = {(a.device, a.direction, a.place.rpartition(":")[2]) for a in answer.admitters}
    assert ("fw1", "opening", "20") in places
    assert ("fw2", "answer", "9") in places
    assert not reach(network, "auth", "db", "tcp/5432").admitters


def test_a_destination_translated_to_a_range_that_holds_the_router_itself() -> None:
    """One address of the range is the router's own, one nobody's, one a host's: some packets arrive."""
    rules = (
        "*nat\n:PREROUTING ACCEPT\n-A PREROUTING -i a -p tcp --dport 80 -j DNAT --to-destination 10.0.1.1-10.0.1.3\n"
        "COMMIT\n*filter\n:FORWARD ACCEPT\n:INPUT DROP\nCOMMIT\n"
    )
    net = netsim.Network.build(
        devices={
            "r1": {
                "rules": rules,
                "interfaces": {
                    "a": {"address": "10.0.0.1/24", "link": "a"},
                    "b": {"address": "10.0.1.1/24", "link": "b"},
                },
            }
        },
        hosts={
            "h": {"address": "10.0.0.9/24", "link": "a", "gateway": "10.0.0.1"},
            "w": {"address": "10.0.1.3/24", "link": "b", "gateway": "10.0.1.1"},
        },
    )
    r = net.reach("h", "w", "tcp/80")
    assert not r.allowed
    assert not r.blocked, str(r)
    assert r.split | r.unknown

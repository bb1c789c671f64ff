"""What two rule sets, devices and networks decide differently, as users ask and read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import netsim
from netsim.errors import BudgetExceeded, Limits, QuestionError
from netsim.index import Index, rowdiff, rowwise
from netsim.index.differ import Differ, Kind
from netsim.queries.compare import COLUMNS, MANY, NOT_TOLD, Comparison
from netsim.rules.model import Point, RuleSet
from netsim.space import EVERYTHING, packets
from netsim.space.fields import Family
from netsim.topology.network import Network
from tests.queries.test_reach import accept, site

DEMO = Path(netsim.__file__).parent / "demo_site"
BEFORE, DURING, REPAIRED = (DEMO / name / "fw1.rules" for name in ("before", "during", "repaired"))


def rules(*lines: str, head: str = ":FORWARD DROP", table: str = "filter", **more: Any) -> netsim.Rules:
    text = "\n".join([f"*{table}", head, *lines, "COMMIT", ""])
    found: netsim.Rules = netsim.parse(text, **{"family": Family.IPV4, **more})
    return found


# Rule files


def test_the_demo_names_both_lines() -> None:
    found = netsim.compare(BEFORE, DURING)
    assert not found.equal
    (change,) = found.changes
    assert (change.kind, change.where) == (Kind.LOST, "forward")
    assert (change.before.verdict, change.after.verdict) == ("accept", "drop")
    assert change.before.place == f"{BEFORE}:20"
    assert change.after.place == f"{DURING}:20"
    assert found.lost == change.packets
    assert change.packets <= packets(src="10.0.14.0/24", dst="10.0.20.10", protocol="tcp", dport=5432)
    assert not found.gained
    assert not found.changed
    witness = change.witness
    assert witness is not None
    assert netsim.parse(BEFORE).decide(witness).verdict.value == "accept"
    assert netsim.parse(DURING).decide(witness).verdict.value == "drop"


def test_the_other_way_round_it_is_gained() -> None:
    there, back = netsim.compare(BEFORE, DURING), netsim.compare(DURING, REPAIRED)
    assert back.gained == there.lost
    assert [c.kind for c in back.changes] == [Kind.GAINED]


def test_equal_is_proven() -> None:
    found = netsim.compare(BEFORE, REPAIRED)
    assert found.equal
    assert found.rows() == []
    assert "proven equal" in str(found)
    assert "proven equal" in str(netsim.compare(BEFORE, BEFORE))


def test_equal_although_written_otherwise() -> None:
    a = rules("-A FORWARD -s 10.0.0.0/9 -p tcp -j ACCEPT", "-A FORWARD -s 10.128.0.0/9 -p tcp -j ACCEPT")
    b = rules("-A FORWARD -p udp -j DROP", "-A FORWARD -s 10.0.0.0/8 -p tcp -j ACCEPT")
    assert netsim.compare(a, b).equal


def test_scope_and_only() -> None:
    a = rules("-A FORWARD -p tcp --dport 22 -j ACCEPT")
    b = rules("-A FORWARD -p tcp --dport 80 -j ACCEPT")
    whole = netsim.compare(a, b)
    assert whole.gained and whole.lost
    assert netsim.compare(a, b, scope="tcp/443").equal
    assert netsim.compare(a, b, scope=netsim.NOTHING).equal
    near = netsim.compare(a, b, scope="src 10.0.0.0/8 tcp/22")
    assert near.lost == whole.lost & packets(src="10.0.0.0/8")
    assert not near.gained
    assert [c.kind for c in whole.only([Kind.LOST]).changes] == [Kind.LOST]
    assert whole.only(["changed"]).equal
    assert whole.only([]).equal
    assert [c.where for c in whole.at("forward").changes] == ["forward", "forward"]
    assert whole.at("input").equal
    with pytest.raises(QuestionError, match="NS322"):
        netsim.compare(a, b, scope="nonsense 1")
    with pytest.raises(ValueError, match="wanted"):
        whole.only(["wanted"])


def test_every_hook_is_compared() -> None:
    lines = "-A {} -p tcp --dport 22 -j DROP"
    heads = ":INPUT ACCEPT\n:OUTPUT ACCEPT\n:FORWARD ACCEPT"
    plain = rules(head=heads)
    for chain in ("INPUT", "OUTPUT", "FORWARD"):
        found = netsim.compare(plain, rules(lines.format(chain), head=heads))
        assert {(c.kind, c.where) for c in found.changes} == {(Kind.LOST, chain.lower())}


def test_ipv6() -> None:
    a = rules("-A FORWARD -s 2001:db8::/32 -p tcp -j ACCEPT", family=Family.IPV6)
    b = rules("-A FORWARD -s 2001:db8::/33 -p tcp -j ACCEPT", family=Family.IPV6)
    lost = netsim.compare(a, b).lost
    assert lost == packets(src="2001:db8:8000::/33", protocol="tcp", ttl=(2, 255))


def test_different_families_cannot_be_compared() -> None:
    with pytest.raises(QuestionError, match="NS321"):
        netsim.compare(rules(), rules(family=Family.IPV6))
    assert netsim.compare(rules().ruleset, RuleSet({}, family=None)).gained


def test_what_cannot_be_compared_says_so() -> None:
    with pytest.raises(QuestionError, match="NS324"):
        netsim.compare(DEMO / "before", BEFORE)


def test_back_ends_differ_in_later_fragments_only() -> None:
    line = "-A FORWARD -p udp --dport 53 -j ACCEPT"
    found = netsim.compare(rules(line, backend="legacy"), rules(line, backend="nft"))
    assert not found.equal
    union = found.gained | found.lost | found.changed
    assert union <= packets(fragment=True)
    lines = ("-A FORWARD -m conntrack --ctstate NEW -p udp --dport 53 -j ACCEPT",)
    assert netsim.compare(rules(*lines, backend="legacy"), rules(*lines, backend="nft")).equal


def test_a_port_test_that_later_fragments_may_pass_meets_rules_about_fragments() -> None:
    """The nft back end reads payload as ports: a new port rule in front of one about fragments changes these."""
    for test in ("-p udp --dport 53", "-p icmp --icmp-type 8", "-p tcp --syn"):
        old, new = "-A FORWARD -f -j DROP", f"-A FORWARD {test} -j ACCEPT"
        for head, kind in ((":FORWARD ACCEPT", "gained"), (":FORWARD DROP", "gained")):
            found = netsim.compare(
                rules(old, head=head, backend="nft"), rules(new, old, head=head, backend="nft")
            )
            assert getattr(found, kind) & packets(fragment=True)
    same = netsim.compare(
        rules("-A FORWARD -f -j DROP", "-A FORWARD -p udp --dport 53 -j REJECT", backend="nft"),
        rules("-A FORWARD -f -j DROP", "-A FORWARD -p udp --dport 54 -j REJECT", backend="nft"),
    )
    assert not same.changed & packets(fragment=True)


def test_tracking_that_an_edit_does_not_touch_still_reassembles() -> None:
    """The rules outside of the reach of a change still say that connections are tracked."""
    state = "-A FORWARD -i eth0 -m conntrack --ctstate ESTABLISHED -j ACCEPT"
    found = netsim.compare(
        rules(state, "-A FORWARD -i eth1 -p udp -j ACCEPT"),
        rules(state, "-A FORWARD -i eth1 -p udp -s 10.0.0.0/8 -j ACCEPT"),
    )
    assert found.lost
    assert not found.lost & packets(fragment=True)


def test_translations_and_marks_are_changed() -> None:
    nat = "-A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.0.0.{}"
    a, b = (rules(nat.format(n), head=":PREROUTING ACCEPT", table="nat") for n in (1, 2))
    found = netsim.compare(a, b, scope="state new")
    assert {c.kind for c in found.changes} == {Kind.CHANGED}
    assert found.changed <= packets(protocol="tcp", dport=80)
    mark = "-A FORWARD -p tcp -j MARK --set-mark {}"
    a, b = (rules(mark.format(n), head=":FORWARD ACCEPT", table="mangle") for n in (1, 2))
    assert netsim.compare(a, b).changed == packets(protocol="tcp", family=4, ttl=(2, 255))


def test_a_mark_that_is_no_longer_restored_is_changed() -> None:
    """Where 32 bits happen to equal 32 others is no diagram: such packets count as changed too."""
    head, restore = ":PREROUTING ACCEPT", "-A PREROUTING -i eth0 -j CONNMARK --restore-mark"
    found = netsim.compare(rules(restore, head=head, table="mangle"), rules(head=head, table="mangle"))
    assert found.changed & packets(iif="eth0", mark=1, state="new")
    assert not found.changed & packets(iif="eth1")
    few = restore + " --nfmask 0x3 --ctmask 0x3"
    found = netsim.compare(rules(few, head=head, table="mangle"), rules(head=head, table="mangle"))
    mine = packets(iif="eth0", mark=1, state="new", family=4)
    assert found.changed & mine
    assert mine - found.changed


def test_a_refusal_of_another_kind_is_changed() -> None:
    found = netsim.compare(rules("-A FORWARD -p tcp -j DROP"), rules("-A FORWARD -p tcp -j REJECT"))
    (change,) = found.changes
    assert (change.kind, change.before.verdict, change.after.verdict) == (Kind.CHANGED, "drop", "reject")


def test_unmodelled_bounds() -> None:
    limited = rules("-A FORWARD -p tcp -m limit --limit 5/min -j ACCEPT")
    (change,) = netsim.compare(rules(), limited).changes
    assert change.kind is Kind.GAINED
    assert change.after.verdict == "unknown (accept or drop)"
    assert change.after.rule is not None
    assert change.after.rule.number == 1
    assert netsim.compare(limited, limited).equal
    # Two rules with the same limit answer afresh; more packets may pass, and none that could not before.
    assert netsim.compare(limited, rules(*["-A FORWARD -p tcp -m limit --limit 5/min -j ACCEPT"] * 2)).equal


def test_rows_and_frame_have_fixed_columns() -> None:
    import pandas  # type: ignore[import-untyped]

    found = netsim.compare(BEFORE, DURING)
    for row in found.rows():
        assert tuple(row) == COLUMNS
    assert tuple(found.frame().columns) == COLUMNS
    assert isinstance(found.frame(), pandas.DataFrame)
    empty = netsim.compare(BEFORE, BEFORE)
    assert tuple(empty.frame().columns) == COLUMNS
    assert len(empty.frame()) == 0


def test_bool_raises() -> None:
    with pytest.raises(TypeError, match=r"\.equal"):
        bool(netsim.compare(BEFORE, DURING))


def test_it_reads_well_and_hostile_text_stays_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DEMO)
    before, during = Path("before"), Path("during")
    evil = '-A FORWARD -p tcp -m comment --comment "<script>alert(1)</script>\x1b[2J" -j ACCEPT'
    found = netsim.compare(rules(), rules(evil))
    html = found._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "\x1b" not in str(found)
    assert "\x1b" not in html
    for comparison in (
        found,
        netsim.compare(before / "fw1.rules", during / "fw1.rules"),
        netsim.compare(before, during),
    ):
        assert max(map(len, str(comparison).splitlines())) <= 100


def test_many_changes_are_counted() -> None:
    def some(n: int) -> netsim.Rules:
        return rules(*(f"-A FORWARD -s 10.{i}.0.0/16 -p tcp --dport {i * n} -j ACCEPT" for i in range(1, 61)))

    found = netsim.compare(some(2), some(3))
    assert len(found.changes) == 120
    assert "80 more" in str(found)
    assert len(found.rows()) == 120


def test_regions_past_the_limit_are_told_without_rules() -> None:
    a = rules(*(f"-A FORWARD -s 10.{i}.0.0/16 -j ACCEPT" for i in range(20)))
    b = rules(*(f"-A FORWARD -d 10.{i}.0.0/16 -j ACCEPT" for i in range(20)))
    differ = Differ(a.index, b.index, Point.FORWARD, EVERYTHING)
    every, few = list(differ.regions()), list(differ.regions(limit=5))
    assert len(every) == 40
    assert len(few) < 20
    assert any(r.before.many or r.after.many for r in few)
    for kind in Kind:
        union = netsim.NOTHING
        for region in few:
            if region.kind is kind:
                assert not union & region.packets
                union |= region.packets
        assert union == differ.of(kind)


def test_a_budget_ends_a_comparison_with_an_error() -> None:
    limits = Limits(nodes=5)
    a, b = (Index(rules(f"-A FORWARD -s 10.7.{n}.0/25 -p udp --dport 1{n} -j ACCEPT").ruleset, limits=limits) for n in (91, 92))  # fmt: skip
    with pytest.raises(BudgetExceeded):
        list(Differ(a, b, Point.FORWARD, EVERYTHING).regions())


# Devices


def device(text4: str = "", text6: str = "", **more: Any) -> Any:
    found = [t for t in (text4, text6) if t]
    network = Network.build(
        devices={"fw": {"rules": found, "interfaces": {"a": {"address": ["10.0.0.1/24", "2001:db8::1/64"], "link": "a"},
                                                       "b": {"address": "10.0.1.1/24", "link": "b"}}, **more}},
    )  # fmt: skip
    return network.devices["fw"]


V4 = "# Generated by iptables-save v1.8.9\n*filter\n:FORWARD DROP\n-A FORWARD -s 10.0.0.0/8 -p tcp -j ACCEPT\nCOMMIT\n"
V6 = "# Generated by ip6tables-save v1.8.9\n*filter\n:FORWARD DROP\n-A FORWARD -s 2001:db8::/32 -p tcp -j ACCEPT\nCOMMIT\n"


def test_devices_are_compared_in_both_families() -> None:
    one = device(V4, V6)
    assert netsim.compare(one, one).equal
    other = device(V4, V6.replace("/32", "/33"))
    found = netsim.compare(one, other)
    assert {(c.kind, c.where) for c in found.changes} == {(Kind.LOST, "ipv6 forward")}
    assert found.lost <= packets(src="2001:db8::/32")
    assert {c.where for c in netsim.compare(one, device(V4.replace("-p tcp", "-p udp"), V6)).changes} == {
        "ipv4 forward"
    }


def test_devices_with_another_route_send_elsewhere() -> None:
    one, two = device(V4), device(V4, routes=["10.9.0.0/16 via 10.0.1.2"])
    found = netsim.compare(one, two)
    assert {(c.kind, c.where) for c in found.changes} == {(Kind.CHANGED, "routing")}
    assert packets(dst="10.9.3.4") <= found.changed
    assert not found.changed & packets(dst="10.8.0.0/16")
    assert netsim.compare(one, two, scope="dst 10.8.0.0/16").equal


# Networks


def test_the_demo_end_to_end() -> None:
    before, during = netsim.load(DEMO / "before"), netsim.load(DEMO / "during")
    found: Comparison = netsim.compare(before, during)
    pairs = [c for c in found.changes if c.where == "auth -> db tcp/5432"]
    assert [c.kind for c in pairs] == [Kind.LOST]
    (change,) = pairs
    assert (change.before.place.rpartition("/")[2], change.after.place.rpartition("/")[2]) == (
        "fw1.rules:20", "fw1.rules:20",
    )  # fmt: skip
    assert change.device == "fw1"
    assert change.path
    assert not found.gained
    assert netsim.compare(DEMO / "during", DEMO / "repaired").gained == found.lost
    assert netsim.compare(DEMO / "before", DEMO / "repaired").equal
    same = netsim.compare(before, netsim.load(DEMO / "before"))
    assert same.equal
    assert "the networks are the same" in str(same)


def test_an_edit_and_nothing_besides() -> None:
    net = netsim.load(DEMO / "before")
    after = net.edit().insert(
        "fw1:filter/AUTH-DB", "-s 10.0.12.0/24 -m comment --comment test -j DROP", before=1
    ).network  # fmt: skip
    found = netsim.compare(net, after)
    assert {c.kind for c in found.changes} == {Kind.LOST}
    assert found.lost <= packets(src="10.0.12.0/24")
    assert any("edit 1" in c.after.place for c in found.changes)
    assert netsim.compare(net, net.edit().network).equal


def test_a_change_behind_another_blocker_is_noted_and_is_none() -> None:
    hidden = accept("-A FORWARD -p tcp --dport 81 -s 10.9.9.9 -j ACCEPT\n")
    one, two = Network.build(**site(accept())), Network.build(**site(hidden))
    found = netsim.compare(one, two)
    assert found.equal
    assert any("without an effect end to end" in note for note in found.notes), found.notes


def test_networks_without_a_common_name() -> None:
    one = Network.build(**site(accept()))
    with pytest.raises(QuestionError, match="NS323") as error:
        netsim.compare(one, netsim.load(DEMO / "before"))
    assert "nothing to compare" in str(error.value)
    plain = site(accept())
    interfaces = {"eth0": {"address": "10.0.1.1/24", "link": "left"}}
    renamed = {
        "devices": {"fw": {**plain["devices"]["fw"], "interfaces": interfaces}},
        "hosts": {"client": {"address": "10.0.1.5", "link": "left"}},
        "services": {"webb": {"instances": ["client"], "ports": ["tcp/80"]}},
    }
    with pytest.raises(QuestionError, match="did you mean 'webb'"):
        netsim.compare(one, Network.build(**renamed))
    with pytest.raises(QuestionError, match="NS323"):
        netsim.compare(Network.build(), Network.build())


def test_ends_of_one_side_are_noted() -> None:
    one = site(accept())
    two = site(accept())
    two["services"] = {**two["services"], "extra": {"instances": ["server"], "ports": ["tcp/443"]}}
    found = netsim.compare(Network.build(**one), Network.build(**two))
    assert "service extra is only in the second: not compared" in found.notes
    back = netsim.compare(Network.build(**two), Network.build(**one))
    assert "service extra is only in the first: not compared" in back.notes


def test_one_packet_and_the_sets_agree_about_payload_read_as_ports() -> None:
    """A later fragment of a protocol without ports passes no test of ports, also where the protocol is negated."""
    found = rules("-A FORWARD ! -p tcp -m tcp --tcp-flags SYN,ACK NONE -j ACCEPT", backend="nft")
    for protocol, verdict in ((5, "drop"), (17, "unknown"), (1, "unknown"), (6, "drop")):
        packet = netsim.Packet(src="10.0.0.1", dst="10.0.0.2", protocol=protocol, fragment=True, ttl=9)
        assert found.decide(packet).verdict.value == verdict
        assert (packet in found.permitted_at(possibly=True)) == (verdict == "unknown")


def test_what_is_not_told_by_its_rules_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    before = rules(*(f"-A FORWARD -s 10.0.{n}.0/24 -j ACCEPT" for n in range(9)))
    after = rules(*(f"-A FORWARD -d 10.0.{n}.0/24 -j ACCEPT" for n in range(9)))
    whole = netsim.compare(before, after)
    assert not whole.notes
    monkeypatch.setattr(rowwise, "FROM", 0)
    monkeypatch.setattr(rowwise, "EVERY", 0)
    monkeypatch.setattr(rowdiff, "CHANGED", 0)
    monkeypatch.setattr(rowdiff, "FIRST", 2)
    some = netsim.compare(before, after)
    assert some.notes == (NOT_TOLD,)
    assert "one entry for each way to differ" in str(some)
    assert (some.gained, some.lost, some.changed) == (whole.gained, whole.lost, whole.changed)
    assert 2 < len(some.changes) < len(whole.changes)
    told = [c for c in some.changes if c.before.place != MANY]
    assert all(any(c.packets == w.packets and c.after == w.after for w in whole.changes) for c in told)
    assert {c.kind for c in some.changes if c.before.place == MANY} == {Kind.GAINED, Kind.LOST}

"""Dumps: small texts with what they mean, and mistakes with their places."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import netsim
from netsim.errors import InputError, Limits
from netsim.parsers import parse
from netsim.rules.model import ActionKind, Counters, Unmodelled
from netsim.space import Family, packets
from netsim.space.packets import PacketSet


def rule_of(
    text: str, *, v6: bool = False, backend: str = "legacy", table: str = "filter", chain: str = "FORWARD"
) -> netsim.Rule:
    return next(parse(f"*{table}\n-A {chain} {text}\nCOMMIT\n", family=Family(v6), backend=backend).rules())


def matched(text: str, **more: object) -> PacketSet:
    """The packets that a rule accepts; everything else is dropped."""
    v6 = bool(more.get("v6"))
    dump = f"*filter\n:FORWARD DROP [0:0]\n-A FORWARD {text} -j ACCEPT\nCOMMIT\n"
    found = netsim.parse(dump, family=Family(v6), backend=str(more.get("backend", "legacy")))
    permitted: PacketSet = found.permitted
    return permitted & packets(family=6 if v6 else 4, ttl=(2, 255))


FIRST: dict[str, Any] = {"fragment": False}
MEANINGS = [
    ("-s 10.0.0.0/8", packets(src="10.0.0.0/8")),
    ("! -s 10.0.0.0/8", packets(family=4) - packets(src="10.0.0.0/8")),
    ("-s 10.1", packets(src="10.1.0.0/32")),
    ("-s 010.0.0.1", packets(src="8.0.0.1")),
    ("-s 10.0.5.0/255.0.255.0 -d 10.0.0.1", packets(src=[f"10.{i}.5.0/24" for i in range(256)], dst="10.0.0.1")),
    ("-s ::ffff:1.2.3.4", packets(src="1.2.3.4")),
    ("-p tcp --dport 80:", packets(protocol="tcp", dport=(80, 65535), **FIRST)),
    ("-p tcp -m tcp --dport 80", packets(protocol="tcp", dport=80, **FIRST)),
    ("-p tcp ! --dport 80", packets(protocol="tcp", dport=[(0, 79), (81, 65535)], **FIRST)),
    ("-p tcp --dport ! 80", packets(protocol="tcp", dport=[(0, 79), (81, 65535)], **FIRST)),
    ("-p tcp --syn ! --dport 80", packets(protocol="tcp", tcp_flags=("FIN,SYN,RST,ACK", "SYN"), **FIRST)
     - packets(dport=80)),
    ("-f ! -p tcp", packets(family=4, fragment=True) - packets(protocol="tcp")),
    ("-p 0", packets(family=4)),
    ("-p tcp --syn", packets(protocol="tcp", tcp_flags=("FIN,SYN,RST,ACK", "SYN"), **FIRST)),
    ("-p tcp --tcp-flags SYN SYN,ACK", packets(src=[])),
    ("-m mark --mark 0x1/0x2", packets(src=[])),
    ("-m mark --mark 0x1/0x3", packets(mark=(1, 3))),
    ("-m iprange --src-range 10.0.0.9-10.0.0.1", packets(src=[])),
    ("-i eth+", packets(iif="eth+")),
    ("-i +", packets(family=4)),
    ("-p icmp --icmp-type 255", packets(protocol="icmp", icmp_type=(0, 255), **FIRST)),
    ("-p icmp --icmp-type echo-request", packets(protocol="icmp", icmp_type=8, **FIRST)),
    ("-p udp -m multiport --dports 53,100:110", packets(protocol="udp", dport="53,100-110", **FIRST)),
    ("-m state --state ESTABLISHED,RELATED", packets(state=["established", "related"])),
    ("-m conntrack ! --ctstate NEW", packets(state=["established", "related", "invalid", "untracked"])),
    ("-m ttl --ttl-gt 200", packets(ttl=(202, 255))),  # FORWARD sees it one lower
    ("-m length --length 100:200", packets(length=(100, 200))),
    ("-m dscp --dscp-class EF", packets(tos=(0xB8, 0xBB))),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), MEANINGS, ids=[m[0] for m in MEANINGS])
def test_meaning(text: str, expected: PacketSet) -> None:
    wanted = expected & packets(family=4, ttl=(2, 255))
    tracked = any(word in text for word in ("state", "ctstate"))
    if tracked:  # later fragments are reassembled: their answer is unknown
        wanted &= packets(fragment=False)
    assert matched(text) == wanted


def test_the_nft_back_end_loads_a_negated_protocol_with_ports() -> None:
    found = matched("! -p tcp --dport 80", backend="nft") & packets(fragment=False)
    assert (
        packets(protocol=["udp", "sctp", "dccp"], dport=80, family=4, ttl=(2, 255), fragment=False) <= found
    )
    with pytest.raises(InputError, match="needs -p tcp"):
        parse("*filter\n-A FORWARD ! -p tcp --dport 80\nCOMMIT\n", backend="legacy")


def test_lists_of_addresses_are_several_rules() -> None:
    rules = list(
        parse(
            "*filter\n-A FORWARD -s 10.0.0.1,10.0.0.2 -d 1.1.1.1,2.2.2.2 -j DROP\n-A FORWARD -j ACCEPT\nCOMMIT\n"
        ).rules()
    )
    assert [r.number for r in rules] == [1, 2, 3, 4, 5]
    assert len({r.source for r in rules[:4]}) == 1


def test_counters_comments_and_places() -> None:
    text = '*filter\n:FORWARD DROP [7:700]\n[3:180] -A FORWARD -m comment --comment "a \\"b\\" c" -j ACCEPT\nCOMMIT\n'
    rules = parse(text, file="x.rules")
    rule = next(rules.rules())
    assert rule.counters == Counters(3, 180)
    assert rules.chains["filter/FORWARD"].counters == Counters(7, 700)
    assert rule.comment == 'a "b" c'
    assert rule.source.line_place == "x.rules:3"
    assert rule.id == "filter/FORWARD/1"


@pytest.mark.parametrize(
    ("text", "pure", "shown"),
    [
        ("-m limit --limit 5/min", False, "limit --limit 5/min"),
        ("-m recent --rcheck --name bad", False, "recent --name bad --rcheck"),
        ("-m owner --uid-owner 0", True, "owner --uid-owner 0"),
        ('-m string --string "x y" --algo bm', True, 'string --algo bm --string "x y"'),
        ("-m zzz --level x", False, "zzz --level x"),
        ("-m time --timestart 08:00", True, "time --timestart 08:00"),
    ],
)
def test_what_a_packet_does_not_decide_stays(text: str, pure: bool, shown: str) -> None:
    rule = rule_of(text + " -j ACCEPT")
    assert rule.undecided() == (Unmodelled(shown, pure),)
    assert not rule.modelled


def test_what_is_quoted_is_a_value() -> None:
    rule = rule_of('-m string --string "-f" --algo bm -j DROP')
    assert rule.undecided() == (Unmodelled('string --algo bm --string "-f"', True),)
    assert len(rule.conditions) == 1
    negated = rule_of('-m string ! --string "!" --algo bm -j DROP')
    assert negated.undecided() == (Unmodelled('string --algo bm --string "!"', True, negated=True),)
    assert rule_of('-m comment --comment "!" -j DROP').comment == "!"
    assert rule_of('-p tcp -j LOG --log-prefix "!" --log-level 4').modelled
    assert len(rule_of("-p tcp -j LOG --log-prefix -f").conditions) == 1


def test_a_match_that_is_loaded_twice_takes_its_options_twice() -> None:
    assert len(rule_of("-m mark --mark 1/1 -m mark ! --mark 2/2 -j DROP").conditions) == 2


def test_sets_that_count_are_undecided() -> None:
    rule = rule_of("-m set --match-set x src --packets-gt 5 ! --update-counters -j DROP")
    assert rule.undecided() == (Unmodelled("set --match-set x src --packets-gt 5", False),)
    assert (
        rule_of("-m set --match-set x src --update-counters -j DROP").undecided()[0].text
        == "set --match-set x src"
    )


def test_a_chain_may_have_the_name_of_a_target_from_elsewhere() -> None:
    text = "*filter\n:FORWARD ACCEPT\n:ACCOUNT - [0:0]\n-A FORWARD -j ACCOUNT\n-A ACCOUNT -j DROP\nCOMMIT\n"
    packet = netsim.Packet(src="1.1.1.1", dst="2.2.2.2", protocol="gre")
    assert netsim.parse(text).decide(packet).verdict.value == "drop"


def test_a_negated_pure_condition_excludes_the_condition() -> None:
    dump = (
        "*filter\n:FORWARD DROP\n-A FORWARD -m owner --uid-owner 0 -j ACCEPT\n"
        "-A FORWARD -m owner ! --uid-owner 0 -j ACCEPT\nCOMMIT\n"
    )
    assert packets(family=4, ttl=64) <= netsim.parse(dump).permitted
    limited = dump.replace("owner ! --uid-owner 0", "limit --limit 1/s").replace(
        "owner --uid-owner 0", "limit --limit 1/s"
    )
    assert not netsim.parse(limited).permitted & packets(family=4)


def test_an_unmodelled_target_is_three_way() -> None:
    rules = netsim.parse("*filter\n:FORWARD ACCEPT\n-A FORWARD -j NFQUEUE --queue-num 3\nCOMMIT\n")
    decision = rules.decide(netsim.Packet(src="1.1.1.1", dst="2.2.2.2", protocol="udp", sport=1, dport=2))
    assert decision.verdict.value == "unknown"
    assert [v.value for v in decision.possible] == ["accept", "drop", "reject"]
    assert decision.because[0].condition == "NFQUEUE --queue-num 3"


BAD = [
    ("*filter\n-A FORWARD -s 10.0.0.0/33 -j DROP\nCOMMIT\n", "2:15", "NS103", "0-32"),
    ("*filter\n-A FORWARD -p tcp --dport 65536 -j DROP\nCOMMIT\n", "2:27", "NS103", "0-65535"),
    ("*filter\n-A FORWARD -p tcp --dport -1 -j DROP\nCOMMIT\n", "2:27", "NS103", "a port"),
    ("*filter\n-A FORWARD -p tcp --dport 18446744073709551616 -j DROP\nCOMMIT\n", "2:27", "NS103", "0-65535"),
    ("*filter\n-A FORWARD -p tcp --dport 080 -j DROP\nCOMMIT\n", "2:27", "NS103", "a port"),
    ("*filter\n-A FORWARD -p tcp --dport 90:80 -j DROP\nCOMMIT\n", "2:27", "NS103", "reversed"),
    ("*filter\n-A FORWARD --dport 80 -j DROP\nCOMMIT\n", "2:12", "NS102", "belongs to -m"),
    ("*filter\n-A FORWARD -m conntrack --ctsate NEW\nCOMMIT\n", "2:25", "NS102", "did you mean '--ctstate'"),
    ("*filter\n-A FORWARD -m conntrak --ctstate NEW\nCOMMIT\n", "2:15", "NS104", "did you mean 'conntrack'"),
    ("*filter\n-A FORWARD -j NOWHERE\nCOMMIT\n", "2:15", "NS106", "neither a chain"),
    ("*filter\n-A FORWARD -j INPUT\nCOMMIT\n", "2:15", "NS106", "base chain"),
    ("*filter\n-A NOWHERE -j DROP\nCOMMIT\n", "2:4", "NS106", "not declared"),
    ("*filter\n:a - [0:0]\n:b - [0:0]\n-A a -j b\n-A b -j a\nCOMMIT\n", "5:9", "NS106", "loop"),
    ("*filter\n:a - [0:0]\n-A a -j a\nCOMMIT\n", "3:9", "NS106", "loop"),
    ("*filter\n-A FORWARD -j DROP\n", "", "NS107", "no COMMIT"),
    ("*filter\nCOMMIT\nCOMMIT\n", "3:1", "NS107", "without a table"),
    ("*filter\nCOMMIT\n*filter\nCOMMIT\n", "3:1", "NS108", "twice"),
    ("*filtr\nCOMMIT\n", "1:1", "NS110", "did you mean 'filter'"),
    ("-A FORWARD -j DROP\n", "1:1", "NS101", "a table"),
    ("*filter\n:ACCEPT - [0:0]\nCOMMIT\n", "2:1", "NS101", "no name"),
    ("*filter\n:x - [0:0]\n:x - [0:0]\nCOMMIT\n", "3:1", "NS108", "twice"),
    ("*filter\n-A FORWARD -p udp -j REJECT --reject-with tcp-reset\nCOMMIT\n", "2:43", "NS105", "needs -p tcp"),
    ('*filter\n-A FORWARD -m comment --comment "open\nCOMMIT\n', "", "NS101", "quote"),
    ("*filter\n-A FORWARD ! -j DROP\nCOMMIT\n", "2:14", "NS101", "not negated"),
    ("*filter\n-A FORWARD -s\nCOMMIT\n", "2:14", "NS101", "missing"),
    ("*nat\n-A PREROUTING -j DNAT --to-destination 10.0.0.1:80\nCOMMIT\n", "2:40", "NS105", "needs -p"),
    ("*filter\n-A FORWARD -j DNAT --to-destination 10.0.0.1\nCOMMIT\n", "2:1", "NS105", "table nat"),
    ("*filter\n-A FORWARD -m set --match-set x up\nCOMMIT\n", "2:33", "NS103", "src or dst"),
    ("*filter\n-A INPUT -o eth0\nCOMMIT\n", "2:10", "NS105", "no meaning"),
    ("*filter\n-A FORWARD -i abcdefghijklmnopq\nCOMMIT\n", "2:15", "NS103", "15 bytes"),
    ('*filter\n"" FORWARD -j DROP\nCOMMIT\n', "2:1", "NS101", "a rule"),
    ("*filter\n-A FORWARD\u2028-j DROP\nCOMMIT\n", "2:4", "NS106", "not declared"),
    ("*filter\n-A FORWARD\v-j DROP\nCOMMIT\n", "2:4", "NS106", "not declared"),
    ("*filter\n-A FORWARD -m mark -j DROP\nCOMMIT\n", "2:1", "NS101", "-m mark needs one of --mark"),
    ("*filter\n-A FORWARD -p tcp -m multiport -j DROP\nCOMMIT\n", "2:1", "NS101", "-m multiport needs"),
    ("*filter\n-A FORWARD -p tcp --dport 80 --destination-port 90\nCOMMIT\n", "2:30", "NS101", "twice"),
    ("*filter\n-A FORWARD -i eth0 -i eth1\nCOMMIT\n", "2:20", "NS101", "twice"),
    ("*filter\n-A FORWARD -m state --state SNAT\nCOMMIT\n", "2:29", "NS103", "--ctstate only"),
    ("*nat\n-A PREROUTING -j SNAT --to-source 10.0.0.1\nCOMMIT\n", "2:1", "NS105", "POSTROUTING or INPUT"),
    ("*nat\n-A POSTROUTING -j DNAT --to-destination 10.0.0.1\nCOMMIT\n", "2:1", "NS105", "PREROUTING or OUTPUT"),
    ("*nat\n:u -\n-A INPUT -j u\n-A u -j MASQUERADE\nCOMMIT\n", "4:1", "NS105", "not for INPUT, which calls u"),
    ("*nat\n:u -\n:v -\n-A POSTROUTING -j v\n-A v -g u\n-A u -j DNAT --to-destination 10.0.0.1\nCOMMIT\n", "6:1", "NS105",
     "not for POSTROUTING, which calls u"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "place", "code", "words"), BAD, ids=[b[3] + " " + str(i) for i, b in enumerate(BAD)]
)
def test_mistakes_have_a_place(text: str, place: str, code: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text, file="f")
    first = caught.value.diagnostics[0]
    assert first.code == code
    assert words in str(first)
    if place:
        assert str(first).startswith(f"f:{place}: {code} ")
    assert "^" in str(first)


def test_a_listing_is_told_once_and_what_to_give_instead() -> None:
    listing = (
        "Chain INPUT (policy ACCEPT)\ntarget prot opt source destination\nDROP all -- 0.0.0.0/0 0.0.0.0/0\n"
    )
    with pytest.raises(InputError, match="iptables-save") as caught:
        parse(listing + "*filter\nCOMMIT\n-A FORWARD -j DROP\n-A INPUT -j DROP\n")
    assert [d.source.line for d in caught.value.diagnostics] == [1, 6]


def test_ipv6_mistakes() -> None:
    with pytest.raises(InputError, match="0-128"):
        parse("*filter\n-A FORWARD -s ::/129\nCOMMIT\n", family=Family.IPV6)


def test_all_mistakes_come_at_once() -> None:
    with pytest.raises(InputError) as caught:
        parse("*filter\n-A FORWARD -s x\n-A FORWARD -p tcp --dport 99999\n-A FORWARD -j NOPE\nCOMMIT\n")
    assert [d.source.line for d in caught.value.diagnostics] == [2, 3, 4]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"*filter\n\0\nCOMMIT\n", "NUL"),
        (b"*filter\n-A FORWARD \xff\nCOMMIT\n", "not UTF-8"),
        (b"*filter\n" + b"x" * 200 + b"\nCOMMIT\n", "Limits.line_size"),
        (b"*filter\n" + b"-A FORWARD -j DROP\n" * 6 + b"COMMIT\n", "Limits.rules"),
        (b"#" * 3000, "Limits.input_size"),
    ],
)
def test_limits_and_bytes_are_named(data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse(data, limits=Limits(line_size=100, rules=5, input_size=2000))


def test_harmless_bytes_are_read() -> None:
    plain = parse("*filter\n-A FORWARD -j DROP\nCOMMIT\n")
    assert parse(b"\xef\xbb\xbf*filter\r\n-A FORWARD -j DROP\r\nCOMMIT") == plain
    assert list(parse("").rules()) == []


def test_the_head_names_family_and_back_end() -> None:
    text = "# Generated by ip6tables-save v1.8.9 (nf_tables) on Tue\n*filter\nCOMMIT\n"
    rules = parse(text)
    assert (rules.family, rules.backend, rules.warnings) == (Family.IPV6, "nft", ())
    assert parse(text, backend="legacy").backend == "legacy"
    assert "assumed" in parse("*filter\nCOMMIT\n").warnings[0].message


def test_nft_refuses_deep_chains() -> None:
    names = [f"c{i}" for i in range(20)]
    lines = ["*filter", *(f":{n} - [0:0]" for n in names), "-A FORWARD -j c0"]
    lines += [f"-A {a} -j {b}" for a, b in zip(names, names[1:], strict=False)]
    text = "\n".join([*lines, "COMMIT", ""])
    assert parse(text, backend="legacy")
    with pytest.raises(InputError, match="15 deep"):
        parse(text, backend="nft")


def test_thirty_levels_of_two_jumps_are_linear() -> None:
    names = [f"c{i}" for i in range(30)]
    lines = ["*filter", ":FORWARD DROP", *(f":{n} - [0:0]" for n in names), "-A FORWARD -j c0"]
    for a, b in zip(names, names[1:], strict=False):
        lines += [f"-A {a} -p tcp -j {b}", f"-A {a} -s 10.0.0.0/8 -j {b}"]
    lines += ["-A c29 -p udp -j ACCEPT"]
    rules = netsim.parse("\n".join([*lines, "COMMIT", ""]))
    assert packets(src="10.0.0.0/8", protocol="udp", ttl=64) <= rules.permitted


BASE = (
    "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1:8080\nCOMMIT\n"
    "*filter\n:FORWARD DROP [0:0]\n:user - [0:0]\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
    '-A FORWARD -s 10.0.0.0/8 -i eth+ ! -o lo -p udp -m multiport --dports 53,100:200 -m comment --comment "x y" -j user\n'
    "-A user -m limit --limit 5/min -j LOG\n-A user -m mark ! --mark 0x1/0xff -j REJECT\nCOMMIT\n"
)


@given(st.data())
def test_mutated_dumps_parse_or_are_refused(data: st.DataObject) -> None:
    text = BASE
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(text)))
        size = data.draw(st.integers(0, 12))
        insert = data.draw(
            st.one_of(
                st.text(max_size=6),
                st.sampled_from(["!", "-j", "-m", '"', "\n", ":x -", "-A ", "/33", "::", ","]),
            )
        )
        text = text[:at] + insert + text[at + size :]
    try:
        rules = parse(text)
    except InputError as error:
        assert error.diagnostics
        assert str(error)
    else:
        for rule in rules.rules():
            assert rule.action.kind in ActionKind


def test_a_port_to_translate_to_does_nothing_to_icmp() -> None:
    text = "*nat\n-A PREROUTING -p icmp -j DNAT --to-destination 10.0.0.9:80\nCOMMIT\n"
    packet = netsim.Packet(src="1.1.1.1", dst="2.2.2.2", protocol="icmp", icmp_type=8, icmp_code=0)
    after = netsim.parse(text).decide(packet).row()["after"]
    assert (after["dst"], after["dport"]) == ("10.0.0.9", None)
    with pytest.raises(InputError, match="needs -p"):
        parse("*nat\n-A PREROUTING -p udplite -j DNAT --to-destination 10.0.0.9:80\nCOMMIT\n")

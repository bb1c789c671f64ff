"""ipset save: what membership means, and mistakes with their places."""

from __future__ import annotations

import pytest

import netsim
from netsim.errors import InputError
from netsim.parsers.ipset import parse_ipsets
from netsim.space import packets

SETS = """create nets hash:net family inet hashsize 1024 maxelem 65536
add nets 10.0.0.0/8
add nets 10.1.0.0/16 nomatch
add nets 10.1.2.0/24
create pairs hash:ip,port family inet
add pairs 10.0.0.1,udp:53
add pairs 10.0.0.1,80-90
create both list:set size 8
add both nets
create ports bitmap:port range 0-65535
add ports 80
create timed hash:ip family inet timeout 60
add timed 10.0.0.1 timeout 5
"""


def accepted(match: str) -> object:
    dump = f"*filter\n:FORWARD DROP\n-A FORWARD {match} -j ACCEPT\nCOMMIT\n"
    return netsim.parse(dump, ipsets=SETS).permitted & packets(ttl=64, family=4)


def test_membership() -> None:
    here = packets(ttl=64, family=4)
    nets = packets(src=["10.0.0.0/16", "10.1.2.0/24", "10.2.0.0-10.255.255.255"])
    assert accepted("-m set --match-set nets src") == nets & here
    assert accepted("-m set --match-set both src") == nets & here
    assert accepted("-m set ! --match-set nets src") == here - nets
    pairs = packets(src="10.0.0.1", protocol="udp", dport=53, fragment=False)
    pairs |= packets(src="10.0.0.1", protocol="tcp", dport=(80, 90), fragment=False)
    assert accepted("-m set --match-set pairs src,dst") == pairs & here
    ports = packets(protocol=["tcp", "udp"], dport=80, fragment=False)
    assert accepted("-m set --match-set ports dst") == ports & here


def test_what_changes_is_undecided_and_what_is_missing_is_a_mistake() -> None:
    assert not accepted("-m set --match-set timed src")
    with pytest.raises(InputError, match=r"no set 'net' \(did you mean 'nets'"):
        accepted("-m set --match-set net src")


def test_a_set_that_is_not_given_says_what_to_bind() -> None:
    rules = netsim.parse("*filter\n:FORWARD DROP\n-A FORWARD -m set --match-set x src -j ACCEPT\nCOMMIT\n")
    decision = rules.decide(netsim.Packet(src="1.1.1.1", dst="2.2.2.2", protocol="gre"))
    assert decision.because[0].hint == "give the ipset 'x'"


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("create x hash:foo\n", "1:10", "unknown set type"),
        ("add x 1.1.1.1\n", "1:5", "not created"),
        ("create x hash:ip\nadd x 1.1.1.1/33\n", "2:7", "not an address"),
        ("create x hash:ip\nadd x ::1\n", "2:7", "family"),
        ("create x hash:ip,port\nadd x 1.1.1.1\n", "2:7", "2 parts"),
        ("create x hash:ip\ncreate x hash:ip\n", "2:8", "twice"),
        ("delete x\n", "1:1", "expected"),
        ("create x hash:ip netmsk 24\n", "1:18", "did you mean 'netmask'"),
        ("create x hash:ip netmask 33\n", "1:26", "1-32"),
        ("create x hash:ip family inet4\n", "1:25", "inet or inet6"),
        ("create x hash:ip timeout\n", "1:25", "missing"),
    ],
)
def test_mistakes_have_a_place(text: str, place: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_ipsets(text, file="s")
    assert str(caught.value).startswith(f"s:{place}: ")
    assert words in str(caught.value)


MORE = """create wide hash:ip family inet hashsize 1024 maxelem 65536 netmask 24 bucketsize 12 initval 0x1
add wide 10.0.3.0
create kinds hash:ip,port family inet
add kinds 10.0.0.1,icmp:host-unreachable
add kinds 10.0.0.1,gre:0
add kinds 10.0.0.1,dccp:80
create masked hash:ip family inet bitmask 255.0.255.0
add masked 10.0.3.0
create bridge hash:net,iface family inet
add bridge 10.0.0.0/8,physdev:eth0
create wild hash:net,iface family inet
add wild 10.0.0.0/8,et wildcard
add wild 192.168.0.0/16,eth+
create macs hash:mac
add macs 02:00:00:00:00:01
"""


def matched(match: str, **packet: object) -> str:
    dump = f"*filter\n:FORWARD DROP\n-A FORWARD -m set --match-set {match} -j ACCEPT\nCOMMIT\n"
    given = {
        "src": "10.0.0.1",
        "dst": "10.0.9.9",
        "protocol": "udp",
        "sport": 1,
        "dport": 2,
        "iif": "eth0",
        **packet,
    }
    return netsim.parse(dump, ipsets=MORE).decide(netsim.Packet(**given)).verdict.value  # type: ignore[arg-type]


def test_the_options_of_sets_and_entries() -> None:
    assert matched("wide src", src="10.0.3.77") == "accept"
    assert matched("wide src", src="10.0.4.0") == "drop"
    assert matched("masked src", src="10.9.3.1") == "unknown"
    assert matched("bridge src,src") == "unknown"
    assert matched("wild src,src") == "accept"
    assert matched("wild src,src", iif="wan1") == "drop"
    assert matched("wild src,src", src="192.168.0.1") == "drop"  # eth+ is a name like any other
    assert matched("macs src", mac="02:00:00:00:00:01") == "accept"
    assert matched("macs dst", mac="02:00:00:00:00:01") == "unknown"  # of the destination


def test_protocols_without_ports_in_a_set() -> None:
    none = {"sport": None, "dport": None}
    assert matched("kinds src,dst", protocol="icmp", icmp_type=3, icmp_code=1, **none) == "accept"
    assert matched("kinds src,dst", protocol="icmp", icmp_type=3, icmp_code=0, **none) == "drop"
    assert matched("kinds src,dst", protocol="gre", **none) == "accept"
    assert matched("kinds src,dst", protocol="esp", **none) == "drop"
    assert matched("kinds src,dst", protocol="dccp", dport=80) == "drop"
    assert matched("kinds src") == "drop"  # a set of two parts, asked about one

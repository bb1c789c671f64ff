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
    ],
)
def test_mistakes_have_a_place(text: str, place: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_ipsets(text, file="s")
    assert str(caught.value).startswith(f"s:{place}: ")
    assert words in str(caught.value)

"""The rule sets that the kernel judges: a row for every construct, and whole sets for the flow of control.

A construct's row is one rule: what dispatches to it (a destination or source of its own), a base, the
option that is the construct, and a target. Its packets match all of it, or all but the option.
"""

from __future__ import annotations

import attrs

ALL = ("forward", "input", "output")
IN = ("forward", "input")


@attrs.frozen
class Construct:
    """One row. `option4`/`option6` are the construct's text for each family ('' if it has none)."""

    id: str
    base: str = ""
    option4: str = ""
    option6: str = ""
    hooks: tuple[str, ...] = ALL
    table: str = "filter"
    chain: str = ""
    target: str = ""
    dispatch: str = "dst"
    backends: tuple[str, ...] = ("nft", "legacy")
    new_only: bool = False


def _both(id_: str, option: str, base: str = "", **more: object) -> list[Construct]:
    """A match and its negation, the same text in both families."""
    more = {"hooks": ALL, **more}
    return [
        Construct(f"match:{id_}", base, option, option, **more),  # type: ignore[arg-type]
        Construct(f"match:{id_}!", base, f"! {option}", f"! {option}", **more),  # type: ignore[arg-type]
    ]


def _one(id_: str, option4: str, option6: str = "", base: str = "", **more: object) -> Construct:
    return Construct(f"match:{id_}", base, option4, option6, **more)  # type: ignore[arg-type]


def _pair(id_: str, option4: str, option6: str = "", base: str = "", **more: object) -> list[Construct]:
    return [
        _one(id_, option4, option6, base, **more),
        _one(f"{id_}!", f"! {option4}" if option4 else "", f"! {option6}" if option6 else "", base, **more),
    ]


def _module(id_: str, module: str, option: str, base: str = "", **more: object) -> list[Construct]:
    """A match of a module: `-m module [!] option`."""
    return _both(id_, option, f"{base} -m {module}".strip(), **more)


MATCHES: list[Construct] = [
    *_pair("ip.src", "-s 10.10.64.0/18", "-s fd00:10::8000/113"),
    *_pair("ip.dst", "-d 10.20.64.0/18", "-d fd00:20::8000/113", dispatch="src", hooks=("forward", "output")),
    *_both("ip.proto", "-p udp"),
    *_both("ip.iif", "-i eth0", hooks=IN),
    *_both("ip.oif", "-o eth0", hooks=("forward", "output"), dispatch="src"),
    _one("ip.iif.prefix", "-i eth+", "-i eth+", hooks=IN),
    _one("ip.src.mask", "-s 10.10.5.0/255.255.5.255", ""),
    *(c for proto in ("tcp", "udp", "sctp", "dccp") for side in ("sport", "dport")
      for c in _both(f"{proto}.{side}", f"--{side} 1000:2000", f"-p {proto} -m {proto}")),
    *_both("tcp.tcp-flags", "--tcp-flags SYN,ACK,PSH SYN", "-p tcp -m tcp"),
    *_both("tcp.syn", "--syn", "-p tcp -m tcp"),
    *_pair("icmp.icmp-type", "--icmp-type 8", "", "-p icmp -m icmp"),
    *_pair("icmp.icmp-type.code", "--icmp-type 3/1", "", "-p icmp -m icmp", hooks=IN),
    *_pair("icmp6.icmpv6-type", "", "--icmpv6-type 128", "-p ipv6-icmp -m icmp6"),
    *_module("multiport.dports", "multiport", "--dports 22,80:90,443,60000:65535", "-p tcp"),
    *_module("multiport.sports", "multiport", "--sports 22,80:90,443,60000:65535", "-p udp"),
    *_module("multiport.ports", "multiport", "--ports 22,1000:30000", "-p tcp"),
    *_pair("iprange.src-range", "--src-range 10.10.3.7-10.20.9.1", "--src-range fd00:10::77-fd00:20::99", "-m iprange"),
    *_pair("iprange.dst-range", "--dst-range 10.10.3.7-10.20.9.1", "--dst-range fd00:10::77-fd00:20::99", "-m iprange",
           dispatch="src", hooks=("forward", "output")),
    *(c for state in ("NEW", "ESTABLISHED", "RELATED", "INVALID", "NEW,ESTABLISHED")
      for c in _both(f"conntrack.ctstate.{state}", f"--ctstate {state}", "-m conntrack")),
    *_module("conntrack.ctdir", "conntrack", "--ctdir ORIGINAL")[:1],
    *_module("conntrack.ctproto", "conntrack", "--ctproto 6"),
    *_module("conntrack.ctstatus", "conntrack", "--ctstatus SEEN_REPLY"),
    *_module("state.state", "state", "--state RELATED,ESTABLISHED"),
    *_both("mark.mark", "--mark 0x1/0x3", "-m mark"),
    *_both("connmark.mark", "--mark 0x0/0x3", "-m connmark"),
    *_both("mac.mac-source", "--mac-source 02:00:00:00:00:11", "-m mac", hooks=IN),
    *_both("length.length", "--length 100:200", "-m length"),
    *_both("dscp.dscp", "--dscp 0x0a", "-m dscp"),
    *_both("dscp.dscp-class", "--dscp-class AF21", "-m dscp"),
    *_both("tos.tos", "--tos 0x10/0x3f", "-m tos"),
    *(c for kind, value in (("eq", 64), ("lt", 30), ("gt", 200)) for c in (
        _pair(f"ttl.ttl-{kind}", f"--ttl-{kind} {value}", "", "-m ttl") if kind == "eq"
        else [_one(f"ttl.ttl-{kind}", f"--ttl-{kind} {value}", "", "-m ttl")])),
    *(c for kind, value in (("eq", 64), ("lt", 30), ("gt", 200)) for c in (
        _pair(f"hl.hl-{kind}", "", f"--hl-{kind} {value}", "-m hl") if kind == "eq"
        else [_one(f"hl.hl-{kind}", "", f"--hl-{kind} {value}", "-m hl")])),
    *_pair("set.hash:ip", "--match-set ip4 src", "--match-set ip6 src", "-m set"),
    *_pair("set.hash:ip.netmask", "--match-set wide4 src", "--match-set wide6 src", "-m set"),
    *_pair("set.hash:net", "--match-set net4 src", "--match-set net6 src", "-m set"),
    *_pair("set.hash:ip,port", "--match-set ipport4 src,dst", "", "-m set"),
    *_pair("set.bitmap:port", "--match-set ports dst", "--match-set ports dst", "-m set"),
    *_pair("set.list:set", "--match-set list4 src", "", "-m set"),
    _one("comment.comment", '-p udp -m comment --comment "a comment"', '-p udp -m comment --comment "a comment"'),
]  # fmt: skip

IPSETS = {
    4: """create ip4 hash:ip family inet
add ip4 10.10.1.1
add ip4 10.20.2.2
add ip4 10.30.3.3
create wide4 hash:ip family inet netmask 20
add wide4 10.10.16.0
add wide4 10.20.0.0
create net4 hash:net family inet
add net4 10.10.0.0/16
add net4 10.10.128.0/17 nomatch
add net4 10.10.200.0/24
create ipport4 hash:ip,port family inet
add ipport4 10.10.1.1,tcp:80
add ipport4 10.10.1.1,udp:53
add ipport4 10.20.2.2,tcp:443
create ports bitmap:port range 0-65535
add ports 80
add ports 1000-2000
create list4 list:set
add list4 ip4
add list4 net4
""",
    6: """create ip6 hash:ip family inet6
add ip6 fd00:10::1
add ip6 fd00:20::2
create wide6 hash:ip family inet6 netmask 114
add wide6 fd00:10::
add wide6 fd00:20::8000
create net6 hash:net family inet6
add net6 fd00:10::/32
add net6 fd00:10::8000/113 nomatch
create ports bitmap:port range 0-65535
add ports 80
add ports 1000-2000
""",
}

_DPORT = "--dport 1000:2000"


def _target(
    id_: str, table: str, chain: str, target: str, hook: str = "forward", **more: object
) -> Construct:
    text = {"base": "-p tcp -m tcp", "option4": _DPORT, "option6": _DPORT, **more}
    return Construct(f"target:{id_}", table=table, chain=chain, target=target, hooks=(hook,), **text)  # type: ignore[arg-type]


TARGETS: list[Construct] = [
    _target("ACCEPT", "filter", "FORWARD", "ACCEPT"),
    _target("DROP", "filter", "FORWARD", "DROP"),
    _target("REJECT", "filter", "FORWARD", "REJECT", new_only=True),
    _target("REJECT.tcp-reset", "filter", "FORWARD", "REJECT --reject-with tcp-reset", new_only=True),
    _target("LOG", "filter", "FORWARD", 'LOG --log-prefix "x "'),
    _target("MARK.set-mark", "mangle", "FORWARD", "MARK --set-mark 0x5/0xf"),
    _target("MARK.set-xmark", "mangle", "PREROUTING", "MARK --set-xmark 0x5/0xf0f"),
    _target("MARK.and-mark", "mangle", "PREROUTING", "MARK --and-mark 0xff00"),
    _target("MARK.or-mark", "mangle", "POSTROUTING", "MARK --or-mark 0x30"),
    _target("MARK.xor-mark", "mangle", "FORWARD", "MARK --xor-mark 0x33"),
    _target("CONNMARK.set-xmark", "mangle", "FORWARD", "CONNMARK --set-xmark 0x7/0xff"),
    _target("CONNMARK.save-mark", "mangle", "FORWARD", "CONNMARK --save-mark --nfmask 0xff --ctmask 0xf0"),
    _target("CONNMARK.restore-mark", "mangle", "POSTROUTING", "CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff"),
    _target("TOS.set-tos", "mangle", "FORWARD", "TOS --set-tos 0x10/0x3f"),
    _target("TOS.or-tos", "mangle", "FORWARD", "TOS --or-tos 0x04"),
    _target("DSCP.set-dscp", "mangle", "FORWARD", "DSCP --set-dscp 0x0a"),
    _target("DSCP.set-dscp-class", "mangle", "POSTROUTING", "DSCP --set-dscp-class EF"),
    _target("TTL.ttl-set", "mangle", "PREROUTING", "TTL --ttl-set 40", option6=""),
    _target("TTL.ttl-dec", "mangle", "PREROUTING", "TTL --ttl-dec 1", option6=""),
    _target("TTL.ttl-inc", "mangle", "POSTROUTING", "TTL --ttl-inc 5", option6=""),
    _target("HL.hl-set", "mangle", "PREROUTING", "HL --hl-set 40", option4=""),
    _target("HL.hl-inc", "mangle", "POSTROUTING", "HL --hl-inc 5", option4=""),
    _target("TCPMSS", "mangle", "FORWARD", "TCPMSS --clamp-mss-to-pmtu",
            base="-p tcp -m tcp --tcp-flags SYN,RST SYN"),
    *(
        Construct(f"match:addrtype.{side}-type{sign}", "-m addrtype", f"{sign} --{side}-type LOCAL".strip(),
                  f"{sign} --{side}-type LOCAL".strip(), hooks, "mangle", chain, "MARK --set-xmark 0x100/0x100", other)
        for sign in ("", "!")
        for side, hooks, chain, other in (("dst", ("forward", "input"), "PREROUTING", "src"),
                                          ("src", ("forward", "output"), "POSTROUTING", "dst"))
    ),
    _target("NOTRACK", "raw", "PREROUTING", "NOTRACK"),
    _target("CT.notrack", "raw", "PREROUTING", "CT --notrack"),
    _target("DNAT.address", "nat", "PREROUTING", "DNAT --to-destination DST", new_only=True),
    _target("DNAT.port", "nat", "PREROUTING", "DNAT --to-destination DST:8080", new_only=True),
    _target("DNAT.output", "nat", "OUTPUT", "DNAT --to-destination DST", hook="output", new_only=True),
    _target("SNAT.address", "nat", "POSTROUTING", "SNAT --to-source SRC", new_only=True),
    _target("SNAT.range", "nat", "POSTROUTING", "SNAT --to-source RANGE", new_only=True),
    _target("SNAT.ports", "nat", "POSTROUTING", "SNAT --to-source SRC:2000-60000", new_only=True),
    _target("MASQUERADE", "nat", "POSTROUTING", "MASQUERADE", new_only=True),
    _target("MASQUERADE.to-ports", "nat", "POSTROUTING", "MASQUERADE --to-ports 3000-3000", new_only=True),
    _target("REDIRECT", "nat", "PREROUTING", "REDIRECT --to-ports 8443", new_only=True),
    _target("REDIRECT.output", "nat", "OUTPUT", "REDIRECT --to-ports 8443", hook="output", new_only=True),
    _target("NETMAP.prerouting", "nat", "PREROUTING", "NETMAP --to DSTNET", new_only=True),
    _target("NETMAP.postrouting", "nat", "POSTROUTING", "NETMAP --to SRCNET", new_only=True),
    _target("SNAT.input", "nat", "INPUT", "SNAT --to-source SRC", hook="input", new_only=True, dispatch="src"),
]  # fmt: skip

_WORDS = {
    4: {"DSTNET": "10.20.240.0/24", "SRCNET": "10.30.77.0/24", "DST": "10.20.240.9", "SRC": "10.30.77.5",
        "RANGE": "10.10.100.0-10.10.255.255"},
    6: {"DSTNET": "fd00:20:77::/112", "SRCNET": "fd00:30:77::/112", "DST": "[fd00:20:77::9]",
        "SRC": "[fd00:30:77::5]", "RANGE": "fd00:10::4000-fd00:10::ffff"},
}  # fmt: skip


def place(construct: Construct, number: int, family: int, hook: str) -> tuple[str, str]:
    """What dispatches to a row: the option, and the address that its packets carry ('' if none fits)."""
    side = construct.dispatch
    about_source = any(word in construct.id for word in ("src", "set.hash", "set.list"))
    if hook in ("input", "output") and about_source:
        return "", ""  # the source is the dispatcher, or our own
    if side == "dst" and hook == "input":
        side = "src"
    if side == "none" or (side == "src" and hook == "output"):
        return "", ""
    if family == 4:
        address = f"10.{20 if side == 'dst' else 10}.{number % 200}.{100 + number // 200}"
        return f"-{side[0]} {address}/32", address
    address = f"fd00:{20 if side == 'dst' else 10}::{number + 0x100:x}:7"
    return f"-{side[0]} {address}/128", address


def target_of(construct: Construct, family: int) -> str:
    text = construct.target
    for word in ("DSTNET", "SRCNET", "DST", "SRC", "RANGE"):
        value = _WORDS[family][word]
        if word in ("DST", "SRC") and f"{word}:" not in text:
            value = value.strip("[]")
        text = text.replace(word, value)
    return text


FLOW = """*mangle
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:classify - [0:0]
-A PREROUTING -p tcp -j classify
-A PREROUTING -m mark --mark 0x20/0xf0 -j MARK --set-xmark 0x1/0x1
-A classify -p tcp -m tcp --dport 0:1023 -j MARK --set-xmark 0x20/0xf0
-A classify -p tcp -m tcp --dport 0:1023 -j RETURN
-A classify -j MARK --set-xmark 0x40/0xf0
-A POSTROUTING -m mark --mark 0x1/0x1 -j TOS --set-tos 0x08/0xff
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT DROP [0:0]
:one - [0:0]
:two - [0:0]
:three - [0:0]
:last - [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j one
-A INPUT -p udp -m udp --dport 0:2000 -j ACCEPT
-A OUTPUT -m conntrack --ctstate INVALID -j DROP
-A OUTPUT -p tcp -g two
-A OUTPUT -m comment --comment rest -j ACCEPT
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -p tcp -j one
-A FORWARD -p udp -g two
-A FORWARD -m mark --mark 0x1/0x1 -j ACCEPT
-A FORWARD -p sctp -j last
-A one -p tcp -m tcp --dport 0:79 -j RETURN
-A one -p tcp -m tcp --dport 80:90 -j ACCEPT
-A one -p tcp -m tcp --sport 30000:65535 -g three
-A one -p tcp -m tcp --sport 20000:29999 -j three
-A one -m comment --comment rest -j DROP
-A two -m length --length 0:100 -j RETURN
-A two -p udp -m udp --dport 1000:50000 -j three
-A two -j REJECT
-A three -m mark --mark 0x2/0x2 -j RETURN
-A three -m mark --mark 0x10/0x10 -j ACCEPT
-A three -i eth0 -j last
-A three -p tcp -m tcp --dport 4000:9000 -j REJECT --reject-with tcp-reset
-A last -o wan1 -j ACCEPT
-A last -j RETURN
COMMIT
*security
:FORWARD ACCEPT [0:0]
-A FORWARD -o eth -p tcp -m tcp --dport 85:87 -j DROP
COMMIT
"""

FLOW6 = FLOW.replace("-i eth0 -j last", "-i eth0 -p tcp -j last")
FLOW = FLOW.replace("-A three -i eth0 -j last", "-A three -p udp -j last")
FLOW6 = FLOW6.replace("-A three -i eth0 -p tcp -j last", "-A three -p udp -j last")

FRAGMENTS = """*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -s 10.10.0.0/17 -f -j ACCEPT
-A FORWARD -s 10.20.0.0/17 ! -f -j ACCEPT
COMMIT
"""

MIXED_SETS = """create nat4 hash:net,port family inet
add nat4 10.20.0.0/17,tcp:1000-2000
add nat4 10.20.128.0/17,udp:53
create pair4 hash:ip,port,ip family inet
add pair4 10.10.1.1,tcp:80,10.20.1.1
create ips bitmap:ip range 10.10.0.0-10.10.255.255
add ips 10.10.1.0-10.10.100.0
create ends hash:ip,port,net family inet
add ends 10.9.1.1,tcp:0-30000,10.0.0.0/8
add ends 10.9.2.1,udp:0-30000,10.20.0.0/16
create face hash:net,iface family inet
add face 10.10.0.0/16,eth
add face 10.0.0.0/8,wan1
"""

MIXED = """*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -m conntrack --ctstate NEW -j DROP
-A PREROUTING -p udp -m udp --dport 5000:6000 -j CT --notrack
-A PREROUTING -m ttl --ttl-lt 10 -j DROP
-A OUTPUT -p sctp -j DROP
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -m set --match-set ips src -j MARK --set-xmark 0x100/0x100
-A PREROUTING -m conntrack ! --ctstate NEW -j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff
-A PREROUTING -p tcp -m tcp --dport 100:30000 -j CONNMARK --set-xmark 0x3/0xf
-A FORWARD -m connmark --mark 0x3/0xf -j TOS --set-tos 0x10/0xff
-A FORWARD -m tos --tos 0x10/0xff -m mark --mark 0x100/0x100 -j MARK --xor-mark 0x1000
-A OUTPUT -m mark ! --mark 0x0/0x1 -j TOS --set-tos 0x08/0xff
-A POSTROUTING -m conntrack --ctstate DNAT -j MARK --or-mark 0x10000
-A POSTROUTING -m dscp --dscp 0x04 -j DSCP --set-dscp 0x2e
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:web - [0:0]
:out - [0:0]
-A PREROUTING -p tcp -m set --match-set nat4 dst,dst -j web
-A PREROUTING -p udp -m udp --dport 53 -j REDIRECT --to-ports 5353
-A PREROUTING -p tcp -m tcp --dport 8000:9000 -j DNAT --to-destination 10.9.2.1
-A OUTPUT -p tcp -m tcp --dport 80:2000 -j DNAT --to-destination 10.20.77.7:8080
-A web -s 10.10.0.0/17 -j RETURN
-A web -p tcp -m tcp --sport 0:32000 -j DNAT --to-destination 10.20.7.7:80
-A web -p tcp -j DNAT --to-destination 10.20.8.1-10.20.8.9
-A POSTROUTING -o wan1 -j out
-A POSTROUTING -p udp -m conntrack --ctstate DNAT -j RETURN
-A POSTROUTING -s 10.10.0.0/16 -o eth0 -j SNAT --to-source 10.20.200.1-10.20.200.5
-A out -p tcp -m multiport ! --ports 1000:2000,4000 -j MASQUERADE
-A out -m length --length 100:200 -j SNAT --to-source 10.30.3.3
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:sub - [0:0]
-A INPUT -p udp -m udp --dport 5353 -j ACCEPT
-A INPUT -m conntrack --ctstate DNAT -j ACCEPT
-A INPUT -m set --match-set ends dst,dst,src -j REJECT --reject-with icmp-host-prohibited
-A INPUT -p icmp -m icmp --icmp-type 8 -m length --length 0:100 -j ACCEPT
-A INPUT -i eth -m state --state NEW,ESTABLISHED -j ACCEPT
-A FORWARD -m conntrack --ctstate UNTRACKED -j sub
-A FORWARD -m conntrack --ctstate DNAT -d 10.20.7.7/32 -j ACCEPT
-A FORWARD -s 10.10.0.0/16 -d 10.20.0.0/16 -g sub
-A FORWARD -m set --match-set face src,src -j DROP
-A FORWARD -p icmp -m icmp --icmp-type 3 -j ACCEPT
-A FORWARD -m conntrack ! --ctstate SNAT,ESTABLISHED -m mark ! --mark 0x1/0x1 -j REJECT
-A sub -m mark --mark 0x1000/0x1000 -j DROP
-A sub -p tcp -m tcp ! --tcp-flags SYN,ACK SYN -j RETURN
-A sub -m iprange ! --src-range 10.10.50.0-10.30.5.0 -j REJECT --reject-with icmp-net-prohibited
-A OUTPUT -p tcp -m tcp --tcp-flags ALL SYN,FIN -j DROP
-A OUTPUT -d 10.20.77.7/32 -p tcp -m tcp --dport 8080 -j REJECT --reject-with tcp-reset
COMMIT
*security
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -m mark --mark 0x8/0x8 -j DROP
-A OUTPUT -p udp -m multiport --sports 1:1000 -j DROP
COMMIT
"""

"""The matches of iptables, as a table: module -> option -> how it is read.

Sources: iptables-extensions(8) of 1.8.9 and, for what a match means to packets without ports, entries
or addresses, Linux' net/netfilter/xt_*.c; each is held to the real kernel by the kernel tests.
"""

from __future__ import annotations

from collections.abc import Callable

from netsim.parsers.iptables.statement import Statement, either, unmodelled, within
from netsim.parsers.iptables.values import (
    DSCP_CLASSES,
    TOS_NAMES,
    address_range,
    icmp_type,
    masked,
    masked_ranges,
    number,
    number_range,
    port,
    port_range,
)
from netsim.parsers.text import Wrong, quoted
from netsim.rules.model import AnyOf, Bits, Condition, Deferred, In
from netsim.space.fields import (
    ADDRESS_FIELDS,
    PORT_PROTOCOLS,
    CtStatus,
    Direction,
    Range,
    State,
    TcpFlag,
    merge_ranges,
)
from netsim.space.packet import mac_value

Handler = Callable[[Statement, bool], None]

HAS_ENTRY = In("state", ((0, 2),))


def _port(field: str) -> Handler:
    def read(s: Statement, negated: bool) -> None:
        s.test(field, (s.read(port_range),), negated)

    return read


def _tcp_flags(s: Statement, negated: bool) -> None:
    mask = s.read(flags)
    value = s.read(flags)
    s.add(Bits("tcp_flags", mask, value, negated))


def flags(text: str) -> int:
    """A list of TCP flags: names, ALL or NONE."""
    result = 0
    for name in text.split(","):
        upper = name.upper()
        if upper == "ALL":
            result |= 0x3F
        elif upper in ("SYN", "ACK", "FIN", "RST", "URG", "PSH"):
            result |= TcpFlag[upper]
        elif upper != "NONE":
            raise ValueError(
                f"a list of TCP flags is expected (SYN,ACK,FIN,RST,URG,PSH,ALL,NONE), not {text[:40]!r}"
            )
    return result


def _syn(s: Statement, negated: bool) -> None:
    s.add(Bits("tcp_flags", 0x17, 0x02, negated))


def _multiport(*fields: str) -> Handler:
    def read(s: Statement, negated: bool) -> None:
        if s.protocol not in PORT_PROTOCOLS or s.protocol_negated:
            raise Wrong(s.option, "multiport needs -p tcp, udp, udplite, sctp or dccp", code="NS105")
        ranges = s.read(_port_list)
        if len(fields) == 1:
            s.test(fields[0], ranges, negated)
        elif negated:
            for field in fields:
                s.test(field, ranges, True)
        else:
            s.add(either([within(f, ranges) for f in fields], False, "ports"))

    return read


def _port_list(text: str) -> tuple[Range, ...]:
    parts = text.split(",")
    slots = sum(2 if ":" in part else 1 for part in parts)
    if slots > 15:
        raise ValueError("multiport takes 15 ports, a range counting as two")
    for part in parts:
        if part[:1] == ":" or part[-1:] == ":":
            raise ValueError(f"a range of multiport needs both ends, not {part[:40]!r}")
    return merge_ranges([port_range(part) if ":" in part else (port(part),) * 2 for part in parts])


def _icmp(s: Statement, negated: bool) -> None:
    low, high, code_low, code_high = s.read(icmp_type, s.family)
    tests: list[Condition] = [In("icmp_type", ((low, high),))]
    if (code_low, code_high) != (0, 255):
        tests.append(In("icmp_code", ((code_low, code_high),)))
    if negated and (low, high) == (0, 255):
        s.add(In("icmp_type", ()))
    elif negated and len(tests) == 1:
        s.test("icmp_type", ((low, high),), True)
    elif negated:
        s.add(In("icmp_type", ((0, 255),)))
        s.add(AnyOf((tuple(tests),), True, "icmp type"))
    else:
        s.conditions += tests


def _iprange(side: str) -> Handler:
    def read(s: Statement, negated: bool) -> None:
        s.test(ADDRESS_FIELDS[side, s.family], (s.read(address_range, s.family),), negated)

    return read


STATES = {"NEW": State.NEW, "ESTABLISHED": State.ESTABLISHED, "RELATED": State.RELATED,
          "INVALID": State.INVALID, "UNTRACKED": State.UNTRACKED}  # fmt: skip


def _states(text: str) -> tuple[tuple[Range, ...], int]:
    ranges: list[Range] = []
    status = 0
    for name in text.split(","):
        upper = name.upper()
        if upper in STATES:
            ranges.append((STATES[upper], STATES[upper]))
        elif upper in ("SNAT", "DNAT"):
            status |= CtStatus[upper]
        else:
            raise ValueError(
                f"{name[:40]!r} is no connection state (NEW, ESTABLISHED, RELATED, INVALID, UNTRACKED, SNAT, DNAT)"
            )
    return merge_ranges(ranges), status


def _ctstate(s: Statement, negated: bool) -> None:
    ranges, status = s.read(_states)
    if not status:
        condition: Condition = within("state", ranges, negated)
    else:
        alternatives: list[tuple[Condition, ...]] = [(In("state", ranges),)] if ranges else []
        for bit in (CtStatus.SNAT, CtStatus.DNAT):
            if status & bit:
                alternatives.append((HAS_ENTRY, Bits("ct_status", bit, bit)))
        condition = AnyOf(tuple(alternatives), negated, "ctstate")
    s.tracking.append(("state", condition))


def _plain_states(text: str) -> tuple[Range, ...]:
    ranges, status = _states(text)
    if status:
        raise ValueError("SNAT and DNAT are states of -m conntrack --ctstate only")
    return ranges


def _state(s: Statement, negated: bool) -> None:
    s.tracking.append(("state", within("state", s.read(_plain_states), negated)))


_STATUS = {"EXPECTED": None, "SEEN_REPLY": CtStatus.SEEN_REPLY, "ASSURED": None,
           "CONFIRMED": CtStatus.CONFIRMED, "NONE": 0}  # fmt: skip


def _status_names(text: str) -> tuple[str, ...]:
    names = tuple(name.upper() for name in text.split(","))
    for name in names:
        if name not in _STATUS:
            raise ValueError(f"{name[:40]!r} is no connection status ({', '.join(_STATUS)})")
    return names


def _ctstatus(s: Statement, negated: bool) -> None:
    names = s.read(_status_names)
    alternatives: list[Condition] = []
    for name in names:
        bit = _STATUS[name]
        if bit is None:
            alternatives.append(unmodelled(f"conntrack --ctstatus {name}", pure=True))
        elif bit:
            alternatives.append(Bits("ct_status", bit, bit))
    s.tracking.append(("status", either(alternatives, negated, "ctstatus")))


def _ctdir(s: Statement, negated: bool) -> None:
    if negated:
        raise Wrong(s.option, "--ctdir is not negated", code="NS101")
    names = {"ORIGINAL": Direction.ORIGINAL, "REPLY": Direction.REPLY}
    word = s.next("ORIGINAL or REPLY").upper()
    if word not in names:
        raise Wrong(s.position - 1, f"ORIGINAL or REPLY is expected, not {word[:40]!r}")
    s.tracking.append(("direction", In("direction", ((names[word], names[word]),))))


def _ctproto(s: Statement, negated: bool) -> None:
    from netsim.parsers.iptables.options import protocol

    value = s.read(protocol, s.family)
    s.tracking.append(("protocol", within("protocol", ((value, value),), negated)))


def _ct_unmodelled(option: str) -> Handler:
    def read(s: Statement, negated: bool) -> None:
        text = f"conntrack {option} {quoted(s.next('a value'))}"
        s.tracking.append(("other", unmodelled(text, pure=True, negated=negated)))

    return read


def _mark(field: str) -> Handler:
    def read(s: Statement, negated: bool) -> None:
        value, mask = s.read(masked, 32)
        if field == "ctmark":
            s.add(HAS_ENTRY)
        s.add(Bits(field, mask, value, negated))

    return read


def _set(s: Statement, negated: bool) -> None:
    name = s.next("the name of a set")
    sides = s.next("src or dst")
    for side in sides.split(","):
        if side not in ("src", "dst"):
            raise Wrong(s.position - 1, f"src or dst, up to six of them, is expected, not {sides[:40]!r}")
    s.add(
        Deferred(
            "set",
            (name, sides),
            f"set --match-set {quoted(name)} {sides}",
            negated,
            f"give the ipset {name!r}",
        )
    )


def _set_option(option: str, arguments: int) -> Handler:
    """Options that change which elements match; updating the counters does not."""

    def read(s: Statement, negated: bool) -> None:
        values = [s.next("a value") for _ in range(arguments)]
        if not option.startswith("--update"):
            s.set_options.append(" ".join([*(["!"] if negated else []), option, *map(quoted, values)]))

    return read


ADDRESS_TYPES = ("UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST", "BLACKHOLE",
                 "UNREACHABLE", "PROHIBIT", "THROW", "NAT", "XRESOLVE")  # fmt: skip


def _address_type(side: str) -> Handler:
    def read(s: Statement, negated: bool) -> None:
        names = s.next("an address type").upper().split(",")
        for name in names:
            if name not in ADDRESS_TYPES:
                raise Wrong(s.position - 1, f"{name[:40]!r} is no address type ({', '.join(ADDRESS_TYPES)})")
        wanted = ",".join(sorted(names))
        text = f"addrtype --{side}-type {wanted}"
        family = "4" if s.family == 0 else "6"
        s.add(Deferred("addrtype", (side, wanted, family), text, negated, "give the device's addresses"))

    return read


def _limit_interface(option: str) -> Handler:
    def read(s: Statement, negated: bool) -> None:
        if negated:
            raise Wrong(s.option, f"{option} is not negated", code="NS101")
        s.limits.append(option)

    return read


def _mac(s: Statement, negated: bool) -> None:
    value = s.read(mac_value)
    s.test("mac", ((value, value),), negated)


def _number(field: str, high: int, what: str) -> Handler:
    def read(s: Statement, negated: bool) -> None:
        s.test(field, (s.read(number_range, high, what),), negated)

    return read


def _exact(field: str, compare: str, what: str) -> Handler:
    def read(s: Statement, negated: bool) -> None:
        value = s.read(number, 0, 255, what)
        ranges = {"eq": (value, value), "lt": (0, value - 1), "gt": (value + 1, 255)}
        s.test(field, (ranges[compare],), negated)

    return read


def _dscp(s: Statement, negated: bool) -> None:
    value = s.read(number, 0, 63, "a DSCP")
    s.test("tos", ((value << 2, value << 2 | 3),), negated)


def _dscp_class(s: Statement, negated: bool) -> None:
    name = s.next("a DSCP class").upper()
    if name not in DSCP_CLASSES:
        raise Wrong(s.position - 1, f"{name[:40]!r} is no DSCP class (BE, EF, CS0-7, AF11-43)")
    value = DSCP_CLASSES[name]
    s.test("tos", ((value << 2, value << 2 | 3),), negated)


def tos(text: str) -> tuple[int, int]:
    """A TOS value and mask; the old names count under the mask 0x3f."""
    name = text.lower()
    if name in TOS_NAMES:
        return TOS_NAMES[name], 0x3F
    return masked(text, 8, "a TOS")


def _tos(s: Statement, negated: bool) -> None:
    value, mask = s.read(tos)
    ranges = masked_ranges(value, mask, 8)
    assert ranges is not None
    s.test("tos", ranges, negated)


def _ecn_bit(name: str) -> Handler:
    def read(s: Statement, negated: bool) -> None:
        s.add(Bits("tcp_flags", TcpFlag[name], TcpFlag[name], negated))

    return read


def _ecn_ip(s: Statement, negated: bool) -> None:
    value = s.read(number, 0, 3, "an ECN codepoint")
    s.test("tos", tuple((v, v) for v in range(value, 256, 4)), negated)


def _comment(s: Statement, negated: bool) -> None:
    del negated
    s.comment = s.next("a comment")
    s.comments += 1


def _unmodelled(module: str, option: str, *, arguments: int = 1) -> Handler:
    def read(s: Statement, negated: bool) -> None:
        values = [s.next("a value") for _ in range(arguments)]
        text = " ".join([module, option, *map(quoted, values)])
        s.add(unmodelled(text, pure=True, negated=negated))

    return read


_PORTS: dict[str, Handler] = {
    "--sport": _port("sport"), "--source-port": _port("sport"),
    "--dport": _port("dport"), "--destination-port": _port("dport"),
}  # fmt: skip
_CT_OTHER = ("--ctorigsrc", "--ctorigdst", "--ctreplsrc", "--ctrepldst", "--ctorigsrcport",
             "--ctorigdstport", "--ctreplsrcport", "--ctrepldstport", "--ctexpire")  # fmt: skip

MATCHES: dict[str, dict[str, Handler]] = {
    "tcp": {
        **_PORTS,
        "--tcp-flags": _tcp_flags,
        "--syn": _syn,
        "--tcp-option": _unmodelled("tcp", "--tcp-option"),
    },
    "udp": _PORTS,
    "sctp": {**_PORTS, "--chunk-types": _unmodelled("sctp", "--chunk-types", arguments=2)},
    "dccp": {
        **_PORTS,
        "--dccp-types": _unmodelled("dccp", "--dccp-types"),
        "--dccp-option": _unmodelled("dccp", "--dccp-option"),
    },
    "icmp": {"--icmp-type": _icmp},
    "icmp6": {"--icmpv6-type": _icmp, "--icmp6-type": _icmp},
    "multiport": {
        "--sports": _multiport("sport"), "--source-ports": _multiport("sport"),
        "--dports": _multiport("dport"), "--destination-ports": _multiport("dport"),
        "--ports": _multiport("sport", "dport"),
    },
    "iprange": {"--src-range": _iprange("src"), "--dst-range": _iprange("dst")},
    "state": {"--state": _state},
    "conntrack": {
        "--ctstate": _ctstate, "--ctstatus": _ctstatus, "--ctdir": _ctdir, "--ctproto": _ctproto,
        **{option: _ct_unmodelled(option) for option in _CT_OTHER},
    },
    "mark": {"--mark": _mark("mark")},
    "connmark": {"--mark": _mark("ctmark")},
    "set": {
        "--match-set": _set, "--set": _set,
        **{option: _set_option(option, 0)
           for option in ("--return-nomatch", "--update-counters", "--update-subcounters")},
        **{f"--{what}-{compare}": _set_option(f"--{what}-{compare}", 1)
           for what in ("packets", "bytes") for compare in ("eq", "lt", "gt")},
    },
    "addrtype": {
        "--src-type": _address_type("src"), "--dst-type": _address_type("dst"),
        "--limit-iface-in": _limit_interface("--limit-iface-in"),
        "--limit-iface-out": _limit_interface("--limit-iface-out"),
    },
    "mac": {"--mac-source": _mac},
    "length": {"--length": _number("length", 65535, "a length")},
    "dscp": {"--dscp": _dscp, "--dscp-class": _dscp_class},
    "tos": {"--tos": _tos},
    "ttl": {f"--ttl-{c}": _exact("ttl", c, "a TTL") for c in ("eq", "lt", "gt")}
    | {"--ttl": _exact("ttl", "eq", "a TTL")},
    "hl": {f"--hl-{c}": _exact("ttl", c, "a hop limit") for c in ("eq", "lt", "gt")},
    "ecn": {"--ecn-tcp-cwr": _ecn_bit("CWR"), "--ecn-tcp-ece": _ecn_bit("ECE"), "--ecn-ip-ect": _ecn_ip},
    "comment": {"--comment": _comment},
}  # fmt: skip
MATCHES["icmpv6"] = MATCHES["icmp6"]
MATCHES["ipv6-icmp"] = MATCHES["icmp6"]

PROTOCOL_MODULES = {6: "tcp", 17: "udp", 132: "sctp", 33: "dccp", 1: "icmp", 58: "icmp6"}
"""The match that `-p` brings along."""
MODULE_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "dccp": 33, "icmp": 1, "icmp6": 58,
                    "icmpv6": 58, "ipv6-icmp": 58}  # fmt: skip
"""The matches that need their own protocol."""

PURE = {
    "time": False, "string": False, "bpf": False, "u32": False, "geoip": False, "owner": True,
    "physdev": True, "pkttype": True, "policy": False, "realm": True, "rpfilter": False, "rt": True,
    "socket": False, "helper": True, "osf": False, "devgroup": True, "cluster": False, "cgroup": True,
    "cpu": True, "ah": True, "esp": True, "frag": True, "hbh": True, "dst": True, "ipv6header": False,
    "mh": True, "eui64": False, "ipcomp": True, "ipvs": False, "connlabel": False, "srh": True,
    "layer7": False, "ipp2p": False, "ndpi": False, "iface": False, "asn": False,
    "ipv4options": False, "l2tp": True, "unclean": False,
}  # fmt: skip
"""Match modules that answer the same for one packet; True: each of their options is a test of its own."""

IMPURE = frozenset({
    "limit", "hashlimit", "dstlimit", "statistic", "random", "nth", "quota", "quota2", "recent", "connlimit", "iplimit",
    "connbytes", "rateest", "psd", "condition", "fuzzy", "nfacct", "dns", "lscan", "pknock", "hashlimit2",
    "account",
})  # fmt: skip
"""Match modules that answer afresh at every rule."""

ACTING = {"connlabel": "--set", "osf": "--log", "socket": "--restore-skmark"}
"""Match module -> the option with which it also does something, so that it matters which rules ask it."""

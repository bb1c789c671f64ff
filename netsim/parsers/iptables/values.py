"""Numbers, addresses, ports and names as iptables reads them.

Sources: iptables(8), iptables-extensions(8) of 1.8.9, and what iptables-restore was seen to accept.
Every function raises `ValueError` with a sentence that says what was expected.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from netsim.space.fields import Family, Range, merge_ranges

INTERVALS = 65_536
"""A mask that would need more intervals than this is left unmodelled."""


def number(text: str, low: int, high: int, what: str = "a number") -> int:
    """A number in C notation: decimal, 0x hexadecimal, leading 0 octal."""
    if text.isascii() and text.isdecimal() and text[0] != "0" and len(text) < 20:
        value = int(text)
        if low <= value <= high:
            return value
    digits = text
    base = 10
    if digits[:2].lower() == "0x":
        digits, base = digits[2:], 16
    elif len(digits) > 1 and digits[0] == "0":
        digits, base = digits[1:], 8
    if not digits.isascii() or not digits.isalnum() or len(digits) > 40:
        raise ValueError(f"{what} is expected, not {text[:40]!r}")
    try:
        value = int(digits, base)
    except ValueError:
        raise ValueError(f"{what} is expected, not {text[:40]!r}") from None
    if not low <= value <= high:
        raise ValueError(f"{what} is {low}-{high}, not {text[:40]}")
    return value


def masked(text: str, width: int, what: str = "a mark") -> tuple[int, int]:
    """`value[/mask]`; without a mask every bit counts."""
    top = (1 << width) - 1
    value, slash, mask = text.partition("/")
    return number(value, 0, top, what), number(mask, 0, top, what) if slash else top


def address(text: str, family: Family) -> int:
    """One address. IPv4 octets may be octal or hexadecimal; octets left out at the right are 0."""
    if family is Family.IPV4:
        if text.lower().startswith("::ffff:"):
            text = text[7:]
        parts = text.split(".")
        if (
            len(parts) == 4
            and text.isascii()
            and all(p.isdecimal() and (p[0] != "0" or p == "0") for p in parts)
        ):
            a, b, c, d = map(int, parts)
            if max(a, b, c, d) <= 255:
                return a << 24 | b << 16 | c << 8 | d
        if len(parts) <= 4 and all(parts):
            try:
                octets = [number(part, 0, 255, "an octet") for part in parts]
            except ValueError:
                octets = []
            if octets:
                return int.from_bytes(bytes(octets + [0] * (4 - len(octets))), "big")
        raise ValueError(f"{text[:60]!r} is not an IPv4 address (names are not looked up)")
    try:
        return int(ipaddress.IPv6Address(text.split("%")[0] if "%" not in text else ""))
    except ValueError:
        raise ValueError(f"{text[:60]!r} is not an IPv6 address (names are not looked up)") from None


def mask_bits(text: str, family: Family) -> int:
    """What stands behind the slash: a prefix length or a mask."""
    if text.isascii() and text.isdecimal():
        length = int(text) if len(text) < 5 else 999
        if length > family.bits:
            raise ValueError(f"a prefix length is 0-{family.bits}, not {text[:20]}")
        return ((1 << length) - 1) << (family.bits - length)
    return address(text, family)


def masked_ranges(value: int, mask: int, width: int) -> tuple[Range, ...] | None:
    """The numbers x of `width` bits with `x & mask == value`; None for more than `INTERVALS` intervals."""
    top = (1 << width) - 1
    if value & ~mask:
        return ()
    host = top & ~mask
    if not host & (host + 1):  # a prefix
        return ((value, value | host),)
    low_bits = (mask & -mask).bit_length() - 1 if mask else width
    free = [bit for bit in range(low_bits, width) if not mask >> bit & 1]
    if 1 << len(free) > INTERVALS:
        return None
    size = (1 << low_bits) - 1
    starts = [value]
    for bit in free:
        starts += [start | 1 << bit for start in starts]
    return merge_ranges([(start, (start | size) & top) for start in starts])


@lru_cache(maxsize=65_536)
def prefix(text: str, family: Family) -> tuple[Range, ...] | None:
    """`address[/length or mask]` as ranges; None if the mask has too many holes. Host bits are cleared."""
    host, slash, behind = text.partition("/")
    mask = mask_bits(behind, family) if slash else (1 << family.bits) - 1
    return masked_ranges(address(host, family) & mask, mask, family.bits)


def address_range(text: str, family: Family) -> Range:
    """`low[-high]`, as iprange and NAT write it; a reversed one stays reversed."""
    low, dash, high = text.partition("-")
    first = address(low, family)
    return first, address(high, family) if dash else first


def port(text: str) -> int:
    """A port number or one of the names that are in everybody's services file."""
    if text in SERVICES:
        return SERVICES[text]
    return number(text, 0, 65535, "a port")


@lru_cache(maxsize=65_536)
def port_range(text: str) -> Range:
    """`port`, `low:high`, `:high` or `low:`."""
    low, colon, high = text.partition(":")
    if not colon:
        value = port(low)
        return value, value
    first = port(low) if low else 0
    last = port(high) if high else 65535
    if first > last:
        raise ValueError(f"the port range {text[:40]} is reversed")
    return first, last


def number_range(text: str, high: int, what: str) -> Range:
    """`n`, `low:high`, `:high` or `low:`."""
    left, colon, right = text.partition(":")
    if not colon:
        value = number(left, 0, high, what)
        return value, value
    return (number(left, 0, high, what) if left else 0), (number(right, 0, high, what) if right else high)


SERVICES: dict[str, int] = {
    "ftp-data": 20, "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "time": 37, "domain": 53,
    "bootps": 67, "bootpc": 68, "tftp": 69, "gopher": 70, "finger": 79, "http": 80, "www": 80,
    "kerberos": 88, "pop3": 110, "sunrpc": 111, "auth": 113, "ident": 113, "nntp": 119, "ntp": 123,
    "netbios-ns": 137, "netbios-dgm": 138, "netbios-ssn": 139, "imap": 143, "imap2": 143, "snmp": 161,
    "snmp-trap": 162, "snmptrap": 162, "bgp": 179, "irc": 194, "ldap": 389, "https": 443,
    "microsoft-ds": 445, "submissions": 465, "isakmp": 500, "syslog": 514, "printer": 515, "rip": 520,
    "router": 520, "submission": 587, "ipp": 631, "ldaps": 636, "rsync": 873, "imaps": 993, "pop3s": 995,
    "socks": 1080, "openvpn": 1194, "l2tp": 1701, "radius": 1812, "radius-acct": 1813, "nfs": 2049,
    "mysql": 3306, "rdp": 3389, "ms-wbt-server": 3389, "svn": 3690, "ipsec-nat-t": 4500, "sip": 5060,
    "sip-tls": 5061, "xmpp-client": 5222, "xmpp-server": 5269, "mdns": 5353, "postgresql": 5432,
    "x11": 6000, "http-alt": 8080, "webcache": 8080,
}  # fmt: skip

ICMP_TYPES: dict[str, tuple[int, int | None]] = {
    "any": (255, None), "echo-reply": (0, None), "pong": (0, None), "destination-unreachable": (3, None),
    "network-unreachable": (3, 0), "host-unreachable": (3, 1), "protocol-unreachable": (3, 2),
    "port-unreachable": (3, 3), "fragmentation-needed": (3, 4), "source-route-failed": (3, 5),
    "network-unknown": (3, 6), "host-unknown": (3, 7), "network-prohibited": (3, 9),
    "host-prohibited": (3, 10), "TOS-network-unreachable": (3, 11), "TOS-host-unreachable": (3, 12),
    "communication-prohibited": (3, 13), "host-precedence-violation": (3, 14),
    "precedence-cutoff": (3, 15), "source-quench": (4, None), "redirect": (5, None),
    "network-redirect": (5, 0), "host-redirect": (5, 1), "TOS-network-redirect": (5, 2),
    "TOS-host-redirect": (5, 3), "echo-request": (8, None), "ping": (8, None),
    "router-advertisement": (9, None), "router-solicitation": (10, None), "time-exceeded": (11, None),
    "ttl-exceeded": (11, None), "ttl-zero-during-transit": (11, 0), "ttl-zero-during-reassembly": (11, 1),
    "parameter-problem": (12, None), "ip-header-bad": (12, 0), "required-option-missing": (12, 1),
    "timestamp-request": (13, None), "timestamp-reply": (14, None), "address-mask-request": (17, None),
    "address-mask-reply": (18, None),
}  # fmt: skip

ICMPV6_TYPES: dict[str, tuple[int, int | None]] = {
    "destination-unreachable": (1, None), "no-route": (1, 0), "communication-prohibited": (1, 1),
    "beyond-scope": (1, 2), "address-unreachable": (1, 3), "port-unreachable": (1, 4),
    "failed-policy": (1, 5), "reject-route": (1, 6), "packet-too-big": (2, None),
    "time-exceeded": (3, None), "ttl-exceeded": (3, None), "ttl-zero-during-transit": (3, 0),
    "ttl-zero-during-reassembly": (3, 1), "parameter-problem": (4, None), "bad-header": (4, 0),
    "unknown-header-type": (4, 1), "unknown-option": (4, 2), "echo-request": (128, None),
    "ping": (128, None), "echo-reply": (129, None), "pong": (129, None), "mld-listener-query": (130, None),
    "mld-listener-report": (131, None), "mld-listener-done": (132, None),
    "mld-listener-reduction": (132, None), "router-solicitation": (133, None),
    "router-advertisement": (134, None), "neighbour-solicitation": (135, None),
    "neighbor-solicitation": (135, None), "neighbour-advertisement": (136, None),
    "neighbor-advertisement": (136, None), "redirect": (137, None),
}  # fmt: skip

DSCP_CLASSES: dict[str, int] = {
    "BE": 0, "EF": 0x2E, **{f"CS{n}": n << 3 for n in range(8)},
    **{f"AF{c}{d}": (c << 3) | (d << 1) for c in range(1, 5) for d in range(1, 4)},
}  # fmt: skip

TOS_NAMES: dict[str, int] = {
    "minimize-delay": 0x10, "maximize-throughput": 0x08, "maximize-reliability": 0x04,
    "minimize-cost": 0x02, "normal-service": 0x00,
}  # fmt: skip


def icmp_type(text: str, family: Family) -> tuple[int, int, int, int]:
    """The bounds of type and code: a name, `type` or `type/code`. ICMP's 255 is any."""
    names = ICMP_TYPES if family is Family.IPV4 else ICMPV6_TYPES
    found = names.get(text)
    if found is None:
        kind, slash, code = text.partition("/")
        found = (
            number(kind, 0, 255, "an ICMP type"),
            number(code, 0, 255, "an ICMP code") if slash else None,
        )
    kind_value, code_value = found
    if family is Family.IPV4 and kind_value == 255:
        return 0, 255, 0, 255
    if code_value is None:
        return kind_value, kind_value, 0, 255
    return kind_value, kind_value, code_value, code_value

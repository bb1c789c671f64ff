"""The fields of a packet: one table from which diagrams, packets, boxes and JSON derive.

Theory of operation. A *field* is what a rule can test; a *level* is one variable of the decision
diagram. An interval field is one level (one of 128 bits, an IPv6 address or an interface name, is two:
its upper and its lower 64 bits), a bits field is one level a bit, most significant first. The order of
the levels is the order of the table; it was measured to be good: interfaces, state, family and protocol
first, ports below addresses, bits and unmodelled variables last.

A field *applies* to some packets only: a UDP packet has no TCP flags, a later fragment has no ports, an
IPv6 packet has no IPv4 source. `needs` says on what it depends. Every packet set leaves a field free
where it does not apply (invariant F1), so complement needs no care; counting and sampling intersect
with the well-formed packets, where such a field is 0.

To add a field, add a line to `FIELDS`.
"""

from __future__ import annotations

from enum import Enum, IntEnum

import attrs

Range = tuple[int, int]
"""An inclusive range of integers."""


class Kind(Enum):
    """How a field is tested: by intervals, or bit by bit."""

    INTERVAL = "interval"
    BITS = "bits"


class State(IntEnum):
    """What connection tracking says of a packet; the values are those of the `state` field."""

    NEW = 0
    ESTABLISHED = 1
    RELATED = 2
    INVALID = 3
    UNTRACKED = 4


class Direction(IntEnum):
    """Whether a packet goes the way of its connection's opening packet."""

    ORIGINAL = 0
    REPLY = 1


class Family(IntEnum):
    """The IP version; the values are those of the `family` field."""

    IPV4 = 0
    IPV6 = 1

    @property
    def bits(self) -> int:
        """The width of an address."""
        return 32 if self is Family.IPV4 else 128


class CtStatus(IntEnum):
    """Bits of the `ct_status` field, numbered as in Linux' `enum ip_conntrack_status`."""

    EXPECTED = 1 << 0
    SEEN_REPLY = 1 << 1
    ASSURED = 1 << 2
    CONFIRMED = 1 << 3
    SNAT = 1 << 4
    DNAT = 1 << 5


class TcpFlag(IntEnum):
    """Bits of the `tcp_flags` field, RFC 9293 section 3.1."""

    FIN = 1
    SYN = 2
    RST = 4
    PSH = 8
    ACK = 16
    URG = 32
    ECE = 64
    CWR = 128


class Protocol(IntEnum):
    """Protocol numbers that have a meaning here (IANA)."""

    ICMP = 1
    TCP = 6
    UDP = 17
    DCCP = 33
    GRE = 47
    ESP = 50
    AH = 51
    ICMPV6 = 58
    SCTP = 132
    UDPLITE = 136


PORT_PROTOCOLS: tuple[int, ...] = (6, 17, 33, 132, 136)
"""The protocols whose packets carry a source and a destination port in their first four bytes."""


@attrs.frozen(slots=True)
class Field:
    """One line of the table. `width` is in bits; `top` is the largest value of an interval field.

    `needs` maps other fields to the values under which this one exists; `family` binds it to one IP
    version. `level` and `levels` are filled in from the position in the table.
    """

    name: str
    kind: Kind
    width: int
    top: int = -1
    needs: tuple[tuple[str, tuple[int, ...]], ...] = ()
    level: int = -1
    levels: tuple[int, ...] = ()

    @property
    def maximum(self) -> int:
        """The largest value."""
        return self.top if self.top >= 0 else (1 << self.width) - 1


I, B = Kind.INTERVAL, Kind.BITS  # noqa: E741
_V4, _V6 = (("family", (0,)),), (("family", (1,)),)
_PORTS = (("protocol", PORT_PROTOCOLS), ("fragment", (0,)))
_ICMP = (("protocol", (1, 58)), ("fragment", (0,)))
NO_MAC = 1 << 48
"""The value of `mac` for a packet without an Ethernet source (output, tunnels)."""
VARIABLES = 128
"""How many pure unmodelled conditions one rule set may keep as variables; the rest answer afresh."""

_TABLE = (
    Field("iif", I, 128),
    Field("oif", I, 128),
    Field("state", I, 3, top=4),
    Field("direction", I, 1),
    Field("family", I, 1),
    Field("protocol", I, 8),
    Field("dst4", I, 32, needs=_V4),
    Field("dst6", I, 128, needs=_V6),
    Field("src4", I, 32, needs=_V4),
    Field("src6", I, 128, needs=_V6),
    Field("dport", I, 16, needs=_PORTS),
    Field("sport", I, 16, needs=_PORTS),
    Field("icmp_type", I, 8, needs=_ICMP),
    Field("icmp_code", I, 8, needs=_ICMP),
    Field("length", I, 17),
    Field("ttl", I, 8),
    Field("tos", I, 8),
    Field("mac", I, 49, top=NO_MAC),
    Field("mark", B, 32),
    Field("ctmark", B, 32),
    Field("tcp_flags", B, 8, needs=(("protocol", (6,)), ("fragment", (0,)))),
    Field("ct_status", B, 6),
    Field("fragment", B, 1),
    Field("variables", B, VARIABLES),
)


WORD = (1 << 64) - 1
"""The largest value of a level: what a machine word holds."""


def _number(table: tuple[Field, ...]) -> tuple[dict[str, Field], tuple[int, ...]]:
    fields: dict[str, Field] = {}
    maxima: list[int] = []
    for field in table:
        first = len(maxima)
        if field.kind is Kind.BITS:
            maxima += [1] * field.width
        elif field.width == 128:
            maxima += [WORD] * 2
        else:
            maxima.append(field.maximum)
        fields[field.name] = attrs.evolve(field, level=first, levels=tuple(range(first, len(maxima))))
    return fields, tuple(maxima)


FIELDS, LEVEL_MAXIMA = _number(_TABLE)
"""The fields by name, and the largest value of every level, in order."""

ADDRESS_FIELDS = {
    ("src", Family.IPV4): "src4",
    ("src", Family.IPV6): "src6",
    ("dst", Family.IPV4): "dst4",
    ("dst", Family.IPV6): "dst6",
}
"""The field that holds an address of a family; `src` and `dst` are public names for both."""

PUBLIC_NAMES: dict[str, tuple[str, ...]] = {
    "src": ("src4", "src6"),
    "dst": ("dst4", "dst6"),
    **{name: (name,) for name in FIELDS if name not in {"src4", "src6", "dst4", "dst6"}},
}
"""What users call a field -> the fields of the table that hold it."""

ABSENT = 0
"""The value of `iif` and `oif` where a packet has none."""


def interface_value(name: str) -> int:
    """An interface name (at most 15 bytes, `IFNAMSIZ` of Linux less the final NUL) as an integer.

    The name's bytes, padded at the right with zeros, so that names with one prefix are one interval.
    Raises `ValueError` for a longer name.
    """
    raw = name.encode("utf-8", "surrogateescape")
    if len(raw) > 15:
        raise ValueError(f"interface name {name!r} is longer than 15 bytes")
    return int.from_bytes(raw.ljust(16, b"\0"), "big")


def interface_prefix(prefix: str) -> Range:
    """The interval of the names that begin with `prefix`, the bare prefix among them (`eth+`)."""
    raw = prefix.encode("utf-8", "surrogateescape")
    if len(raw) > 15:
        raise ValueError(f"interface name {prefix!r} is longer than 15 bytes")
    low = int.from_bytes(raw.ljust(16, b"\0"), "big")
    high = int.from_bytes(raw.ljust(16, b"\xff"), "big")
    return (max(low, 1), high)


def interface_name(value: int) -> str:
    """The name of an `iif` or `oif` value; '' for none."""
    return value.to_bytes(16, "big").rstrip(b"\0").decode("utf-8", "surrogateescape")


def dependents(name: str) -> tuple[str, ...]:
    """The fields that exist only because of the value of field `name`, transitively."""
    found: list[str] = []
    for field in _TABLE:
        if any(other == name or other in found for other, _ in field.needs) and field.name != name:
            found.append(field.name)
    return tuple(found)


def merge_ranges(ranges: list[Range] | tuple[Range, ...]) -> tuple[Range, ...]:
    """Sorted, disjoint, non-adjacent ranges with the same members; empty ranges vanish."""
    merged: list[Range] = []
    for low, high in sorted(ranges):
        if low > high:
            continue
        if merged and low <= merged[-1][1] + 1:
            if high > merged[-1][1]:
                merged[-1] = (merged[-1][0], high)
        else:
            merged.append((low, high))
    return tuple(merged)


def complement_ranges(ranges: tuple[Range, ...], maximum: int) -> tuple[Range, ...]:
    """The values of [0, maximum] that are in none of `ranges`."""
    result: list[Range] = []
    start = 0
    for low, high in merge_ranges(ranges):
        if low > start:
            result.append((start, low - 1))
        start = high + 1
    if start <= maximum:
        result.append((start, maximum))
    return tuple(result)

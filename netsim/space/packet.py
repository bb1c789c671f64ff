"""One packet: a header and its context, as a frozen value.

What is not said is `None` and *open*: an answer that depends on it is unknown. Sensible defaults are
said: a packet is new, whole, unmarked, with a TOS of 0, and an opening TCP packet carries SYN alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from netsim.space.addresses import AddressLike, address, show_address, to_netaddr
from netsim.space.fields import (
    ADDRESS_FIELDS,
    FIELDS,
    LEVEL_MAXIMA,
    NO_MAC,
    PORT_PROTOCOLS,
    CtStatus,
    Direction,
    Family,
    Kind,
    State,
    TcpFlag,
    interface_name,
    interface_value,
)

if TYPE_CHECKING:
    import netaddr

PROTOCOL_NUMBERS: dict[str, int] = {
    "icmp": 1, "igmp": 2, "ipip": 4, "ipencap": 4, "tcp": 6, "egp": 8, "udp": 17, "dccp": 33,
    "ipv6": 41, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "icmpv6": 58, "ipv6-icmp": 58, "icmp6": 58,
    "eigrp": 88, "ospf": 89, "pim": 103, "vrrp": 112, "l2tp": 115, "sctp": 132, "mh": 135,
    "ipv6-mh": 135, "udplite": 136,
}  # fmt: skip
"""The protocols that people name (IANA, Assigned Internet Protocol Numbers)."""

PROTOCOL_NAMES: dict[int, str] = {}
for _name, _number in PROTOCOL_NUMBERS.items():
    PROTOCOL_NAMES.setdefault(_number, _name)

_LAYOUT = [
    (name, 64 if len(field.levels) == 2 else 1, field.levels)
    for name, field in FIELDS.items()
    if name != "variables"
]
"""Of each field its levels, and the bits of each of them where there are several."""
_FLAG_ORDER = ("SYN", "ACK", "FIN", "RST", "PSH", "URG", "ECE", "CWR")


def protocol_number(value: str | int) -> int:
    """The number of a protocol given by name or number. Raises `ValueError`."""
    if isinstance(value, str):
        known = PROTOCOL_NUMBERS.get(value.lower())
        if known is not None:
            return known
        if not value.isdecimal():
            raise ValueError(f"unknown protocol {value[:40]!r}")
        value = int(value)
    if isinstance(value, bool) or not 0 <= value <= 255:
        raise ValueError(f"a protocol is 0-255, not {value}")
    return int(value)


def flags_value(value: str | int) -> int:
    """TCP flags as bits: `"SYN,ACK"`, `""` or `"NONE"` for none, `"ALL"` for the six of RFC 793."""
    if isinstance(value, int):
        if not 0 <= value <= 255:
            raise ValueError(f"TCP flags are 0-255, not {value}")
        return value
    result = 0
    for word in value.replace("|", ",").split(","):
        name = word.strip().upper()
        if name in ("", "NONE"):
            continue
        if name == "ALL":
            result |= 0x3F
        elif name in TcpFlag.__members__:
            result |= TcpFlag[name]
        else:
            raise ValueError(f"unknown TCP flag {word.strip()[:20]!r}")
    return result


def flags_text(value: int) -> str:
    """TCP flags as text, `"NONE"` for no flag."""
    return ",".join(n for n in _FLAG_ORDER if value & TcpFlag[n]) or "NONE"


def mac_value(value: str | int) -> int:
    """A MAC address as an integer; '' is none. Raises `ValueError`."""
    if isinstance(value, int):
        if not 0 <= value <= NO_MAC:
            raise ValueError("a MAC address has 48 bits")
        return value
    if not value:
        return NO_MAC
    octets = value.replace("-", ":").split(":")
    if len(octets) != 6 or not all(0 < len(o) <= 2 for o in octets):
        raise ValueError(f"{value[:40]!r} is not a MAC address")
    try:
        return int.from_bytes(bytes(int(o, 16) for o in octets), "big")
    except ValueError:
        raise ValueError(f"{value[:40]!r} is not a MAC address") from None


def state_value(value: str | State) -> State:
    """A connection state by name; `reply` is not a state but a direction (see `Packet`)."""
    if isinstance(value, State):
        return value
    name = value.strip().upper()
    if name not in State.__members__:
        raise ValueError(
            f"{value[:40]!r} is no connection state: new, established, related, invalid, untracked"
        )
    return State[name]


def _optional_address(value: AddressLike | None) -> tuple[Family, int] | None:
    return None if value is None else address(value)


def _optional_protocol(value: str | int | None) -> int | None:
    return None if value is None else protocol_number(value)


def _optional_flags(value: str | int | None) -> int | None:
    return None if value is None else flags_value(value)


def _optional_interface(value: str | int | None) -> int | None:
    return interface_value(value) if isinstance(value, str) else value


def _optional_mac(value: str | int | None) -> int | None:
    return None if value is None else mac_value(value)


def _within(_: object, field: Any, value: int | None) -> None:
    """The attrs validator of a number: it fits the field's width, or is open."""
    top = (1 << FIELDS[field.name].width) - 1
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= top):
        raise ValueError(f"{field.name} is 0-{top}, not {value!r}")


@attrs.frozen(slots=True, kw_only=True)
class Packet:
    """A packet header and its context. Every argument is optional; what is left out is open.

    `src` and `dst` are addresses of one family (taken as netaddr, ipaddress, str or int, handed out as
    netaddr). `protocol` is a name or number. Ports belong to tcp, udp, udplite, sctp and dccp, and
    `icmp_type` and `icmp_code` to ICMP; a `fragment` (any but the first) has neither. `iif` and `oif` are
    interface names, '' for none. `state` is what connection tracking says; `direction` is `reply` for
    answers. `length` is the whole IP packet in bytes. Raises `ValueError` for values out of range.
    """

    _src: tuple[Family, int] | None = attrs.field(default=None, converter=_optional_address)
    _dst: tuple[Family, int] | None = attrs.field(default=None, converter=_optional_address)
    protocol: int | None = attrs.field(default=None, converter=_optional_protocol)
    sport: int | None = attrs.field(default=None, validator=_within)
    dport: int | None = attrs.field(default=None, validator=_within)
    tcp_flags: int | None = attrs.field(default=None, converter=_optional_flags)
    icmp_type: int | None = attrs.field(default=None, validator=_within)
    icmp_code: int | None = attrs.field(default=None, validator=_within)
    iif_value: int | None = attrs.field(default=None, alias="iif", converter=_optional_interface)
    oif_value: int | None = attrs.field(default=None, alias="oif", converter=_optional_interface)
    state: State = attrs.field(default=State.NEW, converter=state_value)
    direction: Direction | None = attrs.field(default=Direction.ORIGINAL)
    length: int | None = attrs.field(default=None, validator=_within)
    ttl: int | None = attrs.field(default=None, validator=_within)
    tos: int | None = attrs.field(default=0, validator=_within)
    mac_value: int | None = attrs.field(default=None, alias="mac", converter=_optional_mac)
    mark: int | None = attrs.field(default=0, validator=_within)
    ctmark: int | None = attrs.field(default=0, validator=_within)
    ct_status: int | None = attrs.field(default=None, validator=_within)
    fragment: bool = False
    family: Family | None = attrs.field(default=None)

    def __attrs_post_init__(self) -> None:
        families = {a[0] for a in (self._src, self._dst) if a is not None}
        if len(families) > 1:
            raise ValueError("src and dst are addresses of different families")
        if self.family is None:
            guess = families.pop() if families else {1: Family.IPV4, 58: Family.IPV6}.get(self.protocol or 0)
            object.__setattr__(self, "family", guess)
        elif families and self.family not in families:
            raise ValueError(f"the addresses are not {self.family.name}")
        ported = self.protocol in PORT_PROTOCOLS and not self.fragment
        if not ported and (self.sport is not None or self.dport is not None) and self.protocol is not None:
            raise ValueError("ports need tcp, udp, udplite, sctp or dccp, and no later fragment")
        if self.protocol == 6 and not self.fragment and self.tcp_flags is None:
            opening = self.state is State.NEW
            object.__setattr__(self, "tcp_flags", int(TcpFlag.SYN if opening else TcpFlag.ACK))
        if self.ct_status is None:
            object.__setattr__(self, "ct_status", _status(self.state))

    @property
    def src(self) -> netaddr.IPAddress | None:
        """The source address; None if open."""
        return None if self._src is None else to_netaddr(*self._src)

    @property
    def dst(self) -> netaddr.IPAddress | None:
        """The destination address; None if open."""
        return None if self._dst is None else to_netaddr(*self._dst)

    @property
    def src_text(self) -> str:
        """The source address as text; '*' if open."""
        return "*" if self._src is None else show_address(*self._src)

    @property
    def dst_text(self) -> str:
        """The destination address as text; '*' if open."""
        return "*" if self._dst is None else show_address(*self._dst)

    @property
    def iif(self) -> str | None:
        """The name of the interface where the packet arrives; '' for none, None if open."""
        return None if self.iif_value is None else interface_name(self.iif_value)

    @property
    def oif(self) -> str | None:
        """The name of the interface where it leaves; '' for none, None if open."""
        return None if self.oif_value is None else interface_name(self.oif_value)

    def values(self) -> dict[str, int | None]:
        """The packet as the table sees it: a field that does not apply is missing, an open one is None."""
        result: dict[str, int | None] = {
            "iif": self.iif_value,
            "oif": self.oif_value,
            "state": int(self.state),
            "direction": None if self.direction is None else int(self.direction),
            "family": None if self.family is None else int(self.family),
            "protocol": self.protocol,
            "length": self.length,
            "ttl": self.ttl,
            "tos": self.tos,
            "mac": self.mac_value,
            "mark": self.mark,
            "ctmark": self.ctmark,
            "ct_status": self.ct_status,
            "fragment": int(self.fragment),
        }
        for name, pair in (("src", self._src), ("dst", self._dst)):
            if self.family is not None:
                result[ADDRESS_FIELDS[name, self.family]] = None if pair is None else pair[1]
            else:
                result[name + "4"] = result[name + "6"] = None
        protocol = self.protocol
        if not self.fragment:
            if protocol is None or protocol in PORT_PROTOCOLS:
                result["sport"], result["dport"] = self.sport, self.dport
            if protocol is None or protocol in (1, 58):
                result["icmp_type"], result["icmp_code"] = self.icmp_type, self.icmp_code
            if protocol is None or protocol == 6:
                result["tcp_flags"] = self.tcp_flags
        return result

    @classmethod
    def from_values(cls, values: Mapping[str, int | None]) -> Packet:
        """The packet of `values()`."""
        family = values.get("family")
        kind = None if family is None else Family(family)
        src = dst = None
        if kind is not None:
            raw_src = values.get(ADDRESS_FIELDS["src", kind])
            raw_dst = values.get(ADDRESS_FIELDS["dst", kind])
            src = None if raw_src is None else to_netaddr(kind, raw_src)
            dst = None if raw_dst is None else to_netaddr(kind, raw_dst)
        return cls(
            src=src,
            dst=dst,
            family=kind,
            protocol=values.get("protocol"),
            sport=values.get("sport"),
            dport=values.get("dport"),
            tcp_flags=values.get("tcp_flags"),
            icmp_type=values.get("icmp_type"),
            icmp_code=values.get("icmp_code"),
            iif=values.get("iif"),
            oif=values.get("oif"),
            state=State(values.get("state") or 0),
            direction=None if values.get("direction") is None else Direction(values["direction"] or 0),
            length=values.get("length"),
            ttl=values.get("ttl"),
            tos=values.get("tos"),
            mac=values.get("mac"),
            mark=values.get("mark"),
            ctmark=values.get("ctmark"),
            ct_status=values.get("ct_status"),
            fragment=bool(values.get("fragment")),
        )

    @classmethod
    def from_point(cls, point: Sequence[int]) -> Packet:
        """The packet of one value for each level (unmodelled variables are left out)."""
        values: dict[str, int | None] = {}
        for name, step, levels in _LAYOUT:
            value = 0
            for level in levels:
                value = value << step | point[level]
            values[name] = value
        family = Family(values["family"] or 0)
        protocol, fragment = values["protocol"], values["fragment"]
        for side in ("src", "dst"):
            del values[ADDRESS_FIELDS[side, Family(1 - family)]]
        if protocol not in PORT_PROTOCOLS or fragment:
            values["sport"] = values["dport"] = None
        if protocol not in (1, 58) or fragment:
            values["icmp_type"] = values["icmp_code"] = None
        if protocol != 6 or fragment:
            values["tcp_flags"] = None
        return cls.from_values(values)

    def point(self) -> list[int | None]:
        """One value for each level; None where it is open, 0 where the field does not apply."""
        result: list[int | None] = [0] * len(LEVEL_MAXIMA)
        for name, value in self.values().items():
            field = FIELDS[name]
            if value is None:
                for level in field.levels:
                    result[level] = None
            elif field.kind is Kind.BITS:
                for i, level in enumerate(field.levels):
                    result[level] = value >> (field.width - 1 - i) & 1
            elif len(field.levels) == 2:
                result[field.levels[0]], result[field.levels[1]] = value >> 64, value & (1 << 64) - 1
            else:
                result[field.level] = value
        return result

    def row(self) -> dict[str, Any]:
        """The packet as plain data, by the names that `netsim test` reads; open values are left out."""
        proto = None if self.protocol is None else PROTOCOL_NAMES.get(self.protocol, str(self.protocol))
        state = "reply" if self.direction is Direction.REPLY else self.state.name.lower()
        full = {
            "src": None if self._src is None else show_address(*self._src),
            "dst": None if self._dst is None else show_address(*self._dst),
            "proto": proto,
            "sport": self.sport,
            "dport": self.dport,
            "tcp_flags": None if self.tcp_flags is None else flags_text(self.tcp_flags),
            "icmp_type": self.icmp_type,
            "icmp_code": self.icmp_code,
            "iif": self.iif or None,
            "oif": self.oif or None,
            "mark": self.mark or None,
            "ttl": self.ttl,
            "tos": self.tos or None,
            "len": self.length,
            "frag_off": 1 if self.fragment else None,
            "state": state,
        }
        return {k: v for k, v in full.items() if v is not None}

    def __str__(self) -> str:
        """One line: `tcp 10.0.1.5:40000 -> 10.0.2.9:5432 SYN new`."""

        def end(text: str, port: int | None) -> str:
            if self.protocol not in PORT_PROTOCOLS or self.fragment:
                return text
            shown = "*" if port is None else str(port)
            return f"[{text}]:{shown}" if ":" in text else f"{text}:{shown}"

        proto = "ip" if self.protocol is None else PROTOCOL_NAMES.get(self.protocol, f"proto {self.protocol}")
        words = [proto, end(self.src_text, self.sport), "->", end(self.dst_text, self.dport)]
        if self.protocol == 6 and self.tcp_flags is not None:
            words.append(flags_text(self.tcp_flags))
        if self.protocol in (1, 58) and self.icmp_type is not None:
            words.append(f"type {self.icmp_type} code {self.icmp_code or 0}")
        words.append("reply" if self.direction is Direction.REPLY else self.state.name.lower())
        if self.fragment:
            words.append("later fragment")
        if self.iif:
            words.append(f"in {self.iif}")
        if self.oif:
            words.append(f"out {self.oif}")
        if self.mark:
            words.append(f"mark {self.mark:#x}")
        return " ".join(words)


def _status(state: State) -> int:
    """What connection tracking's status bits are for a packet without NAT (Linux, ip_conntrack_status)."""
    if state in (State.ESTABLISHED, State.RELATED):
        return int(CtStatus.SEEN_REPLY | CtStatus.CONFIRMED)
    return 0

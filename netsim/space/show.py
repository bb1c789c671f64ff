"""Packet sets as text: one line a box, the field's own words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netsim.space.addresses import show_range
from netsim.space.fields import FIELDS, Direction, Family, Kind, Range, State, interface_name
from netsim.space.packet import PROTOCOL_NAMES, flags_text

if TYPE_CHECKING:
    from netsim.space.packets import Box, PacketSet


def _numbers(ranges: tuple[Range, ...]) -> str:
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)


def _interfaces(ranges: tuple[Range, ...]) -> str:
    words = []
    for low, high in ranges:
        if low == high:
            words.append(interface_name(low) or "(none)")
            continue
        prefix = low.to_bytes(16, "big").rstrip(b"\0")
        if high == int.from_bytes(prefix.ljust(16, b"\xff"), "big"):
            words.append(interface_name(low) + "+" if low > 1 else "any interface")
        else:
            words.append("other interfaces")
    return ",".join(dict.fromkeys(words))


def _addresses(family: Family, ranges: tuple[Range, ...], limit: int = 6) -> str:
    shown = [show_range(family, low, high) for low, high in ranges[:limit]]
    if len(ranges) > limit:
        shown.append(f"... {len(ranges) - limit} more ranges")
    return ",".join(shown)


def _names(name: str, ranges: tuple[Range, ...]) -> str:
    kinds: dict[str, type[State] | type[Direction] | type[Family]] = {
        "state": State,
        "direction": Direction,
        "family": Family,
    }
    kind = kinds[name]
    return ",".join(kind(v).name.lower() for low, high in ranges for v in range(low, high + 1))


def field_text(name: str, ranges: tuple[Range, ...]) -> str:
    """One field of a box: `dport 80,8000-8080`."""
    if name in ("iif", "oif"):
        return f"{'in' if name == 'iif' else 'out'} {_interfaces(ranges)}"
    if name in ("state", "direction", "family"):
        return f"{name} {_names(name, ranges)}"
    if name == "protocol":
        words = [
            PROTOCOL_NAMES.get(low, str(low)) if low == high else f"{low}-{high}" for low, high in ranges
        ]
        return f"protocol {','.join(words)}"
    if name[:4] in ("src4", "dst4", "src6", "dst6") and "." not in name:
        return f"{name[:3]} {_addresses(Family.IPV4 if name.endswith('4') else Family.IPV6, ranges)}"
    if name == "mac":
        return "mac " + ",".join(
            f"{low:012x}" if low == high else f"{low:012x}-{high:012x}" for low, high in ranges
        )
    if name in FIELDS and FIELDS[name].kind is Kind.BITS:
        care, value = ranges[0]
        if name == "tcp_flags":
            return f"flags {flags_text(care)}/{flags_text(value)}"
        if name == "fragment":
            return "later fragments" if value else "no later fragment"
        if name == "variables":
            return "under unmodelled conditions"
        full = (1 << FIELDS[name].width) - 1
        return f"{name} {value:#x}" + ("" if care == full else f"/{care:#x}")
    return f"{name} {_numbers(ranges)}"


def box_text(box: Box) -> str:
    """A box on one line; `any packet` where nothing is restricted."""
    families = box.fields.get("family", ((0, 1),))
    words = []
    for name, ranges in box.fields.items():
        addressed = any(n[:3] in ("src", "dst") for n in box.fields)
        if name == "family" and addressed and families[0][0] == families[0][1]:
            continue
        if name == "fragment" and ranges == ((1, 0),):
            continue  # ordinary packets need no word
        words.append(field_text(name, ranges))
    return " ".join(words) or "any packet"


def set_lines(packets: PacketSet, *, limit: int) -> list[str]:
    """At most `limit` boxes as text, and a word on the rest."""
    if not packets:
        return ["no packet"]
    lines = []
    for n, box in enumerate(packets.boxes(limit=limit + 1)):
        if n == limit:
            lines.append("... and more")
            break
        lines.append(box_text(box))
    return lines

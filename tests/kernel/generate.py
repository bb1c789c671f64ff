"""Packets from both sides of every boundary in a rule set, that the test bed can really send."""

from __future__ import annotations

import ipaddress
import random
import sys
from typing import Any

from netsim.rules.model import In, RuleSet, flat
from netsim.space.fields import Family, interface_name
from tests.kernel.frames import Row
from tests.kernel.kernel import DEVICES, OWN, ROUTES

_PROTO4 = ("tcp", "tcp", "tcp", "udp", "udp", "icmp", "sctp", "dccp", "gre")
_PROTO6 = ("tcp", "tcp", "tcp", "udp", "udp", "icmpv6", "sctp", "dccp", "gre")
_NEW_FLAGS = ("SYN", "SYN", "SYN", "ACK", "ACK,PSH", "SYN,ECE,CWR")
_BAD_FLAGS = ("SYN,ACK", "FIN,ACK", "RST", "RST,ACK", "NONE", "SYN,FIN", "FIN,PSH,URG", "FIN")
_HEAD = {"tcp": 20, "udp": 8, "icmp": 8, "icmpv6": 8, "sctp": 32, "dccp": 20, "gre": 8, "udplite": 8}


class Boundaries:
    """For each field the values next to a rule's boundaries."""

    def __init__(self, rules: RuleSet) -> None:
        found: dict[str, set[int]] = {}
        for rule in rules.rules():
            for condition in flat(rule.conditions):
                if isinstance(condition, In):
                    for low, high in condition.ranges[:64]:
                        found.setdefault(condition.field, set()).update((low - 1, low, high, high + 1))
        self.values = {field: sorted(v for v in values if v >= 0) for field, values in found.items()}

    def pick(self, rng: random.Random, field: str, low: int, high: int, chance: float = 0.75) -> int:
        near = [v for v in self.values.get(field, ()) if low <= v <= high]
        return rng.choice(near) if near and rng.random() < chance else rng.randint(low, high)


def oif_of(address: str) -> str | None:
    """Where the routes send a destination; None if nowhere."""
    ip = ipaddress.ip_address(address)
    for device in DEVICES:
        for net in (*ROUTES[device], *OWN[device]):
            if (
                ip.version == ipaddress.ip_interface(net).version
                and ip in ipaddress.ip_interface(net).network
            ):
                return device
    return None


def local(address: str) -> bool:
    return any(address == a.split("/")[0] for own in OWN.values() for a in own)


def packet(rng: random.Random, b: Boundaries, family: Family, hook: str, **fixed: Any) -> Row | None:
    """One packet that the test bed can send; None if the draw cannot be sent."""
    v6 = family is Family.IPV6
    proto = fixed.get("proto") or rng.choice(_PROTO6 if v6 else _PROTO4)
    row: Row = {"hook": hook, "proto": proto}
    suffix = "6" if v6 else "4"
    for side in ("src", "dst"):
        nets = [ipaddress.ip_interface(ROUTES[d][v6]).network for d in DEVICES]
        own = rng.choice(DEVICES)
        if (side == "dst" and hook == "input") or (side == "src" and hook == "output"):
            row[side] = OWN[own][v6].split("/")[0]
            continue
        net = rng.choice(nets)
        low, high = int(net[0]) + 1, int(net[0]) + 60000
        value = b.pick(rng, side + suffix, int(nets[0][0]), int(nets[-1][-1]), 0.7)
        inside = any(int(n[0]) < value < int(n[-1]) for n in nets)
        row[side] = str(ipaddress.ip_address(value if inside else rng.randint(low, high)))
    row.update({k: v for k, v in fixed.items() if k in ("src", "dst")})
    if hook != "output":
        row["iif"] = rng.choice(DEVICES)
        near = [interface_name(v) for v in b.values.get("iif", ()) if v < 1 << 128]
        near = [n for n in near if n in DEVICES]
        if near and rng.random() < 0.5:
            row["iif"] = rng.choice(near)
    if hook != "input":
        out = oif_of(row["dst"])
        if out is None or local(row["dst"]):
            return None
        row["oif"] = out
    if proto in ("tcp", "udp", "sctp", "dccp", "udplite"):
        row["sport"] = b.pick(rng, "sport", 1, 65535)
        row["dport"] = b.pick(rng, "dport", 1, 65535)
    row["state"] = rng.choice(("new", "new", "new", "established", "reply", "invalid", "related"))
    if proto not in ("tcp", "udp", "icmp", "icmpv6") and row["state"] != "new":
        row["state"] = "new"
    if proto == "tcp":
        bad = row["state"] == "invalid"
        row["tcp_flags"] = rng.choice(
            _BAD_FLAGS if bad else _NEW_FLAGS if row["state"] == "new" else ("ACK", "ACK,PSH", "FIN,ACK")
        )
        if row["state"] == "related":
            return None
    elif proto in ("icmp", "icmpv6"):
        _icmp(rng, b, row, v6)
        if row.get("icmp_type") is None:
            return None
    elif row["state"] in ("invalid", "related"):
        row["state"] = "new"
    row["ttl"] = max(2, min(255, b.pick(rng, "ttl", 3, 255, 0.6)))
    row["tos"] = b.pick(rng, "tos", 0, 255, 0.6)
    base = (40 if v6 else 20) + (_HEAD.get(proto, 8) if row["state"] != "related" else 60)
    row["len"] = max(base, min(1400, b.pick(rng, "length", base, 400, 0.6)))
    row["mark"] = rng.choice((0, 0, 1, 2, 3, 0x10, 0x11, 0xFF, 0x100, 0xFFFFFFFF, rng.getrandbits(32)))
    if row["state"] in ("established", "reply") and rng.random() < 0.7:
        row["ctmark"] = rng.choice((1, 2, 3, 4, 0x10, 0xFF, 0xF0F0))
    if hook != "output":
        macs = [v for v in b.values.get("mac", ()) if v >> 32 == 0x0200]
        if macs and rng.random() < 0.6:
            row["mark"] = int.from_bytes((rng.choice(macs) & 0xFFFFFFFF).to_bytes(4, "big"), sys.byteorder)
        row["mac"] = _mac(row["mark"])
    return row


def _mac(mark: int) -> str:
    # nftables loads the last four bytes in network order into a mark of the host's order
    return ":".join(f"{x:02x}" for x in b"\x02\x00" + mark.to_bytes(4, sys.byteorder))


def _icmp(rng: random.Random, b: Boundaries, row: Row, v6: bool) -> None:
    from tests.kernel.frames import ip_packet

    request, reply = (128, 129) if v6 else (8, 0)
    if row["state"] == "established":
        row["icmp_type"], row["icmp_code"] = request, 0
    elif row["state"] == "reply":
        row["icmp_type"], row["icmp_code"] = reply, 0
    elif row["state"] == "related":
        # an error about a packet that we have sent the other way
        row["icmp_type"], row["icmp_code"] = (
            (1, rng.choice((0, 1, 4))) if v6 else (3, rng.choice((0, 1, 3, 9, 13)))
        )
        flow = {"src": row["dst"], "dst": row["src"], "proto": "udp", "sport": rng.randint(1, 65535),
                "dport": rng.randint(1, 65535), "ttl": 60, "len": 48 if v6 else 28, "hook": "forward"}  # fmt: skip
        row["_flow"] = flow
        row["_inner"] = ip_packet(flow)
    elif row["state"] == "invalid":
        row["icmp_type"], row["icmp_code"] = reply, 0
    else:
        kinds = [v for v in b.values.get("icmp_type", ()) if v < 256]
        kind = (
            rng.choice(kinds)
            if kinds and rng.random() < 0.7
            else rng.choice((request, 8, 13, 17, 3, 11, 128))
        )
        code = b.pick(rng, "icmp_code", 0, 16, 0.7) if rng.random() < 0.5 else 0
        requests = (128,) if v6 else (8, 13, 17)
        if v6 and (kind < 5 or kind in range(130, 138) or kind == 143):
            kind = 128
        row["icmp_type"], row["icmp_code"] = kind, code
        if kind not in requests:
            row["state"] = "invalid"

"""Packets as bytes: what a row of `netsim test` looks like on the wire, and back."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

Row = dict[str, Any]
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "dccp": 33, "gre": 47, "icmpv6": 58, "sctp": 132, "udplite": 136}
FLAGS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ECE": 64, "CWR": 128}


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def protocol(row: Row) -> int:
    value = row["proto"]
    return PROTOCOLS.get(value) or int(value)


def flag_bits(text: str) -> int:
    return sum(FLAGS[f] for f in text.split(",") if f and f != "NONE")


def transport(row: Row, src: bytes, dst: bytes, size: int) -> bytes:
    """The transport header and payload, `size` bytes in all."""
    number = protocol(row)
    sport, dport = row.get("sport") or 0, row.get("dport") or 0
    if row.get("frag_off"):
        return bytes(size)
    if number == 6:
        head = struct.pack("!HHIIBBHHH", sport, dport, 1, 0, 5 << 4, flag_bits(row["tcp_flags"]), 1024, 0, 0)
        where = 16
    elif number in (17, 136):
        head = struct.pack("!HHHH", sport, dport, size, 0)
        where = 6
    elif number == 132:
        head = struct.pack("!HHII", sport, dport, 0, 0)
        # an INIT chunk, so that connection tracking takes the packet as an opening one
        body = struct.pack("!BBHIIHHI", 1, 0, size - 12, 7, 1500, 1, 1, 1)
        data = (head + body)[:size].ljust(size, b"\0")
        return data[:8] + struct.pack("<I", crc32c(data[:8] + b"\0\0\0\0" + data[12:])) + data[12:]
    elif number == 33:
        # REQUEST, extended sequence numbers: RFC 4340 section 5.1
        head = struct.pack("!HHBBHBBHII", sport, dport, 5, 0, 0, 1, 0, 0, 1, 0)
        where = 6
    elif number in (1, 58):
        head = struct.pack("!BBHHH", row["icmp_type"], row.get("icmp_code") or 0, 0, 7, 1)
        head += row.get("_inner", b"")
        where = 2
    else:
        return bytes(size)
    data = head.ljust(size, b"\0")
    if number == 1:
        total = checksum(data)
    else:
        pseudo = src + dst + struct.pack("!II", len(data), number)
        total = checksum(pseudo + data) or 0xFFFF
    return data[:where] + struct.pack("!H", total) + data[where + 2 :]


def crc32c(data: bytes) -> int:
    """CRC32c (RFC 9260, appendix A)."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def ip_packet(row: Row) -> bytes:
    """The IP packet of a row."""
    src, dst = ipaddress.ip_address(row["src"]), ipaddress.ip_address(row["dst"])
    if src.version == 4:
        size = row["len"] - 20
        data = transport(row, src.packed, dst.packed, size)
        head = struct.pack(
            "!BBHHHBBH4s4s", 0x45, row.get("tos") or 0, 20 + size, 77, row.get("frag_off") or 0,
            row["ttl"], protocol(row), 0, src.packed, dst.packed,
        )  # fmt: skip
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + data
    size = row["len"] - 40
    data = transport(row, src.packed, dst.packed, size)
    first = 6 << 28 | (row.get("tos") or 0) << 20
    return struct.pack("!IHBB16s16s", first, size, protocol(row), row["ttl"], src.packed, dst.packed) + data


def frame(row: Row, to: bytes) -> bytes:
    """The Ethernet frame of a row; its source address ends in the mark."""
    kind = 0x0800 if ipaddress.ip_address(row["src"]).version == 4 else 0x86DD
    return to + bytes.fromhex(row["mac"].replace(":", "")) + struct.pack("!H", kind) + ip_packet(row)


def read(data: bytes) -> Row:
    """What the answers compare of an IP packet."""
    if data[0] >> 4 == 4:
        head = (data[0] & 15) * 4
        number, tos, ttl = data[9], data[1], data[8]
        src, dst = ipaddress.ip_address(data[12:16]), ipaddress.ip_address(data[16:20])
        later = struct.unpack("!H", data[6:8])[0] & 0x1FFF
    else:
        head, number, ttl = 40, data[6], data[7]
        tos = (struct.unpack("!I", data[:4])[0] >> 20) & 255
        src, dst = ipaddress.ip_address(data[8:24]), ipaddress.ip_address(data[24:40])
        later = 0
    row: Row = {
        "src": str(src),
        "dst": str(dst),
        "proto": number,
        "tos": tos,
        "ttl": ttl,
        "sport": None,
        "dport": None,
    }
    if number in (6, 17, 33, 132, 136) and not later and len(data) >= head + 4:
        row["sport"], row["dport"] = struct.unpack("!HH", data[head : head + 4])
    if number in (1, 58) and len(data) > head:
        row["icmp_type"] = data[head]
    if number == 6 and len(data) > head + 13:
        row["flags"] = data[head + 13]
    return row

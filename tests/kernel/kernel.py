"""The real kernel in a network namespace of its own: rule sets in, packets in, verdicts out.

Theory of operation. Run under `unshare -n`, as root. Three TAP devices are the neighbours; a frame
written to one is processed by the kernel before `write` returns, so every trace and log of the packet can
be read right behind it. An nftables table of ours, before and behind every chain of the rule set, gives
the packet the mark that its source MAC ends in, and logs what gets through (header and mark) to a netlink
group. Which rule decided is read from the kernel's own trace: nftrace for the nft back end, the TRACE
target for the legacy one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from tests.kernel.frames import Row, frame, ip_packet, protocol, read

DEVICES = ("eth", "eth0", "wan1")
OWN = {
    "eth": ("10.9.1.1/24", "fd00:9:1::1/64"),
    "eth0": ("10.9.2.1/24", "fd00:9:2::1/64"),
    "wan1": ("10.9.3.1/24", "fd00:9:3::1/64"),
}
ROUTES = {
    "eth": ("10.10.0.0/16", "fd00:10::/32"),
    "eth0": ("10.20.0.0/16", "fd00:20::/32"),
    "wan1": ("10.30.0.0/16", "fd00:30::/32"),
}
SYSCTLS = {
    "net.ipv4.ip_forward": 1,
    "net.ipv6.conf.all.forwarding": 1,
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv4.conf.all.send_redirects": 0,
    "net.ipv4.conf.default.send_redirects": 0,
    "net.ipv4.icmp_ratelimit": 0,
    "net.ipv6.icmp.ratelimit": 0,
    "net.ipv6.conf.all.accept_dad": 0,
    "net.ipv6.conf.default.accept_dad": 0,
    "net.ipv6.conf.default.dad_transmits": 0,
    "net.ipv6.conf.default.router_solicitations": 0,
}
LATE_SYSCTLS = {"net.netfilter.nf_conntrack_tcp_be_liberal": 1, "net.netfilter.nf_conntrack_tcp_loose": 1}

NETLINK_NETFILTER = 12
_AUX = """
table inet netsim_judge {
  chain judge_in {
    type filter hook prerouting priority -450
    iifname { "eth", "eth0", "wan1" } meta mark set @ll,64,32
    TRACE
  }
  chain judge_out {
    type filter hook output priority -450
    TRACE
  }
  chain judge_gone {
    type filter hook postrouting priority 400
    log group 5
  }
  chain judge_got {
    type filter hook input priority 400
    log group 5
  }
}
"""


def run(*command: str, data: str | None = None) -> str:
    done = subprocess.run(command, input=data, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, position)
        if length < 4:
            return
        yield kind & 0x3FFF, data[position + 4 : position + length]
        position += (length + 3) & ~3


def _attribute(kind: int, data: bytes, *, nested: bool = False) -> bytes:
    length = 4 + len(data)
    return struct.pack("=HH", length, kind | (0x8000 if nested else 0)) + data + bytes(-length % 4)


class Netlink:
    """A netfilter netlink socket, not blocking."""

    def __init__(self, group: int = 0) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        self.socket.bind((0, 0))
        if group:
            self.socket.setsockopt(270, 1, group)  # SOL_NETLINK, NETLINK_ADD_MEMBERSHIP
        self.sequence = 0

    def send(self, kind: int, flags: int, family: int, resource: int, data: bytes) -> None:
        """Send one request and wait for its acknowledgement."""
        self.sequence += 1
        body = struct.pack("!BBH", family, 0, resource) + data
        head = struct.pack("=IHHII", 16 + len(body), kind, flags | 1 | 4, self.sequence, 0)
        self.socket.send(head + body)
        answer = self.socket.recv(65536)
        code = struct.unpack_from("=i", answer, 16)[0]
        if code and -code != 2:  # deleting what is not there is fine
            raise OSError(-code, os.strerror(-code))

    def messages(self) -> list[tuple[int, bytes]]:
        """What has arrived: (message type, attributes)."""
        found: list[tuple[int, bytes]] = []
        while True:
            try:
                data = self.socket.recv(1 << 20, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return found
            position = 0
            while position + 20 <= len(data):
                length, kind = struct.unpack_from("=IH", data, position)
                found.append((kind, data[position + 20 : position + length]))
                position += (length + 3) & ~3


class Log(Netlink):
    """A group of nfnetlink_log."""

    def __init__(self, group: int) -> None:
        super().__init__()
        kind = 4 << 8 | 1
        for family in (socket.AF_INET, socket.AF_INET6):
            with contextlib.suppress(OSError):
                self.send(kind, 0, family, 0, _attribute(1, b"\x03"))
        self.send(kind, 0, 0, group, _attribute(1, b"\x01"))
        self.send(kind, 0, 0, group, _attribute(2, struct.pack("!IBB", 256, 2, 0)))
        self.send(kind, 0, 0, group, _attribute(5, struct.pack("!I", 1)))

    def packets(self) -> list[Row]:
        """The logged packets: header, mark, devices, prefix."""
        found = []
        for kind, data in self.messages():
            if kind != 4 << 8:
                continue
            row: Row = {"mark": 0, "in": 0, "prefix": ""}
            for name, value in _attributes(data):
                if name == 2:
                    row["mark"] = struct.unpack("!I", value)[0]
                elif name == 4:
                    row["in"] = struct.unpack("!I", value)[0]
                elif name == 9:
                    row.update(read(value))
                elif name == 10:
                    row["prefix"] = value.rstrip(b"\0").decode()
            found.append(row)
        return found


class Trace(Netlink):
    """nftables' trace events."""

    def __init__(self) -> None:
        super().__init__(9)

    def events(self, key: tuple[str, str, int]) -> list[dict[str, Any]]:
        """The events of the first packet with these addresses and this protocol."""
        found: list[dict[str, Any]] = []
        for _, data in self.messages():
            row: dict[str, Any] = {}
            for name, value in _attributes(data):
                if name == 1:
                    row["table"] = value.rstrip(b"\0").decode()
                elif name == 2:
                    row["chain"] = value.rstrip(b"\0").decode()
                elif name == 3:
                    row["handle"] = struct.unpack("!Q", value)[0]
                elif name == 4:
                    row["type"] = struct.unpack("!I", value)[0]
                elif name == 5:
                    codes = [v for k, v in _attributes(value) if k == 1]
                    row["verdict"] = struct.unpack("!i", codes[0])[0]
                elif name == 6:
                    row["id"] = value
                elif name == 8 and len(value) >= 20:
                    row["key"] = _key(read(value))
            found.append(row)
        mine = next((r["id"] for r in found if r.get("key") == key), None)
        return [r for r in found if r.get("id") == mine]


def _key(row: Row) -> tuple[str, str, int]:
    return row["src"], row["dst"], row["proto"]


def _tun(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x0002 | 0x1000))
    return descriptor


class Kernel:
    """The namespace this process is in, with one rule set of one family and back end loaded."""

    def __init__(self) -> None:
        for name, value in SYSCTLS.items():
            with open("/proc/sys/" + name.replace(".", "/"), "w") as file:
                file.write(str(value))
        run("ip", "link", "set", "lo", "up")
        self.taps: dict[str, int] = {}
        self.macs: dict[str, bytes] = {}
        for number, name in enumerate(DEVICES, 1):
            self.taps[name] = _tun(name)
            run("ip", "link", "set", name, "up")
            for address in OWN[name]:
                run("ip", "addr", "add", address, "dev", name, *(["nodad"] if ":" in address else []))
            mac = f"02:00:00:00:00:{0x80 + number:02x}"
            for address, route in zip((f"10.9.{number}.2", f"fd00:9:{number}::2"), ROUTES[name], strict=True):
                run("ip", "neigh", "replace", address, "lladdr", mac, "dev", name)
                run("ip", "route", "add", route, "via", address, "dev", name)
            with socket.socket() as probe:  # SIOCGIFHWADDR
                answer = fcntl.ioctl(probe, 0x8927, struct.pack("256s", name.encode()))
            self.macs[name] = answer[18:24]
        self.family, self.backend = 4, "nft"
        self.lines: dict[tuple[str, str], list[str]] = {}
        self.handles: dict[tuple[str, str, int], int] = {}
        self.log = Log(5)
        self.trace: Trace | None = None
        self.tracelog: Log | None = None
        self.tracking = Netlink()

    def load(self, rules: str, family: int, backend: str, ipsets: str = "") -> None:
        """Load a rule set with the real iptables-restore."""
        self.family, self.backend = family, backend
        table = ""
        for line in rules.split("\n"):
            if line.startswith("*"):
                table = line[1:]
            elif line.startswith("-A "):
                self.lines.setdefault((table, line.split()[1]), []).append(line)
        if ipsets:
            run("ipset", "restore", data=ipsets)
        prefix = "ip6tables" if family == 6 else "iptables"
        run(f"{prefix}{'-legacy' if backend == 'legacy' else '-nft'}-restore", data=rules)
        trace = "meta nftrace set 1" if backend == "nft" else ""
        run("nft", "-f", "-", data=_AUX.replace("TRACE", trace))
        for name, value in LATE_SYSCTLS.items():
            path = "/proc/sys/" + name.replace(".", "/")
            if os.path.exists(path):
                with open(path, "w") as file:
                    file.write(str(value))
        if backend == "nft":
            self.trace = Trace()
            self._read_handles()
            return
        number = 2 if family == 4 else 10
        with open(f"/proc/sys/net/netfilter/nf_log/{number}", "w") as file:
            file.write("nfnetlink_log")
        self.tracelog = Log(0)
        for chain in ("PREROUTING", "OUTPUT"):
            run(f"{prefix}-legacy", "-t", "raw", "-I", chain, "-j", "TRACE")

    def _read_handles(self) -> None:
        counters: dict[tuple[str, str], int] = {}
        kind = "ip6" if self.family == 6 else "ip"
        for item in json.loads(run("nft", "-j", "-a", "list", "ruleset"))["nftables"]:
            rule = item.get("rule")
            if rule and rule["family"] == kind:
                key = (rule["table"], rule["chain"])
                counters[key] = counters.get(key, 0) + 1
                self.handles[(*key, rule["handle"])] = counters[key]

    def judge(self, row: Row) -> Row:
        """The kernel's answer on one packet: verdict, deciding rule, the packet after.

        A busy kernel may hand a packet on later than we look. Its journey then ends where nothing drops, so it
        is sent once more.
        """
        result = self._judged(row)
        for pause in (0.02, 0.2):
            decided = result["decided_by"]
            if result["verdict"] != "drop" or (
                decided and (decided["rule"] != "policy" or decided["table"] == "filter")
            ):
                break
            time.sleep(pause)
            result = self._judged(row)
        return result

    def _judged(self, row: Row) -> Row:
        self.flush()
        if row["state"] in ("established", "reply", "related"):
            self._entry(row)
        self._drain()
        refused = False
        if row["hook"] == "output":
            refused = self._send(row)
        else:
            os.write(self.taps[row["iif"]], frame(row, self.macs[row["iif"]]))
        logged = self.log.packets()
        outside = row["hook"] != "output"
        number = protocol(row)
        mine = [r for r in logged if bool(r["in"]) == outside and r["proto"] == number and "src" in r]
        if not outside and refused:
            mine = []
        answers = [r for r in logged if r not in mine] + self._drain()
        result: Row = {"id": row["id"], "verdict": "drop", "after": None}
        if mine:
            last = mine[0]
            result["verdict"] = "accept"
            result["after"] = {k: last[k] for k in ("src", "dst", "sport", "dport", "mark", "tos", "ttl")}
        elif any(_is_error(r, number) for r in answers):
            result["verdict"] = "reject"
        decided = result["decided_by"] = self._decided(result["verdict"], (row["src"], row["dst"], number))
        if decided and result["verdict"] == "drop":
            # A reset is never answered, and our own OUTPUT chain may stop the answer: the rule says it.
            lines = self.lines.get((decided["table"], decided["chain"]), [])
            if decided["rule"] != "policy" and "-j REJECT" in lines[decided["rule"] - 1]:
                result["verdict"] = "reject"
        return result

    def _decided(self, verdict: str, key: tuple[str, str, int]) -> Row | None:
        steps = self._legacy_steps(key) if self.backend == "legacy" else self._nft_steps(key)
        if verdict == "accept":
            steps = [s for s in steps if s["table"] == "filter"]
        return steps[-1] if steps else None

    def _nft_steps(self, key: tuple[str, str, int]) -> list[Row]:
        assert self.trace is not None
        steps: list[Row] = []
        for event in self.trace.events(key):
            if event.get("table") == "netsim_judge":
                continue
            number: int | str = "policy"
            if event["type"] == 3:
                if event.get("verdict") not in (0, 1):  # only what ends a base chain
                    continue
                number = self.handles[event["table"], event["chain"], event["handle"]]
            elif event["type"] != 1:
                continue
            steps.append({"table": event["table"], "chain": event["chain"], "rule": number})
        return steps

    def _legacy_steps(self, key: tuple[str, str, int]) -> list[Row]:
        """Our packet's steps: a journey begins in raw, and others (answers, discovery) have their own."""
        assert self.tracelog is not None
        journeys: list[tuple[tuple[str, str, int], list[Row]]] = []
        before = ("", ("", "", 0))
        for row in self.tracelog.packets():
            if not row["prefix"].startswith("TRACE: "):
                continue
            table, chain, kind, number = row["prefix"][7:].strip().split(":")
            if table == "raw" and (before[0] != "raw" or before[1] != _key(row)):
                journeys.append((_key(row), []))
            before = (table, _key(row))
            shift = 1 if table == "raw" and chain in ("PREROUTING", "OUTPUT") else 0
            rule: int | str = "policy" if kind == "policy" else int(number) - shift
            if kind != "return" and rule != 0 and journeys:
                journeys[-1][1].append({"table": table, "chain": chain, "rule": rule})
        return next((steps for begin, steps in journeys if begin == key), [])

    def _send(self, row: Row) -> bool:
        """Send one of our own; whether the kernel refused it."""
        v6 = self.family == 6
        with socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW, 255) as raw:
            if v6:
                raw.setsockopt(41, 36, 1)  # IPV6_HDRINCL
            raw.setsockopt(socket.SOL_SOCKET, 36, struct.pack("=I", row.get("mark") or 0))  # SO_MARK
            try:
                raw.sendto(ip_packet(row), (row["dst"], 0))
            except PermissionError:
                return True
            except OSError as error:
                raise RuntimeError(f"{row}: {error}") from error
        return False

    def _drain(self) -> list[Row]:
        found = []
        for descriptor in self.taps.values():
            with contextlib.suppress(BlockingIOError):
                while True:
                    data = os.read(descriptor, 4096)
                    kind = struct.unpack("!H", data[12:14])[0]
                    if kind in (0x0800, 0x86DD):
                        found.append(read(data[14:]))
        return found

    # Connection tracking

    def flush(self) -> None:
        """Forget every connection, and every event that is waiting."""
        with contextlib.suppress(OSError):
            self.tracking.send(1 << 8 | 2, 0, 0, 0, b"")
        self.log.messages()
        if self.trace:
            self.trace.messages()
        if self.tracelog:
            self.tracelog.messages()

    def _entry(self, row: Row) -> None:
        """An established connection that the packet belongs to."""
        flow = row.get("_flow") or row
        src, dst = socket_address(flow["src"]), socket_address(flow["dst"])
        ends = [(src, flow.get("sport") or 0), (dst, flow.get("dport") or 0)]
        # each end: (address bytes, port)
        if row["state"] == "reply":
            ends.reverse()
        number = protocol(flow)
        data = b""
        for kind, (a, b) in ((1, ends), (2, ends[::-1])):
            v6 = len(a[0]) == 16
            ip = _attribute(3 if v6 else 1, a[0]) + _attribute(4 if v6 else 2, b[0])
            proto = _attribute(1, bytes([number]))
            if number in (1, 58):
                request = {1: (8, 0), 58: (128, 129)}[number]
                shown = request[kind - 1]
                first = 4 if number == 1 else 7
                proto += _attribute(first, struct.pack("!H", 7)) + _attribute(first + 1, bytes([shown]))
                proto += _attribute(first + 2, b"\0")
            else:
                proto += _attribute(2, struct.pack("!H", a[1])) + _attribute(3, struct.pack("!H", b[1]))
            data += _attribute(
                kind, _attribute(1, ip, nested=True) + _attribute(2, proto, nested=True), nested=True
            )
        data += _attribute(3, struct.pack("!I", 0x0E))  # SEEN_REPLY, ASSURED, CONFIRMED
        data += _attribute(7, struct.pack("!I", 300))
        if row.get("ctmark"):
            data += _attribute(8, struct.pack("!I", row["ctmark"]))
        if number == 6:
            data += _attribute(4, _attribute(1, _attribute(1, b"\x03"), nested=True), nested=True)
        if number == 132:
            info = (
                _attribute(1, b"\x04")
                + _attribute(2, struct.pack("!I", 0))
                + _attribute(3, struct.pack("!I", 0))
            )
            data += _attribute(4, _attribute(3, info, nested=True), nested=True)
        family = socket.AF_INET6 if self.family == 6 else socket.AF_INET
        self.tracking.send(1 << 8, 0x400 | 0x200, family, 0, data)


def socket_address(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def _is_error(row: Row, number: int) -> bool:
    """Whether a packet says that another one was refused."""
    if row.get("proto") == 1 and row.get("icmp_type") == 3:
        return True
    if row.get("proto") == 58 and row.get("icmp_type") == 1:
        return True
    return number == 6 and row.get("proto") == 6 and bool(row.get("flags", 0) & 4)

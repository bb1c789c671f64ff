"""Witnesses of audits and comparisons, sent through the real kernel. Run under `unshare -n`, as root.

Prints how many witnesses were sent, and which of them the kernel treats otherwise than netsim says.
"""

from __future__ import annotations

import ipaddress
import json
import sys
from typing import Any

import netsim
from netsim.index.liveness import Liveness
from netsim.queries.compare import Comparison
from netsim.rules.journey import HOOKS
from netsim.space import Packet, PacketSet, packets
from netsim.space.fields import Family
from tests.kernel.frames import Row
from tests.kernel.kernel import DEVICES, OWN, ROUTES, Kernel, run

BEFORE = {
    "order": """*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:web - [0:0]
-A FORWARD -s {src}/{half} -p tcp -m tcp --dport 80:90 -j web
-A FORWARD -p udp -m udp --dport 53 -j ACCEPT
-A FORWARD -p udp -m udp --dport 50:60 -j DROP
-A FORWARD -p tcp -m tcp --dport 22 -j ACCEPT
-A FORWARD -i eth -o eth0 -p tcp -m tcp --dport 1000:2000 -j ACCEPT
-A web -p tcp -m tcp --dport 85 -j RETURN
-A web -p tcp -m tcp --sport 1:1023 -j DROP
-A web -j ACCEPT
-A INPUT -p tcp -m tcp --dport 23 -j DROP
-A INPUT -p udp -m udp --dport 69 -j DROP
COMMIT
""",
    "marks": """*mangle
:PREROUTING ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 443 -j MARK --set-xmark 0x1/0xffffffff
-A PREROUTING -p udp -j MARK --set-xmark 0x2/0xffffffff
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -m mark --mark 0x1 -j DROP
-A FORWARD -m mark --mark 0x2 -p udp -m udp --dport 500 -j DROP
-A FORWARD -p tcp -m tcp --tcp-flags SYN,ACK SYN -m tcp --dport 25 -j DROP
COMMIT
""",
}
EDITS = {
    "order": [
        ("-A FORWARD -p udp -m udp --dport 53 -j ACCEPT\n", ""),
        ("-A web -p tcp -m tcp --dport 85 -j RETURN", "-A web -p tcp -m tcp --dport 85:87 -j RETURN"),
        (":FORWARD DROP", ":FORWARD ACCEPT"),
        ("--dport 69 -j DROP", "--dport 69 -j ACCEPT"),
        ("-o eth0 -p tcp -m tcp --dport 1000:2000 -j ACCEPT", "-o eth0 -p tcp -m tcp --dport 1500:2500 -j ACCEPT"),
    ],
    "marks": [
        ("--set-xmark 0x1/", "--set-xmark 0x3/"),
        ("--dport 443 -j", "--dport 443:450 -j"),
        ("--dport 25 -j DROP", "--dport 26 -j DROP"),
    ],
}  # fmt: skip


def parsed(text: str, family: int, backend: str) -> netsim.Rules:
    own = {**{d: [o[0], o[1]] for d, o in OWN.items()}, "lo": ["127.0.0.1/8", "::1/128"]}
    found: netsim.Rules = netsim.parse(
        text, family=Family.IPV4 if family == 4 else Family.IPV6, backend=backend, addresses=own
    )
    return found


def possible(family: int, hook: str) -> PacketSet:
    """The packets that the test bed can send for a hook: by its addresses and links, the first of a flow."""
    v6 = family == 6
    result = netsim.NOTHING
    for iif in DEVICES:
        for oif in DEVICES:
            src, dst = (
                ROUTES[iif][v6],
                ROUTES[oif][v6] if hook == "forward" else OWN[iif][v6].partition("/")[0],
            )
            if (hook == "forward") == (iif != oif):
                out = {"oif": oif} if hook == "forward" else {}
                result |= packets(src=src, dst=dst, iif=iif, **out)
    result &= packets(
        protocol=["tcp", "udp"], state="new", fragment=False, ttl=(40, 200), mark=(0, 0xFFFFFFFF)
    )
    result &= packets(protocol="udp") | packets(
        protocol="tcp", tcp_flags=("FIN,SYN,RST,PSH,ACK,URG,ECE,CWR", "SYN")
    )
    return result & packets(sport=(1, 65535)) & packets(dport=(1, 65535)) & packets(tos=0, length=(100, 200))


def row_of(packet: Packet, family: int, hook: str) -> Row:
    point = packet.values()
    side = "6" if family == 6 else "4"
    kind = ipaddress.IPv6Address if family == 6 else ipaddress.IPv4Address
    protocol = point["protocol"]
    assert protocol is not None
    row: Row = {
        "src": str(kind(point["src" + side])), "dst": str(kind(point["dst" + side])), "hook": hook,
        "proto": {6: "tcp", 17: "udp"}[protocol], "sport": point["sport"], "dport": point["dport"],
        "state": "new", "mark": 0, "ttl": point["ttl"], "tos": 0, "len": point["length"],
        "iif": packet.iif, "id": 1, "mac": "02:00:00:00:00:00",
    }  # fmt: skip
    if hook == "forward":
        row["oif"] = packet.oif
    if row["proto"] == "tcp":
        row["tcp_flags"] = "SYN"
    return row


def loaded(kernel: Kernel, text: str, family: int, backend: str) -> None:
    """Load a rule set into the namespace of another one."""
    kernel.flush()
    for log in (kernel.trace, kernel.tracelog):
        if log is not None:
            log.socket.close()
    run("nft", "flush", "ruleset")
    if backend == "legacy":
        prefix = "ip6tables" if family == 6 else "iptables"
        run(f"{prefix}-legacy-restore", data="".join(f"*{t}\nCOMMIT\n" for t in ("raw", "mangle", "filter")))
    kernel.lines.clear()
    kernel.handles.clear()
    kernel.load(text, family, backend)


class Traced:
    """The rules that the kernel's trace names, whatever they do."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.names: set[str] = set()
        if kernel.backend == "nft":
            assert kernel.trace is not None
            self._events = kernel.trace.events
            kernel.trace.events = self.events  # type: ignore[method-assign]
        else:
            assert kernel.tracelog is not None
            self._packets = kernel.tracelog.packets
            kernel.tracelog.packets = self.packets  # type: ignore[method-assign]

    def events(self, key: tuple[str, str, int]) -> list[dict[str, Any]]:
        found = self._events(key)
        for event in found:
            where = (event.get("table"), event.get("chain"), event.get("handle"))
            if event.get("type") == 3 and where in self.kernel.handles:
                self.names.add(f"{where[0]}/{where[1]}/{self.kernel.handles[where]}")  # type: ignore[index]
        return found

    def packets(self) -> list[Row]:
        found = self._packets()
        for row in found:
            if row["prefix"].startswith("TRACE: "):
                # The trace calls a last rule without a condition "return" or "policy", by its number.
                table, chain, _, number = row["prefix"][7:].strip().split(":")
                self.names.add(f"{table}/{chain}/{number}")
        return found

    def judge(self, row: Row) -> tuple[set[str], Row]:
        """The rules that match a packet, and the kernel's answer."""
        self.kernel.flush()
        self.names.clear()
        want = self.kernel.judge(row)
        return set(self.names), want


def live(kernel: Kernel, text: str, family: int, backend: str, wrong: list[Any]) -> int:
    """Every live rule is matched in the kernel's trace by a witness that the test bed can send."""
    rules = parsed(text, family, backend)
    liveness = Liveness(rules.index)
    loaded(kernel, text, family, backend)
    traced = Traced(kernel)
    sent = 0
    for entry in liveness.live:
        for hook in ("forward", "input"):
            if HOOKS[hook] not in liveness.hooks[entry.rule.chain]:
                continue
            witness = (liveness.matched(entry.rule, HOOKS[hook]) & possible(family, hook)).sample()
            if witness is None:
                continue
            row = row_of(witness, family, hook)
            sent += 1
            names, want = traced.judge(row)
            if entry.rule.id not in names:
                wrong.append([entry.rule.text, row, want, sorted(names)])
    dead = {d.rule.id for d in liveness.dead}
    return sent if dead | {e.rule.id for e in liveness.live} == {r.id for r in rules.ruleset.rules()} else 0


def compared(kernel: Kernel, texts: tuple[str, str], family: int, backend: str, wrong: list[Any]) -> int:
    """Each side of each change is what the kernel does with the witness under that rule set."""
    sides = [parsed(text, family, backend) for text in texts]
    found: Comparison = netsim.compare(*sides)
    rows: list[tuple[Row, str, str]] = []
    for change in found.changes:
        for hook in ("forward", "input"):
            if change.where != hook:
                continue
            witness = (change.packets & possible(family, hook)).sample()
            if witness is not None:
                rows.append((row_of(witness, family, hook), change.before.verdict, change.after.verdict))
    for side, text in enumerate(texts):
        loaded(kernel, text, family, backend)
        for row, *verdicts in rows:
            want = kernel.judge(row)
            if want["verdict"] != verdicts[side]:
                wrong.append([texts, side, row, verdicts, want])
    return len(rows)


def main(family: int, backend: str) -> None:
    """Judge everything of one family and back end."""
    kernel = Kernel()
    wrong: list[Any] = []
    counts = {"live": 0, "compared": 0, "comparisons": 0}
    src, half = ("10.10.0.0", 17) if family == 4 else ("fd00:10::", 33)
    for name, template in BEFORE.items():
        text = template.format(src=src, half=half)
        counts["live"] += live(kernel, text, family, backend, wrong)
        for old, new in EDITS[name]:
            assert old in text, old
            counts["comparisons"] += 1
            counts["compared"] += compared(kernel, (text, text.replace(old, new)), family, backend, wrong)
    print(json.dumps({**counts, "wrong": wrong}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

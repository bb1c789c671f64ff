"""Traffic as people write it: `tcp/5432`, `udp/53`, `icmp/echo-request`, `any`, `tcp/1024-65535>443`.

A *traffic class* is an opening packet and the answer it provokes (SEMANTICS, Connections). Several
classes may be joined with `;` or given as a list. Raw packet sets are asked as they are, in one direction.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import attrs

from netsim.errors import QuestionError, near_misses
from netsim.space.diagram import FALSE, Choice, Const, LevelMap, Shift
from netsim.space.fields import (
    FIELDS,
    LEVEL_MAXIMA,
    PORT_PROTOCOLS,
    Family,
    Range,
    State,
    TcpFlag,
)
from netsim.space.packet import PROTOCOL_NAMES, PROTOCOL_NUMBERS, protocol_number
from netsim.space.packets import NOTHING, PacketSet, number_ranges, packets
from netsim.space.pool import POOL
from netsim.space.transform import Transformation, agreement, bits

EPHEMERAL: Range = (1024, 65535)
"""The source ports of a client that the traffic does not name; an assumption of the answer."""

SENT_TTL: Range = (64, 255)
"""The TTL with which hosts send (RFC 1700 recommends 64); forwarding takes one at each hop."""

ICMP_TYPES: dict[str, tuple[int, int | None]] = {
    "echo-reply": (0, 0),
    "destination-unreachable": (3, None),
    "source-quench": (4, 0),
    "redirect": (5, None),
    "echo-request": (8, 0),
    "ping": (8, 0),
    "time-exceeded": (11, None),
    "parameter-problem": (12, None),
    "timestamp-request": (13, 0),
    "address-mask-request": (17, 0),
}
ICMPV6_TYPES: dict[str, tuple[int, int | None]] = {
    "destination-unreachable": (1, None),
    "packet-too-big": (2, 0),
    "time-exceeded": (3, None),
    "parameter-problem": (4, None),
    "echo-request": (128, 0),
    "ping": (128, 0),
    "echo-reply": (129, 0),
    "router-solicitation": (133, 0),
    "router-advertisement": (134, 0),
    "neighbour-solicitation": (135, 0),
    "neighbour-advertisement": (136, 0),
}
_ANSWERS = {(1, 8): 0, (1, 13): 14, (1, 17): 18, (58, 128): 129}


@attrs.frozen(slots=True)
class Traffic:
    """One class of traffic: the opening packets, and whether an answer is asked for as well.

    `opening` holds both families unless the class belongs to one; addresses are free in it. `protocol`
    None: any protocol, in one direction. `raw`: the packets say their own state and direction. `answered`: the answer must come through too.
    """

    text: str
    opening: PacketSet
    protocol: int | None
    answered: bool
    ephemeral: bool = False
    raw: bool = False

    def answer(self, header: Transformation, family: Family) -> Transformation:
        """The answer's header as a function of the sender's: addresses and ports swapped.

        `header` is the opening packet as it arrived, as a function of the sender's header.
        """
        change = _swapped(header, family)
        if self.protocol in (1, 6, 58):
            change = change.then(_answering(self.protocol))
        return change


def joint_answer(header: Transformation, family: Family) -> Transformation:
    """The answers of all protocols at once: what one protocol's answer sets, the others do not have."""
    change = _swapped(header, family).then(_answering(6))
    return change.then(_answering(1 if family is Family.IPV4 else 58))


def _swapped(header: Transformation, family: Family) -> Transformation:
    maps: dict[int, LevelMap] = {}
    for to, source in (("src", "dst"), ("dst", "src")):
        suffix = "4" if family is Family.IPV4 else "6"
        for level, origin in zip(FIELDS[to + suffix].levels, FIELDS[source + suffix].levels, strict=True):
            maps[level] = _copy(header, origin)
    for to, source in (("sport", "dport"), ("dport", "sport")):
        maps[FIELDS[to].level] = _copy(header, FIELDS[source].level)
    # the one who answers sends with a TTL of its own
    kept = {level: by for level, by in header.maps if level not in FIELDS["ttl"].levels}
    return Transformation.of({**kept, **maps})


def _answering(protocol: int) -> Transformation:
    """What an answer sets apart from addresses and ports: SYN and ACK, or the ICMP type."""
    if protocol == 6:
        return bits("tcp_flags", 0, TcpFlag.SYN | TcpFlag.ACK)
    level = FIELDS["icmp_type"].level
    found = [answer for (proto, _), answer in _ANSWERS.items() if proto == protocol]
    by: LevelMap = Shift(level, _answers(protocol)) if len(found) > 1 else Const(found[0])
    return Transformation.of({level: by})


@cache
def exchanged() -> Transformation:
    """The packet with its two ends exchanged: addresses of either family, and ports."""
    maps: dict[int, LevelMap] = {}
    for a, b in (("src4", "dst4"), ("src6", "dst6"), ("sport", "dport")):
        for to, source in ((a, b), (b, a)):
            for level, origin in zip(FIELDS[to].levels, FIELDS[source].levels, strict=True):
                maps[level] = Shift(origin, ((0, LEVEL_MAXIMA[origin], 0),))
    return Transformation.of(maps)


def misdirected(change: Transformation, family: Family) -> tuple[int, bool]:
    """The packets whose answer, which is `change` of them, is not what their sender waits for; and whether surely.

    The sender waits for an answer from where it has sent to; another one comes back if a translation was made
    that nobody undid (one-way NAT). Where a translation left an end open, that cannot be said for sure.
    """
    suffix = "4" if family is Family.IPV4 else "6"
    wanted: dict[int, LevelMap] = {}
    for a, b in (("src" + suffix, "dst" + suffix), ("sport", "dport")):
        for to, source in ((a, b), (b, a)):
            for level, origin in zip(FIELDS[to].levels, FIELDS[source].levels, strict=True):
                wanted[level] = Shift(origin, ((0, LEVEL_MAXIMA[origin], 0),))
    maps = {level: change.level_map(level) for level in wanted}
    if all(maps[level] == by for level, by in wanted.items()):
        return FALSE, True
    others = [level for level in range(len(LEVEL_MAXIMA)) if level not in wanted]
    right = agreement(POOL, change, Transformation.of(wanted), others)
    return POOL.negate(right), not any(isinstance(by, Choice) for by in maps.values())


def _copy(header: Transformation, level: int) -> LevelMap:
    found = header.level_map(level)
    if found is not None:
        return found
    return Shift(level, ((0, LEVEL_MAXIMA[level], 0),))


def _answers(protocol: int) -> tuple[tuple[int, int, int], ...]:
    pieces: list[tuple[int, int, int]] = []
    start = 0
    for (proto, request), answer in sorted(_ANSWERS.items()):
        if proto != protocol:
            continue
        if request > start:
            pieces.append((start, request - 1, 0))
        pieces.append((request, request, answer - request))
        start = request + 1
    pieces.append((start, 255, 0))
    return tuple(pieces)


TrafficLike = str | PacketSet | Traffic | Iterable["str | Traffic"]


def parse_traffic(wanted: TrafficLike, *, source_ports: Range = EPHEMERAL) -> tuple[Traffic, ...]:
    """The classes of a traffic text, a packet set or several of them. Raises `QuestionError`."""
    if isinstance(wanted, Traffic):
        return (wanted,)
    if isinstance(wanted, PacketSet):
        return (Traffic("the packets given", wanted, None, answered=False, raw=True),)
    if isinstance(wanted, str):
        words = [w.strip() for w in wanted.split(";") if w.strip()]
        if not words:
            raise QuestionError.of("no traffic is given", code="NS310", hint="write tcp/443, udp/53 or any")
        return tuple(_class(word, source_ports) for word in words)
    found = [t for each in wanted for t in parse_traffic(each, source_ports=source_ports)]
    if not found:
        raise QuestionError.of("no traffic is given", code="NS310", hint="write tcp/443, udp/53 or any")
    return tuple(found)


def _class(text: str, source_ports: Range) -> Traffic:
    name, slash, rest = text.partition("/")
    name = name.strip().lower()
    if name == "any":
        if slash:
            raise _wrong(text, "'any' takes no ports")
        return Traffic("any", packets(state=State.NEW, fragment=False, ttl=SENT_TTL), None, answered=False)
    if name in ("icmp", "icmp4", "icmpv4", "icmp6", "icmpv6", "ipv6-icmp"):
        return _icmp(text, name, rest.strip())
    try:
        protocol = protocol_number(name)
    except ValueError:
        hint = near_misses(name, [*PROTOCOL_NUMBERS, "any"])
        raise _wrong(text, f"unknown protocol {name[:40]!r}", hint) from None
    base = {"protocol": protocol, "state": State.NEW, "fragment": False, "ttl": SENT_TTL}
    shown = PROTOCOL_NAMES.get(protocol, str(protocol))
    if protocol not in PORT_PROTOCOLS:
        if slash:
            raise _wrong(text, f"{shown} has no ports")
        return Traffic(shown, packets(**base), protocol, answered=True)  # type: ignore[arg-type]
    left, arrow, right = rest.partition(">")
    ports, sources = (right, left) if arrow else (rest, "")
    if slash and not ports.strip():
        raise _wrong(text, "ports are missing after '/'")
    try:
        dport = number_ranges(ports, 65535, "port") if slash else ((0, 65535),)
        sport = number_ranges(sources, 65535, "source port") if arrow else (source_ports,)
    except ValueError as error:
        raise _wrong(text, str(error)) from None
    opening = packets(**base, dport=dport, sport=sport)  # type: ignore[arg-type]
    if protocol == 6:
        opening &= packets(protocol=6, tcp_flags=("SYN,ACK,FIN,RST", "SYN"))
    return Traffic(text, opening, protocol, answered=True, ephemeral=not arrow)


def _icmp(text: str, name: str, rest: str) -> Traffic:
    families = {
        "icmp": (Family.IPV4, Family.IPV6),
        "icmp4": (Family.IPV4,),
        "icmpv4": (Family.IPV4,),
    }.get(name, (Family.IPV6,))
    if rest.partition("/")[0].isdecimal() and len(families) > 1:
        families = families[:1]  # a number means a type of ICMP; ICMPv6 numbers its own (icmp6/128)
    opening = NOTHING
    answered = True
    last: int | None = None
    for family in families:
        protocol = 1 if family is Family.IPV4 else 58
        names = ICMP_TYPES if family is Family.IPV4 else ICMPV6_TYPES
        word, slash, code_text = (rest or "echo-request").partition("/")
        code: int | None = None
        if word in names:
            kind, code = names[word]
        elif word.isdecimal() and int(word) <= 255:
            kind = int(word)
        elif len(families) > 1 and (word in ICMP_TYPES or word in ICMPV6_TYPES):
            continue
        else:
            hint = near_misses(word, [*ICMP_TYPES, *ICMPV6_TYPES])
            raise _wrong(text, f"unknown ICMP type {word[:40]!r}", hint)
        if slash:
            if not code_text.isdecimal() or int(code_text) > 255:
                raise _wrong(text, f"an ICMP code is 0-255, not {code_text[:40]!r}")
            code = int(code_text)
        part = packets(
            family=family, protocol=protocol, state=State.NEW, fragment=False, ttl=SENT_TTL, icmp_type=kind
        )
        if code is not None:
            part &= packets(protocol=protocol, icmp_code=code)
        opening |= part
        answered = answered and (protocol, kind) in _ANSWERS
        last = protocol
    return Traffic(text, opening, last if len(families) == 1 else 1, answered=answered)


def for_family(traffic: Traffic, family: Family) -> Traffic:
    """The part of a class that belongs to one IP version (ICMP has a protocol number for each)."""
    protocol = traffic.protocol
    if protocol in (1, 58):
        protocol = 1 if family is Family.IPV4 else 58
    opening = traffic.opening & packets(family=family)
    return attrs.evolve(traffic, opening=opening, protocol=protocol)


def _wrong(text: str, why: str, hint: str = "") -> QuestionError:
    return QuestionError.of(
        f"traffic {text[:80]!r}: {why}",
        code="NS311",
        hint=hint or "write tcp/5432, tcp/80,8000-8080, udp/53, icmp/echo-request, tcp/1024-65535>443 or any",
    )


def beyond(listed: Iterable[Traffic]) -> tuple[Traffic, ...]:
    """Everything but these classes: TCP, UDP and echo with their answers, all else in one direction.

    A listed class that leaves the client's port to it covers every source port.
    """
    every = (0, 65535)
    known = NOTHING
    for traffic in listed:
        known |= traffic.opening.some("sport") if traffic.ephemeral else traffic.opening
    answered = parse_traffic("tcp; udp; icmp", source_ports=every)
    found = [
        attrs.evolve(t, text=f"other {t.text}", opening=t.opening - known, ephemeral=False) for t in answered
    ]
    one_way = packets(state=State.NEW, fragment=False, ttl=SENT_TTL) - packets(protocol=[6, 17])
    one_way -= answered[2].opening | known
    found.append(Traffic("other protocols", one_way, None, answered=False))
    return tuple(found)


__all__ = [
    "EPHEMERAL",
    "Traffic",
    "TrafficLike",
    "beyond",
    "exchanged",
    "for_family",
    "joint_answer",
    "misdirected",
    "parse_traffic",
]

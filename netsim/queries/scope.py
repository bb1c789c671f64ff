"""Packet sets as people write them: `src 10.0.0.0/8 dst 10.0.20.0/24 tcp/5432 in eth0 state new`.

A scope narrows a question to some packets. The words may come in any order, each at most once; several values are joined
with commas. Unlike traffic (`queries.traffic`), `tcp/5432` here means every packet to that port, whatever its
state, flags and source port. An empty text is every packet.
"""

from __future__ import annotations

from typing import Any

from netsim.errors import QuestionError, near_misses
from netsim.space.fields import PORT_PROTOCOLS
from netsim.space.packet import PROTOCOL_NUMBERS, protocol_number
from netsim.space.packets import EVERYTHING, PacketSet, packets

_WORDS = {"src": "src", "dst": "dst", "in": "iif", "out": "oif", "state": "state"}
_HINT = "write for example: src 10.0.0.0/8 dst 10.0.20.0/24 tcp/5432 in eth0 state new"


def parse_scope(text: str) -> PacketSet:
    """The packets of a scope. Raises `QuestionError`."""
    found = text.split()
    asked: dict[str, Any] = {}
    at = 0
    while at < len(found):
        word = found[at]
        key = _WORDS.get(word.lower())
        if key is not None:
            if at + 1 == len(found):
                raise _wrong(f"a value is missing behind {word!r}")
            name, value = key, found[at + 1].split(",")
            at += 2
        else:
            name, value = "service", word  # type: ignore[assignment]
            at += 1
        if name in asked:
            raise _wrong(f"{word[:40]!r} is said twice")
        asked[name] = value
    service = asked.pop("service", None)
    try:
        result = packets(**asked) if asked else EVERYTHING
        return result & _service(service) if service is not None else result
    except ValueError as error:
        raise _wrong(str(error)) from None


def _service(word: str) -> PacketSet:
    """`tcp`, `udp/53`, `tcp/1024-65535>80,443`, `icmp`, `any`."""
    name, slash, rest = word.partition("/")
    if name.lower() == "any" and not slash:
        return EVERYTHING
    try:
        protocol = protocol_number(name)
    except ValueError:
        hint = near_misses(name.lower(), [*PROTOCOL_NUMBERS, *_WORDS, "any"])
        raise _wrong(f"unknown word {word[:40]!r}", hint) from None
    if not slash:
        return packets(protocol=protocol)
    if protocol not in PORT_PROTOCOLS:
        raise _wrong(f"{name} has no ports")
    sources, arrow, ports = rest.partition(">")
    more: dict[str, Any] = {"sport": sources} if arrow else {}
    return packets(protocol=protocol, dport=ports if arrow else rest, **more)


def _wrong(why: str, hint: str = "") -> QuestionError:
    return QuestionError.of(f"scope: {why}", code="NS322", hint=hint or _HINT)


__all__ = ["parse_scope"]

"""What `ip route` and `ip rule` print, as text and as JSON.

Source: ip-route(8), ip-rule(8) of iproute2 6.1. Words that say nothing about where a packet goes
(protocol, scope, source hints, metrics of TCP) are read past; unknown ones are mistakes.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from typing import Any

import attrs

from netsim.errors import DEFAULT_LIMITS, Diagnostic, InputError, Limits
from netsim.source import Source
from netsim.space.fields import Family
from netsim.topology.model import NextHop, Prefix, Route, RouteRule, RouteType

_TYPES = {t.value: t for t in RouteType} | {"anycast": RouteType.LOCAL, "multicast": RouteType.BROADCAST}
_WITH_VALUE = frozenset(
    [
        "proto",
        "scope",
        "src",
        "expires",
        "mtu",
        "advmss",
        "hoplimit",
        "realm",
        "realms",
        "window",
        "rtt",
        "rttvar",
        "cwnd",
        "initcwnd",
        "initrwnd",
        "ssthresh",
        "features",
        "quickack",
        "congctl",
        "pref",
        "error",
        "nhid",
        "flags",
        "encap",
        "protocol",
    ]
)
_ALONE = frozenset(
    ["onlink", "linkdown", "dead", "pervasive", "offload", "trap", "notify", "cache", "rt_offload", "rt_trap"]
)


def prefix(text: str, family: Family | None = None) -> Prefix:
    """A prefix or an address; `default` is everything of the family. Raises `ValueError`."""
    if text in ("default", "any", "all"):
        return Prefix(family or Family.IPV4, 0, 0)
    found = ipaddress.ip_interface(text)
    kind = Family.IPV4 if found.version == 4 else Family.IPV6
    return Prefix(kind, int(found.ip), found.network.prefixlen)


def host_address(text: str) -> tuple[Family, int]:
    """One address. Raises `ValueError`."""
    found = ipaddress.ip_address(text)
    return (Family.IPV4 if found.version == 4 else Family.IPV6), int(found)


def parse_routes(text: str, *, file: str = "", family: Family | None = None) -> tuple[Route, ...]:
    """The routes of `ip [-6] [-j] route [show table all]`. Raises `InputError` with every mistake."""
    if text.lstrip()[:1] in "[{" and text.strip():
        return _json_routes(text, file, family)
    found: list[Route] = []
    errors: list[Diagnostic] = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        source = Source(file, number, 1, 0, line)
        try:
            if words[0] == "nexthop" and found and line[:1] in " \t":
                before = found[-1]
                hops = (*before.hops, *_hop(words[1:]))
                where = before.prefix if "inet6" in words else _of_family(before.prefix, hops)
                found[-1] = attrs.evolve(before, prefix=where, hops=hops)
            else:
                found.append(_route(words, family, source))
        except ValueError as error:
            errors.append(Diagnostic(source, "NS210", str(error)))
    if errors:
        raise InputError(errors)
    return tuple(found)


def _route(words: list[str], family: Family | None, source: Source) -> Route:
    kind = RouteType.UNICAST
    if words[0] in _TYPES:
        kind, words = _TYPES[words[0]], words[1:]
    if not words:
        raise ValueError("a destination is missing")
    if family is None and "pref" in words:  # only IPv6 routes have a preference
        family = Family.IPV6
    target = prefix(words[0], family)
    values: dict[str, str] = {}
    position = 1
    while position < len(words):
        word = words[position]
        if word in ("via", "dev", "metric", "table", "weight", "vrf") or word in _WITH_VALUE:
            if position + 1 >= len(words):
                raise ValueError(f"a value is missing behind {word!r}")
            value = words[position + 1]
            if word == "via" and value in ("inet", "inet6"):
                position += 1
                value = words[position + 1]
            values[word] = value
            position += 2
        elif word in _ALONE:
            values[word] = ""
            position += 1
        elif word == "nexthop":
            break
        else:
            raise ValueError(f"unknown word {word[:40]!r}")
    hops: tuple[NextHop, ...] = ()
    if "dead" not in values and ("via" in values or "dev" in values):
        hops = (NextHop(_device(values), host_address(values["via"]) if "via" in values else None),)
    if position < len(words):
        groups: list[list[str]] = []
        for word in words[position:]:
            if word == "nexthop":
                groups.append([])
            else:
                groups[-1].append(word)
        hops = tuple(hop for group in groups for hop in _hop(group))
    given = values.get("table") or values.get("vrf")
    table = table_name(given or ("local" if kind in (RouteType.LOCAL, RouteType.BROADCAST) else "main"))
    metric = int(values.get("metric", "0"), 0)
    where = target if "inet6" in words else _of_family(target, hops)
    return Route(where, hops, kind, metric, table, source)


def _hop(words: list[str]) -> tuple[NextHop, ...]:
    """One next hop; none if it is dead, as the kernel passes over it."""
    values: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if word in _ALONE:
            values[word] = ""
            continue
        value = next(rest, None)
        if word == "via" and value in ("inet", "inet6"):
            value = next(rest, None)
        if value is None:
            raise ValueError(f"a value is missing behind {word[:40]!r}")
        if word not in ("via", "dev", "weight") and word not in _WITH_VALUE:
            raise ValueError(f"unknown word {word[:40]!r}")
        values[word] = value
    if "dead" in values:
        return ()
    via = values.get("via")
    return (NextHop(_device(values), host_address(via) if via else None, int(values.get("weight", "1"))),)


def _of_family(target: Prefix, hops: tuple[NextHop, ...]) -> Prefix:
    """`default` does not say its family: it is that of its next hops."""
    via = next((h.via for h in hops if h.via is not None), None)
    everything = target.length == 0 and target.family is Family.IPV4
    return Prefix(Family.IPV6, 0, 0) if everything and via and via[0] is Family.IPV6 else target


def _device(values: Mapping[str, Any]) -> str:
    """The interface of a next hop. Raises `ValueError` for what is no interface's name."""
    name = values.get("dev", "")
    if not isinstance(name, str) or len(name.encode("utf-8", "replace")) > 15:
        raise ValueError(f"{str(name)[:40]!r} is no name of an interface (at most 15 bytes)")
    return name


def table_name(text: str) -> str:
    """A routing table by the name that answers show: rt_tables(5) numbers the reserved ones."""
    return _TABLE_NAMES.get(text, text)


def _load(text: str, file: str, limits: Limits) -> list[dict[str, Any]]:
    depth = deepest = 0
    for char in text:
        if char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    if deepest > limits.json_depth:
        raise InputError(
            [Diagnostic(Source(file), "NS906", f"JSON deeper than {limits.json_depth} (Limits.json_depth)")]
        )
    try:
        value = json.loads(text)
    except ValueError as error:
        line = getattr(error, "lineno", 0)
        source = Source(file, line, getattr(error, "colno", 0))
        raise InputError([Diagnostic(source, "NS210", f"this is no JSON: {error}")]) from None
    if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
        raise InputError([Diagnostic(Source(file), "NS210", "a list of objects is expected")])
    return value


def _json_routes(
    text: str, file: str, family: Family | None, limits: Limits = DEFAULT_LIMITS
) -> tuple[Route, ...]:
    found: list[Route] = []
    errors: list[Diagnostic] = []
    for i, row in enumerate(_load(text, file, limits)):
        source = Source(file, text=json.dumps(row)[:500], pointer=f"/{i}")
        try:
            target = str(row["dst"])
            via = row.get("gateway") or (row.get("via") or {}).get("host")
            kind = _TYPES[row.get("type", "unicast")]
            guess = Family.IPV6 if family is None and "pref" in row else family
            hops: tuple[NextHop, ...]
            if row.get("nexthops"):
                hops = tuple(
                    NextHop(_device(h), host_address(to) if to else None, int(h.get("weight", 1)))
                    for h in row["nexthops"]
                    if "dead" not in h.get("flags", ())
                    for to in [h.get("gateway") or (h.get("via") or {}).get("host")]
                )
            elif (via or row.get("dev")) and "dead" not in row.get("flags", ()):
                hops = (NextHop(_device(row), host_address(via) if via else None),)
            else:
                hops = ()
            default = "local" if kind in (RouteType.LOCAL, RouteType.BROADCAST) else "main"
            table = table_name(str(row.get("table", default)))
            other = "via" in row or any("via" in h for h in row.get("nexthops", ()))
            where = prefix(target, guess)
            where = where if other else _of_family(where, hops)
            found.append(Route(where, hops, kind, int(row.get("metric", 0)), table, source))
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
            errors.append(Diagnostic(source, "NS210", f"this is no route of ip -j route: {error}"))
    if errors:
        raise InputError(errors)
    return tuple(found)


_RULE_KEYS = frozenset(
    ["priority", "src", "srclen", "dst", "dstlen", "iif", "iif_detached", "oif", "oif_detached", "fwmark",
     "fwmask", "tos", "table", "not", "action", "protocol", "l3mdev"]
)  # fmt: skip
_TABLE_NAMES = {"255": "local", "254": "main", "253": "default"}


def parse_rules(text: str, *, file: str = "", family: Family | None = None) -> tuple[RouteRule, ...]:
    """The rules of `ip [-6] [-j] rule`. Raises `InputError` with every mistake."""
    found: list[RouteRule] = []
    errors: list[Diagnostic] = []
    if text.lstrip()[:1] == "[":
        for i, row in enumerate(_load(text, file, DEFAULT_LIMITS)):
            source = Source(file, text=json.dumps(row)[:500], pointer=f"/{i}")
            try:
                found.append(_json_rule(row, family, source))
            except (KeyError, ValueError, TypeError, OverflowError) as error:
                errors.append(Diagnostic(source, "NS211", f"this is no rule of ip -j rule: {error}"))
    else:
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            source = Source(file, number, 1, 0, line)
            try:
                found.append(_text_rule(line, family, source))
            except ValueError as error:
                errors.append(Diagnostic(source, "NS211", str(error)))
    if errors:
        raise InputError(errors)
    return tuple(found)


def _mark(value: str, mask: str | None) -> tuple[int, int]:
    return int(value, 0), int(mask, 0) if mask else 0xFFFFFFFF


def _selector(text: str, length: Any, family: Family | None) -> Prefix | None:
    if text in ("all", "default"):
        return None
    return prefix(f"{text}/{length}" if length is not None and "/" not in text else text, family)


def _json_rule(row: dict[str, Any], family: Family | None, source: Source) -> RouteRule:
    for key in row:
        if key not in _RULE_KEYS:
            raise ValueError(f"{key[:40]!r} is not modelled")
    action = (
        _TYPES[row.get("action", "unicast")]
        if row.get("action") not in (None, "to_tbl")
        else RouteType.UNICAST
    )
    table = str(row.get("table", "[l3mdev-table]" if "l3mdev" in row else "main"))
    mark = _mark(str(row["fwmark"]), row.get("fwmask")) if "fwmark" in row else None
    return RouteRule(
        int(row["priority"]), table_name(table), family,
        _selector(str(row.get("src", "all")), row.get("srclen"), family),
        _selector(str(row.get("dst", "all")), row.get("dstlen"), family),
        _device({"dev": row.get("iif", "")}), _device({"dev": row.get("oif", "")}), mark,
        int(str(row["tos"]), 0) if "tos" in row else None, "not" in row, action, source,
    )  # fmt: skip


def _text_rule(line: str, family: Family | None, source: Source) -> RouteRule:
    head, colon, rest = line.partition(":")
    if not colon or not head.strip().isdecimal():
        raise ValueError("a priority (NUMBER:) is expected first")
    values: dict[str, Any] = {}
    negated = False
    action = RouteType.UNICAST
    words = rest.split()
    position = 0
    while position < len(words):
        word = words[position]
        if word == "not":
            negated = True
            position += 1
        elif word in _TYPES:
            action = _TYPES[word]
            position += 1
        elif word in ("from", "to", "iif", "oif", "fwmark", "lookup", "table", "tos", "proto", "protocol",
                      "suppress_prefixlength", "pref", "ipproto", "dport", "sport", "uidrange"):  # fmt: skip
            if position + 1 >= len(words):
                raise ValueError(f"a value is missing behind {word!r}")
            if word in ("suppress_prefixlength", "ipproto", "dport", "sport", "uidrange"):
                raise ValueError(f"{word} is not modelled")
            values[word] = words[position + 1]
            position += 2
        elif word == "[detached]":
            position += 1
        else:
            raise ValueError(f"unknown word {word[:40]!r}")
    mark = None
    if "fwmark" in values:
        value, _, mask = values["fwmark"].partition("/")
        mark = _mark(value, mask or None)
    table = values.get("lookup") or values.get("table") or "main"
    return RouteRule(
        int(head), table_name(table), family, _selector(values.get("from", "all"), None, family),
        _selector(values.get("to", "all"), None, family), _device({"dev": values.get("iif", "")}), _device({"dev": values.get("oif", "")}), mark,
        int(values["tos"], 0) if "tos" in values else None, negated, action, source,
    )  # fmt: skip

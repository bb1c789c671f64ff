"""`ipset save`: sets of addresses, ports and their combinations.

Source: ipset(8) 7.17. A match on a set looks at as many sides of the packet as the set has dimensions;
a side that the packet does not have (a port of ICMP) is no member. `nomatch` elements of hash:net
types un-match: of the prefixes that hold an address, the longest decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import attrs

from netsim.errors import DEFAULT_LIMITS, InputError, Limits, near_misses
from netsim.parsers.iptables.values import ICMP_TYPES, ICMPV6_TYPES, SERVICES, number
from netsim.parsers.text import Report, Wrong, decode, lines, word_place, words
from netsim.rules.model import AnyOf, Condition, In
from netsim.source import Source
from netsim.space.addresses import ranges as address_ranges
from netsim.space.fields import (
    ADDRESS_FIELDS,
    Family,
    Range,
    complement_ranges,
    interface_prefix,
    interface_value,
    merge_ranges,
)
from netsim.space.packet import mac_value, protocol_number

DIMENSIONS: dict[str, tuple[str, ...]] = {
    "hash:ip": ("ip",), "hash:net": ("ip",), "bitmap:ip": ("ip",), "hash:mac": ("mac",),
    "bitmap:port": ("port",), "hash:ip,port": ("ip", "port"), "hash:net,port": ("ip", "port"),
    "hash:ip,port,ip": ("ip", "port", "ip"), "hash:ip,port,net": ("ip", "port", "ip"),
    "hash:net,net": ("ip", "ip"), "hash:net,port,net": ("ip", "port", "ip"),
    "hash:net,iface": ("ip", "iface"), "hash:ip,mac": ("ip", "mac"), "bitmap:ip,mac": ("ip", "mac"),
    "hash:ip,mark": ("ip", "mark"), "list:set": (),
}  # fmt: skip


@attrs.define(slots=True)
class IpSet:
    """One set: its type, family, and entries as tuples of parts; `others` are all sets of the file."""

    name: str
    kind: str
    family: Family
    entries: list[tuple[tuple[object, ...], bool, bool]] = attrs.Factory(list)
    others: Mapping[str, IpSet] = attrs.field(factory=dict, repr=False)
    modelled: bool = True
    netmask: int | None = None

    @property
    def listed(self) -> tuple[str, ...]:
        """The names of the sets that a list of sets holds."""
        return tuple(str(parts[0]) for parts, _, _ in self.entries) if self.kind == "list:set" else ()

    def condition(self, sides: tuple[str, ...], family: Family) -> Condition | None:
        """See `rules.bind.NamedSet`. None for what is not modelled (sets with timeouts, marks)."""
        if not self.modelled:
            return None
        if self.kind == "list:set":
            return self._list(sides, family)
        dimensions = DIMENSIONS[self.kind]
        if len(sides) < len(dimensions):
            return AnyOf((), False, f"set {self.name}")
        if "mark" in dimensions:
            return None
        if any(d == "mac" and side == "dst" for d, side in zip(dimensions, sides, strict=False)):
            return None
        if "ip" in dimensions and family is not self.family:
            return AnyOf((), False, f"set {self.name}")
        if dimensions == ("ip",):
            return In(ADDRESS_FIELDS[sides[0], family], self._addresses())
        if self.kind == "hash:net,iface":
            return self._interfaces(sides, family)
        if any(nomatch for _, nomatch, _ in self.entries):
            return None
        alternatives: list[tuple[Condition, ...]] = []
        for parts, _, _ in self.entries:
            alternative: list[Condition] = []
            for part, side, dimension in zip(parts, sides, dimensions, strict=False):
                alternative += _side(part, side, dimension, family)
            alternatives.append(tuple(alternative))
        return AnyOf(tuple(alternatives), False, f"set {self.name} {','.join(sides)}")

    def _interfaces(self, sides: tuple[str, ...], family: Family) -> Condition:
        """hash:net,iface: the longest prefix that holds the address decides, whatever its interface.

        Linux' `mtype_test_cidrs` stops at the first prefix length at which the address is found (`multi`).
        """
        field = ADDRESS_FIELDS[sides[0], family]
        top = (1 << family.bits) - 1
        groups: dict[tuple[Range, ...], list[tuple[object, bool]]] = {}
        for parts, nomatch, _ in self.entries:
            groups.setdefault(cast("tuple[Range, ...]", parts[0]), []).append((parts[1], nomatch))
        alternatives: list[tuple[Condition, ...]] = []
        taken: tuple[Range, ...] = ()
        for ranges in sorted(groups, key=_size):
            outside = merge_ranges([*complement_ranges(ranges, top), *taken])
            left = complement_ranges(outside, top)
            taken = merge_ranges([*taken, *ranges])
            for interface, nomatch in groups[ranges]:
                if not nomatch:
                    alternatives.append((In(field, left), *_side(interface, sides[1], "iface", family)))
        return AnyOf(tuple(alternatives), False, f"set {self.name} {','.join(sides)}")

    def _addresses(self) -> tuple[Range, ...]:
        """Of the entries that hold an address the smallest decides; `nomatch` ones take it out."""
        found: tuple[Range, ...] = ()
        top = (1 << self.family.bits) - 1
        sized = sorted(self.entries, key=lambda entry: -_size(entry[0][0]))
        if not any(nomatch for _, nomatch, _ in self.entries):
            return merge_ranges([r for parts, _, _ in self.entries for r in parts[0]])  # type: ignore[attr-defined]
        for parts, nomatch, _ in sized:
            ranges: tuple[Range, ...] = parts[0]  # type: ignore[assignment]
            if nomatch:
                found = complement_ranges(merge_ranges([*complement_ranges(found, top), *ranges]), top)
            else:
                found = merge_ranges([*found, *ranges])
        return found

    def _list(self, sides: tuple[str, ...], family: Family) -> Condition | None:
        alternatives: list[tuple[Condition, ...]] = []
        for parts, _, _ in self.entries:
            member = self.others.get(str(parts[0]))
            if member is None or member.kind == "list:set":
                return None
            one = member.condition(sides, family)
            if one is None:
                return None
            alternatives.append((one,))
        return AnyOf(tuple(alternatives), False, f"set {self.name} {','.join(sides)}")


_PORTED = (6, 17, 132, 136)
"""The protocols whose ports a set looks at; the port of any other is 0 (net/netfilter/ipset/ip_set_getport.c)."""


def _size(ranges: object) -> int:
    return sum(high - low + 1 for low, high in ranges)  # type: ignore[attr-defined]


def _side(part: object, side: str, dimension: str, family: Family) -> list[Condition]:
    match dimension:
        case "ip":
            return [In(ADDRESS_FIELDS[side, family], part)]  # type: ignore[arg-type]
        case "mac":
            return [In("mac", part)]  # type: ignore[arg-type]
        case "iface":
            return [In("iif" if side == "src" else "oif", part)]  # type: ignore[arg-type]
        case _:
            protocols, ports = cast("tuple[tuple[Range, ...], tuple[Range, ...]]", part)
            if protocols in (((1, 1),), ((58, 58),)):
                low = ports[0][0]
                kind = [In("icmp_type", ((low >> 8, low >> 8),)), In("icmp_code", ((low & 255, low & 255),))]
                return [In("protocol", protocols), *kind]
            if protocols and protocols[0][0] not in _PORTED:
                return [In("protocol", protocols if ports[0][0] == 0 else ())]
            field = "sport" if side == "src" else "dport"
            return [In("protocol", protocols), In(field, ports)] if protocols else [In(field, ports)]


def _part(text: str, dimension: str, family: Family, kind: str) -> object:
    if dimension == "ip":
        found = address_ranges(text)
        if list(found) != [family]:
            raise ValueError(f"{text[:60]!r} is not of the set's family")
        return found[family]
    if dimension == "mac":
        value = mac_value(text)
        return ((value, value),)
    if dimension == "iface":
        value = interface_value(text.removeprefix("physdev:"))
        return ((value, value),)
    if dimension == "mark":
        return text
    protocol, colon, ports = text.rpartition(":")
    protocols: tuple[Range, ...] = ((6, 6),) if kind != "bitmap:port" else ((6, 6), (17, 17))
    if colon:
        value = protocol_number(protocol)
        protocols = ((value, value),)
        if value in (1, 58):
            names = ICMP_TYPES if value == 1 else ICMPV6_TYPES
            kind_text, _, code = ports.partition("/")
            named = names.get(ports)
            if named is not None:
                icmp = named[0] << 8 | (named[1] or 0)
            else:
                icmp = number(kind_text, 0, 255, "an ICMP type") << 8 | number(code or "0", 0, 255, "a code")
            return protocols, ((icmp, icmp),)
    low, dash, high = ports.partition("-")
    first = SERVICES.get(low) or number(low, 0, 65535, "a port")
    last = number(high, 0, 65535, "a port") if dash else first
    if first > last:
        raise ValueError(f"the port range {ports[:40]} is reversed")
    return protocols, ((first, last),)


def parse_ipsets(data: str | bytes, *, file: str = "", limits: Limits = DEFAULT_LIMITS) -> dict[str, IpSet]:
    """The sets of an `ipset save` text, by name. Raises `InputError` with every mistake."""
    text = decode(data, file, limits)
    report = Report(file, limits)
    sets: dict[str, IpSet] = {}
    count = 0
    for line_number, line in lines(text, file, limits):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            found = words(line)
            if found[0] == "create" and len(found) >= 3:
                _create(found, sets)
            elif found[0] == "add" and len(found) >= 3:
                count += 1
                if count > limits.set_elements:
                    message = f"more than {limits.set_elements} elements (Limits.set_elements)"
                    raise Wrong(-1, message, code="NS904")
                _add(found, sets)
            else:
                raise Wrong(0, "'create NAME TYPE ...' or 'add NAME ENTRY' is expected", code="NS101")
        except Wrong as wrong:
            column, end = word_place(line, wrong.word)
            source = Source(file, line_number, column, end, line)
            report.error(source, wrong.code, wrong.message, wrong.hint)
            if wrong.code == "NS904":
                raise InputError(report.errors) from None
    report.finish()
    for each in sets.values():
        each.others = sets
    return sets


def _create(found: list[str], sets: dict[str, IpSet]) -> None:
    name, kind = found[1], found[2]
    if kind not in DIMENSIONS:
        raise Wrong(2, f"unknown set type {kind[:40]!r}", code="NS104", hint=near_misses(kind, DIMENSIONS))
    if name in sets:
        raise Wrong(1, f"set {name[:40]!r} is created twice", code="NS108")
    made = sets[name] = IpSet(name, kind, Family.IPV4)
    position = 3
    while position < len(found):
        option = found[position]
        if option not in _OPTIONS:
            raise Wrong(position, f"unknown option {option[:40]!r}", code="NS102",
                        hint=near_misses(option, _OPTIONS))  # fmt: skip
        if position + _OPTIONS[option] >= len(found):
            raise Wrong(len(found), f"a value is missing behind {option}", code="NS101")
        if option == "family":
            if found[position + 1] not in _FAMILIES:
                raise Wrong(position + 1, f"inet or inet6 is expected, not {found[position + 1][:40]!r}")
            made.family = _FAMILIES[found[position + 1]]
        elif option == "netmask" and kind in ("hash:ip", "bitmap:ip"):
            try:
                made.netmask = number(found[position + 1], 1, made.family.bits, "a prefix length")
            except ValueError as error:
                raise Wrong(position + 1, str(error)) from None
        elif option in ("timeout", "netmask", "bitmask", "markmask"):
            made.modelled = False
        position += 1 + _OPTIONS[option]


_FAMILIES = {"inet": Family.IPV4, "inet6": Family.IPV6}
_OPTIONS = {
    "family": 1, "hashsize": 1, "maxelem": 1, "bucketsize": 1, "initval": 1, "range": 1, "size": 1,
    "probes": 1, "resize": 1, "netmask": 1, "bitmask": 1, "markmask": 1, "timeout": 1,
    "counters": 0, "comment": 0, "skbinfo": 0, "forceadd": 0,
}  # fmt: skip
"""The options of `create`, and how many values each takes."""


def _widened(ranges: tuple[Range, ...], length: int, family: Family) -> tuple[Range, ...]:
    """The networks of `length` bits that hold the addresses."""
    host = (1 << (family.bits - length)) - 1
    return merge_ranges([(low & ~host, high | host) for low, high in ranges])


def _add(found: list[str], sets: dict[str, IpSet]) -> None:
    name, entry = found[1], found[2]
    target = sets.get(name)
    if target is None:
        raise Wrong(1, f"set {name[:40]!r} is not created", code="NS106", hint=near_misses(name, sets))
    if target.kind == "list:set":
        target.entries.append(((entry,), "nomatch" in found, False))
        return
    dimensions = DIMENSIONS[target.kind]
    texts = entry.split(",")
    if len(texts) != len(dimensions):
        if not (target.kind == "bitmap:ip,mac" and len(texts) == 1):
            raise Wrong(2, f"an entry of {target.kind} has {len(dimensions)} parts")
        dimensions = dimensions[:1]
    try:
        parts = tuple(
            _part(text, dimension, target.family, target.kind)
            for text, dimension in zip(texts, dimensions, strict=True)
        )
    except ValueError as error:
        raise Wrong(2, str(error)) from None
    if target.netmask is not None:
        parts = (_widened(cast("tuple[Range, ...]", parts[0]), target.netmask, target.family),)
    if target.kind == "hash:net,iface":
        name = texts[1]
        if name.startswith("physdev:"):  # the port of a bridge
            target.modelled = False
        elif "wildcard" in found[3:]:
            parts = (parts[0], (interface_prefix(name),))
    target.entries.append((parts, "nomatch" in found[3:], False))

"""Deferred conditions decided by context: the device's addresses, and its sets.

Sources: iptables-extensions(8) for addrtype, set, MASQUERADE and REDIRECT; Linux' routing gives an
address its type (net/ipv4/fib_frontend.c, `inet_dev_addr_type`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Protocol

import attrs

from netsim.errors import Diagnostic, InputError, near_misses
from netsim.rules.journey import Addresses
from netsim.rules.model import (
    AnyOf,
    ChangeSet,
    Condition,
    Deferred,
    Effect,
    In,
    Nat,
    NatKind,
    Pool,
    Rule,
    RuleSet,
    Unmodelled,
    flat,
)
from netsim.space.fields import ADDRESS_FIELDS, Family, Range, complement_ranges, merge_ranges

Interfaces = Mapping[str, Iterable[str]]
"""A device's own addresses with their prefix lengths, by interface: `{"eth0": ["10.0.0.1/24"]}`."""


class NamedSet(Protocol):
    """A set that rules name: what a match on it means, and which other sets it holds."""

    @property
    def listed(self) -> tuple[str, ...]:
        """The names of the sets that it holds."""
        ...

    def condition(self, sides: tuple[str, ...], family: Family) -> Condition | None:
        """The condition that `sides` (src, dst, ...) of a packet are in the set; None: cannot be said."""
        ...


_Own = dict[str, list[ipaddress.IPv4Interface | ipaddress.IPv6Interface]]


def _read(interfaces: Interfaces) -> _Own:
    """The addresses of each interface; the loopback one has its own unless something else is said."""
    given = {"lo": ("127.0.0.1/8", "::1/128"), **interfaces}
    return {name: [ipaddress.ip_interface(a) for a in found] for name, found in given.items()}


def own_addresses(interfaces: Interfaces | None) -> Addresses:
    """The device's addresses as ranges, 127.0.0.0/8 and ::1 included. Raises `ValueError`."""
    if interfaces is None:
        return Addresses()
    v4: list[Range] = [(127 << 24, (128 << 24) - 1)]
    v6: list[Range] = [(1, 1)]
    for found in _read(interfaces).values():
        for one in found:
            (v4 if one.version == 4 else v6).append((int(one.ip), int(one.ip)))
    return Addresses(((Family.IPV4, merge_ranges(v4)), (Family.IPV6, merge_ranges(v6))), True)


_Types = Mapping[str, tuple[Range, ...]]

_TOP6 = (1 << 128) - 1
_TYPES6: _Types = {
    "MULTICAST": ((0xFF << 120, _TOP6),),
    "UNSPEC": ((0, 0),),
    "UNICAST": ((1, (0xFFFF << 32) - 1), (0x10000 << 32, (0xFF << 120) - 1)),
}
"""Kinds of IPv6 addresses; IPv4-mapped ones are none of them (net/ipv6/addrconf_core.c)."""


def _types(own: _Own, family: Family) -> _Types:
    """Address type -> addresses. In IPv4 UNICAST is what is left; in IPv6 an own address is UNICAST too."""
    if family is Family.IPV6:
        local = [(1, 1)] + [(int(a.ip), int(a.ip)) for f in own.values() for a in f if a.version == 6]
        return {"LOCAL": merge_ranges(local), **_TYPES6}
    mine = [a for f in own.values() for a in f if a.version == 4]
    broadcast: list[Range] = [((1 << 32) - 1, (1 << 32) - 1)]
    for a in mine:
        if a.network.prefixlen < 31:
            last = int(a.network.broadcast_address)
            broadcast.append((last, last))
    local4 = merge_ranges([(127 << 24, (128 << 24) - 1)] + [(int(a.ip), int(a.ip)) for a in mine])
    cast = merge_ranges([*broadcast, (0, 0)])
    found = {
        "LOCAL": local4,
        "BROADCAST": _minus(cast, local4),
        "MULTICAST": merge_ranges([(224 << 24, (240 << 24) - 1)]),
    }
    taken = merge_ranges([r for ranges in found.values() for r in ranges])
    return {**found, "UNICAST": complement_ranges(taken, (1 << 32) - 1)}


def _typed(types: _Types, names: Iterable[str], family: Family) -> tuple[Range, ...]:
    """The addresses of one of several types. IPv6's types must all hold (net/netfilter/xt_addrtype.c)."""
    if family is Family.IPV4:
        return merge_ranges([r for name in names for r in types[name]])
    outside = [r for name in names for r in complement_ranges(types[name], _TOP6)]
    return complement_ranges(merge_ranges(outside), _TOP6)


def _minus(ranges: tuple[Range, ...], less: tuple[Range, ...]) -> tuple[Range, ...]:
    top = (1 << 128) - 1
    return complement_ranges(merge_ranges([*complement_ranges(ranges, top), *less]), top)


class _Binder:
    def __init__(self, own: _Own | None, sets: Mapping[str, NamedSet] | None, family: Family) -> None:
        self.own = own
        self.sets = sets or {}
        self.family = family
        self._types = None if own is None else {f: _types(own, f) for f in Family}

    def condition(self, condition: Condition) -> Condition:
        if isinstance(condition, AnyOf):
            alternatives = tuple(tuple(map(self.condition, a)) for a in condition.alternatives)
            return attrs.evolve(condition, alternatives=alternatives)
        if not isinstance(condition, Deferred):
            return condition
        if condition.kind == "set":
            return self._set(condition)
        if condition.kind == "addrtype" and self._types is not None:
            side, wanted, number = condition.argument
            family = Family.IPV4 if number == "4" else Family.IPV6
            types = self._types[family]
            names = wanted.split(",")
            if all(name in types for name in names):
                ranges = _typed(types, names, family)
                if condition.negated:
                    ranges = complement_ranges(ranges, (1 << family.bits) - 1)
                return In(ADDRESS_FIELDS[side, family], ranges)
        return condition

    def _set(self, condition: Deferred) -> Condition:
        name, sides = condition.argument
        found = self.sets.get(name)
        bound = None if found is None else found.condition(tuple(sides.split(",")), self.family)
        if bound is None:
            return condition
        return AnyOf(((bound,),), True, condition.text) if condition.negated else bound

    def effect(self, effect: Effect) -> Effect:
        if not isinstance(effect, Nat) or not effect.deferred or self.own is None:
            return effect
        template = effect.pools[0]
        pools: list[Pool] = []
        if effect.kind is NatKind.DESTINATION:
            # a packet of the device itself is redirected to the loopback address
            value = 127 << 24 | 1 if effect.family is Family.IPV4 else 1
            pools.append(attrs.evolve(template, addresses=(value, value), own=True))
        for name, found in self.own.items():
            mine = [a for a in found if (a.version == 4) == (effect.family is Family.IPV4)]
            if effect.family is Family.IPV6:
                mine = [a for a in mine if not a.ip.is_link_local] or mine
            if effect.kind is NatKind.DESTINATION:
                mine = mine[:1]
            choices = _choices(mine)
            for left, value in zip(range(len(choices))[::-1], choices, strict=True):
                more = left > 0
                pools.append(attrs.evolve(template, addresses=(value, value), interface=name, more=more))
            if not mine:
                pools.append(attrs.evolve(template, interface=name, missing=True))
        return attrs.evolve(effect, pools=(*pools, attrs.evolve(template, missing=True)), deferred="")


def _choices(addresses: Iterable[ipaddress.IPv4Interface | ipaddress.IPv6Interface]) -> list[int]:
    """The addresses that masquerading may take: the first of each network, by the next hop.

    (Linux, `inet_select_addr`.)
    """
    first: dict[object, int] = {}
    for one in addresses:
        first.setdefault(one.network, int(one.ip))
    return list(first.values())


def unsettled(rules: Iterable[Rule], changed: Container[str]) -> Iterator[Rule]:
    """The rules, in which tests of the sets named in `changed` answer afresh every time."""

    def settle(condition: Condition) -> Condition:
        if isinstance(condition, AnyOf):
            alternatives = tuple(tuple(map(settle, a)) for a in condition.alternatives)
            return attrs.evolve(condition, alternatives=alternatives)
        if isinstance(condition, Deferred) and condition.kind == "set" and condition.argument[0] in changed:
            return Unmodelled(f"{condition.text}, which a rule changes", False, condition.negated)
        return condition

    for rule in rules:
        conditions = tuple(map(settle, rule.conditions))
        yield rule if conditions == rule.conditions else attrs.evolve(rule, conditions=conditions)


def changed_sets(rules: Iterable[Rule]) -> frozenset[str]:
    """The names of the sets that rules change."""
    return frozenset(e.name for rule in rules for e in rule.effects if isinstance(e, ChangeSet))


def _check_sets(rules: RuleSet, sets: Mapping[str, NamedSet]) -> None:
    """Where the sets are given, a rule that names another one is a mistake."""
    missing: dict[tuple[str, str], Diagnostic] = {}
    for rule in rules.rules():
        for condition in flat(rule.conditions):
            if (
                isinstance(condition, Deferred)
                and condition.kind == "set"
                and condition.argument[0] not in sets
            ):
                name = condition.argument[0]
                found = Diagnostic(rule.source, "NS112", f"no set {name[:60]!r}", near_misses(name, sets))
                missing.setdefault((name, rule.source.line_place), found)
    if missing:
        raise InputError(missing.values())


def bind(
    rules: RuleSet,
    *,
    addresses: Interfaces | None = None,
    sets: Mapping[str, NamedSet] | None = None,
) -> RuleSet:
    """The rule set with the deferred conditions decided that this context decides; the rest stays.

    `addresses` must be complete: an interface that it does not name has none, so MASQUERADE through it
    drops. Raises `ValueError` for what is no address, and `InputError` for a rule whose set is not among
    the sets given.
    """
    own = None if addresses is None else _read(addresses)
    binder = _Binder(own, sets, rules.family or Family.IPV4)
    if sets is not None:
        _check_sets(rules, sets)

    def change(rule: Rule) -> Rule:
        conditions = tuple(map(binder.condition, rule.conditions))
        effects = tuple(map(binder.effect, rule.effects))
        if conditions == rule.conditions and effects == rule.effects:
            return rule
        return attrs.evolve(rule, conditions=conditions, effects=effects)

    return rules.map(change)

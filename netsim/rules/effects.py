"""What a rule's effects do to one packet: part of the specification (see `evaluate`).

Sources: iptables-extensions(8) for MARK, CONNMARK, TOS, DSCP, TTL, DNAT, SNAT, MASQUERADE, REDIRECT and
NETMAP; the order in which NAT keeps or changes a port is that of Linux' `get_unique_tuple`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from netsim.rules.journey import HAS_ENTRY
from netsim.rules.model import (
    Adjust,
    ChangeSet,
    Effect,
    Nat,
    NatKind,
    Netmap,
    Pool,
    SetBits,
    SetField,
    Track,
    Untrack,
)
from netsim.space.fields import ABSENT, ADDRESS_FIELDS, FIELDS, CtStatus, Range, State, interface_value

Values = dict[str, Any]
"""A packet on its way: a field that does not apply is missing, an open one is None.

A value that somebody else chooses from a range is that range, a pair (low, high).
"""


@attrs.frozen(slots=True)
class Way:
    """One possible result: the packet after (None: it is dropped), and why there are others."""

    values: Values | None
    translates: bool = False
    doubt: str = ""
    hint: str = ""


def changed(effects: Iterable[Effect], values: Mapping[str, int | None], nat: bool) -> list[Way]:
    """The packet after all effects, in order; several ways where somebody else chooses.

    `nat`: the rule stands in a NAT chain; elsewhere translations do nothing.
    """
    ways = [Way(dict(values))]
    for effect in effects:
        if isinstance(effect, Nat | Netmap) and not nat:
            continue
        ways = [new for way in ways for new in _apply(effect, way)]
    return ways


def _apply(effect: Effect, way: Way) -> list[Way]:
    values = way.values
    if values is None:
        return [way]
    match effect:
        case SetBits(field, keep, value, source, mask, needs_entry):
            if not needs_entry or values.get("state") in HAS_ENTRY:
                values[field] = _set_bits(values, field, keep, value, source, mask)
        case SetField(field, keep, value):
            old = values.get(field)
            if field in values:
                values[field] = value if keep == 0 else None if old is None else (old & keep) ^ value
        case Adjust(field, delta):
            old = values.get(field)
            if old is not None:
                values[field] = min(max(old + delta, 0), FIELDS[field].maximum)
        case Untrack():
            values["state"] = int(State.UNTRACKED)
        case Track() | ChangeSet():
            pass
        case Netmap():
            return [Way(_netmap(values, effect), True)]
        case Nat():
            return _translate(values, effect)
    return [way]


def _set_bits(values: Values, field: str, keep: int, value: int, source: str, mask: int) -> int | None:
    old = values.get(field)
    result = value
    if keep:
        if old is None:
            return None
        result ^= old & keep
    if source and mask:
        other = values.get(source)
        if other is None:
            return None
        result ^= other & mask
    return result


def _field(kind: NatKind, family: int) -> str:
    return next(
        name
        for (side, fam), name in ADDRESS_FIELDS.items()
        if fam == family and side == ("src" if kind is NatKind.SOURCE else "dst")
    )


def _note_nat(values: Values, kind: NatKind, *, different: bool | None) -> None:
    """Connection tracking notes a translation that changed something (None: that is open)."""
    status = values.get("ct_status")
    if status is None or different is False:
        return
    bit = CtStatus.SNAT if kind is NatKind.SOURCE else CtStatus.DNAT
    values["ct_status"] = None if different is None else status | bit


def _netmap(values: Values, effect: Netmap) -> Values:
    field = _field(effect.kind, effect.family)
    if field not in values:
        return values
    old = values[field]
    host = (1 << (effect.family.bits - effect.prefix)) - 1
    if isinstance(old, int):
        new: Any = (old & host) | effect.network
    else:  # some address of the network
        new = _one((effect.network, effect.network | host))
    _note_nat(values, effect.kind, different=_differs(old, new))
    values[field] = new
    return values


def _translate(values: Values, nat: Nat) -> list[Way]:
    field = _field(nat.kind, nat.family)
    if nat.deferred:
        opened = dict(values)
        opened[field] = None
        for port in ("sport", "dport"):
            if port in opened and nat.pools and nat.pools[0].ports and _port(nat.kind) == port:
                opened[port] = _one(nat.pools[0].ports)
        _note_nat(opened, nat.kind, different=None)
        hint = "bind the device's addresses"
        return [Way(opened, True, nat.deferred, hint), Way(None, True, nat.deferred, hint)]
    device = values.get("oif" if nat.kind is NatKind.SOURCE else "iif")
    ways: list[Way] = []
    for pool in nat.pools:
        wanted = ABSENT if pool.own else interface_value(pool.interface) if pool.interface else None
        if wanted is not None and device is not None and device != wanted:
            continue
        ways.append(Way(None if pool.missing else _pooled(dict(values), nat.kind, field, pool), True))
        if not pool.more and (wanted is None or device is not None):
            break
    if len(ways) > 1:
        doubt = f"{nat.text}: which address is used"
        return [attrs.evolve(way, doubt=doubt) for way in ways]
    return ways or [Way(None, True)]


def _port(kind: NatKind) -> str:
    return "sport" if kind is NatKind.SOURCE else "dport"


def _one(ports: Range) -> int | Range:
    """The value of a range of one, else the range."""
    return ports[0] if ports[0] == ports[1] else ports


def _differs(old: object, new: int | Range) -> bool | None:
    """Whether a translation changes a value; None if that is open."""
    if not isinstance(old, int):
        return None
    if isinstance(new, int):
        return new != old
    return None if new[0] <= old <= new[1] else True


def _pooled(values: Values, kind: NatKind, field: str, pool: Pool) -> Values:
    different: bool | None = False
    old = values.get(field)
    if pool.addresses is not None and field in values:
        low, high = pool.addresses
        kept = kind is NatKind.SOURCE and not pool.random and isinstance(old, int) and low <= old <= high
        new: Any = old if kept else _one(pool.addresses)
        values[field] = new
        different = _differs(old, new)
    port = _port(kind)
    if port in values and (pool.ports is not None or pool.random):
        before = values[port]
        ports = pool.ports or (0, 65535)
        inside = isinstance(before, int) and ports[0] <= before <= ports[1]
        after: Any = before if inside and not pool.random else _one(ports)
        values[port] = after
        moved = _differs(before, after)
        different = True if different or moved else None if None in (different, moved) else False
    _note_nat(values, kind, different=different)
    return values

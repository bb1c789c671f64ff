"""Conditions for packets: the tightest that one rule of a dialect can say.

Theory of operation. A rule's conditions are a box. The smallest box around a set is the product of its projections, one
for each field, so each field is decided alone: the values that occur there, exactly, where the dialect has
words for them in one rule; else with the smallest gaps filled (addresses, ports), a beginning of names
(interfaces), or no condition at all. Every end of every range that is left is a value that occurs: so a range
made shorter by one value at either end loses a packet, and `Narrow` names one. That is the proof that no
condition can be narrowed.

The projection of a transformed set needs no image: a field after the transformation is a function of one field before
it, so the values before it are mapped. What such a mapping does not say exactly (both halves of an IPv6
address mixed) is hulled, and its ends need not occur; then no proof is given for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import attrs

from netsim.errors import Inexpressible
from netsim.index.flow import Piece
from netsim.queries.fix.survey import plain
from netsim.rules.model import Bits, Condition, In
from netsim.space.addresses import show_address
from netsim.space.diagram import AND, FALSE, LESS, OR, Choice, Const, LevelMap, Parity, Shift
from netsim.space.fields import (
    ABSENT,
    ADDRESS_FIELDS,
    FIELDS,
    PORT_PROTOCOLS,
    Family,
    Kind,
    Range,
    State,
    TcpFlag,
    interface_name,
    interface_prefix,
    merge_ranges,
)
from netsim.space.packet import PROTOCOL_NAMES, Packet
from netsim.space.packets import PacketSet
from netsim.space.pool import POOL, applies_node, condition_node

UNCOUNTED = ("mark", "ctmark", "ttl", "mac", "ct_status", "direction")
"""The fields that no proposed rule tests, and that do not make packets others than those asked about.

A mark is 0 as a packet arrives, its frame and TTL are its way's, status and direction follow from its connection.
"""

_FIELDS = ("family", "protocol", "iif", "oif", "src", "dst", "sport", "dport", "icmp_type", "icmp_code")


@attrs.frozen(slots=True)
class Narrow:
    """Why a condition cannot be narrower: `needed` are the ends of its ranges, each with a packet asked about.

    The packets are as the sender sends them. A field of bits has one entry: what all packets have in common.
    """

    field: str
    condition: Condition
    needed: tuple[tuple[int, Packet], ...]

    @property
    def text(self) -> str:
        """The field and the values at the ends, in words."""
        if isinstance(self.condition, Bits) and self.field == "fragment":
            return "fragment: none of these packets is a later fragment"
        if isinstance(self.condition, Bits):
            flags = ",".join(f.name for f in TcpFlag if self.condition.care & f)
            return f"{self.field}: every one of these packets has the same {flags}"
        shown = list(dict.fromkeys(show_value(self.field, v) for v, _ in self.needed))
        return f"{self.field}: needed for {', '.join(shown[:6])}{', ...' if len(shown) > 6 else ''}"


def show_value(field: str, value: int) -> str:
    """A value of a field as people write it."""
    for (_, family), name in ADDRESS_FIELDS.items():
        if name == field:
            return show_address(family, value)
    if field in ("iif", "oif"):
        return interface_name(value)
    if field == "protocol":
        return PROTOCOL_NAMES.get(value, str(value))
    if field == "state":
        return State(value).name.lower()
    return str(value)


@attrs.frozen(slots=True)
class Sight:
    """How a rule in a chain sees packets: which fields it may ask for there.

    `family` is that of the rule set. `iif`, `oif`: whether a rule may name
    the interface. `state`: whether it may ask for the state, `fragments`: whether later fragments come by.
    """

    family: Family | None
    iif: bool
    oif: bool
    state: bool
    fragments: bool


# Projections


def level_values(node: int, level: int) -> tuple[Range, ...]:
    """The values of a level that occur in a set."""
    if node == FALSE:
        return ()
    seen = POOL.quantify(node, [i for i in range(len(POOL.maxima)) if i != level], OR)
    found: list[Range] = []
    for path in POOL.paths(seen):
        found += path.get(level, ((0, POOL.maxima[level]),))
    return merge_ranges(found)


def mapped(by: LevelMap | None, node: int, level: int) -> tuple[Range, ...]:
    """The values that a level has after a map, over a set before it."""
    match by:
        case None:
            return level_values(node, level)
        case Const(value):
            return ((value, value),)
        case Choice(ranges):
            return ranges
        case Shift(source, pieces):
            return _shifted(level_values(node, source), pieces)
        case Parity(terms, constant):
            if not terms:
                return ((constant, constant),)
            if len(terms) == 1:
                return merge_ranges(
                    [(v ^ constant,) * 2 for a, b in level_values(node, terms[0]) for v in range(a, b + 1)]
                )
            return ((0, 1),)


def _shifted(values: Iterable[Range], pieces: Sequence[tuple[int, int, int]]) -> tuple[Range, ...]:
    return merge_ranges(
        [
            (max(a, low) + delta, min(b, high) + delta)
            for a, b in values
            for low, high, delta in pieces
            if max(a, low) <= min(b, high)
        ]
    )


def values_of(field: str, pieces: Iterable[Piece]) -> tuple[tuple[Range, ...], bool]:
    """The values of an interval field over pieces, after their transformations; and whether they are exact."""
    levels = FIELDS[field].levels
    found: list[Range] = []
    exact = True
    for piece in pieces:
        node = plain(piece.packets)
        maps = [piece.change.level_map(level) for level in levels]
        if len(levels) == 1:
            found += mapped(maps[0], node, levels[0])
            continue
        origin = _whole_copy(field, maps)
        if origin is not None:
            try:
                found += PacketSet(POOL.apply(AND, node, applies_node(origin))).values(origin)
                continue
            except ValueError:
                pass
        tops, bottoms = (mapped(by, node, level) for by, level in zip(maps, levels, strict=True))
        if all(a == b for a, b in tops) and len(tops) * len(bottoms) <= 256 and len(tops) == 1:
            found += [(top << 64 | low, top << 64 | high) for top, _ in tops for low, high in bottoms]
        elif tops and bottoms:
            exact = False
            found.append((tops[0][0] << 64 | bottoms[0][0], tops[-1][1] << 64 | bottoms[-1][1]))
    return merge_ranges(found), exact


def _whole_copy(field: str, maps: Sequence[LevelMap | None]) -> str | None:
    """The address field that a two-level field is a copy of."""
    if all(by is None for by in maps):
        return field
    for name in ("src6", "dst6"):
        pairs = zip(maps, FIELDS[name].levels, strict=True)
        if all(
            isinstance(by, Shift) and by.source == level and all(d == 0 for *_, d in by.pieces)
            for by, level in pairs
        ):
            return name
    return None


def common_bits(field: str, pieces: Iterable[Piece]) -> tuple[int, int]:
    """The bits of a field that are the same in all packets, as (care, value)."""
    row = FIELDS[field]
    found = list(pieces)
    care = value = 0
    for i, level in enumerate(row.levels):
        bit = 1 << (row.width - 1 - i)
        seen = merge_ranges(
            [r for p in found for r in mapped(p.change.level_map(level), plain(p.packets), level)]
        )
        if len(seen) == 1 and seen[0][0] == seen[0][1]:
            care |= bit
            value |= bit if seen[0][0] else 0
    return care, value


def applies(field: str, pieces: Iterable[Piece]) -> bool:
    """Whether a field applies to every packet; nothing changes what a field needs."""
    where = applies_node(field)
    return all(not POOL.apply(LESS, plain(p.packets), where) for p in pieces)


# Conditions


Speaks = Callable[[tuple[Condition, ...]], object]
"""Raises `Inexpressible` for conditions that have no words."""


def conditions_for(
    pieces: Sequence[Piece], sight: Sight, speaks: Speaks
) -> tuple[tuple[Condition, ...], tuple[Narrow, ...]]:
    """The tightest conditions of one rule that hold for all packets of pieces, and why they are no narrower.

    Raises `Inexpressible` if not even a rule without conditions has words. No packets: no conditions.
    """
    pieces = [p for p in pieces if p.packets]
    speaks(())
    chosen: list[Condition] = []
    proofs: list[Narrow] = []
    if not pieces:
        return (), ()
    for name, candidates, exact in _candidates(pieces, sight):
        for condition in candidates:
            try:
                speaks((*chosen, condition))
            except Inexpressible:
                continue
            chosen.append(condition)
            if exact:
                proofs.append(Narrow(name, condition, _needed(condition, pieces)))
            break
    return tuple(chosen), tuple(proofs)


def _candidates(pieces: Sequence[Piece], sight: Sight) -> Iterable[tuple[str, list[Condition], bool]]:
    """For each field, the conditions to try, the tightest first; none for a field that is free."""
    for public in _FIELDS:
        for name in _inner(public, pieces):
            if (name == "iif" and not sight.iif) or (name == "oif" and not sight.oif):
                continue
            if not applies(name, pieces):
                continue
            values, exact = values_of(name, pieces)
            if values and values != ((0, FIELDS[name].maximum),):
                if name == "family" and (len(values) > 1 or sight.family is not None):
                    continue
                found: list[Condition] = list(_looser(name, values))
                yield name, found, exact
    if applies("tcp_flags", pieces):
        care, value = common_bits("tcp_flags", pieces)
        if care:
            yield "tcp_flags", [Bits("tcp_flags", care, value)], True
    if sight.state:
        states, exact = values_of("state", pieces)
        if states and states != ((0, FIELDS["state"].maximum),):
            yield "state", [In("state", states)], exact
    if sight.fragments and common_bits("fragment", pieces) == (1, 0):
        yield "fragment", [Bits("fragment", 1, 0)], True
    for name in ("length", "tos"):
        values, exact = values_of(name, pieces)
        if values and values != ((0, FIELDS[name].maximum),):
            yield name, [In(name, values)], exact


def _inner(public: str, pieces: Sequence[Piece]) -> tuple[str, ...]:
    if public not in ("src", "dst"):
        return (public,)
    return tuple(n for (side, _), n in ADDRESS_FIELDS.items() if side == public and applies(n, pieces))


def _looser(name: str, values: tuple[Range, ...]) -> Iterable[Condition]:
    yield In(name, values)
    if name in ("iif", "oif"):
        if any(low == ABSENT for low, _ in values):
            return
        first, last = interface_name(values[0][0]), interface_name(values[-1][0])
        for size in range(len(first), 0, -1):
            if last.startswith(first[:size]):
                yield In(name, (interface_prefix(first[:size]),))
        return
    if FIELDS[name].kind is Kind.INTERVAL and name != "protocol":
        while len(values) > 1:
            gaps = [(b[0] - a[1], i) for i, (a, b) in enumerate(zip(values, values[1:], strict=False))]
            _, i = min(gaps)
            values = (*values[:i], (values[i][0], values[i + 1][1]), *values[i + 2 :])
            yield In(name, values)


def _needed(condition: Condition, pieces: Sequence[Piece]) -> tuple[tuple[int, Packet], ...]:
    """For each end of each range a packet, in the sender's header, that has that value."""
    found: list[tuple[int, Packet]] = []
    if isinstance(condition, Bits):
        witness = PacketSet(plain(pieces[0].packets)).sample()
        return ((condition.value, witness),) if witness is not None else ()
    assert isinstance(condition, In)
    if condition.field in ("iif", "oif"):
        ends = [v for r in values_of(condition.field, pieces)[0] for v in r]
    else:
        ends = [v for r in condition.ranges for v in r]
    for value in dict.fromkeys(ends):
        test = condition_node(condition.field, ((value, value),))
        for piece in pieces:
            node = POOL.apply(AND, piece.packets, piece.change.preimage(POOL, test, OR))
            witness = PacketSet(plain(node)).sample() if node else None
            if witness is not None:
                found.append((value, witness))
                break
    return tuple(found)


# Images


def image(node: int, maps: Sequence[tuple[int, LevelMap]], ignored: frozenset[int]) -> int:
    """What a set looks like after a transformation, `ignored` levels left free.

    Box by box. Where one level decides several, a box is taken value by value, up to 4096 values; past that its part is
    left out, so the result may be too small and is never too large.
    """
    node = POOL.quantify(plain(node), ignored, OR)
    nowhere = {
        level
        for name in ADDRESS_FIELDS.values()
        if not POOL.apply(AND, node, applies_node(name))
        for level in FIELDS[name].levels
    }
    changed = {level: by for level, by in maps if level not in ignored and level not in nowhere}
    readers: dict[int, int] = {}
    for level, by in changed.items():
        for source in _sources(by):
            readers[source] = readers.get(source, 0) + 1 + (source not in changed and source != level)
    parts: list[int] = []
    for path in POOL.paths(node):
        for box in _split(path, [s for s, n in readers.items() if n > 1]):
            parts.append(_box_image(box, changed))
    return POOL.fold(OR, parts)


def _sources(by: LevelMap) -> tuple[int, ...]:
    match by:
        case Shift(source, _):
            return (source,)
        case Parity(terms, _):
            return terms
        case _:
            return ()


def _split(
    box: dict[int, tuple[Range, ...]], shared: Sequence[int]
) -> Iterable[dict[int, tuple[Range, ...]]]:
    boxes = [box]
    for level in shared:
        values = box.get(level, ((0, POOL.maxima[level]),))
        count = sum(b - a + 1 for a, b in values)
        if count * len(boxes) > 4096:
            return []
        singles = [v for a, b in values for v in range(a, b + 1)]
        boxes = [{**one, level: ((v, v),)} for one in boxes for v in singles]
    return boxes


def _box_image(box: dict[int, tuple[Range, ...]], maps: dict[int, LevelMap]) -> int:
    result = dict(box)
    for level, by in maps.items():
        match by:
            case Const(value):
                result[level] = ((value, value),)
            case Choice(ranges):
                result[level] = ranges
            case Shift(source, pieces):
                result[level] = _shifted(box.get(source, ((0, POOL.maxima[source]),)), pieces)
            case Parity(terms, constant):
                values = {constant}
                for term in terms:
                    bits = {v for a, b in box.get(term, ((0, 1),)) for v in range(a, b + 1)}
                    values = {v ^ b for v in values for b in bits}
                result[level] = merge_ranges([(v, v) for v in values])
    node = POOL.fold(
        AND, [POOL.interval(level, ranges) for level, ranges in sorted(result.items(), reverse=True)], 1
    )
    return node


__all__ = [
    "PORT_PROTOCOLS",
    "UNCOUNTED",
    "Narrow",
    "Sight",
    "common_bits",
    "conditions_for",
    "image",
    "show_value",
    "values_of",
]

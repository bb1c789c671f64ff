"""Packet sets: exact sets of packets, as values.

Algebra. `&`, `|`, `-`, `^` and `~` are those of sets; `<=` and `<` are inclusion, `==` is equality of sets
in every pool and process, and `bool` says whether there is a member. `EVERYTHING` is the top. A set has
no length (`count()` is exact and may be astronomical). A field that does not apply to a packet is free
(invariant F1 of `fields`), so the algebra needs no exceptions; `count`, `sample` and `boxes` speak of the
well-formed packets, in which such a field is 0.

`some(field)` forgets a field: the packets for which *some* value of it is in the set; `every(field)`
those for which every value is. Forgetting a field forgets what exists only because of it (the
protocol's ports, the family's addresses).

A set made of no packets is empty, `EVERYTHING.every(f)` is everything, `NOTHING.some(f)` is nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from netsim.space import addresses
from netsim.space.addresses import PrefixLike, Ranges
from netsim.space.diagram import AND, FALSE, LESS, OR, TERMINALS, TRUE, XOR, Operation
from netsim.space.fields import (
    ADDRESS_FIELDS,
    FIELDS,
    LEVEL_MAXIMA,
    NO_MAC,
    PUBLIC_NAMES,
    CtStatus,
    Direction,
    Family,
    Field,
    Kind,
    Range,
    State,
    TcpFlag,
    complement_ranges,
    dependents,
    interface_prefix,
    interface_value,
    merge_ranges,
)
from netsim.space.packet import Packet, flags_value, protocol_number, state_value
from netsim.space.pool import (
    HALF,
    POOL,
    applies_node,
    bits_node,
    condition_node,
    field_node,
    well_formed_node,
)
from netsim.space.transform import Transformation

if TYPE_CHECKING:
    import netaddr


def _levels(name: str) -> list[int]:
    if name not in PUBLIC_NAMES:
        raise KeyError(f"no field {name!r}; fields are {', '.join(sorted(PUBLIC_NAMES))}")
    names: list[str] = []
    for inner in PUBLIC_NAMES[name]:
        names += [inner, *dependents(inner)]
    return [level for n in dict.fromkeys(names) for level in FIELDS[n].levels]


@attrs.frozen(slots=True)
class Box:
    """A product of ranges: for each restricted field its ranges, for bits fields pairs (care, value).

    `families` are the families of the box's addresses; a field that is not named is free.
    """

    fields: Mapping[str, tuple[Range, ...]]

    def __str__(self) -> str:
        from netsim.space.show import box_text

        return box_text(self)


class PacketSet:
    """An exact set of packets. See the module for the algebra; build one with `packets(...)`."""

    __slots__ = ("__weakref__", "_node")

    def __init__(self, node: int) -> None:
        self._node = node
        if node >= TERMINALS:
            POOL.hold(self)

    @property
    def node(self) -> int:
        """The id of the diagram in `POOL`; for the layers above, inside a question."""
        return self._node

    # Algebra

    def _with(self, operation: Operation, other: object) -> PacketSet:
        if not isinstance(other, PacketSet):
            return NotImplemented  # type: ignore[no-any-return]
        with POOL.lock, POOL.question():
            return PacketSet(POOL.apply(operation, self._node, other._node))

    def __and__(self, other: object) -> PacketSet:
        return self._with(AND, other)

    def __or__(self, other: object) -> PacketSet:
        return self._with(OR, other)

    def __sub__(self, other: object) -> PacketSet:
        return self._with(LESS, other)

    def __xor__(self, other: object) -> PacketSet:
        return self._with(XOR, other)

    def __invert__(self) -> PacketSet:
        with POOL.lock, POOL.question():
            return PacketSet(POOL.negate(self._node))

    def __le__(self, other: object) -> bool:
        if not isinstance(other, PacketSet):
            return NotImplemented
        return not (self - other)

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, PacketSet):
            return NotImplemented
        return self <= other and self != other

    def __ge__(self, other: object) -> bool:
        return other <= self if isinstance(other, PacketSet) else NotImplemented

    def __gt__(self, other: object) -> bool:
        return other < self if isinstance(other, PacketSet) else NotImplemented

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PacketSet):
            return NotImplemented
        with POOL.lock:
            return self._node == other._node

    def __hash__(self) -> int:
        return int.from_bytes(self.digest()[:8], "big", signed=True)

    def digest(self) -> bytes:
        """16 bytes that depend on the set alone, equal in every process."""
        with POOL.lock, POOL.question():
            return POOL.digest(self._node)

    def __bool__(self) -> bool:
        return self._node != FALSE

    def __contains__(self, packet: object) -> bool:
        """Whether every packet that `packet` stands for (its open fields are free) is a member."""
        if not isinstance(packet, Packet):
            return False
        return packet_set(packet) <= self

    def __len__(self) -> int:
        raise TypeError("a packet set has no len(); use count(), which is exact")

    # Values

    def count(self) -> int:
        """How many packets, exactly, over every field of the table (unmodelled variables left out)."""
        with POOL.lock, POOL.question():
            return POOL.count(POOL.apply(AND, self._node, well_formed_node()))

    def sample(self, *, seed: int | None = None) -> Packet | None:
        """A member, or None if there is none. Without a seed, the most ordinary one (always the same)."""
        with POOL.lock, POOL.question():
            node = POOL.apply(AND, self._node, well_formed_node())
            rng = None if seed is None else random.Random(seed)  # noqa: S311
            point = POOL.pick(node, _WISHES if rng is None else _QUIET, rng)
        return None if point is None else Packet.from_point(point)

    def boxes(self, *, limit: int | None = None) -> Iterator[Box]:
        """Disjoint boxes whose union is the set; at most `limit` of them (then they do not exhaust it).

        No memory is given back before the last box was taken or the generator was closed.
        """
        with POOL.question():  # as long as somebody still takes boxes
            for n, path in enumerate(POOL.paths(self._node)):
                if limit is not None and n >= limit:
                    return
                yield _box(path)

    def addresses(self, side: str) -> netaddr.IPSet:
        """The addresses of `"src"` or `"dst"` that occur, as netaddr's set."""
        return addresses.to_ipset(self.address_ranges(side))

    def address_ranges(self, side: str) -> Ranges:
        """The addresses of `"src"` or `"dst"` that occur, by family."""
        if side not in ("src", "dst"):
            raise ValueError(f"addresses of 'src' or 'dst', not {side!r}")
        found: Ranges = {}
        for family in Family:
            field = FIELDS[ADDRESS_FIELDS[side, family]]
            with POOL.lock, POOL.question():
                part = POOL.apply(AND, self._node, field_node(FIELDS["family"], ((family, family),)))
                ranges = _project(part, field)
            if ranges:
                found[family] = ranges
        return found

    def address_counts(self, side: str) -> dict[Family, int]:
        """How many addresses of `"src"` or `"dst"` occur, exactly, by family; also where they are no list of ranges."""
        found: dict[Family, int] = {}
        for family in Family:
            field = FIELDS[ADDRESS_FIELDS[side, family]]
            others = [i for i in range(len(POOL.maxima)) if i not in field.levels]
            with POOL.lock, POOL.question():
                part = POOL.apply(AND, self._node, field_node(FIELDS["family"], ((family, family),)))
                seen = POOL.quantify(part, others, OR)
                count = 0
                for path in POOL.paths(seen):
                    size = 1
                    for level in field.levels:
                        ranges = path.get(level, ((0, POOL.maxima[level]),))
                        size *= sum(high - low + 1 for low, high in ranges)
                    count += size
            if count:
                found[family] = count
        return found

    def values(self, name: str) -> tuple[Range, ...]:
        """The values of an interval field that occur among the packets to which it applies."""
        field = FIELDS[name]
        if field.kind is Kind.BITS:
            raise ValueError(f"{name} is a bits field; look at boxes()")
        with POOL.lock, POOL.question():
            return _project(POOL.apply(AND, self._node, applies_node(name)), field)

    # Forgetting and changing

    def some(self, name: str) -> PacketSet:
        """The packets for which some value of the field is in the set."""
        with POOL.lock, POOL.question():
            return PacketSet(POOL.quantify(self._node, _levels(name), OR))

    def every(self, name: str) -> PacketSet:
        """The packets for which every value of the field is in the set: `~(~s).some(name)`."""
        with POOL.lock, POOL.question():
            return PacketSet(POOL.quantify(self._node, _levels(name), AND))

    def rewrite(self, change: Transformation) -> PacketSet:
        """What comes out of `change` when this set goes in. An empty set stays empty."""
        with POOL.lock, POOL.question():
            return PacketSet(change.image(POOL, self._node))

    def preimage(self, change: Transformation, *, every: bool = False) -> PacketSet:
        """The packets that `change` takes into this set: by some of its choices, or by every one."""
        with POOL.lock, POOL.question():
            return PacketSet(change.preimage(POOL, self._node, AND if every else OR))

    # Showing and keeping

    def lines(self, *, limit: int = 8) -> list[str]:
        """The set as text, one line a box; the last line says how much is left out."""
        from netsim.space.show import set_lines

        return set_lines(self, limit=limit)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def __repr__(self) -> str:
        lines = self.lines(limit=2)
        return f"PacketSet({'; '.join(lines)})"

    def __reduce__(self) -> tuple[Any, ...]:
        with POOL.lock, POOL.question():
            return (_load, POOL.export(self._node))


def _load(root: int, rows: Any) -> PacketSet:
    with POOL.lock, POOL.question():
        return PacketSet(POOL.load(root, rows))


EVERYTHING = PacketSet(TRUE)
NOTHING = PacketSet(FALSE)


def _project(node: int, field: Field) -> tuple[Range, ...]:
    others = [i for i in range(len(POOL.maxima)) if i not in field.levels]
    seen = POOL.quantify(node, others, OR)
    found: list[Range] = []
    for path in POOL.paths(seen):
        found += _joined(field, path)
    return merge_ranges(found)


def _joined(field: Field, path: Mapping[int, tuple[Range, ...]]) -> list[Range]:
    """The values of an interval field on a path, both halves of an IPv6 address put together."""
    if len(field.levels) == 1:
        return list(path.get(field.level, ((0, field.maximum),)))
    tops = path.get(field.levels[0], ((0, HALF),))
    bottoms = path.get(field.levels[1], ((0, HALF),))
    if bottoms == ((0, HALF),):
        return [(low << 64, high << 64 | HALF) for low, high in tops]
    size = sum(high - low + 1 for low, high in tops)
    if size > 65_536:
        raise ValueError("this set's IPv6 addresses are not a list of ranges; look at boxes()")
    return [
        (top << 64 | low, top << 64 | high)
        for first, last in tops
        for top in range(first, last + 1)
        for low, high in bottoms
    ]


def _box(path: Mapping[int, tuple[Range, ...]]) -> Box:
    fields: dict[str, tuple[Range, ...]] = {}
    for name, field in FIELDS.items():
        if not any(level in path for level in field.levels):
            continue
        if field.kind is Kind.BITS:
            care = value = 0
            for i, level in enumerate(field.levels):
                if level in path:
                    bit = 1 << (field.width - 1 - i)
                    care |= bit
                    value |= bit if path[level] == ((1, 1),) else 0
            fields[name] = ((care, value),)
        else:
            try:
                fields[name] = merge_ranges(_joined(field, path))
            except ValueError:  # two halves that are no list of ranges: show them as they are
                fields[name + ".high"] = path.get(field.levels[0], ((0, HALF),))
                fields[name + ".low"] = path.get(field.levels[1], ((0, HALF),))
    return Box(fields)


# The wishes of an ordinary packet, level by level

_ORDINARY: dict[str, tuple[int, ...]] = {
    "state": (State.NEW, State.ESTABLISHED),
    "direction": (Direction.ORIGINAL,),
    "family": (Family.IPV4,),
    "protocol": (6, 17, 1, 58),
    "sport": (40_000, 1024, 53),
    "dport": (443, 80, 5432),
    "icmp_type": (8, 128, 0, 129),
    "length": (60, 84),
    "ttl": (64, 63),
    "tos": (0,),
    "mac": (0x02_00_00_00_00_01, NO_MAC),
}
_ORDINARY_BITS = {"tcp_flags": (TcpFlag.SYN, TcpFlag.ACK)}


def _wishes() -> list[tuple[int, ...]]:
    wishes: list[tuple[int, ...]] = [()] * len(LEVEL_MAXIMA)
    for name, values in _ORDINARY.items():
        wishes[FIELDS[name].level] = tuple(int(v) for v in values)
    flags = FIELDS["tcp_flags"]
    for i, level in enumerate(flags.levels):
        wishes[level] = (int(bool(TcpFlag.SYN >> (flags.width - 1 - i) & 1)),)
    return wishes


_WISHES = _wishes()
_QUIET: list[tuple[int, ...]] = [
    (0,) if level in FIELDS["iif"].levels + FIELDS["oif"].levels + FIELDS["fragment"].levels else ()
    for level in range(len(LEVEL_MAXIMA))
]


# Building sets


def packet_set(packet: Packet) -> PacketSet:
    """The packets that `packet` stands for: one, or all those that agree with it where it is not open."""
    node = TRUE
    with POOL.lock, POOL.question():
        for name, value in packet.values().items():
            if value is None:
                continue
            field = FIELDS[name]
            if field.kind is Kind.BITS:
                test = bits_node(field, (1 << field.width) - 1, value)
            else:
                test = field_node(field, ((value, value),))
            if field.needs:
                test = POOL.apply(AND, test, applies_node(name))
            node = POOL.apply(AND, node, test)
        return PacketSet(node)


Ports = int | str | tuple[int, int] | Iterable[int | tuple[int, int]]


def number_ranges(value: Any, maximum: int, what: str) -> tuple[Range, ...]:
    """`80`, `(80, 90)`, `"80,8000-8080"`, or several of them, as ranges. Raises `ValueError`."""
    if isinstance(value, str):
        parts: list[Range] = []
        for word in value.split(","):
            left, dash, right = word.strip().partition("-")
            if not left.isdecimal() or (dash and not right.isdecimal()) or len(word) > 24:
                raise ValueError(f"{what}: {word.strip()[:40]!r} is not a number or a range low-high")
            parts.append((int(left), int(right) if dash else int(left)))
    elif isinstance(value, int):
        parts = [(value, value)]
    elif isinstance(value, tuple) and len(value) == 2 and all(isinstance(v, int) for v in value):
        parts = [value]
    else:
        parts = [r for v in value for r in number_ranges(v, maximum, what)]
    for low, high in parts:
        if not 0 <= low <= high <= maximum:
            raise ValueError(f"{what}: {low}-{high} is not within 0-{maximum}")
    return merge_ranges(parts)


def packets(
    *,
    src: PrefixLike | Iterable[PrefixLike] | None = None,
    dst: PrefixLike | Iterable[PrefixLike] | None = None,
    protocol: str | int | Iterable[str | int] | None = None,
    sport: Ports | None = None,
    dport: Ports | None = None,
    tcp_flags: str | tuple[str, str] | None = None,
    icmp_type: Ports | None = None,
    icmp_code: Ports | None = None,
    iif: str | Iterable[str] | None = None,
    oif: str | Iterable[str] | None = None,
    state: str | State | Iterable[str | State] | None = None,
    direction: Direction | None = None,
    family: Family | int | None = None,
    length: Ports | None = None,
    ttl: Ports | None = None,
    tos: Ports | None = None,
    mark: int | tuple[int, int] | None = None,
    fragment: bool | None = None,
) -> PacketSet:
    """The packets that agree with every argument; without arguments, all packets.

    Addresses are prefixes, ranges, netaddr or ipaddress objects, or several of them; a family to which
    one side's argument gives no address is excluded. Ports are numbers, pairs, or text such as
    `"80,8000-8080"`. `tcp_flags` is `"SYN"` (exactly these) or `("SYN,ACK", "SYN")` (of these, exactly
    those). `mark` is a value or `(value, mask)`. An interface ending in `+` is a prefix. An empty
    iterable makes an empty set. Raises `ValueError`.
    """
    nodes: list[int] = []
    with POOL.lock, POOL.question():
        for side, wanted in (("src", src), ("dst", dst)):
            if wanted is not None:
                nodes.append(_address_node(side, addresses.ranges(wanted)))
        if protocol is not None:
            numbers = [protocol] if isinstance(protocol, str | int) else list(protocol)
            values = [protocol_number(p) for p in numbers]
            nodes.append(field_node(FIELDS["protocol"], merge_ranges([(v, v) for v in values])))
        for name, value in (
            ("sport", sport),
            ("dport", dport),
            ("icmp_type", icmp_type),
            ("icmp_code", icmp_code),
            ("length", length),
            ("ttl", ttl),
            ("tos", tos),
        ):
            if value is not None:
                top = FIELDS[name].maximum
                nodes.append(condition_node(name, number_ranges(value, top, name)))
        for name, names in (("iif", iif), ("oif", oif)):
            if names is not None:
                each = [names] if isinstance(names, str) else list(names)
                ranges = merge_ranges([interface_range(n) for n in each])
                nodes.append(field_node(FIELDS[name], ranges))
        if state is not None:
            each_state = [state] if isinstance(state, str | State) else list(state)
            found = [int(state_value(s)) for s in each_state]
            nodes.append(field_node(FIELDS["state"], merge_ranges([(s, s) for s in found])))
        for name, one in (("direction", direction), ("family", family)):
            if one is not None:
                number = {4: 0, 6: 1}.get(int(one), int(one)) if name == "family" else int(one)
                nodes.append(field_node(FIELDS[name], ((number, number),)))
        if tcp_flags is not None:
            mask, flags = ("ALL,ECE,CWR", tcp_flags) if isinstance(tcp_flags, str) else tcp_flags
            test = bits_node(FIELDS["tcp_flags"], flags_value(mask), flags_value(flags))
            nodes.append(POOL.apply(AND, applies_node("tcp_flags"), test))
        if mark is not None:
            value_, mask_ = (mark, 0xFFFFFFFF) if isinstance(mark, int) else mark
            nodes.append(bits_node(FIELDS["mark"], mask_, value_))
        if fragment is not None:
            nodes.append(bits_node(FIELDS["fragment"], 1, int(fragment)))
        return PacketSet(POOL.fold(AND, nodes, TRUE))


def interface_range(name: str) -> Range:
    """The values of an interface name, or of the names that begin with it if it ends in `+`."""
    if name.endswith("+"):
        return interface_prefix(name[:-1])
    return (interface_value(name),) * 2


def _address_node(side: str, found: Ranges) -> int:
    parts = [condition_node(ADDRESS_FIELDS[side, family], ranges) for family, ranges in found.items()]
    return POOL.fold(OR, parts)


def address_set(side: str, found: Ranges) -> PacketSet:
    """The packets whose `"src"` or `"dst"` address is in some ranges."""
    with POOL.lock, POOL.question():
        return PacketSet(_address_node(side, found))


__all__ = [
    "EVERYTHING",
    "NOTHING",
    "Box",
    "CtStatus",
    "PacketSet",
    "complement_ranges",
    "packet_set",
    "packets",
]

"""Transformations: how NAT, marks and header targets change a packet, as values that compose.

Theory of operation. A transformation maps levels of the packet after it to functions of the packet
before it: a constant, a shifted value, a parity of bits, or a free choice of ranges. What it does not
name stays. `first.then(second)` is one transformation again; `preimage` pulls a set (or a chain's
outcomes) back through it, so that every later filter is expressed in the sender's header.

A choice that is read twice (through a copy) is treated as two choices: the possible answers may then be
too many, never too few.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from functools import lru_cache

import attrs

from netsim.space.diagram import (
    AND,
    FALSE,
    OR,
    TERMINALS,
    TRUE,
    UNION,
    XOR,
    Choice,
    Const,
    LevelMap,
    Operation,
    Parity,
    Pool,
    Shift,
)
from netsim.space.fields import FIELDS, LEVEL_MAXIMA, Kind, Range, merge_ranges

_HALF = (1 << 64) - 1


class Done(Enum):
    """What a translation has done, besides what it has changed."""

    TRANSLATED = "translated"
    REDIRECTED = "redirected"  # to the device, at an address that is not known yet


@attrs.frozen(slots=True, cache_hash=True)
class Transformation:
    """`maps` is sorted by level. The empty one is the identity, `IDENTITY`.

    `done` says what the packet has gone through that its fields do not tell: a translation, even one that changes
    nothing. Warm questions compose and pull back the same transformations again, so both are remembered.
    """

    maps: tuple[tuple[int, LevelMap], ...] = ()
    done: Done | None = None

    @classmethod
    def of(cls, maps: Mapping[int, LevelMap], done: Done | None = None) -> Transformation:
        """Canonical: sorted, and without levels that keep their value."""
        return cls(tuple(sorted(((k, m) for k, m in maps.items() if not _keeps(k, m)), key=_level)), done)

    def __bool__(self) -> bool:
        return bool(self.maps) or self.done is not None

    def then(self, second: Transformation) -> Transformation:
        """First this one, then `second`."""
        if not second:
            return self
        if not self:
            return second
        return _then(self, second)

    def without(self, levels: Collection[int]) -> Transformation:
        """What this transformation does to all levels but some, which keep the sender's values."""
        return Transformation(tuple((k, m) for k, m in self.maps if k not in levels))

    def only(self, levels: Collection[int]) -> Transformation:
        """What this transformation does to some levels: equal for functions that test no others."""
        return Transformation(tuple((k, m) for k, m in self.maps if k in levels))

    def preimage(self, pool: Pool, node: int, choices: Operation = UNION) -> int:
        """The function `node` of the packet after, as a function of the packet before."""
        if not self.maps or node < TERMINALS:
            return node
        key = (self, node, choices.code)
        found = pool.preimages.get(key)
        if found is None:
            found = pool.substitute(node, dict(self.maps), choices)
            if len(pool.preimages) >= PREIMAGES:
                pool.preimages.clear()
            pool.preimages[key] = found
        return found

    def image(self, pool: Pool, node: int) -> int:
        """The set of packets that come out when the set `node` goes in."""
        remaining = dict(self.maps)
        while remaining:
            # A level may be overwritten once no other level still reads it.
            ready = [
                level
                for level in remaining
                if not any(level in _sources(by) for k, by in remaining.items() if k != level)
            ]
            if not ready:  # two levels exchange their values
                level, _by = next((k, m) for k, m in remaining.items() if isinstance(m, Shift | Parity))
                return self._exchange(pool, node)
            level = ready[0]
            node = _image(pool, node, level, remaining.pop(level))
        return node

    def _exchange(self, pool: Pool, node: int) -> int:
        """The image where levels read one another in a circle: by paths, exact and slow."""
        maps = dict(self.maps)
        result = 0
        involved = set(maps) | {s for m in maps.values() for s in _sources(m)}
        for path in pool.paths(node):
            fixed = dict(path.items())
            for box in _atoms(fixed, involved, maps):
                piece = TRUE
                for level in sorted(box, reverse=True):
                    piece = pool.apply(AND, piece, pool.interval(level, box[level]))
                result = pool.apply(OR, result, piece)
        return result

    def at(self, point: Sequence[int]) -> list[int | None]:
        """The packet after, level by level; None where it is somebody else's choice."""
        result: list[int | None] = list(point)
        for level, by in self.maps:
            match by:
                case Const(value):
                    result[level] = value
                case Choice(ranges):
                    one = len(ranges) == 1 and ranges[0][0] == ranges[0][1]
                    result[level] = ranges[0][0] if one else None
                case Shift(source, pieces):
                    value = point[source]
                    result[level] = next(value + d for lo, hi, d in pieces if lo <= value <= hi)
                case Parity(terms, constant):
                    result[level] = (sum(point[t] for t in terms) + constant) % 2
        return result

    def level_map(self, level: int) -> LevelMap | None:
        """What stands in the place of a level; None if it stays."""
        for k, by in self.maps:
            if k == level:
                return by
        return None


def agreement(pool: Pool, first: Transformation, second: Transformation, ignored: Collection[int]) -> int:
    """The packets of which two transformations make the same packet, `ignored` levels left aside.

    Free choices agree if they are between the same values. Two copies of different levels are taken
    to disagree, as are more than `PAIRED` bits that would have to equal others (a mark that is another one: such
    a diagram doubles with each bit), so the set may be too small and is never too large. Equal transformations
    agree everywhere.
    """
    node = TRUE
    one, two = dict(first.maps), dict(second.maps)
    paired = 0
    for level in (one.keys() | two.keys()) - set(ignored):
        a, b = one.get(level), two.get(level)
        free = isinstance(a, Choice) or isinstance(b, Choice)
        if a != b and not free and (isinstance(a, Parity) or isinstance(b, Parity)):
            paired += len(set(_bit(a, level)[0]) ^ set(_bit(b, level)[0])) > 1
    if paired > PAIRED:
        return FALSE
    for level in sorted((one.keys() | two.keys()) - set(ignored), reverse=True):
        a, b = one.get(level), two.get(level)
        if a != b:
            node = pool.apply(AND, node, _agree(pool, level, a, b))
    return node


def _agree(pool: Pool, level: int, a: LevelMap | None, b: LevelMap | None) -> int:
    """Where two maps of one level give it the same value; None keeps it."""
    if isinstance(a, Choice) or isinstance(b, Choice):
        return TRUE if a == b else FALSE
    if isinstance(a, Parity) or isinstance(b, Parity):
        odd = FALSE
        for by in (a, b):
            terms, constant = _bit(by, level)
            odd = pool.apply(XOR, odd, TRUE if constant else FALSE)
            for term in terms:
                odd = pool.apply(XOR, odd, pool.interval(term, ((1, 1),)))
        return pool.negate(odd)
    whole = ((0, pool.maxima[level], 0),)
    a, b = a or Shift(level, whole), b or Shift(level, whole)
    if isinstance(a, Const):
        a, b = b, a
    if isinstance(a, Const):
        return TRUE if a == b else FALSE
    if isinstance(b, Const):
        same = [(b.value - d, b.value - d) for low, high, d in a.pieces if low <= b.value - d <= high]
    elif a.source != b.source:
        return FALSE
    else:
        same = [
            (max(low, lo), min(high, hi))
            for low, high, delta in a.pieces
            for lo, hi, other in b.pieces
            if delta == other and lo <= high and low <= hi
        ]
    return pool.interval(a.source, merge_ranges(same))


def _bit(by: LevelMap | None, level: int) -> tuple[tuple[int, ...], int]:
    """A map of a bit level as a parity."""
    match by:
        case Parity(terms, constant):
            return terms, constant
        case Const(value):
            return (), value
        case Shift(source, ((0, 1, 0),)):
            return (source,), 0
        case None:
            return (level,), 0
    raise TypeError("a bit level is not shifted")


IDENTITY = Transformation()
PAIRED = 12
"""How many bits may have to equal other bits for two transformations to agree."""
NETWORKS = 4096
"""Of how many networks one transformation can say where each of their addresses goes."""
PREIMAGES = 100_000
"""How many preimages a pool remembers before it forgets them all."""


@lru_cache(maxsize=16_384)
def _then(first: Transformation, second: Transformation) -> Transformation:
    mine = dict(first.maps)
    result = dict(mine)
    for level, by in second.maps:
        result[level] = _read(by, mine)
    return Transformation.of(result, second.done or first.done)


def _level(item: tuple[int, LevelMap]) -> int:
    return item[0]


def _keeps(level: int, by: LevelMap) -> bool:
    match by:
        case Parity(terms, constant):
            return terms == (level,) and not constant
        case Shift(source, pieces):
            return source == level and all(d == 0 for _, _, d in pieces)
        case _:
            return False


def _sources(by: LevelMap) -> tuple[int, ...]:
    match by:
        case Shift(source, _):
            return (source,)
        case Parity(terms, _):
            return terms
        case _:
            return ()


def _read(by: LevelMap, first: Mapping[int, LevelMap]) -> LevelMap:
    """`by`, whose sources are packets after `first`, with sources before it."""
    match by:
        case Shift(source, pieces):
            match first.get(source):
                case None:
                    return by
                case Const(value):
                    return Const(next(value + d for lo, hi, d in pieces if lo <= value <= hi))
                case Choice(ranges, fixed):
                    image = [
                        (max(lo, a) + d, min(hi, b) + d)
                        for lo, hi, d in pieces
                        for a, b in ranges
                        if lo <= b and a <= hi
                    ]
                    return Choice(merge_ranges(image), fixed)
                case Shift(origin, earlier):
                    return Shift(origin, _chain(earlier, pieces))
                case Parity():
                    raise TypeError("a bit level is not shifted")
            raise AssertionError
        case Parity(terms, constant):
            odd: dict[int, None] = {}
            for term in terms:
                earlier_bit = first.get(term)
                if earlier_bit is None:
                    _toggle(odd, term)
                elif isinstance(earlier_bit, Const):
                    constant ^= earlier_bit.value
                elif isinstance(earlier_bit, Parity):
                    constant ^= earlier_bit.constant
                    for origin in earlier_bit.terms:
                        _toggle(odd, origin)
                else:  # a chosen bit: so is everything computed from it
                    return Choice(((0, 1),))
            return Parity(tuple(sorted(odd)), constant)
        case _:
            return by


def _toggle(odd: dict[int, None], term: int) -> None:
    if term in odd:
        del odd[term]
    else:
        odd[term] = None


def _chain(
    earlier: tuple[tuple[int, int, int], ...], later: tuple[tuple[int, int, int], ...]
) -> tuple[tuple[int, int, int], ...]:
    result: list[tuple[int, int, int]] = []
    for low, high, delta in earlier:
        for a, b, more in later:
            start, stop = max(low, a - delta), min(high, b - delta)
            if start > stop:
                continue
            if result and result[-1][1] + 1 == start and result[-1][2] == delta + more:
                result[-1] = (result[-1][0], stop, delta + more)
            else:
                result.append((start, stop, delta + more))
    return tuple(result)


def _image(pool: Pool, node: int, level: int, by: LevelMap) -> int:
    match by:
        case Const(value):
            test = pool.interval(level, ((value, value),))
            return pool.apply(AND, pool.quantify(node, (level,), OR), test)
        case Choice(ranges):
            test = pool.interval(level, ranges)
            return pool.apply(AND, pool.quantify(node, (level,), OR), test)
        case Parity(terms, constant):
            others = [t for t in terms if t != level]
            odd = TRUE if constant else 0
            for term in others:
                odd = pool.apply(XOR, odd, pool.interval(term, ((1, 1),)))
            if level in terms:  # flipped where `odd`
                flipped = pool.substitute(node, {level: Parity((level,), 1)}, OR)
                return pool.choose(odd, flipped, node)
            new = pool.negate(pool.apply(XOR, pool.interval(level, ((1, 1),)), odd))
            return pool.apply(AND, pool.quantify(node, (level,), OR), new)
        case Shift(source, pieces):
            parts = []
            for low, high, delta in pieces:
                part = pool.apply(AND, node, pool.interval(source, ((low, high),)))
                if not part:
                    continue
                if source == level:
                    parts.append(_moved(pool, part, level, low, high, delta))
                else:
                    parts.append(_copied(pool, part, source, level, delta))
            return pool.fold(OR, parts)


def _moved(pool: Pool, node: int, level: int, low: int, high: int, delta: int) -> int:
    """`node`, which lies within [low, high] of `level`, moved by delta."""
    top = pool.maxima[level]
    pieces: list[tuple[int, int, int]] = []
    if low + delta > 0:
        pieces.append((0, low + delta - 1, 0))
    pieces.append((low + delta, high + delta, -delta))
    if high + delta < top:
        pieces.append((high + delta + 1, top, 0))
    moved = pool.substitute(node, {level: Shift(level, tuple(pieces))}, OR)
    return pool.apply(AND, moved, pool.interval(level, ((low + delta, high + delta),)))


def _copied(pool: Pool, node: int, source: int, level: int, delta: int) -> int:
    """`level` becomes `source` + delta: a relation between two levels, value range by value range."""
    free = pool.quantify(node, (level,), OR)
    values = level_values(pool, free, source)
    if sum(hi - lo + 1 for lo, hi in values) > 65_536:
        raise ValueError("a copy of so many values is not a set of boxes; ask with preimage instead")
    parts = []
    for low, high in values:
        for value in range(low, high + 1):
            one = pool.apply(AND, free, pool.interval(source, ((value, value),)))
            there = pool.interval(level, ((value + delta, value + delta),))
            parts.append(pool.apply(AND, one, there))
    return pool.fold(OR, parts)


def level_values(pool: Pool, node: int, level: int) -> tuple[Range, ...]:
    """The values of a level that occur in a set."""
    others = [i for i in range(len(pool.maxima)) if i != level]
    seen = pool.quantify(node, others, OR)
    if seen == TRUE:
        return ((0, pool.maxima[level]),)
    return next((path[level] for path in pool.paths(seen)), ())


def _atoms(
    fixed: Mapping[int, tuple[Range, ...]], involved: set[int], maps: Mapping[int, LevelMap]
) -> list[dict[int, tuple[Range, ...]]]:
    """The images of a box under maps that only exchange whole levels (swap of source and destination)."""
    box = dict(fixed)
    for level, by in maps.items():
        box.pop(level, None)
        match by:
            case Const(value):
                box[level] = ((value, value),)
            case Choice(ranges):
                box[level] = ranges
            case Shift(source, pieces) if len(pieces) == 1:
                delta = pieces[0][2]
                if sum(1 for m in maps.values() if source in _sources(m)) > 1 or (
                    source not in maps and source in fixed
                ):
                    raise ValueError("a copy is not a set of boxes; ask with preimage instead")
                ranges = fixed.get(source, ((0, LEVEL_MAXIMA[source]),))
                box[level] = tuple((lo + delta, hi + delta) for lo, hi in ranges)
            case Parity(terms, constant) if len(terms) == 1:
                bits = fixed.get(terms[0])
                if bits is not None and bits != ((0, 1),):
                    bit = bits[0][0] ^ constant
                    box[level] = ((bit, bit),)
            case _:
                raise ValueError("this exchange is not a set of boxes; ask with preimage instead")
    assert involved
    return [box]


# Building transformations from fields


def constant(field: str, value: int) -> Transformation:
    """The field becomes `value`."""
    return Transformation.of(dict(_constant(field, value)))


def _constant(field: str, value: int) -> list[tuple[int, LevelMap]]:
    row = FIELDS[field]
    if row.kind is Kind.BITS:
        return [(level, Parity((), (value >> (row.width - 1 - i)) & 1)) for i, level in enumerate(row.levels)]
    if len(row.levels) == 2:
        return [(row.levels[0], Const(value >> 64)), (row.levels[1], Const(value & _HALF))]
    return [(row.level, Const(value))]


def choice(field: str, ranges: tuple[Range, ...], *, fixed: bool = False) -> Transformation | None:
    """The field becomes any value of `ranges` (see `Choice`); None if that is no product of two IPv6 halves."""
    row = FIELDS[field]
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        return constant(field, ranges[0][0])
    if len(row.levels) == 1:
        return Transformation.of({row.level: Choice(ranges, fixed)})
    uppers = {bound >> 64 for r in ranges for bound in r}
    if len(uppers) == 1:
        low = tuple((lo & _HALF, hi & _HALF) for lo, hi in ranges)
        return Transformation.of({row.levels[0]: Const(uppers.pop()), row.levels[1]: Choice(low, fixed)})
    if all(lo & _HALF == 0 and hi & _HALF == _HALF for lo, hi in ranges):
        high = tuple((lo >> 64, hi >> 64) for lo, hi in ranges)
        return Transformation.of(
            {row.levels[0]: Choice(high, fixed), row.levels[1]: Choice(((0, _HALF),), fixed)}
        )
    return None


def table(field: str, values: Sequence[int]) -> Transformation:
    """The field becomes `values[field]`; one value for each of its (few) values."""
    row = FIELDS[field]
    pieces: list[tuple[int, int, int]] = []
    for value, new in enumerate(values):
        delta = new - value
        if pieces and pieces[-1][2] == delta:
            pieces[-1] = (pieces[-1][0], value, delta)
        else:
            pieces.append((value, value, delta))
    return Transformation.of({row.level: Shift(row.level, tuple(pieces))})


def bits(field: str, keep: int, value: int, source: str = "", mask: int = 0) -> Transformation:
    """`field = (field & keep) ^ (source & mask) ^ value`."""
    row = FIELDS[field]
    origin = FIELDS[source] if source else None
    maps: dict[int, LevelMap] = {}
    for i, level in enumerate(row.levels):
        shift = row.width - 1 - i
        odd: dict[int, None] = {}
        if keep >> shift & 1:
            _toggle(odd, level)
        if origin is not None and mask >> shift & 1:
            _toggle(odd, origin.levels[i])
        maps[level] = Parity(tuple(sorted(odd)), value >> shift & 1)
    return Transformation.of(maps)


def network(
    field: str, prefix_network: int, prefix: int, sources: tuple[Range, ...]
) -> Transformation | None:
    """The network part of `field` becomes `prefix_network`; only addresses in `sources` are of interest.

    None if `sources` spans more than `NETWORKS` networks of that size.
    """
    row = FIELDS[field]
    if len(row.levels) == 1:
        by = _remap(row.level, prefix_network, prefix, 32, sources)
        return None if by is None else Transformation.of({row.level: by})
    high, low = row.levels
    if prefix <= 64:
        tops = merge_ranges([(lo >> 64, hi >> 64) for lo, hi in sources])
        by = _remap(high, prefix_network >> 64, prefix, 64, tops)
        return None if by is None else Transformation.of({high: by})
    bottoms = merge_ranges(
        [(lo & _HALF, hi & _HALF) if lo >> 64 == hi >> 64 else (0, _HALF) for lo, hi in sources]
    )
    by = _remap(low, prefix_network & _HALF, prefix - 64, 64, bottoms)
    if by is None:
        return None
    return Transformation.of({high: Const(prefix_network >> 64), low: by})


def _remap(level: int, net: int, prefix: int, width: int, sources: tuple[Range, ...]) -> Shift | Const | None:
    if prefix == width:
        return Const(net)
    size = 1 << (width - prefix)
    blocks: list[int] = []
    for low, high in sources:
        first, last = low // size, high // size
        if last - first >= NETWORKS or len(blocks) >= NETWORKS:
            return None
        blocks.extend(range(first, last + 1))
    pieces: list[tuple[int, int, int]] = []
    start = 0
    for block in sorted(set(blocks)):
        low = block * size
        if low > start:
            pieces.append((start, low - 1, 0))
        pieces.append((low, low + size - 1, net - low))
        start = low + size
    top = (1 << width) - 1
    if start <= top:
        pieces.append((start, top, 0))
    return Shift(level, tuple(pieces))

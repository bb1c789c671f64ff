"""What devices remember of connections: how an opening packet crossed them, and which answers they know by it.

Connection tracking keeps the ends of an opening packet as it left, with what they were before. An answer with those ends
exchanged belongs to the connection: it is established, and gets the ends back that the opening packet had (Linux,
nf_conntrack and nf_nat; RFC 5382, section 3, for what translators owe to answers).
"""

from __future__ import annotations

from functools import lru_cache

import attrs

from netsim.space.diagram import TRUE, LevelMap, Shift
from netsim.space.fields import ADDRESS_FIELDS, FIELDS, LEVEL_MAXIMA, CtStatus, Family
from netsim.space.pool import POOL, remembered
from netsim.space.transform import Transformation, agreement


@attrs.frozen(slots=True)
class Crossing:
    """How an opening packet went through a device: its header before, its ends after, and what the device keeps."""

    device: str
    group: str
    before: Transformation
    after: Transformation
    ctmark: tuple[tuple[int, LevelMap], ...]
    status: int
    entry: bool

    @property
    def translated(self) -> bool:
        """Whether the device has translated the packet, as far as that is certain."""
        return bool(self.status & (CtStatus.SNAT | CtStatus.DNAT))


@remembered(4096)
def answers(change: Transformation, after: Transformation, family: Family) -> int:
    """The packets whose answer, which is `change` of them, has the ends exchanged with which they left (`after`)."""
    wanted: dict[int, LevelMap] = {}
    for a, b in ((ADDRESS_FIELDS["src", family], ADDRESS_FIELDS["dst", family]), ("sport", "dport")):
        for to, source in ((a, b), (b, a)):
            for level, origin in zip(FIELDS[to].levels, FIELDS[source].levels, strict=True):
                by = after.level_map(origin)
                wanted[level] = by if by is not None else Shift(origin, ((0, LEVEL_MAXIMA[origin], 0),))
    if all(change.level_map(level) == by for level, by in wanted.items()):
        return TRUE
    others = [level for level in range(len(LEVEL_MAXIMA)) if level not in wanted]
    return agreement(POOL, change, Transformation.of(wanted), others)


def restored(change: Transformation, crossing: Crossing, to: str, source: str) -> Transformation:
    """One end of an answer as the opening packet had it before the device translated it."""
    return _restored(change, crossing.before, to, source)


@lru_cache(maxsize=16_384)
def _restored(change: Transformation, before: Transformation, to: str, source: str) -> Transformation:
    maps = dict(change.maps)
    names = [(ADDRESS_FIELDS[to, f], ADDRESS_FIELDS[source, f]) for f in Family]
    names.append((f"{to[0]}port", f"{source[0]}port"))
    for target, origin in names:
        for level, from_level in zip(FIELDS[target].levels, FIELDS[origin].levels, strict=True):
            by = before.level_map(from_level)
            maps[level] = by if by is not None else Shift(from_level, ((0, LEVEL_MAXIMA[from_level], 0),))
    return Transformation.of(maps)


__all__ = ["Crossing", "answers", "restored"]

"""What became of packets, as diagrams in the sender's header: came through, was stopped, or perhaps.

Algebra. `through` and `stopped` may overlap, where packets have several ways; `perhaps` are those of
which something unmodelled decides. Of the packets asked about, those only through are allowed, those
only stopped are blocked, those with both are split, and the rest, `perhaps` first of all, is unknown. A
condition that is the same for one packet everywhere is a variable of the diagrams: what is said must
hold for all of its values. Of nothing asked nothing is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from netsim.queries.traffic import misdirected
from netsim.space.diagram import AND, FALSE, LESS, OR
from netsim.space.fields import Family
from netsim.space.pool import POOL, VARIABLE_LEVELS

if TYPE_CHECKING:
    from netsim.queries.travellers import Traveller


@attrs.define
class Leaves:
    """Diagrams in the sender's header."""

    through: int = FALSE
    stopped: int = FALSE
    perhaps: int = FALSE

    @classmethod
    def of(cls, t: Traveller) -> Leaves:
        """A traveller at its end."""
        return cls(through=t.packets) if t.sure else cls(perhaps=t.packets)

    @classmethod
    def of_answer(cls, t: Traveller, family: Family) -> Leaves:
        """An answer that came back: what its receiver waits for came through, anything else did not."""
        wrong, surely = misdirected(t.change, family)
        lost = POOL.apply(AND, t.packets, wrong)
        if not lost:
            return cls.of(t)
        rest = POOL.apply(LESS, t.packets, lost)
        if not t.sure or not surely:
            return cls(through=rest, perhaps=lost) if t.sure else cls(perhaps=t.packets)
        return cls(through=rest, stopped=lost)

    def add(self, other: Leaves) -> None:
        """Join what became of other packets, or of the same ones on other ways."""
        self.through = POOL.apply(OR, self.through, other.through)
        self.stopped = POOL.apply(OR, self.stopped, other.stopped)
        self.perhaps = POOL.apply(OR, self.perhaps, other.perhaps)

    def doubted(self) -> Leaves:
        """The same, of packets that perhaps do not take these ways."""
        either = POOL.apply(OR, self.through, self.stopped)
        return Leaves(perhaps=POOL.apply(OR, either, self.perhaps))

    def verdict(self, asked: int) -> tuple[int, int, int]:
        """Allowed, blocked and split of the packets asked about; the rest of them is unknown."""
        a, b, m = self.through, self.stopped, self.perhaps
        ok = POOL.apply(LESS, a, POOL.apply(OR, b, m))
        no = POOL.apply(LESS, POOL.apply(LESS, b, a), m)
        part = POOL.apply(LESS, POOL.apply(AND, a, b), m)
        found = [POOL.apply(AND, asked, POOL.quantify(n, VARIABLE_LEVELS, AND)) for n in (ok, no, part)]
        return found[0], found[1], found[2]


__all__ = ["Leaves"]

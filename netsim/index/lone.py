"""A hook at which one filter decides and nothing else does anything: sets without a journey.

There a packet's outcomes are one function of what comes to the filter, and fixed elsewhere (another family, fragments,
a TTL that ends). So answers about large lists cost one pass over the function, where a journey, which also
says what leaves and why, costs ten. The twin is `Flow.journey`.
"""

from __future__ import annotations

import attrs

from netsim.space.diagram import FALSE, LESS, OR, TERMINALS, TRUE, UNION, WITHIN
from netsim.space.operations import coded, first_of, pair_of
from netsim.space.pool import POOL

MASKS = tuple(range(TERMINALS))
"""Every mask stays what it is."""
WAYS = TERMINALS - 1
"""How many ways to differ one diagram can tell apart."""


@attrs.frozen(slots=True)
class Lone:
    """The outcomes of a set: those of `function` inside `coming`, `beside` elsewhere (0 inside, and outside the set)."""

    asked: int
    coming: int
    function: int
    beside: int

    def outcomes(self, terminals: tuple[int, ...] = MASKS) -> int:
        """The outcome masks, each replaced by its one of `terminals`; 0 stays 0."""
        if self.asked == TRUE:
            return POOL.apply(first_of(terminals), self.beside, self.function)
        node = POOL.apply(UNION, POOL.apply(WITHIN, self.coming, self.function), self.beside)
        return node if terminals == MASKS else POOL.relabel(node, terminals)

    def apart(self, other: Lone, less: int = FALSE) -> list[tuple[int, int, int]] | None:
        """The packets of which two filters make different outcomes, without the set `less`: (mask, other's mask, packets).

        None if there are more ways to differ than a diagram can tell apart.
        """
        if (self.coming, self.beside) == (other.coming, other.beside):
            one, two = POOL.apply(WITHIN, POOL.apply(LESS, self.coming, less), self.function), other.function
        else:
            either = POOL.apply(LESS, POOL.fold(OR, [self.asked, other.asked]), less)
            one, two = POOL.apply(WITHIN, either, self.outcomes()), other.outcomes()
        masks = sorted(POOL.terminals(one) - {0}), sorted(POOL.terminals(two) - {0})
        ways = tuple((was, now) for was in masks[0] for now in masks[1] if was != now)
        if len(ways) > WAYS:
            return None
        if len(ways) > 2:
            every = POOL.apply(coded(ways), one, two)
            there = POOL.terminals(every)
            found = [
                (was, now, POOL.where(every, lambda t, n=n: t == n) if n in there else FALSE)  # type: ignore[misc]
                for n, (was, now) in enumerate(ways, 1)
            ]
        else:
            found = [(was, now, POOL.apply(pair_of(was, now), one, two)) for was, now in ways]
        return [each for each in found if each[2]]


__all__ = ["MASKS", "Lone"]

"""The search for the fewest lines, shared by opening and closing.

Theory of operation. Every candidate is one edited line that was put into the network and traced: `does` is what it
achieves by itself, among the goals of its rule set (for opening: the chains that no longer drop part of the
packets). Lines of different rule sets do not touch each other's goals, so each rule set is covered alone, with
as few candidates as possible: all sets of one, then of two, and so on, over what they achieve. A set that covers is
judged as a whole by comparing the rule set before and after: what is lost besides, what is let
through besides, then how near the lines are to the rules that block, and how much they say.

Costs: one trace for a candidate, one comparison for a set that is judged; `TRIES` and `JUDGED` bound both, and where they
cut, the answer says so.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import combinations, islice, product

import attrs

from netsim.queries.fix.model import EditKind
from netsim.queries.fix.place import Effect, Proposal

TRIES = 2_000
"""How many single lines are tried."""
JUDGED = 256
"""How many sets of lines of one rule set are judged by comparison."""

Progress = Callable[[int, int], object]


@attrs.frozen(slots=True, eq=False)
class Candidate:
    """Lines that stand or fall together, most often one, and what they achieve: a set of goals.

    `far` is how far they are from the rules that decide now, `home` False in a chain that only drops.
    """

    lines: tuple[Proposal, ...]
    does: frozenset[Hashable]
    far: int = 0
    home: bool = True

    def __len__(self) -> int:
        return len(self.lines)


_RANK = {EditKind.DELETE: 0, EditKind.INSERT: 1, EditKind.REPLACE: 2}


def worth(chosen: Sequence[Candidate], effect: Effect, *, closing: bool = False) -> tuple[int, ...]:
    """What a set of lines costs; smaller is better.

    Opening: what is lost, then what is let through besides. Closing: what is let through, then what is lost besides.
    """
    gained, lost, changed = (p.count() for p in (effect.gained, effect.lost, effect.changed))
    first, second = (gained, lost) if closing else (lost, gained)
    return (
        first,
        second,
        changed,
        sum(not c.home for c in chosen),
        sum(c.far for c in chosen),
        sum(len(p.conditions) for c in chosen for p in c.lines),
        sum(_RANK[p.kind] for c in chosen for p in c.lines),
    )


@attrs.frozen(slots=True, eq=False)
class Covers:
    """The sets of candidates with the fewest lines that achieve all goals; how many sets were looked at."""

    lines: int
    sets: tuple[tuple[Candidate, ...], ...]
    looked: int
    complete: bool


def covers(goals: frozenset[Hashable], candidates: Sequence[Candidate]) -> Covers:
    """The smallest sets of candidates that achieve all goals together. No goals: one empty set."""
    if not goals:
        return Covers(0, ((),), 1, True)
    groups: dict[tuple[frozenset[Hashable], int], list[Candidate]] = {}
    for c in candidates:
        done = c.does & goals
        if done:
            groups.setdefault((done, len(c)), []).append(c)
    looked = 0
    sizes = sorted(groups, key=lambda g: g[1])
    for lines in range(1, max([len(goals), *(n for _, n in sizes)], default=0) * 2 + 1):
        found: list[tuple[Candidate, ...]] = []
        complete = True
        for chosen in _sets(sizes, lines):
            looked += 1
            if frozenset().union(*(done for done, _ in chosen)) >= goals:
                room = JUDGED - len(found)
                members = product(*(groups[g] for g in chosen))
                found += islice(members, room)
                complete = complete and next(members, None) is None
        if found:
            return Covers(lines, tuple(found), looked, complete)
    return Covers(0, (), looked, True)


def _sets(
    groups: Sequence[tuple[frozenset[Hashable], int]], lines: int
) -> Iterator[tuple[tuple[frozenset[Hashable], int], ...]]:
    """The sets of groups that need exactly so many lines."""
    for size in range(1, min(lines, len(groups)) + 1):
        for chosen in combinations(groups, size):
            if sum(n for _, n in chosen) == lines:
                yield chosen


__all__ = ["JUDGED", "TRIES", "Candidate", "Covers", "Progress", "covers", "worth"]

"""The vocabulary of decision diagrams: terminals, operations on them, and what replaces a level.

A *terminal* is a small integer: 0 and 1 for sets, a mask of outcomes for chains. An operation is a table
over two terminals with what one operand alone decides; both engines read the same tables.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from functools import lru_cache

import attrs

from netsim.space.fields import Range

TERMINALS = 32
FALSE, TRUE = 0, 1
NONE, LEFT, RIGHT = -1, -2, -3


class Operation:
    """A binary operation on terminals, with what is known before looking at nodes.

    `left[a]` and `right[b]` say what the result is when one side is a terminal: a terminal, `LEFT` or
    `RIGHT` for the operand itself, `NONE` if the nodes must be looked at. `same` likewise for a == b.
    """

    def __init__(
        self,
        code: int,
        function: Callable[[int, int], int],
        *,
        left: Mapping[int, int],
        right: Mapping[int, int],
        same: int,
        commutative: bool,
    ) -> None:
        self.code = code
        self.table = [function(a, b) for a in range(TERMINALS) for b in range(TERMINALS)]
        self.left = [left.get(a, NONE) for a in range(TERMINALS)]
        self.right = [right.get(b, NONE) for b in range(TERMINALS)]
        self.same = same
        self.commutative = commutative


NEXT = 1  # the outcome bit that override replaces; the same as in rules.model

AND = Operation(
    0,
    lambda a, b: a & b,
    left={0: 0, 1: RIGHT},
    right={0: 0, 1: LEFT},
    same=LEFT,
    commutative=True,
)
OR = Operation(
    1,
    lambda a, b: a | b,
    left={0: RIGHT, 1: 1},
    right={0: LEFT, 1: 1},
    same=LEFT,
    commutative=True,
)
LESS = Operation(2, lambda a, b: a & ~b, left={0: 0}, right={0: LEFT, 1: 0}, same=0, commutative=False)
XOR = Operation(3, lambda a, b: a ^ b, left={0: RIGHT}, right={0: LEFT}, same=0, commutative=True)
UNION = Operation(
    4,
    lambda a, b: a | b,
    left={0: RIGHT, 31: 31},
    right={0: LEFT, 31: 31},
    same=LEFT,
    commutative=True,
)
OVERRIDE = Operation(
    5,
    lambda f, g: ((f & ~NEXT) | g) if f & NEXT else f,
    left={**{t: t for t in range(TERMINALS) if not t & NEXT}, NEXT: RIGHT},
    right={},
    same=LEFT,
    commutative=False,
)
WITHIN = Operation(
    6,
    lambda m, f: f if m else 0,
    left={0: 0, **dict.fromkeys(range(1, TERMINALS), RIGHT)},
    right={0: 0},
    same=NONE,
    commutative=False,
)
OUTSIDE = Operation(
    7,
    lambda m, f: 0 if m else f,
    left={0: RIGHT, **dict.fromkeys(range(1, TERMINALS), 0)},
    right={0: 0},
    same=NONE,
    commutative=False,
)
THEN = Operation(
    9,
    lambda m, f: f if m else NEXT,
    left={0: NEXT, **dict.fromkeys(range(1, TERMINALS), RIGHT)},
    right={NEXT: NEXT},
    same=NONE,
    commutative=False,
)
DIFFER = Operation(8, lambda a, b: int(a != b), left={}, right={}, same=0, commutative=True)
"""AND OR LESS XOR are for sets (terminals 0 and 1). UNION joins outcome masks, OVERRIDE is DESIGN's `>`,
WITHIN(m, f) is f inside the set m and 0 elsewhere, OUTSIDE(m, f) the reverse, THEN(m, f) is f inside m and NEXT elsewhere. DIFFER is the set where two
functions differ."""


_codes = itertools.count(THEN.code + 1)


@lru_cache(maxsize=1024)
def relabelling(terminals: tuple[int, ...]) -> Operation:
    """The operation whose result on (t, 0) is `terminals[t]`: every terminal of a function is replaced."""
    return Operation(next(_codes), lambda a, b: terminals[a], left={}, right={}, same=NONE, commutative=False)


@lru_cache(maxsize=1024)
def first_of(terminals: tuple[int, ...]) -> Operation:
    """The operation whose result on (a, b) is `terminals` of a, and where a is 0 that of b: one pass instead of two."""
    same = all(t == i for i, t in enumerate(terminals))
    left = {t: terminals[t] for t in range(1, TERMINALS)}
    if same:
        left[0] = RIGHT
    return Operation(
        next(_codes), lambda a, b: terminals[a or b], left=left, right={}, same=NONE, commutative=False
    )


@lru_cache(maxsize=1024)
def pair_of(a: int, b: int) -> Operation:
    """The operation that finds the set where the left function is `a` and the right one `b`."""
    left = {t: 0 for t in range(TERMINALS) if t != a}
    right = {t: 0 for t in range(TERMINALS) if t != b}
    return Operation(
        next(_codes),
        lambda x, y: int(x == a and y == b),
        left=left,
        right=right,
        same=NONE,
        commutative=False,
    )


@lru_cache(maxsize=1024)
def coded(pairs: tuple[tuple[int, int], ...]) -> Operation:
    """The operation that numbers, from 1 on, which of some pairs two functions have; 0: none of them."""
    number = {pair: n for n, pair in enumerate(pairs, 1)}
    lefts, rights = {a for a, _ in pairs}, {b for _, b in pairs}
    return Operation(
        next(_codes),
        lambda x, y: number.get((x, y), 0),
        left={t: 0 for t in range(TERMINALS) if t not in lefts},
        right={t: 0 for t in range(TERMINALS) if t not in rights},
        same=NONE,
        commutative=False,
    )


# What a substitution puts in the place of one level.


@attrs.frozen(slots=True)
class Const:
    """The level has this value."""

    value: int


@attrs.frozen(slots=True)
class Shift:
    """The level is a function of `source`: value + delta within each piece (low, high, delta).

    The pieces are sorted, disjoint and cover every value of the source level.
    """

    source: int
    pieces: tuple[tuple[int, int, int], ...]


@attrs.frozen(slots=True)
class Choice:
    """The level may have any value of these ranges; somebody else chooses.

    `fixed`: nobody does, a value that is not known is the same each time. Such a choice equals its like only.
    """

    ranges: tuple[Range, ...]
    fixed: bool = False


@attrs.frozen(slots=True)
class Parity:
    """A bit level: the exclusive-or of other bit levels and a constant."""

    terms: tuple[int, ...]
    constant: int


LevelMap = Const | Shift | Choice | Parity

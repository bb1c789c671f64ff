"""The interval decision diagram: exact functions of a packet, in plain Python.

Theory of operation. A *pool* knows an ordered list of levels, each with a largest value. A *node* tests
one level: it is a sorted tuple of inclusive upper bounds and as many children, one for each interval.
A *terminal* is a small integer: 0 and 1 for sets, a mask of outcomes for chains. Nodes are hash-consed,
so inside one pool two functions are equal exactly if their ids are. The published relative is NDD (Li
et al., NSDI 2025); binary decision diagrams are the independent oracle in the tests.

Invariants, enforced by `check_invariants`:

- D1  the levels of a node's children are larger than its own;
- D2  bounds ascend strictly and the last is the level's largest value;
- D3  neighbouring children differ (so there are at least two);
- D4  no two nodes are equal, and the unique table finds each of them.

Costs. `apply` is linear in the product of the operands' nodes in the worst case and near the sum in
practice; a long chain of unions must be folded as a balanced tree (`fold`), since a wide node is copied
at every touch. Recursion goes as deep as there are levels, a number fixed by the field table and never
by an input. Memo tables are emptied when they grow past `MEMO`; `collection` says how long nodes live.
Where it is weak: functions that relate two fields (`src == dst`), and bit tests spread over many bits.
"""

from __future__ import annotations

import hashlib
import random
from bisect import bisect_left
from collections.abc import Callable, Collection, Container, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from netsim.errors import DEFAULT_LIMITS, BudgetExceeded
from netsim.space.collection import Kept
from netsim.space.fields import Range
from netsim.space.operations import (
    AND,
    DIFFER,
    FALSE,
    LEFT,
    LESS,
    NEXT,
    NONE,
    OR,
    OUTSIDE,
    OVERRIDE,
    RIGHT,
    TERMINALS,
    THEN,
    TRUE,
    UNION,
    WITHIN,
    XOR,
    Choice,
    Const,
    LevelMap,
    Operation,
    Parity,
    Shift,
    relabelling,
)

MEMO = 2_000_000
LARGEST = (1 << 28) - 1
"""The most nodes of a pool; a question has `Limits.nodes` of them."""
EDGE_BYTES = 48
"""About what an edge of a node takes in memory here."""


class Pool(Kept):
    """The nodes over one list of levels. `maxima[i]` is the largest value of level i.

    Ids are meaningful inside the pool only, and until a collection (`collection`); here none is given out twice.
    """

    def __init__(
        self, maxima: Sequence[int], *, nodes: int = LARGEST, memory: int = DEFAULT_LIMITS.memory
    ) -> None:
        super().__init__(memory)
        self.maxima = tuple(maxima)
        self.ceiling = self.limit = nodes
        self._edges = 0
        self._next = TERMINALS
        bottom = len(self.maxima)
        self.level: dict[int, int] = dict.fromkeys(range(TERMINALS), bottom)
        self.bounds: dict[int, tuple[int, ...]] = dict.fromkeys(range(TERMINALS), ())
        self.children: dict[int, tuple[int, ...]] = dict.fromkeys(range(TERMINALS), ())
        self._unique: dict[tuple[int, tuple[int, ...], tuple[int, ...]], int] = {}
        self._memo: dict[tuple[int, int, int], int] = {}
        self._digests: dict[int, bytes] = {}
        self.preimages: dict[tuple[Hashable, int, int], int] = {}  # kept for `transform`

    # Building

    def node(self, level: int, bounds: Sequence[int], children: Sequence[int]) -> int:
        """The reduced node; neighbouring equal children are joined. Children lie below `level`."""
        first = children[0]
        for child in children:
            if child != first:
                break
        else:
            return first
        joined_bounds: list[int] = []
        joined: list[int] = []
        previous = -1
        for bound, child in zip(bounds, children, strict=True):
            if child == previous:
                joined_bounds[-1] = bound
            else:
                joined_bounds.append(bound)
                joined.append(child)
                previous = child
        return self._unite(level, joined_bounds, joined)

    def _unite(self, level: int, bounds: Sequence[int], children: Sequence[int]) -> int:
        """The one node of these bounds and children, which satisfy D1-D3."""
        key = (level, tuple(bounds), tuple(children))
        found = self._unique.get(key)
        if found is None:
            if len(self.level) >= self.ceiling:
                raise BudgetExceeded(f"this needs more than {self.limit} diagram nodes (Limits.nodes)")
            if (self._edges + len(key[1])) * EDGE_BYTES > self.allowed:
                raise self.too_much()
            self._edges += len(key[1])
            found = self._unique[key] = self._next
            self._next += 1
            self.level[found] = level
            self.bounds[found] = key[1]
            self.children[found] = key[2]
        return found

    def interval(self, level: int, ranges: Sequence[Range], inside: int = TRUE, outside: int = FALSE) -> int:
        """`inside` where the level's value is in `ranges` (sorted, disjoint), `outside` elsewhere."""
        return self.pieces(level, [(low, high, inside) for low, high in ranges], outside)

    def pieces(self, level: int, parts: Iterable[tuple[int, int, int]], outside: int = FALSE) -> int:
        """For each part (lowest value, highest, node) its node there (sorted, disjoint), `outside` elsewhere."""
        top = self.maxima[level]
        bounds: list[int] = []
        children: list[int] = []
        start = 0
        for low, high, inside in parts:
            if low > top:
                break
            if low > start:
                bounds.append(low - 1)
                children.append(outside)
            bounds.append(min(high, top))
            children.append(inside)
            start = high + 1
        if start <= top:
            bounds.append(top)
            children.append(outside)
        return self.branch(level, bounds, children)

    def boxes(self, boxes: Any, levels: Sequence[tuple[int, int, int]], frame: Any = ()) -> list[int]:
        """The diagrams of boxes, one a row of an array of 64-bit numbers, inside a box `frame` that holds them all.

        `levels` says, the last level first, which columns of a row are a level's: (level, column, -1) for bounds, which are
        inclusive, in two columns; (level, column, bit) for a bit of a mask and a value.
        """
        outer = frame.tolist() if len(frame) else ()
        found = []
        for box in boxes.tolist():
            node = TRUE
            for level, k, bit in levels:
                low, high = box[k], box[k + 1]
                if outer and low == outer[k] and high == outer[k + 1]:
                    continue
                if bit < 0:
                    node = self.interval(level, ((low, high),), node)
                elif low >> bit & 1:
                    node = self.interval(level, ((high >> bit & 1,) * 2,), node)
            found.append(node)
        return found

    def branch(self, level: int, bounds: Sequence[int], children: Sequence[int]) -> int:
        """Like `node`, but the children may test this level or ones above it."""
        if all(self.level[c] > level for c in children):
            return self.node(level, bounds, children)
        ranges: dict[int, list[Range]] = {}
        start = 0
        for bound, child in zip(bounds, children, strict=True):
            ranges.setdefault(child, []).append((start, bound))
            start = bound + 1
        parts = [self.apply(WITHIN, self.interval(level, where), child) for child, where in ranges.items()]
        return self.fold(UNION, parts)

    def fold(self, operation: Operation, operands: Sequence[int], empty: int = FALSE) -> int:
        """The operands combined in order, as a balanced tree; the operation is associative."""
        layer = list(operands)
        if not layer:
            return empty
        while len(layer) > 1:
            paired = list(self.pairs(operation, layer))
            if len(layer) % 2:
                paired.append(layer[-1])
            layer = paired
        return layer[0]

    def pairs(self, operation: Operation, operands: Sequence[int]) -> Sequence[int]:
        """The operands combined two by two: the first with the second, the third with the fourth, and so on."""
        return [self.apply(operation, operands[i], operands[i + 1]) for i in range(0, len(operands) - 1, 2)]

    # Combining

    def apply(self, operation: Operation, a: int, b: int) -> int:
        """The operation, point by point."""
        if a < TERMINALS:
            if b < TERMINALS:
                return operation.table[a * TERMINALS + b]
            known = operation.left[a]
        elif b < TERMINALS:
            known = operation.right[b]
        else:
            known = operation.same if a == b else NONE
        if known != NONE:
            return a if known == LEFT else b if known == RIGHT else known
        if operation.commutative and a > b:
            a, b = b, a
        key = (operation.code, a, b)
        found = self._memo.get(key)
        if found is not None:
            return found
        level_a, level_b = self.level[a], self.level[b]
        bounds: Sequence[int]
        if level_a < level_b:
            level, bounds = level_a, self.bounds[a]
            children = []
            for child in self.children[a]:
                children.append(self.apply(operation, child, b))
        elif level_b < level_a:
            level, bounds = level_b, self.bounds[b]
            children = []
            for child in self.children[b]:
                children.append(self.apply(operation, a, child))
        else:
            level = level_a
            bounds, children = self._zip(operation, a, b)
            result = self._unite(level, bounds, children) if len(children) > 1 else children[0]
            if len(self._memo) >= MEMO:
                self._memo.clear()
            self._memo[key] = result
            return result
        result = self.node(level, bounds, children)
        if len(self._memo) >= MEMO:
            self._memo.clear()
        self._memo[key] = result
        return result

    def _zip(self, operation: Operation, a: int, b: int) -> tuple[list[int], list[int]]:
        """Bounds and children of the result of two nodes of one level, neighbours that are equal joined.

        Where a child of one side alone decides, the other side's intervals under it are not walked: a
        narrow node against a wide one costs a search, not the width.
        """
        bounds_a, bounds_b = self.bounds[a], self.bounds[b]
        children_a, children_b = self.children[a], self.children[b]
        left, right, memo = operation.left, operation.right, self._memo
        code, commutative = operation.code, operation.commutative
        i = j = 0
        bounds: list[int] = []
        children: list[int] = []
        last = bounds_a[-1]
        previous = -1
        while True:
            high_a, high_b = bounds_a[i], bounds_b[j]
            child_a, child_b = children_a[i], children_b[j]
            high = high_a if high_a < high_b else high_b
            known = NONE
            if child_a < TERMINALS and (known := left[child_a]) != NONE:
                if known == RIGHT:
                    child = child_b
                else:
                    child = child_a if known == LEFT else known
                    if high < high_a:  # the same up to the end of this side's interval
                        high = high_a
                        j = bisect_left(bounds_b, high, j)
                        high_b = bounds_b[j]
            elif child_b < TERMINALS and (known := right[child_b]) != NONE:
                if known == LEFT:
                    child = child_a
                else:
                    child = child_b if known == RIGHT else known
                    if high < high_b:
                        high = high_b
                        i = bisect_left(bounds_a, high, i)
                        high_a = bounds_a[i]
            else:
                if commutative and child_a > child_b:
                    found = memo.get((code, child_b, child_a))
                else:
                    found = memo.get((code, child_a, child_b))
                child = found if found is not None else self.apply(operation, child_a, child_b)
            if child == previous:
                bounds[-1] = high
            else:
                bounds.append(high)
                children.append(child)
                previous = child
            if high == last:
                return bounds, children
            if high_a == high:
                i += 1
            if high_b == high:
                j += 1

    def negate(self, a: int) -> int:
        """The complement of a set."""
        return self.apply(XOR, a, TRUE)

    def choose(self, test: int, then: int, otherwise: int) -> int:
        """`then` inside the set `test`, `otherwise` outside."""
        return self.apply(UNION, self.apply(WITHIN, test, then), self.apply(OUTSIDE, test, otherwise))

    def relabel(self, a: int, terminals: Sequence[int]) -> int:
        """Every terminal t replaced by `terminals[t]`."""
        return self.apply(relabelling(tuple(terminals)), a, FALSE)

    def where(self, a: int, wanted: Callable[[int], bool]) -> int:
        """The set of points whose terminal is `wanted`."""
        return self.relabel(a, [TRUE if wanted(t) else FALSE for t in range(TERMINALS)])

    def quantify(self, a: int, levels: Iterable[int], operation: Operation) -> int:
        """The levels forgotten: `operation` (associative, commutative, idempotent) over all of their values."""
        gone = frozenset(levels)
        touching = self.touching(a, gone)
        memo: dict[int, int] = {}

        def walk(n: int) -> int:
            if n not in touching:
                return n
            found = memo.get(n)
            if found is None:
                children = []
                for child in self.children[n]:
                    children.append(walk(child))
                level = self.level[n]
                if level in gone:
                    found = self.fold(operation, list(dict.fromkeys(children)))
                else:
                    found = self.node(level, self.bounds[n], children)
                memo[n] = found
            return found

        return walk(a)

    def substitute(self, a: int, mapping: Mapping[int, LevelMap], choices: Operation) -> int:
        """The function a(t(x)) of x, where t puts `mapping` in the place of levels.

        The outcomes of a `Choice` are joined with `choices`: OR or UNION for some choice, AND for every.
        """
        if a < TERMINALS:
            return a
        touching = self.touching(a, mapping.keys())
        memo: dict[int, int] = {}

        def walk(n: int) -> int:
            if n not in touching:
                return n
            found = memo.get(n)
            if found is None:
                level = self.level[n]
                by = mapping.get(level)
                if isinstance(by, Const):  # the other children are never looked at
                    found = memo[n] = walk(self.children[n][bisect_left(self.bounds[n], by.value)])
                    return found
                children = []
                for child in self.children[n]:
                    children.append(walk(child))
                found = memo[n] = self._replace(level, self.bounds[n], children, by, choices)
            return found

        return walk(a)

    def _replace(
        self,
        level: int,
        bounds: tuple[int, ...],
        children: list[int],
        by: LevelMap | None,
        choices: Operation,
    ) -> int:
        match by:
            case None:
                return self.branch(level, bounds, children)
            case Const():
                raise AssertionError("a constant is put in place before its node's children are")
            case Choice(ranges):
                picked: dict[int, None] = {}
                for low, high in ranges:
                    for i in range(bisect_left(bounds, low), bisect_left(bounds, high) + 1):
                        picked[children[i]] = None
                return self.fold(choices, list(picked))
            case Parity(terms, constant):
                zero, one = children if not constant else reversed(children)
                odd = FALSE
                for term in terms:
                    odd = self.apply(XOR, odd, self.interval(term, ((1, 1),)))
                return self.choose(odd, one, zero)
            case Shift(source, pieces):
                new_bounds: list[int] = []
                new_children: list[int] = []
                for low, high, delta in pieces:
                    i = bisect_left(bounds, low + delta)
                    while True:
                        stop = min(bounds[i] - delta, high)
                        new_bounds.append(stop)
                        new_children.append(children[i])
                        if stop == high:
                            break
                        i += 1
                return self.branch(source, new_bounds, new_children)

    # Asking

    def value(self, a: int, point: Sequence[int]) -> int:
        """The terminal at a point: one value for each level."""
        while a >= TERMINALS:
            a = self.children[a][bisect_left(self.bounds[a], point[self.level[a]])]
        return a

    def count(self, a: int, levels: Sequence[int] | None = None) -> int:
        """How many points of a set there are, exactly, over `levels` (default all; `a` tests no other)."""
        wanted = range(len(self.maxima)) if levels is None else sorted(levels)
        # sizes[i]: the product of the domains of the wanted levels from i on
        sizes = [1] * (len(self.maxima) + 1)
        members = set(wanted)
        for level in range(len(self.maxima) - 1, -1, -1):
            sizes[level] = sizes[level + 1] * (self.maxima[level] + 1 if level in members else 1)
        return self._points(a, sizes)

    def _points(self, a: int, sizes: list[int]) -> int:
        """How many points a set has; `sizes[i]` is how many there are over the levels from i on."""
        memo: dict[int, int] = {}

        def walk(n: int) -> int:  # points over the levels from level[n] on
            if n < TERMINALS:
                return 1 if n else 0
            found = memo.get(n)
            if found is None:
                level, start, found = self.level[n], 0, 0
                for bound, child in zip(self.bounds[n], self.children[n], strict=True):
                    if child:
                        free = sizes[level + 1] // sizes[self.level[child]]
                        found += (bound - start + 1) * free * walk(child)
                    start = bound + 1
                memo[n] = found
            return found

        return walk(a) * (sizes[0] // sizes[self.level[a]])

    def pick(
        self,
        a: int,
        wishes: Sequence[Sequence[int]] = (),
        rng: random.Random | None = None,
    ) -> list[int] | None:
        """One point of a set, or None if it is empty.

        Without `rng` the choice is canonical: for each level the first of its `wishes` that is possible,
        else the smallest value. With it, an interval is drawn by its size and a value uniformly in it.
        """
        if a == FALSE:
            return None
        point: list[int] = []
        tested = self.level[a]
        for level, top in enumerate(self.maxima):
            wished = wishes[level] if level < len(wishes) else ()
            if level != tested:
                if rng is not None and not wished:
                    point.append(rng.randint(0, top))
                else:
                    point.append(wished[0] if wished else 0)
                continue
            bounds, children = self.bounds[a], self.children[a]
            chosen = None
            for wish in wished:
                child = children[bisect_left(bounds, wish)] if wish <= top else FALSE
                if child:
                    chosen = (wish, child)
                    break
            if chosen is None and rng is not None:
                lows = (0, *(bound + 1 for bound in bounds[:-1]))
                options = [o for o in zip(lows, bounds, children, strict=True) if o[2]]
                low, high, child = rng.choices(
                    options, weights=[(h - lo + 1) ** 0.25 for lo, h, _ in options]
                )[0]
                chosen = (rng.randint(low, high), child)
            if chosen is None:
                first = next(i for i, child in enumerate(children) if child)
                chosen = (bounds[first - 1] + 1 if first else 0, children[first])
            point.append(chosen[0])
            a = chosen[1]
            tested = self.level[a]
        return point

    def paths(self, a: int) -> Iterator[dict[int, tuple[Range, ...]]]:
        """Disjoint products of ranges whose union is the set: level -> ranges, free levels left out."""
        stack: list[tuple[int, dict[int, tuple[Range, ...]]]] = [(a, {})]
        while stack:
            n, path = stack.pop()
            if n < TERMINALS:
                if n:
                    yield path
                continue
            branches: dict[int, list[Range]] = {}
            start = 0
            for bound, child in zip(self.bounds[n], self.children[n], strict=True):
                if child:
                    branches.setdefault(child, []).append((start, bound))
                start = bound + 1
            for child, ranges in reversed(branches.items()):
                stack.append((child, {**path, self.level[n]: tuple(ranges)}))

    def reachable(self, a: int) -> list[int]:
        """The nodes of a function, children before parents."""
        seen: set[int] = set()
        stack = [a]
        while stack:
            n = stack.pop()
            if n >= TERMINALS and n not in seen:
                seen.add(n)
                stack.extend(self.children[n])
        return sorted(seen)  # ids grow from children to parents

    def touching(self, a: int, levels: Collection[int]) -> Container[int]:
        """The nodes of a function that test one of `levels`, at or below them."""
        found: set[int] = set()
        for n in self.reachable(a):
            if self.level[n] in levels or not found.isdisjoint(self.children[n]):
                found.add(n)
        return found

    def terminals(self, a: int) -> set[int]:
        """The terminals that a function takes."""
        if a < TERMINALS:
            return {a}
        return {c for n in self.reachable(a) for c in self.children[n] if c < TERMINALS}

    def support(self, a: int) -> set[int]:
        """The levels that a function tests."""
        return {self.level[n] for n in self.reachable(a)}

    # Between pools

    def digest(self, a: int) -> bytes:
        """16 bytes that depend on the function alone: equal in every pool of the same levels."""
        known = self._digests
        if a in known:
            return known[a]
        for n in [a] if a < TERMINALS else self.reachable(a):
            if n not in known:
                known[n] = self._digest(n)
        return known[a]

    def _digest(self, n: int) -> bytes:
        if n < TERMINALS:
            return hashlib.blake2b(b"t%d" % n, digest_size=16).digest()
        state = hashlib.blake2b(b"n%d" % self.level[n], digest_size=16)
        for bound, child in zip(self.bounds[n], self.children[n], strict=True):
            if child < TERMINALS and child not in self._digests:
                self._digests[child] = self._digest(child)
            state.update(b"%d:" % bound + self._digests[child])
        return state.digest()

    def export(self, a: int) -> tuple[int, tuple[tuple[int, tuple[int, ...], tuple[int, ...]], ...]]:
        """The function as plain data: the root, and nodes whose children are numbered by position."""
        nodes = self.reachable(a)
        position = {n: TERMINALS + i for i, n in enumerate(nodes)}
        rows = tuple(
            (self.level[n], self.bounds[n], tuple(position.get(c, c) for c in self.children[n]))
            for n in nodes
        )
        return position.get(a, a), rows

    def load(self, root: int, rows: Iterable[tuple[int, tuple[int, ...], tuple[int, ...]]]) -> int:
        """The id of an exported function. Raises `ValueError` for data that is no function of this pool."""
        ids = list(range(TERMINALS))
        for level, bounds, children in rows:
            if (
                not 0 <= level < len(self.maxima)
                or len(bounds) != len(children)
                or not bounds
                or bounds[-1] != self.maxima[level]
                or any(x >= y for x, y in zip(bounds, bounds[1:], strict=False))
                or any(not 0 <= c < len(ids) or self.level[ids[c]] <= level for c in children)
            ):
                raise ValueError("these are not the nodes of a packet set")
            ids.append(self.node(level, bounds, [ids[c] for c in children]))
        if not 0 <= root < len(ids):
            raise ValueError("these are not the nodes of a packet set")
        return ids[root]

    # What is kept

    def size(self) -> int:
        """The number of nodes and terminals."""
        return len(self.level)

    def bytes(self) -> int:
        """About what the nodes take."""
        return self._edges * EDGE_BYTES

    def tighten(self) -> None:
        """Every node asks for its room here."""

    def check(self, node: int) -> None:
        """Raises `KeyError` for what is no node of this pool, or no longer one."""
        _ = self.level[node]

    def sweep(self, roots: list[int]) -> list[int]:
        """Frees the nodes that `roots` do not reach; those that stay keep their ids."""
        stay: set[int] = set()
        stack = list(roots)
        while stack:
            n = stack.pop()
            if n >= TERMINALS and n not in stay:
                stay.add(n)
                stack.extend(self.children[n])
        for n in [n for n in self.level if n >= TERMINALS and n not in stay]:
            bounds = self.bounds.pop(n)
            self._edges -= len(bounds)
            del self._unique[self.level.pop(n), bounds, self.children.pop(n)]
            self._digests.pop(n, None)
        self._memo.clear()
        self.preimages.clear()
        return roots

    def check_invariants(self) -> None:
        """Raises `AssertionError` if one of D1-D4 does not hold."""
        for n in [n for n in self.level if n >= TERMINALS]:
            level, bounds, children = self.level[n], self.bounds[n], self.children[n]
            assert len(bounds) == len(children) >= 2, f"D3: node {n}"
            assert all(self.level[c] > level for c in children), f"D1: node {n}"
            assert bounds[-1] == self.maxima[level], f"D2: node {n}"
            assert all(x < y for x, y in zip(bounds, bounds[1:], strict=False)), f"D2: node {n}"
            assert all(x != y for x, y in zip(children, children[1:], strict=False)), f"D3: {n}"
            assert self._unite(level, bounds, children) == n, f"D4: node {n}"


__all__ = [
    "AND",
    "DIFFER",
    "FALSE",
    "LESS",
    "NEXT",
    "OR",
    "OUTSIDE",
    "OVERRIDE",
    "TERMINALS",
    "THEN",
    "TRUE",
    "UNION",
    "WITHIN",
    "XOR",
    "Choice",
    "Const",
    "LevelMap",
    "Operation",
    "Parity",
    "Pool",
    "Shift",
]

"""Which of several numbered sets holds each packet: decision diagrams as arrays, for batches.

Theory of operation. A *question* is a list of sets in order, each with a number; the first set that holds a packet
gives its number. All questions of a network share one diagram, whose nodes are what is left of a question on a
level: the nodes of its sets, in order. A field that is the same for every packet of a question is decided while the
diagram is made, so that no batch is asked about it.

As arrays: nodes are numbered level by level, so those of a level are one range of numbers. On a level the starts
of all intervals cut the values into segments; an edge is (node, first segment) as one number, and edges ascend.
A batch goes through the levels in order; on each, the packets that are at a node of that level look for
their segment and then for their edge.

Invariants, enforced by `check`:

- S1  edges of a level ascend, each node has one for segment 0, and starts ascend from 0;
- S2  an edge leads to a node of a later level, or to a number that is asked for.

Costs. The diagram is at most the product of the sets' diagrams, in practice about their sum; a packet costs a
search for its segment a level on its way, and a look-up of the edge, which is another search on a level of more than
`CELLS` pairs of node and segment.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from netsim.errors import DEFAULT_LIMITS, BudgetExceeded
from netsim.kernels import engine, kernel
from netsim.space.diagram import FALSE, TERMINALS, TRUE
from netsim.space.fields import FIELDS, LEVEL_MAXIMA, Kind
from netsim.space.pool import POOL

I64 = NDArray[np.int64]
Sets = Sequence[tuple[int, int]]
"""(a set as a node of the pool, its number), in order."""


def _level_columns() -> tuple[tuple[str, int], ...]:
    """For each level the column that has its value, and by how many bits it is shifted; -1: the whole column."""
    found: list[tuple[str, int]] = []
    for name, field in FIELDS.items():
        if field.kind is Kind.BITS:
            found += [(name, field.width - 1 - bit) for bit in range(field.width)]
        elif len(field.levels) == 2:
            found += [(name + ".high", -1), (name + ".low", -1)]
        else:
            found.append((name, -1))
    return tuple(found)


_COLUMNS = _level_columns()
CELLS = 1 << 22
"""The most pairs of node and segment that become a table."""
_NUMBERS = -1
"""An edge to the number n is `_NUMBERS - n`."""


@attrs.frozen(slots=True, eq=False)
class Level:
    """The nodes of one level, from number `first` on. `edges` are `node << 32 | segment`, `to` where each leads."""

    level: int
    first: int
    count: int
    starts: NDArray[np.uint64]
    edges: I64
    to: NDArray[np.int32]

    def table(self) -> NDArray[np.int32]:
        """Where each pair of node and segment leads, the segments of a node side by side."""
        width = len(self.starts)
        place = (self.edges >> 32) * width + (self.edges & 0xFFFF_FFFF)
        return np.repeat(self.to, np.diff(np.append(place, self.count * width)))


@attrs.define(slots=True, eq=False)
class Sorter:
    """The questions of a network as one diagram. `roots` says where each question begins, by its number."""

    levels: tuple[Level, ...]
    roots: NDArray[np.int32]
    _tables: dict[int, NDArray[np.int32] | None] = attrs.field(factory=dict, init=False)

    def of(self, columns: Mapping[str, NDArray[Any]], questions: NDArray[Any]) -> NDArray[np.int32]:
        """The number that each packet's question gives it. Columns that the batch lacks are 0."""
        at = self.roots[questions]
        for each in self.levels:
            here = np.flatnonzero((at >= each.first) & (at < each.first + each.count))
            if not len(here):
                continue
            whole = len(here) == len(at)
            name, shift = _COLUMNS[each.level]
            column = columns.get(name)
            segment: Any = 0
            if column is not None:
                values = (column if whole else column[here]).astype(np.uint64)
                if shift >= 0:
                    values = (values >> np.uint64(shift)) & np.uint64(1)
                segment = _segments(values, each.starts)
            node = (at if whole else at[here]).astype(np.int64) - each.first
            table = self._table(each)
            if table is not None:
                at[here] = table[node * len(each.starts) + segment]
            else:
                at[here] = each.to[np.searchsorted(each.edges, (node << 32) + segment, side="right") - 1]
        return np.asarray(_NUMBERS - at, np.int32)

    def _table(self, level: Level) -> NDArray[np.int32] | None:
        if level.level not in self._tables:
            small = level.count * len(level.starts) <= CELLS
            self._tables[level.level] = level.table() if small else None
        return self._tables[level.level]

    def check(self, numbers: int) -> None:
        """Raises `ValueError` if S1 or S2 does not hold; numbers are less than `numbers`."""
        first = 0
        last = -1
        for each in self.levels:
            if not last < each.level < len(LEVEL_MAXIMA) or each.first != first or each.count < 1:
                raise ValueError("levels that do not follow one another")
            last = each.level
            first += each.count
        total = first
        for each in self.levels:
            starts, edges, to = each.starts, each.edges, each.to
            if starts.dtype != np.uint64 or edges.dtype != np.int64 or to.dtype != np.int32:
                raise ValueError("tables of another type")
            if starts.ndim != 1 or edges.ndim != 1 or edges.shape != to.shape:
                raise ValueError("tables of another shape")
            if not len(starts) or starts[0] != 0 or bool(np.any(starts[1:] <= starts[:-1])):
                raise ValueError("starts that do not ascend")
            if not len(edges) or edges[0] != 0 or bool(np.any(edges[1:] <= edges[:-1])):
                raise ValueError("edges that do not ascend")
            if int((edges & 0xFFFF_FFFF).max()) >= len(starts):
                raise ValueError("an edge of no segment")
            heads = edges[(edges & 0xFFFF_FFFF) == 0] >> 32
            if len(heads) != each.count or bool(np.any(heads != np.arange(each.count))):
                raise ValueError("a node without a first edge")
            behind = each.first + each.count
            wrong = ((to >= 0) & (to < behind)) | (to >= total) | (to < _NUMBERS - numbers + 1)
            if bool(wrong.any()):
                raise ValueError("an edge that leads nowhere")
        roots = self.roots
        if roots.dtype != np.int32 or roots.ndim != 1:
            raise ValueError("roots of another type")
        if bool(np.any((roots >= total) | (roots < _NUMBERS - numbers + 1))):
            raise ValueError("a root that leads nowhere")


def _segments(values: NDArray[np.uint64], starts: NDArray[np.uint64]) -> NDArray[Any]:
    """The segment of each value: the last whose start is not larger."""
    k = kernel("classify", engine())
    if k is None or engine() == "uncompiled":
        return np.asarray(np.searchsorted(starts, values, side="right") - 1)
    found = np.zeros(len(values), np.int32)
    k.search64(values, starts if starts.flags.writeable else starts.copy(), found)
    return found


@attrs.define(slots=True)
class SorterBuilder:
    """Takes questions one by one and makes a `Sorter`. Raises `BudgetExceeded` past `limit` nodes."""

    limit: int = DEFAULT_LIMITS.nodes
    _made: list[tuple[int, list[tuple[int, int]]]] = attrs.Factory(list)
    _known: dict[tuple[tuple[int, int], ...], int] = attrs.Factory(dict)
    _unique: dict[tuple[Any, ...], int] = attrs.Factory(dict)
    _roots: list[int] = attrs.Factory(list)

    def add(self, sets: Sets, fixed: Mapping[int, int] | None = None) -> int:
        """The number of a question; every packet is in one of its sets. `fixed` are values by level."""
        left = dict(fixed or {})
        if fixed:
            sets = [(_where(node, left), number) for node, number in sets]
        self._roots.append(self._built(_left(sets)))
        return len(self._roots) - 1

    def _built(self, root: tuple[tuple[int, int], ...]) -> int:
        """The node of what is left of a question, children before parents."""
        stack = [root]
        parts: dict[tuple[tuple[int, int], ...], tuple[int, list[tuple[int, Any]]]] = {}
        while stack:
            state = stack[-1]
            if state in self._known:
                stack.pop()
                continue
            if not state:
                raise ValueError("a packet that is in none of the sets")
            if state[0][0] == TRUE:
                self._known[state] = _NUMBERS - state[0][1]
                stack.pop()
                continue
            if state not in parts:
                parts[state] = _split(state)
                stack += [child for _, child in parts[state][1] if child not in self._known]
                continue
            stack.pop()
            level, pieces = parts.pop(state)
            edges: list[tuple[int, int]] = []
            for start, child in pieces:
                to = self._known[child]
                if not edges or edges[-1][1] != to:
                    edges.append((start, to))
            if len(edges) == 1:
                self._known[state] = edges[0][1]
                continue
            key = (level, tuple(edges))
            found = self._unique.get(key)
            if found is None:
                if len(self._made) >= self.limit:
                    raise BudgetExceeded(f"this needs more than {self.limit} diagram nodes (Limits.nodes)")
                found = self._unique[key] = len(self._made)
                self._made.append((level, edges))
            self._known[state] = found
        return self._known[root]

    def sorter(self) -> Sorter:
        """The diagram of all questions."""
        order = sorted(range(len(self._made)), key=lambda n: self._made[n][0])
        number = {node: place for place, node in enumerate(order)}
        levels: list[Level] = []
        at = 0
        while at < len(order):
            level = self._made[order[at]][0]
            end = at
            while end < len(order) and self._made[order[end]][0] == level:
                end += 1
            nodes = [self._made[n][1] for n in order[at:end]]
            starts = np.array(sorted({start for edges in nodes for start, _ in edges}), np.uint64)
            values = np.array([start for edges in nodes for start, _ in edges], np.uint64)
            node = np.repeat(np.arange(len(nodes)), [len(edges) for edges in nodes])
            to = [number[t] if t >= 0 else t for edges in nodes for _, t in edges]
            keys = (node.astype(np.int64) << 32) + np.searchsorted(starts, values)
            levels.append(Level(level, at, end - at, starts, keys, np.array(to, np.int32)))
            at = end
        roots = [number[r] if r >= 0 else r for r in self._roots]
        return Sorter(tuple(levels), np.array(roots, np.int32))


def _left(sets: Sets) -> tuple[tuple[int, int], ...]:
    """What is left of a question: empty sets out, nothing behind a set that holds everything."""
    found: list[tuple[int, int]] = []
    for node, number in sets:
        if node == FALSE or (found and found[-1] == (node, number)):
            continue
        found.append((node, number))
        if node == TRUE:
            break
    return tuple(found)


def _split(state: tuple[tuple[int, int], ...]) -> tuple[int, list[tuple[int, Any]]]:
    """The first level that is tested, and what is left from each start of an interval on."""
    level = min(POOL.level[node] for node, _ in state if node >= TERMINALS)
    tops: set[int] = set()
    split: list[tuple[Any, Any, int]] = []
    for node, number in state:
        if node >= TERMINALS and POOL.level[node] == level:
            bounds = POOL.bounds[node]
            tops.update(bounds)
            split.append((bounds, POOL.children[node], number))
        else:
            split.append(((LEVEL_MAXIMA[level],), (node,), number))
            tops.add(LEVEL_MAXIMA[level])
    ends = sorted(tops)
    cells: list[list[tuple[int, int]]] = [[] for _ in ends]
    for bounds, children, number in split:
        begin = 0
        for bound, child in zip(bounds, children, strict=True):
            end = bisect_left(ends, bound, begin) + 1
            if child != FALSE:
                for cell in cells[begin:end]:
                    cell.append((child, number))
            begin = end
    starts = [0, *(end + 1 for end in ends[:-1])]
    return level, [(start, _left(cell)) for start, cell in zip(starts, cells, strict=True)]


def _where(node: int, fixed: Mapping[int, int]) -> int:
    """A set with the values of some levels put in."""
    known: dict[int, int] = {}
    rebuilt: Callable[[int], int] = lambda n: n if n < TERMINALS else known[n]  # noqa: E731
    for n in POOL.reachable(node):
        bounds, children, level = POOL.bounds[n], POOL.children[n], POOL.level[n]
        if level in fixed:
            known[n] = rebuilt(children[bisect_left(bounds, fixed[level])])
        else:
            known[n] = POOL.node(level, bounds, [rebuilt(c) for c in children])
    return rebuilt(node)


__all__ = ["Level", "Sorter", "SorterBuilder"]

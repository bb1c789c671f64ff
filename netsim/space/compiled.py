"""Decision diagrams on the compiled kernel: the pool of `space.diagram` with flat arrays below it.

The kernel does what every node is touched by: uniting, point-by-point operations, reachability, levels that are forgotten or replaced,
counting and picking. What remains is inherited and sees the nodes through three read-only sequences. Terminals, results,
digests and errors are those of the plain pool; ids may be given out in another order, and wide nodes take several of the nodes
that `Limits.nodes` counts (`kernels.diagram`). The kernel works without the interpreter's lock, so everything that may change the arrays holds the pool's own.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain
from typing import Any, Generic, TypeVar

from netsim.errors import DEFAULT_LIMITS, BudgetExceeded
from netsim.kernels import Engine, engine, kernel
from netsim.space.diagram import LARGEST, Pool
from netsim.space.operations import FALSE, TERMINALS, UNION, WITHIN, Const, LevelMap, Operation, Shift

T = TypeVar("T")
NODE_BYTES = 28
"""The most that an edge takes, its part of the node included."""


class _Seen(Generic[T]):
    """One attribute of all nodes, by id."""

    __slots__ = ("_nodes", "_of")

    def __init__(self, nodes: Any, of: Callable[[int], T]) -> None:
        self._nodes = nodes
        self._of = of

    def __getitem__(self, n: int) -> T:
        return self._of(n)

    def __iter__(self) -> Iterator[int]:
        yield from range(TERMINALS)
        places = range(TERMINALS, self._nodes.count)
        yield from (place + self._nodes.base for place in places if self._nodes.canonical(place))


class CompiledPool(Pool):
    """A pool whose nodes are kept by `kernels.diagram`."""

    def __init__(
        self,
        maxima: Sequence[int],
        *,
        nodes: int = LARGEST,
        memory: int = DEFAULT_LIMITS.memory,
        choice: Engine | None = None,
        wide: int = 0,
        digit: int = 0,
    ) -> None:
        """`wide` and `digit` say how wide nodes are divided (0: as measured best, `kernels.diagram`)."""
        module = kernel("diagram", choice)
        assert module
        self._kernel: Any = module
        self._nodes = module.Nodes(
            maxima, min(nodes, module.LARGEST), wide or module.WIDE, digit or module.DIGIT
        )
        self._declared: dict[int, int] = {}
        super().__init__(maxima, nodes=nodes, memory=memory)
        self.level = _Seen(self._nodes, self._nodes.level_of)  # type: ignore[assignment]
        self.bounds = _Seen(self._nodes, self._nodes.bounds_of)  # type: ignore[assignment]
        self.children = _Seen(self._nodes, self._nodes.children_of)  # type: ignore[assignment]

    @property
    def ceiling(self) -> int:
        """The most nodes that there may be."""
        return int(self._nodes.ceiling)

    @ceiling.setter
    def ceiling(self, nodes: int) -> None:
        self._nodes.ceiling = min(nodes, self._kernel.LARGEST)

    def size(self) -> int:
        """The number of nodes and terminals."""
        return int(self._nodes.count)

    def bytes(self) -> int:
        """The memory that the nodes and the tables over them take."""
        return int(self._nodes.memory())

    def tighten(self) -> None:
        """Room that was granted before is not used without asking `allowed` again."""
        self._nodes.tighten()

    def check(self, node: int) -> None:
        """Raises `IndexError` for what is no node of this pool, or no longer one."""
        self._nodes.inner(node)

    def sweep(self, roots: list[int]) -> list[int]:
        """Frees the nodes that `roots` do not reach, and moves the others together."""
        found: list[int] = self._nodes.sweep(roots)
        self._digests.clear()
        self.preimages.clear()
        return found

    def _room(self, answer: int) -> None:
        """More room, or the error that says which limit is in the way."""
        if answer != self._kernel.FULL:
            raise BudgetExceeded(f"this needs more than {self.limit} diagram nodes (Limits.nodes)")
        edges = (self.allowed - self.bytes()) // NODE_BYTES
        if edges < max(1024, self._nodes.wanted):
            raise self.too_much()
        try:
            self._nodes.grow(edges)
        except MemoryError as error:
            raise BudgetExceeded("this needs more memory than there is for diagrams") from error

    def _unite(self, level: int, bounds: Sequence[int], children: Sequence[int]) -> int:
        return self.node(level, bounds, children)

    def node(self, level: int, bounds: Sequence[int], children: Sequence[int]) -> int:
        """The reduced node; neighbouring equal children are joined. Children lie below `level`."""
        with self.lock:
            while (found := self._nodes.node(level, bounds, children)) < 0:
                self._room(found)
        return int(found)

    def _code(self, operation: Operation) -> int:
        """The number of one operation."""
        code = self._declared.get(operation.code)
        return self._codes(operation)[0] if code is None else code

    def _codes(self, *operations: Operation) -> list[int]:
        """The numbers of operations in the kernel; when they run out all are given out anew."""
        if len(self._declared) + len(operations) > self._kernel.OPERATIONS:
            self._nodes.forget()
            self._declared.clear()
        codes = []
        for o in operations:
            code = self._declared.get(o.code)
            if code is None:
                code = len(self._declared)
                self._nodes.declare(code, o.table, o.left, o.right, o.same, int(o.commutative))
                self._declared[o.code] = code  # last: an interrupt may come before it
            codes.append(code)
        return codes

    def check_division(self) -> None:
        """Raises `AssertionError` if a node is divided that is not wide, or the other way round, or badly."""
        for place in range(TERMINALS, self._nodes.count):
            assert self._nodes.well_divided(place), f"node {place + self._nodes.base}"

    def apply(self, operation: Operation, a: int, b: int) -> int:
        """The operation, point by point."""
        with self.lock:
            code = self._code(operation)
            while (found := self._nodes.apply(code, a, b)) < 0:
                self._room(found)
        return int(found)

    def _points(self, a: int, sizes: list[int]) -> int:
        with self.lock:
            found: int = self._nodes.points(a, sizes)
        return found

    def pick(
        self, a: int, wishes: Sequence[Sequence[int]] = (), rng: random.Random | None = None
    ) -> list[int] | None:
        """One point of a set, or None if it is empty; see the plain pool."""
        if rng is not None:
            return super().pick(a, wishes, rng)
        missing = len(self.maxima) - len(wishes)
        start = array("q", accumulate([*map(len, wishes), *[0] * missing], initial=0))
        with self.lock:
            found: list[int] | None = self._nodes.pick(a, start, array("Q", chain.from_iterable(wishes)))
        return found

    def boxes(self, boxes: Any, levels: Sequence[tuple[int, int, int]], frame: Any = ()) -> list[int]:
        """The diagrams of boxes, one a row; see the plain pool."""
        with self.lock:
            ids, done = array("i", bytes(4 * len(boxes))), 0
            flat = array("i", chain.from_iterable(levels))
            inside = memoryview(frame if len(frame) else array("Q"))
            while (done := self._nodes.boxes(memoryview(boxes), inside, flat, ids, done)) < len(boxes):
                self._room(self._nodes.reason)
            return [int(self._nodes.outer(n)) for n in ids]

    def reachable(self, a: int) -> list[int]:
        """The nodes of a function, children before parents."""
        with self.lock:
            found: list[int] = self._nodes.reachable(a)
        return found

    def quantify(self, a: int, levels: Iterable[int], operation: Operation) -> int:
        """The levels forgotten: `operation` (associative, commutative, idempotent) over all of their values."""
        fate, constant = self._fates()
        for level in levels:
            fate[level] = self._kernel.FORGOTTEN
        return self._remade(a, fate, constant, {}, operation)

    def substitute(self, a: int, mapping: Mapping[int, LevelMap], choices: Operation) -> int:
        """The function a(t(x)) of x, where t puts `mapping` in the place of levels.

        The outcomes of a `Choice` are joined with `choices`: OR or UNION for some choice, AND for every.
        """
        fate, constant = self._fates()
        for level, by in mapping.items():
            match by:
                case Const(value):
                    if not 0 <= value <= self.maxima[level]:
                        raise IndexError(f"level {level} is never {value}")
                    fate[level], constant[level] = self._kernel.CONSTANT, value
                case Shift(source, ((0, top, 0),)) if top == self.maxima[source] == self.maxima[level]:
                    fate[level], constant[level] = self._kernel.RENAMED, source
                case _:
                    fate[level] = self._kernel.OTHER
        return self._remade(a, fate, constant, mapping, choices)

    def _fates(self) -> tuple[bytearray, list[int]]:
        """What becomes of each level, and the number that belongs to it: all stay."""
        return bytearray(len(self.maxima) + 1), [0] * len(self.maxima)

    def _remade(
        self,
        a: int,
        fate: bytearray,
        constant: list[int],
        mapping: Mapping[int, LevelMap],
        operation: Operation,
    ) -> int:
        """A function made anew, level by level; the kernel asks for nodes that it does not make itself."""
        with self.lock:
            try:
                self._nodes.begin(a, fate, constant)
            except MemoryError as error:
                raise BudgetExceeded("this needs more memory than there is for diagrams") from error
            while True:
                found = self._nodes.remake(a, fate, *self._codes(operation, WITHIN, UNION))
                if found == self._kernel.ASK:
                    level, bounds, images = self._nodes.asked()
                    self._nodes.tell(self._replace(level, bounds, images, mapping.get(level), operation))
                elif found < 0:
                    self._room(found)
                else:
                    return int(found)

    def terminals(self, a: int) -> set[int]:
        """The terminals that a function takes."""
        with self.lock:
            found: set[int] = self._nodes.terminals(a)
        return found

    def value(self, a: int, point: Sequence[int]) -> int:
        """The terminal at a point: one value for each level."""
        return int(self._nodes.value(a, point))

    def fold(self, operation: Operation, operands: Sequence[int], empty: int = FALSE) -> int:
        """The operands combined in order, as a balanced tree; the operation is associative."""
        size = len(operands)
        if size < 3:
            return super().fold(operation, operands, empty)
        with self.lock:
            ids = array("i", map(self._nodes.inner, operands))
            code = self._code(operation)
            while size > 1:
                self._round(code, ids, size)
                if size % 2:
                    ids[size // 2] = ids[size - 1]
                size = (size + 1) // 2
            return int(self._nodes.outer(ids[0]))

    def pairs(self, operation: Operation, operands: Sequence[int]) -> Sequence[int]:
        """The operands combined two by two: the first with the second, the third with the fourth, and so on."""
        with self.lock:
            ids = array("i", map(self._nodes.inner, operands))
            self._round(self._code(operation), ids, len(ids))
            return [int(self._nodes.outer(n)) for n in ids[: len(ids) // 2]]

    def _round(self, code: int, ids: array[int], size: int) -> None:
        """Each pair of the first `size` places combined, in place."""
        done = 0
        while (done := self._nodes.fold(code, ids, size, done)) < size // 2:
            self._room(self._nodes.reason)


def make_pool(maxima: Sequence[int], choice: Engine | None = None) -> Pool:
    """An empty pool of an engine (default: this process's)."""
    choice = choice or engine()
    return Pool(maxima) if choice == "plain" else CompiledPool(maxima, choice=choice)

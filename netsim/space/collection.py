"""What a pool keeps and what it may forget: handles, caches, questions and collection.

Theory of operation. Ids of nodes are plain numbers, so a pool cannot see who holds one. Three rules make it
possible to free nodes all the same:

- a *handle* (a `PacketSet`) is known to the pool by a weak reference, and keeps its nodes;
- a *cache* that holds ids is registered (`cache`, or `Computed` for what an object computes once) and is emptied;
- any other id is held inside a *question* only, or while `lock` is held.

A collection happens where the outermost question begins and the pool is larger than `patience` bytes and has
used half of the room that the last collection left; never while a question runs in any thread. It keeps what handles reach. An id of before it
raises `LookupError` where its node is looked at: a rule that somebody broke is an error, never another set.

A question may add half of `memory` to what was there when it began, whatever was asked before it; so an
answer does not depend on earlier questions. Nodes together stay below `memory`; an array that grows is copied, and the
copy is for a moment besides.
"""

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar, overload

from netsim.errors import BudgetExceeded, Limits

T = TypeVar("T")


class Handle(Protocol):
    """What keeps the nodes of one function; `_node` is its id, moved by collections."""

    _node: int


class Kept(ABC):
    """The part of a pool that knows what is still needed. `lock` guards it when several threads share it."""

    ceiling: int
    """The most nodes that there may be now."""
    limit: int
    """The same as it was asked for: the most new nodes of the present budget."""
    memory: int
    granted: int
    """The bytes that the present budget may add."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.granted = memory // 2
        self.patience = memory // 4
        self.epoch = object()
        """Another one behind each collection, and in each process: never equal to one that was pickled."""
        self.lock = threading.RLock()
        self._asked = 0
        self._cap: int | None = None  # bytes that the present budget allows
        self._before = 0  # bytes when the outermost question began
        self._left = 0  # bytes that the last collection left
        self._handles: list[weakref.ref[Handle]] = []
        self._handles_checked = 1024
        self._caches: list[Callable[[], None]] = []
        self._moves: list[tuple[Handle, int]] | None = None  # what a collection has not told its handles yet

    # What an engine says

    @abstractmethod
    def size(self) -> int:
        """The number of nodes."""

    @abstractmethod
    def bytes(self) -> int:
        """The memory that the nodes take."""

    @abstractmethod
    def tighten(self) -> None:
        """Room that was granted before is not used without asking `allowed` again."""

    @abstractmethod
    def check(self, node: int) -> None:
        """Raises `LookupError` for what is no node of this pool, or no longer one."""

    @abstractmethod
    def sweep(self, roots: list[int]) -> list[int]:
        """Frees the nodes that `roots` do not reach. Returns the ids of the roots behind that."""

    # Who holds nodes

    def hold(self, handle: Handle) -> None:
        """The nodes of a handle are kept as long as there is the handle. Raises `LookupError` for an id of before."""
        self.check(handle._node)
        with self.lock:  # a list that is replaced loses what is appended meanwhile
            self._handles.append(weakref.ref(handle))
            if len(self._handles) > self._handles_checked:
                self._handles = [ref for ref in self._handles if ref() is not None]
                self._handles_checked = max(1024, 2 * len(self._handles))

    def cache(self, clear: Callable[[], None]) -> None:
        """`clear` empties a cache of ids that lives as long as the process; a collection calls it."""
        self._caches.append(clear)

    # Questions

    @property
    def allowed(self) -> int:
        """How many bytes the nodes may take while the present question runs."""
        allowed = min(self._before + self.memory // 2, self.memory)
        return allowed if self._cap is None else min(allowed, self._cap)

    def too_much(self) -> BudgetExceeded:
        """The error of a question that does not fit. The next one begins with a collection."""
        if self._cap is not None and self.allowed == self._cap:
            return BudgetExceeded(
                f"this needs more than {self.granted >> 20} MiB of diagrams (half of Limits.memory)"
            )
        self._left = 0
        if self._before + self.memory // 2 <= self.memory:
            return BudgetExceeded(
                f"this needs more than {self.memory // 2 >> 20} MiB of diagrams (half of Limits.memory)"
            )
        return BudgetExceeded(
            f"this does not fit beside what was there, {self._before >> 20} MiB of diagrams (Limits.memory is "
            "for both); drop packet sets that are not needed, or generators of boxes that were not ended"
        )

    def due(self) -> bool:
        """Whether it is time to collect: half of the room that the last collection left is used."""
        half = (self._left + self.memory) // 2
        return self.bytes() > max(self.patience, min(2 * self._left, half))

    @contextmanager
    def question(self) -> Iterator[None]:
        """Inside, ids stay what they are. Questions may be nested, and asked by several threads."""
        with self.lock:
            self._move()
            if not self._asked:
                if self.due():
                    self.collect()
                self._before = self.bytes()
            self._asked += 1
        try:
            yield
        finally:
            with self.lock:
                self._asked -= 1

    @contextmanager
    def budget(self, limits: Limits) -> Iterator[None]:
        """A question with at most `limits.nodes` new nodes, in half of `limits.memory`; past that `BudgetExceeded`.

        It never has more than a question around it, or the pool.
        """
        with self.question():
            before = self.ceiling, self.limit, self._cap, self.granted
            ceiling, granted = self.size() + limits.nodes, limits.memory // 2
            if ceiling < before[0]:
                self.ceiling, self.limit = ceiling, limits.nodes
            if self.bytes() + granted < self.allowed:
                self._cap, self.granted = self.bytes() + granted, granted
                self.tighten()
            try:
                yield
            finally:
                self.ceiling, self.limit, self._cap, self.granted = before

    def collect(self) -> bool:
        """Frees what no handle reaches, unless a question is running; says whether it did."""
        with self.lock:
            self._move()
            if self._asked:
                return False
            for clear in self._caches:
                clear()
            handles = [handle for ref in self._handles if (handle := ref()) is not None]
            try:
                self._moves = list(zip(handles, self.sweep([h._node for h in handles]), strict=True))
            except MemoryError:  # nothing has changed
                return False
            self._move()
            self._left = self.bytes()
            return True

    def _move(self) -> None:
        """Gives handles the ids that a collection has found: again, if that was interrupted."""
        if self._moves is not None:
            self.epoch = object()
            for handle, node in self._moves:
                handle._node = node
            self._moves = None


class Computed(Generic[T]):
    """An attribute that is computed once and holds ids of a pool, until a collection of that pool forgets it.

    Its object has a `__dict__`.
    """

    def __init__(self, pool: Kept, compute: Callable[[Any], T]) -> None:
        self.pool = pool
        self.compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Computed[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Computed[T] | T:
        if instance is None:
            return self
        found = instance.__dict__.get(self.name)
        if found is not None and found[0] is self.pool.epoch:
            return found[1]  # type: ignore[no-any-return]
        with self.pool.question():
            value = self.compute(instance)
            instance.__dict__[self.name] = (self.pool.epoch, value)
        return value

    def __set__(self, instance: object, value: T) -> None:
        raise AttributeError(f"{self.name} is computed")


__all__ = ["Computed", "Handle", "Kept"]

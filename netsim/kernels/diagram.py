"""The nodes of an interval decision diagram in flat arrays, and point-by-point operations on them.

Theory of operation. Node `n` tests `level[n]`; its edges are `start[n] .. start[n + 1]` of the arrays `bound`
(inclusive upper bounds, ascending, the last is the level's largest value) and `child`. The first
`TERMINALS` ids are terminals. Nodes are appended, never changed, so a child's id is smaller than its
parent's. `unique` is an open hash table of ids over the contents of nodes; `memo` keeps results of
operations and may forget (two slots a key, the older is overwritten).

Ids that callers see are larger by `base` than the places in the arrays, those of terminals excepted. `sweep`
moves what can be reached from some roots to the front of new, smaller arrays, in the order of ids, and raises `base` above
every id given out before: an id of before a sweep is an `IndexError`, never another function.

`apply` walks pairs of nodes with a stack of frames, one for each level at most; the edges of unfinished
results lie on the stack `out`. Nothing here allocates: where an array is full the call returns `FULL`, the
caller grows the arrays and calls again, and what was finished is found in the memo. The same algorithm,
recursive and on tuples, is `space.diagram.Pool`, which the tests hold this one to.

Numbers: 32 terminals; a result of -1 is `FULL`, of -2 `OVER` (the ceiling of nodes). In the tables of an
operation -1 says that nodes must be looked at, -2 that the left operand is the result, -3 the right one.
"""

from __future__ import annotations

import contextlib
import mmap
from array import array

import cython

TERMINALS = 32
FULL = -1
OVER = -2
_MASK = cython.declare(cython.ulonglong, 0xFFFF_FFFF_FFFF_FFFF)
_K1 = cython.declare(cython.ulonglong, 0x9E37_79B9_7F4A_7C15)
_K2 = cython.declare(cython.ulonglong, 0xC2B2_AE3D_27D4_EB4F)
OPERATIONS = 255
LARGEST = (1 << 28) - 1
"""The most nodes: a memo key holds an operation and two ids in 64 bits."""
MEMO = 1 << 22
"""The most slots of the memo."""


@cython.cclass
class Nodes:
    """The arrays of one pool, over levels with these largest values; `memory` is their size in bytes."""

    maxima: cython.ulonglong[::1]
    level: cython.int[::1]
    start: cython.longlong[::1]
    digest: cython.uint[::1]  # of contents, for rehashing
    bound: cython.ulonglong[::1]
    child: cython.int[::1]
    unique: cython.int[::1]
    memo_key: cython.ulonglong[::1]
    memo_value: cython.int[::1]
    table: cython.int[::1]
    left: cython.int[::1]
    right: cython.int[::1]
    same: cython.int[::1]
    swaps: cython.int[::1]
    out_bound: cython.ulonglong[::1]
    out_child: cython.int[::1]
    frame_a: cython.int[::1]
    frame_b: cython.int[::1]
    frame_level: cython.int[::1]
    frame_out: cython.longlong[::1]
    at_a: cython.longlong[::1]
    end_a: cython.longlong[::1]
    at_b: cython.longlong[::1]
    end_b: cython.longlong[::1]
    work: cython.int[::1]
    stamp: cython.uint[::1]
    epoch: cython.uint
    base = cython.declare(cython.longlong, visibility="readonly")
    count = cython.declare(cython.int, visibility="readonly")
    edges = cython.declare(cython.longlong, visibility="readonly")
    out: cython.longlong
    most: cython.longlong  # edges that there may be before `FULL`, whatever room there is
    wanted = cython.declare(cython.longlong, visibility="readonly")  # edges of the node that found no room
    ceiling = cython.declare(cython.longlong, visibility="public")
    unique_mask: cython.ulonglong
    memo_mask: cython.ulonglong
    levels = cython.declare(cython.int, visibility="readonly")

    def __init__(self, maxima, ceiling):
        n = len(maxima)
        self.levels = n
        self.base = 0
        self.maxima = memoryview(array("Q", maxima))
        self.ceiling = ceiling
        self.level = memoryview(array("i", [n]) * 1024)
        self.start = _zeros("q", 1025)
        self.digest = _zeros("I", 1024)
        self.bound = _zeros("Q", 4096)
        self.child = _zeros("i", 4096)
        self.out_bound = _zeros("Q", 4096)
        self.out_child = _zeros("i", 4096)
        self.unique = _zeros("i", 4096)
        self.unique_mask = 4095
        self.memo_key = _zeros("Q", 8192)
        self.memo_value = _zeros("i", 8192)
        self.memo_mask = 8191
        self.table = _zeros("i", OPERATIONS * 32 * 32)
        self.left = memoryview(array("i", [-1]) * (OPERATIONS * 32))
        self.right = memoryview(array("i", [-1]) * (OPERATIONS * 32))
        self.same = memoryview(array("i", [-1]) * OPERATIONS)
        self.swaps = memoryview(array("i", [0]) * OPERATIONS)
        depth = n + 2
        self.frame_a = _zeros("i", depth)
        self.frame_b = _zeros("i", depth)
        self.frame_level = _zeros("i", depth)
        self.frame_out = _zeros("q", depth)
        self.at_a = _zeros("q", depth)
        self.end_a = _zeros("q", depth)
        self.at_b = _zeros("q", depth)
        self.end_b = _zeros("q", depth)
        self.work = _zeros("i", 32)
        self.stamp = _zeros("I", 32)
        self.epoch = 0
        self.count = 32
        self.edges = 0
        self.most = 0
        self.wanted = 0
        self.out = 0

    def declare(self, code, table, left, right, same, commutative):
        """Operation `code`: its values on terminals, and what one operand alone decides (-1 nothing, -2, -3 an operand)."""
        i: cython.int
        c: cython.int = code
        for i in range(32 * 32):
            self.table[c * 1024 + i] = table[i]
        for i in range(32):
            self.left[c * 32 + i] = left[i]
            self.right[c * 32 + i] = right[i]
        self.same[c] = same
        self.swaps[c] = commutative

    # Looking

    def inner(self, n: cython.longlong) -> cython.int:
        """The place of an id in the arrays. Raises `IndexError` for one that is not, or no longer, of this pool."""
        if n >= 32:
            n -= self.base
            if n < 32:
                raise IndexError("this diagram is of before a collection of its pool")
        if n < 0 or n >= self.count:
            raise IndexError("no diagram of this pool")
        return cython.cast(cython.int, n)

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def _outer(self, n: cython.int) -> cython.longlong:
        """The id of a place, or what is no place: a terminal, `FULL`, `OVER`."""
        return n + self.base if n >= 32 else n

    def outer(self, n: cython.int) -> cython.longlong:
        """The id of a place."""
        return self._outer(n)

    def level_of(self, node: cython.longlong) -> cython.int:
        """The level that a node tests; the number of levels for a terminal."""
        return self.level[self.inner(node)]

    def bounds_of(self, node: cython.longlong) -> tuple:
        """The upper bounds of a node's edges."""
        n: cython.int = self.inner(node)
        if n < 32:
            return ()
        return tuple([self.bound[i] for i in range(self.start[n], self.start[n + 1])])

    def children_of(self, node: cython.longlong) -> tuple:
        """The children of a node."""
        n: cython.int = self.inner(node)
        if n < 32:
            return ()
        return tuple([self._outer(self.child[i]) for i in range(self.start[n], self.start[n + 1])])

    def memory(self) -> int:
        """The bytes that nodes, edges and the tables over them take."""
        tables: cython.longlong = self.unique.shape[0] * 4 + self.memo_key.shape[0] * 12
        return self.count * 16 + self.edges * 12 + self.out_bound.shape[0] * 12 + tables

    @cython.cfunc
    def _gathered(self, root: cython.int) -> cython.longlong:
        """Fills `work` with the nodes of a function, in no order, stamped with the epoch; returns how many."""
        n: cython.int
        c: cython.int
        i: cython.longlong
        done: cython.longlong = 0
        found: cython.longlong = 0
        epoch: cython.uint
        if len(self.work) < len(self.level):
            self.work = _zeros("i", len(self.level))
            self.stamp = _zeros("I", len(self.level))
            self.epoch = 0
        self.epoch += 1
        epoch = self.epoch
        if root >= 32:
            self.stamp[root] = epoch
            self.work[0] = root
            found = 1
        with cython.nogil:
            while done < found:
                n = self.work[done]
                done += 1
                for i in range(self.start[n], self.start[n + 1]):
                    c = self.child[i]
                    if c >= 32 and self.stamp[c] != epoch:
                        self.stamp[c] = epoch
                        self.work[found] = c
                        found += 1
        return found

    @cython.cfunc
    def _sorted(self, root: cython.int) -> list:
        """The places of a function's nodes, ascending: children before parents."""
        found: cython.longlong = self._gathered(root)
        return sorted([self.work[i] for i in range(found)])

    def reachable(self, root: cython.longlong) -> list:
        """The nodes of a function, ascending: children before parents."""
        return [self._outer(n) for n in self._sorted(self.inner(root))]

    def touching(self, root: cython.longlong, levels) -> set:
        """The nodes of a function that test one of `levels` (flags, one for each level) at or below them."""
        n: cython.int
        i: cython.longlong
        flags: cython.uchar[::1] = levels
        found: set = set()
        nodes: list = self._sorted(self.inner(root))
        epoch: cython.uint
        touches: cython.bint
        self.epoch += 1
        epoch = self.epoch
        for n in nodes:
            touches = flags[self.level[n]] != 0
            if not touches:
                for i in range(self.start[n], self.start[n + 1]):
                    if self.child[i] >= 32 and self.stamp[self.child[i]] == epoch:
                        touches = True
                        break
            if touches:
                self.stamp[n] = epoch
                found.add(self._outer(n))
        return found

    def terminals(self, node: cython.longlong) -> set:
        """The terminals that a function takes."""
        i: cython.longlong
        k: cython.longlong
        n: cython.int
        seen: cython.ulonglong = 0
        one: cython.ulonglong = 1
        root: cython.int = self.inner(node)
        if root < 32:
            return {root}
        size: cython.longlong = self._gathered(root)
        for k in range(size):
            n = self.work[k]
            for i in range(self.start[n], self.start[n + 1]):
                if self.child[i] < 32:
                    seen |= one << self.child[i]
        return {t for t in range(32) if seen >> t & 1}

    def value(self, node: cython.longlong, point) -> cython.int:
        """The terminal at a point: one value for each level."""
        v: cython.ulonglong
        n: cython.int = self.inner(node)
        while n >= 32:
            v = point[self.level[n]]
            n = self.child[self._reach(self.start[n], self.start[n + 1], v)]
        return n

    # Growing

    def grow(self, edges: cython.longlong) -> None:
        """More room in every array that is more than half full, for `edges` more edges in all.

        Untouched pages of an array cost nothing. Where one cannot be had (`MemoryError`) those before it are as they
        were or grown, each with what belongs to it.
        """
        self.most = self.edges + edges
        self.wanted = 0
        if self.count * 2 >= len(self.level):
            room = len(self.level) * (4 if len(self.level) >= 65536 else 2)
            level, start = _wider("i", self.level, room), _wider("q", self.start, room + 1)
            digest, unique = _wider("I", self.digest, room), _zeros("i", room * 2)
            self.level, self.start, self.digest = level, start, digest
            self.unique, self.unique_mask = unique, room * 2 - 1
            self._rehash()
            if len(self.memo_key) < MEMO:
                old_key, old_value = self.memo_key, self.memo_value
                size = min(MEMO, room * 8)
                key, value = _zeros("Q", size), _zeros("i", size)
                self.memo_key, self.memo_value, self.memo_mask = key, value, size - 1
                self._rememo(old_key, old_value)
        if (self.edges + self.out) * 2 >= len(self.bound):  # a result on the stack fits then
            room = len(self.bound) * (8 if len(self.bound) >= 65536 else 2)
            bound, child = _wider("Q", self.bound, room), _wider("i", self.child, room)
            self.bound, self.child = bound, child
        if self.out * 2 >= len(self.out_bound):
            room = len(self.out_bound) * 2
            bound, child = _wider("Q", self.out_bound, room), _wider("i", self.out_child, room)
            self.out_bound, self.out_child = bound, child
        self.out = 0

    def forget(self) -> None:
        """An empty memo."""
        size = len(self.memo_key)
        self.memo_key = _zeros("Q", size)

    @cython.cfunc
    def _rehash(self) -> cython.void:
        n: cython.int
        slot: cython.ulonglong
        with cython.nogil:
            for n in range(32, self.count):
                slot = self.digest[n] & self.unique_mask
                while self.unique[slot] != 0:
                    slot = (slot + 1) & self.unique_mask
                self.unique[slot] = n

    @cython.cfunc
    def _rememo(self, keys: cython.ulonglong[::1], values: cython.int[::1]) -> cython.void:
        i: cython.longlong
        size: cython.longlong = len(keys)
        with cython.nogil:
            for i in range(size):
                if keys[i] != 0:
                    self._keep(keys[i], values[i])

    # Collecting

    def sweep(self, roots) -> list:
        """Keeps what can be reached from `roots`, and forgets the memo. Returns the new ids of the roots.

        Where an array cannot be had (`MemoryError`) nothing has changed.
        """
        n: cython.int
        i: cython.longlong
        to: cython.int
        edge: cython.longlong = 0
        count: cython.int = self.count
        inner: list = [self.inner(root) for root in roots]
        moved: cython.int[::1] = _zeros("i", count)
        for n in inner:
            moved[n] = 1
        with cython.nogil:
            to = 32
            for n in range(count - 1, 31, -1):  # parents before children
                if moved[n] != 0:
                    to += 1
                    edge += self.start[n + 1] - self.start[n]
                    for i in range(self.start[n], self.start[n + 1]):
                        moved[self.child[i]] = 1
        room: cython.longlong = _room(2 * to, 1024)
        edges: cython.longlong = _room(2 * edge, 4096)
        slots: cython.longlong = min(MEMO, 8 * room)
        level: cython.int[::1] = _zeros("i", room)
        start: cython.longlong[::1] = _zeros("q", room + 1)
        bound: cython.ulonglong[::1] = _zeros("Q", edges)
        child: cython.int[::1] = _zeros("i", edges)
        unique: cython.int[::1] = _zeros("i", 2 * room)
        memo_key: cython.ulonglong[::1] = _zeros("Q", slots)
        memo_value: cython.int[::1] = _zeros("i", slots)
        digest: cython.uint[::1] = _zeros("I", room)
        work: cython.int[::1] = _zeros("i", 32)
        stamp: cython.uint[::1] = _zeros("I", 32)
        with cython.nogil:
            to = 0
            edge = 0
            for n in range(count):
                if n < 32 or moved[n] != 0:
                    moved[n] = to
                    level[to] = self.level[n]
                    start[to] = edge
                    if n >= 32:
                        for i in range(self.start[n], self.start[n + 1]):
                            bound[edge] = self.bound[i]
                            child[edge] = moved[self.child[i]]
                            edge += 1
                    to += 1
            start[to] = edge
        self.base += count
        self.level, self.start, self.bound, self.child = level, start, bound, child
        self.unique, self.unique_mask = unique, 2 * room - 1
        self.memo_key, self.memo_value, self.memo_mask = memo_key, memo_value, slots - 1
        self.digest, self.work, self.stamp, self.epoch = digest, work, stamp, 0
        self.count, self.edges, self.most, self.wanted, self.out = to, edge, edge, 0, 0
        self._redigest()
        self._rehash()
        return [self._outer(moved[n]) for n in inner]

    @cython.cfunc
    def _redigest(self) -> cython.void:
        n: cython.int
        i: cython.longlong
        h: cython.ulonglong
        with cython.nogil:
            for n in range(32, self.count):
                h = self.level[n]
                for i in range(self.start[n], self.start[n + 1]):
                    h = self._mixed(h, self.bound[i], self.child[i])
                self.digest[n] = cython.cast(cython.uint, h >> 32)

    # Building

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def _mixed(self, h: cython.ulonglong, bound: cython.ulonglong, child: cython.int) -> cython.ulonglong:
        """A hash with one edge more."""
        h = ((h ^ bound) * _K1) & _MASK
        return ((h ^ (h >> 29) ^ child) * _K2) & _MASK

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _unite(self, level: cython.int, first: cython.longlong) -> cython.int:
        """The one node of the edges `first .. out` of the stack, two at least; `FULL` or `OVER` if there is no room."""
        h: cython.ulonglong = level
        i: cython.longlong
        n: cython.int
        size: cython.longlong = self.out - first
        for i in range(first, self.out):
            h = self._mixed(h, self.out_bound[i], self.out_child[i])
        h = h >> 32
        slot: cython.ulonglong = h & self.unique_mask
        base: cython.longlong
        while True:
            n = self.unique[slot]
            if n == 0:
                break
            if self.digest[n] == h and self.level[n] == level and self.start[n + 1] - self.start[n] == size:
                base = self.start[n]
                for i in range(size):
                    if (
                        self.bound[base + i] != self.out_bound[first + i]
                        or self.child[base + i] != self.out_child[first + i]
                    ):
                        break
                else:
                    return n
            slot = (slot + 1) & self.unique_mask
        n = self.count
        if n >= self.ceiling:
            return -2
        if (
            n + 1 >= self.level.shape[0]
            or self.edges + size > self.bound.shape[0]
            or self.edges + size > self.most
        ):
            self.wanted = size
            return -1
        self.level[n] = level
        self.digest[n] = cython.cast(cython.uint, h)
        base = self.edges
        self.start[n] = base
        for i in range(size):
            self.bound[base + i] = self.out_bound[first + i]
            self.child[base + i] = self.out_child[first + i]
        self.edges = base + size
        self.start[n + 1] = self.edges
        self.unique[slot] = n
        self.count = n + 1
        return n

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def _push(self, first: cython.longlong, bound: cython.ulonglong, child: cython.int) -> cython.bint:
        """An edge more on the stack, joined with the one before if the child is the same; False if it is full."""
        if self.out > first and self.out_child[self.out - 1] == child:
            self.out_bound[self.out - 1] = bound
            return True
        if self.out >= self.out_bound.shape[0]:
            return False
        self.out_bound[self.out] = bound
        self.out_child[self.out] = child
        self.out += 1
        return True

    def node(self, level: cython.int, bounds, children) -> cython.longlong:
        """The reduced node of these edges, whose children lie below `level`; `FULL` or `OVER`."""
        self.out = 0
        size: cython.longlong = len(bounds)
        i: cython.longlong
        for i in range(size):
            if not self._push(0, bounds[i], self.inner(children[i])):
                self.wanted = 0
                return FULL
        if self.out == 1:
            self.out = 0
            return children[0]
        found: cython.int = self._unite(level, 0)
        if found >= 0:
            self.out = 0
        return self._outer(found)

    # Combining

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def _simple(self, code: cython.int, a: cython.int, b: cython.int) -> cython.int:
        """What the operation gives without looking at nodes; -1 if they must be looked at."""
        known: cython.int
        if a < 32:
            if b < 32:
                return self.table[(code * 32 + a) * 32 + b]
            known = self.left[code * 32 + a]
        elif b < 32:
            known = self.right[code * 32 + b]
        elif a == b:
            known = self.same[code]
        else:
            return -1
        if known == -2:
            return a
        if known == -3:
            return b
        return known

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def _key(self, code: cython.int, a: cython.int, b: cython.int) -> cython.ulonglong:
        x: cython.ulonglong = code
        y: cython.ulonglong = a
        z: cython.ulonglong = b
        if self.swaps[code] and a > b:
            y = b
            z = a
        return ((x + 1) << 56) | (y << 28) | z

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def _slot(self, key: cython.ulonglong) -> cython.ulonglong:
        h: cython.ulonglong = (key * _K1) & _MASK
        return ((h ^ (h >> 31)) >> 8) & self.memo_mask

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def _known(self, key: cython.ulonglong) -> cython.int:
        slot: cython.ulonglong = self._slot(key)
        if self.memo_key[slot] == key:
            return self.memo_value[slot]
        slot ^= 1
        if self.memo_key[slot] == key:
            return self.memo_value[slot]
        return -1

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def _keep(self, key: cython.ulonglong, value: cython.int) -> cython.void:
        slot: cython.ulonglong = self._slot(key)
        if self.memo_key[slot] != 0 and self.memo_key[slot] != key:
            self.memo_key[slot ^ 1] = self.memo_key[slot]
            self.memo_value[slot ^ 1] = self.memo_value[slot]
        self.memo_key[slot] = key
        self.memo_value[slot] = value

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def _enter(self, top: cython.int, a: cython.int, b: cython.int) -> cython.void:
        """A frame for a pair of which one is a node."""
        la: cython.int = self.level[a]
        lb: cython.int = self.level[b]
        level: cython.int = la if la < lb else lb
        self.frame_a[top] = a
        self.frame_b[top] = b
        self.frame_level[top] = level
        self.frame_out[top] = self.out
        if la == level:
            self.at_a[top] = self.start[a]
            self.end_a[top] = self.start[a + 1]
        else:
            self.at_a[top] = -1
        if lb == level:
            self.at_b[top] = self.start[b]
            self.end_b[top] = self.start[b + 1]
        else:
            self.at_b[top] = -1

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def _reach(self, at: cython.longlong, end: cython.longlong, bound: cython.ulonglong) -> cython.longlong:
        """The first edge in at .. end whose bound is at least `bound`: by steps that double, then by halves."""
        step: cython.longlong = 1
        low: cython.longlong = at
        high: cython.longlong
        middle: cython.longlong
        if self.bound[low] >= bound:
            return low
        while low + step < end and self.bound[low + step] < bound:
            low += step
            step *= 2
        high = low + step
        if high > end - 1:
            high = end - 1
        while low < high:
            middle = (low + high) // 2
            if self.bound[middle] < bound:
                low = middle + 1
            else:
                high = middle
        return low

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _apply(self, code: cython.int, a: cython.int, b: cython.int) -> cython.int:
        result: cython.int = self._simple(code, a, b)
        if result >= 0:
            return result
        result = self._known(self._key(code, a, b))
        if result >= 0:
            return result
        top: cython.int = 0
        ready: cython.bint = False
        ia: cython.longlong
        ib: cython.longlong
        ea: cython.longlong
        eb: cython.longlong
        first: cython.longlong
        ca: cython.int
        cb: cython.int
        ha: cython.ulonglong
        hb: cython.ulonglong
        high: cython.ulonglong
        largest: cython.ulonglong
        known: cython.int
        self.out = 0
        self._enter(0, a, b)
        while top >= 0:
            ia = self.at_a[top]
            ea = self.end_a[top]
            ib = self.at_b[top]
            eb = self.end_b[top]
            first = self.frame_out[top]
            largest = self.maxima[self.frame_level[top]]
            while True:
                if ia >= 0:
                    ha = self.bound[ia]
                    ca = self.child[ia]
                else:
                    ha = largest
                    ca = self.frame_a[top]
                if ib >= 0:
                    hb = self.bound[ib]
                    cb = self.child[ib]
                else:
                    hb = largest
                    cb = self.frame_b[top]
                high = ha if ha < hb else hb
                if ready:
                    ready = False
                elif ca < 32 and (self.left[code * 32 + ca] != -1) and self.left[code * 32 + ca] != -3:
                    known = self.left[code * 32 + ca]
                    result = ca if known == -2 else known
                    if high < ha:  # the same up to the end of this side's interval
                        high = ha
                        ib = self._reach(ib, eb, ha)
                        hb = self.bound[ib]
                elif cb < 32 and (self.right[code * 32 + cb] != -1) and self.right[code * 32 + cb] != -2:
                    known = self.right[code * 32 + cb]
                    result = cb if known == -3 else known
                    if high < hb:
                        high = hb
                        ia = self._reach(ia, ea, hb)
                        ha = self.bound[ia]
                else:
                    result = self._simple(code, ca, cb)
                    if result < 0:
                        result = self._known(self._key(code, ca, cb))
                    if result < 0:
                        self.at_a[top] = ia
                        self.at_b[top] = ib
                        top += 1
                        self._enter(top, ca, cb)
                        break
                if not self._push(first, high, result):
                    self.wanted = 0
                    return -1
                if high == largest:
                    if self.out - first == 1:
                        result = self.out_child[first]
                    else:
                        result = self._unite(self.frame_level[top], first)
                        if result < 0:
                            return result
                    self.out = first
                    self._keep(self._key(code, self.frame_a[top], self.frame_b[top]), result)
                    top -= 1
                    ready = True
                    break
                if ia >= 0 and ha == high:
                    ia += 1
                if ib >= 0 and hb == high:
                    ib += 1
        return result

    def apply(self, code: cython.int, a: cython.longlong, b: cython.longlong) -> cython.longlong:
        """The operation, point by point: an id, `FULL` or `OVER`."""
        result: cython.int
        x: cython.int = self.inner(a)
        y: cython.int = self.inner(b)
        with cython.nogil:
            result = self._apply(code, x, y)
        return self._outer(result)

    def fold(
        self, code: cython.int, ids: cython.int[::1], size: cython.longlong, done: cython.longlong
    ) -> cython.longlong:
        """One round of a balanced tree over places: `ids[i]` becomes ids[2 i] op ids[2 i + 1], for each pair of `size`.

        Begins at pair `done` and returns how many are ready; fewer than all: call again when there is room.
        """
        i: cython.longlong
        n: cython.int
        pairs: cython.longlong = size // 2
        with cython.nogil:
            for i in range(done, pairs):
                n = self._apply(code, ids[2 * i], ids[2 * i + 1])
                if n < 0:
                    pairs = i
                    break
                ids[i] = n
        return pairs


def _zeros(code: str, size: int):
    """An array of zeros; the pages of a long one are there when they are first touched."""
    width = array(code).itemsize
    if size * width < 65536 or not hasattr(mmap, "MAP_PRIVATE"):
        return memoryview(array(code, bytes(width * size)))
    try:
        pages = mmap.mmap(-1, width * size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"{width * size} bytes") from error
    if hasattr(mmap, "MADV_HUGEPAGE"):  # fewer faults, and fewer misses where tables are looked up at random
        with contextlib.suppress(OSError):
            pages.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(pages).cast(code)


def _room(size: int, least: int) -> int:
    """The power of two at or above `size`, `least` at least."""
    return max(least, 1 << (size - 1).bit_length())


def _wider(code: str, old, size: int):
    """A longer array with the same beginning."""
    new = _zeros(code, size)
    new[: len(old)] = memoryview(old)
    return new

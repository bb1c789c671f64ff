"""The nodes of an interval decision diagram in flat arrays, and point-by-point operations on them.

Theory of operation. Node `n` tests the level of `rung[n]`; its edges are `start[n] .. start[n + 1]` of the arrays `bound`
(inclusive upper bounds, ascending, the last is the level's largest value) and `child`. The first
`TERMINALS` ids are terminals. Nodes are appended, never changed, so a child's id is smaller than its
parent's. `unique` is an open hash table of ids over the contents of nodes; `memo` keeps results of
operations and may forget (two slots a key, the older is overwritten).

Ids that callers see are larger by `base` than the places in the arrays, those of terminals excepted. `sweep`
moves what can be reached from some roots to the front of new, smaller arrays, in the order of ids, and raises `base` above
every id given out before: an id of before a sweep is an `IndexError`, never another function.

A *wide* node, of more than `WIDE` edges, is *divided*: its edges go by the first `DIGIT` bits of the value, and a child that depends on
the bits that remain is a *part*, one rung below. Parts are nodes like others, so neighbours in space that differ in few places share the rest. Whether a
node or a part is divided depends on its function alone, so equal functions stay equal ids; callers see whole nodes with all of
their edges. Where a divided node meets a narrow one in `apply` the narrow one is looked at in its divided form, its *shadow*,
which is no node of any function.

`remake` puts constants and other levels in the place of levels, or forgets them: children first, so without a stack. What it does not do
itself (`OTHER`, and wide nodes that move) it asks its caller for, one node at a time.

`apply` walks pairs of nodes with a stack of frames, one for each rung at most; the edges of unfinished
results lie on the stack `out`. Nothing here allocates: where an array is full the call returns `FULL`, the
caller grows the arrays and calls again, and what was finished is found in the memo. The same algorithm,
recursive and on tuples, is `space.diagram.Pool`, which the tests hold this one to.

Numbers: 32 terminals; a result of -1 is `FULL`, of -2 `OVER` (the ceiling of nodes), of -3 `ASK`. In the tables of an
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
ASK = -3
FORGOTTEN = 1
"""The fate of a level where a function is made anew and the level is gone behind that; of one that stays it is 0."""
CONSTANT = 2
"""The fate of a level that has one value."""
RENAMED = 3
"""The fate of a level that has the value of another."""
OTHER = 4
"""The fate of a level whose nodes are asked for, one by one."""
_FORGOTTEN = cython.declare(cython.uchar, FORGOTTEN)
_CONSTANT = cython.declare(cython.uchar, CONSTANT)
_RENAMED = cython.declare(cython.uchar, RENAMED)
_OTHER = cython.declare(cython.uchar, OTHER)
_MASK = cython.declare(cython.ulonglong, 0xFFFF_FFFF_FFFF_FFFF)
_K1 = cython.declare(cython.ulonglong, 0x9E37_79B9_7F4A_7C15)
_K2 = cython.declare(cython.ulonglong, 0xC2B2_AE3D_27D4_EB4F)
OPERATIONS = 255
BLOCK = cython.declare(cython.longlong, 64)
ONE = cython.declare(cython.ulonglong, 1)
WIDE = 128
"""The most edges of a node that is not divided."""
DIGIT = 4
"""The bits by which a wide node is divided."""
LARGEST = (1 << 28) - 1
"""The most nodes: a memo key holds an operation and two ids in 64 bits."""
MEMO = 1 << 22
"""The most slots of the memo."""


@cython.cclass
class Nodes:
    """The arrays of one pool, over levels with these largest values; `memory` is their size in bytes."""

    first_rung: cython.int[::1]
    level: cython.int[::1]  # of a rung
    shift: cython.int[::1]  # of a rung: the bits below its digit, 0 if its nodes are never divided
    largest: cython.ulonglong[::1]  # of a rung
    rung: cython.int[::1]
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
    frame_rung: cython.int[::1]
    frame_largest: cython.ulonglong[::1]
    frame_out: cython.longlong[::1]
    at_a: cython.longlong[::1]
    end_a: cython.longlong[::1]
    at_b: cython.longlong[::1]
    end_b: cython.longlong[::1]
    work: cython.int[::1]
    stamp: cython.uint[::1]
    epoch: cython.uint
    fate: cython.uchar[::1]  # of a level while a function is made anew
    constant: cython.ulonglong[::1]
    image: cython.int[::1]
    seen: cython.int[::1]
    done: cython.longlong
    todo: cython.longlong
    reason = cython.declare(cython.int, visibility="readonly")  # why a round of `fold` ended early
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
    wide: cython.longlong
    digit: cython.int
    digits: cython.ulonglong  # the largest digit

    def __init__(self, maxima, ceiling, wide=WIDE, digit=DIGIT):
        n = len(maxima)
        self.levels = n
        self.base = 0
        self.wide = wide
        self.digit = digit
        self.digits = (1 << digit) - 1
        first, level, shift, largest = [], [], [], []
        for number, maximum in enumerate(maxima):
            first.append(len(level))
            bits = int(maximum).bit_length()
            whole = bits > digit and bits % digit == 0 and maximum + 1 == 1 << bits
            for below in range(bits - digit, -1, -digit) if whole else (0,):
                level.append(number)
                shift.append(below)
                largest.append((1 << (below + digit)) - 1 if whole else maximum)
        first.append(len(level))
        level.append(n)
        shift.append(0)
        largest.append(0)
        self.first_rung = memoryview(array("i", first))
        self.level = memoryview(array("i", level))
        self.shift = memoryview(array("i", shift))
        self.largest = memoryview(array("Q", largest))
        self.ceiling = ceiling
        self.rung = memoryview(array("i", [first[n]]) * 1024)
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
        depth = len(level) + 2
        self.frame_a = _zeros("i", depth)
        self.frame_b = _zeros("i", depth)
        self.frame_rung = _zeros("i", depth)
        self.frame_largest = _zeros("Q", depth)
        self.frame_out = _zeros("q", depth)
        self.at_a = _zeros("q", depth)
        self.end_a = _zeros("q", depth)
        self.at_b = _zeros("q", depth)
        self.end_b = _zeros("q", depth)
        self.work = _zeros("i", 32)
        self.stamp = _zeros("I", 32)
        self.epoch = 0
        self.fate = memoryview(bytearray(n + 1))
        self.constant = _zeros("Q", n + 1)
        self.image = _zeros("i", 32)
        self.seen = _zeros("i", 64)
        self.done = 0
        self.todo = 0
        self.reason = 0
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

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def _divided(self, n: cython.int) -> cython.bint:
        """Whether a node's edges go by its rung's digit, and not by all of the bits that are left."""
        rung: cython.int = self.rung[n]
        return self.shift[rung] > 0 and self.bound[self.start[n + 1] - 1] != self.largest[rung]

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def _within(self, child: cython.int, rung: cython.int) -> cython.bint:
        """Whether a child of a divided node of this rung is a part of it, and not a node of another level."""
        return child >= 32 and self.level[self.rung[child]] == self.level[rung]

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def _whole(self, n: cython.int) -> cython.bint:
        """Whether the node at a place is not a part of a divided one."""
        rung: cython.int = self.rung[n]
        return self.first_rung[self.level[rung]] == rung

    def canonical(self, n: cython.int) -> cython.bint:
        """Whether the node at a place is one of a function: no part, and no shadow."""
        return self._whole(n) and (not self._divided(n) or len(self._joined(n)[0]) > self.wide)

    def well_divided(self, n: cython.int) -> cython.bint:
        """Whether a node has no more edges than it may, and its parts lie where they belong."""
        rung: cython.int = self.rung[n]
        i: cython.longlong
        if not self._divided(n):
            return self.shift[rung] == 0 or self.start[n + 1] - self.start[n] <= self.wide
        for i in range(self.start[n], self.start[n + 1]):
            if self._within(self.child[i], rung) and self.rung[self.child[i]] != rung + 1:
                return False
            if self.rung[self.child[i]] <= rung or self.bound[i] > self.digits:
                return False
        return True

    def level_of(self, node: cython.longlong) -> cython.int:
        """The level that a node tests; the number of levels for a terminal."""
        return self.level[self.rung[self.inner(node)]]

    def bounds_of(self, node: cython.longlong) -> tuple:
        """The upper bounds of a node's edges."""
        n: cython.int = self.inner(node)
        if n < 32:
            return ()
        if self._divided(n):
            return tuple(self._joined(n)[0])
        return tuple([self.bound[i] for i in range(self.start[n], self.start[n + 1])])

    def children_of(self, node: cython.longlong) -> tuple:
        """The children of a node."""
        n: cython.int = self.inner(node)
        if n < 32:
            return ()
        if self._divided(n):
            return tuple([self._outer(child) for child in self._joined(n)[1]])
        return tuple([self._outer(self.child[i]) for i in range(self.start[n], self.start[n + 1])])

    @cython.cfunc
    def _joined(self, n: cython.int) -> tuple:
        """The bounds of a node's edges, and the places of its children, as if it were not divided."""
        bounds: list = []
        children: list = []
        self._join(n, 0, -1, bounds, children)
        return bounds, children

    @cython.cfunc
    def _join(
        self, n: cython.int, low: cython.ulonglong, last: cython.int, bounds: list, children: list
    ) -> cython.int:
        """The edges of a node or a part whose values begin at `low`, behind others that end with the child `last`; the new last one."""
        i: cython.longlong
        c: cython.int
        bound: cython.ulonglong
        digit: cython.ulonglong = 0
        rung: cython.int = self.rung[n]
        shift: cython.int = self.shift[rung]
        divided: cython.bint = self._divided(n)
        for i in range(self.start[n], self.start[n + 1]):
            c = self.child[i]
            bound = self.bound[i]
            if divided:
                if self._within(c, rung):
                    while digit <= bound:
                        last = self._join(c, low + (digit << shift), last, bounds, children)
                        digit += 1
                    continue
                digit = bound + 1
                bound = (bound << shift) + ((cython.cast(cython.ulonglong, 1) << shift) - 1)
            if c == last:
                bounds[len(bounds) - 1] = low + bound
            else:
                bounds.append(low + bound)
                children.append(c)
                last = c
        return last

    def memory(self) -> int:
        """The bytes that nodes, edges and the tables over them take."""
        tables: cython.longlong = self.unique.shape[0] * 4 + self.memo_key.shape[0] * 12
        walks: cython.longlong = 12 * min(self.count, self.work.shape[0])
        return self.count * 16 + self.edges * 12 + self.out_bound.shape[0] * 12 + tables + walks

    @cython.cfunc
    def _gathered(self, root: cython.int, beyond: cython.int) -> cython.longlong:
        """Fills `work` with a function's nodes above the rung `beyond`, children before parents; returns how many.

        Of a node whose level is to be constant only the child that stays is looked at. What is not above is its own
        image: that is for `remake`, the others want everything.
        """
        c: cython.int = 0
        i: cython.longlong
        end: cython.longlong
        found: cython.longlong = 0
        epoch: cython.uint
        top: cython.int = 0
        if self.rung[root] >= beyond:
            self.image[root] = root
            return 0
        if len(self.work) < len(self.rung):
            work, stamp = _zeros("i", len(self.rung)), _zeros("I", len(self.rung))
            self.work, self.stamp, self.epoch = work, stamp, 0
        self.epoch += 1
        epoch = self.epoch
        with cython.nogil:
            self.stamp[root] = epoch
            self._visit(0, root)
            while top >= 0:
                i = self.at_a[top]
                end = self.end_a[top]
                while i < end:
                    c = self.child[i]
                    i += 1
                    if self.rung[c] >= beyond:
                        self.image[c] = c
                    elif self.stamp[c] != epoch:
                        break
                    c = 0
                if c >= 32:
                    self.at_a[top] = i
                    self.stamp[c] = epoch
                    top += 1
                    self._visit(top, c)
                    c = 0
                else:
                    self.work[found] = self.frame_a[top]
                    found += 1
                    top -= 1
        return found

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def _visit(self, top: cython.int, n: cython.int) -> cython.void:
        """A frame for the children of a node."""
        self.frame_a[top] = n
        if self.fate[self.level[self.rung[n]]] == _CONSTANT:
            self.at_a[top] = self._toward(n, self.constant[self.level[self.rung[n]]])
            self.end_a[top] = self.at_a[top] + 1
        else:
            self.at_a[top] = self.start[n]
            self.end_a[top] = self.start[n + 1]

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def _toward(self, n: cython.int, value: cython.ulonglong) -> cython.longlong:
        """The edge of a node for a value of its level."""
        if not self._whole(n):
            value &= self.largest[self.rung[n]]
        if self._divided(n):
            value >>= self.shift[self.rung[n]]
        return self._reach(self.start[n], self.start[n + 1], value)

    def reachable(self, root: cython.longlong) -> list:
        """The nodes of a function, children before parents."""
        found: cython.longlong = self._gathered(self.inner(root), self.first_rung[self.levels])
        return [self._outer(self.work[k]) for k in range(found) if self._whole(self.work[k])]

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
        size: cython.longlong = self._gathered(root, self.first_rung[self.levels])
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
            v = point[self.level[self.rung[n]]]
            n = self.child[self._toward(n, v)]
        return n

    def points(self, node: cython.longlong, sizes: list) -> object:
        """How many points a set has; `sizes[i]` is how many there are over the levels from i on."""
        n: cython.int
        c: cython.int
        k: cython.longlong
        i: cython.longlong
        rung: cython.int
        low: cython.ulonglong
        root: cython.int = self.inner(node)
        if root < 32:
            return sizes[0] if root else 0
        here: list = []  # how many points there are from a rung on
        for rung in range(self.first_rung[self.levels]):
            if self.first_rung[self.level[rung]] == rung:
                here.append(sizes[self.level[rung]])
            else:
                here.append((int(self.largest[rung]) + 1) * sizes[self.level[rung] + 1])
        here.append(1)
        found: dict = {}
        size: cython.longlong = self._gathered(root, self.first_rung[self.levels])
        for k in range(size):
            n = self.work[k]
            rung = self.rung[n]
            each = sizes[self.level[rung] + 1]  # points for each value of its edges
            if self._divided(n):
                each <<= self.shift[rung]
            total = 0
            low = 0
            for i in range(self.start[n], self.start[n + 1]):
                c = self.child[i]
                if c >= 32:
                    total += (int(self.bound[i] - low) + 1) * (each // here[self.rung[c]]) * found[c]
                elif c > 0:
                    total += (int(self.bound[i] - low) + 1) * each
                low = self.bound[i] + 1
            found[n] = total
        return found[root] * (sizes[0] // here[self.rung[root]])

    def pick(self, node: cython.longlong, start, wishes):
        """A point where a function is not 0, None if there is none: level by level the first wish that is possible.

        Else the smallest value. The wishes of level i are `start[i] .. start[i + 1]` of `wishes`.
        """
        level: cython.int
        rung: cython.int
        c: cython.int
        i: cython.longlong
        value: cython.ulonglong
        low: cython.ulonglong
        first: cython.longlong[::1] = start
        wished: cython.ulonglong[::1] = wishes
        n: cython.int = self.inner(node)
        if n == 0:
            return None
        point: list = []
        for level in range(self.levels):
            if self.level[self.rung[n]] != level:
                point.append(wished[first[level]] if first[level] < first[level + 1] else 0)
                continue
            c = 0
            value = 0
            for i in range(first[level], first[level + 1]):
                if wished[i] > self.largest[self.first_rung[level]]:
                    continue
                c = n
                while c >= 32 and self.level[self.rung[c]] == level:
                    c = self.child[self._toward(c, wished[i])]
                if c != 0:
                    value = wished[i]
                    break
            while c == 0 or self.level[self.rung[c]] == level:
                if c != 0:
                    n = c
                i = self.start[n]
                low = 0
                if self.child[i] == 0:
                    low = self.bound[i] + 1
                    i += 1
                rung = self.rung[n]
                value += low << self.shift[rung] if self._divided(n) else low
                c = self.child[i]
            n = c
            point.append(value)
        return point

    # Growing

    def grow(self, edges: cython.longlong) -> None:
        """More room in every array that is more than half full, for `edges` more edges in all.

        Untouched pages of an array cost nothing. Where one cannot be had (`MemoryError`) those before it are as they
        were or grown, each with what belongs to it.
        """
        self.most = self.edges + edges
        self.wanted = 0
        if self.count * 2 >= len(self.rung):
            room = len(self.rung) * (4 if len(self.rung) >= 65536 else 2)
            rung, start = _wider("i", self.rung, room), _wider("q", self.start, room + 1)
            digest, unique = _wider("I", self.digest, room), _zeros("i", room * 2)
            self.rung, self.start, self.digest = rung, start, digest
            self.unique, self.unique_mask = unique, room * 2 - 1
            self._rehash()
            if len(self.memo_key) < MEMO:
                old_key, old_value = self.memo_key, self.memo_value
                size = min(MEMO, room * 4)
                key, value = _zeros("Q", size), _zeros("i", size)
                self.memo_key, self.memo_value, self.memo_mask = key, value, size - 1
                self._rememo(old_key, old_value)
        if (self.edges + self.out) * 2 >= len(self.bound):  # a result on the stack fits then
            room = len(self.bound) * (8 if len(self.bound) >= 65536 else 2)
            self.child = _wider(
                "i", self.child, room
            )  # one by one, since both copies are large for a moment;
            self.bound = _wider("Q", self.bound, room)  # the last one says how much room there is
        if self.out * 2 >= len(self.out_bound):
            room = len(self.out_bound) * 2
            bound, child = _wider("Q", self.out_bound, room), _wider("i", self.out_child, room)
            self.out_bound, self.out_child = bound, child
        self.out = 0

    def tighten(self) -> None:
        """No edge more before `grow` says how many."""
        self.most = self.edges

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
        slots: cython.longlong = min(MEMO, 4 * room)
        rung: cython.int[::1] = _zeros("i", room)
        start: cython.longlong[::1] = _zeros("q", room + 1)
        bound: cython.ulonglong[::1] = _zeros("Q", edges)
        child: cython.int[::1] = _zeros("i", edges)
        unique: cython.int[::1] = _zeros("i", 2 * room)
        memo_key: cython.ulonglong[::1] = _zeros("Q", slots)
        memo_value: cython.int[::1] = _zeros("i", slots)
        digest: cython.uint[::1] = _zeros("I", room)
        work: cython.int[::1] = _zeros("i", 32)
        stamp: cython.uint[::1] = _zeros("I", 32)
        image: cython.int[::1] = _zeros("i", 32)
        with cython.nogil:
            to = 0
            edge = 0
            for n in range(count):
                if n < 32 or moved[n] != 0:
                    moved[n] = to
                    rung[to] = self.rung[n]
                    start[to] = edge
                    if n >= 32:
                        for i in range(self.start[n], self.start[n + 1]):
                            bound[edge] = self.bound[i]
                            child[edge] = moved[self.child[i]]
                            edge += 1
                    to += 1
            start[to] = edge
        self.base += count
        self.rung, self.start, self.bound, self.child = rung, start, bound, child
        self.unique, self.unique_mask = unique, 2 * room - 1
        self.memo_key, self.memo_value, self.memo_mask = memo_key, memo_value, slots - 1
        self.digest, self.work, self.stamp, self.epoch = digest, work, stamp, 0
        self.image = image
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
                h = self.rung[n]
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
    def _unite(self, rung: cython.int, first: cython.longlong) -> cython.int:
        """The one node of the edges `first .. out` of the stack, two at least; `FULL` or `OVER` if there is no room."""
        h: cython.ulonglong = rung
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
            if self.digest[n] == h and self.rung[n] == rung and self.start[n + 1] - self.start[n] == size:
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
            n + 1 >= self.rung.shape[0]
            or self.edges + size > self.bound.shape[0]
            or self.edges + size > self.most
        ):
            self.wanted = size
            return -1
        self.rung[n] = rung
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
            self.wanted = 0
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
                return FULL
        if self.out == 1:
            self.out = 0
            return children[0]
        found: cython.int = self._finished(self.first_rung[level], 0)
        if found >= 0:
            self.out = 0
        return self._outer(found)

    # Wide nodes

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _finished(self, rung: cython.int, first: cython.longlong) -> cython.int:
        """The node of the undivided edges `first .. out`, two at least; divided if they are many. Leaves the stack as it is."""
        end: cython.longlong = self.out
        if end - first <= self.wide or self.shift[rung] == 0:
            return self._unite(rung, first)
        result: cython.int = self._divide(rung, first)
        if result >= 0:
            self.out = end
        return result

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _divide(self, rung: cython.int, i: cython.longlong) -> cython.int:
        """The divided node of the edges from `i` up to the end of the stack, whatever their number."""
        shift: cython.int = self.shift[rung]
        mask: cython.ulonglong = (cython.cast(cython.ulonglong, 1) << shift) - 1
        first: cython.longlong = self.out
        part: cython.longlong
        digit: cython.ulonglong = 0
        last: cython.ulonglong
        bound: cython.ulonglong
        n: cython.int
        while digit <= self.digits:
            bound = self.out_bound[i]
            last = bound >> shift
            if bound & mask == mask:  # up to the end of a digit
                if not self._push(first, last, self.out_child[i]):
                    return -1
                i += 1
                digit = last + 1
                continue
            if last > digit and not self._push(first, last - 1, self.out_child[i]):
                return -1
            part = self.out
            while bound >> shift == last:
                if not self._push(part, bound & mask, self.out_child[i]):
                    return -1
                if bound & mask == mask:
                    break
                i += 1
                bound = self.out_bound[i]
            if bound >> shift != last:
                if not self._push(part, mask, self.out_child[i]):
                    return -1
            else:
                i += 1
            n = self._finished(rung + 1, part)
            if n < 0:
                return n
            self.out = part
            if not self._push(first, last, n):
                return -1
            digit = last + 1
        return self._unite(rung, first)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _shadow(self, n: cython.int) -> cython.int:
        """An undivided node as a divided one, which is no node of any function; `FULL` or `OVER`."""
        rung: cython.int = self.rung[n]
        i: cython.longlong
        first: cython.longlong = self.out
        key: cython.ulonglong = n  # no operation's
        result: cython.int = self._known(key)
        if result >= 0:
            return result
        for i in range(self.start[n], self.start[n + 1]):
            if not self._push(first, self.bound[i], self.child[i]):
                return -1
        result = self._divide(rung, first)
        if result >= 0:
            self.out = first
            self._keep(key, result)
        return result

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _width(self, rung: cython.int, first: cython.longlong) -> cython.longlong:
        """How many edges the divided ones `first .. out` would be undivided; more than `wide` is one more."""
        i: cython.longlong
        c: cython.int
        left: cython.int
        right: cython.int
        before: cython.int = -1
        digit: cython.ulonglong = 0
        found: cython.longlong = 0
        times: cython.longlong
        for i in range(first, self.out):
            c = self.out_child[i]
            left = right = c
            if self._within(c, rung):
                if self._divided(c):
                    return self.wide + 1
                left = self.child[self.start[c]]
                right = self.child[self.start[c + 1] - 1]
                times = self.out_bound[i] - digit + 1
                found += times * (self.start[c + 1] - self.start[c])
                if left == right:
                    found -= times - 1
            else:
                found += 1
            if left == before:
                found -= 1
            if found > self.wide:
                return self.wide + 1
            before = right
            digit = self.out_bound[i] + 1
        return found

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _assembled(self, rung: cython.int, first: cython.longlong) -> cython.int:
        """The node of the divided edges `first .. out`: undivided where they are few. Leaves the stack as it is."""
        if self._width(rung, first) > self.wide:
            return self._unite(rung, first)
        shift: cython.int = self.shift[rung]
        mask: cython.ulonglong = (cython.cast(cython.ulonglong, 1) << shift) - 1
        end: cython.longlong = self.out
        i: cython.longlong
        j: cython.longlong
        c: cython.int
        result: cython.int
        digit: cython.ulonglong = 0
        for i in range(first, end):
            c = self.out_child[i]
            if self._within(c, rung):
                while digit <= self.out_bound[i]:
                    for j in range(self.start[c], self.start[c + 1]):
                        if not self._push(end, (digit << shift) | self.bound[j], self.child[j]):
                            return -1
                    digit += 1
            else:
                digit = self.out_bound[i] + 1
                if not self._push(end, (self.out_bound[i] << shift) | mask, c):
                    return -1
        if self.out - end == 1:
            result = self.out_child[end]
        else:
            result = self._unite(rung, end)
            if result < 0:
                return result
        self.out = end
        return result

    def boxes(
        self,
        boxes: cython.ulonglong[:, ::1],
        frame: cython.ulonglong[::1],
        levels: cython.int[::1],
        ids: cython.int[::1],
        done: cython.longlong,
    ) -> cython.longlong:
        """The places of boxes from box `done` on, into `ids`; returns how many are ready, and says in `reason` why not all.

        `levels` holds three numbers for each level, the last level first: its number, where a box has its bounds, and a bit or -1. Bounds that are
        those of `frame` (if there is one) are left out.
        """
        n: cython.int
        row: cython.longlong
        k: cython.longlong
        at: cython.longlong
        low: cython.ulonglong
        high: cython.ulonglong
        rung: cython.int
        bit: cython.int
        framed: cython.bint = frame.shape[0] > 0
        rows: cython.longlong = boxes.shape[0]
        size: cython.longlong = levels.shape[0] // 3
        self.out = 0
        with cython.nogil:
            for row in range(done, rows):
                n = 1
                for k in range(size):
                    at = levels[3 * k + 1]
                    low = boxes[row, at]
                    high = boxes[row, at + 1]
                    if framed and low == frame[at] and high == frame[at + 1]:
                        continue
                    rung = self.first_rung[levels[3 * k]]
                    bit = levels[3 * k + 2]
                    if bit >= 0:
                        if (low >> bit) & 1 == 0:
                            continue
                        low = high = (high >> bit) & 1
                    n = self._interval(rung, low, high, n)
                    if n < 0:
                        break
                if n < 0:
                    self.reason = n
                    rows = row
                    break
                ids[row] = n
        return rows

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _interval(
        self, rung: cython.int, low: cython.ulonglong, high: cython.ulonglong, n: cython.int
    ) -> cython.int:
        """`n` where the level has a value from `low` to `high`, nothing elsewhere."""
        first: cython.longlong = self.out
        if low > 0 and not self._push(first, low - 1, 0):
            return -1
        if not self._push(first, high, n):
            return -1
        if high < self.largest[rung] and not self._push(first, self.largest[rung], 0):
            return -1
        if self.out - first > 1:
            n = self._finished(rung, first)
        self.out = first
        return n

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
    def _enter(self, top: cython.int, a: cython.int, b: cython.int) -> cython.int:
        """A frame for a pair of which one is a node; negative if there is no room."""
        la: cython.int = self.rung[a]
        lb: cython.int = self.rung[b]
        rung: cython.int = la if la < lb else lb
        self.frame_a[top] = a
        self.frame_b[top] = b
        self.frame_rung[top] = rung
        self.frame_out[top] = self.out
        self.frame_largest[top] = self.largest[rung]
        if self.shift[rung] > 0:
            if la == rung and self._divided(a):
                self.frame_largest[top] = self.digits
                if lb == rung and not self._divided(b):
                    b = self._shadow(b)
                    if b < 0:
                        return b
            elif lb == rung and self._divided(b):
                self.frame_largest[top] = self.digits
                if la == rung:
                    a = self._shadow(a)
                    if a < 0:
                        return a
        if la == rung:
            self.at_a[top] = self.start[a]
            self.end_a[top] = self.start[a + 1]
        else:
            self.at_a[top] = -1
        if lb == rung:
            self.at_b[top] = self.start[b]
            self.end_b[top] = self.start[b + 1]
        else:
            self.at_b[top] = -1
        return 0

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
        known = self._enter(0, a, b)
        if known < 0:
            return known
        while top >= 0:
            ia = self.at_a[top]
            ea = self.end_a[top]
            ib = self.at_b[top]
            eb = self.end_b[top]
            first = self.frame_out[top]
            largest = self.frame_largest[top]
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
                        known = self._enter(top, ca, cb)
                        if known < 0:
                            return known
                        break
                if not self._push(first, high, result):
                    return -1
                if high == largest:
                    if largest != self.largest[self.frame_rung[top]]:
                        result = self._assembled(self.frame_rung[top], first)
                    elif self.out - first == 1:
                        result = self.out_child[first]
                    else:
                        result = self._finished(self.frame_rung[top], first)
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
        self.out = 0
        with cython.nogil:
            result = self._apply(code, x, y)
        return self._outer(result)

    def fold(
        self, code: cython.int, ids: cython.int[::1], size: cython.longlong, done: cython.longlong
    ) -> cython.longlong:
        """One round of a balanced tree over places: `ids[i]` becomes ids[2 i] op ids[2 i + 1], for each pair of `size`.

        Begins at pair `done` and returns how many are ready; fewer than all: `reason` is `FULL` or `OVER`.
        """
        i: cython.longlong
        n: cython.int
        pairs: cython.longlong = size // 2
        self.out = 0
        with cython.nogil:
            for i in range(done, pairs):
                n = self._apply(code, ids[2 * i], ids[2 * i + 1])
                if n < 0:
                    self.reason = n
                    pairs = i
                    break
                ids[i] = n
        return pairs

    # Making anew

    def begin(self, root: cython.longlong, fate, constant) -> None:
        """Prepares `remake`: what becomes of each level, and its value or the level whose value it takes."""
        k: cython.longlong
        most: cython.longlong = 32
        level: cython.int
        x: cython.int = self.inner(root)
        beyond: cython.int = 0  # the rungs behind the last level that does not stay
        if len(self.image) < len(self.rung):
            self.image = _zeros("i", len(self.rung))
        try:
            for level in range(self.levels):
                self.fate[level] = fate[level]
                self.constant[level] = constant[level]
                if self.fate[level] != 0:
                    beyond = self.first_rung[level + 1]
            self.todo = self._gathered(x, beyond)
        finally:
            for level in range(self.levels):
                self.fate[level] = 0
        self.done = 0
        for k in range(self.todo):
            most = max(most, self.start[self.work[k] + 1] - self.start[self.work[k]])
        if len(self.seen) < 2 * most:
            self.seen = _zeros("i", 2 * _room(most, 32))

    def remake(
        self, root: cython.longlong, fate, code: cython.int, within: cython.int, union: cython.int
    ) -> cython.longlong:
        """The function of which `begin` was told: an id, `FULL`, `OVER` or `ASK`. Call it again when there is room.

        `code` joins what is forgotten; the other two are the operations to put children into intervals.
        """
        result: cython.int
        flags: cython.uchar[::1] = fate
        x: cython.int = self.inner(root)
        with cython.nogil:
            result = self._remake(flags, code, within, union)
            if result >= 0:
                result = self.image[x]
        return self._outer(result)

    def asked(self) -> tuple:
        """The node at which `remake` stopped: its level, and its edges with the images of their children."""
        n: cython.int = self.work[self.done]
        bounds, children = self._joined(n)
        images: list = [self._outer(self.image[child]) for child in children]
        return self.level[self.rung[n]], tuple(bounds), images

    def tell(self, image: cython.longlong) -> None:
        """The image of the node that was asked for."""
        self.image[self.work[self.done]] = self.inner(image)
        self.done += 1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _remake(
        self, fate: cython.uchar[::1], code: cython.int, within: cython.int, union: cython.int
    ) -> cython.int:
        """Children first. The image of a part is -1 where it is none of a part: the whole node is asked for then."""
        n: cython.int
        m: cython.int
        level: cython.int
        while self.done < self.todo:
            n = self.work[self.done]
            level = self.level[self.rung[n]]
            if fate[level] == _CONSTANT:
                m = self.image[self.child[self._toward(n, self.constant[level])]]
            elif fate[level] == _FORGOTTEN:
                m = self._joint(n, code)
            elif fate[level] == _RENAMED:
                m = -3
                if self._whole(n):
                    m = self._moved(n, self.first_rung[self.constant[level]], within, union)
            elif fate[level] == _OTHER:
                m = -3
            else:
                m = self._kept(n, within, union)
            if m == -3 and not self._whole(n):
                self.image[n] = -1
            elif m < 0:
                return m
            else:
                self.image[n] = m
            self.done += 1
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _kept(self, n: cython.int, within: cython.int, union: cython.int) -> cython.int:
        """A node whose level stays, with the images of its children; `ASK` for a part that is none any more."""
        i: cython.longlong
        m: cython.int
        changed: cython.bint = False
        above: cython.bint = False
        rung: cython.int = self.rung[n]
        for i in range(self.start[n], self.start[n + 1]):
            m = self.image[self.child[i]]
            if m < 0:  # a part that is none any more
                changed = above = True
                break
            if m != self.child[i]:
                changed = True
                if self.rung[m] <= rung:
                    above = True
        if not changed:
            return n
        if not above:
            return self._renewed(n)
        return self._moved(n, rung, within, union) if self._whole(n) else -3

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _renewed(self, n: cython.int) -> cython.int:
        """A node with the images of its children, all of which lie below it."""
        i: cython.longlong
        rung: cython.int = self.rung[n]
        self.out = 0
        for i in range(self.start[n], self.start[n + 1]):
            if not self._push(0, self.bound[i], self.image[self.child[i]]):
                return -1
        if self._divided(n):
            return self._assembled(rung, 0)
        if self.out == 1:
            return self.out_child[0]
        return self._finished(rung, 0)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _spread(self, n: cython.int, rung: cython.int, low: cython.ulonglong) -> cython.bint:
        """The edges of a node of `rung`'s level, or of a part that begins at `low`, undivided, with images; False: full.

        Goes as deep as there are digits in a value.
        """
        i: cython.longlong
        c: cython.int
        shift: cython.int
        digit: cython.ulonglong = 0
        if not self._divided(n):
            for i in range(self.start[n], self.start[n + 1]):
                if not self._push(0, low + self.bound[i], self.image[self.child[i]]):
                    return False
            return True
        shift = self.shift[self.rung[n]]
        for i in range(self.start[n], self.start[n + 1]):
            c = self.child[i]
            if self._within(c, rung):
                while digit <= self.bound[i]:
                    if not self._spread(c, rung, low + (digit << shift)):
                        return False
                    digit += 1
            else:
                digit = self.bound[i] + 1
                if not self._push(0, low + (self.bound[i] << shift) + ((ONE << shift) - 1), self.image[c]):
                    return False
        return True

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _moved(self, n: cython.int, rung: cython.int, within: cython.int, union: cython.int) -> cython.int:
        """A whole node's intervals on a rung, with the images of its children, whatever levels they test.

        Where some test the rung or one above, each image is cut to its intervals, by blocks of edges, and the pieces are united.
        """
        i: cython.longlong
        j: cython.longlong
        m: cython.int
        where: cython.int
        block: cython.longlong
        stop: cython.longlong
        size: cython.longlong
        pieces: cython.longlong
        self.out = 0
        if not self._spread(n, self.rung[n], 0):
            return -1
        size = self.out
        if size == 1:
            return self.out_child[0]
        for i in range(size):
            if self.rung[self.out_child[i]] <= rung:
                break
        else:
            return self._finished(rung, 0)
        block = 0
        while block < size:
            stop = block + BLOCK if block + BLOCK < size else size
            for i in range(block, stop):
                m = self.out_child[i]
                for j in range(block, i):
                    if self.out_child[j] == m:
                        break
                else:
                    if m == 0:
                        continue
                    pieces = self.out
                    if block > 0 and not self._push(pieces, self.out_bound[block - 1], 0):
                        return -1
                    for j in range(block, stop):
                        if not self._push(pieces, self.out_bound[j], 1 if self.out_child[j] == m else 0):
                            return -1
                    if stop < size and not self._push(pieces, self.out_bound[size - 1], 0):
                        return -1
                    if self.out - pieces > 1:
                        where = self._finished(rung, pieces)
                        if where < 0:
                            return where
                        m = self._apply(within, where, m)
                        if m < 0:
                            return m
                    self.out = pieces
                    if not self._lay(m):
                        return -1
            block = stop
        return self._combined(size, union)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _joint(self, n: cython.int, code: cython.int) -> cython.int:
        """The images of a node's children, each once, combined."""
        i: cython.longlong
        m: cython.int
        slot: cython.ulonglong
        slots: cython.ulonglong = 2
        edges: cython.ulonglong = self.start[n + 1] - self.start[n]
        self.out = 0
        while slots < 2 * edges:
            slots *= 2
        for slot in range(slots):
            self.seen[slot] = 0
        for i in range(self.start[n], self.start[n + 1]):
            m = self.image[self.child[i]]
            slot = ((m * _K1) & _MASK) >> 32 & (slots - 1)
            while self.seen[slot] != 0 and self.seen[slot] != m + 1:
                slot = (slot + 1) & (slots - 1)
            if self.seen[slot] == 0:
                self.seen[slot] = m + 1
                if not self._lay(m):
                    return -1
        return self._combined(0, code)

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def _lay(self, n: cython.int) -> cython.bint:
        """A node on the stack, for `_combined`; False if it is full."""
        if self.out >= self.out_bound.shape[0]:
            self.wanted = 0
            return False
        self.out_child[self.out] = n
        self.out += 1
        return True

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _combined(self, first: cython.longlong, code: cython.int) -> cython.int:
        """The nodes on the stack from `first` on, one at least, combined as a balanced tree."""
        i: cython.longlong
        m: cython.int
        size: cython.longlong = self.out - first
        while size > 1:
            for i in range(size // 2):
                m = self._apply(code, self.out_child[first + 2 * i], self.out_child[first + 2 * i + 1])
                if m < 0:
                    return m
                self.out_child[first + i] = m
            if size % 2:
                self.out_child[first + size // 2] = self.out_child[first + size - 1]
            size = (size + 1) // 2
            self.out = first + size
        return self.out_child[first]


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

"""A tree over the rows of a list: first matches, rows that meet a box, what is alive, and what covers a box.

Theory of operation. A *box* is (low, high) for each interval column, then (care, value) for each word. The
*tree* has each row once: a node cuts a column at a value (or at a bit of a word), its rows lie left of the cut, right
of it or on both sides, and those three parts are its children (an interval tree in as many dimensions as there
are columns: Edelsbrunner 1980). A point goes to one side and to the middle; a box perhaps to all three. Every
node knows its smallest row, so a search for a row before some other ends early. The cut is chosen by a
sample of the node's rows, to leave as few of them as possible to a point.

`alive` looks for a point of each row that no earlier row holds. Where an earlier row holds the point it is moved
out of that row, in a column drawn at random, some times over. Numbers are drawn by xorshift with a fixed seed.

Costs. A tree of n rows: O(n log n) where cuts separate, about 0.5 us a row; a first match well below 1 us.
"""

from __future__ import annotations

import cython

STOPPED = 2

LEAF = cython.declare(cython.int, 8)
_MASK = cython.declare(cython.ulonglong, 0xFFFF_FFFF_FFFF_FFFF)


@cython.cclass
class Tree:
    """The tree over the rows of `boxes`, `intervals` interval columns before `words` columns of (care, value).

    `placed`, `number`, `node`, `cut`, `stack` are room: as many boxes again, an int for each
    row, and five, a number and an int for each of 2 n + 1 nodes.
    """

    boxes: cython.ulonglong[:, ::1]
    placed: cython.ulonglong[:, ::1]  # the same boxes in the order of the leaves
    number: cython.int[::1]  # the row at each place
    node: cython.int[:, ::1]  # column (-1: leaf), left, right, middle (leaf: first place, end), smallest row
    cut: cython.ulonglong[::1]
    stack: cython.int[::1]
    point: cython.ulonglong[::1]
    intervals: cython.Py_ssize_t
    words: cython.Py_ssize_t
    width: cython.Py_ssize_t
    nodes = cython.declare(cython.int, visibility="readonly")
    state: cython.ulonglong

    def __init__(self, boxes, placed, number, node, cut, stack, point, intervals, words):
        self.boxes = boxes
        self.placed = placed
        self.number = number
        self.node = node
        self.cut = cut
        self.stack = stack
        self.point = point
        self.intervals = intervals
        self.words = words
        self.width = 2 * (intervals + words)
        self.nodes = 0
        self.state = 0x9E37_79B9_7F4A_7C15

    # Building

    def build(self, spare: cython.int[::1], lows: cython.ulonglong[::1]) -> cython.int:
        """Builds the tree; `spare` has room for all rows, `lows` for 64 numbers. Returns the number of nodes."""
        n: cython.int = self.boxes.shape[0]
        i: cython.int
        k: cython.Py_ssize_t
        with cython.nogil:
            for i in range(n):
                self.number[i] = i
            self._build(n, spare, lows)
            for i in range(n):
                for k in range(self.width):
                    self.placed[i, k] = self.boxes[self.number[i], k]
        return self.nodes

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _build(self, n: cython.int, spare: cython.int[::1], lows: cython.ulonglong[::1]) -> cython.void:
        at: cython.int
        first: cython.int
        end: cython.int
        i: cython.int
        row: cython.int
        left: cython.int
        middle: cython.int
        right: cython.int
        side: cython.int
        column: cython.int
        top: cython.int = 1
        self.node[0, 1] = 0
        self.node[0, 2] = n
        self.nodes = 1
        self.stack[0] = 0
        while top > 0:
            top -= 1
            at = self.stack[top]
            first = self.node[at, 1]
            end = self.node[at, 2]
            self.node[at, 0] = -1
            self.node[at, 3] = -1
            self.node[at, 4] = self.number[first] if first < end else n
            if end - first <= LEAF:
                continue
            column = self._choose(at, first, end, 16, lows)
            if column < 0 and end - first > 16:
                column = self._choose(at, first, end, 64, lows)
            if column < 0:
                continue
            # A stable partition: left stays in front, the middle goes behind, the right one last.
            left = first
            middle = 0
            right = n - 1
            for i in range(first, end):
                row = self.number[i]
                side = self._side(column, self.cut[at], row)
                if side < 0:
                    self.number[left] = row
                    left += 1
                elif side == 0:
                    spare[middle] = row
                    middle += 1
                else:
                    spare[right] = row
                    right -= 1
            if left - first == end - first or middle == end - first or n - 1 - right == end - first:
                for i in range(middle):
                    self.number[first + i] = spare[i]
                for i in range(n - 1 - right):
                    self.number[first + i] = spare[n - 1 - i]
                continue
            for i in range(middle):
                self.number[left + i] = spare[i]
            for i in range(n - 1 - right):
                self.number[left + middle + i] = spare[n - 1 - i]
            self.node[at, 0] = column
            self.node[at, 1] = -1
            self.node[at, 2] = -1
            if left > first:
                self.node[at, 1] = self._child(first, left)
                self.stack[top] = self.nodes - 1
                top += 1
            if middle > 0:
                self.node[at, 3] = self._child(left, left + middle)
                self.stack[top] = self.nodes - 1
                top += 1
            if left + middle < end:
                self.node[at, 2] = self._child(left + middle, end)
                self.stack[top] = self.nodes - 1
                top += 1

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def _child(self, first: cython.int, end: cython.int) -> cython.int:
        n: cython.int = self.nodes
        self.node[n, 1] = first
        self.node[n, 2] = end
        self.nodes = n + 1
        return n

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def _side(self, column: cython.int, cut: cython.ulonglong, row: cython.int) -> cython.int:
        """-1 left, 0 both, 1 right of a cut; of a word `cut` is one bit, left is where it must be 0."""
        if column < self.intervals:
            if self.boxes[row, 2 * column + 1] < cut:
                return -1
            return 1 if self.boxes[row, 2 * column] >= cut else 0
        if self.boxes[row, 2 * column] & cut:
            return 1 if self.boxes[row, 2 * column + 1] & cut else -1
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _choose(
        self,
        at: cython.int,
        first: cython.int,
        end: cython.int,
        few: cython.int,
        lows: cython.ulonglong[::1],
    ) -> cython.int:
        """The column to cut a node at, and the cut, by a sample of `few` rows; -1 if nothing separates them."""
        best: cython.int = -1
        size: cython.int = end - first
        count: cython.int = few if size > few else size
        least: cython.int = 16 * count - 16 * count // few
        score: cython.int
        i: cython.int
        j: cython.int
        k: cython.int
        t: cython.int
        row: cython.int
        side: cython.int
        left: cython.int
        right: cython.int
        v: cython.ulonglong
        bits: cython.ulonglong
        one: cython.ulonglong = 1
        for k in range(self.intervals):
            j = 0
            for i in range(count):
                row = self.number[first + i * size // count]
                v = self.boxes[row, 2 * k]
                if v == 0:
                    continue  # no cut lies below
                t = j
                while t > 0 and lows[t - 1] > v:
                    lows[t] = lows[t - 1]
                    t -= 1
                lows[t] = v
                j += 1
            if j == 0:
                # All begin at 0: cut behind the end of one.
                v = self.boxes[self.number[first + size // 2], 2 * k + 1]
                if v == _MASK:
                    continue
                lows[0] = v + one
                j = 1
            for t in range(3):
                v = lows[j // 2] if t == 0 else lows[j // 4] if t == 1 else lows[0]
                left = 0
                right = 0
                for i in range(count):
                    row = self.number[first + i * size // count]
                    if self.boxes[row, 2 * k + 1] < v:
                        left += 1
                    elif self.boxes[row, 2 * k] >= v:
                        right += 1
                # What one point has to look at: the larger side, and what lies on both.
                score = 16 * (count - (left if left < right else right))
                if score < least:
                    least = score
                    best = k
                    self.cut[at] = v
                if j < 4 and t == 0:
                    break
        if best >= 0 and least <= 12 * count:
            return best
        for k in range(self.intervals, self.intervals + self.words):
            bits = 0
            for i in range(count):
                bits |= self.boxes[self.number[first + i * size // count], 2 * k]
            while bits != 0:
                v = bits & ((bits ^ _MASK) + one)
                bits ^= v
                left = 0
                right = 0
                for i in range(count):
                    side = self._side(k, v, self.number[first + i * size // count])
                    if side < 0:
                        left += 1
                    elif side > 0:
                        right += 1
                score = 16 * (count - (left if left < right else right))
                if score < least:
                    least = score
                    best = k
                    self.cut[at] = v
        return best

    # Asking

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def _holds(self, place: cython.int) -> cython.bint:
        k: cython.Py_ssize_t
        for k in range(self.intervals):
            if self.point[k] < self.placed[place, 2 * k] or self.point[k] > self.placed[place, 2 * k + 1]:
                return False
        for k in range(self.intervals, self.intervals + self.words):
            if (self.point[k] & self.placed[place, 2 * k]) != self.placed[place, 2 * k + 1]:
                return False
        return True

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def _contains(self, place: cython.int, row: cython.int) -> cython.bint:
        k: cython.Py_ssize_t
        for k in range(self.intervals):
            if (
                self.boxes[row, 2 * k] < self.placed[place, 2 * k]
                or self.boxes[row, 2 * k + 1] > self.placed[place, 2 * k + 1]
            ):
                return False
        for k in range(self.intervals, self.intervals + self.words):
            if (self.placed[place, 2 * k] & self.boxes[row, 2 * k]) != self.placed[place, 2 * k] or (
                self.boxes[row, 2 * k + 1] & self.placed[place, 2 * k]
            ) != self.placed[place, 2 * k + 1]:
                return False
        return True

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _first(
        self, start: cython.int, bound: cython.int, inside: cython.int, some: cython.bint
    ) -> cython.int:
        """The place of the first row from `start` to before `bound` that holds the point, -1 if none; with `some`, of any such row.

        `inside`: only rows that contain this row as a whole count (-1: all).
        """
        best: cython.int = -1
        top: cython.int = 1
        at: cython.int
        column: cython.int
        i: cython.int
        a: cython.int
        b: cython.int
        self.stack[0] = 0
        while top > 0:
            top -= 1
            at = self.stack[top]
            if self.node[at, 4] >= bound:
                continue
            column = self.node[at, 0]
            if column < 0:
                for i in range(self.node[at, 1], self.node[at, 2]):
                    if self.number[i] >= bound:
                        break
                    if (
                        self.number[i] >= start
                        and self._holds(i)
                        and (inside < 0 or self._contains(i, inside))
                    ):
                        best = i
                        bound = self.number[i]
                        break
                if some and best >= 0:
                    break
                continue
            if column < self.intervals:
                a = self.node[at, 2] if self.point[column] >= self.cut[at] else self.node[at, 1]
            else:
                a = self.node[at, 2] if self.point[column] & self.cut[at] else self.node[at, 1]
            b = self.node[at, 3]
            if a >= 0:
                self.stack[top] = a
                top += 1
            if b >= 0:
                self.stack[top] = b
                top += 1
        return best

    def first(self, points: cython.ulonglong[:, ::1], start: cython.int, out: cython.int[::1]) -> None:
        """The first row from `start` on that holds each point, -1 if none."""
        i: cython.Py_ssize_t
        k: cython.Py_ssize_t
        place: cython.int
        n: cython.int = self.boxes.shape[0]
        with cython.nogil:
            for i in range(points.shape[0]):
                for k in range(self.intervals + self.words):
                    self.point[k] = points[i, k]
                place = self._first(start, n, -1, False)
                out[i] = self.number[place] if place >= 0 else -1

    def near(
        self,
        box: cython.ulonglong[::1],
        begin: cython.int,
        bound: cython.int,
        out: cython.longlong[::1],
        size: cython.double[::1],
    ) -> cython.int:
        """The rows from `begin` to before `bound` that meet a box, in no order, each with the part of the box it takes."""
        count: cython.int
        with cython.nogil:
            count = self._near(box, begin, bound, out, size)
        return count

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _near(
        self,
        box: cython.ulonglong[::1],
        begin: cython.int,
        bound: cython.int,
        out: cython.longlong[::1],
        size: cython.double[::1],
    ) -> cython.int:
        count: cython.int = 0
        top: cython.int = 1
        at: cython.int
        column: cython.int
        i: cython.int
        k: cython.Py_ssize_t
        a: cython.ulonglong
        b: cython.ulonglong
        part: cython.double
        left: cython.bint
        right: cython.bint
        self.stack[0] = 0
        while top > 0:
            top -= 1
            at = self.stack[top]
            if self.node[at, 4] >= bound:
                continue
            column = self.node[at, 0]
            if column < 0:
                for i in range(self.node[at, 1], self.node[at, 2]):
                    if self.number[i] >= bound:
                        break
                    if self.number[i] < begin:
                        continue
                    part = 1.0
                    for k in range(self.intervals):
                        a = self.placed[i, 2 * k] if self.placed[i, 2 * k] > box[2 * k] else box[2 * k]
                        b = (
                            self.placed[i, 2 * k + 1]
                            if self.placed[i, 2 * k + 1] < box[2 * k + 1]
                            else box[2 * k + 1]
                        )
                        if a > b:
                            part = 0.0
                            break
                        if a != box[2 * k] or b != box[2 * k + 1]:
                            part = part * (
                                (cython.cast(cython.double, b - a) + 1.0)
                                / (cython.cast(cython.double, box[2 * k + 1] - box[2 * k]) + 1.0)
                            )
                    if part == 0.0:
                        continue
                    for k in range(self.intervals, self.intervals + self.words):
                        a = self.placed[i, 2 * k]
                        b = box[2 * k]
                        if (self.placed[i, 2 * k + 1] ^ box[2 * k + 1]) & a & b:
                            part = 0.0
                            break
                        a = a & (b ^ _MASK)
                        while a != 0:
                            a = a & (a - 1)
                            part = part * 0.5
                    if part == 0.0:
                        continue
                    out[count] = self.number[i]
                    size[count] = part
                    count += 1
                continue
            if column < self.intervals:
                left = box[2 * column] < self.cut[at]
                right = box[2 * column + 1] >= self.cut[at]
            elif box[2 * column] & self.cut[at]:
                right = (box[2 * column + 1] & self.cut[at]) != 0
                left = not right
            else:
                left = right = True
            if right and self.node[at, 2] >= 0:
                self.stack[top] = self.node[at, 2]
                top += 1
            if left and self.node[at, 1] >= 0:
                self.stack[top] = self.node[at, 1]
                top += 1
            if self.node[at, 3] >= 0:
                self.stack[top] = self.node[at, 3]
                top += 1
        return count

    # What is alive

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def _drawn(self) -> cython.ulonglong:
        """The next number of xorshift64."""
        x: cython.ulonglong = self.state
        x ^= (x << 13) & _MASK
        x ^= x >> 7
        x ^= (x << 17) & _MASK
        self.state = x
        return x

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def _between(self, low: cython.ulonglong, high: cython.ulonglong) -> cython.ulonglong:
        x: cython.ulonglong = self._drawn() >> 3
        one: cython.ulonglong = 1
        if high - low == _MASK:
            return x
        return low + x % (high - low + one)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _draw(self, part: cython.ulonglong[:, ::1], at: cython.int) -> cython.void:
        """Draws the point in a part."""
        k: cython.Py_ssize_t
        for k in range(self.intervals):
            self.point[k] = self._between(part[at, 2 * k], part[at, 2 * k + 1])
        for k in range(self.intervals, self.intervals + self.words):
            self.point[k] = part[at, 2 * k + 1]

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _moved(self, row: cython.int, place: cython.int) -> cython.bint:
        """Moves the point, of a row, out of the box at a place, in one column at random; whether there is a way."""
        k: cython.Py_ssize_t
        chosen: cython.Py_ssize_t = -1
        seen: cython.ulonglong = 0
        below: cython.bint
        above: cython.bint
        bits: cython.ulonglong
        one: cython.ulonglong = 1
        for k in range(self.intervals):
            if (
                self.boxes[row, 2 * k] < self.placed[place, 2 * k]
                or self.boxes[row, 2 * k + 1] > self.placed[place, 2 * k + 1]
            ):
                seen += one
                if self._drawn() % seen == 0:
                    chosen = k
        for k in range(self.intervals, self.intervals + self.words):
            if self.placed[place, 2 * k] & (self.boxes[row, 2 * k] ^ _MASK):
                seen += one
                if self._drawn() % seen == 0:
                    chosen = k
        if chosen < 0:
            return False
        k = chosen
        if k >= self.intervals:
            bits = self.placed[place, 2 * k] & (self.boxes[row, 2 * k] ^ _MASK)
            self.point[k] = self.point[k] ^ (bits & ((bits ^ _MASK) + one))
            return True
        below = self.boxes[row, 2 * k] < self.placed[place, 2 * k]
        above = self.boxes[row, 2 * k + 1] > self.placed[place, 2 * k + 1]
        if below and above:
            below = (self._drawn() & one) != 0
        if below:
            self.point[k] = self._between(self.boxes[row, 2 * k], self.placed[place, 2 * k] - one)
        else:
            self.point[k] = self._between(self.placed[place, 2 * k + 1] + one, self.boxes[row, 2 * k + 1])
        return True

    def alive(
        self,
        tries: cython.int,
        seed: cython.ulonglong,
        found: cython.int[::1],
        witness: cython.ulonglong[:, ::1],
    ) -> None:
        """Looks for a point of each row that no earlier row holds.

        `found[row]`: -1 alive, with the point in `witness[row]`; an earlier row that contains it; -2 open.
        """
        row: cython.int
        n: cython.int = self.boxes.shape[0]
        place: cython.int
        t: cython.int
        k: cython.Py_ssize_t
        self.state = seed
        with cython.nogil:
            for row in range(n):
                for k in range(self.intervals):
                    self.point[k] = self._between(self.boxes[row, 2 * k], self.boxes[row, 2 * k + 1])
                for k in range(self.intervals, self.intervals + self.words):
                    self.point[k] = self.boxes[row, 2 * k + 1]
                place = self._first(0, row, -1, True)
                found[row] = -1
                if place >= 0:
                    t = self._first(0, row, row, True)
                    if t >= 0:
                        found[row] = self.number[t]
                        continue
                    found[row] = -2
                    for _ in range(tries):
                        if not self._moved(row, place):
                            break
                        place = self._first(0, row, -1, True)
                        if place < 0:
                            found[row] = -1
                            break
                if found[row] == -1:
                    for k in range(self.intervals + self.words):
                        witness[row, k] = self.point[k]

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _largest(self, part: cython.ulonglong[:, ::1], at: cython.int, bound: cython.int) -> cython.int:
        """The place of the row before `bound` that holds the point and takes most of a part; -1 if none holds it."""
        best: cython.int = -1
        most: cython.double = -1.0
        taken: cython.double
        top: cython.int = 1
        node: cython.int
        column: cython.int
        i: cython.int
        k: cython.Py_ssize_t
        a: cython.ulonglong
        b: cython.ulonglong
        self.stack[0] = 0
        while top > 0:
            top -= 1
            node = self.stack[top]
            if self.node[node, 4] >= bound:
                continue
            column = self.node[node, 0]
            if column >= 0:
                if column < self.intervals:
                    i = self.node[node, 2] if self.point[column] >= self.cut[node] else self.node[node, 1]
                else:
                    i = self.node[node, 2] if self.point[column] & self.cut[node] else self.node[node, 1]
                if i >= 0:
                    self.stack[top] = i
                    top += 1
                if self.node[node, 3] >= 0:
                    self.stack[top] = self.node[node, 3]
                    top += 1
                continue
            for i in range(self.node[node, 1], self.node[node, 2]):
                if self.number[i] >= bound:
                    break
                if not self._holds(i):
                    continue
                taken = 1.0
                for k in range(self.intervals):
                    a = part[at, 2 * k]
                    b = part[at, 2 * k + 1]
                    if self.placed[i, 2 * k] > a or self.placed[i, 2 * k + 1] < b:
                        a = self.placed[i, 2 * k] if self.placed[i, 2 * k] > a else a
                        b = self.placed[i, 2 * k + 1] if self.placed[i, 2 * k + 1] < b else b
                        taken = taken * (
                            (cython.cast(cython.double, b - a) + 1.0)
                            / (cython.cast(cython.double, part[at, 2 * k + 1] - part[at, 2 * k]) + 1.0)
                        )
                for k in range(self.intervals, self.intervals + self.words):
                    a = self.placed[i, 2 * k] & (part[at, 2 * k] ^ _MASK)
                    while a != 0:
                        a = a & (a - 1)
                        taken = taken * 0.5
                if taken > most or (taken == most and self.number[i] < self.number[best]):
                    most = taken
                    best = i
        return best

    def cover(
        self,
        bound: cython.int,
        part: cython.ulonglong[:, ::1],
        members: cython.int[::1],
        steps: cython.longlong,
        point: cython.ulonglong[::1],
    ) -> cython.int:
        """Whether the rows before `bound` cover the box `part[0]`: UNCOVERED, STOPPED, or how many `members` do, plus 2.

        `part` is the stack. UNCOVERED fills `point`. Members may be there twice, and are not all needed. STOPPED:
        there is no room for more parts or members, or there were `steps` subtractions.
        """
        top: cython.int = 0
        room: cython.int = part.shape[0]
        count: cython.int = 0
        most: cython.int = members.shape[0]
        place: cython.int
        result: cython.int = -1
        k: cython.Py_ssize_t
        with cython.nogil:
            while top >= 0:
                self._draw(part, top)
                place = self._largest(part, top, bound)
                if place < 0:
                    for k in range(self.intervals + self.words):
                        point[k] = self.point[k]
                    result = 0
                    break
                steps -= 1
                if steps < 0 or count == most:
                    result = 2
                    break
                if count == 0 or members[count - 1] != self.number[place]:
                    members[count] = self.number[place]
                    count += 1
                top = self._cut(part, top, room, place)
                if top < -1:
                    result = 2
                    break
        return result if result >= 0 else count + 2

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _cut(
        self, part: cython.ulonglong[:, ::1], top: cython.int, room: cython.int, place: cython.int
    ) -> cython.int:
        """Replaces the part on top by what lies outside of a box that it meets: the new top, -2 without room."""
        k: cython.Py_ssize_t
        j: cython.Py_ssize_t
        bits: cython.ulonglong
        bit: cython.ulonglong
        one: cython.ulonglong = 1
        for k in range(self.intervals):
            if top + 2 >= room:
                return -2
            if self.placed[place, 2 * k] > part[top, 2 * k]:
                for j in range(self.width):
                    part[top + 1, j] = part[top, j]
                part[top, 2 * k + 1] = self.placed[place, 2 * k] - one
                part[top + 1, 2 * k] = self.placed[place, 2 * k]
                top += 1
            if self.placed[place, 2 * k + 1] < part[top, 2 * k + 1]:
                for j in range(self.width):
                    part[top + 1, j] = part[top, j]
                part[top, 2 * k] = self.placed[place, 2 * k + 1] + one
                part[top + 1, 2 * k + 1] = self.placed[place, 2 * k + 1]
                top += 1
        for k in range(self.intervals, self.intervals + self.words):
            bits = self.placed[place, 2 * k] & (part[top, 2 * k] ^ _MASK)
            while bits != 0:
                if top + 1 >= room:
                    return -2
                bit = bits & ((bits ^ _MASK) + one)
                bits ^= bit
                for j in range(self.width):
                    part[top + 1, j] = part[top, j]
                part[top, 2 * k] |= bit
                part[top, 2 * k + 1] |= bit & (self.placed[place, 2 * k + 1] ^ bit)
                part[top + 1, 2 * k] |= bit
                part[top + 1, 2 * k + 1] |= bit & self.placed[place, 2 * k + 1]
                top += 1
        return top - 1

    # What a box leaves of rows

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _hidden(
        self,
        row: cython.int,
        bound: cython.int,
        part: cython.ulonglong[:, ::1],
        begin: cython.int,
        end: cython.int,
    ) -> cython.bint:
        """Whether a row before `bound`, none of `begin` to before `end`, contains `part[0]`, which is what a box leaves of `row`.

        Of equals the first stays.
        """
        top: cython.int = 1
        node: cython.int
        column: cython.int
        i: cython.int
        k: cython.Py_ssize_t
        contains: cython.bint
        equal: cython.bint
        self.stack[0] = 0
        while top > 0:
            top -= 1
            node = self.stack[top]
            if self.node[node, 4] >= bound:
                continue
            column = self.node[node, 0]
            if column >= 0:
                # What contains the part lies on both sides of a cut through it, or on the part's side.
                if self.node[node, 3] >= 0:
                    self.stack[top] = self.node[node, 3]
                    top += 1
                i = -1
                if column < self.intervals:
                    if part[0, 2 * column] >= self.cut[node]:
                        i = self.node[node, 2]
                    elif part[0, 2 * column + 1] < self.cut[node]:
                        i = self.node[node, 1]
                elif part[0, 2 * column] & self.cut[node]:
                    i = self.node[node, 2] if part[0, 2 * column + 1] & self.cut[node] else self.node[node, 1]
                if i >= 0:
                    self.stack[top] = i
                    top += 1
                continue
            for i in range(self.node[node, 1], self.node[node, 2]):
                if self.number[i] >= bound:
                    break
                if self.number[i] == row or begin <= self.number[i] < end:
                    continue
                contains = True
                for k in range(self.intervals):
                    if (
                        part[0, 2 * k] < self.placed[i, 2 * k]
                        or part[0, 2 * k + 1] > self.placed[i, 2 * k + 1]
                    ):
                        contains = False
                        break
                if not contains:
                    continue
                for k in range(self.intervals, self.intervals + self.words):
                    if (self.placed[i, 2 * k] & part[0, 2 * k]) != self.placed[i, 2 * k] or (
                        part[0, 2 * k + 1] & self.placed[i, 2 * k]
                    ) != self.placed[i, 2 * k + 1]:
                        contains = False
                        break
                if not contains:
                    continue
                if self.number[i] < row:
                    return True
                equal = True
                for k in range(self.width):
                    if self._clipped(part, i, k) != part[0, k]:
                        equal = False
                        break
                if not equal:
                    return True
        return False

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def _clipped(
        self, part: cython.ulonglong[:, ::1], place: cython.int, k: cython.Py_ssize_t
    ) -> cython.ulonglong:
        """One bound or word of what the box `part[1]` leaves of a place."""
        v: cython.ulonglong = self.placed[place, k]
        if k >= 2 * self.intervals:
            return v | part[1, k]
        if k % 2 == 0:
            return v if v > part[1, k] else part[1, k]
        return v if v < part[1, k] else part[1, k]

    def inside(
        self,
        rows: cython.longlong[::1],
        count: cython.int,
        bound: cython.int,
        part: cython.ulonglong[:, ::1],
        out: cython.ulonglong[:, ::1],
        begin: cython.int,
        end: cython.int,
    ) -> cython.int:
        """What the box `part[1]` leaves of rows that meet it, without those of which another row takes it all.

        The other row comes before `bound`, or, if that is negative, before the row itself, and is none of `begin` to before `end`. `rows` keeps the rows that stay, `out` has what is left of
        them; returns how many.
        """
        i: cython.int
        k: cython.Py_ssize_t
        row: cython.int
        kept: cython.int = 0
        with cython.nogil:
            for i in range(count):
                row = cython.cast(cython.int, rows[i])
                for k in range(self.width):
                    part[0, k] = self.boxes[row, k]
                for k in range(self.intervals):
                    if part[1, 2 * k] > part[0, 2 * k]:
                        part[0, 2 * k] = part[1, 2 * k]
                    if part[1, 2 * k + 1] < part[0, 2 * k + 1]:
                        part[0, 2 * k + 1] = part[1, 2 * k + 1]
                for k in range(2 * self.intervals, self.width):
                    part[0, k] |= part[1, k]
                if self._hidden(row, bound if bound >= 0 else row, part, begin, end):
                    continue
                rows[kept] = row
                for k in range(self.width):
                    out[kept, k] = part[0, k]
                kept += 1
        return kept

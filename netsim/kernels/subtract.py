"""Whether some boxes cover a box, by subtraction.

Theory of operation. A *box* is (low, high) for each interval column, then (care, value) for each word. Parts of the box lie on a stack, each with the number of the next box to subtract. A part that
a box meets is cut along one column after another into what lies outside, at most two parts a column (for a
word: one a bit), which go on with the next box. A part that has passed all boxes is uncovered; when the stack
is empty the box is covered by the boxes that cut something. Exponential in columns at worst, so steps are
counted. The twins are `Rows.scan` and `index.boxes.cover`.
"""

from __future__ import annotations

import cython

UNCOVERED = 0
COVERED = 1
STOPPED = 2


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _meets(
    part: cython.ulonglong[::1],
    at: cython.Py_ssize_t,
    intervals: cython.Py_ssize_t,
    words: cython.Py_ssize_t,
    boxes: cython.ulonglong[:, ::1],
    box: cython.Py_ssize_t,
) -> cython.bint:
    k: cython.Py_ssize_t
    for k in range(intervals):
        if boxes[box, 2 * k] > part[at + 2 * k + 1] or boxes[box, 2 * k + 1] < part[at + 2 * k]:
            return False
    for k in range(intervals, intervals + words):
        if (boxes[box, 2 * k + 1] ^ part[at + 2 * k + 1]) & boxes[box, 2 * k] & part[at + 2 * k]:
            return False
    return True


def cover(
    boxes: cython.ulonglong[:, ::1],
    chosen: cython.longlong[::1],
    count: cython.Py_ssize_t,
    row: cython.Py_ssize_t,
    intervals: cython.Py_ssize_t,
    words: cython.Py_ssize_t,
    stack: cython.ulonglong[::1],
    starts: cython.int[::1],
    used: cython.uchar[::1],
    steps: cython.longlong,
    point: cython.ulonglong[::1],
) -> cython.int:
    """Whether boxes `chosen[:count]` cover box `row`: UNCOVERED, COVERED or STOPPED.

    A box is (low, high) for each interval column, then (care, value) for each word. UNCOVERED fills `point` with
    a value for each column; COVERED marks in `used` (of `chosen`) what took part. STOPPED: steps or stack ran out.
    """
    width: cython.Py_ssize_t = 2 * (intervals + words)
    room: cython.Py_ssize_t = starts.shape[0]
    top: cython.Py_ssize_t = 0
    at: cython.Py_ssize_t
    to: cython.Py_ssize_t
    k: cython.Py_ssize_t
    j: cython.Py_ssize_t
    i: cython.Py_ssize_t
    box: cython.Py_ssize_t
    result: cython.int = -1
    bits: cython.ulonglong
    bit: cython.ulonglong
    one: cython.ulonglong = 1
    with cython.nogil:
        for k in range(width):
            stack[k] = boxes[row, k]
        starts[0] = 0
        for i in range(count):
            used[i] = 0
        while top >= 0:
            at = top * width
            i = starts[top]
            while i < count:
                steps -= 1
                if steps < 0:
                    result = 2
                    break
                if _meets(stack, at, intervals, words, boxes, chosen[i]):
                    break
                i += 1
            if result >= 0:
                break
            if i == count:
                for k in range(intervals):
                    point[k] = stack[at + 2 * k]
                for k in range(intervals, intervals + words):
                    point[k] = stack[at + 2 * k + 1]
                result = 0
                break
            # The part is cut: its copy stays on top and shrinks to what lies inside, pieces go below it.
            used[i] = 1
            box = chosen[i]
            for k in range(intervals):
                if top + 3 >= room:
                    result = 2
                    break
                if boxes[box, 2 * k] > stack[at + 2 * k]:
                    to = at + width
                    for j in range(width):
                        stack[to + j] = stack[at + j]
                    stack[at + 2 * k + 1] = boxes[box, 2 * k] - one
                    stack[to + 2 * k] = boxes[box, 2 * k]
                    starts[top] = i + 1
                    top += 1
                    at = to
                if boxes[box, 2 * k + 1] < stack[at + 2 * k + 1]:
                    to = at + width
                    for j in range(width):
                        stack[to + j] = stack[at + j]
                    stack[at + 2 * k] = boxes[box, 2 * k + 1] + one
                    stack[to + 2 * k + 1] = boxes[box, 2 * k + 1]
                    starts[top] = i + 1
                    top += 1
                    at = to
            for k in range(intervals, intervals + words):
                bits = boxes[box, 2 * k] & (boxes[box, 2 * k] ^ stack[at + 2 * k])
                bit = one
                while bits != 0 and result < 0:
                    if bits & one:
                        if top + 2 >= room:
                            result = 2
                            break
                        to = at + width
                        for j in range(width):
                            stack[to + j] = stack[at + j]
                        stack[at + 2 * k] = stack[at + 2 * k] | bit
                        stack[at + 2 * k + 1] = stack[at + 2 * k + 1] | (bit & (boxes[box, 2 * k + 1] ^ bit))
                        stack[to + 2 * k] = stack[to + 2 * k] | bit
                        stack[to + 2 * k + 1] = stack[to + 2 * k + 1] | (bit & boxes[box, 2 * k + 1])
                        starts[top] = i + 1
                        top += 1
                        at = to
                    bits = bits >> one
                    bit = bit << one
            if result >= 0:
                break
            top -= 1  # what is left on top lies inside the box
        if result < 0:
            result = 1
    return result

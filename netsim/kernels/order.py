"""The longest increasing subsequence of some numbers: what two lists have in common, in one order.

Patience sorting (Aldous and Diaconis 1999): the smallest end of a subsequence of each length, found by halves. n log n steps.
The twins are `index.align` and `BoxTree.increasing` without a kernel.
"""

from __future__ import annotations

import cython


def increasing(
    numbers: cython.longlong[::1], work: cython.longlong[:, ::1], out: cython.uchar[::1]
) -> cython.longlong:
    """Marks a longest increasing subsequence of different numbers (patience sorting), and returns its length.

    `work` is room for three times as many numbers.
    """
    n: cython.longlong = numbers.shape[0]
    i: cython.longlong
    low: cython.longlong
    high: cython.longlong
    middle: cython.longlong
    length: cython.longlong = 0
    with cython.nogil:
        for i in range(n):
            low = 0
            high = length
            while low < high:
                middle = (low + high) // 2
                if work[0, middle] < numbers[i]:
                    low = middle + 1
                else:
                    high = middle
            work[0, low] = numbers[i]
            work[1, low] = i
            work[2, i] = work[1, low - 1] if low > 0 else -1
            if low == length:
                length += 1
            out[i] = 0
        i = work[1, length - 1] if length > 0 else -1
        while i >= 0:
            out[i] = 1
            i = work[2, i]
    return length

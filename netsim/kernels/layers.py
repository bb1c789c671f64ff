"""The layers of a list of rows: which of them may be overridden in any order.

Theory of operation. layer(i) = 1 + max(layer(j)) over the earlier rows j that overlap row i and decide
differently, 0 if there is none. A packet's verdict is that of the lowest layer that it matches: were i its
first match, every row that it matches and that decides differently comes later, overlaps i and so lies in a
higher layer. Inside a layer the order does not matter, so a layer can be sorted in space.

The earlier rows are found in a tree of bounding boxes over all rows (leaves of `FAN` rows in a spatial
order that the caller gives, then `FAN` nodes each). Rows enter in list order; each node keeps the highest
layer below it, with its decision, and the highest of any other decision, so that a search leaves out
what cannot raise its answer. Linear in rows for lists as people write them, quadratic at worst.
"""

from __future__ import annotations

import cython

FAN = 8


def layers(
    low: cython.ulonglong[:, ::1],
    high: cython.ulonglong[:, ::1],
    decision: cython.int[::1],
    order: cython.longlong[::1],
    place: cython.longlong[::1],
    starts: cython.longlong[::1],
    node_low: cython.ulonglong[:, ::1],
    node_high: cython.ulonglong[:, ::1],
    best: cython.int[::1],
    best_decision: cython.int[::1],
    second: cython.int[::1],
    stack: cython.longlong[::1],
    result: cython.int[::1],
) -> None:
    """Fills `result[row]`.

    `order` and its inverse `place` put rows in space. The nodes of depth 0 (leaves) are `starts[0] ..
    starts[1] - 1`, their parents follow, the last is the root. `best` and `second` begin as -1, the node
    boxes as empty; `stack` has room for `FAN` nodes for each depth.
    """
    columns: cython.Py_ssize_t = low.shape[0]
    rows: cython.longlong = order.shape[0]
    depths: cython.Py_ssize_t = starts.shape[0] - 1
    root: cython.longlong = starts[depths] - 1
    row: cython.longlong
    other: cython.longlong
    at: cython.longlong
    first: cython.longlong
    last: cython.longlong
    node: cython.longlong
    c: cython.Py_ssize_t
    depth: cython.Py_ssize_t
    top: cython.Py_ssize_t
    found: cython.int
    limit: cython.int
    mine: cython.int
    meets: cython.bint
    with cython.nogil:
        for row in range(rows):
            # The box of every node above the row grows before the search: an entered row is in its boxes.
            found = -1
            mine = decision[row]
            top = 0
            stack[0] = root
            while top >= 0:
                node = stack[top]
                top -= 1
                limit = best[node] if best_decision[node] != mine else second[node]
                if limit <= found:
                    continue
                meets = True
                for c in range(columns):
                    if node_low[c, node] > high[c, row] or node_high[c, node] < low[c, row]:
                        meets = False
                        break
                if not meets:
                    continue
                if node < starts[1]:
                    first = node * 8
                    last = first + 8
                    if last > rows:
                        last = rows
                    for at in range(first, last):
                        other = order[at]
                        if other >= row or result[other] <= found or decision[other] == mine:
                            continue
                        meets = True
                        for c in range(columns):
                            if low[c, other] > high[c, row] or high[c, other] < low[c, row]:
                                meets = False
                                break
                        if meets:
                            found = result[other]
                else:
                    depth = 1
                    while node >= starts[depth + 1]:
                        depth += 1
                    first = starts[depth - 1] + (node - starts[depth]) * 8
                    last = first + 8
                    if last > starts[depth]:
                        last = starts[depth]
                    for at in range(first, last):
                        top += 1
                        stack[top] = at
            result[row] = found + 1
            found += 1
            at = place[row] // 8
            for depth in range(depths):
                node = starts[depth] + at
                for c in range(columns):
                    if low[c, row] < node_low[c, node]:
                        node_low[c, node] = low[c, row]
                    if high[c, row] > node_high[c, node]:
                        node_high[c, node] = high[c, row]
                if mine == best_decision[node]:
                    if found > best[node]:
                        best[node] = found
                elif found > best[node]:
                    second[node] = best[node]
                    best[node] = found
                    best_decision[node] = mine
                elif found > second[node]:
                    second[node] = found
                at = at // 8

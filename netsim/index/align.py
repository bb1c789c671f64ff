"""Which rules two lists have in common, in one order.

The longest increasing subsequence over equal rules; an edit leaves most rules the same objects, which are found at
once. Cost: near linear in the rules that are not a common beginning or end.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from netsim.rules.model import ActionKind, Rule

_Key = tuple[object, ...]


def _key(rule: Rule) -> _Key:
    """What a rule means, apart from where it stands and what it has counted."""
    action = (rule.action.kind, rule.action.chain)
    if rule.action.kind is ActionKind.UNMODELLED:
        action = (*action, rule.action.text)  # type: ignore[assignment]
    return (rule.conditions, action, rule.effects)


def _same(a: Rule, b: Rule) -> bool:
    return a is b or _key(a) == _key(b)


def unaligned(before: tuple[Rule, ...], after: tuple[Rule, ...]) -> tuple[list[Rule], list[Rule]]:
    """The rules of two lists that no common subsequence of equal rules needs: (of before, of after)."""
    first, last = 0, 0
    shorter = min(len(before), len(after))
    while first < shorter and _same(before[first], after[first]):
        first += 1
    while last < shorter - first and _same(before[-1 - last], after[-1 - last]):
        last += 1
    a, b = before[first : len(before) - last], after[first : len(after) - last]
    if not a or not b:
        return list(a), list(b)
    # Rules made of the same objects are paired first: an edit leaves them alone, and they are found at once.
    pairs = _paired(
        list(enumerate(a)), list(enumerate(b)), lambda r: (id(r.conditions), id(r.action), id(r.effects))
    )
    in_a, in_b = {i for i, _ in pairs}, {j for _, j in pairs}
    left_a = [(i, rule) for i, rule in enumerate(a) if i not in in_a]
    left_b = [(j, rule) for j, rule in enumerate(b) if j not in in_b]
    pairs += _paired(left_a, left_b, _key)
    kept = _increasing(sorted(pairs))
    in_a, in_b = {i for i, _ in kept}, {j for _, j in kept}
    return [r for i, r in enumerate(a) if i not in in_a], [r for j, r in enumerate(b) if j not in in_b]


def _paired(
    a: list[tuple[int, Rule]], b: list[tuple[int, Rule]], key: Callable[[Rule], _Key]
) -> list[tuple[int, int]]:
    """The n-th rule of a key in one list with the n-th in the other."""
    places: dict[_Key, list[int]] = {}
    for j, rule in b:
        places.setdefault(key(rule), []).append(j)
    used: dict[_Key, int] = {}
    pairs: list[tuple[int, int]] = []
    for i, rule in a:
        wanted = key(rule)
        n = used.get(wanted, 0)
        if n < len(places.get(wanted, ())):
            used[wanted] = n + 1
            pairs.append((i, places[wanted][n]))
    return pairs


def _increasing(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest subsequence whose second members increase (patience sorting)."""
    tops: list[int] = []
    piles: list[int] = []
    behind: list[int] = []
    for n, (_, j) in enumerate(pairs):
        at = bisect_left(tops, j)
        behind.append(piles[at - 1] if at else -1)
        if at == len(tops):
            tops.append(j)
            piles.append(n)
        else:
            tops[at], piles[at] = j, n
    result: list[tuple[int, int]] = []
    n = piles[-1] if piles else -1
    while n >= 0:
        result.append(pairs[n])
        n = behind[n]
    return result[::-1]


__all__ = ["unaligned"]

"""ClassBench lists (Taylor and Turner, INFOCOM 2005) as columns, rows and rule sets; found through NETSIM_DATA.

A line is `@src/len dst/len lo : hi lo : hi protocol/mask flags/mask`. The lists carry no actions: 30 % of the
rules deny, at random with seed 1. Flags are left out, as the library measured beside us leaves them out.
"""

from __future__ import annotations

import lzma
import os
import random
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from numpy.typing import NDArray

from netsim.index.rows import Rows
from netsim.rules.model import Action, ActionKind, In, Rule, RuleSet
from netsim.source import Source

COLUMNS = ("src4", "dst4", "sport", "dport", "protocol")
TOP = {"src4": 0xFFFF_FFFF, "dst4": 0xFFFF_FFFF, "sport": 0xFFFF, "dport": 0xFFFF, "protocol": 0xFF}
FAMILIES = ("acl1", "fw1", "ipc1")
SIZES = ("100", "1k", "10k", "100k")


@attrs.frozen(eq=False)
class List:
    """A list as columns of inclusive bounds, with the rows that deny."""

    name: str
    low: dict[str, NDArray[np.uint64]]
    high: dict[str, NDArray[np.uint64]]
    deny: NDArray[np.bool_]

    @property
    def rows(self) -> Rows:
        return Rows(self.low, self.high, np.arange(len(self.deny), dtype=np.int32))

    def rules(self) -> RuleSet:
        """The list as one chain of rules."""
        accept, drop = Action(ActionKind.ACCEPT), Action(ActionKind.DROP)
        order = ("src4", "dst4", "protocol", "sport", "dport")
        columns = [(c, self.low[c].tolist(), self.high[c].tolist()) for c in order]
        found = []
        for i, deny in enumerate(self.deny.tolist()):
            bounds = ((c, low[i], high[i]) for c, low, high in columns)
            conditions = tuple(In(c, ((a, b),)) for c, a, b in bounds if (a, b) != (0, TOP[c]))
            found.append(Rule(conditions, drop if deny else accept, source=Source(self.name, i + 1)))
        return RuleSet.of(found)


def _prefix(text: str) -> tuple[int, int]:
    address, _, length = text.partition("/")
    a, b, c, d = map(int, address.split("."))
    host = 0xFFFF_FFFF >> int(length)
    low = (a << 24 | b << 16 | c << 8 | d) & ~host
    return low, low | host


@lru_cache(maxsize=4)
def load(name: str) -> List:
    """A list by its name, such as `fw1_10k`; skips where NETSIM_DATA does not lead to it."""
    root = os.environ.get("NETSIM_DATA")
    if not root:
        pytest.skip("NETSIM_DATA is not set")
    path = Path(root) / "classbench" / name
    packed = path.with_name(name + ".xz")
    opened: Any = lzma.open(packed, "rt") if packed.exists() else path.open()
    found: list[tuple[int, ...]] = []
    with opened as lines:
        for line in lines:
            if not line.startswith("@"):
                continue
            words = line[1:].split()
            protocol, mask = (int(w, 16) for w in words[8].split("/"))
            bounds = (protocol, protocol) if mask else (0, 255)
            ports = (int(words[i]) for i in (2, 4, 5, 7))
            found.append((*_prefix(words[0]), *_prefix(words[1]), *ports, *bounds))
    table = np.array(found, np.uint64)
    low = {c: np.ascontiguousarray(table[:, 2 * i]) for i, c in enumerate(COLUMNS)}
    high = {c: np.ascontiguousarray(table[:, 2 * i + 1]) for i, c in enumerate(COLUMNS)}
    rng = random.Random(1)
    return List(name, low, high, np.array([rng.random() < 0.3 for _ in found]))


def scan(given: List, trace: dict[str, Any], count: int) -> NDArray[np.int64]:
    """The first row of the first `count` records, one rule after another: what every classifier is held to."""
    found = np.full(count, -1)
    for i in range(len(given.deny) - 1, -1, -1):
        inside = np.ones(count, np.bool_)
        for c in COLUMNS:
            inside &= (trace[c][:count] >= given.low[c][i]) & (trace[c][:count] <= given.high[c][i])
        found[inside] = i
    return found

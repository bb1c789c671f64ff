"""ClassBench lists (Taylor and Turner, INFOCOM 2005) as columns, rows and rule sets; found through NETSIM_DATA.

A line is `@src/len dst/len lo : hi lo : hi protocol/mask flags/mask`. The lists carry no actions: 30 % of the
rules deny, at random with seed 1. Flags are left out unless `+flags` follows the name; TCP's are
their upper byte.
"""

from __future__ import annotations

import lzma
import os
import random
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.lists import FOUR, List

FAMILIES = ("acl1", "fw1", "ipc1")
SIZES = ("100", "1k", "10k", "100k")


def _prefix(text: str) -> tuple[int, int]:
    address, _, length = text.partition("/")
    a, b, c, d = map(int, address.split("."))
    host = 0xFFFF_FFFF >> int(length)
    low = (a << 24 | b << 16 | c << 8 | d) & ~host
    return low, low | host


@lru_cache(maxsize=4)
def load(name: str) -> List:
    """A list by its name, such as `fw1_10k`, or with its flags `fw1_10k+flags`; skips where NETSIM_DATA is not set."""
    name, _, flags = name.partition("+")
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
            value, care = (int(w, 16) >> 8 for w in words[9].split("/")) if flags else (0, 0)
            found.append((*_prefix(words[0]), *_prefix(words[1]), *ports, *bounds, care, value & care))
    table = np.array(found, np.uint64)
    low = {c: np.ascontiguousarray(table[:, 2 * i]) for i, c in enumerate(FOUR)}
    high = {c: np.ascontiguousarray(table[:, 2 * i + 1]) for i, c in enumerate(FOUR)}
    rng = random.Random(1)
    deny = np.array([rng.random() < 0.3 for _ in found])
    if not flags:
        return List(name, low, high, deny)
    care_, value_ = ({"tcp_flags": np.ascontiguousarray(table[:, i])} for i in (10, 11))
    return List(f"{name}+{flags}", low, high, deny, care_, value_)

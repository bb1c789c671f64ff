"""Ours and a peer's by turns, so that a noisy machine is noisy for both: ratios of medians in `extra_info`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any


def against(
    benchmark: Any,
    ours: Callable[[], Any],
    peers: Mapping[str, Callable[[], Any]],
    *,
    rounds: int = 9,
    **more: Any,
) -> dict[str, float]:
    """Times `ours`, and before each round every peer once. Returns and stores how many times as long a peer takes.

    `more` goes into `extra_info` beside `peers` (name -> median seconds, best, ratio of medians).
    """
    seconds: dict[str, list[float]] = {name: [] for name in peers}

    def others() -> None:
        for name, run in peers.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)

    ours()
    benchmark.pedantic(ours, setup=others, rounds=rounds, iterations=1)
    mine = benchmark.stats.stats.median
    ratios = {name: statistics.median(s) / mine for name, s in seconds.items()}
    benchmark.extra_info.update(more)
    benchmark.extra_info["peers"] = {
        name: {"median": statistics.median(s), "best": min(s), "ratio": ratios[name]}
        for name, s in seconds.items()
    }
    return ratios

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
    work: int = 1,
    theirs: Mapping[str, int] | None = None,
    **more: Any,
) -> dict[str, float]:
    """Times `ours`, and before each round every peer once. Returns and stores how many times as long a peer takes.

    A ratio is of medians, for the same work: `work` is how much ours does in a round, `theirs` how much a peer does
    where that is not the same (slow peers take fewer records). `more` goes into `extra_info` beside `peers`:
    name -> median and best seconds, work, ratio.
    """
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    share = {name: work / (theirs or {}).get(name, work) for name in peers}

    def others() -> None:
        for name, run in peers.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)

    ours()
    for run in peers.values():
        run()
    benchmark.pedantic(ours, setup=others, rounds=rounds, iterations=1)
    if benchmark.stats is None:  # benchmarks are turned off: everything ran, nothing is compared
        return dict.fromkeys(peers, 1.0)
    mine = benchmark.stats.stats.median
    ratios = {name: statistics.median(s) * share[name] / mine for name, s in seconds.items()}
    benchmark.extra_info.update(more, work=work)
    benchmark.extra_info["peers"] = {
        name: {
            "median": statistics.median(s),
            "best": min(s),
            "work": work / share[name],
            "ratio": ratios[name],
        }
        for name, s in seconds.items()
    }
    return ratios

"""Prints one table of a `--benchmark-json` file: `python -m benchmarks.table FILE`."""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any


def mean(values: list[float]) -> float:
    """The geometric mean."""
    return math.exp(sum(map(math.log, values)) / len(values))


def classify(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| list | trace | M packets/s, median (best) | DPDK, median | ratio | build ms (DPDK) | MB (DPDK) |",
        "|---|---|---|---|---|---|---|",
    ]
    means: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        info, stats = row["extra_info"], row["stats"]
        rate, best = (info["packets"] / stats[k] / 1e6 for k in ("median", "min"))
        dpdk = info.get("dpdk")
        beside = ["-"] * 2
        build, memory = f"{info['build'] * 1e3:.1f}", f"{info['memory'] / 1e6:.1f}"
        if dpdk:
            beside = [f"{rate / dpdk['ratio']:.1f} ({dpdk['algorithm']})", f"{dpdk['ratio']:.2f}"]
            build += f" ({dpdk['build'] * 1e3:.0f})"
            memory += f" ({dpdk['memory'] / 1e6:.0f})"
            means[info["list"].split("_")[1], info["kind"]].append((rate, dpdk["ratio"]))
        lines.append(
            f"| {info['list']} | {info['kind']} | {rate:.1f} ({best:.1f}) | {' | '.join(beside)} | {build} | {memory} |"
        )
    for (size, kind), found in means.items():
        rates, ratios = zip(*found, strict=True)
        lines.append(
            f"| mean of {len(found)}, {size} | {kind} | {mean(list(rates)):.1f} | | {mean(list(ratios)):.2f} | | |"
        )
    return lines


def others(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["| what | median ms | best ms | beside it |", "|---|---|---|---|"]
    for row in rows:
        peers = ", ".join(
            f"{name} {peer['median'] * 1e3:.3g} ms: {peer['ratio']:.2f}x"
            for name, peer in row["extra_info"].get("peers", {}).items()
        )
        name = row["name"].removeprefix("test_").replace("_", " ")
        lines.append(
            f"| {name} | {row['stats']['median'] * 1e3:.3g} | {row['stats']['min'] * 1e3:.3g} | {peers} |"
        )
    return lines


def main(path: str) -> None:
    rows = json.loads(Path(path).read_text())["benchmarks"]
    classified = [r for r in rows if r["name"].startswith("test_classify[")]
    if classified:
        print("\n".join(classify(classified)) + "\n")
    rest = [r for r in rows if r not in classified]
    if rest:
        print("\n".join(others(rest)))


if __name__ == "__main__":
    main(sys.argv[1])

"""Prints one table of a `--benchmark-json` file: `python -m benchmarks.table FILE [DOCUMENT]`.

With a document, the table also replaces what stands there between the lines `BEGIN` and `END`.

Rows that take records are in millions a second, the others in seconds. Beside them stand peers of the same run, with
two ratios: how many times as long they take for the same work, by medians and by best rounds. Means are geometric,
over acl1, fw1, ipc1.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import attrs

BEGIN, END = "% begin of the table that `make bench` prints", "% end of the table"

PACKAGES = {"numpy": "", "netaddr": "netaddr loop", "aerleon": "aclcheck", "oxidd": "OxiDD", "numba": "numba"}
"""What is named below the table where its peer ran."""
FAMILIES = ("acl1", "fw1", "ipc1")
HEAD = "| row | median | best | worst | beside it: median, best (ratios) | build | memory |"


def mean(values: Iterable[float]) -> float:
    """The geometric mean; 0 where a value is."""
    found = list(values)
    return 0.0 if 0 in found else math.exp(sum(map(math.log, found)) / len(found))


def seconds(value: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def rate(work: float, value: float) -> str:
    """Records a second, in millions; where it is no rate, seconds."""
    if work <= 1:
        return seconds(value)
    found = work / value / 1e6
    return f"{found:.1f} M/s" if found >= 1 else f"{found:.2g} M/s"


def times(ratio: float) -> str:
    return f"{ratio:.{2 if ratio < 10 else 0}f}x"


def size(value: float) -> str:
    return f"{value / 1e6:.1f} MB"


@attrs.frozen
class Peer:
    """What a peer did in a round: seconds for some work, and how many times as long as ours for the same work."""

    work: float
    median: float
    best: float
    ratio: float
    best_ratio: float

    def text(self) -> str:
        both = f"{rate(self.work, self.median)}, {rate(self.work, self.best)}"
        return f"{both} ({times(self.ratio)}, {times(self.best_ratio)})"


@attrs.frozen
class Line:
    """A row: of one list, or a mean of several."""

    name: str
    list: str
    work: float
    median: float
    best: float
    worst: float
    peers: dict[str, Peer]
    build: dict[str, float]
    memory: dict[str, float]

    @classmethod
    def of(cls, row: dict[str, Any]) -> Line:
        info, stats = row["extra_info"], row["stats"]
        work = info.get("work", 1)
        peers = {
            name: Peer(
                p["work"], p["median"], p["best"], p["ratio"], p["best"] * work / p["work"] / stats["min"]
            )
            for name, p in info.get("peers", {}).items()
        }
        build, memory = ({"": info[k]} if k in info else {} for k in ("build", "memory"))
        if dpdk := info.get("dpdk"):
            name = dpdk["algorithm"]
            peers = {f"DPDK {name}": peers[name]}  # the better of its algorithms
            build["DPDK"], memory["DPDK"] = dpdk["build"], dpdk["memory"]
        given = info.get("list", "")
        name = row["name"].removeprefix("test_").replace("_", " ", row["name"].count("_"))
        if given:
            name = re.sub(
                rf"\[{re.escape(given.replace('_', ' '))}-?(.*)\]$",
                lambda m: f", {m[1]}" if m[1] else "",
                name,
            )
        return cls(name, given, work, stats["median"], stats["min"], stats["max"], peers, build, memory)

    def text(self) -> str:
        beside = "; ".join(f"{name} {peer.text()}" for name, peer in self.peers.items())
        cells = [
            f"{self.name}: {self.list}" if self.list else self.name,
            rate(self.work, self.median), rate(self.work, self.best), rate(self.work, self.worst), beside,
            *(", ".join(f"{name} {show(v)}".strip() for name, v in found.items())
              for found, show in ((self.build, seconds), (self.memory, size))),
        ]  # fmt: skip
        return f"| {' | '.join(cells)} |"


def _mean(lines: list[Line], list_: str) -> Line:
    """The mean of some lines; of peers, of those that all have. DPDK's algorithms are one peer."""

    def merged(found: list[dict[str, float]]) -> dict[str, float]:
        return {k: mean(f[k] for f in found) for k in found[0] if all(k in f for f in found)}

    peers = [{k.split(" AVX")[0].split(" SSE")[0]: v for k, v in line.peers.items()} for line in lines]
    common = [k for k in peers[0] if all(k in p for p in peers)]
    work = lines[0].work
    median, best, worst = (
        work * mean(getattr(x, k) / x.work for x in lines) for k in ("median", "best", "worst")
    )
    merged_peers = {
        name: Peer(
            work, *(work * mean(getattr(p[name], k) / p[name].work for p in peers) for k in ("median", "best")),
            *(mean(getattr(p[name], k) for p in peers) for k in ("ratio", "best_ratio")),
        )
        for name in common
    }  # fmt: skip
    build, memory = merged([x.build for x in lines]), merged([x.memory for x in lines])
    return Line(lines[0].name, list_, work, median, best, worst, merged_peers, build, memory)


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The table's lines: each group of lists with one name, and its mean behind it."""
    yield HEAD
    yield "|---|---|---|---|---|---|---|"
    lines = [Line.of(row) for row in rows]
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        family, _, tail = line.list.partition("_")
        groups.setdefault((line.name, tail if family in FAMILIES else line.list), []).append(line)
    for (_, tail), found in groups.items():
        yield from (line.text() for line in found)
        if {line.list.partition("_")[0] for line in found} == set(FAMILIES):
            yield _mean(found, f"**mean of {len(found)}, {tail}**").text()


def footer(found: dict[str, Any]) -> Iterator[str]:
    """What ran, and on what; which peers were missing."""
    machine, rows = found["machine_info"], found["benchmarks"]
    words = [
        f"{machine['cpu'].get('brand_raw', machine['machine'])}, {machine['cpu'].get('count', '?')} cores"
    ]
    words.append(f"Python {machine['python_version']}")
    asked = {name for row in rows for name in row["extra_info"].get("peers", {})}
    for package, peer in PACKAGES.items():
        if not peer or peer in asked:
            with suppress(PackageNotFoundError):
                words.append(f"{package} {version(package)}")
    words += sorted({row["extra_info"]["dpdk"]["version"] for row in rows if "dpdk" in row["extra_info"]})
    yield ", ".join(words) + "."
    for word in sorted({w for row in rows if (w := row["extra_info"].get("without"))}):
        yield f"Without {word}."


def main(path: str, document: str = "") -> None:
    found = json.loads(Path(path).read_text())
    text = "\n".join([*table(found["benchmarks"]), "", *footer(found)])
    print(text)
    if document:
        before, _, rest = Path(document).read_text().partition(BEGIN + "\n")
        _, _, after = rest.partition(END + "\n")
        Path(document).write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}\n{after}")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Loops over the rules: the whole batch at once with numpy, or record by record with netaddr's objects."""

from __future__ import annotations

from typing import Any

import netaddr
import numpy as np
from numpy.typing import NDArray

from benchmarks.lists import List, scan
from benchmarks.peers import Missing
from benchmarks.traces import Trace


class NumpyLoop:
    """One rule after another, asked of all records."""

    name = "numpy loop"
    records = 100_000

    def __init__(self, given: List) -> None:
        self.given = given

    def prepare(self, trace: Trace) -> None:
        self.trace = {c: values[: self.records] for c, values in trace.items()}

    def classify(self) -> NDArray[Any]:
        return scan(self.given, self.trace, len(self.trace["protocol"]))


class NetaddrLoop:
    """One record after another, asked of one rule after another."""

    name = "netaddr loop"
    records = 100

    def __init__(self, given: List) -> None:
        if "src4" not in given.low or given.care:
            raise Missing("the netaddr loop knows five fields and IPv4")
        self.rules: list[tuple[Any, ...]] = [
            (
                netaddr.cidr_merge([netaddr.IPRange(bounds[0], bounds[1])])[0],
                netaddr.cidr_merge([netaddr.IPRange(bounds[2], bounds[3])])[0],
                *bounds[4:],
            )
            for bounds in zip(
                *(bound[c].tolist() for c in given.low for bound in (given.low, given.high)), strict=True
            )
        ]

    def prepare(self, trace: Trace) -> None:
        columns = (trace[c][: self.records].tolist() for c in ("src4", "dst4", "sport", "dport", "protocol"))
        self.packets = [
            (netaddr.IPAddress(s, 4), netaddr.IPAddress(d, 4), *rest)
            for s, d, *rest in zip(*columns, strict=True)
        ]

    def classify(self) -> NDArray[Any]:
        return np.array([self._first(*packet) for packet in self.packets])

    def _first(self, src: Any, dst: Any, sport: int, dport: int, protocol: int) -> int:
        for i, (s, d, a, b, c, e, f, g) in enumerate(self.rules):
            if a <= sport <= b and c <= dport <= e and f <= protocol <= g and src in s and dst in d:
                return i
        return -1

"""DPDK's librte_acl through `dpdk_acl.c`, compiled on demand: Debian's packages dpdk, libdpdk-dev, pkg-config."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import time
import weakref
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.lists import U64, List
from benchmarks.peers import Missing
from benchmarks.traces import Trace

SOURCE = Path(__file__).with_name("dpdk_acl.c")
ALGORITHMS = {"AVX512X32": 7, "AVX512X16": 6, "AVX2": 3, "SSE": 2, "SCALAR": 1}
MEGABYTES = b"6144"
NUMBERS = count()


class _Built(ctypes.Structure):
    _fields_ = (
        ("context", ctypes.c_void_p),
        ("bytes", ctypes.c_size_t),
        ("words", ctypes.c_int),
        ("flags", ctypes.c_int),
    )


@cache
def library() -> Any:
    """The harness, compiled and initialised. Raises `Missing`."""
    if (
        not shutil.which("pkg-config")
        or subprocess.run(["pkg-config", "--exists", "libdpdk"], check=False).returncode
    ):
        raise Missing("libdpdk is not installed (Debian: dpdk libdpdk-dev pkg-config)")
    if not shutil.which("cc"):
        raise Missing("no C compiler")
    words = ["pkg-config", "--cflags", "--libs", "libdpdk"]
    flags = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "dpdk_acl.so"
        done = subprocess.run(
            ["cc", "-O3", "-march=native", "-shared", "-fPIC", "-o", out, SOURCE, *flags],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Missing(f"dpdk_acl.c does not compile: {done.stderr[-300:]}")
        found = ctypes.CDLL(str(out))
    found.dpdk_version.restype = ctypes.c_char_p
    before = os.sched_getaffinity(0)
    code = found.dpdk_init(MEGABYTES)
    os.sched_setaffinity(0, before)  # the library pins its main thread
    if code < 0:
        raise Missing("rte_eal_init failed")
    return found


def _pointer(array: NDArray[Any] | None) -> Any:
    return None if array is None else ctypes.c_void_p(array.ctypes.data)


def _addresses(columns: dict[str, Any]) -> NDArray[np.uint32]:
    """The words of sources and destinations, most significant first, one after another."""
    words: list[Any] = []
    for side in ("src", "dst"):
        if side + "4" in columns:
            words.append(columns[side + "4"])
        else:
            for half in (columns[side + "6.high"], columns[side + "6.low"]):
                words += [half >> np.uint64(32), half & np.uint64(0xFFFF_FFFF)]
    return np.stack(words).astype(np.uint32)


class Dpdk:
    """One list, built. `build_seconds` and `memory_bytes` are the library's; `algorithms` those that run here."""

    name = "dpdk"

    def __init__(self, given: List) -> None:
        self.library = library()
        self.version = self.library.dpdk_version().decode()
        low, high = given.low, given.high
        values, last = _addresses(low), _addresses(high)
        size = (last - values).astype(np.uint64) + np.uint64(1)
        if not np.all(size & (size - np.uint64(1)) == 0):
            raise Missing("addresses are no prefixes")
        lengths = (32 - np.log2(size.astype(np.float64)).round()).astype(np.uint8)
        ports = np.stack([bound[c] for c in ("sport", "dport") for bound in (low, high)]).astype(np.uint16)
        protocol = low["protocol"].astype(np.uint8)
        mask = np.where(low["protocol"] == high["protocol"], 255, 0).astype(np.uint8)
        self.flags = "tcp_flags" in given.care
        care, value = (given.care["tcp_flags"], given.value["tcp_flags"]) if self.flags else (None, None)
        columns: list[NDArray[Any] | None] = [
            values,
            lengths,
            ports,
            protocol,
            mask,
            _bytes(value),
            _bytes(care),
        ]
        self.built = _Built()
        error = ctypes.create_string_buffer(256)
        began = time.perf_counter()
        code = self.library.dpdk_build(
            ctypes.byref(self.built), b"acl%d" % next(NUMBERS), len(given), len(values) // 2,
            *map(_pointer, columns), error,
        )  # fmt: skip
        self.build_seconds = time.perf_counter() - began
        if code:
            raise Missing(error.value.decode())
        self._close = weakref.finalize(self, self.library.dpdk_free, ctypes.byref(self.built))
        self.memory_bytes = int(self.built.bytes)
        every = {
            name: code
            for name, code in ALGORITHMS.items()
            if self.library.dpdk_supports(ctypes.byref(self.built), code)
        }
        wide = {name: code for name, code in every.items() if name.startswith("AVX512")}
        self.algorithms = wide or dict(list(every.items())[:1])

    def prepare(self, trace: Trace) -> None:
        """Keys of a trace, outside of what is timed."""
        n = len(trace["protocol"])
        self.keys = np.zeros(n * self.library.dpdk_key_size(ctypes.byref(self.built)), np.uint8)
        self.pointers = np.zeros(n, np.uint64)
        self.results = np.zeros(n, np.uint32)
        columns = [
            _addresses(trace),
            trace["sport"],
            trace["dport"],
            trace["protocol"],
            trace["tcp_flags"] if self.flags else None,
        ]
        self.library.dpdk_keys(
            ctypes.byref(self.built), n, *map(_pointer, columns), _pointer(self.keys), _pointer(self.pointers)
        )

    def classify(self, algorithm: str) -> None:
        """Fills `results`: the first row of each key + 1, 0 for none."""
        code = self.library.dpdk_classify(
            ctypes.byref(self.built), self.algorithms[algorithm], len(self.results), _pointer(self.pointers), _pointer(self.results),
        )  # fmt: skip
        if code:
            raise RuntimeError(f"rte_acl_classify: {code}")

    def rows(self, algorithm: str) -> NDArray[np.int64]:
        """The first row of each key, -1 for none."""
        self.classify(algorithm)
        return self.results.astype(np.int64) - 1


def _bytes(values: U64 | None) -> NDArray[np.uint8] | None:
    return None if values is None else values.astype(np.uint8)

"""DPDK's librte_acl through `dpdk_acl.c`, compiled on demand: Debian's packages dpdk, libdpdk-dev, pkg-config."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

SOURCE = Path(__file__).with_name("dpdk_acl.c")
ALGORITHMS = {"AVX512X32": 7, "AVX512X16": 6, "AVX2": 3, "SSE": 2, "SCALAR": 1}


class Missing(Exception):
    """This peer cannot run here; the sentence says why."""


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
    out = Path(tempfile.mkdtemp(prefix="netsim-dpdk-")) / "dpdk_acl.so"
    done = subprocess.run(
        ["cc", "-O3", "-march=native", "-shared", "-fPIC", "-o", out, SOURCE, *flags],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Missing(f"dpdk_acl.c does not compile: {done.stderr[-300:]}")
    found = ctypes.CDLL(str(out))
    found.dpdk_build.restype = ctypes.c_void_p
    before = os.sched_getaffinity(0)
    code = found.dpdk_init(b"6144")
    os.sched_setaffinity(0, before)  # the library pins its main thread
    if code < 0:
        raise Missing("rte_eal_init failed")
    return found


def _pointer(array: np.ndarray[Any, Any]) -> Any:
    return ctypes.c_void_p(array.ctypes.data)


class Dpdk:
    """One list, built. `build_seconds` and `memory_bytes` are the library's; `algorithms` those that run here."""

    name = "dpdk"
    count = 0

    def __init__(self, low: dict[str, Any], high: dict[str, Any]) -> None:
        self.library = library()
        lengths = {}
        for c in ("src4", "dst4"):
            size = (high[c] - low[c] + np.uint64(1)).astype(np.float64)
            lengths[c] = (32 - np.log2(size)).round().astype(np.uint8)
        columns = [
            low["src4"].astype(np.uint32), lengths["src4"], low["dst4"].astype(np.uint32), lengths["dst4"],
            *(bound[c].astype(np.uint16) for c in ("sport", "dport") for bound in (low, high)),
            low["protocol"].astype(np.uint8),
            np.where(low["protocol"] == high["protocol"], 255, 0).astype(np.uint8),
        ]  # fmt: skip
        error, size = ctypes.create_string_buffer(256), ctypes.c_size_t()
        Dpdk.count += 1
        began = time.perf_counter()
        self.context = self.library.dpdk_build(
            b"acl%d" % Dpdk.count, len(columns[0]), *map(_pointer, columns), ctypes.byref(size), error
        )
        self.build_seconds = time.perf_counter() - began
        if not self.context:
            raise Missing(error.value.decode())
        self.context = ctypes.c_void_p(self.context)
        self.memory_bytes = size.value
        self.algorithms = {
            name: code for name, code in ALGORITHMS.items() if self.library.dpdk_supports(self.context, code)
        }

    def prepare(self, trace: dict[str, Any]) -> None:
        """Keys of a trace, outside of what is timed."""
        n = len(trace["src4"])
        self.keys = np.zeros(n * 16, np.uint8)
        self.pointers = np.zeros(n, np.uint64)
        self.results = np.zeros(n, np.uint32)
        columns = [trace[c] for c in ("src4", "dst4", "sport", "dport", "protocol")]
        self.library.dpdk_keys(n, *map(_pointer, columns), _pointer(self.keys), _pointer(self.pointers))

    def classify(self, algorithm: str) -> Any:
        """The first row of each key, -1 for none; a view of the results."""
        code = self.library.dpdk_classify(
            self.context,
            self.algorithms[algorithm],
            len(self.results),
            _pointer(self.pointers),
            _pointer(self.results),
        )
        if code:
            raise RuntimeError(f"rte_acl_classify: {code}")
        return self.results

    def close(self) -> None:
        """Gives the memory back."""
        self.library.dpdk_free(self.context)

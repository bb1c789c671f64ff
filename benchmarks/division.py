"""How wide nodes are divided: `python -m benchmarks.division LIST...` compiles each list with several divisions.

Each in a process of its own: the seconds of its accepted set, the bytes of nodes when it is there, and the edges that were made.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

DIVISIONS = ((1 << 40, 4), (64, 8), (256, 16), (32, 4), (64, 4), (128, 4), (64, 2))
"""More edges than the first are wide; the second is the bits of a digit."""


def main(name: str, wide: int, digit: int) -> None:
    from netsim.kernels import kernel

    module: Any = kernel("diagram")
    assert module, "only the compiled engine divides nodes"
    module.WIDE, module.DIGIT = wide, digit
    from benchmarks.lists import listed
    from netsim.errors import BudgetExceeded
    from netsim.index.index import Index
    from netsim.space.pool import POOL

    rules = listed(name).rules()
    began = time.perf_counter()
    try:
        assert Index(rules).permitted()
    except BudgetExceeded as error:
        print(f"{name}: {wide} edges, {digit} bits: {error}", flush=True)
        return
    took = time.perf_counter() - began
    nodes = POOL._nodes  # type: ignore[attr-defined]
    print(
        f"{name}: {wide} edges, {digit} bits: {took:.2f} s, {POOL.bytes() >> 20} MiB, {nodes.edges / 1e6:.1f} M edges",
        flush=True,
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case [one, edges, bits] if edges.isdigit():
            main(one, int(edges), int(bits))
        case names:
            for name in names:
                for wide, digit in DIVISIONS:
                    command = [sys.executable, "-m", "benchmarks.division", name, str(wide), str(digit)]
                    subprocess.run(command, check=False)

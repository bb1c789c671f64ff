"""Questions asked in a process of their own: nothing is remembered, and its memory is what the question takes.

`python -m benchmarks.fresh QUESTION LIST...` prints one JSON object: `seconds` of the question alone (the rules are
loaded before), `memory`, the bytes that the process grew by at its peak, and what the answer was, or `error`.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
MOST = 60
"""Seconds after which a question is given up."""

_spent = 0.0


def clock() -> float:
    """The seconds that all questions took so far: the timer of such rows (`@fresh.timed`)."""
    return _spent


timed = pytest.mark.benchmark(timer=clock)


class NoAnswer(Exception):
    """The question ran out of a budget, or of time; the sentence says which."""


def ask(question: str, *lists: str, engine: str = "") -> dict[str, Any]:
    """The answer of a fresh process. Raises `NoAnswer`."""
    global _spent
    environment = {**os.environ, **({"NETSIM_ENGINE": engine} if engine else {})}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.fresh", question, *lists],
            capture_output=True, text=True, cwd=ROOT, env=environment, timeout=MOST, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"more than {MOST} s") from None
    if done.returncode:
        pytest.fail(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout)
    if "error" in found:
        raise NoAnswer(found["error"])
    _spent += found["seconds"]
    return found


def measure(benchmark: Any, question: str, *lists: str, rounds: int, engine: str = "", **more: Any) -> Any:
    """The answer to a question; its seconds and memory become the row. Skips with a word where there is none."""
    try:
        found = benchmark.pedantic(ask, (question, *lists), {"engine": engine}, rounds=rounds)
    except NoAnswer as error:
        pytest.skip(f"{question} of {' and '.join(lists)}: {error}")
    benchmark.extra_info.update(more, memory=found["memory"])
    return found["answer"]


def peak() -> int:
    """The most bytes that this process has held. Linux' `getrusage` would count its parent's before the exec."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(
            int(line.split()[1]) << 10 for line in status.read_text().splitlines() if line.startswith("VmHWM")
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(question: str, *names: str) -> None:
    import netsim
    from benchmarks.lists import listed
    from netsim.errors import BudgetExceeded
    from netsim.index.index import Index
    from netsim.queries.audit import audit_rules
    from netsim.queries.verdict import Rules

    rules = [listed(name).rules() for name in names]

    def compare(*sides: Any) -> Any:
        found = netsim.compare(*map(Rules, sides))
        return len(found.changes)

    questions: dict[str, Callable[..., Any]] = {
        "accepted": lambda r: bool(Index(r).permitted()),
        "audit": lambda r: len(audit_rules(r).findings),
        "compare": compare,
    }
    before, began = peak(), time.perf_counter()
    try:
        answer = questions[question](*rules)
    except BudgetExceeded as error:
        print(json.dumps({"error": str(error)}))
        return
    took = time.perf_counter() - began
    print(json.dumps({"seconds": took, "memory": peak() - before, "answer": answer}))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Where the classifier's time goes, step by step: `python -m benchmarks.steps LIST...` on the uniform trace.

A program of the first steps alone is timed, then one of one step more; the difference is that step's. The clock is
the thread's own, so that other work on the machine counts little.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from benchmarks import traces
from benchmarks.lists import listed
from netsim.index.classifier import Classifier

ROUNDS = 9


def shares(name: str) -> list[tuple[str, float]]:
    """Nanoseconds a record, step by step; `rest` is everything around them. Raises `LookupError` without a program."""
    given = listed(name)
    classifier: Any = Classifier(given.rows)
    part, *others = classifier._parts
    program = getattr(part, "program", None)
    if program is None or others:
        raise LookupError(f"{name} has no single program")
    trace = traces.make(given, "uniform")
    records = len(trace["protocol"])
    whole, names = program.code, classifier._kernel.OPS
    found, before = [], 0.0
    for steps in range(len(whole) + 1):
        program.code = np.ascontiguousarray(whole[:steps]).reshape(-1, whole.shape[1])
        best = float("inf")
        for _ in range(ROUNDS):
            began = time.thread_time()
            classifier.first(trace)
            best = min(best, time.thread_time() - began)
        found.append((names[int(whole[steps - 1, 0])] if steps else "rest", best / records * 1e9 - before))
        before = best / records * 1e9
    return found


if __name__ == "__main__":
    for chosen in sys.argv[1:]:
        steps = shares(chosen)
        words = [f"{step} {ns:.1f}" for step, ns in steps]
        print(f"{chosen}: {sum(ns for _, ns in steps):.1f} ns a record: {', '.join(words)}")

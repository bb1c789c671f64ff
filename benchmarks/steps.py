"""Where the classifier's time goes, kernel by kernel: `python -m benchmarks.steps LIST...` on the uniform trace."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from benchmarks import traces
from benchmarks.lists import listed
from netsim.index.classifier import Classifier

ROUNDS = 5


class Timed:
    """A kernel that notes what each of its functions takes."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(self._kernel, name)

        def timed(*arguments: Any) -> Any:
            began = time.perf_counter()
            result = function(*arguments)
            self.seconds[name] += time.perf_counter() - began
            return result

        setattr(self, name, timed)
        return timed


def shares(name: str) -> dict[str, float]:
    """Nanoseconds a record, by kernel; `rest` is everything between them."""
    given = listed(name)
    classifier: Any = Classifier(given.rows)
    trace = traces.make(given, "uniform")
    classifier.first(trace)
    timed = classifier._kernel = Timed(classifier._kernel)
    began = time.perf_counter()
    for _ in range(ROUNDS):
        classifier.first(trace)
    records = ROUNDS * len(trace["protocol"])
    total = (time.perf_counter() - began) / records
    found = {step: seconds / records * 1e9 for step, seconds in timed.seconds.items()}
    return found | {"rest": total * 1e9 - sum(found.values())}


if __name__ == "__main__":
    for chosen in sys.argv[1:]:
        steps = shares(chosen)
        words = [f"{step} {ns:.1f}" for step, ns in sorted(steps.items(), key=lambda s: -s[1])]
        print(f"{chosen}: {sum(steps.values()):.1f} ns a record: {', '.join(words)}")

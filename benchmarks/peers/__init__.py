"""Other classifiers on the same rows and the same records, each behind `Peer` and each optional."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

from benchmarks.lists import List
from benchmarks.traces import Trace


class Missing(Exception):
    """This peer cannot run here; the sentence says why."""


class Peer(Protocol):
    """One list, built by another classifier.

    `name` stands in tables. `records` is how many records it is asked in a round: slow ones take the first few of a trace.
    """

    name: str
    records: int

    def __init__(self, given: List) -> None: ...

    def prepare(self, trace: Trace) -> None:
        """Takes a trace in whatever form it likes best, outside of what is timed."""

    def classify(self) -> NDArray[Any]:
        """The first row of each of the first `records` records, -1 for none: what is timed."""


__all__ = ["Missing", "Peer"]

"""The answer about a batch: columns, and what their numbers mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

import attrs
import numpy as np
from numpy.typing import NDArray

from netsim.display import Displayed, Document, Heading, Span, Table, Tone
from netsim.index.deciders import Decider
from netsim.index.plans import VERDICTS
from netsim.rules.model import Rule, Verdict

_SHOWN = 20
_TONES = {Verdict.ACCEPT: Tone.GOOD, Verdict.UNKNOWN: Tone.WARN}

D = TypeVar("D")


def locked(array: NDArray[Any]) -> NDArray[Any]:
    """A column that nobody may change."""
    array.flags.writeable = False
    return array


@attrs.frozen(slots=True, eq=False)
class Verdicts(Displayed, Generic[D]):
    """The verdicts on the records of a batch, and the numbers of what decides them, which `deciders` explains."""

    verdict: NDArray[np.uint8] = attrs.field(converter=locked)
    row: NDArray[Any] = attrs.field(converter=locked)
    undecided: NDArray[Any] = attrs.field(converter=locked)
    deciders: Sequence[D]

    PLACE: ClassVar[tuple[str, ...]] = ()
    """What a row says of where, besides."""
    NOTHING: ClassVar[str] = "nothing"
    """What a table says where nothing decides."""

    def __len__(self) -> int:
        return len(self.verdict)

    def __bool__(self) -> bool:
        raise TypeError(f"a {type(self).__name__} is neither true nor false; look at .verdict, or at .counts")

    @property
    def names(self) -> NDArray[np.str_]:
        """The verdicts in words."""
        return np.array([v.value for v in VERDICTS])[self.verdict]

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many records have each verdict."""
        found = np.bincount(self.verdict, minlength=len(VERDICTS))
        return {v: int(n) for v, n in zip(VERDICTS, found, strict=True)}

    def decider(self, record: int) -> D | None:
        """What decides a record: a rule, or a policy; None if nothing does."""
        number = int(self.row[record])
        return None if number < 0 else self.deciders[number]

    def rule(self, record: int) -> Rule | None:
        """The rule that decides a record; None for a policy, and where nothing does."""
        number = int(self.row[record])
        return None if number < 0 else self._decider(number).rule

    def doubt(self, record: int) -> D | None:
        """The rule before that one which may decide otherwise; None if there is none."""
        number = int(self.undecided[record])
        return None if number < 0 else self.deciders[number]

    def _decider(self, number: int) -> Decider:
        found: Any = self.deciders[number]
        return found  # type: ignore[no-any-return]

    def _places(self) -> tuple[NDArray[Any], ...]:
        """The columns that tell rows apart besides the verdict and what decides it."""
        return ()

    def _place(self, record: int) -> dict[str, Any]:
        """What a row says of where, of a record that has it."""
        return {}

    def rows(self) -> list[dict[str, Any]]:
        """A row for each verdict with what decides it, the most frequent first: plain data, with fixed keys."""
        if not len(self):
            return []
        columns = (self.verdict, self.row, self.undecided, *self._places())
        order = np.lexsort(columns)  # stable: the first record of a group is the earliest
        new = np.ones(len(self), np.bool_)
        new[1:] = np.logical_or.reduce([c[order][1:] != c[order][:-1] for c in columns])
        begin = np.flatnonzero(new)
        first, count = order[begin], np.diff(begin, append=len(self))
        return [self._row(int(first[i]), int(count[i])) for i in np.lexsort((first, -count))]

    def _row(self, record: int, records: int) -> dict[str, Any]:
        number, undecided = int(self.row[record]), int(self.undecided[record])
        decider = self._decider(number) if number >= 0 else None
        rule = decider.rule if decider is not None else None
        chain = source = None
        if decider is not None:
            chain = rule.chain if rule is not None else decider.chain.name
            source = rule.source if rule is not None else decider.chain.source
        doubt = self._decider(undecided).rule if undecided >= 0 else None
        return {
            "verdict": VERDICTS[int(self.verdict[record])].value,
            "records": records,
            **self._place(record),
            "chain": chain,
            "rule": rule.number if rule is not None else "policy" if decider is not None else None,
            "id": rule.id if rule is not None else None,
            "file": source.file if source is not None else None,
            "line": (source.line or None) if source is not None else None,
            "text": source.text.strip() if source is not None else None,
            "undecided": doubt.id if doubt is not None else None,
        }

    def frame(self) -> Any:
        """The rows as a pandas data frame; needs the extra `frames`."""
        from netsim.display.frame import frame

        keys = ("verdict", "records", *self.PLACE, "chain", "rule", "id", "file", "line", "text", "undecided")
        return frame(self.rows(), keys)

    def document(self) -> Document:
        """Records counted by verdict, and what decides most of them."""
        head: list[str | Span] = [f"{len(self)} records"]
        for verdict, count in self.counts.items():
            if count:
                head += ["  ", Span(f"{verdict.value} {count}", _TONES.get(verdict, Tone.BAD))]
        lines = [
            (
                str(r["records"]),
                r["verdict"],
                *(r[name] or "" for name in self.PLACE),
                self.NOTHING if r["chain"] is None else f"{r['chain']} {r['rule']}",
                (r["text"] or "") + (f"  (undecided: {r['undecided']})" if r["undecided"] else ""),
            )
            for r in self.rows()[:_SHOWN]
        ]
        columns = ("records", "verdict", *self.PLACE, "decided by", "text")
        table = [Table(columns, lines, ("records",))] if lines else []
        return Document([Heading(head), *table])


@attrs.frozen(slots=True, eq=False)
class Classification(Verdicts[Decider]):
    """The verdicts on the records of a batch. Three columns, one value for each record, read-only.

    `verdict` holds codes of `VERDICTS` (0 accept, 1 drop, 2 reject, 3 unknown). `row` is the number of what decides
    if nothing undecided applies: for accept in the hook's filter, for drop and reject wherever it stands; -1
    where nothing does (no filter there, a packet of the other IP version, a TTL that ends). `undecided` is
    the number of the first row before it that may apply, for unknown of one that decides otherwise; -1 if there
    is none. `deciders` says what the numbers mean; a number is the same in every batch of these rules.
    """


__all__ = ["Classification", "Verdicts", "locked"]

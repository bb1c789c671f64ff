"""The answer about a batch: three columns, and what their numbers mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from netsim.display import Displayed, Document, Heading, Span, Table, Tone
from netsim.index.deciders import Decider
from netsim.index.plans import VERDICTS
from netsim.rules.model import Rule, Verdict

_KEYS = ("verdict", "records", "chain", "rule", "id", "file", "line", "text", "undecided")
_SHOWN = 20
_TONES = {Verdict.ACCEPT: Tone.GOOD, Verdict.UNKNOWN: Tone.WARN}


def _locked(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


@attrs.frozen(slots=True, eq=False)
class Classification(Displayed):
    """The verdicts on the records of a batch. Three columns, one value for each record, read-only.

    `verdict` holds codes of `VERDICTS` (0 accept, 1 drop, 2 reject, 3 unknown). `row` is the number of what decides
    if nothing undecided applies: for accept in the hook's filter, for drop and reject wherever it stands; -1
    where nothing does (no filter there, a packet of the other IP version, a TTL that ends). `undecided` is
    the number of the first row before it that may apply, for unknown of one that decides otherwise; -1 if there
    is none. `deciders` says what the numbers mean; a number is the same in every batch of these rules.
    """

    verdict: NDArray[np.uint8] = attrs.field(converter=_locked)
    row: NDArray[np.int32] = attrs.field(converter=_locked)
    undecided: NDArray[np.int32] = attrs.field(converter=_locked)
    deciders: Sequence[Decider]

    def __len__(self) -> int:
        return len(self.verdict)

    def __bool__(self) -> bool:
        raise TypeError("a Classification is neither true nor false; look at .verdict, or at .counts")

    @property
    def names(self) -> NDArray[np.str_]:
        """The verdicts in words."""
        return np.array([v.value for v in VERDICTS])[self.verdict]

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many records have each verdict."""
        found = np.bincount(self.verdict, minlength=len(VERDICTS))
        return {v: int(n) for v, n in zip(VERDICTS, found, strict=True)}

    def decider(self, record: int) -> Decider | None:
        """What decides a record: a rule with the jumps that lead to it, or a policy; None if nothing does."""
        number = int(self.row[record])
        return None if number < 0 else self.deciders[number]

    def rule(self, record: int) -> Rule | None:
        """The rule that decides a record; None for a policy, and where nothing does."""
        found = self.decider(record)
        return None if found is None else found.rule

    def doubt(self, record: int) -> Decider | None:
        """The rule before that one which may decide otherwise; None if there is none."""
        number = int(self.undecided[record])
        return None if number < 0 else self.deciders[number]

    def _groups(self) -> list[tuple[int, int, int, int]]:
        """(records, verdict, row, undecided), the most frequent first."""
        if not len(self):
            return []
        keys = np.stack([self.verdict.astype(np.int64), self.row, self.undecided], axis=1)
        mixed = (keys[:, 0] << 62) ^ ((keys[:, 1] + 1) << 31) ^ (keys[:, 2] + 1)
        _, first, count = np.unique(mixed, return_index=True, return_counts=True)
        order = np.lexsort((first, -count))
        return [
            (
                int(count[i]),
                int(self.verdict[first[i]]),
                int(self.row[first[i]]),
                int(self.undecided[first[i]]),
            )
            for i in order
        ]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each verdict with what decides it, the most frequent first: plain data, with fixed keys."""
        found = []
        for records, verdict, row, undecided in self._groups():
            decider = self.deciders[row] if row >= 0 else None
            rule = decider.rule if decider is not None else None
            source = (
                rule.source if rule is not None else decider.chain.source if decider is not None else None
            )
            doubt = self.deciders[undecided].rule if undecided >= 0 else None
            found.append(
                {
                    "verdict": VERDICTS[verdict].value,
                    "records": records,
                    "chain": rule.chain
                    if rule is not None
                    else decider.chain.name
                    if decider is not None
                    else None,
                    "rule": rule.number if rule is not None else "policy" if decider is not None else None,
                    "id": rule.id if rule is not None else None,
                    "file": source.file if source is not None else None,
                    "line": (source.line or None) if source is not None else None,
                    "text": source.text.strip() if source is not None else None,
                    "undecided": doubt.id if doubt is not None else None,
                }
            )
        return found

    def frame(self) -> Any:
        """The rows as a pandas data frame; needs the extra `frames`."""
        from netsim.display.frame import frame

        return frame(self.rows(), _KEYS)

    def document(self) -> Document:
        """Records counted by verdict, and the rules that decide most of them."""
        head: list[str | Span] = [f"{len(self)} records"]
        for verdict, count in self.counts.items():
            if count:
                head += ["  ", Span(f"{verdict.value} {count}", _TONES.get(verdict, Tone.BAD))]
        rows = self.rows()
        blocks: list[Any] = [Heading(head)]
        if rows:
            blocks.append(
                Table(
                    ("records", "verdict", "decided by", "text"),
                    [
                        (
                            str(r["records"]),
                            r["verdict"],
                            "nothing" if r["chain"] is None else f"{r['chain']} {r['rule']}",
                            (r["text"] or "")
                            + (f"  (undecided: {r['undecided']})" if r["undecided"] else ""),
                        )
                        for r in rows[:_SHOWN]
                    ],
                    ("records",),
                )
            )
        return Document(blocks)


__all__ = ["Classification"]

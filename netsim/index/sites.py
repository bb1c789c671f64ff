"""A whole network for batches: what `Network.classify` asks, and what an artifact of a site holds.

Theory of operation: see `walks`. A *member* is one rule set of one device; its deciders are numbered behind those
of the members before it, so that one number names device and rule.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from netsim.display import Displayed, Document, Heading, Pairs
from netsim.errors import QuestionError, near_misses
from netsim.index.classification import Verdicts, locked
from netsim.index.columns import Batch, batch_of, named
from netsim.index.deciders import Decider
from netsim.index.legs import Leg, Whole
from netsim.index.plans import CODE, UNKNOWN, VERDICTS
from netsim.index.walks import ENDS, Station, Tables, walk
from netsim.rules.model import Rule, Verdict
from netsim.space.fields import Family


@attrs.define(slots=True, eq=False)
class Member:
    """One rule set of a device, with how many deciders it has, and its legs."""

    device: str
    whole: Whole
    count: int
    legs: list[Leg]


@attrs.frozen(slots=True)
class SiteDecider:
    """A rule, or the policy of a chain, of a device."""

    device: str
    decider: Decider

    @property
    def rule(self) -> Rule | None:
        """The rule; None for a policy."""
        return self.decider.rule


class SiteDeciders(Sequence[SiteDecider]):
    """The rules and policies of all devices by their numbers."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members
        self._first = [0]
        for member in members:
            self._first.append(self._first[-1] + member.count)

    def __len__(self) -> int:
        return self._first[-1]

    def __getitem__(self, number):  # type: ignore[no-untyped-def]
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(f"deciders are numbered 0 to {len(self) - 1}, not {number}")
        number = int(number) % len(self)
        at = bisect_right(self._first, number) - 1
        member = self._members[at]
        return SiteDecider(member.device, member.whole.deciders[number - self._first[at]])


@attrs.frozen(slots=True, eq=False)
class SiteClassification(Verdicts[SiteDecider]):
    """What becomes of the records of a batch in a network. Columns, one value for each record, read-only.

    `verdict` holds codes of `VERDICTS` (0 accept, 1 drop, 2 reject, 3 unknown): accept where a record arrives on all of
    its ways, drop and reject where it arrives on none. `end` says how its way ends, codes of `ENDS`: on a link, at a
    device for itself, by rules, by what routing lacks; `device` where, -1 before any device. `row` is the number of
    the rule or policy that decides there, for accept the last filter on the way; -1 where none does. `undecided` is
    that of the first row on the way that may decide otherwise; -1 if there is none. `outcomes` has a bit for each
    verdict that is possible (1 accept, 2 drop, 4 reject; 0 nobody knows). `deciders` says what the numbers mean,
    `devices` those of devices.
    """

    end: NDArray[np.uint8] = attrs.field(converter=locked)
    device: NDArray[np.int32] = attrs.field(converter=locked)
    outcomes: NDArray[np.uint8] = attrs.field(converter=locked)
    devices: tuple[str, ...]

    PLACE = ("device", "end")
    NOTHING = ""

    @property
    def ends(self) -> NDArray[np.str_]:
        """The ends in words."""
        return np.array(ENDS)[self.end]

    def possible(self, record: int) -> tuple[Verdict, ...]:
        """The verdicts that are possible for a record: one, unless its verdict is unknown."""
        mask = int(self.outcomes[record]) or 7
        return tuple(v for bit, v in enumerate(VERDICTS[:3]) if mask & 1 << bit)

    def _decider(self, number: int) -> Decider:
        return self.deciders[number].decider

    def _places(self) -> tuple[NDArray[Any], ...]:
        return self.end, self.device

    def _place(self, record: int) -> dict[str, Any]:
        device = int(self.device[record])
        return {"device": self.devices[device] if device >= 0 else None, "end": ENDS[int(self.end[record])]}


class SiteBatches(Displayed):
    """A network made ready for batches."""

    def __init__(
        self, name: str, tables: Tables, stations: Sequence[Station], members: Sequence[Member]
    ) -> None:
        self.name = name
        self.tables = tables
        self.stations = tuple(stations)
        self.members = tuple(members)
        self.deciders = SiteDeciders(self.members)

    def classify(self, batch: Any, *, ingress: str | None = None, threads: int = 1) -> SiteClassification:
        """What becomes of every record of a batch; see `Network.classify`."""
        given = named(batch)
        words = given.pop("ingress", None)
        if (words is None) == (ingress is None):
            raise QuestionError.of(
                "a batch through a network says once where its records enter",
                hint="a column 'ingress' of names, or the argument ingress for all: a host, a subnet, a zone or "
                "link, or an interface as device[interface]",
            )
        taken = batch_of(given)
        self._addressed(taken)
        if words is None:
            entry = np.full(taken.size, self._entry(ingress), np.int32)
        else:
            entry = self._entries(words, taken.size)
        return self._answered(_received(taken), entry, threads)

    def _answered(self, batch: Batch, entry: NDArray[np.int32], threads: int) -> SiteClassification:
        fate = walk(self.tables, self.stations, batch, entry, threads)
        verdict = CODE[fate.mask]
        undecided = np.where((verdict == UNKNOWN) & (fate.other >= 0), fate.other, fate.maybe)
        return SiteClassification(
            verdict, fate.row, undecided, self.deciders, fate.end, fate.device, fate.mask, self.tables.devices
        )

    @staticmethod
    def _addressed(batch: Batch) -> None:
        """Refuses records without an address: nobody knows where they go."""
        for side in ("src", "dst"):
            for family, column in ((Family.IPV4, side + "4"), (Family.IPV6, side + "6.high")):
                if column not in batch.columns and bool((batch.columns["family"] == family).any()):
                    raise QuestionError.of(f"a batch through a network needs a column {side!r}")
        if bool((batch.columns["family"] == 2).any()):
            raise QuestionError.of("a batch through a network needs columns 'src' and 'dst'")

    def _entry(self, name: Any) -> Any:
        found = self.tables.entries.get(str(name))
        if found is None:
            raise QuestionError.of(
                f"nothing enters at {str(name)[:60]!r}", code="NS301",
                hint=near_misses(str(name), self.tables.entries)
                or "a host, a subnet, a zone or link, or an interface as device[interface] is expected",
            )  # fmt: skip
        return found

    def _entries(self, words: Any, size: int) -> NDArray[np.int32]:
        """The entry of each record, from names or a pair (codes, names)."""
        if isinstance(words, tuple) and len(words) == 2:
            codes, each = np.asarray(words[0]), [str(w) for w in words[1]]
            if (
                codes.ndim != 1
                or codes.dtype.kind not in "iu"
                or (len(codes) and not 0 <= codes.min() <= codes.max() < len(each))
            ):
                raise QuestionError.of(
                    "column 'ingress' is a pair (codes, names) with a code that names nothing"
                )
        else:
            array = np.asarray(words, dtype=object)
            if array.ndim != 1:
                raise QuestionError.of("column 'ingress' is a one-dimensional array of names")
            distinct, codes = np.unique(array.astype(str), return_inverse=True)
            codes, each = codes.ravel(), distinct.tolist()
        if len(codes) != size:
            raise QuestionError.of(f"column 'ingress' has {len(codes)} records, the others have {size}")
        used = np.unique(codes)
        table = np.zeros(len(each) + 1, np.int32)
        for code in used.tolist():
            table[code] = self._entry(each[code])
        return np.asarray(table[codes], np.int32)

    def stats(self) -> dict[str, Any]:
        """Sizes: devices, interfaces, rule sets, the diagram, and the plans made so far."""
        sorter = self.tables.sorter
        return {
            "devices": len(self.tables.devices),
            "interfaces": len(self.tables.place_device),
            "rule_sets": len(self.members),
            "deciders": len(self.deciders),
            "questions": len(sorter.roots),
            "diagram_nodes": sum(level.count for level in sorter.levels),
            "plans": sum(len(leg.plans) for member in self.members for leg in member.legs),
            "records_asked_of_the_rules": sum(leg.asked for member in self.members for leg in member.legs),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it to a file, for `netsim.load_index`; the file is replaced in one step."""
        from netsim.index.sitefile import save

        save(self, path)

    def document(self) -> Document:
        """What the index is of."""
        stats = self.stats()
        rows = [(key.replace("_", " "), str(stats[key])) for key in ("devices", "interfaces", "rule_sets")]
        return Document(
            [Heading(f"index of a site: {self.name}" if self.name else "index of a site"), Pairs(rows)]
        )


def _received(batch: Batch) -> Batch:
    """Records with what follows from other columns, and no entry of connection tracking yet."""
    columns: dict[str, Any] = dict(batch.completed(frozenset({"tcp_flags"})).columns)
    columns["ct_status"] = np.zeros(batch.size, np.uint8)
    return attrs.evolve(batch, columns=columns)


__all__ = ["Member", "SiteBatches", "SiteClassification", "SiteDecider", "SiteDeciders"]

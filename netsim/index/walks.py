"""A batch of packets through a whole network: hop by hop, all packets of a hop at once.

Theory of operation. `Tables` hold a network as numbers. A *question* (`sorter`) is asked about the header as it
is: at an interface by which packets come into a device, what routing does with them; on a link, who takes them; and
where a record enters, whether its destination is on the link. Each answers with a *way*: an end, or where to go on, to
several places where equal-cost routes, or routers of which nobody says which is used, leave that open. Between two
questions lie the legs of a device (`legs`), which give outcomes and change the header; so a translation
or a mark is followed by asking the next question about what it has made.

A *traveller* is a record on one of its ways. The outcomes of all travellers of a record are joined: one verdict is the
record's verdict, several are unknown. Of a record's travellers one *leads*: its way is told as the record's. Where a
packet comes by an interface a second time it goes in a circle and is dropped.

Exact but for this, which is unknown: a header that a translation leaves open; later fragments where connections
are tracked, or where the back end takes their payload for ports; undecided conditions of one text in two legs; what
one rule set of a device has translated and another might translate again; and more than `WAYS` ways.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from netsim.index.columns import Batch
from netsim.index.legs import Leg
from netsim.index.plans import CODE, UNKNOWN
from netsim.index.sorter import Sorter
from netsim.rules.journey import PAYLOAD_PROTOCOLS
from netsim.space.fields import Family

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

ENDS = (
    "", "link", "local", "rules", "martian-source", "martian-destination", "rp-filter", "no-route",
    "blackhole", "unreachable", "prohibit", "ip-forward", "ttl-exceeded", "no-link", "no-neighbour", "no-gateway",
    "forwarding-loop", "split", "open-header", "fragment", "too-many-ways",
)  # fmt: skip
"""How a record's way ends: on a link, at a device for itself, by its rules, or by what stops it; '' nowhere yet."""
ARRIVED = (ENDS.index("link"), ENDS.index("local"))
_OF = {name: code for code, name in enumerate(ENDS)}
FORWARD, CROSS, LINK, LOCAL = 100, 101, 102, 103
"""Kinds of ways that are no ends: out by exits, into a device by an interface, onto a link, for the device itself."""
WAYS = 64
"""The most ways of one record."""
CHUNK = 1 << 16
"""Records that walk together."""
_ACCEPT, _DROP, _ANY = 1, 2, 7


@attrs.define(slots=True, eq=False)
class Station:
    """A device: the legs of its rule sets by family, in order, with what is added to their deciders' numbers.

    `through` are those behind routing for what is forwarded. `fragments` says for a family what later fragments are:
    0 packets, 1 unknown, 2 unknown if their protocol has ports.
    """

    name: str
    before: dict[Family, list[tuple[Leg, int]]]
    inward: dict[Family, list[tuple[Leg, int]]]
    through: dict[Family, list[tuple[Leg, int]]]
    fragments: dict[Family, int]


@attrs.frozen(slots=True, eq=False)
class Tables:
    """A network as numbers; arrays are `int32` but for interfaces, which are two words of 64 bits.

    `place_*`: the interfaces by which packets come in. `exit_*`: those by which they go, with the way that follows
    or, negative, the link (-1 - link) that is asked. Questions are by (thing, family). `way_kind` is a code of `ENDS`
    or a kind of way; what it leads to is `way_to[way_begin[w]:way_begin[w + 1]]`, where -1 is nobody. `entries` names the
    sources of records; `entry_to[entry_begin[e]:entry_begin[e + 1]]` are questions of both families.
    """

    devices: tuple[str, ...]
    entries: Mapping[str, int]
    sorter: Sorter
    place_device: I32
    place_iif: NDArray[np.uint64]
    place_question: I32
    exit_device: I32
    exit_oif: NDArray[np.uint64]
    exit_way: I32
    link_question: I32
    way_kind: I32
    way_begin: I32
    way_to: I32
    entry_begin: I32
    entry_to: I32

    def check(self) -> None:
        """Raises `ValueError` where a number leads out of its table."""
        ways, places, exits = len(self.way_kind), len(self.place_device), len(self.exit_device)
        links, questions = len(self.link_question), len(self.sorter.roots)
        self.sorter.check(ways)
        for name, array in self.arrays().items():
            if array.dtype != np.dtype("u8" if name in ("place_iif", "exit_oif") else "i4"):
                raise ValueError(f"{name} is of another type")
        shapes = {
            "place_iif": (places, 2), "place_question": (places, 2), "exit_oif": (exits, 2), "exit_way": (exits,),
            "link_question": (links, 2), "way_begin": (ways + 1,), "place_device": (places,), "exit_device": (exits,),
            "way_to": (len(self.way_to),), "entry_begin": (len(self.entry_begin),), "way_kind": (ways,),
            "entry_to": (len(self.entry_to), 2),
        }  # fmt: skip
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} is of another shape")
        for array, low, high in (
            (self.place_device, 0, len(self.devices)),
            (self.exit_device, 0, len(self.devices)),
            (self.exit_way, -links, ways),
            *((q, 0, questions) for q in (self.place_question, self.link_question, self.entry_to)),
        ):
            if bool(np.any((array < low) | (array >= high))):
                raise ValueError("a number that leads nowhere")
        for begin, to in ((self.way_begin, self.way_to), (self.entry_begin, self.entry_to)):
            if not len(begin) or begin[0] != 0 or begin[-1] != len(to) or bool(np.any(np.diff(begin) < 0)):
                raise ValueError("lists that do not follow one another")
        if any(not 0 <= e < len(self.entry_begin) - 1 for e in self.entries.values()):
            raise ValueError("an entry that leads nowhere")
        kind = np.repeat(self.way_kind, np.diff(self.way_begin))
        for code, low, high in ((FORWARD, 0, exits), (CROSS, -1, places), (LINK, 0, links)):
            to = self.way_to[kind == code]
            if bool(np.any((to < low) | (to >= high))):
                raise ValueError("a way that leads nowhere")
        ends = (self.way_kind > 0) & (self.way_kind < len(ENDS))
        if not bool(np.all(ends | np.isin(self.way_kind, (FORWARD, CROSS, LINK, LOCAL)))):
            raise ValueError("a way of no kind")

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name, those of the sorter left out."""
        return {
            f.name: getattr(self, f.name)
            for f in attrs.fields(Tables)
            if f.name not in ("devices", "entries", "sorter")
        }


@attrs.define(slots=True, eq=False)
class Fate:
    """What became of records. Arrays by record: outcomes, the numbers of deciders, devices and ends."""

    mask: NDArray[np.uint8]
    row: I64
    device: I32
    end: NDArray[np.uint8]
    maybe: I64
    other: I64
    parted: I32  # the device where its ways part
    ways: I32
    lost: NDArray[np.uint8]  # why what becomes of it cannot be said, and the device where
    lost_at: I32

    @classmethod
    def of(cls, size: int) -> Fate:
        """Nothing yet."""

        def none(kind: type[Any]) -> NDArray[Any]:
            return np.full(size, -1, kind)

        return cls(
            np.zeros(size, np.uint8), none(np.int64), none(np.int32), np.zeros(size, np.uint8), none(np.int64),
            none(np.int64), none(np.int32), np.ones(size, np.int32), np.zeros(size, np.uint8), none(np.int32),
        )  # fmt: skip


class Travellers:
    """Records on their ways. Arrays by traveller; `history` are the places where each has come in."""

    def __init__(self, record: I64, columns: dict[str, NDArray[Any]]) -> None:
        self.record = record
        self.columns = columns
        self.lead = np.ones(len(record), np.bool_)
        self.main = np.ones(len(record), np.bool_)
        self.place = np.full(len(record), -1, np.int32)
        self.history: list[I32] = []

    def __len__(self) -> int:
        return len(self.record)

    def of(self, where: NDArray[np.intp]) -> Travellers:
        """Some of them, or copies."""
        found = Travellers(self.record[where], {name: column[where] for name, column in self.columns.items()})
        found.lead, found.main, found.place = self.lead[where], self.main[where], self.place[where]
        found.history = [each[where] for each in self.history]
        return found


def joined(parts: Sequence[Travellers]) -> Travellers | None:
    """Travellers together; None: nobody."""
    some = [p for p in parts if len(p)]
    if len(some) < 2:
        return some[0] if some else None
    columns = {name: np.concatenate([p.columns[name] for p in some]) for name in some[0].columns}
    found = Travellers(np.concatenate([p.record for p in some]), columns)
    for name in ("lead", "main", "place"):
        setattr(found, name, np.concatenate([getattr(p, name) for p in some]))
    found.history = [np.concatenate(each) for each in zip(*(p.history for p in some), strict=True)]
    return found


class Walk:
    """The records of one family on their way through a network."""

    def __init__(self, tables: Tables, stations: Sequence[Station], family: Family, threads: int) -> None:
        self.tables = tables
        self.stations = stations
        self.family = family
        self.threads = threads
        self.open: frozenset[str] = frozenset()
        self.fate = Fate.of(0)
        self.states: NDArray[Any] = np.zeros(0, np.uint8)

    def run(self, batch: Batch, entry: I32, fate: Fate, where: NDArray[np.intp]) -> None:
        """The records `where` of a batch, each from its entry; writes what becomes of them."""
        six = self.family is Family.IPV6
        others = ("src4", "dst4") if six else ("src6.high", "src6.low", "dst6.high", "dst6.low")
        columns = {
            n: c[where]
            for n, c in batch.columns.items()
            if n not in (*others, "iif.high", "iif.low", "oif.high", "oif.low")
        }
        self.fate = fate
        self.states = batch.columns["state"]
        self.open = batch.open - {"src4", "dst4", "src6", "dst6", "iif", "oif", "family"}
        start = Travellers(np.asarray(where, np.int64), columns)
        begin = self.tables.entry_begin
        at, nth, _ = self._forked(start, begin[entry], begin[entry + 1] - begin[entry], None)
        questions = self.tables.entry_to[nth, self.family]
        here = self._ways(at, self.tables.sorter.of(at.columns, questions), None)
        for _ in range(len(self.tables.place_device) + 1):
            if here is None:
                return
            here = self._crossed(here)
            self.open |= {"mac"}
            if here is not None:
                here.columns.pop("mac", None)
        assert here is None

    # Ends and ways

    def _ended(
        self, t: Travellers, code: int, bits: int, device: NDArray[Any] | None, *, row: bool = False
    ) -> None:
        """Travellers at their end; `row`: the last row that decided stays the record's."""
        fate = self.fate
        np.bitwise_or.at(fate.mask, t.record, np.uint8(bits))
        told = t.lead & t.main
        records = t.record[told]
        fate.end[records] = code
        if device is not None:
            fate.device[records] = device[told]
        if not row:
            fate.row[records] = -1

    def _stopped(
        self, t: Travellers, which: NDArray[np.bool_], name: str, device: NDArray[Any] | None
    ) -> None:
        numbers = np.flatnonzero(which)
        if len(numbers):
            self._ended(t.of(numbers), _OF[name], _DROP, None if device is None else device[numbers])

    def _lost(self, t: Travellers, which: NDArray[np.bool_], name: str, device: NDArray[Any] | None) -> None:
        """What becomes of these travellers cannot be said."""
        records = t.record[which]
        self.fate.mask[records] = _ANY
        self.fate.lost[records] = _OF[name]
        self.fate.lost_at[records] = -1 if device is None else device[which]

    def _forked(
        self, t: Travellers, begin: I32, count: I32, device: NDArray[Any] | None
    ) -> tuple[Travellers, NDArray[np.intp], NDArray[Any] | None]:
        """One traveller for each thing that its way leads to, the thing's place in its table, and the device."""
        if bool((count == 1).all()):
            return t, begin.astype(np.intp), device
        fate = self.fate
        several = np.flatnonzero(count > 1)
        np.add.at(fate.ways, t.record[several], count[several] - 1)
        fresh = several[fate.parted[t.record[several]] < 0]
        if device is not None:
            fate.parted[t.record[fresh]] = device[fresh]
        many = fate.ways[t.record] > WAYS
        self._lost(t, many & (count > 0), "too-many-ways", device)
        count = np.where(many, 0, count)
        of = np.repeat(np.arange(len(t)), count)
        nth = np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)
        found = t.of(of)
        found.lead &= nth == 0
        return found, begin[of] + nth, None if device is None else device[of]

    def _ways(self, t: Travellers, way: I32, device: NDArray[Any] | None) -> Travellers | None:
        """Travellers on ways that end, or lead on: those that come into a device. `device`: where they are."""
        tables = self.tables
        found: list[Travellers] = []
        for _ in range(3):  # from a sender to the link, to an interface
            kind = tables.way_kind[way]
            for code in np.unique(kind[kind < len(ENDS)]):
                numbers = np.flatnonzero(kind == code)
                bits = _ACCEPT if code in ARRIVED else _DROP
                at = None if device is None else device[numbers]
                self._ended(t.of(numbers), int(code), bits, at, row=code in ARRIVED)
            crossing = np.flatnonzero(kind == CROSS)
            if len(crossing):
                some = t if len(crossing) == len(t) else t.of(crossing)
                at = None if device is None else device[crossing]
                begin = tables.way_begin[way[crossing]]
                some, nth, at = self._forked(some, begin, tables.way_begin[way[crossing] + 1] - begin, at)
                some.place = tables.way_to[nth]
                nobody = some.place < 0
                if nobody.any():
                    self._stopped(some, nobody, "no-neighbour", at)
                    some = some.of(np.flatnonzero(~nobody))
                found.append(some)
            onto = np.flatnonzero(kind == LINK)
            if not len(onto):
                break
            t = t.of(onto)
            device = None if device is None else device[onto]
            link = tables.way_to[tables.way_begin[way[onto]]]
            way = tables.sorter.of(t.columns, tables.link_question[link, self.family])
        return joined(found)

    # One device

    def _crossed(self, t: Travellers) -> Travellers | None:
        """Travellers through the devices that they have come to: those that come into the next ones."""
        tables = self.tables
        device = tables.place_device[t.place]
        looped = np.zeros(len(t), np.bool_)
        for each in t.history:
            looped |= each == t.place
        self._stopped(t, looped, "forwarding-loop", device)
        if looped.any():
            t = t.of(np.flatnonzero(~looped))
            device = tables.place_device[t.place]
        t.history = [*t.history, t.place]
        size = len(t)
        for name in ("mark", "ctmark"):
            t.columns[name] = np.zeros(size, np.uint32)
        t.columns["ct_status"] = np.zeros(size, np.uint8)
        t.columns["state"] = self.states[t.record] if size else np.zeros(0, np.uint8)
        iif = tables.place_iif[t.place]
        nothing = np.zeros(size, np.uint64)
        t.columns |= {
            "iif.high": iif[:, 0].copy(), "iif.low": iif[:, 1].copy(), "oif.high": nothing, "oif.low": nothing,
        }  # fmt: skip
        t = self._fragments(t)
        t = self._legs(t, "before")
        device = tables.place_device[t.place]
        way = tables.sorter.of(t.columns, tables.place_question[t.place, self.family])
        kind = tables.way_kind[way]
        inward = np.flatnonzero(kind == LOCAL)
        if len(inward):
            came = self._legs(t.of(inward), "inward")
            self._ended(came, _OF["local"], _ACCEPT, tables.place_device[came.place], row=True)
        ends = np.flatnonzero((kind != LOCAL) & (kind != FORWARD))
        if len(ends):
            self._ways(t.of(ends), way[ends], device[ends])
        onward = np.flatnonzero(kind == FORWARD)
        if not len(onward):
            return None
        begin = tables.way_begin[way[onward]]
        some = t if len(onward) == size == len(t) else t.of(onward)
        some, nth, _ = self._forked(some, begin, tables.way_begin[way[onward] + 1] - begin, device[onward])
        return self._left(some, tables.way_to[nth])

    def _left(self, t: Travellers, out: I32) -> Travellers | None:
        """Travellers that leave their devices by exits."""
        tables = self.tables
        ttl = t.columns.get("ttl")
        if ttl is not None:
            ended = ttl <= 1
            if ended.any():
                self._stopped(t, ended, "ttl-exceeded", tables.exit_device[out])
                numbers = np.flatnonzero(~ended)
                t, out = t.of(numbers), out[numbers]
            t.columns["ttl"] = t.columns["ttl"] - np.uint8(1)
        oif = tables.exit_oif[out]
        t.columns |= {"oif.high": oif[:, 0].copy(), "oif.low": oif[:, 1].copy()}
        t.columns["exit"] = out
        t = self._legs(t, "through")
        out = t.columns.pop("exit")
        way = tables.exit_way[out]
        device = tables.exit_device[out]
        asked = np.flatnonzero(way < 0)
        if len(asked):
            link = -1 - way[asked]
            some = {name: column[asked] for name, column in t.columns.items()}
            way[asked] = tables.sorter.of(some, tables.link_question[link, self.family])
        return self._ways(t, way, device)

    def _fragments(self, t: Travellers) -> Travellers:
        """Later fragments are lost where nobody says what chains see of them."""
        later = t.columns["fragment"] != 0
        if not later.any():
            return t
        device = self.tables.place_device[t.place]
        kinds = np.array([s.fragments.get(self.family, 0) for s in self.stations], np.uint8)[device]
        ported = np.ones(len(t), np.bool_)
        if "protocol" in t.columns:
            ported = np.isin(t.columns["protocol"], list(PAYLOAD_PROTOCOLS))
        lost = later & ((kinds == 1) | ((kinds == 2) & ported))
        self._lost(t, lost, "fragment", device)
        return t.of(np.flatnonzero(~lost)) if lost.any() else t

    def _legs(self, t: Travellers, which: str) -> Travellers:
        """Travellers through the legs of their devices: those that go on."""
        device = self.tables.place_device[t.place]
        every = np.unique(device)
        if len(every) == 1:
            return self._station(t, int(every[0]), which)
        asked = [d for d in every.tolist() if getattr(self.stations[d], which).get(self.family)]
        if not asked:
            return t
        found: list[Travellers] = []
        beside = np.flatnonzero(~np.isin(device, asked))
        if len(beside):
            found.append(t.of(beside))
        for d in asked:
            found.append(self._station(t.of(np.flatnonzero(device == d)), d, which))
        return joined(found) or t.of(np.zeros(0, np.intp))

    def _station(self, t: Travellers, device: int, which: str) -> Travellers:
        """Travellers through the legs of one device.

        What one rule set has taken from connection tracking, another may see before tracking; and what one has
        translated, another does not translate again. That is not followed.
        """
        legs = getattr(self.stations[device], which).get(self.family, ())
        t.columns["translated"] = np.zeros(len(t), np.bool_)
        for k, (leg, base) in enumerate(legs):
            odd = np.zeros(len(t), np.bool_)
            if k and which == "before":
                odd = t.columns["state"] != self.states[t.record]
            if k and leg.translates:
                odd = odd | t.columns["translated"]
            if odd.any():
                self._lost(t, odd, "open-header", np.full(len(t), device, np.int32))
                t = t.of(np.flatnonzero(~odd))
            t = self._leg(t, leg, base, device)
        del t.columns["translated"]
        return t

    def _leg(self, t: Travellers, leg: Leg, base: int, device: int) -> Travellers:
        """Travellers of one device through one leg."""
        size = len(t)
        if not size:
            return t
        fate = self.fate
        passed = leg.run(t.columns, size, self.family, self.open, self.threads)
        t.columns = passed.columns
        t.columns["translated"] = t.columns["translated"] | passed.translated
        told = t.lead & t.main
        row = passed.row
        decided = told & (row >= 0)
        if decided.any():
            records = t.record[decided]
            fate.row[records] = row[decided] + np.int64(base)
            fate.device[records] = device
        for mine, column in ((passed.maybe, fate.maybe), (passed.other, fate.other)):
            doubted = np.flatnonzero((mine >= 0) & (told if column is fate.maybe else True))
            doubted = doubted[column[t.record[doubted]] < 0]
            column[t.record[doubted]] = mine[doubted] + np.int64(base)
        blocks = passed.mask & np.uint8(_ANY ^ _ACCEPT)
        if blocks.any():
            np.bitwise_or.at(fate.mask, t.record, blocks)
            over = np.flatnonzero(told & ~passed.main)
            records = t.record[over]
            fate.end[records] = _OF["rules"]
            fate.device[records] = device
            fate.row[records[row[over] < 0]] = -1
        t.main &= passed.main
        goes = passed.mask & _ACCEPT != 0
        lost = goes & passed.opened
        if lost.any():
            self._lost(t, lost, "open-header", np.full(size, device, np.int32))
            goes &= ~lost
        return t if goes.all() else t.of(np.flatnonzero(goes))


def walk(tables: Tables, stations: Sequence[Station], batch: Batch, entry: I32, threads: int) -> Fate:
    """Every record of a batch through the network, from its entry."""
    fate = Fate.of(batch.size)
    family = batch.columns["family"]
    for kind in Family:
        mine = np.flatnonzero(family == kind)
        for begin in range(0, len(mine), CHUNK):
            some = mine[begin : begin + CHUNK]
            Walk(tables, stations, kind, threads).run(batch, entry[some], fate, some)
    lost = fate.lost > 0
    fate.end[lost], fate.device[lost], fate.row[lost] = fate.lost[lost], fate.lost_at[lost], -1
    unknown = CODE[fate.mask] == UNKNOWN
    split = unknown & ~lost & (fate.other < 0) & (fate.ways > 1)
    fate.end[split], fate.device[split], fate.row[split] = _OF["split"], fate.parted[split], -1
    return fate


__all__ = [
    "ARRIVED",
    "CROSS",
    "ENDS",
    "FORWARD",
    "LINK",
    "LOCAL",
    "Fate",
    "Station",
    "Tables",
    "Walk",
    "walk",
]

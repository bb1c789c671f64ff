"""Plans: the stages of a hook made ready for batches of records.

Theory of operation. The stages of a hook (`flatten`) are asked one after the other. In a stage the first sure row of
every record is found at once, and the first undecided row of each kind; outcomes of undecided rows before the
sure one are added to the record's. Records that resume or are changed go on in the same stage from another
place, in groups: the first place is asked through a classifier, another through the classifier of the rows
from there on, or for a few records by a scan. Accepted records go on to the next stage.

What is found is a superset of the outcomes. One verdict is therefore the verdict; several are exact where
no undecided row on the way was loose. What no row can say is marked, for the rules to be asked (`batches`).

Where it is weak: many different places to go on from, each with a classifier of its own.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from netsim.errors import BudgetExceeded, Limits
from netsim.index.classifier import Classifier, scan
from netsim.index.columns import ICMP
from netsim.index.deciders import Deciders
from netsim.index.flatten import Does, Flattener, Stage, Variant
from netsim.index.rows import Rows
from netsim.rules.evaluate import nat_kind
from netsim.rules.journey import HAS_ENTRY, Addresses, Turn, is_filter
from netsim.rules.model import (
    Adjust,
    Effect,
    Nat,
    NatKind,
    Netmap,
    Point,
    RuleSet,
    SetBits,
    SetField,
    Untrack,
    Verdict,
)
from netsim.space.fields import ADDRESS_FIELDS, FIELDS, PORT_PROTOCOLS, CtStatus, Family, State

I32 = NDArray[np.int32]
Where = NDArray[np.intp] | None
"""Numbers of records; None: all."""

VERDICTS = (Verdict.ACCEPT, Verdict.DROP, Verdict.REJECT, Verdict.UNKNOWN)
"""The verdicts by their codes."""
UNKNOWN = 3
NONE = 0x7FFF_FFFF
FEW = 64
"""Up to so many records go on from a place by a scan."""

_ACCEPT, _DROP, _REJECT = 1, 2, 4
_BITS = {Does.ACCEPT: _ACCEPT, Does.DROP: _DROP, Does.REJECT: _REJECT, Does.OPEN: _ACCEPT | _DROP | _REJECT}
CODE = np.full(8, UNKNOWN, np.uint8)
CODE[[_ACCEPT, _DROP, _REJECT]] = (0, 1, 2)


class View:
    """Some records of the columns, each column picked when it is first asked for."""

    def __init__(self, columns: Mapping[str, NDArray[Any]], where: Where, size: int) -> None:
        self.columns = columns
        self.where = where
        self.size = size if where is None else len(where)
        self._picked: dict[str, NDArray[Any]] = {}

    def of(self, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
        """The columns of these names."""
        if self.where is None:
            return {name: self.columns[name] for name in names if name in self.columns}
        for name in names:
            if name in self.columns and name not in self._picked:
                self._picked[name] = self.columns[name][self.where]
        return {name: self._picked[name] for name in names if name in self._picked}


class RowList:
    """Some rows of a stage: the first of them, from a place on, that holds each record."""

    def __init__(self, places: I32, rows: Rows, limits: Limits, whole: Classifier | None = None) -> None:
        self.places = places
        self.rows = rows
        self.limits = limits
        self._from: dict[int, Classifier | None] = {} if whole is None else {0: whole}
        self._built = 0

    @classmethod
    def of(cls, stage: Stage, chosen: list[int], limits: Limits) -> RowList:
        """Chosen rows of a stage."""
        places = np.array(chosen, np.int32)
        return cls(places, Rows.of([stage.products[i] for i in chosen], places), limits)

    @property
    def whole(self) -> Classifier | None:
        """The classifier of all of its rows; None where they restrict nothing, or are too many for one."""
        return self._classifier(0, FEW + 1) if len(self) and self.rows.columns else None

    def __len__(self) -> int:
        return len(self.places)

    def first(self, view: View, start: int, threads: int) -> I32:
        """The place of the first row from `start` on, NONE if there is none."""
        at = int(np.searchsorted(self.places, start)) if start else 0
        size = view.size
        if at == len(self.places):
            return np.full(size, NONE, np.int32)
        columns = view.of(self.rows.columns)
        if not columns:
            return np.full(size, self.places[at], np.int32)
        index = self._classifier(at, size)
        if index is not None:
            found = index.first(columns, threads=threads)
            return np.where(found < 0, np.int32(NONE), self.places[at + found])
        found = scan(self.rows, columns, np.full(size, at, np.int32))
        return np.where(found < 0, np.int32(NONE), self.places[found])

    def _classifier(self, at: int, size: int) -> Classifier | None:
        if at in self._from:
            return self._from[at]
        rest = len(self.places) - at
        if at and (size <= FEW or self._built + rest > 4 * len(self.places) + 65536):
            return None
        try:
            self._from[at] = Classifier(_tail(self.rows, at), limits=self.limits)
        except BudgetExceeded:
            self._from[at] = None
        self._built += rest
        return self._from[at]

    def stats(self) -> list[dict[str, Any]]:
        """Those of its classifiers."""
        return [c.stats() for c in self._from.values() if c is not None]


def _tail(rows: Rows, at: int) -> Rows:
    """The rows from one on."""
    if not at:
        return rows

    def cut(columns: Mapping[str, NDArray[np.uint64]]) -> dict[str, NDArray[np.uint64]]:
        return {name: np.ascontiguousarray(column[at:]) for name, column in columns.items()}

    return Rows(cut(rows.low), cut(rows.high), rows.rule[at:], cut(rows.care), cut(rows.value))


@attrs.define(slots=True, eq=False)
class Ready:
    """A stage made ready: what surely holds, and by kind what may. `does`, `target` and `decider` are by row.

    `filters`: accepting is said by this chain.
    """

    chain: str
    point: Point
    nat: bool
    filters: bool
    does: NDArray[np.int8]
    target: I32
    decider: I32
    effects: dict[int, tuple[Effect, ...]]
    sure: RowList
    maybe: dict[Does, RowList]
    loose: RowList | None
    bits: NDArray[np.uint8] = attrs.field(init=False)
    code: NDArray[np.uint8] = attrs.field(init=False)
    ends: bool = attrs.field(init=False)  # nothing goes on from another place
    decides: NDArray[np.bool_] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        table = np.array([_BITS.get(does, 0) for does in Does], np.uint8)
        self.bits = table[self.does]
        self.code = CODE[self.bits]
        self.ends = bool(np.all(self.does[self.sure.places] <= int(Does.REJECT)))
        decides = self.does <= int(Does.REJECT)
        self.decides = decides if self.filters else decides & (self.does != int(Does.ACCEPT))

    @classmethod
    def of(cls, stage: Stage, hook: Point, limits: Limits) -> Ready:
        """A flattened stage made ready."""
        places = range(len(stage))
        sure = [i for i in places if stage.sure[i] and stage.does[i] is not Does.OPEN]
        kinds: dict[Does, list[int]] = {}
        for i in places:
            does = stage.does[i]
            if does is Does.OPEN or not stage.sure[i]:
                kinds.setdefault(Does.ASK if does is Does.CHANGE else does, []).append(i)
        loose = [i for i in places if stage.loose[i]]
        return cls(
            stage.chain.name, stage.point, stage.nat, is_filter(stage.chain, hook),
            np.array(stage.does, np.int8), np.array(stage.target, np.int32), np.array(stage.decider, np.int32),
            dict(stage.effects), RowList.of(stage, sure, limits),
            {does: RowList.of(stage, chosen, limits) for does, chosen in kinds.items()},
            RowList.of(stage, loose, limits) if loose else None,
        )  # fmt: skip

    def lists(self) -> list[RowList]:
        """All lists of rows."""
        return [self.sure, *self.maybe.values(), *([self.loose] if self.loose is not None else [])]


@attrs.define(slots=True)
class Records:
    """What is known of the records of one variant on their way. Arrays by record."""

    columns: dict[str, NDArray[Any]]
    size: int
    mask: NDArray[np.uint8]  # outcomes that are certain to be among them
    row: I32  # what decided the main way
    maybe: I32  # the first undecided row before that
    first: I32  # the first undecided row so far
    other: I32  # the first undecided row of another outcome
    main: NDArray[np.bool_]  # the main way is not at its end
    ask: NDArray[np.bool_]
    loose: NDArray[np.bool_]
    translated: NDArray[np.uint8]  # bits of the kinds of translation made
    own: set[str] = attrs.Factory(set)  # columns that are copies

    @classmethod
    def of(cls, columns: Mapping[str, NDArray[Any]], size: int) -> Records:
        """Records of which nothing is known yet."""
        none = np.full(size, -1, np.int32)
        return cls(
            dict(columns), size, np.zeros(size, np.uint8), none.copy(), none.copy(), none.copy(), none,
            np.ones(size, np.bool_), np.zeros(size, np.bool_), np.zeros(size, np.bool_), np.zeros(size, np.uint8),
        )  # fmt: skip

    def write(self, name: str, where: NDArray[np.intp], values: Any) -> None:
        """Changes a column for some records."""
        if name not in self.own:
            self.columns[name] = np.array(self.columns[name])
            self.own.add(name)
        self.columns[name][where] = values


_KIND = {NatKind.SOURCE: 1, NatKind.DESTINATION: 2}


class Plan:
    """The stages of one variant, ready to be asked."""

    def __init__(
        self,
        variant: Variant,
        stages: Sequence[Ready | Turn],
        addresses: Addresses,
        build_seconds: float = 0.0,
    ) -> None:
        self.variant = variant
        self.stages = tuple(stages)
        self.addresses = addresses
        self.build_seconds = build_seconds

    @classmethod
    def of(
        cls, rules: RuleSet, deciders: Deciders, variant: Variant, addresses: Addresses, limits: Limits,
        kept: Collection[str] = (),
    ) -> Plan:  # fmt: skip
        """The plan of a variant, for what matters in it and the fields `kept` behind it.

        Raises `BudgetExceeded` where it is too large, or rows cannot say it.
        """
        began = time.perf_counter()
        found = Flattener(rules, deciders, variant, addresses, limits, kept).stages()
        stages = [each if isinstance(each, Turn) else Ready.of(each, variant.point, limits) for each in found]
        return cls(variant, stages, addresses, time.perf_counter() - began)

    def stats(self) -> dict[str, Any]:
        """Rows by base chain, and the classifiers built so far."""
        return {
            "family": "any" if self.variant.family is None else self.variant.family.name.lower(),
            "open": sorted(self.variant.open),
            "build_seconds": round(self.build_seconds, 6),
            "rows": sum(len(a.does) for a in self.stages if isinstance(a, Ready)),
            "chains": {
                a.chain: {
                    "rows": len(a.does),
                    "undecided": sum(len(m) for m in a.maybe.values()),
                    "asked_of_the_rules": int((a.does == int(Does.ASK)).sum()),
                    "classifiers": [c for each in a.lists() for c in each.stats()],
                }
                for a in self.stages
                if isinstance(a, Ready)
            },
        }

    def only(self, columns: Mapping[str, NDArray[Any]]) -> Ready | None:
        """The one stage that decides everything, if there is one, and nothing else happens to the records."""
        stages = [each for each in self.stages if isinstance(each, Ready)]
        if len(stages) != 1 or (Turn.HOP in self.stages and "ttl" in columns):
            return None
        asked = stages[0]
        simple = asked.filters and asked.ends and not asked.maybe and not asked.nat
        return asked if simple else None

    def run(self, columns: Mapping[str, NDArray[Any]], size: int, threads: int) -> Records:
        """Every record through every stage."""
        r = Records.of(columns, size)
        alive: Where = None
        for each in self.stages:
            if alive is not None and not len(alive):
                break
            if isinstance(each, Ready):
                alive = self._asked(each, r, alive, threads)
            elif each is Turn.HOP:
                alive = self._hop(r, alive)
            elif each is Turn.ROUTE:
                alive = self._route(r, alive)
        left = slice(None) if alive is None else alive
        r.mask[left] |= _ACCEPT
        nothing = r.row < 0
        r.maybe[nothing] = r.first[nothing]
        return r

    def _hop(self, r: Records, alive: Where) -> Where:
        """Forwarding takes one from the TTL."""
        ttl = r.columns.get("ttl")
        if ttl is None:
            return alive
        at = np.arange(r.size) if alive is None else alive
        ended = ttl[at] <= 1
        if ended.any():
            over = at[ended]
            r.mask[over] |= _DROP
            r.main[over] = False
            at = alive = at[~ended]
        r.write("ttl", at, ttl[at] - 1)
        return alive

    def _route(self, r: Records, alive: Where) -> Where:
        """Records that a new destination moves to another hook are asked of the rules."""
        at = np.arange(r.size) if alive is None else alive
        moved = at[r.translated[at] & _KIND[NatKind.DESTINATION] != 0]
        if not len(moved) or not self.addresses.known:
            return alive
        local = np.ones(len(moved), np.bool_)
        if self.variant.family is Family.IPV4 and "dst4" in r.columns:
            local = np.zeros(len(moved), np.bool_)
            there = r.columns["dst4"][moved]
            for family, ranges in self.addresses.ranges:
                if family is Family.IPV4:
                    for low, high in ranges:
                        local |= (low <= there) & (there <= high)
            elsewhere = ~local if self.variant.point is Point.INPUT else local
        else:
            elsewhere = local
        return self._put(r, at, moved[elsewhere])

    @staticmethod
    def _put(r: Records, alive: NDArray[np.intp], asked: NDArray[np.intp]) -> NDArray[np.intp]:
        r.ask[asked] = True
        return alive[~r.ask[alive]]

    def _asked(self, asked: Ready, r: Records, alive: Where, threads: int) -> Where:
        """Records through one stage; those that may go on."""
        stage = asked
        at: Where = alive
        beside: NDArray[np.intp] | None = None
        if stage.nat:
            every = np.arange(r.size) if alive is None else alive
            state = r.columns["state"][every]
            related = state == State.RELATED
            if "protocol" in r.columns:
                related &= ~np.isin(r.columns["protocol"][every], ICMP)
            sees = (state == State.NEW) | related
            sees &= r.translated[every] & _KIND[nat_kind(stage.point)] == 0
            if not sees.all():
                at, beside = every[sees], every[~sees]
        size = r.size if at is None else len(at)
        passage = _Passage(self, asked, r, at, size)
        passage.run(threads)
        onward = passage.onward()
        if onward is None:
            return alive
        return onward if beside is None else np.concatenate([onward, beside])


class _Passage:
    """Records in one stage. Arrays are by their position among the records that the stage sees."""

    def __init__(self, plan: Plan, asked: Ready, r: Records, at: Where, size: int) -> None:
        self.plan = plan
        self.asked = asked
        self.r = r
        self.at = at
        self.size = size
        self.mask = np.zeros(size, np.uint8)
        self.forked = np.zeros(size, np.bool_)
        self.gone = np.zeros(size, np.bool_)  # asked of the rules
        self.other = np.full(size, -1, np.int32)
        self.tasks: list[tuple[Where, int, bool]] = [(None, 0, True)]

    def run(self, threads: int) -> None:
        """Every task: records at a place; whether it is the way on which nothing undecided applies."""
        while self.tasks:
            who, start, main = self.tasks.pop()
            if who is not None:
                who = who[~self.gone[who]]
                if not len(who):
                    continue
            self._task(who, start, main=main, threads=threads)

    def _global(self, who: Where) -> Where:
        if who is None:
            return self.at
        return who if self.at is None else self.at[who]

    def _task(self, who: Where, start: int, *, main: bool, threads: int) -> None:
        asked = self.asked
        view = View(self.r.columns, self._global(who), self.r.size)
        place = asked.sure.first(view, start, threads)
        if not asked.maybe and asked.ends:
            self._ended(who, place, main=main)
            return
        every = np.arange(self.size) if who is None else who
        stop = place
        if asked.maybe:
            stop = self._undecided(view, every, start, place, main=main, threads=threads)
        self._decided(every, place, stop == place, main=main)

    def _ended(self, who: Where, place: I32, *, main: bool) -> None:
        """Sure rows end the chain for all these records."""
        asked, r = self.asked, self.r
        self.mask[slice(None) if who is None else who] |= asked.bits[place]
        if not main:
            return
        ids = self._global(who)
        at: Any = slice(None) if ids is None else ids
        ends = asked.decides[place] & r.main[at]
        if ends.all():
            r.row[at], r.maybe[at] = asked.decider[place], r.first[at]
            r.main[at] = asked.does[place] == int(Does.ACCEPT)
            return
        numbers = np.flatnonzero(ends)
        self._end(numbers if who is None else who[numbers], place[numbers])

    def _undecided(
        self, view: View, who: NDArray[np.intp], start: int, place: I32, *, main: bool, threads: int
    ) -> I32:
        """Notes the outcomes of undecided rows before `place`; where a way leaves before it, that is the answer."""
        asked = self.asked
        first = {does: rows.first(view, start, threads) for does, rows in asked.maybe.items()}
        stop = place
        if Does.RESUME in first:
            stop = np.minimum(place, first[Does.RESUME])
        does = asked.does[place]
        earliest = np.full(len(who), NONE, np.int32)
        other = np.full(len(who), NONE, np.int32)
        for kind, found in first.items():
            if kind is Does.RESUME:
                hit = (found == stop) & (found < place)
            else:
                hit = found < stop
            if not hit.any():
                continue
            here = who[hit]
            earliest[hit] = np.minimum(earliest[hit], found[hit])
            if kind is Does.ASK:
                self.gone[here] = True
            elif kind is Does.RESUME:
                self.forked[here] = True
                for place_ in np.unique(found[hit]):
                    ones = here[found[hit] == place_]
                    self.tasks.append((ones, int(asked.target[place_]), False))
                    self.tasks.append((ones, int(place_) + 1, main))
            else:
                self.mask[here] |= _BITS[kind]
            unlike = hit & (does != int(kind))
            other[unlike] = np.minimum(other[unlike], found[unlike])
        if asked.loose is not None:
            loose = asked.loose.first(view, start, threads) <= np.minimum(stop, place)
            ones = who[loose]
            self.r.loose[ones if self.at is None else self.at[ones]] = True
        if main:
            fresh = (other != NONE) & (self.other[who] < 0)
            self.other[who[fresh]] = asked.decider[other[fresh]]
            ids = who if self.at is None else self.at[who]
            fresh = (earliest != NONE) & (self.r.first[ids] < 0) & self.r.main[ids]
            self.r.first[ids[fresh]] = asked.decider[earliest[fresh]]
        return stop

    def _decided(self, who: NDArray[np.intp], place: I32, decides: NDArray[np.bool_], *, main: bool) -> None:
        """What the sure rows do with the records that come to them."""
        asked = self.asked
        decides = decides & ~self.gone[who]
        if not decides.all():
            who, place = who[decides], place[decides]
        does = asked.does[place]
        if main:
            ends = asked.decides[place]
            self._end(who[ends], place[ends])
        self.mask[who] |= asked.bits[place]
        rest = does > int(Does.REJECT)
        if not rest.any():
            return
        for each in np.unique(place[rest]):
            ones = who[place == each]
            match Does(int(asked.does[each])):
                case Does.RESUME:
                    self.tasks.append((ones, int(asked.target[each]), main))
                case Does.CHANGE:
                    self._changed(ones, int(each), main=main)
                case _:
                    self.gone[ones] = True

    def _end(self, who: NDArray[np.intp], place: I32) -> None:
        """The main way is decided by rows."""
        r = self.r
        ids = who if self.at is None else self.at[who]
        open_ = r.main[ids]
        ids, place = ids[open_], place[open_]
        r.row[ids] = self.asked.decider[place]
        r.maybe[ids] = r.first[ids]
        blocks = self.asked.does[place] != int(Does.ACCEPT)
        r.main[ids[blocks]] = False

    def _changed(self, who: NDArray[np.intp], place: int, *, main: bool) -> None:
        """Effects on the records of one row. Where another way goes on unchanged, the rules are asked."""
        asked, r = self.asked, self.r
        both = self.forked[who] | (self.mask[who] & _ACCEPT != 0)
        self.gone[who[both]] = True
        who = who[~both]
        ids = who if self.at is None else self.at[who]
        effects = asked.effects[place]
        for effect in effects:
            _apply(effect, r, ids)
        if any(isinstance(effect, Nat | Netmap) for effect in effects):
            r.translated[ids] |= _KIND[nat_kind(asked.point)]
        target = int(asked.target[place])
        if target >= 0:
            self.tasks.append((who, target, main))
            return
        self.mask[who] |= _ACCEPT
        if main and asked.filters:
            ids = ids[r.main[ids]]
            r.row[ids] = asked.decider[place]
            r.maybe[ids] = r.first[ids]

    def onward(self) -> NDArray[np.intp] | None:
        """The records that may go on to the next stage; None: all that came in."""
        r = self.r
        ids: Any = slice(None) if self.at is None else self.at
        r.mask[ids] |= self.mask & (_DROP | _REJECT)
        if self.asked.maybe:
            several = (self.mask & (self.mask - 1)) != 0
            fresh = several & (r.other[ids] < 0)
            numbers = np.flatnonzero(fresh)
            r.other[numbers if self.at is None else self.at[numbers]] = self.other[numbers]
        if self.gone.any():
            numbers = np.flatnonzero(self.gone)
            r.ask[numbers if self.at is None else self.at[numbers]] = True
        goes = (self.mask & _ACCEPT != 0) & ~self.gone
        if goes.all() and self.at is None:
            return None
        numbers = np.flatnonzero(goes)
        return numbers if self.at is None else self.at[numbers]


def _apply(effect: Effect, r: Records, ids: NDArray[np.intp]) -> None:
    """One effect on the columns of some records (`rules.effects`)."""
    columns = r.columns
    match effect:
        case SetBits(field, keep, value, source, mask, needs_entry):
            if needs_entry:
                ids = ids[columns["state"][ids] <= max(int(s) for s in HAS_ENTRY)]
            new = (columns[field][ids] & np.uint32(keep & 0xFFFF_FFFF)) ^ np.uint32(value)
            if source and mask:
                new = new ^ (columns[source][ids] & np.uint32(mask))
            r.write(field, ids, new)
        case SetField(field, keep, value):
            r.write(field, ids, (columns[field][ids] & np.uint8(keep & 0xFF)) ^ np.uint8(value))
        case Adjust(field, delta):
            if field in columns:
                top = FIELDS[field].maximum
                r.write(field, ids, np.clip(columns[field][ids].astype(np.int64) + delta, 0, top))
        case Untrack():
            r.write("state", ids, int(State.UNTRACKED))
        case Netmap(kind, family, network, prefix):
            field = ADDRESS_FIELDS["src" if kind is NatKind.SOURCE else "dst", family]
            old = columns[field][ids]
            host = np.uint32((1 << (family.bits - prefix)) - 1)
            new = (old & host) | np.uint32(network)
            _noted(r, ids, kind, new != old)
            r.write(field, ids, new)
        case Nat():
            _translate(effect, r, ids)


def _noted(r: Records, ids: NDArray[np.intp], kind: NatKind, differs: NDArray[np.bool_]) -> None:
    if "ct_status" not in r.columns:  # nobody tests it
        return
    bit = CtStatus.SNAT if kind is NatKind.SOURCE else CtStatus.DNAT
    changed = ids[differs]
    r.write("ct_status", changed, r.columns["ct_status"][changed] | np.uint8(bit))


def _translate(effect: Nat, r: Records, ids: NDArray[np.intp]) -> None:
    """A translation with one result, as far as later tests see it."""
    side = "src" if effect.kind is NatKind.SOURCE else "dst"
    pool = effect.pools[0]
    differs = np.zeros(len(ids), np.bool_)
    if pool.addresses is not None and pool.addresses[0] == pool.addresses[1]:
        field, value = ADDRESS_FIELDS[side, effect.family], pool.addresses[0]
        pairs = (
            ((field + ".high", value >> 64), (field + ".low", value & (1 << 64) - 1))
            if effect.family is Family.IPV6
            else ((field, value),)
        )
        for name, number in pairs:
            if name in r.columns:
                kind = r.columns[name].dtype.type
                differs |= r.columns[name][ids] != kind(number)
                r.write(name, ids, kind(number))
    port = side[0] + "port"
    if pool.ports is not None and pool.ports[0] == pool.ports[1] and {port, "protocol"} <= r.columns.keys():
        ported = np.isin(r.columns["protocol"][ids], PORT_PROTOCOLS) & (r.columns["fragment"][ids] == 0)
        here = ids[ported]
        differs[ported] |= r.columns[port][here] != np.uint16(pool.ports[0])
        r.write(port, here, np.uint16(pool.ports[0]))
    _noted(r, ids, effect.kind, differs)


__all__ = [
    "CODE",
    "I32",
    "NONE",
    "UNKNOWN",
    "VERDICTS",
    "Plan",
    "Ready",
    "Records",
    "RowList",
    "View",
    "Where",
]

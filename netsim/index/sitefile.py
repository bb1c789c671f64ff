"""A network made ready for batches, in a file: see `artifact` for the index of one rule set.

The file is a `container`. `site` says in plain data what the devices, members and legs are; `site/...` are the tables
from ingress and destination class to the next device, and the diagram behind them; `rules/<member>` the rules,
`leg/<number>/<n>` a plan of a leg, which is one device, direction and hook. `texts` and `sources` are shared.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from netsim.errors import DEFAULT_LIMITS, Limits
from netsim.index.artifact import (
    FIVE,
    Arrays,
    ArtifactError,
    SavedIndex,
    fitting,
    layout,
    limits_of,
    packed_plan,
    unpacked_plan,
)
from netsim.index.columns import Batch
from netsim.index.container import Container, write
from netsim.index.deciders import Deciders
from netsim.index.flatten import Variant
from netsim.index.legs import Leg
from netsim.index.plans import Plan
from netsim.index.portable import Texts, model_of, plain
from netsim.index.sites import Member, SiteBatches, SiteClassification
from netsim.index.sorter import Level, Sorter
from netsim.index.verify import check_plan
from netsim.index.walks import ENDS, Station, Tables
from netsim.rules.journey import NO_ADDRESSES
from netsim.rules.model import Point, RuleSet
from netsim.space.fields import LEVEL_MAXIMA, Family

_WAYS = ("before", "inward", "through")
_LEFT_OUT = (frozenset[str](), frozenset({"mac"}), FIVE - {"iif", "oif", "mac"}, FIVE - {"iif", "oif"})
"""What batches leave open: nothing, and what only the first device knows; and the same of five usual columns."""


def _site_layout() -> dict[str, Any]:
    return {**layout(), "ends": list(ENDS), "levels": list(LEVEL_MAXIMA)}


# Writing


def save(site: SiteBatches, path: str | os.PathLike[str]) -> None:
    """Writes a network made ready for batches. Raises `OSError` where the file cannot be written."""
    texts = Texts()
    legs = [leg for member in site.members for leg in member.legs]
    number = {id(leg): k for k, leg in enumerate(legs)}
    rules = {f"rules/{m}": plain(member.whole.rules, texts) for m, member in enumerate(site.members)}
    parts: dict[str, Any] = {}
    listing: list[dict[str, Any]] = []
    for m, member in enumerate(site.members):
        for leg in member.legs:
            sections: list[Any] = []
            for variant in _variants(leg, member.whole.rules):
                plan = leg.plan(variant)
                if isinstance(plan, str):  # made again, or refused again, where it is asked for
                    continue
                name = f"leg/{number[id(leg)]}/{len(sections)}"
                arrays = Arrays(name)
                parts[name] = packed_plan(plan, arrays, texts)
                parts |= arrays.sections
                family = variant.family.name if variant.family is not None else None
                sections.append([name, family, sorted(variant.open)])
            listing.append(
                {
                    "member": m, "points": sorted(p.name for p in leg.points), "hook": leg.hook.name,
                    "fields": sorted(leg.fields), "plans": sections,
                }
            )  # fmt: skip
    tables = site.tables
    sorter = tables.sorter
    arrays_of = {f"site/{name}": array for name, array in tables.arrays().items()}
    for level in sorter.levels:
        for name in ("starts", "edges", "to"):
            arrays_of[f"site/level/{level.level}/{name}"] = getattr(level, name)
    sections_of: dict[str, Any] = {
        "fields": _site_layout(),
        "site": {
            "name": site.name, "devices": list(tables.devices), "entries": list(tables.entries.items()),
            "levels": [[level.level, level.first, level.count] for level in sorter.levels],
            "members": [[member.device, member.count] for member in site.members],
            "limits": attrs.asdict(legs[0].limits if legs else DEFAULT_LIMITS),
            "legs": listing,
            "stations": [
                {
                    "name": station.name, "fragments": [[f.name, kind] for f, kind in station.fragments.items()],
                    **{
                        way: [
                            [f.name, [number[id(leg)] for leg, _ in each]]
                            for f, each in getattr(station, way).items()
                        ]
                        for way in _WAYS
                    },
                }
                for station in site.stations
            ],
        },
        **arrays_of,
        "site/roots": sorter.roots,
        **rules,
        "texts": texts.texts,
        "sources": np.array(texts.sources or np.zeros((0, 6)), np.int64),
        **parts,
    }  # fmt: skip
    write(path, sections_of)


def _variants(leg: Leg, rules: RuleSet) -> list[Variant]:
    """The kinds of records that a leg is saved for: those asked already, and what batches usually say."""
    found = dict.fromkeys([*leg.plans, *leg.stored])
    for family in Family:
        if rules.family in (None, family):
            for open_ in _LEFT_OUT:
                found.setdefault(leg.variant(family, open_))
    return list(found)


# Reading


class _Saved:
    """One rule set of a file: its rules are made when something asks for them."""

    def __init__(self, file: Container, member: int, count: int, texts: Callable[[], Texts]) -> None:
        self._file = file
        self._member = member
        self._count = count
        self._texts = texts

    @cached_property
    def rules(self) -> RuleSet:
        """The rules."""
        with fitting(self._file.path, "has no whole rules"):
            found = model_of(self._file.json(f"rules/{self._member}"), self._texts())
            if not isinstance(found, RuleSet):
                raise ValueError("no rule set")
            return found

    @cached_property
    def deciders(self) -> Deciders:
        """Their numbers."""
        with fitting(self._file.path, "has no whole rules"):
            found = Deciders(self.rules)
            if len(found) != self._count:
                raise ValueError("rules of another number")
            return found


class SavedSite(SiteBatches):
    """A network from a file. It answers batches without its rules, and names rules with them.

    Raises `ArtifactError` for a file that is no index of a site, damaged or of another version, `OSError` for none.
    """

    def __init__(self, path: str | os.PathLike[str] | Container, *, limits: Limits | None = None) -> None:
        self._file = path if isinstance(path, Container) else Container(path)
        with fitting(self._file.path):
            if self._file.json("fields") != _site_layout():
                raise ArtifactError(f"{self._file.path} was made by a netsim of another build: make it anew")
            site = self._file.json("site")
            tables = self._tables(site)
            members = [
                Member(_text(device), _Saved(self._file, m, _count(count), lambda: self._texts), count, [])
                for m, (device, count) in enumerate(site["members"])
            ]
            kept = limits or limits_of(site["limits"])
            bases = np.cumsum([0, *(member.count for member in members)]).tolist()
            legs = [(self._leg(each, members, kept), bases[each["member"]]) for each in site["legs"]]
            stations = [self._station(each, legs) for each in site["stations"]]
            if len(stations) != len(tables.devices):
                raise ValueError("a device without its legs")
            super().__init__(_text(site["name"]), tables, stations, members)

    @cached_property
    def _texts(self) -> Texts:
        with fitting(self._file.path, "has no whole rules"):
            return Texts(self._file.json("texts"), self._file.array("sources"))

    def _tables(self, site: Mapping[str, Any]) -> Tables:
        file = self._file
        levels = []
        for number, first, count in site["levels"]:
            arrays = [file.array(f"site/level/{_count(number)}/{name}") for name in ("starts", "edges", "to")]
            levels.append(Level(number, _count(first), _count(count), *arrays))
        names = [f.name for f in attrs.fields(Tables) if f.name not in ("devices", "entries", "sorter")]
        tables = Tables(
            tuple(_text(name) for name in site["devices"]),
            {_text(name): _count(entry) for name, entry in site["entries"]},
            Sorter(tuple(levels), file.array("site/roots")),
            **{name: file.array(f"site/{name}") for name in names},
        )
        tables.check()
        return tables

    def _leg(self, data: Mapping[str, Any], members: list[Member], limits: Limits) -> Leg:
        member = members[_count(data["member"])]
        points = frozenset(Point[name] for name in data["points"])
        leg = Leg(member.whole, points, Point[data["hook"]], frozenset(data["fields"]), limits)
        for section, family, open_ in data["plans"]:
            if section not in self._file:
                raise ArtifactError(f"{self._file.path} has no section {str(section)[:64]!r}")
            variant = Variant(leg.hook, Family[family], frozenset(open_))
            leg.stored[variant] = partial(self._plan, _text(section), variant, member.count, limits)
        member.legs.append(leg)
        return leg

    def _plan(self, section: str, variant: Variant, deciders: int, limits: Limits) -> Plan:
        """A plan, when a batch first needs it: its tables are checked before anything is asked of them."""
        with fitting(self._file.path):
            arrays = Arrays(section, self._file.array)
            data = self._file.json(section)
            plan = unpacked_plan(data, variant.point, arrays, lambda: self._texts, NO_ADDRESSES, limits)
            if plan.variant != variant:
                raise ValueError("a plan of another variant")
            check_plan(plan, deciders)
            return plan

    @staticmethod
    def _station(data: Mapping[str, Any], legs: list[tuple[Leg, int]]) -> Station:
        def found(way: str) -> dict[Family, list[tuple[Leg, int]]]:
            return {Family[f]: [legs[_count(k)] for k in each] for f, each in data[way]}

        fragments = {Family[f]: _count(kind) for f, kind in data["fragments"]}
        name, (before, inward, through) = _text(data["name"]), map(found, _WAYS)
        return Station(name, before, inward, through, fragments)

    def _answered(self, batch: Batch, entry: NDArray[np.int32], threads: int) -> SiteClassification:
        with fitting(self._file.path, "has tables that do not fit together"):
            return super()._answered(batch, entry, threads)

    def stats(self) -> dict[str, Any]:
        """Sizes, with sections and bytes of the file."""
        more = {"sections": len(self._file.names()), "bytes": os.path.getsize(self._file.path)}
        return {**super().stats(), **more}


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{str(value)[:40]!r} is no count")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a name that is no text")
    return value


def load(path: str | os.PathLike[str], limits: Limits | None = None) -> SavedIndex | SavedSite:
    """The index of a rule set or of a site, whichever the file holds."""
    file = Container(path)
    return SavedSite(file, limits=limits) if "site" in file else SavedIndex(file, limits=limits)


__all__ = ["SavedSite", "load", "save"]

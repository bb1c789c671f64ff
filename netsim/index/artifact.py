"""A compiled index in a file: written once, mapped by many processes, ready in milliseconds.

Theory of operation. The file is a `container`. It holds, in sections of their own: the columns that the index was
made with (`fields`), texts and sources of the rules (`texts`, `sources`), the rules as plain data (`rules`),
what holds for all of them (`facts`), and for each hook and variant a plan (`plan/<hook>/<n>`) with the arrays of
its rows and classifiers. Arrays are used where they lie. The rules are made from their data only when something
asks for them: the rule of a number, a variant that has no plan, a record that no plan answers.

No code is in the file and none of its data is executed. Checksums find damage. Tables are checked to stay within
their bounds before anything is asked of them (`verify`), and data that is nested deeper than any index is refused, so
that a file which somebody has made up is an `ArtifactError` or gives wrong answers, and does nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import attrs
import numpy as np

from netsim.display import Displayed, Document, Heading, Pairs
from netsim.errors import DEFAULT_LIMITS, Limits, NetsimError
from netsim.index.batches import Batches, Facts
from netsim.index.classification import Classification
from netsim.index.classifier import STORED, Classifier
from netsim.index.columns import batch_of
from netsim.index.container import ArtifactError, Container, write
from netsim.index.deciders import Decider, Deciders
from netsim.index.flatten import Does, Variant
from netsim.index.index import Index
from netsim.index.plans import Plan, Ready, RowList
from netsim.index.portable import Texts, model_of, plain
from netsim.index.rows import INTERVALS, WORDS, Rows
from netsim.index.verify import check_plan
from netsim.rules.evaluate import Ruling
from netsim.rules.journey import HOOKS, Addresses, Turn, hook_of
from netsim.rules.model import Point, RuleSet
from netsim.space.fields import Family
from netsim.space.packet import Packet

FIVE = frozenset({"iif", "oif", "length", "ttl", "mac", "icmp_type", "icmp_code"})
"""What a batch of addresses, protocol and ports leaves open."""

_PARTS: dict[str, Any] = {c.__name__: c for c in STORED}
"""The classes that a classifier is made of."""


def layout() -> dict[str, Any]:
    """What arrays and numbers of an index mean: columns, kinds of rows, and the attributes of its parts."""
    return {
        "intervals": INTERVALS,
        "words": WORDS,
        "does": [does.name for does in Does],
        "parts": {name: [f.name for f in attrs.fields(part)] for name, part in sorted(_PARTS.items())},
    }


# Values that are made of arrays


class Arrays:
    """Arrays by number while an artifact is written or read."""

    def __init__(self, prefix: str, get: Callable[[str], Any] | None = None) -> None:
        self.prefix = prefix
        self.get = get
        self.sections: dict[str, Any] = {}

    def put(self, array: Any) -> str:
        """The name of the section that will hold an array."""
        name = f"{self.prefix}/{len(self.sections)}"
        self.sections[name] = array
        return name


def _packed(value: Any, arrays: Arrays) -> Any:
    """A value of arrays, numbers, texts, lists and parts of classifiers as what JSON takes."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        return {"array": arrays.put(value)}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return {"tuple" if isinstance(value, tuple) else "list": [_packed(v, arrays) for v in value]}
    if isinstance(value, Mapping):
        return {"dict": [[k, _packed(v, arrays)] for k, v in value.items()]}
    name = type(value).__name__
    assert _PARTS.get(name) is type(value) or isinstance(value, Rows), name
    fields = {f.name: _packed(getattr(value, f.name), arrays) for f in attrs.fields(_PARTS.get(name, Rows))}
    return {"part": name, "fields": fields}


DEPTH = 32
"""How deep the values of an index lie in each other at most."""


def _unpacked(data: Any, arrays: Arrays, depth: int = DEPTH) -> Any:
    if not isinstance(data, dict):
        return data
    if not depth:
        raise ValueError(f"values in each other more than {DEPTH} deep")
    depth -= 1
    if "array" in data:
        assert arrays.get is not None
        return arrays.get(data["array"])
    if "list" in data:
        return [_unpacked(v, arrays, depth) for v in data["list"]]
    if "tuple" in data:
        return tuple(_unpacked(v, arrays, depth) for v in data["tuple"])
    if "dict" in data:
        return {k: _unpacked(v, arrays, depth) for k, v in data["dict"]}
    fields = {k: _unpacked(v, arrays, depth) for k, v in data["fields"].items()}
    if data["part"] == "Rows":
        return Rows(**fields)
    kind = _PARTS[data["part"]]
    found = kind.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(found, name, value)
    return found


def _packed_list(rows: RowList, arrays: Arrays) -> Any:
    whole = rows.whole
    inner = None
    if whole is not None:
        inner = _packed(whole.state(), arrays)
    return {"places": _packed(rows.places, arrays), "rows": _packed(rows.rows, arrays), "classifier": inner}


def _unpacked_list(data: Any, arrays: Arrays, limits: Limits) -> RowList:
    rows = _unpacked(data["rows"], arrays)
    whole: Classifier | None = None
    if data["classifier"] is not None:
        whole = Classifier.restored(_unpacked(data["classifier"], arrays), rows, limits)
    return RowList(_unpacked(data["places"], arrays), rows, limits, whole)


@contextmanager
def fitting(path: str, what: str = "is no whole index") -> Iterator[None]:
    """Turns what data that does not fit together raises into an `ArtifactError`."""
    try:
        yield
    except NetsimError:
        raise
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise ArtifactError(f"{path} {what}: {type(error).__name__}: {str(error)[:200]}") from None


def packed_plan(plan: Plan, arrays: Arrays, texts: Texts) -> Any:
    """A plan as what JSON takes; its arrays go to `arrays`, its texts to `texts`."""
    stages: list[Any] = []
    for each in plan.stages:
        if isinstance(each, Turn):
            stages.append(each.name)
            continue
        stages.append(
            {
                "chain": each.chain, "point": each.point.name, "nat": each.nat, "filters": each.filters,
                "does": _packed(each.does, arrays), "target": _packed(each.target, arrays),
                "decider": _packed(each.decider, arrays),
                "effects": [[row, plain(effects, texts)] for row, effects in each.effects.items()],
                "sure": _packed_list(each.sure, arrays),
                "maybe": [[does.name, _packed_list(rows, arrays)] for does, rows in each.maybe.items()],
                "loose": None if each.loose is None else _packed_list(each.loose, arrays),
            }
        )  # fmt: skip
    v = plan.variant
    return {
        "family": None if v.family is None else v.family.name, "open": sorted(v.open), "payload": v.payload,
        "build_seconds": plan.build_seconds, "stages": stages,
    }  # fmt: skip


def unpacked_plan(
    data: Any, point: Point, arrays: Arrays, texts: Callable[[], Texts], addresses: Addresses, limits: Limits
) -> Plan:
    """The plan of what `packed_plan` made. Raises what data that does not fit raises, see `fitting`."""
    family = None if data["family"] is None else Family[data["family"]]
    variant = Variant(point, family, frozenset(data["open"]), data["payload"])
    stages: list[Ready | Turn] = []
    for each in data["stages"]:
        if isinstance(each, str):
            stages.append(Turn[each])
            continue
        stages.append(
            Ready(
                each["chain"], Point[each["point"]], each["nat"], each["filters"],
                _unpacked(each["does"], arrays), _unpacked(each["target"], arrays),
                _unpacked(each["decider"], arrays),
                {row: model_of(effects, texts()) for row, effects in each["effects"]},
                _unpacked_list(each["sure"], arrays, limits),
                {Does[name]: _unpacked_list(rows, arrays, limits) for name, rows in each["maybe"]},
                None if each["loose"] is None else _unpacked_list(each["loose"], arrays, limits),
            )
        )  # fmt: skip
    return Plan(variant, stages, addresses, data["build_seconds"])


# Writing


def variants(batches: Batches) -> list[Variant]:
    """The variants that a hook is saved for: those asked already, everything said, and the five usual columns."""
    found = dict.fromkeys(batches.plans)
    families = list(Family) if batches.facts.family is None else [batches.facts.family]
    for family in families:
        found.setdefault(batches.variant(family, frozenset()))
        found.setdefault(batches.variant(family, FIVE))
    return list(found)


def save(index: Index, path: str | os.PathLike[str], *, hooks: Iterable[Point] | None = None) -> None:
    """Writes an index with the plans of some hooks (None: of all that have a base chain), for `SavedIndex`."""
    chosen = list(hooks) if hooks is not None else [
        hook for hook in HOOKS.values() if index.rules.base_chains(hook)
    ]  # fmt: skip
    texts = Texts()
    rules = plain(index.rules, texts)
    facts = Facts.of(index.rules, index.addresses)
    listing: list[dict[str, Any]] = []
    parts: dict[str, Any] = {}
    for hook in chosen:
        batches: Batches = index.batches(hook)
        for variant in variants(batches):
            plan = batches.plan(variant)
            if isinstance(plan, str):  # made again, or refused again, where it is asked for
                continue
            name = f"plan/{hook.name.lower()}/{len(listing)}"
            arrays = Arrays(name)
            data = packed_plan(plan, arrays, texts)
            listing.append({"hook": hook.name, "section": name})
            parts |= {name: data, **arrays.sections}
    sections: dict[str, Any] = {
        "fields": layout(),
        "facts": {
            "family": None if facts.family is None else facts.family.name,
            "backend": facts.backend, "tracks": facts.tracks, "tested": sorted(facts.tested),
            "matters": sorted(facts.matters), "device": index.rules.device, "file": index.rules.file,
            "rules": sum(1 for _ in index.rules.rules()), "deciders": len(index.deciders),
            "addresses": [[f.name, [list(r) for r in ranges]] for f, ranges in facts.addresses.ranges],
            "addresses_known": facts.addresses.known, "limits": attrs.asdict(index.limits),
        },
        "plans": listing,
        "rules": rules,
        "texts": texts.texts,
        "sources": np.array(texts.sources or np.zeros((0, 6)), np.int64),
        **parts,
    }  # fmt: skip
    write(path, sections)


# Reading


def limits_of(data: Mapping[str, Any]) -> Limits:
    """The limits that were written; what this netsim does not know is left out."""
    known = {f.name for f in attrs.fields(Limits)}
    found = {k: v for k, v in data.items() if k in known}
    if not all(type(v) is int and v >= 0 for v in found.values()):
        raise ValueError("a limit that is no number")
    return attrs.evolve(DEFAULT_LIMITS, **found)


class _Numbers(Sequence[Decider]):
    """The deciders of a saved index, made when one is asked for."""

    def __init__(self, count: int, made: Callable[[], Deciders]) -> None:
        self._count = count
        self._made = made

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number):  # type: ignore[no-untyped-def]
        return self._made()[number]


class SavedIndex(Displayed):
    """An index from a file. It answers batches without its rules, and everything else with them.

    Raises `ArtifactError` for a file that is no index, damaged or of another version, `OSError` for none.
    """

    def __init__(self, path: str | os.PathLike[str] | Container, *, limits: Limits | None = None) -> None:
        self._file = path if isinstance(path, Container) else Container(path)
        with fitting(self._file.path):
            facts = self._file.json("facts")
            if self._file.json("fields") != layout():
                raise ArtifactError(f"{self._file.path} was made by a netsim of another build: make it anew")
            self._facts = facts
            self.limits = limits or limits_of(facts["limits"])
            self.facts = Facts(
                None if facts["family"] is None else Family[facts["family"]], facts["backend"], facts["tracks"],
                frozenset(facts["tested"]), frozenset(facts["matters"]),
                Addresses(
                    tuple((Family[f], tuple((a, b) for a, b in ranges)) for f, ranges in facts["addresses"]),
                    facts["addresses_known"],
                ),
            )  # fmt: skip
            self._hooks: dict[Point, Batches] = {}
            for each in self._file.json("plans"):
                self._add(Point[each["hook"]], each["section"])

    def _add(self, hook: Point, section: str) -> None:
        arrays = Arrays(section, self._file.array)
        data = self._file.json(section)
        plan = unpacked_plan(data, hook, arrays, lambda: self._texts, self.facts.addresses, self.limits)
        check_plan(plan, self._facts["deciders"])
        self.batches(hook).plans[plan.variant] = plan

    @cached_property
    def _texts(self) -> Texts:
        return Texts(self._file.json("texts"), self._file.array("sources"))

    @cached_property
    def index(self) -> Index:
        """The index made from the saved rules."""
        with fitting(self._file.path, "has no whole rules"):
            rules = model_of(self._file.json("rules"), self._texts)
            if not isinstance(rules, RuleSet):
                raise ValueError("no rule set")
        return Index(rules, addresses=self.facts.addresses, limits=self.limits)

    @property
    def rules(self) -> RuleSet:
        """The rules."""
        return self.index.rules

    @property
    def deciders(self) -> Deciders:
        """The rules and policies by the numbers that `classify` gives them."""
        return self.index.deciders

    def decide(self, packet: Packet, *, hook: Point = Point.FORWARD) -> Ruling:
        """The ruling on one packet."""
        return self.index.decide(packet, hook=hook)

    def batches(self, hook: Point) -> Batches:
        """The hook made ready for batches."""
        found = self._hooks.get(hook)
        if found is None:
            found = self._hooks[hook] = Batches(self.facts, self, hook, self.limits)
        return found

    def classify(self, batch: Any, *, hook: str | Point = "forward", threads: int = 1) -> Classification:
        """The verdict on every record of a batch, as the rules that were saved decide; see `Rules.classify`."""
        point, given = hook_of(hook), batch_of(batch)
        with fitting(self._file.path, "has tables that do not fit together"):
            columns = self.batches(point).classify(given, threads)
        return Classification(*columns, _Numbers(self._facts["deciders"], lambda: self.deciders))

    def stats(self) -> dict[str, Any]:
        """What is in it: rules, sections and bytes, and for each hook its plans."""
        return {
            "rules": self._facts["rules"],
            "sections": len(self._file.names()),
            "bytes": os.path.getsize(self._file.path),
            "classify": {hook.name.lower(): found.stats() for hook, found in self._hooks.items()},
        }

    def document(self) -> Document:
        """What the index is of."""
        hooks = ", ".join(hook.name.lower() for hook in self._hooks) or "none"
        rows = [("rules", str(self._facts["rules"])), ("hooks", hooks)]
        if self._facts["device"]:
            rows.insert(0, ("device", self._facts["device"]))
        return Document([Heading(f"index of {self._facts['file'] or 'rules'}"), Pairs(rows)])


__all__ = [
    "FIVE", "ArtifactError", "Arrays", "SavedIndex", "fitting", "layout", "limits_of", "packed_plan", "save", "unpacked_plan",
]  # fmt: skip

"""Batches of records through a rule set: verdicts, and which rules decide.

Theory of operation. The records of a batch are parted by what makes tests constant or undecided for all of them
(`flatten.Variant`): the IP version, and the fields that the batch does not say. Each part goes through the plan
of its variant (`plans`), which is made when it is first needed and kept. Records that no plan can answer are put
to `Index.decide`, one of each group that no rule tells apart (`groups`).

A plan needs no rules once it is made, so one that was saved works without them (`artifact`).

Where it is weak: many unlike records that rows cannot say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import attrs
import numpy as np
from numpy.typing import NDArray

from netsim.errors import BudgetExceeded, Limits
from netsim.index.columns import Batch
from netsim.index.deciders import Deciders
from netsim.index.flatten import Variant, read, tested
from netsim.index.groups import Groups
from netsim.index.plans import CODE, I32, UNKNOWN, VERDICTS, Plan, View, Where
from netsim.rules.evaluate import Ruling, redirects
from netsim.rules.journey import PAYLOAD_PROTOCOLS, Addresses, uses_tracking
from netsim.rules.model import Nat, Netmap, Point, RuleSet
from netsim.space.fields import Family
from netsim.space.packet import Packet


@attrs.frozen(slots=True)
class Facts:
    """What batches need to know of a rule set besides plans.

    `tested` are the fields that rules test, `matters` those for which it matters whether they are open.
    """

    family: Family | None
    backend: str
    tracks: bool
    tested: frozenset[str]
    matters: frozenset[str]
    addresses: Addresses

    @classmethod
    def of(cls, rules: RuleSet, addresses: Addresses) -> Facts:
        """The facts of a rule set."""
        fields = frozenset(tested(rules.rules()))
        matters = fields | {"protocol"}
        effects = [effect for rule in rules.rules() for effect in rule.effects]
        if addresses.known or any(redirects(effect) for effect in effects):
            matters |= {"dst4", "dst6"}
        for effect in effects:
            # For a translation only whether it changes anything, which the status says.
            if not isinstance(effect, Nat | Netmap) or "ct_status" in fields:
                matters |= read(effect)
            if isinstance(effect, Nat) and any(pool.interface or pool.own for pool in effect.pools):
                matters |= {"iif", "oif"}
        return cls(rules.family, rules.backend, uses_tracking(rules), fields, matters, addresses)


class Ruled(Protocol):
    """What answers for the rules: an index, or one that is read from an artifact when it is needed."""

    @property
    def rules(self) -> RuleSet:
        """The rules."""

    @property
    def deciders(self) -> Deciders:
        """Their numbers."""

    def decide(self, packet: Packet, *, hook: Point = ...) -> Ruling:
        """The ruling on one packet."""


class Batches:
    """One hook of a rule set, for batches. Plans are made for the kinds of records that come."""

    def __init__(self, facts: Facts, index: Ruled, point: Point, limits: Limits) -> None:
        self.facts = facts
        self.index = index
        self.point = point
        self.limits = limits
        self.plans: dict[Variant, Plan | str] = {}
        self._groups: Groups | None = None
        self.asked = 0  # records put to the rules, and as how many groups
        self.groups = 0

    def plan(self, variant: Variant) -> Plan | str:
        """The plan of a variant, or why there is none."""
        found = self.plans.get(variant)
        if found is None:
            index = self.index
            try:
                found = Plan.of(index.rules, index.deciders, variant, self.facts.addresses, self.limits)
            except BudgetExceeded as error:
                found = str(error)
            self.plans[variant] = found
        return found

    def variant(self, family: Family | None, open_: frozenset[str], *, payload: bool = False) -> Variant:
        """The variant of records of an IP version that do not say some fields."""
        return Variant(self.point, family, open_ & self.facts.matters, payload)

    def classify(self, batch: Batch, threads: int = 1) -> tuple[NDArray[np.uint8], I32, I32]:
        """Verdicts (codes of `VERDICTS`), deciders and undecided deciders of records."""
        batch = batch.completed(self.facts.tested)
        verdict = np.zeros(batch.size, np.uint8)
        row = np.full(batch.size, -1, np.int32)
        undecided = np.full(batch.size, -1, np.int32)
        left: list[NDArray[np.intp]] = []
        variants = self._variants(batch)
        for variant, where in variants:
            if variant is None:  # reassembled before any chain: nobody's question
                verdict[where] = UNKNOWN
                continue
            plan = self.plan(variant)
            if isinstance(plan, str):
                left.append(np.arange(batch.size) if where is None else where)
                continue
            columns: Mapping[str, NDArray[Any]] = batch.columns
            if where is not None:
                columns = {name: column[where] for name, column in columns.items()}
            at: Any = slice(None) if where is None else where
            size = batch.size if where is None else len(where)
            only = plan.only(columns)
            if only is not None:
                place = only.sure.first(View(columns, None, size), 0, threads)
                if where is None:
                    return only.code[place], only.decider[place], undecided
                verdict[at], row[at] = only.code[place], only.decider[place]
                continue
            r = plan.run(columns, size, threads)
            code = CODE[r.mask]
            unknown = code == UNKNOWN
            verdict[at], row[at] = code, r.row
            undecided[at] = np.where(unknown, r.other, r.maybe)
            again = np.flatnonzero(r.ask | (unknown & r.loose))
            if len(again):
                hard = r.ask[again]
                ids = again if where is None else where[again]
                row[ids[hard]] = undecided[ids[hard]] = -1
                left.append(ids)
        if left:
            self._ask(batch, np.concatenate(left), verdict, row, undecided)
        return verdict, row, undecided

    def _variants(self, batch: Batch) -> list[tuple[Variant | None, Where]]:
        """The kinds of records in a batch. Those of the other IP version are none: they are accepted."""
        found: list[tuple[Variant | None, Where]] = []
        family = batch.columns["family"]
        later = batch.columns["fragment"] != 0
        if not self.facts.tracks and "protocol" in batch.columns and later.any():
            later &= np.isin(batch.columns["protocol"], list(PAYLOAD_PROTOCOLS))
        special = bool(later.any()) and (self.facts.tracks or self.facts.backend == "nft")
        for number in (0, 1, 2):
            mine = family == number
            if not mine.any():
                continue
            kind = None if number == 2 else Family(number)
            if self.facts.family is not None and kind not in (None, self.facts.family):
                continue
            for payload in (False, True) if special else (False,):
                part = mine & (later == payload) if special else mine
                if not part.any():
                    continue
                where = None if part.all() else np.flatnonzero(part)
                if payload and self.facts.tracks:
                    found.append((None, np.flatnonzero(part)))
                else:
                    found.append((self.variant(kind, self._open(batch, kind), payload=payload), where))
        return found

    @staticmethod
    def _open(batch: Batch, family: Family | None) -> frozenset[str]:
        """The open fields that records of a family have."""
        others = (
            {"src6", "dst6"}
            if family is Family.IPV4
            else {"src4", "dst4"}
            if family is Family.IPV6
            else set()
        )
        return batch.open - others

    def _ask(
        self, batch: Batch, where: NDArray[np.intp], verdict: NDArray[np.uint8], row: I32, undecided: I32
    ) -> None:
        """Puts records to `decide`, one of each group that nothing tells apart."""
        if self._groups is None:
            self._groups = Groups(self.index.rules, self.facts.addresses)
        chosen, number = self._groups.of(batch, where)
        codes = np.zeros(len(chosen), np.uint8)
        deciders = np.full(len(chosen), -1, np.int32)
        doubts = np.full(len(chosen), -1, np.int32)
        for i, record in enumerate(chosen):
            packet = Packet.from_values(batch.values(int(record)))
            ruling = self.index.decide(packet, hook=self.point)
            codes[i] = VERDICTS.index(ruling.verdict)
            if ruling.step is not None:
                step = ruling.step
                deciders[i] = self.index.deciders.number(step.chain, step.rule, step.trail)
            doubts[i] = next(
                (self.index.deciders.some(b.rule) for b in ruling.because if b.rule is not None), -1
            )
        code = codes[number]
        verdict[where] = code
        sure = (code != UNKNOWN) & (deciders[number] >= 0)
        row[where[sure]] = deciders[number][sure]
        nothing = (code != UNKNOWN) & (deciders[number] < 0)
        row[where[nothing]] = -1
        undecided[where[code != UNKNOWN]] = -1
        unsaid = (code == UNKNOWN) & (undecided[where] < 0)
        undecided[where[unsaid]] = doubts[number][unsaid]
        self.asked += len(where)
        self.groups += len(chosen)

    def stats(self) -> dict[str, Any]:
        """The plans made so far, and the records that rows could not answer."""
        return {
            "plans": [
                plan.stats() if isinstance(plan, Plan) else {"fallback": plan, "open": sorted(variant.open)}
                for variant, plan in self.plans.items()
            ],
            "records_asked_of_the_rules": self.asked,
            "as_groups": self.groups,
        }


__all__ = ["Batches", "Facts", "Ruled"]

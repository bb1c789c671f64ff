"""Changes of a network, as values: each step makes a new edit, the network stays untouched.

What an edit does not touch stays the same object (devices, rule sets, chains, rules), so that only what it touches
is compiled again. Rules and routes that it brings have `edit N` as their source, N the number of the step;
answers show that as their place. Every method raises `QuestionError` for what does not exist or is ambiguous,
and `InputError` for a text that does not parse; then nothing has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from netsim.errors import InputError, QuestionError
from netsim.parsers.edit import RuleName, RuleSetEdit
from netsim.parsers.names import find_chains, find_rule, of_family
from netsim.rules.bind import NamedSet
from netsim.rules.model import Chain, Rule, RuleSet
from netsim.topology.model import Device
from netsim.topology.network import Network, bound
from netsim.topology.wiring import delete_route, new_route, read_rules, take_down


@attrs.frozen(slots=True)
class Edit:
    """A change in the making. `network` is the network after it, `steps` says what was done.

    A rule is named by its id (`fw1:filter/FORWARD/3`), by `file:line`, by its text in the device's own words
    (`-A FORWARD -s 10.0.0.0/8 -j DROP`, behind `fw1:` if it is to be looked for there), or given as a `Rule`. Where
    a device has rules of both families, `family` (4 or 6) says which, if the name leaves it open.
    """

    network: Network
    steps: tuple[str, ...] = ()

    # Rules

    def insert(
        self,
        chain: str,
        text: str | Rule,
        *,
        before: int | RuleName | None = None,
        after: int | RuleName | None = None,
        family: int | None = None,
    ) -> Edit:
        """Insert a rule, in the dialect's own text, into `device:table/chain`.

        `before` or `after` is a rule of that chain: its number, or one of its names; without them the rule
        comes last.
        """

        def step(edit: RuleSetEdit, found: Chain) -> RuleSetEdit:
            return edit.insert(_named(edit.ruleset, found), text, before=before, after=after)

        return self._in_chain(chain, family, step)

    def delete(self, rule: RuleName, *, family: int | None = None) -> Edit:
        """Delete a rule."""
        return self._at_rule(rule, family, lambda edit, found: edit.delete(found))

    def replace(self, rule: RuleName, text: str | Rule, *, family: int | None = None) -> Edit:
        """Put another rule in the place of one."""
        return self._at_rule(rule, family, lambda edit, found: edit.replace(found, text))

    def move(
        self,
        rule: RuleName,
        *,
        before: int | RuleName | None = None,
        after: int | RuleName | None = None,
        chain: str | None = None,
        family: int | None = None,
    ) -> Edit:
        """Move a rule before or after another one of its chain, or of `chain` (of the same table and device)."""

        def step(edit: RuleSetEdit, found: Rule) -> RuleSetEdit:
            return edit.move(found, before=before, after=after, chain=chain)

        return self._at_rule(rule, family, step)

    def policy(self, chain: str, policy: str, *, family: int | None = None) -> Edit:
        """Give the base chain `device:table/chain` another policy: ACCEPT or DROP."""

        def step(edit: RuleSetEdit, found: Chain) -> RuleSetEdit:
            return edit.policy(_named(edit.ruleset, found), policy)

        return self._in_chain(chain, family, step)

    def swap(
        self,
        device: str,
        rules: str | Path | RuleSet,
        *,
        ipsets: str | Path | Mapping[str, NamedSet] | None = None,
    ) -> Edit:
        """Exchange a device's whole rules of one family for a file, a text of several lines, or a rule set.

        They are read as the site loader reads them: with the device's back end, its addresses and its
        sets, or `ipsets` in their place. A rule of a file has that file's name and line as its source. A device
        without rules of that family gets them.
        """
        found = self.network.device(device)
        changed, old, name = read_rules(found, rules, ipsets, self._next)
        what = f"exchange {old} for {name}" if old else f"add {name}"
        return self._with(changed, f"{device}: {what}")

    # Links, interfaces, devices, routes

    def down(self, what: str) -> Edit:
        """Take a link (`link:NAME`), an interface (`device:interface`) or a whole device down.

        An interface that is down is so as `ip link set DEV down` makes it: its connected routes and the routes
        through it vanish, its IPv4 addresses stay local. A link that is down takes every interface on it
        down, and cuts off its hosts, also from one another. A device that is down is one whose interfaces
        all are.
        """
        return attrs.evolve(self, network=take_down(self.network, what), steps=(*self.steps, f"down {what}"))

    def add_route(
        self,
        device: str,
        route: str = "",
        *,
        to: str = "",
        via: str = "",
        dev: str = "",
        metric: int | None = None,
        table: str = "",
    ) -> Edit:
        """Add a route, as `ip route` writes it (`10.9.0.0/16 via 10.0.1.254 metric 10`) or by keywords.

        As with `ip route add`, the next hop must be on a connected network, and no other route may have the
        same prefix, metric and table.
        """
        found = self.network.device(device)
        text = route or _route_text(to, via, dev, metric, table)
        added = new_route(found, text, self._next)
        changed = attrs.evolve(found, routes=(*found.routes, added))
        return self._with(changed, f"{device}: add route {text}")

    def delete_route(
        self,
        device: str,
        route: str = "",
        *,
        to: str = "",
        via: str = "",
        dev: str = "",
        metric: int | None = None,
        table: str = "",
    ) -> Edit:
        """Delete the route to a prefix; what else is said (next hop, interface, metric, table) must fit."""
        found = self.network.device(device)
        text = route or _route_text(to, via, dev, metric, table)
        return self._with(delete_route(found, text), f"{device}: delete route {text}")

    # Inside

    @property
    def _next(self) -> str:
        return f"edit {len(self.steps) + 1}"

    def _with(self, device: Device, step: str) -> Edit:
        return attrs.evolve(self, network=self.network.with_device(device), steps=(*self.steps, step))

    def _rulesets(self) -> list[RuleSet]:
        return [r for d in self.network.devices.values() for r in d.rulesets]

    def _bind(self, ruleset: RuleSet, scratch: RuleSet) -> RuleSet:
        device = self.network.devices[ruleset.device]
        return bound(device, scratch, device.sets)

    def _at_rule(
        self, name: RuleName, family: int | None, step: Callable[[RuleSetEdit, Rule], RuleSetEdit]
    ) -> Edit:
        place = find_rule(name, of_family(self._rulesets(), family), bind=self._bind)
        return self._done(step(RuleSetEdit(place.ruleset, self.steps, self._bind), place.rule), place.ruleset)

    def _in_chain(
        self, name: str, family: int | None, step: Callable[[RuleSetEdit, Chain], RuleSetEdit]
    ) -> Edit:
        """A step in a chain; where both families have it, in the one in which the step is possible."""
        device = name.partition(":")[0]
        if ":" not in name:
            raise QuestionError.of(
                f"{name[:60]!r} is no chain", code="NS305", hint="write device:table/CHAIN"
            )
        found = find_chains(name, of_family(self.network.device(device).rulesets, family))
        errors: list[InputError] = []
        done: list[tuple[RuleSetEdit, RuleSet]] = []
        for ruleset, chain in found:
            try:
                done.append((step(RuleSetEdit(ruleset, self.steps, self._bind), chain), ruleset))
            except InputError as error:
                errors.append(error)
        if not done:
            raise errors[0]
        if len(done) > 1:
            message = f"{name[:60]} is a chain of both families"
            raise QuestionError.of(message, code="NS305", hint="say family=4 or family=6")
        return self._done(*done[0])

    def _done(self, edit: RuleSetEdit, before: RuleSet) -> Edit:
        device = self.network.devices[before.device]
        if edit.ruleset is before:
            return attrs.evolve(self, steps=edit.steps)
        rulesets = tuple(edit.ruleset if r is before else r for r in device.rulesets)
        return self._with(attrs.evolve(device, rulesets=rulesets), edit.steps[-1])


def _named(ruleset: RuleSet, chain: Chain) -> str:
    return f"{ruleset.device}:{chain.name}" if ruleset.device else chain.name


def _route_text(to: str, via: str, dev: str, metric: int | None, table: str) -> str:
    if not to:
        raise QuestionError.of("a route needs a destination", code="NS308", hint="say to=")
    words: list[Any] = [to]
    for name, value in (("via", via), ("dev", dev), ("metric", metric), ("table", table)):
        words += [name, value] if value not in ("", None) else []
    return " ".join(map(str, words))


__all__ = ["Edit"]

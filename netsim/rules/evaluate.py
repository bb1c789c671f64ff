"""One packet through one rule set: the specification.

This module is short, obvious and slow. The index must agree with it on every packet, and both with a
real kernel. It asks rule after rule; where a condition cannot be decided it goes both ways, and the
answer is unknown only if the ways end differently.

A *state* is a place on the journey with the packet as it is there. It runs on to a verdict, or to a
fork: a pure unmodelled condition forks the rest of the journey (its text has one answer), an impure
one and an open field fork this rule only. Equal states are visited once, so that rules which do not
matter cost nothing, and the walk uses a list, not recursion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from netsim.errors import DEFAULT_LIMITS, BudgetExceeded, Limits
from netsim.rules.conditions import Doubt, Find, scan
from netsim.rules.effects import Values, changed
from netsim.rules.journey import (
    NO_ADDRESSES,
    PAYLOAD_PROTOCOLS,
    PORT_FIELDS,
    Addresses,
    Stage,
    Stop,
    Turn,
    arrival,
    departure,
    is_filter,
    uses_tracking,
)
from netsim.rules.model import (
    OUTCOME_OF,
    VERDICTS_OF,
    Action,
    ActionKind,
    Chain,
    Deferred,
    Effect,
    Nat,
    NatKind,
    Outcome,
    Point,
    Rule,
    RuleSet,
    Unmodelled,
    Verdict,
    flat,
)
from netsim.space.fields import ABSENT, ADDRESS_FIELDS, NO_MAC, Family, State, interface_value
from netsim.space.packet import Packet


@attrs.frozen(slots=True)
class Step:
    """What one base chain did with the packet: by `rule`, or by its policy (None), after `trail` jumps."""

    chain: Chain
    rule: Rule | None
    verdict: Verdict
    trail: tuple[Rule, ...] = ()


@attrs.frozen(slots=True)
class Reason:
    """Why an answer is unknown: a rule and the condition or field that is undecided there."""

    rule: Rule | None
    condition: str
    hint: str = ""


@attrs.frozen(slots=True)
class Ruling:
    """The specification's answer. `outcomes` is a mask of ACCEPT, DROP and REJECT, never empty.

    `step` is the deciding one: for drop and reject the one that did it, for accept that of the hook's
    filter (None if no chain hangs there). `steps` are all on the way; `after` is the packet as it leaves,
    None for a packet that does not. For unknown, `because` says why.
    """

    outcomes: Outcome
    step: Step | None
    steps: tuple[Step, ...]
    after: Values | None
    because: tuple[Reason, ...] = ()
    hook: Point = Point.FORWARD

    @property
    def verdict(self) -> Verdict:
        """The one verdict, or unknown."""
        verdicts = VERDICTS_OF[self.outcomes]
        return verdicts[0] if len(verdicts) == 1 else Verdict.UNKNOWN


# The walk

LOOPBACK = interface_value("lo")
ANY_OUTCOME = Outcome.ACCEPT | Outcome.DROP | Outcome.REJECT
_ENDS = {
    ActionKind.ACCEPT: Verdict.ACCEPT,
    ActionKind.DROP: Verdict.DROP,
    ActionKind.REJECT: Verdict.REJECT,
}
_STAYS = frozenset({"family", "protocol", "ttl", "state", "direction", "iif", "oif", "fragment"})
"""What an unmodelled target does not change."""
Frame = tuple[Chain, int, tuple[Rule, ...]]
"""A chain on the stack, the position of its next rule, and the jumps that led here."""


@attrs.define(slots=True)
class _State:
    """A place on the journey, with the packet as it is there.

    `forced`: the next rule applies, whatever its undecided conditions say. `stated` is what connection
    tracking will say, `oif` where the packet leaves, `done` which translations have been made.
    """

    agenda: tuple[Stage, ...]
    values: Values
    stated: State
    oif: int | None
    hook: Point
    frames: tuple[Frame, ...] = ()
    base: Chain | None = None
    known: tuple[tuple[str, bool], ...] = ()
    steps: tuple[Step, ...] = ()
    done: frozenset[NatKind] = frozenset()
    forced: bool = False
    expired: bool = False
    redirected: bool = False

    def copy(self, **changes: Any) -> _State:
        return attrs.evolve(self, **{"values": dict(self.values), **changes})

    def key(self) -> tuple[Any, ...]:
        """What the rest of the journey depends on."""
        frames = tuple((id(chain), at) for chain, at, _ in self.frames)
        values = tuple(self.values.items())
        rest = (self.hook, self.oif, self.done, self.forced, self.redirected, id(self.base))
        return (len(self.agenda), frames, values, self.known, rest)


@attrs.frozen(slots=True)
class _Leaf:
    verdict: Verdict
    state: _State


@attrs.frozen(slots=True)
class _Fork:
    """The ways from an undecided place, that in which the rule does not apply first."""

    ways: tuple[_State | _Leaf, ...]
    reasons: tuple[Reason, ...]


def evaluate(
    rules: RuleSet,
    packet: Packet,
    *,
    hook: Point = Point.FORWARD,
    addresses: Addresses = NO_ADDRESSES,
    find: Find = scan,
    limits: Limits = DEFAULT_LIMITS,
) -> Ruling:
    """The ruling of `rules` on `packet`, which routing would send to `hook` as it arrives.

    A rule set of the other IP version than the packet accepts it. Raises `BudgetExceeded` where the
    undecided conditions make more than `limits.states` different ways.
    """
    return Walk(rules, addresses, find, limits).rule(packet, hook)


class TooManyWays(BudgetExceeded):
    """The undecided conditions make too many ways; `reasons` are those of the way that was being gone.

    `step` decides at the end of the first way.
    """

    def __init__(self, states: int, reasons: tuple[Reason, ...], step: Step | None) -> None:
        super().__init__(f"more than {states} ways through undecided conditions")
        self.reasons = reasons
        self.step = step


class Walk:
    """The machine: everything that stays the same from packet to packet.

    Without `hops` nothing is taken from the TTL: somebody else does that.
    """

    def __init__(
        self,
        rules: RuleSet,
        addresses: Addresses = NO_ADDRESSES,
        find: Find = scan,
        limits: Limits = DEFAULT_LIMITS,
        *,
        hops: bool = True,
    ) -> None:
        self.rules = rules
        self.addresses = addresses
        self.find = find
        self.limits = limits
        self.hops = hops
        self._tracks = uses_tracking(rules)
        hooks = (Point.FORWARD, Point.INPUT, Point.OUTPUT)
        self._departures = {hook: departure(rules, hook) for hook in hooks}
        self._arrivals = {hook: arrival(rules, hook) for hook in hooks}
        self._single = _single_texts(rules)
        self._deferred = frozenset(
            c.text for r in rules.rules() for c in flat(r.conditions) if isinstance(c, Deferred)
        )

    def rule(self, packet: Packet, hook: Point) -> Ruling:
        """The ruling on one packet."""
        return self.rule_values(packet.values(), packet.state, hook)

    def rule_values(self, values: Values, state: State, hook: Point) -> Ruling:
        """The same for a packet as `Packet.values` gives it, which is changed."""
        if self.rules.family is not None and values["family"] not in (None, self.rules.family):
            return Ruling(Outcome.ACCEPT, None, (), values, (), hook)
        if values["fragment"]:
            if self._tracks:
                reason = Reason(None, "fragments are reassembled before any chain sees them")
                return Ruling(ANY_OUTCOME, None, (), values, (reason,), hook)
            if self.rules.backend == "nft" and values["protocol"] in (None, *PAYLOAD_PROTOCOLS):
                # Linux 6.18 reads payload bytes as ports in a later fragment: open, not absent.
                values.update(dict.fromkeys(PORT_FIELDS))
        if hook is Point.OUTPUT:
            values["iif"], values["mac"] = ABSENT, NO_MAC
        values["state"] = int(State.INVALID)  # nobody has looked yet
        root = _State(self._departures[hook], values, state, values["oif"], hook)
        first = self._run(root)
        if isinstance(first, _Leaf):
            return _ruling([first], ())
        return self._explore(first)

    def _explore(self, root: _Fork) -> Ruling:
        """Every way from a fork: the leaves, and the reasons of the forks whose ways end differently."""
        outcomes: dict[tuple[Any, ...], Outcome] = {}
        leaves: list[_Leaf] = []
        reasons: dict[Reason, None] = {}
        # A task is a fork (and the state that led to it) with the outcomes of the ways already gone.
        tasks: list[tuple[tuple[Any, ...], _Fork, list[Outcome]]] = [((), root, [])]
        while tasks:
            key, fork, gone = tasks[-1]
            if len(gone) == len(fork.ways):
                tasks.pop()
                total = Outcome(0)
                for mask in gone:
                    total |= mask
                if any(mask != total for mask in gone):
                    reasons.update(dict.fromkeys(fork.reasons))
                outcomes[key] = total
                if tasks:
                    tasks[-1][2].append(total)
                continue
            result: _State | _Leaf | _Fork = fork.ways[len(gone)]
            if isinstance(result, _State):
                way = result.key()
                if way in outcomes:
                    gone.append(outcomes[way])
                    continue
                if len(outcomes) >= self.limits.states:
                    asked = dict.fromkeys(reason for _, fork, _ in tasks for reason in fork.reasons)
                    raise TooManyWays(self.limits.states, tuple(asked), _ruling(leaves[:1], ()).step)
                result = self._run(result)
                if isinstance(result, _Fork):
                    tasks.append((way, result, []))
                    continue
                outcomes[way] = OUTCOME_OF[result.verdict]
            assert isinstance(result, _Leaf)
            leaves.append(result)
            gone.append(OUTCOME_OF[result.verdict])
        return _ruling(leaves, tuple(reasons))

    def _run(self, state: _State) -> _Leaf | _Fork:
        """On from a state to its verdict or to the next fork. Changes `state`."""
        while True:
            if state.frames:
                end = self._chain(state)
                if end is not None:
                    return end
            elif not state.agenda:
                state.values["oif"] = state.oif
                return _Leaf(Verdict.ACCEPT, state)
            else:
                stage, state.agenda = state.agenda[0], state.agenda[1:]
                if isinstance(stage, Stop):
                    self._enter(state, stage)
                elif stage is Turn.HOP:
                    ended = self._hop(state)
                    if ended is not None:
                        return ended
                elif stage is Turn.TRACK:
                    if state.values["state"] != State.UNTRACKED:
                        state.values["state"] = int(state.stated)
                else:
                    fork = self._route(state)
                    if fork is not None:
                        return fork
                    state.agenda = (Turn.HOP, *state.agenda)

    def _enter(self, state: _State, stop: Stop) -> None:
        """NAT chains are asked for a connection's first packet only, and once a kind."""
        chain, point, values = stop.chain, stop.point, state.values
        if chain.hook is not None and chain.hook.nat:
            first = values["state"] == State.NEW or (
                values["state"] == State.RELATED and values.get("protocol") not in (1, 58)
            )
            if not first or nat_kind(point) in state.done:
                return
        values["oif"] = ABSENT if point in (Point.PREROUTING, Point.INPUT) else state.oif
        state.base, state.frames = chain, ((chain, 0, ()),)

    def _route(self, state: _State) -> _Fork | None:
        """Routing: a new destination may move the packet between input and forward."""
        if state.redirected:
            self._moved(state, True)
            state.agenda = state.agenda[1:]
        elif NatKind.DESTINATION in state.done and self.addresses.known:
            family = state.values["family"]
            name = ADDRESS_FIELDS["dst", Family(family or 0)]
            local = self.addresses.local(family, state.values.get(name))
            if local is None:
                ways = tuple(self._moved(state.copy(), there) for there in (False, True))
                return _Fork(ways, (Reason(None, "whether the translated destination is the device itself"),))
            self._moved(state, local)
            state.agenda = state.agenda[1:]
        else:
            state.agenda = self._arrivals[state.hook]
        return None

    def _hop(self, state: _State) -> _Leaf | None:
        """Forwarding takes one from the TTL before FORWARD sees it; at 1 the packet ends (RFC 1812 5.3.1)."""
        ttl = state.values["ttl"]
        if self.hops and state.hook is Point.FORWARD and ttl is not None:
            if ttl <= 1:
                return _Leaf(Verdict.DROP, attrs.evolve(state, expired=True))
            state.values["ttl"] = ttl - 1
        return None

    def _moved(self, state: _State, local: bool) -> _State:
        if state.hook is Point.OUTPUT:
            state.oif = LOOPBACK if local else state.oif
        else:
            hook = Point.INPUT if local else Point.FORWARD
            if hook is not state.hook:
                state.hook, state.oif = hook, ABSENT if local else state.oif or None
        state.agenda = (Turn.HOP, *self._arrivals[state.hook])
        return state

    def _chain(self, state: _State) -> _Leaf | _Fork | None:
        """On to the end of the base chain (None), a verdict or a fork."""
        while state.frames:
            chain, at, trail = state.frames[-1]
            if state.forced:
                state.forced, position, answer = False, at, True
            else:
                found = self.find(chain, at, state.values, dict(state.known) if state.known else {})
                if found is None:
                    result = self._return(state)
                    if result is not None:
                        return result
                    continue
                position, answer = found[0], found[1]  # type: ignore[assignment]
            rule = chain.rules[position]
            if answer is not True:
                state.frames = (*state.frames[:-1], (chain, position, trail))
                return self._doubt(state, rule, answer)  # type: ignore[arg-type]
            state.frames = (*state.frames[:-1], (chain, position + 1, trail))
            fired = self._fire(state, rule, trail)
            if fired is not None:
                return fired
        return None

    def _doubt(self, state: _State, rule: Rule, doubts: list[Doubt]) -> _Fork:
        reasons = tuple(_reason(rule, doubt) for doubt in doubts)
        for doubt, reason in zip(doubts, reasons, strict=True):
            if not isinstance(doubt, str) and _pure(doubt) and doubt.text not in self._single:
                ways = tuple(
                    state.copy(known=(*state.known, (doubt.text, answer))) for answer in (False, True)
                )
                return _Fork(ways, (reason,))
        chain, at, trail = state.frames[-1]
        skipped = state.copy(frames=(*state.frames[:-1], (chain, at + 1, trail)))
        return _Fork((skipped, state.copy(forced=True)), reasons)

    def _fire(self, state: _State, rule: Rule, trail: tuple[Rule, ...]) -> _Leaf | _Fork | None:
        """What a rule does that applies."""
        if rule.effects:
            assert state.base is not None
            assert state.base.hook is not None
            ways = changed(rule.effects, state.values, state.base.hook.nat)
            if state.base.hook.nat and any(w.translates for w in ways):
                state.done = state.done | {nat_kind(state.base.hook.point)}
                state.redirected = any(redirects(effect) for effect in rule.effects)
                # what context decides may be about the translated address: it is asked anew
                state.known = tuple((t, answer) for t, answer in state.known if t not in self._deferred)
            if len(ways) > 1:
                reason = Reason(rule, ways[0].doubt or "the translation", ways[0].hint)
                results: list[_State | _Leaf] = []
                for way in ways:
                    copy = state.copy()
                    if way.values is not None:
                        copy.values = way.values
                    result = self._finish(copy, rule, trail, dropped=way.values is None)
                    results.append(copy if result is None else result)
                return _Fork(tuple(results), (reason,))
            if ways[0].values is None:
                return self._finish(state, rule, trail, dropped=True)
            state.values = ways[0].values
        if rule.action.kind is ActionKind.UNMODELLED:
            return self._unmodelled(state, rule, trail)
        return self._finish(state, rule, trail)

    def _finish(
        self, state: _State, rule: Rule, trail: tuple[Rule, ...], *, dropped: bool = False
    ) -> _Leaf | None:
        kind = ActionKind.DROP if dropped else rule.action.kind
        if kind in _ENDS:
            return self._verdict(state, rule, _ENDS[kind], trail)
        if kind is ActionKind.RETURN:
            return self._return(state)
        if kind in (ActionKind.JUMP, ActionKind.GOTO):
            target = self.rules.chains[rule.action.chain]
            below = state.frames if kind is ActionKind.JUMP else state.frames[:-1]
            state.frames = (*below, (target, 0, (*trail, rule)))
        return None

    def _unmodelled(self, state: _State, rule: Rule, trail: tuple[Rule, ...]) -> _Fork:
        """An unmodelled target may end in any verdict, or change the packet and let it go on."""
        reason = Reason(rule, rule.action.text or "unmodelled target")
        opened = {name: value if name in _STAYS else None for name, value in state.values.items()}
        ways: list[_State | _Leaf] = [state.copy(values=dict(opened))]
        accepted = state.copy(values=dict(opened))
        self._verdict(accepted, rule, Verdict.ACCEPT, trail)
        ways.append(accepted)
        for verdict in (Verdict.DROP, Verdict.REJECT):
            leaf = self._verdict(state.copy(), rule, verdict, trail)
            assert leaf is not None
            ways.append(leaf)
        return _Fork(tuple(ways), (reason,))

    def _return(self, state: _State) -> _Leaf | None:
        state.frames = state.frames[:-1]
        if state.frames:
            return None
        assert state.base is not None
        policy = state.base.policy or Action(ActionKind.ACCEPT)
        return self._verdict(state, None, _ENDS[policy.kind], ())

    def _verdict(
        self, state: _State, rule: Rule | None, verdict: Verdict, trail: tuple[Rule, ...]
    ) -> _Leaf | None:
        """The end of a base chain: an accepted packet goes on to the next, any other is at its end."""
        assert state.base is not None
        state.steps = (*state.steps, Step(state.base, rule, verdict, trail))
        state.frames = ()
        return None if verdict is Verdict.ACCEPT else _Leaf(verdict, state)


def nat_kind(point: Point) -> NatKind:
    """Which end of the packet is translated at a hook point."""
    early = point in (Point.PREROUTING, Point.OUTPUT)
    return NatKind.DESTINATION if early else NatKind.SOURCE


def redirects(effect: Effect) -> bool:
    """Whether a translation sends the packet to the device, at an address that is not known yet."""
    return isinstance(effect, Nat) and bool(effect.deferred) and effect.kind is NatKind.DESTINATION


def _pure(doubt: Unmodelled | Deferred) -> bool:
    return isinstance(doubt, Deferred) or doubt.pure


def _single_texts(rules: RuleSet) -> frozenset[str]:
    """The texts of conditions that one journey asks at most once: no need to remember the answer."""
    count: dict[str, int] = {}
    for chain in rules.chains.values():
        for rule in chain.rules:
            for condition in flat(rule.conditions):
                if isinstance(condition, Unmodelled | Deferred):
                    seen = count.get(condition.text, 0)
                    count[condition.text] = seen + (1 if chain.hook is not None else 2)
    return frozenset(text for text, times in count.items() if times == 1)


def _reason(rule: Rule, doubt: Doubt) -> Reason:
    if isinstance(doubt, str):
        return Reason(rule, f"the packet does not say its {doubt}")
    return Reason(rule, doubt.text, doubt.hint if isinstance(doubt, Deferred) else "")


def _ruling(leaves: Sequence[_Leaf], reasons: tuple[Reason, ...]) -> Ruling:
    outcomes = Outcome(0)
    for leaf in leaves:
        outcomes |= OUTCOME_OF[leaf.verdict]
    first = leaves[0]
    hook = first.state.hook
    if first.verdict is Verdict.ACCEPT:
        steps = [s for s in first.state.steps if is_filter(s.chain, hook)]
        step = steps[-1] if steps else None
    else:
        step = None if first.state.expired else first.state.steps[-1]
    if len(VERDICTS_OF[outcomes]) > 1:
        return Ruling(outcomes, None, (), None, reasons, hook)
    after = _common([leaf.state.values for leaf in leaves]) if outcomes & Outcome.ACCEPT else None
    return Ruling(outcomes, step, first.state.steps, after, (), hook)


def _common(every: Sequence[Values]) -> Values:
    first = every[0]
    if len(every) == 1:
        return {k: None if isinstance(v, tuple) else v for k, v in first.items()}
    same = {k: all(o.get(k) == v for o in every) for k, v in first.items()}
    return {k: v if same[k] and not isinstance(v, tuple) else None for k, v in first.items()}

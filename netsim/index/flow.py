"""Sets of packets through the chains of a device: pieces on their way, and the rules that decide them.

A *piece* is a set in the sender's header and the transformation so far; a chain is asked by pulling its
function back through that transformation, so every answer is in the sender's header. Pieces may
overlap where something is undecided; a piece is `sure` if each of its packets takes this way and no
other. The joint outcomes of a packet are the union over the pieces that hold it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

import attrs

from netsim.index.compile import asks_addresses, opened
from netsim.index.function import Function, Functions, call_order
from netsim.index.lone import MASKS, Lone
from netsim.rules.evaluate import LOOPBACK, nat_kind
from netsim.rules.journey import Addresses, base_order, is_filter, uses_tracking
from netsim.rules.model import (
    CONNTRACK_PRIORITY,
    ActionKind,
    Chain,
    NatKind,
    Netmap,
    Outcome,
    Point,
    Rule,
    RuleSet,
    Verdict,
)
from netsim.space.diagram import AND, FALSE, LESS, OR, UNION, WITHIN, Choice, Const, Shift
from netsim.space.fields import (
    ABSENT,
    ADDRESS_FIELDS,
    FIELDS,
    NO_MAC,
    WORD,
    Range,
    State,
    merge_ranges,
)
from netsim.space.pool import POOL, VARIABLE_LEVELS, applies_node, bits_node, condition_node, field_node
from netsim.space.transform import (
    IDENTITY,
    NETWORKS,
    Done,
    Transformation,
    constant,
    level_values,
    table,
)

ACCEPT, DROP, REJECT = int(Outcome.ACCEPT), int(Outcome.DROP), int(Outcome.REJECT)
ANY = ACCEPT | DROP | REJECT
RETURN = int(Outcome.RETURN)


@attrs.frozen(slots=True)
class Piece:
    """A set in the sender's header (a diagram), what has happened to it, and whether that is certain.

    `done`: the translations this device has made, each with how.
    """

    packets: int
    change: Transformation = IDENTITY
    sure: bool = True
    done: frozenset[tuple[NatKind, Done]] = frozenset()

    def made(self, kind: NatKind) -> Done | None:
        """The translation of a kind that this device has made."""
        return next((how for each, how in self.done if each is kind), None)


@attrs.frozen(slots=True)
class Blocked:
    """Packets that go no further: `mask` says dropped, rejected or one of both; `sure` that all are."""

    packets: int
    mask: int
    sure: bool


@attrs.frozen(slots=True)
class Passage:
    """What became of pieces at some chains."""

    out: tuple[Piece, ...]
    blocked: tuple[Blocked, ...] = ()


@attrs.frozen(slots=True)
class Journey:
    """What became of a set on its whole way: `outcomes` are masks over packets and unmodelled variables.

    `leaving` are the pieces that go on, each with what has happened to it.
    """

    outcomes: int
    leaving: tuple[Piece, ...]


Seen = Callable[[Chain, int, "tuple[Piece, ...]"], None]
"""Told of the pieces that reach a position of a chain; one more than there are rules is the chain's end."""


@attrs.define(slots=True)
class Watch:
    """What is noted on a journey: the decisions, and in `met` (None: not asked) id(rule) -> packets met."""

    decisions: list[Decision] = attrs.Factory(list)
    met: dict[int, int] | None = None


@attrs.frozen(slots=True)
class Decision:
    """What a rule, or a policy (`rule` None), does with part of the packets asked about.

    `sure` and `maybe` are disjoint diagrams in the sender's header. `verdict` None: an unmodelled target.
    `trail` is one way of jumps from `base`, where the packets came in, to the rule.
    """

    chain: Chain
    rule: Rule | None
    verdict: Verdict | None
    sure: int
    maybe: int
    trail: tuple[Rule, ...]
    base: Chain


_SEES_NO_OIF = constant("oif", ABSENT)
_OIF = FIELDS["oif"].levels
_LEAVES_SOMEWHERE = Transformation.of({_OIF[0]: Choice(((1, WORD),)), _OIF[1]: Choice(((0, WORD),))})
"""Some interface: its name begins with a byte that is not 0."""
_SEES_NO_ENTRY = constant("state", int(State.INVALID))
_STATE = FIELDS["state"].level
_ENDS = {
    ActionKind.ACCEPT: Verdict.ACCEPT,
    ActionKind.DROP: Verdict.DROP,
    ActionKind.REJECT: Verdict.REJECT,
    ActionKind.UNMODELLED: None,
}


def merged(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    """Pieces with one transformation and certainty joined; empty ones vanish."""
    found: dict[tuple[Transformation, bool, frozenset[tuple[NatKind, Done]]], int] = {}
    for piece in pieces:
        if piece.packets:
            key = (piece.change, piece.sure, piece.done)
            found[key] = POOL.apply(OR, found.get(key, FALSE), piece.packets)
    return tuple(Piece(node, *key) for key, node in found.items())


def first_packets() -> int:
    """The packets that NAT chains are asked about: new ones, and related ones but ICMP errors."""
    new = field_node(FIELDS["state"], ((State.NEW, State.NEW),))
    related = field_node(FIELDS["state"], ((State.RELATED, State.RELATED),))
    errors = field_node(FIELDS["protocol"], ((1, 1), (58, 58)))
    return POOL.apply(OR, new, POOL.apply(LESS, related, errors))


_TTL = FIELDS["ttl"]
_HOP = table("ttl", [max(0, ttl - 1) for ttl in range(_TTL.maximum + 1)])


def hopped(pieces: Iterable[Piece]) -> tuple[tuple[Piece, ...], tuple[Blocked, ...]]:
    """Forwarding takes one from the TTL; packets whose TTL is 1 (or 0) end here (RFC 1812, 5.3.1)."""
    out: list[Piece] = []
    ended: list[Blocked] = []
    last = condition_node("ttl", ((0, 1),))
    for piece in pieces:
        over = POOL.apply(AND, piece.packets, piece.change.preimage(POOL, last, OR))
        if over:
            ended.append(Blocked(over, DROP, piece.sure))
        rest = POOL.apply(LESS, piece.packets, over)
        out.append(attrs.evolve(piece, packets=rest, change=piece.change.then(_HOP)))
    return merged(out), tuple(ended)


def _context(chain: Chain, change: Transformation) -> Transformation:
    """From the sender's header to what a base chain sees: no entry before tracking, no way out yet."""
    hook = chain.hook
    assert hook is not None
    early = hook.point in (Point.PREROUTING, Point.OUTPUT) and hook.priority < CONNTRACK_PRIORITY
    if early and change.level_map(_STATE) != Const(int(State.UNTRACKED)):
        change = change.then(_SEES_NO_ENTRY)
    if hook.point in (Point.PREROUTING, Point.INPUT):
        change = change.then(_SEES_NO_OIF)
    return change


_FITTED = 64
"""For how many lists of addresses the functions of chains that map networks are kept."""


def _kept_part(effect: Netmap) -> tuple[str, int]:
    """The field that is mapped, and how many of its bits stay."""
    field = ADDRESS_FIELDS["src" if effect.kind is NatKind.SOURCE else "dst", effect.family]
    return field, effect.family.bits - effect.prefix


def _addresses(piece: Piece, field: str) -> tuple[Range, ...]:
    """The addresses that a piece's packets have, or somewhat more."""
    packets = POOL.apply(AND, piece.packets, applies_node(field))
    if not packets:
        return ()
    parts: list[tuple[Range, ...]] = []
    for level in FIELDS[field].levels:
        match piece.change.level_map(level):
            case Const(value):
                parts.append(((value, value),))
            case Choice(ranges):
                parts.append(ranges)
            case Shift(source, moves):
                seen = level_values(POOL, packets, source)
                moved = [
                    (max(a, x) + d, min(b, y) + d) for a, b, d in moves for x, y in seen if a <= y and x <= b
                ]
                parts.append(merge_ranges(moved))
            case _:
                parts.append(level_values(POOL, packets, level))
    if len(parts) == 1:
        return parts[0]
    high, low = parts
    if len(high) == 1 and high[0][0] == high[0][1]:
        return tuple((high[0][0] << 64 | a, high[0][0] << 64 | b) for a, b in low)
    return tuple((a << 64, b << 64 | WORD) for a, b in high)


class Flow:
    """Asks the chains of one rule set, or of a part cut out of `whole`, about sets of packets."""

    def __init__(self, rules: RuleSet, functions: Functions, addresses: Addresses, whole: RuleSet) -> None:
        self.rules = rules
        self.functions = functions
        self.addresses = addresses
        self._tracks = uses_tracking(whole)
        self._fitted: dict[tuple[tuple[str, tuple[Range, ...]], ...], Functions] = {}

    def at(self, point: Point, pieces: Iterable[Piece]) -> Passage:
        """What the base chains of one hook point do with pieces, one chain after the other."""
        current = tuple(pieces)
        blocked: list[Blocked] = []
        for chain in self.rules.base_chains(point):
            asked, beside = self.asked(chain, current)
            passage = self._through(chain, asked)
            blocked += passage.blocked
            current = merged((*passage.out, *beside))
        return Passage(current, tuple(blocked))

    def asked(self, chain: Chain, pieces: Iterable[Piece]) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
        """The pieces that a base chain sees, and those that pass it by (NAT chains)."""
        hook = chain.hook
        assert hook is not None
        if not hook.nat:
            return merged(pieces), ()
        seen, beside = [], []
        for piece in pieces:
            if piece.made(nat_kind(hook.point)) is not None:
                beside.append(piece)
                continue
            first = POOL.apply(AND, piece.packets, piece.change.preimage(POOL, first_packets(), OR))
            seen.append(attrs.evolve(piece, packets=first))
            beside.append(attrs.evolve(piece, packets=POOL.apply(LESS, piece.packets, first)))
        return merged(seen), merged(beside)

    def _fitting(self, base: Chain, pieces: Sequence[Piece]) -> Functions:
        """The functions to ask about pieces: where a base chain maps networks, those for the addresses that they have."""
        asked = self._mapped.get(base.name)
        if not asked:
            return self.functions
        addresses: dict[str, tuple[Range, ...]] = {}
        for field, bits in asked:
            found = merge_ranges([r for p in pieces for r in _addresses(p, field)])
            if sum((b >> bits) - (a >> bits) + 1 for a, b in found) <= NETWORKS:
                # as whole networks: other addresses of the same ones are answered by the same functions
                addresses[field] = merge_ranges([(a >> bits << bits, b | (1 << bits) - 1) for a, b in found])
        if not addresses:
            return self.functions
        key = tuple(sorted(addresses.items()))
        if key not in self._fitted:
            if len(self._fitted) >= _FITTED:
                self._fitted.clear()
            self._fitted[key] = Functions(self.rules, self.functions.compiler.within(addresses))
        return self._fitted[key]

    @cached_property
    def _mapped(self) -> dict[str, tuple[tuple[str, int], ...]]:
        """For each base chain what is asked of its packets: a field, and how many bits of it a NETMAP behind it keeps.

        The fewest bits of a field come last.
        """
        found: dict[str, tuple[tuple[str, int], ...]] = {}
        for chain in self.rules.chains.values():
            if chain.hook is not None and chain.hook.nat:
                maps = (
                    (effect, rule)
                    for name in call_order(self.rules, (chain.name,))
                    for rule in self.rules.chains[name].rules
                    for effect in rule.effects
                    if isinstance(effect, Netmap)
                )
                parts = {_kept_part(effect) for effect, rule in maps if asks_addresses(effect, rule)}
                found[chain.name] = tuple(sorted(parts, reverse=True))
        return found

    def _through(self, chain: Chain, pieces: Iterable[Piece]) -> Passage:
        pieces = tuple(pieces)
        function = self._fitting(chain, pieces).base(chain.name)
        kind = nat_kind(chain.hook.point) if chain.hook is not None and chain.hook.nat else None
        out: list[Piece] = []
        blocked: list[Blocked] = []
        for piece in pieces:
            context = _context(chain, piece.change)
            parts: dict[Transformation, int] = {}
            for change, node in function.items():
                here = POOL.apply(WITHIN, piece.packets, context.preimage(POOL, node, UNION))
                if here:
                    parts[change] = here
            total = POOL.fold(UNION, list(parts.values()))
            masks = POOL.terminals(total)
            certain = POOL.where(total, lambda t: t == ACCEPT)
            certain = POOL.apply(LESS, certain, _overlap(parts))
            clear = len(parts) == 1 and all(t == ACCEPT or not t & ACCEPT for t in masks)
            for change, node in parts.items():
                accepted = certain if clear else POOL.where(node, lambda t: bool(t & ACCEPT))
                one = POOL.apply(AND, accepted, certain)
                done = piece.done
                if kind is not None and change.done is not None:
                    done = done | {(kind, change.done)}
                after = piece.change.then(change.without(()))
                out.append(Piece(one, after, piece.sure, done))
                out.append(Piece(POOL.apply(LESS, accepted, one), after, False, done))
            for mask in masks - {0, ACCEPT}:
                if mask & (DROP | REJECT):
                    node = POOL.where(total, lambda t, m=mask: t == m)  # type: ignore[misc]
                    if node:
                        sure = piece.sure and not mask & ACCEPT
                        blocked.append(Blocked(node, mask & (DROP | REJECT), sure))
        return Passage(merged(out), tuple(blocked))

    # A whole journey

    def outcomes(self, packets: int, hook: Point, terminals: tuple[int, ...] = MASKS) -> int:
        """The outcome masks (ACCEPT, DROP, REJECT) of a set for a whole journey, 0 outside the set.

        A function of the packet as it arrives at the device; unmodelled variables are quantified away:
        a packet whose verdict depends on one has several outcomes. `terminals` says what takes the place of each mask;
        0 stays 0.
        """
        lone = self.lone(packets, hook)
        variables = bool(self.functions.compiler.variables)
        if lone is not None and not variables:
            return lone.outcomes(terminals)
        node = self.journey(packets, hook).outcomes if lone is None else lone.outcomes()
        if variables:
            node = POOL.quantify(node, VARIABLE_LEVELS, UNION)
        return node if terminals == MASKS else POOL.relabel(node, terminals)

    def lone(self, packets: int, hook: Point) -> Lone | None:
        """The outcomes of a set at a hook where one filter that changes no packet decides; None elsewhere."""
        busy = base_order(self.rules, hook)
        chain = self.rules.chains[busy[0]] if len(busy) == 1 else None
        if chain is None or not is_filter(chain, hook):
            return None
        function = self.functions.base(chain.name)
        if set(function) != {IDENTITY}:
            return None
        beside, coming, change = self._entering(packets, hook)
        pieces: tuple[Piece, ...] = (Piece(coming, change),)
        if hook is Point.FORWARD:
            pieces, expired = hopped(pieces)
            for end in expired:
                beside = POOL.apply(UNION, beside, POOL.apply(WITHIN, end.packets, end.mask))
        if not pieces:
            return None
        node = _context(chain, pieces[0].change).preimage(POOL, function[IDENTITY], UNION)
        return Lone(packets, pieces[0].packets, node, beside)

    def _entering(self, packets: int, hook: Point) -> tuple[int, int, Transformation]:
        """What a journey begins with: the outcomes of packets that no chain sees, the others, and how they are seen."""
        foreign = self._foreign(packets)
        packets = POOL.apply(LESS, packets, foreign)
        result = POOL.apply(WITHIN, foreign, ACCEPT)
        if self._tracks:  # reassembled before any chain: a lone later fragment is nobody's question
            later = bits_node(FIELDS["fragment"], 1, 1)
            fragments = POOL.apply(WITHIN, POOL.apply(AND, packets, later), ANY)
            result = POOL.apply(UNION, result, fragments)
            packets = POOL.apply(LESS, packets, later)
        change = IDENTITY
        if hook is Point.OUTPUT:
            change = constant("iif", ABSENT).then(constant("mac", NO_MAC))
        return result, packets, change

    def _foreign(self, packets: int) -> int:
        """The packets of a family that the rules are not asked about."""
        if self.rules.family is None:
            return FALSE
        mine = field_node(FIELDS["family"], ((self.rules.family, self.rules.family),))
        return POOL.apply(LESS, packets, mine)

    def journey(self, packets: int, hook: Point, watch: Watch | None = None) -> Journey:
        """What becomes of a set of packets that routing would send to `hook` as they arrive.

        `watch` is told what decides them, in the order of the journey: rules and policies that drop wherever
        they stand, and what the filter of the hook accepts; and which packets may match which rule.
        """
        foreign = self._foreign(packets)
        result, packets, change = self._entering(packets, hook)
        blocked: list[Blocked] = []

        def met(point: Point, pieces: tuple[Piece, ...], last: Point) -> tuple[Piece, ...]:
            passage = self.at(point, pieces)
            blocked.extend(passage.blocked)
            if watch is not None:
                watch.decisions.extend(
                    d
                    for d in self.decisions(point, pieces, watch.met)
                    if d.verdict is not Verdict.ACCEPT or is_filter(d.base, last)
                )
            return passage.out

        first = Point.OUTPUT if hook is Point.OUTPUT else Point.PREROUTING
        leaving: list[Piece] = []
        for point, routed in self._routed(met(first, (Piece(packets, change),), hook), hook).items():
            pieces = routed
            if point is Point.FORWARD:
                pieces, expired = hopped(routed)
                blocked += expired
            if point is not Point.OUTPUT:
                pieces = met(point, pieces, point)
            if point is not Point.INPUT:
                pieces = met(Point.POSTROUTING, pieces, point)
            leaving += pieces
        for end in blocked:
            result = POOL.apply(UNION, result, POOL.apply(WITHIN, end.packets, end.mask))
        for piece in leaving:
            result = POOL.apply(UNION, result, POOL.apply(WITHIN, piece.packets, ACCEPT))
        if foreign:
            leaving.append(Piece(foreign))
        return Journey(result, merged(leaving))

    def _routed(self, pieces: Iterable[Piece], hook: Point) -> dict[Point, tuple[Piece, ...]]:
        """Pieces by the hook to which routing sends them, after destination NAT."""
        result: dict[Point, list[Piece]] = {hook: []}
        for piece in pieces:
            how = piece.made(NatKind.DESTINATION)
            if how is None or not (self.addresses.known or how is Done.REDIRECTED):
                result[hook].append(piece)
                continue
            here, there = piece.packets, FALSE
            if how is not Done.REDIRECTED:
                own = self.own_addresses("dst")
                here = POOL.apply(AND, piece.packets, piece.change.preimage(POOL, own, OR))
                there = POOL.apply(AND, piece.packets, piece.change.preimage(POOL, POOL.negate(own), OR))
            both = POOL.apply(AND, here, there)
            for part, local in ((here, True), (there, False)):
                for node, sure in (
                    (POOL.apply(LESS, part, both), piece.sure),
                    (both if part else FALSE, False),
                ):
                    change, point = piece.change, hook
                    if hook is Point.OUTPUT:
                        change = change.then(constant("oif", LOOPBACK)) if local else change
                    else:
                        point = Point.INPUT if local else Point.FORWARD
                    if point is Point.FORWARD and hook is Point.INPUT:
                        # one that had no way out gets one, and nobody says which
                        nowhere = POOL.apply(AND, node, condition_node("oif", ((ABSENT, ABSENT),)))
                        node = POOL.apply(LESS, node, nowhere)
                        somewhere = change.then(_LEAVES_SOMEWHERE)
                        result.setdefault(point, []).append(Piece(nowhere, somewhere, sure, piece.done))
                    result.setdefault(point, []).append(
                        attrs.evolve(piece, packets=node, change=change, sure=sure)
                    )
        return {point: merged(found) for point, found in result.items()}

    def own_addresses(self, side: str) -> int:
        """The packets whose `"src"` or `"dst"` is an address of the device."""
        parts = [condition_node(ADDRESS_FIELDS[side, f], ranges) for f, ranges in self.addresses.ranges]
        return POOL.fold(OR, parts)

    # Which rules decide

    def decisions(
        self, point: Point, pieces: Iterable[Piece], met: dict[int, int] | None = None
    ) -> list[Decision]:
        """The rules and policies of a hook point that decide pieces, chain by chain, rule by rule.

        Terminal rules only (accept, drop, reject, unmodelled targets), each with what reaches it. In `met`
        every rule's id() gets the packets that may match it, whatever it does with them.
        """
        found: list[Decision] = []
        current = tuple(pieces)
        for chain in self.rules.base_chains(point):
            asked, beside = self.asked(chain, current)
            found += self._decided(chain, asked, met)
            current = merged((*self._through(chain, asked).out, *beside))
        return found

    def through(self, chain: Chain, pieces: Iterable[Piece]) -> Passage:
        """What one base chain does with the pieces that it sees (`asked`)."""
        return self._through(chain, pieces)

    def walk(self, base: Chain, pieces: tuple[Piece, ...], seen: Seen) -> list[Decision]:
        """The decisions of one base chain on the pieces that it sees; `seen` is told how far they come."""
        return self._decided(base, pieces, None, seen)

    def _decided(
        self, base: Chain, pieces: tuple[Piece, ...], met: dict[int, int] | None, seen: Seen | None = None
    ) -> list[Decision]:
        found: list[Decision] = []
        functions = self._fitting(base, pieces)
        waiting: dict[str, list[Piece]] = {
            base.name: [attrs.evolve(p, change=_context(base, p.change)) for p in pieces]
        }
        trails: dict[str, tuple[Rule, ...]] = {base.name: ()}
        for name in reversed(call_order(self.rules, (base.name,))):
            live = merged(waiting.get(name, ()))
            if live:
                self._walk(base, functions, self.rules.chains[name], live, waiting, trails, found, met, seen)
        policy = base.policy
        if policy is not None and pieces:
            sure = maybe = FALSE
            function = functions.of(base.name)
            for piece in pieces:
                context = _context(base, piece.change)
                nodes = [context.preimage(POOL, node, UNION) for node in function.values()]
                total = POOL.apply(WITHIN, piece.packets, POOL.fold(UNION, nodes))
                ends = POOL.where(total, lambda t: bool(t & RETURN))
                certain = POOL.where(total, lambda t: t == RETURN) if piece.sure else FALSE
                sure = POOL.apply(OR, sure, certain)
                maybe = POOL.apply(OR, maybe, POOL.apply(LESS, ends, certain))
            if sure or maybe:
                less = POOL.apply(LESS, maybe, sure)
                found.append(Decision(base, None, _ENDS[policy.kind], sure, less, (), base))
        return found

    def _walk(
        self,
        base: Chain,
        functions: Functions,
        chain: Chain,
        live: tuple[Piece, ...],
        waiting: dict[str, list[Piece]],
        trails: dict[str, tuple[Rule, ...]],
        found: list[Decision],
        met: dict[int, int] | None,
        seen: Seen | None = None,
    ) -> None:
        """The rules of one chain in order, on what reaches its head."""
        nat = functions.is_nat(chain.name)
        compiler = functions.compiler
        for rule in chain.rules:
            if not live:
                return
            if seen is not None:
                seen(chain, rule.number, live)
            kind = rule.action.kind
            silent = kind is ActionKind.CONTINUE and not rule.effects
            if silent and met is None:
                continue
            sure_node, possible_node = compiler.rule_bounds(rule)
            if met is not None:
                here = [POOL.apply(AND, p.packets, p.change.preimage(POOL, possible_node, OR)) for p in live]
                met[id(rule)] = POOL.fold(OR, [met.get(id(rule), FALSE), *here])
                if silent:
                    continue
            rest: list[Piece] = []
            hits: list[Piece] = []
            for piece in live:
                possible = POOL.apply(AND, piece.packets, piece.change.preimage(POOL, possible_node, OR))
                if not possible:
                    rest.append(piece)
                    continue
                sure = POOL.apply(AND, possible, piece.change.preimage(POOL, sure_node, AND))
                hits.append(attrs.evolve(piece, packets=sure))
                hits.append(attrs.evolve(piece, packets=POOL.apply(LESS, possible, sure), sure=False))
                rest.append(attrs.evolve(piece, packets=POOL.apply(LESS, piece.packets, possible)))
                rest.append(attrs.evolve(piece, packets=POOL.apply(LESS, possible, sure), sure=False))
            hits = list(merged(hits))
            changed = self._changed(compiler.effects(rule, nat), hits) if rule.effects else hits
            if hits and kind in _ENDS:
                sure = POOL.fold(OR, [p.packets for p in hits if p.sure])
                maybe = POOL.fold(OR, [p.packets for p in hits if not p.sure])
                maybe = POOL.apply(LESS, maybe, sure)
                found.append(Decision(chain, rule, _ENDS[kind], sure, maybe, trails[chain.name], base))
            elif hits and kind in (ActionKind.JUMP, ActionKind.GOTO):
                waiting.setdefault(rule.action.chain, []).extend(changed)
                trails.setdefault(rule.action.chain, (*trails[chain.name], rule))
                if kind is ActionKind.JUMP:
                    rest += self._returned(functions.of(rule.action.chain), changed)
            elif hits and kind is ActionKind.CONTINUE:
                rest += changed
            if kind is ActionKind.UNMODELLED:
                rest += [attrs.evolve(p, change=p.change.then(opened()), sure=False) for p in changed]
            live = merged(rest)
        if seen is not None and live:
            seen(chain, len(chain.rules) + 1, live)

    @staticmethod
    def _returned(function: Function, hits: Sequence[Piece]) -> list[Piece]:
        """What comes back from a jump."""
        result: list[Piece] = []
        for piece in hits:
            parts = {
                change: POOL.apply(WITHIN, piece.packets, piece.change.preimage(POOL, node, UNION))
                for change, node in function.items()
            }
            total = POOL.fold(UNION, list(parts.values()))
            certain = POOL.apply(LESS, POOL.where(total, lambda t: t == RETURN), _overlap(parts))
            for change, node in parts.items():
                back = POOL.where(node, lambda t: bool(t & RETURN))
                sure = POOL.apply(AND, back, certain)
                after = piece.change.then(change)
                result.append(attrs.evolve(piece, packets=sure, change=after))
                result.append(
                    attrs.evolve(piece, packets=POOL.apply(LESS, back, sure), change=after, sure=False)
                )
        return result

    @staticmethod
    def _changed(ways: list[tuple[int, Transformation | None]], hits: Sequence[Piece]) -> list[Piece]:
        result: list[Piece] = []
        for piece in hits:
            for where, change in ways:
                node = POOL.apply(AND, piece.packets, piece.change.preimage(POOL, where, OR))
                if node and change is not None:
                    result.append(attrs.evolve(piece, packets=node, change=piece.change.then(change)))
        return result


def _overlap(parts: dict[Transformation, int]) -> int:
    """Where more than one transformation is possible."""
    once = twice = FALSE
    if len(parts) < 2:
        return FALSE
    for node in parts.values():
        here = POOL.where(node, bool)
        twice = POOL.apply(OR, twice, POOL.apply(AND, once, here))
        once = POOL.apply(OR, once, here)
    return twice


__all__ = [
    "Blocked",
    "Decision",
    "Flow",
    "Journey",
    "Passage",
    "Piece",
    "Seen",
    "Watch",
    "first_packets",
    "merged",
]

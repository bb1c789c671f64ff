"""Rules as diagrams: conditions become sets, effects become transformations.

A condition compiles to two sets, the packets for which it *surely* holds and those for which it
*possibly* does. A pure unmodelled condition is a variable of the diagram (both sets are the same one);
an impure one surely holds nowhere and possibly everywhere. Later fragments on the nft back end may match
any port test, since Linux 6.18 reads their payload as ports.

Effects compile to alternatives: (where, transformation), None for a dropped packet. Alternatives that
overlap are somebody else's choice.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

from netsim.rules.evaluate import redirects
from netsim.rules.journey import HAS_ENTRY, PAYLOAD_PROTOCOLS, PORT_FIELDS, uses_tracking
from netsim.rules.model import (
    Adjust,
    AnyOf,
    Bits,
    ChangeSet,
    Condition,
    Deferred,
    Effect,
    In,
    Nat,
    NatKind,
    Netmap,
    Rule,
    RuleSet,
    SetBits,
    SetField,
    Track,
    Unmodelled,
    Untrack,
    flat,
)
from netsim.rules.model import Pool as NatPool
from netsim.space import transform
from netsim.space.diagram import AND, FALSE, LESS, OR, TRUE, Choice, LevelMap
from netsim.space.fields import (
    ABSENT,
    ADDRESS_FIELDS,
    FIELDS,
    VARIABLES,
    CtStatus,
    Range,
    State,
    complement_ranges,
    interface_value,
    merge_ranges,
)
from netsim.space.pool import POOL, applies_node, bits_node, condition_node, field_node, kept
from netsim.space.transform import IDENTITY, Done, Transformation

Bounds = tuple[int, int]
"""The diagrams of where something surely and possibly holds."""

Alternative = tuple[int, Transformation | None]
"""Where a transformation happens, and which; None: the packet is dropped."""


def entry_node() -> int:
    """The packets that have a connection tracking entry."""
    return field_node(FIELDS["state"], merge_ranges([(int(s), int(s)) for s in HAS_ENTRY]))


_TEXTS: dict[int, tuple[RuleSet, tuple[str, ...], frozenset[str]]] = {}
_KEPT_TEXTS = 256


def _texts(rules: RuleSet) -> tuple[tuple[str, ...], frozenset[str]]:
    """The texts of pure and deferred conditions, and those of the deferred ones; kept for each rule set."""
    known = _TEXTS.get(id(rules))
    if known is not None and known[0] is rules:
        return known[1], known[2]
    texts: dict[str, None] = {}
    deferred: set[str] = set()
    for rule in rules.rules():
        for condition in rule.conditions:
            if type(condition) is In or type(condition) is Bits:
                continue
            for inner in flat((condition,)):
                if isinstance(inner, Deferred):
                    deferred.add(inner.text)
                    texts.setdefault(inner.text)
                elif isinstance(inner, Unmodelled) and inner.pure:
                    texts.setdefault(inner.text)
    if len(_TEXTS) >= _KEPT_TEXTS:
        _TEXTS.clear()
    found = tuple(texts), frozenset(deferred)
    _TEXTS[id(rules)] = (rules, *found)
    return found


def pure_texts(rules: RuleSet) -> tuple[str, ...]:
    """The texts of the pure unmodelled and the deferred conditions, in the order of the rules."""
    return _texts(rules)[0]


Variables = Mapping[str, int]
"""The text of a pure unmodelled condition -> the position of its variable in the field `variables`."""


def numbered(texts: Iterable[Hashable], known: Mapping[Any, int] | None = None) -> dict[Any, int]:
    """A variable for each text: the one that it has in `known`, else the first that is free.

    Texts for which no variable is left have none: they are treated as impure, which is less exact and
    never wrong. Texts keep their variables from one network to the next, so that what an edit
    does not touch need not be compiled again.
    """
    wanted = dict.fromkeys(texts)
    found = {text: known[text] for text in wanted if text in known} if known else {}
    taken = set(found.values())
    free = (position for position in range(VARIABLES) if position not in taken)
    for text in wanted:
        if text not in found:
            position = next(free, None)
            if position is None:
                break
            found[text] = position
    return found


_TOGETHER = 8
"""How many conditions of a rule are joined at most together with those of other rules."""

_KNOWN: dict[Hashable, dict[Condition, Bounds]] = {}
POOL.cache(_KNOWN.clear)
_CONTEXTS = 64
"""For how many contexts (back end and variables) compiled conditions are kept."""


_NOWHERE: Mapping[str, tuple[Range, ...]] = MappingProxyType({})


class Compiler:
    """Compiles the rules of one rule set; equal conditions compile once, also in other rule sets.

    `variables` default to those of the rule set's own texts, numbered in the order of the rules.
    `context` is what a compiled condition depends on besides itself. `addresses` are those that packets have, by field,
    where that is asked for them only: any packet is still told rightly, these more exactly (see `within`).
    """

    def __init__(
        self,
        rules: RuleSet,
        *,
        variables: Variables | None = None,
        addresses: Mapping[str, tuple[Range, ...]] = _NOWHERE,
    ) -> None:
        self.rules = rules
        self.addresses = addresses
        self._given = variables
        texts, asked = _texts(rules)
        positions = numbered(texts) if variables is None else variables
        levels = FIELDS["variables"].levels
        self.variables = {text: levels[positions[text]] for text in texts if text in positions}
        self._deferred = tuple(level for text, level in self.variables.items() if text in asked)
        self.context: Hashable = (
            rules.backend == "nft",
            tuple(sorted(self.variables.items())),
            self._deferred,
        )

    def within(self, addresses: Mapping[str, tuple[Range, ...]]) -> Compiler:
        """The same for packets with these addresses, of which NETMAP can tell each from the others."""
        return Compiler(self.rules, variables=self._given, addresses=addresses)

    @cached_property
    def reads_payload(self) -> bool:
        """Whether later fragments come by and may match a test of ports: then that test is no box."""
        return self.rules.backend == "nft" and not uses_tracking(self.rules)

    @kept
    def _bounds(self) -> dict[Condition, Bounds]:
        if self.context not in _KNOWN and len(_KNOWN) >= _CONTEXTS:
            _KNOWN.clear()
        return _KNOWN.setdefault(self.context, {})

    @kept
    def _payload_ports(self) -> int:
        later = bits_node(FIELDS["fragment"], 1, 1)
        ported = field_node(FIELDS["protocol"], merge_ranges([(p, p) for p in PAYLOAD_PROTOCOLS]))
        return POOL.apply(AND, later, ported)

    def rule_bounds(self, rule: Rule) -> Bounds:
        """Where every condition of a rule surely and possibly holds; no conditions: everywhere."""
        return self.bounds_of(rule.conditions)

    def bounds_of(self, conditions: Iterable[Condition]) -> Bounds:
        """Where every one of some conditions surely and possibly holds; none: everywhere."""
        sure = possible = TRUE
        for condition in conditions:
            more_sure, more_possible = self.bounds(condition)
            same = sure == possible and more_sure == more_possible
            possible = POOL.apply(AND, possible, more_possible)
            sure = possible if same else POOL.apply(AND, sure, more_sure)
        return sure, possible

    def bounds_of_each(self, every: Sequence[tuple[Condition, ...]]) -> list[Bounds]:
        """`bounds_of` of many rules' conditions, in one go."""
        known, width = self._bounds, 1 << (max(map(len, every), default=1) - 1).bit_length()
        width = min(width, _TOGETHER)
        found: list[Bounds | None] = []
        ids: list[int] = []
        for conditions in every:
            mine: list[int] = []
            for condition in conditions:
                sure, possible = known.get(condition) or self.bounds(condition)
                if sure != possible or len(mine) == width:
                    found.append(self.bounds_of(conditions))
                    break
                mine.append(sure)
            else:
                found.append(None)
                ids += mine
                ids += [TRUE] * (width - len(mine))
        while width > 1:
            ids = POOL.pairs(AND, ids)  # type: ignore[assignment]
            width //= 2
        rest = iter(ids)
        result: list[Bounds] = []
        for bounds in found:
            if bounds is None:
                sure = next(rest)
                bounds = sure, sure
            result.append(bounds)
        return result

    def bounds(self, condition: Condition) -> Bounds:
        """Where one condition surely and possibly holds."""
        found = self._bounds.get(condition)
        if found is None:
            found = self._bounds[condition] = self._condition(condition)
        return found

    def _condition(self, condition: Condition) -> Bounds:
        match condition:
            case In(field, ranges):
                node = condition_node(field, ranges)
                return node, self._fragments(field, node, empty=not ranges)
            case Bits(field, care, value, negated):
                applies = applies_node(field)
                if field == "ctmark":
                    applies = POOL.apply(AND, applies, entry_node())
                equal = bits_node(FIELDS[field], care, value)
                node = POOL.apply(LESS if negated else AND, applies, equal)
                constant = bool(value & ~care) or not care
                return node, self._fragments(field, node, empty=constant)
            case AnyOf(alternatives, negated):
                sures, possibles = [], []
                for alternative in alternatives:
                    sure, possible = self.bounds_of(alternative)
                    sures.append(sure)
                    possibles.append(possible)
                sure, possible = POOL.fold(OR, sures), POOL.fold(OR, possibles)
                return (POOL.negate(possible), POOL.negate(sure)) if negated else (sure, possible)
            case Unmodelled(text, pure, negated):
                return self._variable(text, negated) if pure else (FALSE, TRUE)
            case Deferred(_, _, text, negated):
                return self._variable(text, negated)

    def _fragments(self, field: str, node: int, *, empty: bool) -> int:
        if self.rules.backend == "nft" and field in PORT_FIELDS and not empty:
            return POOL.apply(OR, node, self._payload_ports)
        return node

    def _variable(self, text: str, negated: bool) -> Bounds:
        level = self.variables.get(text)
        if level is None:
            return FALSE, TRUE
        node = POOL.interval(level, ((0, 0),) if negated else ((1, 1),))
        return node, node

    # Effects

    def effects(self, rule: Rule, nat: bool) -> list[Alternative]:
        """What a rule's effects may do, in order; `nat`: the rule stands in a NAT chain."""
        ways: list[Alternative] = [(TRUE, IDENTITY)]
        for effect in rule.effects:
            if isinstance(effect, Nat | Netmap) and not nat:
                continue
            later = self._effect(effect, rule)
            combined: list[Alternative] = []
            for where, first in ways:
                if first is None:
                    combined.append((where, None))
                    continue
                for there, second in later:
                    node = POOL.apply(AND, where, first.preimage(POOL, there))
                    if node:
                        combined.append((node, None if second is None else first.then(second)))
            ways = combined
        return ways

    def _effect(self, effect: Effect, rule: Rule) -> list[Alternative]:
        match effect:
            case SetBits(field, keep, value, source, mask, needs_entry):
                change = transform.bits(field, keep, value, source, mask)
                if not needs_entry:
                    return [(TRUE, change)]
                entry = entry_node()
                return [(entry, change), (POOL.negate(entry), IDENTITY)]
            case SetField(field, keep, value):
                top = FIELDS[field].maximum
                return [(TRUE, transform.table(field, [(v & keep) ^ value for v in range(top + 1)]))]
            case Adjust(field, delta):
                top = FIELDS[field].maximum
                table = [min(max(v + delta, 0), top) for v in range(top + 1)]
                return [(TRUE, transform.table(field, table))]
            case Untrack():
                return [(TRUE, transform.constant("state", int(State.UNTRACKED)))]
            case Track() | ChangeSet():
                return [(TRUE, IDENTITY)]
            case Netmap():
                return self._translated(self._netmap(effect, rule), Done.TRANSLATED)
            case Nat():
                done = Done.REDIRECTED if redirects(effect) else Done.TRANSLATED
                return self._translated(self._nat(effect), done)

    def _translated(self, ways: list[Alternative], done: Done) -> list[Alternative]:
        """A translation is noted. What context decides may be about the new address: it has another answer behind it."""
        change = Transformation.of({level: Choice(((0, 1),)) for level in self._deferred}, done)
        return [(where, None if first is None else first.then(change)) for where, first in ways]

    def _netmap(self, effect: Netmap, rule: Rule) -> list[Alternative]:
        """Each address becomes its own one of the network: some one, where there are too many to tell them apart."""
        field = ADDRESS_FIELDS["src" if effect.kind is NatKind.SOURCE else "dst", effect.family]
        host = (1 << (effect.family.bits - effect.prefix)) - 1
        target = ((effect.network, effect.network | host),)
        change, told = _told(effect, rule)
        if change is None:
            told = self.addresses.get(field, ())
            change = transform.network(field, effect.network, effect.prefix, told)
        same, applies = condition_node(field, target), applies_node(field)
        rest = POOL.apply(LESS, applies, same)
        noted = _noted(effect.kind, different=True)
        ways: list[Alternative] = [(same, IDENTITY), (POOL.negate(applies), IDENTITY)]
        if change is not None:
            blocks = merge_ranges([(low & ~host, high | host) for low, high in told])
            known = POOL.apply(AND, rest, condition_node(field, blocks))
            rest = POOL.apply(LESS, rest, known)
            ways.append((known, change.then(noted)))
        some = transform.choice(field, target, fixed=True)  # no address of a pool
        assert some is not None, "a network is a product of halves"
        return [*ways, (rest, some.then(noted))]

    def _nat(self, nat: Nat) -> list[Alternative]:
        side = "src" if nat.kind is NatKind.SOURCE else "dst"
        field, port = ADDRESS_FIELDS[side, nat.family], side[0] + "port"
        if nat.deferred:
            ways = [
                (where, t and t.then(_noted(nat.kind, different=None))) for where, t in open_choice((field,))
            ]
            if nat.pools and nat.pools[0].ports:
                change = transform.choice(port, (nat.pools[0].ports,))
                assert change is not None
                ways = [(w, t.then(change)) for w, t in ways if t is not None]
            return [*ways, (TRUE, None)]
        interface = "oif" if nat.kind is NatKind.SOURCE else "iif"
        ways = []
        rest = TRUE
        for pool in nat.pools:
            where = rest
            if pool.own or pool.interface:
                value = ABSENT if pool.own else interface_value(pool.interface)
                where = POOL.apply(AND, rest, condition_node(interface, ((value, value),)))
            if not pool.more:
                rest = POOL.apply(LESS, rest, where)
            if pool.missing:
                ways.append((where, None))
            elif where:
                ways += self._pool(pool, nat.kind, field, port, where)
        return [*ways, (rest, None)] if rest else ways

    def _pool(self, pool: NatPool, kind: NatKind, field: str, port: str, where: int) -> list[Alternative]:
        """Addresses and ports that are in their range already stay, as Linux keeps them."""
        ways: list[_Move] = [(where, IDENTITY, False)]
        if pool.addresses is not None:
            ways = _split(ways, field, pool.addresses, keep=kind is NatKind.SOURCE and not pool.random)
        if pool.ports is not None:
            ways = _split(ways, port, pool.ports, keep=not pool.random)
        elif pool.random:
            ways = _split(ways, port, (0, 65535), keep=False)
        return [(node, change.then(_noted(kind, different=different))) for node, change, different in ways]


def _told(effect: Netmap, rule: Rule) -> tuple[Transformation | None, tuple[Range, ...]]:
    """What NETMAP does to the addresses that its rule tests, and these; None where they are too many."""
    field = ADDRESS_FIELDS["src" if effect.kind is NatKind.SOURCE else "dst", effect.family]
    tested = (c.ranges for c in rule.conditions if isinstance(c, In) and c.field == field)
    ranges = next(tested, ((0, FIELDS[field].maximum),))
    return transform.network(field, effect.network, effect.prefix, ranges), ranges


def asks_addresses(effect: Netmap, rule: Rule) -> bool:
    """Whether it is told better for fewer addresses than the rule tests (`Compiler.within`)."""
    return _told(effect, rule)[0] is None


def _noted(kind: NatKind, *, different: bool | None) -> Transformation:
    """Connection tracking notes a translation that changed something (None: that is open)."""
    bit = CtStatus.SNAT if kind is NatKind.SOURCE else CtStatus.DNAT
    if different:
        return transform.bits("ct_status", ~bit & 0x3F, bit)
    if different is False:
        return IDENTITY
    status = FIELDS["ct_status"]
    return Transformation.of({status.levels[status.width - bit.bit_length()]: Choice(((0, 1),))})


_Move = tuple[int, Transformation, bool | None]
"""Where, which transformation, and whether it changes something (None: somebody else's choice decides)."""


def _split(ways: list[_Move], field: str, target: Range, *, keep: bool) -> list[_Move]:
    """Each way, with `field` moved into `target`."""
    single = target[0] == target[1]
    inside = condition_node(field, (target,))
    outside = condition_node(field, complement_ranges((target,), FIELDS[field].maximum))
    absent = POOL.negate(applies_node(field))
    change = transform.choice(field, (target,))
    assert change is not None, "the parser keeps IPv6 ranges within one /64 or whole /64s"
    stays = keep or single
    result: list[_Move] = []
    for node, before, different in ways:
        parts: tuple[_Move, ...] = (
            (absent, IDENTITY, False),
            (inside, IDENTITY if stays else change, False if stays else None),
            (outside, change, True),
        )
        for where, after, moved in parts:
            there = POOL.apply(AND, node, where)
            if there:
                either = True if different or moved else None if None in (different, moved) else False
                result.append((there, before.then(after), either))
    return result


def open_choice(fields: Iterable[str]) -> list[Alternative]:
    """The fields may take any value."""
    maps: dict[int, LevelMap] = {}
    for name in fields:
        for level in FIELDS[name].levels:
            maps[level] = Choice(((0, POOL.maxima[level]),))
    return [(TRUE, Transformation.of(maps))]


_STAYS = {"iif", "oif", "ttl", "state", "direction", "family", "protocol", "fragment", "variables"}


def opened() -> Transformation:
    """What an unmodelled target may have done to a packet that goes on."""
    change = open_choice(name for name in FIELDS if name not in _STAYS)[0][1]
    assert change is not None
    return change

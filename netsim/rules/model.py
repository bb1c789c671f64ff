"""The vendor-neutral model of rules: what every dialect is lowered to.

Theory of operation. A `RuleSet` is a set of named chains. A chain is a list of rules that are asked in
order; a base chain hangs on a hook point with a priority and ends in its policy; any other chain ends
in a return to its caller. A rule is a conjunction of conditions, an action, and effects on the packet.

Conditions are of five kinds, and negation is resolved by whoever builds them:

- `In(field, ranges)`: the field applies to the packet and its value lies in one of the ranges. A negated
  test is `In` with the complement, so neither holds where the field does not apply: a later fragment
  has no port, and neither `--dport 80` nor `! --dport 80` matches it.
- `Bits(field, care, value)`: `field & care == value`; with `negated`, unequal (where the field applies).
- `AnyOf(alternatives)`: a union of conjunctions; with `negated`, the plain complement of that union.
- `Unmodelled(text, pure)`: a test that was read and cannot be decided from a packet. A *pure* one gives the same
  answer to one packet wherever its text appears (a variable); an *impure* one answers afresh at every rule.
- `Deferred(kind, argument)`: a test that the device's context decides; `bind` replaces it. Unbound, it
  is like a pure `Unmodelled`, and the answer says what to bind.

Outcomes. A rule maps a packet to a non-empty set of outcomes, here a mask of `Outcome`: a plain rule has
one, an undecided condition adds `NEXT`, an unmodelled target has all. Rules combine by *override*:
`f > g` is f where f lacks NEXT, else (f without NEXT) | g; it is associative.

Everything here is frozen. Integers inside; addresses become netaddr at the border only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum, IntEnum, IntFlag
from types import MappingProxyType
from typing import Any

import attrs

from netsim.display import Displayed, Document
from netsim.errors import Diagnostic
from netsim.source import NOWHERE, Source
from netsim.space.fields import Family, Range


class Outcome(IntFlag):
    """What a rule or chain may do with a packet; a mask, because what is unmodelled leaves several."""

    NEXT = 1
    RETURN = 2
    ACCEPT = 4
    DROP = 8
    REJECT = 16


class Verdict(Enum):
    """The answer about one packet."""

    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"
    UNKNOWN = "unknown"


OUTCOME_OF = {Verdict.ACCEPT: Outcome.ACCEPT, Verdict.DROP: Outcome.DROP, Verdict.REJECT: Outcome.REJECT}
VERDICTS_OF = {
    mask: tuple(v for v, bit in OUTCOME_OF.items() if mask & bit) for mask in range(32)
}  # fmt: skip
"""Mask of outcomes -> the verdicts in it, in the order accept, drop, reject."""


# Conditions


@attrs.frozen(slots=True)
class In:
    """`field` applies and its value is in `ranges` (sorted, disjoint). No ranges: never matches."""

    field: str
    ranges: tuple[Range, ...]


@attrs.frozen(slots=True)
class Bits:
    """`field & care == value` (`negated`: unequal), where the field applies. `value & ~care`: never equal."""

    field: str
    care: int
    value: int
    negated: bool = False


@attrs.frozen(slots=True)
class AnyOf:
    """A union of conjunctions, or with `negated` its plain complement. No alternatives: nothing.

    `text` names it in answers ("set blocklist src").
    """

    alternatives: tuple[tuple[Condition, ...], ...]
    negated: bool = False
    text: str = ""


@attrs.frozen(slots=True)
class Unmodelled:
    """A test that cannot be decided from a packet. `text` is normalised and carries no negation.

    `tracks`: loading it turns connection tracking on.
    """

    text: str
    pure: bool
    negated: bool = False
    tracks: bool = False


@attrs.frozen(slots=True)
class Deferred:
    """A test that context decides: `kind` says who (`addrtype`, `set`, ...), `argument` is its own.

    `text` is normalised, without negation; `hint` says what to bind.
    """

    kind: str
    argument: tuple[str, ...]
    text: str
    negated: bool = False
    hint: str = ""


Condition = In | Bits | AnyOf | Unmodelled | Deferred


# Actions and effects


class ActionKind(Enum):
    """What happens to a packet that matches, apart from effects."""

    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"
    CONTINUE = "continue"
    RETURN = "return"
    JUMP = "jump"
    GOTO = "goto"
    UNMODELLED = "unmodelled"


@attrs.frozen(slots=True)
class Action:
    """`chain` is the target of a jump or goto; `text` says more (the kind of reject, the unmodelled target)."""

    kind: ActionKind
    chain: str = ""
    text: str = ""


ACCEPT = Action(ActionKind.ACCEPT)
DROP = Action(ActionKind.DROP)
CONTINUE = Action(ActionKind.CONTINUE)
RETURN = Action(ActionKind.RETURN)


@attrs.frozen(slots=True)
class SetBits:
    """`field = (field & keep) ^ (source & mask) ^ value` on a bits field (mark, ctmark).

    `source` may be '' (mask is then ignored). `needs_entry`: does nothing to a packet without a
    connection tracking entry.
    """

    field: str
    keep: int
    value: int
    source: str = ""
    mask: int = 0
    needs_entry: bool = False


@attrs.frozen(slots=True)
class SetField:
    """`field = ((field & keep) ^ value)`, on an interval field of at most 16 bits (tos, ttl).

    A packet to which the field does not apply is left alone.
    """

    field: str
    keep: int
    value: int


@attrs.frozen(slots=True)
class Adjust:
    """`field = min(max(field + delta, 0), maximum)` on an interval field (ttl)."""

    field: str
    delta: int


class NatKind(Enum):
    """Which end of the packet is translated."""

    SOURCE = "source"
    DESTINATION = "destination"


@attrs.frozen(slots=True)
class Pool:
    """What a translation may choose from.

    `interface`: this pool is for packets that leave ('source') or arrive ('destination') there; '' is
    for all. `own`: it is for packets that arrived nowhere, the device's own. `addresses`: the range to
    choose from, None keeps the address. `ports`: the range, None keeps the port if it can (packets
    without ports keep having none). An address or port already in the range is kept, unless `random`.
    `missing`: the interface has no address: the packet is dropped. `more`: the pool behind it is another
    choice for the same packets.
    """

    addresses: Range | None = None
    ports: Range | None = None
    interface: str = ""
    random: bool = False
    missing: bool = False
    own: bool = False
    more: bool = False


@attrs.frozen(slots=True)
class Nat:
    """Translate the source or destination of a connection's first packet, once a journey and kind.

    The first pool whose interface fits is used. `deferred`: why the pools are not known yet ('' if they
    are), e.g. MASQUERADE without the device's addresses; the translation is then open.
    """

    kind: NatKind
    family: Family
    pools: tuple[Pool, ...] = ()
    deferred: str = ""
    text: str = ""


@attrs.frozen(slots=True)
class Netmap:
    """Replace the network part: `address = (address & ~mask) | network`."""

    kind: NatKind
    family: Family
    network: int
    prefix: int
    text: str = ""


@attrs.frozen(slots=True)
class Untrack:
    """The packet is not tracked from here on: its state becomes UNTRACKED."""


@attrs.frozen(slots=True)
class Track:
    """Connection tracking is on, and treats the packet in a way that no rule tests (zones, helpers)."""


@attrs.frozen(slots=True)
class ChangeSet:
    """Something of the packet is put into a named set, or taken out of it."""

    name: str


Effect = SetBits | SetField | Adjust | Nat | Netmap | Untrack | Track | ChangeSet


# Rules, chains, rule sets


@attrs.frozen(slots=True)
class Counters:
    """How many packets and bytes a rule or policy has seen, where the dump says it."""

    packets: int
    bytes: int


@attrs.frozen(slots=True)
class Rule:
    """A condition, an action, and where it is written.

    A packet matches if all `conditions` hold (none: every packet). `number` counts from 1 in its chain,
    as the device's own listing does. `chain` is `table/chain`.
    """

    conditions: tuple[Condition, ...]
    action: Action
    effects: tuple[Effect, ...] = ()
    chain: str = ""
    number: int = 0
    device: str = ""
    source: Source = NOWHERE
    counters: Counters | None = None
    comment: str = ""

    @property
    def id(self) -> str:
        """`device:table/chain/number`, accepted wherever a rule is named."""
        place = f"{self.chain}/{self.number}"
        return f"{self.device}:{place}" if self.device else place

    @property
    def text(self) -> str:
        """The rule as its device wrote it."""
        return self.source.text.strip()

    def undecided(self) -> tuple[Unmodelled | Deferred, ...]:
        """The conditions that a packet alone does not decide, those inside unions included."""
        return tuple(c for c in flat(self.conditions) if isinstance(c, Unmodelled | Deferred))

    @property
    def modelled(self) -> bool:
        """Whether every condition, effect and the target is modelled in full (deferred ones are not)."""
        return (
            self.action.kind is not ActionKind.UNMODELLED
            and not self.undecided()
            and not any(isinstance(e, Nat) and e.deferred for e in self.effects)
        )


def flat(conditions: Iterable[Condition]) -> Iterator[Condition]:
    """The conditions and, in place of unions, their members; without recursion."""
    stack = list(conditions)[::-1]
    while stack:
        condition = stack.pop()
        yield condition
        if isinstance(condition, AnyOf):
            for alternative in condition.alternatives:
                stack.extend(alternative)


class Point(IntEnum):
    """A hook point of a journey, in the order in which a forwarded packet meets them."""

    PREROUTING = 0
    INPUT = 1
    FORWARD = 2
    OUTPUT = 3
    POSTROUTING = 4


@attrs.frozen(slots=True)
class Hook:
    """Where a base chain hangs: lower priorities are asked first. A `nat` chain sees first packets only."""

    point: Point
    priority: int
    nat: bool = False


CONNTRACK_PRIORITY = -200
"""Chains of a lower priority run before connection tracking has looked at the packet."""


@attrs.frozen(slots=True)
class Chain:
    """Rules in order. `hook` and `policy` are set for base chains; `source` is where the policy stands.

    `policy_text` names the policy in answers.
    """

    name: str
    rules: tuple[Rule, ...] = ()
    hook: Hook | None = None
    policy: Action | None = None
    source: Source = NOWHERE
    counters: Counters | None = None

    @property
    def table(self) -> str:
        """The part before the slash."""
        return self.name.partition("/")[0]

    @property
    def short(self) -> str:
        """The part behind the slash."""
        return self.name.partition("/")[2] or self.name


class Tracking(Enum):
    """What a device does with the answers of a connection (SEMANTICS, Connections)."""

    FILTERED = "filtered"  # tracked; the answer meets the rules again, as established
    PASSED = "passed"  # tracked; the answer of an admitted connection is not asked
    UNTRACKED = "untracked"  # the answer is filtered like any packet


def _freeze(chains: Mapping[str, Chain]) -> Mapping[str, Chain]:
    return MappingProxyType(dict(chains))


@attrs.frozen(slots=True, eq=False, repr=False)
class RuleSet(Displayed):
    """The chains of one device (or of one family of it), as its configuration says them.

    `chains` maps `table/chain` to `Chain`, in the order of the text. `family` None: both families.
    `dialect` and `backend` say who wrote it; `warnings` are diagnostics that do not refuse the text.
    Two rule sets are equal if their chains are.
    """

    chains: Mapping[str, Chain] = attrs.field(converter=_freeze)
    dialect: str = ""
    family: Family | None = None
    backend: str = ""
    device: str = ""
    file: str = ""
    tracking: Tracking = Tracking.FILTERED
    warnings: tuple[Diagnostic, ...] = ()

    @classmethod
    def of(
        cls, rules: Iterable[Rule], *, policy: Action = DROP, chain: str = "filter/FORWARD", **more: Any
    ) -> RuleSet:
        """One base chain at the forward hook that holds `rules`, renumbered from 1."""
        numbered = tuple(attrs.evolve(r, chain=chain, number=n) for n, r in enumerate(rules, 1))
        return cls({chain: Chain(chain, numbered, Hook(Point.FORWARD, 0), policy)}, **more)

    def rules(self) -> Iterator[Rule]:
        """Every rule, chain by chain."""
        for chain in self.chains.values():
            yield from chain.rules

    def base_chains(self, point: Point) -> tuple[Chain, ...]:
        """The base chains of a hook point in the order in which a packet meets them.

        Of equal priorities the one registered last runs first (measured on Linux; documented as undefined).
        """
        found = [c for c in self.chains.values() if c.hook is not None and c.hook.point is point]
        return tuple(sorted(found, key=lambda c: c.hook.priority if c.hook else 0))

    def replace(self, chains: Iterable[Chain]) -> RuleSet:
        """This rule set with some chains exchanged or added."""
        return attrs.evolve(self, chains={**self.chains, **{c.name: c for c in chains}})

    def map(self, change: Callable[[Rule], Rule]) -> RuleSet:
        """Every rule passed through `change`; chains without a changed rule stay the same object."""
        changed = []
        for chain in self.chains.values():
            rules = tuple(map(change, chain.rules))
            if any(a is not b for a, b in zip(rules, chain.rules, strict=True)):
                changed.append(attrs.evolve(chain, rules=rules))
        return self.replace(changed) if changed else self

    def named(self, device: str) -> RuleSet:
        """This rule set with every rule's id carrying the device's name."""
        return attrs.evolve(self.map(lambda r: attrs.evolve(r, device=device)), device=device)

    def document(self) -> Document:
        """Chains and rules counted, and what is not modelled in full."""
        from netsim.rules.show import ruleset_document

        return ruleset_document(self)

    def __repr__(self) -> str:
        return f"RuleSet({self.file or self.device or self.dialect!r}, {sum(1 for _ in self.rules())} rules)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RuleSet):
            return NotImplemented
        if self is other:
            return True
        return dict(self.chains) == dict(other.chains) and self.family == other.family

    def __hash__(self) -> int:
        return hash((tuple((c.name, len(c.rules)) for c in self.chains.values()), self.family, self.device))

    def __reduce__(self) -> tuple[Any, ...]:
        values = {a.name: getattr(self, a.name) for a in attrs.fields(RuleSet)}
        values["chains"] = dict(self.chains)
        return (_restore, (values,))


def _restore(values: dict[str, Any]) -> RuleSet:
    return RuleSet(**values)

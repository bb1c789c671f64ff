"""The base chains of a journey as rows: jumps expanded, returns and changes as places to go on from.

Theory of operation. A base chain becomes a list of rows in the order in which its rules are asked, the rules of
other chains in place of the jumps to them, each as the box of the jump and the box of the rule. The
first sure row that holds a packet says what happens; a row that is not sure may hold before it. A row ends the
chain in a verdict, or it *resumes* (RETURN, and the end of a chain that was gone to: on from behind the
jump), or it *changes* the packet and goes on; an unmodelled target *opens* every outcome; what no row can say
is *asked* of the rules. The last row is the policy.

Rules whose effects no later test on the journey can see are rows without effects, and no rows at all if
they do nothing else. A translation is one row for each choice that interfaces make, and one that drops where
there is no choice left.

Undecided conditions are taken as independent of each other: the outcomes found are a superset. They are
exact, unless an undecided row is *loose*: its text is tested by other rows too, or it shares an undecided jump.

Invariants:

- F1  rows of one rule stand together, those that surely hold first;
- F2  a row resumes behind itself, and the last row of a stage is sure, free and no resumption;
- F3  a row's decider is a number of `Deciders`.

Costs. Linear in the expanded rules, which are counted beforehand and refused past `Limits.rows`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import IntEnum

import attrs

from netsim.errors import BudgetExceeded, Limits
from netsim.index.deciders import Deciders
from netsim.index.function import call_order
from netsim.index.rows import EVERYTHING, Possible, Product, both, meet, minus, rows_of
from netsim.rules.evaluate import nat_kind, redirects
from netsim.rules.journey import PORT_FIELDS, Addresses, Stop, Turn, arrival, departure
from netsim.rules.model import (
    CONNTRACK_PRIORITY,
    Action,
    ActionKind,
    Adjust,
    Bits,
    Chain,
    ChangeSet,
    Deferred,
    Effect,
    In,
    Nat,
    NatKind,
    Netmap,
    Point,
    Pool,
    Rule,
    RuleSet,
    SetBits,
    SetField,
    Track,
    Unmodelled,
    Untrack,
    flat,
)
from netsim.space.fields import (
    ABSENT,
    ADDRESS_FIELDS,
    FIELDS,
    NO_MAC,
    WORD,
    Family,
    State,
    interface_value,
)


class Does(IntEnum):
    """What the first row that holds a packet does with it. Verdicts have the numbers of `VERDICTS`."""

    ACCEPT = 0
    DROP = 1
    REJECT = 2
    OPEN = 3  # an unmodelled target
    RESUME = 4
    CHANGE = 5
    ASK = 6


_GOES_ON = (ActionKind.CONTINUE, ActionKind.JUMP, ActionKind.UNMODELLED)
_CALLS = (ActionKind.JUMP, ActionKind.GOTO)
_ENDS = {ActionKind.ACCEPT: Does.ACCEPT, ActionKind.DROP: Does.DROP, ActionKind.REJECT: Does.REJECT}


@attrs.frozen(slots=True)
class Variant:
    """What is the same for all records of a batch: it makes some tests constant, and others undecided.

    `family` None: it is open. `open` are fields that the packets do not say. `payload`: later fragments whose
    payload is read as ports.
    """

    point: Point
    family: Family | None
    open: frozenset[str] = frozenset()
    payload: bool = False

    @property
    def unsaid(self) -> frozenset[str]:
        """The fields whose tests are undecided."""
        more = frozenset({"family", "src4", "src6", "dst4", "dst6"}) if self.family is None else frozenset()
        return self.open | more | (PORT_FIELDS if self.payload else frozenset())

    @property
    def free(self) -> frozenset[str]:
        """The fields that keep no other from applying, because they are open."""
        found = self.unsaid & {"family", "protocol"}
        return found | {"protocol", "fragment"} if self.payload else found


@attrs.define(slots=True)
class Stage:
    """One base chain as rows. `does`, `target`, `effects` and `decider` are by row.

    `target` is where a row that resumes goes on, and for one that changes the packet what follows: the next
    place, or a negative number: -1 - verdict. `start` is the first row, `early` a chain before tracking.
    """

    chain: Chain
    point: Point
    products: list[Product] = attrs.Factory(list)
    sure: list[bool] = attrs.Factory(list)
    loose: list[bool] = attrs.Factory(list)
    does: list[Does] = attrs.Factory(list)
    target: list[int] = attrs.Factory(list)
    decider: list[int] = attrs.Factory(list)
    effects: dict[int, tuple[Effect, ...]] = attrs.Factory(dict)

    @property
    def nat(self) -> bool:
        """Whether only the first packets of connections see it."""
        return self.chain.hook is not None and self.chain.hook.nat

    @property
    def early(self) -> bool:
        """Whether it is asked before connection tracking."""
        assert self.chain.hook is not None
        first = self.point in (Point.PREROUTING, Point.OUTPUT)
        return first and self.chain.hook.priority < CONNTRACK_PRIORITY

    def __len__(self) -> int:
        return len(self.products)

    def check_invariants(self, deciders: Deciders) -> None:
        """Raises `AssertionError` if one of F1-F3 does not hold."""
        assert all(t > i for i, t in enumerate(self.target) if self.does[i] is Does.RESUME), "F2"
        assert self.sure[-1] and not self.products[-1] and self.does[-1] <= Does.REJECT, "F2"
        assert all(0 <= d < len(deciders) for d in self.decider), "F3"
        for i in range(1, len(self)):
            if self.decider[i] == self.decider[i - 1] and self.does[i] == self.does[i - 1]:
                assert self.sure[i] <= self.sure[i - 1], "F1"


def expanded(rules: RuleSet, roots: Iterable[str]) -> int:
    """How many rules there are once every jump is replaced by the rules of its chain."""
    sizes: dict[str, int] = {}
    found = tuple(roots)
    for name in call_order(rules, found):
        sizes[name] = sum(
            1 + (sizes[r.action.chain] if r.action.kind in _CALLS else 0) for r in rules.chains[name].rules
        )
    return sum(sizes[name] + 1 for name in found)


def acts(chain: Chain) -> bool:
    """Whether a base chain does or decides anything."""
    accepts = chain.policy is None or chain.policy.kind is ActionKind.ACCEPT
    filters = chain.hook is not None and chain.hook.priority == 0
    return bool(chain.rules) or not accepts or filters


def tested(rules: Iterable[Rule]) -> set[str]:
    """The fields that conditions test, and those on which it depends that they apply."""
    found: set[str] = set()
    for rule in rules:
        for condition in flat(rule.conditions):
            if isinstance(condition, In | Bits):
                found.add(condition.field)
                found.update(other for other, _ in FIELDS[condition.field].needs)
    if "ctmark" in found:
        found.add("state")
    return found


def written(effect: Effect, *, nat: bool) -> set[str]:
    """The fields that an effect may change."""
    match effect:
        case SetBits(field=field) | SetField(field=field) | Adjust(field=field):
            return {field}
        case Untrack():
            return {"state"}
        case Nat(kind=kind, family=family) | Netmap(kind=kind, family=family) if nat:
            side = "src" if kind is NatKind.SOURCE else "dst"
            return {ADDRESS_FIELDS[side, family], side[0] + "port", "ct_status"}
    return set()


def read(effect: Effect) -> set[str]:
    """The fields whose values an effect uses."""
    match effect:
        case SetBits(field, keep, _, source, mask, needs_entry):
            found = {field} if keep else set()
            found |= {source} if source and mask else set()
            return found | ({"state"} if needs_entry else set())
        case SetField(field, keep, _):
            return {field} if keep else set()
        case Adjust(field=field):
            return {field}
        case Nat() | Netmap():
            return written(effect, nat=True) | {"protocol", "fragment"}
    return set()


@attrs.define(slots=True)
class _Frame:
    chain: Chain
    box: Sequence[Possible]
    first: int  # the decider before the chain's first
    position: int = 0
    label: int = 0  # where a RETURN leads to
    texts: tuple[str, ...] = ()
    fields: frozenset[str] = frozenset()  # tested on the way here
    begin: int = 0  # the first row of the chain
    behind: int = -1  # the label that begins where the jump ends
    gone: int = -1  # for a goto, the decider of the rows that resume
    shared: bool = False  # reached by an undecided jump


class Flattener:
    """Makes the stages of one hook for one variant. Raises `BudgetExceeded` past `limits.rows`.

    `kept` are fields whose values matter behind the last stage. `deciders` may be those of a larger rule set.
    """

    def __init__(
        self, rules: RuleSet, deciders: Deciders, variant: Variant, addresses: Addresses, limits: Limits,
        kept: Collection[str] = (),
    ) -> None:  # fmt: skip
        self.rules = rules
        self.deciders = deciders
        self.variant = variant
        self.limits = limits
        self._kept = frozenset(kept)
        hook = variant.point
        self.before = departure(rules, hook)
        self.after = arrival(rules, hook)
        stops = [s for s in (*self.before, *self.after) if isinstance(s, Stop)]
        self.stops = [s for s in stops if acts(s.chain)]
        count = expanded(rules, [s.chain.name for s in self.stops])
        if count > limits.rows:
            raise BudgetExceeded(f"{count} expanded rules, more than {limits.rows} (Limits.rows)")
        self._routed = addresses.known or any(redirects(e) for rule in rules.rules() for e in rule.effects)
        self._reached = {
            s.chain.name: [
                rule for name in call_order(rules, (s.chain.name,)) for rule in rules.chains[name].rules
            ]
            for s in self.stops
        }
        self._later: list[set[str]] = []
        self._here: list[set[str]] = []
        self._look()
        self._seen: dict[str, list[tuple[Stage, int, int]]] = {}
        self._possible: dict[int, Sequence[Possible]] = {}
        self._fixed: dict[str, int] = {}
        self._open: frozenset[str] = frozenset()
        self._rows = 0
        self._refuse_early_untracking()

    def _refuse_early_untracking(self) -> None:
        """Before tracking the state is constant, unless rules test what they have changed there."""
        early = [r for s in self.stops if Stage(s.chain, s.point).early for r in self._reached[s.chain.name]]
        if "state" in tested(early) and any(isinstance(e, Untrack) for rule in early for e in rule.effects):
            raise BudgetExceeded("rules before connection tracking test the state that they change")

    def _look(self) -> None:
        """For each stage, the fields whose values matter in it, and behind it."""
        behind: set[str] = set(self._kept)
        later: list[set[str]] = []
        here: list[set[str]] = []
        for stop in reversed(self.stops):
            if stop.point in (Point.PREROUTING, Point.OUTPUT) and self.variant.point is Point.FORWARD:
                behind = behind | {"ttl"}
            later.append(set(behind))
            mine = behind | tested(self._reached[stop.chain.name])
            nat = stop.chain.hook is not None and stop.chain.hook.nat
            mine |= {"state", "protocol"} if nat else set()
            size = -1
            while size != len(mine):
                size = len(mine)
                for rule in self._reached[stop.chain.name]:
                    for effect in rule.effects:
                        if written(effect, nat=nat) & mine and (nat or not isinstance(effect, Nat | Netmap)):
                            mine |= read(effect)
            here.append(mine)
            behind = mine
        self._later, self._here = later[::-1], here[::-1]

    def stages(self) -> tuple[Stage | Turn, ...]:
        """The stages in their order, and what lies between them."""
        found: list[Stage | Turn] = []
        made = {s.chain.name: (i, s) for i, s in enumerate(self.stops)}
        agenda = [*self.before]
        if self.variant.point is Point.FORWARD:
            agenda.append(Turn.HOP)
        for each in (*agenda, *self.after):
            if isinstance(each, Turn):
                found.append(each)
            elif each.chain.name in made:
                found.append(self._stage(*made[each.chain.name]))
        for places in self._seen.values():
            if len(places) > 1:
                for stage, start, end in places:
                    for row in range(start, end):
                        stage.loose[row] = not stage.sure[row]
        return tuple(each if isinstance(each, Turn) else _pruned(each) for each in found)

    # One base chain

    def _stage(self, at: int, stop: Stop) -> Stage:
        chain = stop.chain
        stage = Stage(chain, stop.point)
        self._possible = {}
        self._fixed, self._open = self._context(stage)
        labels: list[int] = [-1]
        first = self.deciders.first(chain)
        stack = [_Frame(chain, EVERYTHING, first)]
        while stack:
            frame = stack[-1]
            if frame.position == len(frame.chain.rules) or not frame.box:
                stack.pop()
                self._left(stage, frame, labels)
                continue
            rule = frame.chain.rules[frame.position]
            decider = frame.first + self.deciders.starts(frame.chain.name)[frame.position]
            frame.position += 1
            found = both(frame.box, self._holds(rule))
            if not found:
                continue
            kind = rule.action.kind
            if not rule.conditions and kind not in _GOES_ON:
                frame.position = len(frame.chain.rules)  # nothing comes behind it
            start = len(stage)
            fields = frame.fields | tested([rule])
            if kind in _CALLS and not self._acts(at, rule, stage.nat):
                label = frame.label
                behind = -1
                if kind is ActionKind.JUMP:
                    label = behind = len(labels)
                    labels.append(-1)
                stack.append(
                    _Frame(
                        self.rules.chains[rule.action.chain], found, decider + 1, 0, label,
                        (*frame.texts, *_texts(rule)), fields, start, behind,
                        decider if kind is ActionKind.GOTO else -1, any(not s for _, s in found),
                    )
                )  # fmt: skip
                continue
            self._emit(stage, at, rule, decider, found, frame)
            if len(stage) > start:
                texts = (*frame.texts, *_texts(rule))
                for text in set(texts):
                    self._seen.setdefault(text, []).append((stage, start, len(stage)))
                if len(set(texts)) < len(texts):  # it may contradict itself
                    stage.loose[start:] = [not s for s in stage.sure[start:]]
        policy = chain.policy or Action(ActionKind.ACCEPT)
        labels[0] = len(stage)
        self._row(stage, {}, True, _ENDS[policy.kind], first + self.deciders.size(chain) - 1)
        stage.target = [
            labels[t] if d is Does.RESUME else t for t, d in zip(stage.target, stage.does, strict=True)
        ]
        return stage

    def _left(self, stage: Stage, frame: _Frame, labels: list[int]) -> None:
        """The end of a chain."""
        if frame.gone >= 0:
            for text in dict.fromkeys(frame.texts):
                self._seen.setdefault(text, []).append((stage, len(stage), len(stage) + len(frame.box)))
            for product, sure in frame.box:
                self._row(stage, product, sure, Does.RESUME, frame.gone, frame.label)
        if frame.shared and len(set(stage.decider[frame.begin :])) > 1:
            for row in range(frame.begin, len(stage)):
                stage.loose[row] = stage.loose[row] or not stage.sure[row]
        if frame.behind >= 0:
            labels[frame.behind] = len(stage)

    def _context(self, stage: Stage) -> tuple[dict[str, int], frozenset[str]]:
        """The columns that are constant in a stage, and the fields that are open in it."""
        fixed: dict[str, int] = {}
        constant: dict[str, int] = {}
        if self.variant.family is not None:
            fixed["family"] = int(self.variant.family)
        if self.variant.point is Point.OUTPUT:
            fixed |= {"iif": ABSENT, "mac": NO_MAC}
        if stage.point in (Point.PREROUTING, Point.INPUT):
            fixed["oif"] = ABSENT
        if stage.early:
            fixed["state"] = int(State.INVALID)
        for field, value in fixed.items():
            if FIELDS[field].width > 64:
                constant |= {field + ".high": value >> 64, field + ".low": value & WORD}
            else:
                constant[field] = value
        return constant, self.variant.unsaid - set(fixed)

    def _holds(self, rule: Rule) -> Sequence[Possible]:
        """Where a rule may hold, constant columns left out."""
        known = self._possible.get(id(rule))
        if known is None:
            found = rows_of(rule.conditions, open_=self._open, free=self.variant.free)
            if any(not self._fixed.keys().isdisjoint(p) for p, _ in found):
                found = [(q, s) for p, s in found if (q := _specialised(p, self._fixed)) is not None]
                if not any(q for q, _ in found) and any(s for _, s in found):
                    found = EVERYTHING
            known = self._possible[id(rule)] = found
        return known

    def _row(
        self, stage: Stage, product: Product, sure: bool, does: Does, decider: int, target: int = 0,
        effects: tuple[Effect, ...] = (),
    ) -> None:  # fmt: skip
        self._rows += 1
        if self._rows > self.limits.rows:
            raise BudgetExceeded(f"more than {self.limits.rows} rows (Limits.rows)")
        if effects:
            stage.effects[len(stage)] = effects
        stage.products.append(product)
        stage.sure.append(sure)
        stage.loose.append(False)
        stage.does.append(does)
        stage.target.append(target)
        stage.decider.append(decider)

    def _acts(self, at: int, rule: Rule, nat: bool) -> bool:
        """Whether a jump does more than jump."""
        translates = nat and any(isinstance(e, Nat | Netmap) for e in rule.effects)
        return translates or self._matters(at, rule, nat)

    def _matters(self, at: int, rule: Rule, nat: bool) -> bool:
        """Whether a test behind a rule can see its effects."""
        ends = rule.action.kind in _ENDS
        seen = self._later[at] if ends else self._here[at]
        return any(written(effect, nat=nat) & seen for effect in rule.effects)

    def _emit(
        self, stage: Stage, at: int, rule: Rule, decider: int, found: Sequence[Possible], frame: _Frame
    ) -> None:
        """The rows of a rule that is no jump."""
        kind = rule.action.kind
        translations = [e for e in rule.effects if isinstance(e, Nat | Netmap)] if stage.nat else []
        if translations:
            self._translated(stage, at, rule, decider, found, translations)
            return
        if kind is ActionKind.UNMODELLED:
            self._all(stage, found, Does.OPEN, decider)
        elif kind in _ENDS and (kind is not ActionKind.ACCEPT or not self._matters(at, rule, stage.nat)):
            self._all(stage, found, _ENDS[kind], decider)
        elif kind is ActionKind.RETURN and not self._matters(at, rule, stage.nat):
            self._all(stage, found, Does.RESUME, decider, frame.label)
        elif kind in (ActionKind.CONTINUE, ActionKind.ACCEPT):
            self._changed(stage, at, rule, decider, found, frame)
        else:
            self._all(stage, found, Does.ASK, decider)

    def _all(
        self, stage: Stage, found: Sequence[Possible], does: Does, decider: int, target: int = 0
    ) -> None:
        for product, sure in found:
            self._row(stage, product, sure, does, decider, target)

    def _changed(
        self, stage: Stage, at: int, rule: Rule, decider: int, found: Sequence[Possible], frame: _Frame
    ) -> None:
        """The rows of a rule that continues or accepts, with effects that may matter."""
        nat = stage.nat
        effects = tuple(
            e for e in rule.effects
            if not isinstance(e, Track | ChangeSet) and (nat or not isinstance(e, Nat | Netmap))
            and not (stage.early and isinstance(e, SetBits) and e.needs_entry)  # nobody has an entry yet
        )  # fmt: skip
        ends = rule.action.kind is ActionKind.ACCEPT
        seen = self._later[at] if ends else self._here[at]
        if not any(written(e, nat=nat) & seen for e in effects):
            if ends:
                self._all(stage, found, Does.ACCEPT, decider)
            return
        changed = {f for e in effects for f in written(e, nat=nat)}
        if (not ends and changed & frame.fields) or changed & self.variant.unsaid:
            self._all(stage, found, Does.ASK, decider)
            return
        target = -1 - int(Does.ACCEPT) if ends else len(stage) + len(found)
        for product, sure in found:
            self._row(stage, product, sure, Does.CHANGE, decider, target, effects)

    # Translations

    def _translated(
        self, stage: Stage, at: int, rule: Rule, decider: int, found: Sequence[Possible],
        translations: Sequence[Nat | Netmap],
    ) -> None:  # fmt: skip
        effect = translations[0]
        others = [e for e in rule.effects if e is not effect]
        kind = nat_kind(stage.point)
        later = self._later[at] | (
            {ADDRESS_FIELDS["dst", effect.family]} if self._routed and kind is NatKind.DESTINATION else set()
        )
        again = any(
            s.chain.hook is not None and s.chain.hook.nat and nat_kind(s.point) is kind
            for s in self.stops[at + 1 :]
        )
        routed = self._routed and kind is NatKind.DESTINATION
        matters = again or routed or bool(written(effect, nat=True) & later)
        plain = rule.action.kind is ActionKind.ACCEPT and not any(
            written(e, nat=True) & later for e in others
        )
        if not plain:
            self._all(stage, found, Does.ASK, decider)
        elif isinstance(effect, Netmap):
            self._netmapped(stage, effect, decider, found, later, matters=matters)
        elif effect.deferred:
            if matters:
                self._all(stage, found, Does.ASK, decider)
                return
            self._all(stage, [(p, False) for p, _ in found], Does.DROP, decider)
            self._all(stage, found, Does.ACCEPT, decider)
        else:
            self._pooled(stage, effect, decider, found, later, matters=matters)

    def _netmapped(
        self, stage: Stage, effect: Netmap, decider: int, found: Sequence[Possible], later: set[str], *,
        matters: bool,
    ) -> None:  # fmt: skip
        field = ADDRESS_FIELDS["src" if effect.kind is NatKind.SOURCE else "dst", effect.family]
        if not matters:
            self._all(stage, found, Does.ACCEPT, decider)
        elif self.variant.family is Family.IPV4 is effect.family and field not in self.variant.unsaid:
            for product, sure in found:
                self._row(stage, product, sure, Does.CHANGE, decider, -1 - int(Does.ACCEPT), (effect,))
        else:
            self._all(stage, found, Does.ASK, decider)

    def _pooled(
        self, stage: Stage, effect: Nat, decider: int, found: Sequence[Possible], later: set[str], *,
        matters: bool,
    ) -> None:  # fmt: skip
        """One choice after the other, as `effects._translate` goes through them."""
        device = "iif" if effect.kind is NatKind.DESTINATION else "oif"
        several = any(pool.more for pool in effect.pools) or (
            device in self._open and any(pool.interface or pool.own for pool in effect.pools)
        )
        if several:
            sure = not matters and not any(pool.missing for pool in effect.pools)
            self._all(stage, found, Does.ACCEPT if sure else Does.ASK, decider)
            return
        rows: list[tuple[Product, bool, Does, Pool]] = []
        rest = list(found)
        nothing = Pool()
        for pool in effect.pools:
            here = rest
            if pool.own or pool.interface:
                value = ABSENT if pool.own else interface_value(pool.interface)
                wanted = {
                    device + ".high": (value >> 64, value >> 64),
                    device + ".low": (value & WORD, value & WORD),
                }
                special = _specialised(wanted, self._fixed)
                if special is None:
                    continue
                here = [(m, s) for p, s in rest if (m := meet(p, special)) is not None]
                rest = [(part, s) for p, s in rest for part in minus(p, special)]
            else:
                rest = []
            does = Does.DROP if pool.missing else Does.ACCEPT
            if matters and not pool.missing:
                does = Does.CHANGE if self._determined(pool, effect, later) else Does.ASK
            rows += [(p, s, does, pool) for p, s in here]
            if not rest:
                break
        rows += [(p, s, Does.DROP, nothing) for p, s in rest]
        for product, sure, does, pool in sorted(rows, key=lambda row: not row[1]):
            alone = attrs.evolve(effect, pools=(attrs.evolve(pool, interface="", own=False),))
            self._row(
                stage, product, sure, does, decider, -1 - int(Does.ACCEPT),
                (alone,) if does is Does.CHANGE else (),
            )  # fmt: skip

    def _determined(self, pool: Pool, effect: Nat, later: set[str]) -> bool:
        """Whether what is tested later has one value, that arrays can compute."""
        side = "src" if effect.kind is NatKind.SOURCE else "dst"
        field, port = ADDRESS_FIELDS[side, effect.family], side[0] + "port"
        if self.variant.family is not effect.family:
            return False
        status = "ct_status" in later
        if (
            pool.addresses is not None
            and (status or field in later)
            and (pool.addresses[0] != pool.addresses[1] or field in self.variant.unsaid)
        ):
            return False
        if (pool.ports is not None or pool.random) and (status or port in later):
            single = pool.ports is not None and pool.ports[0] == pool.ports[1]
            return single and not {port, "protocol"} & self.variant.unsaid
        return True


def _texts(rule: Rule) -> list[str]:
    """The texts of a rule's conditions that have one answer wherever they are asked."""
    return [
        c.text for c in flat(rule.conditions)
        if isinstance(c, Deferred) or (isinstance(c, Unmodelled) and c.pure)
    ]  # fmt: skip


def _specialised(product: Product, fixed: Mapping[str, int]) -> Product | None:
    """A product without its constant columns; None if one of them is outside."""
    if fixed.keys().isdisjoint(product):
        return product
    rest: dict[str, tuple[int, int]] = {}
    for column, (low, high) in product.items():
        value = fixed.get(column)
        if value is None:
            rest[column] = (low, high)
        elif not low <= value <= high:
            return None
    return rest


def _pruned(stage: Stage) -> Stage:
    """A stage without the rows that resume where the next row is anyway."""
    keep = [True] * len(stage)
    ahead = len(stage)
    for row in range(len(stage) - 1, -1, -1):
        if stage.does[row] is Does.RESUME and ahead >= stage.target[row]:
            keep[row] = False
        else:
            ahead = row
    if all(keep):
        return stage
    moved: list[int] = []
    count = 0
    for each in keep:
        moved.append(count)
        count += each
    result = Stage(stage.chain, stage.point)
    for row, each in enumerate(keep):
        if each:
            target = stage.target[row]
            if row in stage.effects:
                result.effects[len(result)] = stage.effects[row]
            if target > 0:
                target = moved[target]
            for name in ("products", "sure", "loose", "does", "decider"):
                getattr(result, name).append(getattr(stage, name)[row])
            result.target.append(target)
    return result


__all__ = ["Does", "Flattener", "Stage", "Variant", "acts", "expanded", "read", "tested", "written"]

"""Changes of one rule set, as values: each step makes a new edit, the rule set stays untouched.

A network's edit (`topology.edit`) is made of these; the naming of rules is in `parsers.names`.
"""

from __future__ import annotations

import attrs

from netsim.errors import QuestionError
from netsim.parsers import dialect_of
from netsim.parsers.names import Binder, Place, find_chains, find_rule, read, unbound
from netsim.parsers.text import quoted
from netsim.rules.change import delete_rule, insert_rules, move_rule, replace_rule, set_policy
from netsim.rules.model import ACCEPT, DROP, Chain, Rule, RuleSet
from netsim.source import Source

RuleName = str | Rule
"""A rule's id, its `file:line`, its text, or the rule itself."""

_POLICIES = {"ACCEPT": ACCEPT, "DROP": DROP}


@attrs.frozen(slots=True)
class RuleSetEdit:
    """A change in the making. `ruleset` is the rule set after it, `steps` says what was done.

    Rules that it brings have `edit N` as their source, N the step. `bind` decides their deferred
    conditions. Every method raises `QuestionError` for what does not exist or is ambiguous and `InputError`
    for a text that does not parse.
    """

    ruleset: RuleSet
    steps: tuple[str, ...] = ()
    bind: Binder = unbound

    def insert(
        self,
        chain: str,
        rule: str | Rule,
        *,
        before: int | RuleName | None = None,
        after: int | RuleName | None = None,
    ) -> RuleSetEdit:
        """A rule, in the dialect's own text, into `table/chain`: `before` or `after` another, else at the end."""
        found = self._chain(chain)
        number, place = self._position(found, before, after)
        rules = self._read(rule, found)
        changed = insert_rules(self.ruleset, found.name, number, rules)
        return self._with(changed, found.table, f"insert into {chain} {place}: {_text(rule)}")

    def delete(self, rule: RuleName) -> RuleSetEdit:
        """Without a rule."""
        place = self._find(rule)
        changed = delete_rule(self.ruleset, place.chain.name, place.rule.number)
        return self._with(changed, place.chain.table, f"delete {_name(place)}: {place.rule.text}")

    def replace(self, rule: RuleName, by: str | Rule) -> RuleSetEdit:
        """Another rule in the place of one."""
        place = self._find(rule)
        rules = self._read(by, place.chain)
        changed = replace_rule(self.ruleset, place.chain.name, place.rule.number, rules)
        return self._with(changed, place.chain.table, f"replace {_name(place)}: {_text(by)}")

    def move(
        self,
        rule: RuleName,
        *,
        before: int | RuleName | None = None,
        after: int | RuleName | None = None,
        chain: str | None = None,
    ) -> RuleSetEdit:
        """A rule to another place: `before` or `after` another rule, of its chain or of `chain` (else at its end)."""
        place = self._find(rule)
        target = place.chain if chain is None else self._chain(chain)
        if before is None and after is None and chain is None:
            raise QuestionError.of("where to?", code="NS307", hint="say before=, after= or chain=")
        number, where = self._position(target, before, after)
        changed = self.ruleset
        if target.name != place.chain.name and target.table == place.chain.table:
            changed = self._reread(place, target)
        changed = move_rule(changed, place.chain.name, place.rule.number, number, to=target.name)
        into = f"to {target.name} " if target.name != place.chain.name else ""
        step = f"move {_name(place)} {into}{where}: {place.rule.text}"
        return self._with(changed, target.table, step)

    def policy(self, chain: str, policy: str) -> RuleSetEdit:
        """Another policy for a base chain: ACCEPT or DROP."""
        found = self._chain(chain)
        action = _POLICIES.get(policy.upper())
        if action is None:
            raise QuestionError.of(f"a policy is ACCEPT or DROP, not {policy[:40]!r}", code="NS307")
        source = Source(pointer=self._next, text=f":{found.short} {policy.upper()}")
        changed = set_policy(self.ruleset, found.name, action, source=source)
        return self._with(changed, found.table, f"policy of {chain}: {policy.upper()}")

    @property
    def _next(self) -> str:
        return f"edit {len(self.steps) + 1}"

    def _with(self, ruleset: RuleSet, table: str, step: str) -> RuleSetEdit:
        if ruleset is not self.ruleset and ruleset.dialect:
            refused = dialect_of(ruleset).check_jumps(ruleset, table)
            if refused:
                raise QuestionError.of(refused, code="NS307")
        return attrs.evolve(self, ruleset=ruleset, steps=(*self.steps, step))

    def _chain(self, name: str) -> Chain:
        return find_chains(name, (self.ruleset,))[0][1]

    def _find(self, rule: RuleName) -> Place:
        return find_rule(rule, (self.ruleset,), bind=self.bind)

    def _position(
        self, chain: Chain, before: int | RuleName | None, after: int | RuleName | None
    ) -> tuple[int, str]:
        """The number of the rule in front of which to stand, and how to say it."""
        if before is not None and after is not None:
            raise QuestionError.of("before= or after=, not both", code="NS307")
        name = before if before is not None else after
        if name is None:
            return len(chain.rules) + 1, "at the end"
        if before == len(chain.rules) + 1 or after == 0:
            return (1 if after == 0 else len(chain.rules) + 1), f"at the {'end' if before else 'beginning'}"
        found = find_rule(name, (self.ruleset,), chain=chain.name, bind=self.bind)
        shown = name.id if isinstance(name, Rule) else name
        if before is not None:
            return found.rule.number, f"before {shown}"
        return found.rule.number + 1, f"after {shown}"

    def _read(self, rule: str | Rule, chain: Chain) -> tuple[Rule, ...]:
        if isinstance(rule, str):
            return read(rule, self.ruleset, chain, self._next, self.bind)
        source = Source(pointer=self._next, text=rule.text)
        return (attrs.evolve(rule, source=source, device=self.ruleset.device, counters=None),)

    def _reread(self, place: Place, target: Chain) -> RuleSet:
        """The rule set with a rule as its text reads in another chain: what -i and REDIRECT mean depends on it."""
        rule = place.rule
        if not self.ruleset.dialect or not rule.source.text:
            return self.ruleset
        dialect = dialect_of(self.ruleset)
        # The chain that the text names is the old one: read the words behind it.
        text = " ".join(map(quoted, dialect.spoken(rule.source.text).words))
        for found in read(text, self.ruleset, target, self._next, self.bind):
            if found.conditions == rule.conditions and found.effects != rule.effects:
                kept = attrs.evolve(rule, effects=found.effects)
                return replace_rule(self.ruleset, place.chain.name, rule.number, (kept,))
        return self.ruleset


def _text(rule: str | Rule) -> str:
    return rule if isinstance(rule, str) else rule.text or rule.id


def _name(place: Place) -> str:
    """How a step names a rule: its id and, if it has one, its place."""
    rule = place.rule
    return f"{rule.id} ({rule.source.line_place})" if rule.source.line or rule.source.pointer else rule.id


__all__ = ["RuleName", "RuleSetEdit"]

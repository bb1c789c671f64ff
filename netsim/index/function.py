"""Chains as functions: a chain compiles once, whatever the number of paths that lead to it.

Theory of operation. The function of a chain maps a packet to outcomes and to the change of the packet
that comes with them: `{transformation: diagram of outcome masks}`, where a mask of 0 means "not with
this transformation". Its end, and RETURN, are the outcome RETURN; a base chain turns that into its
policy. A chain is folded from its last rule to its first:

- a run of rules without effects is one diagram: their outcome diagrams under OVERRIDE, which is
  associative, as a balanced tree; the policy of a base chain goes behind its last rule first;
- a rule with effects pulls everything behind it back through its transformation.

A jump is the callee's function with RETURN turned into NEXT; a goto keeps RETURN. Callees compile
first, from an explicit stack. The cost is linear in chains and rules times the size of the diagrams:
30 levels of two jumps each are 60 rules, not 2^30 paths.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import attrs

from netsim.errors import BudgetExceeded
from netsim.index.compile import Bounds, Compiler, opened
from netsim.rules.model import ActionKind, Chain, Outcome, Rule, RuleSet
from netsim.space.diagram import AND, FALSE, LESS, OUTSIDE, OVERRIDE, TERMINALS, THEN, TRUE, UNION, WITHIN
from netsim.space.pool import POOL, kept
from netsim.space.transform import IDENTITY, Transformation

Function = dict[Transformation, int]
"""Transformation -> diagram of outcome masks."""

NEXT, RETURN = int(Outcome.NEXT), int(Outcome.RETURN)
TRANSFORMATIONS = 512
"""How many different changes one chain may make before its compilation is given up as unknown."""

_MASK = {
    ActionKind.ACCEPT: int(Outcome.ACCEPT),
    ActionKind.DROP: int(Outcome.DROP),
    ActionKind.REJECT: int(Outcome.REJECT),
    ActionKind.RETURN: RETURN,
    ActionKind.CONTINUE: NEXT,
}


def relabelled(find: int, put: int) -> list[int]:
    """Terminals in which the outcome `find` became `put`."""
    return [((t & ~find) | put) if t & find else t for t in range(TERMINALS)]


_RETURNING = (ActionKind.RETURN, ActionKind.GOTO)
_RETURN_TO_NEXT = relabelled(RETURN, NEXT)
_WITHOUT_NEXT = [t & ~NEXT for t in range(TERMINALS)]


def call_order(rules: RuleSet, roots: tuple[str, ...]) -> list[str]:
    """The chains that can be reached from `roots`, callees before callers. Loops are refused by parsers."""
    order: list[str] = []
    state: dict[str, int] = {}
    stack: list[tuple[str, bool]] = [(name, False) for name in reversed(roots)]
    while stack:
        name, done = stack.pop()
        if done:
            order.append(name)
            state[name] = 2
            continue
        if name in state:
            continue
        state[name] = 1
        stack.append((name, True))
        stack += [(callee, False) for callee in callees(rules.chains[name]) if callee not in state]
    return order


def callees(chain: Chain) -> list[str]:
    """The chains that a chain jumps or goes to."""
    targets = (r.action.chain for r in chain.rules if r.action.kind in (ActionKind.JUMP, ActionKind.GOTO))
    return list(dict.fromkeys(targets))


@attrs.frozen(slots=True)
class _Compiled:
    """A chain's function, and what it was compiled from: valid for these very objects."""

    chain: Chain
    context: Hashable
    callees: tuple[Function, ...]
    function: Function


_COMPILED: dict[tuple[int, int], _Compiled] = {}
POOL.cache(_COMPILED.clear)
KEPT = 4096
"""How many chains' functions are kept for rule sets to come."""


class Functions:
    """The functions of a rule set's chains, compiled on demand and kept."""

    def __init__(self, rules: RuleSet, compiler: Compiler) -> None:
        self.rules = rules
        self.compiler = compiler
        self._nat_tables = {c.table for c in rules.chains.values() if c.hook is not None and c.hook.nat}
        self._opened: Transformation | None = None

    @kept
    def _functions(self) -> dict[str, Function]:
        return {}

    @kept
    def _bases(self) -> dict[str, Function]:
        return {}

    def is_nat(self, chain: str) -> bool:
        """Whether a chain's translations count: it belongs to a table with NAT hooks."""
        return self.rules.chains[chain].table in self._nat_tables

    def of(self, name: str) -> Function:
        """The function of a chain, its end being RETURN."""
        if name not in self._functions:
            for each in call_order(self.rules, (name,)):
                if each not in self._functions:
                    self._functions[each] = self._compiled(self.rules.chains[each])
        return self._functions[name]

    def _compiled(self, chain: Chain, end: int = RETURN) -> Function:
        """The function of a chain whose callees are compiled, `end` behind its last rule; kept beyond this rule set.

        A chain that an edit leaves alone is the same object in the rule set after it, so only the edited
        chain and its callers are compiled again.
        """
        addresses = tuple(sorted(self.compiler.addresses.items()))
        context = (self.compiler.context, addresses, self.is_nat(chain.name), end)
        below = tuple(self._functions[callee] for callee in callees(chain))
        known = _COMPILED.get((id(chain), end))
        if (
            known is not None
            and known.chain is chain
            and known.context == context
            and len(known.callees) == len(below)
            and all(a is b for a, b in zip(known.callees, below, strict=True))
        ):
            return known.function
        function = self._compile(chain, end)
        if len(_COMPILED) >= KEPT:
            _COMPILED.clear()
        _COMPILED[id(chain), end] = _Compiled(chain, context, below, function)
        return function

    def base(self, name: str) -> Function:
        """The function of a base chain, its end being the policy."""
        if name in self._bases:
            return self._bases[name]
        chain = self.rules.chains[name]
        put = _MASK[chain.policy.kind] if chain.policy is not None else int(Outcome.ACCEPT)
        if name in self._functions or any(rule.action.kind in _RETURNING for rule in chain.rules):
            table = relabelled(RETURN, put)
            found = {t: POOL.relabel(node, table) for t, node in self.of(name).items()}
        else:  # only the end returns, and a pass over all of the function is saved
            for callee in callees(chain):
                self.of(callee)
            found = self._compiled(chain, put)
        self._bases[name] = found
        return found

    def _compile(self, chain: Chain, end: int) -> Function:
        result: Function = {IDENTITY: end}
        run: list[int] = []
        for rule, plain in zip(reversed(chain.rules), reversed(self._plain(chain.rules)), strict=True):
            if plain is not None:
                run.append(plain)
                continue
            result = _prepend(run, result)
            run = []
            result = self._effectful(rule, chain, result)
            if len(result) > TRANSFORMATIONS:
                raise BudgetExceeded(
                    f"chain {chain.name} changes packets in more than {TRANSFORMATIONS} ways"
                )
        return _prepend(run, result)

    def _plain(self, rules: Sequence[Rule]) -> list[int | None]:
        """The outcome diagrams of rules without effects; None for those that have some."""
        then = [self._then(rule) for rule in rules]
        asked = [(rule, node) for rule, node in zip(rules, then, strict=True) if node is not None]
        bounds = self.compiler.bounds_of_each([rule.conditions for rule, _ in asked])
        ids = [node for (sure, _), (_, then) in zip(bounds, asked, strict=True) for node in (sure, then)]
        nodes = list(POOL.pairs(THEN, ids))
        for i, (sure, possible) in enumerate(bounds):
            if sure != possible:
                maybe = POOL.apply(LESS, possible, sure)
                nodes[i] = POOL.apply(UNION, nodes[i], POOL.apply(WITHIN, maybe, asked[i][1]))
        found = iter(nodes)
        return [None if node is None else next(found) for node in then]

    def _then(self, rule: Rule) -> int | None:
        """The outcomes of a rule where it applies; None if it changes packets."""
        kind = rule.action.kind
        if kind is ActionKind.UNMODELLED:
            return None
        if rule.effects and self.compiler.effects(rule, self.is_nat(rule.chain)) != [(TRUE, IDENTITY)]:
            return None
        if kind not in (ActionKind.JUMP, ActionKind.GOTO):
            return _MASK[kind]
        target = self.of_compiled(rule.action.chain)
        if set(target) != {IDENTITY}:
            return None
        node = target[IDENTITY]
        return POOL.relabel(node, _RETURN_TO_NEXT) if kind is ActionKind.JUMP else node

    def of_compiled(self, name: str) -> Function:
        """A callee's function, which `call_order` has compiled before its caller."""
        return self._functions[name]

    def _effectful(self, rule: Rule, chain: Chain, behind: Function) -> Function:
        sure, possible = self.compiler.rule_bounds(rule)
        result: Function = {}
        for change, node in behind.items():
            _add(result, change, POOL.apply(OUTSIDE, sure, node))
        ways = self.compiler.effects(rule, self.is_nat(chain.name))
        if rule.action.kind is ActionKind.UNMODELLED:
            if self._opened is None:
                self._opened = opened()
            then: Function = {}
            _add(then, IDENTITY, int(Outcome.DROP | Outcome.REJECT))
            _add(then, self._opened, int(Outcome.ACCEPT))
            for second, node in behind.items():
                change = self._opened.then(second)
                _add(then, change, self._opened.preimage(POOL, node, UNION))
        else:
            then = dict(self._action(rule, behind))
        for where, first in ways:
            there = POOL.apply(AND, possible, where)
            if not there:
                continue
            if first is None:
                _add(result, IDENTITY, POOL.apply(WITHIN, there, int(Outcome.DROP)))
                continue
            for second, node in then.items():
                node = POOL.apply(WITHIN, there, first.preimage(POOL, node, UNION))
                _add(result, first.then(second), node)
        return result

    def _action(self, rule: Rule, behind: Function) -> Mapping[Transformation, int]:
        """What follows once a rule applies and its effects are done."""
        kind = rule.action.kind
        if kind is ActionKind.CONTINUE:
            return behind
        if kind not in (ActionKind.JUMP, ActionKind.GOTO):
            return {IDENTITY: _MASK[kind]}
        target = self.of_compiled(rule.action.chain)
        if kind is ActionKind.GOTO:
            return target
        result: Function = {}
        for first, node in target.items():
            node = POOL.relabel(node, _RETURN_TO_NEXT)
            _add(result, first, POOL.relabel(node, _WITHOUT_NEXT))
            returns = POOL.where(node, lambda t: bool(t & NEXT))
            if returns:
                for second, rest in behind.items():
                    pulled = POOL.apply(WITHIN, returns, first.preimage(POOL, rest, UNION))
                    _add(result, first.then(second), pulled)
        return result


def _prepend(run: list[int], behind: Function) -> Function:
    """A run of plain rules (last first) before a function."""
    if not run:
        return behind
    if set(behind) == {IDENTITY} and behind[IDENTITY] < TERMINALS:  # saves a pass over all of the run
        last = POOL.apply(OVERRIDE, run[0], behind[IDENTITY])
        return {IDENTITY: POOL.fold(OVERRIDE, [*run[:0:-1], last])}
    front = POOL.fold(OVERRIDE, run[::-1])
    result: Function = {}
    falls = POOL.where(front, lambda t: bool(t & NEXT))
    for change, node in behind.items():
        if change != IDENTITY:
            _add(result, change, POOL.apply(WITHIN, falls, node))
    _add(result, IDENTITY, POOL.apply(OVERRIDE, front, behind.get(IDENTITY, FALSE)))
    return result


def _add(result: Function, change: Transformation, node: int) -> None:
    if node:
        old = result.get(change, FALSE)
        result[change] = POOL.apply(UNION, old, node)


__all__ = ["Bounds", "Function", "Functions", "call_order", "callees"]

"""How rules and chains are named: by id, by `file:line`, by the dialect's own text; in one rule set or many.

Theory of operation. A name is first compared with ids and places, then read as a text. A text matches a rule whose
words are the same; only where none is, one that reads as an equal rule (in its own chain, bound as the rule set
is). Every match is looked at: a name that fits two rules is refused with both ids, one that fits none with
what comes close, ids and texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs

from netsim.errors import Diagnostic, Inexpressible, InputError, QuestionError, near_misses
from netsim.parsers import Dialect, dialect_of
from netsim.parsers.text import Wrong
from netsim.rules.model import Chain, Rule, RuleSet
from netsim.source import Source
from netsim.space.fields import Family

Binder = Callable[[RuleSet, RuleSet], RuleSet]
"""Decides the deferred conditions of a scratch rule set (second) as those of the first one are decided."""

_TEXT = ("-", "!", "iptables", "ip6tables", "[")


def unbound(ruleset: RuleSet, scratch: RuleSet) -> RuleSet:
    """The binder of rules that nothing decides."""
    del ruleset
    return scratch


@attrs.frozen(slots=True)
class Place:
    """Where a rule stands: `position` counts from 0."""

    ruleset: RuleSet
    chain: Chain
    position: int

    @property
    def rule(self) -> Rule:
        """The rule that stands there."""
        return self.chain.rules[self.position]


def read(text: str, ruleset: RuleSet, chain: Chain, name: str, bind: Binder = unbound) -> tuple[Rule, ...]:
    """The rules of a text for a chain, bound, with `name` as their source. Raises `InputError`."""
    try:
        parse = dialect_of(ruleset).parse_rule
    except Inexpressible as error:
        raise QuestionError.of(str(error), code="NS307", hint="give a Rule") from None
    rules = parse(text, ruleset=ruleset, chain=chain.name, source=Source(pointer=name, text=text))
    scratch = attrs.evolve(ruleset, chains={chain.name: attrs.evolve(chain, rules=rules)})
    return bind(ruleset, scratch).chains[chain.name].rules


def find_chains(name: str, rulesets: Sequence[RuleSet]) -> list[tuple[RuleSet, Chain]]:
    """The chains called `[device:]table/chain`: one for each family. Raises `QuestionError` if there is none."""
    device, chain = _split(name, rulesets)
    mine = [r for r in rulesets if not device or r.device == device]
    found = [(r, r.chains[chain]) for r in mine if chain in r.chains]
    if found:
        return found
    where = f"{device} has" if device else "there is"
    hint = near_misses(chain, (c for r in mine for c in r.chains))
    raise QuestionError.of(f"{where} no chain {chain[:60]!r}", code="NS305", hint=hint)


def find_rule(
    name: str | int | Rule,
    rulesets: Sequence[RuleSet],
    *,
    chain: str | None = None,
    bind: Binder = unbound,
) -> Place:
    """The rule of that name: an id, `file:line`, a text, or in one chain (`table/chain`) a number.

    Raises `QuestionError` if there is none (with near misses) or more than one (with their ids), and
    `InputError` for a text that does not parse.
    """
    places = list(_places(rulesets, chain))
    if isinstance(name, Rule):
        found = [p for p in places if p.rule is name] or [p for p in places if p.rule == name]
        return _only(found, name.id, places, chain)
    if isinstance(name, int):
        return _only([p for p in places if p.rule.number == name], str(name), places, chain)
    found = [p for p in places if name in _names(p.rule)]
    if found:
        return _only(found, name, places, chain)
    device, rest = _split(name, rulesets)
    if not rest.lstrip().startswith(_TEXT):
        return _only([], name, places, chain)
    mine = [p for p in places if not device or p.ruleset.device == device]
    return _only(_by_text(rest, mine, bind), name, mine, chain)


def _places(rulesets: Sequence[RuleSet], chain: str | None) -> Iterator[Place]:
    for ruleset in rulesets:
        for found in ruleset.chains.values():
            if chain is None or found.name == chain:
                for position in range(len(found.rules)):
                    yield Place(ruleset, found, position)


def _names(rule: Rule) -> tuple[str, ...]:
    return rule.id, f"{rule.chain}/{rule.number}", rule.source.line_place


def _split(name: str, rulesets: Sequence[RuleSet]) -> tuple[str, str]:
    """The device that a name begins with ('' if with none), and the rest."""
    device, colon, rest = name.partition(":")
    if colon and any(r.device == device for r in rulesets):
        return device, rest
    return "", name


def _by_text(text: str, places: list[Place], bind: Binder) -> list[Place]:
    """The rules that a text names: those of the same words, else those that it reads as."""
    errors: list[InputError] = []
    read_as: dict[tuple[int, str], tuple[Rule, ...]] = {}
    same_words: list[Place] = []
    equal: list[Place] = []
    also: list[Place] = []
    for place in places:
        try:
            dialect = dialect_of(place.ruleset)
            said = dialect.spoken(text)
        except Inexpressible:
            continue
        except Wrong as wrong:
            raise InputError([Diagnostic(Source(text=text), wrong.code, wrong.message, wrong.hint)]) from None
        if said.table not in ("", place.chain.table) or said.chain not in ("", place.chain.short):
            continue
        if _words_of(place.rule, dialect) == said.words:
            same_words.append(place)
            continue
        key = id(place.ruleset), place.chain.name
        if key not in read_as:
            try:
                read_as[key] = read(text, place.ruleset, place.chain, "", bind)
            except InputError as error:
                errors.append(error)
                read_as[key] = ()
        wanted = dialect.meaning(place.rule, place.ruleset)
        for rule in read_as[key]:
            if dialect.meaning(rule, place.ruleset) == wanted:
                (equal if rule.comment == place.rule.comment else also).append(place)
                break
    found = same_words or equal or also
    if not found and errors and len(errors) == len(read_as):
        # It parses nowhere: say why, and what looks like it.
        first = errors[0].diagnostics[0]
        source = attrs.evolve(first.source, pointer="")
        raise QuestionError(
            [attrs.evolve(first, source=source, hint=_hint(first.hint, _close(text, places)))]
        )
    return found


def _hint(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _words_of(rule: Rule, dialect: Dialect) -> tuple[str, ...]:
    try:
        return dialect.spoken(rule.source.text).words
    except Wrong:
        return ()


def _only(found: list[Place], name: str, places: list[Place], chain: str | None) -> Place:
    """The one place that was found, or the error."""
    if len(found) == 1:
        return found[0]
    if found:
        # Rules of both families of a device have the same ids; their places tell them apart.
        apart = len({p.rule.id for p in found}) == len(found)
        ids = ", ".join(
            p.rule.id if apart else f"{p.rule.id} ({p.rule.source.line_place})" for p in found[:4]
        )
        more = f" and {len(found) - 4} more" if len(found) > 4 else ""
        raise QuestionError.of(
            f"{name[:80]!r} is more than one rule: {ids}{more}",
            code="NS306",
            hint="name one by its id" if apart else "say family=4 or family=6, or file:line",
        )
    in_chain = f" in {chain}" if chain is not None else ""
    raise QuestionError.of(f"no rule {name[:80]!r}{in_chain}", code="NS306", hint=_close(name, places))


def _close(name: str, places: list[Place], count: int = 3) -> str:
    """What comes close to a name, as a hint: ids with their texts."""
    if not places:
        return "there are no rules"
    wanted = set(name.split())
    scored: list[tuple[float, int, Rule]] = []
    if name.lstrip().startswith(_TEXT) or len(wanted) > 1:
        for place in places:
            words = set(place.rule.text.split())
            score = len(wanted & words) / len(wanted | words) if words else 0.0
            if score >= 0.4:
                scored.append((-score, len(scored), place.rule))
        rules = [rule for _, _, rule in sorted(scored)[:count]]
    else:
        import difflib

        by_name = {n: p.rule for p in places for n in _names(p.rule)}
        close = difflib.get_close_matches(name[:64], by_name, n=count, cutoff=0.6)
        rules = list({by_name[n].id: by_name[n] for n in close}.values())
    if not rules:
        return f"there are {len(places)} rules" if len(places) > 1 else "there is one rule"
    shown = " or ".join(f"{rule.id!r} ({rule.text[:120]})" for rule in rules)
    return f"did you mean {shown}?"


def of_family(rulesets: Iterable[RuleSet], family: int | None) -> list[RuleSet]:
    """The rule sets of a family, given as 4 or 6; None: all."""
    if family is None:
        return list(rulesets)
    if family not in (4, 6):
        raise QuestionError.of(f"a family is 4 or 6, not {family}", code="NS307")
    wanted = Family.IPV4 if family == 4 else Family.IPV6
    return [r for r in rulesets if r.family in (None, wanted)]


__all__ = ["Binder", "Place", "find_chains", "find_rule", "of_family", "read", "unbound"]

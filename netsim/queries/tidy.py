"""An equivalent smaller rule set: superfluous rules gone, rules joined that one can say, and each step justified.

Algebra. The result is equal to the original at every hook: the same outcomes and the same packet afterwards for
every packet and every value of the unmodelled, by `compare_rules`, which is asked before anything is returned. It has no
more rules, and tidying it again changes nothing. Rules that only go on (LOG, counters) or have a memory stay unless no packet
reaches them, see `index.redundancy`. A rule set without superfluous rules, or without rules, is returned as it is.

Theory of operation. In rounds, until nothing changes: the rules that can go together go (`removable`), chains that nobody
calls any more go, and rules merge (`merges`) where the dialect has words for the result. Rules that share a line with
others, or whose line names their place by number, are left alone, and said. Lines that are not touched stay byte for byte.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import attrs

from netsim.display import Displayed, Document, Heading, Items, Paragraph, Span, Tone
from netsim.errors import DEFAULT_LIMITS, Diagnostic, Inexpressible, InputError
from netsim.index import Index
from netsim.index.liveness import Dead, Death, Liveness
from netsim.index.merges import Merge, merges
from netsim.index.redundancy import Redundant, removable
from netsim.parsers import dialect_of
from netsim.parsers.text import decode, read_bytes
from netsim.queries.compare import Comparison, compare_rules
from netsim.queries.verdict import Rules
from netsim.rules.model import ActionKind, Condition, Rule, RuleSet
from netsim.source import Source

COLUMNS = ("step", "place", "rules", "text", "why", "related", "by")
"""The keys of every row of a tidy."""


class StepKind(Enum):
    """What was done with a line or several."""

    REMOVED = "removed"
    MERGED = "merged"
    CHAIN = "chain removed"


@attrs.frozen(slots=True)
class Step:
    """One step and its justification: `rules` went, or became one that reads `by`; `related` are why."""

    kind: StepKind
    rules: tuple[Rule, ...]
    place: str
    text: str
    why: str
    related: tuple[Rule, ...] = ()
    by: str = ""

    def row(self) -> dict[str, Any]:
        """The step as a plain row with the keys `COLUMNS`."""
        return {
            "step": self.kind.value,
            "place": self.place,
            "rules": [r.id for r in self.rules],
            "text": self.text,
            "why": self.why,
            "related": [r.source.line_place for r in self.related],
            "by": self.by or None,
        }


@attrs.frozen(slots=True, eq=False)
class Tidy(Displayed):
    """The answer of `tidy`. `rules` are the tidy rules, `text` their dump; `comparison` is the proof that nothing changed.

    `left` says what was left alone, and why. `bool` raises: look at `steps`.
    """

    before: Rules
    rules: Rules
    text: str
    steps: tuple[Step, ...]
    comparison: Comparison
    left: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        raise TypeError("a Tidy is neither true nor false; look at .steps")

    @property
    def counts(self) -> tuple[int, int]:
        """How many rules there were, and are."""
        return _count(self.before.ruleset), _count(self.rules.ruleset)

    def rows(self) -> list[dict[str, Any]]:
        """The steps as plain rows with the keys `COLUMNS`."""
        return [step.row() for step in self.steps]

    def frame(self) -> Any:
        """The rows as a pandas data frame; needs the extra `frames`."""
        from netsim.display.frame import frame

        return frame(self.rows(), COLUMNS)

    def document(self) -> Document:
        """How many rules are left, and each step with its reason."""
        was, now = self.counts
        name = self.before.ruleset.file or "the rules"
        if not self.steps:
            blocks: list[Any] = [Heading([f"{name}: ", Span("nothing can go", Tone.GOOD), f", {was} rules"])]
            return Document([*blocks, *(Paragraph(text) for text in self.left)])
        blocks = [
            Heading([f"{name}: {was} rules, ", Span(f"{now} say the same", Tone.GOOD)]),
            Paragraph(Span(f"proven equal: {self.comparison.compared}", Tone.DIM)),
        ]
        for step in self.steps:
            blocks.append(Heading([Span(step.kind.value, Tone.STRONG), f"  {step.place}"]))
            items: list[Any] = [(0, rule.text) for rule in step.rules] or [(0, step.text)]
            if step.by:
                items.append((0, Span(f"+ {step.by}", Tone.GOOD)))
            items.append((0, step.why))
            items += [(1, Span(f"{r.source.line_place}: {r.text}", Tone.DIM)) for r in step.related[:6]]
            if len(step.related) > 6:
                items.append((1, Span(f"... and {len(step.related) - 6} more", Tone.DIM)))
            blocks.append(Items(items))
        if self.left:
            blocks.append(Heading("Left alone"))
            blocks += [Paragraph(text) for text in self.left]
        return Document(blocks)


def tidy(rules: Rules | RuleSet, *, text: str | None = None) -> Tidy:
    """An equivalent smaller rule set, proven equal, with the reason of each step.

    `text` is the dump that the rules were read from; without it the file is read again, and rules that have neither
    get a new text. Raises `InputError` if the text is not the one that was read.
    """
    asked = rules if isinstance(rules, Rules) else Rules(rules)
    work = _Work(asked)
    work.run()
    after = asked.changed(work.rules) if work.steps else asked
    comparison = compare_rules(asked, after)
    if not comparison.equal:  # a mistake of ours: better nothing than another rule set
        raise AssertionError(f"tidy made another rule set: {comparison.changes[0].where}")
    said = _source(asked.ruleset) if text is None else text
    written = _edited(said, work) if said is not None else _whole(work.rules)
    return Tidy(asked, after, written, tuple(work.steps), comparison, tuple(dict.fromkeys(work.left)))


def _count(rules: RuleSet) -> int:
    return sum(1 for _ in rules.rules())


class _Work:
    """The rounds. `gone` are line numbers that go, `lines` those that read otherwise."""

    def __init__(self, asked: Rules) -> None:
        self.asked = asked
        self.rules = asked.ruleset
        self.steps: list[Step] = []
        self.left: list[str] = []
        self.gone: set[int] = set()
        self.lines: dict[int, str] = {}
        shared: dict[int, int] = {}
        for rule in self.rules.rules():
            shared[rule.source.line] = shared.get(rule.source.line, 0) + 1
        self._fixed: set[str] = set()
        for chain in self.rules.chains.values():
            for rule in chain.rules:
                if rule.source.line and shared[rule.source.line] > 1:
                    self._fixed.add(rule.id)
                    self.left.append(f"{rule.source.line_place} stands for {shared[rule.source.line]} rules")
                elif rule.source.text and self._placed(rule):
                    self._fixed.update(r.id for r in chain.rules)
                    self.left.append(f"{rule.source.line_place} names a place by number: chain {chain.name}")

    def _placed(self, rule: Rule) -> bool:
        try:
            return dialect_of(self.rules).placed(rule)
        except Inexpressible:
            return False

    def run(self) -> None:
        """Until nothing changes; each round has fewer rules or is the last."""
        while True:
            before = len(self.steps)
            self._remove()
            self._chains()
            self._merge()
            if len(self.steps) == before:
                break
        self.rules = self.rules.replace(
            attrs.evolve(chain, rules=tuple(attrs.evolve(r, number=n) for n, r in enumerate(chain.rules, 1)))
            for chain in self.rules.chains.values()
            if any(r.number != n for n, r in enumerate(chain.rules, 1))
        )

    def _index(self) -> tuple[Index, Liveness]:
        index = Index(self.rules, addresses=self.asked.index.addresses, limits=self.asked.index.limits)
        return index, Liveness(index)

    def _free(self, rule: Rule) -> bool:
        return rule.id not in self._fixed

    def _remove(self) -> None:
        index, liveness = self._index()
        found = removable(index, liveness, may=lambda proof: self._free(proof.rule))
        gone = {id(proof.rule) for proof in found}
        for proof in found:
            self.gone.add(proof.rule.source.line)
            self.lines.pop(proof.rule.source.line, None)
            self.steps.append(_removed(proof))
        self._without(gone)

    def _without(self, gone: set[int]) -> None:
        if gone:
            self.rules = self.rules.replace(
                attrs.evolve(chain, rules=tuple(r for r in chain.rules if id(r) not in gone))
                for chain in self.rules.chains.values()
                if any(id(r) in gone for r in chain.rules)
            )

    def _chains(self) -> None:
        """User chains without rules that nobody calls."""
        jumps = (ActionKind.JUMP, ActionKind.GOTO)
        called = {r.action.chain for r in self.rules.rules() if r.action.kind in jumps}
        kept = dict(self.rules.chains)
        for name, chain in self.rules.chains.items():
            if chain.hook is None and not chain.rules and name not in called:
                del kept[name]
                self.gone.add(chain.source.line)
                place = chain.source.line_place
                why = "nobody jumps to it, and it has no rules"
                self.steps.append(Step(StepKind.CHAIN, (), place, chain.source.text.strip() or name, why))
        if len(kept) != len(self.rules.chains):
            self.rules = attrs.evolve(self.rules, chains=kept)

    def _merge(self) -> None:
        try:
            dialect = dialect_of(self.rules)
        except Inexpressible:
            dialect = None

        def says(rule: Rule, field: str, conditions: tuple[Condition, ...]) -> bool:
            del field
            if dialect is None:
                return True
            try:
                dialect.rewrite_rule(rule, conditions, ruleset=self.rules)
            except Inexpressible:
                return False
            return True

        index, liveness = self._index()
        for merge in merges(index, liveness, says=says, may=self._free):
            self._merged(merge, None if dialect is None else dialect.rewrite_line)

    def _merged(self, merge: Merge, line: Any) -> None:
        first = merge.rules[0]
        text = "" if line is None else line(merge.rules, merge.conditions, ruleset=self.rules)
        source = attrs.evolve(first.source, text=text) if text else first.source
        one = attrs.evolve(first, conditions=merge.conditions, source=source)
        rest = {id(rule) for rule in merge.rules[1:]}
        chain = self.rules.chains[first.chain]
        rules = tuple(one if r is first else r for r in chain.rules if id(r) not in rest)
        self.rules = self.rules.replace([attrs.evolve(chain, rules=rules)])
        for rule in merge.rules[1:]:
            self.gone.add(rule.source.line)
            self.lines.pop(rule.source.line, None)
        self.lines[first.source.line] = text
        why = f"they differ in {merge.field} only, do the same, and nothing between them decides otherwise about their packets"
        self.steps.append(
            Step(StepKind.MERGED, merge.rules, first.source.line_place, first.text, why, (), text)
        )


_DEATHS = {
    Death.CONTRADICTION: "its own conditions contradict each other",
    Death.UNCALLED: "no chain that packets come through calls its chain",
    Death.UNSENT: "its chain is called for no packet that it matches",
    Death.COVERED: "earlier rules take every packet that it matches",
}


def _removed(proof: Dead | Redundant) -> Step:
    rule = proof.rule
    if isinstance(proof, Dead):
        return Step(
            StepKind.REMOVED, (rule,), rule.source.line_place, rule.text, f"no packet reaches it: {_DEATHS[proof.death]}",
            proof.cover,
        )  # fmt: skip
    others = tuple(r for r in proof.because if r is not None)
    what = "later rules do the same" if others else "the end of its chain does the same"
    if others and None in proof.because:
        what = "later rules and the end of its chain do the same"
    return Step(StepKind.REMOVED, (rule,), rule.source.line_place, rule.text, f"superfluous: {what}", others)


# The text


def _source(rules: RuleSet) -> str | None:
    """The text of the file that rules were read from, its line ends as they are; None if they were read from none."""
    if not rules.file or not Path(rules.file).is_file():
        return None
    data = read_bytes(rules.file, DEFAULT_LIMITS)
    decode(data, rules.file, DEFAULT_LIMITS)
    return data.decode("utf-8")


def _whole(rules: RuleSet) -> str:
    try:
        return dialect_of(rules).write_dump(rules)
    except Inexpressible:
        return ""


def _edited(text: str, work: _Work) -> str:
    """The text with the lines that go gone, and those that changed changed; every other byte stays."""
    parts = text.split("\n")
    lines = [part + "\n" for part in parts[:-1]] + [parts[-1]] * bool(parts[-1])
    _check(lines, work.asked.ruleset)
    found: list[str] = []
    for number, line in enumerate(lines, 1):
        if number in work.lines:
            body = line.rstrip("\r\n")
            found.append(work.lines[number] + line[len(body) :])
        elif number not in work.gone:
            found.append(line)
    return "".join(found)


def _check(lines: list[str], rules: RuleSet) -> None:
    """The text has to be the one that was read."""
    for rule in rules.rules():
        number = rule.source.line
        if number and (number > len(lines) or lines[number - 1].strip() != rule.text):
            source = Source(rules.file, number, 1, 0, rule.text)
            raise InputError(
                [Diagnostic(source, "NS325", "the text is not the one that the rules were read from")]
            )


__all__ = ["COLUMNS", "Step", "StepKind", "Tidy", "tidy"]

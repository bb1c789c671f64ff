"""Packets as plain rows in, verdicts as plain rows out: what `netsim test` reads and prints.

The names and values are the contract of docs/json.md; one row a packet, in order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from netsim.display import Displayed, Document, Excerpt, Heading, Items, Pairs, Paragraph, Span, Tone
from netsim.errors import DEFAULT_LIMITS, Diagnostic, InputError, Limits, near_misses
from netsim.index import Index
from netsim.parsers.edit import RuleSetEdit
from netsim.rules.bind import Interfaces, NamedSet, bind, own_addresses
from netsim.rules.evaluate import Reason, Ruling, Step
from netsim.rules.journey import HOOKS, hook_of
from netsim.rules.model import VERDICTS_OF, Point, Rule, RuleSet, Verdict
from netsim.source import Source
from netsim.space.addresses import show_address
from netsim.space.fields import PORT_PROTOCOLS, Direction, Family, TcpFlag
from netsim.space.packet import Packet, flags_value, protocol_number

KEYS = (
    "id", "src", "dst", "proto", "sport", "dport", "tcp_flags", "icmp_type", "icmp_code", "iif", "oif", "mark",
    "ttl", "tos", "len", "frag_off", "state", "hook", "mac", "ctmark",
)  # fmt: skip

UNTRACKED_ICMPV6 = frozenset({130, 131, 132, 133, 134, 135, 136, 143})
"""Neighbour discovery and multicast listener messages, which Linux never tracks."""


_OPENING_ICMP = {1: (8, 13, 15, 17), 58: (128, 139)}
_IGNORED_FLAGS = TcpFlag.PSH | TcpFlag.URG | TcpFlag.ECE | TcpFlag.CWR


def _first_state(protocol: int | None, kind: object, flags: object) -> str:
    """What Linux' connection tracking calls a packet that belongs to no connection."""
    if protocol == 58 and kind in UNTRACKED_ICMPV6:
        return "untracked"
    if protocol in (1, 58) and kind is not None and kind not in _OPENING_ICMP[protocol]:
        return "invalid"
    if protocol == 6 and isinstance(flags, str):
        opening = flags_value(flags) & ~_IGNORED_FLAGS
        return "new" if opening in (TcpFlag.SYN, TcpFlag.ACK) else "invalid"
    return "new"


def packet_of(row: Mapping[str, Any], hook: Point = Point.FORWARD) -> tuple[Packet, Point]:
    """The packet of a row, and its hook. Raises `ValueError` with a sentence, `KeyError` for a wrong key."""
    for key in row:
        if key not in KEYS:
            hint = near_misses(str(key), KEYS)
            raise ValueError(f"unknown key {str(key)[:40]!r}{' - ' + hint if hint else ''}")
    for name in ("src", "dst", "iif", "oif", "mac", "state", "tcp_flags"):
        if row.get(name) is not None and not isinstance(row[name], str):
            raise ValueError(f"{name} is a text")
    if row.get("hook") is not None:
        name = str(row["hook"]).lower()
        if name not in HOOKS:
            raise ValueError(f"hook is forward, input or output, not {str(row['hook'])[:40]!r}")
        hook = HOOKS[name]
    protocol = None if row.get("proto") is None else protocol_number(row["proto"])
    kind = row.get("icmp_type")
    state = row.get("state")
    # An error may belong to either direction of its connection; a row does not say which.
    direction = None if str(state).lower() == "related" else Direction.ORIGINAL
    if state is None:
        state = _first_state(protocol, kind, row.get("tcp_flags"))
    if isinstance(state, str) and state.lower() == "reply":
        state, direction = "established", Direction.REPLY
    offset = row.get("frag_off") or 0
    if isinstance(offset, bool) or not isinstance(offset, int) or not 0 <= offset <= 8191:
        raise ValueError("frag_off is 0-8191")
    fragment = offset > 0
    ported = protocol is None or (protocol in PORT_PROTOCOLS and not fragment)
    packet = Packet(
        src=row.get("src"), dst=row.get("dst"), protocol=protocol,
        sport=row.get("sport") if ported else None, dport=row.get("dport") if ported else None,
        tcp_flags=row.get("tcp_flags"), icmp_type=kind, icmp_code=row.get("icmp_code"),
        iif=row.get("iif"), oif=row.get("oif"), state=state, direction=direction, length=row.get("len"),
        ttl=row.get("ttl"), tos=row.get("tos") if row.get("tos") is not None else 0, mac=row.get("mac"),
        mark=row.get("mark") or 0, ctmark=row.get("ctmark") or 0, fragment=fragment,
    )  # fmt: skip
    return packet, hook


def _rule_row(chain: str, rule: Rule | None, source: Source) -> dict[str, Any]:
    table, _, name = chain.partition("/")
    return {
        "table": table,
        "chain": name,
        "rule": "policy" if rule is None else rule.number,
        "file": source.file,
        "line": source.line or None,
        "text": source.text.strip(),
    }


def _step_row(step: Step) -> dict[str, Any]:
    if step.rule is None:
        return _rule_row(step.chain.name, None, step.chain.source)
    return _rule_row(step.rule.chain, step.rule, step.rule.source)


@attrs.frozen(slots=True, eq=False)
class Decision(Displayed):
    """The answer about one packet: the verdict of the whole journey and the rule that decided it.

    `rule` is None where a policy decided, or nothing did. `trail` are the jumps to the rule. `after` is
    the packet as it leaves (open where NAT leaves a field open), None if it does not. For unknown,
    `possible` are the verdicts and `because` the conditions that decide.
    """

    packet: Packet
    ruling: Ruling

    @property
    def verdict(self) -> Verdict:
        """accept, drop, reject or unknown."""
        return self.ruling.verdict

    @property
    def rule(self) -> Rule | None:
        """The rule that decided."""
        return self.ruling.step.rule if self.ruling.step is not None else None

    @property
    def trail(self) -> tuple[Rule, ...]:
        """The jumps that led to it."""
        return self.ruling.step.trail if self.ruling.step is not None else ()

    @property
    def possible(self) -> tuple[Verdict, ...]:
        """The verdicts that are possible: one, unless the verdict is unknown."""
        return VERDICTS_OF[self.ruling.outcomes]

    @property
    def because(self) -> tuple[Reason, ...]:
        """Why the verdict is unknown."""
        return self.ruling.because

    @property
    def after(self) -> Packet | None:
        """The packet as it leaves."""
        return None if self.ruling.after is None else Packet.from_values(self.ruling.after)

    def row(self, identity: Any = None) -> dict[str, Any]:
        """The answer as `netsim test --json` prints it."""
        step = self.ruling.step
        result: dict[str, Any] = {
            "id": identity,
            "verdict": self.verdict.value,
            "decided_by": _step_row(step) if step is not None else None,
            "trail": [_rule_row(r.chain, r, r.source) for r in self.trail],
            "after": _after(self.ruling) if self.verdict is Verdict.ACCEPT else None,
        }
        if self.verdict is Verdict.UNKNOWN:
            result["possible"] = [v.value for v in self.possible]
            result["because"] = [
                {
                    "file": r.rule.source.file if r.rule else None,
                    "line": r.rule.source.line if r.rule else None,
                    "text": r.rule.text if r.rule else None,
                    "condition": r.condition,
                }
                for r in self.because
            ]
        return result

    def rows(self) -> list[dict[str, Any]]:
        """One row."""
        return [self.row()]

    def frame(self) -> Any:
        """The rows as a pandas data frame; needs the extra `frames`."""
        from netsim.display.frame import frame

        return frame(self.rows(), ("id", "verdict", "decided_by", "trail", "after", "possible", "because"))

    def document(self) -> Document:
        """The verdict, the deciding line, the jumps; for unknown what it depends on."""
        tones = {Verdict.ACCEPT: Tone.GOOD, Verdict.UNKNOWN: Tone.WARN}
        head: list[str | Span] = [
            Span(self.verdict.value, tones.get(self.verdict, Tone.BAD)),
            f"  {self.packet}",
        ]
        blocks: list[Any] = [Heading(head)]
        step = self.ruling.step
        if step is not None and step.rule is not None:
            blocks.append(Excerpt.of(step.rule.source))
            blocks.append(Items([(1, f"reached by {t.source.line_place}: {t.text}") for t in self.trail]))
        elif step is not None:
            policy = step.chain.policy.kind.value if step.chain.policy else "accept"
            blocks.append(
                Paragraph(f"  policy of {step.chain.name}: {policy} ({step.chain.source.line_place})")
            )
        for reason in self.because:
            blocks.append(
                Paragraph(f"  because of: {reason.condition}" + (f" ({reason.hint})" if reason.hint else ""))
            )
            if reason.rule is not None:
                blocks.append(Excerpt.of(reason.rule.source))
        if self.possible and self.verdict is Verdict.UNKNOWN:
            blocks.append(Pairs([("possible", ", ".join(v.value for v in self.possible))]))
        return Document(blocks)


def _after(ruling: Ruling) -> dict[str, Any]:
    values = ruling.after or {}
    family = values.get("family")
    ends: dict[str, Any] = {"src": None, "dst": None}
    if family is not None:
        for side in ends:
            value = values.get(f"{side}{'4' if family == 0 else '6'}")
            ends[side] = None if value is None else show_address(Family(family), value)
    ported = values.get("protocol") in PORT_PROTOCOLS
    return {
        **ends,
        "sport": values.get("sport") if ported else None,
        "dport": values.get("dport") if ported else None,
        "mark": values.get("mark"),
        "tos": values.get("tos"),
    }


class Rules(Displayed):
    """A rule set that can be asked: `decide`, `permitted`, `deciding`. What `netsim.parse` returns."""

    def __init__(
        self,
        ruleset: RuleSet,
        *,
        addresses: Interfaces | None = None,
        sets: Mapping[str, NamedSet] | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        if addresses is not None or sets is not None:
            ruleset = bind(ruleset, addresses=addresses, sets=sets)
        self.ruleset = ruleset
        self.sets: tuple[str, ...] | None = None if sets is None else tuple(sets)
        self.listed = frozenset(name for each in (sets or {}).values() for name in each.listed)
        self.index = Index(ruleset, addresses=own_addresses(addresses), limits=limits)
        self._addresses = addresses
        self._named_sets = sets

    def bind(
        self, *, addresses: Interfaces | None = None, sets: Mapping[str, NamedSet] | None = None
    ) -> Rules:
        """These rules with deferred conditions decided: the device's own addresses, its sets."""
        return Rules(
            self.ruleset, addresses=addresses or self._addresses, sets=sets, limits=self.index.limits
        )

    def edit(self) -> RulesEdit:
        """A change of these rules: chain its methods; `.rules` is the result."""
        return RulesEdit(self, RuleSetEdit(self.ruleset, bind=self._bound))

    def _bound(self, ruleset: RuleSet, scratch: RuleSet) -> RuleSet:
        del ruleset
        if self._addresses is None and self._named_sets is None:
            return scratch
        return bind(scratch, addresses=self._addresses, sets=self._named_sets)

    def changed(self, ruleset: RuleSet) -> Rules:
        """Another rule set in the context of these: the same addresses and sets."""
        context = {"addresses": self._addresses, "sets": self._named_sets}
        return Rules(ruleset, limits=self.index.limits, **context)  # type: ignore[arg-type]

    def decide(self, packet: Packet, *, hook: str | Point = "forward") -> Decision:
        """The decision on one packet, which routing would send to `hook` as it arrives."""
        point = hook_of(hook)
        return Decision(packet, self.index.decide(packet, hook=point))

    def decide_rows(
        self, rows: Iterable[Mapping[str, Any]], *, hook: str = "forward"
    ) -> Iterator[dict[str, Any]]:
        """`netsim test`'s rows for packets as rows. Raises `ValueError` for a row that is no packet."""
        for row in rows:
            packet, point = packet_of(row, hook_of(hook))
            yield Decision(packet, self.index.decide(packet, hook=point)).row(row.get("id"))

    def classify(self, batch: Any, *, hook: str | Point = "forward", threads: int = 1) -> Any:
        """The verdict on each record of a batch of columns; the same as `decide` says, many at once.

        `batch` maps fields to arrays of one length: `src`, `dst`, `protocol`, `sport`, `dport` and all others
        of `Packet` (docs/classify.md says how each is written). The result has three columns: `verdict`, `row`
        (the first rule that surely decides) and `undecided` (the first before it that may decide otherwise).
        Raises `QuestionError` for what is no such batch. No records: empty columns.
        """
        point = hook_of(hook)
        return self.index.classify(batch, hook=point, threads=threads)

    def save(self, path: str | Path, *, hooks: Iterable[str] | None = None) -> None:
        """Writes the compiled index of these rules to a file, which `netsim.load_index` maps in milliseconds.

        It answers batches at `hooks` (None: all where a base chain hangs) and keeps the rules and their places.
        The file is replaced in one step. Raises `OSError` where it cannot be written.
        """
        from netsim.index.artifact import save

        save(self.index, path, hooks=None if hooks is None else [hook_of(hook) for hook in hooks])

    @property
    def permitted(self) -> Any:
        """The packets that are surely accepted on the forward hook, a `PacketSet`."""
        return self.index.permitted()

    def permitted_at(self, hook: str = "forward", *, possibly: bool = False) -> Any:
        """The packets that are surely (or with `possibly` perhaps) accepted at a hook."""
        return self.index.permitted(hook=hook_of(hook), possibly=possibly)

    def deciding(self, packets: Any, *, hook: str = "forward") -> Any:
        """The rules and policies that decide a set of packets, each with its part."""
        return self.index.deciding(packets, hook=hook_of(hook))

    def rows(self) -> list[dict[str, Any]]:
        """The rules as plain rows."""
        return [
            {
                "id": r.id, "chain": r.chain, "number": r.number, "file": r.source.file, "line": r.source.line,
                "text": r.text, "modelled": r.modelled,
                "packets": r.counters.packets if r.counters else None,
                "bytes": r.counters.bytes if r.counters else None,
                "undecided": [c.text for c in r.undecided()],
            }
            for r in self.ruleset.rules()
        ]  # fmt: skip

    def frame(self) -> Any:
        """The rows as a pandas data frame; needs the extra `frames`."""
        from netsim.display.frame import frame

        return frame(
            self.rows(),
            ("id", "chain", "number", "file", "line", "text", "modelled", "packets", "bytes", "undecided"),
        )

    def document(self) -> Document:
        """Chains with their rules counted, and what is not modelled."""
        from netsim.rules.show import ruleset_document

        return ruleset_document(self.ruleset)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


@attrs.frozen(slots=True)
class RulesEdit:
    """A change of rules in the making. `rules` are the rules after it, `steps` says what was done.

    A rule is named by its id (`filter/FORWARD/3`), by `file:line` or by its own text. Every method raises
    `QuestionError` for what does not exist, `InputError` for a text that does not parse; the rules stay untouched.
    """

    before: Rules
    made: RuleSetEdit

    @property
    def rules(self) -> Rules:
        """The rules after the change."""
        return self.before.changed(self.made.ruleset)

    @property
    def steps(self) -> tuple[str, ...]:
        """What was done, a sentence a step."""
        return self.made.steps

    def insert(
        self, chain: str, rule: str | Rule, *, before: int | str | Rule | None = None,
        after: int | str | Rule | None = None,
    ) -> RulesEdit:  # fmt: skip
        """A rule, in the dialect's own text, into `table/chain`; at the end if nothing else is said."""
        return attrs.evolve(self, made=self.made.insert(chain, rule, before=before, after=after))

    def delete(self, rule: str | Rule) -> RulesEdit:
        """Without a rule."""
        return attrs.evolve(self, made=self.made.delete(rule))

    def replace(self, rule: str | Rule, by: str | Rule) -> RulesEdit:
        """Another rule in the place of one."""
        return attrs.evolve(self, made=self.made.replace(rule, by))

    def move(
        self, rule: str | Rule, *, before: int | str | Rule | None = None,
        after: int | str | Rule | None = None, chain: str | None = None,
    ) -> RulesEdit:  # fmt: skip
        """A rule before or after another one of its chain, or of `chain` of the same table."""
        return attrs.evolve(self, made=self.made.move(rule, before=before, after=after, chain=chain))

    def policy(self, chain: str, policy: str) -> RulesEdit:
        """Another policy of a base chain: ACCEPT or DROP."""
        return attrs.evolve(self, made=self.made.policy(chain, policy))


def read_packets(
    text: str, file: str, limits: Limits = DEFAULT_LIMITS
) -> Iterator[tuple[Source, dict[str, Any]]]:
    """The rows of a JSON Lines text with their places. Raises `InputError` at the first that is no object."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        source = Source(file, number, 1, 0, line[:2000])
        if len(line) > limits.line_size:
            raise InputError([Diagnostic(source, "NS902", "the line is too long (Limits.line_size)")])
        if line.count("{") + line.count("[") > limits.json_depth:
            raise InputError([Diagnostic(source, "NS906", "JSON too deep (Limits.json_depth)")])
        try:
            row = json.loads(line, parse_constant=_no_constant)
        except ValueError as error:
            column = getattr(error, "colno", 1)
            place = attrs.evolve(source, column=column, end=column + 1)
            raise InputError(
                [Diagnostic(place, "NS401", f"this is no JSON: {getattr(error, 'msg', error)}")]
            ) from None
        if not isinstance(row, dict):
            raise InputError([Diagnostic(source, "NS401", "one JSON object a line is expected")])
        yield source, row


__all__ = ["KEYS", "Decision", "Rules", "RulesEdit", "packet_of", "read_packets"]

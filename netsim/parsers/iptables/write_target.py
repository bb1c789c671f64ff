"""What a rule does, in iptables' words: from its own text where that says it, else from the model."""

from __future__ import annotations

from collections.abc import Hashable

from netsim.errors import Inexpressible
from netsim.parsers.iptables.edit import reread
from netsim.parsers.iptables.targets import FULL, REJECTS, TARGETS
from netsim.parsers.text import words as spoken_words
from netsim.rules.model import (
    Action,
    ActionKind,
    Adjust,
    Effect,
    In,
    Nat,
    NatKind,
    Netmap,
    Rule,
    RuleSet,
    SetBits,
    SetField,
    Untrack,
)
from netsim.space.addresses import show_address
from netsim.space.fields import Family, Range


def spoken_target(rule: Rule, ruleset: RuleSet) -> list[str] | None:
    """The target's words in the rule's own text; None if it has none, or they say something else."""
    read = reread(rule, ruleset)
    if read is None:
        return None
    first = read.rules[0]
    if first.action == rule.action and list(map(_kind, first.effects)) == list(map(_kind, rule.effects)):
        return list(read.target)
    return None


def _kind(effect: Effect) -> Hashable:
    """An effect, whether its addresses are bound or not."""
    return (effect.kind, effect.family, effect.text) if isinstance(effect, Nat) else effect


def target_words(rule: Rule, ruleset: RuleSet) -> list[str]:
    """The target's words of a rule's action and effects. Raises `Inexpressible`."""
    table = rule.chain.partition("/")[0]
    family = ruleset.family or Family.IPV4
    if len(rule.effects) > 1:
        raise Inexpressible("a rule of iptables has one target, not several effects")
    if rule.effects:
        words = _effect(rule.effects[0], rule.action, family, table)
        target = TARGETS[words[1]]
        if target.tables and table not in target.tables:
            raise Inexpressible(f"{words[1]} is for the table {' or '.join(target.tables)}, not {table}")
        return words
    return _action(rule, ruleset, family, table)


def _action(rule: Rule, ruleset: RuleSet, family: Family, table: str) -> list[str]:
    action = rule.action
    match action.kind:
        case ActionKind.ACCEPT | ActionKind.DROP | ActionKind.RETURN:
            return ["-j", action.kind.value.upper()]
        case ActionKind.CONTINUE:
            return []
        case ActionKind.REJECT:
            return _reject(rule, family, table)
        case ActionKind.JUMP | ActionKind.GOTO:
            found = ruleset.chains.get(action.chain)
            if found is None or found.hook is not None or found.table != table:
                raise Inexpressible(f"no chain {action.chain[:60]!r} of table {table} to go to")
            return ["-j" if action.kind is ActionKind.JUMP else "-g", found.short]
        case ActionKind.UNMODELLED:
            words = spoken_words(action.text)
            if not words or words[0] not in TARGETS or (words[1:] and not words[1].startswith("-")):
                raise Inexpressible(f"the target {action.text[:60]!r} has no words of its own")
            return ["-j", *words]


def _reject(rule: Rule, family: Family, table: str) -> list[str]:
    kind = rule.action.text
    if table not in TARGETS["REJECT"].tables:
        raise Inexpressible(f"REJECT is for the table filter, not {table}")
    if not kind:
        return ["-j", "REJECT"]
    if kind not in REJECTS[family]:
        raise Inexpressible(f"{kind[:40]!r} is no way to reject in {family.name}")
    if kind in ("tcp-reset", "tcp-rst") and In("protocol", ((6, 6),)) not in rule.conditions:
        raise Inexpressible("tcp-reset needs -p tcp")
    return ["-j", "REJECT", "--reject-with", kind]


def _effect(effect: Effect, action: Action, family: Family, table: str) -> list[str]:
    wanted = ActionKind.ACCEPT if isinstance(effect, Nat | Netmap) else ActionKind.CONTINUE
    if action.kind is not wanted:
        raise Inexpressible(f"no target changes a packet like this and then does {action.kind.value}")
    match effect:
        case SetBits(field, keep, value, source, mask, needs_entry):
            if needs_entry != (field == "ctmark" or bool(source)):
                raise Inexpressible(f"no target sets {field} like this")
            return _mark(field, keep, value, source, mask)
        case SetField("tos", keep, value):
            return ["-j", "TOS", "--set-tos", f"0x{value:02x}/0x{0xFF & ~keep:02x}"]
        case SetField("ttl", 0, value):
            name, option = ("TTL", "--ttl-set") if family is Family.IPV4 else ("HL", "--hl-set")
            return ["-j", name, option, str(value)]
        case Adjust("ttl", delta) if delta:
            name, option = ("TTL", "--ttl") if family is Family.IPV4 else ("HL", "--hl")
            return ["-j", name, f"{option}-{'inc' if delta > 0 else 'dec'}", str(abs(delta))]
        case Untrack():
            return ["-j", "CT", "--notrack"]
        case Netmap(_, kind, network, length):
            del kind
            return ["-j", "NETMAP", "--to", f"{show_address(family, network)}/{length}"]
        case Nat():
            return _nat(effect, family)
    what = effect.field if isinstance(effect, SetField | Adjust) else type(effect).__name__.lower()
    raise Inexpressible(f"no target changes {what} like this")


def _mark(field: str, keep: int, value: int, source: str, mask: int) -> list[str]:
    if not source:
        name = "MARK" if field == "mark" else "CONNMARK"
        return ["-j", name, "--set-xmark", f"0x{value:x}/0x{FULL & ~keep:x}"]
    if value or source == field:
        raise Inexpressible("no target copies a mark and changes it")
    save = field == "ctmark"
    nf, ct = (mask, FULL & ~keep) if save else (FULL & ~keep, mask)
    option = "--save-mark" if save else "--restore-mark"
    return ["-j", "CONNMARK", option, "--nfmask", f"0x{nf:x}", "--ctmask", f"0x{ct:x}"]


def _nat(nat: Nat, family: Family) -> list[str]:
    if nat.family is not family or len(nat.pools) != 1 or nat.pools[0].interface or nat.pools[0].missing:
        raise Inexpressible("no target translates by interface like this")
    pool = nat.pools[0]
    random = ["--random"] if pool.random else []
    if nat.deferred:
        if nat.deferred not in ("MASQUERADE", "REDIRECT"):
            raise Inexpressible(f"no target is called {nat.deferred[:40]!r}")
        ports = ["--to-ports", _dashed(pool.ports)] if pool.ports else []
        return ["-j", nat.deferred, *ports, *random]
    name, option = ("SNAT", "--to-source") if nat.kind is NatKind.SOURCE else ("DNAT", "--to-destination")
    text = ""
    if pool.addresses:
        low, high = (show_address(family, a) for a in pool.addresses)
        text = low if low == high else f"{low}-{high}"
        if family is Family.IPV6 and pool.ports:
            text = f"[{text}]"
    if pool.ports:
        text += f":{_dashed(pool.ports)}"
    if not text:
        raise Inexpressible("a translation to nothing")
    return ["-j", name, option, text, *random]


def _dashed(ports: Range) -> str:
    return str(ports[0]) if ports[0] == ports[1] else f"{ports[0]}-{ports[1]}"


__all__ = ["spoken_target", "target_words"]

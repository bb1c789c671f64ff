"""The options of a rule that belong to no match: addresses, protocol, interfaces, fragments, matches."""

from __future__ import annotations

from collections.abc import Callable

from netsim.errors import near_misses
from netsim.parsers.iptables.matches import (
    ACTING,
    HAS_ENTRY,
    IMPURE,
    MATCHES,
    MODULE_PROTOCOLS,
    PROTOCOL_MODULES,
    PURE,
    Handler,
)
from netsim.parsers.iptables.statement import Group, Statement, unmodelled, within
from netsim.parsers.iptables.values import number, prefix
from netsim.parsers.text import Wrong, quoted
from netsim.rules.model import AnyOf, Bits, Condition, Counters, Deferred, In
from netsim.space.fields import ADDRESS_FIELDS, PORT_PROTOCOLS, Family, Range, State
from netsim.space.packet import PROTOCOL_NUMBERS
from netsim.space.packets import interface_range

KNOWN_MATCHES = [*MATCHES, *PURE, *IMPURE]


def protocol(text: str, family: Family) -> int:
    """A protocol's name or number. `all` is 0. `icmp` in IPv6 is not IPv6's ICMP."""
    name = text.lower()
    if name in ("all", "any"):
        return 0
    if name in PROTOCOL_NUMBERS:
        return PROTOCOL_NUMBERS[name]
    if text[:1].isdigit():
        return number(text, 0, 255, "a protocol")
    hint = near_misses(name, PROTOCOL_NUMBERS)
    del family
    raise ValueError(f"unknown protocol {text[:40]!r}{' ' + hint if hint else ''}")


def _addresses(s: Statement, side: str, negated: bool) -> None:
    word = s.next("an address")
    parts = word.split(",")
    if negated and len(parts) > 1:
        raise Wrong(s.position - 1, "'!' is not allowed with several addresses", code="NS101")
    found: list[tuple[Range, ...]] = []
    for part in parts:
        try:
            ranges = prefix(part, s.family)
        except ValueError as error:
            raise Wrong(s.position - 1, str(error)) from None
        if ranges is None:
            text = f"ip -{side[0]} {quoted(part)}"
            s.unmodelled_sides.append(unmodelled(text, pure=True, negated=negated))
            if len(parts) > 1:
                raise Wrong(s.position - 1, "a mask with so many holes, in a list, is not read")
            return
        found.append(within(ADDRESS_FIELDS[side, s.family], ranges, negated).ranges)
    if (s.sources if side == "src" else s.destinations) is not None:
        raise Wrong(s.option, f"{s.words[s.option]} is given twice", code="NS101")
    if side == "src":
        s.sources = tuple(found)
    else:
        s.destinations = tuple(found)


def _source(s: Statement, negated: bool) -> None:
    _addresses(s, "src", negated)


def _destination(s: Statement, negated: bool) -> None:
    _addresses(s, "dst", negated)


def _protocol(s: Statement, negated: bool) -> None:
    if s.protocol is not None:
        raise Wrong(s.option, "the protocol is given twice", code="NS101")
    s.protocol = s.read(protocol, s.family)
    s.protocol_negated = negated
    if s.protocol == 0:
        if negated:
            raise Wrong(s.option, "'! -p all' matches nothing", code="NS101")
        return
    s.test("protocol", ((s.protocol, s.protocol),), negated)


ONLY = {"-i": ("OUTPUT", "POSTROUTING"), "-o": ("PREROUTING", "INPUT")}
"""The base chains in which an interface option has no meaning."""


def _interface(field: str) -> Handler:
    def read(s: Statement, negated: bool) -> None:
        name = s.next("an interface")
        letter = "-i" if field == "iif" else "-o"
        if s.chain in ONLY[letter]:
            raise Wrong(s.option, f"{letter} has no meaning in {s.chain}", code="NS105")
        if len(name.encode("utf-8", "surrogateescape")) > 15:
            raise Wrong(s.position - 1, "an interface name has at most 15 bytes, a + included")
        if name == "+":
            if negated:
                s.add(In(field, ()))
            return
        s.test(field, (interface_range(name),), negated)

    return read


def _fragment(s: Statement, negated: bool) -> None:
    if s.family is Family.IPV6:
        raise Wrong(s.option, "-f is for IPv4; use -m frag", code="NS102")
    s.add(Bits("fragment", 1, 0 if negated else 1))


def _match(s: Statement, negated: bool) -> None:
    if negated:
        raise Wrong(s.option, "-m is not negated", code="NS101")
    name = s.next("a match")
    word = s.position - 1
    if name in MATCHES:
        s.modules.append(name)
        return
    if name not in PURE and name not in IMPURE:
        hint = near_misses(name, KNOWN_MATCHES)
        if hint or not name.replace("_", "").replace("-", "").isalnum():
            raise Wrong(word, f"unknown match {name[:40]!r}", code="NS104", hint=hint)
        s.notes.append((word, f"match {name[:40]!r} is not known: what depends on it is unknown"))
    s.groups.append(Group(name, word))


def _counters(s: Statement, negated: bool) -> None:
    del negated
    top = (1 << 64) - 1
    s.counters = Counters(s.read(number, 0, top, "a packet count"), s.read(number, 0, top, "a byte count"))


GENERAL: dict[str, Handler] = {
    "-s": _source, "--source": _source, "--src": _source,
    "-d": _destination, "--destination": _destination, "--dst": _destination,
    "-p": _protocol, "--protocol": _protocol, "--proto": _protocol,
    "-i": _interface("iif"), "--in-interface": _interface("iif"),
    "-o": _interface("oif"), "--out-interface": _interface("oif"),
    "-f": _fragment, "--fragment": _fragment,
    "-m": _match, "--match": _match,
    "-c": _counters, "--set-counters": _counters,
}  # fmt: skip


def handler(s: Statement, option: str) -> Handler | None:
    """How an option is read: by the rule itself, a loaded match, or the protocol's own match."""
    found = GENERAL.get(option)
    if found is not None:
        if option in ("-i", "--in-interface", "-o", "--out-interface", "-f", "--fragment"):
            _once(s, -2, option)
        return found
    for at in range(len(s.modules) - 1, -1, -1):
        module = s.modules[at]
        if option in MATCHES[module]:
            _needs_protocol(s, module)
            _once(s, at, option)
            return MATCHES[module][option]
    own = PROTOCOL_MODULES.get(s.protocol or 0)
    if own is not None and option in MATCHES[own]:
        _needs_protocol(s, own)
        _once(s, -1, option)
        return MATCHES[own][option]
    return None


_SHORT = {"--in-interface": "-i", "--out-interface": "-o", "--fragment": "-f",
          "--source-port": "--sport", "--destination-port": "--dport", "--source-ports": "--sports",
          "--destination-ports": "--dports", "--icmp6-type": "--icmpv6-type", "--set": "--match-set"}  # fmt: skip


def _once(s: Statement, module: int, option: str) -> None:
    """A match takes each of its options once."""
    key = (module, _SHORT.get(option, option))
    if key in s.used:
        raise Wrong(s.option, f"{option} is given twice", code="NS101")
    s.used.add(key)


def _needs_protocol(s: Statement, module: str) -> None:
    """A protocol's match needs `-p`; negated, only the nft back end loads it."""
    needed = MODULE_PROTOCOLS.get(module)
    if needed is None:
        return
    if s.protocol != needed:
        raise Wrong(s.option, f"{s.words[s.option]} needs -p {module}", code="NS105")
    if s.protocol_negated and not (s.backend == "nft" and needed in PORT_PROTOCOLS):
        raise Wrong(s.option, f"{s.words[s.option]} needs -p {module}, not '! -p'", code="NS105")


def unmodelled_option(s: Statement, option: str, negated: bool) -> bool:
    """An option of the last match that is not modelled, with its values; False if there is no such match."""
    if not s.groups:
        return False
    values = [option]
    while s.more() and s.is_value(first=len(values) == 1):
        values.append(s.words[s.position])
        s.position += 1
    s.groups[-1].options.append((negated, " ".join(map(quoted, values))))
    return True


_BARE = ("tcp", "udp", "sctp", "dccp")
"""The matches that may stand without an option."""


def finish_matches(s: Statement) -> None:
    """What is known only once every option of a rule has been read."""
    for at, module in enumerate(s.modules):
        if module not in _BARE and not any(used == at for used, _ in s.used):
            raise Wrong(-1, f"-m {module} needs one of {', '.join(MATCHES[module])}", code="NS101")
        if module in MODULE_PROTOCOLS:
            needed = MODULE_PROTOCOLS[module]
            if s.protocol != needed or (s.protocol_negated and s.backend != "nft"):
                raise Wrong(-1, f"-m {module} needs -p {module}", code="NS105")
            if s.backend != "nft" and needed in PORT_PROTOCOLS:
                # The match itself looks at the transport header: not at a later fragment's.
                s.add(Bits("fragment", 1, 0))
    for group in s.groups:
        _finish_group(s, group)
    if s.set_options:
        s.conditions[:] = map(_counted(s.set_options), s.conditions)
    if s.limits:
        s.conditions[:] = map(_limited(s.limits), s.conditions)
    if s.tracking:
        _finish_tracking(s)
    s.conditions += s.unmodelled_sides


def _limited(limits: list[str]) -> Callable[[Condition], Condition]:
    """An address type that only counts at the packet's own interface, which is not modelled."""

    def change(condition: Condition) -> Condition:
        if isinstance(condition, Deferred) and condition.kind == "addrtype":
            return unmodelled(" ".join([condition.text, *limits]), pure=True, negated=condition.negated)
        return condition

    return change


def _counted(options: list[str]) -> Callable[[Condition], Condition]:
    """A set whose elements count only with the right counters, or turned round: answered afresh."""

    def change(condition: Condition) -> Condition:
        if isinstance(condition, Deferred) and condition.kind == "set":
            text = " ".join([condition.text, *options])
            return unmodelled(text, pure=False, negated=condition.negated)
        return condition

    return change


def _finish_group(s: Statement, group: Group) -> None:
    if group.module == "set" or group.module in IMPURE:
        text = " ".join([group.module, *sorted(("! " if n else "") + o for n, o in group.options)])
        s.add(unmodelled(text, pure=False))
        return
    acts = ACTING.get(group.module)
    pure = group.module in PURE and not any(option.split(" ")[0] == acts for _, option in group.options)
    if pure and PURE[group.module] and group.options:
        for negated, option in group.options:
            s.add(unmodelled(f"{group.module} {option}", pure=True, negated=negated))
        return
    negations = sum(n for n, _ in group.options)
    if pure and negations == 1 and len(group.options) == 1:
        s.add(unmodelled(f"{group.module} {group.options[0][1]}", pure=True, negated=True))
        return
    if group.module == "string" and negations == 1:
        options = sorted(o for _, o in group.options)
        s.add(unmodelled(" ".join([group.module, *options]), pure=True, negated=True))
        return
    parts = sorted(("! " if n else "") + o for n, o in group.options)
    s.add(unmodelled(" ".join([group.module, *parts]), pure=pure))


def _finish_tracking(s: Statement) -> None:
    """Conntrack's tests together: without an entry only the state is looked at (xt_conntrack.c)."""
    states = [c for kind, c in s.tracking if kind == "state"]
    others = [c for kind, c in s.tracking if kind != "state"]
    if not others:
        s.conditions += states
        return
    with_entry: tuple[Condition, ...] = (HAS_ENTRY, *states, *others)
    if not states:
        s.conditions += with_entry
        return
    no_entry = In("state", ((State.INVALID, State.UNTRACKED),))
    s.add(AnyOf((with_entry, (no_entry, *states)), False, "conntrack"))

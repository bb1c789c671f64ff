"""The targets of iptables, as a table: name -> its options and what they make of the rule.

Sources: iptables-extensions(8) of 1.8.9. A target that netsim does not model stays in the rule and may
accept, drop or continue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import attrs

from netsim.parsers.iptables.matches import tos as tos_value
from netsim.parsers.iptables.statement import Statement
from netsim.parsers.iptables.values import DSCP_CLASSES, address_range, masked, number, prefix
from netsim.parsers.text import Wrong, quoted
from netsim.rules.model import (
    ACCEPT,
    CONTINUE,
    DROP,
    RETURN,
    Action,
    ActionKind,
    Adjust,
    ChangeSet,
    Effect,
    Nat,
    NatKind,
    Netmap,
    Pool,
    SetBits,
    SetField,
    Track,
    Untrack,
)
from netsim.space.fields import Family, Range

T = TypeVar("T")

Given = Mapping[str, tuple[int, list[str]]]
"""The target's options: name -> (index of the option's word, its values)."""

FULL = 0xFFFFFFFF


@attrs.frozen(slots=True)
class Target:
    """`options` maps an option to how many values it takes; `tables`, `family` and base `chains` restrict the target."""

    finish: Callable[[Statement, Given], None]
    options: Mapping[str, int] = {}
    tables: tuple[str, ...] = ()
    family: Family | None = None
    chains: tuple[str, ...] = ()
    open: bool = False  # any other option is taken as well


def _value(given: Given, option: str, parse: Callable[[str], T]) -> T:
    word, values = given[option]
    try:
        return parse(values[0])
    except ValueError as error:
        raise Wrong(word + 1, str(error)) from None


def _one_of(s: Statement, given: Given, options: tuple[str, ...]) -> str:
    found = [o for o in options if o in given]
    if len(found) != 1:
        wanted = " or ".join(options)
        raise Wrong(-1, f"{s.target} takes exactly one of {wanted}", code="NS101")
    return found[0]


def _action(action: Action) -> Callable[[Statement, Given], None]:
    def finish(s: Statement, given: Given) -> None:
        del given
        s.action = action

    return finish


REJECTS = {
    Family.IPV4: ("icmp-net-unreachable", "icmp-host-unreachable", "icmp-port-unreachable",
                  "icmp-proto-unreachable", "icmp-net-prohibited", "icmp-host-prohibited",
                  "icmp-admin-prohibited", "tcp-reset", "net-unreach", "host-unreach", "port-unreach",
                  "proto-unreach", "net-prohib", "host-prohib", "admin-prohib", "tcp-rst"),
    Family.IPV6: ("icmp6-no-route", "icmp6-adm-prohibited", "icmp6-addr-unreachable",
                  "icmp6-port-unreachable", "icmp6-policy-fail", "icmp6-reject-route", "tcp-reset",
                  "no-route", "adm-prohibited", "addr-unreach", "port-unreach", "policy-fail",
                  "reject-route"),
}  # fmt: skip


def _reject(s: Statement, given: Given) -> None:
    default = "icmp-port-unreachable" if s.family is Family.IPV4 else "icmp6-port-unreachable"
    kind = default
    if "--reject-with" in given:
        word, values = given["--reject-with"]
        kind = values[0]
        if kind not in REJECTS[s.family]:
            raise Wrong(word + 1, f"unknown reject type {kind[:40]!r}")
        if kind in ("tcp-reset", "tcp-rst") and (s.protocol != 6 or s.protocol_negated):
            raise Wrong(word + 1, "tcp-reset needs -p tcp", code="NS105")
    s.action = Action(ActionKind.REJECT, text=kind)


def _mark_effect(s: Statement, given: Given, field: str) -> Effect:
    option = _one_of(s, given, ("--set-mark", "--set-xmark", "--and-mark", "--or-mark", "--xor-mark"))
    value, mask = _value(given, option, lambda text: masked(text, 32))
    entry = field == "ctmark"
    if option == "--set-xmark":
        return SetBits(field, FULL & ~mask, value, needs_entry=entry)
    if option == "--set-mark":  # --set-xmark value/(value|mask)
        return SetBits(field, FULL & ~(value | mask), value, needs_entry=entry)
    if option == "--and-mark":
        return SetBits(field, value, 0, needs_entry=entry)
    if option == "--or-mark":
        return SetBits(field, FULL & ~value, value, needs_entry=entry)
    return SetBits(field, FULL, value, needs_entry=entry)


def _mark(s: Statement, given: Given) -> None:
    s.effects.append(_mark_effect(s, given, "mark"))


def _connmark(s: Statement, given: Given) -> None:
    if "--left-shift-mark" in given or "--right-shift-mark" in given:
        s.action = Action(ActionKind.UNMODELLED, text="CONNMARK with a shifted mark")
        return
    if "--save-mark" not in given and "--restore-mark" not in given:
        s.effects.append(_mark_effect(s, given, "ctmark"))
        return
    _one_of(s, given, ("--save-mark", "--restore-mark"))
    masks = {"--nfmask": FULL, "--ctmask": FULL}
    for option in ("--nfmask", "--ctmask"):
        if option in given:
            masks[option] = _value(given, option, lambda t: number(t, 0, FULL, "a mask"))
    if "--mask" in given:
        both = _value(given, "--mask", lambda t: number(t, 0, FULL, "a mask"))
        masks = {"--nfmask": both, "--ctmask": both}
    nf, ct = masks["--nfmask"], masks["--ctmask"]
    if "--save-mark" in given:
        s.effects.append(SetBits("ctmark", FULL & ~ct, 0, "mark", nf, needs_entry=True))
    else:
        s.effects.append(SetBits("mark", FULL & ~nf, 0, "ctmark", ct, needs_entry=True))


def nat_target(text: str, family: Family) -> tuple[Range | None, Range | None]:
    """`[address[-address]][:port[-port]]`, IPv6 addresses in brackets where a port follows."""
    addresses, ports = text, ""
    if text.startswith("["):
        addresses, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and rest[0] not in ":-"):
            raise ValueError(f"{text[:60]!r} is no address, range or port to translate to")
        if rest.startswith("-"):
            second, _, rest = rest[1:].removeprefix("[").partition("]")
            addresses += "-" + second
        ports = rest.removeprefix(":")
    elif family is Family.IPV4:
        addresses, _, ports = text.partition(":")
    found = None
    if addresses:
        found = address_range(addresses, family)
        if found[0] > found[1]:
            raise ValueError(f"the address range {addresses[:60]} is reversed")
    return found, port_pair(ports) if ports else None


def port_pair(text: str) -> Range:
    """`port` or `low-high`."""
    low, dash, high = text.partition("-")
    if "/" in text:
        raise NotImplementedError(text)
    first = number(low, 1, 65535, "a port")
    last = number(high, 1, 65535, "a port") if dash else first
    if first > last:
        raise ValueError(f"the port range {text[:40]} is reversed")
    return first, last


def _nat(kind: NatKind, option: str) -> Callable[[Statement, Given], None]:
    def finish(s: Statement, given: Given) -> None:
        if option not in given:
            raise Wrong(-1, f"{s.target} needs {option}", code="NS101")
        try:
            addresses, ports = _value(given, option, lambda t: nat_target(t, s.family))
        except NotImplementedError:
            s.action = Action(ActionKind.UNMODELLED, text=f"{s.target} with a shifted port range")
            return
        _needs_ports(s, ports, given[option][0] + 1)
        if addresses is not None and s.family is Family.IPV6 and not _one_choice(addresses):
            s.action = Action(ActionKind.UNMODELLED, text=f"{s.target} to a range over several /64")
            return
        random = "--random" in given or "--random-fully" in given
        text = f"{s.target} {given[option][1][0]}"
        s.effects.append(Nat(kind, s.family, (Pool(addresses, ports, random=random),), text=text))
        s.action = ACCEPT

    return finish


def _one_choice(addresses: Range) -> bool:
    low, high = addresses
    half = (1 << 64) - 1
    return low >> 64 == high >> 64 or (low & half == 0 and high & half == half)


_PORTED = (1, 6, 17, 33, 132)
"""The protocols of which iptables takes a port to translate to; ICMP's packets have none."""


def _needs_ports(s: Statement, ports: Range | None, word: int) -> None:
    if ports is not None and (s.protocol not in _PORTED or s.protocol_negated):
        raise Wrong(word, f"{s.target} with a port needs -p tcp, udp, sctp or dccp", code="NS105")


def _interface_nat(kind: NatKind) -> Callable[[Statement, Given], None]:
    """MASQUERADE and REDIRECT: the address is the interface's own, which context decides."""

    def finish(s: Statement, given: Given) -> None:
        ports = None
        if "--to-ports" in given:
            try:
                ports = _value(given, "--to-ports", port_pair)
            except NotImplementedError:
                s.action = Action(ActionKind.UNMODELLED, text=f"{s.target} with a shifted port range")
                return
            _needs_ports(s, ports, given["--to-ports"][0] + 1)
        random = "--random" in given or "--random-fully" in given
        pools = (Pool(None, ports, random=random),)
        s.effects.append(Nat(kind, s.family, pools, deferred=s.target, text=s.target))
        s.action = ACCEPT

    return finish


def _netmap(s: Statement, given: Given) -> None:
    if "--to" not in given:
        raise Wrong(-1, "NETMAP needs --to", code="NS101")
    ranges = _value(given, "--to", lambda t: prefix(t, s.family))
    low, high = ranges[0] if ranges else (0, -1)
    size = high - low + 1
    if ranges is None or len(ranges) != 1 or size & (size - 1) or low % size:
        s.action = Action(ActionKind.UNMODELLED, text="NETMAP with a mask that is no prefix")
        return
    kind = NatKind.DESTINATION if s.chain in ("PREROUTING", "OUTPUT") else NatKind.SOURCE
    length = s.family.bits - (size.bit_length() - 1)
    s.effects.append(Netmap(kind, s.family, low, length, text=f"NETMAP {given['--to'][1][0]}"))
    s.action = ACCEPT


def _notrack(s: Statement, given: Given) -> None:
    del given
    s.effects.append(Untrack())


def _ct(s: Statement, given: Given) -> None:
    if "--notrack" in given:
        s.effects.append(Untrack())
        return
    s.effects.append(Track())
    if any(option.startswith("--zone") for option in given):
        s.notes.append((-1, "CT --zone: connection states are taken as the packet says them"))


def _ttl(prefix_: str) -> Callable[[Statement, Given], None]:
    def finish(s: Statement, given: Given) -> None:
        option = _one_of(s, given, (f"{prefix_}-set", f"{prefix_}-dec", f"{prefix_}-inc"))
        value = _value(given, option, lambda t: number(t, 0, 255, "a TTL"))
        assert isinstance(value, int)
        if option.endswith("set"):
            s.effects.append(SetField("ttl", 0, value))
        else:
            if value == 0:
                raise Wrong(given[option][0] + 1, f"{option} by 0 is refused")
            s.effects.append(Adjust("ttl", value if option.endswith("inc") else -value))

    return finish


def _dscp(s: Statement, given: Given) -> None:
    option = _one_of(s, given, ("--set-dscp", "--set-dscp-class"))
    if option == "--set-dscp":
        value = _value(given, option, lambda t: number(t, 0, 63, "a DSCP"))
    else:
        word, values = given[option]
        name = values[0].upper()
        if name not in DSCP_CLASSES:
            raise Wrong(word + 1, f"{name[:40]!r} is no DSCP class")
        value = DSCP_CLASSES[name]
    assert isinstance(value, int)
    s.effects.append(SetField("tos", 0x03, value << 2))


def _tos(s: Statement, given: Given) -> None:
    option = _one_of(s, given, ("--set-tos", "--and-tos", "--or-tos", "--xor-tos"))
    if option == "--set-tos":
        value, mask = _value(given, option, tos_value)
        s.effects.append(SetField("tos", 0xFF & ~mask, value))
        return
    value = _value(given, option, lambda t: number(t, 0, 255, "a TOS"))
    keep = {"--and-tos": value, "--or-tos": 0xFF & ~value, "--xor-tos": 0xFF}[option]
    s.effects.append(SetField("tos", keep, 0 if option == "--and-tos" else value))


def _continue(s: Statement, given: Given) -> None:
    del given
    s.action = CONTINUE


def _set(s: Statement, given: Given) -> None:
    for option in ("--add-set", "--del-set"):
        if option in given:
            word, values = given[option]
            if not values:
                raise Wrong(word + 1, f"{option} needs the name of a set", code="NS101")
            s.effects.append(ChangeSet(values[0]))


def _unmodelled(s: Statement, given: Given) -> None:
    words = [s.target, *(" ".join([o, *map(quoted, values)]) for o, (_, values) in given.items())]
    s.action = Action(ActionKind.UNMODELLED, text=" ".join(words))


_MARKS = {f"--{verb}-mark": 1 for verb in ("set", "and", "or", "xor")} | {"--set-xmark": 1}
_RANDOM = {"--random": 0, "--random-fully": 0, "--persistent": 0}
_CONTINUE = ("ULOG", "TRACE", "AUDIT", "TEE", "CLASSIFY", "CHECKSUM", "SECMARK",
             "CONNSECMARK", "IDLETIMER", "RATEEST", "LED", "TCPMSS", "TCPOPTSTRIP", "ACCOUNT", "IPMARK_LOG",
             "HMARK_LOG")  # fmt: skip
_UNMODELLED = ("NFQUEUE", "QUEUE", "TPROXY", "SYNPROXY", "CLUSTERIP", "TARPIT", "DELUDE", "CHAOS", "ECHO",
               "DNETMAP", "RAWNAT", "RAWSNAT", "RAWDNAT", "MIRROR", "ROUTE", "SYSRQ", "STEAL", "HMARK",
               "ECN", "SNPT", "DNPT", "IPV4OPTSSTRIP", "LOGMARK", "ROUTE", "BALANCE", "SAME", "IPMARK",
               "FLOWOFFLOAD", "PROTO", "NFLB", "NDPI", "XNAT")  # fmt: skip

TARGETS: dict[str, Target] = {
    "ACCEPT": Target(_action(ACCEPT)),
    "DROP": Target(_action(DROP)),
    "RETURN": Target(_action(RETURN)),
    "REJECT": Target(_reject, {"--reject-with": 1}, tables=("filter",)),
    "MARK": Target(_mark, _MARKS, tables=("mangle", "raw", "filter", "nat", "security")),
    "CONNMARK": Target(
        _connmark,
        {**_MARKS, "--save-mark": 0, "--restore-mark": 0, "--nfmask": 1, "--ctmask": 1, "--mask": 1,
         "--left-shift-mark": 1, "--right-shift-mark": 1},
    ),
    "DNAT": Target(_nat(NatKind.DESTINATION, "--to-destination"), {"--to-destination": 1, **_RANDOM}, ("nat",),
                   chains=("PREROUTING", "OUTPUT")),
    "SNAT": Target(_nat(NatKind.SOURCE, "--to-source"), {"--to-source": 1, **_RANDOM}, ("nat",),
                   chains=("POSTROUTING", "INPUT")),
    "MASQUERADE": Target(_interface_nat(NatKind.SOURCE), {"--to-ports": 1, **_RANDOM}, ("nat",),
                         chains=("POSTROUTING",)),
    "REDIRECT": Target(_interface_nat(NatKind.DESTINATION), {"--to-ports": 1, **_RANDOM}, ("nat",),
                       chains=("PREROUTING", "OUTPUT")),
    "NETMAP": Target(_netmap, {"--to": 1}, ("nat",)),
    "NOTRACK": Target(_notrack, {}, ("raw",)),
    "CT": Target(
        _ct,
        {"--notrack": 0, "--helper": 1, "--ctevents": 1, "--expevents": 1, "--zone": 1, "--zone-orig": 1,
         "--zone-reply": 1, "--timeout": 1},
        ("raw",),
    ),
    "TTL": Target(_ttl("--ttl"), {"--ttl-set": 1, "--ttl-dec": 1, "--ttl-inc": 1}, ("mangle",), Family.IPV4),
    "HL": Target(_ttl("--hl"), {"--hl-set": 1, "--hl-dec": 1, "--hl-inc": 1}, ("mangle",), Family.IPV6),
    "DSCP": Target(_dscp, {"--set-dscp": 1, "--set-dscp-class": 1}, ("mangle",)),
    "TOS": Target(_tos, {"--set-tos": 1, "--and-tos": 1, "--or-tos": 1, "--xor-tos": 1}, ("mangle",)),
    "LOG": Target(_continue, {"--log-level": 1, "--log-prefix": 1}, open=True),
    "NFLOG": Target(_continue, {"--nflog-prefix": 1}, open=True),
    "SET": Target(_set, open=True),
    **{name: Target(_continue, open=True) for name in _CONTINUE},
    **{name: Target(_unmodelled, open=True) for name in _UNMODELLED},
}  # fmt: skip


_NAT_CHAINS = ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING")

FOREIGN = frozenset({
    "ACCOUNT", "BALANCE", "CHAOS", "DELUDE", "DNETMAP", "ECHO", "FLOWOFFLOAD", "HMARK_LOG", "IPMARK", "IPMARK_LOG",
    "IPV4OPTSSTRIP", "LOGMARK", "MIRROR", "NDPI", "NFLB", "PROTO", "RAWDNAT", "RAWNAT", "RAWSNAT", "ROUTE", "SAME",
    "STEAL", "SYSRQ", "TARPIT", "XNAT",
})  # fmt: skip
"""Targets that come with other packages: a chain may have such a name, and is then meant."""


def finish_target(s: Statement) -> None:
    """The target's own reading of its options, once the rule has been read."""
    target = TARGETS.get(s.target)
    given: dict[str, tuple[int, list[str]]] = {}
    for word, values, negated in s.target_options:
        option = s.words[word]
        if negated:
            raise Wrong(word, f"{option} is not negated", code="NS101")
        if option in given and target is not None and not target.open:
            raise Wrong(word, f"{option} is given twice", code="NS101")
        given[option] = (word, values)
    if target is None:
        _unmodelled(s, given)
        return
    if target.tables and s.table not in target.tables:
        raise Wrong(-1, f"{s.target} is for the table {' or '.join(target.tables)}", code="NS105")
    if target.family is not None and target.family is not s.family:
        raise Wrong(-1, f"{s.target} is for {target.family.name}", code="NS105")
    if target.chains and s.chain in _NAT_CHAINS and s.chain not in target.chains:
        raise Wrong(-1, f"{s.target} is for the chain {' or '.join(target.chains)}", code="NS105")
    target.finish(s, given)


__all__ = ["FOREIGN", "TARGETS", "Target", "finish_target", "nat_target", "port_pair"]

"""Packets, sets and rule sets at random: small values, so that they meet."""

from __future__ import annotations

from typing import Any

import attrs
import netaddr
from hypothesis import strategies as st

from netsim.rules.model import (
    ACCEPT,
    CONTINUE,
    DROP,
    RETURN,
    Action,
    ActionKind,
    Adjust,
    AnyOf,
    Bits,
    Chain,
    Condition,
    Effect,
    Hook,
    In,
    Nat,
    NatKind,
    Point,
    Pool,
    Rule,
    RuleSet,
    SetBits,
    SetField,
    Unmodelled,
)
from netsim.space import Family, Packet, PacketSet, packets
from netsim.space.fields import NO_MAC, Direction

_SMALL = {"sport": 5, "dport": 10, "src4": 10, "dst4": 6, "src6": 9, "protocol": 18, "tos": 9, "icmp_type": 9}


@st.composite
def intervals(draw: st.DrawFn) -> In:
    field = draw(st.sampled_from(sorted(_SMALL)))
    low = draw(st.integers(0, _SMALL[field]))
    return In(field, ((low, draw(st.integers(low, _SMALL[field]))),))


conditions: st.SearchStrategy[Condition] = st.one_of(
    intervals(),
    intervals(),
    st.builds(Bits, st.just("mark"), st.integers(0, 3), st.integers(0, 3), st.booleans()),
    st.builds(Bits, st.just("tcp_flags"), st.integers(0, 3), st.integers(0, 3), st.booleans()),
    st.builds(Unmodelled, st.sampled_from("ab"), st.just(True), st.booleans()),
    st.builds(Unmodelled, st.just("limit"), st.just(False)),
    st.builds(AnyOf, st.tuples(st.tuples(intervals()), st.tuples(intervals(), intervals())), st.booleans()),
)
MARKS: list[Effect] = [SetBits("mark", 0, 1), SetBits("mark", 0xFFFFFFFE, 1), SetBits("mark", 0xFFFFFFFF, 3),
                       SetField("tos", 0xF0, 5), Adjust("ttl", -1)]  # fmt: skip
NATS: list[Effect] = [Nat(NatKind.DESTINATION, Family.IPV4, (Pool((3, 3)),)),
                      Nat(NatKind.DESTINATION, Family.IPV4, (Pool((3, 5), (2, 6)),))]  # fmt: skip


@st.composite
def rules(draw: st.DrawFn, chain: str, number: int, targets: tuple[str, ...], nat: bool) -> Rule:
    found = tuple(draw(st.lists(conditions, max_size=2)))
    kinds = [
        "accept",
        "drop",
        "reject",
        "return",
        "mark",
        "unmodelled",
        *["jump", "goto"] * bool(targets),
        *["nat"] * nat,
    ]
    kind = draw(st.sampled_from(kinds))
    effects: tuple[Effect, ...] = ()
    action = {"accept": ACCEPT, "drop": DROP, "return": RETURN, "nat": ACCEPT, "mark": CONTINUE,
              "reject": Action(ActionKind.REJECT), "unmodelled": Action(ActionKind.UNMODELLED, text="NFQUEUE")}.get(kind)  # fmt: skip
    if action is None:
        action = Action(ActionKind(kind), draw(st.sampled_from(targets)))
    if kind == "mark":
        effects = (draw(st.sampled_from(MARKS)),)
    elif kind == "nat":
        effects = (draw(st.sampled_from(NATS)),)
    return Rule(found, action, effects, chain, number)


@st.composite
def rule_sets(draw: st.DrawFn) -> RuleSet:
    """Four tables, with user chains, goto, RETURN, marks, NAT and unmodelled conditions."""
    chains: dict[str, Chain] = {}
    tables = (("raw", Point.PREROUTING, -300), ("mangle", Point.PREROUTING, -150), ("nat", Point.PREROUTING, -100),
              ("filter", Point.FORWARD, 0))  # fmt: skip
    for table, point, priority in tables:
        if table != "filter" and draw(st.booleans()):
            continue
        names = (f"{table}/base", f"{table}/one", f"{table}/two")
        for position, name in enumerate(names):
            size = draw(st.integers(0, 4))
            found = tuple(
                draw(rules(name, n, names[position + 1 :], table == "nat")) for n in range(1, size + 1)
            )
            hook = Hook(point, priority, nat=table == "nat") if position == 0 else None
            policy = draw(st.sampled_from([ACCEPT, DROP])) if position == 0 else None
            chains[name] = Chain(name, found, hook, policy)
    return RuleSet(chains, family=Family.IPV4)


@st.composite
def small_packets(draw: st.DrawFn) -> Packet:
    """IPv4 packets among the small values, everything said."""
    protocol = draw(st.sampled_from([6, 17, 1, 5]))
    more: dict[str, Any] = {}
    if protocol in (6, 17):
        more = {"sport": draw(st.integers(0, 5)), "dport": draw(st.integers(0, 10))}
    if protocol == 6:
        more["tcp_flags"] = draw(st.integers(0, 3))
    if protocol == 1:
        more = {"icmp_type": draw(st.integers(0, 9)), "icmp_code": 0}
    return Packet(
        src=draw(st.integers(0, 10)), dst=draw(st.integers(0, 6)), protocol=protocol, iif="e0", oif="e1",
        ttl=draw(st.integers(1, 3)), length=60, mac=5, tos=draw(st.integers(0, 9)), mark=draw(st.integers(0, 3)),
        state=draw(st.sampled_from(["new", "established", "invalid"])), **more,
    )  # fmt: skip


@st.composite
def prefixes(draw: st.DrawFn) -> str:
    if draw(st.booleans()):
        return str(
            netaddr.IPNetwork((draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 32))), version=4).cidr
        )
    return str(
        netaddr.IPNetwork((draw(st.integers(0, 2**128 - 1)), draw(st.integers(0, 128))), version=6).cidr
    )


ranges = st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(lambda pair: (min(pair), max(pair)))
atoms: st.SearchStrategy[PacketSet] = st.one_of(
    st.builds(lambda p: packets(src=p), prefixes()),
    st.builds(lambda p: packets(dst=p), prefixes()),
    st.builds(lambda r: packets(dport=r), ranges),
    st.builds(lambda p, r: packets(protocol=p, sport=r), st.sampled_from(["tcp", "udp"]), ranges),
    st.builds(lambda f: packets(tcp_flags=("SYN,ACK", f)), st.sampled_from(["SYN", "SYN,ACK", "NONE"])),
    st.builds(lambda m: packets(mark=m), st.tuples(st.integers(0, 3), st.integers(0, 3))),
    st.builds(lambda s: packets(state=s), st.sampled_from(["new", "established", "invalid"])),
    st.builds(lambda n: packets(iif=n), st.sampled_from(["eth0", "eth+", "lo"])),
    st.builds(lambda n: packets(icmp_type=n), st.integers(0, 255)),
    st.builds(lambda b: packets(fragment=b), st.booleans()),
)
packet_sets: st.SearchStrategy[PacketSet] = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a & b, inner, inner),
        st.builds(lambda a, b: a | b, inner, inner),
        st.builds(lambda a, b: a - b, inner, inner),
        st.builds(lambda a: ~a, inner),
    ),
    max_leaves=6,
)


@st.composite
def edited(draw: st.DrawFn, before: RuleSet) -> RuleSet:
    """A rule set with one to three rules deleted, repeated, exchanged or replaced, or a policy turned."""
    result = before
    for _ in range(draw(st.integers(1, 3))):
        names = sorted(result.chains)
        name = draw(st.sampled_from(names))
        chain = result.chains[name]
        found = list(chain.rules)
        kind = draw(st.sampled_from(["delete", "insert", "swap", "replace", "policy"]))
        at = draw(st.integers(0, max(0, len(found) - 1)))
        table = name.partition("/")[0]
        later = tuple(n for n in (f"{table}/one", f"{table}/two") if n in result.chains and n > name)
        if name.endswith("base"):
            later = (f"{table}/one", f"{table}/two")
        new = draw(rules(name, 1, later, table == "nat"))
        if kind == "policy" and chain.policy is not None:
            turned = DROP if chain.policy is ACCEPT else ACCEPT
            result = result.replace([attrs.evolve(chain, policy=turned)])
            continue
        if kind == "insert" or not found:
            found.insert(at, new)
        elif kind == "delete":
            del found[at]
        elif kind == "swap":
            found.insert(draw(st.integers(0, len(found) - 1)), found.pop(at))
        else:
            found[at] = new
        numbered = tuple(attrs.evolve(r, number=n) for n, r in enumerate(found, 1))
        result = result.replace([attrs.evolve(chain, rules=numbered)])
    return result


@st.composite
def edits(draw: st.DrawFn) -> tuple[RuleSet, RuleSet]:
    """A rule set and an edited copy."""
    before = draw(rule_sets())
    return before, draw(edited(before))


@st.composite
def full_packets(draw: st.DrawFn) -> Packet:
    """Packets of both families with every field said, values small or at the edges of their words."""
    family = draw(st.sampled_from(Family))
    protocol = draw(st.sampled_from([6, 17, 1, 58, 5, 132]))
    fragment = draw(st.sampled_from([False, False, False, True]))
    more: dict[str, Any] = {}
    if protocol in (6, 17, 132) and not fragment:
        ports = st.sampled_from([0, 1, 3, 5, 9, 65535])
        more = {"sport": draw(ports), "dport": draw(ports)}
    if protocol == 6:
        more["tcp_flags"] = draw(st.integers(0, 3))
    if protocol in (1, 58) and not fragment:
        more = {"icmp_type": draw(st.integers(0, 9)), "icmp_code": draw(st.integers(0, 1))}
    edges = [0, 1, 3, 5, 7, 1 << 16, (1 << 32) - 1]
    if family is Family.IPV6:
        edges += [1 << 63, (1 << 64) - 1, 1 << 64, (3 << 64) | 5, (1 << 128) - 1]
    names = st.sampled_from(["", "e0", "e1", "eth0", "\x01", "abcdefghijklmno"])
    return Packet(
        src=netaddr.IPAddress(draw(st.sampled_from(edges)), 6 if family else 4),
        dst=netaddr.IPAddress(draw(st.sampled_from(edges)), 6 if family else 4),
        protocol=protocol, iif=draw(names), oif=draw(names), fragment=fragment,
        ttl=draw(st.sampled_from([1, 2, 3, 64, 255])), length=draw(st.sampled_from([0, 1, 60, 1 << 16])),
        mac=draw(st.sampled_from([0, 5, NO_MAC - 1, NO_MAC])), tos=draw(st.integers(0, 9)),
        mark=draw(st.sampled_from([0, 1, 2, 3, (1 << 32) - 1])), ctmark=draw(st.integers(0, 3)),
        state=draw(st.sampled_from(["new", "established", "related", "invalid", "untracked"])),
        direction=draw(st.sampled_from(Direction)), ct_status=draw(st.sampled_from([None, 0, 1, 2, 32])), **more,
    )  # fmt: skip

"""Translations, marks and connection states: one packet, sets and batches against the specification."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

import netsim
from netsim.errors import BudgetExceeded
from netsim.index import Index
from netsim.index.flow import Piece
from netsim.index.plans import VERDICTS
from netsim.rules.evaluate import Ruling, evaluate
from netsim.rules.journey import HOOKS, NO_ADDRESSES
from netsim.rules.model import (
    ACCEPT,
    DROP,
    Action,
    ActionKind,
    Bits,
    Chain,
    Deferred,
    Hook,
    In,
    Nat,
    NatKind,
    Netmap,
    Outcome,
    Point,
    Pool,
    Rule,
    RuleSet,
    SetBits,
    flat,
)
from netsim.space import EVERYTHING, NOTHING, Packet
from netsim.space.fields import FIELDS, Family, Kind
from netsim.space.pool import POOL
from tests.index.test_classify import KNOWN, batch
from tests.index.wild import any_packet, nat_rules

SMALL = netsim.packets(src="0.0.0.0/26", dst="0.0.0.0/26") | netsim.packets(src="::/122", dst="::/122")
"""What packets have addresses like those of `any_packet`."""
OWN_BUSINESS = ("iif", "oif", "direction", "mac", "variables", "family")


def point(packet: Packet) -> list[int]:
    return [v or 0 for v in packet.point()]


def leaves_as(ruling: Ruling, pieces: list[Piece], packet: Packet) -> str:
    """What is wrong with the header as the sets have it leave; empty if nothing is."""
    assert ruling.after is not None
    if not pieces:
        return "nothing leaves"
    for piece in pieces:
        at = piece.change.at(point(packet))
        for name, value in ruling.after.items():
            if value is None or name in OWN_BUSINESS:
                continue
            found: list[Any] = [at[level] for level in FIELDS[name].levels]
            if None in found:
                return f"{name} is open, not {value}"
            width = 1 if FIELDS[name].kind is Kind.BITS else 64
            number = sum(part << width * i for i, part in enumerate(found[::-1]))
            if number != value:
                return f"{name} is {number}, not {value}"
    return ""


def disagreements(seed: int, count: int = 40) -> list[str]:
    """Where the sets, `decide` or a batch say something else than the specification."""
    draw = Random(seed)
    rules = nat_rules(seed)
    addresses = draw.choice([NO_ADDRESSES, KNOWN])
    index = Index(rules, addresses=addresses)
    some = [any_packet(draw) for _ in range(count)]
    columns = batch(some)
    anew = any(isinstance(c, Deferred) for rule in rules.rules() for c in flat(rule.conditions))
    found: list[str] = []
    for hook in HOOKS.values():
        verdicts = index.classify(columns, hook=hook).verdict
        try:
            with POOL.lock, POOL.question():
                node, whole = (index.flow.outcomes(s.node, hook) for s in (SMALL, EVERYTHING))
                leaving = index.flow.journey(SMALL.node, hook).leaving
                masks = [(POOL.value(node, point(p)), POOL.value(whole, point(p))) for p in some]
                pieces = [[q for q in leaving if POOL.value(q.packets, point(p))] for p in some]
        except BudgetExceeded:
            continue
        for i, packet in enumerate(some):
            spec = evaluate(rules, packet, hook=hook, addresses=addresses)
            fast = index.decide(packet, hook=hook)
            where = f"{seed} {hook.name} {packet}"
            if (fast.outcomes, fast.after, fast.step) != (spec.outcomes, spec.after, spec.step):
                found.append(f"{where}: decided otherwise")
            if VERDICTS[verdicts[i]] is not spec.verdict:
                found.append(f"{where}: {VERDICTS[verdicts[i]]} in a batch, not {spec.verdict}")
            mask, wide = masks[i]
            if any("does not say" in r.condition for r in spec.because):
                same = not mask & ~spec.outcomes
            else:  # what context decides of a translated address is asked anew by the sets wherever it is asked
                same = mask == spec.outcomes or (anew and not spec.outcomes & ~mask)
            if not same:
                found.append(f"{where}: {Outcome(mask)!r} in the sets, not {spec.outcomes!r}")
            if mask & ~wide:
                found.append(f"{where}: less is possible if more is asked")
            if spec.outcomes == Outcome.ACCEPT and spec.after is not None and not anew:
                wrong = leaves_as(spec, pieces[i], packet)
                found += [f"{where}: {wrong}"] if wrong else []
    return found


@pytest.mark.parametrize("part", range(4))
def test_sets_and_batches_agree_with_the_specification(part: int) -> None:
    for seed in range(part * 15, part * 15 + 15):
        assert not disagreements(seed)


@pytest.mark.soak
def test_many_more() -> None:
    for seed in range(60, 3_000):
        assert not disagreements(seed)


def _rules(*chains: Chain) -> RuleSet:
    return RuleSet({c.name: c for c in chains}, family=Family.IPV4)


def _to(address: int) -> Nat:
    return Nat(NatKind.DESTINATION, Family.IPV4, (Pool((address, address)),))


def _agreed(rules: RuleSet, packet: Packet) -> str:
    """The outcome, on which the specification, the sets and a batch agree."""
    index = Index(rules)
    spec = evaluate(rules, packet)
    with POOL.lock, POOL.question():
        assert POOL.value(index.flow.outcomes(SMALL.node, Point.FORWARD), point(packet)) == spec.outcomes
    assert VERDICTS[index.classify(batch([packet])).verdict[0]] is spec.verdict
    return spec.verdict.value


def _packet(**more: Any) -> Packet:
    given = {
        "src": "0.0.0.1",
        "dst": "0.0.0.9",
        "protocol": "udp",
        "sport": 1,
        "dport": 2,
        "ttl": 9,
        "iif": "e0",
        "oif": "e1",
    }
    return Packet(**{**given, **more})


PACKET = _packet()


@pytest.mark.parametrize(("first", "wanted"), [(_to(9), "drop"), (None, "accept")])
def test_a_translation_that_changes_nothing_is_one(first: Nat | None, wanted: str) -> None:
    # Linux asks NAT chains until one has set a mapping up, be it the same address (nf_nat_inet_fn).
    chains = [
        Chain("nat2/PREROUTING", (Rule((), ACCEPT, (_to(8),), "nat2/PREROUTING", 1),), Hook(Point.PREROUTING, -90, nat=True), ACCEPT),
        Chain("filter/FORWARD", (Rule((In("dst4", ((8, 8),)),), ACCEPT, (), "filter/FORWARD", 1),), Hook(Point.FORWARD, 0), DROP),
    ]  # fmt: skip
    if first is not None:
        rule = Rule((), ACCEPT, (first,), "nat/PREROUTING", 1)
        chains.append(Chain("nat/PREROUTING", (rule,), Hook(Point.PREROUTING, -100, nat=True), ACCEPT))
    assert _agreed(_rules(*chains), PACKET) == wanted


def test_an_unknown_address_of_the_device_is_the_device() -> None:
    rules = netsim.parse(
        "*nat\n-A PREROUTING -p udp -j REDIRECT\nCOMMIT\n*filter\n:INPUT DROP\n:FORWARD ACCEPT\nCOMMIT\n"
    ).ruleset
    with POOL.lock, POOL.question():
        outcomes = Index(rules).flow.outcomes(SMALL.node, Point.FORWARD)
        assert POOL.value(outcomes, point(PACKET)) == Outcome.DROP == evaluate(rules, PACKET).outcomes


@pytest.mark.parametrize(("address", "wanted"), [(5, "accept"), (9, "accept"), (10, "drop")])
def test_each_address_has_its_own_in_another_network(address: int, wanted: str) -> None:
    effect = Netmap(NatKind.DESTINATION, Family.IPV4, 20, 30)
    chains = (
        Chain("nat/PREROUTING", (Rule((), ACCEPT, (effect,), "nat/PREROUTING", 1),), Hook(Point.PREROUTING, -100, nat=True), ACCEPT),
        Chain("filter/FORWARD", (Rule((In("dst4", ((21, 21),)),), ACCEPT, (), "filter/FORWARD", 1),), Hook(Point.FORWARD, 0), DROP),
    )  # fmt: skip
    assert _agreed(_rules(*chains), _packet(dst=f"0.0.0.{address}")) == wanted
    outside = Index(_rules(*chains)).outcomes(netsim.packets(dst="0.0.0.0/2", ttl=9, fragment=False))
    assert set(outside) >= {
        Outcome.ACCEPT | Outcome.DROP
    }  # of so many networks nobody says which address is which


@pytest.mark.parametrize(
    ("condition", "asked", "wanted"),
    [
        ("", ["10.1.1.1", "10.1.1.2", "10.1.1.0/24"], 1),
        ("", ["10.1.1.1", "10.1.2.1", "10.1.0.0/16"], 3),
        ("", ["0.0.0.0/0"], 0),
        ("-d 10.1.0.0/16", ["10.1.1.1", "10.1.2.1"], 0),
    ],
)
def test_chains_are_compiled_once_for_a_network(condition: str, asked: list[str], wanted: int) -> None:
    # nothing is compiled again where the rule itself says which addresses, or for others of the same networks
    rules = netsim.parse(
        f"*nat\n-A PREROUTING {condition} -j NETMAP --to 10.9.0.0/24\nCOMMIT\n"
        "*filter\n:FORWARD DROP\n-A FORWARD -d 10.9.0.1 -j ACCEPT\nCOMMIT\n"
    ).ruleset
    index = Index(rules)
    for dst in asked:
        packets = netsim.packets(dst=dst, ttl=9, fragment=False)
        accepted = index.outcomes(packets).get(Outcome.ACCEPT, NOTHING)
        assert bool(accepted & netsim.packets(dst="10.1.1.1")) == (
            dst in ("10.1.1.1", "10.1.1.0/24", "10.1.0.0/16")
        )
    assert len(index.flow._fitted) == wanted


@pytest.mark.parametrize(
    ("family", "network", "last"),
    [(Family.IPV4, "10.9.0.0/24", "10.9.0.255"), (Family.IPV6, "2001:db8:9::/112", "2001:db8:9::ffff")],
)
def test_a_network_is_no_pool(family: Family, network: str, last: str) -> None:
    # each address has its own of the network, where a pool has any: also where nobody says which
    def rules(target: str) -> netsim.Rules:
        return netsim.parse(f"*nat\n-A PREROUTING -j {target}\nCOMMIT\n", family=family)

    mapped, pool = (
        rules(f"NETMAP --to {network}"),
        rules(f"DNAT --to-destination {network.split('/')[0]}-{last}"),
    )
    outside = netsim.packets(dst="10.1.1.1" if family is Family.IPV4 else "2001:db8:1::1", state="new", ttl=9)
    changed = netsim.compare(mapped, pool).changed
    assert netsim.packets(dst=network, state="new", ttl=9) & changed
    assert outside & changed
    assert not netsim.compare(mapped, rules(f"NETMAP --to {network}")).changed


@pytest.mark.parametrize("state", ["INVALID", "UNTRACKED"])
def test_before_tracking_a_state_is_what_a_chain_has_made_it(state: str) -> None:
    rules = netsim.parse(
        "*raw\n:u -\n-A PREROUTING -p udp -j u\n"
        f"-A PREROUTING -m conntrack --ctstate {state} -j DROP\n-A u -j CT --notrack\nCOMMIT\n"
    ).ruleset
    assert _agreed(rules, PACKET) == ("drop" if state == "UNTRACKED" else "accept")
    other = _packet(protocol="tcp", tcp_flags="SYN")
    assert _agreed(rules, other) == ("accept" if state == "UNTRACKED" else "drop")


def test_a_jump_changes_the_packet_before_the_chain_sees_it() -> None:
    jump = Rule((), Action(ActionKind.JUMP, "filter/u"), (SetBits("mark", 0, 7),), "filter/FORWARD", 1)
    rule = Rule((Bits("mark", 7, 7),), DROP, (), "filter/u", 1)
    rules = _rules(
        Chain("filter/FORWARD", (jump,), Hook(Point.FORWARD, 0), ACCEPT), Chain("filter/u", (rule,))
    )
    found = Index(rules).deciding(netsim.packets(dst="0.0.0.9", ttl=9))
    assert [(d.rule, d.trail) for d in found] == [(rule, (jump,))]
    assert _agreed(rules, PACKET) == "drop"

"""Batches through a whole network against the tracer, one packet after the other."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netsim
from netsim.errors import QuestionError
from netsim.index.columns import batch_of
from netsim.index.sites import SiteClassification
from netsim.queries.ends import Ends
from netsim.queries.site_index import present
from netsim.queries.trace import Hop, Stop, Tracer, Traveller
from netsim.queries.traffic import Traffic
from netsim.rules.evaluate import nat_kind
from netsim.rules.model import Nat, Netmap, Point, RuleSet
from netsim.space.diagram import FALSE, OR, TRUE
from netsim.space.fields import Family
from netsim.space.packet import Packet
from netsim.space.packets import POOL, VARIABLE_LEVELS, packet_set
from netsim.space.transform import IDENTITY
from netsim.topology.forwarding import DEFAULT_RULES
from netsim.topology.model import Device, Host, Interface, NextHop, Prefix, Route, RouteRule, RouteType
from netsim.topology.network import Instance
from tests.index.test_classify import batch as columns_of
from tests.index.wild import any_packet, any_rules
from tests.queries.test_against_tracing import parts

Columns = dict[str, Any]


def ends(network: netsim.Network, family: Family) -> Ends:
    """Everybody who may be there: every address of every link, and the devices themselves."""
    targets = [
        (Instance(link, addresses, 1, (link,), (), False), TRUE)
        for link, addresses in present(network).items()
        if link
    ]
    targets += [(network.instances(name)[0], TRUE) for name in network.devices]
    return Ends(network, family, targets)


def traced(network: netsim.Network, ingress: str, packet: Packet) -> tuple[str, list[Stop]]:
    """accept, blocked or unknown, and what stops it: the tracer on a set of one packet."""
    family = Family.IPV4 if packet.family is None else packet.family
    given = packet_set(packet)
    traffic = Traffic("", given, None, answered=False, raw=True)
    tracer = Tracer(network, traffic, family, ends(network, family))
    name, _, rest = ingress.partition("[")
    if rest:
        device = network.devices[name]
        interface = device.interface(rest[:-1])
        assert interface is not None
        t = Traveller(given.node, IDENTITY, True, "", None, (Hop("sender"),))
        tracer.follow(tracer._cross(device, interface, t))
    else:
        instance = (
            network.instances(ingress)[0]
            if ingress in network.names()
            else Instance(ingress, (), 1, (ingress,), (), False)
        )
        tracer.start(instance, given.node, IDENTITY)
    arrived = POOL.fold(OR, [t.packets for t in tracer.arrived])
    stopped = POOL.fold(OR, [*tracer.stopped, *tracer.perhaps])
    assert POOL.quantify(POOL.apply(OR, arrived, stopped), VARIABLE_LEVELS, OR) == given.node
    if stopped == FALSE:
        return "accept", tracer.stops
    return ("blocked" if arrived == FALSE else "unknown"), tracer.stops


def check_record(
    network: netsim.Network,
    found: SiteClassification,
    columns: Columns,
    i: int,
    ingress: str,
    *,
    exact: bool = True,
) -> str:
    """One record: the tracer's answer, stopped where and by what the tracer says. Gives that answer."""
    packet = Packet.from_values(batch_of(columns).values(i))
    wanted, stops = traced(network, ingress, packet)
    verdict = str(found.names[i])
    got = {"accept": "accept", "drop": "blocked", "reject": "blocked"}.get(verdict, "unknown")
    where = (
        ingress,
        str(packet),
        verdict,
        found.ends[i],
        found.device[i],
        wanted,
        [str(s.kind) for s in stops],
    )
    if exact or got != "unknown":
        assert got == wanted, where
    if got == "blocked":
        device = network.devices and (found.devices[found.device[i]] if found.device[i] >= 0 else None)
        end = str(found.ends[i])
        alike = [
            s for s in stops if s.device == device or (device is None and s.device not in network.devices)
        ]
        decider = found.decider(i)
        if end == "rules":
            kinds = {s.kind for s in alike}
            assert kinds & {"rule", "policy", "translation"}, where
            if decider is not None and "translation" not in kinds:
                assert decider.device == device, where
                named = [
                    s.rule is decider.rule if decider.rule else s.chain == decider.decider.chain.name
                    for s in alike
                ]
                assert any(named), where
        else:
            assert end in [s.kind.partition(" ")[0] for s in alike], where
    return wanted


def batch(rng: random.Random, network: netsim.Network, size: int) -> tuple[Columns, list[str]]:
    """Records between addresses that matter, with where each enters."""
    entries = sorted(network.site_index.tables.entries)
    addresses = [p.address for h in network.hosts.values() for p in h.addresses]
    addresses += [p.address for d in network.devices.values() for i in d.interfaces for p in i.addresses]
    addresses += [10 << 24 | rng.randrange(4) << 8 | rng.choice((0, 13, 255)) for _ in range(4)]
    addresses += [0, 127 << 24 | 1, 224 << 24 | 1, (1 << 32) - 1, 8 << 24 | 8]

    def column(choices: Iterable[int], kind: type[Any]) -> Any:
        return np.array([rng.choice(list(choices)) for _ in range(size)], kind)

    protocol = column((6, 6, 6, 17, 1), np.uint8)
    ported = protocol != 1
    columns = {
        "src": column(addresses, np.uint32), "dst": column(addresses, np.uint32), "protocol": protocol,
        "sport": column((40000, 40001), np.uint16) * ported, "dport": column((80, 81), np.uint16) * ported,
        "ttl": column((64, 65, 2, 1), np.uint8), "state": column((0, 0, 1, 2, 3, 4), np.uint8),
    }  # fmt: skip
    return columns, [rng.choice(entries) for _ in range(size)]


def check_network(rng: random.Random, size: int = 40) -> list[str]:
    network = netsim.Network.build(**parts(rng))
    columns, ingress = batch(rng, network, size)
    found = network.classify(columns | {"ingress": ingress})
    return [check_record(network, found, columns, i, ingress[i]) for i in range(size)]


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_a_batch_is_what_the_tracer_says_of_each_packet(seed: int) -> None:
    assert check_network(random.Random(seed))


def known_translations(rng: random.Random) -> RuleSet:
    """Rules whose translations the tracer follows exactly, as dialects have them.

    Of NETMAP it says that the address is open. Sources are translated at INPUT and POSTROUTING, destinations
    elsewhere, nobody translates by interface at INPUT, and there is one NAT chain at a hook point.
    """
    points = {point.name: point for point in Point} | {
        f"{n}{point}": point for n in ("one", "two") for point in Point
    }
    while True:
        rules = any_rules(rng.randrange(1 << 30))
        odd = any(name.startswith("nat2/") for name in rules.chains)
        for rule in rules.rules():
            point = points[rule.chain.partition("/")[2]]
            for e in rule.effects:
                odd |= isinstance(e, Netmap) or (isinstance(e, Nat) and e.kind is not nat_kind(point))
                odd |= isinstance(e, Nat) and point is Point.INPUT and any(p.interface for p in e.pools)
        if not odd:
            return rules


def wild_network(rng: random.Random) -> netsim.Network:
    """Two routers in a row whose rule sets have everything that the model has, IPv4 and IPv6."""
    devices = []
    for name, (at, via, to) in {"r1": (1, 6, 8), "r2": (6, 5, 0)}.items():
        interfaces, routes = [], []
        for family in (Family.IPV4, Family.IPV6):
            routes.append(
                Route(
                    Prefix(family, to, family.bits - 2),
                    (NextHop("", (family, via)),),
                    metric=rng.choice((0, 1)),
                )
            )
            if rng.random() < 0.3:
                table = Route(
                    Prefix(family, 0, 0), (NextHop("", (family, via)),), RouteType.UNICAST, table="7"
                )
                routes.append(table)
        for k, first in enumerate((0, 4) if name == "r1" else (4, 8)):
            own = first + at % 4
            addresses = tuple(Prefix(f, own, f.bits - 2) for f in (Family.IPV4, Family.IPV6))
            interfaces.append(Interface(f"e{k}", addresses, "abc"[first // 4]))
        rules = tuple(known_translations(rng).named(name) for _ in range(rng.choice((1, 1, 1, 2))))
        policy = rng.choice(((), (RouteRule(5, "7", fwmark=(1, 1)),)))
        devices.append(
            Device(
                name, tuple(interfaces), rules, tuple(routes), (*policy, *DEFAULT_RULES) if policy else (),
                rp_filter=rng.choice((0, 0, 1, 2)),
            )
        )  # fmt: skip
    hosts = [Host(f"h{n}", (Prefix(Family.IPV4, n, 32),), "abc"[n // 4]) for n in (2, 3, 7, 8)]
    return netsim.Network(devices, hosts)


def check_wild(rng: random.Random, size: int = 25) -> list[tuple[str, str]]:
    """(verdict, the tracer's answer) of records: what a batch decides, the tracer decides so."""
    network = wild_network(rng)
    packets = [any_packet(rng) for _ in range(size)]
    columns = columns_of(packets)
    for name in ("iif", "oif", *rng.sample(["length", "mac"], rng.choice((0, 0, 1)))):
        del columns[name]
    ingress = [rng.choice(sorted(network.site_index.tables.entries)) for _ in range(size)]
    found = network.classify(columns | {"ingress": ingress})
    return [
        (str(found.names[i]), check_record(network, found, columns, i, ingress[i], exact=False))
        for i in range(size)
    ]


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_what_a_batch_decides_the_tracer_decides_whatever_the_rules_are(seed: int) -> None:
    assert check_wild(random.Random(seed))

"""Batches through a whole network against the tracer, one packet after the other."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
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
from netsim.queries.trace import Tracer
from netsim.queries.traffic import Traffic
from netsim.queries.travellers import Hop, Stop, Traveller
from netsim.rules.evaluate import nat_kind
from netsim.rules.model import ActionKind, Nat, Netmap, Point, RuleSet
from netsim.space.diagram import FALSE, OR, TRUE
from netsim.space.fields import Family
from netsim.space.packet import Packet
from netsim.space.packets import packet_set
from netsim.space.pool import POOL, VARIABLE_LEVELS
from netsim.space.transform import IDENTITY
from netsim.topology.forwarding import DEFAULT_RULES
from netsim.topology.model import Device, Host, Interface, NextHop, Prefix, Route, RouteRule, RouteType
from netsim.topology.network import Instance
from tests.index.test_classify import batch as columns_of
from tests.index.wild import any_packet, any_rules, nat_rules
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


@POOL.question()
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
    got = {1: "accept", 2: "blocked", 4: "blocked", 6: "blocked"}.get(int(found.outcomes[i]), "unknown")
    assert (verdict == "unknown") is (len(found.possible(i)) > 1)
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
    if got == "blocked" and verdict != "unknown":
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


@settings(max_examples=25)
@given(st.integers(0, 2**32))
def test_a_batch_is_what_the_tracer_says_of_each_packet(seed: int) -> None:
    assert check_network(random.Random(seed))


def known_translations(rng: random.Random) -> RuleSet:
    """Rules with translations as dialects have them: sources at INPUT and POSTROUTING, destinations elsewhere."""
    if rng.random() < 0.5:
        return nat_rules(rng.randrange(1 << 30))
    points = {point.name: point for point in Point} | {
        f"{n}{point}": point for n in ("one", "two") for point in Point
    }
    while True:
        rules = any_rules(rng.randrange(1 << 30))
        odd = False
        for rule in rules.rules():
            point = points[rule.chain.partition("/")[2]]
            for e in rule.effects:
                odd |= isinstance(e, Nat | Netmap) and (
                    e.kind is not nat_kind(point) or rule.action.kind is ActionKind.UNMODELLED
                )
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


@settings(max_examples=25)
@given(st.integers(0, 2**32))
def test_what_a_batch_decides_the_tracer_decides_whatever_the_rules_are(seed: int) -> None:
    assert check_wild(random.Random(seed))


def site(rules: str = "", **more: Any) -> netsim.Network:
    """h on a, r1 between a and b, w on b."""
    devices = {
        "r1": {
            "rules": rules or "*filter\n:FORWARD ACCEPT\nCOMMIT\n",
            "interfaces": {
                "a": {"address": ["10.0.0.1/24", "2001:db8:a::1/64"], "link": "a"},
                "b": {"address": ["10.0.1.1/24", "2001:db8:b::1/64"], "link": "b"},
            },
        }
    }
    hosts = {
        "h": {"address": "10.0.0.9/24", "link": "a", "gateway": "10.0.0.1"},
        "w": {"address": "10.0.1.3/24", "link": "b"},
    }
    return netsim.Network.build(devices=devices, hosts=hosts, **more)


def one(
    network: netsim.Network, dst: str = "10.0.1.3", ingress: str = "h", **more: Any
) -> SiteClassification:
    """A record to port 80."""
    columns = {
        "src": ["10.0.0.9"],
        "dst": [dst],
        "protocol": ["tcp"],
        "sport": np.array([5000]),
        "dport": np.array([80]),
    }
    found: SiteClassification = network.classify(columns | more, ingress=ingress)
    return found


def told(found: SiteClassification) -> tuple[str, str]:
    return str(found.names[0]), str(found.ends[0])


@pytest.mark.parametrize("state", ["before", "during", "repaired"])
def test_the_demo_site_is_what_the_tracer_says(state: str) -> None:
    network = netsim.load(Path(netsim.__file__).parent / "demo_site" / state)
    rng = random.Random(1)
    columns, ingress = batch(rng, network, 120)
    found = network.classify(columns | {"ingress": ingress})
    answers = {check_record(network, found, columns, i, ingress[i]) for i in range(120)}
    assert answers == {"accept", "blocked"}


def test_where_a_record_enters() -> None:
    network = site(subnets={"front": {"prefix": "10.0.0.128/25", "link": "a"}})
    for ingress in ("h", "front", "a", "r1[a]"):
        assert told(one(network, ingress=ingress)) == ("accept", "link"), ingress
    assert told(one(network, ingress="b")) == ("accept", "link")  # on the link itself, past no device
    assert one(network, ingress="w").device.tolist() == [-1]
    columns = {"src": ["10.0.0.9"] * 2, "dst": ["10.0.1.3"] * 2}
    pair = network.classify(columns | {"ingress": (np.array([1, 0]), ["h", "w"])})
    assert pair.device.tolist() == [-1, 0]
    nobody = network.classify({"src": np.zeros(0, np.uint32), "dst": np.zeros(0, np.uint32)}, ingress="h")
    assert len(nobody) == 0
    assert nobody.rows() == []


@pytest.mark.parametrize(
    ("columns", "more", "word"),
    [
        ({}, {}, "says once where"),
        ({"ingress": ["h"]}, {"ingress": "h"}, "says once where"),
        ({"ingress": ["x"]}, {}, "nothing enters at 'x'"),
        ({"ingress": ["hh"]}, {}, "did you mean 'h'"),
        ({"ingress": ["h", "h"]}, {}, "has 2 records, the others have 1"),
        ({"ingress": "h"}, {}, "one-dimensional array of names"),
        ({"ingress": (np.array([3]), ["h"])}, {}, "names nothing"),
        ({"dst": None}, {"ingress": "h"}, "needs a column 'dst'"),
        ({"src": None, "dst": None, "protocol": ["tcp"]}, {"ingress": "h"}, "needs columns 'src' and 'dst'"),
    ],
)
def test_what_is_no_batch_is_refused(columns: Columns, more: Any, word: str) -> None:
    given = {"src": ["10.0.0.9"], "dst": ["10.0.1.3"]} | columns
    given = {name: values for name, values in given.items() if values is not None}
    with pytest.raises(QuestionError, match=word):
        site().classify(given, **more)


def test_a_translation_is_followed() -> None:
    rules = "*nat\n:PREROUTING ACCEPT\n-A PREROUTING -d 10.0.0.1 -p tcp --dport 80 -j DNAT --to-destination {}\nCOMMIT\n"
    assert told(one(site(), "10.0.0.1")) == ("accept", "local")
    assert told(one(site(rules.format("10.0.1.3:81")), "10.0.0.1")) == ("accept", "link")
    assert told(one(site(rules.format("10.9.9.9")), "10.0.0.1")) == ("drop", "no-route")
    assert told(one(site(rules.format("10.0.1.3-10.0.1.9")), "10.0.0.1")) == ("unknown", "open-header")
    netmap = "*nat\n:PREROUTING ACCEPT\n-A PREROUTING -d 10.0.7.0/24 -j NETMAP --to 10.0.1.0/24\nCOMMIT\n"
    assert told(one(site(netmap), "10.0.7.3")) == ("accept", "link")
    assert told(one(site(netmap), "10.0.7.1")) == ("accept", "local")


@pytest.mark.parametrize("to", ["10.0.1.0/24", "10.0.0.0/23"])
def test_a_mapped_network_is_followed_whatever_it_was(to: str) -> None:
    rules = (
        f"*nat\n-A PREROUTING -i a ! -d 10.0.0.0/22 -j NETMAP --to {to}\nCOMMIT\n"
        "*filter\n:FORWARD DROP\n-A FORWARD -d 10.0.1.3 -j ACCEPT\nCOMMIT\n"
    )
    network = site(rules)
    for dst, wanted in (("172.16.1.3", "accept"), ("172.16.1.4", "blocked"), ("10.0.1.3", "accept")):
        packet = Packet(src="10.0.0.9", dst=dst, protocol="tcp", sport=5000, dport=80, ttl=9)
        found = network.classify(columns_of([packet]), ingress="h")
        assert traced(network, "h", packet)[0] == wanted
        assert (found.names[0] == "accept") is (wanted == "accept")


def test_two_rule_sets_translate_once() -> None:
    rules = [
        f"*nat\n-A PREROUTING -d 10.9.9.9 -j DNAT --to-destination {to}\nCOMMIT\n"
        for to in ("10.9.9.9", "10.0.1.3")
    ]
    first, second = (netsim.parse(text, family=Family.IPV4).ruleset for text in rules)
    device = site().devices["r1"]
    network = netsim.Network(
        [Device("r1", device.interfaces, (first, second), device.routes)], site().hosts.values()
    )
    packet = Packet(src="10.0.0.9", dst="10.9.9.9", protocol="tcp", sport=5000, dport=80, ttl=9)
    assert traced(network, "h", packet)[0] == "blocked"
    assert told(one(network, "10.9.9.9")) == ("unknown", "open-header")


def test_what_is_unmodelled_is_unknown_with_its_rule() -> None:
    rules = "*filter\n:FORWARD ACCEPT\n-A FORWARD -p udp -j DROP\n-A FORWARD -m recent --name x --rcheck -j DROP\nCOMMIT\n"
    found = one(site(rules))
    assert told(found) == ("unknown", "link")
    doubt = found.doubt(0)
    assert doubt is not None
    assert doubt.device == "r1"
    assert doubt.rule is not None
    assert doubt.rule.number == 2
    assert found.rows()[0]["undecided"] == doubt.rule.id


def test_ways_that_part_are_joined() -> None:
    """Two routers of which nobody says which is used: both let it through, or one of them does."""

    def two(second: str) -> netsim.Network:
        devices = {
            f"r{n}": {
                "rules": rules,
                "interfaces": {
                    "a": {"address": f"10.0.0.{n}/24", "link": "a"}, "b": {"address": f"10.0.1.{n}/24", "link": "b"},
                },
            }
            for n, rules in ((1, "*filter\n:FORWARD ACCEPT\nCOMMIT\n"), (2, f"*filter\n:FORWARD {second}\nCOMMIT\n"))
        }  # fmt: skip
        hosts = {"h": {"address": "10.0.0.9/24", "link": "a"}, "w": {"address": "10.0.1.3/24", "link": "b"}}
        return netsim.Network.build(devices=devices, hosts=hosts)

    assert told(one(two("ACCEPT"))) == ("accept", "link")
    assert told(one(two("DROP"))) == ("unknown", "split")


def test_the_ttl_and_a_fragment() -> None:
    assert told(one(site(), ttl=np.array([1]))) == ("drop", "ttl-exceeded")
    assert told(one(site(), ttl=np.array([2]))) == ("accept", "link")
    assert told(one(site())) == ("accept", "link")  # without a TTL it does not expire
    tracked = site("*filter\n:FORWARD ACCEPT\n-A FORWARD -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n")
    piece: Columns = {"sport": np.array([0]), "dport": np.array([0]), "fragment": np.array([1])}
    assert told(one(tracked, **piece)) == ("unknown", "fragment")
    assert told(one(site(), **piece)) == ("accept", "link")


def test_both_families_in_one_batch() -> None:
    six = np.array([[0x20010DB8000A0000, 9], [0x20010DB8000A0000, 9]], np.uint64)
    to = np.array([[0x20010DB8000B0000, 3], [0x20010DB8000B0000, 1]], np.uint64)
    columns = {
        "family": np.array([4, 6]), "src": np.array([0x0A000009] * 2, np.uint32), "src6": six,
        "dst": np.array([0x0A000103] * 2, np.uint32), "dst6": to,
    }  # fmt: skip
    found = site().classify(columns, ingress="r1[a]")
    assert found.ends.tolist() == ["link", "local"]


def test_a_circle_ends() -> None:
    devices = {
        f"r{n}": {
            "interfaces": {"b": {"address": f"10.0.1.{n}/24", "link": "b"}},
            "routes": [{"to": "10.7.0.0/16", "via": f"10.0.1.{3 - n}"}],
        }
        for n in (1, 2)
    }
    network = netsim.Network.build(
        devices=devices, hosts={"h": {"address": "10.0.1.9/24", "link": "b", "gateway": "10.0.1.1"}}
    )
    found = one(network, "10.7.0.1")
    assert told(found) == ("drop", "forwarding-loop")
    assert "forwarding-loop" in str(found)
    with pytest.raises(TypeError, match="neither true nor false"):
        bool(found)


def test_a_ttl_that_rules_have_used_up_goes_on_to_the_next_router() -> None:
    assert check_wild(random.Random(1964))


@pytest.mark.soak
def test_batches_agree_with_the_tracer_on_many_more() -> None:
    for seed in range(2_000):
        assert check_network(random.Random(seed))
        assert check_wild(random.Random(seed))

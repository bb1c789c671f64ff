"""Site files: what is refused, with its place; routes and rules of iproute2; forwarding against brute force."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import netsim
from netsim.errors import InputError, Limits
from netsim.space import Family, Packet
from netsim.space.packets import POOL
from netsim.topology.forwarding import best_routes, forwarding
from netsim.topology.model import Device, NextHop, Prefix, Route, RouteRule, RouteType
from netsim.topology.nodes import plain_scalar
from netsim.topology.routes import parse_routes, parse_rules

BAD = [
    ("devices: {fw: {interfacs: {}}}\n", "1:16", "NS202", "did you mean 'interfaces'"),
    ("devices: {fw: {interfaces: {eth0: {address: 10.0.0.1/33}}}}\n", "1:45", "NS204", "address"),
    ("hosts:\n  h: {address: 10.0.0.1, link: nowhere}\n", "2:6", "NS207", "no link"),
    ("a: 1\na: 2\n", "2:1", "NS203", "appears twice"),
    ("devices: [\n", "2:1", "NS200", "no YAML"),
    ("services: {s: {instances: [h]}}\n", "1:28", "NS207", "no host"),
    ("devices: {fw: {rules: ../x.rules}}\n", "1:23", "NS205", "leaves the site"),
    ("devices: {fw: {rules: /etc/passwd}}\n", "1:23", "NS205", "leaves the site"),
    ("devices: {fw: {rules: missing.rules}}\n", "1:23", "NS206", "no file"),
    ("devices: {fw: {ip_forward: yes}}\n", "1:28", "NS201", "true or false"),
    ("devices: {fw: {interfaces: {e: {link: lan}}}}\nzones: {z: [lam]}\n", "2:13", "NS207", "did you mean 'lan'"),
    ("zones: {z: []}\n", "1:12", "NS208", "zone z has no links"),
    ("zones: {z: {a: 1}}\n", "1:12", "NS201", "zone z is a list"),
    ("devices: {fw: {interfaces: {e: {link: lan}}}}\nzones: {fw: lan}\n", "2:9", "NS203", "one of devices too"),
    ("version: 2\n", "1:10", "NS201", "version 1"),
    ("devices: {fw: {routes: [{via: 10.0.0.1}]}}\n", "1:25", "NS208", "'to'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "place", "code", "words"), BAD, ids=[b[3] for b in BAD])
def test_mistakes_have_a_place(tmp_path: Path, text: str, place: str, code: str, words: str) -> None:
    (tmp_path / "netsim.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        netsim.load(tmp_path)
    shown = str(caught.value)
    assert shown.startswith(f"netsim.yaml:{place}: {code} "), shown
    assert words in shown


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (tmp_path / "secret").write_text("*filter\nCOMMIT\n")
    (site / "x.rules").symlink_to(tmp_path / "secret")
    (site / "netsim.yaml").write_text("devices: {fw: {rules: x.rules}}\n")
    with pytest.raises(InputError, match="leaves the site"):
        netsim.load(site)


def test_mistakes_of_all_files_come_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.rules").write_text("*filter\n-A FORWARD -s x\nCOMMIT\n")
    (tmp_path / "netsim.yaml").write_text("devices: {fw: {rules: a.rules, rp_filter: 7}}\n")
    with pytest.raises(InputError) as caught:
        netsim.load(tmp_path)
    assert {d.source.file for d in caught.value.diagnostics} == {"a.rules", "netsim.yaml"}


def test_yaml_that_tries_to_hurt(tmp_path: Path) -> None:
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
    )
    (tmp_path / "netsim.yaml").write_text(laughs)
    with pytest.raises(InputError, match="NS905"):
        netsim.load(tmp_path, limits=Limits(yaml_nodes=20_000))
    (tmp_path / "netsim.yaml").write_text("a: " + "[" * 500 + "]" * 500)
    with pytest.raises(InputError, match="NS905"):
        netsim.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("22:22", "22:22"),
        ("no", "no"),
        ("010", "010"),
        ("1e3", "1e3"),
        ("12", 12),
        ("true", True),
        ("", None),
    ],
)
def test_scalars_follow_our_rules(text: str, value: object) -> None:
    assert plain_scalar(text) == value


ROUTES = """default via 10.0.0.1 dev eth0 proto dhcp metric 100
10.1.0.0/16 via 10.0.0.2 dev eth0
blackhole 10.66.0.0/16
10.2.0.0/16 proto static
\tnexthop via 10.0.0.3 dev eth0 weight 1
\tnexthop via 10.0.0.4 dev eth1 weight 2
local 10.0.0.9 dev eth0 table local proto kernel scope host src 10.0.0.9
"""
ROUTES_JSON = json.dumps(
    [
        {"dst": "default", "gateway": "10.0.0.1", "dev": "eth0", "metric": 100, "flags": []},
        {"dst": "10.1.0.0/16", "gateway": "10.0.0.2", "dev": "eth0"},
        {"type": "blackhole", "dst": "10.66.0.0/16"},
        {
            "dst": "10.2.0.0/16",
            "nexthops": [
                {"gateway": "10.0.0.3", "dev": "eth0", "weight": 1},
                {"gateway": "10.0.0.4", "dev": "eth1", "weight": 2},
            ],
        },
        {"type": "local", "dst": "10.0.0.9", "dev": "eth0", "table": "local"},
    ]
)


def test_routes_as_text_and_as_json_are_the_same() -> None:
    text, rows = parse_routes(ROUTES), parse_routes(ROUTES_JSON)
    assert [(r.prefix, r.hops, r.type, r.metric, r.table) for r in text] == [
        (r.prefix, r.hops, r.type, r.metric, r.table) for r in rows
    ]
    with pytest.raises(InputError, match="unknown word"):
        parse_routes("10.0.0.0/8 sideways eth0\n")
    with pytest.raises(InputError, match="no JSON"):
        parse_routes("[{]")


def test_rules_as_text_and_as_json_are_the_same() -> None:
    text = parse_rules(
        "0:\tfrom all lookup local\n100:\tfrom 10.0.0.0/8 fwmark 0x1/0xff lookup 7\n32766:\tfrom all lookup main\n"
    )
    rows = parse_rules(json.dumps([
        {"priority": 0, "src": "all", "table": "local"},
        {"priority": 100, "src": "10.0.0.0", "srclen": 8, "fwmark": "0x1", "fwmask": "0xff", "table": "7"},
        {"priority": 32766, "src": "all", "table": "main"},
    ]))  # fmt: skip
    strip = [(r.priority, r.table, r.src, r.fwmark) for r in text]
    assert strip == [(r.priority, r.table, r.src, r.fwmark) for r in rows]
    assert text[1].fwmark == (1, 255)


@st.composite
def tables(draw: st.DrawFn) -> list[Route]:
    found = []
    for n in range(draw(st.integers(0, 8))):
        length = draw(st.integers(0, 6))
        address = draw(st.integers(0, 63)) << 26
        kind = draw(st.sampled_from(list(RouteType)[:1] * 3 + [RouteType.BLACKHOLE, RouteType.THROW]))
        found.append(
            Route(Prefix(Family.IPV4, address, length), (NextHop(f"e{n}"),), kind, draw(st.integers(0, 2)))
        )
    return found


def slow(routes: list[Route], address: int) -> Route | None:
    """Longest prefix, then lowest metric, then the first: the obvious way."""
    fitting = [r for r in routes if r.prefix.first <= address <= r.prefix.last]
    return min(fitting, key=lambda r: (-r.prefix.length, r.metric), default=None)


@given(tables())
def test_longest_match_agrees_with_the_obvious_way(routes: list[Route]) -> None:
    ranges = best_routes(routes, Family.IPV4)
    for address in [n << 26 for n in range(64)] + [(n << 26) - 1 for n in range(1, 64)]:
        found = [r for (low, high), r in ranges if low <= address <= high]
        wanted = slow(routes, address)
        assert found == ([wanted] if wanted is not None else [])


@given(tables(), tables(), st.integers(0, 3))
def test_forwarding_is_a_partition_and_throw_goes_on(
    main: list[Route], extra: list[Route], mark: int
) -> None:
    routes = [*main, *(Route(r.prefix, r.hops, r.type, r.metric, "7") for r in extra)]
    rules = (RouteRule(100, "7", fwmark=(1, 1)), RouteRule(32766, "main"))
    device = Device("d", routes=tuple(routes), route_rules=rules)
    parts = forwarding(device)
    for n in range(0, 64, 5):
        address = n << 26
        if address >> 24 == 127:
            continue
        point = [v or 0 for v in Packet(src="1.1.1.1", dst=address, mark=mark).point()]
        hits = [f for f in parts if POOL.value(f.packets, point)]
        assert len(hits) == 1
        wanted = slow(list(extra), address) if mark & 1 else None
        if wanted is None or wanted.type is RouteType.THROW:
            wanted = slow(main, address)
        if wanted is None or wanted.type is RouteType.THROW:
            assert hits[0].action == "no-route"
        else:
            assert hits[0].action == ("forward" if wanted.type is RouteType.UNICAST else wanted.type.value)
            assert hits[0].hops == wanted.hops


ZONED: dict[str, Any] = {
    "devices": {
        "fw": {
            "interfaces": {
                "a": {"address": ["10.0.1.1/24", "2001:db8:1::1/64"], "link": "lan-a"},
                "b": {"address": "10.0.2.1/24", "link": "lan-b"},
                "c": {"address": "10.0.3.1/30", "link": "core"},
            }
        },
        "fw2": {"interfaces": {"c": {"address": "10.0.3.2/30", "link": "core"}}},
    },
    "subnets": {"office": {"prefix": "10.0.1.0/25", "link": "lan-a"}},
}


def test_links_with_room_for_end_systems_are_zones() -> None:
    network = netsim.Network.build(**ZONED, internet={"links": ["core"]})
    assert list(network.zones) == ["office", "lan-b", "internet"]
    assert network.zones["office"].links == ("lan-a",)
    addresses = dict(network.instances("zone:office")[0].addresses)
    low = (10 << 24) + (1 << 8)
    assert addresses[Family.IPV4] == ((low + 2, low + 254),)
    assert (0x20010DB8 << 96) + (1 << 80) + 1 not in [a for r in addresses[Family.IPV6] for a in r]
    assert network.names()[-3:] == ["zone:office", "lan-b", "internet"]


def test_declared_zones_go_round() -> None:
    network = netsim.Network.build(**ZONED, zones={"all": ["lan-a", "lan-b"], "none": "core"})
    assert list(network.zones) == ["all", "none"]
    assert [i.name for i in network.instances("all")] == ["all on lan-a", "all on lan-b"]
    assert network.instances("none")[0].addresses == ()
    again = netsim.from_graph(network.graph)
    assert again == network
    assert list(again.zones) == ["all", "none"]
    assert again != netsim.Network.build(**ZONED)
    import networkx

    graph: Any = networkx.MultiDiGraph(zones={"all": ["lan-a"]})
    for name, device in ZONED["devices"].items():
        graph.add_node(name, kind="device", **device)
    assert list(netsim.from_graph(graph).zones) == ["all"]

"""Site files: what is refused, with its place; routes and rules of iproute2; forwarding against brute force."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import netsim
from netsim.errors import InputError, Limits
from netsim.space import Family, Packet
from netsim.space.pool import POOL
from netsim.topology.forwarding import best_routes, forwarding
from netsim.topology.model import Device, Interface, NextHop, Prefix, Route, RouteRule, RouteType
from netsim.topology.network import Network
from netsim.topology.nodes import plain_scalar
from netsim.topology.routes import parse_routes, parse_rules, prefix

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
    ("internet: {links: [nowhere]}\n", "1:20", "NS207", "no link"),
    ("devices: {d: {interfaces: {e: {link: a}}}}\nsubnets: {s: {link: a}}\n", "2:14", "NS208", "no prefix"),
    ("devices: {d: {interfaces: {e: {link: a}}}}\nhosts: {h: {address: [], link: a}}\n", "2:12", "NS208", "no address"),
    ("devices:\n  d: {routes: [10.0.0.0/8 sideways]}\n", "2:16", "NS210", "unknown word"),
    ("devices:\n  d: {routes: [{to: 10.0.0.0/8, dev: a-name-that-is-too-long}]}\n", "2:38", "NS204", "15 bytes"),
    (f"devices: {{d: {{rules: {'a' * 5000}}}}}\n", "1:22", "NS206", "no file"),
    ("devices: {d: {}}\nname: a\x01b\n", "2:8", "NS200", "U+0001"),
    ("devices: {d: {}}\nname: \x7f", "2:7", "NS200", "U+007F"),
    ("a: &a [*a]\n", "1:8", "NS905", "within itself"),
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
    assert addresses[Family.IPV4] == ((low, low), (low + 2, low + 254))
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


# What routing refuses and how policy rules read: measured with `ip route get ... iif e0` on Linux 6.18

TWO = (
    Interface("e0", (prefix("10.0.1.1/24"),), "a"),
    Interface("e1", (prefix("10.0.2.1/24"),), "b"),
)


def refused(device: Device, interface: str, packet: Packet) -> list[str]:
    network = Network({device.name: device})
    point = [v or 0 for v in packet.point()]
    return [name for name, node in network.refused[device.name, interface] if POOL.value(node, point)]


@pytest.mark.parametrize(
    ("src", "dst", "names"),
    [
        ("240.0.0.1", "10.0.2.5", []),
        ("0.1.2.3", "10.0.2.5", []),
        ("10.0.2.255", "10.0.2.5", []),
        ("0.0.0.0", "10.0.2.5", ["martian-source"]),  # noqa: S104
        ("224.1.1.1", "10.0.2.5", ["martian-source"]),
        ("255.255.255.255", "10.0.2.5", ["martian-source"]),
        ("10.0.1.1", "10.0.2.5", ["martian-source"]),
        ("127.1.1.1", "10.0.2.5", ["martian-source"]),
        ("10.0.1.5", "240.0.0.1", []),
        ("10.0.1.5", "0.1.2.3", []),
        ("10.0.1.5", "0.0.0.0", ["martian-destination"]),  # noqa: S104
        ("10.0.1.5", "224.1.1.1", ["martian-destination"]),
        ("10.0.1.5", "127.1.1.1", ["martian-destination"]),
    ],
)
def test_martians_are_those_of_the_kernel(src: str, dst: str, names: list[str]) -> None:
    assert refused(Device("d", TWO), "e0", Packet(src=src, dst=dst)) == names


def test_limited_broadcast_is_taken_and_not_forwarded() -> None:
    device = Device("d", TWO, routes=parse_routes("default via 10.0.2.9 dev e1\n"))
    point = [v or 0 for v in Packet(src="10.0.1.5", dst="255.255.255.255").point()]
    assert [f.action for f in forwarding(device) if POOL.value(f.packets, point)] == ["local"]


def test_reverse_paths_are_looked_up_unmarked_and_with_the_ends_exchanged() -> None:
    routes = parse_routes(
        "99.0.0.0/8 via 10.0.1.9 dev e0\ndefault via 10.0.2.9 dev e1\ndefault via 10.0.1.9 dev e0 table 7\n"
        "default via 10.0.2.9 dev e1 table 9\n"
    )
    rules = parse_rules(
        "50:\tfrom all to 10.0.1.77 blackhole\n51:\tfrom 10.0.2.5 to 10.0.1.78 lookup 9\n"
        "100:\tfrom all fwmark 0x1 lookup 7\n32766:\tfrom all lookup main\n"
    )
    device = Device("d", TWO, (), routes, rules, rp_filter=1)
    for src, mark, names in (
        ("99.1.1.1", 0, []),
        ("98.1.1.1", 0, ["rp-filter 1"]),
        ("98.1.1.1", 1, ["rp-filter 1"]),
        ("10.0.1.9", 0, []),
        ("10.0.1.77", 0, ["rp-filter 1"]),
        ("10.0.1.78", 0, ["rp-filter 1"]),
    ):
        assert refused(device, "e0", Packet(src=src, dst="10.0.2.5", mark=mark)) == names, (src, mark)


def test_a_vrf_has_its_own_martians_and_reverse_paths() -> None:
    interfaces = (*TWO, Interface("e2", (prefix("10.0.1.7/24"),), "c", "red"))
    device = Device("d", interfaces, routes=parse_routes("default via 10.0.2.9 dev e1\n"), rp_filter=2)
    assert refused(device, "e0", Packet(src="10.0.1.7", dst="10.0.2.5")) == []
    assert refused(device, "e2", Packet(src="10.0.1.7", dst="10.0.1.5")) == ["martian-source", "rp-filter 2"]
    assert refused(device, "e2", Packet(src="10.0.1.9", dst="10.0.1.5")) == []
    assert refused(device, "e2", Packet(src="10.5.1.1", dst="10.0.1.5")) == ["rp-filter 2"]
    assert refused(device, "e0", Packet(src="10.5.1.1", dst="10.0.1.5")) == []


def test_policy_rules_for_lo_tos_and_families() -> None:
    rules = parse_rules(
        "50:\tfrom all iif lo lookup 7\n60:\tfrom all tos 0x10 prohibit\n70:\tnot from 10.0.0.0/8 blackhole\n"
        "32766:\tfrom all lookup main\n"
    )
    routes = parse_routes("99.0.0.0/8 dev e0 table 7\ndefault dev e1\n::/0 dev e1\n")
    parts = forwarding(Device("d", TWO, routes=routes, route_rules=rules))

    def action(packet: Packet) -> str:
        return next(f.action for f in parts if POOL.value(f.packets, [v or 0 for v in packet.point()]))

    assert action(Packet(src="11.0.0.1", dst="99.0.0.1", iif="")) == "forward"
    assert action(Packet(src="11.0.0.1", dst="99.0.0.1", iif="e0")) == "blackhole"
    assert action(Packet(src="10.0.0.1", dst="98.0.0.1", iif="e0", tos=0x12)) == "prohibit"
    assert action(Packet(src="10.0.0.1", dst="98.0.0.1", iif="e0", tos=0x14)) == "forward"
    assert action(Packet(src="2001:db8::1", dst="2001:db9::1", iif="e0")) == "forward"


def test_default_routes_have_the_family_that_their_words_tell() -> None:
    for text, family in (
        ("default proto static pref medium\n\tnexthop via fe80::1 dev e0\n\tnexthop via fe80::2 dev e1\n", 6),
        ("default proto static\n\tnexthop via fe80::1 dev e0\n", 6),
        ("default via fe80::1 dev e0\n", 6),
        ("unreachable default dev lo metric 4294967295 error -101 pref medium\n", 6),
        ("default via inet6 fe80::1 dev e0\n", 4),
        ("default via 10.0.0.1 dev e0\n", 4),
        ('[{"dst":"default","nexthops":[{"gateway":"fe80::1","dev":"e0"}]}]', 6),
        ('[{"type":"unreachable","dst":"default","dev":"lo","pref":"medium"}]', 6),
        ('[{"dst":"default","via":{"family":"inet6","host":"fe80::1"},"dev":"e0"}]', 4),
    ):
        (found,) = parse_routes(text)
        assert found.prefix == Prefix(Family.IPV4 if family == 4 else Family.IPV6, 0, 0), text


def test_dead_next_hops_are_passed_over() -> None:
    (both,) = parse_routes(
        "10.0.0.0/8\n\tnexthop via 10.0.1.9 dev e0 weight 1 dead linkdown\n\tnexthop via 10.0.2.9 dev e1\n"
    )
    (rows,) = parse_routes(json.dumps([{"dst": "10.0.0.0/8", "nexthops": [
        {"gateway": "10.0.1.9", "dev": "e0", "weight": 1, "flags": ["dead", "linkdown"]},
        {"gateway": "10.0.2.9", "dev": "e1", "weight": 1, "flags": []}]}]))  # fmt: skip
    assert both.hops == rows.hops == (NextHop("e1", (Family.IPV4, 0x0A000209)),)
    device = Device("d", TWO, routes=parse_routes("10.0.0.0/8 via 10.0.1.9 dev e0 dead linkdown\n"))
    point = [v or 0 for v in Packet(src="10.0.1.5", dst="10.9.0.1").point()]
    assert [f.action for f in forwarding(device) if POOL.value(f.packets, point)] == ["no-route"]


def test_reserved_tables_have_one_name_and_vrfs_are_tables() -> None:
    found = parse_routes(
        "10.1.0.0/16 dev e0 table 254\n10.2.0.0/16 dev e0 vrf red\n10.3.0.0/16 dev e0 table 7\n"
    )
    assert [r.table for r in found] == ["main", "red", "7"]


@pytest.mark.parametrize(
    ("read", "rows"),
    [
        (parse_routes, '[{"dst":"10.0.0.0/8","metric":1e999,"dev":"e"}]'),
        (parse_routes, '[{"dst":"10.0.0.0/8","dev":5}]'),
        (parse_routes, '[{"dst":"10.0.0.0/8","dev":"a-name-that-is-too-long"}]'),
        (parse_routes, "10.0.0.0/8\n\tnexthop via 10.0.0.1 sideways 5\n"),
        (parse_rules, '[{"priority":1e999,"src":"all","table":"main"}]'),
        (parse_rules, '[{"priority":95,"src":"all","table":"main","suppress_prefixlen":0}]'),
        (parse_rules, '[{"priority":90,"src":"all","ipproto":"tcp","dport":80,"table":"8"}]'),
        (parse_rules, '[{"priority":80,"src":"10.1.0.0","srclen":16,"goto":32766}]'),
        (parse_rules, '[{"priority":80,"src":"all","iif":"a-name-that-is-too-long","table":"8"}]'),
    ],
)
def test_what_routing_does_not_model_is_refused(read: Callable[[str], object], rows: str) -> None:
    with pytest.raises(InputError, match="NS21"):
        read(rows)


def test_the_rule_of_vrfs_is_known() -> None:
    (text,) = parse_rules("1000:\tfrom all lookup [l3mdev-table]\n")
    (rows,) = parse_rules('[{"priority":1000,"src":"all","l3mdev":null}]')
    assert text.table == rows.table == "[l3mdev-table]"


def test_inline_policy_rules_join_those_of_the_kernel_and_a_listing_replaces_them() -> None:
    given = {"interfaces": {"e0": {"address": "10.0.1.1/24", "link": "a"}}}
    inline = Network.build(
        devices={"d": {**given, "route_rules": [{"priority": 5, "fwmark": 1, "table": 7}]}}
    )
    assert [(r.priority, r.table) for r in inline.devices["d"].route_rules] == [
        (5, "7"), (0, "local"), (32766, "main"), (32767, "default")]  # fmt: skip
    listed = Network.build(devices={"d": {**given, "route_rules": "5:\tfrom all lookup 7\n"}})
    assert [(r.priority, r.table) for r in listed.devices["d"].route_rules] == [(5, "7")]


def test_a_mistake_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "netsim.yaml").write_text("devices: [d]\n")
    with pytest.raises(InputError) as caught:
        netsim.load(tmp_path)
    assert len(caught.value.diagnostics) == 1


def test_aliases_are_counted_before_they_are_followed(tmp_path: Path) -> None:
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
    )
    (tmp_path / "netsim.yaml").write_text(laughs)
    with pytest.raises(InputError, match="netsim.yaml:7:40: NS905"):
        netsim.load(tmp_path)


def test_source_ports_and_what_a_dump_leaves_open() -> None:
    rules = "*filter\n:FORWARD DROP\n-A FORWARD -p tcp --sport 40000:50000 -j ACCEPT\n-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\nCOMMIT\n"
    more = {
        "devices": {"fw": {"rules": rules, "ip_forward": True, "rp_filter": 0, "interfaces": {
            "eth0": {"address": "10.0.1.1/24", "link": "a"}, "eth1": {"address": "10.0.2.1/24", "link": "b"}}}},
        "hosts": {"c": {"address": "10.0.1.5", "link": "a"}, "s": {"address": "10.0.2.5", "link": "b"}},
    }  # fmt: skip
    site: Any = netsim.Network.build
    open_ = site(**more).reach("c", "s", "tcp/80")
    assert open_.status.value == "partial"
    assert {a.code for a in open_.assumptions} >= {"source-ports", "back-end"}
    network = site(**more, source_ports="40000-50000")
    said = network.reach("c", "s", "tcp/80")
    assert said.status.value == "allowed"
    assert "source-ports" not in {a.code for a in said.assumptions}
    assert netsim.from_graph(network.graph) == network
    for wrong in ("50000-40000", "1-70000", "http"):
        with pytest.raises(InputError, match="source_ports"):
            site(**more, source_ports=wrong)

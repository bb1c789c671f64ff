"""A matrix says of every pair what reach says, and whether anything else gets through."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import netsim
from benchmarks.generate import generate
from netsim.errors import Limits, QuestionError
from netsim.queries.matrix import ANYTHING_ELSE, Cell, Matrix
from netsim.queries.reach import Status
from netsim.space import packets
from netsim.topology.network import Network
from tests.queries.test_reach import accept, site, two_ways

DEMO = Path(netsim.__file__).parent / "demo_site"
SETS = ("asked", "allowed", "blocked", "split", "unknown")


def differing(cell: Cell) -> list[str]:
    """In what a cell is not what reach answers, or not nothing where reach has no answer."""
    if cell.status is None:
        found = [name for name in SETS if getattr(cell, name)] + sorted(cell.occurs)
        try:
            cell.reach()
        except QuestionError as error:
            return found if "NS312" in str(error) else [*found, str(error)]
        return [*found, "an answer"]
    r = cell.reach()
    found = [name for name in ("status", *SETS) if getattr(cell, name) != getattr(r, name)]
    if cell.occurs != {name for name in SETS[1:] if getattr(r, name)}:
        found.append("occurs")
    sources = [[(s.name, s.status, s.weight) for s in each.sources] for each in (cell, r)]
    return found if sources[0] == sources[1] else [*found, "sources"]


def disagreements(cells: Iterable[Cell]) -> dict[tuple[str, str, str], list[str]]:
    """The cells that are not what reach answers."""
    return {(c.src, c.dst, c.traffic): found for c in cells if (found := differing(c))}


def disagreeing(matrix: Matrix) -> dict[tuple[str, str, str], list[str]]:
    """The cells of a matrix that are not what reach answers."""
    return disagreements((*matrix.cells, *matrix.beyond))


@pytest.mark.parametrize("name", ["before", "during", "repaired"])
@pytest.mark.parametrize("ends", ["services", "hosts", "zones"])
def test_the_demo(name: str, ends: str) -> None:
    network = netsim.load(DEMO / name)
    m = network.matrix(ends, ["tcp/5432", "tcp/22", "icmp", "any"])
    assert not disagreeing(m)
    if ends == "services":
        status = {"before": Status.ALLOWED, "during": Status.PARTIAL, "repaired": Status.ALLOWED}[name]
        assert m.cell("auth", "db", "tcp/5432").status is status
        assert float(m.cell("auth", "db", "tcp/5432").share) == (0.2 if name == "during" else 0)


def test_nothing_else_is_proven_or_refuted() -> None:
    network = Network.build(**site(accept("-A FORWARD -p tcp --dport 80 -j ACCEPT\n")))
    m = network.matrix(["client", "server"], "tcp/80")
    assert [c.status for c in m.beyond if c.status] == [Status.BLOCKED, Status.BLOCKED]
    assert (m.leaks, m.doubts) == ((), ())
    m = network.matrix(["client", "server"], "tcp/443")
    assert [c.allowed == c.asked & packets(protocol="tcp", dport=80) for c in m.leaks] == [True, True]
    one_way = accept("-A FORWARD -p tcp --dport 80 -j ACCEPT\n-A FORWARD -s 10.0.1.5 -p gre -j ACCEPT\n")
    m = Network.build(**site(one_way)).matrix(["client", "server"], "tcp/80")
    assert [(c.src, c.dst) for c in m.leaks] == [("client", "server")]
    example = m.rest("client", "server").allowed.sample()
    assert example is not None
    assert example.protocol == 47
    doubt = accept("-A FORWARD -p tcp --dport 80 -j ACCEPT\n-A FORWARD -m time --timestart 08:00 -j ACCEPT\n")
    m = Network.build(**site(doubt)).matrix(["client", "server"], "tcp/80")
    assert (len(m.leaks), len(m.doubts)) == (0, 2)
    # A rule by the client's port is something else, however low the port is.
    low = accept("-A FORWARD -p tcp --dport 80 -j ACCEPT\n-A FORWARD -p udp --sport 53 -j ACCEPT\n")
    m = Network.build(**site(low)).matrix(["client", "server"], "tcp/80")
    assert m.rest("client", "server").allowed == m.rest("client", "server").asked & packets(
        protocol="udp", sport=53
    )


def test_vacuous_cases() -> None:
    empty = Network.build().matrix()
    assert (empty.ends, empty.cells, empty.leaks, empty.rows()) == ((), (), (), [])
    assert "nobody to ask about" in str(empty)
    six = site(accept())
    six["hosts"]["six"] = {"address": "2001:db8::5", "link": "a"}
    m = Network.build(**six).matrix(["client", "six", "server"], ["tcp/80"])
    assert m.cell("client", "six").status is m.cell("client", "client").status is None
    assert m.cell("client", "server").status is Status.BLOCKED
    assert len(m.cells) == 9
    assert set(m.rows()[0]) == set(Matrix.COLUMNS)
    assert not disagreeing(m)
    for value in (m, m.cells[0]):
        with pytest.raises(TypeError, match="neither true nor false"):
            bool(value)


def test_questions_without_an_answer() -> None:
    network = Network.build(**site(accept()))
    for wrong, words in (
        ({"ends": "servces"}, "did you mean 'services'"),
        ({"ends": ["clinet"]}, "did you mean 'client'"),
        ({"ends": ["client"], "traffic": "tpc/80"}, "did you mean 'tcp'"),
        ({"ends": ["internet"]}, "declares no internet"),
    ):
        with pytest.raises(QuestionError, match=words):
            network.matrix(**wrong)
    m = network.matrix(["client", "server"], ["tcp/80", "tcp/81"])
    for ask, words in (
        (("clien", "server", "tcp/80"), "did you mean 'client'"),
        (("client", "server"), "which traffic"),
        (("client", "server", "tcp/88"), "did you mean"),
    ):
        with pytest.raises(QuestionError, match=words):
            m.cell(*ask)


def test_defaults() -> None:
    network = Network.build(**site(accept()))
    m = network.matrix()
    assert (m.ends, m.traffic) == (("web",), ("tcp/80",))
    plain = site(accept())
    del plain["services"]
    m = Network.build(**plain).matrix()
    assert (m.ends, m.traffic) == (("a", "b"), ("tcp", "udp", "icmp"))


def test_a_budget_that_is_too_small_makes_cells_unknown() -> None:
    network = Network.build(**site(accept("-A FORWARD -p tcp --dport 80 -j ACCEPT\n")))
    calls: list[tuple[int, int]] = []
    tiny = packets(protocol="tcp", dport=(1234, 4321), sport=(1111, 2222))
    assert tiny
    m = network.matrix(
        ["client", "server"],
        "tcp/1234-4320",
        limits=Limits(nodes=3),
        progress=lambda d, t: calls.append((d, t)),
    )
    assert m.cell("client", "server").status is Status.UNKNOWN
    assert "budget" in {a.code for a in m.assumptions}
    assert calls[-1] == (4, 4)


def test_showing_and_keeping() -> None:
    network = netsim.load(DEMO / "during")
    m = network.matrix("hosts", "tcp/5432")
    text = str(m)
    assert "4 allowed, 26 blocked" in text
    assert max(map(len, text.splitlines())) <= 100
    assert "<table>" in m._repr_html_()
    assert "partial" in str(network.matrix().cell("auth", "db", "tcp/5432"))
    again = pickle.loads(pickle.dumps(m))
    assert again.rows() == m.rows()
    assert again.cell("auth1", "db1").allowed == m.cell("auth1", "db1").allowed
    many = Network.build(**generate(20)).matrix("zones")
    assert max(map(len, str(many).splitlines())) <= 100
    assert "every other end" in str(many)


def test_frame() -> None:
    import pandas  # type: ignore[import-untyped]

    empty = Network.build().matrix().frame()
    assert tuple(empty.columns) == Matrix.COLUMNS
    frame = netsim.load(DEMO / "during").matrix("services").frame()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == 12


def test_a_frame_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match="netsim\\[frames\\]"):
        Network.build().matrix().frame()


@pytest.mark.parametrize("doubts", [0.0, 0.6])
def test_a_generated_network(doubts: float) -> None:
    """IPv4 and IPv6, NAT, two spines, an internet: every pair of a small network."""
    network = Network.build(**generate(6, per_hub=2, doubts=doubts, seed=3))
    traffic = ["tcp/443", "icmp", "udp/53", "tcp/22"]
    assert not disagreeing(network.matrix("zones", traffic))
    assert not disagreeing(network.matrix("services", traffic))
    mixed = ["z001", "z002-h10", "internet", "10.1.0.0/23", "svc01", "hub01", "2001:db8:1::/62"]
    assert not disagreeing(
        network.matrix(mixed, ["tcp/443", "any; tcp/22", packets(state="established", ttl=64)])
    )


def test_many_batches_and_a_sample_of_many_zones() -> None:
    network = Network.build(**generate(70, seed=5, doubts=0.2))
    m = network.matrix("zones")
    assert len(m.cells) == 71 * 71 * 4
    assert "unknown" in {name for c in m.cells + m.beyond for name in c.occurs}
    cells = [*m.cells, *m.beyond]
    assert not disagreements(
        random.Random(1).sample([c for c in cells if c.status is not Status.BLOCKED], 25)
    )
    assert not disagreements(random.Random(2).sample(cells, 15))


@pytest.mark.parametrize("what", ["link:z003", "spine0", "hub01:up0", "link:wan"])
def test_networks_with_something_down(what: str) -> None:
    network = Network.build(**generate(6, per_hub=2, seed=3)).edit().down(what).network
    for ends in ("zones", "services"):
        assert not disagreeing(network.matrix(ends, ["tcp/443", "icmp"]))


def test_equal_cost_ways_and_asymmetric_returns() -> None:
    rules = accept("-A FORWARD -p tcp --dport 80 -j ACCEPT\n-A FORWARD -p udp -j ACCEPT\n")
    for more in (
        {"group": "pair"},
        {},
        {"client": {"gateway": "10.0.1.1"}, "server_gateway": "10.0.2.2"},
    ):
        for other in (rules, accept()):
            network = two_ways(rules, other, **more)
            assert not disagreeing(
                network.matrix(["client", "server", "a", "fwa"], ["tcp/80", "udp/9", "icmp", "gre"])
            )


# Random small networks: a ring of three devices with hosts, NAT, marks, limits, policy, both families.

ADDRESSES = ["10.0.0.0/16", "10.0.1.5", "10.0.2.0/24", "10.0.3.5", "10.0.3.0/24", "10.0.9.9"]
TESTS = ["", "-p tcp -m tcp --dport 80", "-p udp -m udp --dport 53", "-p icmp", "-p tcp -m tcp --sport 1024:3000",
         "-m limit --limit 1/s", "-m time --timestart 08:00", "-m mark --mark 0x1", "-p 47",
         "-m conntrack --ctstate ESTABLISHED", "-m conntrack --ctstate INVALID", "-p tcp -m tcp --tcp-flags SYN SYN"]  # fmt: skip
INTERFACES = ["", "-i lan", "-o lan", "-i ring1", "-o ring2"]


@st.composite
def rule_texts(draw: st.DrawFn) -> str:
    words = [draw(st.sampled_from(INTERFACES)), draw(st.sampled_from(TESTS))]
    for flag in ("-s", "-d"):
        if draw(st.booleans()):
            words.append(f"{flag} {draw(st.sampled_from(ADDRESSES))}")
    return " ".join(w for w in words if w)


@st.composite
def dumps(draw: st.DrawFn) -> str:
    lines = []
    if draw(st.booleans()):
        lines += ["*nat", ":PREROUTING ACCEPT", ":POSTROUTING ACCEPT"]
        for _ in range(draw(st.integers(0, 2))):
            target = draw(
                st.sampled_from(["10.0.3.5", "10.0.2.7", "10.0.1.6", "10.0.1.1", "10.0.3.5-10.0.3.6"])
            )
            to = draw(st.sampled_from(["10.0.9.9", "10.0.2.0/24", "10.0.3.5"]))
            lines.append(f"-A PREROUTING -d {to} -j DNAT --to-destination {target}")
        if draw(st.booleans()):
            source = draw(st.sampled_from(["10.0.1.0/24", "10.0.2.5"]))
            how = draw(
                st.sampled_from(["MASQUERADE", "SNAT --to-source 10.0.1.9", "SNAT --to-source 10.0.2.6"])
            )
            lines.append(f"-A POSTROUTING -s {source} -j {how}")
        lines.append("COMMIT")
    if draw(st.booleans()):
        lines += [
            "*mangle",
            f"-A PREROUTING {draw(rule_texts())} -j MARK --set-mark 1".replace("-o ", "-i "),
            "COMMIT",
        ]
    lines += ["*filter", f":FORWARD {draw(st.sampled_from(['ACCEPT', 'DROP']))}",
              f":INPUT {draw(st.sampled_from(['ACCEPT', 'DROP']))}", ":sub -"]  # fmt: skip
    if draw(st.booleans()):
        lines.append("-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT")
    for chain in ("FORWARD", "FORWARD", "FORWARD", "sub"):
        target = draw(
            st.sampled_from(["ACCEPT", "DROP", "REJECT", "NFQUEUE", *(["sub"] if chain != "sub" else [])])
        )
        lines.append(f"-A {chain} {draw(rule_texts())} -j {target}")
    return "\n".join([*lines, "COMMIT", ""])


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """lan1 - fw1 - ring - fw2 - lan2, and fw3 with lan3, all three on the ring's links."""
    devices: dict[str, Any] = {}
    for n in (1, 2, 3):
        left, right = n, n % 3 + 1
        routes = []
        for other in {1, 2, 3} - {n}:
            ways = [
                f"10.9.{n}.{10 + right}"
                if draw(st.booleans())
                else f"10.9.{(n - 2) % 3 + 1}.{10 + (n - 2) % 3 + 1}"
            ]
            if draw(st.integers(0, 3)) == 0:
                ways = [f"10.9.{n}.{10 + right}", f"10.9.{(n - 2) % 3 + 1}.{10 + (n - 2) % 3 + 1}"]
            routes.append({"to": f"10.0.{other}.0/24", "nexthops": [{"via": w} for w in ways]})
            routes.append({"to": f"2001:db8:{other}::/64", "via": f"2001:db8:9{n}::{right}"})
        interfaces = {
            "lan": {"address": [f"10.0.{n}.1/24", f"2001:db8:{n}::1/64"], "link": f"lan{n}"},
            "ring1": {"address": [f"10.9.{left}.{10 + n}/24", f"2001:db8:9{left}::{n}/64"], "link": f"ring{left}"},
            "ring2": {"address": [f"10.9.{(n - 2) % 3 + 1}.{10 + n}/24", f"2001:db8:9{(n - 2) % 3 + 1}::{n}/64"],
                      "link": f"ring{(n - 2) % 3 + 1}"},
        }  # fmt: skip
        devices[f"fw{n}"] = {
            "interfaces": interfaces, "routes": routes, "ip_forward": draw(st.integers(0, 5)) > 0,
            "rp_filter": draw(st.sampled_from([0, 0, 2])),
            "rules": [draw(dumps())] if draw(st.integers(0, 3)) else [],
            "tracking": draw(st.sampled_from(["filtered", "filtered", "passed", "untracked"])),
            "state_group": draw(st.sampled_from(["", "all"])),
        }  # fmt: skip
    hosts: dict[str, Any] = {
        f"h{n}": {"address": [f"10.0.{n}.5", f"2001:db8:{n}::5"], "link": f"lan{n}"} for n in (1, 2, 3)
    }
    hosts["g2"] = {
        "address": "10.0.2.7",
        "link": "lan2",
        "gateway": draw(st.sampled_from(["10.0.2.1", "10.0.2.99"])),
    }
    hosts["twin"] = {"address": "10.0.1.5", "link": "lan3"}  # the address of h1 once more
    subnets = {"part": {"prefix": "10.0.3.0/28", "link": "lan3"}} if draw(st.booleans()) else {}
    services = {"s": {"instances": ["h1", "g2"]}, "t": {"instances": ["h2", "h3", "g2"]}}
    return Network.build(devices=devices, hosts=hosts, services=services, subnets=subnets)


NAMES = [
    "s",
    "t",
    "h1",
    "h3",
    "g2",
    "twin",
    "zone:lan1",
    "zone:lan2",
    "zone:lan3",
    "fw2",
    "10.0.9.9",
    "10.0.3.0/26",
]


@given(networks(), st.data())
def test_a_matrix_is_reach_of_every_pair(network: Network, data: st.DataObject) -> None:
    known = [n for n in NAMES if n != "10.0.9.9"]
    wanted = data.draw(st.lists(st.sampled_from(known), min_size=2, max_size=4, unique=True))
    wanted = [w.removeprefix("zone:") if w.removeprefix("zone:") in network.zones else w for w in wanted]
    wanted = [w for w in wanted if not w.startswith("zone:")] or ["h1"]
    classes = data.draw(
        st.lists(st.sampled_from(["tcp/80", "udp/53", "icmp", "any", "47", "tcp/80; any", "sctp/9"]), min_size=1,
                 max_size=3, unique=True)
    )  # fmt: skip
    assert not disagreeing(network.matrix(wanted, classes))


def test_an_end_is_named_once() -> None:
    m = Network.build(**site(accept())).matrix(["client", "server", "client"], ["tcp/80"])
    assert m.ends == ("client", "server")
    assert [c.traffic for c in m.beyond] == [ANYTHING_ELSE] * 4

"""What a batch may look like, what is refused, and cases that are hard to draw at random."""

from __future__ import annotations

from typing import Any

import netaddr
import numpy as np
import pytest

import netsim
from netsim.errors import Limits, QuestionError
from netsim.index import Index
from netsim.index.columns import batch_of
from netsim.index.deciders import Deciders
from netsim.index.plans import VERDICTS
from netsim.rules.model import (
    ACCEPT,
    DROP,
    RETURN,
    Action,
    ActionKind,
    Bits,
    Chain,
    Condition,
    Deferred,
    Hook,
    In,
    Point,
    Rule,
    RuleSet,
    SetBits,
    Unmodelled,
)
from netsim.space import Family, Packet
from netsim.space.fields import Direction, State, interface_value
from tests.index.wild import any_rules

U8, U16, U32, U64 = np.uint8, np.uint16, np.uint32, np.uint64
ONE: dict[str, Any] = {
    "src": np.array([1, 2], U32), "dst": np.array([3, 4], U32), "protocol": np.array([6, 17], U8),
    "sport": np.array([9, 9], U16), "dport": np.array([80, 53], U16),
}  # fmt: skip

WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "a batch without columns"),
    ({**ONE, "dports": [1, 2]}, "no column 'dports' .*did you mean 'dport'"),
    ({**ONE, "dport": [1, 65536]}, "record 1 has dport 65536 .*0 to 65535"),
    ({**ONE, "dport": [-1, 5]}, "record 0 has dport -1"),
    ({**ONE, "dport": np.array([80.0, 53.0])}, "column 'dport' is float64 of shape .*integers 0 to 65535"),
    ({**ONE, "dport": [80]}, "column 'dport' has 1 records, 'src' has 2"),
    ({**ONE, "dport": [[80, 53]]}, r"column 'dport' is int64 of shape \(1, 2\)"),
    ({**ONE, "dport": 80}, r"column 'dport' is int64 of shape \(\)"),
    ({**ONE, "src": np.array([1.5, 2])}, "column 'src' is float64"),
    ({**ONE, "src": [1, 1 << 32]}, "record 1 has src 4294967296"),
    ({**ONE, "src": ["10.0.0.1", "10.0.0.256"]}, "record 1 has src '10.0.0.256'"),
    ({**ONE, "src6": np.zeros((2, 3), U64)}, r"column 'src6' .*\(n, 2\) of uint64"),
    ({**ONE, "src6": np.zeros((2, 2), U64)}, "needs a column 'family'"),
    ({**ONE, "src6_high": np.zeros(2, U64)}, "src6_high and src6_low belong together"),
    ({**ONE, "family": [4, 5]}, "record 1 has family 5"),
    ({**ONE, "family": [4, 6]}, "record 1 is IPV6, and no column has addresses of it"),
    ({**ONE, "protocol": [6, 256]}, "record 1 has protocol 256"),
    ({**ONE, "protocol": ["tcp", "tpc"]}, "record 1 has protocol 'tpc'"),
    ({**ONE, "protocol": [6, 1]}, "record 1 has sport 9 and protocol 1 .*ports need tcp"),
    ({**ONE, "fragment": [0, 1]}, "record 1 has sport 9 and protocol 17, a later fragment"),
    ({**ONE, "icmp_type": [0, 8]}, "record 1 has icmp_type 8 and protocol 17"),
    ({**ONE, "tcp_flags": [2, 2]}, "record 1 has tcp_flags 2 and protocol 17 .*flags need tcp"),
    ({**ONE, "tcp_flags": ["SYN", "SIN"]}, "record 1 has tcp_flags 'SIN'"),
    ({**ONE, "state": [0, 5]}, "record 1 has state 5"),
    ({**ONE, "state": ["new", "old"]}, "record 1 has state 'old'"),
    ({**ONE, "direction": ["original", "back"]}, "record 1 has direction 'back'"),
    ({**ONE, "iif": ["eth0", "a-name-that-is-too-long"]}, "record 1 has iif 'a-name-that-is-too-long'"),
    ({**ONE, "iif": [1, 2]}, "column 'iif' .*names"),
    ({**ONE, "iif": (np.array([0, 2]), ["eth0", "eth1"])}, "record 1 has iif 2"),
    ({**ONE, "mark": [0, 1 << 32]}, "record 1 has mark 4294967296"),
    ({**ONE, "ttl": [None, 3]}, "column 'ttl' is object"),
    ({**ONE, "iif": np.array(["eth0", None])}, "record 1 has iif None .*a name"),
    ({**ONE, "iif": np.array([float("nan"), "eth0"], object)}, "record 0 has iif nan"),
    ({**ONE, "mark": np.ma.array([1, 2], mask=[False, True])}, "record 1 has no mark .*masked"),
    ({**ONE, "src": [[1], [1, 2]]}, "column 'src' is list .*one-dimensional"),
    ({**ONE, "dport": [[1], [1, 2]]}, "column 'dport' is list .*one-dimensional"),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "message"), WRONG)
def test_what_is_no_batch_is_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(QuestionError, match=message):
        netsim.parse("*filter\n:FORWARD DROP [0:0]\nCOMMIT\n").classify(columns)


def test_a_batch_is_a_mapping_or_a_table() -> None:
    for nothing in (5, "text", [1, 2], None):
        with pytest.raises(QuestionError, match="is no batch"):
            batch_of(nothing)

    class Table:
        column_names = ("src", "dst")

        def __getitem__(self, name: str) -> Any:
            return ONE[name]

    class Frame(Table):
        columns = ("src", "dst")

    assert batch_of(Table()).size == batch_of(Frame()).size == 2


def test_no_records_are_no_error() -> None:
    found = netsim.parse("*filter\n:FORWARD DROP [0:0]\nCOMMIT\n").classify({"src": np.zeros(0, U32)})
    assert len(found) == 0
    assert found.rows() == []
    assert "0 records" in str(found)
    rules = netsim.parse("*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i a -s 1.2.3.4 -j ACCEPT\nCOMMIT\n")
    names = ("src", "dst", "protocol", "sport", "iif", "state", "mark", "family")
    assert rules.classify({name: [] for name in names}).verdict.tolist() == []
    assert rules.classify({"src6": [], "dst6": []}).verdict.tolist() == []


def test_a_hook_that_is_none_is_refused() -> None:
    rules = netsim.parse("*filter\n:FORWARD DROP [0:0]\nCOMMIT\n")
    with pytest.raises(QuestionError, match="no hook 'forwards' .*forward, input, output"):
        rules.classify(ONE, hook="forwards")


def test_words_and_numbers_say_the_same() -> None:
    words = batch_of({
        "src": ["10.0.0.1", "10.0.0.2"], "dst": ["10.0.1.1", "10.0.1.2"], "protocol": ["tcp", "17"],
        "tcp_flags": ["SYN,ACK", "NONE"], "state": ["new", "ESTABLISHED"], "direction": ["original", "reply"],
        "iif": (np.array([1, 0]), ["eth0", "lan"]), "oif": ["", "eth0"], "mac": ["00:11:22:33:44:55", ""],
    })  # fmt: skip
    numbers = batch_of({
        "src": np.array([0x0A000001, 0x0A000002], U32), "dst": [0x0A000101, 0x0A000102], "protocol": [6, 17],
        "tcp_flags": [18, 0], "state": [State.NEW, State.ESTABLISHED], "direction": [Direction.ORIGINAL, 1],
        "iif": np.array([[interface_value(n) >> 64, 0] for n in ("lan", "eth0")], U64),
        "oif": np.array([[interface_value(n) >> 64, 0] for n in ("", "eth0")], U64), "mac": [0x001122334455, 1 << 48],
    })  # fmt: skip
    assert words.open == numbers.open
    assert words.columns.keys() == numbers.columns.keys()
    for name, column in words.columns.items():
        assert np.array_equal(column, numbers.columns[name]), name


def test_both_families_in_one_batch() -> None:
    rules = netsim.parse("*filter\n:FORWARD DROP [0:0]\n-A FORWARD -s 10.0.0.0/8 -j ACCEPT\nCOMMIT\n", family=Family.IPV4)  # fmt: skip
    six = int(netaddr.IPAddress("2001:db8::1"))
    texts = rules.classify({"src": ["10.0.0.1", "11.0.0.1", "2001:db8::1"]})
    halves = np.array([[0, 0], [0, 0], [six >> 64, six & (1 << 64) - 1]], U64)
    table = rules.classify(
        {"src": np.array([0x0A000001, 0x0B000001, 0], U32), "src6": halves, "family": [4, 4, 6]}
    )
    pair = rules.classify({
        "src": np.array([0x0A000001, 0x0B000001, 0], U32), "src6_high": halves[:, 0].copy(),
        "src6_low": halves[:, 1].copy(), "family": [0, 0, 1],
    })  # fmt: skip
    for found in (texts, table, pair):
        assert list(found.names) == ["accept", "drop", "accept"]  # the other family is not filtered
        assert found.row[2] == -1


def test_arrays_that_cannot_be_written_to() -> None:
    columns = {name: column.copy() for name, column in ONE.items()}
    for column in columns.values():
        column.flags.writeable = False
    rules = netsim.parse("*filter\n:FORWARD DROP [0:0]\n-A FORWARD -p tcp --dport 80 -j ACCEPT\nCOMMIT\n")
    assert list(rules.classify(columns).names) == ["accept", "drop"]
    strided = {name: np.repeat(column, 2)[::2] for name, column in ONE.items()}
    assert list(rules.classify(strided).names) == ["accept", "drop"]


def test_the_answer_shows_itself() -> None:
    rules = netsim.parse(
        "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m limit --limit 1/s -j ACCEPT\n"
        "-A FORWARD -p tcp --dport 80 -j ACCEPT\nCOMMIT\n"
    )
    found = rules.classify(ONE)
    assert list(found.names) == ["accept", "unknown"]
    assert found.counts[VERDICTS[0]] == 1
    assert found.rule(0).number == 2
    assert found.rule(1) is None
    assert found.decider(1).chain.name == "filter/FORWARD"
    assert [d.rule.number for d in (found.doubt(0), found.doubt(1))] == [1, 1]
    assert {r["rule"] for r in found.rows()} == {2, "policy"}
    assert "unknown 1" in str(found)
    assert "--dport 80" in found._repr_html_()
    with pytest.raises(TypeError, match="neither true nor false"):
        bool(found)
    with pytest.raises(ValueError, match="read-only"):
        found.verdict[0] = 1
    assert not hasattr(found, "__dict__")


def test_several_threads_say_the_same() -> None:
    rules = RuleSet.of(
        [Rule((In("src4", ((i * 7, i * 7 + 3),)),), ACCEPT if i % 3 else DROP) for i in range(200)]
    )
    columns = {"src": np.arange(50_000, dtype=U32) % 1500}
    one, two = Index(rules).classify(columns), Index(rules).classify(columns, threads=2)
    assert np.array_equal(one.row, two.row)
    assert np.array_equal(one.verdict, two.verdict)


# Cases


def chains(*found: tuple[str, list[tuple[tuple[Condition, ...], Action | str]]]) -> RuleSet:
    """Chains by name, the first with a hook; a text as the action jumps there, with '>' it goes there."""
    made: dict[str, Chain] = {}
    for position, (name, rules) in enumerate(found):
        full = f"filter/{name}"
        made[full] = Chain(
            full,
            tuple(
                Rule(c, a if isinstance(a, Action) else Action(
                    ActionKind.GOTO if a.startswith(">") else ActionKind.JUMP, f"filter/{a.lstrip('>')}"
                ), (), full, n)
                for n, (c, a) in enumerate(rules, 1)
            ),
            Hook(Point.FORWARD, 0) if position == 0 else None,
            DROP if position == 0 else None,
        )  # fmt: skip
    return RuleSet(made)


TIME, SET = Unmodelled("time", True), Deferred("set", ("x",), "set x")
LIMIT = Unmodelled("limit", False)
HTTP: tuple[Condition, ...] = (In("protocol", ((6, 6),)), In("dport", ((80, 80),)))
CASES: dict[str, RuleSet] = {
    "an empty chain gone to leaves nothing to the same text": chains(
        ("base", [((TIME,), ">empty"), ((TIME,), ACCEPT)]), ("empty", [])
    ),
    "a condition and its negation": chains(
        ("base", [((TIME,), ACCEPT), ((Unmodelled("time", True, True),), ACCEPT)])
    ),
    "a jump and a rule that exclude each other": chains(
        ("base", [((SET,), "one")]), ("one", [((Deferred("set", ("x",), "set x", True),), ACCEPT)])
    ),
    "what a limited jump holds stands together": chains(
        ("base", [((LIMIT,), "one"), ((), ACCEPT)]), ("one", [(HTTP, ACCEPT), ((), DROP)])
    ),
    "return behind the last jump after a goto": chains(
        ("base", [((), "one"), (HTTP, ACCEPT)]), ("one", [((), ">two"), ((), DROP)]), ("two", [((), RETURN)])
    ),
    "an undecided return": chains(
        ("base", [((), "flood"), (HTTP, ACCEPT)]), ("flood", [((LIMIT,), RETURN), ((), DROP)])
    ),
    "two undecided returns": chains(
        ("base", [((), "flood"), ((LIMIT,), ACCEPT)]),
        ("flood", [((LIMIT,), RETURN), (HTTP, "deeper"), ((LIMIT,), RETURN), ((), DROP)]),
        ("deeper", [((LIMIT,), RETURN), ((), ACCEPT)]),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_case(name: str) -> None:
    index = Index(CASES[name])
    found = index.classify(ONE)
    for i in range(2):
        packet = Packet(
            src=int(ONE["src"][i]), dst=int(ONE["dst"][i]), protocol=int(ONE["protocol"][i]),
            sport=int(ONE["sport"][i]), dport=int(ONE["dport"][i]),
        )  # fmt: skip
        assert VERDICTS[found.verdict[i]] is index.decide(packet).verdict


def test_marks_of_connections_need_an_entry() -> None:
    mark = SetBits("ctmark", 0, 1, needs_entry=True)
    rules = RuleSet.of(
        [Rule((), Action(ActionKind.CONTINUE), (mark,)), Rule((Bits("ctmark", 1, 1),), ACCEPT)]
    )
    states = ["new", "established", "related", "invalid", "untracked"]
    found = Index(rules).classify({"state": states, "ctmark": [0, 1, 0, 1, 0]})
    for i, state in enumerate(states):
        packet = Packet(state=state, ctmark=i % 2)
        assert VERDICTS[found.verdict[i]] is Index(rules).decide(packet).verdict


def test_more_rows_than_allowed_are_asked_of_the_rules() -> None:
    rules = CASES["two undecided returns"]
    few = Index(rules, limits=Limits(rows=3))
    assert np.array_equal(few.classify(ONE).verdict, Index(rules).classify(ONE).verdict)
    stats = few.stats()["classify"]["forward"]
    assert "more than 3 (Limits.rows)" in stats["plans"][0]["fallback"]
    assert stats["records_asked_of_the_rules"] == 2


def test_thirty_levels_of_two_jumps_each() -> None:
    levels: list[tuple[str, list[tuple[tuple[Condition, ...], Action | str]]]] = [("base", [((), "c0")])]
    levels += [(f"c{i}", [(HTTP, f"c{i + 1}"), ((), f"c{i + 1}")]) for i in range(30)]
    levels.append(("c30", [((In("protocol", ((17, 17),)),), ACCEPT)]))
    index = Index(chains(*levels))
    assert list(index.classify(ONE).names) == ["drop", "accept"]
    assert not index.deciders.paths
    assert len(index.deciders) == sum(1 for _ in index.rules.rules()) + len(index.rules.chains)


def test_every_number_is_a_decider_and_back() -> None:
    for seed in range(40):
        deciders = Deciders(any_rules(seed))
        assert deciders.paths
        for number in range(0, len(deciders), max(1, len(deciders) // 200)):
            found = deciders[number]
            assert deciders.number(found.chain, found.rule, found.trail) == number
            if found.rule is not None:
                assert deciders[deciders.some(found.rule)].rule is found.rule
        assert deciders[-1] == deciders[len(deciders) - 1]
        assert deciders[0:2] == [deciders[0], deciders[1]][: len(deciders)]
        with pytest.raises(IndexError):
            deciders[len(deciders)]

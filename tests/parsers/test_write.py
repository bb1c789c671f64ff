"""The writer against the reader: what is written reads back as exactly the same set, with the same action."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netsim.errors import Inexpressible
from netsim.index.compile import Bounds, Compiler
from netsim.parsers import dialect_of, parse
from netsim.parsers.iptables.write import conditions_of_box, rewrite_rule, write_rule
from netsim.parsers.iptables.write_match import masked_of
from netsim.rules.bind import Interfaces, bind
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
    Deferred,
    Effect,
    In,
    Nat,
    NatKind,
    Netmap,
    Pool,
    Rule,
    RuleSet,
    SetBits,
    SetField,
    Unmodelled,
    Untrack,
)
from netsim.source import Source
from netsim.space.diagram import AND
from netsim.space.fields import FIELDS, Family, Range, complement_ranges, interface_prefix, interface_value
from netsim.space.packets import PacketSet, packets
from netsim.space.pool import POOL, field_node

TABLES = ("filter", "mangle", "nat", "raw")


def empty(family: Family, backend: str) -> RuleSet:
    """A rule set without rules, with a user chain in every table."""
    text = "".join(f"*{table}\n:user - [0:0]\nCOMMIT\n" for table in TABLES)
    return parse(text, family=family, backend=backend)


SETS = {(f, b): empty(f, b) for f in Family for b in ("legacy", "nft")}


@POOL.question()
def bounds(ruleset: RuleSet, *rules: Rule) -> list[Bounds]:
    """The bounds of some rules, with the same variables, within the rule set's family."""
    chain = Chain("filter/x", rules)
    compiler = Compiler(attrs.evolve(ruleset, chains={"filter/x": chain}))
    assert ruleset.family is not None
    mine = field_node(FIELDS["family"], ((ruleset.family, ruleset.family),))
    found = [compiler.rule_bounds(rule) for rule in rules]
    return [(POOL.apply(AND, mine, a), POOL.apply(AND, mine, b)) for a, b in found]


def reread(text: str, ruleset: RuleSet, rule: Rule) -> Rule:
    read = dialect_of(ruleset).parse_rule(text, ruleset=ruleset, chain=rule.chain, source=Source())
    assert len(read) == 1, text
    return read[0]


@POOL.question()
def check(rule: Rule, ruleset: RuleSet, *, addresses: Interfaces | None = None) -> str:
    """The law for one rule; the text. `addresses`: what the rule is bound with."""
    text = write_rule(rule, ruleset=ruleset)
    again = reread(text, ruleset, rule)
    if addresses is not None:
        name = rule.chain
        scratch = attrs.evolve(ruleset, chains={name: attrs.evolve(ruleset.chains[name], rules=(again,))})
        again = bind(scratch, addresses=addresses).chains[name].rules[0]
    first, second = bounds(ruleset, rule, again)
    assert first == second, text
    if rule.action.text or rule.action.kind is not ActionKind.REJECT:
        assert again.action == rule.action, text
    assert again.effects == rule.effects, text
    assert again.comment == rule.comment
    return text


def near(high: int, *values: int) -> st.SearchStrategy[int]:
    return st.one_of(st.sampled_from([0, 1, high, *values]), st.integers(0, high))


@st.composite
def spans(draw: st.DrawFn, high: int, most: int = 1) -> tuple[Range, ...]:
    found: list[Range] = []
    low = 0
    for _ in range(draw(st.integers(1, most))):
        if low > high:
            break
        first = draw(st.integers(low, min(high, low + 9)) if found else near(high))
        last = first if draw(st.booleans()) else draw(st.integers(first, min(high, first + 300)))
        found.append((first, last))
        low = last + 2
    ranges = tuple(found)
    return complement_ranges(ranges, high) if draw(st.integers(0, 3)) == 0 else ranges


@st.composite
def masked(draw: st.DrawFn, bits: int) -> tuple[Range, ...]:
    length = draw(st.integers(0, bits))
    low = draw(st.integers(0, (1 << bits) - 1)) >> (bits - length) << (bits - length)
    ranges: tuple[Range, ...] = ((low, low | (1 << (bits - length)) - 1),)
    return complement_ranges(ranges, (1 << bits) - 1) if draw(st.booleans()) else ranges


@st.composite
def interfaces(draw: st.DrawFn) -> tuple[Range, ...]:
    name = draw(st.sampled_from(["eth", "eth0", "a", "abcdefghijklmno", "br-lan.7"]))
    value = interface_value(name)
    ranges = (interface_prefix(name),) if draw(st.booleans()) else ((value, value),)
    top = FIELDS["iif"].maximum
    return complement_ranges(ranges, top) if draw(st.booleans()) else ranges


STATES = st.lists(st.integers(0, 4), max_size=5, unique=True).map(
    lambda vs: complement_ranges(complement_ranges(tuple((v, v) for v in sorted(vs)), 4), 4)
)
WORDS = st.sampled_from(["owner --uid-owner 0", "time --timestart 08:00", "string --algo bm --string x y"])


def conditions(family: Family) -> st.SearchStrategy[Condition]:
    end = "4" if family is Family.IPV4 else "6"
    icmp = 1 if family is Family.IPV4 else 58

    def test(name: str, ranges: st.SearchStrategy[tuple[Range, ...]]) -> st.SearchStrategy[Condition]:
        return st.builds(In, st.just(name), ranges)

    pair = st.builds(
        lambda t, c: AnyOf(((In("icmp_type", ((t, t),)), In("icmp_code", ((c, c),))),), True, "icmp type"),
        st.integers(0, 9), st.integers(0, 3),
    )  # fmt: skip
    return st.one_of(
        test("src" + end, masked(family.bits)),
        test("dst" + end, spans((1 << family.bits) - 1, 4)),
        test("protocol", st.sampled_from([((p, p),) for p in (6, 6, 6, 17, icmp, 33, 132, 136, 47, 0)])),
        test("protocol", st.just(((0, 5), (7, 255)))),
        test("iif", interfaces()),
        test("oif", interfaces()),
        test("dport", spans(65535, 9)),
        test("dport", spans(65535, 2)),
        test("sport", spans(65535)),
        test("icmp_type", spans(255)),
        test("icmp_type", st.integers(0, 255).map(lambda v: ((v, v),))),
        test("icmp_code", st.integers(0, 255).map(lambda v: ((v, v),))),
        pair,
        test("state", STATES),
        test("direction", st.sampled_from([((0, 0),), ((1, 1),)])),
        test("length", spans(65535)),
        test("ttl", spans(255, 2)),
        test("tos", masked(8)),
        test("tos", spans(255, 2)),
        test("mac", spans((1 << 48) - 1)),
        st.builds(Bits, st.just("mark"), st.integers(0, 3), st.integers(0, 3), st.booleans()),
        st.builds(Bits, st.just("ctmark"), st.integers(0, 3), st.integers(0, 3), st.booleans()),
        st.builds(Bits, st.just("tcp_flags"), st.integers(0, 255), st.integers(0, 255), st.booleans()),
        st.builds(lambda c, v, n: Bits("tcp_flags", c, c & v, n), st.integers(0, 63), st.integers(0, 63), st.booleans()),
        st.builds(Bits, st.just("fragment"), st.just(1), st.integers(0, 1), st.booleans()),
        st.builds(Bits, st.just("ct_status"), st.sampled_from([2, 8, 16]), st.sampled_from([2, 8]), st.booleans()),
        st.builds(Unmodelled, WORDS, st.just(True), st.booleans()),
        st.builds(Unmodelled, st.sampled_from(["limit --limit 5/min", "recent ! --rcheck --name x"]), st.just(False)),
        st.builds(lambda n: Deferred("set", ("s", "src,dst"), "set --match-set s src,dst", n, "give the ipset 's'"), st.booleans()),
        st.builds(lambda r: AnyOf(((In("sport", r),), (In("dport", r),)), False, "ports"), spans(65535, 3)),
        st.builds(lambda r, q: AnyOf(((In("length", r),), (In("length", q),))), spans(9), spans(20)),
    )  # fmt: skip


ACTIONS = [ACCEPT, DROP, RETURN, CONTINUE, Action(ActionKind.REJECT), Action(ActionKind.JUMP, "filter/user"),
           Action(ActionKind.GOTO, "filter/user"), Action(ActionKind.UNMODELLED, text="NFQUEUE --queue-num 3")]  # fmt: skip


@pytest.mark.parametrize("backend", ["legacy", "nft"])
@pytest.mark.parametrize("family", list(Family))
@given(data=st.data())
def test_what_is_written_reads_back_the_same(family: Family, backend: str, data: st.DataObject) -> None:
    ruleset = SETS[family, backend]
    found = tuple(data.draw(st.lists(conditions(family), max_size=4)))
    rule = Rule(
        found, data.draw(st.sampled_from(ACTIONS)), (), "filter/FORWARD", 1,
        comment=data.draw(st.sampled_from(["", 'a "b" c\\', "-j"])),
    )  # fmt: skip
    try:
        check(rule, ruleset)
    except Inexpressible as error:
        assert len(str(error)) > 10


SIMPLE = [
    ((In("src4", ((167772160, 184549375),)), In("protocol", ((6, 6),)), In("dport", ((80, 80),))),
     "-s 10.0.0.0/8 -p tcp -m tcp --dport 80"),
    ((In("protocol", ((17, 17),)), In("dport", ((53, 53), (100, 110)))), "-p udp -m multiport --dports 53,100:110"),
    ((In("protocol", ((6, 6),)), Bits("tcp_flags", 0x17, 2)), "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN"),
    ((In("state", ((1, 2),)),), "-m conntrack --ctstate ESTABLISHED,RELATED"),
    ((In("state", ((0, 2),)), In("direction", ((1, 1),))), "-m conntrack --ctdir REPLY"),
    ((In("dst4", ((1, 9),)),), "-m iprange --dst-range 0.0.0.1-0.0.0.9"),
    ((In("dst4", ()),), "-m iprange --src-range 0.0.0.2-0.0.0.1"),
    ((In("protocol", ((1, 1),)), In("icmp_type", ((8, 8),)), In("icmp_code", ((0, 0),))), "-p icmp -m icmp --icmp-type 8/0"),
    ((Bits("mark", 255, 1, True),), "-m mark ! --mark 0x1/0xff"),
    ((In("tos", ((0xB8, 0xBB),)),), "-m dscp --dscp 0x2e"),
    ((In("ttl", ((5, 9),)),), "-m ttl --ttl-gt 4 -m ttl --ttl-lt 10"),
]  # fmt: skip


@pytest.mark.parametrize(("found", "words"), SIMPLE, ids=[s[1] for s in SIMPLE])
def test_words(found: tuple[Condition, ...], words: str) -> None:
    rule = Rule(found, DROP, (), "filter/FORWARD", 1)
    assert check(rule, SETS[Family.IPV4, "legacy"]) == f"-A FORWARD {words} -j DROP"


TARGETS: list[tuple[str, Effect, Action]] = [
    ("mangle", SetBits("mark", 0xFFFFFF00, 5), CONTINUE),
    ("mangle", SetBits("ctmark", 0, 5, needs_entry=True), CONTINUE),
    ("mangle", SetBits("ctmark", 0xFF, 0, "mark", 0xF0, needs_entry=True), CONTINUE),
    ("mangle", SetBits("mark", 0xFF, 0, "ctmark", 0xF0, needs_entry=True), CONTINUE),
    ("mangle", SetField("tos", 0xF0, 5), CONTINUE),
    ("mangle", SetField("ttl", 0, 9), CONTINUE),
    ("mangle", Adjust("ttl", -1), CONTINUE),
    ("raw", Untrack(), CONTINUE),
    ("nat", Netmap(NatKind.DESTINATION, Family.IPV4, 167772160, 8, "NETMAP 10.0.0.0/8"), ACCEPT),
    ("nat", Nat(NatKind.DESTINATION, Family.IPV4, (Pool((9, 12), (80, 81)),), text="DNAT 0.0.0.9-0.0.0.12:80-81"), ACCEPT),
    ("nat", Nat(NatKind.DESTINATION, Family.IPV4, (Pool(None, (80, 80), random=True),), "REDIRECT", "REDIRECT"), ACCEPT),
]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "effect", "action"), TARGETS, ids=[f"{t[0]} {t[1]!r:.40}" for t in TARGETS]
)
def test_targets(table: str, effect: Effect, action: Action) -> None:
    rule = Rule((In("protocol", ((6, 6),)),), action, (effect,), f"{table}/PREROUTING", 1)
    check(rule, SETS[Family.IPV4, "legacy"])
    with pytest.raises(Inexpressible, match="target"):
        write_rule(attrs.evolve(rule, action=DROP), ruleset=SETS[Family.IPV4, "legacy"])
    with pytest.raises(Inexpressible, match="one target"):
        write_rule(attrs.evolve(rule, effects=(effect, effect)), ruleset=SETS[Family.IPV4, "legacy"])


REFUSED: list[tuple[tuple[Condition, ...], str]] = [
    ((In("dport", ((80, 80),)),), "dport: a port needs one protocol"),
    ((In("protocol", ((6, 6), (17, 17))),), "one protocol"),
    ((In("protocol", ((6, 6),)), In("dport", tuple((n, n) for n in range(0, 40, 2)))), "multiport takes 15"),
    ((In("src4", tuple((n, n) for n in range(0, 80, 2))),), "more than one rule"),
    ((AnyOf(((In("ttl", ((1, 1),)),), (In("tos", ((1, 1),)),))),), "one of these"),
    ((In("src6", ((1, 1),)),), "no words"),
    ((In("direction", ((0, 0),)),), "entry"),
    ((In("family", ((1, 1),)),), "family"),
    ((In("iif", ((5, 9),)),), "one interface"),
    ((Unmodelled("string --algo bm --icase", True, True),), "negated"),
]  # fmt: skip


@pytest.mark.parametrize(("found", "words"), REFUSED, ids=[r[1] for r in REFUSED])
def test_what_has_no_words_says_which_and_why(found: tuple[Condition, ...], words: str) -> None:
    with pytest.raises(Inexpressible, match=words):
        write_rule(Rule(found, DROP, (), "filter/FORWARD", 1), ruleset=SETS[Family.IPV4, "legacy"])


def test_actions_that_have_no_words() -> None:
    ruleset = SETS[Family.IPV4, "legacy"]
    for action, chain, words in (
        (Action(ActionKind.JUMP, "filter/nowhere"), "filter/FORWARD", "no chain"),
        (Action(ActionKind.JUMP, "filter/INPUT"), "filter/FORWARD", "no chain"),
        (Action(ActionKind.REJECT), "mangle/FORWARD", "table filter"),
        (Action(ActionKind.REJECT, text="tcp-reset"), "filter/FORWARD", "needs -p tcp"),
        (Action(ActionKind.REJECT, text="icmp6-no-route"), "filter/FORWARD", "no way to reject"),
        (Action(ActionKind.UNMODELLED, text="something odd"), "filter/FORWARD", "no words"),
    ):
        with pytest.raises(Inexpressible, match=words):
            write_rule(Rule((), action, (), chain, 1), ruleset=ruleset)
    with pytest.raises(Inexpressible, match="no meaning in OUTPUT"):
        write_rule(Rule((In("iif", ((1 << 120, 1 << 120),)),), DROP, (), "filter/OUTPUT", 1), ruleset=ruleset)
    with pytest.raises(Inexpressible, match="no dialect"):
        dialect_of(RuleSet.of([Rule((), DROP)]))


def test_a_rewritten_rule_keeps_its_target_and_its_comment() -> None:
    text = '*filter\n-A FORWARD -s 10.0.0.0/8 -m comment --comment "why not" -j LOG --log-prefix "in: "\nCOMMIT\n'
    ruleset = parse(text, family=Family.IPV4)
    rule = next(ruleset.rules())
    wider = (In("src4", ((0, (1 << 31) - 1),)),)
    written = rewrite_rule(rule, wider, ruleset=ruleset)
    assert written == '-A FORWARD -s 0.0.0.0/1 -m comment --comment "why not" -j LOG --log-prefix "in: "'
    assert check(rule, ruleset).endswith('-j LOG --log-prefix "in: "')
    other = attrs.evolve(rule, action=DROP)
    assert write_rule(other, ruleset=ruleset).endswith("-j DROP"), "the text no longer says what it does"
    with pytest.raises(Inexpressible, match="no text"):
        rewrite_rule(Rule((), DROP, chain="filter/FORWARD"), (), ruleset=ruleset)


BOXES: list[tuple[dict[str, Any], int]] = [
    ({"src": "10.0.0.0/8", "protocol": "tcp", "dport": 5432}, 4),
    ({"src": "10.0.0.1-10.0.0.9", "protocol": "udp", "dport": "53,67"}, 4),
    ({"dst": "2001:db8::/32", "protocol": "icmpv6", "icmp_type": 128}, 6),
    ({"iif": "eth0", "state": ["new"], "mark": (1, 3)}, 4),
    ({"protocol": "tcp", "dport": 80, "tcp_flags": ("SYN,ACK", "SYN")}, 4),
]


@pytest.mark.parametrize(("said", "family"), BOXES, ids=[str(b[0]) for b in BOXES])
def test_a_box_is_one_rule(said: dict[str, Any], family: int) -> None:
    wanted = packets(**said, family=family)
    box, *more = wanted.boxes()
    assert not more
    kind = Family.IPV4 if family == 4 else Family.IPV6
    rule = Rule(conditions_of_box(box.fields, family=kind), ACCEPT, (), "filter/FORWARD", 1)
    check(rule, SETS[kind, "legacy"])
    with POOL.question():
        assert PacketSet(bounds(SETS[kind, "legacy"], rule)[0][0]) == wanted


def test_a_box_that_is_more_than_one_rule() -> None:
    box = next(iter(packets(protocol=["tcp", "udp"], dport=80, family=4).boxes()))
    with pytest.raises(Inexpressible, match="one protocol"):
        conditions_of_box(box.fields, family=Family.IPV4)
    with pytest.raises(Inexpressible, match="family"):
        conditions_of_box({"family": ((1, 1),)}, family=Family.IPV4)
    with pytest.raises(Inexpressible, match="unmodelled"):
        conditions_of_box({"variables": ((1, 1),)}, family=Family.IPV4)
    with pytest.raises(Inexpressible, match=r"src6\.high"):
        conditions_of_box({"src6.high": ((1, 1),)}, family=Family.IPV6)


@given(st.integers(0, 255), st.integers(0, 255))
def test_values_and_masks_are_found_again(value: int, mask: int) -> None:
    numbers = tuple((n, n) for n in range(256) if n & mask == value & mask)
    merged = complement_ranges(complement_ranges(numbers, 255), 255)
    assert masked_of(merged, 8) == (value & mask, mask)
    assert masked_of((), 8) is None


def test_commands_are_quoted_for_a_shell() -> None:
    rules = parse(
        "*filter\n:FORWARD DROP\n:a;b - [0:0]\n-A FORWARD -j DROP\nCOMMIT\n*mangle\n:FORWARD ACCEPT\nCOMMIT\n"
    )
    command = dialect_of(rules).command
    text = "-A FORWARD ! -s 10.0.0.1/32 -j ACCEPT"
    says = [
        command(verb, text, ruleset=rules, chain="filter/FORWARD", number=number)
        for verb, number in (("insert", 1), ("insert", 2), ("replace", 1), ("delete", 1))
    ]
    assert says == [
        "iptables -I FORWARD 1 '!' -s 10.0.0.1/32 -j ACCEPT",
        "iptables -A FORWARD '!' -s 10.0.0.1/32 -j ACCEPT",
        "iptables -R FORWARD 1 '!' -s 10.0.0.1/32 -j ACCEPT",
        "iptables -D FORWARD 1",
    ]
    assert command("delete", "", ruleset=rules, chain="filter/a;b", number=1) == "iptables -D 'a;b' 1"
    six = attrs.evolve(rules, family=Family.IPV6)
    assert (
        command("delete", "", ruleset=six, chain="mangle/FORWARD", number=3)
        == "ip6tables -t mangle -D FORWARD 3"
    )

"""The algebra of packet sets, as laws."""

from __future__ import annotations

import ipaddress
import pickle
import subprocess
import sys
from typing import Any

import netaddr
import pytest
from hypothesis import given
from hypothesis import strategies as st

import netsim
from netsim.space import EVERYTHING, NOTHING, Packet, PacketSet, packets, transform
from netsim.space.fields import FIELDS, PORT_PROTOCOLS
from netsim.space.packets import packet_set
from netsim.space.pool import POOL
from tests.strategies import packet_sets, prefixes


@pytest.fixture(scope="module", autouse=True)
def invariants() -> Any:
    yield
    POOL.check_invariants()


@given(packet_sets, packet_sets, packet_sets)
def test_boolean_algebra(a: PacketSet, b: PacketSet, c: PacketSet) -> None:
    assert ~~a == a
    assert ~(a & b) == ~a | ~b
    assert a - b == a & ~b
    assert a ^ b == (a | b) - (a & b)
    assert a & (b | c) == (a & b) | (a & c)
    assert (a <= b) == (not (a - b))
    assert (a & b) <= a <= (a | b)
    assert (a < b) == (a <= b and a != b)
    assert a | ~a == EVERYTHING
    assert a & ~a == NOTHING
    assert bool(a) == (a.count() > 0)


@given(packet_sets, packet_sets)
def test_counts_are_exact(a: PacketSet, b: PacketSet) -> None:
    assert (a | b).count() + (a & b).count() == a.count() + b.count()
    assert a.count() + (~a).count() == EVERYTHING.count()


@given(packet_sets, st.integers(0, 5))
def test_samples_are_members(a: PacketSet, seed: int) -> None:
    for packet in (a.sample(), a.sample(seed=seed)):
        assert (packet is None) == (not a)
        if packet is not None:
            assert packet in a
            assert packet not in ~a
            assert packet_set(packet).count() >= 1
    assert a.sample() == a.sample()


@given(
    packet_sets,
    packet_sets,
    st.sampled_from(["src", "dport", "protocol", "family", "tcp_flags", "mark", "iif"]),
)
def test_forgetting(a: PacketSet, b: PacketSet, field: str) -> None:
    assert a <= a.some(field)
    assert a.every(field) <= a
    assert a.every(field) == ~(~a).some(field)
    assert a.some(field).some(field) == a.some(field)
    assert (a | b).some(field) == a.some(field) | b.some(field)
    assert (a & b).every(field) == a.every(field) & b.every(field)


def test_forgetting_a_protocol_forgets_its_ports() -> None:
    assert packets(protocol="tcp", dport=80).some("protocol") == packets(fragment=False)
    assert packets(src="10.0.0.1", dport=80).some("family") == packets(dport=80)


@given(packet_sets)
def test_a_field_that_does_not_apply_is_free(a: PacketSet) -> None:
    v4 = a & packets(family=4)
    for level in FIELDS["src6"].levels + FIELDS["dst6"].levels:
        assert level not in POOL.support(v4.node)
    for protocol in (1, 47):
        part = a & packets(protocol=protocol)
        assert part.some("dport") == part
        assert part.some("tcp_flags") == part
    later = a & packets(fragment=True)
    assert later.some("sport") == later


@given(packet_sets)
@POOL.question()
def test_boxes_are_disjoint_and_complete(a: PacketSet) -> None:
    boxes = list(a.boxes(limit=200))
    if len(boxes) < 200:
        total = NOTHING
        for path in POOL.paths(a.node):
            node = 1
            for level in sorted(path, reverse=True):
                from netsim.space.diagram import AND

                node = POOL.apply(AND, node, POOL.interval(level, path[level]))
            box = PacketSet(node)
            assert not box & total
            total |= box
        assert total == a
    assert len(list(a.boxes(limit=1))) <= 1


@given(prefixes())
def test_addresses_come_back_equal(prefix: str) -> None:
    net = netaddr.IPNetwork(prefix)
    forms: list[Any] = [prefix, net, ipaddress.ip_network(prefix), netaddr.IPSet([net]), [prefix]]
    expected = packets(src=prefix)
    for form in forms:
        assert packets(src=form) == expected
    assert expected.addresses("src") == netaddr.IPSet([net])


@given(st.ip_addresses())
def test_a_packets_addresses_come_back_equal(address: Any) -> None:
    for form in (str(address), address, netaddr.IPAddress(str(address))):
        packet = Packet(src=form, dst=form)
        assert packet.src == netaddr.IPAddress(str(address))
        assert packet.dst == packet.src


@given(packet_sets)
def test_pickle_and_digest(a: PacketSet) -> None:
    assert pickle.loads(pickle.dumps(a)) == a
    assert hash(a) == hash(~~a)


def test_the_digest_is_the_same_in_another_process() -> None:
    a = packets(src="10.0.0.0/8", protocol="tcp", dport="80,443")
    code = "import netsim; print(netsim.packets(src='10.0.0.0/8', protocol='tcp', dport='80,443').digest().hex())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == a.digest().hex()


CHANGES = {
    "constant": transform.constant("dst4", 0x0A000001),
    "mark": transform.bits("mark", 0xFFFFFFF0, 5, "ctmark", 0xF),
    "ttl": transform.table("ttl", [max(0, v - 1) for v in range(256)]),
    "netmap": transform.network("src4", 0x0A010000, 16, ((0xC0A80000, 0xC0A8FFFF),)),
    "port and address": transform.constant("dst4", 7).then(transform.constant("dport", 80)),
}


@given(packet_sets, packet_sets, st.sampled_from(sorted(CHANGES)))
def test_image_and_preimage_are_adjoint(a: PacketSet, b: PacketSet, name: str) -> None:
    change = CHANGES[name]
    assert change is not None
    a, b = a & packets(family=4), b & packets(family=4)
    assert (a.rewrite(change) <= b) == (a <= b.preimage(change))
    assert not NOTHING.rewrite(change)


@given(packet_sets, st.sampled_from(sorted(CHANGES)), st.sampled_from(sorted(CHANGES)))
def test_composition(a: PacketSet, first: str, second: str) -> None:
    f, g = CHANGES[first], CHANGES[second]
    assert f is not None
    assert g is not None
    assert a.preimage(g).preimage(f) == a.preimage(f.then(g))


@given(packet_sets)
def test_a_choice_has_bounds(a: PacketSet) -> None:
    change = transform.choice("dport", ((80, 90),))
    assert change is not None
    sure, possible = a.preimage(change, every=True), a.preimage(change)
    assert sure <= possible
    assert (~a).preimage(change) == ~sure


@given(
    st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)
)
def test_marks_are_integer_arithmetic(mark: int, ctmark: int, keep: int, value: int) -> None:
    change = transform.bits("mark", keep, value, "ctmark", 0xFF00)
    point = [v or 0 for v in Packet(mark=mark, ctmark=ctmark).point()]
    after = Packet.from_point([v or 0 for v in change.at(point)])
    assert after.mark == (mark & keep) ^ value ^ (ctmark & 0xFF00)


def test_misuse_is_said() -> None:
    with pytest.raises(TypeError, match="no len"):
        len(EVERYTHING)
    with pytest.raises(ValueError, match="70000"):
        packets(dport=70000)
    with pytest.raises(ValueError, match="not an address"):
        packets(src="10.0.0.300")
    with pytest.raises(KeyError, match="no field"):
        EVERYTHING.some("colour")
    assert not packets(src="10.0.0.1", dst="::1")
    assert EVERYTHING != 3
    assert 6 in PORT_PROTOCOLS


def test_text() -> None:
    shown = str(packets(src="10.0.0.0/8", protocol="tcp", dport="80,443", state="new"))
    assert shown == "state new protocol tcp src 10.0.0.0/8 dport 80,443"
    assert str(NOTHING) == "no packet"
    assert str(EVERYTHING) == "any packet"
    assert netsim.packets is packets


@given(packet_sets)
def test_addresses_are_counted_exactly(a: PacketSet) -> None:
    counts = a.address_counts("src")
    ranges = a.address_ranges("src")
    assert counts == {family: sum(h - lo + 1 for lo, h in found) for family, found in ranges.items()}

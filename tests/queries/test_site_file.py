"""A site in a file: the same answers, also in other processes, and no damaged file is taken."""

from __future__ import annotations

import multiprocessing
import os
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netsim
from netsim.index.container import MAGIC, ArtifactError, Container, write
from netsim.index.sitefile import SavedSite
from netsim.index.sites import SiteClassification
from tests.index.test_classify import batch as columns_of
from tests.index.wild import any_packet
from tests.queries.test_against_tracing import parts
from tests.queries.test_site_index import batch, wild_network

DEMO = Path(netsim.__file__).parent / "demo_site"
COLUMNS = ("verdict", "end", "device", "row", "undecided", "outcomes")


def same(one: SiteClassification, two: SiteClassification) -> None:
    for name in COLUMNS:
        assert np.array_equal(getattr(one, name), getattr(two, name)), name


def sections_of(path: Path) -> dict[str, Any]:
    file = Container(path)
    found: dict[str, Any] = {}
    for name in file.names():
        try:
            found[name] = file.json(name)
        except ArtifactError:
            found[name] = file.array(name)
    return found


@pytest.mark.parametrize("wild", [False, True])
def test_a_saved_site_answers_as_the_network_does(wild: bool, tmp_path: Path) -> None:
    path = tmp_path / "site"
    for seed in range(12):
        rng = random.Random(seed)
        if wild:
            network = wild_network(rng)
            columns = columns_of([any_packet(rng) for _ in range(30)])
            for name in ("iif", "oif", *rng.sample(["length", "mac", "ttl"], rng.choice((0, 1)))):
                del columns[name]
            ingress = [rng.choice(sorted(network.site_index.tables.entries)) for _ in range(30)]
        else:
            network = netsim.Network.build(**parts(rng))
            columns, ingress = batch(rng, network, 30)
        columns = columns | {"ingress": ingress}
        one = network.classify(columns)
        network.save(path)
        two = netsim.load_index(path).classify(columns)
        same(one, two)
        assert one.rows() == two.rows()


def test_a_batch_asks_for_no_rules(tmp_path: Path) -> None:
    network = netsim.load(DEMO / "before")
    network.save(tmp_path / "site")
    site = netsim.load_index(tmp_path / "site")
    assert isinstance(site, SavedSite)
    columns, ingress = batch(random.Random(2), network, 200)
    found = site.classify(columns | {"ingress": ingress})
    assert not any("rules" in vars(member.whole) for member in site.members)
    same(found, network.classify(columns | {"ingress": ingress}))
    assert found.rows() == network.classify(columns | {"ingress": ingress}).rows()
    assert any("rules" in vars(member.whole) for member in site.members)
    stats = site.stats()
    assert (stats["devices"], stats["rule_sets"]) == (2, 2)
    assert stats["bytes"] == os.path.getsize(tmp_path / "site")
    assert "index of a site" in str(site)


@pytest.fixture(scope="module")
def bytes_(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("site") / "site"
    netsim.load(DEMO / "before").save(path)
    return path.read_bytes()


def refusal(tmp_path: Path, data: bytes) -> str:
    """Why a file is refused; '' if it is not."""
    path = tmp_path / "damaged"
    path.write_bytes(data)
    try:
        netsim.load_index(path)
    except ArtifactError as error:
        return str(error)
    return ""


def test_damaged_cut_foreign_and_newer_files_are_refused(bytes_: bytes, tmp_path: Path) -> None:
    draw = random.Random(1)
    for place in [*range(0, 64, 5), *draw.sample(range(len(bytes_)), 40)]:
        data = bytearray(bytes_)
        data[place] ^= 1 << draw.randrange(8)
        assert refusal(tmp_path, bytes(data))
    assert "truncated or damaged" in refusal(tmp_path, bytes_[: len(bytes_) // 2])
    assert "is no netsim index" in refusal(tmp_path, b"version: 1\n" * 20)
    head = bytearray(bytes_[:64])
    struct.pack_into("<HH", head, len(MAGIC), 2, 0)
    at, length = struct.unpack_from("<QQ", head, 24)
    head[40:44] = bytes(4)
    struct.pack_into("<I", head, 40, zlib.crc32(bytes_[at : at + length], zlib.crc32(bytes(head))))
    assert "version 2.0" in refusal(tmp_path, bytes(head) + bytes_[64:])


def test_an_unknown_section_is_skipped_and_a_missing_one_is_not(bytes_: bytes, tmp_path: Path) -> None:
    path = tmp_path / "site"
    path.write_bytes(bytes_)
    sections = sections_of(path)
    write(path, {"novelty": [1], **sections, "another": np.arange(3)})
    columns = {"src": ["10.0.11.10"], "dst": ["10.0.20.10"], "protocol": ["tcp"], "dport": np.array([5432])}
    assert netsim.load_index(path).classify(columns, ingress="auth1").names.tolist() == ["accept"]
    for name in ("fields", "site/way_to", "site/roots", "leg/0/0", "texts"):
        write(path, {n: s for n, s in sections.items() if n != name})
        with pytest.raises(ArtifactError, match=name):
            netsim.load_index(path).classify(columns, ingress="auth1").rows()


def test_the_other_layout_is_refused(bytes_: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netsim.index.sitefile.ENDS", ("nowhere",))
    assert "another build" in refusal(tmp_path, bytes_)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("site/place_question", lambda a: a + 10_000),
        ("site/place_device", lambda a: a - 1),
        ("site/exit_way", lambda a: a * 0 - 1000),
        ("site/way_begin", lambda a: a[::-1].copy()),
        ("site/way_begin", lambda a: a[:-1].copy()),
        ("site/way_kind", lambda a: a * 0 + 77),
        ("site/way_to", lambda a: a + 1000),
        ("site/entry_to", lambda a: a.astype(np.int64)),
        ("site/entry_begin", lambda a: a + 1),
        ("site/roots", lambda a: a * 0 + 1_000_000),
        ("site/roots", lambda a: a * 0 - 1_000_000),
        ("site/place_iif", lambda a: a[:, :1].copy()),
    ],
)
def test_a_number_that_leads_out_of_its_table_is_refused(
    name: str, change: Any, bytes_: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "site"
    path.write_bytes(bytes_)
    sections = sections_of(path)
    write(path, {**sections, name: change(sections[name])})
    with pytest.raises(ArtifactError, match="no whole index"):
        netsim.load_index(path)


def _verdicts(path: str, pipe: Any) -> None:
    network = netsim.load(DEMO / "before")
    columns, ingress = batch(random.Random(3), network, 300)
    found = netsim.load_index(path).classify(columns | {"ingress": ingress})
    pipe.send([getattr(found, name).tolist() for name in COLUMNS])


def test_another_process_answers_the_same(bytes_: bytes, tmp_path: Path) -> None:
    path = tmp_path / "site"
    path.write_bytes(bytes_)
    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe()
    worker = context.Process(target=_verdicts, args=(str(path), its))
    worker.start()
    answer = mine.recv()
    worker.join()
    network = netsim.load(DEMO / "before")
    columns, ingress = batch(random.Random(3), network, 300)
    found = network.classify(columns | {"ingress": ingress})
    assert answer == [getattr(found, name).tolist() for name in COLUMNS]

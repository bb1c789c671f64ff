"""The index in a file: the same answers, and no damaged file is taken."""

from __future__ import annotations

import json
import multiprocessing
import os
import struct
import zlib
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

import netsim
from netsim.errors import DEFAULT_LIMITS
from netsim.index import Index
from netsim.index.artifact import SavedIndex, save
from netsim.index.container import ALIGN, MAGIC, ArtifactError, Container, write
from netsim.index.portable import Texts, model_of, plain
from netsim.rules.journey import HOOKS, NO_ADDRESSES
from netsim.rules.model import RuleSet
from tests.index.test_classify import KNOWN, LEFT, batch
from tests.index.wild import any_packet, any_rules

TEXT = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:web - [0:0]
-A FORWARD -i lan+ -p tcp -m multiport --dports 80,443 -j web
-A FORWARD -m limit --limit 5/s -j ACCEPT
-A web -d 10.0.2.0/24 -j ACCEPT
-A web -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
-A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 10.0.2.9:80
COMMIT
"""


def unlike(one: Any, two: Any) -> list[str]:
    """The columns in which two answers differ."""
    names = ("verdict", "row", "undecided")
    return [name for name in names if not np.array_equal(getattr(one, name), getattr(two, name))]


def saved(rules: RuleSet, path: Path, addresses: Any = NO_ADDRESSES) -> tuple[Index, SavedIndex]:
    index = Index(rules, addresses=addresses)
    save(index, path)
    return index, SavedIndex(path)


def test_a_saved_index_answers_as_the_rules_do(tmp_path: Path) -> None:
    path = tmp_path / "rules.netsim"
    for seed in range(60):
        draw = Random(seed)
        index, again = saved(any_rules(seed), path, draw.choice([NO_ADDRESSES, KNOWN]))
        columns = batch([any_packet(draw) for _ in range(25)])
        for name in draw.sample(LEFT, draw.choice([0, 0, 1])):
            if name not in ("src", "dst", "protocol"):
                del columns[name]
        for hook in HOOKS.values():
            one, two = index.classify(columns, hook=hook), again.classify(columns, hook=hook)
            assert not unlike(one, two)
            assert one.rows() == two.rows()


def test_rules_come_back_as_they_were() -> None:
    for seed in range(60):
        rules = any_rules(seed)
        texts = Texts()
        data = json.loads(json.dumps(plain(rules, texts)))
        again = model_of(data, Texts(texts.texts, texts.sources))
        assert again == rules
        assert list(again.chains) == list(rules.chains)
        assert (again.family, again.backend) == (rules.family, rules.backend)
        for name, chain in rules.chains.items():
            assert again.chains[name] == chain


def test_save_and_load_in_the_words_of_the_api(tmp_path: Path) -> None:
    rules = netsim.parse(TEXT)
    columns = {
        "src": np.array([1, 2], np.uint32), "dst": np.array([0x0A000205, 0x0A000305], np.uint32),
        "protocol": np.array([6, 6], np.uint8), "dport": np.array([80, 80], np.uint16), "iif": ["lan0", "lan1"],
    }  # fmt: skip
    rules.classify(columns)  # the kinds of batches asked before are saved too
    rules.save(tmp_path / "i")
    index = netsim.load_index(tmp_path / "i")
    assert "index" not in vars(index)  # no rule was made
    found = index.classify(columns)
    assert not unlike(found, rules.classify(columns))
    assert "index" not in vars(index)
    assert found.rule(0).text == "-A web -d 10.0.2.0/24 -j ACCEPT"
    assert found.rule(0).source.line == 7
    assert found.doubt(1).rule.number == 2
    assert index.decide(
        netsim.Packet(src="1.2.3.4", dst="10.0.2.5", protocol="tcp", dport=80, iif="lan0")
    ).step
    assert index.stats()["rules"] == 5
    assert "forward" in str(index)
    rules.save(tmp_path / "f", hooks=["forward"])
    assert list(netsim.load_index(tmp_path / "f").stats()["classify"]) == ["forward"]


@pytest.fixture(scope="module")
def bytes_(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("artifact") / "i"
    netsim.parse(TEXT).save(path, hooks=["input"])
    return path.read_bytes()


def refusal(tmp_path: Path, data: bytes) -> str:
    """Why a file of these bytes is refused; empty if it is taken."""
    path = tmp_path / "damaged"
    path.write_bytes(data)
    try:
        netsim.load_index(path)
    except ArtifactError as error:
        return str(error)
    return ""


def test_damage_is_found_wherever_it_is(bytes_: bytes, tmp_path: Path) -> None:
    draw = Random(1)
    places = {*range(64), *range(len(bytes_) - 200, len(bytes_)), *draw.sample(range(len(bytes_)), 600)}
    for place in sorted(places):
        data = bytearray(bytes_)
        data[place] ^= 1 << draw.randrange(8)
        assert refusal(tmp_path, bytes(data)), place


def test_a_part_of_a_file_is_refused(bytes_: bytes, tmp_path: Path) -> None:
    for length in (0, 1, 63, 64, 65, len(bytes_) // 2, len(bytes_) - 1):
        assert refusal(tmp_path, bytes_[:length]), length
    assert "truncated or damaged" in refusal(tmp_path, bytes_ + b"\0")


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    assert "is no netsim index" in refusal(tmp_path, TEXT.encode() * 3)
    assert "is no netsim index" in refusal(tmp_path, b"\x80\x04" + os.urandom(500))
    write(tmp_path / "other", {"something": [1, 2]})
    with pytest.raises(ArtifactError, match="has no section 'facts'"):
        netsim.load_index(tmp_path / "other")
    with pytest.raises(FileNotFoundError):
        netsim.load_index(tmp_path / "none")


def of_version(data: bytes, major: int, minor: int) -> bytes:
    """A file with a true checksum and another version."""
    head = bytearray(data[:64])
    struct.pack_into("<HH", head, len(MAGIC), major, minor)
    at, length = struct.unpack_from("<QQ", head, 24)
    head[40:44] = bytes(4)
    struct.pack_into("<I", head, 40, zlib.crc32(data[at : at + length], zlib.crc32(bytes(head))))
    return bytes(head) + data[64:]


def test_versions(bytes_: bytes, tmp_path: Path) -> None:
    assert "version 2.0, and this netsim reads version 1" in refusal(tmp_path, of_version(bytes_, 2, 0))
    assert "version" in refusal(tmp_path, of_version(bytes_, 0, 9))
    newer = tmp_path / "newer"
    newer.write_bytes(of_version(bytes_, 1, 7))
    assert netsim.load_index(newer).stats()["rules"] == 5


def test_an_unknown_section_is_skipped(tmp_path: Path) -> None:
    netsim.parse(TEXT).save(tmp_path / "i")
    old = Container(tmp_path / "i")
    sections: dict[str, Any] = {"novelty": {"x": 1}}
    for name in old.names():
        try:
            sections[name] = old.json(name)
        except ArtifactError:
            sections[name] = old.array(name)
    sections["another"] = np.arange(5)
    write(tmp_path / "j", sections)
    columns = {"src": np.array([1], np.uint32), "dst": np.array([2], np.uint32)}
    assert not unlike(
        netsim.load_index(tmp_path / "j").classify(columns),
        netsim.load_index(tmp_path / "i").classify(columns),
    )


def test_another_layout_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netsim.parse(TEXT).save(tmp_path / "i")
    monkeypatch.setattr("netsim.index.artifact.WORDS", {"mark": 1})
    with pytest.raises(ArtifactError, match="another build"):
        netsim.load_index(tmp_path / "i")


def test_sections_come_back(tmp_path: Path) -> None:
    arrays: list[Any] = [
        np.arange(7).astype(t) for t in ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "?")
    ]
    arrays += [np.zeros((0, 6), np.int64), np.arange(24).reshape(2, 3, 4), np.array(5)]
    write(tmp_path / "c", {"json": {"a": [1, None, "\u00fc"]}} | {f"n/{i}": a for i, a in enumerate(arrays)})
    found = Container(tmp_path / "c")
    assert found.json("json") == {"a": [1, None, "\u00fc"]}
    for i, array in enumerate(arrays):
        again = found.array(f"n/{i}")
        assert again.dtype == array.dtype
        assert np.array_equal(again, array)
        assert again.ctypes.data % ALIGN == 0 or not again.size
    with pytest.raises(ArtifactError, match="another kind"):
        found.json("n/0")


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    write(tmp_path / "c", {"a": 1})
    with pytest.raises(TypeError):
        write(tmp_path / "c", {"a": object()})
    assert Container(tmp_path / "c").json("a") == 1
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "no" / "c", {"a": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def _counts(path: str, pipe: Any) -> None:
    columns = {"src": np.arange(100, dtype=np.uint32), "dst": np.full(100, 0x0A000205, np.uint32)}
    pipe.send(netsim.load_index(path).classify(columns).verdict.tolist())


def test_processes_share_a_file(tmp_path: Path) -> None:
    path = str(tmp_path / "i")
    netsim.parse(TEXT).save(path)
    context = multiprocessing.get_context("spawn")
    answers = []
    ends = [context.Pipe() for _ in range(2)]
    workers = [context.Process(target=_counts, args=(path, end)) for _, end in ends]
    for worker in workers:
        worker.start()
    for mine, _ in ends:
        answers.append(mine.recv())
    for worker in workers:
        worker.join()
    os.unlink(path)  # a mapped file may be replaced or removed
    assert answers[0] == answers[1]
    assert len(answers[0]) == 100


def test_limits_are_those_of_the_rules(tmp_path: Path) -> None:
    netsim.parse(TEXT).save(tmp_path / "i")
    assert netsim.load_index(tmp_path / "i").limits == DEFAULT_LIMITS


@pytest.mark.parametrize("state", ["before", "during", "repaired"])
def test_rules_of_the_demo_come_back_whole(state: str, tmp_path: Path) -> None:
    """Their ranges hold members of enumerations, such as states."""
    rules = netsim.parse(Path(netsim.__file__).parent / "demo_site" / state / "fw1.rules")
    rules.save(tmp_path / "fw1.netsim")
    again = netsim.load_index(tmp_path / "fw1.netsim")
    batch = {
        "src": np.array([0x0A000E0A, 0x0A000105, 1], np.uint32),
        "dst": np.array([0x0A00140A] * 3, np.uint32),
        "protocol": np.array([6, 6, 17], np.uint8),
        "sport": np.array([40000] * 3, np.uint16),
        "dport": np.array([5432] * 3, np.uint16),
    }
    assert again.classify(batch).rows() == rules.classify(batch).rows()

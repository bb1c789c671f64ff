"""Files that somebody has made up, with true checksums: an error with a name, or answers; never a look outside of a table."""

from __future__ import annotations

import copy
import struct
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

import netsim
from benchmarks.lists import generate
from netsim.errors import NetsimError
from netsim.index import verify
from netsim.index.artifact import SavedIndex
from netsim.index.classifier import Classifier
from netsim.index.container import _SECTION as SECTION
from netsim.index.container import ALIGN, ArtifactError, Container, write
from netsim.index.portable import DEPTH, Texts, model_of
from netsim.index.sitefile import SavedSite
from netsim.queries.verdict import Rules
from netsim.rules.journey import HOOKS
from tests.index.test_classify import batch
from tests.index.wild import any_packet, any_rules

Sections = dict[str, Any]
DEMO = Path(netsim.__file__).parent / "demo_site" / "before"
EXTREME = (0, 1, 2, -1, -2, 255, 256, 65535, 65536, (1 << 31) - 1, -(1 << 31), (1 << 63) - 1, -(1 << 63))


def sections_of(path: Path) -> Sections:
    """What a file holds."""
    file = Container(path)
    found: Sections = {}
    for name in file.names():
        try:
            found[name] = file.json(name)
        except ArtifactError:
            found[name] = np.array(file.array(name))
    return found


def originals(folder: Path) -> list[Sections]:
    """Files of every form of tables: small and long lists, both families, bit vectors, a site."""
    found: list[Sections] = []
    path = folder / "original"
    for k, rules in enumerate(
        (
            any_rules(3),
            any_rules(5),
            generate(60).rules(),
            generate(5000).rules(),
            generate(300, family=6).rules(),
        )
    ):
        Rules(rules).save(path, hooks=["forward"] if k > 1 else None)
        found.append(sections_of(path))
    netsim.load(DEMO).save(path)
    found.append(sections_of(path))
    return found


def value(draw: Random, kind: np.dtype[Any], old: int) -> Any:
    """Another value for a cell: an extreme one, a neighbour, or one bit changed."""
    info = np.iinfo(kind) if kind.kind in "iu" else np.iinfo(np.uint8)
    new = draw.choice(
        [*EXTREME, old + 1, old - 1, old ^ 1 << draw.randrange(info.bits), draw.randrange(1 << 12)]
    )
    return np.array(max(int(info.min), min(int(info.max), new))).astype(kind)


def scalars(data: Any) -> list[tuple[Any, Any]]:
    """Every place in plain data where something is that is no list and no mapping."""
    found: list[tuple[Any, Any]] = []
    stack = [data]
    while stack:
        each = stack.pop()
        for key in each if isinstance(each, dict) else range(len(each)):
            if isinstance(each[key], dict | list):
                stack.append(each[key])
            found.append((each, key))
    return found


def mutated(draw: Random, original: Sections) -> Sections:
    """The sections with one to three things changed."""
    found = dict(original)
    for _ in range(draw.choice((1, 1, 2, 3))):
        names = [n for n in found if n not in ("rules", "texts", "sources") or draw.random() < 0.1]
        if draw.random() < 0.6:  # what leads to other tables
            names = [n for n in names if isinstance(found[n], np.ndarray) and found[n].size] or names
        name = draw.choice(names)
        data = copy.deepcopy(found[name])
        if isinstance(data, np.ndarray):
            if not data.size or draw.random() < 0.05:
                data = data[: draw.randrange(len(data) + 1)] if data.ndim else data
            else:
                flat = data.reshape(-1)
                for _ in range(draw.choice((1, 1, 3, 50))):
                    at = draw.randrange(len(flat))
                    flat[at] = value(draw, data.dtype, int(flat[at]))
        else:
            places = scalars(data)
            if not places:
                continue
            holder, key = draw.choice(places)
            old = holder[key]
            choices: list[Any] = [
                None,
                -1,
                0,
                1,
                1 << 40,
                1 << 70,
                "x",
                [],
                {},
                True,
                *(k for k in found if "/" in k),
            ]
            if isinstance(old, int) and draw.random() < 0.6:
                choices = [old + 1, old - 1, -old, old * 2]
            holder[key] = draw.choice(choices)
        found[name] = data
    return found


def columns(draw: Random, site: bool) -> dict[str, Any]:
    """Records for any of the files."""
    n = 9
    found = batch([any_packet(draw) for _ in range(n)])
    del found["family"], found["src6"], found["dst6"]
    found["protocol"] = np.array([draw.choice((6, 17)) for _ in range(n)])
    for name in ("icmp_type", "icmp_code", "tcp_flags", "fragment"):
        del found[name]
    for name in ("src", "dst"):
        found[name] = np.array(
            [draw.choice((3, 10 << 24 | draw.randrange(1 << 24), draw.randrange(1 << 32))) for _ in range(n)],
            np.uint32,
        )
    if site:
        found["src"][:] = 0x0A000B0A
        found["dst"][:5] = 0x0A00140A
        del found["iif"], found["oif"]
    return found


def asked(path: Path, draw: Random) -> str:
    """What loading and asking a file leads to. Raises what is no error with a name."""
    try:
        index = netsim.load_index(path)
    except ArtifactError:
        return "refused"
    try:
        if isinstance(index, SavedSite):
            name = draw.choice(sorted(index.tables.entries))
            index.classify(columns(draw, site=True), ingress=name).rows()
        else:
            for hook in HOOKS:
                index.classify(columns(draw, site=False), hook=hook).rows()
    except NetsimError:
        return "error"
    return "answers"


def fuzz(folder: Path, first: int, count: int) -> Counter[str]:
    """Asks changed files."""
    files = originals(folder)
    found: Counter[str] = Counter()
    for seed in range(first, first + count):
        draw = Random(seed)
        path = folder / "changed"
        write(path, mutated(draw, draw.choice(files)))
        found[asked(path, draw)] += 1
    return found


def test_changed_files_are_refused_or_answer(tmp_path: Path) -> None:
    code = (
        "import faulthandler, pathlib, sys; faulthandler.enable(); sys.path.insert(0, sys.argv[1])\n"
        "from tests.index.test_hostile import fuzz\n"
        "print(dict(fuzz(pathlib.Path(sys.argv[2]), 0, 90)))\n"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code, root, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for word in ("refused", "answers"):
        assert word in done.stdout


class Outside(Exception):
    """A kernel has looked outside of a table."""


class Checked:
    """An array as an uncompiled kernel sees it, which notices every place outside of it."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.shape = array.shape

    def __getitem__(self, key: Any) -> int:
        for at, size in zip(key if isinstance(key, tuple) else (key,), self.shape, strict=True):
            if not 0 <= at < size:
                raise Outside(f"{at} of {size}")
        return int(self.array[key])

    def __setitem__(self, key: Any, given: int) -> None:
        self[key]
        if self.array.dtype == np.int32 and not -(1 << 31) <= given < 1 << 31:
            raise Outside(f"{given} does not fit in 32 bits")
        self.array[key] = given


def watch(patch: pytest.MonkeyPatch) -> None:
    """Lets the classifiers of this process run kernels that are not compiled, on checked arrays."""
    begin = Classifier._begin

    def checked(self: Classifier, choice: Any) -> None:
        begin(self, "uncompiled")
        self._view = Checked

    patch.setattr(Classifier, "_begin", checked)


def test_no_accepted_file_leads_a_kernel_outside_of_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = originals(tmp_path)
    watch(monkeypatch)
    found: Counter[str] = Counter()
    for seed in range(40):
        draw = Random(seed)
        path = tmp_path / "changed"
        write(path, tables_changed(draw, draw.choice(files)))
        found[asked(path, draw)] += 1
    assert found["refused"] > 5, found
    assert found["answers"] > 5, found


def tables_changed(draw: Random, original: Sections) -> Sections:
    """The sections with a few cells of a program or its pools changed."""
    pools = [
        n
        for n in original
        if isinstance(original[n], np.ndarray) and n.startswith(("plan/", "leg/")) and original[n].size
    ]
    name = draw.choice(pools)
    data = original[name].copy()
    flat = data.reshape(-1)
    used = np.flatnonzero(flat) if draw.random() < 0.8 and flat.any() else np.arange(len(flat))
    for at in draw.choices(used.tolist(), k=draw.choice((1, 2, 20, 90))):
        flat[at] = value(draw, data.dtype, int(flat[at]))
    return {**original, name: data}


def test_data_nested_without_end_is_refused(tmp_path: Path) -> None:
    deep: Any = ["()"]
    for _ in range(DEPTH + 5):
        deep = ["()", deep]
    with pytest.raises(ValueError, match="deep"):
        model_of(deep, Texts())
    Rules(any_rules(1)).save(tmp_path / "i")
    sections = sections_of(tmp_path / "i")
    write(tmp_path / "j", {**sections, "rules": deep})
    index = netsim.load_index(tmp_path / "j")
    with pytest.raises(ArtifactError, match="has no whole rules.*deep"):
        _ = index.rules
    nested: Any = 1
    for _ in range(50):
        nested = {"list": [nested]}
    name = next(n for n in sections if n.startswith("plan/") and isinstance(sections[n], dict))
    for change in (nested, {"part": "Rows", "fields": {}}, {"part": "Path", "fields": {}}):
        stage = {**next(s for s in sections[name]["stages"] if isinstance(s, dict)), "does": change}
        write(tmp_path / "k", {**sections, name: {**sections[name], "stages": [stage]}})
        with pytest.raises(ArtifactError):
            netsim.load_index(tmp_path / "k")


def test_json_too_deep_for_python_is_refused(tmp_path: Path) -> None:
    Rules(any_rules(1)).save(tmp_path / "i")
    data = (tmp_path / "i").read_bytes()
    deep = b"[" * 200_000 + b"]" * 200_000
    sections = sections_of(tmp_path / "i")
    write(tmp_path / "j", {**sections, "plans": "x" * (len(deep) - 2)})
    whole = bytearray((tmp_path / "j").read_bytes())
    at = whole.index(b'"xxxx')
    whole[at : at + len(deep)] = deep
    (tmp_path / "j").write_bytes(repaired(bytes(whole)))
    with pytest.raises(ArtifactError, match="no JSON in section 'plans'"):
        netsim.load_index(tmp_path / "j")
    (tmp_path / "k").write_bytes(repaired(data))
    assert isinstance(netsim.load_index(tmp_path / "k"), SavedIndex)


def repaired(data: bytes) -> bytes:
    """A file with true checksums for whatever is in it."""
    at, length = struct.unpack_from("<QQ", data, 24)
    listing = bytearray(data[at : at + length])
    for entry in range(0, length, SECTION.size):
        fields = list(SECTION.unpack_from(listing, entry))
        begin, size = fields[1], fields[2]
        fields[3] = zlib.crc32(data[begin : begin + size + -size % ALIGN])
        SECTION.pack_into(listing, entry, *fields)
    head = bytearray(data[:64])
    head[40:44] = bytes(4)
    struct.pack_into("<I", head, 40, zlib.crc32(listing, zlib.crc32(head)))
    return bytes(head) + data[64:at] + bytes(listing) + data[at + length :]


def test_tables_that_are_built_are_accepted() -> None:
    """What `verify` refuses is never what a classifier has made."""
    for rows in (
        generate(20).rows,
        generate(3000).rows,
        generate(500, family=6).rows,
        generate(400, closed=True).rows,
    ):
        found = Classifier(rows)
        verify.check_classifier(found)
        assert found.memory() > 0

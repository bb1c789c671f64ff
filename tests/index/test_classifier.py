"""The batch classifier against a scan of the rows, on every engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from netsim import kernels
from netsim.errors import BudgetExceeded, Limits, QuestionError
from netsim.index import buckets, programs, segments, specs, tables
from netsim.index.classifier import Classifier
from netsim.index.rows import INTERVALS, WORDS, Rows

ENGINES = ("plain", "uncompiled", "compiled")
FIVE = ("src4", "dst4", "sport", "dport", "protocol")
SIX = ("src6.high", "src6.low", "dst6.high", "dst6.low", "dport", "protocol")


def engines() -> list[str]:
    return [e for e in ENGINES if e != "compiled" or kernels.engine() == "compiled"]


def random_rows(
    rng: np.random.Generator,
    n: int,
    columns: tuple[str, ...],
    words: tuple[str, ...] = (),
    *,
    halves: bool = False,
) -> Rows:
    """Rows that overlap: bounds come from few values, wide and narrow, prefixes and ranges, duplicates."""
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    for name in columns:
        top = INTERVALS[name]
        seeds = [int(rng.integers(0, top, dtype=np.uint64, endpoint=True)) for _ in range(6)]
        lows, highs = [], []
        for _ in range(n):
            kind = rng.integers(0, 5)
            base = seeds[rng.integers(0, 6)]
            if kind == 0:
                a, b = 0, top
            elif kind == 1:
                a = b = base
            elif kind == 2:
                bits = int(rng.integers(0, top.bit_length() + 1))
                a = base >> bits << bits
                b = min(top, a | (1 << bits) - 1)
            elif kind == 3:
                a, b = sorted((base, seeds[rng.integers(0, 6)]))
            else:
                a, b = max(0, base - int(rng.integers(0, 4))), min(top, base + int(rng.integers(0, 4)))
            lows.append(a)
            highs.append(b)
        low[name], high[name] = np.array(lows, np.uint64), np.array(highs, np.uint64)
    for upper, lower in (("src6.high", "src6.low"), ("dst6.high", "dst6.low")):
        # A range of 128 bits: the upper half is a point, or the lower one is whole.
        if upper in low and lower in low and not halves:
            wide = low[upper] != high[upper]
            low[lower] = np.where(wide, np.uint64(0), low[lower])
            high[lower] = np.where(wide, np.uint64(2**64 - 1), high[lower])
    care: dict[str, Any] = {}
    value: dict[str, Any] = {}
    for name in words:
        masks = [0, *(int(rng.integers(0, WORDS[name], dtype=np.uint64, endpoint=True)) for _ in range(3))]
        care[name] = np.array([masks[rng.integers(0, 4)] for _ in range(n)], np.uint64)
        drawn = rng.integers(0, WORDS[name], n, dtype=np.uint64, endpoint=True)
        value[name] = drawn & care[name]
    rows = Rows(low, high, np.arange(n, dtype=np.int32), care, value)
    rows.check_invariants()
    return rows


def records(rng: np.random.Generator, rows: Rows, n: int) -> dict[str, NDArray[np.uint64]]:
    """Points in rows, at their ends and one beyond, and points anywhere."""
    found: dict[str, Any] = {}
    pick = rng.integers(0, max(1, len(rows)), n)
    for name in rows.columns:
        top = INTERVALS.get(name, WORDS.get(name, 0))
        column = [int(v) for v in rng.integers(0, top, n, dtype=np.uint64, endpoint=True)]
        for i in range(n):
            if not len(rows) or rng.random() < 0.1:
                continue
            if name in rows.low:
                a, b = int(rows.low[name][pick[i]]), int(rows.high[name][pick[i]])
                column[i] = min(top, max(0, (a, b, a - 1, b + 1, (a + b) // 2, a)[rng.integers(0, 6)]))
            else:
                column[i] = column[i] & ~int(rows.care[name][pick[i]]) | int(rows.value[name][pick[i]])
        found[name] = np.array(column, np.uint64)
    return found


def scanned(rows: Rows, columns: dict[str, Any], n: int) -> list[int]:
    return [rows.scan({name: values[i] for name, values in columns.items()}) for i in range(n)]


def check(rows: Rows, columns: dict[str, Any], n: int) -> None:
    expected = scanned(rows, columns, n)
    for engine in engines():
        assert Classifier(rows, choice=engine).first(columns).tolist() == expected, engine  # type: ignore[arg-type]


SHAPES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "five": (FIVE, ()),
    "ipv6": (SIX, ()),
    "ipv6, upper halves": (("src6.high", "dst6.high", "dport"), ()),
    "ipv6, one half of three": (("src6.high", "dst6.high", "dst6.low", "protocol"), ()),
    "addresses": (("src4", "dst4"), ()),
    "one address": (("dst4", "dport"), ()),
    "no address": (("dport", "sport", "state"), ("tcp_flags",)),
    "words": (FIVE[:2], ("tcp_flags", "mark", "ct_status", "fragment", "variables.low")),
    "everything": (("iif.high", "iif.low", "oif.high", "oif.low", "state", "family", "protocol", "dst4", "src4", "dport", "icmp_type",
                    "length", "ttl", "mac"), ("mark", "tcp_flags")),
    "both families": (("src4", "dst4", "src6.high", "src6.low", "family"), ()),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@given(seed=st.integers(0, 2**32), n=st.integers(0, 24))
def test_every_engine_gives_the_first_row(shape: str, seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, n, *SHAPES[shape])
    check(rows, records(rng, rows, 30), 30)


def forced(monkeypatch: pytest.MonkeyPatch, **values: int) -> None:
    """Sets thresholds, so that small lists take the forms of large ones."""
    for name, value in values.items():
        owner = next(m for m in (tables, buckets, programs, segments, specs) if hasattr(m, name))
        monkeypatch.setattr(owner, name, value)


FORMS: dict[str, dict[str, int]] = {
    "table of all": {},
    "tables": {"FEW": 0},
    "tables of few classes": {"FEW": 0, "MERGED": 0, "MANY": 0},
    "slots, searched": {"FEW": 0, "MERGED": 0, "GRID": 0, "NESTED": 0, "LONG": 2},
    "slots, nested": {"FEW": 0, "MERGED": 0, "GRID": 0, "LONG": 1000},
    "slots at the end": {"FEW": 0, "GRID": 0, "TRIES": 0},
    "sorted": {"FEW": 0, "MERGED": 0, "GRID": 0, "SPREAD": 0, "LONG": 3},
    "four tables": {"FEW": 0, "MERGED": 0},
    "no pattern fits": {"FEW": 0, "SOLVED": 0},
    "vectors": {"FEW": 0, "CELLS": 0},
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_the_tables(monkeypatch: pytest.MonkeyPatch, engine: Any, form: str) -> None:
    if engine not in engines():
        pytest.skip("nothing was compiled here")
    forced(monkeypatch, **FORMS[form])
    for seed in range(4):
        rng = np.random.default_rng(seed)
        rows = random_rows(rng, 70, FIVE)
        columns = records(rng, rows, 250)
        found = Classifier(rows, choice=engine)
        assert found.first(columns).tolist() == scanned(rows, columns, 250)
        (part,) = found.stats()["parts"]
        named = {group["table"] for group in part.get("groups", {}).values()}
        if form == "vectors":
            assert part["method"] == "bit vectors"
        elif engine != "plain":
            assert form.split()[0].strip(",") in {*named, "tables", "four", "no"}


def test_sets_of_rows_with_one_hash_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = kernels.kernel("layout", "uncompiled")
    monkeypatch.setattr(layout, "meets", lambda first, second, out: None)  # every hash is 0
    rng = np.random.default_rng(1)
    rows = random_rows(rng, 40, FIVE)
    columns = records(rng, rows, 200)
    found = Classifier(rows, choice="uncompiled")
    assert "all" not in found.stats()["parts"][0]["groups"]
    assert found.first(columns).tolist() == scanned(rows, columns, 200)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("deep", "tables_"), [(1, 1), (3, 3), (100, 3)])
def test_buckets(monkeypatch: pytest.MonkeyPatch, engine: Any, deep: int, tables_: int) -> None:
    if engine not in engines():
        pytest.skip("nothing was compiled here")
    forced(monkeypatch, BULK=0, DEEP=deep, TABLES=tables_, SHARE=10)
    monkeypatch.setattr(buckets, "nanoseconds", lambda rows: 1000.0 * rows)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        rows = random_rows(rng, 120, FIVE)
        columns = records(rng, rows, 300)
        found = Classifier(rows, choice=engine)
        assert bool(found.stats()["parts"][0]["buckets"]) == (engine != "plain")
        assert found.first(columns).tolist() == scanned(rows, columns, 300)


@given(seed=st.integers(0, 2**32), n=st.integers(0, 24))
def test_halves_that_are_no_range(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, n, SIX, halves=True)
    check(rows, records(rng, rows, 30), 30)


def test_arrays_of_every_kind() -> None:
    rng = np.random.default_rng(5)
    rows = random_rows(rng, 80, (*FIVE, "state", "iif.high"), ("mark", "tcp_flags"))
    columns = records(rng, rows, 200)
    expected = scanned(rows, columns, 200)
    natural = {
        c: "u4" if c in ("src4", "dst4", "mark") else "u2" if c.endswith("port") else "u1" for c in columns
    }
    natural["iif.high"] = "u8"
    small = {c: v.astype(natural[c]) for c, v in columns.items()}
    read_only = {c: v.copy() for c, v in small.items()}
    for v in read_only.values():
        v.setflags(write=False)
    swapped = {c: v.astype(v.dtype.newbyteorder(">")) for c, v in small.items()}
    strided = {c: np.repeat(v, 2)[::2] for c, v in small.items()}
    for engine in engines():
        found = Classifier(rows, choice=engine)  # type: ignore[arg-type]
        for batch in (small, read_only, swapped, strided):
            assert found.first(batch).tolist() == expected, engine


def test_lists_of_thousands_agree_on_every_engine() -> None:
    """Scattered rows with wide ones between them: buckets, slots and tables as they are chosen; beside numpy's path."""
    rng = np.random.default_rng(8)
    n = 6000
    bits = rng.choice([0, 0, 1, 4, 8, 12, 24, 31], (2, n)).astype(np.uint64)
    addresses = rng.integers(0, 1 << 32, (2, n), dtype=np.uint64) >> bits << bits
    ports = rng.choice([0, 53, 80, 443, 8080], n).astype(np.uint64)
    low = {"src4": addresses[0], "dst4": addresses[1], "dport": ports}
    ends = addresses + (np.uint64(1) << bits) - np.uint64(1)
    high = {"src4": ends[0], "dst4": ends[1], "dport": np.where(ports == 0, np.uint64(65535), ports)}
    rows = Rows(low, high, np.arange(n, dtype=np.int32))
    pick = rng.integers(0, n, 20_000)
    columns = {c: rng.integers(low[c][pick], high[c][pick], dtype=np.uint64, endpoint=True) for c in low}
    columns["dst4"][::3] = high["dst4"][pick[::3]] + rng.integers(0, 2, len(pick[::3])).astype(np.uint64)
    columns["dst4"] &= np.uint64(0xFFFF_FFFF)
    answers = [
        Classifier(rows, choice=e).first(columns)  # type: ignore[arg-type]
        for e in engines()
        if e != "uncompiled"
    ]
    for found in answers:
        assert np.array_equal(found, answers[0])
    for i in range(0, 20_000, 400):
        assert answers[0][i] == rows.scan({c: v[i] for c, v in columns.items()})


def test_many_rows_in_blocks_and_threads() -> None:
    rng = np.random.default_rng(3)
    rows = random_rows(rng, 200, FIVE)
    columns = records(rng, rows, 500)
    expected = scanned(rows, columns, 500)
    many = {name: np.tile(values, 40) for name, values in columns.items()}
    narrow = {
        name: values.astype({"src4": "u4", "dst4": "u4", "protocol": "u1"}.get(name, "u2"))
        for name, values in many.items()
    }
    found = Classifier(rows)
    for batch in (many, narrow, {k: v.astype(np.int64) for k, v in many.items()}):
        for threads in (1, 2, 3):
            assert found.first(batch, threads=threads).tolist() == expected * 40
    every_other = {name: np.repeat(values, 2)[::2] for name, values in narrow.items()}
    assert found.first(every_other).tolist() == expected * 40


def test_lists_longer_than_16_bits_count() -> None:
    n = 70_000
    base = np.arange(n, dtype=np.uint64) << np.uint64(8)
    rows = Rows({"dst4": base}, {"dst4": base | np.uint64(255)}, np.arange(n, dtype=np.int32))
    columns = {"dst4": np.array([0, 255, 256, (n << 8) - 1, n << 8], np.uint64)}
    for engine in ("plain", *(e for e in engines() if e == "compiled")):
        assert Classifier(rows, choice=engine).first(columns).tolist() == [0, 0, 1, n - 1, -1]  # type: ignore[arg-type]


def test_no_row_of_a_part_is_no_row_of_another() -> None:
    """The rows without IPv6 addresses are few, and 65535 is a row of the others."""
    n = 66_000
    low = {c: np.zeros(n, np.uint64) for c in ("src6.high", "src6.low", "dport")}
    high = {c: np.full(n, INTERVALS[c], np.uint64) for c in low}
    low["dport"][:10] = high["dport"][:10] = np.arange(10)
    low["src6.high"][10:] = high["src6.high"][10:] = np.arange(10, n)
    low["src6.low"][-1] = 1
    rows = Rows(low, high, np.arange(n, dtype=np.int32))
    columns = {
        "src6.high": np.array([5, 65_534, 65_536, 5, n], np.uint64),
        "src6.low": np.zeros(5, np.uint64),
        "dport": np.array([80, 80, 80, 9, 80], np.uint16),
    }
    for engine in ("plain", *(e for e in engines() if e == "compiled")):
        found = Classifier(rows, choice=engine).first(columns)  # type: ignore[arg-type]
        assert found.tolist() == [-1, 65_534, 65_536, 9, -1]


def test_long_lists_of_short_ipv6_prefixes_lie_on_an_axis() -> None:
    """None restricts the lower half of an address, so that no row has such a column."""
    n = 20_000
    low = {"src6.high": np.arange(n, dtype=np.uint64) << np.uint64(16)}
    high = {"src6.high": low["src6.high"] | np.uint64(0xFFFF)}
    rows = Rows(low, high, np.arange(n, dtype=np.int32))
    columns = {"src6.high": np.array([0, 65_535, 65_536, (n << 16) - 1, n << 16], np.uint64)}
    for engine in ("plain", *(e for e in engines() if e == "compiled")):
        found = Classifier(rows, choice=engine)  # type: ignore[arg-type]
        (part,) = found.stats()["parts"]
        assert part["segments"] == [n + 1, 1]
        assert found.first(columns).tolist() == [0, 0, 1, n - 1, -1]


def test_a_column_of_booleans_is_one_of_numbers() -> None:
    one = np.array([1], np.uint64)
    names = ("dport", "state", "length")
    rows = Rows(dict.fromkeys(names, one), dict.fromkeys(names, one), np.zeros(1, np.int32))
    yes = np.array([True, False, True])
    for engine in engines():
        found = Classifier(rows, choice=engine)  # type: ignore[arg-type]
        assert found.first(dict.fromkeys(names, yes)).tolist() == [0, -1, 0], engine


def test_no_rows_no_records_and_any() -> None:
    nothing = Rows({}, {}, np.zeros(0, np.int32))
    everything = Rows({}, {}, np.zeros(2, np.int32))
    for engine in engines():
        assert Classifier(nothing, choice=engine).first({"dport": np.arange(3)}).tolist() == [-1] * 3  # type: ignore[arg-type]
        assert Classifier(everything, choice=engine).first({"dport": np.arange(3)}).tolist() == [0] * 3  # type: ignore[arg-type]
        assert Classifier(everything, choice=engine).first({}).tolist() == []  # type: ignore[arg-type]


def test_a_column_that_the_batch_lacks_is_zero() -> None:
    one = np.array([1], np.uint64)
    rows = Rows({"dport": one, "sport": one * 0}, {"dport": one, "sport": one * 0}, np.zeros(1, np.int32))
    assert Classifier(rows).first({"dport": np.array([0, 1, 2])}).tolist() == [-1, 0, -1]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"dport": np.zeros((2, 2), int)}, "is int64 of shape (2, 2)"),
        ({"dport": np.array([1.5])}, "is float64 of shape (1,)"),
        ({"dport": np.array(["a"])}, "of shape (1,)"),
        ({"dport": np.array([65536])}, "goes from 65536 to 65536"),
        ({"dport": np.array([-1, 3])}, "goes from -1 to 3"),
        ({"dport": np.array([1]), "src4": np.array([1, 2])}, "has 2 values, others have 1"),
        ({"nonsense": np.array([1])}, "no column 'nonsense'"),
        ({"state": np.array([5], np.uint8)}, "goes from 5 to 5"),
    ],
)
def test_a_wrong_batch_is_a_question_error(columns: dict[str, Any], message: str) -> None:
    one = np.array([1], np.uint64)
    names = ("dport", "src4", "state")
    rows = Rows(dict.fromkeys(names, one), dict.fromkeys(names, one), np.zeros(1, np.int32))
    with pytest.raises(QuestionError) as error:
        Classifier(rows).first(columns)
    assert message in str(error.value)


def test_rows_that_all_overlap_are_bit_vectors_within_the_budget() -> None:
    # Rows that are narrow in neither address, and all different: as many entries as pairs of segments.
    n = 3000
    rng = np.random.default_rng(1)
    low = {name: rng.integers(0, 1 << 30, n, dtype=np.uint64) for name in ("src4", "dst4")}
    high = {name: values + np.uint64(1 << 31) for name, values in low.items()}
    rows = Rows(low, high, np.arange(n, dtype=np.int32))
    found = Classifier(rows)
    assert found.stats()["parts"][0]["method"] == "bit vectors"
    columns = records(rng, rows, 100)
    assert found.first(columns).tolist() == scanned(rows, columns, 100)
    with pytest.raises(BudgetExceeded, match=r"Limits\.memory"):
        Classifier(rows, limits=Limits(memory=1 << 20))


@pytest.mark.parametrize("cells", [0, 1 << 22])
def test_every_form_keeps_to_the_budget(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    forced(monkeypatch, CELLS=cells)
    rows = random_rows(np.random.default_rng(1), 200, FIVE)
    with pytest.raises(BudgetExceeded, match=r"Limits\.memory"):
        Classifier(rows, limits=Limits(memory=1000))


def test_stats_say_what_was_built() -> None:
    rng = np.random.default_rng(3)
    found = Classifier(random_rows(rng, 50, FIVE)).stats()
    assert found["rows"] == 50
    assert found["memory_bytes"] > 0
    assert found["build_seconds"] > 0
    (part,) = found["parts"]
    assert sum(group["rows"] for group in part["groups"].values()) == 50

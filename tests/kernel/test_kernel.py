"""netsim against the real kernel: every packet the same verdict, the same rule, the same packet after."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.judge import cases
from tests.kernel.mutations import MUTATIONS

ROOT = Path(__file__).parents[2]
RANDOM = 400  # packets of a case at least, those of its constructs included
pytestmark = [pytest.mark.kernel, pytest.mark.xdist_group("kernel")]


def _missing() -> str:
    if os.geteuid() != 0:
        return "the kernel tests need root"
    for tool in ("unshare", "ip", "nft", "ipset", "iptables-nft-restore", "iptables-legacy-restore"):
        if shutil.which(tool) is None:
            return f"the kernel tests need {tool}"
    done = subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True)
    return "" if done.returncode == 0 else "the kernel tests need a network namespace"


@pytest.fixture(scope="module", autouse=True)
def kernel() -> None:
    missing = _missing()
    if missing and os.environ.get("NETSIM_REQUIRE_KERNEL") == "1":
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)


def judge(index: int, *, seed: int, count: int, mutation: str = "") -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.kernel.judge", "one", str(index), str(seed), str(count)]
    environment = {**os.environ, "NETSIM_MUTATION": mutation, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["unshare", "-n", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{cases()[index].name}: {done.stderr[-2000:]}"
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def reports(kernel: None) -> list[dict[str, Any]]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda i: judge(i, seed=i + 1, count=RANDOM), range(len(cases()))))


def test_kernel_and_netsim_agree(
    reports: list[dict[str, Any]], record_property: Callable[[str, object], None]
) -> None:
    distinct = {key for report in reports for key in report["keys"]}
    head = (
        f"{os.uname().release}: {len(reports)} rule sets, {len(distinct)} distinct packets, "
        f"different {sum(r['different'] for r in reports)}, unknown {sum(r['unknown'] for r in reports)}"
    )
    rows = [f"  {name:<44} {h:>6} hits {m:>6} misses" for name, (h, m) in sorted(_tally(reports).items())]
    record_property("kernel", "\n".join([head, *rows]))
    examples = [(r["name"], r["family"], r["backend"], e) for r in reports for e in r["examples"]]
    assert not examples, json.dumps(examples[:5], indent=1)
    assert sum(r["unknown"] for r in reports) == 0
    assert len(reports) >= 12
    assert len(distinct) >= 20_000


def _tally(reports: list[dict[str, Any]]) -> dict[str, list[int]]:
    tally: dict[str, list[int]] = {}
    for report in reports:
        for name, (hits, misses) in report["tally"].items():
            total = tally.setdefault(name, [0, 0])
            total[0] += hits
            total[1] += misses
    return tally


def supported() -> list[str]:
    """The constructs that the table of the docs calls supported."""
    text = (ROOT / "docs" / "iptables.md").read_text()
    return re.findall(r"^\| `([^`]+)` \|.*\| supported \|", text, flags=re.MULTILINE)


def test_every_supported_construct_was_judged(reports: list[dict[str, Any]]) -> None:
    tally = _tally(reports)
    constructs = supported()
    assert len(constructs) > 60
    thin = {name: tally.get(name, [0, 0]) for name in constructs if min(tally.get(name, [0, 0])) < 20}
    assert not thin
    assert not set(tally) - set(constructs), "judged, and not in the docs"


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mistake_in_the_evaluator_is_caught(name: str) -> None:
    wanted = MUTATIONS[name][1]
    index = next(i for i, c in enumerate(cases()) if (c.name, c.family, c.backend) == wanted)
    assert judge(index, seed=7, count=300, mutation=name)["different"] > 0


@pytest.mark.parametrize("seed", [1, 2])
def test_routing_agrees_with_the_kernel(seed: int) -> None:
    command = ["unshare", "-n", sys.executable, "-m", "tests.kernel.routes", str(seed)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-1500:]
    report = json.loads(done.stdout)
    assert report["asked"] >= 400
    assert report["different"] == []


@pytest.mark.parametrize("backend", ["nft", "legacy"])
@pytest.mark.parametrize("family", [4, 6])
def test_what_is_written_loads_and_comes_back(family: int, backend: str) -> None:
    command = ["unshare", "-n", sys.executable, "-m", "tests.kernel.loads", str(family), backend]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-1500:]
    report = json.loads(done.stdout)
    assert report["loaded"] >= 800
    assert report["wrong"] == []


@pytest.mark.parametrize("backend", ["nft", "legacy"])
@pytest.mark.parametrize("family", [4, 6])
def test_witnesses_of_audits_and_comparisons_are_what_the_kernel_does(family: int, backend: str) -> None:
    command = ["unshare", "-n", sys.executable, "-m", "tests.kernel.witnesses", str(family), backend]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-1500:]
    report = json.loads(done.stdout)
    assert report["wrong"] == []
    assert report["live"] >= 17
    assert report["compared"] >= report["comparisons"] >= 8

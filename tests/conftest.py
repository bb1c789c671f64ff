"""Hypothesis profiles, and the real inputs that NETSIM_DATA points to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# ci: the same examples in every run. dev: new ones in every run, and the failing ones are kept. soak: many.
settings.register_profile(
    "ci",
    parent=settings.get_profile("default"),
    max_examples=100,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.register_profile("dev", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.fixture(scope="session", autouse=True)
def collections() -> None:
    """With NETSIM_COLLECT the pool is collected before every question: whoever holds an id for too long fails."""
    if os.environ.get("NETSIM_COLLECT"):
        from netsim.space.pool import POOL

        POOL.due = lambda: True  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of the real inputs; without it the test is skipped with one line."""
    found = os.environ.get("NETSIM_DATA")
    if not found:
        pytest.skip("NETSIM_DATA is not set")
    return Path(found)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The kernel's totals; for `make real-data` cases, passed, skipped."""
    for report in (r for key in ("passed", "failed") for r in terminalreporter.stats.get(key, [])):
        for name, text in report.user_properties:
            if name == "kernel":
                terminalreporter.write_line(f"kernel {text}")
    if config.getoption("markexpr") == "real_data":
        stats = terminalreporter.stats
        passed, skipped = len(stats.get("passed", [])), len(stats.get("skipped", []))
        failed = len(stats.get("failed", [])) + len(stats.get("error", []))
        total = passed + skipped + failed
        terminalreporter.write_line(
            f"real data: {total} cases, {passed} passed, {skipped} skipped, {failed} failed"
        )

"""Importing netsim costs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import netsim

HEAVY = ("numpy", "networkx", "yaml", "typer", "rich", "netaddr", "attr")


def _loaded(code: str) -> set[str]:
    program = f"{code}\nimport sys\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_netsim_imports_nothing_heavy() -> None:
    assert not _loaded("import netsim").intersection(HEAVY)


def test_one_packet_needs_neither_numpy_nor_networkx() -> None:
    code = "import netsim; netsim.parse('*filter\\nCOMMIT\\n').decide(netsim.Packet(src='1.1.1.1', dst='2.2.2.2'))"
    assert not _loaded(code).intersection({"numpy", "networkx", "yaml", "rich"})


@pytest.mark.parametrize("name", netsim.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(netsim, name)
    assert value.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = netsim.nothing

"""The command line. Exit codes: 0 as wanted, 1 not, 2 wrong input, 3 unknown, 70 internal, 130 interrupted."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; every error becomes a message and an exit code."""
    try:
        from netsim.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich", "click"):
            raise
        sys.stderr.write("netsim: the command line needs its extra: pip install 'netsim[cli]'\n")
        sys.exit(2)
    from netsim.cli.common import run

    run(app)

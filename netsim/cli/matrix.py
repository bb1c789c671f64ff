"""`netsim matrix`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from netsim.cli.common import NO, OK, SCHEMA, UNKNOWN, emit, show, site_folder, working
from netsim.cli.reach import set_row


class Kind(Enum):
    """What the rows and columns are."""

    SERVICES = "services"
    HOSTS = "hosts"
    ZONES = "zones"


def matrix(
    ends: Annotated[
        Kind | None, typer.Option("--ends", help="Without it services, or zones where there are none.")
    ] = None,
    traffic: Annotated[
        list[str] | None,
        typer.Option("--traffic", help="A class, as reach takes it; repeat. Without it the services' ports."),
    ] = None,
    site: Annotated[Path | None, typer.Option("--site", help="The site's folder.")] = None,
    nothing_else: Annotated[
        bool, typer.Option("--nothing-else", help="Exit with 1 if anything beyond the classes gets through.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Who reaches whom, by class of traffic, and whether anything else gets through."""
    from netsim.queries.matrix import matrix as ask
    from netsim.topology.site import load

    network = load(site_folder(site))
    with working("pairs") as progress:
        result = ask(network, ends.value if ends else None, traffic or None, progress=progress)
    if as_json:
        emit(row(result))
    else:
        show(result)
    if nothing_else and result.leaks:
        return NO
    return UNKNOWN if nothing_else and result.doubts else OK


def row(result: Any) -> dict[str, Any]:
    """A matrix as JSON; see docs/json.md."""
    beyond = []
    for cell in result.beyond:
        found = cell.row()
        del found["beyond"], found["traffic"]
        if cell.occurs & {"allowed", "split"}:
            found["through"] = set_row(cell.allowed | cell.split)
        beyond.append(found)
    cells = [cell.row() for cell in result.cells]
    for found in cells:
        del found["beyond"]
    return {
        "schema": SCHEMA,
        "command": "matrix",
        "ends": list(result.ends),
        "traffic": list(result.traffic),
        "cells": cells,
        "anything_else": beyond,
        "nothing_else": "no" if result.leaks else "unknown" if result.doubts else "yes",
        "assumptions": [{"code": a.code, "text": a.text} for a in result.assumptions],
    }

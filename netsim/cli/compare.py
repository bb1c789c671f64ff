"""`netsim compare BEFORE AFTER`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from netsim.cli.common import NO, OK, SCHEMA, emit, read_addresses, show, working


class Wanted(Enum):
    """Which changes are shown, and count for the exit code."""

    GAINED = "gained"
    LOST = "lost"
    CHANGED = "changed"


def compare(
    before: Annotated[Path, typer.Argument(help="A file of rules, or a site's folder.")],
    after: Annotated[Path, typer.Argument(help="The same, after the change.")],
    only: Annotated[
        list[Wanted] | None, typer.Option("--only", help="Show and judge these changes alone; repeat.")
    ] = None,
    scope: Annotated[
        str, typer.Option("--scope", help='Only these packets: "src 10.0.0.0/8 dst 10.0.20.10 tcp/5432".')
    ] = "",
    ipset: Annotated[
        Path | None, typer.Option("--ipset", help="For two files: a file of 'ipset save'.")
    ] = None,
    address: Annotated[
        list[str] | None,
        typer.Option("--address", help="For two files: DEV=ADDR/LEN, the device's own; repeat."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """What AFTER decides differently from BEFORE: complete, with both lines. Exit 0 if proven equal, 1 if not."""
    from netsim.queries.compare import compare_rules
    from netsim.queries.scope import parse_scope

    within = parse_scope(scope)
    if before.is_dir() and after.is_dir():
        if ipset is not None or address:
            raise typer.BadParameter("--ipset and --address are for files of rules; a site says its own")
        from netsim.queries.networks import compare_networks
        from netsim.topology.site import load

        with working("comparing") as progress:
            result: Any = compare_networks(load(before), load(after), scope=within, progress=progress)
    elif before.is_dir() or after.is_dir():
        raise typer.BadParameter("compare two files of rules, or two folders of sites")
    else:
        from netsim.api import parse

        addresses = read_addresses(address or [])
        was, now = (parse(path, addresses=addresses, ipsets=ipset) for path in (before, after))
        result = compare_rules(was, now, scope=within)
    if only:
        result = result.only(wanted.value for wanted in only)
    if as_json:
        emit(row(result))
    else:
        show(result)
    return OK if result.equal else NO


def row(result: Any) -> dict[str, Any]:
    """A comparison as JSON; see docs/json.md."""
    return {
        "schema": SCHEMA,
        "command": "compare",
        "before": result.before,
        "after": result.after,
        "equal": result.equal,
        "compared": result.compared,
        "notes": list(result.notes),
        "changes": result.rows(),
    }

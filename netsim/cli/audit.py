"""`netsim audit [PATH]`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from netsim.cli.common import NO, OK, SCHEMA, UNKNOWN, emit, read_addresses, show, site_folder, working


class Level(Enum):
    """A severity."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


def audit(
    path: Annotated[Path | None, typer.Argument(help="A file of rules, or a site's folder.")] = None,
    site: Annotated[Path | None, typer.Option("--site", help="The site's folder.")] = None,
    fail_on: Annotated[
        Level, typer.Option("--fail-on", help="Exit 1 for a finding of this severity or a graver one.")
    ] = Level.HIGH,
    ipset: Annotated[Path | None, typer.Option("--ipset", help="For a file: a file of 'ipset save'.")] = None,
    address: Annotated[
        list[str] | None,
        typer.Option("--address", help="For a file: DEV=ADDR/LEN, the device's own; repeat."),
    ] = None,
    since: Annotated[str, typer.Option("--since", help="When the counters were reset, in any words.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """What is dead, redundant, contradictory, too open or unknown, each with its proof."""
    if path is not None and not path.is_dir():
        from netsim.api import parse
        from netsim.queries.audit import audit_rules

        rules = parse(path, addresses=read_addresses(address or []), ipsets=ipset)
        with working("auditing") as progress:
            result: Any = audit_rules(rules, since=since, progress=progress)
    else:
        from netsim.queries.audit.network import audit_network
        from netsim.topology.site import load

        if ipset is not None or address:
            raise typer.BadParameter("--ipset and --address are for a file of rules; a site says its own")
        network = load(site_folder(site or path))
        with working("auditing") as progress:
            result = audit_network(network, since=since, progress=progress)
    if as_json:
        emit(row(result))
    else:
        show(result)
    if result.at_least(fail_on.value):
        return NO
    return UNKNOWN if result.unfinished else OK


def row(result: Any) -> dict[str, Any]:
    """An audit as JSON; see docs/json.md."""
    worst = result.worst
    return {
        "schema": SCHEMA,
        "command": "audit",
        "what": result.what,
        "rules": result.rules,
        "live": {name: packet.row() for name, packet in result.live.items()},
        "dead": [r.id for r in result.dead],
        "worst": worst.word if worst is not None else None,
        "unfinished": list(result.unfinished),
        "findings": result.rows(),
    }

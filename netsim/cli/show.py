"""`netsim show [PATH]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from netsim.cli.common import OK, SCHEMA, emit, site_folder
from netsim.cli.common import show as print_result


def show(
    path: Annotated[Path | None, typer.Argument(help="A file of rules, or a site's folder.")] = None,
    site: Annotated[Path | None, typer.Option("--site", help="The site's folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """What is in a file of rules or a site: rules counted, those partly unmodelled listed."""
    from netsim.errors import Diagnostic, InputError
    from netsim.parsers import parse_file
    from netsim.rules.show import ruleset_document, ruleset_row
    from netsim.source import Source

    if path is not None and path.is_file():
        ruleset = parse_file(path)
        if as_json:
            emit({"schema": SCHEMA, "command": "show", **ruleset_row(ruleset)})
        else:
            print_result(ruleset_document(ruleset))
        return OK
    if path is not None and not path.exists():
        raise InputError([Diagnostic(Source(str(path)), "NS120", "there is no such file or folder")])
    from netsim.topology.site import load

    network = load(site_folder(site or path))
    if as_json:
        devices = [
            {**r, "rulesets": [ruleset_row(s) for s in network.devices[r["device"]].rulesets]}
            for r in network.rows()
        ]
        assumptions = [{"code": a.code, "text": a.text} for a in network.assumptions]
        emit(
            {
                "schema": SCHEMA,
                "command": "show",
                "name": network.name,
                "devices": devices,
                "assumptions": assumptions,
            }
        )
    else:
        print_result(network)
        for device in network.devices.values():
            for ruleset in device.rulesets:
                typer.echo()
                print_result(ruleset_document(ruleset))
    return OK

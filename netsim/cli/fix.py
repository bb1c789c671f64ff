"""`netsim fix SRC DST [TRAFFIC]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from netsim.cli.common import NO, OK, SCHEMA, UNKNOWN, emit, show, site_folder, working
from netsim.cli.reach import set_row


def fix(
    src: Annotated[str, typer.Argument(help="A service, host, subnet or device, 'internet', or a prefix.")],
    dst: Annotated[str, typer.Argument(help="The same.")],
    traffic: Annotated[
        str | None,
        typer.Argument(
            help="tcp/5432, tcp/80,8000-8080, udp/53, icmp/echo-request, any, tcp/1024-65535>443."
        ),
    ] = None,
    site: Annotated[Path | None, typer.Option("--site", help="The site's folder.")] = None,
    close: Annotated[bool, typer.Option("--close", help="Block what comes through instead.")] = False,
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", help='With --close: "SRC DST TRAFFIC" that must come through as now; repeat.'),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """The fewest edited lines after which SRC reaches DST (or, with --close, does not), and nothing besides.

    Exit 0: found, or nothing is blocked; 1: no edit of rules can help; 3: unknown.
    """
    from netsim.queries.fix import FixStatus
    from netsim.queries.fix import fix as ask
    from netsim.topology.site import load

    keeps = [_expectation(text) for text in keep or ()]
    network = load(site_folder(site))
    with working("trying lines") as progress:
        result = ask(network, src, dst, traffic, close=close, keep=keeps, progress=progress)
    if as_json:
        emit(row(result))
    else:
        show(result)
    return {FixStatus.IMPOSSIBLE: NO, FixStatus.UNKNOWN: UNKNOWN}.get(result.status, OK)


def _expectation(text: str) -> tuple[str, str, str | None]:
    words = text.split(None, 2)
    if len(words) < 2:
        raise typer.BadParameter(f'--keep is "SRC DST TRAFFIC", not {text[:60]!r}')
    return words[0], words[1], words[2] if len(words) > 2 else None


def row(result: Any) -> dict[str, Any]:
    """A fix as JSON; see docs/json.md."""
    return {
        "schema": SCHEMA,
        "command": "fix",
        "src": result.src,
        "dst": result.dst,
        "traffic": result.traffic,
        "closing": result.closing,
        "status": result.status.value,
        "edits": result.rows(),
        "steps": list(result.edit.steps),
        "before": result.before.status.value,
        "after": result.reach.status.value,
        "opened": set_row(result.opened),
        "besides": [{"device": d, **set_row(p)} for d, p in result.besides.items()],
        "changes": [change for c in result.comparisons.values() for change in c.rows()],
        "searched": {
            "tried": result.searched.tried,
            "combined": result.searched.combined,
            "complete": result.searched.complete,
            "statement": result.searched.statement,
        },
        "impossible": [
            {"kind": r.kind, "device": r.device, "text": r.text, "packets": set_row(r.packets)}
            for r in result.impossible
        ],
        "because": [{"rule": b.rule.id, "conditions": list(b.conditions)} for b in result.because],
        "kept": [{"src": k.src, "dst": k.dst, "traffic": k.traffic} for k in result.kept],
        "notes": list(result.notes),
    }

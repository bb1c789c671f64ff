"""`netsim reach SRC DST [TRAFFIC]`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from netsim.cli.common import NO, OK, SCHEMA, UNKNOWN, emit, show, site_folder


class Wish(Enum):
    """What the answer should be."""

    ALLOWED = "allowed"
    BLOCKED = "blocked"


def reach(
    src: Annotated[str, typer.Argument(help="A service, host, subnet or device, 'internet', or a prefix.")],
    dst: Annotated[str, typer.Argument(help="The same.")],
    traffic: Annotated[
        str | None,
        typer.Argument(
            help="tcp/5432, tcp/80,8000-8080, udp/53, icmp/echo-request, any, tcp/1024-65535>443."
        ),
    ] = None,
    site: Annotated[Path | None, typer.Option("--site", help="The site's folder.")] = None,
    expect: Annotated[
        Wish, typer.Option("--expect", help="What is wanted; decides the exit code.")
    ] = Wish.ALLOWED,
    any_instance: Annotated[bool, typer.Option("--any", help="One instance of DST is enough.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="What the site does not say makes the answer unknown.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Whether SRC reaches DST, opening packet and answer; if not, every line that blocks."""
    from netsim.queries.reach import Status
    from netsim.queries.reach import reach as ask
    from netsim.topology.site import load

    result = ask(load(site_folder(site)), src, dst, traffic, any_instance=any_instance, strict=strict)
    if as_json:
        emit(row(result))
    else:
        show(result)
    if result.status is Status.UNKNOWN:
        return UNKNOWN
    return OK if result.status.value == expect.value else NO


def set_row(packets: Any) -> dict[str, Any]:
    """A packet set as JSON."""
    witness = packets.sample()
    return {
        "empty": not packets,
        "lines": packets.lines(limit=20) if packets else [],
        "witness": witness.row() if witness is not None else None,
    }


def row(result: Any) -> dict[str, Any]:
    """A reachability as JSON; see docs/json.md."""
    return {
        "schema": SCHEMA,
        "command": "reach",
        "src": result.src,
        "dst": result.dst,
        "traffic": result.traffic,
        "status": result.status.value,
        "allowed": set_row(result.allowed),
        "blocked": set_row(result.blocked),
        "split": set_row(result.split),
        "unknown": set_row(result.unknown),
        "blockers": [
            {
                **data,
                "file": b.rule.source.file if b.rule else None,
                "line": b.rule.source.line if b.rule else None,
                "trail": [t.id for t in b.trail],
                "path": [str(h) for h in b.path],
            }
            for data, b in zip(result.rows(), result.blockers, strict=True)
        ],
        "sources": [{"name": s.name, "status": s.status.value, "weight": s.weight} for s in result.sources],
        "cut_off": list(result.cut_off),
        "share_cut_off": float(result.share_cut_off),
        "paths": [[str(h) for h in p.hops] for p in result.paths],
        "assumptions": [{"code": a.code, "text": a.text} for a in result.assumptions],
        "because": [
            {
                "rule": b.rule.id,
                "file": b.rule.source.file,
                "line": b.rule.source.line,
                "conditions": b.conditions,
            }
            for b in result.because
        ],
    }

"""`netsim fix SRC DST [TRAFFIC]` and `netsim fix --tidy RULES`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from netsim.cli.common import (
    NO,
    OK,
    SCHEMA,
    UNKNOWN,
    emit,
    read_addresses,
    show,
    site_folder,
    working,
    write_file,
)
from netsim.cli.reach import set_row


def fix(
    src: Annotated[
        str | None, typer.Argument(help="A service, host, subnet or device, 'internet', or a prefix.")
    ] = None,
    dst: Annotated[str | None, typer.Argument(help="The same.")] = None,
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
    tidy: Annotated[
        Path | None,
        typer.Option("--tidy", help="A file of rules: say the same with fewer; without SRC and DST."),
    ] = None,
    write: Annotated[
        Path | None, typer.Option("--write", help="With --tidy: the file to write the tidy rules to.")
    ] = None,
    ipset: Annotated[
        Path | None, typer.Option("--ipset", help="With --tidy: a file of 'ipset save'.")
    ] = None,
    address: Annotated[
        list[str] | None,
        typer.Option("--address", help="With --tidy: DEV=ADDR/LEN, the device's own; repeat."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """The fewest edited lines after which SRC reaches DST (or, with --close, does not), and nothing besides.

    Exit 0: found, or nothing is blocked; 1: no edit of rules can help; 3: unknown.
    """
    if tidy is not None:
        if src is not None or close or keep or site is not None:
            raise typer.BadParameter(
                "--tidy is about a file of rules, without SRC, DST, --site, --close and --keep"
            )
        return _tidy(tidy, write, ipset, address or [], as_json)
    if src is None or dst is None:
        raise typer.BadParameter("SRC and DST are needed, or --tidy FILE")
    if write is not None or ipset is not None or address:
        raise typer.BadParameter("--write, --ipset and --address go with --tidy")
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


def _tidy(path: Path, write: Path | None, ipset: Path | None, address: list[str], as_json: bool) -> int:
    """Exit 0: the tidy rules are equal to the file's, whether or not anything could go."""
    from netsim.api import parse
    from netsim.queries.tidy import tidy

    result = tidy(parse(path, addresses=read_addresses(address), ipsets=ipset))
    if write is not None:
        if not result.text:
            raise typer.BadParameter(f"{path} has rules that have no words: nothing is written")
        write_file(write, result.text)
    if as_json:
        was, now = result.counts
        emit(
            {
                "schema": SCHEMA, "command": "fix", "tidy": str(path), "rules": was, "left": now, "equal": result.comparison.equal,
                "steps": result.rows(), "left_alone": list(result.left), "text": result.text,
            }
        )  # fmt: skip
    else:
        show(result)
    return OK


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
        "aside": [{"device": d, **set_row(p)} for d, p in result.aside.items()],
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

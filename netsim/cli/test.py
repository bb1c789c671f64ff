"""`netsim test RULES --packets FILE`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import attrs
import typer

from netsim.cli.common import NO, OK, UNKNOWN, WRONG, emit, read_addresses, show


def test(
    rules: Annotated[Path, typer.Argument(help="A dump of iptables-save or ip6tables-save.")],
    packets: Annotated[
        str, typer.Option("--packets", help="Packets, one JSON object a line; - is standard input.")
    ],
    hook: Annotated[
        str, typer.Option("--hook", help="forward, input or output, for packets that do not say.")
    ] = "forward",
    ipset: Annotated[Path | None, typer.Option("--ipset", help="A file of 'ipset save'.")] = None,
    address: Annotated[
        list[str] | None, typer.Option("--address", help="DEV=ADDR/LEN: the device's own address; repeat.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option("--backend", help="nft or legacy; overrides the dump's head.")
    ] = None,
    expect: Annotated[
        str | None, typer.Option("--expect", help="accept, drop or reject: what every packet should get.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> int:
    """The verdict on each packet, and the rule that decides it."""
    from netsim.api import parse
    from netsim.errors import DEFAULT_LIMITS, Diagnostic, InputError
    from netsim.parsers.text import decode, read_bytes
    from netsim.queries.verdict import packet_of, read_packets
    from netsim.rules.journey import HOOKS

    if hook not in HOOKS:
        raise typer.BadParameter(f"--hook is forward, input or output, not {hook[:40]!r}")
    if backend not in (None, "nft", "legacy"):
        raise typer.BadParameter(f"--backend is nft or legacy, not {str(backend)[:40]!r}")
    if expect not in (None, "accept", "drop", "reject"):
        raise typer.BadParameter(f"--expect is accept, drop or reject, not {str(expect)[:40]!r}")
    asked = parse(rules, addresses=read_addresses(address or []), ipsets=ipset, backend=backend)
    data = (
        sys.stdin.buffer.read(DEFAULT_LIMITS.input_size + 1)
        if packets == "-"
        else read_bytes(packets, DEFAULT_LIMITS)
    )
    name = "<stdin>" if packets == "-" else packets
    seen: set[int] = set()
    wrong: list[Diagnostic] = []
    for source, row in read_packets(decode(data, name, DEFAULT_LIMITS), name):
        try:
            packet, point = packet_of(row, HOOKS[hook])
        except (ValueError, TypeError) as error:
            wrong.append(Diagnostic(attrs.evolve(source, end=0), "NS402", f"this is no packet: {error}"))
            continue
        decision = asked.decide(packet, hook=point)
        if as_json:
            emit(decision.row(row.get("id")))
        else:
            show(decision)
        seen.add(_code(decision.verdict.value, expect))
    if wrong:
        raise InputError(wrong)
    return next((code for code in (WRONG, UNKNOWN, NO) if code in seen), OK)


def _code(verdict: str, expect: str | None) -> int:
    """`test` reports; only `--expect` makes a verdict right or wrong."""
    if expect is None or verdict == expect:
        return OK
    return UNKNOWN if verdict == "unknown" else NO

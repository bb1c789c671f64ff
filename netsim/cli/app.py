"""The app: its commands, one module each."""

from __future__ import annotations

from typing import Annotated

import typer

from netsim.cli import audit, compare, demo, fix, matrix, reach, show, test

app = typer.Typer(
    name="netsim",
    help="Ask a network's firewalls a question and get a proof, not a guess.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from netsim import __version__
        from netsim.kernels import engine

        typer.echo(f"netsim {__version__} ({engine()} engine)")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Ask a network's firewalls a question and get a proof, not a guess."""
    del version


app.command("demo", rich_help_panel="Start")(demo.demo)
app.command("reach", rich_help_panel="Ask")(reach.reach)
app.command("matrix", rich_help_panel="Ask")(matrix.matrix)
app.command("test", rich_help_panel="Ask")(test.test)
app.command("show", rich_help_panel="Ask")(show.show)
app.command("compare", rich_help_panel="Change")(compare.compare)
app.command("audit", rich_help_panel="Change")(audit.audit)
app.command("fix", rich_help_panel="Change")(fix.fix)

"""What the commands share: printing, JSON, sites, and exit codes."""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import typer

from netsim.display.text import to_text
from netsim.errors import BudgetExceeded, InputError, NetsimError, visible

SCHEMA = 1
"""The version of every command's JSON; it grows when a field changes its meaning or goes."""

OK, NO, WRONG, UNKNOWN, INTERNAL, INTERRUPTED = 0, 1, 2, 3, 70, 130


def run(app: Callable[..., Any]) -> NoReturn:
    """Run the app; errors become messages on standard error and exit codes."""
    for stream in (sys.stdout, sys.stderr):  # what a terminal cannot show is no reason to stop
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else OK)
    except typer.Exit as done:
        sys.exit(done.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader went away; nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(OK)
    except InputError as error:
        for diagnostic in error.diagnostics:
            sys.stderr.write(f"{diagnostic}\n")
        count = len(error.diagnostics)
        if count > 1:
            sys.stderr.write(f"{count} mistakes\n")
        sys.exit(WRONG)
    except BudgetExceeded as error:
        sys.stderr.write(f"netsim: {error}\n")
        sys.exit(UNKNOWN)
    except (NetsimError, OSError) as error:
        sys.stderr.write(f"netsim: {visible(str(error))}\n")
        sys.exit(WRONG)
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):  # click's own: a wrong call
            error.show()
            sys.exit(WRONG)
        if os.environ.get("NETSIM_DEBUG"):
            raise
        sys.stderr.write(f"netsim: internal error: {type(error).__name__}: {visible(str(error))}\n")
        sys.stderr.write("netsim: please report it; NETSIM_DEBUG=1 shows where it happened\n")
        sys.exit(INTERNAL)


def emit(value: Any) -> None:
    """One JSON value on a line; escaped throughout where the output is not UTF-8."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    text = json.dumps(value, ensure_ascii=plain, separators=(",", ":"))
    if not text.isascii():  # a lone surrogate has no UTF-8
        text = "".join(f"\\u{ord(c):04x}" if 0xD800 <= ord(c) <= 0xDFFF else c for c in text)
    sys.stdout.write(text + "\n")


def write_file(path: Path, text: str) -> None:
    """A file with a new text, whole or not at all: whoever reads it, and whatever ends us, finds the old or the new.

    Mode and place stay, also behind a symbolic link; a file that may not be written stays as it is. What is no regular
    file (a pipe, a terminal) is written to. Raises `OSError`.
    """
    data = text.encode("utf-8", "surrogateescape")
    target = path.resolve()
    if target.exists() and not target.is_file():
        with target.open("wb") as file:
            file.write(data)
        return
    mode = None
    if target.exists():
        with target.open("r+b"):  # a file that may not be written is an error, not another file in its place
            mode = target.stat().st_mode & 0o7777
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if mode is None:
            mask = os.umask(0)
            os.umask(mask)
            mode = 0o666 & ~mask
        Path(name).chmod(mode)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def show(result: Any) -> None:
    """A result in the terminal: in colour where it is one, as plain text elsewhere."""
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        from rich.console import Console

        Console(highlight=False).print(result)
    else:
        sys.stdout.write(to_text(result if hasattr(result, "blocks") else result.document()) + "\n")


@contextmanager
def working(what: str) -> Iterator[Callable[[int, int], object] | None]:
    """A bar on standard error where that is a terminal; it goes when the work is done or interrupted."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def site_folder(given: Path | None) -> Path:
    """The site: as given, or the nearest folder upwards that holds a `netsim.yaml`."""
    if given is not None:
        return given
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "netsim.yaml").is_file():
            return folder
    return here


def read_addresses(given: list[str]) -> dict[str, list[str]] | None:
    """`DEV=ADDR/LEN`, several of them, by interface; None if nothing is given."""
    import ipaddress

    if not given:
        return None
    found: dict[str, list[str]] = {}
    for text in given:
        name, equals, address = text.partition("=")
        try:
            if not equals or not name:
                raise ValueError
            found.setdefault(name, [])
            if address:
                ipaddress.ip_interface(address)
                found[name].append(address)
        except ValueError:
            raise typer.BadParameter(f"--address is DEV=ADDR/LEN, not {text[:60]!r}") from None
    return found

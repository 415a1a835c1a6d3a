"""The command line: its commands, and how it ends."""

from __future__ import annotations

import io
import os
import signal
import sys
import warnings
from contextlib import suppress
from types import FrameType
from typing import Annotated

import typer

from msanet import __version__
from msanet.cli import lab, lists, recognize
from msanet.cli.plugins import load_plugin, take_plugins
from msanet.cli.show import echo, say, show_warning
from msanet.errors import EXTRAS, InputError, missing

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Facial expression recognition with MSA-Net.

    Every command takes --plugin FILE.py as well: a Python file that adds networks, methods, data sets or augmentations.
    """
    if version:
        echo(f"msanet {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


for command in (
    recognize.recognize,
    recognize.benchmark,
    lists.models,
    lab.train,
    lab.evaluate,
    lab.ablate,
    lab.compare,
    lab.export,
    lists.networks,
    lists.methods,
    lists.recipes,
):
    app.command()(command)
app.add_typer(lists.datasets, name="datasets")


def main() -> None:
    """Run the command line: 0 all done, 2 the user can mend it (a sentence says how), 130 interrupted, 143 terminated
    in order."""
    warnings.filterwarnings("ignore", module="PIL")  # about damaged files, of which we say so ourselves
    warnings.showwarning = show_warning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a console that cannot say a letter
    before = signal.signal(signal.SIGTERM, _terminate)
    # matplotlib's cache stays where it is, and no folder of settings appears in the user's home.
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    os.environ.setdefault("MPLCONFIGDIR", os.path.join(cache, "matplotlib"))
    try:
        code = _run()
    finally:
        signal.signal(signal.SIGTERM, before)
    try:
        sys.stdout.flush()
    except OSError as error:
        if not code:
            say(_refused(error))
            code = 2
        with suppress(OSError):  # else Python tries again, and says so in its way
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _run() -> int:
    """The exit code of the command."""
    try:
        arguments, files = take_plugins(sys.argv[1:])
        for file in files:
            load_plugin(file)
        return app(arguments, prog_name="msanet", standalone_mode=False) or 0
    except InputError as error:
        say(str(error))
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        say(missing(error.name))
    except OSError as error:
        say(_refused(error))
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's errors about arguments; it does not give their class away
            raise
        say(f"{error.format_message().rstrip('.')}: --help shows what can be asked")
    return 2


def _terminate(*_: int | FrameType | None) -> None:
    raise SystemExit(143)


def _refused(error: OSError) -> str:
    """What the system refuses of a file, or of standard output, in a sentence."""
    name = "standard output" if error.filename is None else os.fsdecode(error.filename)
    return f"{name} cannot be used ({error.strerror or error}): make room, or check its permissions"

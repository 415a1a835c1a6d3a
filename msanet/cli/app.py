"""The command line: its commands, and how it ends."""

from __future__ import annotations

import sys
import warnings

import typer

from msanet.cli import lab, lists, recognize
from msanet.cli.show import show_warning
from msanet.errors import EXTRAS, InputError, missing

app = typer.Typer(
    help="Facial expression recognition with MSA-Net.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


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
    lists.recipes,
):
    app.command()(command)
app.add_typer(lists.datasets, name="datasets")


def main() -> None:
    """Run the command line; what the user can mend is one sentence and exit code 2."""
    warnings.filterwarnings("ignore", module="PIL")  # about damaged files, of which we say so ourselves
    warnings.showwarning = show_warning
    try:
        app(prog_name="msanet")
    except InputError as error:
        typer.echo(f"msanet: {error}", err=True)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        typer.echo(f"msanet: {missing(error.name)}", err=True)
        sys.exit(2)

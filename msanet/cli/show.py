"""What the command line shows: tables, progress, sentences."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    pass


def say(failures: list[str]) -> None:
    """What went wrong, a sentence each."""
    for sentence in failures:
        typer.echo(f"msanet: {sentence}", err=True)


def split_words(words: str) -> list[str]:
    """a,b,c -> [a, b, c]."""
    return [word.strip() for word in words.split(",") if word.strip()]


@contextmanager
def clock(path: str) -> Iterator[Callable[[float, float | None], None] | None]:
    """A bar with the time left, where somebody looks on: to be called with the time of a video and its duration."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[clock]}"), TimeRemainingColumn())
    with Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()
    ) as progress:
        task = progress.add_task(escape(os.path.basename(path)), total=None, clock="")
        yield lambda time, duration: progress.update(task, completed=time, total=duration, clock=f"{time:.1f} s")


def with_progress(items: Iterator[Any], total: int) -> Iterator[Any]:
    """The items, with a bar and the time left where somebody looks on."""
    if total < 2 or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # what goes into a file or a pipe stays there
    ) as progress:
        yield from progress.track(items, total)


def print_rows(header: list[str], rows: list[list[Any]]) -> None:
    """A table on a terminal; lines with tabs between for other programs."""
    if not sys.stdout.isatty():
        for row in [header, *rows]:
            typer.echo("\t".join(str(value) for value in row))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*header)
    for row in rows:
        table.add_row(*(escape(str(value)) for value in row))
    Console().print(table)


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """A warning as a sentence, without the line of code that gave it."""
    typer.echo(f"msanet: warning: {message}", err=True)

"""What the command line shows: tables, progress, sentences."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import typer

from msanet.files import printable, to_json


def echo(*lines: str) -> None:
    """Lines on standard output, whatever names are in them."""
    for line in lines:
        typer.echo(printable(line))


def json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON, in the letters that standard output has."""
    is_unicode = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    return to_json(value, indent, ascii_only=not is_unicode)


def note(*lines: str) -> None:
    """Lines on standard error, whatever names are in them; passwords of addresses are not."""
    for line in lines:
        with suppress(OSError):  # where that is full or closed nobody can be told
            typer.echo(printable(without_password(line)), err=True)


def say(*sentences: str) -> None:
    """Sentences of ours on standard error, a line each."""
    note(*(f"msanet: {sentence}" for sentence in sentences))


def without_password(text: str) -> str:
    """A text with its addresses, but without the names and passwords in them."""
    return re.sub(r"(?<=://)\S*@", "", text)


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
        task = progress.add_task(escape(printable(os.path.basename(path))), total=None, clock="")
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
            typer.echo("\t".join(printable(str(value)) for value in row))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*header)
    for row in rows:
        table.add_row(*(escape(printable(str(value))) for value in row))
    Console().print(table)


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """A warning as a sentence, without the line of code that gave it."""
    say(f"warning: {message}")

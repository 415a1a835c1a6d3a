"""msanet recognize and benchmark."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing, nullcontext
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from msanet.cli.show import clock, print_rows, say, with_progress
from msanet.errors import InputError

if TYPE_CHECKING:
    from msanet.recognize.recognizer import Recognition, Recognizer
    from msanet.video.tracks import Following


MANY = 100
"""Of more pictures than this no table is laid out and, unless asked for, no annotated copies are written."""


class Format(str, Enum):
    """How results are printed."""

    table = "table"
    json = "json"
    csv = "csv"
    parquet = "parquet"


class Layout(str, Enum):
    """How a benchmark is printed."""

    table = "table"
    json = "json"


def recognize(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT...", help="Pictures, folders of pictures; videos; or a stream's address, - for raw frames."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for the results and the annotated copies.")] = None,
    form: Annotated[Format, typer.Option("--format", help="How to print the results.")] = Format.table,
    model: Annotated[str, typer.Option(help="Name of a shipped model, or an .onnx file.")] = "accurate",
    explain: Annotated[bool, typer.Option("--explain", help="Also show which parts of a face speak for it.")] = False,
    annotate: Annotated[
        bool | None, typer.Option(help=f"Draw on copies; without it on videos, and on up to {MANY} pictures.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Leave out pictures whose results are in --output.")] = False,
    threshold: Annotated[float, typer.Option(help="Lowest score of a face, 0 to 1.")] = 0.6,
    size: Annotated[
        int | None, typer.Option(help="Long side of the picture for the detector, pixels; else 640, in videos 320.")
    ] = None,
    smoothing: Annotated[float, typer.Option(help="Videos: seconds over which probabilities are smoothed.")] = 0.3,
    finer_every: Annotated[int, typer.Option(help="Videos: every so many frames, search at twice the size.")] = 30,
    camera: Annotated[int | None, typer.Option(help="Number of a camera of this machine instead of INPUT.")] = None,
    frame_size: Annotated[str | None, typer.Option(metavar="WxH", help="Size of the raw RGB frames in -.")] = None,
    keep_all: Annotated[bool, typer.Option("--keep-all", help="Streams: drop no frame, however late.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Streams, cameras: a live view in the browser.")] = False,
    workers: Annotated[int | None, typer.Option(help="Pictures at a time; without it as many as threads.")] = None,
    threads: Annotated[int | None, typer.Option(help="Processor threads; without it all, eight at most.")] = None,
) -> None:
    """Find the faces in pictures, videos, streams or what a camera sees, and name their expressions."""
    source, videos = _moving(inputs or [], camera)
    if (source is not None and (output or annotate)) or ((source is not None or videos) and (explain or resume)):
        raise InputError("--explain and --resume are for pictures, --output is for files: leave them out")
    if source is not None and form not in (Format.table, Format.json):
        raise InputError(f"--format {form.value} is for files: a stream is printed as lines of JSON")
    if source is None and (show or keep_all or frame_size):
        raise InputError("--show, --keep-all and --frame-size are for streams and cameras: leave them out")
    if source is not None or videos:
        from msanet.video.tracks import Following

        following = Following(size or 320, finer_every, threshold, smoothing)
        if source is not None:
            _watch(source, model, following, threads, frame_size, keep_all, show)
        else:
            _process(videos, model, following, threads, output, form, annotate is not False)
        return
    if not inputs:
        raise InputError("there is nothing to recognize: name pictures, folders, videos or a stream, or use --camera 0")
    if form is Format.parquet:
        raise InputError("Parquet is for the tables of videos: choose json or csv")
    if resume and output is None:
        raise InputError("--resume goes on with the results of an earlier run: name their folder with --output")
    from msanet.faces.detector import FaceDetector
    from msanet.recognize.batch import share_threads
    from msanet.recognize.recognizer import Recognizer

    pictures, failures = _pictures(inputs, output)
    workers, each = share_threads(len(pictures), workers, threads)
    recognizer = Recognizer(model, FaceDetector(size or 640, threshold, each), each)
    _read(pictures, recognizer, failures, output, form, explain, annotate, resume, workers)


def benchmark(
    inputs: Annotated[list[str], typer.Argument(metavar="PICTURE...", help="Pictures with faces, or folders of them.")],
    model: Annotated[list[str] | None, typer.Option(help="Shipped model or .onnx file; else all shipped.")] = None,
    threads: Annotated[list[int] | None, typer.Option(help="Processor threads; without it 1, 2 and so on.")] = None,
    repeats: Annotated[int, typer.Option(help="Of each measurement.")] = 5,
    size: Annotated[int, typer.Option(help="Long side of the picture for the face detector, pixels.")] = 640,
    form: Annotated[Layout, typer.Option("--format", help="How to print the results.")] = Layout.table,
) -> None:
    """Measure recognition on this machine, stage by stage; --model and --threads may be given several times."""
    from msanet.model import model_names
    from msanet.recognize import benchmark as bench

    pictures, failures = _pictures(inputs, None)
    if failures:
        raise InputError(failures[0])
    result = bench.benchmark(list(pictures), model or model_names(), threads, repeats, size)
    if form is Layout.json:
        typer.echo(json.dumps(result.to_dict(), indent=2))
        return
    typer.echo(", ".join(f"{name} {value}" for name, value in result.machine.items()))
    typer.echo(f"pictures {result.pictures}, faces {result.faces}, repeats {result.repeats}")
    rows: list[list[Any]] = []
    for item in result.figures:
        numbers = [f"{value:.4g}" for value in (item.median, item.lowest, item.highest)]
        rows.append([item.model, "" if item.threads is None else item.threads, item.what, *numbers, item.unit])
    print_rows(["model", "threads", "what", "median", "lowest", "highest", "unit"], rows)


def _moving(inputs: list[str], camera: int | None) -> tuple[int | str | None, list[str]]:
    """What moves among the inputs: a camera's number or a stream; or the videos, known by their content."""
    from msanet.video.frames import ADDRESSES, is_video

    streams = [item for item in inputs if item == "-" or item.lower().startswith(ADDRESSES)]
    videos = [item for item in inputs if item not in streams and is_video(item)]
    if (camera is not None or streams) and len(inputs) + (camera is not None) > 1:
        raise InputError("a camera or a stream is watched alone: leave the other inputs out")
    if videos and len(videos) < len(inputs):
        raise InputError("videos are recognized apart from pictures: name the pictures in another run")
    return camera if camera is not None else streams[0] if streams else None, videos


def _read(
    pictures: dict[str, str],
    recognizer: Recognizer,
    failures: list[str],
    output: Path | None,
    form: Format,
    explain: bool,
    annotate: bool | None,
    resume: bool,
    workers: int,
) -> None:
    """Pictures, several at a time: their results printed, and in a folder with annotated copies; failures last."""
    from msanet.recognize.batch import recognize_many
    from msanet.recognize.results import Results, copies, write_copy
    from msanet.recognize.tables import write_csv

    many = len(pictures) > MANY
    annotate = output is not None and (not many if annotate is None else annotate)
    targets = copies(output, pictures) if output is not None and annotate else {}

    def finish(recognition: Recognition) -> dict[str, Any]:
        result = recognition.to_dict()
        if targets:
            result["annotated"] = write_copy(recognition, targets[recognition.source])
        return result

    with nullcontext() if output is None else Results(output, recognizer.expressions, resume) as results:
        todo = [path for path in pictures if results is None or path not in results]

        def done() -> Iterator[dict[str, Any]]:
            outcomes = recognize_many(recognizer, todo, workers, explain, each=finish)
            try:
                for outcome in with_progress(outcomes, len(todo)):
                    if isinstance(outcome, InputError):
                        failures.append(str(outcome))
                        continue
                    if results is not None:
                        results.add(outcome)
                    if not outcome["faces"] and form is not Format.table and not many:
                        typer.echo(f"{outcome['source']}: no face found", err=True)
                    yield outcome
            except KeyboardInterrupt:
                if results is not None:
                    typer.echo(f"msanet: what was done is in {results.path}: go on with --resume", err=True)
                raise

        if results is not None and many and form is Format.table:
            faces = sum(len(result["faces"]) for result in done())
            typer.echo(f"{len(todo)} pictures, {len(failures)} of them failed, {faces} faces: {results.path}")
        else:
            _print_results(done(), form, recognizer.expressions, many)
        if results is not None and form is Format.csv:
            write_csv(results.path.with_suffix(".csv"), results, recognizer.expressions)
    say(failures)
    raise typer.Exit(2 if failures else 0)


def _process(
    videos: list[str],
    model: str,
    following: Following,
    threads: int | None,
    output: Path | None,
    form: Format,
    annotate: bool,
) -> None:
    """Videos, one after the other: files in a folder; or the table, or a line for each person, printed."""
    from msanet.recognize.recognizer import Recognizer
    from msanet.runtime import limit_arenas
    from msanet.video.process import process, targets

    limit_arenas()
    recognizer = Recognizer(model, threads=1)  # several frames at a time share the processors
    places = {} if output is None else targets(output, videos)
    kind = {Format.json: "jsonl", Format.parquet: "parquet"}.get(form, "csv")
    printed = sys.stdout if output is None and form is not Format.table else None
    failures: list[str] = []
    people: list[list[Any]] = []
    interrupted = None
    for path in videos:
        try:
            with clock(path) as progress:
                outcome = process(
                    path, recognizer, following, places.get(path), kind, annotate, printed, threads, progress
                )
        except InputError as error:
            failures.append(str(error))
            continue
        failures += outcome.failures
        people += outcome.timeline.summary(path)
        if printed is not None and not outcome.timeline.people:
            typer.echo(f"{path}: no face found", err=True)
        for file in outcome.files:
            typer.echo(file, err=True)
        if interrupted := outcome.interrupted:
            typer.echo(f"msanet: stopped at {outcome.timeline.end:.1f} s of {path}; what was done is kept", err=True)
            break
    if printed is None and people:
        print_rows(["video", "person", "expression", "share", "from", "to", "frames"], people)
    say(failures)
    raise typer.Exit(128 + interrupted if interrupted else 2 if failures else 0)


def _watch(
    source: int | str,
    model: str,
    following: Following,
    threads: int | None,
    frame_size: str | None,
    keep_all: bool,
    show: bool,
) -> None:
    """A camera or a stream as lines of JSON; at the end how many frames were dropped, on standard error."""
    from msanet.recognize.recognizer import Recognizer
    from msanet.video import live
    from msanet.video.page import Page

    recognizer = Recognizer(model, threads=threads)
    with closing(Page()) if show else nullcontext() as page, live.source(source, frame_size, keep_all) as frames:
        if page is not None:
            typer.echo(f"msanet: live view: {page.address}", err=True)
        try:
            live.watch(frames, recognizer, following, sys.stdout, page)
        finally:
            typer.echo(f"msanet: {getattr(frames, 'dropped', 0)} frames dropped", err=True)


def _pictures(inputs: list[str], output: Path | None) -> tuple[dict[str, str], list[str]]:
    """Path of each picture -> its path below the folder it was found in; and a sentence for each folder without any.

    The folder of the results is no source of pictures.
    """
    from msanet.images import listing

    pictures: dict[str, str] = {}
    failures = []
    for item in inputs:
        if not os.path.isdir(item):
            pictures[item] = os.path.basename(item)
            continue
        found = listing(item, output)
        if not found:
            failures.append(f"{item} holds no pictures: name another folder")
        pictures.update((path, os.path.relpath(path, item)) for path in found)
    return pictures, failures


def _print_results(results: Iterator[dict[str, Any]], form: Format, expressions: tuple[str, ...], many: bool) -> None:
    """Print each result when it is there; a table, unless it is of many, when all are."""
    from msanet.recognize.tables import csv_lines

    if form is Format.json:
        separator = "[\n"
        for result in results:
            typer.echo(separator + textwrap.indent(json.dumps(result, indent=2, ensure_ascii=False), "  "), nl=False)
            separator = ",\n"
        typer.echo("[]" if separator == "[\n" else "\n]")
    elif form is Format.csv:
        for line in csv_lines(results, expressions):
            typer.echo(line, nl=False)
    else:
        rows = (row for result in results for row in _table_rows(result))
        if many:
            for row in rows:
                typer.echo("\t".join(row))
        elif found := list(rows):
            print_rows(["picture", "face", "expression", "probability", "box x1 y1 x2 y2"], found)


def _table_rows(result: dict[str, Any]) -> Iterator[list[str]]:
    for number, face in enumerate(result["faces"], 1):
        share = f"{face['probabilities'][face['expression']]:.0%}"
        box = " ".join(f"{value:.0f}" for value in face["box"])
        yield [result["source"], str(number), face["expression"], share, box]
    if not result["faces"]:
        yield [result["source"], "", "no face found", "", ""]

"""msanet recognize and benchmark."""

from __future__ import annotations

import os
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, field
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from msanet.cli.show import clock, echo, json_text, note, print_rows, say, with_progress
from msanet.errors import InputError, missing
from msanet.files import listing, printable

if TYPE_CHECKING:
    from msanet.recognize.batch import UnexpectedError
    from msanet.recognize.recognizer import Recognition, Recognizer
    from msanet.recognize.results import Results
    from msanet.video.tracks import Following


NAMED = 5
"""Endings that are named, of what is left out of a folder."""

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


@dataclass
class Files:
    """The inputs that are files.

    Attributes:
        pictures: path of each picture -> its path below the folder it was found in.
        videos: paths.
        failures: a sentence for each folder without either.
    """

    pictures: dict[str, str] = field(default_factory=dict)
    videos: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def recognize(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT...", help="Pictures, videos, folders; or a stream's address, - for raw frames."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for the results and the annotated copies.")] = None,
    form: Annotated[Format, typer.Option("--format", help="How to print the results.")] = Format.table,
    model: Annotated[str, typer.Option(help="Name of a shipped model, or an .onnx file.")] = "accurate",
    explain: Annotated[bool, typer.Option("--explain", help="Also show which parts of a face speak for it.")] = False,
    annotate: Annotated[
        bool | None, typer.Option(help=f"Draw on copies; without it on videos, and on up to {MANY} pictures.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Leave out what has its results in --output.")] = False,
    threshold: Annotated[float, typer.Option(help="Lowest score of a face, 0 to 1.")] = 0.6,
    size: Annotated[
        int | None, typer.Option(help="Long side of the picture for the detector, pixels; else 640, in videos 320.")
    ] = None,
    smoothing: Annotated[
        float | None, typer.Option(help="Videos: seconds over which probabilities are smoothed; else 0.3.")
    ] = None,
    finer_every: Annotated[
        int | None, typer.Option(help="Videos: every so many frames, search at twice the size; else 30.")
    ] = None,
    camera: Annotated[int | None, typer.Option(help="Number of a camera of this machine instead of INPUT.")] = None,
    frame_size: Annotated[str | None, typer.Option(metavar="WxH", help="Size of the raw RGB frames in -.")] = None,
    keep_all: Annotated[bool, typer.Option("--keep-all", help="Streams: drop no frame, however late.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Streams, cameras: a live view in the browser.")] = False,
    workers: Annotated[int | None, typer.Option(help="Pictures at a time; without it as many as threads.")] = None,
    threads: Annotated[int | None, typer.Option(help="Processor threads; without it all, eight at most.")] = None,
) -> None:
    """Find the faces in pictures, videos, streams or what a camera sees, and name their expressions."""
    if not inputs and camera is None:
        raise InputError("there is nothing to recognize: name pictures, folders, videos or a stream, or use --camera 0")
    source = _stream(inputs or [], camera)
    files = Files() if source is not None else _files(inputs or [], output)
    moving = source is not None or bool(files.videos)
    _refuse("pictures and videos", source is None, {"--show": show, "--keep-all": keep_all})
    _refuse("anything but raw frames", source != "-", {"--frame-size": frame_size is not None})
    _refuse("pictures", not moving, {"--smoothing": smoothing is not None, "--finer-every": finer_every is not None})
    _refuse("videos", moving and not files.pictures, {"--explain": explain, "--workers": workers is not None})
    columns = form not in (Format.table, Format.json)  # a stream is lines of JSON
    _refuse("streams", source is not None, {"--output": output is not None, f"--format {form.value}": columns})
    if output is None and (annotate is not None or resume):
        raise InputError("--annotate and --resume are for a folder of results: name it with --output")
    if form is Format.parquet and not files.videos:
        raise InputError("Parquet is for the tables of videos: choose json or csv")
    if output is None and form is not Format.table and files.pictures and files.videos:
        raise InputError(
            f"pictures and videos have different tables, which --format {form.value} cannot print as one: "
            "name a folder with --output, or name them in two runs"
        )
    following = None
    if moving:
        from msanet.video.tracks import Following

        following = Following(
            320 if size is None else size,
            30 if finer_every is None else finer_every,
            threshold,
            0.3 if smoothing is None else smoothing,
        )
    if source is not None and following is not None:
        _watch(source, model, following, threads, frame_size, keep_all, show)
        return

    from msanet.faces.detector import FaceDetector
    from msanet.recognize.batch import share_threads
    from msanet.recognize.recognizer import Recognizer
    from msanet.recognize.results import Results, origin_of

    if not files.pictures and not files.videos:
        raise InputError("; ".join(files.failures))
    if files.pictures:
        number, each = share_threads(len(files.pictures), workers, threads)
        recognizer = Recognizer(model, FaceDetector(640 if size is None else size, threshold, each), each)
    else:
        number = 0
        recognizer = Recognizer(model, threads=1)  # several frames at a time share the processors
    failures, interrupted = files.failures, 0
    with ExitStack() as stack:
        results = None
        if output is not None:
            settings = {"threshold": threshold, "size": size, "smoothing": smoothing, "finer_every": finer_every}
            origin = origin_of(recognizer, **settings, explain=explain)
            results = stack.enter_context(Results(output, [*files.pictures, *files.videos], origin, resume))
        try:
            if files.pictures:
                failures += _read(files.pictures, recognizer, results, form, explain, annotate, number)
            if following is not None:
                if files.pictures:
                    recognizer = Recognizer(model, threads=1)
                more, interrupted = _process(
                    files, recognizer, following, threads, results, form, annotate is not False
                )
                failures += more
        except (KeyboardInterrupt, SystemExit):
            if results is not None:
                say(f"what was done is in {results.path}: go on with --resume")
            raise
    say(*failures)
    raise typer.Exit(128 + interrupted if interrupted else 2 if failures else 0)


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

    files = _files(inputs, None)
    if files.failures or files.videos:
        raise InputError(*files.failures[:1] or [f"{files.videos[0]} is a video: name pictures"])
    result = bench.benchmark(list(files.pictures), model or model_names(), threads, repeats, size)
    if form is Layout.json:
        typer.echo(json_text(result.to_dict(), 2))
        return
    echo(", ".join(f"{name} {value}" for name, value in result.machine.items()))
    echo(f"pictures {result.pictures}, faces {result.faces}, repeats {result.repeats}")
    rows: list[list[Any]] = []
    for item in result.figures:
        numbers = [f"{value:.4g}" for value in (item.median, item.lowest, item.highest)]
        rows.append([item.model, "" if item.threads is None else item.threads, item.what, *numbers, item.unit])
    print_rows(["model", "threads", "what", "median", "lowest", "highest", "unit"], rows)


def _stream(inputs: list[str], camera: int | None) -> int | str | None:
    """The camera's number or the stream among the inputs, which is watched alone."""
    from msanet.video.frames import ADDRESSES

    streams = [item for item in inputs if item == "-" or item.lower().startswith(ADDRESSES)]
    if (camera is not None or streams) and len(inputs) + (camera is not None) > 1:
        raise InputError("a camera or a stream is watched alone: leave the other inputs out")
    return camera if camera is not None else streams[0] if streams else None


def _files(inputs: list[str], output: Path | None) -> Files:
    """Sort the inputs. What a folder holds is known by its endings, and what else is in it is said; what is named
    itself is known by its content.

    The folder of the results is no source.
    """
    from msanet.images import picture_suffixes
    from msanet.video.frames import VIDEO_SUFFIXES, is_video

    files, pictures = Files(), picture_suffixes()
    videos = VIDEO_SUFFIXES if find_spec("av") is not None else frozenset()
    seen: set[str] = set()
    for item in inputs:
        folder = os.path.isdir(item)
        left_out: Counter[str] = Counter()
        found = listing(item, output) if folder else [item]
        for path in found:
            ending = os.path.splitext(path)[1].lower()
            key = os.path.abspath(path)
            moves = ending in videos if folder else is_video(path)
            if folder and not moves and ending not in pictures:
                left_out[ending or "without ending"] += 1
            elif key not in seen:
                seen.add(key)
                if moves:
                    files.videos.append(path)
                else:
                    files.pictures[path] = os.path.relpath(path, item) if folder else os.path.basename(path)
        if left_out:
            unread = {"av": VIDEO_SUFFIXES - videos, "pillow_heif": {".heic", ".heif"}}
            say(_left_out(item, left_out, [name for name, endings in unread.items() if endings & left_out.keys()]))
        if folder and left_out.total() == len(found):
            files.failures.append(f"{item} holds no pictures or videos: name another folder")
    return files


def _left_out(folder: str, endings: Counter[str], modules: list[str]) -> str:
    """37 files left out of photos: 30 .heic, 7 .txt; and how to read them, where a library is missing."""
    number = endings.total()
    most = endings.most_common(NAMED)
    named = [f"{count:,} {ending}" for ending, count in most]
    rest = number - sum(count for _, count in most)
    named += [f"{rest:,} others"] if rest else []
    sentence = f"{number:,} file{'s' if number > 1 else ''} left out of {folder}: {', '.join(named)}"
    return "; ".join([sentence, *map(missing, modules)])


def _refuse(what: str, applies: bool, given: dict[str, bool]) -> None:
    """Options that were given, but would change nothing."""
    if names := [name for name, is_given in given.items() if applies and is_given]:
        raise InputError(f"{' and '.join(names)} would change nothing for {what}: leave that out")


def _read(
    pictures: dict[str, str],
    recognizer: Recognizer,
    results: Results | None,
    form: Format,
    explain: bool,
    annotate: bool | None,
    workers: int,
) -> list[str]:
    """Pictures, several at a time: their results printed, and in a folder with annotated copies; what failed."""
    from msanet.recognize.batch import UnexpectedError, recognize_many
    from msanet.recognize.results import copies, write_copy
    from msanet.recognize.tables import write_csv

    many = len(pictures) > MANY
    failures: list[str] = []
    todo = list(pictures) if results is None else [path for path in results.todo if path in pictures]
    targets: dict[str, Path] = {}
    if results is not None and (not many if annotate is None else annotate):
        targets = copies(results.path.parent, {path: pictures[path] for path in todo}, results.annotated)

    def finish(recognition: Recognition) -> dict[str, Any]:
        result = recognition.to_dict()
        if targets:
            result["annotated"] = write_copy(recognition, targets[recognition.source])
        return result

    def done() -> Iterator[dict[str, Any]]:
        sources = todo if results is None else results.begin(todo)
        outcomes = recognize_many(recognizer, sources, workers, explain, each=finish)
        for outcome in with_progress(outcomes, len(todo)):
            if isinstance(outcome, InputError):
                failures.append(str(outcome))
                continue
            if isinstance(outcome, UnexpectedError):
                failures.append(_note(outcome, results))
                if form is Format.json:
                    yield outcome.to_dict()
                continue
            if results is not None:
                results.add(outcome)
            if not outcome["faces"] and form is not Format.table and not many:
                say(f"{outcome['source']}: no face found")
            yield outcome

    if results is not None and many and form is Format.table:
        faces = sum(len(result["faces"]) for result in done())
        echo(f"{len(todo)} pictures, {len(failures)} of them failed, {faces} faces: {results.path}")
    else:
        _print_results(done(), form, recognizer.expressions, many)
    if results is not None and form is Format.csv:
        whole = (result for result in results if "faces" in result)
        write_csv(results.path.with_suffix(".csv"), whole, recognizer.expressions)
    return failures


def _note(error: UnexpectedError, results: Results | None) -> str:
    """Keep an error with its traceback among the results; the sentence about it."""
    if results is None:
        return f"{error}, which --output keeps"
    results.add(error.to_dict())
    return f"{error}, which is in {results.path}"


def _process(
    files: Files,
    recognizer: Recognizer,
    following: Following,
    threads: int | None,
    results: Results | None,
    form: Format,
    annotate: bool,
) -> tuple[list[str], int]:
    """Videos, one after the other: files in a folder; or the table, or a line for each person, printed.

    What failed, and the number of the signal that ended it; 0: none did.
    """
    from msanet.recognize.batch import UnexpectedError
    from msanet.runtime import limit_arenas
    from msanet.video.process import process, targets

    limit_arenas()
    videos = files.videos if results is None else [path for path in results.todo if path not in files.pictures]
    places = {} if results is None else targets(results.path.parent, videos)
    kind = {Format.json: "jsonl", Format.parquet: "parquet"}.get(form, "csv")
    printed = sys.stdout if results is None and form is not Format.table else None
    header = ["video", "person", "expression", "share", "from", "to", "frames"]
    failures: list[str] = []
    people: list[list[Any]] = []
    interrupted = 0
    for path in videos if results is None else results.begin(videos):
        try:
            with clock(path) as progress:
                outcome = process(
                    path, recognizer, following, places.get(path), kind, annotate, printed, threads, progress
                )
        except InputError as error:
            failures.append(str(error))
            continue
        except BrokenPipeError:  # nobody reads on
            raise
        except Exception as error:  # ends no other video
            failures.append(_note(UnexpectedError(path, error), results))
            continue
        failures += outcome.failures
        rows = outcome.timeline.summary(path)
        people += rows or [[path, "", "no face found", *[""] * 4]]
        if not rows and printed is not None:
            say(f"{path}: no face found")
        note(*map(str, outcome.files))
        if interrupted := outcome.interrupted or 0:
            say(f"stopped at {outcome.timeline.end:.1f} s of {path}; what was done is kept")
            break
        if results is not None and not outcome.failures:
            seen = [dict(zip(header[1:], row[1:], strict=True)) for row in rows]
            results.add({"source": path, "files": [os.path.abspath(file) for file in outcome.files], "people": seen})
    if people and printed is None and (form is Format.table or not files.pictures):
        print_rows(header, people)
    return failures, interrupted


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
            say(f"live view: {page.address}")
        try:
            live.watch(frames, recognizer, following, sys.stdout, page)
        finally:
            say(f"{getattr(frames, 'dropped', 0)} frames dropped")


def _print_results(results: Iterator[dict[str, Any]], form: Format, expressions: tuple[str, ...], many: bool) -> None:
    """Print each result when it is there; a table, unless it is of many, when all are."""
    from msanet.recognize.tables import csv_lines

    if form is Format.json:
        separator = "[\n"
        for result in results:
            typer.echo(separator + textwrap.indent(json_text(result, 2), "  "), nl=False)
            separator = ",\n"
        typer.echo("[]" if separator == "[\n" else "\n]")
    elif form is Format.csv:
        for line in csv_lines(results, expressions):
            typer.echo(line, nl=False)
    else:
        rows = (row for result in results for row in _table_rows(result))
        if many:
            for row in rows:
                typer.echo("\t".join(map(printable, row)))
        elif found := list(rows):
            print_rows(["picture", "face", "expression", "probability", "box x1 y1 x2 y2"], found)


def _table_rows(result: dict[str, Any]) -> Iterator[list[str]]:
    for number, face in enumerate(result["faces"], 1):
        share = f"{face['probabilities'][face['expression']]:.0%}"
        box = " ".join(f"{value:.0f}" for value in face["box"])
        yield [result["source"], str(number), face["expression"], share, box]
    if not result["faces"]:
        yield [result["source"], "", "no face found", "", ""]

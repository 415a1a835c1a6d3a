"""The command line: one short function per command, importing inside it."""

from __future__ import annotations

import json
import os
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from msanet.errors import EXTRAS, InputError, missing

if TYPE_CHECKING:
    from msanet.recognizer import Recognition, Recognizer
    from msanet.tracks import Following

MANY = 100
"""Of more pictures than this no table is laid out and, unless asked for, no annotated copies are written."""

app = typer.Typer(
    help="Facial expression recognition with MSA-Net.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


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


@app.command()
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
    if source is None and (show or keep_all or frame_size):
        raise InputError("--show, --keep-all and --frame-size are for streams and cameras: leave them out")
    if source is not None or videos:
        from msanet.tracks import Following

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
    from msanet.batch import share_threads
    from msanet.faces import FaceDetector
    from msanet.recognizer import Recognizer

    pictures, failures = _pictures(inputs, output)
    workers, each = share_threads(len(pictures), workers, threads)
    recognizer = Recognizer(model, FaceDetector(size or 640, threshold, each), each)
    _read(pictures, recognizer, failures, output, form, explain, annotate, resume, workers)


@app.command()
def benchmark(
    inputs: Annotated[list[str], typer.Argument(metavar="PICTURE...", help="Pictures with faces, or folders of them.")],
    model: Annotated[list[str] | None, typer.Option(help="Shipped model or .onnx file; else all shipped.")] = None,
    threads: Annotated[list[int] | None, typer.Option(help="Processor threads; without it 1, 2 and so on.")] = None,
    repeats: Annotated[int, typer.Option(help="Of each measurement.")] = 5,
    size: Annotated[int, typer.Option(help="Long side of the picture for the face detector, pixels.")] = 640,
    form: Annotated[Layout, typer.Option("--format", help="How to print the results.")] = Layout.table,
) -> None:
    """Measure recognition on this machine, stage by stage; --model and --threads may be given several times."""
    from msanet import benchmark as bench
    from msanet.recognizer import model_names

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
    _print_rows(["model", "threads", "what", "median", "lowest", "highest", "unit"], rows)


@app.command()
def models() -> None:
    """List the shipped models."""
    from msanet.recognizer import model_names, model_path
    from msanet.runtime import Session

    rows = []
    for name in model_names():
        metadata = Session(model_path(name), threads=1).metadata
        rows.append([name, metadata.get("network"), len(metadata.get("expressions", ())), metadata.get("description")])
    _print_rows(["model", "network", "expressions", "description"], rows)


Source = Annotated[str, typer.Option("--data", metavar="NAME:DIR", help="Data set and its folder: ferplus:~/ferplus.")]


@app.command()
def train(
    source: Source,
    output: Annotated[Path, typer.Option(help="Folder of the run.")],
    network: Annotated[str, typer.Option(help="Name of a network.")] = "msanet",
    recipe: Annotated[str, typer.Option(help="Name of a recipe, or a .yaml file.")] = "default",
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in this folder stopped.")] = False,
    extra: Annotated[
        str, typer.Option(metavar="NAME:DIR", help="A second data set, mixed in; see the recipe's extra_share.")
    ] = "",
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field.")] = None,
) -> None:
    """Train a network; the best epoch is chosen on the validation split."""
    from msanet.train import Run, load_recipe

    run = Run(source, network, load_recipe(recipe, settings or ()), output, resume, extra)
    report = run.train()
    if run.accelerator.is_main_process:
        typer.echo(report.to_markdown())
        typer.echo(f"weights: {output / 'best.safetensors'}")
    run.accelerator.end_training()  # a process that ends with its group open may abort


@app.command()
def evaluate(
    source: Source,
    model: Annotated[str, typer.Option(help="Name of a shipped model, a .safetensors or an .onnx file.")] = "accurate",
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    subset: Annotated[
        str | None, typer.Option(help="pose30, pose45 or occlusion alone; without it all beside the test split.")
    ] = None,
    classes: Annotated[int | None, typer.Option(help="7: leave contempt out of pictures and answers.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for report.html, .md, .json and confusion.png.")] = None,
) -> None:
    """Score a model on a labelled data set, and show what it gets wrong."""
    from msanet import evaluate as evaluation
    from msanet.report import write

    result = evaluation.examine(model, source, split, subset, classes)
    typer.echo(result.report.to_markdown())
    if output is not None:
        result.report.save(output)
        write(output / "report.html", result)
        typer.echo(f"report: {output / 'report.html'}")


@app.command()
def ablate(
    source: Source,
    output: Annotated[Path, typer.Option(help="Folder of the ablation; finished cells in it are not trained again.")],
    networks: Annotated[str, typer.Option(metavar="A,B,C", help="Networks, a row each.")] = "",
    rows: Annotated[Path | None, typer.Option(metavar="FILE.yaml", help="Rows, see benchmarks/ablation.yaml.")] = None,
    seeds: Annotated[str, typer.Option(metavar="0,1,2", help="Seeds of the rows that name none.")] = "0,1,2",
    recipe: Annotated[str, typer.Option(help="Name of a recipe, or a .yaml file.")] = "default",
    only: Annotated[str, typer.Option(metavar="A,B", help="Train only these rows; the report has all.")] = "",
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field.")] = None,
) -> None:
    """Train rows x seeds and report what each change is worth. Several processes may share an output folder."""
    from msanet.ablate import Ablation, load_rows, network_rows, to_markdown

    lines = network_rows(_split(networks)) + ([] if rows is None else load_rows(rows))
    try:
        numbers = [int(seed) for seed in _split(seeds)]
    except ValueError:
        raise InputError(f"--seeds {seeds}: give whole numbers with commas between, such as 0,1,2") from None
    ablation = Ablation(source, lines, numbers, recipe, output, settings or ())
    failures = ablation.run(_split(only))
    typer.echo(to_markdown(ablation.report()))
    typer.echo(f"report: {output}")
    _say(failures)
    raise typer.Exit(2 if failures else 0)


@app.command()
def compare(
    name: Annotated[str, typer.Option("--data", metavar="NAME", help="Data set: ferplus, rafdb, ...")],
    results: Annotated[
        list[Path] | None,
        typer.Option(help="report.json or ablation.json, or a folder to search for them; may be given several times."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for comparison.json and comparison.md.")] = None,
) -> None:
    """Show our measured scores on a data set beside those printed in papers."""
    from msanet import compare as comparing

    comparison = comparing.compare(name, results or ())
    typer.echo(comparing.to_markdown(comparison))
    if output is not None:
        comparing.save(comparison, output)
        typer.echo(f"comparison: {output}")


@app.command()
def export(
    model: Annotated[str, typer.Option(help="Name of a shipped model, or a .safetensors file.")],
    output: Annotated[Path, typer.Option(help="The .onnx file to write.")],
    half: Annotated[bool, typer.Option("--half", help="Store weights in half precision: half the file.")] = False,
    quantize: Annotated[str | None, typer.Option(metavar="int8", help="Compute in 8 bits; needs --data.")] = None,
    source: Annotated[str | None, typer.Option("--data", metavar="NAME:DIR", help="Faces that calibrate int8.")] = None,
) -> None:
    """Write a model as ONNX and compare it with PyTorch."""
    from msanet import export as door

    proof = door.export(model, output, half=half, quantize=quantize, source=source)
    typer.echo(f"{output}: ONNX opset {door.OPSET}, {output.stat().st_size / 1e6:.2f} MB")
    typer.echo(
        f"over {proof.pictures} {'random' if proof.accuracies is None else 'validation'} pictures its probabilities "
        f"differ from PyTorch's by {proof.difference:.1e} at most; {proof.agreement:.2%} of the answers are the same"
    )
    if proof.accuracies is not None:
        typer.echo(f"accuracy: PyTorch {proof.accuracies[0]:.2%}, {quantize} {proof.accuracies[1]:.2%}")


@app.command()
def networks() -> None:
    """List the networks, with their cost for one 224 x 224 picture and seven classes."""
    from msanet.models import NETWORKS, count_cost, create_network

    rows = []
    for name in NETWORKS:
        parameters, operations = count_cost(create_network(name), 224)
        rows.append([name, f"{parameters / 1e6:.2f} M", f"{operations / 1e9:.2f} G"])
    _print_rows(["network", "parameters", "multiply-adds"], rows)


@app.command()
def recipes() -> None:
    """List the recipes."""
    from msanet.train import load_recipe, recipe_names

    _print_rows(["recipe", "description"], [[name, load_recipe(name).description] for name in recipe_names()])


datasets = typer.Typer(help="List the data sets, or check one.", invoke_without_command=True)
app.add_typer(datasets, name="datasets")


@datasets.callback()
def list_datasets(context: typer.Context) -> None:
    """List the data sets: what each wants on disk, and what its owners ask."""
    from msanet.data import READERS

    if context.invoked_subcommand is None:
        _print_rows(
            ["name", "layout", "licence"], [[name, item.layout, item.license] for name, item in READERS.items()]
        )


@datasets.command("check")
def check_dataset(
    source: Annotated[str, typer.Argument(metavar="NAME:DIR")],
    quick: Annotated[bool, typer.Option("--quick", help="Do not read each picture.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Name every picture that a warning is about, not ten.")] = False,
) -> None:
    """Count a data set's pictures per split and expression, beside the official counts; name what is wrong."""
    from msanet.data.check import check

    result = check(source, decode=not quick)
    rows: list[list[Any]] = []
    for split, expression, number, official in result.rows:
        differs = "" if official in (None, number) else f"{number - official:+}"
        rows.append([split, expression, number, "" if official is None else official, differs])
    _print_rows(["split", "expression", "pictures", "official", "differs"], rows)
    if result.note:
        typer.echo(f"note: {result.note}")
    for sentence, names in result.warnings:
        typer.echo(f"msanet: warning: {sentence}", err=True)
        shown = names if every else names[:10]
        for name in shown if len(names) > 1 else ():  # a single one is named in the sentence
            typer.echo(f"    {name}", err=True)
        if len(shown) < len(names):
            typer.echo(f"    and {len(names) - len(shown):,} more: --all names them", err=True)
    _say(result.failures)
    raise typer.Exit(2 if result.differing or result.failures else 0)


def _say(failures: list[str]) -> None:
    """What went wrong, a sentence each."""
    for sentence in failures:
        typer.echo(f"msanet: {sentence}", err=True)


def _split(words: str) -> list[str]:
    """a,b,c -> [a, b, c]."""
    return [word.strip() for word in words.split(",") if word.strip()]


def _moving(inputs: list[str], camera: int | None) -> tuple[int | str | None, list[str]]:
    """What moves among the inputs: a camera's number or a stream; or the videos, known by their endings."""
    from msanet.frames import ADDRESSES, SUFFIXES

    streams = [item for item in inputs if item == "-" or item.startswith(ADDRESSES)]
    videos = [item for item in inputs if Path(item).suffix.lower() in SUFFIXES and item not in streams]
    videos = [item for item in videos if not os.path.isdir(item)]
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
    from msanet.batch import Results, copies, recognize_many, write_copy
    from msanet.tables import write_csv

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
                for outcome in _progress(outcomes, len(todo)):
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
    _say(failures)
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
    from msanet.recognizer import Recognizer
    from msanet.runtime import limit_arenas
    from msanet.video import process, targets

    limit_arenas()
    recognizer = Recognizer(model, threads=1)  # several frames at a time share the processors
    places = {} if output is None else targets(output, videos)
    kind = {Format.json: "jsonl", Format.parquet: "parquet"}.get(form, "csv")
    printed = sys.stdout if output is None and form is not Format.table else None
    failures: list[str] = []
    people: list[list[Any]] = []
    interrupted = False
    for path in videos:
        try:
            with _clock(path) as progress:
                outcome = process(
                    path, recognizer, following, places.get(path), kind, annotate, printed, threads, progress
                )
        except InputError as error:
            failures.append(str(error))
            continue
        failures += outcome.failures
        people += outcome.timeline.summary(path)
        for file in outcome.files:
            typer.echo(file, err=True)
        if interrupted := outcome.interrupted:
            typer.echo(f"msanet: stopped at {outcome.timeline.end:.1f} s of {path}; what was done is kept", err=True)
            break
    if printed is None and people:
        _print_rows(["video", "person", "expression", "share", "from", "to", "frames"], people)
    _say(failures)
    raise typer.Exit(130 if interrupted else 2 if failures else 0)


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
    from msanet import live
    from msanet.recognizer import Recognizer

    recognizer = Recognizer(model, threads=threads)
    with closing(live.Page()) if show else nullcontext() as page, live.source(source, frame_size, keep_all) as frames:
        if page is not None:
            typer.echo(f"msanet: live view: {page.address}", err=True)
        try:
            live.watch(frames, recognizer, following, sys.stdout, page)
        finally:
            typer.echo(f"msanet: {getattr(frames, 'dropped', 0)} frames dropped", err=True)


@contextmanager
def _clock(path: str) -> Iterator[Callable[[float, float | None], None] | None]:
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


def _progress(items: Iterator[Any], total: int) -> Iterator[Any]:
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


def _print_results(results: Iterator[dict[str, Any]], form: Format, expressions: tuple[str, ...], many: bool) -> None:
    """Print each result when it is there; a table, unless it is of many, when all are."""
    from msanet.tables import csv_lines

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
            _print_rows(["picture", "face", "expression", "probability", "box x1 y1 x2 y2"], found)


def _table_rows(result: dict[str, Any]) -> Iterator[list[str]]:
    for number, face in enumerate(result["faces"], 1):
        share = f"{face['probabilities'][face['expression']]:.0%}"
        box = " ".join(f"{value:.0f}" for value in face["box"])
        yield [result["source"], str(number), face["expression"], share, box]
    if not result["faces"]:
        yield [result["source"], "", "no face found", "", ""]


def _print_rows(header: list[str], rows: list[list[Any]]) -> None:
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


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """A warning as a sentence, without the line of code that gave it."""
    typer.echo(f"msanet: warning: {message}", err=True)


def main() -> None:
    """Run the command line; what the user can mend is one sentence and exit code 2."""
    warnings.filterwarnings("ignore", module="PIL")  # about damaged files, of which we say so ourselves
    warnings.showwarning = _show_warning
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


if __name__ == "__main__":
    main()

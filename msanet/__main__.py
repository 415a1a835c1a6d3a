"""The command line: one short function per command, importing inside it."""

from __future__ import annotations

import sys
import warnings
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from msanet.errors import EXTRAS, InputError, missing

if TYPE_CHECKING:
    from msanet.recognizer import Recognition

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


@app.command()
def recognize(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Pictures, or folders of pictures.")],
    output: Annotated[Path | None, typer.Option(help="Folder for the annotated pictures and results.json.")] = None,
    form: Annotated[Format, typer.Option("--format", help="How to print the results.")] = Format.table,
    model: Annotated[str, typer.Option(help="Name of a shipped model, or an .onnx file.")] = "accurate",
    explain: Annotated[bool, typer.Option("--explain", help="Also show which parts of a face speak for it.")] = False,
    threshold: Annotated[float, typer.Option(help="Lowest score of a face, 0 to 1.")] = 0.6,
    size: Annotated[int, typer.Option(help="Long side of the picture for the face detector, pixels.")] = 640,
    threads: Annotated[int | None, typer.Option(help="Processor threads; without it all, eight at most.")] = None,
) -> None:
    """Find the faces in pictures and name their expressions."""
    from msanet.faces import FaceDetector
    from msanet.recognizer import Recognizer

    paths, failures = _pictures(inputs)
    recognizer = Recognizer(model, FaceDetector(size, threshold, threads), threads)
    names = None if output is None else _Names(output, paths)
    results: list[dict[str, Any]] = []
    for path in paths:
        try:
            recognition = recognizer.recognize(path, explain)
            result = recognition.to_dict()
            if names is not None:
                result["annotated"] = _annotate(recognition, names)
        except InputError as error:
            failures.append(str(error))
            continue
        results.append(result)
        if not recognition and form is not Format.table:
            typer.echo(f"{path}: no face found", err=True)
    text = _as_csv(results, recognizer.expressions) if form is Format.csv else _as_json(results)
    if output is not None and results:
        _write_text(output / f"results.{'csv' if form is Format.csv else 'json'}", text)
    if form is Format.table:
        _print_table(results)
    else:
        typer.echo(text, nl=False)
    for sentence in failures:
        typer.echo(f"msanet: {sentence}", err=True)
    raise typer.Exit(2 if failures else 0)


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
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field.")] = None,
) -> None:
    """Train a network; the best epoch is chosen on the validation split."""
    from msanet.train import Run, load_recipe

    run = Run(source, network, load_recipe(recipe, settings or ()), output, resume)
    report = run.train()
    if run.accelerator.is_main_process:
        typer.echo(report.to_markdown())
        typer.echo(f"weights: {output / 'best.safetensors'}")


@app.command()
def evaluate(
    source: Source,
    model: Annotated[str, typer.Option(help="Name of a shipped model, a .safetensors or an .onnx file.")] = "accurate",
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    subset: Annotated[str | None, typer.Option(help="pose30, pose45 or occlusion, of the test split.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for report.json, report.md and confusion.png.")] = None,
) -> None:
    """Score a model on a labelled data set."""
    from msanet import evaluate as evaluation

    report = evaluation.evaluate(model, source, split, subset)
    typer.echo(report.to_markdown())
    if output is not None:
        report.save(output)
        typer.echo(f"report: {output}")


@app.command()
def export(
    model: Annotated[str, typer.Option(help="Name of a shipped model, or a .safetensors file.")],
    output: Annotated[Path, typer.Option(help="The .onnx file to write.")],
    half: Annotated[bool, typer.Option("--half", help="Store weights in half precision: half the file.")] = False,
) -> None:
    """Write a model as ONNX and check that it gives PyTorch's probabilities."""
    from msanet import export as door

    difference = door.export(model, output, half=half)
    typer.echo(f"{output}: probabilities agree with PyTorch within {difference:.1e}")


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
def check_dataset(source: Annotated[str, typer.Argument(metavar="NAME:DIR")]) -> None:
    """Count a data set's pictures per split and expression, beside the official counts."""
    from msanet.data import count_splits

    rows: list[list[Any]] = []
    for split, expression, number, official in count_splits(source):
        rows.append([split, expression, number, "" if official is None else official])
    _print_rows(["split", "expression", "pictures", "official"], rows)


class _Names:
    """Names for the annotated pictures: none twice, and never an input's own."""

    def __init__(self, folder: Path, inputs: list[str]) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder} cannot be made a folder ({error.strerror}): choose another --output") from None
        self._folder = folder
        self._taken = {self._key(Path(path)) for path in inputs}

    def __call__(self, source: Path) -> Path:
        ending = ".jpg" if source.suffix.lower() in (".jpg", ".jpeg") else ".png"
        number = 1
        while True:
            path = self._folder / f"{source.stem}{'' if number == 1 else f'-{number}'}{ending}"
            if self._key(path) not in self._taken:
                self._taken.add(self._key(path))
                return path
            number += 1

    @staticmethod
    def _key(path: Path) -> str:
        return str(path.resolve()).casefold()  # some file systems do not tell A from a


def _pictures(inputs: list[str]) -> tuple[list[str], list[str]]:
    """Folders replaced by the pictures in them; and a sentence for each folder without any."""
    from msanet.images import listing

    paths: list[str] = []
    failures = []
    for item in inputs:
        found = [str(path) for path in listing(item)] if Path(item).is_dir() else [item]
        if not found:
            failures.append(f"{item} holds no pictures: name another folder")
        paths += found
    return paths, failures


def _annotate(recognition: Recognition, names: _Names) -> str:
    """Write the picture with its faces drawn on it; where it lies."""
    from msanet.images import write

    path = names(Path(recognition.source))
    write(path, recognition.draw())
    return str(path)


def _as_json(results: list[dict[str, Any]]) -> str:
    import json

    return json.dumps(results, indent=2, ensure_ascii=False) + "\n"


def _as_csv(results: list[dict[str, Any]], expressions: tuple[str, ...]) -> str:
    """One line per face, with a header."""
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["source", "face", "x1", "y1", "x2", "y2", "score", "expression", *expressions])
    for result in results:
        for number, face in enumerate(result["faces"], 1):
            probabilities = [face["probabilities"][name] for name in expressions]
            writer.writerow([result["source"], number, *face["box"], face["score"], face["expression"], *probabilities])
    return text.getvalue()


def _print_table(results: list[dict[str, Any]]) -> None:
    rows: list[list[Any]] = []
    for result in results:
        for number, face in enumerate(result["faces"], 1):
            share = f"{face['probabilities'][face['expression']]:.0%}"
            box = " ".join(f"{value:.0f}" for value in face["box"])
            rows.append([result["source"], number, face["expression"], share, box])
        if not result["faces"]:
            rows.append([result["source"], "", "no face found", "", ""])
    if rows:
        _print_rows(["picture", "face", "expression", "probability", "box x1 y1 x2 y2"], rows)


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


def _write_text(path: Path, text: str) -> None:
    from msanet.images import replacing

    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


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

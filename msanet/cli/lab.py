"""msanet train, evaluate, ablate, compare and export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from msanet.cli.show import echo, say, split_words
from msanet.errors import InputError

if TYPE_CHECKING:
    pass


DataOption = Annotated[
    str, typer.Option("--data", metavar="NAME:DIR", help="Data set and its folder: ferplus:~/ferplus.")
]


def train(
    source: DataOption,
    output: Annotated[Path, typer.Option(help="Folder of the run.")],
    network: Annotated[str, typer.Option(help="Name of a network, or timm:NAME.")] = "msanet",
    recipe: Annotated[str, typer.Option(help="Name of a recipe, or a .yaml file.")] = "default",
    method: Annotated[str, typer.Option(help="Name of a method, instead of the recipe's.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in this folder stopped.")] = False,
    extra: Annotated[
        str, typer.Option(metavar="NAME:DIR", help="A second data set, mixed in; see the recipe's extra_share.")
    ] = "",
    unlabelled: Annotated[
        str, typer.Option(metavar="NAME:DIR", help="Pictures that a method may use without their labels.")
    ] = "",
    fold: Annotated[str, typer.Option(metavar="K/N", help="Leave fold K of N out, by person, for the test.")] = "",
    track: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Log to tensorboard, wandb, mlflow, ... too.")
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field.")] = None,
) -> None:
    """Train a network; the best epoch is chosen on the validation split."""
    from msanet.train.recipe import load_recipe

    changes = [f"method={{name: {method}}}"] if method else []
    changes += [f"data.fold={fold}"] if fold else []
    chosen = load_recipe(recipe, [*changes, *(settings or ())])  # before torch, which takes seconds
    from msanet.train.interruption import Terminated
    from msanet.train.run import Run

    run = Run(source, network, chosen, output, resume, extra, unlabelled, track or ())
    try:
        report = run.train()
    except Terminated as end:
        say(f"stopped in epoch {len(run.rows) + 1}; what was done is in {output}: go on with --resume")
        raise typer.Exit(128 + end.number) from None
    if run.accelerator.is_main_process:
        if report is not None:
            echo(*report.to_markdown().split("\n"))
        echo(f"weights: {output / 'best.safetensors'}")
    run.accelerator.end_training()  # a process that ends with its group open may abort


def evaluate(
    source: DataOption,
    model: Annotated[str, typer.Option(help="Name of a shipped model, a .safetensors or an .onnx file.")] = "accurate",
    split: Annotated[
        str, typer.Option(help="train, validation or test; the first two as the model's training shared them.")
    ] = "test",
    subset: Annotated[
        str | None, typer.Option(help="pose30, pose45 or occlusion alone; without it all beside the test split.")
    ] = None,
    classes: Annotated[int | None, typer.Option(help="7: leave contempt out of pictures and answers.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for report.html, .md, .json and confusion.png.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A row a picture, as .csv or .parquet.")
    ] = None,
    embedding: Annotated[bool, typer.Option("--embedding", help="With the pooled features in --predictions.")] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="data.OPTION=VALUE", help="An option of the data set's reader."),
    ] = None,
) -> None:
    """Score a model on a labelled data set, and show what it gets wrong."""
    from msanet.train.recipe import load_recipe

    for setting in settings or ():
        if not setting.startswith("data."):
            raise InputError(f"--set {setting}: evaluation has the options of the data set's reader alone, data.OPTION")
    options = load_recipe("default", settings or ()).data  # the syntax of train's --set
    if embedding and predictions is None:
        raise InputError("--embedding puts the features into --predictions: name that file too")

    from msanet.measure import evaluate as evaluation
    from msanet.measure import predictions as table
    from msanet.measure.report import write

    if predictions is not None:
        table.check_format(predictions)
    result = evaluation.examine(model, source, split, subset, classes, options=options)
    echo(*result.report.to_markdown().split("\n"))
    if output is not None:
        result.report.save(output)
        write(output / "report.html", result)
        echo(f"report: {output / 'report.html'}")
    if predictions is not None:
        table.write(predictions, result, embedding)
        echo(f"predictions: {predictions}")


def ablate(
    source: DataOption,
    output: Annotated[Path, typer.Option(help="Folder of the ablation; finished cells in it are not trained again.")],
    networks: Annotated[str, typer.Option(metavar="A,B,C", help="Networks, a row each.")] = "",
    rows: Annotated[Path | None, typer.Option(metavar="FILE.yaml", help="Rows, see benchmarks/ablation.yaml.")] = None,
    seeds: Annotated[str, typer.Option(metavar="0,1,2", help="Seeds of the rows that name none.")] = "0,1,2",
    recipe: Annotated[str, typer.Option(help="Name of a recipe, or a .yaml file.")] = "default",
    only: Annotated[str, typer.Option(metavar="A,B", help="Train only these rows; the report has all.")] = "",
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field.")] = None,
) -> None:
    """Train rows x seeds and report what each change is worth. Several processes may share an output folder."""
    from msanet.study.ablate import Ablation
    from msanet.study.cells import load_rows, network_rows
    from msanet.study.tables import to_markdown

    lines = network_rows(split_words(networks)) + ([] if rows is None else load_rows(rows))
    try:
        numbers = [int(seed) for seed in split_words(seeds)]
    except ValueError:
        raise InputError(f"--seeds {seeds}: give whole numbers with commas between, such as 0,1,2") from None
    ablation = Ablation(source, lines, numbers, recipe, output, settings or ())
    failures = ablation.run(split_words(only))
    echo(*to_markdown(ablation.report()).split("\n"))
    echo(f"report: {output}")
    say(*failures)
    raise typer.Exit(2 if failures else 0)


def compare(
    name: Annotated[str, typer.Option("--data", metavar="NAME", help="Data set: ferplus, rafdb, ...")],
    results: Annotated[
        list[Path] | None,
        typer.Option(help="report.json or ablation.json, or a folder to search for them; may be given several times."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for comparison.json and comparison.md.")] = None,
) -> None:
    """Show our measured scores on a data set beside those printed in papers."""
    from msanet.study import compare as comparing

    comparison = comparing.compare(name, results or ())
    echo(*comparing.to_markdown(comparison).split("\n"))
    if output is not None:
        comparing.save(comparison, output)
        echo(f"comparison: {output}")


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
    echo(f"{output}: ONNX opset {door.OPSET}, {output.stat().st_size / 1e6:.2f} MB")
    echo(
        f"over {proof.pictures} {'random' if proof.accuracies is None else 'validation'} pictures its probabilities "
        f"differ from PyTorch's by {proof.difference:.1e} at most; {proof.agreement:.2%} of the answers are the same"
    )
    if proof.accuracies is not None:
        echo(f"accuracy: PyTorch {proof.accuracies[0]:.2%}, {quantize} {proof.accuracies[1]:.2%}")

"""msanet models, networks, recipes and datasets."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from msanet.cli.show import echo, note, print_rows, say


def models() -> None:
    """List the shipped models."""
    from msanet.classifier import Classifier
    from msanet.model import model_names

    rows = []
    for name in model_names():
        metadata = Classifier(name, threads=1).metadata
        rows.append([name, metadata.network, len(metadata.expressions), metadata.description])
    print_rows(["model", "network", "expressions", "description"], rows)


def networks() -> None:
    """List the networks, with their cost for one 224 x 224 picture and seven classes."""
    from msanet.networks import NETWORKS, cost_of

    rows = []
    for name, made in NETWORKS.items():
        parameters, operations = cost_of(name, 224)
        rows.append([name, f"{parameters / 1e6:.2f} M", f"{operations / 1e9:.2f} G", first_line(made)])
    rows.append(["timm:NAME", "", "", "Any backbone of timm by its name (extra timm)."])
    print_rows(["network", "parameters", "multiply-adds", "what it is"], rows)


def methods() -> None:
    """List the methods, the ways of training a network, with their options."""
    from msanet.methods import METHODS

    rows = []
    for name, made in METHODS.items():
        fields = made.Options.model_fields.items()
        options = ", ".join(
            key if field.is_required() else f"{key}={field.get_default(call_default_factory=True)}"
            for key, field in fields
        )
        rows.append([name, first_line(made), options])
    print_rows(["method", "what it is", "options"], rows)


def first_line(made: object) -> str:
    """The first sentence of what is said about something."""
    return (made.__doc__ or "").strip().partition("\n")[0]


def recipes() -> None:
    """List the recipes."""
    from msanet.train.recipe import load_recipe, recipe_names

    print_rows(["recipe", "description"], [[name, load_recipe(name).description] for name in recipe_names()])


datasets = typer.Typer(help="List the data sets, or check one.", invoke_without_command=True)


@datasets.callback()
def list_datasets(context: typer.Context) -> None:
    """List the data sets: what each wants on disk, and what its owners ask."""
    from msanet.data import READERS

    if context.invoked_subcommand is None:
        print_rows(["name", "layout", "licence"], [[name, item.layout, item.license] for name, item in READERS.items()])


@datasets.command("check")
def check_dataset(
    source: Annotated[str, typer.Argument(metavar="NAME:DIR")],
    quick: Annotated[bool, typer.Option("--quick", help="Do not read each picture.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Name every picture that a warning is about, not ten.")] = False,
) -> None:
    """Count a data set's pictures per split and label, beside the official counts; name what is wrong."""
    from msanet.data.check import check

    result = check(source, decode=not quick)
    rows: list[list[Any]] = []
    for split, label, number, official in result.rows:
        differs = "" if official in (None, number) else f"{number - official:+}"
        rows.append([split, label, number, "" if official is None else official, differs])
    print_rows(["split", "label", "pictures", "official", "differs"], rows)
    if result.note:
        echo(f"note: {result.note}")
    for sentence, names in result.warnings:
        say(f"warning: {sentence}")
        shown = names if every else names[:10]
        for name in shown if len(names) > 1 else ():  # a single one is named in the sentence
            note(f"    {name}")
        if len(shown) < len(names):
            note(f"    and {len(names) - len(shown):,} more: --all names them")
    say(*result.failures)
    raise typer.Exit(2 if result.differing or result.failures else 0)

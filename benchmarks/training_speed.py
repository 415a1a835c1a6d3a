"""Pictures a second of training (forward, backward, step) on this machine, to plan runs and choose the precision.

    python benchmarks/training_speed.py --rows benchmarks/ablation.yaml --recipe ablation
    python benchmarks/training_speed.py --recipe default

Random pictures, no loading: a run with workers on the same cores is slower. Each network of the rows, or `msanet` by
the recipe, in float32 and in bfloat16. Which is faster depends on the processor.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from msanet.networks import create_network
from msanet.study.ablate import Ablation
from msanet.study.cells import load_rows, network_rows
from msanet.train.recipe import Recipe


def rate(network: str, recipe: Recipe, precision: torch.dtype, seconds: float) -> float:
    """Training pictures a second, the best of three rounds: other work on the machine only slows it."""
    torch.manual_seed(0)
    model = create_network(network, recipe.num_classes, **recipe.network)
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    size = recipe.preprocessing.size
    images = torch.randn(recipe.batch_size, 3, size, size).to(memory_format=torch.channels_last)
    targets = torch.randint(0, recipe.num_classes, (recipe.batch_size,))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            logits = model(images)
        optimizer.zero_grad()
        torch.autograd.backward(torch.nn.functional.cross_entropy(logits.float(), targets))
        optimizer.step()

    step()
    rates = []
    for _ in range(3):
        start, steps = time.perf_counter(), 0
        while time.perf_counter() - start < seconds / 3 or not steps:
            step()
            steps += 1
        rates.append(steps * recipe.batch_size / (time.perf_counter() - start))
    return max(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--rows", type=Path, help="of an ablation")
    parser.add_argument("--seconds", type=float, default=6, help="of measuring, each")
    arguments = parser.parse_args()

    rows = load_rows(arguments.rows) if arguments.rows else network_rows(["msanet"])
    cells = Ablation("ferplus:none", rows, (0,), arguments.recipe, Path("none")).cells
    print("| row | parameters, M | size | float32, pictures/s | bfloat16, pictures/s |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, (cell, *_) in cells.items():
        recipe = cell.recipe
        network = create_network(cell.row.network, recipe.num_classes, **recipe.network)
        parameters = sum(parameter.numel() for parameter in network.parameters()) / 1e6
        rates = [
            rate(cell.row.network, recipe, precision, arguments.seconds)
            for precision in (torch.float32, torch.bfloat16)
        ]
        print(
            f"| {name} | {parameters:.2f} | {recipe.preprocessing.size} | {rates[0]:.0f} | {rates[1]:.0f} |", flush=True
        )


if __name__ == "__main__":
    main()

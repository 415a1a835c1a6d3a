"""A wider network that computes what a narrower one does, to go on training from (after Chen et al., ICLR 2016).

    python benchmarks/widen.py accurate --width-ratio 1.0 --output wide.safetensors

Each of the n subsets of every multi-scale block gets new channels behind its old ones. They begin at random, but
nothing reads them yet: their weights in the m x m convolutions of the old channels and in the 1x1 after them are 0.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from msanet import weights
from msanet.models import create_network


def widened(narrow: Mapping[str, Tensor], wide: Mapping[str, Tensor], num_subsets: int) -> dict[str, Tensor]:
    """State dict of the wider network: `narrow`'s weights, and in the new channels `wide`'s."""
    state = {}
    for name, own in wide.items():
        state[name] = old = narrow[name]
        if own.shape == old.shape:
            continue
        part = name.split(".", 3)[3]  # of branches.BRANCH.BLOCK.PART
        if part == "expand.0.weight":
            state[name] = torch.zeros_like(own)
            state[name][:, kept(old.shape[1], own.shape[1], num_subsets)] = old
            continue
        state[name] = own.clone()
        rows = kept(old.shape[0], own.shape[0], num_subsets)
        if part == "subsets.0.0.weight":
            filters = torch.zeros_like(own[rows])
            filters[:, : old.shape[1]] = old
            state[name][rows] = filters
        else:
            state[name][rows] = old
    return state


def kept(old: int, new: int, num_subsets: int) -> Tensor:
    """Where the old channels are among the new ones: each subset grows by itself."""
    firsts = torch.arange(num_subsets) * (new // num_subsets)
    return (firsts[:, None] + torch.arange(old // num_subsets)).flatten()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a network in the order of Eq. (1)")
    parser.add_argument("--width-ratio", type=float, required=True)
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args()

    network, metadata = weights.load(arguments.model)
    if metadata.arguments.get("hierarchy") != "equation":
        raise SystemExit(f"{arguments.model} is not an MSA-Net in the order of Eq. (1): only that can be widened")
    if arguments.width_ratio <= metadata.arguments["width_ratio"]:
        raise SystemExit(f"the network has width_ratio {metadata.arguments['width_ratio']}: give a larger one")
    torch.manual_seed(0)
    values = {**metadata.arguments, "width_ratio": arguments.width_ratio}
    wider = create_network(metadata.network, len(metadata.expressions), **values).eval()
    wider.load_state_dict(widened(network.state_dict(), wider.state_dict(), values["num_subsets"]))
    size = metadata.preprocessing.size
    images = torch.randn(8, 3, size, size)
    with torch.no_grad():
        difference = float((wider(images) - network.eval()(images)).abs().max())
    weights.save(arguments.output, wider.state_dict(), replace(metadata, arguments=values, scores={}))
    print(f"{arguments.output}: logits differ by {difference:.1e} at most on random pictures")


if __name__ == "__main__":
    main()

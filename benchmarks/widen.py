"""A larger network that computes what a smaller one does, to go on training from (after Chen et al., ICLR 2016).

    python benchmarks/widen.py accurate --width-ratio 1.0 --output wide.safetensors
    python benchmarks/widen.py accurate --num-subsets 2 --output fewer.safetensors

With a larger width_ratio each of the n subsets of every multi-scale block gets new channels behind its old ones. They
begin at random, but nothing reads them yet: their weights in the m x m convolutions of the old channels and in the 1x1
after them are 0. With fewer subsets each m x m convolution reads the channels of several old ones; what a channel did
not read before it reads with weights of 0.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from msanet import weights
from msanet.networks import create_network
from msanet.networks.msanet import ReverseCumsum


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


def regrouped(narrow: Mapping[str, Tensor], old: int, new: int) -> dict[str, Tensor]:
    """State dict of a network with `new` subsets that computes what one with `old` does, a multiple of `new`."""
    state = dict(narrow)
    for name, weight in narrow.items():
        if name.endswith("subsets.0.0.weight"):  # [width, width / old, m, m]
            size, parts = weight.shape[1], old // new
            state[name] = weight.new_zeros(len(weight), size * parts, *weight.shape[2:])
            for subset in range(old):
                rows, start = slice(subset * size, (subset + 1) * size), subset % parts * size
                state[name][rows, start : start + size] = weight[rows]
        elif name.endswith("expand.0.weight"):  # [outputs, width, 1, 1], read by sums Y_i over the subsets before
            # As weights of the P_i themselves, which do not know of subsets; then of the new, fewer sums.
            grouped = ReverseCumsum(old)(weight).reshape(len(weight), new, -1)
            last = torch.zeros_like(grouped[:, :1])
            state[name] = -grouped.diff(dim=1, append=last).reshape(weight.shape)
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a network in the order of Eq. (1)")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--width-ratio", type=float)
    how.add_argument("--num-subsets", type=int)
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args()

    network, metadata = weights.load(arguments.model)
    old = metadata.arguments
    if old.get("hierarchy") != "equation":
        raise SystemExit(f"{arguments.model} is not an MSA-Net in the order of Eq. (1): only that can be widened")
    subsets = old["num_subsets"]
    if arguments.num_subsets is None:
        if arguments.width_ratio <= old["width_ratio"]:
            raise SystemExit(f"the network has width_ratio {old['width_ratio']}: give a larger one")
        values = {**old, "width_ratio": arguments.width_ratio}
    else:
        if not 1 <= arguments.num_subsets < subsets or subsets % arguments.num_subsets:
            raise SystemExit(f"the network has {subsets} subsets: give a divisor of that")
        values = {**old, "num_subsets": arguments.num_subsets}
    torch.manual_seed(0)
    wider = create_network(metadata.network, len(metadata.expressions), **values).eval()
    if arguments.num_subsets is None:
        state = widened(network.state_dict(), wider.state_dict(), subsets)
    else:
        state = regrouped(network.state_dict(), subsets, arguments.num_subsets)
    wider.load_state_dict(state)
    size = metadata.preprocessing.size
    images = torch.randn(8, 3, size, size)
    with torch.no_grad():
        difference = float((wider(images) - network.eval()(images)).abs().max())
    weights.save(arguments.output, wider.state_dict(), replace(metadata, arguments=values, scores={}))
    print(f"{arguments.output}: logits differ by {difference:.1e} at most on random pictures")


if __name__ == "__main__":
    main()

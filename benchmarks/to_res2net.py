"""Weights of an MSA-Net of Eq. (1) as a start for one of the same size in the order of Res2Net.

    python benchmarks/to_res2net.py --weights accurate --output start.safetensors

Each convolution P_i gets the weights that it had as a group of the grouped convolution. The two networks do not compute
the same: the new one must be trained (`--set initial_weights=start.safetensors`), from features instead of noise.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from msanet import weights


def split(state: dict[str, Tensor], num_subsets: int) -> dict[str, Tensor]:
    """A state dict in the order of Eq. (1) -> one in the order of Res2Net."""
    found = {}
    for name, value in state.items():
        before, subsets, after = name.partition(".subsets.0.")
        if not subsets:
            found[name] = value
            continue
        # the first dimension of a grouped convolution and of its BatchNorm are all groups' outputs
        parts = value.chunk(num_subsets) if value.ndim else [value] * num_subsets
        found |= {f"{before}.subsets.{number}.{after}": part for number, part in enumerate(parts)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="a shipped model's name, or a .safetensors file")
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args()

    network, metadata = weights.load(arguments.weights)
    if metadata.arguments["hierarchy"] != "equation":
        raise SystemExit(f"{arguments.weights} is not in the order of Eq. (1)")
    state = split(network.state_dict(), metadata.arguments["num_subsets"])
    metadata = replace(metadata, arguments={**metadata.arguments, "hierarchy": "res2net"}, scores={})
    weights.save(arguments.output, state, metadata)
    weights.load(arguments.output)  # it fits


if __name__ == "__main__":
    main()

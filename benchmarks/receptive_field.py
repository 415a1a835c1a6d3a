"""What one output of a branch sees: its receptive field, by the gradient with respect to the input.

    python benchmarks/receptive_field.py [--size 224] [--strides 2 2] [--pictures 16]

For each kernel and each order of the hierarchy:
- reach: the side of the square of pixels on which the centre of the branch's last map can depend, measured with
  positive weights and inputs, so that no gradient cancels or dies. It is larger than the picture where the latter's
  edge cuts it off.
- core: the side of the smallest square that holds 95 % of the mean absolute gradient of a freshly initialised network
  for random pictures (the effective receptive field of Luo et al., NeurIPS 2016).
- the reach of each subset Y_i of one multi-scale block, in cells of the block's input, where the two orders differ.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

from msanet.networks.msanet import HIERARCHIES, MSANet, MultiScaleBlock


def positive(network: nn.Module) -> None:
    """Make all weights of the convolutions positive, so that every dependence shows in the gradient."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    network.double().eval()


def gradient(output: Tensor, images: Tensor) -> Tensor:
    """Mean absolute gradient [H, W] of the sum of `output` with respect to the pictures."""
    return torch.autograd.grad(output.sum(), images)[0].abs().mean(dim=(0, 1))


def reach(map_: Tensor) -> int:
    """Number of rows from the first to the last that holds something."""
    rows = map_.sum(dim=1).nonzero()
    return int(rows.max() - rows.min()) + 1


def core(map_: Tensor, share: float = 0.95) -> int:
    """Side of the smallest square round the map's centre of mass that holds `share` of its sum."""
    total = map_.sum()
    places = torch.arange(map_.shape[0], dtype=map_.dtype)
    row, column = (int((map_.sum(dim=axis) * places).sum() / total + 0.5) for axis in (1, 0))
    radius = 0
    square = map_[row, column]
    while square < share * total:
        radius += 1
        square = map_[max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1].sum()
    return 2 * radius + 1


def centre(network: MSANet, images: Tensor) -> Tensor:
    """Mean absolute gradient [H, W] of the centre of the first branch's last map."""
    maps = network.branches[0](network.stem(images))
    return gradient(maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2], images)


def branch_fields(kernel: int, hierarchy: str, size: int, strides: list[int], pictures: int) -> tuple[int, int]:
    """Reach and core of the centre of a branch's last map, in pixels."""
    torch.manual_seed(0)
    network = MSANet(kernels=(kernel,), hierarchy=hierarchy, strides=strides, attention=False).eval()
    effective = centre(network, torch.randn(pictures, 3, size, size, requires_grad=True))
    positive(network)
    network.add_module("maxpool", nn.AvgPool2d(3, 2, 1))  # sees the same square, and its gradient shows all of it
    # Rows are enough, so the picture is high and narrow.
    high = torch.ones(1, 3, 2048, 32, dtype=torch.float64, requires_grad=True)
    return reach(centre(network, high)), core(effective.double())


def subset_fields(kernel: int, hierarchy: str, num_subsets: int = 4) -> list[int]:
    """Reach of each subset Y_i of one block with stride 1, in cells of the block's input."""
    block = MultiScaleBlock(num_subsets, num_subsets, kernel, 1, num_subsets, 1.0, hierarchy)
    positive(block)
    maps = torch.ones(1, num_subsets, 63, 63, dtype=torch.float64, requires_grad=True)
    return [
        reach(gradient(block.hierarchical(block.reduce(maps))[:, subset, 31, 31], maps))
        for subset in range(num_subsets)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--strides", type=int, nargs=2, default=[2, 2])
    parser.add_argument("--pictures", type=int, default=16, help="random pictures of the mean gradient")
    arguments = parser.parse_args()
    size, strides = arguments.size, arguments.strides
    print(f"{size} x {size} pixels, strides {tuple(strides)}, {arguments.pictures} random pictures")
    print("kernel\thierarchy\treach, pixels\tcore, pixels\treach of Y_1 to Y_4, cells")
    for kernel in (7, 5, 3):
        for hierarchy in HIERARCHIES:
            reached, effective = branch_fields(kernel, hierarchy, size, strides, arguments.pictures)
            subsets = " ".join(map(str, subset_fields(kernel, hierarchy)))
            print(f"{kernel}\t{hierarchy}\t{reached}\t{effective}\t{subsets}", flush=True)


if __name__ == "__main__":
    main()

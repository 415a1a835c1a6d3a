"""MSA-Net (Ghadai & Patra): three parallel branches of multi-scale blocks and attention on a shared stem.

Letters: B batch, C channels, H W height and width, n channel subsets, m kernel, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from msanet.errors import InputError
from msanet.networks.blocks import CBAM, Stem, conv_bn, initialize
from msanet.networks.network import PooledNetwork

HIERARCHIES = ("equation", "res2net")


class MultiScaleBlock(nn.Module):
    """Multi-scale block (section 2.2, Fig. 2): 1x1 down, n subsets with an m x m convolution each, 1x1 up, shortcut.

    With `hierarchy="equation"` the subsets follow Eq. (1): Y_1 = P_1(X_1), Y_i = P_i(X_i) + Y_(i-1). All P_i together
    are then one grouped convolution, and the sums one cumulative sum over the groups. With `"res2net"` the sum comes
    before the convolution, Y_i = P_i(X_i + Y_(i-1)), as the sentences round the equation and Res2Net have it.
    P_i is convolution, BatchNorm, ReLU.

    Args:
        inputs, outputs: channels.
        kernel: m.
        stride: of the m x m convolutions in "equation". In "res2net" X_i and Y_(i-1) must have one size, so the maps
            are average-pooled before the split: a strided 1x1 would drop three values of four.
        num_subsets: n.
        width_ratio: channels between the 1x1 convolutions relative to `outputs`, rounded down to a multiple of n.
        hierarchy: "equation" or "res2net".
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, num_subsets: int, width_ratio: float, hierarchy: str
    ) -> None:
        super().__init__()
        width = int(outputs * width_ratio) // num_subsets * num_subsets
        if width < 1:
            raise InputError(f"width_ratio {width_ratio} leaves no channel for {num_subsets} subsets: raise it")
        self.num_subsets = num_subsets
        self.reduce = nn.Sequential(*conv_bn(inputs, width, 1), nn.ReLU(inplace=True))
        if hierarchy == "equation":
            self.pool: nn.Module = nn.Identity()
            convolutions = [conv_bn(width, width, kernel, stride, groups=num_subsets)]
        else:
            self.pool = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False) if stride > 1 else nn.Identity()
            convolutions = [conv_bn(width // num_subsets, width // num_subsets, kernel) for _ in range(num_subsets)]
        self.subsets = nn.ModuleList(nn.Sequential(*layers, nn.ReLU(inplace=True)) for layers in convolutions)
        self.expand = nn.Sequential(*conv_bn(width, outputs, 1))
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Sequential(*conv_bn(inputs, outputs, 1, stride))
        self.hierarchical = self.cumulative if hierarchy == "equation" else self.sequential

    def cumulative(self, maps: Tensor) -> Tensor:
        """[B, width, H, W] -> [B, width, H/stride, W/stride] by Eq. (1)."""
        responses = self.subsets[0](maps)  # [B, width, H, W]: P_i(X_i) for all i
        return responses.unflatten(1, (self.num_subsets, -1)).cumsum(dim=1).flatten(1, 2)

    def sequential(self, maps: Tensor) -> Tensor:
        """[B, width, H, W] -> the same, Y_i = P_i(X_i + Y_(i-1))."""
        outputs: list[Tensor] = []
        for subset, convolution in zip(maps.chunk(self.num_subsets, dim=1), self.subsets, strict=True):
            outputs.append(convolution(subset + outputs[-1] if outputs else subset))
        return torch.cat(outputs, dim=1)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H/stride, W/stride]."""
        branch = self.expand(self.hierarchical(self.pool(self.reduce(maps))))
        return torch.relu(branch + self.shortcut(maps))


class MSANet(PooledNetwork, Stem):
    """The paper's network, and with other arguments the rows of its ablation (Table 3).

    Args:
        num_classes: K.
        kernels: m of each branch; one number makes the one-branch network.
        attention: put CBAM at the end of each branch.
        hierarchy: "equation" or "res2net", see `MultiScaleBlock`.
        num_subsets: n, four as in Res2Net (the paper gives none).
        channels: outputs of each branch's two multi-scale blocks (open in the paper; ResNet-18's layers 3 and 4).
        strides: of the two blocks (open in the paper): (2, 2) makes 28 -> 14 -> 7 of a 224 picture.
        width_ratio: see `MultiScaleBlock`; 0.5 so that the first 1x1 never widens.
        reduction: of CBAM's channel attention.
        stem_width: channels after the stem's first convolution, 64 in ResNet-18 and the paper.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(
        self,
        num_classes: int = 7,
        *,
        kernels: Sequence[int] = (7, 5, 3),
        attention: bool = True,
        hierarchy: str = "res2net",
        num_subsets: int = 4,
        channels: Sequence[int] = (256, 512),
        strides: Sequence[int] = (2, 2),
        width_ratio: float = 0.5,
        reduction: int = 16,
        stem_width: int = 64,
    ) -> None:
        super().__init__(stem_width)
        if hierarchy not in HIERARCHIES:
            raise InputError(f"hierarchy is {hierarchy!r}: choose one of {', '.join(HIERARCHIES)}")
        if not kernels or any(kernel < 1 or kernel % 2 == 0 for kernel in kernels):
            raise InputError(f"kernels are {list(kernels)}: give one or more odd numbers")
        if len(channels) != len(strides) or not channels or min(*channels, *strides, num_subsets) < 1:
            raise InputError("channels and strides need one positive number for each block, num_subsets at least 1")
        if reduction < 1:
            raise InputError(f"reduction is {reduction}: it must be at least 1")
        steps = list(zip((2 * stem_width, *channels[:-1]), channels, strides, strict=True))
        self.branches = nn.ModuleList(
            nn.Sequential(*(MultiScaleBlock(i, o, m, s, num_subsets, width_ratio, hierarchy) for i, o, s in steps))
            for m in kernels
        )
        self.attentions = nn.ModuleList(CBAM(channels[-1], reduction) for _ in kernels if attention)
        self.refine: Callable[[list[Tensor]], tuple[Tensor, list[Tensor]]] = self.refine_each
        self.fc = nn.Linear(channels[-1] * len(kernels), num_classes)
        initialize(self)

    def feature_maps(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        shared = self.stem(images)  # [B, 128, H/8, W/8] with stem_width 64
        maps = [branch(shared) for branch in self.branches]  # each [B, 512, H/32, W/32] with strides (2, 2)
        return self.refine(maps)

    def refine_each(self, maps: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The branches' maps [B, C, H, W] -> refined and concatenated [B, N * C, H, W], and the spatial attention."""
        if not self.attentions:
            return torch.cat(maps, dim=1), []
        refined = [attention(branch) for attention, branch in zip(self.attentions, maps, strict=True)]
        return torch.cat([maps for maps, _ in refined], dim=1), [spatial for _, spatial in refined]

    def folded(self) -> MSANet:
        """A copy written so that onnxruntime joins what can be joined when it loads.

        The parameters stay as they are: what is computed from them alone becomes nodes of constants in the ONNX graph.
        """
        network = super().folded()
        assert isinstance(network, MSANet)
        for module in list(network.modules()):
            if isinstance(module, MultiScaleBlock) and module.hierarchical == module.cumulative:
                module.hierarchical = module.subsets[0]
                parametrize.register_parametrization(module.expand[0], "weight", ReverseCumsum(module.num_subsets))
        if network.attentions:
            network.refine = JointAttention(network.attentions)  # type: ignore[arg-type]
        return network


class ReverseCumsum(nn.Module):
    """A 1x1 convolution's weight on sums of groups -> its weight on the groups themselves.

    Eq. (1) unrolled is Y_i = P_1 + ... + P_i, so what Y_i is multiplied with falls on P_1 to P_i:
    sum_i W_i Y_i = sum_j (W_j + ... + W_n) P_j.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, weight: Tensor) -> Tensor:
        """[outputs, width, 1, 1] -> the same shape."""
        grouped = weight.reshape(len(weight), self.groups, -1)  # [outputs, groups, width / groups]
        return grouped.flip(1).cumsum(1).flip(1).reshape(weight.shape)


class JointAttention(nn.Module):
    """The branches' attention computed at once: on maps this small, time goes by the number of operations.

    Args:
        members: each branch's attention, in evaluation mode.
    """

    def __init__(self, members: Iterable[CBAM]) -> None:
        super().__init__()
        self.members = list(members)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """N branches' maps [B, C, H, W] -> refined ones [B, N * C, H, W], and the spatial attention [B, N, H, W]."""
        together = torch.cat(maps, dim=1)
        hidden = [torch.relu(self.linear(0, pooled)) for pooled in (together.mean((2, 3)), together.amax((2, 3)))]
        channel = torch.sigmoid(self.linear(2, hidden[0] + hidden[1], biases=2))  # [B, N * C]
        split = torch.unflatten(together * channel[:, :, None, None], 1, (len(maps), -1))  # [B, N, C, H, W]
        spatial = torch.sigmoid(self.convolve(torch.cat([split.amax(2), split.mean(2)], dim=1)))
        return (split * spatial[:, :, None]).flatten(1, 2), [spatial]

    def linear(self, layer: int, inputs: Tensor, biases: int = 1) -> Tensor:
        """A layer of all perceptrons: their weights in blocks on the diagonal, and `biases` times their biases."""
        layers: list[Any] = [member.mlp[layer] for member in self.members]
        weight = torch.block_diag(*(linear.weight for linear in layers))  # type: ignore[no-untyped-call]
        return nn.functional.linear(inputs, weight, biases * torch.cat([linear.bias for linear in layers]))

    def convolve(self, pooled: Tensor) -> Tensor:
        """All spatial convolutions with their BatchNorm: N maxima and N means [B, 2 * N, H, W] -> [B, N, H, W]."""
        convolutions, norms = zip(*(member.spatial for member in self.members), strict=True)
        weights = torch.cat([convolution.weight for convolution in convolutions])  # [N, 2, m, m]
        own = torch.eye(len(weights))[:, :, None, None]  # a branch reads none but its own maps
        weights = torch.cat([own * weights[:, None, place] for place in (0, 1)], dim=1)  # [N, 2 * N, m, m]
        bias = torch.cat([convolution.bias for convolution in convolutions])
        maps = nn.functional.conv2d(pooled, weights, bias, padding=weights.shape[-1] // 2)
        mean, variance, scale, offset = (
            torch.cat([getattr(norm, name) for norm in norms])
            for name in ("running_mean", "running_var", "weight", "bias")
        )
        return nn.functional.batch_norm(maps, mean, variance, scale, offset, eps=norms[0].eps)


def msanet_ms(num_classes: int = 7, *, kernel: int = 3, **arguments: object) -> MSANet:
    """Table 3's one branch with the multi-scale module, without attention (MS)."""
    return MSANet(num_classes, kernels=(kernel,), attention=False, **arguments)  # type: ignore[arg-type]


def msanet_ms_as(num_classes: int = 7, *, kernel: int = 3, **arguments: object) -> MSANet:
    """Table 3's one branch with the multi-scale module and attention (MS + AS)."""
    return MSANet(num_classes, kernels=(kernel,), **arguments)  # type: ignore[arg-type]

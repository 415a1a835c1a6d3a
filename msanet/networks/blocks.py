"""Layers that several networks share.

Letters: B batch, C channels, H W height and width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from msanet.errors import InputError
from msanet.networks.network import Network


class Stem(Network):
    """The paper's feature pre-extractor (section 2.1): ResNet-18 up to its second layer, 3xHxW -> 128 x H/8 x W/8.

    Its layers bear torchvision's names, so published ResNet-18 weights load as they are.

    Args:
        width: channels after the first convolution, 64 in ResNet-18; twice as many come out.
        block: makes its blocks, see `residual_layer`.

    Raises:
        InputError: `width` is below 1.
    """

    def __init__(self, width: int = 64, block: Callable[..., nn.Module] = BasicBlock) -> None:
        if width < 1:
            raise InputError(f"stem_width is {width}: it must be at least 1")
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(block(width, width), block(width, width))
        self.layer2 = residual_layer(width, 2 * width, 2, block)

    def stem(self, images: Tensor) -> Tensor:
        """float [B, 3, H, W] -> [B, 2 * width, H/8, W/8]."""
        maps = self.maxpool(self.relu(self.bn1(self.conv1(images))))  # [B, width, H/4, W/4]
        return self.layer2(self.layer1(maps))  # [B, 2 * width, H/8, W/8]


class Trunk(Stem):
    """ResNet-18 without pooling and classifier (He et al., CVPR 2016), under torchvision's names.

    Args:
        strides: of layers 3 and 4; (2, 1) ends in 4 x 4 maps at 64 pixels, where (2, 2) ends in 2 x 2.
        width: channels after the first convolution, 64 in ResNet-18; eight times as many come out.
        block: makes its blocks, see `residual_layer`.

    Raises:
        InputError: `strides` are not two positive numbers, or `width` is below 1.
    """

    def __init__(
        self, strides: Sequence[int] = (2, 2), width: int = 64, block: Callable[..., nn.Module] = BasicBlock
    ) -> None:
        if len(strides) != 2 or min(strides) < 1:
            raise InputError(f"strides are {list(strides)}: give two positive numbers, of layers 3 and 4")
        super().__init__(width, block)
        self.layer3 = residual_layer(2 * width, 4 * width, strides[0], block)
        self.layer4 = residual_layer(4 * width, 8 * width, strides[1], block)

    def trunk(self, images: Tensor) -> Tensor:
        """float [B, 3, H, W] -> [B, 8 * width, H/32, W/32] by default."""
        return self.layer4(self.layer3(self.stem(images)))


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size (divided by the stride), without bias, and its BatchNorm."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]


def residual_layer(
    inputs: int, outputs: int, stride: int, block: Callable[..., nn.Module] = BasicBlock
) -> nn.Sequential:
    """A layer of ResNet-18 that changes the channels: two blocks, the first with a 1x1 shortcut.

    Args:
        inputs, outputs: channels.
        stride: of the first block.
        block: makes one of inputs, outputs, stride and shortcut.
    """
    shortcut = nn.Sequential(*conv_bn(inputs, outputs, 1, stride))
    return nn.Sequential(block(inputs, outputs, stride, shortcut), block(outputs, outputs))


class RefinedBlock(BasicBlock):  # type: ignore[misc]
    """ResNet's basic block whose branch goes through an attention before the shortcut is added.

    Args:
        inputs, outputs: channels.
        stride: of the first convolution.
        shortcut: None: the identity.
        attention: makes one of the channels, maps [B, C, H, W] -> the same.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int = 1,
        shortcut: nn.Module | None = None,
        *,
        attention: Callable[[int], nn.Module],
    ) -> None:
        super().__init__(inputs, outputs, stride, shortcut)
        self.attention = attention(outputs)

    def forward(self, maps: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H/stride, W/stride]."""
        branch = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(maps)))))
        shortcut = maps if self.downsample is None else self.downsample(maps)
        return self.relu(self.attention(branch) + shortcut)


class CBAM(nn.Module):
    """Convolutional block attention: channel, then spatial (Woo et al., ECCV 2018, section 3; the paper's 2.3).

    Args:
        channels: C.
        reduction: of the shared two-layer perceptron of the channel attention.
        kernel: of the spatial attention's convolution.
    """

    def __init__(self, channels: int, reduction: int = 16, kernel: int = 7) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels))
        self.spatial = nn.Sequential(*conv_bn(2, 1, kernel))

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, H, W] -> refined maps [B, C, H, W] and the spatial attention [B, 1, H, W] in 0..1."""
        channel = torch.sigmoid(self.mlp(maps.mean(dim=(2, 3))) + self.mlp(maps.amax(dim=(2, 3))))  # [B, C]
        maps = maps * channel[:, :, None, None]
        pooled = torch.cat([maps.amax(dim=1, keepdim=True), maps.mean(dim=1, keepdim=True)], dim=1)  # [B, 2, H, W]
        spatial = torch.sigmoid(self.spatial(pooled))  # [B, 1, H, W]
        return maps * spatial, spatial


class Refined(CBAM):
    """CBAM without its maps, as a `RefinedBlock` wants it, with the authors' momentum of the spatial BatchNorm.

    Args:
        channels: C.
        reduction: of the channel attention's perceptron.
        spatial_start: the spatial BatchNorm's weight at first; the authors' 0 makes every gate 0.5 then.
    """

    def __init__(self, channels: int, reduction: int = 16, spatial_start: float = 1.0) -> None:
        super().__init__(channels, reduction)
        norm = self.spatial[1]
        assert isinstance(norm, nn.BatchNorm2d)
        norm.momentum = 0.01
        nn.init.constant_(norm.weight, spatial_start)

    def forward(self, maps: Tensor) -> Tensor:  # type: ignore[override]
        """[B, C, H, W] -> refined maps [B, C, H, W]."""
        return super().forward(maps)[0]


def resized(images: Tensor, size: int) -> Tensor:
    """float [B, 3, H, W] -> [B, 3, size, size], for networks of one size; those that have it stay as they are."""
    if images.shape[-2:] == (size, size):
        return images
    return nn.functional.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)


def initialize(network: nn.Module) -> None:
    """He initialisation of convolutions, as in ResNet (the paper does not say)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

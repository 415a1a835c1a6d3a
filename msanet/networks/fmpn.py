"""FMPN, the Facial Motion Prior Network (Chen et al., VCIP 2019): a mask of where a face moves, fused with the picture.

Letters: B batch, H W size, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import interpolate

from msanet.errors import InputError
from msanet.networks.blocks import Trunk, conv_bn, initialize


class ResidualPair(nn.Module):
    """Convolution, BatchNorm and PReLU, twice, and what came in.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *conv_bn(channels, channels, 3), nn.PReLU(), *conv_bn(channels, channels, 3), nn.PReLU()
        )

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        return maps + self.layers(maps)


class MaskGenerator(nn.Module):
    """Grey pictures [B, 1, H, W] -> masks [B, 1, H, W] in 0..1.

    Args:
        width: channels after the first convolution, 64 in the authors' code.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [*conv_bn(1, width, 7), nn.ReLU(inplace=True)]
        for channels in (width, 2 * width):
            layers += [nn.Conv2d(channels, 2 * channels, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * channels)]
            layers.append(nn.ReLU(inplace=True))
        layers += [ResidualPair(4 * width) for _ in range(4)]
        for channels in (4 * width, 2 * width):
            layers.append(nn.ConvTranspose2d(channels, channels // 2, 4, 2, 1, bias=False))
            layers += [nn.BatchNorm2d(channels // 2), nn.ReLU(inplace=True)]
        layers += [nn.Conv2d(width, 1, 7, padding=3, bias=False), nn.Sigmoid()]
        self.layers = nn.Sequential(*layers)

    def forward(self, gray: Tensor) -> Tensor:
        masks = self.layers(gray)  # sides are multiples of 4 here
        if masks.shape[-2:] != gray.shape[-2:]:
            masks = interpolate(masks, size=gray.shape[-2:], mode="bilinear", align_corners=False)
        return masks


class PriorFusion(nn.Module):
    """Pictures [B, 3, H, W] and masked grey ones [B, 1, H, W] -> pictures [B, 3, H, W] in 0..1."""

    def __init__(self) -> None:
        super().__init__()
        self.color = nn.Sequential(*conv_bn(3, 3, 3), nn.ReLU(inplace=True))
        self.masked = nn.Sequential(*conv_bn(1, 3, 3), nn.ReLU(inplace=True))
        self.fuse = nn.Sequential(ResidualPair(3), nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.Sigmoid())

    def forward(self, images: Tensor, masked: Tensor) -> Tensor:
        return self.fuse(self.color(images) + self.masked(masked))


class FMPN(Trunk):
    """FMPN (Chen et al., VCIP 2019): a generated mask of where faces move, fused with the picture; ResNet-18.

    Read from the authors' public code. Readings: ResNet-18 in the place of Inception-V3, a mask generator of a quarter
    of the width, grey as the mean of the normalised colours (the authors': 0..1), He's initialisation in the place of
    weights so small that the fused picture is grey at first. At width 64 the mask generator has 6,040,968 parameters
    and the fusion 377, as counted from that code. The loss with its masks is method `fmpn`.

    Args:
        num_classes: K.
        width: channels after the mask generator's first convolution; 64 in the authors' code.
        strides: of the classifier's layers 3 and 4; (2, 1) ends in 4 x 4 maps at 64 pixels, (2, 2) in 2 x 2.
        stem_width: channels after the classifier's first convolution.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(
        self, num_classes: int = 7, *, width: int = 16, strides: Sequence[int] = (2, 2), stem_width: int = 64
    ) -> None:
        super().__init__(strides, stem_width)
        if width < 1:
            raise InputError(f"width is {width}: it must be at least 1")
        self.generator, self.fusion = MaskGenerator(width), PriorFusion()
        self.fc = nn.Linear(8 * stem_width, num_classes)
        initialize(self)

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """float [B, 3, H, W] -> features [B, 512] and masks [B, 1, H, W] in 0..1."""
        gray = images.mean(dim=1, keepdim=True)
        masks = self.generator(gray)
        fused = self.fusion(images, masks * gray)
        return self.trunk(fused).mean(dim=(2, 3)), masks

    def features(self, images: Tensor, **inputs: Tensor) -> Tensor:
        return self.parts(images)[0]

    def head(self, features: Tensor) -> Tensor:
        return self.fc(features)

"""After Li et al. (Neurocomputing 2020): attention over grey and LBP in front of a network.

Letters: B batch, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d
from torchvision.models.resnet import BasicBlock

from msanet.errors import InputError
from msanet.networks.blocks import Trunk, conv_bn, initialize
from msanet.networks.fixed import LocalBinaryPattern, gray_of


class Mask(nn.Module):
    """A U-net of three levels, two convolutions each, that says how much of each feature stays.

    Args:
        channels: of the first level and of the mask; each further level has twice as many.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        one, two, four = channels, 2 * channels, 4 * channels
        self.down = nn.ModuleList([pair(1, one), pair(one, two), pair(two, four)])
        self.up = nn.ModuleList([pair(four + two, two), pair(two + one, one)])
        self.last = nn.Conv2d(one, one, 1)

    def forward(self, gray: Tensor) -> Tensor:
        """float [B, 1, H, W], sides of 4 or more -> the mask [B, channels, H, W] in 0..1."""
        levels = [self.down[0](gray)]
        for level in (self.down[1], self.down[2]):
            levels.append(level(max_pool2d(levels[-1], 2)))
        maps = levels.pop()
        for level in self.up:
            beside = levels.pop()
            maps = level(torch.cat([interpolate(maps, size=beside.shape[2:]), beside], dim=1))
        return torch.sigmoid(self.last(maps))


class LBPAttention(Trunk):
    """Masked features of grey and LBP are made into a picture of three channels, which ResNet-18 reads.

    "Attention mechanism-based CNN for facial expression recognition". Its text could not be found. Known are the four
    modules (features, attention, reconstruction, classification) and that LBP joins in. All layers are our reading, the
    mask's input, the grey picture, too. On faces that were enlarged LBP shows the interpolation: train it at the
    pictures' own size, 48 pixels for FERPlus. 11,737,425 parameters with eight classes, as in our specification; the
    paper's number is unknown.

    Args:
        num_classes: K.
        mask_width: channels of features and mask.
        blocks: residual blocks of the feature module.
        stem_width: of ResNet-18.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(self, num_classes: int = 7, *, mask_width: int = 32, blocks: int = 4, stem_width: int = 64) -> None:
        super().__init__(width=stem_width)
        if mask_width < 1 or blocks < 0:
            raise InputError(f"mask_width and blocks are {mask_width}, {blocks}: give at least 1, and 0 blocks or more")
        self.pattern = LocalBinaryPattern()
        residual = (BasicBlock(mask_width, mask_width) for _ in range(blocks))
        self.extract = nn.Sequential(*conv_bn(2, mask_width, 3), nn.ReLU(inplace=True), *residual)
        self.mask = Mask(mask_width)
        self.reconstruct = nn.Sequential(
            *(nn.Conv2d(mask_width + 2, mask_width, 3, padding=1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(mask_width, 3, 1), nn.BatchNorm2d(3), nn.ReLU(inplace=True)),
        )
        self.fc = nn.Linear(8 * stem_width, num_classes)
        initialize(self)

    def picture(self, gray: Tensor, mask: Tensor) -> Tensor:
        """Grey [B, 1, H, W] and a mask [B, mask_width, H, W] -> what the classifier sees, [B, 3, H, W]."""
        both = torch.cat([gray, self.pattern(gray)], dim=1)  # [B, 2, H, W]
        picture: Tensor = self.reconstruct(torch.cat([mask * self.extract(both), both], dim=1))
        return picture

    def features(self, images: Tensor, **inputs: Tensor) -> Tensor:
        gray = gray_of(images)
        return self.trunk(self.picture(gray, self.mask(gray))).mean(dim=(2, 3))  # [B, 512]

    def head(self, features: Tensor) -> Tensor:
        return self.fc(features)


def pair(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions of 3 x 3 that keep the size."""
    return nn.Sequential(
        *(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU(inplace=True)),
    )

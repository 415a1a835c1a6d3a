"""After Sadeghi & Raie (2019): histograms of Gabor filters' codes under a linear machine. Letters: B batch."""

from __future__ import annotations

from torch import Tensor, nn

from msanet.networks.fixed import GaborPairs, gray_of
from msanet.networks.network import Network


class GaborPairsNetwork(Network):
    """Every pixel is coded by the filters of greatest and of least response; see method `svm`.

    "Human vision inspired feature extraction for facial expression recognition". Known from its abstract are the code
    and the numbers of bins, 56 for eight filters and 240 for sixteen: the ordered pairs. Orientations at one scale, the
    magnitude, the kernels' shape, the blocks, the square root and the linear machine are our reading. The features are
    fixed, so train it with flips only. 25,095 parameters learn with seven classes, 28,680 with eight; `blocks` 1 leaves
    456. The paper prints none.

    Args:
        num_classes: K.
        filters: 8 or 16 in the paper.
        scales: 1: all filters are orientations; 2: two wavelengths, an octave apart.
        response: "magnitude" or "even".
        wavelength: pixels: 4 at a face of 64, 8 at 128.
        blocks: along a side of the face.
        threshold: a pixel whose best response is below this part of the picture's largest is left out.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(
        self,
        num_classes: int = 7,
        *,
        filters: int = 8,
        scales: int = 1,
        response: str = "magnitude",
        wavelength: float = 4.0,
        blocks: int = 8,
        threshold: float = 1e-3,
    ) -> None:
        super().__init__()
        self.codes = GaborPairs(filters, scales, response, wavelength, blocks, threshold)
        self.fc = nn.Linear(self.codes.size, num_classes)

    def features(self, images: Tensor, **inputs: Tensor) -> Tensor:
        features: Tensor = self.codes(gray_of(images))  # [B, 3584] by default
        return features

    def head(self, features: Tensor) -> Tensor:
        return self.fc(features)

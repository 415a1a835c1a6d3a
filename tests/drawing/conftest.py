"""A face at any place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from msanet.faces.face import Face
from msanet.labels import EXPRESSIONS


@pytest.fixture(scope="session")
def face() -> Callable[..., Face]:
    """Makes a face of a box, with 93 % for `expression` among `labels`; further attributes by name."""

    def make(
        box: tuple[float, float, float, float],
        expression: str = "happiness",
        labels: tuple[str, ...] = EXPRESSIONS,
        **attributes: Any,
    ) -> Face:
        x1, y1, x2, y2 = box
        return Face(
            box=box,
            score=0.9,
            landmarks=np.zeros((5, 2), np.float32),
            expression=expression,
            probabilities={name: 0.93 if name == expression else 0.07 / (len(labels) - 1) for name in labels},
            corners=np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32),
            **attributes,
        )

    return make

"""The two pictures of README and the guide, from portraits in the public domain.

    python benchmarks/pictures.py

Eileen Collins (NASA, in scikit-image's sample data) and Grace Hopper (US Navy, in matplotlib's) are cut to squares and
set side by side; the shipped model reads the pair, and the first by itself with its reasons.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image
from skimage.data import data_dir

from msanet import Recognizer

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
SIDE = 480


def square(portrait: Image.Image, left: int, top: int, side: int) -> np.ndarray:
    """A part of a portrait, RGB uint8 [480, 480, 3]."""
    box = (left, top, left + side, top + side)
    return np.asarray(portrait.convert("RGB").crop(box).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def collins() -> np.ndarray:
    return square(Image.open(Path(data_dir) / "astronaut.png"), 60, 0, 400)


def pair() -> np.ndarray:
    """Both portraits, RGB uint8 [480, 960, 3]."""
    hopper = Image.open(Path(mpl.get_data_path()) / "sample_data" / "grace_hopper.jpg")
    return np.hstack([collins(), square(hopper, 40, 30, 460)])


def main() -> None:
    recognizer = Recognizer()
    drawn = {
        "annotated.jpg": recognizer.recognize(pair()).draw(),
        "explained.jpg": recognizer.recognize(collins(), explain=True).draw(),
    }
    FOLDER.mkdir(exist_ok=True)
    for name, picture in drawn.items():
        Image.fromarray(picture).save(FOLDER / name, quality=82)


if __name__ == "__main__":
    main()

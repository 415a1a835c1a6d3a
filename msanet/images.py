"""Any source -> RGB uint8 [H, W, 3], safely; and pictures back to files, whole or not at all."""

from __future__ import annotations

import os
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from PIL import Image, UnidentifiedImageError

from msanet.errors import InputError
from msanet.files import replacing

Source: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | np.ndarray"

MAX_PIXELS = 200_000_000
"""Pictures with more pixels are refused by their header, before anything is decoded."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000")
"""Pillow's names of the formats read. Others stay closed: some of its decoders start other programs."""

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"}
)
"""Endings, in lower case, of pictures that can be read everywhere; see `picture_suffixes`."""

WRITABLE = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""Endings that `write` knows, with Pillow's names of their formats."""

_ORIENTATION = 0x0112
# EXIF's orientation -> OpenCV's code of the flip that brings the picture upright, after a transposition from 5 on
_FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
_STRIP = 64  # rows of a picture that leave Pillow at once

# Pillow refuses above twice its own limit, which today's 200 megapixel telephones exceed; ours is checked below.
if Image.MAX_IMAGE_PIXELS is not None:
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, MAX_PIXELS)


def read(source: Source) -> np.ndarray:
    """A picture from wherever it is, upright as its EXIF orientation says.

    CMYK, palette, 1-bit and 16-bit pictures become 8-bit RGB, transparent ones lie on white; of an animation the
    first frame is taken.

    Args:
        source: a path; the bytes of a file; a PIL image; or uint8 [H, W, 3] RGB (returned as it is, not copied),
            [H, W, 4] RGBA or [H, W] grey.

    Returns:
        RGB uint8 [H, W, 3], contiguous.

    Raises:
        InputError: there is no such file, it is no picture, it is damaged or larger than `MAX_PIXELS`, or the array
            has another shape or type.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _from_pillow(source, name_of(source))
    if isinstance(source, bytes):
        return _decode(BytesIO(source), len(source), name_of(source))
    if not isinstance(source, (str, os.PathLike)):
        raise InputError(
            f"a picture cannot be read from {type(source).__name__}: give a path, bytes, a PIL image or an array"
        )
    name = name_of(source)
    if os.path.isdir(source):
        raise InputError(f"{name} is a folder: name a picture in it")
    if not os.path.isfile(source):  # a pipe or a device might never end
        raise InputError(f"{name} does not exist or is no file: check the path")
    try:
        with open(source, "rb") as file:
            return _decode(file, os.fstat(file.fileno()).st_size, name)
    except OSError as error:  # of opening alone: decoding turns its own into InputError
        raise InputError(f"{name} cannot be opened ({error.strerror}): check its permissions") from None


def name_of(source: object) -> str:
    """What to call a source in a message: its path, or its kind."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    return {"bytes": "the file in memory", "ndarray": "the array"}.get(type(source).__name__, "the PIL image")


def picture_suffixes() -> frozenset[str]:
    """Endings, in lower case, by which the pictures of a folder are known: AVIF and HEIC among them where what is
    installed reads them."""
    modules = {".avif": "PIL._avif", ".heic": "pillow_heif", ".heif": "pillow_heif"}
    return PICTURE_SUFFIXES | {suffix for suffix, module in modules.items() if find_spec(module) is not None}


def write(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Write RGB uint8 [H, W, 3] as PNG, JPEG or WebP, by the path's ending: whole or not at all.

    Raises:
        InputError: the ending is unknown or the file cannot be written.
    """
    kind = WRITABLE.get(Path(path).suffix.lower())
    if kind is None:
        raise InputError(f"{path} has no known ending: choose one of {', '.join(WRITABLE)}")
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary, kind, quality=92)


def _from_array(array: np.ndarray) -> np.ndarray:
    shape_fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not shape_fits or not array.size:
        raise InputError(
            f"the array is {array.dtype} {list(array.shape)}: give uint8 in 0..255, [H, W, 3] RGB, [H, W, 4] RGBA "
            "or [H, W] grey"
        )
    if array.ndim == 3 and array.shape[2] == 3:
        return np.ascontiguousarray(array)
    return _pixels(_to_rgb(Image.fromarray(np.ascontiguousarray(array))))


def _decode(file: BinaryIO, size: int, name: str) -> np.ndarray:
    """A file of `size` bytes -> RGB uint8 [H, W, 3]."""
    if not size:
        raise InputError(f"{name} is empty (0 bytes): copy or download it again")
    try:
        image = Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError:
        raise InputError(f"{name} has over {2 * MAX_PIXELS // 10**6} million pixels: make it smaller") from None
    except UnidentifiedImageError:
        raise InputError(f"{name} is not a picture that can be read: convert it to JPEG or PNG") from None
    except Exception as error:  # Pillow raises whatever a broken file makes it stumble over, here and below
        raise _damaged(name, error) from None
    with image:
        return _from_pillow(image, name)


def _from_pillow(image: Image.Image, name: str) -> np.ndarray:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise InputError(f"{name} has {width} x {height} pixels, over {MAX_PIXELS // 10**6} million: make it smaller")
    if image.mode == "F":
        raise InputError(f"{name} holds floating point numbers: save it with 8 or 16 bits")
    try:
        image.load()  # first: reading a PNG's EXIF decodes it too, and hides the error
        return _pixels(_to_rgb(image), _orientation(image))
    except MemoryError:
        raise InputError(f"{name} has {width} x {height} pixels, too many for this memory: make it smaller") from None
    except Exception as error:
        raise _damaged(name, error) from None


def _damaged(name: str, error: Exception) -> InputError:
    return InputError(f"{name} is damaged or incomplete ({error}): copy or download it again")


def _orientation(image: Image.Image) -> int:
    try:
        orientation = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken EXIF says nothing about the pixels
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode of Pillow's -> RGB."""
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip at 255; "I" holds them in 32
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("its numbers are larger than 16 bits")
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _pixels(image: Image.Image, orientation: int = 1) -> np.ndarray:
    """An RGB image, brought upright as its EXIF orientation means it -> uint8 [H, W, 3].

    It leaves Pillow strip by strip: in one piece it would go through two more copies, and be turned from memory, not
    from the processor's cache. At 12 megapixels that takes 16 ms instead of 50, and turned 28 instead of 95.
    """
    width, height = image.size
    pixels = np.empty((height, width, 3) if orientation < 5 else (width, height, 3), np.uint8)
    for top in range(0, height, _STRIP):
        strip = np.asarray(image.crop((0, top, width, min(top + _STRIP, height))))
        start = height - top - len(strip) if orientation in (3, 4, 6, 7) else top
        place = slice(start, start + len(strip))
        pixels[place if orientation < 5 else (slice(None), place)] = _upright(strip, orientation)
    return pixels


def _upright(strip: np.ndarray, orientation: int) -> np.ndarray:
    if orientation == 1:
        return strip
    import cv2

    turned = cv2.transpose(strip) if orientation >= 5 else strip
    return cv2.flip(turned, _FLIPS[orientation]) if orientation in _FLIPS else turned

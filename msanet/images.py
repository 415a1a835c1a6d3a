"""Any source -> RGB uint8 [H, W, 3], safely; and pictures back to files, whole or not at all."""

from __future__ import annotations

import ctypes
import importlib
import os
import re
import struct
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
from PIL import Image, ImageFile

from msanet.errors import InputError, missing
from msanet.files import replacing

Source: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | np.ndarray"

MAX_PIXELS = 200_000_000
"""Pictures with more pixels are refused by their header, before anything is decoded."""

MAX_SIDE = 65_535
"""Longest side, pixels: as much as JPEG and GIF can say."""

MEMORY = 300_000_000
"""Bytes that decoding any file may take: 42 megapixels of JPEG or PNG, 17 of WebP."""

EXPANSION = 250
"""A large file may take this many times its own size, since it is no bomb: photographs take 5 to 150 times."""

MOST_MEMORY = 800_000_000
"""Bytes that no file may pass: 114 megapixels of JPEG or PNG. Of larger JPEGs a smaller picture is decoded."""

ONE_AT_A_TIME = 200_000_000
"""Pictures that take more bytes than this are decoded one at a time, whatever the number of threads."""

MAX_SCANS = 64
"""Most scans of a JPEG, each of which goes over the whole picture; progressive ones have about ten."""

MAX_PIECES = 50_000
"""Most strips or tiles of a TIFF or JPEG 2000 file: each costs time and memory of its own."""

FORMATS = {
    "JPEG": "JpegImagePlugin",
    "PNG": "PngImagePlugin",
    "WEBP": "WebPImagePlugin",
    "BMP": "BmpImagePlugin",
    "GIF": "GifImagePlugin",
    "TIFF": "TiffImagePlugin",
    "PPM": "PpmImagePlugin",
    "JPEG2000": "Jpeg2KImagePlugin",
    "AVIF": "AvifImagePlugin",
}
"""Pillow's names of the formats read, and its modules that read them; HEIC is read by pillow_heif. Others stay closed:
some of Pillow's decoders start other programs."""

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"}
)
"""Endings, in lower case, of pictures that can be read everywhere; see `picture_suffixes`."""

WRITABLE = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""Endings that `write` knows, with Pillow's names of their formats."""

_EXPECTED = "give a path, the bytes of a file, a file object, a PIL image or a uint8 array"
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
# Bytes a pixel that these decoders take at their peak, Pillow's picture included; measured on 16 megapixels.
_DECODERS = {"WEBP": 17, "AVIF": 14, "HEIF": 12}
_BMP_RLE = 60  # takes 6, but is written in Python: 0.2 microseconds a pixel
_ORIENTATION = 0x0112
# EXIF's orientation -> OpenCV's code of the flip that brings the picture upright, after a transposition from 5 on
_FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
_STRIP = 64  # rows of a picture that leave Pillow at once
_RANGES = (8, 10, 12, 14, 16)  # bits to which cameras fill the 16 or 32 bits of a file
_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}

_large = threading.RLock()
_turn = threading.local()


class Picture(NamedTuple):
    """A picture as `read_picture` gives it.

    Attributes:
        pixels: RGB uint8 [H, W, 3], contiguous, upright.
        width, height: of the original, pixels.
        reduction: 1; or 2, 4 or 8 where H and W are so many times smaller than the original's.
    """

    pixels: np.ndarray
    width: int
    height: int
    reduction: int = 1


def read(source: Source) -> np.ndarray:
    """A picture from wherever it is, upright as its EXIF orientation says.

    CMYK, palette and 1-bit pictures become 8-bit RGB, transparent ones lie on white. Of an animation the first frame
    is taken, and a warning says so. Numbers of 16 or 32 bits are scaled by the range in use: the least of 8, 10, 12,
    14 and 16 bits that holds the picture's highest number becomes 0..255, since cameras fill 16 bits with fewer; a
    picture of true 16 bits that is darker than a quarter everywhere becomes brighter so.

    Args:
        source: a path; the bytes of a file; a file object, read from its start; a PIL image; or uint8 [H, W, 3] RGB
            (returned as it is, not copied), [H, W, 4] RGBA, [H, W] or [H, W, 1] grey.

    Returns:
        RGB uint8 [H, W, 3], contiguous. Of JPEGs that would take more memory than `MEMORY` and `EXPANSION` allow, it
        is a half, a quarter or an eighth as wide and high: `read_picture` tells.

    Raises:
        InputError: there is no such file, it is no picture, it is damaged, larger than `MAX_PIXELS` and `MAX_SIDE` or
            takes too much memory; or the array has another shape or type.
    """
    return read_picture(source).pixels


def read_picture(source: Source) -> Picture:
    """As `read`, with the original's size."""
    name = _named(source)
    if isinstance(source, np.ndarray):
        return _whole(_from_array(source))
    if isinstance(source, Image.Image):
        return _from_pillow(source, name)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(BytesIO(source), memoryview(source).nbytes, name)
    if not isinstance(source, (str, os.PathLike)):
        if not hasattr(source, "read"):
            raise InputError(f"a picture cannot be read from {type(source).__name__}: {_EXPECTED}")
        data = _content(source)
        return _decode(BytesIO(data), len(data), name)
    if name.startswith("data:"):
        raise InputError(f"{name} is a data URL, no path: decode it and give its bytes")
    if os.path.isdir(source):
        raise InputError(f"{name} is a folder: name a picture in it")
    if not os.path.isfile(source):  # a pipe or a device might never end
        raise InputError(f"{name} does not exist or is no file: check the path")
    try:
        with open(source, "rb") as file:
            return _decode(file, os.fstat(file.fileno()).st_size, name)
    except OSError as error:  # of opening alone: decoding turns its own into InputError
        raise InputError(f"{name} cannot be opened ({error.strerror}): check its permissions") from None


@contextmanager
def turn() -> Iterator[Callable[[], bool]]:
    """If this thread reads a picture of over `ONE_AT_A_TIME` bytes inside, no other does until the end of the block.

    `read` by itself holds others back only while it decodes; this is for those who go on to use the picture, so that
    several threads together hold one large picture.

    Yields:
        A function that says whether such a picture was read.
    """
    with ExitStack() as stack:
        _turn.stack, _turn.taken = stack, False
        try:
            yield lambda: bool(_turn.taken)
        finally:
            del _turn.stack


def name_of(source: object) -> str:
    """What to call a source: its path, or its kind."""
    if isinstance(source, (str, os.PathLike)):
        return os.fsdecode(source)
    if isinstance(source, Image.Image):
        return "the PIL image"
    if isinstance(source, np.ndarray):
        return "the array"
    return "the file in memory" if isinstance(source, (bytes, bytearray, memoryview)) else "the file object"


def _named(source: object) -> str:
    """`name_of` for a message: of a data URL, or of a file's content where its path should be, only the start."""
    name = name_of(source)
    return f"{name[:40]}..." if name.startswith("data:") or len(name) > 1000 else name


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


def _whole(pixels: np.ndarray) -> Picture:
    return Picture(pixels, pixels.shape[1], pixels.shape[0])


def _from_array(array: np.ndarray) -> np.ndarray:
    shape_fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if array.dtype != np.uint8 or not shape_fits or not array.size:
        raise InputError(
            f"the array is {array.dtype} {list(array.shape)}: give uint8 in 0..255, [H, W, 3] RGB, [H, W, 4] RGBA, "
            "[H, W] or [H, W, 1] grey"
        )
    _check_size(array.shape[1], array.shape[0], "the array")
    if array.ndim == 3 and array.shape[2] == 3:
        return np.ascontiguousarray(array)
    image = Image.fromarray(np.ascontiguousarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array))
    return _pixels(image, _converter(image, "the array"))


def _content(file: BinaryIO) -> bytes:
    """All bytes of a file object, from its start where it can go back to it."""
    try:
        if file.seekable():
            file.seek(0)
        data = file.read()
    except (OSError, ValueError, AttributeError) as error:  # closed, of text, a stand-in
        raise InputError(f"the file object cannot be read ({error}): open it in binary mode, 'rb'") from None
    if not isinstance(data, (bytes, bytearray)):
        raise InputError(f"the file object gives {type(data).__name__}, not bytes: open it in binary mode, 'rb'")
    return bytes(data)


def _decode(file: BinaryIO, size: int, name: str) -> Picture:
    """A file of `size` bytes -> its picture."""
    if not size:
        raise InputError(f"{name} is empty (0 bytes): copy or download it again")
    try:
        image = _open(file, size, name)
    except InputError:
        raise
    except Exception as error:  # Pillow raises whatever a broken file makes it stumble over, here and below
        raise _damaged(name, error) from None
    with image:
        return _from_pillow(image, name, file, size)


def _open(file: BinaryIO, size: int, name: str) -> Image.Image:
    """As `Image.open`, but without its limit, which is the host program's; nothing is decoded yet."""
    prefix = file.read(32)
    for kind, module in FORMATS.items():
        if kind not in Image.OPEN:
            importlib.import_module(f"PIL.{module}")
        factory, accept = Image.OPEN[kind]
        accepted = accept is None or accept(prefix[:16])
        if isinstance(accepted, str):
            raise InputError(f"{name} is {kind}, which this Pillow does not read: run pip install --upgrade pillow")
        if not accepted:
            continue
        if kind == "WEBP" and (canvas := _webp_size(prefix)):  # Pillow asks for the canvas's memory as it opens it
            _check_size(*canvas, name)
            _check_memory(canvas[0] * canvas[1] * _DECODERS["WEBP"], size, name)
        if kind == "TIFF":
            _silence_libtiff()
        file.seek(0)
        try:
            return factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):  # how Pillow says: not this format
            continue
    if prefix[4:8] == b"ftyp" and prefix[8:12] in _HEIF_BRANDS:
        try:
            heif = importlib.import_module("pillow_heif")
        except ModuleNotFoundError:
            raise InputError(f"{name} is a HEIC picture: {missing('pillow_heif')}") from None
        file.seek(0)
        image: Image.Image = heif.HeifImageFile(file, "")
        return image
    raise InputError(f"{name} is not a picture that can be read: convert it to JPEG or PNG")


def _webp_size(prefix: bytes) -> tuple[int, int] | None:
    """Width and height of a WebP's canvas, by its first 30 bytes."""
    kind = prefix[12:16]
    if kind == b"VP8X":
        return int.from_bytes(prefix[24:27], "little") + 1, int.from_bytes(prefix[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(prefix[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        return int.from_bytes(prefix[26:28], "little") & 0x3FFF, int.from_bytes(prefix[28:30], "little") & 0x3FFF
    return None


@cache
def _silence_libtiff() -> None:
    """libtiff prints a line of its own for each fault, beside the exception; Pillow has no switch for that."""
    library = ctypes.CDLL(importlib.import_module("PIL._imaging").__file__)
    for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        function = getattr(library, name, None)  # hidden where Pillow has libtiff in itself
        if function is not None:
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
            function(None)


def _give_back() -> None:
    """What glibc keeps of freed memory, for each thread by itself: up to 300 MB of a large picture."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _check_size(width: int, height: int, name: str) -> None:
    if not width or not height:
        raise InputError(f"{name} has {width} x {height} pixels: give one with at least 1 x 1")
    if width * height > MAX_PIXELS:
        raise InputError(f"{name} has {width} x {height} pixels, over {MAX_PIXELS // 10**6} million: make it smaller")
    if max(width, height) > MAX_SIDE:
        raise InputError(f"{name} has {width} x {height} pixels, a side of over {MAX_SIDE}: make it smaller")


def _allowed(size: int) -> int:
    """Bytes that decoding a file of `size` bytes may take."""
    return min(max(MEMORY, EXPANSION * size), MOST_MEMORY)


def _check_memory(need: int, size: int, name: str) -> None:
    if need > _allowed(size):
        raise InputError(
            f"{name} takes {need // 10**6} MB to decode, over the {_allowed(size) // 10**6} MB that a file of "
            f"{size // 1000 + 1} kB may: make it smaller"
        )


def _memory(image: ImageFile.ImageFile, reduction: int, name: str) -> int:
    """Bytes that decoding an opened file takes at most, from its headers; what costs time is refused here as well."""
    width, height = image.size
    pixels = width * height
    bytes_of_mode = 1 if image.mode in ("1", "L", "P") else 2 if image.mode.startswith("I;16") else 4
    need = pixels * max(bytes_of_mode + 3, _DECODERS.get(image.format or "", 0))
    if image.format in ("JPEG", "MPO"):
        layers: list[tuple[int, int, int, int]] = getattr(image, "layer", [])  # identity, sampling across and down
        scans, coefficients = _scans(image, len(layers)), 0
        if scans > MAX_SCANS:
            raise InputError(f"{name} is a JPEG of {scans} scans, over {MAX_SCANS}: save it anew")
        if scans > 1:  # all coefficients wait in memory, 2 bytes each, at full size, until Pillow's picture is whole
            finest = max(across for _, across, _, _ in layers) * max(down for _, _, down, _ in layers)
            coefficients = 2 * pixels * sum(across * down for _, across, down, _ in layers) // max(finest, 1)
        decoded = -(-pixels // reduction**2)
        need = decoded * bytes_of_mode + max(decoded * 3, coefficients)
    elif image.format == "JPEG2000":
        need = max(need, _jpeg2000_memory(image))
    elif image.format == "TIFF":
        tile_width, tile_height = (int(image.tag_v2.get(tag, 0)) for tag in (322, 323))  # type: ignore[attr-defined]
        need += tile_width * tile_height * 8
        if len(image.tile) > MAX_PIECES:
            raise InputError(f"{name} is a TIFF of {len(image.tile)} pieces, over {MAX_PIECES}: save it anew")
    elif image.format == "BMP" and image.tile and image.tile[0][0] == "bmp_rle":
        need = pixels * _BMP_RLE
    return need


def _scans(image: ImageFile.ImageFile, components: int) -> int:
    """How many times a JPEG goes over its pixels; the file stays where it was."""
    file = image.fp
    assert file is not None
    place = file.tell()
    try:
        file.seek(2)
        while len(marker := file.read(2)) == 2 and marker != b"\xff\xda":
            if marker == b"\xff\xff":  # padding
                file.seek(-1, os.SEEK_CUR)
            elif marker[1] not in (0x01, *range(0xD0, 0xD9)):
                file.seek(max(int.from_bytes(file.read(2), "big") - 2, 0), os.SEEK_CUR)
        first = file.read(3)
        if "progressive" not in image.info and len(first) == 3 and first[2] == components:
            return 1
        return 1 + file.read().count(b"\xff\xda")
    finally:
        file.seek(place)


def _jpeg2000_memory(image: ImageFile.ImageFile) -> int:
    """By the sizes in the codestream, of which a file may hide more than one: the worst."""
    file = image.fp
    assert file is not None
    place = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(place)
    need = 0
    for start in (match.end() for match in re.finditer(rb"\xff\x4f\xff\x51", data)):
        if len(fields := data[start + 4 : start + 38]) < 34:
            continue
        x1, y1, x0, y0, tile_width, tile_height, _, _, components = struct.unpack(">8IH", fields)
        width, height = max(x1 - x0, 1), max(y1 - y0, 1)
        tiles = -(-width // max(tile_width, 1)) * -(-height // max(tile_height, 1))
        tile = min(width, tile_width) * min(height, tile_height)
        # openjpeg keeps the numbers of a tile, 400 bytes for each of its blocks and 10 kB for each tile
        numbers = components * tile * (5 + 400 // _least_block(data, start))
        need = max(need, 7 * width * height + numbers + 10_000 * tiles)
    return need


def _least_block(data: bytes, start: int) -> int:
    """Pixels of the smallest code-blocks of a JPEG 2000 codestream whose first segment, SIZ, starts there."""
    least = 12  # exponents of 2: 64 x 64 pixels
    marker, place = b"\xff\x51", start
    while len(marker) == 2 and marker != b"\xff\x90":  # start of a tile
        length = int.from_bytes(data[place : place + 2], "big")
        segment = data[place + 2 : place + length]
        # coding style, of all and of a component
        own = {b"\xff\x52": segment[5:], b"\xff\x53": segment[2:]}.get(marker, b"")
        if len(own) >= 5:
            levels, block = own[0], min((own[1] & 15) + (own[2] & 15) + 4, 12)
            sizes = [block] * (levels + 1)
            if segment[0 if marker == b"\xff\x52" else 1] & 1:  # precincts, the smallest resolution's first
                sizes = [min(block, max((size & 15) + (size >> 4) - 2, 0)) for size in own[5:]]
            least = min([least, *(size + 2 * max(levels - index, 0) for index, size in enumerate(sizes))])
        place += max(length, 2) + 2
        marker = data[place - 2 : place]
    return 1 << least


def _from_pillow(image: Image.Image, name: str, file: BinaryIO | None = None, size: int = 0) -> Picture:
    """A PIL image; with the file of `size` bytes that it is of if we opened it, and so may decode it smaller."""
    width, height = image.size
    _check_size(width, height, name)
    if image.mode == "F":
        raise InputError(f"{name} holds floating point numbers: save it with 8 or 16 bits")
    need, reduction = 0, 1
    try:
        if isinstance(image, ImageFile.ImageFile) and image.fp is not None:
            size = size or _size_of(image)
            need = _memory(image, reduction, name)
            while need > _allowed(size) and reduction < 8 and file is not None and image.format in ("JPEG", "MPO"):
                reduction *= 2
                need = _memory(image, reduction, name)
            _check_memory(need, size, name)
            _warn_of_frames(image, name)
        with ExitStack() as own:
            if need > ONE_AT_A_TIME:
                stack: ExitStack = getattr(_turn, "stack", own)
                stack.enter_context(_large)
                stack.callback(_give_back)
                _turn.taken = True
            if reduction > 1:
                image.draft(None, (width // reduction, height // reduction))
            deep = _is_deep(image)  # loading forgets it
            image.load()  # first: reading a PNG's EXIF decodes it too, and hides the error
            orientation = _orientation(image)
            if deep and file is not None and width * height * 14 < _allowed(size):
                image = _filled(image, file)
            pixels = _pixels(image, _converter(image, name), orientation)
        return Picture(pixels, *((width, height) if orientation < 5 else (height, width)), reduction)
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{name} has {width} x {height} pixels, too many for this memory: make it smaller") from None
    except Exception as error:
        raise _damaged(name, error) from None


def _size_of(image: ImageFile.ImageFile) -> int:
    """Bytes of the file of a PIL image that is opened but perhaps not decoded."""
    file = image.fp
    assert file is not None
    place = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(place)
    return size


def _warn_of_frames(image: ImageFile.ImageFile, name: str) -> None:
    if image.format in _ANIMATED and getattr(image, "is_animated", False):
        number = getattr(image, "n_frames", 0)
        warnings.warn(f"{name} is an animation: the first of {number} frames is read", stacklevel=7)  # of recognize


def _damaged(name: str, error: Exception) -> InputError:
    return InputError(f"{name} is damaged or incomplete ({error}): copy or download it again")


def _orientation(image: Image.Image) -> int:
    try:
        orientation = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken EXIF says nothing about the pixels
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def _is_deep(image: Image.Image) -> bool:
    """Whether a file has colours of 16 bits, of which Pillow keeps the upper 8."""
    tiles: Any = getattr(image, "tile", None)
    return bool(tiles) and image.mode in ("RGB", "RGBA", "LA") and ";16" in str(tiles[0][3])


def _filled(image: Image.Image, file: BinaryIO) -> Image.Image:
    """Colours of 16 bits, anew from their file if the range in use is less; see `read`."""
    bands = np.array([band.getextrema() for band in image.split()])
    if bands[: 1 if image.mode == "LA" else 3].max() > 63:
        return image
    import cv2

    file.seek(0)
    values = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        return image
    values = np.asarray(cv2.cvtColor(values, cv2.COLOR_BGRA2RGBA if values.shape[2] == 4 else cv2.COLOR_BGR2RGB))
    scaled = _scale(int(values[..., :3].max()))[values]
    if values.shape[2] == 4:
        scaled[..., 3] = _scale(int(values[..., 3].max()))[values[..., 3]]
    return Image.fromarray(scaled)


def _scale(highest: int) -> np.ndarray:
    """uint8 [numbers]: what each of the numbers up to 65,535 is in 8 bits, by the range that the highest is in."""
    full = next(2**bits - 1 for bits in _RANGES if highest < 2**bits)
    numbers = np.minimum(np.arange(65_536), full)
    return ((numbers * 255 + full // 2) // full).astype(np.uint8)


def _converter(image: Image.Image, name: str) -> Callable[[Image.Image], Image.Image]:
    """What turns any strip of a loaded image into RGB."""
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip at 255; "I" holds them in 32
        ends = [(int(values.min()), int(values.max())) for values in map(np.asarray, _strips(image))]
        lowest, highest = min(low for low, _ in ends), max(high for _, high in ends)
        if lowest < 0 or highest > 65_535:
            raise InputError(f"{name} holds numbers of {lowest} to {highest}: save it with 8 or 16 bits, 0 to 65535")
        table = _scale(highest)
        return lambda strip: Image.fromarray(table[np.asarray(strip)]).convert("RGB")
    if image.mode in ("LAB", "F"):
        raise InputError(f"{name} is of Pillow's mode {image.mode}: convert it to RGB")
    if image.has_transparency_data or image.mode in _PREMULTIPLIED:
        return _on_white
    return lambda strip: strip if strip.mode == "RGB" else strip.convert("RGB")


def _on_white(strip: Image.Image) -> Image.Image:
    strip = strip.convert(_PREMULTIPLIED.get(strip.mode, strip.mode)).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip).convert("RGB")


def _strips(image: Image.Image) -> Iterator[Image.Image]:
    width, height = image.size
    return (image.crop((0, top, width, min(top + _STRIP, height))) for top in range(0, height, _STRIP))


def _pixels(image: Image.Image, convert: Callable[[Image.Image], Image.Image], orientation: int = 1) -> np.ndarray:
    """An image whose strips `convert` makes RGB, brought upright as its EXIF orientation means it -> uint8 [H, W, 3].

    It leaves Pillow strip by strip: in one piece it would go through two more copies, and be turned from memory, not
    from the processor's cache. At 12 megapixels that takes 16 ms instead of 50, and turned 28 instead of 95.
    """
    width, height = image.size
    pixels = np.empty((height, width, 3) if orientation < 5 else (width, height, 3), np.uint8)
    for index, part in enumerate(_strips(image)):
        strip, top = np.asarray(convert(part)), index * _STRIP
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

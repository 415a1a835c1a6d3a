"""Reading pictures from anywhere, refusing what is none, writing them whole or not at all."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.machinery import ModuleSpec
from io import BytesIO, StringIO
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps, Jpeg2KImagePlugin, WebPImagePlugin, features

from msanet.errors import InputError
from msanet.files import replacing
from msanet.images import picture_suffixes, read, read_picture, write

# red, green above blue, white: every turn of it looks different
QUADRANTS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
PICTURE = QUADRANTS.repeat(16, axis=0).repeat(24, axis=1)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """The start of a PNG that claims a size and has no pixels."""
    chunks = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b"\x00" * 8)):
        chunks += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return chunks


def test_path_bytes_pillow_and_array_give_the_same(tmp_path):
    path = tmp_path / "picture.png"
    data = encoded(Image.fromarray(PICTURE))
    path.write_bytes(data)
    file = BytesIO(data)
    file.seek(0, os.SEEK_END)  # as writing leaves it
    sources = [path, str(path), data, bytearray(data), memoryview(data), file, file, Image.fromarray(PICTURE), PICTURE]
    for source in sources:
        assert np.array_equal(read(source), PICTURE)
    with path.open("rb") as opened:
        assert np.array_equal(read(opened), PICTURE)
    assert np.array_equal(read(PICTURE[..., :1]), np.dstack([PICTURE[..., 0]] * 3))


def test_an_rgb_array_is_not_copied():
    assert read(PICTURE) is PICTURE
    assert read(PICTURE[:, ::-1]).flags.c_contiguous


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    # what a camera stores so that this orientation shows PICTURE
    stored = {
        1: PICTURE,
        2: PICTURE[:, ::-1],
        3: PICTURE[::-1, ::-1],
        4: PICTURE[::-1],
        5: PICTURE.transpose(1, 0, 2),
        6: np.rot90(PICTURE, 1),
        7: PICTURE[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(PICTURE, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    assert np.array_equal(read(data), PICTURE)


def test_broken_exif_is_no_obstacle():
    assert read(encoded(Image.fromarray(PICTURE), "JPEG", exif=b"Exif\x00\x00nonsense")).shape == PICTURE.shape


def test_a_pillow_image_stays_as_it_was():
    image = Image.fromarray(PICTURE)
    image.getexif()[0x0112] = 6
    assert read(image).shape == (48, 32, 3)
    assert image.size == (48, 32)


GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(GREY),
        Image.fromarray(GREY.astype(np.uint16) * 257),
        Image.fromarray(GREY.astype(np.uint16) * 4 + GREY // 64),
        Image.fromarray(GREY.astype(np.uint16) * 16 + GREY // 16),
        Image.fromarray(GREY.astype(np.uint16) * 64 + GREY // 4),
        Image.fromarray(GREY.astype(np.uint16)),
        Image.fromarray(GREY.astype(np.int32) * 257),
        Image.fromarray(GREY.astype(np.int32) * 16 + GREY // 16),
        Image.fromarray(GREY.astype(np.int32)),
        Image.fromarray(np.dstack([GREY, np.full_like(GREY, 255)])),
    ],
    ids=["8", "16", "10 in 16", "12 in 16", "14 in 16", "8 in 16", "16 in 32", "12 in 32", "8 in 32", "alpha"],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", None])
def test_grey_of_any_depth_becomes_the_same_rgb(image, kind):
    source = encoded(image, kind) if kind and (image.mode, kind) != ("I", "PNG") else image
    assert np.array_equal(read(source), np.dstack([GREY] * 3))


def test_cmyk_palette_and_one_bit():
    colours = Image.fromarray(PICTURE)
    assert np.abs(read(encoded(colours.convert("CMYK"), "JPEG", quality=98)).astype(int) - PICTURE).mean() < 12
    assert np.array_equal(read(encoded(colours.quantize(4))), PICTURE)
    one_bit = colours.convert("1")
    assert set(np.unique(read(encoded(one_bit)))) == {0, 255}


def test_what_is_transparent_lies_on_white():
    rgba = np.dstack([PICTURE, np.zeros(PICTURE.shape[:2], np.uint8)])
    rgba[:16, :24, 3] = 255
    for source in (rgba, Image.fromarray(rgba), encoded(Image.fromarray(rgba))):
        result = read(source)
        assert np.array_equal(result[:16, :24], PICTURE[:16, :24])
        assert (result[16:] == 255).all()
    palette = Image.fromarray(PICTURE).quantize(4)
    clear = palette.getpixel((0, 0))
    assert (read(encoded(palette, transparency=clear))[:16, :24] == 255).all()


def test_every_bad_file_is_one_sentence_with_its_name(tmp_path):
    jpeg = encoded(Image.fromarray(PICTURE.repeat(8, axis=0)), "JPEG")
    bad = {
        "text.jpg": (b"I am no picture", "convert it"),
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "incomplete"),
        "empty.png": (b"", "empty"),
        "huge.png": (png_header(60_000, 60_000), "pixels"),
        "large.png": (png_header(15_000, 14_000), "15000 x 14000 pixels"),
        "headless.png": (png_header(100, 100), "incomplete"),
        "floats.tif": (encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "floating point"),
    }
    for name, (data, words) in bad.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(InputError, match=words) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    for path, words in ((tmp_path / "missing.jpg", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(InputError, match=words) as caught:
            read(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((3, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.uint16),
        np.full((4, 4), np.nan),
        np.zeros((4, 4), bool),
        np.array([[None]]),
        np.uint8(1),
        Image.new("RGB", (0, 0)),
        Image.new("L", (0, 5)),
        42,
        None,
        [[1, 2], [3, 4]],
    ],
)
def test_other_arrays_and_types_are_refused(source):
    with pytest.raises(InputError, match="give") as caught:
        read(source)
    assert "\n" not in str(caught.value)


def test_file_objects_that_cannot_be_read(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(Image.fromarray(PICTURE)))
    with path.open("rb") as closed:
        pass
    with path.open() as text, pytest.raises(InputError, match="open it in binary mode"):
        read(text)
    for file, words in ((closed, "closed file"), (StringIO("text"), "gives str"), (BytesIO(), "empty")):
        with pytest.raises(InputError, match=words):
            read(file)  # type: ignore[arg-type]


def test_a_data_url_is_named_by_its_start():
    for source in ("data:image/png;base64," + "iVBORw0" * 10_000, "iVBORw0" * 10_000):
        with pytest.raises(InputError) as caught:
            read(source)
        assert len(str(caught.value)) < 150
    with pytest.raises(InputError, match="is a data URL, no path: decode it"):
        read("data:image/png;base64,iVBORw0")


MODES = ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LA", "PA", "RGBX", "RGBa", "La", "I")


@pytest.mark.parametrize("mode", [*MODES, "I;16", "I;16L", "I;16B", "I;16N", "LAB", "F"])
def test_pillow_images_of_every_mode(mode):
    base = {"PA": "P", "RGBa": "RGBA", "La": "LA"}.get(mode, "L" if mode.startswith("I;16") else "RGB")
    image = Image.fromarray(PICTURE).convert(base)
    if mode == "LAB":
        image = Image.new(mode, (4, 4))
    elif mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint16) * 257
        order = ">" if mode == "I;16B" else "<"
        image = Image.frombytes(mode, image.size, values.astype(f"{order}u2").tobytes())
    else:
        image = image.convert(mode)
    if mode in ("LAB", "F"):
        with pytest.raises(InputError, match="mode LAB" if mode == "LAB" else "floating point"):
            read(image)
        return
    result = read(image)
    grey = mode in ("1", "L", "LA", "La") or mode.startswith("I")
    expected = np.asarray(Image.fromarray(PICTURE).convert("L").convert("RGB")) if grey else PICTURE
    tolerance = {"1": 256, "P": 60, "PA": 60}.get(mode, 3)
    assert np.abs(result.astype(int) - expected).max() <= tolerance
    assert result.mean() == pytest.approx(expected.mean(), abs=20)


@pytest.mark.parametrize("kind", [".png", ".tiff"])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_colours_of_16_bits_are_scaled_by_the_range_in_use(kind, bits):
    values = (PICTURE.astype(np.uint32) * (2**bits - 1) // 255).astype(np.uint16)
    alpha = np.full((*PICTURE.shape[:2], 1), 2**bits - 1, np.uint16)
    for channels in (values[..., ::-1], np.dstack([values[..., ::-1], alpha])):
        _, code = cv2.imencode(kind, channels)
        assert np.abs(read(code.tobytes()).astype(int) - PICTURE).max() <= 1


@pytest.mark.parametrize("kind", ["TIFF", None])
def test_numbers_of_more_than_16_bits_are_refused(kind):
    for value in (-1, 70_000):
        image = Image.fromarray(np.array([[0, value]], np.int32))
        with pytest.raises(InputError, match=r"holds numbers of .* save it with 8 or 16 bits"):
            read(encoded(image, kind) if kind else image)


def test_avif_is_read_whatever_its_name(tmp_path):
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    path = tmp_path / "picture.jpg"
    path.write_bytes(encoded(Image.fromarray(PICTURE), "AVIF", quality=95))
    assert np.abs(read(path).astype(int) - PICTURE).mean() < 12


def test_avif_without_its_decoder_is_a_sentence(monkeypatch):
    data = b"\0\0\0\x1cftypavif" + b"\0" * 40
    monkeypatch.setattr("PIL.AvifImagePlugin.SUPPORTED", False)
    with pytest.raises(InputError, match="is AVIF, which this Pillow does not read: run pip install"):
        read(data)


def test_heic_is_read_where_pillow_heif_is_installed(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "picture.heic"
    heif.from_pillow(Image.fromarray(PICTURE)).save(path, quality=95, chroma=444)
    assert np.abs(read(path).astype(int) - PICTURE).mean() < 12
    assert "HEIF" not in Image.OPEN  # the host program's Pillow stays as it was
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError):
        read(path)


def test_heic_without_pillow_heif_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match=r"is a HEIC picture.*pip install 'msanet\[heif\]'"):
        read(b"\0\0\0\x1cftypheic" + b"\0" * 40)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_an_animation_is_said_to_be_one(kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    frames = [Image.fromarray(np.roll(PICTURE, 8 * shift, axis=1)) for shift in range(12)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, quality=100)
    with pytest.warns(UserWarning, match="the file in memory is an animation: the first of 12 frames is read"):
        assert np.abs(read(data).astype(int) - PICTURE).mean() < 12


def jpeg_of_scans(number: int) -> bytes:
    """A progressive JPEG whose last scan stands in it so many times more."""
    data = encoded(Image.fromarray(PICTURE), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * number + data[-2:]


def baseline_of_scans(number: int) -> bytes:
    """As `jpeg_of_scans`, not progressive: its colours come one after the other."""
    data = encoded(Image.fromarray(PICTURE), "JPEG")
    start = data.index(b"\xff\xda")
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + b"\x00" * 8
    return data[:start] + scan * number + data[-2:]


def tiff(width: int, height: int, rows: int = 1, tile: int = 0) -> bytes:
    """A raw grey TIFF whose strips of so many rows, or one tile of that side, all lie at one place."""
    pieces = 1 if tile else -(-height // rows)
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 277: 1}
    tags |= {322: tile, 323: tile, 324: 8, 325: 8} if tile else {273: 8, 278: rows, 279: width * rows}
    entries, tables, end = b"", b"", 14 + 12 * len(tags)
    for tag, value in sorted(tags.items()):
        if tag in (273, 279) and pieces > 1:
            entries += struct.pack("<HHII", tag, 4, pieces, end + len(tables))
            tables += struct.pack("<I", value) * pieces
        else:
            entries += struct.pack("<HHII", tag, 4, 1, value)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4 + tables


def gif(width: int, height: int) -> bytes:
    """A GIF whose logical screen is so large."""
    data = bytearray(encoded(Image.new("P", (1, 1)), "GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def webp(kind: bytes, header: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 60) + b"WEBP" + kind + struct.pack("<I", 40) + header + b"\0" * 30


def bmp_of_runs(side: int) -> bytes:
    """An RLE8 BMP, each row of which is one pixel and an end of line."""
    rows = b"\1\0\0\0" * side
    info = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(rows), 0, 0, 256, 0) + b"\0" * 1024
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(rows), 0, 0, 14 + len(info)) + info + rows


def jpeg2000(start: bytes, changed: bytes) -> bytes:
    """A JPEG 2000 of 2000 x 2000, some bytes of whose header are others."""
    data = encoded(Image.new("RGB", (2000, 2000)), "JPEG2000", precinct_size=(256, 256))
    assert data.count(start) == 1
    return data.replace(start, changed)


SIZES = struct.pack(">6I", 2000, 2000, 0, 0, 2000, 2000)  # of picture, offset and tiles
STYLE = bytes.fromhex("05 04 04 00 01 33 44 55 66 77 88")  # levels, code-blocks, transformation, precincts

BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "one column of 199,999,999": (lambda: png_header(1, 199_999_999), "a side of over 65535"),
    "PNG, large": (lambda: png_header(8000, 8000), "448 MB to decode, over the 300 MB"),
    "PNG, larger than Pillow's limit": (lambda: png_header(15_000, 13_000), "1365 MB"),
    "PPM": (lambda: b"P6 9000 9000 255\n" + b"\0" * 100, "567 MB"),
    "GIF": (lambda: gif(14_000, 14_000), "784 MB"),
    "WebP, VP8": (lambda: webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 5000, 5000)), "425 MB"),
    "WebP, VP8L": (lambda: webp(b"VP8L", b"\x2f" + struct.pack("<I", 4999 | 4999 << 14)), "425 MB"),
    "WebP, VP8X": (lambda: webp(b"VP8X", b"\0" * 4 + (4999).to_bytes(3, "little") * 2), "425 MB"),
    "JPEG of many scans": (lambda: jpeg_of_scans(100), "scans, over 64"),
    "JPEG of many scans, not progressive": (lambda: baseline_of_scans(100), "scans, over 64"),
    "TIFF of many strips": (lambda: tiff(16, 2000), "2000 pieces, over 1000"),
    "TIFF of a huge tile": (lambda: tiff(16, 16, tile=10_000), "800 MB"),
    "BMP of runs": (lambda: bmp_of_runs(3000), "540 MB"),
    "JPEG 2000 of many tiles": (lambda: jpeg2000(SIZES, SIZES[:-8] + struct.pack(">II", 4, 4)), "2528 MB"),
    "JPEG 2000 of small blocks": (lambda: jpeg2000(STYLE, STYLE[:-10] + b"\0\0" + STYLE[-8:]), "388 MB"),
    "JPEG 2000 of small precincts": (lambda: jpeg2000(STYLE, STYLE[:-1] + b"\x11"), "4888 MB"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_before_anything_is_decoded(name, monkeypatch):
    build, words = BOMBS[name]
    data = build()
    assert len(data) < 40_000
    monkeypatch.setattr("msanet.images.MAX_PIECES", 1000)

    def load(image: ImageFile.ImageFile) -> None:
        raise AssertionError("decoded")

    for plugin in (ImageFile.ImageFile, Jpeg2KImagePlugin.Jpeg2KImageFile, WebPImagePlugin.WebPImageFile):
        monkeypatch.setattr(plugin, "load", load)
    with pytest.raises(InputError, match=words):
        read(data)
    if not name.startswith("WebP"):  # a PIL image that is not decoded yet is no other way in
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        with Image.open(BytesIO(data)) as image, pytest.raises(InputError, match=words):
            read(image)


def test_a_large_file_may_take_more(monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    monkeypatch.setattr("msanet.images.MEMORY", 100_000)
    assert np.array_equal(read(encoded(Image.fromarray(noise))), noise)
    with pytest.raises(InputError, match="1 MB to decode"):
        read(encoded(Image.new("RGB", (400, 400))))


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("progressive", [False, True])
def test_large_jpegs_are_read_smaller(monkeypatch, orientation, progressive):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(PICTURE.repeat(10, axis=0).repeat(10, axis=1)).resize((481, 321))
    data = encoded(picture, "JPEG", exif=exif, progressive=progressive, quality=95)
    whole = read_picture(data)
    assert (whole.width, whole.height, whole.reduction) == (*whole.pixels.shape[1::-1], 1)
    monkeypatch.setattr("msanet.images.EXPANSION", 1)
    monkeypatch.setattr("msanet.images.MEMORY", 481 * 321 * 5)
    smaller = read_picture(data)
    assert (smaller.width, smaller.height, smaller.reduction) == (whole.width, whole.height, 2)
    assert smaller.pixels.shape == (-(-whole.height // 2), -(-whole.width // 2), 3)
    spread = smaller.pixels.repeat(2, axis=0).repeat(2, axis=1)[: whole.height, : whole.width]
    assert np.abs(spread.astype(int) - whole.pixels).mean() < 3
    monkeypatch.setattr("msanet.images.MEMORY", 481 * 321 // 64)
    with pytest.raises(InputError, match="MB to decode"):
        read(data[:4000] + bytes(data[4000:]))


def test_large_pictures_are_read_one_at_a_time(monkeypatch):
    monkeypatch.setattr("msanet.images.ONE_AT_A_TIME", 1000)
    data = encoded(Image.fromarray(PICTURE))
    inside, most = [0], [0]

    def slow(*arguments: Any) -> np.ndarray:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.01)
        inside[0] -= 1
        return PICTURE

    monkeypatch.setattr("msanet.images._pixels", slow)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, [data] * 8))
        assert most == [1]
        most[0] = 0
        monkeypatch.setattr("msanet.images.ONE_AT_A_TIME", 10**6)
        list(pool.map(read, [data] * 8))
    assert most[0] > 1


def test_pillows_own_limit_is_left_alone():
    code = (
        "from PIL import Image; before = Image.MAX_IMAGE_PIXELS\n"
        "import msanet.images, sys; assert not {'PIL.TiffImagePlugin', 'pillow_heif', 'cv2'} & set(sys.modules)\n"
        "msanet.images.read(sys.stdin.buffer.read()); assert Image.MAX_IMAGE_PIXELS == before == 89478485"
    )
    data = encoded(Image.fromarray(PICTURE))
    subprocess.run([sys.executable, "-c", code], input=data, check=True, timeout=60)


def test_a_picture_over_pillows_limit_is_read(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)  # of 1536 pixels: Pillow would refuse it
    monkeypatch.setattr("msanet.images._STRIP", 8)  # it looks at these too
    assert np.array_equal(read(encoded(Image.fromarray(PICTURE))), PICTURE)


def test_libtiff_says_nothing_of_its_own(capfd):
    data = bytearray(encoded(Image.fromarray(PICTURE), "TIFF", compression="tiff_adobe_deflate"))
    data[12:40] = b"\xaa" * 28
    with pytest.raises(InputError, match="damaged"):
        read(bytes(data))
    assert capfd.readouterr().err == ""


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM"]), st.data())
def test_damage_ends_in_a_picture_or_in_one_sentence(kind, data):
    broken = bytearray(encoded(Image.fromarray(PICTURE), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    broken = broken[: data.draw(st.integers(0, len(broken)))]
    with suppress(InputError):
        assert read(bytes(broken)).dtype == np.uint8


def test_a_folder_s_pictures_are_known_by_what_is_installed(monkeypatch):
    assert {".jpg", ".jfif", ".png"} <= picture_suffixes()
    assert (".avif" in picture_suffixes()) == features.check("avif")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert ".heic" not in picture_suffixes()
    module = ModuleType("pillow_heif")
    module.__spec__ = ModuleSpec("pillow_heif", None)
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    assert ".heic" in picture_suffixes()


def test_large_pictures_keep_every_pixel():
    picture = np.random.default_rng(0).integers(0, 256, (131, 7, 3), np.uint8)  # more than two strips
    assert np.array_equal(read(Image.fromarray(picture)), picture)
    assert np.array_equal(read(encoded(Image.fromarray(picture))), picture)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned = encoded(Image.fromarray(picture), exif=exif)
        with Image.open(BytesIO(turned)) as image:
            assert np.array_equal(read(turned), np.asarray(ImageOps.exif_transpose(image)))


def test_write_keeps_pixels_and_permissions(tmp_path):
    path = tmp_path / "out.png"
    write(path, PICTURE)
    assert np.array_equal(read(path), PICTURE)
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    write(tmp_path / "out.jpg", PICTURE)
    assert read(tmp_path / "out.jpg").shape == PICTURE.shape


def test_write_refuses_what_it_cannot(tmp_path):
    with pytest.raises(InputError, match="ending"):
        write(tmp_path / "out.xyz", PICTURE)
    with pytest.raises(InputError, match="cannot be written"):
        write(tmp_path / "missing" / "out.png", PICTURE)
    assert os.listdir(tmp_path) == []


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("old")
    with suppress(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["results.json"]

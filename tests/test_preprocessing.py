"""Face crop -> network input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msanet.errors import InputError
from msanet.preprocessing import MEAN_LANDMARKS, Framing, Preprocessing, blur, softmax

IDENTITY = np.array([[1.0, 0, 0], [0, 1, 0]])
TEMPLATE = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))


def picture(height: int, width: int, seed: int = 0, smooth: bool = False) -> np.ndarray:
    """RGB uint8 [H, W, 3] of noise, or of slow waves that survive any resizing."""
    if not smooth:
        return np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8)
    rows, columns = np.mgrid[:height, :width].astype(float)
    rows, columns = (rows + 0.5) / height, (columns + 0.5) / width
    waves = [np.sin(3 * rows + channel) * np.cos(2 * columns - channel) for channel in range(3)]
    return (127.5 + 120 * np.stack(waves, axis=2)).astype(np.uint8)


@st.composite
def settings_of_preprocessing(draw):
    size = draw(st.integers(16, 64))
    triple = st.tuples(*[st.floats(0.01, 1)] * 3)
    return Preprocessing(
        size=size,
        resize=draw(st.none() | st.integers(size, 80)),
        gray=draw(st.booleans()),
        filter=draw(st.sampled_from(["linear", "cubic"])),
        mean=draw(triple),
        std=draw(triple),
        mirror=draw(st.booleans()),
        framing=Framing(draw(st.floats(0.5, 2)), draw(st.booleans()), draw(st.sampled_from([None, TEMPLATE]))),
    )


@given(settings_of_preprocessing(), st.integers(1, 90), st.integers(1, 90))
def test_any_crop_becomes_an_input_of_the_networks_size(preprocessing, height, width):
    inputs = preprocessing([picture(height, width), picture(width, height)])
    assert inputs.shape == (2, 3, preprocessing.size, preprocessing.size)
    assert inputs.dtype == np.float32
    assert inputs.flags.c_contiguous
    assert np.isfinite(inputs).all()


def test_no_crops_give_an_empty_input():
    assert Preprocessing(size=32)([]).shape == (0, 3, 32, 32)


def test_a_crop_does_not_depend_on_the_others_of_its_batch():
    crops = [picture(30, 40), picture(64, 64, 1), picture(90, 20, 2)]
    preprocessing = Preprocessing(size=32, resize=36)
    together = preprocessing(crops)
    for index, crop in enumerate(crops):
        np.testing.assert_array_equal(together[index], preprocessing([crop])[0])


def test_a_crop_of_the_right_size_keeps_its_pixels():
    crop = picture(32, 32)
    np.testing.assert_array_equal(Preprocessing(size=32).fit(crop), crop)
    inputs = Preprocessing(size=32, mean=(0, 0, 0), std=(1, 1, 1))([crop])[0]
    np.testing.assert_allclose(inputs.transpose(1, 2, 0) * 255, crop, atol=1e-3)


def test_shrinking_averages_over_area():
    crop = picture(64, 64)
    means = crop.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(Preprocessing(size=32).fit(crop) - means).max() <= 1


def test_the_filter_decides_how_a_crop_is_enlarged_but_not_how_it_is_shrunk():
    linear, cubic = Preprocessing(size=32, filter="linear"), Preprocessing(size=32, filter="cubic")
    assert (linear.fit(picture(20, 20)) != cubic.fit(picture(20, 20))).any()
    np.testing.assert_array_equal(linear.fit(picture(50, 50)), cubic.fit(picture(50, 50)))


def test_gray_is_the_luma_in_all_three_channels():
    crop = picture(32, 32)
    gray = Preprocessing(size=32, gray=True).fit(crop)
    luma = crop @ np.array([0.299, 0.587, 0.114])
    assert np.abs(gray - luma[..., None]).max() <= 1
    assert (gray == gray[..., :1]).all()


def test_gray_of_a_gray_picture_is_that_picture():
    crop = picture(32, 32)[..., :1].repeat(3, axis=2)
    np.testing.assert_array_equal(Preprocessing(size=32, gray=True).fit(crop), crop)


@pytest.mark.parametrize(("side", "gray"), [(20, False), (20, True), (48, False), (64, True), (100, False)])
@pytest.mark.parametrize("enlarge", ["linear", "cubic"])
@pytest.mark.parametrize("resize", [None, 56])
def test_a_warp_that_moves_nothing_is_fit(side, gray, enlarge, resize):
    preprocessing = Preprocessing(size=48, resize=resize, gray=gray, filter=enlarge)
    crop = picture(side, side)
    difference = preprocessing.warp(crop, IDENTITY).astype(int) - preprocessing.fit(crop)
    # OpenCV's warping knows 32 places between two pixels, so noise may differ by a few levels here and there.
    assert np.abs(difference).mean() < 1.5
    smooth = picture(side, side, smooth=True)
    assert np.abs(preprocessing.warp(smooth, IDENTITY).astype(int) - preprocessing.fit(smooth)).max() <= 2


def test_a_warp_moves_the_content_where_the_matrix_says():
    preprocessing = Preprocessing(size=32)
    crop = np.zeros((32, 32, 3), np.uint8)
    crop[8:16, 8:16] = 255
    shifted = preprocessing.warp(crop, np.array([[1, 0, 0.25], [0, 1, 0.125]]))  # 8 right, 4 down
    np.testing.assert_array_equal(shifted[12:20, 16:24], 255)
    assert (shifted > 0).sum() == 8 * 8 * 3
    turned = preprocessing.warp(crop, np.array([[0.0, -1, 0], [1, 0, 0]]))  # (x, y) -> (-y, x), clockwise on screen
    np.testing.assert_allclose(turned, np.rot90(crop, -1), atol=1)


def test_edge_pixels_fill_what_a_warp_brings_in():
    crop = np.full((32, 32, 3), 200, np.uint8)
    moved = Preprocessing(size=32).warp(crop, np.array([[0.5, 0, 0.3], [0, 0.5, -0.3]]))
    np.testing.assert_array_equal(moved, 200)


def test_a_resize_over_the_size_cuts_the_centre():
    preprocessing = Preprocessing(size=32, resize=40)
    crop = picture(40, 40)
    fitted = preprocessing.fit(crop)
    assert fitted.shape == (40, 40, 3)
    np.testing.assert_array_equal(preprocessing.center(fitted), crop[4:36, 4:36])
    np.testing.assert_array_equal(preprocessing([crop])[0], preprocessing.normalize(crop[None, 4:36, 4:36])[0])


def test_normalize_subtracts_the_mean_and_divides_by_the_deviation_of_each_channel():
    preprocessing = Preprocessing(size=16, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
    black, white = (np.full((1, 16, 16, 3), value, np.uint8) for value in (0, 255))
    np.testing.assert_allclose(preprocessing.normalize(black)[0, :, 0, 0], [-1, -1, 0], atol=1e-6)
    np.testing.assert_allclose(preprocessing.normalize(white)[0, :, 0, 0], [1, 3, 1], atol=1e-6)


def test_normalize_keeps_the_channels_and_the_places():
    images = np.zeros((1, 16, 16, 3), np.uint8)
    images[0, 2, 5, 1] = 255
    result = Preprocessing(size=16, mean=(0, 0, 0), std=(1, 1, 1)).normalize(images)
    assert np.argwhere(result).tolist() == [[0, 1, 2, 5]]


def test_sharpening_and_blurring_change_the_contrast_of_details():
    preprocessing, image = Preprocessing(size=32), picture(32, 32)
    image = (image // 4 + 96).astype(np.uint8)
    spread = image.std()
    assert preprocessing.sharpen(image, -1).std() < 0.7 * spread
    assert preprocessing.sharpen(image, 1).std() > 1.3 * spread
    assert np.abs(preprocessing.sharpen(image, 0).astype(int) - image).max() <= 1


def test_sharpening_adds_twice_what_a_slight_blur_takes_away():
    preprocessing = Preprocessing(size=32)
    image = (picture(48, 32) // 4 + 96).astype(np.uint8)  # no value reaches an end of the range
    details = image - blur(image, 1 / 64).astype(float)
    assert np.abs(preprocessing.sharpen(image, 0.5) - (image + details)).max() <= 1
    np.testing.assert_array_equal(preprocessing.sharpen(image, -0.5), blur(image, 1 / 64))
    np.testing.assert_array_equal(preprocessing.sharpen(image, -1), blur(image, 1 / 32))


def test_blur_has_the_deviation_asked_for_of_the_height():
    image = np.zeros((100, 61, 3), np.uint8)
    image[50, 30] = 255
    assert (blur(image, 0) == image).all()
    image[48:53, 28:33] = 255
    for axis, size in ((0, 100), (1, 61)):
        spread = blur(image, 0.05).astype(float)[..., 0].sum(axis=1 - axis)
        places = np.arange(size)
        mean = (spread * places).sum() / spread.sum()
        variance = (spread * (places - mean) ** 2).sum() / spread.sum()
        assert variance == pytest.approx(5**2 + 2, rel=0.1)  # of the blur, and of the square of five pixels


def test_a_tall_crop_warps_as_it_fits():
    preprocessing = Preprocessing(size=48)
    for shape in ((90, 30), (30, 90), (120, 40)):
        smooth = picture(*shape, smooth=True)
        assert np.abs(preprocessing.warp(smooth, IDENTITY).astype(int) - preprocessing.fit(smooth)).max() <= 3
    noise = picture(200, 12)  # shrinks, though it is narrow: over area, which leaves little of noise
    assert preprocessing.warp(noise, IDENTITY).std() == pytest.approx(preprocessing.fit(noise).std(), rel=0.05)


def test_the_mirrored_view_has_mirrored_landmarks():
    images = Preprocessing(size=16)([picture(16, 16)])
    shift = np.array([0.1, 0.0], np.float32)
    points = MEAN_LANDMARKS[None] + shift
    seen = []

    def network(images: np.ndarray, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        seen.append(inputs["landmarks"])
        return [images[:, 0, 0, :1]]

    Preprocessing(size=16, mirror=True).average_views(network, images, {"landmarks": points})
    np.testing.assert_array_equal(seen[0], points)
    # the mean face is its own mirror image, so only the shift turns round
    np.testing.assert_allclose(seen[1], MEAN_LANDMARKS[None] - shift, atol=1e-6)


@pytest.mark.parametrize("mirror", [False, True])
def test_mirror_averages_the_outputs_of_both_views(mirror):
    images = Preprocessing(size=16)([picture(16, 16, seed) for seed in range(3)])
    weights = np.random.default_rng(0).normal(size=(3 * 16 * 16, 5)).astype(np.float32)

    def network(inputs: np.ndarray, _: object = None) -> tuple[np.ndarray, np.ndarray]:
        assert inputs.flags.c_contiguous
        return inputs.reshape(len(inputs), -1) @ weights, inputs[:, :1] ** 2

    outputs, maps = Preprocessing(size=16, mirror=mirror).average_views(network, images)
    expected = network(images)[0]
    if mirror:
        expected = (expected + network(np.flip(images, axis=3).copy())[0]) / 2
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)
    flipped, turned = Preprocessing(size=16, mirror=mirror).average_views(network, np.flip(images, axis=3).copy())
    assert np.allclose(outputs, flipped, rtol=1e-4, atol=1e-4) == mirror
    # a map lies over the view that was handed in, whether its mirror image was looked at as well or not
    np.testing.assert_allclose(maps, images[:, :1] ** 2, rtol=1e-5)
    np.testing.assert_allclose(turned, np.flip(maps, axis=3), rtol=1e-5)


@given(settings_of_preprocessing())
def test_preprocessing_survives_json(preprocessing):
    assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing


def test_fields_that_are_not_given_have_their_defaults():
    assert Preprocessing.from_dict({}) == Preprocessing()
    assert Preprocessing.from_dict({"size": 32, "framing": {"scale": 1.2}}) == Preprocessing(32, framing=Framing(1.2))


def test_from_dict_leaves_its_argument_as_it_was():
    values = Preprocessing(framing=Framing(template=TEMPLATE)).to_dict()
    before = json.dumps(values)
    Preprocessing.from_dict(values)
    assert json.dumps(values) == before


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1], "preprocessing is"),
        ({"colour": 1}, "unknown fields, such as 'colour'"),
        ({"framing": {"angle": 1}}, "unknown fields, such as 'angle'"),
        ({"framing": [0.1]}, "framing is"),
        ({"framing": None}, "framing is None"),
        ({"size": 15}, "size is 15"),
        ({"size": 1025}, "size is 1025"),
        ({"size": 10**9}, "size is 1000000000"),
        ({"size": 10**400}, "size is 1000"),
        ({"size": 64.0}, "size is 64.0"),
        ({"size": "64"}, "size is '64'"),
        ({"size": True}, "size is True"),
        ({"size": None}, "size is None"),
        ({"size": 64, "resize": 63}, "resize is 63, less than size 64"),
        ({"size": 64, "resize": 2000}, "resize is 2000"),
        ({"size": 64, "resize": 64.5}, "resize is 64.5"),
        ({"gray": 1}, "gray is 1"),
        ({"mirror": "no"}, "mirror is 'no'"),
        ({"align": None}, "align is None"),
        ({"filter": "nearest"}, "filter is 'nearest': choose one of linear, cubic"),
        ({"filter": ["linear"]}, "filter is"),
        ({"std": [0.2, 0.0, 0.2]}, "std over 0"),
        ({"std": [0.2, 0.2]}, "three numbers each"),
        ({"std": [0.2, 0.2, 1e-30]}, "three numbers each"),
        ({"std": [0.2, 0.2, float("nan")]}, "three numbers each"),
        ({"mean": [0.2] * 4}, "three numbers each"),
        ({"mean": [0.2, 0.2, float("inf")]}, "three numbers each"),
        ({"mean": "000"}, "three numbers each"),
        ({"mean": 0.5}, "three numbers each"),
        ({"mean": [True, 0, 0]}, "three numbers each"),
        ({"framing": {"scale": 0}}, "framing scale is 0"),
        ({"framing": {"scale": 100}}, "framing scale is 100"),
        ({"framing": {"scale": "1"}}, "framing scale is '1'"),
        ({"framing": {"scale": float("nan")}}, "framing scale is nan"),
        ({"framing": {"level": 1}}, "level is 1"),
        ({"framing": {"template": [[0, 0]] * 4}}, "five"),
        ({"framing": {"template": [[0, 0, 0]] * 5}}, "five"),
        ({"framing": {"template": 5}}, "five"),
        ({"framing": {"template": [1, 2, 3, 4, 5]}}, "five"),
        ({"framing": {"template": [[0.5, 0.5]] * 5}}, "lie on one"),
        ({"framing": {"template": [[0, float("nan")]] * 5}}, "five"),
        ({"framing": {"template": [[0, 100]] * 5}}, "from -1 to 2"),
    ],
)
def test_values_that_cannot_be_used_are_refused(values, words):
    with pytest.raises(InputError, match=words):
        Preprocessing.from_dict(values)


@pytest.mark.parametrize(
    "values",
    [
        {"size": 16},
        {"size": 1024, "resize": 1024},
        {"mean": [-100, 100, 0], "std": [0.001, 100, 1]},
        {"framing": {"scale": 0.1, "template": [[-1, 2]] * 2 + [[0, 0]] * 3}},
        {"framing": {"scale": 10}},
    ],
)
def test_values_at_the_ends_of_their_ranges_are_used(values):
    assert np.isfinite(Preprocessing.from_dict(values)([picture(20, 30)])).all()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*Preprocessing().to_dict()]), JSON))
def test_whatever_comes_from_json_is_used_or_refused(values):
    try:
        preprocessing = Preprocessing.from_dict(values)
    except InputError:
        return
    assert np.isfinite(preprocessing([picture(20, 30)])).all()


def test_preprocessing_cannot_be_changed_but_replaced():
    preprocessing = Preprocessing()
    with pytest.raises(AttributeError):
        preprocessing.size = 32  # type: ignore[misc]
    assert replace(preprocessing, size=32).size == 32
    with pytest.raises(InputError):
        replace(preprocessing, size=3)


logits = st.lists(st.lists(st.floats(-500, 500), min_size=4, max_size=4), min_size=1, max_size=5).map(
    lambda rows: np.array(rows, np.float32)
)


@given(logits, st.floats(0.05, 20))
def test_softmax_gives_probabilities_in_the_order_of_the_logits(logits, temperature):
    probabilities = softmax(logits, temperature)
    assert probabilities.dtype == np.float32
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    largest = np.take_along_axis(logits, probabilities.argmax(axis=1)[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(largest, logits.max(axis=1), atol=1e-3)


def test_the_temperature_divides_the_logits():
    logits = np.array([[0.0, np.log(3.0)]])
    np.testing.assert_allclose(softmax(logits), [[0.25, 0.75]], rtol=1e-6)
    np.testing.assert_allclose(softmax(logits, 0.5), [[0.1, 0.9]], rtol=1e-6)
    np.testing.assert_allclose(softmax(logits, 2.0)[0, 1], np.sqrt(3) / (1 + np.sqrt(3)), rtol=1e-6)

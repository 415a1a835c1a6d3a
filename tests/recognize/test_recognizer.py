"""From a picture to expressions, with a tiny network of random numbers."""

from __future__ import annotations

import dataclasses
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import msanet
from msanet.faces.aligner import Aligner
from msanet.faces.crops import crop
from msanet.faces.detector import Detections
from msanet.labels import EXPRESSIONS
from msanet.model import model_names, model_path
from msanet.preprocessing import Framing, Preprocessing, softmax
from msanet.recognize.recognizer import Recognizer
from msanet.runtime import Session

POINTS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.75], [0.65, 0.75]], np.float32)


def fixed_detector(picture: np.ndarray) -> Detections:
    """Two faces, the smaller first, wherever they are asked for."""
    boxes = np.array([[10, 10, 50, 50], [60, 20, 160, 120]], np.float32)
    landmarks = np.stack([POINTS * 40 + 10, POINTS * 100 + [60, 20]]).astype(np.float32)
    return boxes, np.array([0.95, 0.9], np.float32), landmarks


@pytest.fixture(scope="module")
def recognizer(tiny_model) -> Recognizer:
    return Recognizer(tiny_model, detector=fixed_detector, threads=1)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (150, 200, 3), np.uint8)


@pytest.fixture(scope="module")
def crops() -> list[np.ndarray]:
    random = np.random.default_rng(2)
    return [random.integers(0, 256, (side, side + 3, 3), np.uint8) for side in (20, 48, 130)]


def test_faces_come_largest_first_with_all_they_promise(recognizer, picture):
    recognition = recognizer.recognize(picture)
    assert isinstance(recognition, msanet.Recognition)
    assert len(recognition) == 2
    assert [face.box for face in recognition] == [(60, 20, 160, 120), (10, 10, 50, 50)]
    assert recognition[0] is recognition.faces[0]
    assert recognition[:1] == recognition.faces[:1]
    for face in recognition:
        assert isinstance(face, msanet.Face)
        assert face.landmarks.shape == (5, 2)
        assert tuple(face.probabilities) == EXPRESSIONS == recognizer.expressions
        assert sum(face.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert face.expression == max(face.probabilities, key=face.probabilities.__getitem__)
        assert face.evidence is None
    assert recognition.picture is picture


def test_classify_is_what_recognize_says(recognizer, picture):
    recognition = recognizer.recognize(picture)
    framing = recognizer.preprocessing.framing
    crops = [crop(picture, np.array(face.box), face.landmarks, framing) for face in recognition]
    said = np.array([list(face.probabilities.values()) for face in recognition])
    assert np.abs(recognizer.classify(crops) - said).max() < 1e-6


def test_crops_are_aligned_where_the_model_says_so_unless_told_otherwise(make_model, recognizer, portrait):
    crops = [np.ascontiguousarray(np.rot90(portrait[130:330, 168:368], turn)) for turn in (0, 1)]
    crops.append(np.zeros((48, 48, 3), np.uint8))
    aligning = Recognizer(make_model(preprocessing=Preprocessing(size=32, align=True)), fixed_detector, threads=1)
    aligner = Aligner(aligning.preprocessing.framing)
    aligned = [aligner.align(crop) for crop in crops]
    assert aligned[2] is crops[2]
    for method in (aligning.classify, aligning.embed, lambda *given, **how: aligning.explain(*given, **how)[1]):
        answers = method(crops)
        np.testing.assert_array_equal(answers, method(aligned, align=False))
        assert np.abs(answers - method(crops, align=False))[1].max() > 1e-3
    np.testing.assert_array_equal(recognizer.classify(crops), recognizer.classify(crops, align=False))


def test_crops_are_anything_that_a_picture_may_be(recognizer, crops, tmp_path):
    grey = crops[1][..., 0]
    picture = Image.fromarray(grey)
    path, file = tmp_path / "crop.png", BytesIO()
    picture.save(path)
    picture.save(file, "PNG")
    expected = recognizer.classify([np.dstack([grey] * 3)])[0]
    data = path.read_bytes()
    given = [path, str(path), data, bytearray(data), memoryview(data), file, picture, picture.convert("RGBA"), grey]
    given += [grey[..., None], picture.convert("LA"), picture.convert("I"), Image.fromarray(grey.astype(np.uint16))]
    for sources in (given, tuple(given), (source for source in given), dict(enumerate(given)).values()):
        assert np.abs(recognizer.classify(sources) - expected).max() < 1e-6
    many = np.stack([grey] * 3)[..., None]
    assert np.abs(recognizer.classify(many) - expected).max() < 1e-6
    assert recognizer.embed(iter([path])).shape == (1, 8)
    assert recognizer.explain((path,)).evidence.shape == (1, 8, 8, 8)


@pytest.mark.parametrize("method", ["classify", "embed", "explain"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda crop: crop / 255, r"crop 1: the array is float64 \[48, 51, 3\]: give uint8 in 0\.\.255"),
        (lambda crop: crop.astype(np.uint16) * 257, "crop 1: the array is uint16"),
        (lambda crop: np.full(crop.shape, np.nan), "crop 1: the array is float64"),
        (lambda crop: crop[:0], r"crop 1: the array is uint8 \[0, 51, 3\]"),
        (lambda crop: crop.transpose(2, 0, 1), "crop 1: the array is uint8"),
        (lambda crop: None, "crop 1: a picture cannot be read from NoneType: give a path"),
        (lambda crop: Image.new("RGB", (0, 5)), "crop 1: the PIL image has 0 x 5 pixels"),
        (lambda crop: "missing.png", "crop 1: missing.png does not exist"),
    ],
)
def test_other_crops_are_refused_in_a_sentence(recognizer, crops, method, change, words):
    with pytest.raises(msanet.InputError, match=words):
        getattr(recognizer, method)([change(crops[1])])


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (np.zeros((48, 48, 3), np.uint8), r"array \[48, 48, 3\]"),
        (np.zeros((48, 48), np.uint8), r"array \[48, 48\]"),
        ("face.png", "str"),
        (b"bytes", "bytes"),
        (BytesIO(b"bytes"), "file object"),
        (Image.new("RGB", (4, 4)), "Image"),
        (None, "NoneType"),
    ],
)
def test_one_crop_in_place_of_a_list_is_refused(recognizer, one, words):
    with pytest.raises(msanet.InputError, match=f"the crops are one {words}: give a list of crops"):
        recognizer.classify(one)


def test_classify_follows_preprocessing_and_temperature(recognizer, tiny_model, crops):
    session, preprocessing = Session(tiny_model), recognizer.preprocessing
    images = preprocessing(crops)
    logits = [session.run(["logits"], {"images": view})[0] for view in (images, images[..., ::-1].copy())]
    expected = softmax((logits[0] + logits[1]) / 2, 1.5)
    probabilities = recognizer.classify(crops)
    assert probabilities.dtype == np.float32
    assert np.abs(probabilities - expected).max() < 1e-6


def test_shapes_without_crops_and_over_one_chunk(recognizer, crops, monkeypatch):
    assert recognizer.classify([]).shape == (0, 8)
    assert recognizer.embed([]).shape == (0, 8)
    nothing = recognizer.explain([])
    assert [part.shape for part in nothing] == [(0, 8), (0, 8, 8, 8), (0, 3, 8, 8)]
    together = recognizer.classify(crops), recognizer.embed(crops)
    monkeypatch.setattr("msanet.classifier.CHUNK", 2)
    assert np.abs(recognizer.classify(crops) - together[0]).max() < 1e-6
    assert np.abs(recognizer.embed(crops) - together[1]).max() < 1e-5
    assert together[1].shape == (3, 8)
    assert together[1].dtype == np.float32
    assert [part.shape for part in recognizer.explain(crops)] == [(3, 8), (3, 8, 8, 8), (3, 3, 8, 8)]


@pytest.mark.parametrize("mirror", [False, True])
def test_evidence_adds_up_to_the_logits(make_model, crops, picture, mirror):
    path = make_model(preprocessing=Preprocessing(size=32, mirror=mirror))
    recognizer = Recognizer(path, detector=fixed_detector)
    explanation = recognizer.explain(crops)
    logits = explanation.evidence.mean(axis=(2, 3))
    assert np.abs(softmax(logits, 1.5) - explanation.probabilities).max() < 1e-5
    assert np.abs(explanation.probabilities - recognizer.classify(crops)).max() < 1e-6
    # the maps of a mirrored crop are the mirrored maps, if both views are averaged
    if mirror:
        flipped, straight = recognizer.explain([crops[1][:, ::-1]]), recognizer.explain([crops[1]])
        assert np.abs(flipped.evidence[..., ::-1] - straight.evidence).max() < 1e-4
        assert np.abs(flipped.attention[..., ::-1] - straight.attention).max() < 1e-5


def test_an_explained_face_has_all_maps(recognizer, picture):
    plain, explained = recognizer.recognize(picture), recognizer.recognize(picture, explain=True)
    for face, other in zip(plain, explained, strict=True):
        assert face.evidence is face.attention is None
        assert {"evidence", "attention"}.isdisjoint(face.to_dict())
        assert face.probabilities == pytest.approx(other.probabilities, abs=1e-6)
        assert tuple(other.evidence) == EXPRESSIONS
        logits = np.array([[values.mean() for values in other.evidence.values()]])
        assert softmax(logits, 1.5)[0] == pytest.approx(list(other.probabilities.values()), abs=1e-5)
        assert other.attention.shape == (3, 8, 8)
        assert 0 <= other.attention.min() < other.attention.max() <= 1
        values = json.loads(json.dumps(other.to_dict()))
        assert np.abs(np.array(values["evidence"]["fear"]) - other.evidence["fear"]).max() < 1e-4
        assert np.abs(np.array(values["attention"]) - other.attention).max() < 1e-4


def test_the_maps_come_from_the_pass_that_gave_the_logits(recognizer, picture, monkeypatch):
    asked = []
    run = Session.run

    def note(self: Session, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        asked.append(list(names))
        return run(self, names, inputs)

    monkeypatch.setattr(Session, "run", note)
    recognizer.recognize(picture)
    assert asked == [["logits"]] * 2  # both faces at once; a view and its mirror image
    asked.clear()
    recognizer.recognize([picture, picture], explain=True)
    assert asked == [["logits", "evidence", "attention"]] * 2


def test_a_model_without_maps(make_model, picture):
    preprocessing = Preprocessing(size=32)
    plain = Recognizer(make_model("a.onnx", preprocessing=preprocessing, outputs=("logits",)), fixed_detector)
    assert len(plain.recognize(picture)) == 2
    with pytest.raises(msanet.InputError, match=r"a\.onnx gives no evidence maps: recognize without explain"):
        plain.recognize(picture, explain=True)
    path = make_model("b.onnx", preprocessing=preprocessing, outputs=("logits", "evidence"))
    with pytest.warns(UserWarning, match=r"b\.onnx has no attention maps"):
        recognition = Recognizer(path, fixed_detector).recognize(picture, explain=True)
    assert recognition[0].evidence is not None
    assert recognition[0].attention is None
    assert recognition.draw().shape[0] > recognition.picture.shape[0]


def test_corners_are_what_the_network_saw(recognizer, picture):
    face = recognizer.recognize(picture)[0]  # box of side 100 about (110, 70); scale 1.05; centre 32 of 36
    half = 105 * 32 / 36 / 2
    assert face.corners[0] == pytest.approx([110 - half, 70 - half], abs=1e-3)
    assert face.corners[2] == pytest.approx([110 + half, 70 + half], abs=1e-3)


def test_a_list_gives_a_list_and_any_source_the_same(recognizer, picture, tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(picture).save(path)
    sources = [path, str(path), path.read_bytes(), Image.fromarray(picture), picture]
    recognitions = recognizer.recognize(sources)
    assert [len(recognition) for recognition in recognitions] == [2] * 5
    first = recognitions[0].to_dict()
    assert first["source"] == str(path)
    assert all(recognition.to_dict()["faces"] == first["faces"] for recognition in recognitions)
    assert recognizer.recognize([]) == []


def test_results_go_into_json_and_notebooks(recognizer, picture):
    recognition = recognizer.recognize(picture)
    values = json.loads(json.dumps(recognition.to_dict()))
    assert (values["width"], values["height"], len(values["faces"])) == (200, 150, 2)
    with Image.open(BytesIO(recognition._repr_png_())) as shown:
        assert shown.size == recognition.draw().shape[1::-1]


@pytest.mark.parametrize("faces", [True, False])
def test_supervision_gets_its_own_fields(recognizer, picture, monkeypatch, faces):
    """By a stand-in: supervision itself could replace the OpenCV of this environment."""
    stand_in = SimpleNamespace(Detections=lambda **fields: SimpleNamespace(**fields))
    monkeypatch.setitem(sys.modules, "supervision", stand_in)
    recognition = recognizer.recognize(picture)
    if not faces:
        recognition = dataclasses.replace(recognition, faces=())
    detections = recognition.to_supervision()
    number = len(recognition)
    assert (detections.xyxy.shape, detections.xyxy.dtype) == ((number, 4), np.float32)
    assert detections.confidence.tolist() == pytest.approx([face.score for face in recognition])
    names = [face.expression for face in recognition]
    assert [EXPRESSIONS[index] for index in detections.class_id] == names
    assert detections.class_id.dtype == np.int64
    assert detections.data["class_name"].tolist() == names
    shares = [face.probabilities[face.expression] for face in recognition]
    assert detections.data["probability"].tolist() == pytest.approx(shares)
    assert detections.xyxy.tolist() == [list(face.box) for face in recognition]


def test_without_supervision_a_sentence_says_why(recognizer, picture, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(msanet.InputError, match=r"needs supervision.*pip install supervision"):
        recognizer.recognize(picture).to_supervision()


def test_a_small_network_runs_in_one_thread_unless_told_otherwise(tiny_model, monkeypatch):
    asked = []

    def session(path, threads, providers):
        asked.append(threads)
        return Session(path, threads, providers)

    monkeypatch.setattr("msanet.classifier.Session", session)
    for threads in (None, 2):
        Recognizer(tiny_model, fixed_detector, threads)
    monkeypatch.setattr("msanet.classifier.SMALL", 1000)
    Recognizer(tiny_model, fixed_detector)
    assert asked == [1, 2, None]


def test_several_threads_use_one_recognizer(tiny_model, portrait):
    recognizer = Recognizer(tiny_model, threads=1)
    pictures = [portrait, portrait[:, ::-1], portrait[100:400, 100:400], np.zeros((64, 64, 3), np.uint8)] * 4
    expected = [recognizer.recognize(picture).to_dict() for picture in pictures]
    assert [len(values["faces"]) for values in expected[:4]] == [1, 1, 1, 0]
    with ThreadPoolExecutor(8) as pool:
        assert [result.to_dict() for result in pool.map(recognizer.recognize, pictures)] == expected


BOX, SCORE, LANDMARKS = [[10, 10, 50, 50]], [0.9], [POINTS * 40 + 10]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((np.zeros((2, 4)), np.zeros(2), np.zeros((2, 4))), r"it must give \[N, 4\]"),
        ((np.zeros((4, 2)), np.zeros(2), np.zeros((2, 5, 2))), r"it must give \[N, 4\]"),
        (([[100, 60, 40, 40]], SCORE, [POINTS * 40 + [100, 60]]), "not x, y, width, height"),
        (([[30, 30, 60, 60]], SCORE, [POINTS * 60 + 30]), "not x, y, width, height"),
        (([[0.1, 0.1, 0.3, 0.3]], SCORE, [POINTS * 0.2 + 0.1]), "in pixels"),
        (([[10, 10, np.nan, 50]], SCORE, LANDMARKS), "NaN"),
        ((BOX, [np.inf], LANDMARKS), "infinite"),
        ((BOX, SCORE, [POINTS * np.nan]), "NaN"),
        ((BOX, SCORE, None), "it must give"),
        ((BOX, SCORE), "it must be picture -> boxes"),
        ((BOX, ["sure"], LANDMARKS), "it must be picture -> boxes"),
        (None, "the detector gave NoneType"),
        (7, "the detector gave int"),
    ],
)
def test_a_detector_that_gives_something_else_is_refused(tiny_model, picture, given, words):
    with pytest.raises(msanet.InputError, match=words):
        Recognizer(tiny_model, detector=lambda _: given).recognize(picture)


@pytest.mark.parametrize(
    "given",
    [
        (BOX, SCORE, LANDMARKS),
        (np.array(BOX, np.int64), np.array([SCORE]), np.array(LANDMARKS).reshape(1, 10)),
        ([], [], []),
        (np.empty((0, 4)), np.empty(0), np.empty((0, 5, 2))),
    ],
)
def test_a_detector_may_give_lists_and_any_numbers(tiny_model, picture, given):
    recognition = Recognizer(tiny_model, detector=lambda _: given).recognize(picture)
    assert [face.box for face in recognition] == [tuple(box) for box in given[0]]


def test_a_detector_is_a_function(tiny_model):
    with pytest.raises(msanet.InputError, match="the detector is str: give a function"):
        Recognizer(tiny_model, detector="yunet")  # type: ignore[arg-type]


def test_a_picture_read_smaller_keeps_its_own_pixels(recognizer, picture, monkeypatch, tmp_path):
    path = tmp_path / "large.jpg"
    Image.fromarray(picture).resize((401, 301)).save(path, quality=95)
    whole = recognizer.recognize(path, explain=True)
    monkeypatch.setattr("msanet.images.MEMORY", 401 * 301 * 3)
    monkeypatch.setattr("msanet.images.EXPANSION", 1)
    smaller = recognizer.recognize(path, explain=True)
    assert (smaller.picture.shape, smaller.size, smaller.reduction) == ((151, 201, 3), (401, 301), 2)
    assert (whole.picture.shape, whole.size, whole.reduction) == ((301, 401, 3), (401, 301), 1)
    assert (smaller.to_dict()["width"], smaller.to_dict()["height"]) == (401, 301)
    # the detector is fixed: what it finds in the smaller picture is twice as large in the original
    for face, other in zip(smaller, whole, strict=True):
        assert face.box == tuple(2 * value for value in other.box)
        np.testing.assert_allclose(face.landmarks, 2 * other.landmarks)
        np.testing.assert_allclose(face.corners, 2 * other.corners)
    placed = tuple(
        dataclasses.replace(face, box=other.box, landmarks=other.landmarks, corners=other.corners)
        for face, other in zip(smaller, whole, strict=True)
    )
    drawn = dataclasses.replace(smaller, faces=placed, reduction=1).draw()
    np.testing.assert_array_equal(smaller.draw(), drawn)


def test_wrong_models(tmp_path, make_model):
    with pytest.raises(msanet.InputError, match="there is no model 'unknown'"):
        Recognizer("unknown")
    with pytest.raises(msanet.InputError, match=r"missing\.onnx does not exist"):
        Recognizer(tmp_path / "missing.onnx")
    path = make_model(preprocessing=Preprocessing(size=32), metadata={"expressions": ["a"]})
    with pytest.raises(msanet.InputError, match="does not say its name, network"):
        Recognizer(path)


def test_a_model_is_found_by_name(tiny_model, monkeypatch):
    monkeypatch.setattr("msanet.model.PRETRAINED", tiny_model.parent)
    assert model_names() == ["tiny"]
    assert model_path("tiny") == tiny_model
    assert Recognizer("tiny").metadata.name == "tiny"


def test_framing_comes_from_the_model(make_model, portrait):
    levels = [
        Recognizer(make_model(f"{scale}.onnx", preprocessing=Preprocessing(size=32, framing=Framing(scale))))
        for scale in (0.9, 1.4)
    ]
    sides = [np.ptp(level.recognize(portrait)[0].corners[:, 0]) for level in levels]
    assert sides[1] / sides[0] == pytest.approx(1.4 / 0.9, rel=0.02)

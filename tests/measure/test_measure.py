"""Scores against numbers worked out by hand and against a second, picture by picture way of computing them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msanet.errors import InputError
from msanet.labels import EXPRESSIONS
from msanet.measure.calibration import calibration_error, fit_temperature
from msanet.measure.scores import Report, measures, score
from msanet.preprocessing import softmax

# No deadline: a busy machine is no bug.
patient = settings(deadline=None, max_examples=50)

ABC = ("a", "b", "c")
# a: 4 pictures, 3 right; b: 1 picture, right; c: 5 pictures, 2 right, 3 called a.
HAND = np.array([[3, 1, 0], [0, 1, 0], [3, 0, 2]])


def one_hot(predicted, num_classes):
    return np.eye(num_classes, dtype=np.float32)[np.asarray(predicted, dtype=int)]


def pictures_of(confusion):
    """A confusion matrix as (predicted, targets), one entry per picture."""
    targets, predicted = np.indices(confusion.shape)
    return np.repeat(predicted.ravel(), confusion.ravel()), np.repeat(targets.ravel(), confusion.ravel())


def slow_scores(predicted, targets):
    """Accuracy, average accuracy, macro F1, one class after the other."""
    recalls, f1 = [], []
    for name in sorted(set(targets.tolist())):
        hits = np.sum((predicted == name) & (targets == name))
        recall = hits / np.sum(targets == name)
        precision = hits / np.sum(predicted == name) if np.any(predicted == name) else 0.0
        recalls.append(recall)
        f1.append(2 * precision * recall / (precision + recall) if hits else 0.0)
    return np.mean(predicted == targets), np.mean(recalls), np.mean(f1)


matrices = st.integers(2, 6).flatmap(
    lambda size: (
        st.lists(st.integers(0, 30), min_size=size * size, max_size=size * size)
        .filter(any)
        .map(lambda cells: np.array(cells).reshape(size, size))
    )
)


def test_scores_by_hand():
    report = Report(ABC, HAND)
    assert report.num_pictures == 10
    assert report.pictures.tolist() == [4, 1, 5]
    assert report.accuracy == pytest.approx(6 / 10)
    np.testing.assert_allclose(report.recall, [3 / 4, 1, 2 / 5])
    np.testing.assert_allclose(report.precision, [3 / 6, 1 / 2, 1])
    assert report.average_accuracy == pytest.approx((0.75 + 1 + 0.4) / 3)
    assert report.macro_f1 == pytest.approx((6 / 10 + 2 / 3 + 4 / 7) / 3)


def test_rows_are_true_and_columns_predicted():
    report = score(one_hot([1, 1, 2], 3), np.array([0, 0, 2]), ABC, protocol="three", model="toy")
    assert report.confusion.tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 1]]
    assert report.confusion.dtype == np.int64
    assert (report.labels, report.protocol, report.model) == (ABC, "three", "toy")


def test_a_class_without_pictures_is_left_out_of_the_means():
    report = score(one_hot([0, 1, 2], 3), np.array([0, 0, 2]), ABC)
    assert np.isnan(report.recall[1])
    assert report.precision[1] == 0
    assert report.average_accuracy == pytest.approx((1 / 2 + 1) / 2)
    assert report.macro_f1 == pytest.approx((2 / 3 + 1) / 2)
    assert report.to_dict()["recall"]["b"] is None


@patient
@given(matrices)
def test_scores_agree_with_the_slow_way(confusion):
    predicted, targets = pictures_of(confusion)
    expected = slow_scores(predicted, targets)
    np.testing.assert_allclose(list(measures(confusion).values()), expected)
    report = score(one_hot(predicted, len(confusion)), targets, [str(name) for name in range(len(confusion))])
    np.testing.assert_array_equal(report.confusion, confusion)


@patient
@given(matrices, st.randoms(use_true_random=False))
def test_the_order_of_the_pictures_changes_nothing(confusion, random):
    predicted, targets = pictures_of(confusion)
    names = [str(name) for name in range(len(confusion))]
    order = np.array(random.sample(range(len(targets)), len(targets)))
    one = score(one_hot(predicted, len(names)), targets, names)
    other = score(one_hot(predicted[order], len(names)), targets[order], names)
    assert one.to_dict() == other.to_dict()


@patient
@given(st.lists(st.integers(0, 7), min_size=1, max_size=60))
def test_perfect_predictions_score_one(targets):
    report = score(one_hot(targets, 8), np.array(targets), EXPRESSIONS)
    assert (report.accuracy, report.average_accuracy, report.macro_f1) == (1, 1, 1)
    assert set(report.intervals.values()) == {(1, 1)}
    assert report.calibration_error == 0


@patient
@given(matrices)
def test_intervals_are_ordered_and_hold_the_accuracy(confusion):
    report = Report(tuple(map(str, range(len(confusion)))), confusion)
    for low, high in report.intervals.values():
        assert 0 <= low <= high <= 1
    low, high = report.intervals["accuracy"]
    assert low <= report.accuracy <= high


def test_intervals_agree_with_drawing_pictures():
    predicted, targets = pictures_of(HAND * 20)
    random = np.random.default_rng(1)
    draws = [random.integers(0, len(targets), len(targets)) for _ in range(2000)]
    slow = np.quantile([slow_scores(predicted[draw], targets[draw]) for draw in draws], [0.025, 0.975], axis=0).T
    np.testing.assert_allclose(list(Report(ABC, HAND * 20).intervals.values()), slow, atol=0.01)


def test_intervals_have_the_width_of_theory():
    low, high = Report(("a", "b"), np.array([[430, 70], [70, 430]])).intervals["accuracy"]
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.86 * 0.14 / 1000), rel=0.08)


def test_a_rare_class_widens_the_interval_of_the_average():
    report = Report(("a", "b"), np.array([[900, 100], [8, 8]]))
    width = {name: high - low for name, (low, high) in report.intervals.items()}
    assert width["average_accuracy"] > 5 * width["accuracy"]


def test_intervals_are_the_same_each_time():
    assert Report(ABC, HAND).intervals == Report(ABC, HAND).intervals


def test_calibration_error_by_hand():
    # Two pictures at confidence 0.9, one right; two at 0.6, both right: (2 * |0.5 - 0.9| + 2 * |1 - 0.6|) / 4.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]], np.float32)
    assert calibration_error(probabilities, np.array([0, 1, 0, 1])) == pytest.approx(0.4, abs=1e-6)
    assert score(probabilities, np.array([0, 1, 0, 1]), ("a", "b")).calibration_error == pytest.approx(0.4, abs=1e-6)


def test_calibration_error_of_honest_confidences_is_small():
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(4), 20000)
    targets = (probabilities.cumsum(1) > random.random((20000, 1))).argmax(1)
    assert calibration_error(probabilities, targets) < 0.015
    sharp = softmax(np.log(probabilities), 0.5)
    assert calibration_error(sharp, targets) > 0.1


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_fit_temperature_finds_the_one_that_was_applied(temperature):
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(5), 20000)
    targets = (probabilities.cumsum(1) > random.random((20000, 1))).argmax(1)
    logits = np.log(probabilities) * temperature + random.normal(size=(20000, 1))
    assert fit_temperature(logits, targets) == pytest.approx(temperature, rel=0.03)


@patient
@given(st.integers(0, 2**32 - 1))
def test_fit_temperature_is_a_minimum(seed):
    random = np.random.default_rng(seed)
    logits, targets = random.normal(scale=3, size=(40, 4)), random.integers(0, 4, 40)

    def loss(temperature):
        return -np.log(softmax(logits, temperature)[np.arange(40), targets] + 1e-30).mean()

    best = fit_temperature(logits, targets)
    assert 0.05 <= best <= 20.001
    for other in (best * 0.9, best * 1.1):
        assert loss(best) <= loss(np.clip(other, 0.05, 20)) + 1e-6


def test_fit_temperature_stops_at_the_end_of_its_range():
    logits = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert fit_temperature(logits, np.array([0, 1])) == pytest.approx(0.05, rel=1e-3)
    assert fit_temperature(logits, np.array([1, 0])) == pytest.approx(20, rel=1e-3)
    assert np.isfinite(fit_temperature(1e4 * logits, np.array([1, 0])))


@pytest.mark.parametrize(
    ("probabilities", "targets", "error", "words"),
    [
        (np.empty((0, 3), np.float32), np.empty(0, np.int64), InputError, "no picture"),
        (one_hot([0], 3), np.array([3]), ValueError, "targets reach"),
        (one_hot([0], 3), np.array([-1]), ValueError, "targets reach"),
        (one_hot([0], 2), np.array([0]), ValueError, "3 labels"),
        (one_hot([0, 1], 3), np.array([0]), ValueError, "probabilities"),
        (np.full((1, 3), np.nan, np.float32), np.array([0]), ValueError, "not numbers"),
    ],
)
def test_what_cannot_be_scored(probabilities, targets, error, words):
    with pytest.raises(error, match=words):
        score(probabilities, targets, ABC)


def test_report_does_not_take_a_matrix_of_another_size():
    with pytest.raises(ValueError, match="2 labels"):
        Report(("a", "b"), HAND)


def test_save_writes_three_whole_files(tmp_path):
    report = score(one_hot([0, 1, 1], 3), np.array([0, 1, 0]), ABC, protocol="three pictures", model="toy")
    folder = report.save(tmp_path / "deep" / "er")
    assert sorted(path.name for path in folder.iterdir()) == ["confusion.png", "report.json", "report.md"]
    values = json.loads((folder / "report.json").read_text())
    assert values == report.to_dict()
    assert values["accuracy"] == pytest.approx(2 / 3)
    assert values["num_pictures"] == 3
    assert values["protocol"] == "three pictures"
    assert (folder / "confusion.png").read_bytes()[:4] == b"\x89PNG"
    report.save(folder)  # a second time it takes the place of the first


def test_markdown_holds_every_number():
    text = Report(ABC, HAND, protocol="by hand", model="toy").to_markdown()
    assert "- Model: toy\n- Pictures: 10\n- Protocol: by hand\n" in text
    assert "| Accuracy | 60.00 | " in text
    assert "| Average accuracy | 71.67 | " in text
    assert "| c | 5 | 40.00 | 100.00 |" in text
    assert "| c | 3 | 0 | 2 |" in text
    assert "calibration" not in text


def test_save_leaves_the_old_report_when_writing_fails(tmp_path, monkeypatch):
    old = Report(ABC, HAND)
    old.save(tmp_path)
    before = (tmp_path / "report.md").read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match="No space left on device"):
        Report(ABC, HAND + 1).save(tmp_path)
    assert (tmp_path / "report.md").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3


def test_save_says_when_a_file_is_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        Report(ABC, HAND).save(tmp_path / "file")

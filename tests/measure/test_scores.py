"""Scores against numbers worked out by hand and against a second, picture by picture way of computing them."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msanet.errors import InputError
from msanet.labels import EXPRESSIONS
from msanet.measure.intervals import wilson
from msanet.measure.scores import Report, measures, score

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
    report = score(one_hot([1, 1, 2], 3), np.array([0, 0, 2]), ABC, protocol="three", model="toy", subset="half")
    assert report.confusion.tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 1]]
    assert report.confusion.dtype == np.int64
    assert (report.labels, report.protocol, report.model, report.subset) == (ABC, "three", "toy", "half")


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
    assert report.calibration_error == 0


@patient
@given(matrices)
def test_intervals_are_ordered_and_hold_the_accuracy(confusion):
    report = Report(tuple(map(str, range(len(confusion)))), confusion)
    for low, high in report.intervals.values():
        assert 0 <= low <= high <= 1
    low, high = report.intervals["accuracy"]
    assert low - 1e-9 <= report.accuracy <= high + 1e-9
    for measure in ("recall", "precision"):
        values, (low, high) = getattr(report, measure), report.class_intervals[measure].T
        np.testing.assert_array_equal(np.isnan(low), np.isnan(values))
        assert np.all((low - 1e-9 <= values) & (values <= high + 1e-9) | np.isnan(values))


def test_intervals_agree_with_drawing_pictures_of_each_class():
    confusion = HAND * 20 + np.diag([0, 0, 1])
    predicted, targets = pictures_of(confusion)
    random = np.random.default_rng(1)
    draws = [
        np.concatenate(
            [random.choice(np.flatnonzero(targets == label), np.sum(targets == label)) for label in range(3)]
        )
        for _ in range(2000)
    ]
    slow = np.quantile([slow_scores(predicted[draw], targets[draw]) for draw in draws], [0.025, 0.975], axis=0).T
    np.testing.assert_allclose(list(Report(ABC, confusion).intervals.values()), slow, atol=0.01)


def test_a_class_of_one_picture_is_in_every_resample():
    """Drawn from all pictures at once, class b is missing in a third of the resamples, and the mean is of a alone."""
    report = Report(("a", "b"), np.array([[500, 500], [1, 0]]))
    low, high = report.intervals["average_accuracy"]
    assert (low, high) == pytest.approx((0.25 - 0.0155, 0.25 + 0.0155), abs=0.002)
    assert report.intervals["macro_f1"][1] < 0.35


def test_intervals_have_the_width_of_theory():
    low, high = Report(("a", "b"), np.array([[430, 70], [70, 430]])).intervals["accuracy"]
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.86 * 0.14 / 1000), rel=0.08)


def test_a_rare_class_widens_the_interval_of_the_average():
    report = Report(("a", "b"), np.array([[900, 100], [8, 8]]))
    width = {name: high - low for name, (low, high) in report.intervals.items()}
    assert width["average_accuracy"] > 5 * width["accuracy"]


def test_recalls_and_precisions_have_wilsons_interval():
    report = Report(ABC, np.array([[3, 1, 0], [0, 8, 0], [3, 0, 0]]))
    np.testing.assert_allclose(report.class_intervals["recall"], [wilson(3, 4), wilson(8, 8), wilson(0, 3)])
    np.testing.assert_allclose(report.class_intervals["precision"][:2], [wilson(3, 6), wilson(8, 9)])
    assert np.isnan(report.class_intervals["precision"][2]).all()


@pytest.mark.parametrize(
    ("confusion", "accuracy"), [([[4, 0], [0, 2]], 1), ([[0, 4], [2, 0]], 0), ([[4, 0], [2, 0]], 2 / 3)]
)
def test_scores_without_a_resample_that_differs_are_no_certainty(confusion, accuracy):
    """Six pictures show little, even if all of them are predicted correctly."""
    report = Report(("a", "b"), np.array(confusion))
    assert report.accuracy == pytest.approx(accuracy)
    widths = {name: high - low for name, (low, high) in report.intervals.items()}
    assert 0.3 < widths["accuracy"] < widths["average_accuracy"] < wilson(2, 2)[1] - wilson(2, 2)[0]
    for name, (low, high) in report.intervals.items():
        assert 0 <= low <= getattr(report, name) + 1e-9
        assert getattr(report, name) - 1e-9 <= high <= 1


def test_intervals_are_the_same_each_time():
    assert Report(ABC, HAND).intervals == Report(ABC, HAND).intervals


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
    facts = {"data": "set", "split": "test", "subset": "half", "own_labels": True, "options": {"protocol": "top"}}
    facts |= {"aligned": 2, "without_face": 1}
    report = score(one_hot([0, 1, 1], 3), np.array([0, 1, 0]), ABC, protocol="three pictures", model="toy", **facts)
    folder = report.save(tmp_path / "deep" / "er")
    assert sorted(path.name for path in folder.iterdir()) == ["confusion.png", "report.json", "report.md"]
    values = json.loads((folder / "report.json").read_text())
    assert values == report.to_dict()
    assert values["accuracy"] == pytest.approx(2 / 3)
    assert values["num_pictures"] == 3
    assert {name: values[name] for name in facts} == facts
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


def test_labels_and_names_may_hold_anything(tmp_path):
    """Bars, what matplotlib takes for formulas, and a name that is no UTF-8; and there may be many."""
    labels = ("a|b", "$\\frac", "$x_$", *(f"label {number}" for number in range(17)))
    report = Report(labels, np.eye(20, dtype=np.int64), model=os.fsdecode(b"\xff.onnx"))
    report.save(tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "- Model: \\xff.onnx\n" in text
    assert "| a\\|b | 1 | 100.00 | 100.00 |" in text
    assert json.loads((tmp_path / "report.json").read_text())["labels"] == list(labels)
    assert report.draw().get_size_inches()[0] == pytest.approx(8.6 * 2.5)


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

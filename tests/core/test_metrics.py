"""Scores against hand-computed cases, and against plain-Python formulas."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maam.core.errors import MaamError
from maam.core.metrics import compact, score, softmax, wilson_interval

OVERALL = ("accuracy", "balanced_accuracy", "f1_macro", "precision_macro", "recall_macro")
OVERALL += ("macro_classes", "loss", "ece")


def names(count: int) -> list[str]:
    return [f"class {i}" for i in range(count)]


def from_probabilities(*rows: list[float]) -> np.ndarray:
    return np.log(np.array(rows, np.float64))


def test_four_images_by_hand_with_a_class_that_has_none() -> None:
    logits = from_probabilities([0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.1, 0.8, 0.1], [0.1, 0.3, 0.6])
    scores = score(logits, np.array([0, 0, 1, 1]), ["ant", "bee", "cat"])

    assert scores["images"] == 4
    assert scores["confusion"] == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert scores["accuracy"] == 0.5
    assert scores["top5_accuracy"] is None
    # "cat" is a wrong answer, so it counts: it has no image to recall.
    assert scores["macro_classes"] == 3
    assert scores["precision_macro"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert scores["recall_macro"] == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert scores["balanced_accuracy"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert scores["f1_macro"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert scores["loss"] == pytest.approx(-math.log(0.7 * 0.2 * 0.8 * 0.3) / 4)
    # Every confidence has a bin of its own: gaps of 0.3, 0.5, 0.2 and 0.6.
    assert scores["ece"] == pytest.approx((0.3 + 0.5 + 0.2 + 0.6) / 4)
    bee = {"class": "bee", "images": 2, "precision": 0.5, "recall": 0.5, "f1": 0.5}
    assert scores["per_class"][1] == bee
    cat = {"class": "cat", "images": 0, "precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert scores["per_class"][2] == cat


def test_perfect_answers_have_perfect_scores_whatever_classes_are_absent() -> None:
    labels = np.array([0, 3, 3, 4])
    scores = score(np.eye(5)[labels], labels, names(5))
    for key in ("accuracy", "balanced_accuracy", "f1_macro", "precision_macro", "recall_macro"):
        assert scores[key] == 1
    assert scores["macro_classes"] == 3
    absent = {"class": "class 1", "images": 0, "precision": None, "recall": None, "f1": None}
    assert scores["per_class"][1] == absent
    assert scores["per_class"][3]["f1"] == 1


def test_balanced_accuracy_counts_each_class_the_same() -> None:
    labels = np.array([0] * 8 + [1] * 2)
    scores = score(np.eye(2)[[0] * 9 + [1]], labels, names(2))
    assert scores["accuracy"] == 0.9
    assert scores["balanced_accuracy"] == (1 + 1 / 2) / 2


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [  # the two p with (p - hits / count)^2 = 1.959964^2 p (1 - p) / count
        (404, 412, 0.962157, 0.990129),
        (5, 10, 0.236593, 0.763407),
        (90, 100, 0.825634, 0.944771),
        (1, 2, 0.094531, 0.905469),
        (0, 10, 0.0, 0.277533),
        (10, 10, 0.722467, 1.0),
        (1, 1, 0.206549, 1.0),
    ],
)
def test_wilson_interval(hits: int, count: int, low: float, high: float) -> None:
    assert wilson_interval(hits, count) == pytest.approx((low, high), abs=1e-6)


@given(st.integers(1, 10**6), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_wilson_interval_holds_the_accuracy(count: int, share: float) -> None:
    hits = round(share * count)
    low, high = wilson_interval(hits, count)
    assert 0 <= low <= hits / count <= high <= 1


def test_calibration_error_of_images_that_share_a_bin() -> None:
    # 0.61 (right) and 0.65 (wrong) lie in (9/15, 10/15]; 0.9 (right) lies in (13/15, 14/15].
    logits = from_probabilities([0.61, 0.39], [0.65, 0.35], [0.1, 0.9])
    scores = score(logits, np.array([0, 1, 1]), names(2))
    assert scores["ece"] == pytest.approx((abs(1 - 0.61 - 0.65) + abs(1 - 0.9)) / 3)


def test_calibration_error_of_certainty_falls_into_the_last_bin() -> None:
    scores = score(np.array([[900.0, 0.0], [900.0, 0.0]]), np.array([0, 1]), names(2))
    assert scores["ece"] == 0.5
    assert scores["loss"] == 450.0


def test_top5_counts_the_fifth_place_and_not_the_sixth() -> None:
    logits = np.array([[6, 5, 4, 3, 2, 1], [6, 5, 4, 3, 2, 1], [6, 5, 4, 3, 2, 1]], float)
    scores = score(logits, np.array([4, 5, 0]), names(6))
    assert scores["top5_accuracy"] == 2 / 3
    assert scores["accuracy"] == 1 / 3


def test_equal_logits_rank_in_class_order() -> None:
    """A network that gives all classes the same logit must not get credit for it."""
    scores = score(np.zeros((6, 6)), np.arange(6), names(6))
    assert scores["accuracy"] == 1 / 6
    assert scores["top5_accuracy"] == 5 / 6
    assert [row[0] for row in scores["confusion"]] == [1] * 6


def test_result_is_plain_json() -> None:
    scores = score(np.eye(6, dtype=np.float32), np.arange(6, dtype=np.uint8), names(6))
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


def test_what_is_kept_of_very_many_classes() -> None:
    few, many = (score(np.eye(count), np.arange(count), names(count)) for count in (100, 101))
    assert compact(few) == few
    assert many.keys() - compact(many).keys() == {"confusion"}


def test_many_classes_and_few_images_do_not_warn() -> None:
    scores = score(np.eye(40), np.arange(40), names(40))
    assert scores["accuracy"] == scores["f1_macro"] == 1


def test_the_largest_float32_logits_give_finite_scores() -> None:
    top = np.finfo(np.float32).max
    scores = score(np.array([[top, -top], [-top, top]], np.float32), np.array([0, 0]), names(2))
    assert scores["accuracy"] == 0.5
    assert scores["loss"] == pytest.approx(float(top))


@st.composite
def passes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    count, width = draw(st.integers(1, 12)), draw(st.integers(2, 8))
    values = st.floats(-40, 40, width=32)
    logits = draw(hnp.arrays(np.float32, (count, width), elements=values))
    labels = draw(hnp.arrays(np.int32, count, elements=st.integers(0, width - 1)))
    return logits, labels


@given(passes())
@settings(max_examples=60, deadline=None)
def test_equals_the_formulas_written_out(data: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = data
    count, width = logits.shape
    scores = score(logits, labels, names(width))

    hits = top5 = 0
    loss = 0.0
    bins: dict[int, list[tuple[float, bool]]] = {}
    pairs = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        order = sorted(range(width), key=lambda k, row=row: (-row[k], k))
        total = sum(math.exp(value) for value in row)
        confidence = math.exp(row[order[0]]) / total
        hits += order[0] == label
        top5 += label in order[:5]
        loss += math.log(total) - row[label]
        bins.setdefault(math.ceil(confidence * 15), []).append((confidence, order[0] == label))
        pairs.append((label, order[0]))
    f1s = []
    for k in {each for pair in pairs for each in pair}:
        both = sum(true == answer == k for true, answer in pairs)
        either = sum((true == k) + (answer == k) for true, answer in pairs)
        f1s.append(2 * both / either)
    gaps = [
        abs(sum(right for _, right in found) - sum(p for p, _ in found)) for found in bins.values()
    ]

    assert scores["accuracy"] == hits / count
    assert scores["top5_accuracy"] == (top5 / count if width > 5 else None)
    assert scores["loss"] == pytest.approx(loss / count, abs=1e-9)
    assert scores["f1_macro"] == pytest.approx(sum(f1s) / len(f1s))
    assert scores["macro_classes"] == len(f1s)
    assert np.sum(scores["confusion"]) == count
    assert [row["images"] for row in scores["per_class"]] == np.sum(scores["confusion"], 1).tolist()
    # On a bin's edge rounding decides, so leave those cases to the tests by hand.
    edges = [p * 15 % 1 for found in bins.values() for p, _ in found]
    if all(1e-9 < edge < 1 - 1e-9 for edge in edges):
        assert scores["ece"] == pytest.approx(sum(gaps) / count)


@given(passes(), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_order_of_the_images_does_not_matter(data, random) -> None:
    logits, labels = data
    order = list(range(len(labels)))
    random.shuffle(order)
    before, after = (
        score(*pair, names(logits.shape[1]))
        for pair in ((logits, labels), (logits[order], labels[order]))
    )
    assert after["confusion"] == before["confusion"]
    assert after["top5_accuracy"] == before["top5_accuracy"]
    for key in OVERALL:
        assert after[key] == pytest.approx(before[key], rel=1e-12, abs=1e-12)


def test_order_of_the_classes_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 7)), rng.integers(0, 7, 50)
    order = rng.permutation(7)
    before = score(logits, labels, names(7))
    after = score(logits[:, order], np.argsort(order)[labels], [names(7)[i] for i in order])
    for key in (*OVERALL, "top5_accuracy"):
        assert after[key] == pytest.approx(before[key])
    assert [after["per_class"][i] for i in np.argsort(order)] == before["per_class"]


NAN = np.array([[0.0, 1.0], [np.nan, 1.0]])


@pytest.mark.parametrize(
    ("logits", "labels", "classes", "message"),
    [
        (np.zeros((0, 2)), np.zeros(0, int), 2, "no images"),
        (np.zeros((3, 2)), np.zeros(2, int), 2, "do not fit together"),
        (np.zeros(2), np.zeros(2, int), 2, "do not fit together"),
        (np.zeros((2, 2)), np.zeros((2, 1), int), 2, "do not fit together"),
        (np.zeros((2, 3)), np.zeros(2, int), 2, "3 outputs and there are 2 class names"),
        (np.zeros((2, 1)), np.zeros(2, int), 1, "at least 2"),
        (np.zeros((2, 2)), np.zeros(2), 2, "must be integers"),
        (np.zeros((2, 2)), np.array([0, 2]), 2, "from 0 to 2"),
        (np.zeros((2, 2)), np.array([-1, 0]), 2, "from -1 to 0"),
        (NAN, np.zeros(2, int), 2, "1 of 2 images .* image 1"),
        (np.full((2, 2), np.inf), np.zeros(2, int), 2, "2 of 2 images"),
        (np.full((2, 2), -1e300), np.zeros(2, int), 2, "2 of 2 images"),
    ],
)
def test_bad_input_is_one_line(logits, labels, classes, message) -> None:
    with pytest.raises(MaamError, match=message) as caught:
        score(logits, labels, names(classes))
    assert "\n" not in str(caught.value)


@given(
    hnp.arrays(np.float32, (3, 4), elements=st.floats(-(2.0**20), 2.0**20, width=32)),
    st.floats(-100, 100),
)
@settings(max_examples=30, deadline=None)
def test_softmax_is_a_distribution_that_ignores_a_shift(logits: np.ndarray, shift: float) -> None:
    probabilities = softmax(logits)
    assert probabilities.dtype == np.float64
    assert np.all(probabilities >= 0)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1)
    np.testing.assert_allclose(softmax(logits.astype(float) + shift), probabilities, atol=1e-8)


def test_softmax_by_hand_and_far_out() -> None:
    np.testing.assert_allclose(softmax(np.log([1.0, 2.0, 5.0])), [1 / 8, 2 / 8, 5 / 8])
    np.testing.assert_array_equal(softmax(np.array([[3e38, -3e38]], np.float32)), [[1, 0]])

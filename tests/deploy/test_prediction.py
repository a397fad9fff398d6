from __future__ import annotations

import functools
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import make_hostile, rotated_jpeg
from PIL import Image
from tiny_run import CLASSES, GAIN, META, make_network, make_run

from maam.core.errors import MaamError
from maam.deploy.classifier import Classifier
from maam.deploy.formats import Prediction
from maam.deploy.prediction import predict as predict_with_options

predict = functools.partial(predict_with_options, top_k=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "colours")


@pytest.fixture(scope="module")
def classifier(run: Path) -> Classifier:
    return Classifier.load(run)


def plain(*colour: int, size: tuple[int, int] = (6, 8)) -> Image.Image:
    return Image.new("RGB", size, colour)


def expected(colour: tuple[int, int, int]) -> np.ndarray:
    """The answer for an image of one colour, computed from the definition."""
    scaled = (np.array(colour) / 255 - META["preprocessing"]["mean"]) / META["preprocessing"]["std"]
    powers = np.exp(GAIN * scaled - (GAIN * scaled).max())
    return powers / powers.sum()


def test_load_reads_what_images_must_look_like(classifier: Classifier) -> None:
    assert classifier.classes == tuple(CLASSES)
    assert (classifier.size, classifier.channels) == ((8, 6), 3)
    np.testing.assert_allclose(classifier.preprocessing.mean, [0.5, 0.4, 0.3], rtol=1e-6)
    np.testing.assert_allclose(classifier.preprocessing.std, [0.5, 0.25, 0.2], rtol=1e-6)


def test_probabilities_are_those_of_the_definition(classifier: Classifier) -> None:
    colours = [(128, 100, 80), (120, 105, 77), (0, 0, 0), (255, 255, 255)]
    found = classifier.classify([plain(*colour) for colour in colours])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [expected(colour) for colour in colours], atol=1e-5)


def test_a_loaded_classifier_predicts_like_its_run(run: Path, classifier: Classifier) -> None:
    images = [plain(0, 0, 0), b"no image", plain(255, 255, 255)]
    assert list(predict(classifier, images)) == list(predict(run, images))


def test_file_array_and_image_of_the_same_pixels_agree(
    classifier: Classifier, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)
    opaque = np.dstack([pixels, np.full((8, 6), 255, np.uint8)])
    rows = classifier.classify([path, Image.open(path), pixels, opaque])
    np.testing.assert_allclose(rows, np.repeat(rows[:1], 4, axis=0), atol=1e-6)


def test_grey_arrays_with_and_without_channel_agree(classifier: Classifier) -> None:
    grey = np.random.default_rng(1).integers(0, 256, (9, 9), dtype=np.uint8)
    rows = classifier.classify([grey, grey[..., None], np.dstack([grey] * 3)])
    np.testing.assert_allclose(rows, np.repeat(rows[:1], 3, axis=0), atol=1e-6)


def test_grey_network(tmp_path: Path) -> None:
    network = make_network(("N", 1, 8, 6), np.array([[1.0, -1.0]]))
    run = make_run(
        tmp_path / "run", network, channels=1, mean=[0.5], std=[0.5], classes=["light", "dark"]
    )
    names = [p.classes[0] for p in predict(run, [plain(250, 250, 250), plain(3, 3, 3)])]
    assert names == ["light", "dark"]


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 6, 3), np.float32),
        np.zeros((8, 6, 2), np.uint8),
        np.zeros((1, 8, 6, 3), np.uint8),
        np.zeros((0, 6, 3), np.uint8),
        np.zeros(5, np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_other_arrays_are_refused(classifier: Classifier, array: np.ndarray) -> None:
    with pytest.raises(MaamError, match="array"):
        classifier.classify([array])


def test_classify_nothing_gives_no_rows(classifier: Classifier) -> None:
    assert classifier.classify([]).shape == (0, 3)


def test_classify_does_not_depend_on_the_batch_size(classifier: Classifier) -> None:
    images = list(np.random.default_rng(2).integers(0, 256, (7, 8, 6, 3), dtype=np.uint8))
    whole = classifier.classify(images)
    np.testing.assert_allclose(classifier.classify(images, batch_size=2), whole, atol=1e-6)


def test_hostile_corpus_is_predicted_or_named(run: Path, tmp_path: Path) -> None:
    corpus = make_hostile(tmp_path / "corpus")
    found = {Path(p.file).name: p for p in predict(run, [str(tmp_path / "corpus")], batch_size=5)}
    assert {name: p.error is None for name, p in found.items()} == corpus
    for p in found.values():
        assert (p.error is None) == (len(p.classes) == len(p.probabilities) == 1)
        assert p.error is None or ("\n" not in p.error and p.error)


def test_photo_is_turned_upright_from_a_file_and_in_memory(
    classifier: Classifier, tmp_path: Path
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(rotated_jpeg(orientation=6))
    pixels = classifier.prepare(path)
    assert pixels[0].mean(axis=0).argmax() == 0  # red on top
    assert pixels[-1].mean(axis=0).argmax() == 2  # blue below
    np.testing.assert_array_equal(classifier.prepare(Image.open(path)), pixels)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 64])
def test_order_is_kept_for_every_batch_size(run: Path, tmp_path: Path, batch_size: int) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    inputs: list[Path | Image.Image] = [plain(*colours[i % 3]) for i in range(7)]
    inputs.insert(2, tmp_path / "missing.png")
    found = list(predict(run, inputs, batch_size=batch_size))
    names = [p.classes[0] if p.classes else None for p in found]
    assert names == ["red", "green", None, "blue", "red", "green", "blue", "red"]
    assert [p.file for p in found if p.error] == [str(tmp_path / "missing.png")]
    assert found[3].file == "inputs[3]"


def test_batch_size_does_not_change_probabilities(run: Path) -> None:
    images = list(np.random.default_rng(3).integers(0, 256, (9, 11, 7, 3), dtype=np.uint8))
    one, many = (list(predict(run, images, top_k=3, batch_size=size)) for size in (1, 4))
    assert [p.classes for p in one] == [p.classes for p in many]
    np.testing.assert_allclose(
        [p.probabilities for p in one], [p.probabilities for p in many], atol=1e-6
    )


def test_inputs_are_taken_only_as_needed(run: Path) -> None:
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield plain(0, 255, 0)

    predictions = predict(run, endless(), batch_size=4)
    assert [next(predictions).classes for _ in range(5)] == [("green",)] * 5
    assert len(taken) == 8


def test_one_input_needs_no_list(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    plain(0, 0, 255).save(path)
    pixels = np.asarray(plain(0, 0, 255))
    for given in (path, str(path), path.read_bytes(), plain(0, 0, 255), pixels):
        assert [p.classes for p in predict(run, given)] == [("blue",)]


def test_path_is_never_a_pattern(run: Path, tmp_path: Path) -> None:
    plain(255, 0, 0).save(tmp_path / "a.png")
    (prediction,) = predict(run, [tmp_path / "*.png"])
    assert prediction.error


def test_dash_reads_standard_input(run: Path) -> None:
    file = io.BytesIO()
    plain(255, 0, 0).save(file, "PNG")
    stdin = io.BytesIO(file.getvalue())
    (prediction,) = predict(run, ["-"], stdin=stdin)
    assert (prediction.file, prediction.classes) == ("-", ("red",))


def test_top_k_orders_classes_and_keeps_class_order_of_equals(run: Path, tmp_path: Path) -> None:
    (best,) = predict(run, [plain(0, 0, 255)], top_k=2)
    assert best.classes == ("blue", "red")  # red and green: (0 - 0.5) / 0.5 > (0 - 0.4) / 0.25
    assert best.probabilities[0] > best.probabilities[1]
    level = make_run(tmp_path / "run", make_network(weights=np.zeros((3, 3))))
    (equal,) = predict(level, [plain(0, 0, 255)], top_k=99)
    assert equal.classes == tuple(CLASSES)
    np.testing.assert_allclose(equal.probabilities, 1 / 3, atol=1e-6)


@pytest.mark.parametrize("options", [{"top_k": 0}, {"top_k": -1}, {"batch_size": 0}])
def test_options_are_checked_before_anything_is_read(run: Path, options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(MaamError, match=f"`{name}` must be 1 or more"):
        predict(run, [], **options)


def test_output_that_is_not_finite_is_an_error_of_that_image(tmp_path: Path) -> None:
    # Overflows float32 for white, not for the mean colour.
    network = make_network(weights=np.full((3, 3), 2e38))
    run = make_run(tmp_path / "run", network, mean=[0.5] * 3, std=[0.1] * 3)
    finite, infinite = predict(run, [plain(127, 127, 128), plain(255, 255, 255)])
    assert finite.error is None
    assert infinite == Prediction(
        "inputs[1]", error="the network's output is not finite: its weights are damaged"
    )


def missing_folder(run: Path) -> Path:
    return run / "nowhere"


def a_file(run: Path) -> Path:
    return run / "meta.json"


def without(name: str):
    def change(run: Path) -> Path:
        (run / name).unlink()
        return run

    return change


def with_content(name: str, content: bytes):
    def change(run: Path) -> Path:
        (run / name).write_bytes(content)
        return run

    return change


def with_meta(**changes: Any):
    return lambda run: make_run(run, **changes)


def with_network(**options: Any):
    return lambda run: make_run(run, make_network(**options))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (missing_folder, "nowhere does not exist: name a run folder"),
        (a_file, "meta.json is a file, not a folder"),
        (without("meta.json"), "is not a run folder"),
        (without("model.onnx"), "model.onnx is missing"),
        (with_content("meta.json", b"{'format': 1"), "meta.json"),
        (with_content("meta.json", b"\xff\xfe\x00"), "meta.json"),
        (with_content("meta.json", b"[1]"), "format 1"),
        (with_content("model.onnx", b""), "damaged or not ONNX"),
        (with_content("model.onnx", make_network()[:200]), "damaged or not ONNX"),
        (with_content("model.onnx", b"PK\x03\x04 something else"), "damaged or not ONNX"),
        (with_meta(format=2), "format 1"),
        (with_meta(format=None), "format 1"),
        (with_meta(classes=None), "meta.json: classes: Field required"),
        (with_meta(classes=["one"]), "meta.json: classes"),
        (with_meta(classes=[1, 2, 3]), "meta.json: classes.0"),
        (with_meta(classes="abc"), "meta.json: classes"),
        (with_meta(classes=["a", "b"]), "names 2 classes"),
        (with_meta(classes=["a", "b", "c", "d"]), "names 4 classes"),
        (with_meta(preprocessing=None), "meta.json: preprocessing"),
        (with_meta(size=[8, 7]), r"takes images \[3, 8, 6\]"),
        (with_meta(size=[8]), "preprocessing.size"),
        (with_meta(size=[0, 6]), "preprocessing.size.0"),
        (with_meta(channels=1, mean=[0.5], std=[0.5]), r"takes images \[3, 8, 6\]"),
        (with_meta(channels=2), "preprocessing.channels"),
        (with_meta(mean=[0.5]), "mean and std must have 3 numbers"),
        (with_meta(std=[0.5, 0.5, 0.0]), "preprocessing.std.2"),
        (with_meta(std=[0.5, 0.5, float("nan")]), "preprocessing.std.2"),
        (with_meta(mean=["a", 0.5, 0.5]), "preprocessing.mean.0"),
        (with_network(names=("input", "logits")), "not exported by maam"),
        (with_network(names=("image", "output")), "not exported by maam"),
        (with_network(image=("N", 3, 6, 8)), r"takes images \[3, 6, 8\]"),
        (with_network(image=(1, 3, 8, 6)), "does not run"),
        (with_network(image=("N", 3, 8, 6, 3)), r"takes images \[3, 8, 6, 3\]"),
        (with_network(weights=np.ones((3, 5))), r"logits \(2, 5\) for 2 images"),
    ],
)
def test_broken_run_folder_is_one_line(tmp_path: Path, change, says: str, capfd) -> None:
    run = change(make_run(tmp_path / "run"))
    with pytest.raises(MaamError, match=says) as caught:
        predict(run, [])
    assert "\n" not in str(caught.value)
    assert str(run) in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_network_for_images_of_any_size_is_taken(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_network(image=("N", 3, "H", "W")))
    assert [p.classes for p in predict(run, plain(0, 255, 0))] == [("green",)]


def test_prediction_imports_no_training_framework(run: Path, tmp_path: Path) -> None:
    plain(0, 255, 0).save(tmp_path / "a.png")
    program = (
        "import sys\n"
        "from maam.deploy.prediction import predict\n"
        "before = set(sys.modules)\n"
        "print([p.classes[0] for p in predict(*sys.argv[1:])])\n"
        "heavy = {'mindspore', 'sklearn', 'matplotlib', 'onnx', 'scipy', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)), 'onnxruntime' in before)\n"
    )
    command = [sys.executable, "-c", program, str(run), str(tmp_path / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "['green']\n[] False\n", done.stderr

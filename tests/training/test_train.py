"""Training: the arithmetic of a step, and runs that end, resume and fail as they should."""

from __future__ import annotations

import json
import math
import shutil
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, cast

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops
from PIL import Image

from maam import MaamError, create_model, evaluate, train
from maam.core import frameworks
from maam.core.config import TrainConfig
from maam.core.run_folder import RunFolder
from maam.core.tensors import load_tensors, save_tensors
from maam.data.augment import Augmentation
from maam.mindspore import runtime
from maam.mindspore.loop import agent_weights
from maam.mindspore.step import decays, make_optimizer, make_train_step
from maam.native import build
from maam.training.events import Epoch, Note, Plan, Step, ignore
from maam.training.options import resolve
from maam.training.run import TrainingRun
from maam.training.schedule import average_decay, learning_rates
from maam.training.setup import set_up

QUICK = {"data": "digits", "model": "maam", "limit": 192, "seed": 3, "learning_rate": 3e-3}
RUN_FILES = {
    ".lock",
    "README.md",
    "best.safetensors",
    "config.toml",
    "environment.json",
    "images.safetensors",
    "last.safetensors",
    "meta.json",
    "metrics.csv",
    "metrics.jsonl",
    "model.golden.safetensors",
    "model.onnx",
    "plots",
    "report.html",
}


def events(**options):
    seen = []
    return train(watch=seen.append, **options), seen


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One ordinary run of three epochs, with an average of the weights."""
    folder = tmp_path_factory.mktemp("runs") / "ordinary"
    return events(**QUICK, epochs=3, ema=0.9, out=folder)


def test_a_run_folder_is_complete(finished):
    result, _ = finished
    assert {path.name for path in result.run.iterdir()} == RUN_FILES
    plots = {path.name for path in (result.run / "plots").iterdir()}
    assert plots == {
        "curves.png",
        "confusion.png",
        "batch.png",
        "mistakes.png",
        "agent_weights.png",
    }
    meta = RunFolder(result.run).read_meta()
    assert meta.images == {"train": 192, "val": 144, "test": 359}
    assert (meta.metrics or {})["accuracy"] == result.scores["accuracy"]
    assert meta.environment["mindspore"] == ms.__version__
    assert (meta.device, meta.device_name) == ("CPU", "")
    assert meta.operators == ("native" if build.status()[0] else "framework")
    rows = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    assert rows == result.history
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    card = (result.run / "README.md").read_text()
    assert "\nmaam train --recipe config.toml --out ../ordinary-again\n" in card


def test_the_plan_comes_first_then_every_step(finished):
    result, seen = finished
    kinds = [type(event) for event in seen]
    assert kinds[0] is Plan
    assert kinds.count(Step) == 3 * (192 // 64)
    assert kinds.count(Epoch) == 3
    assert seen[0].folder.path == result.run


def test_training_learns(finished):
    result, _ = finished
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"] < math.log(10) * 1.5
    assert result.scores["accuracy"] > 0.5


def test_agent_weights_start_equal_and_move(finished):
    result, _ = finished
    assert agent_weights(create_model("maam")) == [pytest.approx([1 / 3] * 3, abs=1e-6)]
    for name in ("maam-no-attention", "maam-a1", "maam-concat", "maam-squeeze"):
        assert agent_weights(create_model(name)) == []  # no learnable scalars
    for row in result.history:
        (weights,) = row["agent_weights"]
        assert sum(weights) == pytest.approx(1, abs=1e-5)
    assert result.history[-1]["agent_weights"] != result.history[0]["agent_weights"]


def test_evaluate_repeats_the_scores_of_the_run(finished):
    result, _ = finished
    again = evaluate(result.run)
    assert again["accuracy"] == result.scores["accuracy"]
    assert again["loss"] == pytest.approx(result.scores["loss"], rel=1e-5)
    small = evaluate(result.run, batch_size=7)
    assert small["confusion"] == again["confusion"]
    assert evaluate(result.run, split="val")["images"] == 144
    everything = evaluate(result.run, split="all")
    assert everything["images"] == 1797


def test_evaluate_refuses_other_images(finished, tmp_path):
    result, _ = finished
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (9, 9), (number, 0, 0)).save(tmp_path / f"pets/{name}/{number}.png")
    with pytest.raises(MaamError, match="not know: cat, dog; the run has the classes 0, 1, 2,"):
        evaluate(result.run, data=str(tmp_path / "pets"))


def test_the_export_predicts_what_the_network_scores(finished):
    from maam.data import load_dataset
    from maam.deploy.classifier import Classifier

    result, _ = finished
    test = load_dataset("digits", seed=3).test
    probabilities = Classifier.load(result.run).classify(list(test.pixels()[..., 0]))
    accuracy = (probabilities.argmax(1) == test.labels).mean()
    assert accuracy == pytest.approx(result.scores["accuracy"], abs=1e-9)


class Cut(Exception):
    """Stands for a power cut."""


def cut_at(epoch, step):
    def watch(event):
        if isinstance(event, Step) and (event.epoch, event.step) == (epoch, step):
            raise Cut

    return watch


def same_state(one, two):
    whole, again = (load_tensors(run / "last.safetensors")[0] for run in (one, two))
    assert whole.keys() == again.keys()
    return all(np.array_equal(whole[name], again[name]) for name in whole)


@pytest.mark.slow
def test_a_resumed_run_repeats_the_uninterrupted_one_to_the_last_bit(finished, tmp_path):
    result, _ = finished
    with pytest.raises(Cut):
        train(**QUICK, epochs=3, ema=0.9, out=tmp_path / "cut", watch=cut_at(1, 1))
    resumed = train(resume=tmp_path / "cut")
    assert same_state(result.run, resumed.run)
    assert resumed.scores == result.scores


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "epoch"), [("sgd", 0), ("adamw", 1)])
def test_every_optimizer_resumes_to_the_last_bit_from_any_epoch(optimizer, epoch, tmp_path):
    options = {**QUICK, "model": "mlp", "optimizer": optimizer, "weight_decay": 0.01, "epochs": 2}
    whole = train(**options, out=tmp_path / "whole")
    with pytest.raises(Cut):
        train(**options, out=tmp_path / "cut", watch=cut_at(epoch, 1))
    assert same_state(whole.run, train(resume=tmp_path / "cut").run)


@pytest.mark.slow
def test_changed_images_are_noticed(tmp_path):
    """Split anew, they would put images that were trained on among the test images."""
    from PIL import Image

    for name, shade in (("cat", 20), ("dog", 200)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(12):
            colour = (shade, number, number)
            Image.new("RGB", (9, 9), colour).save(tmp_path / f"pets/{name}/{number}.png")
    pets = str(tmp_path / "pets")
    run = train(data=pets, model="mlp", image_size=8, epochs=1, out=tmp_path / "r").run
    assert evaluate(run)["images"] == 5
    Image.new("RGB", (9, 9)).save(tmp_path / "pets/cat/another.png")
    for attempt in (
        lambda: evaluate(run),
        lambda: evaluate(run, data=pets),
        lambda: train(resume=run, epochs=2),
    ):
        with pytest.raises(MaamError, match=r"the images of .*pets are not those"):
            attempt()
    assert evaluate(run, data=pets, split="all")["images"] == 6  # of 25, the run has seen 19


@pytest.mark.slow
def test_resume_can_go_on_for_longer(finished, tmp_path):
    import shutil

    result, _ = finished
    copy = shutil.copytree(result.run, tmp_path / "longer")
    with pytest.raises(Cut):
        train(resume=copy, epochs=4, watch=cut_at(3, 1))
    # No card, no network and no scores that belong to other weights.
    assert not {"README.md", "model.onnx"} & {path.name for path in copy.iterdir()}
    assert RunFolder(copy).read_meta().metrics is None
    longer = train(resume=copy)
    assert [row["epoch"] for row in longer.history] == [1, 2, 3, 4]
    assert longer.history[:3] == result.history
    stage = {"epochs": 3, "until": 3, "accuracy": result.scores["accuracy"]}
    assert RunFolder(copy).read_meta().stages == (stage,)
    with ExitStack() as held:  # of a run that has all its epochs: what describes it stays
        set_up(resolve({}, run=copy), copy, frameworks.use("mindspore"), ignore, held)
    assert RunFolder(copy).read_meta().metrics == json.loads(json.dumps(longer.scores)) | {
        "split": "test"
    }
    assert {path.name for path in copy.iterdir()} >= RUN_FILES


@pytest.mark.slow
def test_a_run_of_changed_length_says_how_to_repeat_it(tmp_path):
    options = {**QUICK, "model": "mlp"}
    with pytest.raises(Cut):
        train(**options, epochs=9, out=tmp_path / "r", watch=cut_at(2, 1))
    before = {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()}
    with pytest.raises(MaamError, match=r"`epochs=1`: .* has 2 epochs already"):
        train(resume=tmp_path / "r", epochs=1)
    assert {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()} == before
    train(resume=tmp_path / "r", epochs=3)
    train(resume=tmp_path / "r", epochs=4)
    train(resume=tmp_path / "r")
    assert (
        "maam train --recipe config.toml --epochs 9 --out ../r-again"
        "    # was stopped after epoch 2\n"
        "maam train --resume ../r-again --epochs 3\n"
        "maam train --resume ../r-again --epochs 4\n"
    ) in (tmp_path / "r" / "README.md").read_text()


def test_no_validation_images_keeps_the_last_epoch(tmp_path):
    result = train(**{**QUICK, "model": "mlp"}, val_fraction=0, epochs=2, out=tmp_path / "r")
    assert all(row["val_accuracy"] is None for row in result.history)
    tensors, metadata = load_tensors(result.run / "best.safetensors")
    assert metadata == {"epoch": 2}
    last, _ = load_tensors(result.run / "last.safetensors")
    assert all(np.array_equal(tensors[name], last[name]) for name in tensors)


def test_early_stopping_ends_a_run_that_no_longer_improves(tmp_path):
    options = {**QUICK, "model": "mlp", "learning_rate": 1e-12}
    result, seen = events(**options, epochs=9, early_stopping=2, out=tmp_path / "r")
    assert len(result.history) == 3
    assert any("stopped early" in event.text for event in seen if isinstance(event, Note))


def set_learning_rate(run, rate):
    """By hand, in the options and in the checkpoint, which knows them."""
    folder = RunFolder(run)
    text = folder.config.read_text()
    folder.config.write_text(text.replace("learning_rate = 0.01", f"learning_rate = {rate}"))
    tensors, progress = load_tensors(folder.last)
    progress["identity"]["learning_rate"] = rate
    save_tensors(folder.last, tensors, progress)


@pytest.mark.slow
@pytest.mark.parametrize("val_fraction", [0.1, 0.0])
@pytest.mark.parametrize("limit", [192, 64])  # 64 is one step: the loss never sees its update
def test_numbers_that_are_not_finite_stop_and_keep_the_last_good_epoch(
    val_fraction, limit, tmp_path
):
    options = {**QUICK, "model": "mlp", "optimizer": "sgd", "schedule": "constant", "limit": limit}
    options |= {"val_fraction": val_fraction, "learning_rate": 0.01}
    run = train(**options, epochs=1, out=tmp_path / "r").run
    set_learning_rate(run, 1e30)
    good = {name: (run / name).read_bytes() for name in ("last.safetensors", "best.safetensors")}
    with pytest.raises(MaamError, match=r"in epoch 2 the .*epoch 1 is kept"):
        train(resume=run, epochs=5)
    assert {name: (run / name).read_bytes() for name in good} == good


def paint_few(root):
    for number in range(6):
        (root / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 40 * number).save(root / "ab"[number % 2] / f"{number}.png")


def test_options_that_contradict_each_other(finished, tmp_path):
    result, _ = finished
    with pytest.raises(MaamError, match="`early_stopping` needs validation"):
        train(**QUICK, early_stopping=1, val_fraction=0)
    paint_few(tmp_path / "few")
    with pytest.raises(MaamError, match="`early_stopping` needs validation images: give more im"):
        train(data=str(tmp_path / "few"), model="mlp", early_stopping=1, out=tmp_path / "run")
    shutil.rmtree(tmp_path / "few")
    with pytest.raises(MaamError, match="has 3 epochs already"):
        train(resume=result.run, epochs=2)
    with pytest.raises(MaamError, match="leave `out` out"):
        train(resume=result.run, out=tmp_path)
    with pytest.raises(MaamError, match="`limit=99999`"):
        train(data="digits", limit=99999)
    with pytest.raises(MaamError, match="`limit=4` leaves 6 of 10 classes without a training im"):
        train(data="digits", limit=4)
    assert not list(tmp_path.iterdir())


def test_nothing_strays_into_the_working_directory(tmp_path):
    train(**{**QUICK, "model": "mlp"}, epochs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


# ------------------------------------------------------------------ the arithmetic of a step


def test_schedules():
    rates = {
        name: learning_rates(
            TrainConfig(epochs=4, schedule=name, learning_rate=1.0, warmup_epochs=1), 5
        )
        for name in ("cosine", "triangular", "constant")
    }
    for values in rates.values():
        assert values.shape == (20,)
        np.testing.assert_allclose(values[:5], [0.2, 0.4, 0.6, 0.8, 1.0], rtol=1e-6)
    assert (rates["constant"][5:] == 1).all()
    np.testing.assert_allclose(np.diff(rates["triangular"][5:]), -1 / 15, rtol=1e-4)
    assert rates["cosine"][5] == 1
    assert 0 < rates["cosine"][-1] < 0.02
    all_warmup = learning_rates(TrainConfig(epochs=1, warmup_epochs=9, learning_rate=1.0), 4)
    np.testing.assert_allclose(all_warmup, [0.25, 0.5, 0.75, 1.0])


class Line(nn.Cell):
    """One weight matrix and a bias: small enough to compute a step by hand."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Dense(3, 2)

    def construct(self, x):
        return self.dense(x)


def one_step(config, mode="graph"):
    """Weights before, gradient by hand, weights after, and the average after one step."""
    runtime.set_device("CPU", mode)
    rng = np.random.default_rng(0)
    net, mean = Line(), Line()
    for live, average in zip(net.get_parameters(), mean.get_parameters(), strict=True):
        value = Tensor(rng.standard_normal(live.shape).astype(np.float32))
        ops.assign(live, value)
        ops.assign(average, value)
        average.name = f"ema.{average.name}"
    x = rng.standard_normal((4, 3)).astype(np.float32)
    y = np.array([0, 1, 1, 0], np.int32)
    weight, bias = (np.array(p.asnumpy(), np.float64) for p in net.get_parameters())
    logits = x @ weight.T + bias
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    target = np.eye(2)[y] * (1 - config.label_smoothing) + config.label_smoothing / 2
    loss = -(target * np.log(probabilities)).sum(1).mean()
    slope = (probabilities - target) / 4
    gradients = [slope.T @ x, slope.sum(0)]
    averages = list(mean.get_parameters()) if config.ema else []
    step = make_train_step(net, make_optimizer(net, config), config, averages)
    net.set_train(True)
    scalars = (config.learning_rate, average_decay(config.ema, 0))
    measured, correct = step(Tensor(x), Tensor(y), *(Tensor(s, ms.float32) for s in scalars))
    runtime.set_device("CPU")
    assert float(measured.asnumpy()) == pytest.approx(loss, rel=1e-4)
    assert int(correct.asnumpy()) == (logits.argmax(1) == y).sum()
    after = [p.asnumpy() for p in net.get_parameters()]
    return (weight, bias), gradients, after, [p.asnumpy() for p in mean.get_parameters()]


@pytest.mark.parametrize("mode", ["graph", "eager"])
def test_sgd_with_weight_decay_spares_the_bias(mode):
    config = TrainConfig(optimizer="sgd", learning_rate=0.1, weight_decay=0.5, label_smoothing=0.2)
    (weight, bias), (to_weight, to_bias), after, _ = one_step(config, mode)
    step = (to_weight + 0.5 * weight) * 1.9  # Nesterov: g + momentum * (first velocity = g)
    np.testing.assert_allclose(after[0], weight - 0.1 * step, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after[1], bias - 0.1 * to_bias * 1.9, rtol=1e-4, atol=1e-6)


def test_adamw_decays_the_weight_itself():
    config = TrainConfig(optimizer="adamw", learning_rate=0.1, weight_decay=0.5)
    (weight, bias), gradients, after, _ = one_step(config)
    np.testing.assert_allclose(
        after[0], weight * (1 - 0.05) - 0.1 * np.sign(gradients[0]), rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(after[1], bias - 0.1 * np.sign(gradients[1]), rtol=1e-3, atol=1e-4)


def test_clipping_limits_the_norm_of_the_step():
    config = TrainConfig(optimizer="sgd", learning_rate=1.0, momentum=0.0, clip_norm=0.01)
    before, gradients, after, _ = one_step(config)
    moved = np.concatenate([(b - a).ravel() for b, a in zip(before, after, strict=True)])
    assert np.linalg.norm(moved) == pytest.approx(0.01, rel=1e-3)
    whole = np.concatenate([g.ravel() for g in gradients])
    np.testing.assert_allclose(moved / 0.01, whole / np.linalg.norm(whole), rtol=1e-3, atol=1e-4)


def test_the_average_follows_the_weights():
    config = TrainConfig(optimizer="sgd", learning_rate=1.0, ema=0.99)
    (weight, _), _, after, average = one_step(config)
    decay = 2 / 11  # a young average: (1 + step) / (10 + step) after step 1
    np.testing.assert_allclose(
        average[0], weight * decay + after[0] * (1 - decay), rtol=1e-4, atol=1e-6
    )


@pytest.mark.slow
def test_mixed_precision_runs_on_cpu_and_stays_close():
    losses = {}
    for precision in ("fp32", "amp"):
        result = train(
            data="digits", limit=64, epochs=2, precision=precision, out=f"run-{precision}"
        )
        losses[precision] = [row["train_loss"] for row in result.history]
    assert losses["amp"] == pytest.approx(losses["fp32"], rel=0.05)
    assert losses["amp"] != losses["fp32"]


def test_what_decays():
    net = nn.SequentialCell(nn.Conv2d(1, 2, 3, has_bias=True), nn.BatchNorm2d(2))
    assert [p.name for p in net.trainable_params() if decays(p)] == ["0.weight"]


def test_an_absent_device_is_one_line():
    with pytest.raises(MaamError, match="`device=Ascend` is not available here"):
        runtime.set_device("Ascend")
    runtime.set_device("CPU")


def test_mixing_ends_with_its_share_of_the_epochs():
    """0.14 * 50 is a little more than 7."""
    config = TrainConfig(data="digits", model="mlp", cutmix=1.0, mix_until=0.14, epochs=50)
    run = SimpleNamespace(
        config=config,
        augmentation=Augmentation("none", 0.0, 0.0, 1.0, 10),
        preprocessing=SimpleNamespace(size=(8, 8)),
    )
    mixed = [TrainingRun.augmentation_in(cast(Any, run), epoch).cutmix for epoch in range(50)]
    assert mixed == [1.0] * 7 + [0.0] * 43


def test_a_warm_up_without_end_is_refused():
    with pytest.raises(MaamError, match=r"`warmup_epochs`: .*less than or equal to 100000"):
        train(**QUICK, warmup_epochs=1e308)

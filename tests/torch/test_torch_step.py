"""A training step in PyTorch is a training step in MindSpore."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
import torch
from both_frameworks import COMPARED, same_weights
from mindspore import Tensor, nn

import maam.mindspore
import maam.torch
from maam.core.config import TrainConfig
from maam.mindspore import step as mindspore_step
from maam.torch import step as torch_step
from maam.torch.weights import named_tensors

SIZE, CLASSES, BATCH = (12, 8), 5, 6
# `maam` stands for the other numbers of agents; their gradients are compared below.
STEPPED = [name for name in COMPARED if name not in ("maam-a2", "maam-a4", "maam-a6")]
OPTIMIZERS = {
    "sgd": {"optimizer": "sgd", "learning_rate": 0.05, "weight_decay": 1e-2},
    "adam": {"optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 1e-2},
    "adamw": {"optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 1e-1},
}


def make_batch(rng, mixed=False):
    images = rng.random((BATCH, 3, *SIZE), dtype=np.float32)
    labels = rng.integers(0, CLASSES, BATCH).astype(np.int32)
    if mixed:
        labels = rng.dirichlet(np.ones(CLASSES), BATCH).astype(np.float32)
    return images, labels


def run_mindspore(net, config, batches, weights=None):
    net.set_train(True)
    optimizer = mindspore_step.make_optimizer(net, config)
    step = mindspore_step.make_train_step(net, optimizer, config, image_weights=weights)
    numbers = Tensor(config.learning_rate, ms.float32), Tensor(0.0, ms.float32)
    return [
        [float(x.asnumpy()) for x in step(Tensor(images), Tensor(labels), *numbers)]
        for images, labels in batches
    ]


def run_torch(net, config, batches, weights=None):
    net.train()
    optimizer = torch_step.make_optimizer(net, config)
    step = torch_step.make_train_step(net, optimizer, config, image_weights=weights)
    found = []
    for images, labels in batches:
        answers = torch.from_numpy(labels)
        answers = answers if answers.ndim > 1 else answers.long()
        result = step(torch.from_numpy(images), answers, config.learning_rate)
        found.append([float(x) for x in result])
    return found


def grad_of(tensor):
    assert tensor.grad is not None
    return tensor.grad.numpy()


def assert_close(found, expected, tolerance):
    """Every array within ``tolerance`` of its largest value."""
    assert found.keys() == expected.keys()
    for name in expected:
        largest = max(np.abs(expected[name]).max(), 1e-3)
        assert np.abs(found[name] - expected[name]).max() <= tolerance * largest, name


@pytest.mark.parametrize("name", COMPARED)
def test_gradients_are_the_same(name, rng):
    net, other = same_weights(name, CLASSES, 3, SIZE)
    images, labels = make_batch(rng)
    net.set_train(True)
    parameters = net.trainable_params()

    def forward(x, y):
        return nn.CrossEntropyLoss()(net(x), y)

    loss, gradients = ms.value_and_grad(forward, None, parameters)(Tensor(images), Tensor(labels))
    logits = other.train()(torch.from_numpy(images))
    found = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels).long())
    found.backward()
    assert found.item() == pytest.approx(float(loss.asnumpy()), rel=1e-4)
    named = named_tensors(other)
    assert_close(
        {p.name: grad_of(named[p.name]) for p in parameters},
        {p.name: g.asnumpy() for p, g in zip(parameters, gradients, strict=True)},
        2e-3,
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", STEPPED)
def test_one_step_gives_the_same_weights(name, optimizer, rng):
    config = TrainConfig(mode="eager", **OPTIMIZERS[optimizer])
    net, other = same_weights(name, CLASSES, 3, SIZE)
    before = maam.mindspore.get_weights(net)
    batch = make_batch(rng)
    ((expected, right),) = run_mindspore(net, config, [batch])
    ((loss, found_right),) = run_torch(other, config, [batch])
    assert loss == pytest.approx(expected, rel=1e-4)
    assert found_right == right
    live = named_tensors(other)
    ours, theirs = maam.mindspore.get_weights(net), maam.torch.get_weights(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        moved = np.abs(ours[name] - before[name])
        assert moved.max() > 0, f"{name} has not moved"
        difference = np.abs(theirs[name] - ours[name])
        if optimizer == "sgd" or "moving" in name:
            assert difference.max() <= 1e-3 * moved.max(), name
            continue
        # Adam's first step is nearly the gradient's sign. Where the gradient is noise, either sign
        # is right; where it is tiny, epsilon counts, which MindSpore adds before the correction of
        # the bias and PyTorch after it.
        gradient = grad_of(live[name])
        if optimizer == "adam" and gradient.ndim > 1:
            gradient = gradient + config.weight_decay * before[name]
        gradient = np.abs(gradient)
        clear = gradient > max(1e-4, 0.01 * gradient.max())
        assert clear.any(), name
        assert difference[clear].max() <= 0.02 * config.learning_rate, name
        assert difference.max() <= 2.01 * config.learning_rate, name


def test_the_moving_variance_follows_the_same_convention(rng):
    """Three images of one pixel row: biased and unbiased variance differ by a third."""
    config = TrainConfig(mode="eager", **OPTIMIZERS["sgd"])
    net, other = same_weights("maam-p1", CLASSES, 3, (2, 2))
    images = rng.random((3, 3, 2, 2), dtype=np.float32)
    labels = np.array([0, 1, 2], np.int32)
    run_mindspore(net, config, [(images, labels)])
    run_torch(other, config, [(images, labels)])
    ours, theirs = maam.mindspore.get_weights(net), maam.torch.get_weights(other)
    for name in ours:
        if "moving" in name:
            np.testing.assert_allclose(theirs[name], ours[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"label_smoothing": 0.1, "clip_norm": 0.5, "momentum": 0.8},
        {"label_smoothing": 0.2, "mixed": True},
        {"momentum": 0.0},
        {"label_smoothing": 0.1, "weighted": True},
        {"weighted": True, "mixed": True},
    ],
)
def test_three_steps_with_options(options, rng):
    options = dict(options)
    mixed, weighted = options.pop("mixed", False), options.pop("weighted", False)
    weights = rng.random(CLASSES, dtype=np.float32) + 0.5 if weighted else None
    config = TrainConfig(mode="eager", optimizer="sgd", learning_rate=0.02, **options)
    net, other = same_weights("cnn", CLASSES, 3, SIZE)
    batches = [make_batch(rng, mixed) for _ in range(3)]
    ours = run_mindspore(net, config, batches, weights)
    theirs = run_torch(other, config, batches, weights)
    np.testing.assert_allclose(theirs, ours, rtol=1e-4)
    assert_close(maam.torch.get_weights(other), maam.mindspore.get_weights(net), 1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_compiled_and_eager_steps_agree(rng, monkeypatch):
    """torch.compile, on the smallest model: it needs a C++ compiler."""
    compiled, compile_net = [], torch.compile

    def watch(net, **how):
        compiled.append(net)
        return compile_net(net, **how)

    monkeypatch.setattr(torch, "compile", watch)
    images, labels = torch.from_numpy(rng.random((8, 1, 8, 8), np.float32)), torch.arange(8)
    losses = []
    for mode in ("eager", "graph"):
        torch.manual_seed(0)
        config = TrainConfig(framework="torch", mode=mode, optimizer="sgd", learning_rate=0.1)
        net = maam.torch.create_model("mlp", 10, 1, (8, 8)).train()
        step = torch_step.make_train_step(net, torch_step.make_optimizer(net, config), config)
        losses.append([float(step(images, labels, 0.1)[0]) for _ in range(3)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    assert losses[0][2] < losses[0][0]
    assert len(compiled) == 1


def test_bfloat16_stays_close(rng):
    images, labels = torch.from_numpy(rng.random((8, 3, 8, 8), np.float32)), torch.arange(8)
    losses = []
    for precision in ("fp32", "amp"):
        torch.manual_seed(0)
        config = TrainConfig(framework="torch", precision=precision)
        net = maam.torch.create_model("maam", 10, 3, (8, 8)).train()
        step = torch_step.make_train_step(net, torch_step.make_optimizer(net, config), config)
        losses.append(float(step(images, labels, 1e-3)[0]))
    assert losses[1] == pytest.approx(losses[0], rel=0.05) and losses[1] != losses[0]

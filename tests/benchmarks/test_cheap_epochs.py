"""A form of cheap epochs does what it says, at the time it says; its page tells the differences."""

from __future__ import annotations

import itertools

import cheap_epochs
import numpy as np
import pytest
import torch
from torch import nn

from maam.data.base import ArraySplit, Dataset

BATCH = cheap_epochs.CONFIG.batch_size


@pytest.fixture
def steps(monkeypatch):
    """Of each step: the network, images, labels, rate, losses, and the state of its norms then."""
    seen = []
    step = cheap_epochs.step

    def watch(net, optimizer, images, labels, rate):
        losses = step(net, optimizer, images, labels, rate)
        norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
        state = torch.cat([t.flatten() for m in norms for t in m.state_dict().values()])
        seen.append((net, images, labels, rate, losses, state.detach().clone()))
        return losses

    monkeypatch.setattr(cheap_epochs, "step", watch)
    return seen


def train(form):
    """Ten steps: the clock goes on by a second whenever someone looks."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (300, 32, 32, 3), np.uint8), rng.integers(0, 10, 300)
    train = ArraySplit(images, labels.astype(np.int32), tuple(map(str, range(300))))
    val = train.take(np.arange(20))
    dataset = Dataset("cifar10", "noise", tuple("0123456789"), train, val, val)
    return cheap_epochs.train(form, 0, dataset, 10.5, clock=itertools.count().__next__)


def test_the_rate_rises_and_falls_and_epochs_are_counted(steps):
    row = train("plain")
    assert row["steps"] == len(steps) == 10
    assert row["epochs"] == round(10 * BATCH / 300, 2)
    assert 0 <= row["accuracy"] <= 100
    rates = [rate for _, _, _, rate, _, _ in steps]
    assert rates[0] < rates[1] and rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 0.1 * cheap_epochs.CONFIG.learning_rate < max(rates)
    assert {images.shape for _, images, *_ in steps} == {(BATCH, 3, 32, 32)}


def test_small_images_come_first(steps):
    train("small-first")
    assert [images.shape[-1] for _, images, *_ in steps] == 6 * [24] + 4 * [32]


def test_the_proxy_learns_from_all_and_the_network_from_the_hardest_half(steps):
    row = train("hardest-half")
    assert row["steps"] == 10 and len(steps) == 20
    for proxy, net in zip(steps[::2], steps[1::2], strict=True):
        assert proxy[0] is not net[0]
        losses, labels = proxy[4], proxy[2]
        assert len(losses) == 2 * len(net[1]) == 2 * BATCH
        hardest = losses.argsort(descending=True)[:BATCH]
        assert torch.equal(labels[hardest], net[2]) and torch.equal(proxy[1][hardest], net[1])


def test_norms_are_frozen_at_the_end_only(steps):
    train("frozen-norms")
    states = [state for *_, state in steps]
    moved = [not torch.equal(a, b) for a, b in itertools.pairwise(states)]
    assert moved == 7 * [True] + 2 * [False]


def test_the_page_compares_equal_seeds():
    rows = [
        {"form": form, "seed": seed, "accuracy": accuracy, "epochs": 5.0, "steps": 9}
        for form, seed, accuracy in [
            ("plain", 0, 80.0),
            ("plain", 1, 82.0),
            ("small-first", 1, 83.0),
            ("hardest-half", 2, 70.0),
        ]
    ]
    page = cheap_epochs.page({"rows": rows, "seconds": 600, "cpu": "A CPU", "torch": "2.9"})
    table = [line for line in page.splitlines() if line.startswith("|")]
    lines = {line.split("|")[1].split(":")[0].strip(): line for line in table}
    assert "| 81.00 ± 1.41 | - | 2 |" in lines["32x32, every image"]
    assert "| 83.00 | +1.00 | 1 |" in lines["progressive resizing"]
    assert "| 70.00 | - | 1 |" in lines["selection by a proxy"]
    assert "frozen" not in page.partition("| What")[2]


def test_other_conditions_are_not_mixed(tmp_path, monkeypatch, capsys):
    results = tmp_path / "results.json"
    results.write_text('{"rows": [], "seconds": 600.0, "cpu": "another"}')
    monkeypatch.setattr("sys.argv", ["cheap_epochs", "--results", str(results)])
    with pytest.raises(SystemExit) as stop:
        cheap_epochs.main()
    assert stop.value.code == 2
    assert "has another cpu: name another file with --results" in capsys.readouterr().err
    assert results.read_text() == '{"rows": [], "seconds": 600.0, "cpu": "another"}'

"""What networks and optimisers of one's own keep: taken along, or refused before training."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from mindspore import Parameter, Tensor
from mindspore import nn as cells
from torch import nn

import maam
import maam.mindspore
import maam.torch
from maam import MaamError
from maam.core.tensors import load_tensors, save_tensors
from maam.torch import step

OPTIONS = {"data": "digits", "limit": 64, "batch_size": 16, "epochs": 2, "schedule": "constant"}


def net(momentum: float | None = 0.1):
    torch.manual_seed(0)
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8, momentum=momentum), *head)


class Rows(torch.optim.Optimizer):
    """Keeps a number, and an array that has no parameter's shape."""

    def __init__(self, groups, rate):
        super().__init__(groups, {"lr": rate})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state |= {"step": 0, "best": math.inf, "rows": torch.zeros(len(parameter))}
                state["step"] += 1
                assert type(state["step"]) is int
                state["rows"] += parameter.grad.flatten(1).abs().sum(1) if parameter.ndim > 1 else 1
                scale = 1 + state["rows"].mean()
                parameter -= group["lr"] / scale / state["step"] ** 0.5 * parameter.grad


def in_one_and_in_two(make, tmp_path, **options):
    """The last checkpoints of a whole training and of one in two parts."""
    options = {**OPTIONS, **options}
    maam.train(model=make(), **options, out=tmp_path / "whole")
    maam.train(model=make(), **{**options, "epochs": 1}, out=tmp_path / "parts")
    maam.train(resume=tmp_path / "parts", model=make(), epochs=2)
    return (load_tensors(tmp_path / name / "last.safetensors")[0] for name in ("whole", "parts"))


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_running_statistics_that_are_a_mean_go_on(ema, tmp_path):
    whole, parts = in_one_and_in_two(lambda: net(momentum=None), tmp_path, ema=ema)
    assert whole["1.num_batches_tracked"] > 0
    assert_equal(parts, whole)


def test_a_checkpoint_of_before_they_were_counted_is_taken(tmp_path):
    made = maam.train(
        model=net(momentum=None), **{**OPTIONS, "epochs": 1}, out=tmp_path / "run"
    ).run
    tensors, progress = load_tensors(made / "last.safetensors")
    del tensors["1.num_batches_tracked"]
    save_tensors(made / "last.safetensors", tensors, progress)
    assert len(maam.train(resume=made, model=net(momentum=None), epochs=2).history) == 2


def test_what_an_optimiser_keeps_besides_arrays_of_weights_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(step, "_optimizers", dict(step._optimizers))
    maam.torch.register_optimizer("rows", lambda groups, config: Rows(groups, config.learning_rate))
    whole, parts = in_one_and_in_two(net, tmp_path, optimizer="rows")
    assert whole["step=number.0.weight"] == 8 and whole["rows.0.weight"].shape == (8,)
    assert_equal(parts, whole)


def test_values_that_no_file_takes_are_refused_before_training(tmp_path):
    module, cell = net(), cells.SequentialCell(cells.Flatten(), cells.Dense(64, 10))
    module.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    cell.mask = Parameter(Tensor(np.array([0, -np.inf], np.float32)), requires_grad=False)
    for model in (module, cell):
        with pytest.raises(MaamError, match="has values in mask that are not finite"):
            maam.train(model=model, **OPTIONS, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    module.register_buffer("mask", torch.tensor([0.0, -torch.inf]), persistent=False)
    assert maam.train(model=module, **{**OPTIONS, "epochs": 1}, out=tmp_path / "run").scores


def test_a_dense_layer_counts_for_each_place_that_it_is_applied_to():
    dense = nn.Linear(8, 3), cells.Dense(8, 3)
    assert maam.torch.count_macs(dense[0], (5, 6, 8)) == 5 * 6 * 8 * 3
    assert maam.mindspore.count_macs(dense[1], (5, 6, 8)) == 5 * 6 * 8 * 3

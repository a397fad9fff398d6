"""Freezing: what ``--freeze`` names stays, to the last bit, and both frameworks train the rest."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest
from both_frameworks import randomise

import maam
from maam import MaamError
from maam.cli.app import run as maam_cli
from maam.core import frameworks
from maam.core.config import TrainConfig
from maam.core.run_folder import RunFolder
from maam.core.tensors import load_tensors
from maam.mindspore import weights
from maam.torch import create_model as create_torch_model
from maam.training.events import Step
from maam.training.freezing import frozen_names
from maam.training.setup import set_up

NAMES = ["maam.norm1.gamma", "maam.norm1.beta", "maam.conv1.weight", "classifier.weight"]
FRAMEWORKS = ("mindspore", "torch")
MODEL = ("maam-p1", 10, 1, (8, 8))
# One batch an epoch, so that the order of images does not count.
OPTIONS = {"data": "digits", "limit": 48, "batch_size": 48, "augment": "none", "model": "maam-p1"}
OPTIONS |= {"optimizer": "sgd", "learning_rate": 0.02, "weight_decay": 0.1, "clip_norm": 1.0}
OPTIONS |= {"val_fraction": 0, "ema": 0.9, "epochs": 3}


@pytest.mark.parametrize(
    ("patterns", "count"),
    [("", 0), (" , ", 0), ("maam.*", 3), (" *.gamma, *.beta,", 2), ("maam.norm?.*,*.gamma", 2)],
)
def test_patterns_name_parameters(patterns, count):
    assert frozen_names(patterns, NAMES) == set(NAMES[:count])


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ("maam.*,clasifier.*", r"^`freeze=clasifier\.\*` matches no .* like classifier\.weight"),
        ("*.moving_mean", "moving_mean` matches no parameter"),
        ("MAAM.*", "matches no parameter"),
        ("maam.*,classifier.*", "leaves nothing to train"),
    ],
)
def test_bad_patterns(patterns, message):
    with pytest.raises(MaamError, match=message):
        frozen_names(patterns, NAMES)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_bad_pattern_ends_before_there_is_a_run_folder(framework, tmp_path, capsys):
    command = ["train", "--model", "mlp", "--freeze", "hiden1.*", "--framework", framework]
    assert maam_cli([*command, "--out", str(tmp_path / "run")]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "--freeze hiden1.* matches no parameter: they are named like hidden1." in error
    assert not (tmp_path / "run").exists()


class Cut(Exception):
    """Stands for a power cut."""


def fit(folder, resume=None, cut=None, **options):
    """Train from known weights: the losses, the weights before, the state after, and the meta."""

    def watch(event):
        if isinstance(event, Step) and event.epoch == cut:
            raise Cut

    config = TrainConfig(out=folder, **{**OPTIONS, **options})
    backend = frameworks.use(config.framework)
    with ExitStack() as held:
        run = set_up(config, resume, backend, watch, held)
        if config.framework == "mindspore":
            known = run.net
            randomise(known, create_torch_model(*MODEL), seed=1)
        else:
            known = maam.create_model(*MODEL)
            randomise(known, run.net, seed=1)
        before = weights.read_tensors(known.get_parameters())
        losses = [row["train_loss"] for row in backend.fit(run)]
    return losses, before, load_tensors(RunFolder(folder).last)[0], run.meta


@pytest.mark.parametrize(
    ("freeze", "frozen", "still", "mode"),
    [
        pytest.param("maam.*", "maam.", "maam.", "eager", marks=pytest.mark.slow),
        pytest.param(
            "*.gamma,hidden.*",
            "gamma hidden.",
            "gamma hidden. moving_",
            "graph",
            marks=pytest.mark.slow,
        ),
        ("*.beta", "beta", "beta", "eager"),  # its norms still use the batch
    ],
)
def test_the_rest_learns_the_same_in_both_frameworks(freeze, frozen, still, mode, tmp_path):
    modes = {"mindspore": mode, "torch": "eager"}
    (losses, before, last, meta), (other_losses, _, other_last, other_meta) = (
        fit(tmp_path / name, framework=name, freeze=freeze, mode=modes[name]) for name in FRAMEWORKS
    )
    np.testing.assert_allclose(other_losses, losses, rtol=1e-3)
    assert losses[2] != losses[0]
    for name, start in before.items():
        for state in (last, other_last):
            stays = any(part in name for part in still.split())
            assert np.array_equal(state[name], start) == stays, name
            assert np.array_equal(state[f"ema.{name}"], start) == stays, name
        moved = np.abs(last[name] - start).max()
        assert np.abs(other_last[name] - last[name]).max() <= 0.02 * moved, name
    # Slots, such as the momentum, are of what is trained.
    for state in (last, other_last):
        slots = state.keys() - before.keys() - {f"ema.{name}" for name in before}
        assert any(name.endswith("classifier.weight") for name in slots)
        assert not any(part in name for part in frozen.split() for name in slots)
    # Frozen or not, the model has its size.
    size = sum(array.size for name, array in before.items() if "moving" not in name)
    assert meta.parameters == other_meta.parameters == size


@pytest.mark.parametrize("framework", [pytest.param("mindspore", marks=pytest.mark.slow), "torch"])
def test_a_resumed_run_repeats_the_uninterrupted_one_to_the_last_bit(framework, tmp_path):
    options = {"framework": framework, "freeze": "*.gamma,*.beta", "optimizer": "adam"}
    options |= {"epochs": 2, "ema": 0.0, "mode": "eager"}
    _, _, whole, _ = fit(tmp_path / "whole", **options)
    with pytest.raises(Cut):
        fit(tmp_path / "cut", cut=1, **options)
    _, _, again, _ = fit(tmp_path / "cut", resume=tmp_path / "cut", **options)
    assert whole.keys() == again.keys()
    assert all(np.array_equal(whole[name], again[name]) for name in whole)

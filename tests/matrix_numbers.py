"""Numbers that are not finite in a training: back to what was saved last, or a line."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from matrix import Counts, counting

from maam.core.errors import MaamError
from maam.core.run_folder import RunFolder
from maam.core.tensors import load_tensors


def poison_numbers(folder: Path, framework: str, steps: Sequence[int] = (0, 24, 49)) -> Counts:
    """NaN and infinity in batches and weights, in PyTorch in outputs (so in the loss) and gradients
    too, at some of 50 steps, once and always: back to the last checkpoint, or a line after three
    times; the best weights stay finite."""
    import maam

    loop = importlib.import_module(f"maam.{framework}.loop")
    kinds = ("batch", "weight", "output", "gradient")[: 4 if framework == "torch" else 2]
    options: dict[str, Any] = {
        "data": "digits",
        "limit": 200,
        "epochs": 2,
        "batch_size": 8,
        "augment": "none",
        "framework": framework,
        "checkpoint_minutes": 0,
    }
    with counting(f"numbers that are not finite, {framework}") as counts:
        cases = product(steps, (float("nan"), float("inf")), kinds, (False, True))
        for step, value, what, always in cases:
            counts.cases += 1
            name = f"{what} {value} at step {step}, always {always}"
            run = RunFolder(folder / str(counts.cases))
            poison = _Poison(step, value, what, always)
            net, spoil = (_torch_net if framework == "torch" else _mindspore_net)(poison)
            batches = partial(poison.batches, loop.train_batches, spoil)
            try:
                with patch.object(loop, "train_batches", batches):
                    maam.train(model=net, out=run.path, **options)
                outcome: MaamError | None = None
            except MaamError as error:
                outcome = error
            _judge(counts, run, outcome, always, name)
    return counts


@dataclass
class _Poison:
    """Where a number becomes ``value``: from the batch of this number on, or in it alone."""

    step: int
    value: float
    what: str
    always: bool
    drawn: int = 0
    due: bool = False  # in the step that is being made

    def batches(
        self,
        train_batches: Callable[..., Iterator[tuple]],
        spoil: Callable[[], None],
        *arguments: Any,
        **named: Any,
    ) -> Iterator[tuple]:
        for images, labels in train_batches(*arguments, **named):
            self.due = self.drawn >= self.step if self.always else self.drawn == self.step
            self.drawn += 1
            if self.due and self.what == "weight":
                spoil()
            yield images * self.value if self.due and self.what == "batch" else images, labels


def _torch_net(poison: _Poison) -> tuple[Any, Callable[[], None]]:
    """A network, and what makes a weight of it not finite."""
    import torch

    class Poisoned(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.dense = torch.nn.Linear(64, 10)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = self.dense(images.flatten(1))
            if self.training and poison.due and poison.what == "output":
                return logits * poison.value
            if self.training and poison.due and poison.what == "gradient":
                logits.register_hook(lambda gradient: gradient * poison.value)
            return logits

    net = Poisoned()

    def spoil() -> None:
        with torch.no_grad():
            net.dense.weight[0, 0] = poison.value

    return net, spoil


def _mindspore_net(poison: _Poison) -> tuple[Any, Callable[[], None]]:
    """As ``_torch_net``."""
    from mindspore import Tensor, nn

    net = nn.SequentialCell(nn.Flatten(), nn.Dense(64, 10))

    def spoil() -> None:
        weight = net[1].weight.asnumpy()
        weight[0, 0] = poison.value
        net[1].weight.set_data(Tensor(weight))

    return net, spoil


def _judge(
    counts: Counts, run: RunFolder, outcome: MaamError | None, always: bool, name: str
) -> None:
    if run.best.exists():
        finite = all(np.isfinite(array).all() for array in load_tensors(run.best)[0].values())
        if not finite:
            counts.fail("poisoned weights", name)
            return
    if outcome is None and not run.best.exists():
        counts.fail("no weights", name)
    elif (outcome is not None) != always:
        counts.fail("another end", f"{name}: {outcome}")
    elif outcome is None:
        counts.fine += 1
    elif "halved 3 times" in str(outcome):
        counts.noticed += 1
    else:
        counts.fail("another line", f"{name}: {outcome}")

"""Which ways to train cheaper epochs give more accuracy for the same time of one core?

Trains `maamnet-nano` on 45,000 images of CIFAR-10 for so many seconds of one core, and scores it on
the 5,000 held out; in PyTorch, float32. The learning rate rises for a fifth of the time and
falls to 0. Seconds are those the process computes, so that a pause does not count.

    python experiments/cheap_epochs.py                      # all in turn, then the page
    python experiments/cheap_epochs.py plain small-first    # these only

It writes results/cheap_epochs.json and docs/cheap-epochs.md. A form that has been trained with a
seed is not trained again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from design_tries import SMALLEST
from torch import Tensor, nn
from torch.nn import functional as F

from maam.core import environment
from maam.core.config import TrainConfig
from maam.core.errors import MaamError
from maam.core.files import write_atomic
from maam.data import Dataset, load_dataset
from maam.data.augment import Augmentation
from maam.data.augment.resizing import small_size
from maam.data.preprocessing import Preprocessing
from maam.models.variants import AGENTS
from maam.report.markdown import markdown_table
from maam.torch.augment import resize
from maam.torch.loader import train_batches
from maam.torch.models.maamnet import MAAMNet
from maam.torch.step import compute_logits, make_optimizer, set_training

ROOT = Path(__file__).parents[1]
CONFIG = TrainConfig(
    data="cifar10",
    model="maamnet-nano",
    batch_size=128,
    optimizer="sgd",
    learning_rate=0.2,
    weight_decay=5e-4,
    label_smoothing=0.1,
)
RISE = 0.2  # of the time
SMALL_UNTIL = 0.6  # of the time
FROZEN_FROM = 0.8  # of the time
PROXY = ((16, 1), (32, 2), (64, 1))  # stages of the network that chooses images
FORMS = {
    "plain": "32x32, every image",
    "small-first": "progressive resizing: 24x24 for 60 % of the time, then 32x32",
    "hardest-half": "selection by a proxy: of 256 images the 128 that a smaller network, trained "
    "beside it, finds hardest (arXiv 1910.00762, 1906.11829)",
    "frozen-norms": "BatchNorm frozen in the last 20 % of the time: statistics, gamma, beta",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("forms", nargs="*", metavar="FORM", help="; ".join(FORMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "cheap_epochs.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "cheap-epochs.md")
    given = parser.parse_args()
    if unknown := set(given.forms) - set(FORMS):
        parser.error(f"no such form: {min(unknown)}")
    torch.set_num_threads(1)
    here = environment.environment()
    alike = {"seconds": given.seconds, **{key: here[key] for key in ("cpu", "torch")}}
    report = json.loads(given.results.read_text()) if given.results.exists() else {"rows": []}
    for key, value in alike.items():
        if report.setdefault(key, value) != value:
            parser.error(f"{given.results} has another {key}: name another file with --results")
    try:
        dataset = load_dataset(CONFIG.data, given.data_dir)
    except MaamError as error:
        parser.error(str(error))
    for seed in given.seeds:
        for form in given.forms or FORMS:
            if any((row["form"], row["seed"]) == (form, seed) for row in report["rows"]):
                continue
            row = train(form, seed, dataset, given.seconds)
            print(f"{form} seed {seed}: {row['accuracy']:.2f} % after {row['epochs']:.1f} epochs")
            report["rows"].append(row)
            write_atomic(given.results, json.dumps(report, indent=1) + "\n")
    write_atomic(given.page, page(report))


def train(
    form: str,
    seed: int,
    dataset: Dataset,
    seconds: float,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, Any]:
    """One training of so many seconds: its accuracy, and how many images it learned from."""
    torch.manual_seed(seed)
    preprocessing = Preprocessing.fit(dataset.train, "standard")
    net = network(SMALLEST)
    optimizer = make_optimizer(net, CONFIG)
    set_training(net)
    choose = Proxy() if form == "hardest-half" else None
    steps = 0
    size = CONFIG.batch_size * (2 if choose else 1)
    start = clock()
    for images, labels in endless(dataset, preprocessing, size, seed):
        progress = (clock() - start) / seconds
        if progress >= 1:
            break
        rate = CONFIG.learning_rate * min(progress / RISE, (1 - progress) / (1 - RISE))
        if form == "small-first" and progress < SMALL_UNTIL:
            images = resize(images, small_size(preprocessing.size))
        if choose:
            images, labels = choose(images, labels, rate)
        if form == "frozen-norms" and progress >= FROZEN_FROM:
            freeze_norms(net)
        step(net, optimizer, images, labels, rate)
        steps += 1
    right = compute_logits(net, dataset.val, preprocessing).argmax(1) == dataset.val.labels
    return {
        "form": form,
        "seed": seed,
        "accuracy": round(100 * float(right.mean()), 2),
        "epochs": round(steps * CONFIG.batch_size / len(dataset.train), 2),
        "steps": steps,
    }


class Proxy:
    """A small network that learns from all images and chooses the half with the largest losses."""

    def __init__(self) -> None:
        self.net = network(PROXY)
        self.optimizer = make_optimizer(self.net, CONFIG)
        set_training(self.net)

    def __call__(self, images: Tensor, labels: Tensor, rate: float) -> tuple[Tensor, Tensor]:
        losses = step(self.net, self.optimizer, images, labels, rate)
        hardest = losses.topk(len(images) // 2).indices
        return images[hardest], labels[hardest]


def endless(
    dataset: Dataset, preprocessing: Preprocessing, size: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of epoch after epoch."""
    images = torch.from_numpy(dataset.train.pixels())
    labels = torch.from_numpy(dataset.train.labels).long()
    augmentation = Augmentation("crop-flip")
    for epoch in count():
        yield from train_batches(images, labels, preprocessing, size, augmentation, (seed, epoch))


def step(
    net: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, rate: float
) -> Tensor:
    """One step; the loss of each image before it."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    losses = F.cross_entropy(
        net(images), labels, reduction="none", label_smoothing=CONFIG.label_smoothing
    )
    losses.mean().backward()
    optimizer.step()
    return losses.detach()


def network(stages: Sequence[tuple[int, int]]) -> nn.Module:
    """A MAAMNet of these stages: float32 (N, 3, H, W) -> logits (N, 10)."""
    net = MAAMNet(10, 3, (32, 32), stages, AGENTS)
    return net.to(memory_format=torch.channels_last)


def freeze_norms(net: nn.Module) -> None:
    """Norms use their stored statistics, and learn no more."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
    set_training(net)


def page(report: Mapping[str, Any]) -> str:
    """docs/cheap-epochs.md."""
    scores = {form: {} for form in FORMS}
    for row in report["rows"]:
        scores[row["form"]][row["seed"]] = row
    lines = []
    for form, text in FORMS.items():
        if not (found := scores[form]):
            continue
        gains = [
            found[seed]["accuracy"] - scores["plain"][seed]["accuracy"]
            for seed in found
            if form != "plain" and seed in scores["plain"]
        ]
        lines.append(
            (
                text,
                spread([row["accuracy"] for row in found.values()], ".2f"),
                spread(gains, "+.2f") if gains else "-",
                str(len(found)),
                f"{mean(row['epochs'] for row in found.values()):.1f}",
            )
        )
    return (
        "# Cheaper epochs\n\n"
        "Written by `python experiments/cheap_epochs.py`, from results/cheap_epochs.json: "
        "`maamnet-nano` learns from 45,000 images of CIFAR-10 (JPEG copy) for "
        f"{report['seconds']:g} seconds of one core each time, and is scored on the 5,000 held-out "
        "training images: the standard error of an accuracy is about 0.5 points. PyTorch "
        f"{report['torch']}, float32, {report['cpu']}; batch {CONFIG.batch_size}, sgd, rate "
        f"{CONFIG.learning_rate:g} at most, weight decay {CONFIG.weight_decay:g}, label smoothing "
        f"{CONFIG.label_smoothing:g}, crop and flip. Epochs are images learned from, divided by "
        "45,000. Differences are of the same seeds; no form's rate was tuned. Frozen norms "
        "ended at chance, 10 %: once they are frozen, the loss grows at these rates.\n\n"
        + markdown_table(("What", "Accuracy %", "Difference", "Seeds", "Epochs"), lines)
        + "\n"
    )


def spread(values: Sequence[float], form: str) -> str:
    """Mean and, of several, standard deviation."""
    return f"{mean(values):{form}}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()

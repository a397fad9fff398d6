"""Which ways to train cheaper epochs give more accuracy for the same time of one core?

Trains `maamnet-nano` on 45,000 images of CIFAR-10 for so many seconds of one core, and scores it on
the 5,000 held out; in PyTorch, float32. The learning rate rises for a fifth of the time and
falls to 0. Seconds are those the process computes, so that a pause does not count.

    OMP_NUM_THREADS=1 python experiments/cheap_epochs.py                # all, then the notes
    OMP_NUM_THREADS=1 python experiments/cheap_epochs.py small-first    # this one only

It writes results/cheap_epochs.json and docs/cheap-epochs.md. A form that has been trained with a
seed is not trained again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
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
from maam.core.files import write_atomic
from maam.data import Dataset, load_dataset
from maam.data.augment import Augmentation
from maam.data.preprocessing import Preprocessing
from maam.models.variants import AGENTS
from maam.report.markdown import markdown_table
from maam.torch.loader import train_batches
from maam.torch.models.maamnet import MAAMNet
from maam.torch.step import compute_logits, make_optimizer, set_training

ROOT = Path(__file__).parents[1]
SECONDS = 600.0
CONFIG = TrainConfig(
    data="cifar10",
    model="maamnet-nano",
    optimizer="sgd",
    learning_rate=0.2,
    weight_decay=5e-4,
    label_smoothing=0.1,
)
BATCH = 128
RISE = 0.2  # of the time
PROXY = ((16, 1), (32, 2), (64, 1))  # stages of the network that chooses images
FORMS = {
    "plain": "32x32, batch 128",
    "small-first": "24x24 for the first 60 % of the time, then 32x32",
    "hardest-half": "the half of 256 images that a small network, trained beside it, finds hardest",
    "frozen-norms": "norms keep their statistics, gamma and beta in the last 20 % of the time",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("forms", nargs="*", metavar="FORM", help="; ".join(FORMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "cheap_epochs.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "cheap-epochs.md")
    given = parser.parse_args()
    if unknown := set(given.forms) - set(FORMS):
        parser.error(f"no such form: {min(unknown)}")
    report = json.loads(given.results.read_text()) if given.results.exists() else {"rows": []}
    if report.setdefault("seconds", given.seconds) != given.seconds:
        parser.error(f"--seconds: {given.results} has trainings of {report['seconds']:g} s")
    dataset = load_dataset(CONFIG.data, given.data_dir)
    for form in given.forms or FORMS:
        for seed in given.seeds:
            if any((row["form"], row["seed"]) == (form, seed) for row in report["rows"]):
                continue
            row = train(form, seed, dataset, given.seconds)
            print(f"{form} seed {seed}: {row['accuracy']:.2f} % after {row['epochs']:.1f} epochs")
            report["rows"].append(row | {"environment": environment.environment()})
            write_atomic(given.results, json.dumps(report, indent=1) + "\n")
    write_atomic(given.page, page(report))


def train(form: str, seed: int, dataset: Dataset, seconds: float) -> dict[str, Any]:
    """One training of so many seconds: its accuracy, and how often it saw all images."""
    torch.manual_seed(seed)
    preprocessing = Preprocessing.fit(dataset.train, "standard")
    net = network(SMALLEST)
    optimizer = make_optimizer(net, CONFIG)
    proxy = network(PROXY)
    proxy_optimizer = make_optimizer(proxy, CONFIG)
    set_training(net)
    set_training(proxy)
    seen = steps = 0
    size = 2 * BATCH if form == "hardest-half" else BATCH
    start = time.process_time()
    for images, labels in endless(dataset, preprocessing, size, seed):
        progress = (time.process_time() - start) / seconds
        if progress >= 1:
            break
        seen += len(images)
        steps += 1
        rate = CONFIG.learning_rate * min(progress / RISE, (1 - progress) / (1 - RISE))
        if form == "small-first" and progress < 0.6:
            images = F.interpolate(images, 24, mode="area").contiguous(
                memory_format=torch.channels_last
            )
        if form == "hardest-half":
            losses = step(proxy, proxy_optimizer, images, labels, rate)
            hardest = losses.topk(BATCH).indices
            images, labels = images[hardest], labels[hardest]
        if form == "frozen-norms" and progress >= 0.8:
            freeze_norms(net)
        step(net, optimizer, images, labels, rate)
    right = compute_logits(net, dataset.val, preprocessing).argmax(1) == dataset.val.labels
    return {
        "form": form,
        "seed": seed,
        "accuracy": round(100 * float(right.mean()), 2),
        "epochs": round(seen / len(dataset.train), 2),
        "steps": steps,
    }


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
    net = MAAMNet(10, 3, (32, 32), stages, AGENTS)
    return net.to(memory_format=torch.channels_last)


def freeze_norms(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False).eval()


def page(report: Mapping[str, Any]) -> str:
    """docs/cheap-epochs.md."""
    rows, lines = report["rows"], []
    plain = mean(row["accuracy"] for row in rows if row["form"] == "plain")
    for form, text in FORMS.items():
        found = [row for row in rows if row["form"] == form]
        if not found:
            continue
        scores = [row["accuracy"] for row in found]
        spread = f" ± {stdev(scores):.2f}" if len(scores) > 1 else ""
        lines.append(
            (
                text,
                f"{mean(scores):.2f}{spread}",
                "-" if form == "plain" else f"{mean(scores) - plain:+.2f}",
                str(len(scores)),
                f"{mean(row['epochs'] for row in found):.1f}",
            )
        )
    facts = rows[0]["environment"]
    return (
        "# Cheaper epochs\n\n"
        "Written by `OMP_NUM_THREADS=1 python experiments/cheap_epochs.py`, from "
        "results/cheap_epochs.json: `maamnet-nano` on 45,000 images of CIFAR-10 (JPEG copy), for "
        f"{report['seconds']:g} seconds of one core's time each, scored on the 5,000 held-out "
        f"training images. PyTorch {facts['torch']}, float32, on {facts['cpu']}; sgd, rate "
        f"{CONFIG.learning_rate:g} at most, weight decay {CONFIG.weight_decay:g}, label smoothing "
        f"{CONFIG.label_smoothing:g}, crop and flip. Epochs are images seen, divided by 45,000.\n\n"
        + markdown_table(("What", "Accuracy %", "Difference", "Seeds", "Epochs"), lines)
        + "\n"
    )


if __name__ == "__main__":
    main()

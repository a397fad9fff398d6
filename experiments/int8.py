"""Bring shipped weights to 8-bit integers, and say what that costs: a row a model.

Needed anew whenever weights are shipped anew: int8.safetensors names the weights it was made from.

    python experiments/int8.py maamnet-nano     # from CIFAR-10
    python experiments/int8.py maamnet-tiny --images 2000
    python experiments/int8.py --grids          # other ways to choose the grids, on training images
    MAAM_DATA=/data python experiments/int8.py maamnet-small

``--grids`` compares the grids that hold every value, which are used, with those that hold all but
a share and with those of the least squared error, on 1,000 training images that no grid was chosen
from. Nothing is chosen by test images.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

import maam
from maam.data import load_dataset
from maam.data.preprocessing import Preprocessing
from maam.deploy import quantization
from maam.deploy.int8_report import report_rows, verdict
from maam.deploy.layers import LayeredNetwork, outcomes
from maam.deploy.reading import read_layers
from maam.models.weights import shipped_run
from maam.report.markdown import markdown_table

IMAGES, HELD_OUT = 500, 1000
MAX_DROP = 0.5  # points that shipped weights may lose
BINS = 4096
SHARES = (0.999, 0.9999, 0.99999)

Limits = list[list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", default=["maamnet-nano", "maamnet-tiny"])
    parser.add_argument("--grids", action="store_true", help="compare, and write nothing")
    parser.add_argument("--images", type=int, default=IMAGES, help="that the grids are chosen from")
    given = parser.parse_args()
    for name in given.models:
        if given.grids:
            print(markdown_table(("Grids", "Accuracy", "Same class", "Error"), compare(name)))
            continue
        report = maam.quantize(shipped_run(name).path, images=given.images, max_drop=MAX_DROP)
        print(markdown_table((name, "float32", "int8"), report_rows(report)))
        print(verdict(report))


def compare(name: str) -> list[tuple[str, str, str, str]]:
    """For each way to choose the grids: accuracy, answers as in float32, and the error of logits,
    relative to their deviation.
    """
    run = shipped_run(name)
    meta = run.read_meta()
    how, net = Preprocessing.from_dict(meta.preprocessing), read_layers(run)
    train = load_dataset("cifar10", val_fraction=0.0).train
    order = np.random.default_rng(0).permutation(len(train))
    images = train.take(np.sort(order[:IMAGES])).pixels()
    held_out = train.take(np.sort(order[IMAGES : IMAGES + HELD_OUT]))
    truth = net.logits(how(held_out.pixels()).transpose(0, 2, 3, 1))
    largest = quantization.largest_values(net, how, images)
    counts = histograms(net, how, images, largest)
    ways = {"all values": largest}
    ways |= {f"all but {1 - share:.3%}": but(largest, counts, share) for share in SHARES}
    ways["least squared error"] = least_error(net, largest, counts)
    rows = [("float32", f"{(truth.argmax(1) == held_out.labels).mean():.2%}", "", "")]
    for way, limits in ways.items():
        integers = quantization.with_limits(net, how, [*limits[:-1], largest[-1]])
        logits = integers.logits(held_out.pixels()) * integers.logit_scale
        answers = logits.argmax(1)
        error = np.sqrt(((logits - truth) ** 2).mean()) / truth.std()
        same = (answers == truth.argmax(1)).mean()
        right = (answers == held_out.labels).mean()
        rows.append((way, f"{right:.2%}", f"{same:.2%}", f"{error:.2%}"))
    return rows


def histograms(
    net: LayeredNetwork, how: Preprocessing, images: np.ndarray, largest: Limits
) -> list[list[np.ndarray]]:
    """How often each size of a value occurs, for each of ``largest``."""
    counts = [[np.zeros(BINS, np.int64) for _ in row] for row in largest]
    for start in range(0, len(images), 32):
        maps = [how(images[start : start + 32]).transpose(0, 2, 3, 1)]
        for number, layer in enumerate(net.layers):
            made = outcomes(layer, [maps[each] for each in layer.inputs])
            for place, values in enumerate(made):
                range_ = (0, max(largest[number][place], 1e-6))
                counts[number][place] += np.histogram(np.abs(values), BINS, range_)[0]
            maps.append(made[-1])
    return counts


def but(largest: Limits, counts: Sequence[Sequence[np.ndarray]], share: float) -> Limits:
    """Limits that hold this share of the values."""
    return [
        [
            top * (int(np.searchsorted(np.cumsum(count), share * count.sum())) + 1) / BINS
            for top, count in zip(*rows, strict=True)
        ]
        for rows in zip(largest, counts, strict=True)
    ]


def least_error(
    net: LayeredNetwork, largest: Limits, counts: Sequence[Sequence[np.ndarray]]
) -> Limits:
    """Limits for which rounding and clamping make the least squared error."""

    def error(limit: float, steps: int, values: np.ndarray, count: np.ndarray) -> float:
        scale = limit / steps
        rounded = np.minimum(np.rint(values / scale), steps) * scale
        return float(((values - rounded) ** 2 * count).sum())

    chosen = []
    for layer, tops, rows in zip(net.layers, largest, counts, strict=True):
        limits = []
        for place, (top, count) in enumerate(zip(tops, rows, strict=True)):
            relu = bool(layer.convolutions) and layer.convolutions[place].relu
            values = (np.arange(BINS) + 0.5) / BINS * top
            tries = (top * np.linspace(0.3, 1, 71)).tolist()
            limits.append(min(tries, key=lambda t: error(t, 255 if relu else 127, values, count)))
        chosen.append(limits)
    return chosen


if __name__ == "__main__":
    main()

"""Pack a training on Tiny ImageNet as weights to begin with on photos.

    python benchmarks/ship_photos.py runs/queue/maamnet-nano-tiny-imagenet-seed-0

Weights are rounded to float16 (norms and biases stay float32). The card's accuracy is that of these
weights on the 10,000 validation images of Tiny ImageNet, which took no part in the training.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from ship import KEPT, options, rounded

from maam import evaluate
from maam.core import frameworks
from maam.core.errors import MaamError
from maam.core.files import write_atomic
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.core.tensors import load_tensors, save_tensors
from maam.models.weights import TINY_IMAGENET, WEIGHTS
from maam.report.markdown import code, markdown_table
from maam.training.commands import commands


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    given = parser.parse_args()
    try:
        print(ship(given.run))
    except MaamError as error:
        print(f"ship_photos: {error}", file=sys.stderr)
        sys.exit(2)


def ship(run: Path) -> Path:
    """Write the folder of the weights, in place of an older one.

    Raises:
        MaamError: the run is not finished, or not one of Tiny ImageNet's 200 classes.
    """
    source = RunFolder(run)
    meta = source.read_meta()
    if not meta.metrics or meta.metrics["split"] != "test":
        raise MaamError(f"{run} has no test scores: end it with `maam train --resume {run}`")
    if len(meta.classes) != 200 or meta.images["test"] != 10_000:
        raise MaamError(f"{run} was not trained on Tiny ImageNet with its 10,000 validation images")
    kept = {key: getattr(meta, key) for key in KEPT}
    kept |= {"data": TINY_IMAGENET, "data_source": "Tiny ImageNet", "data_digests": {}}
    packed = RunMeta(**kept, config=options(meta.config) | {"data": TINY_IMAGENET}, shipped=True)
    with tempfile.TemporaryDirectory(dir=WEIGHTS.parent) as scratch:
        folder = RunFolder(Path(scratch) / meta.model)
        folder.path.mkdir()
        weights, _ = load_tensors(source.best)
        save_tensors(folder.best, rounded(weights), {"seed": meta.config["seed"]})
        folder.write_meta(packed)
        scores = evaluate(folder.path, data=meta.data, split="test")
        figures = {key: scores[key] for key in ("accuracy", "top5_accuracy", "loss", "images")}
        packed = replace(packed, metrics={"split": "test", **figures})
        folder.write_meta(packed)
        write_atomic(folder.card, card(packed, figures))
        target, old = WEIGHTS / TINY_IMAGENET / meta.model, Path(scratch) / "old"
        target.parent.mkdir(exist_ok=True)
        if target.exists():
            target.rename(old)
        folder.path.rename(target)
    return target


def card(meta: RunMeta, figures: dict[str, float]) -> str:
    """The model card, in Markdown."""
    config = meta.config
    recipe = f"experiments/recipes/{meta.model}-tiny-imagenet.toml"
    rows = (
        ("Accuracy on the validation images, these weights", f"{100 * figures['accuracy']:.2f} %"),
        ("Top-5 accuracy", f"{100 * figures['top5_accuracy']:.2f} %"),
        ("Cross-entropy", f"{figures['loss']:.4f}"),
        ("Parameters in training", f"{meta.parameters:,}"),
        ("Multiply-accumulates per image in training", f"{meta.macs:,}"),
        ("Images", f"{meta.images['train']:,} to train, {meta.images['test']:,} to score"),
    )
    return (
        "\n\n".join(
            (
                f"# {meta.model} for photos",
                "To begin a training with: `maam train FOLDER --model "
                f"{meta.model} --pretrained --weights tiny-imagenet`. {config['epochs']} epochs, "
                f"seed {config['seed']}, with {frameworks.NAMES[meta.framework]}, 64x64 pixels. "
                "Weights are stored in float16, norms and biases in float32.",
                markdown_table(("", "Value"), rows),
                "## Repeat it",
                code("sh", commands(f"maam train --recipe {recipe}", meta)),
                "## Licence",
                "Tiny ImageNet (200 classes, 100,000 training images of 64x64) is a part of "
                "ImageNet (Russakovsky et al. 2015), whose terms allow non-commercial research and "
                "education. Whether weights learned from it may be used commercially is not "
                "settled: decide for yourself, or begin with other weights, or from scratch.",
            )
        )
        + "\n"
    )


if __name__ == "__main__":
    main()

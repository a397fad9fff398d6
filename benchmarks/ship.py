"""Pack trained runs as weights that come with the package, with a card and their ONNX form.

    python benchmarks/ship.py recipes/maamnet-nano.toml runs/campaign/maamnet-nano-seed-*

The runs are those of one recipe with different seeds. The first is shipped, whatever its score;
all count in the card's mean and deviation. Weights are rounded to float16 (norms and biases stay
float32), and the card's numbers are those of these weights on the test images.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from export_shipped import class_table, score_rows, write_file

from maam.core import frameworks
from maam.core.config import TrainConfig, make_config
from maam.core.errors import MaamError
from maam.core.files import write_atomic
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.core.tensors import load_tensors, save_tensors
from maam.models.weights import WEIGHTS
from maam.report.markdown import code, markdown_table
from maam.training.commands import commands
from maam.training.distillation import as_teacher
from maam.training.options import resolve

# Of what a run knows of itself; the rest is the machine's, or the trained weights' before rounding.
KEPT = (
    *("model", "classes", "preprocessing", "data", "data_source", "data_digests"),
    *("images", "parameters", "macs", "deployed", "teacher", "start", "stages"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--framework", choices=["auto", "mindspore", "torch"], default="auto")
    given = parser.parse_args()
    try:
        print(ship(given.recipe, given.runs, given.data_dir, given.framework))
    except MaamError as error:
        print(f"ship: {error}", file=sys.stderr)
        sys.exit(2)


def ship(recipe: Path, runs: Sequence[Path], data_dir: Path | None, framework: str) -> Path:
    """Write the folder of a shipped model, in place of an older one.

    Raises:
        MaamError: a run is not finished, was not trained by the recipe on CIFAR-10 alone, or
            differs from the first in more than the seed.
    """
    metas = [RunFolder(run).read_meta() for run in runs]
    seeds = [meta.config["seed"] for meta in metas]
    for run, meta in zip(runs, metas, strict=True):
        if not meta.metrics or meta.metrics["split"] != "test":
            raise MaamError(f"{run} has no test scores: end it with `maam train --resume {run}`")
        if without_seed(meta) != without_seed(metas[0]):
            raise MaamError(f"{run} was trained with other options than {runs[0]}")
        if wanted(recipe, meta) != options(meta.config):
            raise MaamError(f"{run} was not trained by {recipe}")
        if meta.data != "cifar10":
            raise MaamError(f"{run} was trained on {meta.data}: the card is for cifar10")
        if seeds.count(meta.config["seed"]) > 1:
            raise MaamError(f"{run}: its seed is there twice")
        if not from_scratch(as_teacher(meta), meta):
            raise MaamError(f"{run} rests on other images or weights: ship what does not")
    meta, source = metas[0], RunFolder(runs[0])
    backend = frameworks.use(frameworks.choose(framework, meta.framework))
    backend.set_device("CPU")
    with tempfile.TemporaryDirectory(dir=WEIGHTS.parent) as scratch:
        folder = RunFolder(Path(scratch) / meta.model)
        folder.path.mkdir()
        weights, _ = load_tensors(source.best)
        save_tensors(folder.best, rounded(weights), {"seed": meta.config["seed"]})
        facts = {key: getattr(meta, key) for key in KEPT}
        kept = RunMeta(**facts, config=options(meta.config), shipped=True)
        folder.write_meta(kept)
        scores = write_file(folder, backend, data_dir)
        kept = folder.read_meta()
        accuracies = [100 * (each.metrics or {})["accuracy"] for each in metas]
        text = card(kept, scores, accuracies, recipe)
        write_atomic(folder.card, text)
        target, old = WEIGHTS / meta.model, Path(scratch) / "old"
        if target.exists():
            target.rename(old)
        try:
            folder.path.rename(target)
        except BaseException:
            if old.exists():
                old.rename(target)
            raise
    return target


def from_scratch(network: Mapping[str, Any], meta: RunMeta) -> bool:
    """Whether a network, those it began with and those it learned from saw a run's images alone."""
    if network["data_digests"] != meta.data_digests:
        return False
    if network["pretrained"] and not network.get("start"):
        return False
    before = [network[key] for key in ("start", "teacher") if network.get(key)]
    return all(from_scratch(each, meta) for each in before)


def starts(recipe: Path) -> list[str]:
    """The recipes, first to last, of whose weights a recipe's training begins with the last."""
    config = resolve({}, recipe)
    if not config.pretrained:
        return []
    name = Path(config.weights).name
    return [*starts(recipe.with_name(f"{name}.toml")), name]


def rests(recipe: Path) -> list[str]:
    """The recipes whose trainings a recipe's rests on, as starts or as teachers, first to last."""
    config, names = resolve({}, recipe), []
    for run in (config.weights if config.pretrained else "", config.teacher):
        if name := Path(run).name:
            names += [*rests(recipe.with_name(f"{name}.toml")), name]
    return list(dict.fromkeys(names))


def wanted(recipe: Path, meta: RunMeta) -> dict[str, Any]:
    """What a recipe gives to a training with the seed of a run."""
    return options(resolve({"seed": meta.config["seed"]}, recipe).model_dump(mode="json"))


def options(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a training was given, without what belongs to the machine that it ran on.

    An option that is newer than the training has its default.
    """
    whole = make_config(TrainConfig, dict(config)).model_dump(mode="json")
    return {
        key: Path(value).name if key in ("teacher", "weights") and value else value
        for key, value in whole.items()
        if value is not None and key not in ("data_dir", "out", "device", "workers")
    }


def rounded(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights in float16, vectors in float32."""
    return {
        name: array.astype(np.float16 if array.ndim > 1 else np.float32)
        for name, array in tensors.items()
    }


def card(
    meta: RunMeta,
    scores: Mapping[str, Any],
    accuracies: Sequence[float],
    recipe: Path,
) -> str:
    """The model card, in Markdown."""
    model, config = meta.model, meta.config
    seeds = ", ".join(f"{accuracy:.2f}" for accuracy in accuracies)
    spread = f" ± {stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
    facts = (
        *list(score_rows(scores).items())[:1],
        (f"Test accuracy, seeds: {len(accuracies)}", f"{mean(accuracies):.2f}{spread} % ({seeds})"),
        *list(score_rows(scores).items())[1:],
        ("Parameters, folded", f"{meta.deployed['parameters']:,}"),
        ("Multiply-accumulates per image, folded", f"{meta.deployed['macs']:,}"),
        ("Images", f"{meta.images['train']:,} to train, {scores['images']:,} to test"),
    )
    named, teacher = f"recipes/{recipe.name}", config.get("teacher")
    began = (
        f"It began with the weights of `recipes/{config['weights']}.toml`, which saw the same "
        "images and nothing else."
        if meta.start
        else "No pretrained weights."
    )
    taught = (
        f"It also learned from the answers of `{teacher}`, our own network, trained on the same "
        "images and nothing else."
        if teacher
        else "No other network taught it."
    )
    before = [
        f"maam train --recipe recipes/{name}.toml --out runs/{name}" for name in rests(recipe)
    ]
    train = [*before, f"maam train --recipe {named} --seed {config['seed']}"]
    return (
        "\n\n".join(
            (
                f"# {model} for CIFAR-10",
                f"{meta.data_source}. Recipe: `{named}`, seed {config['seed']}, "
                f"{config['epochs']} epochs with {frameworks.NAMES[meta.framework]}. {began} "
                f"{taught} No other data, no test-time augmentation. "
                "Weights are stored in float16, norms and biases in float32.",
                markdown_table(("", "Value"), facts),
                class_table(scores),
                "## Repeat it",
                code(
                    "sh",
                    f"maam evaluate --model {model} --data cifar10\n"
                    + commands("\n".join(train), meta),
                ),
                "## Limits",
                "- It knows ten classes and 32x32 pixels, and answers every image with one of "
                "them: look at its errors on your images first.\n"
                "- CIFAR-10 was drawn from photographs on the web; it is biased as they are.\n"
                "- The scores are of the copy named above. JPEG compression costs a little "
                "accuracy; the original pictures score differently.",
                "## Licence",
                "The weights are under the package's licence (Apache-2.0). CIFAR-10 (Krizhevsky "
                "2009, https://www.cs.toronto.edu/~kriz/cifar.html) names no licence of its own.",
            )
        )
        + "\n"
    )


def without_seed(meta: RunMeta) -> str:
    """What runs have in common that differ in nothing but the seed."""
    config = {k: v for k, v in options(meta.config).items() if k != "seed"}
    stages = [[stage["epochs"], stage["until"]] for stage in meta.stages]
    facts = [meta.model, meta.data_source, meta.images, meta.data_digests["test"]]
    return json.dumps([*facts, config, stages], sort_keys=True)


if __name__ == "__main__":
    main()

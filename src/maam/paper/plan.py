"""Which trainings a reproduction takes: a list of rows, each a set of options and some seeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maam.core.config import TrainConfig, make_config
from maam.core.errors import MaamError
from maam.core.files import make_folder, write_atomic
from maam.core.frameworks import choose
from maam.core.recipes import to_toml
from maam.core.reproduce_config import ReproduceConfig

TABLE_1 = ("maam", "cnn", "mlp", "rnn")
TABLE_2 = ("maam", "maam-cnn", "maam-no-attention", "maam-no-reduce")
CHEAP = ("mlp", "rnn", "cnn")  # minutes on two CPU cores; each MAAM takes half an hour
AGREEING = ("cnn", "mlp")  # trained in both frameworks

# Section 4.2 gives the pipeline and the batch size; optimiser, rate and schedule are our choice.
PROTOCOL: dict[str, Any] = {
    "data": "cifar10",
    "val_fraction": 0.0,
    "batch_size": 64,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "normalize": "unit",
    "precision": "fp32",
}
EPOCHS, SEEDS = 15, 3
GPU_EPOCHS = 30
QUICK = {"limit": 2000, "epochs": 3}

# The study: what each part is worth, on 5,000 training images held out for it.
STUDY = (
    *("maam", "maam-p1", "maam-p3", "maam-k135", "maam-k357", "maam-multires"),
    *("maam-a1", "maam-a2", "maam-a4", "maam-a6"),
    *("maam-no-attention", "maam-concat", "maam-squeeze", "maam-no-reduce", "maam-cnn"),
)
STUDY_OPTIONS = {"val_fraction": 0.1, "epochs": 2}
STUDY_SEEDS = 2

# Settings that might make an ablation collapse as in Table 2, for one epoch unless they say so.
# They explain Table 2 only if the whole model survives them.
COLLAPSE: dict[str, dict[str, Any]] = {
    "usual options": {},
    "learning rate 0.01": {"learning_rate": 0.01},
    "learning rate 0.1": {"learning_rate": 0.1},
    "classifier frozen": {"freeze": "hidden.*,classifier.*"},
    "no normalisation": {"freeze": "*.gamma,*.beta"},
    "2000 images for 3 epochs": {"limit": 2000, "epochs": 3},
}


@dataclass(frozen=True)
class Row:
    """One model under one set of options, trained once a seed.

    Attributes:
        part: ``tables``, ``twin`` (the other framework), ``study`` or ``collapse``.
        name: of its recipe; with the seed, of its run folders.
        setting: what is special about it, for people.
        options: fields of ``TrainConfig``, without the seed.
        seeds: one training each.
    """

    part: str
    name: str
    setting: str
    options: dict[str, Any]
    seeds: tuple[int, ...]

    def folder(self, runs: Path, seed: int) -> Path:
        """The run folder, named as the campaign runner names it."""
        return runs / f"{self.name}-seed-{seed}"


def plan(scope: str, config: ReproduceConfig) -> list[Row]:
    """All rows of ``quick`` or ``full``, what is cheap and what matters most first.

    Raises:
        MaamError: ``scope`` is neither.
    """
    if scope not in ("quick", "full"):
        raise MaamError(f"a reproduction is quick or full, not {scope!r}")
    if scope == "quick" and (config.epochs or config.seeds):
        raise MaamError("`epochs` and `seeds` are for a full reproduction: a quick one has its own")
    framework = choose(config.framework)
    other = "torch" if framework == "mindspore" else "mindspore"

    def row(part: str, model: str, options: dict[str, Any], seeds: int, setting: str = "") -> Row:
        options = {**PROTOCOL, "model": model, "framework": framework, **options}
        words = [] if part in ("tables", "twin") else [part]
        words = ["quick"] if scope == "quick" else words
        words += [*setting.split(), model, options["framework"], f"{options['epochs']}e"]
        return Row(part, "-".join(words), setting, options, tuple(range(seeds)))

    models = dict.fromkeys((*reversed(TABLE_1), *TABLE_2))
    if scope == "quick":
        return [row("tables", model, QUICK, 1) for model in models]
    gpu = config.device == "CUDA"
    budget = {"epochs": config.epochs or (GPU_EPOCHS if gpu else EPOCHS)}

    def seeds(model: str) -> int:
        return config.seeds or (SEEDS if gpu or model in CHEAP else 1)

    tables = [row("tables", model, budget, seeds(model)) for model in models]
    twins = [row("twin", model, {**budget, "framework": other}, seeds(model)) for model in AGREEING]
    study = [row("study", model, STUDY_OPTIONS, STUDY_SEEDS) for model in STUDY]
    collapse = [
        row("collapse", model, {"epochs": 1, **options}, 1, setting)
        for setting, options in COLLAPSE.items()
        for model in TABLE_2
    ]
    return [*tables, *twins, *study, *collapse]


def write_recipe(row: Row, folder: Path) -> Path:
    """Write the row's options as a recipe into ``folder``, unless it lies there already.

    Raises:
        MaamError: it can't be written.
    """
    make_folder(folder)
    path = folder / f"{row.name}.toml"
    text = to_toml(make_config(TrainConfig, row.options))
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_atomic(path, text)
    return path

"""What a caller gives, a recipe or a resumed run, and defaults -> the options of a training."""

from __future__ import annotations

import os
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from maam.core.config import RESUMABLE, TrainConfig, make_config
from maam.core.errors import MaamError
from maam.core.frameworks import choose
from maam.core.recipes import read_recipe
from maam.core.run_folder import RunFolder
from maam.core.run_meta import OWN
from maam.data.augment import AUGMENTATIONS
from maam.data.sources import SOURCES
from maam.models.registry import describe_model
from maam.models.weights import is_own_run, own_run
from maam.training.device_limits import limits
from maam.training.schedule import OPTIMIZERS

PAPER_MODEL = "maam"  # of a named data set, unless another is named


def resolve(
    options: dict[str, Any], recipe: Path | str | None = None, run: Path | None = None
) -> TrainConfig:
    """The options of a training: defaults, then the recipe's or the resumed run's, then given ones.

    Args:
        options: the given ones.
        recipe: a TOML file.
        run: the run folder to go on with; only ``RESUMABLE`` options may differ from its own.

    Raises:
        MaamError: unknown option, value out of range, unreadable file, or a change that a resumed
            run can't make.
    """
    if run is None:
        if "weights" in options and options.get("pretrained") is False:
            raise MaamError(
                f"`weights={options['weights']}`: nothing begins with them: leave out "
                "`pretrained=False`, or them"
            )
        base = read_recipe(Path(recipe)) if recipe is not None else {}
        given = absolute({**_with_pretrained(base), **_with_pretrained(options)})
        if given.get("pretrained") and given.setdefault("normalize", "standard") == "unit":
            raise MaamError(
                "`normalize=unit`: `pretrained` has its own normalisation: leave it out"
            )
        return _checked(make_config(TrainConfig, given))
    if recipe is not None:
        raise MaamError("`resume` goes on with the run's own options: leave `recipe` out")
    options_file = RunFolder(run).config
    if not options_file.is_file():
        raise MaamError(f"`resume` {run} is not a run folder: it has no {options_file.name}")
    base = read_recipe(options_file)
    wanted = _checked(make_config(TrainConfig, absolute({**base, **options})))
    before = _checked(make_config(TrainConfig, base))
    for key in options:
        if key == "out":
            raise MaamError(f"`resume` goes on in {run}: leave `out` out")
        if key not in RESUMABLE and getattr(wanted, key) != getattr(before, key):
            raise MaamError(
                f"`resume` can't change `{key}`: only {', '.join(sorted(RESUMABLE))} may differ"
            )
    return wanted


def _with_pretrained(options: dict[str, Any]) -> dict[str, Any]:
    """Options with ``pretrained`` where they name ``weights``, which nothing else uses."""
    return {"pretrained": True, **options} if "weights" in options else options


def _checked(config: TrainConfig) -> TrainConfig:
    """The options with the framework that ``auto`` stands for on this machine.

    Raises:
        MaamError: a model, an augmentation or an optimiser that there is not, or no size of memory.
    """
    if config.model == "auto" and config.data in SOURCES and config.minutes is None:
        begun = config.pretrained and is_own_run(config.weights)
        model = own_run(config.weights).read_meta().model if begun else PAPER_MODEL
        config = config.model_copy(update={"model": model})
    if config.model != "auto" and not config.model.endswith(OWN):
        describe_model(config.model)
    if config.model.endswith(OWN) and config.pretrained:
        raise MaamError(
            "`pretrained`: no weights of your own network come with maam: give `model` as you want "
            "it to begin"
        )
    _check_name("augment", config.augment, ("auto", *AUGMENTATIONS))
    _check_name("optimizer", config.optimizer, OPTIMIZERS)
    limits(config)
    return config.model_copy(update={"framework": choose(config.framework)})


def _check_name(option: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        near = get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise MaamError(
            f"`{option}={name}`: there is no such one: did you mean {near}? There are "
            f"{', '.join(known)}"
        )


def absolute(options: dict[str, Any]) -> dict[str, Any]:
    """The options with absolute paths, so that they hold in any working directory."""
    result = dict(options)
    if (data := options.get("data")) and data not in SOURCES:
        result["data"] = os.path.abspath(os.path.expanduser(data))
    for key in ("data_dir", "teacher", "weights"):
        path = os.path.expanduser(options.get(key) or "")
        if path and (key == "data_dir" or os.path.isdir(path)):  # else the name of shipped weights
            result[key] = os.path.abspath(path)
    return result

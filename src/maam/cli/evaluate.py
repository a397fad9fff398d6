"""``maam evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import maam
from maam.cli import console
from maam.cli.options import Flags, Json, check_outputs, given, write_json
from maam.core.config import EvaluateConfig
from maam.core.errors import MaamError
from maam.core.signals import deferred
from maam.models.weights import shipped_run


def command(
    run: Path | None = None,
    /,
    *,
    model: str | None = None,
    json_: Json = None,
    config: Annotated[EvaluateConfig | None, Flags] = None,
) -> int:
    """Score a run on its test split: accuracy, macro F1, precision and recall, a table by class.

    **Examples**

        maam evaluate runs/digits-maam
        maam evaluate runs/digits-maam --split val --json scores.json
        maam evaluate runs/pets-maam --data newer/
        maam evaluate --model maamnet-tiny --data cifar10

    Parameters
    ----------
    run
        A run folder, as `maam train` makes it.
    model
        A model that comes with its weights, in place of a run.
    json_
        Write all scores and the confusion matrix to this file too.
    """
    if (run is None) == (model is None):
        raise MaamError("maam evaluate: name RUN, a run folder, or a --model with weights")
    check_outputs(json_)
    with deferred():
        scores = maam.evaluate(run or shipped_run(str(model)).path, **given(config))
    if json_ is not None:
        write_json(json_, scores)
    console.scores(scores, f"{run or model}, {scores['split']} split", per_class=True)
    console.remarks(scores)
    return 0

"""``maam quantize``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import maam
from maam.cli import comparison, console
from maam.cli.options import Flags, Json, check_outputs, given, write_json
from maam.core.config import QuantizeConfig
from maam.core.signals import deferred


def command(
    run: Path,
    /,
    *,
    json_: Json = None,
    config: Annotated[QuantizeConfig | None, Flags] = None,
) -> int:
    """Bring a trained network to 8-bit integers, and measure what that costs and saves.

    Writes int8.safetensors, for C and the page, and model-int8.onnx into the run folder. Prints
    accuracy, size and latency before and after. Exit code 1 if it loses more accuracy than allowed;
    with --finetune-epochs, a copy of the weights first learns to lose less.

    **Examples**

        maam quantize runs/digits-maam
        maam quantize runs/photos --images 1000 --max-drop 0.5 --json int8.json
        maam quantize runs/photos --finetune-epochs 5

    Parameters
    ----------
    run
        A run folder, as `maam train` makes it.
    json_
        Write the report to this file too.
    """
    from maam.deploy.int8_report import AccuracyLost

    check_outputs(json_)
    try:
        with deferred():
            report = maam.quantize(run, **given(config))
    except AccuracyLost as lost:
        report, failure = lost.report, str(lost)
    else:
        failure = None
    if json_ is not None:
        write_json(json_, report.to_dict())
    comparison.quantized(report)
    if failure is not None:
        console.error(failure)
        return 1
    return 0

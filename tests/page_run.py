"""A run with any classes, for the page: its weights are those of the shipped nano."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from maam.core.run_folder import RunFolder
from maam.core.tensors import load_tensors, save_tensors
from maam.models.weights import shipped_run


def make_run(folder: Path, classes: list[str], **changes: object) -> RunFolder:
    """The shipped nano with other classes, whose weights repeat those of its own."""
    run, source = RunFolder(folder), shipped_run("maamnet-nano")
    folder.mkdir()
    values = json.loads(source.meta.read_text(encoding="utf-8"))
    values |= {"classes": classes, **changes}
    run.meta.write_text(json.dumps(values), encoding="utf-8")
    tensors, metadata = load_tensors(source.best)
    for name in ("classifier.weight", "classifier.bias"):
        tensors[name] = np.resize(tensors[name], (len(classes), *tensors[name].shape[1:]))
    save_tensors(run.best, tensors, metadata)
    return run

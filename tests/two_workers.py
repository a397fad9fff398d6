"""Commands that train with two processes, and what their tests compare."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maam.core.run_folder import RunFolder
from maam.core.tensors import load_tensors

FRAMEWORKS = ["torch", "mindspore"]
TRAIN = ["train", "--limit", "400", "--batch-size", "40", "--augment", "none"]
TWO = ["--workers-per-node", "2"]


def assert_alike(one: Path, two: Path) -> None:
    """That two runs have the same weights and optimisers, but for rounding."""
    tensors, others = (load_tensors(RunFolder(each).last)[0] for each in (one, two))
    assert tensors.keys() == others.keys()
    for name, array in tensors.items():
        np.testing.assert_allclose(others[name], array, rtol=0, atol=1e-5, err_msg=name)

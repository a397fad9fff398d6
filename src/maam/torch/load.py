"""A trained network from a run folder, in PyTorch."""

from __future__ import annotations

import os
from typing import Any

from torch import nn

from maam.core.run_meta import RunMeta
from maam.core.tensors import load_tensors
from maam.models.own import check_framework, refuse_own
from maam.models.weights import find_run
from maam.torch.fold import fuse
from maam.torch.models import create_model
from maam.torch.runtime import place
from maam.torch.weights import set_weights


def load_model(run: str | os.PathLike[str], model: Any = None) -> tuple[nn.Module, RunMeta]:
    """The trained network of a run folder or shipped model, ready for inference, and its metadata.

    Either framework may have trained it. The network is on the device of ``set_device``.

    Args:
        run: the folder, or the name of a shipped model.
        model: the network, for a run of a network of one's own (``maam.train(model=net)``), whose
            code is not in the folder. It gets the run's weights.

    Example:
        >>> net, meta = maam.torch.load_model("runs/digits-maam")
        >>> meta.classes

    Raises:
        MaamError: it is no run folder, or its weights are damaged or of another model, or it
            holds a network of one's own and ``model`` is missing or another one.
    """
    folder = find_run(run)
    meta = folder.read_meta()
    if model is None:
        door = "give it in Python, as in maam.evaluate(RUN, model=net)"
        refuse_own(meta.model, str(folder), door)
        net = create_model(*meta.model_shape)
    else:
        check_framework(model, "torch")
        net = model
    if meta.fused:
        net = fuse(net)
    arrays, _ = load_tensors(folder.best)
    set_weights(net, arrays, str(folder.best))
    return place(net).eval(), meta

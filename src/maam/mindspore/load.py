"""A trained network from a run folder, in MindSpore."""

from __future__ import annotations

import os
from typing import Any

from mindspore import nn

from maam.core.run_meta import RunMeta
from maam.core.tensors import load_tensors
from maam.mindspore.fold import fuse
from maam.mindspore.models import create_model
from maam.mindspore.weights import set_weights
from maam.models.own import check_framework, refuse_own
from maam.models.weights import find_run


def load_model(run: str | os.PathLike[str], model: Any = None) -> tuple[nn.Cell, RunMeta]:
    """The trained network of a run folder or shipped model, ready for inference, and its metadata.

    Either framework may have trained it; ``maam.torch.load_model`` gives it in PyTorch.

    Args:
        run: the folder, or the name of a shipped model.
        model: the network, for a run of a network of one's own (``maam.train(model=net)``), whose
            code is not in the folder. It gets the run's weights.

    Example:
        >>> net, meta = maam.load_model("runs/digits-maam")
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
        check_framework(model, "mindspore")
        net = model
    if meta.fused:
        net = fuse(net)
    tensors, _ = load_tensors(folder.best)
    set_weights(net, tensors, str(folder.best))
    return net.set_train(False), meta

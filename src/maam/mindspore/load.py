"""A trained network from a run folder, in MindSpore."""

from __future__ import annotations

import os

from mindspore import nn

from maam.core.run_meta import RunMeta
from maam.core.tensors import load_tensors
from maam.mindspore.fold import fuse
from maam.mindspore.models import create_model
from maam.mindspore.weights import set_weights
from maam.models.weights import find_run


def load_model(run: str | os.PathLike[str]) -> tuple[nn.Cell, RunMeta]:
    """The trained network of a run folder or shipped model, ready for inference, and its metadata.

    Either framework may have trained it; ``maam.torch.load_model`` gives it in PyTorch.

    Example:
        >>> net, meta = maam.load_model("runs/digits-maam")
        >>> meta.classes

    Raises:
        MaamError: it is no run folder, or its weights are damaged or of another model.
    """
    folder = find_run(run)
    meta = folder.read_meta()
    net = create_model(*meta.model_shape)
    if meta.fused:
        net = fuse(net)
    tensors, _ = load_tensors(folder.best)
    set_weights(net, tensors, str(folder.best))
    return net.set_train(False), meta

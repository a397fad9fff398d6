"""Every model by name: ``list_models("maam*")``, ``create_model("maam", num_classes=10)``."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from fnmatch import fnmatch
from functools import partial

from mindspore import nn

from maam.errors import MaamError
from maam.models.baselines import CNN, MLP, RNN
from maam.models.maam import VARIANTS, MAAMClassifier

# name -> (description, builder of (num_classes, in_channels, image_size))
_MODELS: dict[str, tuple[str, Callable[..., nn.Cell]]] = {
    **{
        name: (description, partial(MAAMClassifier, options=options))
        for name, (description, options) in VARIANTS.items()
    },
    "cnn": ("baseline: two convolution-pooling stages and a dense layer", CNN),
    "mlp": ("baseline: two hidden dense layers", MLP),
    "rnn": ("baseline: an LSTM over the rows", RNN),
}


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models that match a shell pattern, in the order of their tables."""
    return [name for name in _MODELS if fnmatch(name, pattern)]


def describe_model(name: str) -> str:
    """One line about a model.

    Raises:
        MaamError: no model has this name; the nearest one is suggested.
    """
    return _MODELS[_known(name)][0]


def create_model(
    name: str,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: tuple[int, int] = (32, 32),
) -> nn.Cell:
    """A freshly initialised network: (N, in_channels, H, W) -> logits (N, num_classes).

    Raises:
        MaamError: no model has this name (the nearest one is suggested), or it can't take
            images of this size.
    """
    build = _MODELS[_known(name)][1]
    try:
        return build(num_classes=num_classes, in_channels=in_channels, image_size=image_size)
    except ValueError as error:
        raise MaamError(f"--model {name}: {error}") from None


def _known(name: str) -> str:
    if name in _MODELS:
        return name
    near = get_close_matches(name, _MODELS, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else "see `maam models`"
    raise MaamError(f"no model is called {name!r}: {hint}")

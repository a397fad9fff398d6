"""A user's own network: what stands for it by name, and the framework that computes it.

Options and run folders hold names only. A network of one's own is called by its class and a mark,
``TinyNet (own)``; its code is nowhere but with its user, who gives the network in Python.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from maam.core.errors import MaamError, first_line
from maam.core.frameworks import NAMES, Backend, choose
from maam.core.run_meta import OWN

# How a network is tried before it is trained: so many images, and whether in training mode.
TRIALS = ((2, False), (1, False), (2, True))

NOT_FINITE = (
    "`model`: {name} has values in {tensor} that are not finite, which no weight file takes: "
    "keep them out of its parameters, or in a buffer with persistent=False"
)

_BASES = {"mindspore": "Cell", "torch": "Module"}


def own_name(net: Any) -> str:
    """What a network is called in options and in its run folder."""
    return type(net).__name__ + OWN


def framework_of(net: Any) -> str:
    """``torch`` for an ``nn.Module``, ``mindspore`` for an ``nn.Cell``. Imports neither.

    Raises:
        MaamError: it is neither.
    """
    kind = net if isinstance(net, type) else type(net)
    bases = {(base.__module__.partition(".")[0], base.__name__) for base in kind.__mro__}
    for framework, name in _BASES.items():
        if (framework, name) in bases:
            if kind is net:
                raise MaamError(
                    f"`model` is the class {kind.__name__}: give a network, {kind.__name__}()"
                )
            return framework
    raise MaamError(
        f"`model` is of the class {kind.__name__}: give a network, an nn.Module of PyTorch or an "
        "nn.Cell of MindSpore"
    )


def framework_for(net: Any, wanted: str, trained_with: str = "mindspore") -> str:
    """The framework that is to compute: that of ``net``, or as ``choose`` says where it is None.

    Raises:
        MaamError: another one than the network's is wanted.
    """
    if net is None:
        return choose(wanted, trained_with)
    framework = framework_of(net)
    if wanted not in ("auto", framework):
        raise MaamError(
            f"`framework={wanted}`, but `model` is a network of {NAMES[framework]}: leave it out"
        )
    return framework


def check_framework(net: Any, framework: str) -> None:
    """Check that a network is of a framework.

    Raises:
        MaamError: it is of the other one, or no network.
    """
    if (other := framework_of(net)) != framework:
        raise MaamError(
            f"`model`: {type(net).__name__} is a network of {NAMES[other]}, not of "
            f"{NAMES[framework]}: maam.load_model is MindSpore's, maam.torch.load_model PyTorch's"
        )


@contextmanager
def calling(net: Any, image_shape: tuple[int, int, int]) -> Iterator[None]:
    """Turn what a user's network raises on images (C, H, W) into one line.

    Raises:
        MaamError: it has raised something.
    """
    try:
        yield
    except MaamError:
        raise
    except Exception as error:  # whatever a user's code raises
        shape = "x".join(map(str, image_shape))
        reason = first_line(error)
        raise MaamError(
            f"`model`: {type(net).__name__} fails on images of {shape}: {reason}"
        ) from error


def check_logits(net: Any, shape: tuple[int, ...] | None, images: int, classes: int) -> None:
    """Check the shape of a network's output.

    Args:
        net: the network.
        shape: of the output for ``images`` images; None if it is no tensor of floats.
        images, classes: how many.

    Raises:
        MaamError: it is not (images, classes).
    """
    if shape != (images, classes):
        what = "no tensor of floats" if shape is None else f"{tuple(shape)}"
        raise MaamError(
            f"`model`: {type(net).__name__} gives {what} for {images} images of {classes} classes: "
            f"it must give logits {(images, classes)}"
        )


def name_network(options: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """Options of a training with a name in place of a network, and that network.

    Raises:
        MaamError: ``model`` is neither a name nor a network, or of another framework than wanted.
    """
    net = options.get("model")
    if net is None or isinstance(net, str):
        return dict(options), None
    framework = framework_for(net, options.get("framework", "auto"))
    return {**options, "model": own_name(net), "framework": framework}, net


def refuse_own(model: str, where: str, door: str) -> None:
    """Refuse the name of a network of one's own where the network itself is needed.

    Args:
        model: a name.
        where: it stands, for the error.
        door: the Python call that takes the network, or what to do instead.

    Raises:
        MaamError: it is such a name.
    """
    if model.endswith(OWN):
        raise MaamError(
            f"{where}: {model.removesuffix(OWN)} is a network of your own, whose code no run "
            f"folder has: {door}"
        )


def with_network(backend: Backend, net: Any) -> Backend:
    """A framework that takes a user's network wherever it would build or load one by name.

    Args:
        backend: the framework.
        net: the network; the framework stays as it is where it is None.
    """
    return backend if net is None else cast(Backend, _WithNetwork(backend, net))


class _WithNetwork:
    """All else is the framework's."""

    def __init__(self, backend: Backend, net: Any) -> None:
        self._backend, self._net = backend, net

    def create_model(
        self, name: str, num_classes: int, in_channels: int, image_size: tuple[int, int]
    ) -> Any:
        if not name.endswith(OWN):  # a teacher
            return self._backend.create_model(name, num_classes, in_channels, image_size)
        return self._backend.check_model(self._net, num_classes, in_channels, image_size)

    def load_model(self, run: Any) -> Any:
        return self._backend.load_model(run, self._net)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

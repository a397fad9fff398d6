"""``fit_ram`` and ``fit_flash``: what a microcontroller holds, told before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from maam.core.config import TrainConfig
from maam.core.errors import MaamError
from maam.core.footprint import Footprint, Limits, kib, parse_size
from maam.core.frameworks import Backend
from maam.core.run_meta import RunMeta
from maam.data import SOURCES
from maam.data.preprocessing import Preprocessing
from maam.models.variants import MAAMNET_VARIANTS

NARROW = "maamnet-8x1-16x1"  # a MAAMNet that needs less than those with names of their own
SIZES = (224, 192, 160, 128, 96, 64, 48, 32, 24, 16)  # of images, that are tried for smaller ones

Shape = tuple[int, int, int]
"""(H, W, C) of images."""


def limits(config: TrainConfig) -> Limits | None:
    """What the microcontroller has; None: there is none to think of.

    Raises:
        MaamError: an option is no size.
    """
    if config.fit_ram is None and config.fit_flash is None:
        return None
    return Limits(
        flash=parse_size("fit_flash", config.fit_flash), ram=parse_size("fit_ram", config.fit_ram)
    )


def device_check(
    config: TrainConfig, backend: Backend, classes: Sequence[str]
) -> DeviceCheck | None:
    """Which networks the microcontroller holds; None: there is none to think of."""
    found = limits(config)
    return found and DeviceCheck(config, found, backend, classes)


class DeviceCheck:
    """Which networks a microcontroller holds, as C in int8.

    Args:
        config: the options.
        limits: what it has.
        backend: the framework, which builds networks to look at.
        classes: their names.
    """

    def __init__(
        self, config: TrainConfig, limits: Limits, backend: Backend, classes: Sequence[str]
    ) -> None:
        self._limits, self._backend, self._classes = limits, backend, tuple(classes)
        given = (("fit_ram", config.fit_ram), ("fit_flash", config.fit_flash))
        self._options = " and ".join(f"`{name}={size}`" for name, size in given if size is not None)
        self._resizes = config.data not in SOURCES
        self._needs: dict[tuple[str, Shape], Footprint] = {}

    def need(self, model: str, shape: Shape, net: Any = None) -> Footprint:
        """What a model needs for images of a shape.

        Args:
            model: its name.
            shape: (H, W, C).
            net: the network, if it has been built.

        Raises:
            MaamError: C is not written for it, or the images are too small for it.
        """
        if (model, shape) not in self._needs:
            height, width, channels = shape
            how = Preprocessing((height, width), channels, (0.5,) * channels, (0.5,) * channels)
            meta = RunMeta(model, self._classes, how.to_dict())
            if net is None:
                net = self._backend.create_model(*meta.model_shape)
            self._needs[model, shape] = self._backend.footprint(net, meta)
        return self._needs[model, shape]

    def fitting(self, models: Iterable[str], shape: Shape) -> list[str]:
        """Those of some models that it holds, for images of a shape."""
        return [model for model in models if self._holds(model, shape)]

    def check(self, model: str, shape: Shape, net: Any = None) -> None:
        """Check that it holds a model for images of a shape.

        Args:
            model, shape, net: as of ``need``.

        Raises:
            MaamError: it does not, with what fits; or as ``need``.
        """
        try:
            need = self.need(model, shape, net)
        except MaamError as error:
            raise MaamError(f"{self._options}: {error}") from None
        if not self._limits.hold(need):
            raise MaamError(
                f"{self._options}: {model} needs {need} as C in int8, for images of "
                f"{shape[1]}x{shape[0]}: {self._advice(model, shape)}"
            )

    def excess(self, model: str, shape: Shape) -> str:
        """What a model needs too much of, in words."""
        need, flash = self.need(model, shape), self._limits.flash
        if flash is not None and need.flash > flash:
            return f"{kib(need.flash)} of flash, more than `fit_flash`"
        return f"{kib(need.ram)} of RAM, more than `fit_ram`"

    def smaller_size(self, models: Sequence[str], shape: Shape) -> int | None:
        """The largest of ``SIZES`` below ``shape`` for which it holds any of some models."""
        sizes = (size for size in SIZES if size < max(shape[:2]))
        return next((s for s in sizes if self.fitting(models, (s, s, shape[2]))), None)

    def _holds(self, model: str, shape: Shape) -> bool:
        try:
            return self._limits.hold(self.need(model, shape))
        except MaamError:
            return False

    def _advice(self, model: str, shape: Shape) -> str:
        """The largest MAAMNet that fits, and the largest images with which a MAAMNet does.

        The paper's MAAM is not tried on other images: its dense layer grows with them, to GB.
        """
        advice = [
            f"`model={name}` fits ({self.need(name, shape)})"
            for name in self.fitting(MAAMNET_VARIANTS, shape)[-1:]
        ]
        if self._resizes:
            named, smallest = [model] * (model in MAAMNET_VARIANTS), next(iter(MAAMNET_VARIANTS))
            for name in named if advice else dict.fromkeys((*named, smallest)):
                if size := self.smaller_size((name,), shape):
                    advice.append(f"`model={name}` with `image_size={size}` fits")
                    break
        narrow = "no model of `maam models` needs less; narrower ones have names such as "
        return ", ".join(advice) or f"{narrow}`model={NARROW}`"

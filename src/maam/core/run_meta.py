"""What a run knows of itself: the content of ``meta.json``, checked and typed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from maam.core.errors import MaamError
from maam.core.schema import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    PositiveInt,
    ValidationError,
)

FORMAT = 1
OWN = " (own)"  # after the class of a network that is the user's own


@dataclass(frozen=True)
class RunMeta:
    """What a run's ``meta.json`` says.

    Attributes:
        model: a name that ``maam models`` lists; of a network of one's own its class and a mark,
            such as ``TinyNet (own)``.
        classes: class names, in the order of the outputs.
        preprocessing: ``size`` [H, W], ``channels``, ``mean``, ``std``: see
            ``maam.data.preprocessing.Preprocessing``.
        config: the options, as a recipe.
        parameters, macs: of the network in training; multiply-accumulates are of one image.
        data, data_source: as the options name it, and for people.
        data_digests: a fingerprint of each split.
        images: split -> number of images.
        device: ``CPU``, ``CUDA`` or ``Ascend``.
        device_name: of the accelerator; empty for a CPU.
        environment: versions and the machine, see ``maam.core.environment``.
        operators: ``native`` if training used ours, ``framework`` if it did not.
        teacher: of a student: the teacher's model, weights and data.
        start: of a run that began with the weights of another ``run``: its folder's name, the same
            as of a teacher, and ``kept``, the share of its channels, if it was pruned.
        stages: earlier plans, where the number of epochs was changed.
        calibration: ``temperature`` that the last layer has been divided by, validation ``images``
            that it was fitted on, their expected calibration error: ``ece_before`` and ``ece``;
            None if it has not been divided.
        unknown: ``threshold`` of the best class's probability below which the answer is "unknown",
            and the ``share`` of images of known classes, at most, that fall below it; None if a
            class is always named.
        metrics: the scores and the ``split`` that they are of; None until the run is scored.
        epochs, seconds: of training.
        folded_layers: of a network of one's own: what of it model.onnx has folded, as path and
            class.
        deployed: ``parameters`` and ``macs`` of model.onnx.
        export_error: the largest relative difference of model.onnx from the network; None if it
            could not be written as ONNX.
        fused: whether the weights are those of the folded network.
        shipped: whether the weights come with the package.
    """

    model: str
    classes: tuple[str, ...]
    preprocessing: dict[str, Any]
    parameters: int | None = None
    macs: int | None = None
    data: str = ""
    data_source: str = ""
    data_digests: dict[str, str] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    device: str = ""
    device_name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    operators: str = ""
    teacher: dict[str, Any] | None = None
    start: dict[str, Any] | None = None
    stages: tuple[dict[str, Any], ...] = ()
    calibration: dict[str, Any] | None = None
    unknown: dict[str, float] | None = None
    metrics: dict[str, Any] | None = None
    epochs: int | None = None
    seconds: float | None = None
    folded_layers: tuple[str, ...] = ()
    deployed: dict[str, int] = field(default_factory=dict)
    export_error: float | None = None
    fused: bool = False
    shipped: bool = False

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the network's input."""
        height, width = self.preprocessing["size"]
        return self.preprocessing["channels"], height, width

    @property
    def given_source(self) -> str:
        """``data_source`` for others: of a folder's path its own name alone."""
        words, mark, path = self.data_source.partition("images in ")
        return words + mark + Path(path).name if mark else self.data_source

    @property
    def preprocessing_text(self) -> str:
        """From an upright RGB image to the network's input, in words and numbers."""
        how = self.preprocessing
        channels, height, width = self.image_shape
        grey = "grey = (19595 R + 38470 G + 7471 B + 32768) >> 16, as Pillow's mode L; "
        return (
            f"{grey if channels == 1 else ''}scale until the image covers {width} x {height} "
            "(width x height) and crop about the centre, in one step: bicubic (a = -0.5), "
            "antialiased, along rows and then along columns, each rounded to 0..255, as Pillow's "
            "ImageOps.fit(image, size, Resampling.BICUBIC); an image of this size stays as it is; "
            f"divide by 255; subtract {json.dumps(list(how['mean']))}; divide by "
            f"{json.dumps(list(how['std']))}, by channel"
        )

    def is_unknown(self, confidence: float) -> bool:
        """Whether the best class's probability means that an image is likely of no known class."""
        return self.unknown is not None and confidence < self.unknown["threshold"]

    @property
    def model_shape(self) -> tuple[str, int, int, tuple[int, int]]:
        """The arguments of ``create_model``: name, classes, channels, (H, W)."""
        channels, height, width = self.image_shape
        return self.model, len(self.classes), channels, (height, width)

    @property
    def own(self) -> bool:
        """Whether the network is the user's own."""
        return self.model.endswith(OWN)

    @property
    def framework(self) -> str:
        """What trained it: ``mindspore`` or ``torch``."""
        return self.config.get("framework", "mindspore")

    def to_dict(self) -> dict[str, Any]:
        """For JSON; what is empty is left out, but for ``config``, which a reader needs."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        kept = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in values.items()
            if key == "config"
            or (value is not None and value is not False and value not in ("", (), {}))
        }
        return {"format": FORMAT, **kept}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> RunMeta:
        """The inverse of ``to_dict``; keys that it does not know are passed over."""
        known = {entry.name for entry in fields(RunMeta)}
        kept = {key: value for key, value in values.items() if key in known and value is not None}
        for key in ("classes", "folded_layers", "stages"):
            kept[key] = tuple(kept.get(key, ()))
        # Older versions wrote "CUDA (NVIDIA H100)".
        device, _, name = kept.get("device", "").partition(" (")
        if name:
            kept |= {"device": device, "device_name": name.removesuffix(")")}
        return RunMeta(**kept)


_SIDE = 2**12  # pixels of an image's side, at most


class _Preprocessing(BaseModel):
    model_config = ConfigDict(strict=True)

    size: Annotated[list[Annotated[int, Field(ge=1, le=_SIDE)]], Field(min_length=2, max_length=2)]
    channels: Literal[1, 3]
    mean: list[FiniteFloat]
    std: list[Annotated[FiniteFloat, Field(gt=0)]]


class _Config(BaseModel):
    """Of the options, what is read before they are checked as a whole."""

    framework: Literal["auto", "mindspore", "torch"] = "mindspore"
    epochs: Annotated[int, Field(ge=1, strict=True)] = 1


class _Stage(BaseModel):
    model_config = ConfigDict(strict=True)

    epochs: PositiveInt
    until: PositiveInt
    accuracy: FiniteFloat | None = None


class _Unknown(BaseModel):
    model_config = ConfigDict(strict=True)

    threshold: FiniteFloat
    share: FiniteFloat


class _Metrics(BaseModel):
    model_config = ConfigDict(strict=True)

    accuracy: FiniteFloat | None = None
    split: Literal["test", "val"] = "test"
    images: PositiveInt | None = None


class _Meta(BaseModel):
    """The types of a meta.json; keys that it does not know are passed over."""

    model_config = ConfigDict(strict=True)

    model: str
    classes: Annotated[list[str], Field(min_length=2)]
    preprocessing: _Preprocessing
    config: _Config
    parameters: int | None = None
    macs: int | None = None
    data: str | None = None
    data_source: str | None = None
    data_digests: dict[str, str] | None = None
    images: dict[str, int] | None = None
    device: str | None = None
    device_name: str | None = None
    environment: dict[str, str] | None = None
    operators: str | None = None
    teacher: dict[str, Any] | None = None
    start: dict[str, Any] | None = None
    stages: list[_Stage] | None = None
    calibration: dict[str, Any] | None = None
    unknown: _Unknown | None = None
    metrics: _Metrics | None = None
    epochs: int | None = None
    seconds: FiniteFloat | None = None
    folded_layers: list[str] | None = None
    deployed: dict[str, int] | None = None
    export_error: float | None = None
    fused: bool | None = None
    shipped: bool | None = None


def parse_meta(text: str, source: str) -> RunMeta:
    """The metadata in a ``meta.json``.

    Args:
        text: the file's content.
        source: its name, for the error.

    Raises:
        MaamError: it is damaged, or of a format this version does not know.
    """
    try:
        values = json.loads(text)
        # Half of a pair of UTF-16, which JSON can spell, raises; bytes of a folder's name do not.
        json.dumps(values, ensure_ascii=False).encode(errors="surrogateescape")
    except (ValueError, RecursionError) as error:
        raise MaamError(f"cannot read {source}: {error}; restore it") from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise MaamError(f"{source} is not of format {FORMAT}: train again with this version")
    try:
        _Meta.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MaamError(f"{source}: {where}: {first['msg']}; train again") from None
    meta = RunMeta.from_dict(values)
    channels = meta.preprocessing["channels"]
    if any(len(meta.preprocessing[key]) != channels for key in ("mean", "std")):
        raise MaamError(f"{source}: mean and std must have {channels} numbers each")
    return meta

"""The one schema of a run: command line, TOML recipe and Python share it.

Every field here is a flag (``--learning-rate``), a recipe key (``learning_rate``) and a keyword
argument (``maam.train(learning_rate=...)``), with this type, default and help text.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar

from maam.core.errors import MaamError
from maam.core.schema import BaseModel, ConfigDict, Field, ValidationError

Device = Literal["auto", "CPU", "CUDA", "Ascend"]

# What a resumed run may change without changing what has been learned so far. Its images may lie
# elsewhere, but must be the same.
RESUMABLE = frozenset(
    {
        *("data", "data_dir", "device", "early_stopping", "epochs", "teacher", "workers"),
        "checkpoint_minutes",
    }
)


class Schema(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class DataConfig(Schema):
    """Where images lie, at which size, split how."""

    data_dir: Path | None = None
    """Where cifar10 or fashion-mnist lies; else MAAM_DATA, else the cache, else a download."""

    image_size: int | None = Field(default=None, ge=8, le=512)
    """Side in pixels to which folder images are fitted. If not given: what suits them, but 32 in a
    training with a `model` and no `minutes`."""

    val_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Part of the training images held out for validation; 0 trains on all of them."""

    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of splits, initial weights, order and augmentation."""


class TrainConfig(DataConfig):
    """All that decides how a run turns out."""

    data: str = Field(default="digits", min_length=1)
    """cifar10, fashion-mnist, digits, or a folder, .tar or .zip of class folders, or a .csv."""

    model: str = "auto"
    """A name that `maam models` lists. auto: for a folder, what is best within `minutes`, together
    with all options that are not given; for a named data set, the paper's model. In Python, also a
    network of your own."""

    minutes: float | None = Field(default=None, gt=0, le=100_000)
    """Time for all, from the start to the report (10 with `model=auto` on a folder, unless `epochs`
    are given). Plans, for a model that you name too, all options that are not given."""

    pretrained: bool = Field(default=False, strict=True)
    """Begin with the weights of this model that come with the package, and their normalisation."""

    weights: str = Field(default="cifar10", min_length=1)
    """Begin with weights, as `pretrained`, that were learned from this: cifar10, ten classes of
    32x32 pixels; tiny-imagenet (those of maamnet-nano and -tiny), 200 classes of 64x64; or those of
    a run folder, of the same model or of a MAAMNet with more channels, which is pruned."""

    limit: int | None = Field(default=None, ge=1)
    """Train on this many images only (a stratified choice): for quick trials."""

    augment: str = "auto"
    """none; crop: random shift by an eighth of the side; crop-flip: mirroring too; trivial:
    TrivialAugment after both; auto: by the data."""

    erase: float = Field(default=0.0, ge=0, le=1)
    """Share of the training images that lose a rectangle (random erasing)."""

    mixup: float = Field(default=0.0, ge=0, le=100)
    """Alpha of mixup, which blends pairs of images; 0: off. With cutmix, each batch takes one."""

    cutmix: float = Field(default=0.0, ge=0, le=100)
    """Alpha of CutMix, which pastes a box of another image; 0: off."""

    mix_until: float = Field(default=1.0, gt=0, le=1)
    """Part of the epochs in which mixup and cutmix work; after it images are left whole."""

    small_until: float = Field(default=0.0, ge=0, lt=1)
    """Part of the epochs, the first ones, in which images are shrunk to three quarters of their
    side (progressive resizing): such an epoch takes about half the time. The last epoch is always
    whole. 0: off."""

    normalize: Literal["unit", "standard"] = "unit"
    """unit: pixels in [0, 1], as the paper; standard: then mean 0 and deviation 1 by channel."""

    workers: int = Field(default=4, ge=1)
    """Threads that prepare batches; never more than there are cores."""

    checkpoint_minutes: float = Field(default=5.0, ge=0)
    """Minutes between checkpoints inside an epoch; 0: one after every step."""

    epochs: int = Field(default=15, ge=1, le=100_000)
    """Passes over the training images. A resumed run may change it; its schedule is laid anew."""

    batch_size: int = Field(default=64, ge=1, le=100_000)
    """Images in a training step."""

    optimizer: str = "adam"
    """adam, adamw, or sgd, which has Nesterov momentum."""

    learning_rate: float = Field(default=1e-3, gt=0, le=1e30)
    """The highest rate of the schedule."""

    schedule: Literal["cosine", "triangular", "constant"] = "cosine"
    """How the rate falls after the warm-up: half a cosine to 0, straight to 0, or not at all."""

    warmup_epochs: float = Field(default=0.0, ge=0, le=100_000)
    """Epochs in which the rate rises from 0 in a straight line."""

    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of sgd; beta 1 of adam and adamw."""

    weight_decay: float = Field(default=0.0, ge=0)
    """Of weights, not of biases, norms and fusion scalars; decoupled for adamw."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target that is spread over all classes."""

    class_weights: Literal["none", "auto"] = "none"
    """auto: images of rare classes count more in the loss, so that all classes count the same."""

    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay of an exponential moving average of the weights, which is then the result; 0: off."""

    clip_norm: float = Field(default=0.0, ge=0)
    """Largest global norm of the gradient; 0: off."""

    teacher: str = ""
    """A run folder, or a model with shipped weights, whose answers are learned too
    (distillation)."""

    teacher_weight: float = Field(default=0.5, ge=0, le=1)
    """Share of the loss that compares with the teacher; the rest compares with the labels."""

    temperature: float = Field(default=1.0, gt=0, le=100)
    """What logits are divided by before teacher and student are compared."""

    freeze: str = ""
    """Parameters not to train: shell patterns of names, comma-separated. Norms so named use their
    stored statistics."""

    early_stopping: int = Field(default=0, ge=0)
    """Stop after this many epochs without a better validation accuracy; 0: off."""

    unknown_share: float = Field(default=0.02, ge=0, lt=1)
    """Share of images of known classes, at most, that `maam predict` may call unknown: the
    validation images set its threshold; 0: it always names a class."""

    framework: Literal["auto", "mindspore", "torch"] = "auto"
    """What computes; auto: MindSpore, or PyTorch where only that is installed. Weights, recipes and
    run folders are the same."""

    device: Device = "auto"
    """auto: CUDA with PyTorch where there is one, else CPU. Ascend: with MindSpore."""

    precision: Literal["fp32", "amp"] = "fp32"
    """amp: bfloat16 where it is safe (PyTorch; MAAMNet in MindSpore on a CPU), else float16
    (MindSpore, for Ascend)."""

    mode: Literal["auto", "graph", "eager"] = "auto"
    """graph compiles first, or with PyTorch on CUDA records CUDA graphs; auto: graph with MindSpore
    and for our models on CUDA, eager with PyTorch otherwise."""

    fit_ram: str | None = Field(default=None, coerce_numbers_to_str=True)
    """RAM of the microcontroller that is to run the network as C in int8, in bytes: 65536, 64k, 1M.
    Networks that need more are refused; what is chosen for you needs no more."""

    fit_flash: str | None = Field(default=None, coerce_numbers_to_str=True)
    """Its flash for the same network, counted and written likewise."""

    out: Path | None = None
    """The run folder; runs/DATA-MODEL, numbered, when not given."""


class EvaluateConfig(Schema):
    """How to score a trained run."""

    data: str | None = None
    """Other images, in class folders of the run's classes. Those it has learned from are left
    out."""

    data_dir: Path | None = None
    """Where cifar10 or fashion-mnist lies."""

    split: Literal["test", "val", "train", "all"] = "test"
    """Which split to score; all: every image. Other data without split folders is scored whole."""

    batch_size: int = Field(default=250, ge=1, le=100_000)
    """Images at a time; does not change the result."""

    framework: Literal["auto", "onnx", "mindspore", "torch"] = "auto"
    """onnx: model.onnx, in ONNX Runtime; auto: that, or where it is missing or a `device` is named,
    what the run was trained with."""

    device: Device = "auto"
    """auto: CUDA with PyTorch where there is one, else CPU. Ascend: with MindSpore."""


class PredictConfig(Schema):
    """How to classify image files."""

    top_k: int = Field(default=3, ge=1)
    """How many classes to name for each image."""

    format: Literal["table", "jsonl", "csv"] = "table"
    """The form of the answer."""

    output: Path | None = None
    """File for the answer; the screen when not given."""

    batch_size: int = Field(default=64, ge=1, le=100_000)
    """Images at a time; does not change the result."""


class QuantizeConfig(Schema):
    """How to bring a trained run to 8-bit integers."""

    data: str | None = None
    """Other images, in class folders of the run's classes: for the grids, and to score."""

    data_dir: Path | None = None
    """Where cifar10 or fashion-mnist lies."""

    images: int = Field(default=500, ge=32, le=100_000)
    """Training images that the grids are chosen from."""

    max_drop: float = Field(default=0.3, ge=0, le=100)
    """Percentage points of accuracy that may be lost; if more are, nothing is written."""

    finetune_epochs: int = Field(default=0, ge=0, le=1000)
    """Epochs in which weights learn to lose less, where more is lost; PyTorch computes them."""


SCHEMAS = (
    DataConfig,
    TrainConfig,
    EvaluateConfig,
    PredictConfig,
    QuantizeConfig,
)

Config = TypeVar("Config", bound=Schema)


def make_config(schema: type[Config], options: dict[str, Any], source: str = "") -> Config:
    """Check ``options`` against a schema.

    Args:
        schema: the class to build.
        options: field name -> value.
        source: where they come from (a file), for the error.

    Raises:
        MaamError: unknown key (the nearest is suggested) or a value out of range.
    """
    for key, value in options.items():
        text = str(value)
        where = f"{source}: {key}" if source else f"`{key}`"
        if "\0" in text:
            raise MaamError(f"{where} has a null character in it: leave it out")
        if isinstance(value, str | Path) and text.encode(errors="ignore").decode() != text:
            raise MaamError(f"{where} has a name that is not UTF-8: rename it, to record it")
    try:
        return schema(**options)
    except ValidationError as error:
        raise MaamError(explain(error, schema, source)) from None


def explain(error: ValidationError, schema: type[BaseModel], source: str = "") -> str:
    """The first complaint of a failed check, in one line."""
    first = error.errors()[0]
    # A number is that of a value in an option that takes several.
    key = ".".join(str(part) for part in first["loc"] if source or not isinstance(part, int))
    where = f"{source}: " if source else ""
    name = key if source else f"`{key}`"  # in a file there are no flags
    if first["type"] == "extra_forbidden":
        near = get_close_matches(key, schema.model_fields, n=1)
        verb = schema.__name__.removesuffix("Config").lower()
        hint = f"see `maam {verb} --help`"
        if near:
            hint = f"did you mean {near[0] if source else f'`{near[0]}`'}?"
        return f"{where}unknown option {key!r}: {hint}"
    return f"{where}{name}: {first['msg']} (got {first['input']!r})"

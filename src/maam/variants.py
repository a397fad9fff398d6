"""What both frameworks know about the models: the agents' readings and the table of all models."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatch
from itertools import groupby
from typing import Any, NamedTuple

from maam.errors import MaamError

POOL = "pool"

# The paper gives neither widths nor depth of an agent. Each reading lists its layers: a number d
# is a convolution to out_channels / d channels with BatchNorm and ReLU, POOL a 2x2 max pooling.
READINGS: dict[str, tuple[int | str, ...]] = {
    "p1": (1, POOL),
    "p2": (2, POOL, 1),
    "p3": (4, 1, POOL),
}

SUMS = ("learned", "fixed")  # fusions that sum the agents with weights not of the image
FUSIONS = (*SUMS, "concat", "squeeze")

CHANNELS = 128  # C' of equation 4
HIDDEN = 256  # d of equation 8

# The paper's classifier: name -> (description, arguments of MAAM beyond the channels)
MAAM_VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "maam": ("the paper's model: three agents, conv3-64, pool, conv3-128", {}),
    "maam-p1": ("reading p1: an agent is conv3-128, pool", {"reading": "p1"}),
    "maam-p3": ("reading p3: an agent is conv3-32, conv3-128, pool", {"reading": "p3"}),
    "maam-k135": ("agents of kernel sizes 1, 3, 5", {"kernel_sizes": (1, 3, 5)}),
    "maam-k357": ("agents of kernel sizes 3, 5, 7", {"kernel_sizes": (3, 5, 7)}),
    "maam-multires": ("agents at 1/1, 1/2, 1/4 resolution", {"resolutions": (1, 2, 4)}),
    "maam-a1": (
        "one agent, no fusion, with compression",
        {"kernel_sizes": (3,), "fusion": "fixed"},
    ),
    "maam-a2": ("two agents of kernel size 3", {"kernel_sizes": (3,) * 2}),
    "maam-a4": ("four agents of kernel size 3", {"kernel_sizes": (3,) * 4}),
    "maam-a6": ("six agents of kernel size 3", {"kernel_sizes": (3,) * 6}),
    "maam-concat": ("no weighted sum: the compression gets all maps", {"fusion": "concat"}),
    "maam-squeeze": (
        "fusion weights from the image, by squeeze-and-excitation",
        {"fusion": "squeeze"},
    ),
    "maam-no-attention": ("ablation o/Agent Attention: fixed weights 1/3", {"fusion": "fixed"}),
    "maam-no-reduce": ("ablation o/Reduce Layer: no 1x1 compression", {"reduce": False}),
    "maam-cnn": (
        "ablation t/CNN: one plain branch, no fusion, no compression",
        {"kernel_sizes": (3,), "fusion": "fixed", "reduce": False},
    ),
}

# MAAMNet's agents: (rows, columns, dilation) of each
AGENTS = ((3, 3, 1), (5, 5, 1), (3, 3, 2), (1, 1, 1))

# MAAMNet's sizes: name -> (description, channels and blocks of each stage)
MAAMNET_VARIANTS = {
    "maamnet-nano": ("MAAMNet with 80 thousand parameters", ((32, 1), (64, 5), (128, 3))),
    "maamnet-tiny": ("MAAMNet with 0.23 million parameters", ((48, 3), (96, 6), (192, 4))),
    "maamnet-small": ("MAAMNet with 0.8 million parameters", ((64, 2), (192, 6), (384, 4))),
    "maamnet-base": ("MAAMNet with 1.5 million parameters", ((96, 2), (256, 8), (512, 4))),
}

# Every model: name -> (description, file and class of its architecture, the class's own arguments)
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    **{
        name: (description, "maam.MAAMClassifier", {"options": options})
        for name, (description, options) in MAAM_VARIANTS.items()
    },
    "cnn": ("baseline: conv3-32, pool, conv3-64, pool, dense 128", "baselines.CNN", {}),
    "mlp": ("baseline: dense 512, dense 256", "baselines.MLP", {}),
    "rnn": ("baseline: an LSTM of 128 units over the rows", "baselines.RNN", {}),
    **{
        name: (description, "maamnet.MAAMNet", {"stages": stages, "agents": AGENTS})
        for name, (description, stages) in MAAMNET_VARIANTS.items()
    },
    "resnet8": (
        "peer: ResNet-8 of MLPerf Tiny",
        "peers.ResNet",
        {"blocks": 1, "tiny": True},
    ),
    "resnet20": ("peer: ResNet-20 for CIFAR", "peers.ResNet", {"blocks": 3}),
    "mobilenetv2-x0.5": (
        "peer: MobileNetV2 for CIFAR, half as wide",
        "peers.MobileNetV2",
        {"width": 0.5},
    ),
    "mobilenetv2": ("peer: MobileNetV2 for CIFAR", "peers.MobileNetV2", {"width": 1}),
    "shufflenetv2-x0.5": (
        "peer: ShuffleNetV2 x0.5 for CIFAR",
        "peers.ShuffleNetV2",
        {"widths": (48, 96, 192)},
    ),
}

# MobileNetV2's stages for CIFAR: expansion, channels, blocks, stride of the first block
_MOBILENETV2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class Layer(NamedTuple):
    """A convolution of an agent block; 2x2 max pooling follows where ``pool`` says so."""

    in_channels: int
    out_channels: int
    groups: int
    pool: bool


def agent_layers(
    in_channels: int, out_channels: int, reading: str, agents: int, pool: bool
) -> list[Layer]:
    """The layers of ``agents`` agents side by side: they share the input and nothing else.

    Args:
        in_channels, out_channels, reading, agents: as ``AgentBlock`` has them.
        pool: false leaves all pooling out.
    """
    layers: list[Layer] = []
    stages = READINGS[reading]
    channels, groups = in_channels, 1
    for index, stage in enumerate(stages):
        if isinstance(stage, int):
            width = agents * max(1, out_channels // stage)
            pools = pool and stages[index + 1 : index + 2] == (POOL,)
            layers.append(Layer(channels, width, groups, pools))
            channels, groups = width, agents
    return layers


def check_agent(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    reading: str,
    agents: int,
    resolution: int,
) -> None:
    """Check the arguments of ``AgentBlock``.

    Raises:
        ValueError: an unknown reading, an even kernel, or a count below 1.
    """
    if reading not in READINGS:
        raise ValueError(f"reading is one of {', '.join(READINGS)}, not {reading!r}")
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size is odd and at least 1, not {kernel_size}")
    if min(in_channels, out_channels, agents, resolution) < 1:
        raise ValueError("channels, agents and resolution are at least 1")
    if resolution > 1 and resolution % 2:
        raise ValueError(f"resolution is 1 or even, not {resolution}")


def check_fusion(fusion: str, reduce: bool) -> None:
    """Check the arguments of ``MAAM`` that say how its agents become one.

    Raises:
        ValueError: an unknown fusion, or "concat" without compression.
    """
    if fusion not in FUSIONS:
        raise ValueError(f"fusion is one of {', '.join(FUSIONS)}, not {fusion!r}")
    if fusion == "concat" and not reduce:
        raise ValueError("fusion 'concat' needs reduce=True: only the compression joins the agents")


def squeezed_width(agents: int, channels: int) -> int:
    """The hidden width of ``AgentExcitation``: a 16th of its input, their reduction ratio,
    but no less than the number of agents.
    """
    return max(agents, agents * channels // 16)


def agent_runs(
    kernel_sizes: Sequence[int], resolutions: Sequence[int] | None
) -> list[tuple[tuple[int, int], int]]:
    """The blocks of a MAAM: neighbours of one shape run as one.

    Returns:
        ((kernel size, resolution), number of agents) of each block.

    Raises:
        ValueError: no agents, or lengths that differ.
    """
    if not kernel_sizes:
        raise ValueError("kernel_sizes is empty, and there is at least 1 agent")
    resolutions = resolutions or (1,) * len(kernel_sizes)
    if len(resolutions) != len(kernel_sizes):
        raise ValueError(
            f"{len(kernel_sizes)} kernel_sizes but {len(resolutions)} resolutions: "
            "give one of each per agent"
        )
    pairs = zip(kernel_sizes, resolutions, strict=True)
    return [(shape, len(list(run))) for shape, run in groupby(pairs)]


def mobilenetv2_blocks(width: float) -> list[tuple[int, int, int, int]]:
    """(in, hidden and out channels, stride) of each inverted residual of MobileNetV2.

    The first block's input is the stem's output.

    Args:
        width: multiplies the channels, which are then rounded to multiples of 8.
    """
    channels, blocks = _of_eight(32 * width), []
    for expansion, wide, count, stride in _MOBILENETV2:
        out = _of_eight(wide * width)
        for number in range(count):
            blocks.append((channels, channels * expansion, out, stride if number == 0 else 1))
            channels = out
    return blocks


def check_size(image_size: tuple[int, int], smallest: int) -> None:
    """Check that an image has ``smallest`` pixels a side.

    Raises:
        ValueError: it has fewer.
    """
    height, width = image_size
    if min(height, width) < smallest:
        raise ValueError(f"images of {height}x{width} pixels are too small for this model")


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models that match a shell pattern, in the order of the table."""
    return [name for name in MODELS if fnmatch(name, pattern)]


def describe_model(name: str) -> str:
    """One line about a model.

    Raises:
        MaamError: no model has this name; the nearest one is suggested.
    """
    return MODELS[_known(name)][0]


def build_model(
    package: str, name: str, num_classes: int, in_channels: int, image_size: tuple[int, int]
) -> Any:
    """The named model from a framework's package of architectures, freshly initialised.

    Args:
        package: ``maam.models`` or ``maam.torch.models``.
        name: a row of ``MODELS``.
        num_classes, in_channels, image_size: the shape: (N, in_channels, *image_size) ->
            (N, num_classes).

    Raises:
        MaamError: no model has this name, or it can't take images of this size.
    """
    _, architecture, arguments = MODELS[_known(name)]
    file, cls = architecture.split(".")
    build = getattr(importlib.import_module(f"{package}.{file}"), cls)
    try:
        return build(num_classes, in_channels, image_size, **arguments)
    except ValueError as error:
        raise MaamError(f"--model {name}: {error}") from None


def _of_eight(channels: float) -> int:
    """The nearest multiple of 8, but at least 8, and no less than 90 % of ``channels``."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


def _known(name: str) -> str:
    if name in MODELS:
        return name
    near = get_close_matches(name, MODELS, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else "see `maam models`"
    raise MaamError(f"no model is called {name!r}: {hint}")

"""The table of all models: names, one line each, and the arguments of their architectures."""

from __future__ import annotations

from typing import Any

CHANNELS = 128  # C' of equation 4
HIDDEN = 256  # d of equation 8
SMALL_HIDDEN = 64  # with which the paper's "2.3M parameters" hold

# The paper's classifier: name -> (description, arguments of MAAM beyond the channels)
MAAM_VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "maam": ("the paper's model: three agents, conv3-64, pool, conv3-128", {}),
    "maam-p1": ("agents of conv3-128, pool", {"layers": "p1"}),
    "maam-p3": ("agents of conv3-32, conv3-128, pool", {"layers": "p3"}),
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
        name: (description, "maam.MAAMClassifier", {"options": options, "hidden": HIDDEN})
        for name, (description, options) in MAAM_VARIANTS.items()
    },
    "maam-2.3m": (
        "the paper's model with a hidden layer of 64: its 2.3 million parameters",
        "maam.MAAMClassifier",
        {"options": {}, "hidden": SMALL_HIDDEN},
    ),
    "maam-deep": (
        "agents of conv3-32, pool, conv3-64, conv3-128; a hidden layer of 64",
        "maam.MAAMClassifier",
        {"options": {"layers": (32, "pool", 64, 128)}, "hidden": SMALL_HIDDEN},
    ),
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
    "separable-resnet": (
        "peer: SeparableResNet V2 4-3 for CIFAR",
        "separable.SeparableResNet",
        {"width": 4, "blocks": (9, 6, 3)},
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


def _of_eight(channels: float) -> int:
    """The nearest multiple of 8, but at least 8, and no less than 90 % of ``channels``."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8

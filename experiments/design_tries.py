"""What ``design.py`` tries: one line of docs/design-notes.md each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from design_dense import Dense
from design_forms import Net
from design_muon import OTHERS
from torch import nn

from maam.models.kernels import Agent
from maam.models.variants import AGENTS
from maam.torch.models.separable import SeparableResNet

NANO = ((32, 2), (64, 3), (128, 3))  # the stages of `base`
SMALLEST = ((32, 1), (64, 5), (128, 3))  # those of `maamnet-nano`
TINY = ((48, 3), (96, 6), (192, 4))
LARGE = ((3, 3, 1), (7, 7, 1), (3, 3, 3), (1, 1, 1))  # agents
DENSE = "Dense agents, two million parameters"
BLOCK = "The block of SeparableResNet, in float32"
CHEAP = "Training, in float32"
LONG = "Twenty epochs of `{}`, two of them warm-up"
REFERENCES = {
    DENSE: "dense",
    "The final block": "nano-32",
    BLOCK: "nano-32-float32",
    CHEAP: "nano-32-float32",
    LONG.format("maamnet-nano"): "long",
    LONG.format("maamnet-tiny"): "tiny-long-rate",
    LONG.format("resnet20"): "resnet20-long",
}  # of a group, if not `base`
STEEP = {"learning_rate": 0.2, "weight_decay": 1e-3}
NORM_FIRST = {"order": "norm first", "residual": "sum", "activation": "gelu"}
EXACT = {"precision": "fp32"}  # on a processor without bfloat16
BATCH_256 = {"batch_size": 256, "learning_rate": 0.2}


class Try(NamedTuple):
    """One line of the notes.

    Attributes:
        group: the question it belongs to.
        text: what differs from ``base``.
        form: arguments of ``design_forms.Net`` that differ.
        options: training options that differ.
        model: a model of the table in its place.
        stages: of a ``MAAMNet`` in its place.
        agents: of that.
        muon: train with ``design_muon`` in place of the optimiser.
        net: the class in ``Net``'s place.
    """

    group: str
    text: str
    form: Mapping[str, Any] = {}
    options: Mapping[str, Any] = {}
    model: str | None = None
    muon: bool = False
    net: type[nn.Module] = Net
    stages: Sequence[tuple[int, int]] = ()
    agents: Sequence[Agent] = AGENTS


def _stages(text: str, *stages: tuple[int, int], **form: Any) -> Try:
    return Try("Shape", text, {"stages": stages, **form})


def _long(text: str, model: str = "maamnet-nano", **options: Any) -> Try:
    given = {"epochs": 20, "warmup_epochs": 2} | options
    return Try(LONG.format(model), text, options=given, model=model)


def _net(*stages: tuple[int, int]) -> Try:
    shape = ", ".join(f"{wide} x {blocks}" for wide, blocks in stages)
    return Try("The final block", shape, stages=stages)


def _dense(text: str, **form: Any) -> Try:
    shape = {"stem": 32, "stages": ((64, 2), (256, 2), (256, 2))}
    return Try(DENSE, f"{text} (batch 256, rate 0.2)", shape | form, BATCH_256, net=Dense)


def _agents(text: str, *agents: tuple[int, int]) -> Try:
    return Try("Agents", text, {"agents": [(side, side, step) for side, step in agents]})


def _muon(rate: float) -> Try:
    text = f"Muon {rate:g} for filters, which are normalised, sgd {OTHERS * rate:g} for the rest"
    return Try("Training", text, options={"learning_rate": rate}, muon=True)


def _block(text: str, **form: Any) -> Try:
    shape = {"stages": SMALLEST, "pool": "stride", "residual": "bare"}
    return Try(BLOCK, text, shape | form, EXACT)


def _cheap(text: str, muon: bool = False, **options: Any) -> Try:
    return Try(CHEAP, text, options=EXACT | options, stages=SMALLEST, muon=muon)


TRIES = {
    "base": Try(
        "The base",
        "agents 3, 5, 3 dilated, identity; BatchNorm and ReLU; compression; X + F; max pooling",
    ),
    "resnet8": Try("The base", "the peer ResNet-8", model="resnet8"),
    "agents-3": _agents("one: 3x3", (3, 1)),
    "agents-5": _agents("one: 5x5", (5, 1)),
    "agents-35": _agents("3, 5", (3, 1), (5, 1)),
    "agents-31": _agents("3, identity", (3, 1), (1, 1)),
    "fixed": Try("Fusion", "fixed weights 1 / 4", {"fusion": "fixed"}),
    "plain-sum": Try("Fusion", "fixed weights 1", {"fusion": "sum"}),
    "own-norms": Try("Fusion", "a BatchNorm for each agent", {"norms": "own"}),
    "no-mid": Try(
        "Block", "nothing after the agents, X + ReLU(F)", {"mid": "none", "residual": "sum"}
    ),
    "bare": Try("Block", "X + F, and F without ReLU when halving", {"residual": "bare"}),
    "stride": Try("Halving", "stride 2", {"pool": "stride"}),
    "glu": _stages(
        "nothing after the agents, gated compression, then 1x1: 20 x 2, 44 x 4, 80 x 2",
        *((20, 2), (44, 4), (80, 2)),
        compress="glu",
        mid="none",
    ),
    "dense": _dense("dense agents 3x3, 1x3, 3x1, 1x1, then 1x1"),
    "dense-mid": _dense(
        "the base's block with dense agents: 32, 96 x 1, 192 x 2, 256 x 3",
        stages=((96, 1), (192, 2), (256, 3)),
        compress=False,
        mid=True,
        residual="linear",
    ),
    "dense-relu-sum": _dense("ReLU(X + F)", residual="relu"),
    "dense-mean": _dense("the mean over all places before the last layer", head="mean"),
    "tiny-dense": _dense(
        "dense agents, as large as `maamnet-tiny` (below): 16, 32 x 2, 96 x 2, 128 x 1, "
        "mean at the end",
        stem=16,
        stages=((32, 2), (96, 2), (128, 1)),
        head="mean",
    )._replace(group="The final block"),
    "nano-24": _net((24, 2), (56, 5), (112, 4)),
    "nano-32": _net(*SMALLEST),
    "nano-32-one": _net(*SMALLEST)._replace(
        text="32 x 1, 64 x 5, 128 x 3 with one agent: 5x5", agents=((5, 5, 1),)
    ),
    "tiny": _net(*TINY),
    "tiny-7": _net(*TINY)._replace(
        text="48 x 3, 96 x 6, 192 x 4 with agents 3, 7, 3 dilated by 3, identity",
        agents=LARGE,
    ),
    "base-depthwise": _net((64, 2), (256, 6), (384, 2)),
    "long": _long("rate 0.1"),
    "long-rate": _long("rate 0.2", learning_rate=0.2),
    "long-cutmix": _long("rate 0.1, CutMix for 16 epochs", cutmix=1.0, mix_until=0.8),
    "tiny-long-rate": _long("rate 0.2, weight decay 1e-3", "maamnet-tiny", **STEEP),
    "tiny-long-trivial": _long(
        "rate 0.2, weight decay 1e-3, TrivialAugment", "maamnet-tiny", augment="trivial", **STEEP
    ),
    "resnet20-long": _long("rate 0.1, weight decay 5e-4", "resnet20"),
    "resnet20-long-rate": _long("rate 0.2, weight decay 1e-3", "resnet20", **STEEP),
    "rate-0.2": Try("Training", "rate 0.2", options={"learning_rate": 0.2}),
    "ema": Try("Training", "EMA 0.999", options={"ema": 0.999}),
    "muon": _muon(0.2),
    "muon-0.1": _muon(0.1),
    "nano-32-float32": Try(BLOCK, "32 x 1, 64 x 5, 128 x 3", options=EXACT, stages=SMALLEST),
    "separable": Try(
        BLOCK,
        "SeparableResNet, 32 x 2, 64 x 3, 128 x 2",
        {"width": 2, "blocks": (2, 3, 2)},
        EXACT,
        net=SeparableResNet,
    ),
    "norm-first": _block("BatchNorm before, GELU after each convolution", **NORM_FIRST),
    "norm-first-late": _block(
        "the same, 32 x 4, 64 x 5, 112 x 3",
        **NORM_FIRST,
        stages=((32, 4), (64, 5), (112, 3)),
    ),
    "gelu": _block("GELU", activation="gelu"),
    "scaled": _block("(X + F) / sqrt(2)", residual="scaled"),
    "last-relu": _block("X + ReLU(F), and ReLU(F) when halving", residual="sum"),
    "late": _net((32, 4), (64, 5), (112, 3))._replace(group=BLOCK, options=EXACT),
    "batch-64": _cheap("batch 64", batch_size=64),
    "muon-512": _cheap("Muon 0.2, batch 512", muon=True, learning_rate=0.2, batch_size=512),
    "erase": _cheap("random erasing of half of the images", erase=0.5),
    "silu": Try("Activation", "SiLU", {"activation": "silu"}),
}

"""What ``design.py`` tries: one line of docs/design-notes.md each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from maam.taps import Agent
from maam.variants import AGENTS

NANO = ((32, 2), (64, 3), (128, 3))  # the stages of `base`
LARGE = ((3, 3, 1), (7, 7, 1), (3, 3, 3), (1, 1, 1))  # agents
REFERENCES = {"Base": "dense", "Twenty epochs": "long"}  # of a group, if not `base`
BATCH_256 = {"batch_size": 256, "learning_rate": 0.2}
ADAMW = {"optimizer": "adamw", "learning_rate": 2e-3, "weight_decay": 0.05}


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
        dense: the network is ``design_forms.Dense``.
    """

    group: str
    text: str
    form: Mapping[str, Any] = {}
    options: Mapping[str, Any] = {}
    model: str | None = None
    muon: bool = False
    dense: bool = False
    stages: Sequence[tuple[int, int]] = ()
    agents: Sequence[Agent] = AGENTS


def _stages(text: str, *stages: tuple[int, int], **form: Any) -> Try:
    return Try("Shape", text, {"stages": stages, **form})


LONG = {"epochs": 20, "warmup_epochs": 2}


def _long(text: str, **options: Any) -> Try:
    shape = (32, 1), (64, 5), (128, 3)
    return Try("Twenty epochs", text, options=LONG | options, stages=shape)


def _net(*stages: tuple[int, int]) -> Try:
    shape = ", ".join(f"{wide} x {blocks}" for wide, blocks in stages)
    return Try("The final block", shape, stages=stages)


def _dense(text: str, **form: Any) -> Try:
    shape = {"stem": 32, "stages": ((64, 2), (256, 2), (256, 2))}
    return Try("Base", text, shape | form, BATCH_256, dense=True)


def _agents(text: str, *agents: tuple[int, int]) -> Try:
    return Try("Agents", text, {"agents": [(side, side, step) for side, step in agents]})


TRIES = {
    "base": Try(
        "The base",
        "agents 3, 5, 3 dilated, identity; BatchNorm and ReLU; compression; X + F; max pooling",
    ),
    "resnet8": Try("The base", "the peer ResNet-8", model="resnet8"),
    "agents-3": _agents("one: 3x3", (3, 1)),
    "agents-5": _agents("one: 5x5", (5, 1)),
    "agents-7": _agents("one: 7x7", (7, 1)),
    "agents-35": _agents("3, 5", (3, 1), (5, 1)),
    "agents-31": _agents("3, identity", (3, 1), (1, 1)),
    "agents-371": _agents("3, 7, identity", (3, 1), (7, 1), (1, 1)),
    "agents-5d": _agents(
        "3, 5, 7, 3 dilated by 2 and 3, identity", (3, 1), (5, 1), (3, 2), (1, 1), (7, 1), (3, 3)
    ),
    "fixed": Try("Fusion", "fixed weights 1 / 4", {"fusion": "fixed"}),
    "plain-sum": Try("Fusion", "fixed weights 1", {"fusion": "sum"}),
    "own-norms": Try("Fusion", "a BatchNorm for each agent", {"norms": "own"}),
    "no-mid": Try(
        "Block", "nothing after the agents, X + ReLU(F)", {"mid": "none", "residual": "sum"}
    ),
    "mid-norm": Try("Block", "BatchNorm after the agents, X + F", {"mid": "norm"}),
    "two-relus": Try("Block", "X + ReLU(F)", {"residual": "sum"}),
    "relu-sum": Try("Block", "ReLU(X + F)", {"residual": "relu"}),
    "bare": Try("Block", "X + F, and F without ReLU when halving", {"residual": "bare"}),
    "no-residual": Try("Block", "ReLU(F) alone", {"residual": "none"}),
    "avg-pool": Try("Halving", "average pooling", {"pool": "avg"}),
    "stride": Try("Halving", "stride 2", {"pool": "stride"}),
    "narrow": _stages("16 x 2, 64 x 5, 128 x 3", (16, 2), (64, 5), (128, 3)),
    "middle": _stages("32 x 2, 64 x 4, 128 x 2", (32, 2), (64, 4), (128, 2)),
    "deep": _stages("24 x 1, 64 x 5, 128 x 3", (24, 1), (64, 5), (128, 3)),
    "deeper": _stages("16 x 1, 48 x 6, 96 x 5", (16, 1), (48, 6), (96, 5)),
    "gate": _stages(
        "gated compression, 24 x 1, 48 x 4, 96 x 3", (24, 1), (48, 4), (96, 3), compress="gate"
    ),
    "glu": _stages(
        "nothing after the agents, gated compression, then 1x1: 20 x 2, 44 x 4, 80 x 2",
        *((20, 2), (44, 4), (80, 2)),
        compress="glu",
        mid="none",
    ),
    "expand": _stages(
        "nothing after the agents, twice the channels, then 1x1: 16 x 2, 32 x 4, 72 x 3",
        *((16, 2), (32, 4), (72, 3)),
        compress="expand",
        mid="none",
    ),
    "dense": _dense("dense agents 3x3, 1x3, 3x1, 1x1, then 1x1"),
    "dense-no-1x1": _dense("dense agents alone", compress=False),
    "dense-3": _dense("one dense 3x3", compress=False, agents=((3, 3, 1),)),
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
        "as large as 48 x 3, 96 x 6, 192 x 4: 16, 32 x 2, 96 x 2, 128 x 1",
        stem=16,
        stages=((32, 2), (96, 2), (128, 1)),
        head="mean",
    ),
    "dense-gelu": _dense("GELU", activation="gelu"),
    "nano-24": _net((24, 2), (56, 5), (112, 4)),
    "nano-24-48": _net((24, 3), (48, 5), (96, 5)),
    "nano-32": _net((32, 1), (64, 5), (128, 3)),
    "tiny": _net((48, 3), (96, 6), (192, 4)),
    "tiny-7": _net((48, 3), (96, 6), (192, 4))._replace(
        text="48 x 3, 96 x 6, 192 x 4 with agents 3, 7, 3 dilated by 3, identity",
        agents=LARGE,
    ),
    "tiny-2": _net((48, 3), (112, 9)),
    "base-depthwise": _net((64, 2), (256, 6), (384, 2)),
    "long": _long("32 x 1, 64 x 5, 128 x 3"),
    "long-cutmix": _long("CutMix for 16 epochs", cutmix=1.0, mix_until=0.8),
    "batch-64": Try("Training", "batch 64", options={"batch_size": 64}),
    "batch-256": Try("Training", "batch 256, rate 0.2", options=BATCH_256),
    "rate-0.2": Try("Training", "rate 0.2", options={"learning_rate": 0.2}),
    "rate-0.05": Try("Training", "rate 0.05", options={"learning_rate": 0.05}),
    "decay-1e-4": Try("Training", "weight decay 1e-4", options={"weight_decay": 1e-4}),
    "decay-1e-3": Try("Training", "weight decay 1e-3", options={"weight_decay": 1e-3}),
    "no-smoothing": Try("Training", "no label smoothing", options={"label_smoothing": 0.0}),
    "ema": Try("Training", "EMA 0.999", options={"ema": 0.999}),
    "adamw": Try("Training", "AdamW 2e-3, decay 0.05", options=ADAMW),
    "muon": Try("Training", "Muon 0.2", options={"learning_rate": 0.2}, muon=True),
    "muon-0.1": Try("Training", "Muon 0.1", options={"learning_rate": 0.1}, muon=True),
    "gelu": Try("Activation", "GELU", {"activation": "gelu"}),
    "silu": Try("Activation", "SiLU", {"activation": "silu"}),
    "hardswish": Try("Activation", "hard swish", {"activation": "hardswish"}),
}

"""MAAMNet by its widths: names such as ``maamnet-16x1-32x5-64x3``, which both frameworks build."""

from __future__ import annotations

import re
from typing import Any

from maam.core.errors import MaamError
from maam.models.variants import AGENTS, MAAMNET_VARIANTS, MODELS

Stages = tuple[tuple[int, int], ...]
"""(channels, blocks) of each stage."""

STEP, NARROWEST, WIDEST = 4, 8, 1024  # channels of a stage; the first is what they are multiples of
MOST_STAGES, MOST_BLOCKS = 6, 64  # the last of 6 stages makes one pixel of 32

_MAAMNET = "maamnet.MAAMNet"
_NAME = re.compile(r"maamnet((?:-[0-9]{1,9}x[0-9]{1,9})+)")


def model_row(name: str) -> tuple[str, str, dict[str, Any]] | None:
    """Description, architecture and arguments of a model, as in ``MODELS``; None if there is none.

    Raises:
        MaamError: the widths in the name are not those of a network.
    """
    if name in MODELS:
        return MODELS[name]
    stages = _parse(name)
    if stages is None:
        return None
    return "MAAMNet of these channels x blocks", _MAAMNET, {"stages": stages, "agents": AGENTS}


def maamnet_stages(name: str) -> Stages | None:
    """Channels and blocks of each stage of a MAAMNet; None for other models."""
    row = model_row(name)
    return row[2]["stages"] if row and row[1] == _MAAMNET else None


def maamnet_name(stages: Stages) -> str:
    """The name of a MAAMNet: that of a size which has these stages, else one that carries them."""
    for name, (_, own) in MAAMNET_VARIANTS.items():
        if own == stages:
            return name
    return "-".join(("maamnet", *(f"{wide}x{count}" for wide, count in stages)))


def _parse(name: str) -> Stages | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    pairs = (part.split("x") for part in match[1][1:].split("-"))
    stages = tuple((int(wide), int(count)) for wide, count in pairs)
    if len(stages) > MOST_STAGES:
        raise MaamError(f"`model={name}` has {len(stages)} stages: {MOST_STAGES} are the most")
    for wide, count in stages:
        if wide % STEP or not NARROWEST <= wide <= WIDEST:
            raise MaamError(
                f"`model={name}`: a stage can't have {wide} channels: give a multiple of {STEP} "
                f"from {NARROWEST} to {WIDEST}"
            )
        if not 1 <= count <= MOST_BLOCKS:
            raise MaamError(f"`model={name}`: a stage has 1 to {MOST_BLOCKS} blocks, not {count}")
    if match[1] != "".join(f"-{wide}x{count}" for wide, count in stages):
        raise MaamError(f"`model={name}`: write its numbers without leading zeros")
    return stages

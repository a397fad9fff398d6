"""What a Multi-Agent Aggregation Module is made of, in numbers: no framework."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

POOL = "pool"

Layers = Sequence[int | str]
"""An agent's layers: a number is a 3x3 (or ``kernel_size``) convolution to so many channels, with
BatchNorm and ReLU; ``"pool"`` is a 2x2 max pooling."""

# The paper gives neither widths nor depth of an agent. Each preset divides the agent's channels.
PRESETS: dict[str, tuple[int | str, ...]] = {
    "p1": (1, POOL),
    "p2": (2, POOL, 1),
    "p3": (4, 1, POOL),
}

SUMS = ("learned", "fixed")  # fusions that sum the agents with weights not of the image
FUSIONS = (*SUMS, "concat", "squeeze")


@dataclass(frozen=True)
class Convolution:
    """A convolution of an agent, with BatchNorm and ReLU; 2x2 max pooling too if ``pool``."""

    in_channels: int
    out_channels: int
    groups: int
    pool: bool


@dataclass(frozen=True)
class AgentGroup:
    """Neighbouring agents of one shape, which run as one block."""

    kernel_size: int
    resolution: int
    count: int


@dataclass(frozen=True)
class ModuleSpec:
    """The arguments of a ``MAAM``, see there; from it another one of the same shape is built.

    ``layers`` are what ``agent_layers`` makes of them.
    """

    in_channels: int
    out_channels: int
    kernel_sizes: tuple[int, ...]
    layers: tuple[int | str, ...]
    pool: bool = True
    fusion: str = "learned"
    reduce: bool = True
    resolutions: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion is one of {', '.join(FUSIONS)}, not {self.fusion!r}")
        if self.fusion == "concat" and not self.reduce:
            raise ValueError(
                "fusion 'concat' needs reduce=True: only the compression joins the agents"
            )

    @property
    def agents(self) -> int:
        """How many there are."""
        return len(self.kernel_sizes)

    @property
    def groups(self) -> list[AgentGroup]:
        """The blocks of the module: neighbours of one shape run as one.

        Raises:
            ValueError: no agents, or lengths that differ.
        """
        if not self.kernel_sizes:
            raise ValueError("kernel_sizes is empty, and there is at least 1 agent")
        resolutions = self.resolutions or (1,) * self.agents
        if len(resolutions) != self.agents:
            raise ValueError(
                f"{self.agents} kernel_sizes but {len(resolutions)} resolutions: "
                "give one of each per agent"
            )
        pairs = zip(self.kernel_sizes, resolutions, strict=True)
        return [AgentGroup(*shape, len(list(run))) for shape, run in groupby(pairs)]


def agent_layers(layers: str | Layers, out_channels: int) -> tuple[int | str, ...]:
    """The layers of an agent as convolutions' widths and ``"pool"``.

    Args:
        layers: such a tuple, or a name in ``PRESETS``.
        out_channels: of the agent.

    Raises:
        ValueError: an unknown preset, a width below 1, another word than "pool", two poolings or
            none, a pooling before the first convolution, or a last width that is not
            ``out_channels``.
    """
    if not isinstance(layers, Sequence) or (isinstance(layers, str) and layers not in PRESETS):
        raise ValueError(
            f"layers is one of {', '.join(PRESETS)}, or a tuple such as (64, 'pool', 128), "
            f"not {layers!r}"
        )
    if isinstance(layers, str):
        return tuple(
            max(1, out_channels // each) if isinstance(each, int) else each
            for each in PRESETS[layers]
        )
    layers = tuple(layers)
    widths = [each for each in layers if each != POOL]
    if not widths or any(type(each) is not int or each < 1 for each in widths):
        raise ValueError(f"layers are numbers of channels and 'pool', not {layers}")
    if layers.count(POOL) != 1 or layers[0] == POOL:
        raise ValueError(f"layers have one 'pool', after a convolution, not {layers}")
    if widths[-1] != out_channels:
        raise ValueError(f"the last of layers {layers} must be out_channels, {out_channels}")
    return layers


def convolutions(
    in_channels: int, out_channels: int, layers: str | Layers, agents: int, pool: bool
) -> list[Convolution]:
    """The convolutions of ``agents`` agents side by side: they share the input and nothing else.

    Args:
        in_channels, out_channels, layers, agents: as ``AgentBlock`` has them.
        pool: false leaves all pooling out.

    Raises:
        ValueError: as ``agent_layers``.
    """
    stages = agent_layers(layers, out_channels)
    specs: list[Convolution] = []
    channels, groups = in_channels, 1
    for index, stage in enumerate(stages):
        if isinstance(stage, int):
            width = agents * stage
            pools = pool and stages[index + 1 : index + 2] == (POOL,)
            specs.append(Convolution(channels, width, groups, pools))
            channels, groups = width, agents
    return specs


def check_agent(
    in_channels: int, out_channels: int, kernel_size: int, agents: int, resolution: int
) -> None:
    """Check the arguments of ``AgentBlock``; ``agent_layers`` checks its layers.

    Raises:
        ValueError: an even kernel, or a count below 1.
    """
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size is odd and at least 1, not {kernel_size}")
    if min(in_channels, out_channels, agents, resolution) < 1:
        raise ValueError("channels, agents and resolution are at least 1")
    if resolution > 1 and resolution % 2:
        raise ValueError(f"resolution is 1 or even, not {resolution}")


def squeezed_width(agents: int, channels: int) -> int:
    """The hidden width of ``AgentExcitation``: a 16th of its input, their reduction ratio,
    but no less than the number of agents.
    """
    return max(agents, agents * channels // 16)

"""What the models cost: counted by a framework, or from a table that one has written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from maam.core import frameworks
from maam.core.errors import MaamError
from maam.core.files import write_atomic
from maam.models import list_models

TABLE = Path(__file__).with_name("costs.json")


@dataclass(frozen=True)
class Cost:
    """Of one model, for 10 classes.

    Attributes:
        parameters: in training.
        deployed: parameters once norms and agents are folded.
        macs: multiply-accumulates of one image, folded.
    """

    parameters: int
    deployed: int
    macs: int


def stored_costs() -> dict[str, Cost]:
    """The costs of all built-in models at 3x32x32. Needs no framework."""
    rows = json.loads(TABLE.read_text(encoding="utf-8"))
    return {name: Cost(**row) for name, row in rows.items()}


def count_costs(names: Sequence[str], channels: int, size: int) -> dict[str, Cost]:
    """The costs of some models; those for which the images are too small are left out.

    Raises:
        MaamError: no framework is installed.
    """
    backend = frameworks.use(frameworks.choose("auto"))
    costs = {}
    for name in names:
        try:
            net = backend.create_model(name, 10, channels, (size, size))
        except MaamError:
            continue
        folded = backend.fuse(net)
        costs[name] = Cost(
            backend.count_parameters(net),
            backend.count_parameters(folded),
            backend.count_macs(folded, (channels, size, size)),
        )
    return costs


def write_costs() -> None:
    """Write the table anew: ``python -m maam.deploy.costs``, whenever a model is added."""
    costs = count_costs(list_models(), 3, 32)
    rows = {name: asdict(cost) for name, cost in costs.items()}
    write_atomic(TABLE, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    write_costs()

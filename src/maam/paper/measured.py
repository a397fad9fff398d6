"""What scripts beside ``maam reproduce`` have measured, as their files in ``results`` say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from maam.core.errors import MaamError

# Forms of benchmarks/framework_speed.py: MindSpore without and with our operators, PyTorch.
_FORMS = {
    "plain": ("mindspore-operators", "mindspore-naive"),
    "shipped": ("mindspore",),
    "torch": ("torch-nchw", "torch-nhwc", "torch-native"),
    "compiled": ("torch-compile-nchw", "torch-compile-nhwc"),
}


def speed(path: Path) -> dict[str, Any] | None:
    """What ``benchmarks/framework_speed.py`` measured of a training step of `maam`, batch 64.

    Speeds are times PyTorch's, eager, in float32 and its faster layout. None, if the file or a
    form is missing.
    """
    results = _read_json(path) or {"rows": []}
    rows = {
        row["form"]: row
        for row in results["rows"]
        if (row["what"], row["model"], row["batch"]) == ("training step", "maam", 64)
        and "ms" in row
    }
    groups = [[rows[form] for form in forms if form in rows] for forms in _FORMS.values()]
    if not all(groups):
        return None
    fastest = (min(group, key=lambda row: row["ms"]) for group in groups)
    best = dict(zip(_FORMS, fastest, strict=True))
    eager = best["torch"]["ms"]
    return {
        "command": results["command"],
        "cpu": results["environment"]["cpu"],
        "threads": results["threads"],
        "torch_label": best["torch"]["label"],
        "plain_label": best["plain"]["label"],
        **{name: round(eager / best[name]["ms"], 4) for name in ("plain", "shipped")},
        "compiled": round(best["compiled"]["ms"] / best["shipped"]["ms"], 4),
    }


def nodes(path: Path) -> dict[str, Any] | None:
    """What ``benchmarks/graph_nodes.py`` counted: graph -> form -> shares saved."""
    results = _read_json(path)
    if results is None:
        return None
    graphs: dict[str, Any] = {}
    for row in results["rows"]:
        saved = {key: row[key] for key in ("fewer_nodes", "fewer_kernels")}
        graphs.setdefault(row["graph"], {})[row["form"]] = saved
    return graphs


def search(path: Path) -> list[dict[str, Any]] | None:
    """What the trainings of ``experiments/search.py`` on all images gave, by recipe.

    First comes that whose model was best on held-out images: test images choose nothing.
    """
    results = _read_json(path)
    if results is None:
        return None
    recipes: dict[str, dict[str, Any]] = {}
    for run in results["all_images"]:
        keys = "recipe", "model", "parameters", "epochs", "device"
        row = recipes.setdefault(run["recipe"], {key: run[key] for key in keys})
        row.setdefault("accuracies", []).append(run["accuracy"])
    models = [row["model"] for row in results["rows"]]  # the best on held-out images first
    models += [row["model"] for row in recipes.values()]
    return sorted(recipes.values(), key=lambda row: models.index(row["model"]))


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MaamError(f"{path} is damaged, write it again or delete it: {error}") from None

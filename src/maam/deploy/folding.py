"""Fold the network of a run folder, and measure what that saves."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

from maam.core import frameworks
from maam.core.environment import prepare_onnx
from maam.core.errors import MaamError
from maam.core.files import make_folder, write_atomic
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.core.signals import check_signals
from maam.core.tensors import save_tensors
from maam.deploy.latency import measure
from maam.deploy.onnx_export import write_run_file
from maam.models.weights import find_run
from maam.report.markdown import markdown_table

# What is compared: key -> name and format
COSTS = {
    "parameters": ("Parameters", "{:,}"),
    "macs": ("Multiply-accumulates per image", "{:,}"),
    "nodes": ("Nodes of the ONNX graph", "{:,}"),
    "latency_ms": ("Milliseconds per image (ONNX Runtime, one thread)", "{:.3f}"),
}

Costs = dict[str, tuple[float, float]]


def fuse_run(
    run: str | os.PathLike[str], out: Path | None = None, framework: str = "auto"
) -> tuple[Path, Costs]:
    """Write a run folder that holds the folded network, which computes the same.

    ``evaluate``, ``predict`` and ``load_model`` take it like any other; training can't go on there.

    Args:
        run: a run folder, or the name of a shipped model.
        out: the folder to make; RUN-fused beside it when None, for a shipped model here.
        framework: ``mindspore``, ``torch``, or ``auto``: what trained the run.

    Returns:
        The folder, and for each key of ``COSTS`` the values before and after.

    Raises:
        MaamError: no run folder, one that is folded already, or ``out`` exists.
    """
    source = find_run(run).path
    meta = RunFolder(source).read_meta()
    if meta.fused:
        raise MaamError(f"{source} is folded already: name the run that it was made from")
    home = source.resolve().parent if source == Path(run) else Path.cwd()
    source = source.resolve()
    folder = out or home / f"{source.name}-fused"
    if folder.exists():
        raise MaamError(f"{folder} exists already: name another folder with `out`")
    backend = frameworks.use(frameworks.choose(framework, meta.framework))
    backend.set_device("CPU")
    net, _ = backend.load_model(source)
    shape = meta.image_shape
    nets = {"before": net, "after": backend.fuse(net)}
    tensors = backend.get_weights(nets["after"])
    if tensors.keys() == backend.get_weights(net).keys():
        raise MaamError(f"{source} holds {meta.model}, in which there is nothing to fold")
    make_folder(folder.parent)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        files = {name: Path(scratch) / f"{name}.onnx" for name in nets}
        for name, each in nets.items():
            backend.export_onnx(each, shape, files[name], net)
            check_signals()
        latencies = measure(files)
        costs = {
            name: {
                "parameters": backend.count_parameters(each),
                "macs": backend.count_macs(each, shape),
                "nodes": _nodes(files[name]),
                "latency_ms": latencies[name]["latency_ms"],
            }
            for name, each in nets.items()
        }
        both = {key: (costs["before"][key], costs["after"][key]) for key in COSTS}
        made = RunFolder(Path(scratch) / "run")
        make_folder(made.path)
        save_tensors(made.best, tensors, {"fused": True})
        write_run_file(RunFolder(source), made, nets["after"], net, backend)
        write_atomic(made.card, _card(source, meta, both))
        if images := RunFolder(source).read_images():
            made.write_images(images)
        after = {key: costs["after"][key] for key in ("parameters", "macs")}
        made.write_meta(replace(meta, **after, fused=True))
        try:
            made.path.rename(folder)
        except OSError as error:
            raise MaamError(f"cannot make {folder}: {error}") from None
    return folder, both


def cost_rows(costs: Costs) -> list[tuple[str, str, str]]:
    """Name, before and after of each cost, for people."""
    rows = []
    for key, (name, form) in COSTS.items():
        before, after = costs[key]
        rows.append((name, form.format(before), form.format(after)))
    return rows


def _nodes(path: Path) -> int:
    prepare_onnx()
    import onnx

    return len(onnx.load(str(path)).graph.node)


def _card(source: Path, meta: RunMeta, costs: Costs) -> str:
    table = markdown_table(("", "Before", "Folded"), cost_rows(costs))
    return (
        f"# {meta.model}, folded\n\nThe network of `{source.name}` with its norms, fusion "
        "weights and linear agents folded into convolutions: the same answers but for rounding, "
        f"and the same scores.\n\n{table}\n\nLatency is the median of 5 processes in turns.\n"
    )

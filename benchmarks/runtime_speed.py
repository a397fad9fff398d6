"""MAAMNet and its peers in every runtime of this machine.

    python benchmarks/runtime_speed.py

Measures the models of results/peers.json as `maam benchmark` does, ours with their shipped weights,
peers with fresh ones, which take the same time. Writes results/runtimes.json and docs/runtimes.md.
Close other programs first. `--out FOLDER --seconds 0.01 --rounds 1 --models resnet8` tries it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import maam
from maam.core.environment import prepare_onnx
from maam.core.errors import MaamError
from maam.core.files import write_atomic
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.core.tensors import save_tensors
from maam.data.preprocessing import Preprocessing
from maam.data.sources.cifar10 import CLASSES
from maam.deploy.int8_file import save_int8
from maam.deploy.int8_onnx import int8_model
from maam.deploy.onnx import INPUT, Network
from maam.deploy.qdq import qdq_model
from maam.deploy.quantization import quantize_layers
from maam.deploy.reading import read_layers
from maam.deploy.runtimes import RUNTIMES
from maam.models.weights import WEIGHTS, shipped
from maam.report.markdown import markdown_table

ROOT = Path(__file__).parents[1]
IMAGE = (3, 32, 32)
OURS, RIVAL = "maamnet-nano", "resnet8"
CALIBRATION = 64  # random images: the grids do not change the time


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", help="of results/peers.json; all if not given")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=ROOT, help="has results/ and docs/")
    given = parser.parse_args()
    try:
        report = collect(given.models or list(accuracies()), given.seconds, given.rounds)
    except MaamError as error:
        print(f"runtime_speed: {error}", file=sys.stderr)
        sys.exit(2)
    for folder in ("results", "docs"):
        (given.out / folder).mkdir(parents=True, exist_ok=True)
    write_atomic(given.out / "results/runtimes.json", json.dumps(report, indent=1) + "\n")
    write_atomic(given.out / "docs/runtimes.md", page(report))


def accuracies() -> dict[str, float]:
    """Models in results/peers.json, smallest first -> the best recipe's mean accuracy in %."""
    best: dict[str, float] = {}
    for row in json.loads((ROOT / "results/peers.json").read_text(encoding="utf-8"))["rows"]:
        best[row["model"]] = max(row["accuracy"], best.get(row["model"], 0))
    return best


def collect(models: Sequence[str], seconds: float, rounds: int) -> dict[str, Any]:
    """What is measured of the models, as results/runtimes.json holds it.

    Raises:
        MaamError: a model is unknown, or nothing can be measured.
    """
    known = accuracies()
    if unknown := set(models) - known.keys():
        raise MaamError(f"results/peers.json has no {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as scratch:
        runs = [make_run(model, Path(scratch) / model) for model in models]
        report = maam.benchmark(
            *(run.path for run in runs), seconds=seconds, rounds=rounds, progress=_told
        )
    written = report.to_dict()
    for each in (*written["rows"], *written["skipped"]):
        each["model"] = Path(each["model"]).name  # without the temporary folder
    return {
        "what": "latency of one image, throughput, memory and load time by runtime",
        "command": f"python benchmarks/runtime_speed.py --rounds {rounds} --seconds {seconds:g} "
        f"--models {' '.join(models)}",
        "accuracy": {model: known[model] for model in models},
        **written,
    }


def make_run(model: str, path: Path) -> RunFolder:
    """A run folder with everything that the runtimes read: shipped, or with fresh weights."""
    run = RunFolder(path)
    if model in shipped():
        shutil.copytree(WEIGHTS / model, path)
    else:
        _write_fresh(model, run)
    if not run.int8_model.exists():
        try:
            _quantize_ours(run)
        except MaamError:  # layers that are not ours
            _quantize_others(run)
    return run


def _write_fresh(model: str, run: RunFolder) -> None:
    import maam.torch  # here, for a measuring process imports this file before threads are set

    net = maam.torch.create_model(model).eval()
    folded = maam.torch.fuse(net)
    run.path.mkdir()
    save_tensors(run.best, maam.torch.get_weights(net), {})
    maam.torch.export_onnx(folded, IMAGE, run.model, net)
    preprocessing = {"size": IMAGE[1:], "channels": IMAGE[0], "mean": [0.5] * 3, "std": [0.25] * 3}
    counts = {
        "parameters": maam.torch.count_parameters(folded),
        "macs": maam.torch.count_macs(folded, IMAGE),
    }
    config = {"framework": "torch"}
    run.write_meta(RunMeta(model, CLASSES, preprocessing, deployed=counts, config=config))


def _pixels() -> np.ndarray:
    channels, height, width = IMAGE
    shape = CALIBRATION, height, width, channels
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _preprocessing(run: RunFolder) -> Preprocessing:
    return Preprocessing.from_dict(run.read_meta().preprocessing)


def _quantize_ours(run: RunFolder) -> None:
    network = quantize_layers(read_layers(run), _preprocessing(run), _pixels())
    save_int8(run.int8, network, run.best)
    whole = Network(run.model).whole  # both forms do the same
    model = int8_model(network, run.read_meta()) if whole else qdq_model(network)
    write_atomic(run.int8_model, model)


def _quantize_others(run: RunFolder) -> None:
    """By ONNX Runtime's own quantiser: static, int8, with a scale for each output channel."""
    prepare_onnx()
    from onnxruntime import quantization as q

    class Reader(q.CalibrationDataReader):
        def __init__(self) -> None:
            self.images = iter(_preprocessing(run)(_pixels()))

        def get_next(self) -> dict[str, np.ndarray] | None:  # pyright: ignore
            image = next(self.images, None)
            return None if image is None else {INPUT: image[None]}

    q.quantize_static(
        str(run.model),
        str(run.int8_model),
        Reader(),
        quant_format=q.QuantFormat.QDQ,
        per_channel=True,
        activation_type=q.QuantType.QInt8,
        weight_type=q.QuantType.QInt8,
    )


def _told(done: int, total: int, what: str) -> None:
    print(f"{done}/{total} {what}", file=sys.stderr)


def page(report: Mapping[str, Any]) -> str:
    """docs/runtimes.md."""
    rows = report["rows"]
    models = list(report["accuracy"])
    order = list(RUNTIMES)
    forms = sorted(
        {(row["runtime"], row["threads"]) for row in rows},
        key=lambda form: (order.index(form[0]), form[1]),
    )
    cells = {(row["model"], row["runtime"], row["threads"]): row for row in rows}
    sizes = {row["model"]: row for row in rows}
    facts = report["environment"]

    def table(threads: int, key: str, digits: int) -> str:
        names = [runtime for runtime, number in forms if number == threads]
        lines = []
        for model in models:
            row = sizes[model]
            found = [cells.get((model, name, threads)) for name in names]
            values = ["-" if each is None else f"{each[key]:,.{digits}f}" for each in found]
            shown = f"**{model}**" if model.startswith("maamnet") else model
            accuracy = f"{report['accuracy'][model]:.2f}"
            lines.append((shown, accuracy, f"{row['macs'] / 1e6:.1f}", *values))
        return markdown_table(("", "Accuracy %", "MACs (M)", *names), lines)

    sections = []
    for threads in sorted({number for _, number in forms}):
        many = f"{threads} thread{'' if threads == 1 else 's'}"
        sections += [f"## Milliseconds an image, {many}", table(threads, "p50_ms", 3)]
        sections += [f"## Images a second, {many}", table(threads, "images_per_second", 0)]
    return (
        "\n\n".join(
            [
                "# Runtimes",
                f"Written by `{report['command']}`, from results/runtimes.json, as "
                f"`maam benchmark` measures: {report['rounds']} rounds in turns, at least "
                f"{report['seconds']:g} s each, every measurement in a process of its own, on "
                f"{facts['cpu']}. Latency is of one image, the median; throughput is of batches "
                f"of {rows[0]['batch_size']} images. Versions: {_versions(facts, rows)}. Accuracy "
                "is of float32, from [the comparison with peers](comparison.md). int8 of our "
                "networks is what `maam quantize` writes, of the others what ONNX Runtime's own "
                "static quantiser does.",
                *sections,
                *_duel(cells, forms),
                "## Memory (MiB)",
                "By which loading and running with one image, on one thread, raises the peak of a "
                "process that has the runtime's library already.",
                table(1, "memory_mib", 1),
            ]
        )
        + "\n"
    )


def _versions(facts: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> str:
    names = {"onnxruntime": "onnx", "openvino": "openvino", "torch": "torch"}
    names["mindspore"] = "mindspore"
    measured = {row["runtime"] for row in rows}
    return ", ".join(
        f"{package} {facts[package]}"
        for package, runtime in names.items()
        if runtime in measured and package in facts
    )


def _duel(
    cells: Mapping[tuple[str, str, int], Mapping[str, Any]], forms: Sequence[tuple[str, int]]
) -> list[str]:
    """Ours beside the reference network of MLPerf Tiny, which has as many MACs."""
    lines, faster = [], 0
    for form in forms:
        pair = [cells.get((model, *form)) for model in (OURS, RIVAL)]
        if pair[0] is None or pair[1] is None:
            continue
        ours, rival = pair[0]["p50_ms"], pair[1]["p50_ms"]
        faster += ours <= rival
        lines.append((form[0], str(form[1]), f"{ours:.3f}", f"{rival:.3f}", f"{ours / rival:.2f}"))
    if not lines:
        return []
    return [
        f"## {OURS} beside {RIVAL}",
        f"In {faster} of {len(lines)} forms {OURS} is at least as fast as {RIVAL}, the reference "
        "network of MLPerf Tiny.",
        markdown_table(("Runtime", "Threads", f"{OURS} ms", f"{RIVAL} ms", "Ratio"), lines),
    ]


if __name__ == "__main__":
    main()

"""Where does a training step's time go, operator by operator, and what is the least it could take?

Each framework's own profiler watches steps of a network (Adam, batch 128) in a process of its own,
on one core, in turns; the least time of the rounds counts. Beside it stands what the core allows:
the step's multiplications at the speed of a large matrix product, and its maps at the speed of
copying, each map written and read once forward, read once more backward, and its gradient written
and read.

    python benchmarks/step_profile.py
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from child import run_child
from framework_forms import FORMS, KEEP_MEMORY, SHIPPED, TCMALLOC, training_step

RESULTS = Path(__file__).parents[1] / "results" / "step_profile.json"
MODELS = ("maamnet-nano", "resnet20", "maam")
FORMS_COMPARED = (SHIPPED, "torch-native")
STEPS, SHOWN, PASSES = 4, 6, 5


def watch_mindspore(step: Callable[[], Any]) -> dict[str, float]:
    """Milliseconds of every kind of operator in a step; ours are "Custom"."""
    import mindspore as ms

    with tempfile.TemporaryDirectory() as folder:
        handler = ms.profiler.tensorboard_trace_handler(folder)
        activities = [ms.profiler.ProfilerActivity.CPU]
        profiler = ms.profiler.profile(activities=activities, on_trace_ready=handler)
        profiler.start()
        for _ in range(STEPS):
            step()
            profiler.step()
        profiler.stop()
        (found,) = Path(folder).rglob("cpu_op_type_info_*.csv")
        rows = list(csv.DictReader(found.open(encoding="utf-8")))
    return {row["op_type"]: float(row["total_compute_time"]) / STEPS for row in rows}


def watch_torch(step: Callable[[], Any]) -> dict[str, float]:
    """Milliseconds of every kind of operator in a step, without those that it calls."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(STEPS):
            step()
    return {row.key: row.self_cpu_time_total / 1000 / STEPS for row in profiler.key_averages()}


def watch(form: str, model: str, batch: int) -> dict[str, Any]:
    """One form's step in this process, on one core: its milliseconds, and those of its parts."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    if FORMS[form].framework == "torch":
        import torch

        torch.set_num_threads(1)
    step = training_step(form, model, batch)
    times = []
    for _ in range(3 + STEPS):
        start = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - start))
    watching = watch_mindspore if FORMS[form].framework == "mindspore" else watch_torch
    return {"ms": min(times), "operators": watching(step)}


def least(model: str, batch: int) -> dict[str, float]:
    """What this core would take for the products of a step, and for its maps, in milliseconds."""
    import torch
    from torch import nn

    from maam.torch.cost import count_macs
    from maam.torch.models import create_model

    torch.set_num_threads(1)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    net: Any = create_model(model)
    sizes: list[int] = []
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(
                lambda _module, inputs, _y: sizes.append(inputs[0].numel())
            )
    net.eval()(torch.zeros(1, 3, 32, 32))
    matrix, maps = torch.rand(1024, 1024), np.ones(2**24, np.float32)
    into = np.empty_like(maps)
    product = _fastest(lambda: matrix @ matrix)
    copy = _fastest(lambda: np.copyto(into, maps))
    flops, speed = 6 * batch * count_macs(net, (3, 32, 32)), 2 * 1024**3 / product
    bandwidth = 2 * maps.nbytes / copy
    moved = PASSES * 4 * batch * sum(sizes)
    return {
        "gflops": round(speed / 1e9),
        "gb_per_s": round(bandwidth / 1e9, 1),
        "arithmetic_ms": round(1000 * flops / speed, 1),
        "memory_ms": round(1000 * moved / bandwidth, 1),
    }


def _fastest(call: Callable[[], Any]) -> float:
    times = []
    for _ in range(20):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def in_child(*words: str, variables: dict[str, str] | None = None) -> Any:
    arguments = [str(Path(__file__).resolve()), "--child", *words]
    environment = {**KEEP_MEMORY, "OMP_NUM_THREADS": "1", **(variables or {})}
    return json.loads(run_child(arguments, environment).splitlines()[-1])


def collect(models: list[str], batch: int, rounds: int) -> list[dict[str, Any]]:
    """A row a model and form: the step and its largest parts, the least of all rounds."""
    rows = {}
    for _ in range(rounds):
        for model in models:
            for form in FORMS_COMPARED:
                preload = TCMALLOC if FORMS[form].framework == "torch" else {}
                found = in_child("watch", form, model, str(batch), variables=preload)
                before = rows.setdefault((model, form), found)
                if found["ms"] < before["ms"]:
                    rows[model, form] = found
                print(f"{model}, {FORMS[form].label}: {found['ms']:.0f} ms", flush=True)
    limits = {model: in_child("least", model, str(batch)) for model in models}
    results = []
    for (model, form), found in rows.items():
        parts = sorted(found["operators"].items(), key=lambda part: -part[1])[:SHOWN]
        results.append(
            {
                "model": model,
                "form": form,
                "label": FORMS[form].label,
                "ms": round(found["ms"], 1),
                "operators": {name: round(ms, 2) for name, ms in parts},
                "least": limits[model],
            }
        )
    return results


def table(report: dict[str, Any]) -> str:
    """For the page: a row a model and form."""
    from framework_page import markdown

    lines = [["One core, ms a step", "step", "its largest parts", "products alone", "maps alone"]]
    for row in report["rows"]:
        parts = ", ".join(f"{name} {ms:.1f}" for name, ms in list(row["operators"].items())[:4])
        limit = row["least"]
        ends = f"{limit['arithmetic_ms']:.0f}", f"{limit['memory_ms']:.0f}"
        lines.append([f"`{row['model']}`, {row['label']}", f"{row['ms']:.0f}", parts, *ends])
    return markdown(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, *words, batch = options.child
        print(json.dumps({"watch": watch, "least": least}[what](*words, int(batch))))
        return

    from framework_page import write

    from maam.core.environment import environment
    from maam.core.files import write_atomic

    rows = collect(options.models, options.batch, options.rounds)
    report = {
        "what": f"training step (Adam), batch {options.batch}, 3x32x32, one core",
        "command": "python benchmarks/step_profile.py",
        "environment": environment(),
        "rows": rows,
    }
    write_atomic(RESULTS, json.dumps(report, indent=1) + "\n")
    write("step_profile", table(report))


if __name__ == "__main__":
    main()

"""How fast is a training step, and what did each choice give?

Measures the training step of model `maam` (batch 64, 3x32x32, Adam) in several forms, each in a
process of its own, one after the other, round after round, so that all share the machine's moods:

- shipped: maam.MAAM in graph mode, with our native operators;
- MindSpore's operators: the same without them (MAAM_NATIVE=0);
- plain: PlainMAAM, Figure 1 to the letter, in graph mode;
- plain, default mode: the same under MindSpore's default mode (a step compiled with ms.jit, as
  tutorials write it);
- shipped under other MindSpore versions: their interpreters are given with --python.

    python benchmarks/step_speed.py --python 2.10.0=/path/to/other/venv/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

STEPS, WARM_UP = 20, 5
RESULTS = Path(__file__).parents[1] / "results"


def measure(form: str, mode: str) -> dict:
    """Milliseconds of every step after the warm-up, in this process."""
    from maam.core.environment import prepare_mindspore

    prepare_mindspore()
    import mindspore as ms
    import numpy as np
    from mindspore import Tensor, nn
    from plain_maam import PlainMAAM

    from maam.core.config import TrainConfig
    from maam.mindspore.models import create_model
    from maam.mindspore.step import make_optimizer, make_train_step

    if mode == "graph":
        ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_seed(0)
    net = create_model("maam")
    if form == "plain":
        plain = PlainMAAM(3, 128)
        for name, parameter in plain.parameters_and_names():
            parameter.name = f"plain.{name}"
        net = nn.SequentialCell(plain, net.flatten, net.hidden, net.relu, net.classifier)
    config = TrainConfig(epochs=1)
    step = make_train_step(net, make_optimizer(net, config), config)
    net.set_train(True)
    rng = np.random.default_rng(0)
    images = Tensor(rng.random((64, 3, 32, 32), np.float32))
    labels = Tensor(rng.integers(0, 10, 64).astype(np.int32))
    rate, decay = Tensor(config.learning_rate), Tensor(0.0)
    times = []
    for number in range(STEPS + WARM_UP):
        start = time.perf_counter()
        loss, _ = step(images, labels, rate, decay)
        loss.asnumpy()
        if number >= WARM_UP:
            times.append(1000 * (time.perf_counter() - start))
    return {"mindspore": ms.__version__, "step_ms": times}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--measure", nargs=2, metavar=("FORM", "MODE"), help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=RESULTS / "step_speed.json")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure)))
        return

    from maam.core.environment import environment
    from maam.core.files import write_atomic

    processes = {
        "shipped": (sys.executable, "shipped", "graph", "1"),
        "MindSpore's operators": (sys.executable, "shipped", "graph", "0"),
        "plain": (sys.executable, "plain", "graph", "1"),
        "plain, default mode": (sys.executable, "plain", "default", "1"),
    }
    for entry in options.python:
        name, path = entry.split("=", 1)
        processes[f"shipped, MindSpore {name}"] = (path, "shipped", "graph", "1")
    rounds: dict[str, list[float]] = {name: [] for name in processes}
    versions: dict[str, str] = {}
    source = Path(__file__).parents[1] / "src"
    for number in range(options.rounds):
        for name, (python, form, mode, native) in processes.items():
            command = [python, __file__, "--measure", form, mode]
            variables = {**os.environ, "PYTHONPATH": str(source), "MAAM_NATIVE": native}
            done = subprocess.run(
                command, capture_output=True, text=True, check=True, env=variables
            )
            result = json.loads(done.stdout.splitlines()[-1])
            rounds[name].append(round(median(result["step_ms"]), 1))
            versions[name] = result["mindspore"]
            print(f"round {number + 1} {name}: {rounds[name][-1]:.0f} ms", flush=True)
    base = median(rounds["shipped"])
    rows = [
        {
            "name": name,
            "mindspore": versions[name],
            "step_ms": median(values),
            "rounds_ms": values,
            "images_per_second": round(64_000 / median(values), 1),
            "times_shipped": round(median(values) / base, 2),
        }
        for name, values in rounds.items()
    ]
    report = {
        "what": "training step of maam, batch 64, 3x32x32, Adam, fp32",
        "command": "python benchmarks/step_speed.py --python VERSION=PYTHON",
        "steps": STEPS,
        "environment": environment(),
        "rows": rows,
    }
    write_atomic(options.output, json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Which framework trains faster? MindSpore and PyTorch, the same models, in turns.

Measures the training step (Adam) in the forms of ``framework_forms.CLAIM``, and with ``--forms`` in
any other; with ``--inference`` that too. Each form runs in a process of its own, form after form,
round after round, so that all share the machine's moods. All processes have the same number of
threads, and an allocator that keeps its memory, which PyTorch needs to be fast: PyTorch has
tcmalloc where that is installed.

    python benchmarks/framework_speed.py                   # 40 minutes of an idle machine
    python benchmarks/framework_speed.py --device cuda     # the forms of PyTorch, on a GPU
    python benchmarks/framework_speed.py --plot            # draw the plot and the table again
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from child import ChildError, run_child
from framework_forms import (
    FORMS,
    SHIPPED,
    TCMALLOC,
    TORCH_COMPILED,
    TORCH_EAGER,
    WHATS,
    forms_of,
    measure,
)

from maam.core.environment import usable_cores

RESULTS = Path(__file__).parents[1] / "results"
MODELS = ("maamnet-nano", "maamnet-tiny", "resnet20", "maam", "cnn")
BATCHES = [64, 128]
GOAL = 1.3  # times as fast as PyTorch eager fp32

Case = tuple[str, int, str]  # model, batch, form
Sample = dict[str, Any]


def collect(
    cases: Sequence[Case],
    rounds: int,
    measure_case: Callable[[Case], dict[str, Any]],
    save: Callable[[list[Sample], int], None],
    whats: Sequence[str] = WHATS,
) -> list[Sample]:
    """Measure every case, round after round.

    A case that fails is a sample with an error; one that has only ever failed is not tried again.

    Args:
        cases: what to measure, in this order.
        rounds: how often.
        measure_case: what ``framework_forms.measure`` returns for a case; may raise ChildError.
        save: called with all samples and the number of finished rounds, after each round.
        whats: what of it.
    """
    samples: list[Sample] = []
    for number in range(rounds):
        for case in cases:
            before = [sample for sample in samples if sample["case"] == case]
            if before and all("error" in sample for sample in before):
                continue
            try:
                result = measure_case(case)
            except ChildError as error:
                result = {what: {"error": str(error)} for what in whats}
            facts = result.get("environment", {})
            for what in whats:
                samples.append({"case": case, "what": what, "environment": facts, **result[what]})
        save(samples, number + 1)
    return samples


def summarise(samples: Iterable[Sample]) -> list[dict[str, Any]]:
    """One row per form, model, batch and kind, in the order of first appearance.

    Times are milliseconds a step: the median of the rounds' medians, their extremes and quartiles.
    ``vs_torch_eager`` and ``vs_mindspore`` say how many times as fast the form is as PyTorch eager
    fp32 in its faster layout, and as MindSpore as shipped. A failure in any round is in ``error``.
    """
    groups: dict[tuple[str, int, str, str], list[Sample]] = {}
    for sample in samples:
        model, batch, form = sample["case"]
        groups.setdefault((sample["what"], batch, model, form), []).append(sample)
    rows = []
    for (what, batch, model, form), group in groups.items():
        row = {"what": what, "model": model, "batch": batch, "form": form}
        row |= {"label": FORMS[form].label}
        if good := [sample for sample in group if "error" not in sample]:
            times = [sample["ms"] for sample in good]
            low, first, middle, third, high = np.percentile(times, [0, 25, 50, 75, 100]).tolist()
            row |= {
                "ms": round(middle, 2),
                "ms_min": round(low, 2),
                "ms_quartiles": [round(first, 2), round(third, 2)],
                "ms_max": round(high, 2),
                "rounds_ms": [round(value, 2) for value in times],
                "images_per_second": round(1000 * batch / middle, 1),
                "peak_mib": round(float(np.median([sample["peak_mib"] for sample in good]))),
                "first_step_s": round(float(np.median([sample["first_s"] for sample in good])), 1),
                "steps_a_round": min(sample["steps"] for sample in good),
            }
        if failures := [sample["error"] for sample in group if "error" in sample]:
            row["error"] = failures[-1]
        rows.append(row)
    for row in rows:
        for key, forms in (("vs_torch_eager", TORCH_EAGER), ("vs_mindspore", (SHIPPED,))):
            if ratio := times_as_fast(row, forms, rows):
                row[key] = ratio
    return rows


def times_as_fast(
    row: dict[str, Any], forms: Sequence[str], rows: Sequence[dict[str, Any]]
) -> float | None:
    """How many times as fast a row is as the fastest of these forms at the same work; None if it
    or all of them failed or were not measured.
    """
    work = ("what", "model", "batch")
    rivals = [
        other["ms"]
        for other in rows
        if other["form"] in forms and "ms" in other and all(other[key] == row[key] for key in work)
    ]
    return round(min(rivals) / row["ms"], 4) if rivals and "ms" in row else None


def verdicts(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """How our training step does against the goal, for every model and batch size measured."""
    judged = []
    for row in rows:
        if row["form"] != SHIPPED or row["what"] != "training step":
            continue
        eager = times_as_fast(row, TORCH_EAGER, rows)
        compiled = times_as_fast(row, TORCH_COMPILED, rows)
        reached = None
        if eager is not None and compiled is not None:
            reached = eager >= GOAL and compiled > 1
        judged.append(
            {
                "model": row["model"],
                "batch": row["batch"],
                "vs_torch_eager": eager,
                "vs_torch_compile": compiled,
                "goal_reached": reached,
            }
        )
    return judged


def measure_in_child(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """``framework_forms.measure`` in a process of its own."""
    model, batch, form = case
    variables = {**FORMS[form].environment, "OMP_NUM_THREADS": str(options.threads)}
    if FORMS[form].framework == "torch" and form != "torch-malloc":
        variables |= TCMALLOC
    arguments = [str(Path(__file__).resolve()), "--measure", form, model, str(batch)]
    arguments += ["--device", options.device, "--seconds", str(options.seconds)]
    arguments += ["--threads", str(options.threads)]
    arguments += ["--inference"] if options.inference else []
    return json.loads(run_child(arguments, variables).splitlines()[-1])


def run_as_child(options: argparse.Namespace) -> None:
    """Measure one case here, and print the result as the last line."""
    form, model, batch = options.measure
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    if FORMS[form].framework == "torch":
        import torch

        torch.set_num_threads(options.threads)
    result = measure(form, model, int(batch), options.device, options.seconds, whats_of(options))
    print(json.dumps(result))


def whats_of(options: argparse.Namespace) -> tuple[str, ...]:
    return WHATS if options.inference else WHATS[:1]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of every process")
    parser.add_argument("--seconds", type=float, default=1.0, help="least time of a measurement")
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    parser.add_argument(
        "--forms", nargs="+", choices=list(FORMS), help="rather than those of the claim"
    )
    parser.add_argument("--inference", action="store_true", help="measure that too")
    parser.add_argument("--output", type=Path, help="a .json; the plot is beside it")
    parser.add_argument(
        "--plot", action="store_true", help="only draw the results again, and their table"
    )
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    name = "framework_speed.json" if options.device == "cpu" else "framework_speed_cuda.json"
    shown = RESULTS / name
    part = options.forms or options.models != list(MODELS) or options.batches != BATCHES
    if part and not options.plot and options.output in (None, shown):
        parser.error("give --output: the page shows all forms, models and batches")
    options.output = options.output or shown
    return options


def main() -> None:
    options = parse()
    if options.measure:
        run_as_child(options)
        return

    from maam.core.environment import environment
    from maam.core.files import write_atomic

    def measure_case(case: Case) -> dict[str, Any]:
        print(f"{case[0]}, batch {case[1]}, {FORMS[case[2]].label}:", end=" ", flush=True)
        result = measure_in_child(case, options)
        outcomes = (str(result[what].get("ms", "failed")) for what in whats_of(options))
        print(" and ".join(outcomes), "ms", flush=True)
        return result

    def save(samples: list[Sample], rounds: int) -> None:
        rows = summarise(samples)
        facts = environment()
        for sample in samples:
            facts |= sample["environment"]
        report = {
            "what": f"{' and '.join(whats_of(options))} (Adam), 3x32x32, 10 classes; ms a step",
            "command": shlex.join(["python", "benchmarks/framework_speed.py", *sys.argv[1:]]),
            "device": options.device,
            "threads": options.threads,
            "tcmalloc": bool(TCMALLOC),
            "rounds": rounds,
            "goal": f"training step {GOAL} times as fast as PyTorch eager fp32, and faster than "
            "torch.compile fp32, each in its faster layout",
            "verdicts": verdicts(rows),
            "environment": facts,
            "rows": rows,
        }
        write_atomic(options.output, json.dumps(report, indent=1) + "\n")
        print(f"\nround {rounds} of {options.rounds} is in {options.output}", flush=True)

    if not options.plot:
        cases = [
            (model, batch, form)
            for model, batch in product(options.models, options.batches)
            for form in options.forms or forms_of(options.device, model)
        ]
        collect(cases, options.rounds, measure_case, save, whats_of(options))

    from framework_page import table, write
    from framework_plot import draw

    report = json.loads(options.output.read_text())
    draw(report, options.output.with_suffix(".png"))
    if options.output == RESULTS / "framework_speed.json":
        write("framework_speed", table(report))


if __name__ == "__main__":
    main()

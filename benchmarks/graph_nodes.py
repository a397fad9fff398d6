"""How many nodes has the compiled graph, with and without fusion? The paper says 20 % fewer.

MindSpore dumps the graph that it executes (``graph_build_*.ir``); counted there, for the inference
graph and for the training step of model ``maam`` at batch 64, each in a process of its own:

- nodes: everything in the graph that runs, a call of a fused kernel being one node. Without fused
  kernels this is what the dump calls "Total number of cnodes";
- kernels: the nodes that compute. The others load parameters, keep order or pack tuples, and cost
  next to nothing.
- custom kernels: those of them that are not MindSpore's own operators, but fused by it or ours.

The form with MindSpore's own fusion needs `pip install decorator` and a C++ compiler; without
them its rows say so.

    python benchmarks/graph_nodes.py
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from child import ChildError, run_child

CLAIM = 0.2  # section 3.3: "reducing computational graph nodes by 20%"
# (a fifth of the nodes saved, a fifth of the kernels saved) -> whether the claim holds
VERDICTS = {
    (True, True): "holds",
    (False, True): "holds for kernels, not for nodes",
    (True, False): "holds for nodes, not for kernels",
    (False, False): "does not hold",
}
GRAPHS = ("inference", "training step")
BATCH = 64
BOOKKEEPING = {"Load", "UpdateState", "Depend", "MakeTuple", "TupleGetItem", "Return"}
CUSTOM = ("call", "Custom")  # kernels that MindSpore has fused, and our native ones
OUTPUT = Path(__file__).parents[1] / "results" / "graph_nodes.json"


class Form(NamedTuple):
    """One row of each graph: a function of ``classifier_forms``, compiled in some way."""

    what: str
    build: str
    environment: Mapping[str, str] = {}
    graph_kernel: bool = False
    custom: tuple[str, ...] = ()  # graphs that must have such kernels, else the row is an error


# The first is what the others are compared with.
FORMS = {
    "plain": Form("Figure 1 to the letter, nothing fused", "plain"),
    "fused sum": Form("plain, but equation 9 is one matrix product", "fused_sum"),
    "MindSpore's fusion": Form(
        "plain, compiled with enable_graph_kernel", "plain", {}, True, GRAPHS
    ),
    "MindSpore's operators": Form(
        "agents merged, pooling before ReLU, one product", "shipped", {"MAAM_NATIVE": "0"}
    ),
    # Training only: inference has MindSpore's operators, and the same graph as the row above.
    "shipped": Form(
        "the same, with native operators for convolution and epilogue in training",
        "shipped",
        custom=("training step",),
    ),
}


def count_nodes(dump: str) -> Counter[str]:
    """The nodes of a ``graph_build_*.ir``.

    Returns:
        operator name -> count, over the graph that runs; a fused kernel is ``call``.

    Raises:
        ValueError: not such a dump, or one whose own count differs.
    """
    body = re.search(r"^subgraph @kernel_graph\d+\(.*?^\}", dump, re.MULTILINE | re.DOTALL)
    total = re.search(r"^Total number of cnodes: (\d+)", dump, re.MULTILINE)
    if not (body and total):
        raise ValueError("not a dump of an executed graph: no kernel_graph, or no node count")
    pattern = r"^  (?:%\d+(?:\([^)]*\))? = (?:PrimFunc_)?(\w+)|(Return)\()"
    found = re.findall(pattern, body[0], re.MULTILINE)
    counts = Counter(operator or end for operator, end in found)
    alone = dump.count("\nsubgraph @") == 1  # else the total covers the insides of fused kernels
    if alone and sum(counts.values()) != int(total[1]):
        raise ValueError(f"found {sum(counts.values())} nodes, the dump says {total[1]}")
    return counts


def compile_graph(form: str, graph: str, folder: Path) -> None:
    """Compile and run one graph in this process; its dumps go to ``folder``."""
    from maam.mindspore import runtime

    runtime.set_device("CPU")
    import classifier_forms
    import mindspore as ms
    import numpy as np
    from mindspore import Tensor

    from maam.core.config import TrainConfig
    from maam.mindspore.step import make_optimizer, make_train_step

    context: dict[str, Any] = {"save_graphs": 2, "save_graphs_path": str(folder)}
    if FORMS[form].graph_kernel:
        context["enable_graph_kernel"] = True
    ms.set_context(**context)
    net = getattr(classifier_forms, FORMS[form].build)()
    images = Tensor(np.zeros((BATCH, 3, 32, 32), np.float32))
    if graph == "inference":
        net.set_train(False)
        net(images).asnumpy()
        return
    config = TrainConfig(epochs=1)
    step = make_train_step(net, make_optimizer(net, config), config)
    net.set_train(True)
    labels, rate, decay = Tensor(np.zeros(BATCH, np.int32)), Tensor(1e-3), Tensor(0.0)
    loss, _ = step(images, labels, rate, decay)
    loss.asnumpy()


def measure(form: str, graph: str) -> dict[str, Any]:
    """One row: the counts, or the error of a form that does not compile."""
    row: dict[str, Any] = {"graph": graph, "form": form, "what": FORMS[form].what}
    try:
        with tempfile.TemporaryDirectory() as folder:
            variables = {**FORMS[form].environment, "MS_COMPILER_CACHE_PATH": folder}
            script = str(Path(__file__).resolve())
            run_child([script, "--compile", form, graph, folder], variables, Path(folder))
            dumps = sorted(Path(folder).glob("graph_build_*.ir"))
            if not dumps:
                raise ValueError("MindSpore wrote no dump")
            counts = sum((count_nodes(dump.read_text()) for dump in dumps), Counter())
    except (ChildError, ValueError) as error:
        return {**row, "error": str(error)}
    kernels = sum(count for name, count in counts.items() if name not in BOOKKEEPING)
    custom = sum(counts[name] for name in CUSTOM)
    if graph in FORMS[form].custom and not custom:
        return {**row, "error": "there is no custom kernel in this graph"}
    return {**row, "nodes": counts.total(), "kernels": kernels, "custom_kernels": custom}


def compare(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the share of nodes and of kernels saved against the first form of the graph,
    and whether that is what the paper claims; a row with an error stays as it is.
    """
    first = next(iter(FORMS))
    bases = {row["graph"]: row for row in rows if row["form"] == first and "error" not in row}
    compared = []
    for row in rows:
        base = bases.get(row["graph"])
        if base is not None and "error" not in row:
            nodes, kernels = (round(1 - row[key] / base[key], 3) for key in ("nodes", "kernels"))
            row = {**row, "fewer_nodes": nodes, "fewer_kernels": kernels}
            if row["form"] != first:
                # In whole percent, as the paper says it.
                row["verdict"] = VERDICTS[round(nodes, 2) >= CLAIM, round(kernels, 2) >= CLAIM]
        compared.append(row)
    return compared


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--compile", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    if options.compile:
        form, graph, folder = options.compile
        compile_graph(form, graph, Path(folder))
        return

    from maam.core.environment import environment
    from maam.core.files import write_atomic

    rows = compare([measure(form, graph) for graph in GRAPHS for form in FORMS])
    for row in rows:
        outcome = row.get("error") or f"{row['nodes']} nodes, {row['kernels']} kernels"
        print(f"{row['graph']}, {row['form']}: {outcome}", row.get("verdict", ""), sep="; ")
    report = {
        "what": f"nodes of the compiled graph of maam, batch {BATCH}, 3x32x32, Adam",
        "command": "python benchmarks/graph_nodes.py",
        "nodes": "all nodes of the graph that runs; a fused kernel is one",
        "kernels": "nodes that compute: without " + ", ".join(sorted(BOOKKEEPING)),
        "custom_kernels": "kernels that MindSpore has fused, or native ones of ours",
        "claim": f"the paper: fusion leaves {CLAIM:.0%} fewer nodes",
        "environment": environment(),
        "rows": rows,
    }
    write_atomic(options.output, json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

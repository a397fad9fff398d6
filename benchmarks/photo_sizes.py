"""What MAAMNet costs at the sizes of photos, beside MobileNetV2 x0.35 and yolo11n-cls.

    python benchmarks/photo_sizes.py --peers ~/yolo/bin/python

Latency and memory are of ONNX Runtime on one thread, batch 1, in turns; all networks have ten
classes and norms folded. The peers are built and exported by an environment of their own
(`pip install torchvision ultralytics onnx onnxscript`). Writes results/photo_sizes.json and
docs/photo-sizes.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from maam.core import frameworks
from maam.core.environment import environment
from maam.core.errors import MaamError
from maam.core.files import write_atomic
from maam.deploy.latency import measure
from maam.report.markdown import markdown_table

ROOT = Path(__file__).parents[1]
MODELS = ("maamnet-nano", "maamnet-tiny", "maamnet-small")
SIZES = (32, 48, 64, 96, 128, 160, 224)
CLASSES = 10

# Run by the peers' interpreter: writes NAME-SIZE.onnx, prints parameters and MACs by name and size.
PEERS = """
import json, sys, torch, logging
from torch import nn
logging.disable(logging.WARNING)
from torchvision.models import mobilenet_v2
from ultralytics import YOLO
folder, sizes, classes = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
yolo = YOLO("yolo11n-cls.yaml").model.eval().fuse(verbose=False)
yolo.model[-1].linear = nn.Linear(yolo.model[-1].linear.in_features, classes)
yolo.model[-1].export = True
nets = {"MobileNetV2 x0.35": mobilenet_v2(num_classes=classes, width_mult=0.35).eval()}
nets["yolo11n-cls"] = yolo
rows = []
for name, net in nets.items():
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    for size in sizes:
        macs, hooks = [], []
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d):
                count = lambda layer, _, out: macs.append(out.numel() * layer.weight[0].numel())
            elif isinstance(layer, nn.Linear):
                count = lambda layer, _, out: macs.append(layer.weight.numel())
            else:
                continue
            hooks.append(layer.register_forward_hook(count))
        images = torch.zeros(1, 3, size, size)
        net(images)
        for hook in hooks:
            hook.remove()
        folded = sum(parameter.numel() for parameter in net.parameters())
        for layer in net.modules():  # a norm becomes the bias of a convolution
            folded -= layer.num_features if isinstance(layer, nn.BatchNorm2d) else 0
        rows.append({"model": name, "size": size, "parameters": folded, "macs": sum(macs)})
        torch.onnx.export(net, (images,), f"{folder}/{name}-{size}.onnx", input_names=["image"],
                          output_names=["logits"], dynamo=False)
print(json.dumps(rows))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", default="", help="a Python with torchvision and ultralytics")
    given = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            rows = export_ours(Path(scratch))
            if given.peers:
                rows += export_peers(given.peers, Path(scratch))
            files = {
                f"{row['model']}-{row['size']}": Path(scratch)
                / f"{row['model']}-{row['size']}.onnx"
                for row in rows
            }
            measured = measure(files)
    except MaamError as error:
        sys.exit(f"photo_sizes: {error}")
    report = {
        "what": "cost of one image by size, ONNX Runtime, one thread, batch 1",
        "command": "python benchmarks/photo_sizes.py --peers PYTHON",
        "environment": environment(),
        "rows": [row | measured[f"{row['model']}-{row['size']}"] for row in rows],
    }
    write_atomic(ROOT / "results/photo_sizes.json", json.dumps(report, indent=1) + "\n")
    write_atomic(ROOT / "docs/photo-sizes.md", page(report))


def export_ours(folder: Path) -> list[dict[str, Any]]:
    """MODELS at SIZES as ONNX, folded, with fresh weights."""
    backend = frameworks.use(frameworks.choose("auto"))
    rows = []
    for model in MODELS:
        for size in SIZES:
            net = backend.create_model(model, CLASSES, 3, (size, size))
            folded = backend.fuse(net)
            backend.export_onnx(folded, (3, size, size), folder / f"{model}-{size}.onnx")
            rows.append(
                {
                    "model": model,
                    "size": size,
                    "parameters": backend.count_parameters(folded),
                    "macs": backend.count_macs(folded, (3, size, size)),
                }
            )
    return rows


def export_peers(python: str, folder: Path) -> list[dict[str, Any]]:
    """The same of the peers, by their own interpreter.

    Raises:
        MaamError: it failed.
    """
    command = [python, "-c", PEERS, str(folder), json.dumps(SIZES), str(CLASSES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MaamError(f"{python} can't export the peers: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout.splitlines()[-1])


def page(report: dict[str, Any]) -> str:
    """docs/photo-sizes.md."""
    rows = report["rows"]
    models = list(dict.fromkeys(row["model"] for row in rows))
    cells = {(row["model"], row["size"]): row for row in rows}

    def table(value: str, scale: float, digits: int) -> str:
        lines = (
            [model, *(f"{cells[model, size][value] / scale:.{digits}f}" for size in SIZES)]
            for model in models
        )
        return markdown_table(("", *(str(size) for size in SIZES)), lines)

    parameters = ", ".join(f"{m} {cells[m, SIZES[0]]['parameters'] / 1e6:.2f}" for m in models)
    return (
        "\n\n".join(
            [
                "# MAAMNet at the sizes of photos",
                f"Written by `{report['command']}`, from results/photo_sizes.json: one image, ten "
                f"classes, float32, norms folded, ONNX Runtime on one thread of "
                f"{report['environment']['cpu']}. Millions of parameters: {parameters}.",
                "## Millions of multiply-accumulates",
                table("macs", 1e6, 1),
                "## Milliseconds",
                table("latency_ms", 1, 2),
                "## Memory (MiB)",
                "By which loading and running the network raises the process's peak.",
                table("memory_mib", 1, 1),
                PUBLISHED,
            ]
        )
        + "\n"
    )


PUBLISHED = """## Published networks for microcontrollers

From the [model list of MCUNet](https://github.com/mit-han-lab/mcunet), ImageNet with 1,000 classes,
int8, measured there by TinyEngine on an STM32F746. Our networks have not been trained on ImageNet:
there is no accuracy to put beside these.

| Network | MACs (M) | Parameters (M) | SRAM (kB) | Flash (kB) | Top-1 (%) |
| --- | ---: | ---: | ---: | ---: | ---: |
| mcunet-10fps | 6.4 | 0.75 | 266 | 889 | 40.4 |
| mcunet-5fps | 12.8 | 0.64 | 307 | 992 | 49.9 |
| mbv2-320kB (MobileNetV2 x0.35, 144 pixels) | 23.5 | 0.75 | 308 | 862 | 49.0 |
| mcunet-256kB | 67.3 | 0.73 | 242 | 878 | 60.3 |
| mcunet-320kB | 81.8 | 0.74 | 293 | 897 | 61.8 |
| mcunet-512kB | 125.9 | 1.73 | 456 | 1876 | 68.0 |"""


if __name__ == "__main__":
    main()

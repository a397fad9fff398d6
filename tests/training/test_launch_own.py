"""Processes that a user's own launcher has started, with a network of one's own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from two_workers import FRAMEWORKS

from maam.core.run_folder import RunFolder
from maam.core.tensors import load_tensors

PROGRAM = """
import sys, numpy, maam, maam.{framework} as framework
out, model = sys.argv[1:]
net = framework.create_model(model, 10, 1, (8, 8))
result = maam.train(model=net, framework="{framework}", out=out, epochs=2, batch_size=40, ema=0.9,
                    limit=200, augment="crop", cutmix=1.0, val_fraction=0.2)
if not result.scores:
    numpy.savez(out + "/other.npz", **framework.get_weights(net))
"""


UNUSED = {
    "torch": """
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = torch.nn.Linear(64, 10), torch.nn.Linear(64, 10)

    def forward(self, images):
        return self.used(images.flatten(1))
""",
    "mindspore": """
class Net(mindspore.nn.Cell):
    def __init__(self):
        super().__init__()
        self.used, self.unused = mindspore.nn.Dense(64, 10), mindspore.nn.Dense(64, 10)

    def construct(self, images):
        return self.used(images.flatten(start_dim=1))
""",
}
TRAIN_UNUSED = """
import sys, numpy, maam, maam.{framework}, {framework}
{net}
net = Net()
result = maam.train(model=net, framework="{framework}", out=sys.argv[1], epochs=2, batch_size=40,
                    limit=200)
if not result.scores:
    numpy.savez(sys.argv[1] + "/other.npz", **maam.{framework}.get_weights(net))
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_all_have_the_same_weights_and_statistics(framework, tmp_path):
    """By the launchers themselves, with BatchNorm."""
    out = tmp_path / "r"
    start_two(framework, PROGRAM.format(framework=framework), tmp_path, [str(out), "resnet8"])
    tensors, other = load_tensors(RunFolder(out).last)[0], np.load(out / "other.npz")
    assert any("moving_mean" in name for name in other)
    for name, array in other.items():
        assert np.array_equal(tensors[name], array), name


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_layers_may_be_unused(framework, tmp_path):
    net, out = UNUSED[framework], tmp_path / "r"
    start_two(framework, TRAIN_UNUSED.format(framework=framework, net=net), tmp_path, [str(out)])
    tensors, other = load_tensors(RunFolder(out).last)[0], np.load(out / "other.npz")
    assert any("unused" in name for name in other)
    for name, array in other.items():
        assert np.array_equal(tensors[name], array), name


def start_two(framework: str, code: str, folder: Path, arguments: list[str]) -> None:
    """Run a program in two processes, by the framework's own launcher."""
    program = folder / "program.py"
    program.write_text(code)
    launcher = {
        "torch": ["torch.distributed.run", "--standalone", "--nproc-per-node=2"],
        "mindspore": [
            *("mindspore.parallel.cluster.run", "--worker_num=2", "--local_worker_num=2"),
            *("--join=True", f"--log_dir={folder}", f"--master_port={free_port()}"),
        ],
    }
    command = [sys.executable, "-m", *launcher[framework], str(program), *arguments]
    # MindSpore's launcher starts the first `python` of the path.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    subprocess.run(command, check=True, capture_output=True, timeout=300, env=environment)

"""Several processes that train together: the same as one, none waits for ever, one writes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maam.cli.app import run
from maam.core.run_folder import RunFolder
from maam.core.tensors import load_tensors
from maam.training.events import EpochTotals
from maam.training.ranks import Ranks

FRAMEWORKS = ["torch", "mindspore"]
TRAIN = ["train", "--limit", "400", "--batch-size", "40", "--augment", "none"]
TWO = ["--workers-per-node", "2"]
BEGUN = [*TRAIN, "--model", "mlp", "--schedule", "constant", "--optimizer", "sgd"]
MINUTE = 60  # after which a killed worker has ended all others


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--minutes", "2"], ["--minutes", "--epochs"]),
        (["--model", "mlp", "--batch-size", "7"], ["--batch-size 7", "multiple of 2"]),
        (["--model", "nothing"], ["nothing"]),
    ],
)
def test_what_several_workers_cannot_do(options, words, tmp_path, capfd):
    assert run(["train", *options, *TWO, "--out", str(tmp_path / "r")]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and all(word in error for word in words)
    assert not (tmp_path / "r").exists()


def test_a_memory_that_is_no_size_leaves_no_folder(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("MAAM_MEMORY", "lots")
    options = ["--model", "mlp", "--epochs", "1", "--out", str(tmp_path / "r")]
    assert run(["train", *options, *TWO]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and "MAAM_MEMORY=lots" in error
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_workers_that_need_a_pack_make_it_once(framework, tmp_path, monkeypatch):
    """One that is read from the cache by both, and by one alone that goes on."""
    for number in range(40):
        folder = tmp_path / "photos" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (6 * number, 0, 0)).save(folder / f"{number}.png")
    monkeypatch.setenv("MAAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MAAM_MEMORY", "1k")
    out = str(tmp_path / "r")
    options = ["--model", "mlp", "--framework", framework, "--batch-size", "8", "--epochs", "1"]
    assert run(["train", str(tmp_path / "photos"), *options, "--out", out, *TWO]) == 0
    monkeypatch.delenv("MAAM_MEMORY")
    assert run(["train", "--resume", out, "--epochs", "2"]) == 0
    assert len([each for each in (tmp_path / "cache" / "packs").iterdir() if each.is_dir()]) == 1
    assert (tmp_path / "r" / "meta.json").read_text().count("packed-") == 3


def test_no_worker_is_none(tmp_path, capfd):
    assert run(["train", "--model", "mlp", "--workers-per-node", "0"]) == 2
    assert "--workers-per-node 0" in capfd.readouterr().err


def test_totals_are_those_of_all():
    other = EpochTotals(loss=3.0, correct=2, images=5, seconds=9.0)
    ranks = Ranks(1, 2, lambda values: [a + b for a, b in zip(values, (3.0, 2, 5), strict=False)])
    assert ranks.total(EpochTotals(1.0, 1, 5, 2.0)) == EpochTotals(4.0, 3, 10, 2.0)
    assert ranks.part(other) == EpochTotals(0.0, 0, 0, 9.0) and not ranks.writes
    assert Ranks().part(other) == other and Ranks().writes


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_two_workers_do_what_one_process_does(framework, optimizer, tmp_path, capfd):
    """After 50 steps; and a run of two goes on alone."""
    what = [*TRAIN, "--model", "mlp", "--framework", framework, "--optimizer", optimizer]
    one, two = tmp_path / "one", tmp_path / "two"
    assert run([*what, "--epochs", "5", "--out", str(one)]) == 0
    alone = capfd.readouterr().out
    assert run([*what, "--epochs", "5", "--out", str(two), *TWO]) == 0
    together = capfd.readouterr().out
    assert together.count("epoch   5/5") == 1  # one process tells
    assert len(together.splitlines()) == len(alone.splitlines())
    assert {file.name for file in one.iterdir()} == {file.name for file in two.iterdir()}
    tensors, others = (load_tensors(RunFolder(each).last)[0] for each in (one, two))
    assert tensors.keys() == others.keys()
    for name, array in tensors.items():
        np.testing.assert_allclose(others[name], array, rtol=0, atol=1e-5, err_msg=name)
    for row, other in zip(*(RunFolder(each).read_history() for each in (one, two)), strict=True):
        assert row["train_accuracy"] == pytest.approx(other["train_accuracy"])
        assert row["train_loss"] == pytest.approx(other["train_loss"], abs=1e-5)
    for each in (one, two):
        assert run(["train", "--resume", str(each), "--epochs", "6"]) == 0
    tensors, others = (load_tensors(RunFolder(each).last)[0] for each in (one, two))
    for name, array in tensors.items():
        np.testing.assert_allclose(others[name], array, rtol=0, atol=1e-5, err_msg=name)
    assert run(["train", "--resume", str(one), "--epochs", "7", *TWO]) == 0
    assert len(RunFolder(one).read_history()) == 7


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def begin(framework: str, out: Path) -> subprocess.Popen[str]:
    """Two workers, after two epochs."""
    options = ["--epochs", "5000", "--framework", framework, "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "maam", *BEGUN, *options, *TWO], text=True, stdout=-1, stderr=-1
    )
    assert process.stdout
    while not process.stdout.readline().startswith("epoch   2/"):
        assert process.poll() is None
    return process


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_killed_worker_ends_all(framework, tmp_path):
    process = begin(framework, tmp_path / "r")
    (launcher,) = children(process.pid)
    os.kill(children(launcher)[-1], signal.SIGKILL)
    began = time.monotonic()
    _, errors = process.communicate(timeout=2 * MINUTE)
    assert time.monotonic() - began < MINUTE
    assert process.returncode == 2
    assert errors.count("\n") == 1 and f"--resume {tmp_path / 'r'}" in errors
    assert "killed by signal 9" in errors
    finished = len(RunFolder(tmp_path / "r").read_history())
    resume = ["train", "--resume", str(tmp_path / "r"), "--epochs", str(finished + 1)]
    assert run([*resume, *TWO]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_all(framework, number, code, tmp_path):
    process = begin(framework, tmp_path / "r")
    process.send_signal(number)
    _, errors = process.communicate(timeout=MINUTE)
    assert process.returncode == code
    assert errors.count("\n") == 1 and "--resume" in errors
    folder, whole = RunFolder(tmp_path / "r"), RunFolder(tmp_path / "whole")
    epochs = str(len(folder.read_history()) + 1)
    assert run(["train", "--resume", str(folder), "--epochs", epochs]) == 0
    assert run([*BEGUN, "--framework", framework, "--epochs", epochs, "--out", str(whole)]) == 0
    tensors, others = (load_tensors(each.last)[0] for each in (folder, whole))
    for name, array in tensors.items():
        np.testing.assert_allclose(others[name], array, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_numbers_that_are_not_finite_end_all(framework, tmp_path, capfd):
    """After three tries, which all workers make together."""
    what = [*BEGUN, "--framework", framework, "--learning-rate", "1e30"]
    assert run([*what, *TWO, "--out", str(tmp_path / "r")]) == 2
    said = capfd.readouterr()
    assert said.err.count("\n") == 1 and "halved 3 times" in said.err
    assert said.out.count("with half the learning rate") == 3


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


PROGRAM = """
import sys, numpy, maam, maam.{framework} as framework
out, model = sys.argv[1:]
net = framework.create_model(model, 10, 1, (8, 8))
result = maam.train(model=net, framework="{framework}", out=out, epochs=2, batch_size=40, ema=0.9,
                    limit=200, augment="crop", cutmix=1.0, val_fraction=0.2)
if not result.scores:
    numpy.savez(out + "/other.npz", **framework.get_weights(net))
"""


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_all_have_the_same_weights_and_statistics(framework, tmp_path):
    """By the launchers themselves, with a network of one's own and BatchNorm."""
    program, out = tmp_path / "program.py", tmp_path / "r"
    program.write_text(PROGRAM.format(framework=framework))
    launcher = {
        "torch": ["torch.distributed.run", "--standalone", "--nproc-per-node=2"],
        "mindspore": [
            *("mindspore.parallel.cluster.run", "--worker_num=2", "--local_worker_num=2"),
            *("--join=True", f"--log_dir={tmp_path}", f"--master_port={free_port()}"),
        ],
    }
    command = [sys.executable, "-m", *launcher[framework], str(program), str(out), "resnet8"]
    # MindSpore's launcher starts the first `python` of the path.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    subprocess.run(command, check=True, capture_output=True, timeout=300, env=environment)
    tensors, other = load_tensors(RunFolder(out).last)[0], np.load(out / "other.npz")
    assert any("moving_mean" in name for name in other)
    for name, array in other.items():
        assert np.array_equal(tensors[name], array), name

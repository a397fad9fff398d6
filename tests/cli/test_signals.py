"""Ctrl-C and termination at any moment, with NumPy's threads running: out soon, and resumable."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

import maam
from maam.cli.app import run

SECONDS = 5  # that a person waits at most; a busy machine may need some more to start a process
TRAIN = ["train", "--limit", "128", "--epochs", "5000", "--model", "mlp", "--out", "r"]


def start(arguments, folder, threads="2"):
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    command = [sys.executable, "-m", "maam", *arguments]
    return subprocess.Popen(
        command, text=True, stdout=-1, stderr=-1, cwd=folder, env=environment, bufsize=1
    )


def stop(process, number):
    """Exit code, seconds until it came, and what was said."""
    process.send_signal(number)
    begun = time.monotonic()
    _, errors = process.communicate(timeout=60)
    return process.returncode, time.monotonic() - begun, errors


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("framework", ["mindspore", "torch"])
def test_a_training_ends_and_can_be_resumed(number, code, framework, tmp_path):
    """MindSpore would die of Ctrl-C without a word, and of SIGTERM with exit code 0."""
    process = start([*TRAIN, "--framework", framework], tmp_path)
    assert process.stdout
    while not process.stdout.readline().startswith("epoch   2/"):
        assert process.poll() is None
    found, seconds, errors = stop(process, number)
    assert found == code
    assert seconds < SECONDS
    assert "goes on with `maam train --resume r`" in errors
    assert errors.count("\n") == 1
    finished = len((tmp_path / "r/metrics.jsonl").read_text().splitlines())
    assert finished >= 2
    assert run(["train", "--resume", str(tmp_path / "r"), "--epochs", str(finished)]) == 0


EVALUATE = ["evaluate", "r", "--split", "all"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "delay"),
    [
        *((TRAIN, delay) for delay in (0.3, 0.8, 2.0, 5.0)),
        *((EVALUATE, delay) for delay in (0.3, 0.8)),
        *((["doctor"], delay) for delay in (0.3, 2.0)),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else str(value),
)
def test_at_any_moment(verb, delay, tmp_path):
    """While it imports, compiles, builds operators, or waits for another process."""
    if verb is EVALUATE:
        maam.train(data="digits", model="mlp", epochs=1, out=tmp_path / "r")
    process = start(verb, tmp_path)
    time.sleep(delay)
    if process.poll() is not None:  # it was faster
        process.communicate()
        return
    code, seconds, errors = stop(process, signal.SIGINT)
    assert code == 130
    assert seconds < SECONDS
    assert errors.count("\n") == 1
    assert "Traceback" not in errors


def test_what_does_not_listen_is_ended(tmp_path):
    """Work that never polls is ended all the same, with the signal's exit code."""
    code = (
        "import time\n"
        "from maam.core import signals\n"
        "signals.GRACE = 0.2\n"
        "signals.watch_signals('interrupted')\n"
        "with signals.deferred():\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, text=True, stdout=-1, stderr=-1)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    found, seconds, errors = stop(process, signal.SIGTERM)
    assert (found, errors) == (143, "maam: interrupted\n")
    assert seconds < SECONDS


def test_work_that_polls_cleans_up(tmp_path):
    code = (
        "import time\n"
        "from maam.core import signals\n"
        "signals.watch_signals('interrupted')\n"
        "try:\n"
        "    with signals.deferred():\n"
        "        print('ready', flush=True)\n"
        "        while True:\n"
        "            time.sleep(0.01)\n"
        "            signals.check_signals()\n"
        "except KeyboardInterrupt:\n"
        "    print('cleaned up', flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], text=True, stdout=-1)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "cleaned up\n"
    process.communicate(timeout=60)


def test_a_blocking_call_is_interrupted_and_cleaned_up():
    """As while ``maam reproduce`` waits for a training, which must not outlive it."""
    code = (
        "import subprocess, sys\n"
        "from maam.core import signals\n"
        "signals.watch_signals('interrupted')\n"
        "with signals.interruptible():\n"
        "    child = subprocess.Popen(['sleep', '60'], stdout=-1)\n"
        "    try:\n"
        "        print(child.pid, flush=True)\n"
        "        child.stdout.read()\n"
        "    finally:\n"
        "        child.kill()\n"
        "        print('killed', flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], text=True, stdout=-1, stderr=-1)
    assert process.stdout
    assert int(process.stdout.readline())
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=60)
    assert printed == "killed\n"
    assert time.monotonic() - begun < SECONDS  # the child has held standard error open


def test_what_the_caller_ignores_stays_ignored():
    """A shell ignores Ctrl-C for what it starts in the background."""
    code = (
        "import time\n"
        "from maam.core import signals\n"
        "signals.watch_signals('interrupted')\n"
        "print('ready', flush=True)\n"
        "time.sleep(0.5)\n"
        "print('done')\n"
    )
    command = ["sh", "-c", 'trap "" INT; exec "$0" -c "$1"', sys.executable, code]
    process = subprocess.Popen(command, text=True, stdout=-1)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == "done\n"
    assert process.returncode == 0

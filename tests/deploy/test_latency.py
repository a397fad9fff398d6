"""Work in turns, in new processes; calls, timed."""

from __future__ import annotations

import atexit
import operator
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tiny_run import make_network

from maam.core.errors import MaamError
from maam.deploy.latency import WorkFailed, in_turns, measure, time_calls


class Strange(Exception):
    """Takes more arguments than it hands on: it can be pickled, and not unpickled."""

    def __init__(self, one, two):
        super().__init__(f"of {one} {two}")


def refuse(number):
    raise MaamError("give another")


def stumble(number):
    raise Strange("two", "parts")


def keep_to_itself(number):
    return lambda: number


def end_badly(number):
    atexit.register(os.abort)
    return number


def refuse_abruptly(number):
    os.abort()


def test_work_is_done_in_turns_in_new_processes():
    works = {"a": partial(pow, 2), "b": partial(operator.truediv, 1), "c": partial(pow, 3)}
    found = []
    for name, outcome in in_turns(works, 3):
        error = outcome.exception()
        found.append(name if error else (name, outcome.result()))
        if error:
            assert str(error) == "ZeroDivisionError: division by zero"
            del works[name]
    assert found == [("a", 1), "b", ("c", 1), ("a", 2), ("c", 3), ("a", 4), ("c", 9)]


def test_a_process_that_dies_is_an_error_not_a_crash():
    ((_, outcome),) = in_turns({"a": os._exit}, 1)
    assert str(outcome.exception()) == "its process has died (code 0)"
    ((_, outcome),) = in_turns({"a": refuse_abruptly}, 1)
    assert str(outcome.exception()) == "its process has died (code -6)"


@pytest.mark.parametrize(
    ("work", "kind", "text"),
    [
        (refuse, MaamError, "give another"),
        (stumble, WorkFailed, "Strange: of two parts"),
        (keep_to_itself, WorkFailed, "its result can't be told: "),
    ],
)
def test_errors_arrive_as_text(work, kind, text):
    ((_, outcome),) = in_turns({"a": work}, 1)
    error = outcome.exception()
    assert type(error) is kind and str(error).startswith(text)


def test_a_result_counts_though_the_process_would_end_badly():
    ((_, outcome),) = in_turns({"a": end_badly}, 1)
    assert outcome.result() == 0


def test_calls_are_timed_as_often_as_asked():
    calls = []
    times = time_calls(lambda: calls.append(1), calls=7, warm_up=3)
    assert (times.calls, len(calls)) == (7, 10)
    assert times.percentiles_ms[0] <= times.percentiles_ms[1] <= times.percentiles_ms[2]
    assert time_calls(lambda: None, seconds=0.02, calls=1, warm_up=0).seconds >= 0.02
    waits = time_calls(lambda: time.sleep(0.01), calls=3, warm_up=0, clock=time.thread_time)
    assert waits.percentiles_ms[2] < 5


def test_files_are_measured_in_turns(tmp_path, monkeypatch):
    monkeypatch.setattr("maam.deploy.latency.ROUNDS", 2)
    (tmp_path / "a.onnx").write_bytes(make_network())
    found = measure({"a": tmp_path / "a.onnx"})["a"]
    assert found["latency_ms"] > 0 and found["memory_mib"] >= 0
    assert found["latency_quartiles_ms"][0] <= found["latency_quartiles_ms"][1]


def test_a_script_need_not_guard_its_beginning(tmp_path):
    """A new process does not begin as the script did."""
    (tmp_path / "a.onnx").write_bytes(make_network())
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from maam.deploy import latency\n"
        "latency.ROUNDS = 1\n"
        "print(*latency.measure({'a': Path('a.onnx')}))\n"
    )
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "a\n"), done.stderr


def test_what_work_prints_is_no_answer():
    ((_, outcome),) = in_turns({"a": print}, 1)
    assert outcome.result() is None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_benchmark_is_interrupted_in_one_line(number, code, tmp_path):
    options = ["--runtimes", "onnx", "--threads", "1", "--seconds", "60", "--rounds", "1"]
    command = [sys.executable, "-m", "maam", "benchmark", "maamnet-nano", *options]
    told: dict[str, Any] = {"text": True, "stdout": -1, "stderr": -1}
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, **told, env=environment) as process:
        while not (children := working(process.pid)):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert errors.count("\n") == 1 and "Traceback" not in errors
    assert not list(tmp_path.iterdir())  # its images are gone too
    for child in children:
        until = time.monotonic() + 30
        while is_running(child):
            assert time.monotonic() < until
            time.sleep(0.1)


def is_running(process: str) -> bool:
    """Whether a process is there, and has not ended without anybody who asks how."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def working(process: int) -> list[str]:
    """Its children that have something to do: ONNX Runtime is loaded."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [each for each in children if "onnxruntime" in Path(f"/proc/{each}/maps").read_text()]

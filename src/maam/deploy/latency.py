"""Time and memory of models on this machine: in turns, each time in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any, NoReturn, TypeVar

import numpy as np

from maam.core.errors import MaamError
from maam.core.signals import check_signals
from maam.deploy.onnx import Network

ROUNDS, WARM_UP, TIMED = 5, 20, 200

# A new process is told where modules lie, then what to do. It does not begin as the user's script.
_NEW = (
    "import sys; from multiprocessing.connection import Connection; "
    "asks = Connection(int(sys.argv[1])); sys.path[:] = asks.recv(); "
    "from maam.deploy.latency import answer; answer(asks)"
)
_DONE, _REFUSED, _FAILED = "done", "refused", "failed"

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class WorkFailed(Exception):
    """Work in a new process has raised something, or the process has died."""


@dataclass(frozen=True)
class Times:
    """One call after another, each timed.

    Attributes:
        calls: how many.
        seconds: from the first call's beginning to the last one's end.
        percentiles_ms: the 50th, 90th and 99th percentile of a call's milliseconds.
    """

    calls: int
    seconds: float
    percentiles_ms: tuple[float, float, float]


def in_turns(
    works: Mapping[Key, Callable[[int], Value]], rounds: int
) -> Iterator[tuple[Key, Future[Value]]]:
    """Do several pieces of work in turns, round after round, each time in a new process.

    So whatever else the machine does falls on all of them alike, and none finds the memory and the
    caches that another has left.

    Args:
        works: name -> a function of the round's number, from 0; it and its result can be pickled,
            and it is no part of a script. What the caller takes out of the mapping is not done in
            later rounds.
        rounds: how often each is done.

    Yields:
        Name and outcome: ``result()`` returns the result, or raises ``MaamError`` or else
            ``WorkFailed``.
    """
    for number in range(rounds):
        for key, work in list(works.items()):
            yield key, _in_new_process(work, number)
            check_signals()


def _in_new_process(work: Callable[[int], Value], number: int) -> Future[Value]:
    # Not by a pool, whose processes import the user's script again, and which lets signals through
    # that `maam.core.signals` holds back. A group of its own, so that Ctrl-C is for this one.
    here, there = Pipe()
    command = [sys.executable, "-c", _NEW, str(there.fileno())]
    how: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": 2, "process_group": 0}
    with here, there, subprocess.Popen(command, pass_fds=[there.fileno()], **how) as process:
        there.close()
        value: Any
        try:
            kind, value = _asked(here, work, number)
        except (EOFError, ConnectionError):
            process.wait()
            kind, value = _FAILED, f"its process has died (code {process.returncode})"
        except BaseException:
            process.kill()
            raise
    outcome: Future[Value] = Future()
    if kind == _DONE:
        outcome.set_result(value)
    else:
        outcome.set_exception((MaamError if kind == _REFUSED else WorkFailed)(value))
    return outcome


def _asked(here: Connection, work: Callable[[int], Value], number: int) -> tuple[str, Any]:
    here.send(sys.path)
    here.send((work, number))
    while not here.poll(0.1):
        check_signals()
    return here.recv()


def answer(asks: Connection) -> NoReturn:
    """Do what a process asks for in a new one, which ends when that is told, or the other is gone.

    What the work prints goes to standard error.
    """
    work, number = asks.recv()
    Thread(target=_end_with, args=(asks,), daemon=True).start()
    try:
        outcome = _DONE, work(number)
    except MaamError as error:
        outcome = _REFUSED, str(error)
    except Exception as error:
        outcome = _FAILED, f"{type(error).__name__}: {error}"
    try:
        asks.send(outcome)
    except Exception as error:
        asks.send((_FAILED, f"its result can't be told: {type(error).__name__}: {error}"))
    sys.stdout.flush()
    os._exit(0)  # a framework's own end may fail, or take long


def _end_with(asks: Connection) -> None:
    """Nothing more is asked for: what comes is the end of the other process."""
    wait([asks])
    os._exit(0)


def time_calls(
    call: Callable[[], object],
    seconds: float = 0,
    calls: int = TIMED,
    warm_up: int = WARM_UP,
    clock: Callable[[], float] = time.perf_counter,
) -> Times:
    """Time a call, again and again: for ``seconds`` at least, and ``calls`` times at least.

    Args:
        call: what is timed.
        seconds: at least.
        calls: at least.
        warm_up: calls before, which do not count; they end early if they take ``seconds`` too.
        clock: that counts, in seconds.
    """
    begin = clock()
    for _ in range(warm_up):
        call()
        if 0 < seconds < clock() - begin:
            break
    times: list[float] = []
    begin = start = clock()
    while len(times) < calls or start - begin < seconds:
        call()
        now = clock()
        times.append(now - start)
        start = now
    low, middle, high = (1000 * np.percentile(times, [50, 90, 99])).tolist()
    return Times(len(times), start - begin, (low, middle, high))


def peak_mib() -> float:
    """The peak memory of this process; ``ru_maxrss`` would begin with that of its parent."""
    match = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1]) / 1024


def measure(models: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Measure ONNX files in ONNX Runtime, one image at a time on one thread, in turns.

    ``maam.benchmark`` measures run folders in more ways.

    Args:
        models: name -> an ONNX file, of a run or a bare network.

    Returns:
        By name: ``size_mib`` of the file; ``latency_ms`` of an image, in time of the processor, the
        median of the rounds' medians, and ``latency_quartiles_ms``; ``memory_mib``, by which
        loading and running the model raises the process's peak memory, the median of the rounds.

    Raises:
        MaamError: a file is damaged, or can't be measured.
    """
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    works = {name: partial(_measure_one, path) for name, path in models.items()}
    for name, outcome in in_turns(works, ROUNDS):
        try:
            samples[name].append(outcome.result())
        except WorkFailed as error:
            raise MaamError(f"{models[name]} can't be measured: {error}") from None
    return {name: _summary(models[name], each) for name, each in samples.items()}


def _summary(path: Path, samples: list[tuple[float, float]]) -> dict[str, Any]:
    latencies, memory = zip(*samples, strict=True)
    low, middle, high = np.percentile(latencies, [25, 50, 75]).round(4).tolist()
    return {
        "size_mib": round(path.stat().st_size / 2**20, 3),
        "latency_ms": middle,
        "latency_quartiles_ms": [low, high],
        "memory_mib": round(median(memory), 2),
    }


def _measure_one(path: Path, number: int) -> tuple[float, float]:
    """Milliseconds an image, and MiB by which the peak memory has risen."""
    import onnxruntime  # noqa: F401 - before memory is measured

    before = peak_mib()
    network = Network(path, threads=1)
    image = network.random_image()
    # The thread computes alone: what it waits for is other programs, and would count unequally.
    times = time_calls(lambda: network(image), clock=time.thread_time)
    return times.percentiles_ms[0], peak_mib() - before

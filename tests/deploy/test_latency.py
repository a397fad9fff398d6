"""Work in turns, in new processes; calls, timed."""

from __future__ import annotations

import operator
import os
from concurrent.futures.process import BrokenProcessPool
from functools import partial

from tiny_run import make_network

from maam.deploy.latency import in_turns, measure, time_calls


def test_work_is_done_in_turns_in_new_processes():
    works = {"a": partial(pow, 2), "b": partial(operator.truediv, 1), "c": partial(pow, 3)}
    found = []
    for name, outcome in in_turns(works, 3):
        error = outcome.exception()
        found.append(name if error else (name, outcome.result()))
        if error:
            assert isinstance(error, ZeroDivisionError)
            del works[name]
    assert found == [("a", 1), "b", ("c", 1), ("a", 2), ("c", 3), ("a", 4), ("c", 9)]


def test_a_process_that_dies_is_an_error_not_a_crash():
    ((_, outcome),) = in_turns({"a": os._exit}, 1)
    assert isinstance(outcome.exception(), BrokenProcessPool)


def test_calls_are_timed_as_often_as_asked():
    calls = []
    times = time_calls(lambda: calls.append(1), calls=7, warm_up=3)
    assert (times.calls, len(calls)) == (7, 10)
    assert times.percentiles_ms[0] <= times.percentiles_ms[1] <= times.percentiles_ms[2]
    assert time_calls(lambda: None, seconds=0.02, calls=1, warm_up=0).seconds >= 0.02


def test_files_are_measured_in_turns(tmp_path, monkeypatch):
    monkeypatch.setattr("maam.deploy.latency.ROUNDS", 2)
    (tmp_path / "a.onnx").write_bytes(make_network())
    found = measure({"a": tmp_path / "a.onnx"})["a"]
    assert found["latency_ms"] > 0 and found["memory_mib"] >= 0
    assert found["latency_quartiles_ms"][0] <= found["latency_quartiles_ms"][1]

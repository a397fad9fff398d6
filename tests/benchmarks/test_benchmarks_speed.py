"""The speed and node benchmarks: how they collect, sum up, survive failures and draw."""

from __future__ import annotations

import json
import sys

import numpy as np
import prediction_speed
import pytest
from child import ChildError, reason, run_child
from framework_forms import FORMS, SHIPPED, WHATS, forms_of, measure
from framework_plot import draw
from framework_speed import collect, summarise, verdicts
from graph_nodes import compare, count_nodes
from PIL import Image

DUMP = """
Node counting information:
Total number of nodes: 12
Total number of cnodes: 5

subgraph attr:
subgraph instance: kernel_graph0 : 0x562940233260

subgraph @kernel_graph0() {
  %0(CNode_598) = Load(%para7_maam.fusion.alpha, UMonad[U]) cnode_attrs: {is_dynamic_len: Bool(0)}
      : (<Ref[Tensor[Float32]], (3)>) -> (<Tensor[Float32], (3)>)
  %1(CNode_599) = PrimFunc_Softmax(%0, (I64(-1))) primitive_attrs: {}
      # In file maam/module.py:1, 2~3/        %9 = Fake(%1)/
  %2(out) = Conv2D(%para1_x, %1) {instance name: conv2d}
  %3(CNode_600) = Depend(%2, %0)
  Return(%3)
      : (<Tensor[Float32], (64, 10)>)
}
"""
FUSED = """
Total number of cnodes: 5

subgraph @_anonymous__1(%para2_a) {
  %0(CNode_7) = PrimFunc_Add(%para2_a, %para2_a)
  Return(%0)
}

subgraph @kernel_graph1() {
  %0(CNode_8) = call @_anonymous__1(%para1_x)
  %1(CNode_9) = Conv2D(%0, %0)
  Return(%1)
}
"""


def sample(form: str, ms: float | None, what: str = "training step", batch: int = 64) -> dict:
    row = {"case": ("maam", batch, form), "what": what, "environment": {}}
    if ms is None:
        return {**row, "error": "no compiler"}
    return {**row, "ms": ms, "steps": 6, "first_s": 1.0, "peak_mib": 100 * ms}


def row_of(rows: list[dict], form: str) -> dict:
    (row,) = [row for row in rows if row["form"] == form and row["what"] == "training step"]
    return row


def test_rounds_become_medians_spread_and_ratios():
    times = {SHIPPED: (10, 30, 20), "torch-nchw": (60, 60, 60), "torch-nhwc": (50, 30, 40)}
    samples = [sample(form, times[form][index]) for index in range(3) for form in times]
    samples.append(sample("torch-nchw", 1.0, what="inference"))  # another panel
    row = row_of(summarise(samples), SHIPPED)
    assert row["rounds_ms"] == [10, 30, 20]
    assert (row["ms_min"], row["ms"], row["ms_max"]) == (10, 20, 30)
    assert row["ms_quartiles"] == [15, 25]
    assert row["images_per_second"] == 3200
    assert row["peak_mib"] == 2000
    assert row["vs_torch_eager"] == 2  # against channels_last, the faster layout
    assert row_of(summarise(samples), "torch-nchw")["vs_mindspore"] == pytest.approx(
        1 / 3, abs=1e-3
    )


def test_the_verdict_needs_both_rivals():
    rivals = {SHIPPED: 10, "torch-nchw": 14, "torch-nhwc": 13.5, "torch-compile-nchw": 11}
    rows = summarise([sample(form, ms) for form, ms in rivals.items()])
    (verdict,) = verdicts(rows)
    assert (verdict["vs_torch_eager"], verdict["vs_torch_compile"]) == (1.35, 1.1)
    assert verdict["goal_reached"]
    slower = [row for row in rows if row["form"] != "torch-compile-nchw"]
    assert verdicts(slower)[0]["goal_reached"] is None
    rows[-1]["ms"] = 9.9
    assert not verdicts(rows)[0]["goal_reached"]


def test_a_form_that_fails_is_recorded_and_the_rest_goes_on():
    tried, saved = [], []

    def measure_case(case):
        tried.append(case[2])
        if case[2] == "torch-bf16":
            raise ChildError("no bfloat16 here")
        fine = {"ms": 5.0, "steps": 6, "first_s": 1.0, "peak_mib": 9.0}
        broken = {"error": "no compiler"} if case[2] == "torch-compile-nchw" else fine
        return {"inference": fine, "training step": broken, "environment": {"torch": "2"}}

    forms = ["torch-bf16", "torch-compile-nchw", "torch-nchw"]
    cases = [("maam", 64, form) for form in forms]
    samples = collect(cases, 2, measure_case, lambda found, number: saved.append(len(found)))
    assert tried == [*forms, *forms[1:]]  # what has only ever failed is not tried again
    assert saved == [6, 10]
    rows = summarise(samples)
    assert row_of(rows, "torch-bf16")["error"] == "no bfloat16 here"
    assert row_of(rows, "torch-compile-nchw")["error"] == "no compiler"
    assert "ms" not in row_of(rows, "torch-compile-nchw")
    assert len(row_of(rows, "torch-nchw")["rounds_ms"]) == 2


def test_a_form_that_fails_once_keeps_its_times():
    row = row_of(summarise([sample(SHIPPED, 10), sample(SHIPPED, None)]), SHIPPED)
    assert row["ms"] == 10
    assert row["error"] == "no compiler"


@pytest.mark.parametrize("form", ["mindspore-naive", "torch-nhwc"])
def test_each_framework_is_measured(form):
    if FORMS[form].framework == "torch":
        pytest.importorskip("torch")
    result = measure(form, "cnn", 2, "cpu", seconds=0)
    assert result["environment"][FORMS[form].framework]
    for what in WHATS:
        assert result[what].get("error") is None
        assert result[what]["ms"] > 0
        assert result[what]["steps"] == 6
    assert result["inference"]["peak_mib"] <= result["training step"]["peak_mib"]


def test_an_unknown_model_is_an_error_not_a_crash():
    result = measure("mindspore-naive", "no-such-model", 2, "cpu", seconds=0)
    assert "no-such-model" in result["inference"]["error"]


def test_forms_of_a_gpu_are_those_of_pytorch():
    ours = {"torch-malloc", "torch-native", "torch-native-bf16"}
    assert set(forms_of("cuda")) == {name for name in FORMS if name.startswith("torch")} - ours


def test_children_report_what_went_wrong():
    assert run_child(["-c", "import maam; print(maam.__name__)"], {}) == "maam\n"
    with pytest.raises(ChildError, match=r"^ValueError: no luck$"):
        run_child(["-c", "raise ValueError('no luck')"], {})
    with pytest.raises(ChildError, match="exit code -9"):
        run_child(["-c", "import os; os.kill(os.getpid(), 9)"], {})
    with pytest.raises(ChildError, match="not done after 0 s"):
        run_child(["-c", "import time; time.sleep(60)"], {}, timeout=0.2)
    assert reason("RuntimeError: real\n----\nmindspore/file.cc:12 Build\n") == "RuntimeError: real"


def test_the_plot_is_drawn_with_a_failure_in_it(tmp_path):
    samples = [sample(form, 10.0 + index) for index, form in enumerate(FORMS)]
    samples += [sample(form, None, what="inference") for form in FORMS]
    report = {"rows": summarise(samples), "threads": 2, "rounds": 1, "device": "cpu"}
    draw(json.loads(json.dumps(report)), tmp_path / "speed.png")
    with Image.open(tmp_path / "speed.png") as picture:
        assert picture.width > 900
        colours = picture.convert("RGB").getcolors(2**24) or []
    shades = {colour for count, colour in colours if count > 300}
    assert {(0xD5, 0x5E, 0x00), (0x56, 0xB4, 0xE9)} <= shades  # ours, and the others


def test_nodes_of_a_dump_are_counted_by_operator():
    counts = count_nodes(DUMP)
    assert dict(counts) == {"Load": 1, "Softmax": 1, "Conv2D": 1, "Depend": 1, "Return": 1}


def test_a_fused_kernel_is_one_node():
    assert dict(count_nodes(FUSED)) == {"call": 1, "Conv2D": 1, "Return": 1}


def test_a_dump_of_another_form_is_refused():
    with pytest.raises(ValueError, match="the dump says 6"):
        count_nodes(DUMP.replace("cnodes: 5", "cnodes: 6"))
    with pytest.raises(ValueError, match="not a dump of an executed graph"):
        count_nodes(DUMP.replace("@kernel_graph0", "@main"))


def test_equation_9_as_one_product_changes_no_value(rng):
    from classifier_forms import FusedSumMAAM
    from mindspore import Tensor
    from plain_maam import PlainMAAM

    plain, fused = PlainMAAM(3, 8), FusedSumMAAM(3, 8)
    pairs = list(zip(plain.get_parameters(), fused.get_parameters(), strict=True))
    for theirs, ours in pairs:
        value = Tensor(rng.random(theirs.shape, np.float32))
        assert theirs.name == ours.name
        theirs.set_data(value)
        ours.set_data(value)
    images = Tensor(rng.random((2, 3, 8, 8), np.float32))
    expected = plain(images).asnumpy()
    np.testing.assert_allclose(fused(images).asnumpy(), expected, rtol=1e-5, atol=1e-6)


def test_node_counts_are_compared_with_the_plain_form():
    def row(form: str, nodes: int, kernels: int) -> dict:
        return {"graph": "inference", "form": form, "nodes": nodes, "kernels": kernels}

    failed = {"graph": "inference", "form": "MindSpore's fusion", "error": "no compiler"}
    rows = compare([row("plain", 1000, 500), row("fused sum", 806, 402), failed])
    assert "verdict" not in rows[0]
    assert (rows[1]["fewer_nodes"], rows[1]["fewer_kernels"]) == (0.194, 0.196)
    assert rows[1]["verdict"] == "holds for kernels, not for nodes"
    assert rows[2] == failed


@pytest.mark.slow
def test_predictions_are_measured():
    report = prediction_speed.collect(sys.executable, photos=2, files=[20], rounds=1)
    assert report["cold_start"]["maam predict"] > report["cold_start"]["python -c pass"] > 0
    assert set(report["images_per_second"]) == set(prediction_speed.WAYS)
    assert report["folders"][0]["files"] == 20 and report["folders"][0]["peak_mib"] > 0
    assert "| 20 |" in prediction_speed.page(report)

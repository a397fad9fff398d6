"""The campaign runner: from a bare checkout, killed and continued, within its budget."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import maam
from maam.core.errors import MaamError
from maam.core.tensors import load_tensors
from maam.training import campaign

ROOT = Path(__file__).parents[2]
# All that maam installs, but for what the campaign may use.
ABSENT = ["mindspore", "pydantic", "sklearn", "scipy", "matplotlib", "cyclopts", "rich"]
ABSENT += ["onnx", "onnxruntime", "onnxscript"]


@pytest.fixture
def recipe(tmp_path):
    """A recipe on a folder of 40 images of two classes."""
    rng = np.random.default_rng(0)
    for name, shade in (("dark", 0), ("light", 128)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(shade, shade + 128, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    path = tmp_path / "tiny.toml"
    path.write_text(
        f'data = "{tmp_path}/photos"\nimage_size = 8\nmodel = "cnn"\nepochs = 3\nbatch_size = 8\n'
        'optimizer = "sgd"\nlearning_rate = 0.02\nema = 0.5\naugment = "trivial"\nmixup = 0.2\n'
    )
    return path


@pytest.fixture
def bare(tmp_path):
    """The environment of a machine without the packages in ``ABSENT``."""
    (tmp_path / "site").mkdir()
    block = f"import sys\nfor name in {ABSENT}:\n    sys.modules[name] = None\n"
    (tmp_path / "site" / "sitecustomize.py").write_text(block)
    return {**os.environ, "PYTHONPATH": f"{tmp_path}/site:{ROOT}/src"}


def start(environment, *arguments):
    command = [sys.executable, "-m", "maam.training.campaign", *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run(environment, *arguments):
    process = start(environment, *arguments)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


@pytest.mark.slow
def test_a_campaign_on_a_bare_machine(recipe, bare, tmp_path):
    code, output = run(bare, f"{recipe}:0,1", "--out", "runs", "--parallel", "2")
    assert code == 0, output
    assert "2 of 2 trainings are finished" in output
    report = json.loads(Path("runs/campaign.json").read_text())
    assert [run["seed"] for run in report["runs"]] == [0, 1]
    found = [run["accuracy"] for run in report["runs"]]
    assert report["recipes"]["tiny"]["mean"] == pytest.approx(np.mean(found))
    # Finished trainings are left alone.
    before = Path("runs/tiny-seed-0/scores.json").stat().st_mtime_ns
    code, output = run(bare, f"{recipe}:0,1", "--out", "runs")
    assert code == 0 and "2 finished before" in output
    assert Path("runs/tiny-seed-0/scores.json").stat().st_mtime_ns == before
    # Where everything is installed, the run is completed without training again.
    environment = json.loads(Path("runs/tiny-seed-0/environment.json").read_text())
    meta = json.loads(Path("runs/tiny-seed-0/meta.json").read_text())
    Path("runs/tiny-seed-0/meta.json").write_text(json.dumps({**meta, "device": "a GPU"}))
    result = maam.train(resume="runs/tiny-seed-0")
    assert result.scores["accuracy"] == found[0]
    assert Path("runs/tiny-seed-0/model.onnx").exists()
    assert json.loads(Path("runs/tiny-seed-0/environment.json").read_text()) == environment
    assert json.loads(Path("runs/tiny-seed-0/meta.json").read_text())["device"] == "a GPU"


@pytest.mark.slow
def test_killed_and_out_of_time_it_goes_on_where_it_stopped(recipe, bare):
    recipe.write_text(recipe.read_text().replace("epochs = 3", "epochs = 30"))
    weights = Path("cut/tiny-seed-0/best.safetensors")
    process = start(bare, f"{recipe}:0", "--out", "cut")
    deadline = time.time() + 120
    while not weights.exists() and time.time() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)  # its child notices, and ends
    process.communicate(timeout=120)
    assert not Path("cut/tiny-seed-0/scores.json").exists()
    code, output = run(bare, f"{recipe}:0", "--out", "cut", "--budget", "0")
    assert code == 0 and "0 of 1 trainings are finished" in output
    code, output = run(bare, f"{recipe}:0", "--out", "cut")
    assert code == 0 and "epoch 1/30" not in output and "epoch 30/30" in output
    run(bare, f"{recipe}:0", "--out", "whole")
    whole, _ = load_tensors(Path("whole/tiny-seed-0/best.safetensors"))
    resumed, _ = load_tensors(weights)
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.slow
def test_a_failing_training_does_not_stop_the_next(recipe, bare, tmp_path):
    wild, lost = tmp_path / "wild.toml", tmp_path / "lost.toml"
    wild.write_text(recipe.read_text().replace("0.02", "1e30"))
    lost.write_text(recipe.read_text().replace("/photos", "/nothing"))
    code, output = run(bare, f"{lost}:0", f"{wild}:0", f"{recipe}:0", "--out", "runs")
    assert code == 1
    assert "no such folder" in output and "became" in output
    assert "1 of 3 trainings are finished" in output and "Traceback" not in output


@pytest.mark.slow
def test_a_recipe_for_mindspore_is_trained_there(recipe, bare):
    recipe.write_text('framework = "mindspore"\n' + recipe.read_text())
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/src"}
    code, output = run(environment, f"{recipe}:0", "--out", "runs")
    assert code == 0, output
    assert json.loads(Path("runs/tiny-seed-0/meta.json").read_text())["config"]["framework"] == (
        "mindspore"
    )


@pytest.mark.slow
def test_what_is_in_the_way_stays(recipe, bare):
    folder = Path("runs/tiny-seed-0")
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    code, output = run(bare, f"{recipe}:0", "--out", "runs")
    assert code == 1 and "is not empty" in output
    assert (folder / "notes.txt").read_text() == "mine"
    (folder / "notes.txt").unlink()
    (folder / "config.toml").write_text("epo")  # killed before the run's facts were written
    code, output = run(bare, f"{recipe}:0", "--out", "runs")
    assert code == 0, output


@pytest.mark.slow
def test_a_changed_recipe_does_not_go_on_with_the_old_run(recipe, bare):
    assert run(bare, f"{recipe}:0", "--out", "runs")[0] == 0
    Path("runs/tiny-seed-0/scores.json").unlink()
    recipe.write_text(recipe.read_text().replace("0.02", "0.01"))
    code, output = run(bare, f"{recipe}:0", "--out", "runs")
    assert code == 1 and "was begun with learning_rate = " in output


def test_a_folder_is_trained_by_one_campaign_at_a_time(recipe, bare):
    Path("runs/tiny-seed-0").mkdir(parents=True)
    with open("runs/tiny-seed-0/.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, output = run(bare, f"{recipe}:0", "--out", "runs")
    assert code == 1 and "is being trained by another process" in output


@pytest.mark.slow
def test_a_child_whose_campaign_is_gone_trains_nothing(recipe, bare):
    code, output = run(bare, f"{recipe}:0", "--out", "runs", "--child", "1", "1e12")
    assert code == 1 and "the campaign was killed" in output
    assert not Path("runs/tiny-seed-0/last.safetensors").exists()


@pytest.mark.parametrize(
    "text", ["tiny.toml", "tiny.toml:", "tiny.toml:a", ":1", "tiny.toml:1,", "tiny.toml:-1"]
)
def test_an_entry_that_is_none_is_refused(text):
    with pytest.raises(MaamError, match=r"RECIPE\.toml:SEED"):
        campaign.parse([text], Path("runs"))


def test_trainings_that_share_a_folder_are_refused(recipe):
    for texts in ([f"{recipe}:0,0"], [f"{recipe}:0", f"{recipe}:1,0"]):
        with pytest.raises(MaamError, match="another training has the run folder"):
            campaign.parse(texts, Path("runs"))


def test_a_wrong_recipe_is_named_at_once(bare, tmp_path):
    (tmp_path / "bad.toml").write_text("epoch = 3\n")
    for entry, message in (("none.toml:0", "none.toml"), ("bad.toml:0", "did you mean epochs")):
        code, output = run(bare, entry)
        assert code == 2 and message in output and "Traceback" not in output


@pytest.mark.parametrize("line", ["minutes = 5", 'model = "auto"'])
def test_a_recipe_that_leaves_something_to_plan_is_refused(line, tmp_path):
    path = tmp_path / "planned.toml"
    model = "" if "model" in line else 'model = "cnn"\n'
    path.write_text(f'data = "photos"\n{model}{line}\n')
    with pytest.raises(MaamError, match=r"planned\.toml: a campaign plans nothing: name `model`"):
        campaign.parse([f"{path}:0"], Path("runs"))


def test_a_queue_file_has_comments_and_empty_lines(recipe, tmp_path):
    queue = tmp_path / "queue.txt"
    queue.write_text(f"# the ruler\n\n{recipe}:0\n  # and another seed\n{recipe}:1\n")
    trainings = campaign.parse([f"@{queue}"], Path("runs"))
    assert [training.seed for training in trainings] == [0, 1]


def test_the_queue_names_recipes_that_are_there(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert campaign.parse(["@experiments/queue.txt"], Path("runs"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["@none.txt"], "@none.txt: No such file"),
        (["@binary.txt"], "not a text file"),
        (["tiny.toml:0", "--budget", "nan"], "--budget nan"),
        (["tiny.toml:0", "--budget", "-5"], "--budget -5"),
        (["tiny.toml:0", "--parallel", "two"], "--parallel"),
        (["tiny.toml:0", "--out", "damaged"], "scores.json is damaged"),
    ],
)
def test_bad_input_is_one_line(recipe, tmp_path, monkeypatch, capsys, arguments, words):
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "damaged" / "other").mkdir(parents=True)
    (tmp_path / "damaged" / "other" / "scores.json").write_text('{"recipe": "a"}')
    monkeypatch.setattr("sys.argv", ["campaign", *arguments])
    with pytest.raises(SystemExit) as ended:
        campaign.main()
    message = capsys.readouterr().err
    assert ended.value.code == 2
    assert words in message and message.count("\n") == 1

"""Every verb as a person types it: what it prints, what it writes, and its exit code."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hostile import make_hostile
from PIL import Image

import maam
from maam.cli.app import app, run
from maam.cli.options import spelled
from maam.core.run_folder import RunFolder

VERBS = (
    "train",
    "evaluate",
    "predict",
    "explain",
    "export",
    "models",
    "data",
    "reproduce",
    "doctor",
    "fuse",
    "quantize",
    "prune",
    "demo",
    "benchmark",
)
QUICK = ("--limit", "128", "--epochs", "2", "--model", "mlp", "--seed", "1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert run(["train", *QUICK, "--out", str(folder)]) == 0
    return str(folder)


@pytest.fixture(scope="module")
def digit(tmp_path_factory):
    from maam.data import load_dataset

    path = tmp_path_factory.mktemp("digit") / "three.png"
    test = load_dataset("digits").test
    Image.fromarray(test.pixels()[test.labels == 3][0, :, :, 0]).save(path)
    return str(path)


def fails(capsys, *arguments):
    """The one line of an error with exit code 2 and nothing on standard output."""
    assert run(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("maam: ")
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    return captured.err


def test_the_verbs():
    names = {name for name in app if not name.startswith("-")}
    assert names == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples(verb, capsys):
    assert run([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Examples" in text
    assert f"maam {verb}" in text


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == maam.__version__


def test_train_prints_plan_epochs_and_scores(tmp_path, capsys):
    assert run(["train", *QUICK, "--out", str(tmp_path / "r")]) == 0
    text = capsys.readouterr().out
    for part in (
        "10 classes, 128 train, 144 val, 359 test",
        "parameters",
        "epochs 2, steps an epoch 2",
        "on CPU, fp32, mode auto",
        "epoch   1/2",
        "epoch   2/2",
        "val accuracy",
        "images/s",
        "macro F1",
        "maam evaluate",
    ):
        assert part in text


def test_train_by_recipe_and_flags(tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text('model = "mlp"\nlimit = 64\nepochs = 5\n')
    assert run(["train", "--recipe", str(recipe), "--epochs", "1", "--out", "out"]) == 0
    assert json.loads(Path("out/meta.json").read_text())["config"]["model"] == "mlp"
    assert len(Path("out/metrics.jsonl").read_text().splitlines()) == 1
    assert run(["train", "--resume", "out", "--epochs", "2"]) == 0
    assert len(Path("out/metrics.jsonl").read_text().splitlines()) == 2


def test_evaluate_prints_and_writes_the_scores(trained, capsys):
    capsys.readouterr()
    assert run(["evaluate", trained, "--json", "scores.json"]) == 0
    text = capsys.readouterr().out
    scores = json.loads(Path("scores.json").read_text())
    low, high = scores["accuracy_interval"]
    assert f"{scores['accuracy']:.2%} ({low:.2%} to {high:.2%}, 359 images)" in text
    assert f"{scores['balanced_accuracy']:.2%}" in text
    assert "By class" in text and "macro averages are of" not in text
    assert sum(map(sum, scores["confusion"])) == scores["images"] == 359


def test_predict_in_every_form(trained, digit, capsys):
    capsys.readouterr()
    assert run(["predict", trained, digit, "--format", "jsonl", "--top-k", "2"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["file"] == digit
    assert len(answer["predictions"]) == 2
    assert run(["predict", trained, digit, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert rows[0]["class"] == answer["predictions"][0]["class"]
    assert run(["predict", trained, digit]) == 0
    assert digit in capsys.readouterr().out
    assert run(["predict", trained, digit, "--output", "answers.csv", "--format", "csv"]) == 0
    assert Path("answers.csv").read_text().startswith("file,rank,class")


def test_predict_names_skips_and_counts_unreadable_files(trained, tmp_path, capsys):
    readable = make_hostile(tmp_path / "images")
    capsys.readouterr()
    assert run(["predict", trained, str(tmp_path / "images"), "--format", "jsonl"]) == 1
    captured = capsys.readouterr()
    rows = [json.loads(line) for line in captured.out.splitlines()]
    failed = {row["file"] for row in rows if "error" in row}
    assert failed
    assert f"{len(failed)} of {len(rows)} images could not be read" in captured.err
    assert {Path(name).name for name in failed} <= {n for n, fine in readable.items() if not fine}


def test_predict_reads_standard_input(trained, digit):
    command = [sys.executable, "-m", "maam", "predict", trained, "-", "--format", "jsonl"]
    for given in (Path(digit).read_bytes(), f"{digit}\n".encode()):
        done = subprocess.run(command, input=given, capture_output=True, check=True)
        assert json.loads(done.stdout)["predictions"]


def test_a_mistyped_option_of_predict_is_not_a_file(trained, capsys):
    assert "--formt" in fails(capsys, "predict", trained, "x.png", "--formt", "csv")


@pytest.mark.parametrize(
    "verb",
    [
        pytest.param(["train", *QUICK], marks=pytest.mark.slow, id="train"),
        ["data", "digits"],
        ["--help"],
    ],
    ids=lambda verb: verb[0],
)
def test_a_reader_that_leaves_does_no_harm(verb, tmp_path):
    """As in ``maam train | head -1``: the work goes on."""
    command = [sys.executable, "-m", "maam", *verb]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, cwd=tmp_path) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_a_full_disk_is_one_line():
    command = f"{sys.executable} -m maam data digits > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("maam: ")
    assert done.stderr.count("\n") == 1


def test_class_names_are_shown_as_they_are(tmp_path, capsys):
    for name in ("[red]x[/]", ":car:", "\x1b[31m"):
        (tmp_path / "odd" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (9, 9), (number, 0, 0)).save(tmp_path / "odd" / name / f"{number}.png")
    assert run(["data", str(tmp_path / "odd")]) == 0
    text = capsys.readouterr().out
    assert "[red]x[/]" in text
    assert ":car:" in text
    assert "\x1b" not in text


def test_models_lists_what_a_pattern_names(capsys):
    assert run(["models", "maam-p*", "--size", "8", "--data", "grey"]) == 0
    text = capsys.readouterr().out
    assert "maam-p1" in text
    assert "cnn" not in text


def test_data_describes_a_folder(tmp_path, capsys):
    for name, colour in (("cat", (9, 9, 9)), ("dog", (200, 1, 1))):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(8):
            Image.new("RGB", (20 + number, 16), colour).save(tmp_path / f"pets/{name}/{number}.png")
    (tmp_path / "pets/cat/broken.jpg").write_bytes(b"no")
    assert run(["data", str(tmp_path / "pets"), "--json", "pets.json"]) == 0
    text = capsys.readouterr().out
    assert "broken.jpg" in text
    assert "smallest 20x16" in text
    assert json.loads(Path("pets.json").read_text())["classes"] == ["cat", "dog"]


def test_data_describes_what_training_refuses_and_says_so_last(tmp_path, capsys):
    for name, count in (("cat", 9), ("dog", 1), ("owl", 0)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(count):
            image = Image.new("RGB", (16, 16), (number, count, 0))
            image.save(tmp_path / f"pets/{name}/{number}.png")
    before = sorted(tmp_path.rglob("*"))
    assert run(["data", str(tmp_path / "pets")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "'dog' (1)" in lines[-2]
    assert "owl" in lines[-3]
    assert lines[-1].startswith("training would refuse these images")
    assert sorted(tmp_path.rglob("*")) == before


def test_data_of_many_classes_is_a_page_and_the_json_has_them_all(tmp_path, capsys):
    for number in range(200):
        (tmp_path / "many" / f"c{number:03}").mkdir(parents=True)
        for image in range(3 + (number == 7)):
            colour = (number, image, 0)
            Image.new("RGB", (8, 8), colour).save(tmp_path / f"many/c{number:03}/{image}.png")
    assert run(["data", str(tmp_path / "many"), "--json", "many.json"]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) < 40
    assert "190 more classes" in text
    assert "all 200 classes" in text
    assert len(json.loads(Path("many.json").read_text())["counts"]["train"]) == 200


@pytest.mark.slow
def test_data_names_doubtful_labels(tmp_path, capsys):
    assert run(["data", "digits", "--labels", "--json", "digits.json"]) == 0
    found = json.loads(Path("digits.json").read_text())["label_errors"]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("label ")]
    assert len(lines) == min(len(found), 11) > 0
    assert found[0]["name"] in lines[0]
    Image.new("RGB", (9, 9)).save(tmp_path / "alone.png")
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "alone.png").rename(tmp_path / "a/b/alone.png")
    assert run(["data", str(tmp_path / "a"), "--labels"]) == 1
    assert "when training would take" in capsys.readouterr().err


def test_train_on_ones_own_folder_then_predict(tmp_path, capsys):
    for name, colour in (("cat", (10, 10, 10)), ("dog", (250, 20, 20))):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(10):
            shade = tuple(value + number for value in colour)
            Image.new("RGB", (24, 20 + number), shade).save(tmp_path / f"pets/{name}/{number}.png")
    (tmp_path / "pets/dog/broken.png").write_bytes(b"no")
    options = ["--image-size", "16", "--model", "cnn", "--epochs", "12", "--out", "pets-run"]
    assert run(["train", "--data", str(tmp_path / "pets"), *options]) == 0
    assert "broken.png" in capsys.readouterr().err
    assert run(["predict", "pets-run", str(tmp_path / "pets/dog/3.png"), "--format", "csv"]) == 0
    assert ',1,"dog",' in capsys.readouterr().out


def test_doctor_finds_this_machine_fit(capsys):
    code = run(["doctor"])
    text = capsys.readouterr().out
    assert "ok" in text
    assert code == 0, text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "nonsense"),
        (["train", "--lerning-rate", "1"], "--learning-rate"),
        (["train", "--epochs", "0"], "--epochs"),
        (["train", "--epochs", "many"], "--epochs"),
        (["train", "--schedule", "zigzag"], "cosine"),
        (["train", "--model", "mam"], "did you mean maam"),
        (["train", "--optimizer", "sdg"], "did you mean sgd"),
        (["train", "--augment", "flip"], "crop-flip"),
        (["train", "--data", "digit"], "did you mean digits"),
        (["train", "--data", "/nowhere"], "/nowhere"),
        (["train", "--data", "digits", "--image-size", "32"], "--image-size"),
        (["train", "--recipe", "none.toml"], "none.toml"),
        (["train", "--resume", "none"], "none is not a run folder"),
        (["train", "--limit", "99999"], "99999"),
        (["evaluate"], "RUN"),
        (["evaluate", "none"], "none is not a run folder"),
        (["predict", "none", "x.png"], "none"),
        (["models", "zzz*"], "zzz*"),
        (["data", "none"], "none"),
        (["data"], "SOURCE"),
        (["data", ""], "no data named"),
        (["data", "~nosuchuser/x"], "~nosuchuser"),
        (["data", "a" * 300], "File name too long"),
        (["train", "--data", ""], "--data"),
        (["train", "--resume", "a" * 300], "File name too long"),
        (["train", "--val-fraction", "0.99999"], "--val-fraction"),
        (["train", "--epochs", "1000000000000"], "--epochs"),
        (["models", "--size", "100000000"], "--size"),
        (["benchmark", "--threads", "1.5"], "--threads: "),
        (["quantize", "maamnet-nano"], "maamnet-nano comes with maam"),
        (["quantize", "none", "--json", "no/x.json"], "there is no folder no"),
        (["prune", "none"], "none is not a run folder"),
        (["prune", "none", "--json", "no/x.json"], "there is no folder no"),
        (["prune", "maamnet-nano", "--keep", "1.5"], "--keep"),
        (
            ["train", "--model", "maamnet-16x1-0x2"],
            "--model maamnet-16x1-0x2: a stage can't have 0",
        ),
        (["train", "--weights", "cifar"], "--weights cifar is neither"),
        (["evaluate", "none", "--json", "/dev/null"], "/dev/null: it is not a regular file"),
        (["data", "none", "--html", ".."], "..: it is not a regular file"),
        (["export", "maamnet-nano", "--out", "no/.."], "--out no/.. names no file"),
        (["export", "maamnet-nano", "--out", "/dev/null/x.onnx"], "/dev/null"),
        (["export", "maamnet-nano", "--format", "c", "--out", "/proc/x"], "cannot write /proc/x:"),
        (
            ["export", "maamnet-nano", "--format", "html", "--out", "/proc/x"],
            "cannot write /proc/x: ",
        ),
    ],
)
def test_bad_input_is_one_line_and_code_2(arguments, words, capsys):
    assert words in fails(capsys, *arguments)
    assert not os.listdir()


def test_errors_spell_options_as_flags():
    text = "`clip_norm=1` and `data_dir` are options, `maam models` and `image` are not"
    assert spelled(text) == (
        "--clip-norm 1 and --data-dir are options, `maam models` and `image` are not"
    )


def test_predict_without_images_and_with_a_bad_option(trained, capsys):
    assert "no images given" in fails(capsys, "predict", trained)
    assert "--top-k" in fails(capsys, "predict", trained, "x.png", "--top-k", "0")


def test_out_that_is_taken_is_left_alone(trained, capsys):
    before = Path(trained, "meta.json").read_bytes()
    assert "not empty" in fails(capsys, "train", *QUICK, "--out", trained)
    assert Path(trained, "meta.json").read_bytes() == before


def test_a_folder_that_another_training_holds_is_refused(trained, tmp_path, capsys):
    for folder, options in ((Path(trained), ["--resume"]), (tmp_path / "new", [*QUICK, "--out"])):
        with RunFolder(folder).lock():  # as another process would
            before = {path.name for path in folder.iterdir()}
            said = fails(capsys, "train", *options, str(folder))
            assert f"{folder} is being trained by another process" in said
            assert {path.name for path in folder.iterdir()} == before


def test_damaged_weights_are_one_line(trained, tmp_path, capsys):
    import shutil

    copy = shutil.copytree(trained, tmp_path / "copy")
    weights = copy / "best.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "best.safetensors is damaged" in fails(
        capsys, "evaluate", str(copy), "--framework", "torch"
    )


@pytest.mark.slow
def test_a_normal_run_is_quiet_and_leaves_no_stray_files(tmp_path):
    """In a process of its own: MindSpore warns from C++ and drops folders where it runs."""
    command = [sys.executable, "-m", "maam", "train", *QUICK, "--out", "r"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stderr == ""
    assert "WARNING" not in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_predict_counts_images_on_a_terminal_where_answers_go_elsewhere(trained, digit):
    import pty

    terminal, line = pty.openpty()
    program = "import sys; from maam.cli.app import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "predict", trained, digit, digit, "--format", "csv"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=line, text=True) as process:
        os.close(line)
        answers = process.stdout.read() if process.stdout else ""
        seen = os.read(terminal, 10_000).decode()
    os.close(terminal)
    assert process.returncode == 0
    assert answers.startswith("file,rank") and answers.count("\n") == 7
    assert "images" in seen


@pytest.mark.parametrize("option", ["--out", "--data-dir"])
def test_a_name_that_is_not_utf_8_is_refused(option, capsys):
    """It would stand in files that are text."""
    name = os.fsdecode(b"caf\xe9")
    assert run(["train", "digits", option, name]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "has a name that is not UTF-8" in error and option in error
    assert not Path(name).exists()


def test_the_size_of_images_is_not_rounded(capsys):
    assert run(["models", "maamnet-nano", "--size", "32.4"]) == 2
    assert "not a whole number" in capsys.readouterr().err

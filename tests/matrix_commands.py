"""Random command lines, all verbs: exit code 0, 1 or 2, never a traceback, nothing changed."""

from __future__ import annotations

import os
import random
import re
import signal
import sys
from pathlib import Path
from typing import Any

from hostile import encode, picture
from hostile_images import special_files
from matrix import Counts, counting
from matrix_images import in_a_process, said, state

MOST_SECONDS = 120
VERBS = (
    *("train", "evaluate", "predict", "explain", "export", "quantize", "prune", "fuse"),
    *("benchmark", "models", "data", "demo", "reproduce", "doctor"),
)
_COSTLY = ("train", "benchmark", "doctor", "explain", "fuse", "prune")  # asked less often
_ENDLESS = ("demo", "reproduce")  # they only get command lines that are refused
_NASTY = (
    *("", " ", "-", "--", "-1", "0", "1", "2", "8", "32", "0.5", "1e400", "nan", "inf", "-inf"),
    *("true", "None", "null", "auto", "x" * 300, "9" * 400, "ä", "\U0001f600", "\n", "a\nb"),
    *("\x1b[31m", "[bold]", "{}", "%s", "$(id)", "`id`", "'\"", "\\", "*", "**", "[", "?"),
    *("~", ".", "..", "/", "/dev/null", "/dev/full", "/proc/self/nothing", "nul\0l", "\udcff"),
    *("http://localhost:1/x.png", "mlp", "maam", "torch", "CPU", "digits", "csv", "jsonl", "all"),
)
_SHORT: dict[str, tuple[str, ...]] = {  # what would take long otherwise
    "--minutes": ("0", "-1", "x", "nan"),
    "--epochs": ("0", "1", "-1", "x", "1e99"),
    "--finetune-epochs": ("0", "-1", "x"),
    "--model": ("mlp", "x", "", "mlp,x"),
    "--framework": ("torch", "x", ""),
    "--rounds": ("0", "1", "-1", "x"),
    "--seconds": ("0", "0.01", "-1", "x"),
    "--resume": ("", "x", "data", "run.txt"),
    "--device": ("CPU", "CUDA", "Ascend", "x"),
    "--teacher": ("x", "", "data"),
    "--weights": ("x", "", "data", "cifar10"),
}


def command_lines(folder: Path, count: int, seed: int = 0) -> Counts:
    """``count`` random command lines, in a process and a folder of their own."""
    return in_a_process("command lines", _command_lines, folder, count, seed)


def _command_lines(folder: Path, count: int, seed: int) -> Counts:
    os.environ["OMP_NUM_THREADS"] = "1"
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    sys.stdin = open(os.devnull)  # noqa: SIM115
    signal.signal(signal.SIGALRM, _late)
    files = _plant(folder)
    run = ["train", "--data", "data", "--model", "mlp", "--epochs", "1", "--framework", "torch"]
    code, text = said([*run, "--out", "run"])
    options = {verb: _options(verb) for verb in VERBS}
    kept = state(folder / "data") | state(folder / "run")
    rng = random.Random(seed)
    with counting("command lines") as counts:
        if code != 0:
            counts.fail("the training", text)
        for _ in range(count):
            counts.cases += 1
            arguments = _arguments(rng, options, files)
            signal.alarm(MOST_SECONDS)
            code, text = said(arguments)
            signal.alarm(0)
            shown = f"{arguments!r}: {text[-200:]}"
            if code not in (0, 1, 2):
                counts.fail(f"ended with {str(code)[:60]}", shown)
            elif "Traceback" in text:
                counts.fail("traceback", shown)
            elif code == 2 and not text.strip():
                counts.fail("nothing said", shown)
            elif code == 2:
                counts.noticed += 1
            else:
                counts.fine += 1
            now = state(folder / "data") | state(folder / "run")
            if changed := [name for name, was in kept.items() if now.get(name) != was]:
                counts.fail("a file changed", f"{changed}: {shown}")
                kept = now
    return counts


def _late(*_: object) -> None:
    raise TimeoutError(f"more than {MOST_SECONDS} s")


def _plant(folder: Path) -> list[str]:
    """Files to name; as strings below the working directory."""
    for label in ("cat", "dog"):
        (folder / "data" / label).mkdir(parents=True)
        for number in range(4):
            content = encode(picture(12, 10, number + 10 * (label == "dog")), "PNG")
            (folder / "data" / label / f"{number}.png").write_bytes(content)
    (folder / "empty").mkdir()
    (folder / "odd").mkdir()
    special_files(folder / "odd")
    (folder / "odd" / "up").unlink()
    contents = {
        "run.txt": b"x",
        "empty.csv": b"",
        "bad.csv": b"file,label\nnowhere.png,a\n",
        "bad.zip": b"PK\x03\x04",
        "bad.tar": bytes(99),
        "bad.onnx": b"\x08\x08",
        "bad.toml": b"epochs = [",
        "fine.toml": b"epochs = 1\n",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return ["data", "run", "odd", "empty", "data/cat/0.png", "odd/pipe.png", *contents]


def _options(verb: str) -> list[str]:
    """The options that a verb's help names."""
    return sorted(set(re.findall(r"--[a-z][a-z0-9-]+", said([verb, "--help"])[1])))


def _arguments(rng: random.Random, options: dict[str, Any], files: list[str]) -> list[str]:
    (verb,) = rng.choices(VERBS, [1 if verb in _COSTLY else 4 for verb in VERBS])
    arguments = [verb]
    if rng.random() < 0.8 and verb not in ("train", "models", "doctor", *_ENDLESS):
        arguments.append("data" if verb == "data" else "run")
    if verb in ("predict", "explain") and rng.random() < 0.8:
        arguments.append("data/cat/0.png")
    for _ in range(rng.randrange(4)):
        kind = rng.random()
        option = rng.choice(options[verb])
        if kind < 0.7:
            arguments += [option, _pick(rng, option, files)]
        elif kind < 0.8:
            arguments.append(option)
        elif kind < 0.9:
            arguments.append(_pick(rng, "", files))
        else:
            arguments.append(f"{option}={_pick(rng, option, files)}")
    if verb == "train":
        said_so = " ".join(arguments)
        for option, value in _TRAINING.items():
            if option not in said_so:
                arguments += [option, value]
    if verb in _ENDLESS and "--help" not in arguments:
        arguments.append("--no-such-option")
    if verb == "benchmark":
        arguments += ["--rounds", "1", "--seconds", "0.01"]
    return arguments


_TRAINING = {"--data": "data", "--model": "mlp", "--epochs": "1", "--framework": "torch"}


def _pick(rng: random.Random, option: str, files: list[str]) -> str:
    if option in _SHORT:
        return rng.choice(_SHORT[option])
    return rng.choice(files if rng.random() < 0.3 else _NASTY)

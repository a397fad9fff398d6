"""The verbs while every unpickling and every connection is watched, and refused."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hostile import encode, picture
from matrix import Counts, counting
from matrix_images import in_a_process, said

from maam.deploy import latency

# https://docs.python.org/3/library/audit_events.html
WATCHED = frozenset(
    {
        *("pickle.find_class", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname"),
        *("socket.sendto", "socket.bind", "urllib.Request", "ftplib.connect", "smtplib.connect"),
    }
)


def verbs_alone(folder: Path, framework: str) -> Counts:
    """Every verb that ends by itself, on local images: nothing is unpickled, and no other machine
    is asked for anything.

    The processes in which ``quantize``, ``prune`` and ``fuse`` measure (once here), and what
    ``doctor`` starts, are not watched themselves. Left out are ``benchmark``, whose processes
    answer in pickled classes of ours; ``demo``, which listens until it is ended; and ``reproduce``,
    which starts trainings of hours in processes of their own.
    """
    return in_a_process(f"verbs, {framework}", _verbs_alone, folder, framework)


def _verbs_alone(folder: Path, framework: str) -> Counts:
    os.environ["OMP_NUM_THREADS"] = "1"
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    for label in ("cat", "dog"):
        Path("data", label).mkdir(parents=True)
        for number in range(24):  # as many as quantize wants
            content = encode(picture(12, 10, number + 50 * (label == "dog")), "PNG")
            Path("data", label, f"{number}.png").write_bytes(content)
    if framework == "mindspore":
        from maam.core.environment import prepare_mindspore

        prepare_mindspore()
    latency.ROUNDS = 1
    seen: list[str] = []

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event in WATCHED:
            seen.append(f"{event} {arguments!r}"[:200])
            raise RuntimeError(f"refused: {event}")

    sys.addaudithook(watch)  # for the rest of this process
    options = ["--model", "maamnet-nano", "--epochs", "1", "--framework", framework]
    commands = [
        ["data", "data", "--html", "data.html"],
        ["train", "--data", "data", "--pretrained", "--out", "run", *options],
        ["train", "--resume", "run", "--epochs", "2"],
        ["evaluate", "run", "--data", "data"],
        ["evaluate", "run", "--framework", framework],
        ["predict", "run", "data/cat"],
        ["explain", "run", "data/cat/0.png", "--out", "explained"],
        ["export", "run", "--out", "exported"],
        ["export", "run", "--format", "c", "--out", "as-c", "--precision", "float32"],
        ["quantize", "run", "--images", "32", "--max-drop", "100"],
        ["prune", "run", "--epochs", "1", "--max-drop", "100", "--out", "pruned"],
        ["fuse", "run", "--out", "fused"],
        ["data", "pack", "data", "packed"],
        ["doctor"],
        ["models"],
    ]
    with counting(f"verbs, {framework}") as counts:
        for arguments in commands:
            counts.cases += 1
            code, text = said(arguments)
            if code != 0:
                counts.fail(f"exit code {code}", f"{arguments}: {text[-300:]}")
            elif seen:
                counts.fail("watched", f"{arguments}: {seen}")
            else:
                counts.fine += 1
            seen.clear()
    return counts

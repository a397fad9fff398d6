"""Several processes on this machine that train together, by the framework's own launcher.

Each of them is ``maam train``. PyTorch's ``torchrun`` lets them write to the terminal; MindSpore's
``msrun`` writes a log for each.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from maam.core.config import TrainConfig
from maam.core.environment import usable_cores
from maam.core.errors import MaamError
from maam.core.files import write_atomic
from maam.core.recipes import to_toml
from maam.core.run_folder import RunFolder, new_run_folder
from maam.core.signals import inheritable, interruptible, say
from maam.data.streaming import memory_for_images
from maam.training.commands import goes_on
from maam.training.finalize import check_packages
from maam.training.options import resolve
from maam.training.planning import is_planned
from maam.training.ranks import Ranks

MAIN = Path(__file__).parents[1] / "__main__.py"
SPOKEN = "maam: "  # what a line that is meant for people begins with, on standard error
_STOPPED = f"{SPOKEN}interrupted"
_LOGGED = re.compile(r"\[(DEBUG|INFO|WARNING|ERROR|CRITICAL)\]")  # of MindSpore
# The exit code of the first process that failed, as torchrun and msrun write it
_CODE = re.compile(r"Root Cause.*?exitcode\s*:\s*(-?\d+)|Error code: (-?\d+)", re.DOTALL)


def check_together(config: TrainConfig, resume: Path | None) -> None:
    """Check that several processes can train with these options.

    Raises:
        MaamError: something is to be planned, or (for processes that a user's launcher has
            started) they would each choose a folder.
    """
    if resume is not None:
        return
    _check_named(config)
    if config.out is None:
        raise MaamError("several workers need one run folder, which all of them see: give `out`")


def _check_named(config: TrainConfig) -> None:
    if is_planned(config):
        raise MaamError(
            "several workers train what you name: give `model` and `epochs`, and leave `minutes` "
            "out (`maam train` alone plans)"
        )


def launch(
    workers: int,
    recipe: Path | None,
    resume: Path | None,
    options: dict[str, Any],
    show: Callable[[str], None],
) -> None:
    """Train with several processes on this machine.

    Args:
        workers: how many.
        recipe, resume, options: as for ``train``.
        show: told of the lines that process 0 prints, where it can't print them itself.

    Raises:
        MaamError: bad options, or a process has failed; the others have been ended.
        KeyboardInterrupt, Terminated: a signal came; they have been told to save and end.
    """
    config = resolve(options, recipe, resume)
    if workers < 1:
        raise MaamError(f"`workers_per_node={workers}`: at least 1")
    Ranks(world=workers).check_batch(config.batch_size)
    check_packages(config.framework)
    environment = _environment(workers)
    if resume is None:
        _check_named(config)
        folder = new_run_folder(config.out, config.data, config.model)
        folder.check_free()
    else:
        folder = RunFolder(resume)
    with TemporaryDirectory(prefix="maam-workers-") as name:
        logs = Path(name)
        if resume is None:
            recipe = logs / folder.config.name
            write_atomic(recipe, to_toml(config.model_copy(update={"out": None})))
            arguments = [f"--recipe={recipe}", f"--out={folder}"]
        else:
            given = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
            arguments = [f"--resume={folder}", *given]
        command = [*_COMMANDS[config.framework](workers, logs), "train", *arguments]
        try:
            code = _run(command, environment, logs, config.framework == "mindspore", show)
        finally:
            if folder.is_begun():
                say(f"interrupted; {goes_on(folder)}")
        if code:
            text = "\n".join(
                log.read_text(encoding="utf-8", errors="replace")
                for log in sorted(logs.rglob("*.log"))
            )
            raise MaamError(_failure(text, code, folder))
    folder.workers.unlink(missing_ok=True)


def _torchrun(workers: int, logs: Path) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run"]
    return [*launcher, "--standalone", f"--nproc-per-node={workers}", "-m", "maam"]


def _msrun(workers: int, logs: Path) -> list[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [sys.executable, "-m", "mindspore.parallel.cluster.run"]
    number = [f"--worker_num={workers}", f"--local_worker_num={workers}"]
    place = [f"--master_port={port}", f"--log_dir={logs}"]
    # It has no way to show no log, but that of a worker that there is not.
    return [*launcher, *number, *place, "--join=True", f"--tail_worker_log={workers}", str(MAIN)]


_COMMANDS = {"torch": _torchrun, "mindspore": _msrun}


def _environment(workers: int) -> dict[str, str]:
    """The variables of the launcher and its workers, which share cores and memory.

    Raises:
        MaamError: MAAM_MEMORY is no size.
    """
    threads = str(max(1, usable_cores() // workers))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {
        "OMP_NUM_THREADS": threads,
        "MAAM_THREADS": threads,  # of our own operators
        **os.environ,
        "PATH": path,  # msrun starts "python"
        "PYTHONSAFEPATH": "1",  # and a script, whose folder holds no packages for others
        "PYTHONUNBUFFERED": "1",
    }
    if memory := memory_for_images():  # of all of them
        environment["MAAM_MEMORY"] = str(max(1, memory // workers))
    return environment


def _run(
    command: list[str],
    environment: dict[str, str],
    logs: Path,
    logged: bool,
    show: Callable[[str], None],
) -> int:
    """Run a launcher to its end, and show what process 0 says.

    Args:
        command: the launcher's.
        environment: its variables.
        logs: where it and its workers write.
        logged: whether process 0 writes there too, and not to the terminal.
        show: told of the lines that process 0 has logged.

    Returns:
        Its exit code.
    """
    with (logs / "launcher.log").open("w") as log:
        with inheritable():
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log if logged else None,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        first = logs / "worker_0.log"
        said: TextIO | None = None
        try:
            with interruptible():
                ended = False
                while not ended:
                    ended = process.poll() is not None
                    if said is None and first.exists():
                        said = first.open(encoding="utf-8", errors="replace")
                    if said is not None:
                        _follow(said, show)
                    time.sleep(0 if ended else 0.1)
        finally:
            if said is not None:
                said.close()
            if process.poll() is None:
                # torchrun hands SIGTERM on; msrun knows SIGINT alone, and kills its workers.
                process.send_signal(signal.SIGINT if logged else signal.SIGTERM)
                process.wait()
    return process.returncode


def _follow(log: TextIO, show: Callable[[str], None]) -> None:
    """Show the new lines of a log that are meant for people, and no errors, which come last."""
    while True:
        place = log.tell()
        line = log.readline()
        if not line.endswith("\n"):
            log.seek(place)
            return
        if not line.startswith(SPOKEN) and not _LOGGED.match(line):
            show(line.rstrip("\n"))


def _failure(text: str, code: int, folder: RunFolder) -> str:
    """Why several processes have failed, in one line: in their own words if they found any.

    Args:
        text: all that they and their launcher have said.
        code: the launcher's.
        folder: the run's; unexplained, the text is written there.
    """
    lines = [line for line in text.splitlines() if line.startswith(SPOKEN)]
    errors = [line for line in lines if not line.startswith(_STOPPED)]
    if errors:
        return errors[0].removeprefix(SPOKEN)
    if match := _CODE.search(text):
        code = int(match[1] or match[2])
    write_atomic(folder.workers, text)
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    on = "train anew"
    if folder.is_begun():
        on = goes_on(folder)
    return f"a worker {how}, and so the others were ended (see {folder.workers}): {on}"

"""A run folder: the names of its files, what they hold, and how far the run has come.

config.toml        all options of the run, resolved
meta.json          model, classes, preprocessing, scores: a ``RunMeta``
best.safetensors   weights of the best epoch
last.safetensors   weights, optimiser and progress, at times inside an epoch; previous.safetensors
                   is the one before
metrics.jsonl      a line an epoch; metrics.csv is the same
model.onnx         the best weights, folded, with preprocessing, classes and a checksum
model.golden.safetensors  images and the logits that model.onnx must give for them
int8.safetensors   the same in 8-bit integers, from `maam quantize`; model-int8.onnx in ONNX
prune.json         of a pruned run: what that has cost and saved
report.html        how good the model is, where it errs and why, for people
images.safetensors fingerprints of the images trained on and validated with
environment.json, plots/, README.md (the model card), scores.json (from the campaign runner)
workers.log        what several processes said before one of them failed
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maam.core.errors import MaamError
from maam.core.files import check_regular, delete_unfinished, locked, make_folder, write_atomic
from maam.core.run_meta import RunMeta, parse_meta
from maam.core.tensors import load_tensors, save_tensors

LOCK, WORKERS = ".lock", "workers.log"
NEXT = "next.safetensors"  # a checkpoint until it is ``last``
NEXT_BEST = "next-best.safetensors"  # weights until the checkpoint of their epoch is written


@dataclass(frozen=True)
class RunFolder:
    """One run on disk, begun or not.

    Args:
        path: the folder.
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def config(self) -> Path:
        return self.path / "config.toml"

    @property
    def meta(self) -> Path:
        return self.path / "meta.json"

    @property
    def best(self) -> Path:
        return self.path / "best.safetensors"

    @property
    def last(self) -> Path:
        return self.path / "last.safetensors"

    @property
    def previous(self) -> Path:
        return self.path / "previous.safetensors"

    @property
    def history(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def history_csv(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def model(self) -> Path:
        return self.path / "model.onnx"

    @property
    def golden(self) -> Path:
        return self.path / "model.golden.safetensors"

    @property
    def int8(self) -> Path:
        return self.path / "int8.safetensors"

    @property
    def int8_model(self) -> Path:
        return self.path / "model-int8.onnx"

    @property
    def pruning(self) -> Path:
        return self.path / "prune.json"

    @property
    def images(self) -> Path:
        return self.path / "images.safetensors"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def card(self) -> Path:
        return self.path / "README.md"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def workers(self) -> Path:
        return self.path / WORKERS

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    @property
    def scores(self) -> Path:
        return self.path / "scores.json"

    def is_run(self) -> bool:
        """Whether any file in the folder makes it a run's, if only a part of one."""
        return any(file.is_file() for file in (self.meta, self.config, self.best, self.model))

    def is_begun(self) -> bool:
        """Whether a training has written here what it needs to go on."""
        return self.meta.exists()

    def is_finished(self) -> bool:
        """Whether it was trained, scored and exported.

        Raises:
            MaamError: its ``meta.json`` is damaged.
        """
        needed = (self.meta, self.history, self.model)
        return all(file.exists() for file in needed) and bool(self.read_meta().metrics)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder, which is made if need be, against other processes that train in it.

        What a process that was killed was writing there is deleted.

        Raises:
            MaamError: another process holds it, or the folder can't be made or written to.
        """
        make_folder(self.path)
        with locked(self.path / LOCK, f"{self} is being trained by another process"):
            delete_unfinished(self.path / NEXT, self.path / NEXT_BEST, self.best)
            yield

    def check_free(self) -> None:
        """Check that a new run can begin here.

        Raises:
            MaamError: it is a file, or holds what a new run would write over.
        """
        if self.path.is_file():
            raise MaamError(f"`out` {self} is a file: name a folder")
        if not self.path.is_dir():
            return
        # A run that was stopped before it had its metadata leaves no more than these.
        harmless = {self.config.name, self.environment.name, self.images.name, LOCK, WORKERS}
        if {file.name for file in self.path.iterdir()} - harmless:
            raise MaamError(
                f"`out` {self.path} is not empty: name another folder, or `resume` {self.path}"
            )

    def read_meta(self) -> RunMeta:
        """What ``meta.json`` says, checked.

        Raises:
            MaamError: it is no run folder, or of a format this version does not know, or damaged.
        """
        if self.path.is_file():
            raise MaamError(f"{self} is a file, not a folder: name the run folder that it is of")
        check_regular(self.meta)
        try:
            text = self.meta.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise MaamError(f"{self} is not a run folder: it has no {self.meta.name}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise MaamError(f"cannot read {self.meta}: {error}; restore it") from None
        return parse_meta(text, str(self.meta))

    def write_meta(self, meta: RunMeta) -> None:
        """Write ``meta.json``."""
        text = json.dumps(meta.to_dict(), indent=1, ensure_ascii=False)
        write_atomic(self.meta, text + "\n")

    def write_images(self, fingerprints: Mapping[str, np.ndarray]) -> None:
        """Note which images the run has learned from.

        Args:
            fingerprints: ``train`` and ``val``, and ``teacher``: those of the runs that it learns
                from or begins with; uint64 (N,), from ``maam.data.fingerprints``.
        """
        kept = {name: np.unique(numbers) for name, numbers in fingerprints.items()}
        save_tensors(self.images, kept, {})

    def read_images(self) -> dict[str, np.ndarray]:
        """What ``write_images`` wrote; empty for a run of a version that did not write it.

        Raises:
            MaamError: the file is damaged.
        """
        return load_tensors(self.images)[0] if self.images.exists() else {}

    def read_history(self) -> list[dict[str, Any]]:
        """The rows that ``write_history`` wrote; none, if no epoch was finished.

        Raises:
            MaamError: the file is damaged.
        """
        if not self.history.exists():
            return []
        check_regular(self.history)
        try:
            lines = self.history.read_text(encoding="utf-8").splitlines()
            rows = [json.loads(line) for line in lines]
        except (OSError, ValueError, RecursionError) as error:
            raise MaamError(f"{self.history} is damaged: {error}; restore it") from error
        if not all(isinstance(row, dict) for row in rows):
            raise MaamError(f"{self.history} is damaged: a line is no record; restore it")
        return rows

    def write_history(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write ``metrics.jsonl`` and ``metrics.csv``: one line an epoch.

        In the CSV file the agents' weights become columns ``agent_weight_<module>_<agent>``, both
        counted from 1, and a value that an epoch does not have is an empty cell.

        Raises:
            MaamError: a file cannot be written.
        """
        write_atomic(self.history, "".join(json.dumps(row) + "\n" for row in history))
        rows = [_flat(row) for row in history]
        columns = dict.fromkeys(key for row in rows for key in row)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
        if rows:
            writer.writeheader()
            writer.writerows(rows)
        write_atomic(self.history_csv, text.getvalue())


def new_run_folder(wanted: Path | None, data: str, model: str) -> RunFolder:
    """Make the folder for a new run.

    Args:
        wanted: the folder asked for, which may be there: see ``check_free``; None numbers one.
        data, model: name a numbered one.

    Raises:
        MaamError: ``wanted`` is a file, or can't be made.
    """
    name = Path(data).name if Path(data).is_dir() else Path(data).stem.removesuffix(".tar")
    stem = f"{name or 'data'}-{model}"
    number = 1
    while True:
        folder = wanted or Path("runs") / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True, exist_ok=wanted is not None)
        except FileExistsError:
            if wanted is None:
                number += 1
                continue
            RunFolder(folder).check_free()
            raise
        except OSError as error:
            raise MaamError(f"cannot make the run folder {folder}: {error}") from None
        return RunFolder(folder)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with the agents' weights, one list a module, spread over columns of their own."""
    flat = {key: value for key, value in row.items() if key != "agent_weights"}
    for module, weights in enumerate(row.get("agent_weights") or (), start=1):
        for agent, weight in enumerate(weights, start=1):
            flat[f"agent_weight_{module}_{agent}"] = weight
    return flat

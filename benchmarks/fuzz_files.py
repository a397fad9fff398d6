"""The targets of ``tests/matrix_files.py`` under Atheris, which follows the code that is reached.

    pip install atheris
    python benchmarks/fuzz_files.py meta.json 600

Ends with 0 after so many seconds without an error that is no ``MaamError``; else it writes the
input to ``crash-...`` and ends with another code. ``benchmarks/reliability.py --only fuzzing`` runs
all of them.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from matrix import Counts, counting

CRASH = re.compile(r"^[A-Za-z.]*(Error|Exception).*|^==\d+==.*", re.MULTILINE)


def fuzz(folder: Path, name: str, seconds: int) -> Counts:
    """A target under Atheris for so many seconds, in a process of its own."""
    with counting(name) as counts:
        tally = np.memmap(folder / "tally", np.int64, "w+", shape=2)
        command = [sys.executable, __file__, name, str(seconds), str(folder / "tally")]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        counts.fine, counts.noticed = map(int, tally)
        counts.cases = counts.fine + counts.noticed
        if done.returncode:
            counts.cases += 1
            found = CRASH.search(done.stderr)
            problem = found[0] if found else done.stderr[-400:]
            counts.fail(f"exit code {done.returncode}", problem)
    return counts


def main() -> None:
    name, seconds, *files = sys.argv[1:]
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["maam"]):
        matrix: Any = import_module("matrix_files")
        errors: Any = import_module("maam.core.errors")
    folder = Path(tempfile.mkdtemp())
    target = matrix.TARGETS[name](folder)
    corpus = folder / "corpus"
    corpus.mkdir()
    (corpus / "whole").write_bytes(target.whole)

    # What was read and what was refused, in a file, for the fuzzer ends the process by itself.
    tally = np.memmap(files[0] if files else folder / "tally", np.int64, "w+", shape=2)

    def one(content: bytes) -> None:
        try:
            target.read(content)
            tally[0] += 1
        except errors.MaamError:
            tally[1] += 1

    def mutate(content: bytes, most: int, seed: int) -> bytes:
        """Within the file's own form, where it still has one."""
        try:
            return next(target.mutated(content, seed))[:most]
        except Exception:  # parsers, given broken files, raise nearly anything
            return next(target.mutated(target.whole, seed))[:most]

    limits = [f"-max_total_time={seconds}", f"-max_len={2 * len(target.whole)}"]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""The targets of ``tests/matrix_files.py`` under Atheris, which follows the code that is reached.

    pip install atheris
    PYTHONPATH=tests python benchmarks/fuzz_files.py meta.json 600

Ends with 0 after so many seconds without an error that is no ``MaamError``; else it writes the
input to ``crash-...`` and ends with another code.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any


def main() -> None:
    name, seconds = sys.argv[1], sys.argv[2]
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["maam"]):
        matrix: Any = import_module("matrix_files")
        errors: Any = import_module("maam.core.errors")
    folder = Path(tempfile.mkdtemp())
    target = matrix.TARGETS[name](folder)
    corpus = folder / "corpus"
    corpus.mkdir()
    (corpus / "whole").write_bytes(target.whole)

    def one(content: bytes) -> None:
        with suppress(errors.MaamError):
            target.read(content)

    def mutate(content: bytes, most: int, seed: int) -> bytes:
        """Within the file's own form, where it still has one."""
        try:
            return next(target.mutated(content, seed))[:most]
        except (ValueError, KeyError, TypeError):
            return next(target.mutated(target.whole, seed))[:most]

    limits = [f"-max_total_time={seconds}", f"-max_len={2 * len(target.whole)}"]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

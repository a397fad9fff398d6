"""``maam train``, whose batches are noted: ``python noted_training.py FRAMEWORK LOG train ...``.

Each batch that reaches the training is a line of LOG: the time, its epoch, its number, and a digest
of its images and labels.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any


def noted(train_batches: Callable[..., Iterator[tuple]], log: str) -> Callable[..., Any]:
    """``train_batches`` that notes what it gives."""
    names = inspect.signature(train_batches)

    def batches(*arguments: Any, **named: Any) -> Iterator[tuple]:
        given = names.bind(*arguments, **named)
        given.apply_defaults()
        (_, epoch), begin = given.arguments["key"], given.arguments["begin"]
        for number, batch in enumerate(train_batches(*arguments, **named), begin):
            digest = hashlib.sha256()
            for tensor in batch:
                array = tensor.asnumpy() if hasattr(tensor, "asnumpy") else tensor.numpy()
                digest.update(array.tobytes())
            line = f"{time.time():.3f} {epoch} {number} {digest.hexdigest()}\n"
            with open(log, "ab", 0) as stream:
                stream.write(line.encode())
            yield batch

    return batches


if __name__ == "__main__":
    framework, log = sys.argv[1:3]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background ignores
    # As `maam` does it before NumPy starts its threads.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    if framework == "mindspore":
        from maam.core.environment import prepare_mindspore

        prepare_mindspore()
    loop: Any = importlib.import_module(f"maam.{framework}.loop")
    loop.train_batches = noted(loop.train_batches, os.path.abspath(log))
    from maam.cli import main

    del sys.argv[1:3]
    main()

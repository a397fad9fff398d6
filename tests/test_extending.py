"""docs/extending.md does what it says: its programs run, in order, in an empty folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_each_extension_takes_twenty_lines():
    assert len(BLOCKS) >= 6
    for block in BLOCKS:
        assert len(block.splitlines()) <= 20, block


@pytest.mark.slow
def test_the_programs_run_in_order(tmp_path):
    """In a process of their own, since what they register stays."""
    program = "\n".join(BLOCKS)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    trained = {path.parent.name for path in tmp_path.glob("runs/*/meta.json")}
    assert trained == {"stripes", "one-module", "two-agents", "cutout", "radam"}

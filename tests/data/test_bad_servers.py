"""Downloads from a bad server are right in the end, or refused in a line."""

from __future__ import annotations

from pathlib import Path

from matrix_downloads import RIGHT, WRONG, download_from_bad_servers


def test_downloads_from_a_bad_server(tmp_path: Path) -> None:
    counts = download_from_bad_servers(tmp_path)
    assert not counts.failures, counts.examples
    assert (counts.fine, counts.noticed) == (len(RIGHT) + 1, len(WRONG))

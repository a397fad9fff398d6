"""Where data sets are looked for, where they are kept, and how a missing one is fetched."""

from __future__ import annotations

import os
from pathlib import Path

from maam.core.errors import MaamError
from maam.core.files import cache_dir
from maam.data.files.downloads import Progress, download


def search_folders(data_dir: Path | None) -> list[Path]:
    """Where to look for a data set, in order: ``data_dir``, MAAM_DATA, the cache folder.

    Raises:
        MaamError: ``data_dir`` does not exist or may not be read.
    """
    candidates = [cache_dir()]
    if os.environ.get("MAAM_DATA"):
        candidates.insert(0, Path(os.path.expanduser(os.environ["MAAM_DATA"])))
    if data_dir is not None:
        candidates.insert(0, Path(os.path.expanduser(data_dir)))
        if not os.access(candidates[0], os.R_OK):
            raise MaamError(f"`data_dir={data_dir}`: no such file or folder, or not readable")
    return candidates


def fetch(
    url: str,
    destination: Path,
    checksum: str,
    looked_in: list[Path],
    progress: Progress | None = None,
) -> Path:
    """Download a file that was found in none of the folders.

    Raises:
        MaamError: the download failed; one line with the URL, the folders and what to do.
    """
    try:
        return download(url, destination, checksum, progress)
    except MaamError as error:
        folders = ", ".join(map(str, looked_in))
        raise MaamError(
            f"{error}; it is not in {folders} either: get {destination.name} and name its folder "
            "with `data_dir` or MAAM_DATA"
        ) from error

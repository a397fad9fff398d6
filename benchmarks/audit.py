"""Known vulnerabilities and licences of all that ``pip install maam`` and its extras bring.

    python benchmarks/audit.py
    python benchmarks/audit.py --require   # before a release

Fails (1) on a known vulnerability, or on a licence that is not permissive. Where the database of
vulnerabilities cannot be reached, it says so; that is a failure with ``--require`` only.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

EXTRAS = ("", "train", "torch", "openvino", "ray")
SECONDS = 300

# MPL-2.0 asks for changes of its own files alone.
_PERMISSIVE = re.compile(
    r"\b(MIT|BSD|Apache|ISC|PSF|Python[- ]Software[- ]Foundation|HPND|Unlicense|0BSD|BSL|Zlib|"
    r"CC0|MPL-2\.0|Mozilla Public License 2\.0)\b",
    re.IGNORECASE,
)
_RESTRICTIVE = re.compile(r"\b(A?GPL|LGPL|SSPL|EUPL|CC-BY-NC|Proprietary|Commercial)\b", re.I)
# Not free, and known: CUDA's libraries, which PyTorch's wheels for Linux ask for.
_KNOWN = re.compile(r"nvidia-|cuda-")


def installed(root: str, extras: Sequence[str]) -> dict[str, Distribution]:
    """What a package needs, directly or not, as far as it is installed here; by name."""
    found: dict[str, Distribution] = {}
    waiting = [(root, extra) for extra in extras]
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue  # for another system, or an extra that is not installed
        for line in found[name].requires or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                key = re.sub(r"[-_.]+", "-", needed.name).lower()
                waiting += [(key, each) for each in ("", *needed.extras)]
    return dict(sorted(found.items()))


def licence(package: Distribution) -> str:
    """A package's licence, as its metadata say it."""
    about = package.metadata
    classifiers = [
        line.rpartition("::")[2].strip()
        for line in about.get_all("Classifier") or ()
        if line.startswith("License ::")
    ]
    said = {
        key: str(about[key]).strip() for key in ("License-Expression", "License") if key in about
    }
    text = said.get("License", "").splitlines()
    return said.get("License-Expression") or "; ".join(classifiers) or (text[0] if text else "")


def is_permissive(text: str) -> bool:
    """Whether a licence, or one of those that can be chosen, lets anyone use and change it."""
    return any(
        _PERMISSIVE.search(choice) and not _RESTRICTIVE.search(choice)
        for choice in re.split(r"\bOR\b", text)
    )


def not_permissive(packages: dict[str, Distribution]) -> Iterator[str]:
    """Packages with another licence, in words; those that are known are left out."""
    for name, package in packages.items():
        if not is_permissive(licence(package)) and not _KNOWN.match(name):
            yield f"{name} {package.version}: {licence(package) or 'no licence named'}"


def vulnerabilities(packages: dict[str, Distribution]) -> tuple[list[str], list[str]]:
    """Known vulnerabilities, and the names of packages that could not be looked up."""
    pins = [f"{name}=={each.version.partition('+')[0]}" for name, each in packages.items()]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "requirements.txt")
        file.write_text("\n".join(pins) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(file)]
        command += ["--no-deps", "--disable-pip", "--format", "json", "--timeout", "10"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
            rows = json.loads(done.stdout)["dependencies"]
        except (subprocess.TimeoutExpired, ValueError, KeyError):
            return [], list(packages)
    unknown = [row["name"] for row in rows if "skip_reason" in row]
    return [
        f"{row['name']} {row['version']}: {each['id']}, mended in {each['fix_versions'] or 'none'}"
        for row in rows
        for each in row.get("vulns", ())
    ], unknown


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--require", action="store_true", help="fail if vulnerabilities cannot be looked up"
    )
    require = parser.parse_args(arguments).require
    packages = installed("maam", EXTRAS)
    packages.pop("maam")
    for name, package in packages.items():
        print(f"{name:28} {package.version:16} {licence(package)}")
    wrong = list(not_permissive(packages))
    known, unchecked = vulnerabilities(packages)
    print(f"\n{len(packages)} packages, licences that are not permissive: {len(wrong)}")
    print(f"known vulnerabilities: {len(known)}", end="")
    unreachable = len(unchecked) == len(packages)
    if unreachable:
        print("; none could be checked: pip-audit or its database cannot be reached from here")
    else:
        print(f"; not checked: {', '.join(unchecked) or 'none'}")
    failures = [*wrong, *known]
    if unreachable and require:
        failures.append("no vulnerability could be looked up, and --require was given")
    for line in failures:
        print(f"FAILED  {line}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

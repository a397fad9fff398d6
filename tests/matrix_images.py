"""Hostile and mutated image files through the decoder and through the verbs: no crash, little
memory, file and reason named, nothing of the user's changed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import hostile_images
from hostile import encode, picture, readable_files
from matrix import Counts, check_line, counting
from mutations import mutations
from PIL import Image

from maam.data.files.decoding import FORMATS, UnreadableImage, decode
from maam.deploy.latency import peak_mib

MOST_MIB = 1024
MOST_SECONDS = 1.0


def decode_fixtures() -> Counts:
    """Every hostile file, decoded in a process of its own: bombs are refused within a second."""
    return in_a_process("hostile images", _decode_fixtures)


def decode_mutations(count: int, seed: int = 0) -> Counts:
    """``count`` mutations of real files of all formats, decoded in a process of their own."""
    return in_a_process("mutated images", _decode_mutations, count, seed)


def decode_largest() -> Counts:
    """The largest images that are read, in the modes that need most memory, one process each."""
    with counting("largest images") as counts:
        for form, mode, side in _LARGEST:
            one = in_a_process("", _decode_largest, form, mode, side)
            counts.cases, counts.fine = counts.cases + one.cases, counts.fine + one.fine
            counts.failures += one.failures
            counts.examples += one.examples
            counts.measure("MiB", one.measured.get("MiB", 0))
    return counts


_LARGEST = (
    *(("PNG", "RGBA", 9400), ("PNG", "I;16", 9400), ("JPEG", "CMYK", 9400)),
    *(("TIFF", "RGBA", 9400), ("WEBP", "RGB", 6600)),
)


def in_a_process(name: str, work: Callable[..., Counts], *arguments: Any) -> Counts:
    """What ``work`` counts, done in a fresh process; one that dies is a failure."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(work, *arguments).result()
        except BrokenProcessPool as error:
            counts = Counts(name, 1)
            counts.fail("the process died", str(error))
            return counts


def _resident(counts: Counts) -> None:
    """Note the largest resident memory of this process; too much is a failure."""
    mib = peak_mib()
    counts.measure("MiB", mib)
    if mib > MOST_MIB:
        counts.fail("memory", f"{mib:.0f} MiB")


def _decode_fixtures() -> Counts:
    files, bombs = hostile_images.all_files(), hostile_images.bombs()
    with counting("hostile images") as counts:
        for name, content in files.items():
            counts.cases += 1
            began = time.monotonic()
            try:
                decode(content, name)
                counts.fine += 1
            except BaseException as error:
                check_line(counts, error, repr(name))
            took = time.monotonic() - began
            if name in bombs:
                counts.measure("slowest bomb, s", took)
                if took > MOST_SECONDS:
                    counts.fail("slow", f"{name!r}: {took:.2f} s")
        _resident(counts)
    return counts


def _decode_mutations(count: int, seed: int) -> Counts:
    forms = [form for form in FORMATS if form != "HEIF"]
    seeds = [encode(picture(40, 30, seed=n), form) for n, form in enumerate(forms)]
    seeds += [readable_files()[name] for name in ("progressive.jpeg", "palette.png", "rotated.jpg")]
    with counting("mutated images") as counts, _silent_descriptor():
        for content in mutations(seeds, count, seed):
            counts.cases += 1
            began = time.monotonic()
            try:
                decode(content, "mutated", (32, 32))
                counts.fine += 1
            except BaseException as error:
                check_line(counts, error, "mutated")
            counts.measure("slowest, s", time.monotonic() - began)
        _resident(counts)
    return counts


class _silent_descriptor:
    """Standard error closed for libraries in C: libtiff writes lines of its own there."""

    def __enter__(self) -> None:
        self.kept = os.dup(2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)

    def __exit__(self, *_: object) -> None:
        os.dup2(self.kept, 2)
        os.close(self.kept)


def _decode_largest(form: str, mode: str, side: int) -> Counts:
    with counting("") as counts:
        counts.cases = 1
        exif = Image.Exif()
        exif[0x0112] = 6  # the pixels are to be turned
        options: dict[str, Any] = {"method": 0, "quality": 1} if form == "WEBP" else {}
        options |= {"compression": "tiff_lzw"} if form == "TIFF" else {}
        content = _encoded_elsewhere(form, mode, side, {**options, "exif": exif.tobytes()})
        try:
            decode(content, f"{form} {mode}")
            counts.fine += 1
        except UnreadableImage as error:
            counts.fail("refused", str(error))
        _resident(counts)
    return counts


def _encoded_elsewhere(form: str, mode: str, side: int, options: dict[str, Any]) -> bytes:
    """A large image's file, made in another process: its memory is not to count."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_encoded, form, mode, side, options).result()


def _encoded(form: str, mode: str, side: int, options: dict[str, Any]) -> bytes:
    return encode(Image.new(mode, (side, side)), form, **options)


def through_the_verbs(folder: Path) -> Counts:
    """All hostile files and what is no file, in class folders, through data, train, evaluate and
    predict: exit codes, every unreadable file named, and no file of the user's changed."""
    return in_a_process("hostile images through the verbs", _through_the_verbs, folder)


def _through_the_verbs(folder: Path) -> Counts:
    os.environ["OMP_NUM_THREADS"] = "1"
    data = folder / "data"
    unreadable = _plant(data)
    before = state(data)
    with counting("hostile images through the verbs") as counts, _silent_descriptor():
        few = folder / "few"
        (few / "odd").mkdir(parents=True)
        (few / "plain").symlink_to(data / "plain")
        left_out = {*unreadable, "up", "folder.png"}
        readable = [path for path in (data / "odd").iterdir() if path.name not in left_out]
        for path in [*readable, *(data / "odd" / name for name in sorted(unreadable)[:10])]:
            (few / "odd" / path.name).symlink_to(path)
        training = ["--framework", "torch", "--model", "mlp", "--epochs", "1", "--seed", "1"]
        run = str(folder / "run")
        described = str(folder / "data.json")
        expected = [
            (["data", str(data), "--json", described], 1, "cannot be read"),
            (["train", "--data", str(data), *training], 2, "images cannot be read, more than 1%"),
            (["train", "--data", str(few), *training, "--out", run], 0, "skipped"),
            (["evaluate", run, "--data", str(data)], 0, "skipped"),
            (["predict", run, str(data / "odd"), "--format", "jsonl"], 1, "could not be read"),
        ]
        for arguments, code, words in expected:
            counts.cases += 1
            got, text = said(arguments)
            if got != code:
                counts.fail(f"{arguments[0]}: exit code {got}", text[-400:])
            elif words not in text:
                counts.fail(f"{arguments[0]}: {words!r} is not said", text[-400:])
            else:
                counts.fine += 1
            if arguments[0] == "data":  # PyTorch alone takes a gibibyte
                _resident(counts)
        names = {Path(row[0]).name for row in json.loads(Path(described).read_text())["unreadable"]}
        if names != unreadable:
            counts.fail("unreadable files named", ascii(names ^ unreadable))
        if state(data) != before:
            counts.fail("files changed", str(data))
        counts.noticed = len(unreadable)
    return counts


def _plant(root: Path) -> set[str]:
    """Write the corpus as a class folder beside a plain one; the names that cannot be read."""
    odd, plain = root / "odd", root / "plain"
    odd.mkdir(parents=True)
    plain.mkdir()
    for name, content in hostile_images.all_files().items():
        (odd / name).write_bytes(content)
    for number in range(30):
        (plain / f"{number:02}.png").write_bytes(encode(picture(seed=number), "PNG"))
    hostile_images.special_files(odd)
    unreadable = set()
    for path in odd.iterdir():
        try:
            if path.name not in ("up", "folder.png"):
                decode(path)
        except UnreadableImage:
            unreadable.add(path.name)
    return unreadable


def state(root: Path) -> dict[str, tuple[object, ...]]:
    """Of all below a folder: kind, time of change, and digest of the content."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            status = path.lstat()
            digest = ""
            if path.is_file() and not path.is_symlink():
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path)] = (status.st_mode, status.st_mtime_ns, status.st_size, digest)
    return found


def said(arguments: list[str]) -> tuple[int | str, str]:
    """Exit code, or the exception that escaped, and all that a command prints."""
    from maam.cli.app import run

    text = io.StringIO()
    with redirect_stdout(text), redirect_stderr(text):
        try:
            code: int | str = run(arguments)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 0
        except BaseException as error:
            code = repr(error)[:200]
    return code, text.getvalue()

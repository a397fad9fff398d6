"""Attacks by archives: each is refused in a line, or read rightly, and nothing is written."""

from __future__ import annotations

import io
import os
import stat
import struct
import tarfile
import warnings
import zipfile
import zlib
from pathlib import Path

from hostile import encode, picture
from matrix import Counts, check_line, counting
from matrix_images import state
from mutations import mutations

from maam.data.files.archives import Limits, read_members
from maam.data.files.tree import scan

Members = list[tuple[tarfile.TarInfo, bytes]]


def image(seed: int) -> bytes:
    """A small PNG."""
    return encode(picture(8, 8, seed), "PNG")


GOOD = {f"{label}/{number}.png": image(number) for label in "ab" for number in range(3)}


def attack_with_archives(folder: Path) -> Counts:
    """All attacks by tar and zip through ``scan`` and the contents of what it lists.

    Args:
        folder: empty; the archives and what stands to be overwritten are made in it.
    """
    target, outside = folder / "target", folder / "outside"
    target.mkdir()
    outside.mkdir()
    (outside / "secret.png").write_bytes(image(99))
    allowed = {*GOOD.values(), image(1), image(2), b"", _zip([])}
    archives = {
        **{f"{name}.tar": content for name, content in tar_attacks(outside).items()},
        **{f"{name}.zip": content for name, content in zip_attacks(outside).items()},
    }
    with counting("attacks by archives") as counts:
        for name, content in archives.items():
            counts.cases += 1
            path = target / name
            path.write_bytes(content)
            before = state(folder)
            try:
                tree = scan(path)
                found = {file.member: content for file, content in tree.contents()}
                if wrong := [member for member, got in found.items() if got not in allowed]:
                    counts.fail("content that was not put in", f"{name}: {wrong}")
                else:
                    counts.fine += 1
            except BaseException as error:
                check_line(counts, error, name)
            if state(folder) != before:
                counts.fail("something was written", name)
            path.unlink()
    return counts


def mutate_archives(folder: Path, count: int, seed: int = 0) -> Counts:
    """``count`` mutations of all attacks and of good archives: read, or refused in a line."""
    attacks = [*tar_attacks(folder).values(), *zip_attacks(folder).values()]
    seeds = [content for content in attacks if len(content) < 50_000]
    with counting("mutated archives") as counts:
        for content in mutations(seeds, count, seed):
            counts.cases += 1
            path = folder / ("mutated.zip" if content.startswith(b"PK") else "mutated.tar")
            path.write_bytes(content)
            try:
                for _ in read_members(path, lambda _: True, Limits(2**24, 2**26)):
                    pass
                counts.fine += 1
            except BaseException as error:
                check_line(counts, error, f"{path}")
    return counts


def tar_attacks(outside: Path) -> dict[str, bytes]:
    """Name -> content of tar files made to harm, most with good images beside the attack."""
    up = str(outside / "evil.png")
    secret = str(outside / "secret.png")
    bad_names = {
        "parent": "../evil.png",
        "grandparent": "a/../../evil.png",
        "many-parents": "../" * 30 + "tmp/evil.png",
        "absolute": up,
        "double-slash": "//" + up,
        "backslash": "..\\..\\evil.png",
        "drive": "C:\\evil.png",
        "drive-relative": "C:evil.png",
        "share": "\\\\server\\share\\evil.png",
        "hidden-parent": "a/./../../evil.png",
        "only-dots": "..",
        "newline": "a/x\n../evil.png",
        "nul": "a/evil.png\0.txt",
        "terminal": "a/\x1b]0;evil\x07.png",
        "long": "a/" + "n" * 5000 + ".png",
        "deep": "d/" * 500 + "a/evil.png",
        "not-utf8": os.fsdecode(b"a/\xff\xfe.png"),
        "empty-name": "",
        "slash": "/",
    }
    links = {
        "symlink-absolute": (tarfile.SYMTYPE, secret),
        "symlink-parent": (tarfile.SYMTYPE, "../outside/secret.png"),
        "hardlink-absolute": (tarfile.LNKTYPE, secret),
        "hardlink-parent": (tarfile.LNKTYPE, "../outside/secret.png"),
        "hardlink-inside": (tarfile.LNKTYPE, "a/0.png"),
        "character-device": (tarfile.CHRTYPE, ""),
        "block-device": (tarfile.BLKTYPE, ""),
        "pipe": (tarfile.FIFOTYPE, ""),
        "unknown-type": (b"Z", ""),
        "contiguous": (tarfile.CONTTYPE, ""),
    }
    attacks = {name: _tar([(_member(text), image(1))]) for name, text in bad_names.items()}
    for name, (kind, target) in links.items():
        member = _member("a/evil.png", kind)
        member.linkname = target
        attacks[name] = _tar([(member, b"")])
    folder = _member("a/sub", tarfile.SYMTYPE)
    folder.linkname = str(outside)
    huge, negative = _member("a/huge.png"), _member("a/negative.png")
    whole = _tar([])
    return attacks | {
        "symlink-then-file": _tar([(folder, b""), (_member("a/sub/evil.png"), image(1))]),
        "duplicate": _tar([(_member("a/0.png"), image(1)), (_member("a/0.png"), image(2))]),
        "case-collision": _tar([(_member("A/0.PNG"), image(1)), (_member("a/0.PNG"), image(2))]),
        "folder-over-file": _tar([(_member("a/0.png", tarfile.DIRTYPE), b"")]),
        "file-over-folder": _tar([(_member("a"), image(1))]),
        "huge-size": _sized(_tar([(huge, image(1))]), b"a/huge.png", 2**40),
        "negative-size": _sized(_tar([(negative, image(1))]), b"a/negative.png", -(2**40)),
        "bomb": _packed(_member("a/bomb.png"), 300 * 2**20),
        "zeros": zlib_gzip(bytes(2**20)),
        "cut": whole[: len(whole) // 3],
        "gzip-trailing": zlib_gzip(whole) + b"garbage",
        "gzip-wrong-checksum": zlib_gzip(whole)[:-8] + bytes(8),
        "sparse": _tar([(_sparse("a/sparse.png"), image(1))]),
        "pax-path": _tar([(_pax("a/pax.png", {"path": "../evil.png"}), image(1))]),
        "pax-size": _tar([(_pax("a/pax.png", {"size": "99999999999999"}), image(1))]),
        "mode-setuid": _tar([(_mode("a/0x.png", 0o7777), image(1))]),
    }


def _member(name: str, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    return member


def _pax(name: str, headers: dict[str, str]) -> tarfile.TarInfo:
    member = _member(name)
    member.pax_headers = headers
    return member


def _sparse(name: str) -> tarfile.TarInfo:
    return _pax(name, {"GNU.sparse.map": "0,99999999999", "GNU.sparse.size": "99999999999"})


def _mode(name: str, mode: int) -> tarfile.TarInfo:
    member = _member(name)
    member.mode, member.uid, member.uname = mode, 0, "root"
    return member


def _tar(members: Members) -> bytes:
    file = io.BytesIO()
    good = [(_member(name), content) for name, content in GOOD.items()]
    with tarfile.open(fileobj=file, mode="w", errors="surrogateescape") as archive:
        for member, content in [*good, *members]:
            member.size = len(content) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def _sized(archive: bytes, name: bytes, size: int) -> bytes:
    """A tar in which a member's header says another size."""
    content = bytearray(archive)
    at = content.rindex(name)
    at -= at % 512
    field = b"\x80" if size >= 0 else b"\xff"
    content[at + 124 : at + 136] = field + (size % 2**88).to_bytes(11, "big")
    header = content[at : at + 512]
    header[148:156] = b" " * 8
    content[at + 148 : at + 156] = b"%06o\0 " % sum(header)
    return bytes(content)


def _packed(member: tarfile.TarInfo, size: int) -> bytes:
    member.size = size
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(member.tobuf())]
    parts += [packer.compress(bytes(2**20)) for _ in range(size // 2**20)]
    return b"".join([*parts, packer.flush()])


def zlib_gzip(content: bytes) -> bytes:
    """``content`` in gzip."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(content) + packer.flush()


def zip_attacks(outside: Path) -> dict[str, bytes]:
    """Name -> content of zip files made to harm, most with good images beside the attack."""
    names = {
        "parent": "../evil.png",
        "grandparent": "a/../../evil.png",
        "absolute": str(outside / "evil.png"),
        "backslash": "..\\evil.png",
        "drive": "C:\\evil.png",
        "share": "\\\\server\\evil.png",
        "nul": "a/evil.png\0.txt",
        "newline": "a/x\n.png",
        "long": "a/" + "n" * 60_000 + ".png",
        "deep": "d/" * 500 + "a/evil.png",
        "empty-name": "",
    }
    attacks = {name: _zip([(text, image(1), 0)]) for name, text in names.items()}
    secret = str(outside / "secret.png").encode()
    plain = _zip([])
    return attacks | {
        "symlink": _zip([("a/link.png", secret, stat.S_IFLNK | 0o777)]),
        "symlink-folder": _zip(
            [("a/sub", str(outside).encode(), stat.S_IFLNK), ("a/sub/evil.png", image(1), 0)]
        ),
        "device": _zip([("a/device.png", b"", stat.S_IFCHR | 0o666)]),
        "pipe": _zip([("a/pipe.png", b"", stat.S_IFIFO | 0o666)]),
        "duplicate": _zip([("a/0.png", image(2), 0)]),
        "case-collision": _zip([("A/0.PNG", image(1), 0), ("a/0.PNG", image(2), 0)]),
        "bomb": _zip([("a/bomb.png", bytes(300 * 2**20), 0)]),
        "lied-size": _patched(_zip([("a/lie.png", bytes(2**20), 0)]), 24, 16),
        "lied-large": _patched(_zip([("a/lie.png", image(1), 0)]), 24, 2**31),
        "wrong-checksum": _patched(_zip([("a/wrong.png", image(1), 0)]), 16, 1),
        "encrypted": _patched(_zip([("a/locked.png", image(1), 0)]), 8, 1, "<H"),
        "unknown-method": _patched(_zip([("a/odd.png", image(1), 0)]), 10, 77, "<H"),
        "offset-outside": _patched(_zip([("a/far.png", image(1), 0)]), 42, 2**31),
        "overlapping": _overlapping(),
        "cut": plain[: len(plain) // 2],
        "nested": _zip([("a/inner.zip", plain, 0), ("a/inner.png", plain, 0)]),
        "garbage-before": b"PK" + bytes(100) + plain,
        "no-directory": plain[: plain.index(b"PK\x01\x02")],
    }


def _zip(members: list[tuple[str, bytes, int]]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there already
        for name, content in GOOD.items():
            archive.writestr(zipfile.ZipInfo(name), content)
        for name, content, mode in members:
            info = zipfile.ZipInfo("placeholder")
            info.filename, info.external_attr = name, mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return file.getvalue()


def _patched(archive: bytes, offset: int, value: int, form: str = "<I") -> bytes:
    """A zip in whose directory the last entry has another value."""
    content = bytearray(archive)
    at = content.rindex(b"PK\x01\x02")
    struct.pack_into(form, content, at + offset, value)
    return bytes(content)


def _overlapping() -> bytes:
    """A zip whose entries all mean the same bytes, as in quoted bombs."""
    content = bytearray(_zip([(f"a/more-{n}.png", image(1), 0) for n in range(50)]))
    at, first = 0, None
    while (at := content.find(b"PK\x01\x02", at)) >= 0:
        first = struct.unpack_from("<I", content, at + 42)[0] if first is None else first
        struct.pack_into("<I", content, at + 42, first)
        at += 4
    return bytes(content)

"""Archives are read in memory, completely, or refused in one line that names the file."""

from __future__ import annotations

import io
import re
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maam.core.errors import MaamError
from maam.data.files.archives import LIMITS, Limits, read_members

FILES = {"top/train/cat/a.jpg": b"cat" * 300, "top/train/dog/b.jpg": b"dog", "top/notes.txt": b"x"}
EVERYTHING = re.compile(".*", re.DOTALL)


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def read(path: Path, limits: Limits = LIMITS) -> dict[str, bytes]:
    return dict(read_members(path, EVERYTHING, limits))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_round_trip_whatever_the_file_is_called(tmp_path, mode):
    assert read(write_tar(tmp_path / "images", FILES, mode)) == FILES


def test_zip_round_trip(tmp_path):
    assert read(write_zip(tmp_path / "images.zip", FILES)) == FILES


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_only_allowed_names_are_read_and_names_are_normalised(tmp_path, write):
    path = write(tmp_path / "images", {"./top//a.jpg": b"1", "top/a.jpg.exe": b"2"})
    assert dict(read_members(path, re.compile(r"top/\w+\.jpg"))) == {"top/a.jpg": b"1"}
    assert dict(read_members(path, lambda name: name.endswith("exe"))) == {"top/a.jpg.exe": b"2"}


@pytest.mark.parametrize("write", [write_tar, write_zip])
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "..\\evil", "C:\\evil"])
def test_names_that_leave_the_archive_are_refused(tmp_path, write, name):
    path = write(tmp_path / "images", {"good": b"1", name: b"2"})
    with pytest.raises(MaamError, match=f"^{re.escape(str(path))}: refused.*evil"):
        read(path)


def test_links_and_devices_are_skipped(tmp_path):
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in [("s", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE), ("d", tarfile.CHRTYPE)]:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    assert read(path) == {}
    path = tmp_path / "links.zip"
    with zipfile.ZipFile(path, "w") as file:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/passwd")
        file.writestr("folder/", "")
    assert read(path) == {}


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_bombs_are_refused(tmp_path, write):
    path = write(tmp_path / "bomb", {"a": bytes(30_000), "b": bytes(30_000)})
    assert len(read(path)) == 2
    with pytest.raises(MaamError, match=r"refused.*50,000 bytes"):
        read(path, Limits(total=50_000))
    with pytest.raises(MaamError, match=r"refused.*20,000 bytes"):
        read(path, Limits(member=20_000))


def test_skipped_members_and_headers_count_too(tmp_path):
    path = write_tar(tmp_path / "skipped", {"a": bytes(60_000), "b": b""})
    assert list(read_members(path, re.compile("b"))) == [("b", b"")]
    with pytest.raises(MaamError, match=r"refused.*50,000 bytes"):
        list(read_members(path, re.compile("b"), Limits(total=50_000)))
    trailing = write_tar(tmp_path / "trailing", FILES, "w")
    trailing.write_bytes(trailing.read_bytes() + bytes(60_000))
    with pytest.raises(MaamError, match=r"refused.*50,000 bytes"):
        read(trailing, Limits(total=50_000))
    path = write_tar(tmp_path / "header", {"n" * 30_000: b""})
    assert len(read(path)) == 1
    with pytest.raises(MaamError, match="a header unpacks to more than 20,000 bytes"):
        read(path, Limits(member=20_000))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_every_truncation_is_an_error_that_names_the_file(tmp_path, mode):
    path = tmp_path / "images"
    write_zip(path, FILES) if mode == "zip" else write_tar(path, FILES, mode)
    whole = path.read_bytes()
    # A plain tar ends in zero blocks, of which only the first carries meaning.
    needed = len(whole.rstrip(b"\0")) + 1 if mode == "w" else len(whole)
    for length in range(0, needed, 1 + needed // 40):
        path.write_bytes(whole[:length])
        with pytest.raises(MaamError, match=f"^{re.escape(str(path))}: not a readable archive"):
            read(path)


@settings(max_examples=80, deadline=None)
@given(mode=st.sampled_from(["w:gz", "w:bz2", "w:xz", "zip"]), data=st.data())
def test_a_flipped_bit_never_gives_other_contents(tmp_path_factory, mode, data):
    path = tmp_path_factory.mktemp("flip") / "images"
    write_zip(path, FILES) if mode == "zip" else write_tar(path, FILES, mode)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        members = read(path)
    except MaamError as error:
        assert str(path) in str(error)
    else:
        assert set(members.values()) <= set(FILES.values())


def test_a_broken_header_in_a_plain_tar_is_not_the_end(tmp_path):
    path = write_tar(tmp_path / "images.tar", {"a": b"1", "b": b"2"}, "w")
    content = bytearray(path.read_bytes())
    content[1024] ^= 1  # the first byte of the second header
    path.write_bytes(content)
    with pytest.raises(MaamError, match="no end mark"):
        read(path)


def test_missing_file(tmp_path):
    with pytest.raises(MaamError, match=r"absent\.zip"):
        read(tmp_path / "absent.zip")


def test_holes_of_sparse_files_count(tmp_path):
    """Two files of 1 MiB that are all hole take no room in the archive."""
    path = tmp_path / "sparse.tar"
    size = 2**20
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("a.png", "b.png"):
            member = tarfile.TarInfo(name)
            content = f"1\n{size - 1}\n1\n".encode().ljust(512, b"\0") + b"x"
            member.size = len(content)
            member.pax_headers = {
                "GNU.sparse.major": "1",
                "GNU.sparse.minor": "0",
                "GNU.sparse.name": name,
                "GNU.sparse.realsize": str(size),
            }
            tar.addfile(member, io.BytesIO(content))
    assert [len(content) for content in read(path).values()] == [size, size]
    assert path.stat().st_size < 20_000
    with pytest.raises(MaamError, match="unpacks to more than 1,500,000 bytes"):
        read(path, Limits(total=1_500_000))

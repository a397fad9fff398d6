from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hostile import encode, picture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import maam
from maam.core.errors import MaamError
from maam.data.files.decoding import SUFFIXES, decode
from maam.data.files.packs import PackedImage
from maam.deploy import inputs
from maam.deploy.inputs import Item, expand, find_images


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of one byte: what is in them does not matter here."""
    for name in (
        "b.png",
        "a.JPG",
        "notes.txt",
        "odd[1].png",
        ".hidden.png",
        "sub/c.webp",
        "sub/deep/d.gif",
        "sub/.cache/e.png",
        "empty/readme.md",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*given: str, stdin: bytes = b"") -> list[str]:
    return [item.name for item in expand(given, io.BytesIO(stdin))]


def reason(*given: str, stdin: bytes = b"") -> str:
    (item,) = expand(given, io.BytesIO(stdin))
    assert isinstance(item.image, str)
    return item.image


def test_file_is_itself_whatever_its_suffix(tree: Path) -> None:
    assert list(expand(["notes.txt", "./b.png"])) == [
        Item("notes.txt", Path("notes.txt")),
        Item("./b.png", Path("b.png")),
    ]


def test_folder_gives_its_images_in_order(tree: Path) -> None:
    assert names(".") == ["./a.JPG", "./b.png", "./odd[1].png", "./sub/c.webp", "./sub/deep/d.gif"]
    assert names("sub/") == ["sub/c.webp", "sub/deep/d.gif"]


def test_subfolders_come_in_order(tmp_path: Path) -> None:
    letters = "fbhdaegc"
    for letter in letters:
        (tmp_path / letter).mkdir()
        (tmp_path / letter / "x.png").touch()
    found = [item.name for item in find_images([tmp_path])]
    assert found == [str(tmp_path / letter / "x.png") for letter in sorted(letters)]


def test_what_maam_has_written_is_left_out_below_a_folder(tree: Path) -> None:
    for name in ("config.toml", "meta.json", "plots/batch.png"):
        path = tree / "sub" / "runs" / "one" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tree / "sub" / "explain").mkdir()
    for name in (".maam", "c.png"):
        (tree / "sub" / "explain" / name).touch()
    assert names("sub") == ["sub/c.webp", "sub/deep/d.gif"]
    assert names("sub/runs/one/plots") == ["sub/runs/one/plots/batch.png"]  # if it is named
    assert names("sub/explain") == ["sub/explain/c.png"]


@pytest.mark.skipif(".heic" in SUFFIXES, reason="this machine reads HEIC")
def test_a_format_that_cannot_be_read_here_is_named_with_what_to_install(tree: Path) -> None:
    (tree / "sub" / "photo.HEIC").write_bytes(b"x")
    assert "sub/photo.HEIC" in names("sub")
    with pytest.raises(MaamError, match=r"damaged; for \.heic: pip install pillow-heif$"):
        decode(tree / "sub" / "photo.HEIC")


def test_inputs_keep_their_order(tree: Path) -> None:
    assert names("sub", "b.png", "a.JPG") == ["sub/c.webp", "sub/deep/d.gif", "b.png", "a.JPG"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.png", ["b.png", "odd[1].png"]),
        ("[ab].*", ["a.JPG", "b.png"]),
        ("?.png", ["b.png"]),
        ("**/*.gif", ["sub/deep/d.gif"]),
        ("s*", ["sub/c.webp", "sub/deep/d.gif"]),
        ("sub/**", ["sub/c.webp", "sub/deep/d.gif"]),
    ],
)
def test_glob(tree: Path, pattern: str, found: list[str]) -> None:
    assert names(pattern) == found


def test_name_with_brackets_is_a_file_before_it_is_a_pattern(tree: Path) -> None:
    assert names("odd[1].png") == ["odd[1].png"]


def test_what_names_no_image_gives_a_reason(tree: Path) -> None:
    assert reason("*.tiff") == "the pattern matches no file"
    assert reason("empty").startswith("no image file in this folder (.")
    assert reason("") == "the name is empty"
    assert reason("-") == "standard input is empty"
    assert reason("-", stdin=b"\n\r\n") == "standard input names no file"
    for address in ("https://example.com/a.png", "s3://bucket/a.png", "file:///a.png"):
        assert "download the file first" in reason(address)


def test_missing_file_is_left_to_the_reader(tree: Path) -> None:
    assert list(expand(["gone.png"])) == [Item("gone.png", Path("gone.png"))]


def test_folder_without_permission_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refuse(path: str):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    *_, last = expand(["sub"])
    assert last == Item("sub/deep", "folder: Permission denied")


def test_links_to_folders_are_followed_once(tree: Path, tmp_path_factory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "x.png").touch()
    (tree / "sub" / "far").symlink_to(elsewhere)
    (tree / "sub" / "far-again").symlink_to(elsewhere)
    (tree / "sub" / "up").symlink_to("..")
    assert names("sub") == [
        "sub/c.webp",
        "sub/deep/d.gif",
        "sub/far/x.png",
        "sub/up/a.JPG",
        "sub/up/b.png",
        "sub/up/odd[1].png",
    ]


def test_links(tree: Path) -> None:
    (tree / "sub/broken.png").symlink_to("nowhere.png")
    (tree / "sub/loop").symlink_to(tree / "sub")
    (tree / "linked").symlink_to(tree / "sub")
    assert names("sub") == ["sub/broken.png", "sub/c.webp", "sub/deep/d.gif"]
    assert names("linked/") == ["linked/broken.png", "linked/c.webp", "linked/deep/d.gif"]
    (tree / "broken[1].png").symlink_to("nowhere.png")
    assert list(expand(["broken[1].png"])) == [Item("broken[1].png", Path("broken[1].png"))]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_standard_input_may_be_one_image(form: str) -> None:
    content = encode(picture(), form)
    assert list(expand(["-"], io.BytesIO(content))) == [Item("-", content)]


def test_standard_input_may_be_any_binary_data() -> None:
    for content in (b"\xff\xd8", b"PK\x03\x04rest", "a.png\n".encode("utf-16")):
        assert list(expand(["-"], io.BytesIO(content))) == [Item("-", content)]


@pytest.mark.parametrize(
    "text",
    [
        b"b.png\nsub\n",
        b"b.png\nsub",
        b"\n\nb.png\r\n\r\nsub\r\n",
        b"\xef\xbb\xbfb.png\nsub\n",
    ],
)
def test_standard_input_may_be_a_list_of_files_and_folders(tree: Path, text: bytes) -> None:
    assert names("-", stdin=text) == ["b.png", "sub/c.webp", "sub/deep/d.gif"]


def test_listed_names_are_no_patterns(tree: Path) -> None:
    assert names("-", stdin=b"*.png\n-\n") == ["*.png", "-"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=12))
def test_list_of_any_length_keeps_every_name(given_names: list[bytes]) -> None:
    clean = [bytes(b for b in name if b > 31) or b"x" for name in given_names]
    wanted = [b"first", *(b"none/" + name for name in clean)]
    assert names("-", stdin=b"\n".join(wanted)) == [os.fsdecode(name) for name in wanted]


def test_endless_standard_input_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "_MAX_IMAGE_BYTES", 600)
    assert len(names("-", stdin=b"\0" * 600)) == 1
    assert reason("-", stdin=b"\0" * 601) == "more than 600 bytes on standard input"
    assert len(names("-", stdin=b"x" * (3 * 2**16))) > 1


def test_list_on_standard_input_is_read_as_it_is_needed() -> None:
    stdin = io.BytesIO(b"none/a.png\n" * 100_000)
    items = expand(["-"], stdin)
    assert [next(items).name for _ in range(60)] == ["none/a.png"] * 60
    assert stdin.tell() < 2000


def test_standard_input_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"none/a.png\n")))
    assert [item.name for item in expand(["-"])] == ["none/a.png"]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(max_size=12) | st.text("ab.*?[]!-/\0\n", max_size=12))
def test_no_string_breaks_it(tree: Path, text: str) -> None:
    if not text.startswith("/"):  # the whole disk is not ours to search
        items = list(expand([text], io.BytesIO()))
        assert items
        assert all(isinstance(item, Item) for item in items)


@pytest.mark.parametrize("wrap", [Path, str])
def test_paths_and_strings_are_found(tree: Path, wrap: Callable[[str], object]) -> None:
    assert [item.name for item in find_images([wrap("sub")])] == ["sub/c.webp", "sub/deep/d.gif"]


def test_what_is_no_image_at_all_is_named_by_its_place() -> None:
    assert list(find_images([b"content", 7])) == [
        Item("inputs[0]", b"content"),
        Item("inputs[1]", "int is no path and no image"),
    ]


def test_a_pack_gives_the_images_that_it_was_made_of(tmp_path: Path) -> None:
    for number in range(6):
        folder = tmp_path / "photos" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(folder / f"{number}.png")
    pack = maam.pack(tmp_path / "photos", tmp_path / "packed", image_size=8).path
    items = {item.name: item.image for item in expand([str(pack)])}
    order = ("a/0", "a/2", "a/4", "b/1", "b/3", "b/5")
    assert list(items) == [str(tmp_path / "photos" / f"{name}.png") for name in order]
    for name, image in items.items():
        assert isinstance(image, PackedImage)  # read when it is its turn
        np.testing.assert_array_equal(image.decode(), np.array(Image.open(name)))
    assert len(list(expand([str(tmp_path / "p*")]))) == 12  # beside the files they were made of
    shard = pack / "train-00000.tar"
    content = bytearray(shard.read_bytes())
    content[512:600] = bytes(88)  # the first image
    shard.write_bytes(content)
    answers = list(maam.predict("maamnet-nano", [str(pack)]))
    (failed,) = [each for each in answers if each.error]
    assert len(answers) == 6 and "an image in it is damaged" in str(failed.error)
    shard.unlink()
    assert "train-00000.tar is missing: copy the whole pack" in reason(str(pack))

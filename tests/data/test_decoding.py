from __future__ import annotations

import os
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hostile import (
    BLUE,
    GREEN,
    RED,
    WHITE,
    animation,
    encode,
    make_hostile,
    picture,
    png,
    readable_files,
    rotated_jpeg,
    transparent_palette,
    unreadable_files,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from maam.core.errors import MaamError
from maam.data.files.conversion import fit, to_rgb
from maam.data.files.decoding import FORMATS, SUFFIXES, UnreadableImage, decode, read

READABLE, UNREADABLE = readable_files(), unreadable_files()


def near(
    pixel: float | tuple[int, ...] | None, colour: tuple[int, ...], tolerance: int = 12
) -> bool:
    assert isinstance(pixel, tuple)
    return all(abs(a - b) <= tolerance for a, b in zip(pixel, colour, strict=True))


def pixels(image: Image.Image) -> list[tuple[int, ...]]:
    return [tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3).tolist()]


def test_the_corpus_on_disk_reads_as_it_says(tmp_path: Path) -> None:
    corpus = make_hostile(tmp_path)
    assert sorted(corpus) == sorted(os.listdir(tmp_path))
    for name, readable in corpus.items():
        path = tmp_path / name
        if readable:
            assert decode(path).mode == "RGB"
            continue
        with pytest.raises(UnreadableImage) as caught:
            decode(path)
        assert str(caught.value) == f"cannot read image {str(path)!r}: {caught.value.reason}"
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", READABLE)
def test_bytes_and_file_give_the_same_upright_rgb_image(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(READABLE[name])
    from_file, from_bytes = decode(tmp_path / name), decode(READABLE[name])
    assert from_file.mode == from_bytes.mode == "RGB"
    assert from_file.size == from_bytes.size
    assert from_file.tobytes() == from_bytes.tobytes()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("truncated.jpg", "truncated"),
        ("truncated.png", "truncated"),
        ("empty.jpg", "the file is empty"),
        ("text.jpg", "not a JPEG, PNG, WebP, BMP, GIF, TIFF.* image"),
        ("jpeg-2000.jpg", "not a JPEG, PNG, WebP, BMP, GIF, TIFF.* image"),
        ("float.tif", "floating-point pixels: save it with 8 or 16 bits"),
        ("broken-checksum.png", "header is damaged"),
        ("bomb.png", "it claims more than 89,478,485 pixels"),
        ("large.png", "it claims more than 89,478,485 pixels"),
        ("zero-size.png", "not a JPEG"),
    ],
)
def test_an_unreadable_file_says_why(name: str, reason: str) -> None:
    with pytest.raises(MaamError, match=f"^cannot read image 'holiday': .*{reason}"):
        decode(UNREADABLE[name], "holiday")


def test_a_missing_file_a_folder_and_a_pipe_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path, reason in [
        (tmp_path / "missing.jpg", "No such file or directory"),
        (tmp_path, "it is a folder, not a file"),
        (tmp_path / "pipe.jpg", "it is not a regular file"),
    ]:
        with pytest.raises(UnreadableImage) as caught:
            decode(path)
        assert str(caught.value) == f"cannot read image {str(path)!r}: {reason}"


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every file")
def test_a_forbidden_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(READABLE["UPPER.PNG"])
    path.chmod(0)
    with pytest.raises(UnreadableImage, match=r"secret\.png': Permission denied"):
        decode(path)


@pytest.mark.parametrize(
    ("orientation", "size", "red_corner"),
    [
        (1, (32, 16), (2, 8)),
        (2, (32, 16), (29, 8)),
        (3, (32, 16), (29, 8)),
        (6, (16, 32), (8, 2)),
        (8, (16, 32), (8, 29)),
    ],
)
def test_exif_orientation_is_applied(
    orientation: int, size: tuple[int, int], red_corner: tuple[int, int]
) -> None:
    image = decode(rotated_jpeg(orientation))
    assert image.size == size
    assert near(image.getpixel(red_corner), RED)
    opposite = (size[0] - 1 - red_corner[0], size[1] - 1 - red_corner[1])
    assert near(image.getpixel(opposite), BLUE)
    assert to_rgb(image).size == size  # it is not turned once more


def test_16_bit_grey_keeps_its_range() -> None:
    levels = np.array([[0, 257, 32768, 65535]], np.uint16)
    image = decode(encode(Image.fromarray(levels), "PNG"))
    assert [red for red, _, _ in pixels(image)] == [0, 1, 128, 255]


def test_16_bit_colour_and_grey_with_alpha_decode() -> None:
    colour = png(1, 1, 16, 2, b"\0\x80\0\xff\xff\0\0")
    assert decode(colour).getpixel((0, 0)) == (128, 255, 0)
    half_transparent_black = png(1, 1, 16, 4, b"\0\0\0\x80\0")
    assert near(decode(half_transparent_black).getpixel((0, 0)), (127, 127, 127), 1)


def test_transparent_parts_show_white() -> None:
    assert pixels(decode(transparent_palette())) == [RED, WHITE]
    assert pixels(decode(READABLE["la.png"])) == [(0, 0, 0), WHITE]
    rgba = Image.new("RGBA", (1, 1), (*GREEN, 0))
    assert decode(encode(rgba, "PNG")).getpixel((0, 0)) == WHITE
    assert decode(encode(rgba, "WEBP", lossless=True)).getpixel((0, 0)) == WHITE
    keyed = Image.new("RGB", (1, 1), GREEN)
    assert decode(encode(keyed, "PNG", transparency=GREEN)).getpixel((0, 0)) == WHITE


def test_an_animation_gives_its_first_frame() -> None:
    assert set(pixels(decode(animation()))) == {RED}
    frames = [Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), BLUE)]
    webp = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert near(decode(webp).getpixel((4, 4)), RED)


def tiff16(*values: int) -> bytes:
    """A TIFF of one pixel, 16 bits a channel, written by hand: Pillow writes no such colour."""
    pixel = struct.pack(f"<{len(values)}H", *values)
    depth = struct.pack(f"<{len(values)}H", *[16] * len(values))
    entries = [
        (256, 3, 1, 1),  # width
        (257, 3, 1, 1),  # height
        (258, 3, len(values), 8 + len(pixel) if len(values) > 1 else 16),  # bits a channel
        (259, 3, 1, 1),  # not compressed
        (262, 3, 1, 2 if len(values) > 1 else 1),  # RGB, or grey with black as 0
        (273, 4, 1, 8),  # where the pixel is
        (277, 3, 1, len(values)),
        (278, 3, 1, 1),
        (279, 4, 1, len(pixel)),
    ]
    directory = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", *entry) for entry in entries
    )
    start = 8 + len(pixel) + len(depth)
    return b"II*\0" + struct.pack("<I", start) + pixel + depth + directory + bytes(4)


def test_tiff_of_8_and_16_bits() -> None:
    assert decode(encode(picture(), "TIFF")).tobytes() == picture().tobytes()
    packed = encode(picture(), "TIFF", compression="tiff_lzw")
    assert decode(packed).tobytes() == picture().tobytes()
    levels = np.array([[0, 257, 32768, 65535]], np.uint16)
    image = decode(encode(Image.fromarray(levels), "TIFF"))
    assert [red for red, _, _ in pixels(image)] == [0, 1, 128, 255]
    assert decode(tiff16(0x8000)).getpixel((0, 0)) == (128, 128, 128)
    assert decode(tiff16(0x8000, 0xFFFF, 0)).getpixel((0, 0)) == (128, 255, 0)
    clear = Image.new("RGBA", (1, 1), (*GREEN, 0))
    assert decode(encode(clear, "TIFF")).getpixel((0, 0)) == WHITE


def test_a_tiff_is_turned_upright_once() -> None:
    image = Image.new("RGB", (32, 16), BLUE)
    image.paste(RED, (0, 0, 16, 16))
    upright = decode(encode(image, "TIFF", tiffinfo={ExifTags.Base.Orientation: 6}))
    assert upright.size == (16, 32)
    assert upright.getpixel((8, 2)) == RED


@pytest.mark.parametrize("form", ["TIFF", "GIF", "WEBP", "PNG", "AVIF"])
def test_of_several_pages_or_frames_the_first_is_read(form: str) -> None:
    if form not in FORMATS:
        pytest.skip(f"this Pillow has no {form}")
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, BLUE, GREEN)]
    found = read(encode(frames[0], form, save_all=True, append_images=frames[1:]))
    assert near(found.image.getpixel((8, 8)), RED)
    assert found.several
    assert not read(encode(frames[0], form)).several


def test_a_preview_in_a_photo_is_no_page() -> None:
    photo = encode(picture(), "MPO", save_all=True, append_images=[picture(8, 8)])
    assert not read(photo).several


@pytest.mark.skipif("AVIF" not in FORMATS, reason="this Pillow has no AVIF")
def test_avif() -> None:
    error = np.abs(np.asarray(decode(encode(picture(), "AVIF", quality=95)), int) - picture())
    assert error.mean() < 4


def test_heic_needs_another_package(tmp_path: Path) -> None:
    assert (".heic" in SUFFIXES) == ("HEIF" in FORMATS) == bool(find_spec("pillow_heif"))
    if "HEIF" in FORMATS:
        heif = pytest.importorskip("pillow_heif")
        heif.from_pillow(picture(64, 64)).save(tmp_path / "photo.heic", quality=95)
        error = np.abs(np.asarray(decode(tmp_path / "photo.heic"), int) - picture(64, 64))
        assert error.mean() < 6


def test_cmyk_looks_like_the_picture_it_was_made_from() -> None:
    original = np.asarray(picture(), np.int16)
    error = np.abs(np.asarray(decode(READABLE["cmyk.jpg"]), np.int16) - original)
    assert error.mean() < 12


def test_bilevel_is_black_and_white() -> None:
    assert set(pixels(decode(READABLE["bilevel.png"]))) == {(0, 0, 0), WHITE}


def test_read_reports_format_and_mode_as_stored() -> None:
    stored = {name: (read(file).form, read(file).mode) for name, file in READABLE.items()}
    assert stored["jpeg-inside.png"] == ("JPEG", "RGB")
    assert stored["cmyk.jpg"] == ("JPEG", "CMYK")
    assert stored["palette.png"] == ("PNG", "P")
    assert stored["plain.bmp"] == ("BMP", "RGB")
    assert stored["lossless.webp"][0] == "WEBP"


def test_threads_leave_the_warning_filters_as_they_were() -> None:
    before = list(warnings.filters)

    def attempt(content: bytes) -> bool:
        try:
            decode(content)
            return True
        except UnreadableImage:
            return False

    contents = [*READABLE.values(), *UNREADABLE.values()] * 4
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, contents)) == 4 * len(READABLE)
    assert warnings.filters == before


sides = st.integers(1, 80)


@settings(max_examples=60, deadline=None)
@given(sides, sides, sides, sides, st.sampled_from([1, 3]), st.sampled_from(["L", "RGB", "RGBA"]))
def test_fit_returns_the_size_asked_for(
    width: int, height: int, to_width: int, to_height: int, channels: int, mode: str
) -> None:
    image = Image.new(mode, (width, height), "white")
    array = fit(image, (to_height, to_width), channels)
    assert array.shape == (to_height, to_width, channels)
    assert array.dtype == np.uint8
    assert array.min() == 255  # nothing is padded


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1), (4999, 3)])
def test_fit_takes_extreme_shapes(size: tuple[int, int]) -> None:
    assert fit(picture(*size), (32, 48), 3).shape == (32, 48, 3)


def test_fit_leaves_an_image_of_the_size_untouched() -> None:
    image = picture(20, 10)
    assert np.array_equal(fit(image, (10, 20), 3), np.asarray(image))
    assert np.array_equal(fit(image, (10, 20), 1)[..., 0], np.asarray(image.convert("L")))


def test_fit_keeps_the_centre_and_smooths() -> None:
    image = Image.new("RGB", (96, 32), RED)
    image.paste(GREEN, (32, 0, 64, 32))
    assert np.array_equal(fit(image, (32, 32), 3), np.asarray(Image.new("RGB", (32, 32), GREEN)))
    checks = Image.fromarray((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8))
    assert np.abs(fit(checks, (16, 16), 1)[4:-4, 4:-4].astype(int) - 127).max() < 8


def test_a_damaged_tiff_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    file = bytearray(encode(picture(64, 64), "TIFF", compression="tiff_adobe_deflate"))
    file[8:40] = bytes(32)  # amid the pixels
    with pytest.raises(UnreadableImage) as caught:
        decode(bytes(file))
    assert caught.value.reason == "it is damaged (decoder error -2)"
    assert "\n" not in str(caught.value)

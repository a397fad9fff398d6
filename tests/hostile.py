"""A corpus of image files as the world really has them: odd, old, and broken."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def picture(width: int = 24, height: int = 16, seed: int = 0) -> Image.Image:
    """A smooth random RGB picture: blocks of colour, so that JPEG keeps it nearly as it is."""
    small = np.random.default_rng(seed).integers(0, 256, (2, 3, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BILINEAR)


def encode(image: Image.Image, form: str, **options: object) -> bytes:
    """The content of an image file of ``image`` in Pillow's format ``form``."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG written by hand, for headers that Pillow would not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def chunk(kind: bytes, content: bytes) -> bytes:
    """One PNG chunk with its checksum."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def rotated_jpeg(orientation: int = 6) -> bytes:
    """A JPEG stored 32 wide and 16 high, its left half red, its right half blue.

    Orientation 6 means: turn it 90 degrees clockwise to look at it; red is then on top.
    """
    image = Image.new("RGB", (32, 16), BLUE)
    image.paste(RED, (0, 0, 16, 16))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encode(image, "JPEG", exif=exif, quality=95)


def transparent_palette() -> bytes:
    """A 2x1 palette PNG: the left pixel red, the right one transparent (and green below)."""
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putdata([0, 1])
    return encode(image, "PNG", transparency=b"\xff\x00")


def animation() -> bytes:
    """A GIF whose first frame is red and whose second is blue."""
    frames = [Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), BLUE)]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=40)


def readable_files() -> dict[str, bytes]:
    """Name -> content of the files that decode."""
    image = picture()
    grey = image.convert("L")
    halves = Image.new("LA", (2, 1))
    halves.putdata([(0, 255), (0, 0)])
    ramp = np.linspace(0, 65535, 24 * 16).astype(np.uint16).reshape(16, 24)
    corrupt_exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff\x12\x01"
    return {
        "plain.jpg": encode(image, "JPEG"),
        "progressive.jpeg": encode(image, "JPEG", progressive=True),
        "png-inside.jpg": encode(image, "PNG"),
        "jpeg-inside.png": encode(image, "JPEG"),
        "UPPER.PNG": encode(image, "PNG"),
        "cmyk.jpg": encode(image.convert("CMYK"), "JPEG"),
        "grey.jpg": encode(grey, "JPEG"),
        "rotated.jpg": rotated_jpeg(),
        "corrupt-exif.jpg": encode(image, "JPEG", exif=corrupt_exif),
        "grey16.png": encode(Image.fromarray(ramp), "PNG"),
        "palette.png": transparent_palette(),
        "rgba.png": encode(image.convert("RGBA"), "PNG"),
        "la.png": encode(halves, "PNG"),
        "bilevel.png": encode(grey.convert("1"), "PNG"),
        "lossy.webp": encode(image, "WEBP"),
        "lossless.webp": encode(image.convert("RGBA"), "WEBP", lossless=True),
        "plain.bmp": encode(image, "BMP"),
        "plain.jfif": encode(image, "JPEG"),
        "plain.tif": encode(image, "TIFF"),
        "tiff-inside.png": encode(image, "TIFF"),
        "animated.gif": animation(),
        "one-pixel.png": encode(Image.new("RGB", (1, 1), GREEN), "PNG"),
        "thin.png": encode(picture(1, 5000), "PNG"),
        "wide.png": encode(picture(5000, 1), "PNG"),
        "with space.png": encode(image, "PNG"),
        "grüße 猫.png": encode(image, "PNG"),
        "-rf.png": encode(image, "PNG"),
        "line\nbreak.png": encode(image, "PNG"),
        "it's [bold].png": encode(image, "PNG"),
    }


def unreadable_files() -> dict[str, bytes]:
    """Name -> content of the files that do not decode."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    image = Image.fromarray(noise)  # large files, so that half a file breaks off amid the pixels
    jpeg, whole = encode(image, "JPEG"), encode(image, "PNG")
    broken = bytearray(whole)
    broken[29] ^= 0xFF  # the first byte of the header's checksum
    return {
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "truncated.png": whole[: len(whole) // 2],
        "truncated.webp": encode(image, "WEBP")[:40],
        "header-only.jpg": jpeg[:2],
        "empty.jpg": b"",
        "text.jpg": b"this is not a picture\n",
        "vector.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "jpeg-2000.jpg": encode(image, "JPEG2000"),
        "float.tif": encode(Image.new("F", (4, 4)), "TIFF"),
        "bomb.png": png(60000, 60000, 8, 2, bytes(64)),
        "large.png": png(12000, 12000, 8, 2, bytes(64)),  # Pillow only warns of this size
        "zero-size.png": png(0, 0, 8, 2, b""),
        "broken-checksum.png": bytes(broken),
    }


def make_hostile(folder: Path) -> dict[str, bool]:
    """Write the corpus into ``folder``: name -> whether the file can be read as an image."""
    readable, unreadable = readable_files(), unreadable_files()
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {**readable, **unreadable}.items():
        (folder / name).write_bytes(content)
    return {name: name in readable for name in [*readable, *unreadable]}

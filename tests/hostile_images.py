"""More hostile image files: bombs, all EXIF turns, odd modes, wrong names, and none at all."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
from hostile import (
    BLUE,
    RED,
    animation,
    chunk,
    encode,
    picture,
    png,
    readable_files,
    rotated_jpeg,
    unreadable_files,
)
from PIL import ExifTags, Image

from maam.data.files.decoding import FORMATS


def bombs() -> dict[str, bytes]:
    """Small files that claim, or are, more pixels than anyone should decode."""
    side = struct.pack("<HH", 65535, 65535)
    gif = b"GIF89a" + side + b"\x80\0\0" + bytes(6) + b"," + bytes(4) + side + b"\0\2\2\x4c\1\0;"
    bmp = bytearray(encode(picture(), "BMP"))
    bmp[18:26] = struct.pack("<ii", 60000, 60000)
    jpeg = bytearray(encode(picture(), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65000, 65000)
    webp = bytearray(encode(picture(), "WEBP", lossless=True))
    bits = struct.unpack_from("<I", webp, 21)[0] & 0xF0000000 | 16383 << 14 | 16383
    webp[21:25] = struct.pack("<I", bits)
    extended = encode(picture(), "WEBP", save_all=True, append_images=[picture(seed=1)])
    canvas = bytearray(extended)
    canvas[24:30] = b"\xff\xff\xff\xff\xff\x00"
    return {
        "bomb.gif": gif,
        "bomb.bmp": bytes(bmp),
        "bomb.jpg": bytes(jpeg),
        "bomb.webp": bytes(webp),
        "canvas.webp": bytes(canvas),
        "bomb.tif": tiff(60000, 60000),
        "line.png": png(2**31 - 1, 1, 8, 2, bytes(64)),
        "column.png": png(1, 2**31 - 1, 8, 2, bytes(64)),
        "claims-48-megapixels.webp": encode(Image.new("L", (6950, 6950)), "WEBP", method=0),
        "many-pixels.png": png(9500, 9500, 1, 0, bytes(1000)),
    }


def tiff(width: int, height: int, rows: int = 1, count: int = 1) -> bytes:
    """A TIFF of one grey byte whose header claims more."""
    entries = [
        *((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1)),
        *((262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, rows), (279, 4, 1, count)),
    ]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return (
        b"II*\0" + struct.pack("<I", 10) + b"\x80\0" + struct.pack("<H", 9) + directory + bytes(4)
    )


def odd_but_fine() -> dict[str, bytes]:
    """Name -> content of more files that decode."""
    image = picture()
    files = {f"turn-{n}.jpg": rotated_jpeg(n) for n in (0, 1, 2, 3, 4, 5, 7, 8, 9, 65535)}
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    for form in ("PNG", "WEBP", "TIFF"):
        files[f"turned.{form.lower()}"] = encode(image, form, exif=exif)
    modes = {
        "PNG": ("1", "L", "LA", "P", "RGBA", "I;16"),
        "TIFF": ("1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I"),
        "BMP": ("1", "L", "P", "RGBA"),
        "GIF": ("1", "L", "P", "RGBA"),
        "WEBP": ("L", "RGBA"),
    }
    for form, names in modes.items():
        for mode in names:
            odd = Image.new(mode, (9, 7)) if mode in ("I;16", "I", "LAB") else image.convert(mode)
            files[f"{mode.replace(';', '-')}.{form.lower()}"] = encode(odd, form)
    for packed in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg"):
        files[f"{packed}.tif"] = encode(image, "TIFF", compression=packed)
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    for form in ("PNG", "WEBP", "TIFF"):
        files[f"moving.{form.lower()}"] = encode(
            frames[0], form, save_all=True, append_images=frames[1:]
        )
    long = b"tEXtComment\0" + b"a" * 100_000
    return files | {
        "gif-inside.jpg": animation(),
        "bmp-inside.webp": encode(image, "BMP"),
        "webp-inside.gif": encode(image, "WEBP"),
        "strips.tif": tiff(1, 1, rows=2**32 - 1, count=2**31),
        "tall.png": encode(Image.new("L", (1, 60_000), 200), "PNG"),
        "flat.jpg": encode(Image.new("RGB", (60_000, 1), RED), "JPEG"),
        "tail.jpg": encode(image, "JPEG") + b"<script>" * 1000,
        "zip-behind.png": encode(image, "PNG") + b"PK\x05\x06" + bytes(18),
        "long-text.png": png(2, 1, 8, 0, b"\0\1\2", chunk(b"tEXt", long)),
        "interlaced-one.gif": encode(Image.new("L", (1, 1)), "GIF", interlace=1),
        "quote'\".png": encode(image, "PNG"),
        "two\nlines\r.jpg": encode(image, "JPEG"),
        "$(touch x);`id`.png": encode(image, "PNG"),
        "\x1b[31mred.png": encode(image, "PNG"),
        "\u202egnp.png": encode(image, "PNG"),
        "{0}%s[bold].png": encode(image, "PNG"),
        "é" * 60 + ".png": encode(image, "PNG"),
        os.fsdecode(b"latin-\xe9.png"): encode(image, "PNG"),
    }


def damaged() -> dict[str, bytes]:
    """Name -> content of more files that do not decode."""
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    half = {
        f"half.{form.lower()}": encode(noise, form)[: len(encode(noise, form)) // 2]
        for form in ("BMP", "GIF", "TIFF", "AVIF")
        if form in FORMATS
    }
    bomb_text = zlib.compress(bytes(200_000_000), 9)
    return half | {
        "zeros.jpg": bytes(5000),
        "ones.png": b"\xff" * 5000,
        "magic-only.png": b"\x89PNG\r\n\x1a\n",
        "magic-only.gif": b"GIF89a",
        "magic-only.webp": b"RIFF\x04\0\0\0WEBP",
        "magic-only.bmp": b"BM",
        "magic-only.tif": b"II*\0\x08\0\0\0",
        "loop.tif": b"II*\0\x08\0\0\0" + struct.pack("<HI", 0, 8),
        "no-pixels.png": png(4, 4, 8, 2, b""),
        "bad-depth.png": png(4, 4, 7, 2, bytes(64)),
        "bad-colour.png": png(4, 4, 8, 5, bytes(64)),
        "text-bomb.png": png(1, 1, 8, 0, b"\0", chunk(b"zTXt", b"a\0\0" + bomb_text)),
        "page.jpg": b"<html><img src=x></html>",
        "script.png": b"#!/bin/sh\ntouch hacked\n",
        "program.jpg": b"\x7fELF" + bytes(500),
        "pickle.png": b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x02os\x94.",
        "postscript.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "pdf.jpg": b"%PDF-1.4\n%%EOF",
    }


def all_files() -> dict[str, bytes]:
    """The whole corpus: name -> content."""
    return readable_files() | unreadable_files() | bombs() | odd_but_fine() | damaged()


def special_files(folder: Path) -> list[Path]:
    """What is no file, made in ``folder``: links that loop or lead nowhere, pipes, devices."""
    made = {name: folder / name for name in ("self.jpg", "ping.png", "pong.png", "gone.png")}
    made["self.jpg"].symlink_to("self.jpg")
    made["ping.png"].symlink_to("pong.png")
    made["pong.png"].symlink_to("ping.png")
    made["gone.png"].symlink_to("nowhere.png")
    for name, target in (("zero.png", "/dev/zero"), ("null.jpg", "/dev/null")):
        made[name] = folder / name
        made[name].symlink_to(target)
    made["pipe.png"] = folder / "pipe.png"
    os.mkfifo(made["pipe.png"])
    (folder / "folder.png").mkdir()
    (folder / "up").symlink_to("..")
    return [*made.values(), folder / "folder.png"]

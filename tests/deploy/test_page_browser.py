"""The page in a real browser: the same answers as Python, by every way in, and errors that help."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, browser
from page_run import make_run
from PIL import ExifTags, Image

from maam.core.metrics import softmax
from maam.core.run_folder import RunFolder
from maam.data.files.conversion import fit
from maam.data.files.decoding import decode
from maam.data.preprocessing import Preprocessing
from maam.deploy.int8 import Int8Network
from maam.deploy.int8_file import read_int8, save_int8
from maam.deploy.layers import LayeredNetwork
from maam.deploy.prediction import Classifier
from maam.deploy.quantization import quantize_layers
from maam.deploy.reading import read_layers
from maam.deploy.web.page import write_page
from maam.models.weights import shipped_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]

ANSWER = """JSON.stringify({
  verdict: document.getElementById("verdict").textContent,
  spoken: document.getElementById("spoken").textContent,
  problem: document.getElementById("problem").textContent,
  note: document.getElementById("note").textContent,
  time: document.getElementById("time").textContent,
  classes: Array.from(document.querySelectorAll(".class span"), (each) => each.textContent),
  probabilities: Array.from(document.querySelectorAll(".class data"), (each) => Number(each.value)),
})"""
STATE = "document.body.dataset.state"
NO_SIMD = "WebAssembly.validate = () => false;"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunFolder:
    """The shipped nano, quantised with some photos."""
    folder = RunFolder(tmp_path_factory.mktemp("page") / "nano")
    shutil.copytree(shipped_run("maamnet-nano").path, folder.path)
    classifier = Classifier.load(folder.path)
    images = np.stack([classifier.prepare(each) for each in photos(40, seed=1)])
    made = quantize_layers(read_layers(folder), classifier.preprocessing, images)
    save_int8(folder.int8, made, folder.best)
    return folder


def photos(count: int, seed: int) -> list[Image.Image]:
    """Parts of two real photos, of many sizes and shapes."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(seed)
    pictures = [Image.fromarray(pixels) for pixels in load_sample_images()["images"]]
    parts = []
    for number in range(count):
        picture = pictures[number % 2]
        width, height = (int(side) for side in rng.integers(20, 427, 2))
        left = int(rng.integers(0, picture.width - width + 1))
        top = int(rng.integers(0, picture.height - height + 1))
        parts.append(picture.crop((left, top, left + width, top + height)))
    return parts


def save(picture: Image.Image, path: Path, turned: bool, transparent: bool) -> None:
    """Write a picture, perhaps on its side as a camera does, or with a hole."""
    exif = Image.Exif()
    if turned:
        exif[ExifTags.Base.Orientation] = 6
    if transparent:
        hole = Image.new("L", picture.size, 255)
        hole.paste(0, (0, 0, picture.width // 2, picture.height // 2))
        picture.putalpha(hole)
    picture.save(path, quality=90, exif=exif)


def ask(tab, path: Path) -> dict:
    """Choose a file, and wait for the answer."""
    tab.evaluate("document.body.dataset.state = 'waiting'")
    tab.choose_file("#file", path)
    tab.wait(f"['answered', 'failed'].includes({STATE})")
    return json.loads(tab.evaluate(ANSWER))


def open_page(tab, path: Path) -> None:
    tab.open(path.as_uri())
    tab.wait(f"['ready', 'failed'].includes({STATE})")


def expected(network: LayeredNetwork | Int8Network, how: Preprocessing, pixels: np.ndarray):
    """Probabilities (N, K) by NumPy."""
    if isinstance(network, Int8Network):
        return softmax(network.logits(pixels) * network.logit_scale)
    return softmax(network.logits(how(pixels).transpose(0, 2, 3, 1)))


@pytest.mark.parametrize("simd", [True, False], ids=["simd", "scalar"])
@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_answers_are_those_of_python(precision, simd, run, tmp_path):
    pictures, files = photos(50 if simd else 10, seed=2), []
    for number, picture in enumerate(pictures):
        files.append(tmp_path / f"{number}{('.png', '.jpg')[number % 5 == 4]}")
        save(picture, files[-1], turned=number % 10 == 9, transparent=number % 10 == 3)
    classifier = Classifier.load(run.path)
    pixels = np.stack([classifier.prepare(decode(each)) for each in files])
    wanted = expected(
        read_int8(run) if precision == "int8" else read_layers(run),
        classifier.preprocessing,
        pixels,
    )
    page = tmp_path / "page.html"
    write_page(run, page, precision)
    with browser(tmp_path) as tab:
        if not simd:
            tab.call("Page.addScriptToEvaluateOnNewDocument", source=NO_SIMD)
        open_page(tab, page)
        for path, row in zip(files, wanted, strict=True):
            answer = ask(tab, path)
            assert answer["problem"] == ""
            assert ("without SIMD" in answer["time"]) is not simd
            order = np.argsort(-row, kind="stable")[:5]
            assert answer["classes"][0] == classifier.classes[order[0]]
            assert answer["verdict"] == answer["classes"][0]
            found = dict(zip(answer["classes"], answer["probabilities"], strict=True))
            for name, probability in found.items():
                assert abs(probability - row[classifier.classes.index(name)]) < 1e-3, path
        assert tab.console == []
        assert [each for each in tab.requests if each.startswith(("http", "ws", "ftp"))] == []


@pytest.fixture(scope="module")
def page(run, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(run, path, "int8")
    return path


def test_every_way_in_and_the_keyboard(page, tmp_path):
    path = tmp_path / "part.png"
    photos(1, seed=3)[0].save(path)
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    transfer = (
        f"const bytes = Uint8Array.from(atob('{content}'), (each) => each.charCodeAt(0));"
        "const data = new DataTransfer();"
        "data.items.add(new File([bytes], 'part.png', {type: 'image/png'}));"
    )
    with browser(tmp_path, "--use-fake-ui-for-media-stream", *FAKE_CAMERA) as tab:
        open_page(tab, page)
        wanted = ask(tab, path)
        for event in (
            "new ClipboardEvent('paste', {clipboardData: data})",
            "new DragEvent('drop', {dataTransfer: data, cancelable: true})",
        ):
            tab.evaluate("document.body.dataset.state = 'waiting'")
            tab.evaluate(f"(() => {{ {transfer} document.dispatchEvent({event}); }})()")
            tab.wait(f"{STATE} === 'answered'")
            found = json.loads(tab.evaluate(ANSWER))
            assert found["probabilities"] == wanted["probabilities"]
        focused = []
        for _ in range(4):
            press(tab, "Tab")
            focused.append(
                tab.evaluate("document.activeElement.id || document.activeElement.className")
            )
        assert focused == ["choose", "camera", "class", "class"]
        press(tab, "Enter")
        pressed = "document.activeElement.getAttribute('aria-pressed')"
        assert tab.evaluate(pressed) == "true"
        assert wanted["classes"][1] in tab.evaluate("document.getElementById('legend').textContent")
        tab.evaluate("document.getElementById('camera').focus()")
        press(tab, "Enter")
        tab.wait("!document.getElementById('video').hidden")
        assert tab.evaluate("document.activeElement.id") == "shoot"
        tab.evaluate("document.body.dataset.state = 'waiting'")
        press(tab, "Enter")
        tab.wait(f"{STATE} === 'answered'")
        assert tab.evaluate("document.getElementById('video').hidden")
        assert tab.evaluate("document.getElementById('view').getAttribute('aria-label')") == (
            "picture from the camera"
        )
        assert tab.console == []


FAKE_CAMERA = ("--use-fake-device-for-media-stream",)


def press(tab, key: str) -> None:
    codes = {"Tab": (9, ""), "Enter": (13, "\r")}
    code, text = codes[key]
    what = {"key": key, "code": key, "windowsVirtualKeyCode": code, "text": text}
    tab.call("Input.dispatchKeyEvent", type="keyDown", **what)
    tab.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key)


def test_what_goes_wrong_is_said(page, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    Image.new("RGB", (9, 9)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:40])
    with browser(tmp_path, "--deny-permission-prompts") as tab:
        open_page(tab, page)
        assert "text.jpg (image/jpeg) can't be read" in ask(tab, tmp_path / "text.jpg")["problem"]
        assert "empty.png is empty" in ask(tab, tmp_path / "empty.png")["problem"]
        assert "cut.png (image/png) can't be read" in ask(tab, tmp_path / "cut.png")["problem"]
        tab.evaluate(
            "document.dispatchEvent(new DragEvent('drop', {dataTransfer: new DataTransfer()}))"
        )
        assert "save the picture first" in json.loads(tab.evaluate(ANSWER))["problem"]
        tab.evaluate("document.body.dataset.state = 'waiting'")
        tab.evaluate("document.getElementById('camera').click()")
        tab.wait(f"{STATE} === 'failed'")
        problem = json.loads(tab.evaluate(ANSWER))["problem"]
        assert "camera was refused" in problem or "No camera was found" in problem
        tab.call("Page.addScriptToEvaluateOnNewDocument", source="delete globalThis.WebAssembly;")
        open_page(tab, page)
        assert "no WebAssembly" in json.loads(tab.evaluate(ANSWER))["problem"]
        assert tab.evaluate("document.getElementById('choose').disabled")


def test_a_thousand_classes_unknown_and_hostile_names(tmp_path):
    names = [f"class {number}" for number in range(1000)]
    names[0] = "</script><img src=x onerror=alert(1)>"
    unknown = {"threshold": 0.999, "share": 0.02}
    run = make_run(tmp_path / "run", names, unknown=unknown)
    page, path = tmp_path / "page.html", tmp_path / "part.png"
    write_page(run, page, "float32")
    picture = photos(1, seed=4)[0]
    picture.save(path)
    how = Preprocessing.from_dict(run.read_meta().preprocessing)
    pixels = fit(picture, how.size, how.channels)[None]
    wanted = expected(read_layers(run), how, pixels)[0]
    with browser(tmp_path) as tab:
        open_page(tab, page)
        answer = ask(tab, path)
        assert len(answer["classes"]) == 5
        assert answer["verdict"] == f"Unknown, perhaps {answer['classes'][0]}"
        assert answer["spoken"].startswith("Unknown, perhaps")
        found = [wanted[names.index(each)] for each in answer["classes"]]
        np.testing.assert_allclose(answer["probabilities"], found, atol=1e-3)
        assert names[0] in tab.evaluate("document.querySelector('.names').textContent")
        assert tab.console == []


def test_it_fits_a_phone_and_everything_has_a_name(page, tmp_path):
    path = tmp_path / "part.png"
    photos(1, seed=3)[0].save(path)
    with browser(tmp_path) as tab:
        open_page(tab, page)
        ask(tab, path)
        for width in (320, 390, 1280):
            tab.resize(width, 800)
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
        nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
        controls = [each for each in nodes if role(each) in ("button", "checkbox", "image")]
        assert len(controls) >= 8
        assert all(each["name"]["value"] for each in controls)
        assert any(role(each) == "status" for each in nodes)


def role(node: dict) -> str:
    return node.get("role", {}).get("value", "") if not node.get("ignored") else ""

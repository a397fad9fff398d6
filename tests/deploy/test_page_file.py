"""The page as a file: what it holds and allows, hostile names, many classes, refusals."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from page_run import make_run
from tiny_report import HOSTILE

import maam
from maam.core.errors import MaamError
from maam.core.run_folder import RunFolder
from maam.data.preprocessing import Preprocessing
from maam.deploy.int8_file import save_int8
from maam.deploy.quantization import quantize_layers
from maam.deploy.reading import read_layers
from maam.deploy.web.page import write_page
from maam.models.weights import shipped_run

ROOT = Path(maam.__file__).parents[2]
KERNELS = sorted((ROOT / "src/maam/deploy/web").glob("*.wasm"))


def test_its_policy_names_what_it_runs(tmp_path):
    out = tmp_path / "page.html"
    write_page(shipped_run("maamnet-nano"), out, "float32")
    page = out.read_text(encoding="utf-8")
    policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)[0]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy and "'unsafe-eval'" not in policy
    for element in ("style", "script"):
        (content,) = re.findall(f"<{element}>(.*?)</{element}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert re.findall(r"""(?:src|href)=["']?([^"' >]*)""", page) == ["data:,"]


def test_it_says_what_people_should_know(tmp_path):
    out = tmp_path / "page.html"
    figures = write_page(shipped_run("maamnet-nano"), out, "float32")
    page = out.read_text(encoding="utf-8")
    for part in ("89.34\u00a0%", "10,000 test images", "79,978", "Apache-2.0", "airplane, auto"):
        assert part in page, part
    assert figures["Size"] == f"{out.stat().st_size / 1000:,.0f} KB"
    known = make_run(
        tmp_path / "known",
        ["a", "b"],
        unknown={"threshold": 0.4, "share": 0.02},
        shipped=False,
    )
    write_page(known, out, "float32")
    page = out.read_text(encoding="utf-8")
    assert "said below 40.0\u00a0%" in page
    assert '"unknown": 0.4' in page
    assert "their maker&#x27;s" in page or "their maker's" in page


@pytest.mark.parametrize("model", ["maamnet-nano", "maamnet-tiny"])
def test_the_pages_of_the_small_models_are_small(model, tmp_path, rng):
    """In int8; which images the grids are chosen from hardly matters for the size."""
    source, run = shipped_run(model), RunFolder(tmp_path / model)
    shutil.copytree(source.path, run.path)
    how = Preprocessing.from_dict(run.read_meta().preprocessing)
    images = rng.integers(0, 256, (2, *how.size, how.channels), np.uint8)
    save_int8(run.int8, quantize_layers(read_layers(run), how, images), run.best)
    write_page(run, tmp_path / "page.html", "int8")
    assert (tmp_path / "page.html").stat().st_size < 300_000


def test_hostile_names_are_shown_as_they_are(tmp_path):
    out = tmp_path / "page.html"
    names = [*HOSTILE, "</script><script>alert(1)</script>", "<!--<script>"]
    write_page(make_run(tmp_path / "run", names), out, "float32")
    page = out.read_text(encoding="utf-8")
    assert page.count("<script") == 6
    assert page.count("</script>") == 6
    assert "<!--" not in page
    model = re.findall(r'id="model">(.*?)</script>', page)[0]
    assert json.loads(model)["classes"] == names


def test_a_thousand_classes(tmp_path):
    out = tmp_path / "page.html"
    names = [f"class {number}" for number in range(1000)]
    figures = write_page(make_run(tmp_path / "run", names), out, "float32")
    assert "Tells 1,000 classes" in out.read_text(encoding="utf-8")
    assert re.fullmatch(r"\d+ KB", figures["Size"])


def test_what_cannot_be_exported_is_refused(tmp_path):
    out = tmp_path / "page.html"
    run = RunFolder(tmp_path / "run")
    shutil.copytree(shipped_run("maamnet-nano").path, run.path)
    run.int8.unlink(missing_ok=True)
    with pytest.raises(MaamError, match="maam quantize"):
        write_page(run, out, "int8")
    values = json.loads(run.meta.read_text(encoding="utf-8"))
    run.meta.write_text(json.dumps({**values, "model": "resnet8"}), encoding="utf-8")
    with pytest.raises(MaamError, match="resnet8"):
        write_page(run, out, "float32")
    run.best.unlink()
    run.meta.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(MaamError, match="train"):
        write_page(run, out, "float32")
    assert not out.exists()


@pytest.mark.slow
def test_the_kernels_are_what_the_source_gives(tmp_path):
    clang = shutil.which("clang")
    if clang is None or shutil.which("wasm-ld") is None:
        pytest.skip("needs clang and lld")
    said = subprocess.run([clang, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.findall(r"version (\S+)", said)[0].encode()
    if not all(version in path.read_bytes() for path in KERNELS):
        pytest.skip("the kernels were compiled by another version of clang")
    subprocess.run(["make", "--silent", "-C", ROOT, "wasm", f"WASM={tmp_path}"], check=True)
    assert len(KERNELS) == 4
    for path in KERNELS:
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), "run `make wasm`"

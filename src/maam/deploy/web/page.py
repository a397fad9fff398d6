"""From a run to the page: one file with the network, its kernels and what to know of both."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import Literal

from maam.core.files import make_folder, write_atomic
from maam.core.run_folder import RunFolder
from maam.core.run_meta import RunMeta
from maam.data.preprocessing import Preprocessing
from maam.deploy.c.block import make_block
from maam.deploy.int8_file import read_int8
from maam.deploy.reading import read_layers
from maam.deploy.web.packing import pack
from maam.models.weights import find_run
from maam.report.html import percent, properties, text

Precision = Literal["int8", "float32"]

_PARTS = Path(__file__).parent
_START = ("unpack.js", "start.js")
_CODE = ("network.js", "resize.js", "picture.js", "heat.js", "page.js")
_WORDS = {"int8": "8-bit integers", "float32": "32-bit floating point"}


def write_page(run: RunFolder, out: Path, precision: Precision) -> dict[str, str]:
    """Write the page of a run: it classifies pictures in any browser, offline.

    Args:
        run: trained.
        out: the file, ``.html``.
        precision: ``int8`` takes the network that ``maam quantize`` has made.

    Returns:
        How large it is, for people.

    Raises:
        MaamError: the run is not trained, its files are damaged, its model is none that the kernels
            know, it has not been quantized, or ``out`` can't be written.
    """
    page = make_page(run, precision)
    make_folder(out.absolute().parent)
    write_atomic(out, page)
    return {"Size": f"{len(page.encode()) / 1000:,.0f} KB"}


def demo_page(name: str) -> str:
    """The page of a run folder or shipped model, in integers if it has been quantized.

    Raises:
        MaamError: see ``write_page``.
    """
    run = find_run(name)
    return make_page(run, "int8" if run.int8.exists() else "float32")


def make_page(run: RunFolder, precision: Precision) -> str:
    """The HTML that ``write_page`` writes."""
    meta = run.read_meta()
    network = read_int8(run) if precision == "int8" else read_layers(run)
    block = make_block(network, Preprocessing.from_dict(meta.preprocessing)).to_bytes()
    code = f'(() => {{\n"use strict";\n{_joined(_CODE)}}})();\n'
    start, style = _joined(_START), _plain(_read("page.css"))
    channels, height, width = meta.image_shape
    model = {
        "classes": meta.classes,
        "size": [width, height],
        "channels": channels,
        "unknown": meta.unknown["threshold"] if meta.unknown else None,
    }
    packed = {
        "code": code.encode("utf-8"),
        "simd": (_PARTS / f"{precision}-simd.wasm").read_bytes(),
        "scalar": (_PARTS / f"{precision}.wasm").read_bytes(),
        "block": block,
    }
    count = len(meta.classes)
    return Template(_read("template.html")).substitute(
        policy=_policy((start, code), style),
        title=text(meta.model),
        lead=f"Tells {count:,} classes of pictures apart, on this device.",
        style=style,
        facts=properties(_facts(meta, precision)),
        summary=f"The {count:,} classes",
        classes=text(", ".join(meta.classes)),
        model=json.dumps(model).replace("<", "\\u003c"),
        packed="\n".join(_packed(name, content) for name, content in packed.items()),
        start=start,
    )


def _facts(meta: RunMeta, precision: Precision) -> list[tuple[str, str]]:
    """What people should know of a model: names and HTML."""
    channels, height, width = meta.image_shape
    deployed = {"parameters": meta.parameters, "macs": meta.macs} | meta.deployed
    scores = meta.metrics or {}
    rows = []
    if (accuracy := scores.get("accuracy")) is not None:
        images = {"test": "test images", "val": "validation images"}[scores.get("split", "test")]
        count = f"{scores['images']:,} " if scores.get("images") else ""
        before = ", before its weights became integers" if precision == "int8" else ""
        rows.append(("Accuracy", f"{percent(accuracy, 2)} of {count}{images}{before}"))
    if meta.data_source:
        rows.append(("Learned from", text(meta.given_source)))
    colours = "in grey" if channels == 1 else "in colour"
    rows.append(("Looks at", f"{width} x {height} pixels {colours}: the middle of the picture"))
    if deployed["parameters"]:
        rows.append(("Parameters", f"{deployed['parameters']:,}, as {_WORDS[precision]}"))
    if deployed["macs"]:
        rows.append(("Computes", f"{deployed['macs'] / 1e6:,.1f} million products a picture"))
    rows.append(("Unknown", _unknown(meta)))
    rows.append(("Licence", _licence(meta)))
    return rows


def _unknown(meta: RunMeta) -> str:
    if meta.unknown is None:
        return "never said: every picture is given one of the classes, whatever it shows"
    share, threshold = percent(meta.unknown["share"]), percent(meta.unknown["threshold"])
    return f"said below {threshold}, which at most {share} of pictures of known classes are"


def _licence(meta: RunMeta) -> str:
    code = "The code of this page is maam's (Apache-2.0)"
    if meta.shipped:
        return f"{code}, and so are the weights. CIFAR-10 names no licence of its own."
    return f"{code}. The weights are their maker's; the images' licences may bind them too."


def _packed(name: str, content: bytes) -> str:
    """Bytes as an element of the page."""
    start = f'<script type="text/plain" id="{name}" data-bytes="{len(content)}">'
    return f"{start}{pack(content)}</script>"


def _policy(scripts: Iterable[str], style: str) -> str:
    """What the page may do: run these scripts, this style and WebAssembly; load nothing."""
    return (
        f"default-src 'none'; script-src {' '.join(map(_hash, scripts))} 'wasm-unsafe-eval'; "
        f"style-src {_hash(style)}; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _read(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")


def _joined(names: Iterable[str]) -> str:
    return "\n".join(_plain(_read(name)) for name in names)


def _plain(code: str) -> str:
    """A script or style without indentation and lines of comments."""
    code = re.sub(r"^ */\*\*.*?\*/\n|^ *//[^\n]*\n", "", code, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^\s+", "", code, flags=re.MULTILINE)

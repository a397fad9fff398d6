"""How a run is used, for the card and the page; and what is particular of one's own network."""

from __future__ import annotations

import json

from maam.core.run_meta import OWN, RunMeta
from maam.report.markdown import UNKNOWN, code, markdown_table

WITHOUT_MAAM = """\
import json
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

model = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
classes = json.loads(model.get_modelmeta().custom_metadata_map["classes"])
image = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
(probabilities,) = model.run(["probabilities"], {"image": np.stack([image])})
best = probabilities[0].argmax()
print(classes[best], probabilities[0, best])"""


def interface(meta: RunMeta) -> str:
    """Markdown: how model.onnx is used without maam: inputs, outputs, classes, a program."""
    count = len(meta.classes)
    rows = (
        ("Input", "`image`", "uint8 (N, H, W, 3): RGB, upright, any height and width"),
        ("Output", "`probabilities`", f"float32 (N, {count}), calibrated; each row sums to 1"),
        ("Output", "`logits`", f"float32 (N, {count})"),
    )
    try:
        steps = meta.preprocessing_text
    except (KeyError, TypeError, ValueError):
        steps = UNKNOWN
    classes = json.dumps(list(meta.classes)).replace("<", "\\u003c")  # the same, and no HTML
    return (
        "`model.onnx` holds all that it needs: its preprocessing, its classes, and a checksum over "
        "itself, which `maam` verifies. ONNX Runtime 1.16 and newer run it.\n\n"
        f"{markdown_table(('', 'Name', 'Type and shape'), rows)}\n\n"
        "The classes, in the order of the outputs:\n\n"
        f"{code('json', classes)}\n\n"
        f"{code('python', WITHOUT_MAAM)}\n\n"
        f"What it does to an image first: {steps}.\n\n"
        "`model.golden.safetensors` holds a few images and the logits that the file must give for "
        "them, to test a device with."
    )


def can_predict(meta: RunMeta) -> bool:
    """Whether a run has a model.onnx, which only a network of one's own may lack."""
    return not meta.own or meta.export_error is not None


def python_program(meta: RunMeta, run: str) -> str:
    """A program that uses a run.

    Args:
        meta: of the run.
        run: its folder.
    """
    lines = ["import maam", ""]
    if can_predict(meta):
        lines += [
            f"for answer in maam.predict({run!r}, ['photo.jpg']):",
            "    print(answer.file, answer.classes, answer.probabilities)",
        ]
    if meta.own:
        module = "maam.torch" if meta.framework == "torch" else "maam"
        lines += [
            f"net = {meta.model.removesuffix(OWN)}(...)  # made as for the training",
            f"maam.evaluate({run!r}, model=net)",
            f"net, meta = {module}.load_model({run!r}, model=net)",
        ]
    return "\n".join(lines)


def own_rows(meta: RunMeta) -> list[tuple[str, str]]:
    """Rows of a table of properties for a network of one's own; none for others."""
    if not meta.own:
        return []
    layers = ", ".join(meta.folded_layers)
    folded = f"{layers}; all else stays as it is" if layers else "nothing in it folds"
    exported = can_predict(meta)
    return [
        ("Code", "the user's own; it is not in this folder"),
        ("Folded in model.onnx", folded)
        if exported
        else ("model.onnx", "none: it could not be written as ONNX"),
    ]

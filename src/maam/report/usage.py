"""How a run is used, for the card and the page; and what is particular of one's own network."""

from __future__ import annotations

from maam.core.run_meta import OWN, RunMeta


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

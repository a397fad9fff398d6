"""What a network learned from besides its images, in words for the model card."""

from __future__ import annotations

from maam.core.run_meta import RunMeta
from maam.report.markdown import plain


def origin(meta: RunMeta) -> str:
    """The weights it began with and its teacher, to stand after the name of its images."""
    teacher = (meta.teacher or {}).get("model")
    sources = [_weights(meta)] if meta.config.get("pretrained") else []
    sources += [f"the answers of a {plain(teacher)}"] if teacher else []
    return f", from {' and '.join(sources)}" if sources else " only"


def _weights(meta: RunMeta) -> str:
    start = meta.start
    if start is None:
        photos = meta.config.get("weights") == "tiny-imagenet"
        learned = ", learned from Tiny ImageNet" if photos else ""
        return f"the shipped weights of {plain(meta.model)}{learned}"
    text = f"the weights of the run {plain(start.get('run'))}"
    if "kept" in start:
        text += (
            f" (a {plain(start.get('model'))}, pruned: {start['kept']:.1%} of its channels are "
            "kept)"
        )
    return text

"""Why a network answers so: where the evidence for its answer lies, and what its agents add."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from maam.core import frameworks
from maam.core.errors import MaamError
from maam.core.files import make_folder, write_atomic
from maam.core.frameworks import Backend
from maam.core.metrics import softmax
from maam.core.run_meta import RunMeta
from maam.core.signals import check_signals
from maam.data.files.conversion import fit
from maam.data.files.decoding import UnreadableImage
from maam.data.files.listing import PICTURES
from maam.data.preprocessing import Preprocessing
from maam.data.thumbnails import seen_part
from maam.deploy.classifier import open_picture
from maam.deploy.formats import PERHAPS
from maam.deploy.inputs import Item, find_images
from maam.deploy.prediction import Source
from maam.models.own import framework_for
from maam.models.weights import find_run
from maam.report.pictures import heat

SIDE = 512  # pixels of the picture that is kept of an image
_BATCH = 16
_STEM_BYTES = 150


@dataclass(frozen=True)
class Explanation:
    """The answer for one image and what it rests on.

    Attributes:
        file: the image's name.
        classes: the likeliest classes, best first.
        probabilities: of them, 0 to 1.
        unknown: whether the image is likely of no known class, as ``maam.predict`` says it.
        evidence: float32 (h, w), for the first class, on the grid of the network's last maps, which
            covers what the network sees of the image; None for a network without maps.
        exact: whether it is a class-activation map (Zhou et al. 2016, arXiv 1512.04150), whose mean
            is the logit without its bias; else Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391).
        agent_names: of the A agents of one module; empty for a network without agents.
        agents: float32 (A, h', w'): how much each agent adds, place by place; None without agents.
        picture: the image, upright, in RGB, of at most 512 pixels a side.
        seen: left, top, right, bottom of what the network sees, as parts of width and height.
        error: why the image could not be read; then all else but ``file`` is empty.
    """

    file: str
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    unknown: bool = False
    evidence: np.ndarray | None = None
    exact: bool = False
    agent_names: tuple[str, ...] = ()
    agents: np.ndarray | None = None
    picture: Image.Image | None = None
    seen: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    error: str | None = None


def explain(
    run: str | os.PathLike[str],
    images: Source | Iterable[Source],
    top_k: int = 3,
    framework: str = "auto",
    stdin: BinaryIO | None = None,
    model: Any = None,
) -> Iterator[Explanation]:
    """Classify images, and say where the evidence for each answer lies.

    An image that can't be read gives an ``Explanation`` with an ``error``; the next one follows.

    Args:
        run: a run folder or a shipped model.
        images: as ``maam.predict`` takes them.
        top_k: how many classes to name; all of them if there are fewer.
        framework: ``mindspore``, ``torch``, or ``auto``: what trained the run.
        stdin: what ``-`` reads; this process's standard input when None.
        model: the network, for a run of a network of one's own. It gets the run's weights.

    Example:
        >>> for answer in maam.explain("runs/digits-maam", ["three.png"]):
        ...     print(answer.classes[0], answer.evidence.round(1))

    Raises:
        MaamError: at once, if the run or an option is not usable, or the network has no maps.
    """
    if top_k < 1:
        raise MaamError(f"`top_k` must be 1 or more, not {top_k}")
    meta = find_run(run).read_meta()
    backend = frameworks.use(framework_for(model, framework, meta.framework))
    backend.set_device("CPU")
    net, meta = backend.load_model(run, model)
    network = _Network(backend, net, meta)
    network.check(str(run))
    given = [images] if isinstance(images, Source) else images
    return network.explain(find_images(given, stdin), top_k)


def answer(explanation: Explanation) -> str:
    """The classes and their probabilities, in one line; "unknown, perhaps" before them if so."""
    named = ", ".join(
        f"{name} {probability:.1%}"
        for name, probability in zip(explanation.classes, explanation.probabilities, strict=True)
    )
    return PERHAPS * explanation.unknown + named


def draw(explanation: Explanation, folder: Path) -> Path:
    """Write an explanation as a PNG: the image, the evidence over it, the maps of the agents.

    Args:
        explanation: of an image that could be read.
        folder: made if need be. A file there stays: the new one gets a number.

    Returns:
        The file, called as the image is.

    Raises:
        MaamError: it can't be written.
    """
    frameworks.require("drawing", "torch", "matplotlib")
    from maam.report.evidence import draw_evidence

    picture = explanation.picture
    assert picture is not None, explanation.error
    ours = not folder.exists()
    make_folder(folder)
    if ours:  # a training on a folder around it leaves it out
        write_atomic(folder / PICTURES, "")
    path = _free_path(folder, explanation.file)
    heading = answer(explanation)
    evidence, agents = explanation.evidence, explanation.agents
    draw_evidence(
        picture,
        None if evidence is None else heat(picture, evidence, explanation.seen),
        (Path(explanation.file).name, f"evidence for {explanation.classes[0]}"),
        [] if agents is None else list(zip(explanation.agent_names, agents, strict=True)),
        heading,
        path,
    )
    return path


@dataclass(frozen=True)
class _Network:
    """A trained network in its framework."""

    backend: Backend
    net: Any
    meta: RunMeta

    def check(self, run: str) -> None:
        """Refuse a network without maps."""
        channels, height, width = self.meta.image_shape
        black = np.zeros((1, height, width, channels), np.uint8)
        maps = self.backend.class_maps(self.net, black, self.preprocessing)
        if maps.maps is None:
            raise MaamError(
                f"{run} holds {self.meta.model}, a network without maps of the image: there is "
                "nothing to show; train a network of convolutions, see `maam models`"
            )

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing.from_dict(self.meta.preprocessing)

    def explain(self, items: Iterator[Item], top_k: int) -> Iterator[Explanation]:
        """Batch by batch."""
        while batch := list(itertools.islice(items, _BATCH)):
            check_signals()
            opened = [self._open(item) for item in batch]
            answers = iter(
                self._answers([each for each in opened if not isinstance(each, str)], top_k)
            )
            for item, each in zip(batch, opened, strict=True):
                if isinstance(each, str):
                    yield Explanation(item.name, error=each)
                else:
                    yield next(answers)

    def _open(self, item: Item) -> tuple[str, Image.Image, np.ndarray] | str:
        """Name, picture and pixels; or the reason why there are none."""
        if isinstance(item.image, str):
            return item.image
        how = self.preprocessing
        try:
            seen = open_picture(item.image, how.size)  # as ``predict`` reads it
            picture = open_picture(item.image, (SIDE, SIDE))
        except UnreadableImage as error:
            return error.reason
        pixels = fit(seen, how.size, how.channels)
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        return item.name, picture, pixels

    def _answers(
        self, opened: Sequence[tuple[str, Image.Image, np.ndarray]], top_k: int
    ) -> Iterator[Explanation]:
        if not opened:
            return
        how, classes = self.preprocessing, self.meta.classes
        pixels = np.stack([each for *_, each in opened])
        maps = self.backend.class_maps(self.net, pixels, how)
        probabilities = softmax(maps.logits)
        for number, (name, picture, _) in enumerate(opened):
            row = probabilities[number]
            best = np.argsort(-row, kind="stable")[:top_k].tolist()
            yield Explanation(
                file=name,
                classes=tuple(classes[each] for each in best),
                probabilities=tuple(row[best].tolist()),
                unknown=self.meta.is_unknown(float(row[best[0]])),
                evidence=None if maps.maps is None else maps.maps[number],
                exact=maps.exact,
                agent_names=maps.agents.names if maps.agents else (),
                agents=maps.agents.maps[number] if maps.agents else None,
                picture=picture,
                seen=seen_part(picture.size, how.size),
            )


def _free_path(folder: Path, name: str) -> Path:
    """A PNG in ``folder``, called as the image is, which is not there yet."""
    stem = "stdin" if name == "-" else Path(name).stem or "image"
    stem = os.fsdecode(os.fsencode(stem.replace("\0", ""))[:_STEM_BYTES])
    for number in itertools.count(1):
        path = folder / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png")
        if not os.path.lexists(path):
            return path
    raise AssertionError

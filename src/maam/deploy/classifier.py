"""A trained network and what its images must look like, from a run folder or its ONNX file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from maam.core.errors import MaamError
from maam.core.metrics import softmax
from maam.core.run_meta import RunMeta
from maam.data.files.conversion import fit, to_rgb
from maam.data.files.decoding import UnreadableImage, decode
from maam.data.files.packs import PackedImage
from maam.data.preprocessing import Preprocessing
from maam.deploy.onnx import Network
from maam.models.weights import find_run


class Classifier:
    """A trained network and what its images must look like.

    Attributes:
        classes: K class names, in the order of the probabilities.
        size: (H, W) to which every image is fitted.
        channels: 1 (grey) or 3 (RGB).
        preprocessing: turns fitted images into the network's input.
        meta: of the run.
    """

    def __init__(self, meta: RunMeta, network: Network) -> None:
        self.classes = meta.classes
        self.preprocessing = Preprocessing.from_dict(meta.preprocessing)
        self.size = self.preprocessing.size
        self.channels = self.preprocessing.channels
        self.meta = meta
        self._network = network

    @classmethod
    def load(cls, run: str | os.PathLike[str]) -> Classifier:
        """The classifier of a run folder, a shipped model, or the ONNX file of a run.

        Raises:
            MaamError: it is none, or damaged, or a folder's ``meta.json`` and ``model.onnx`` do not
                fit together.
        """
        folder = find_run(run)
        if folder.path.suffix.lower() == ".onnx" and not folder.path.is_dir():
            return cls._of_file(folder.path)
        if not folder.path.is_dir():
            what = "is a file, not a folder" if folder.path.exists() else "does not exist"
            raise MaamError(
                f"{folder} {what}: name a run folder, as `maam train` makes it, or its model.onnx"
            )
        meta = folder.read_meta()
        if meta.own and meta.metrics and not folder.model.exists():
            raise MaamError(
                f"{folder} has no {folder.model.name}: its network could not be written as ONNX; "
                "maam.evaluate(RUN, model=net) scores images in Python"
            )
        network = Network(folder.model)
        again = f"{folder.meta.name} and {folder.model.name} must come from one run: train again"
        inner = network.meta
        if inner and (inner.classes, inner.preprocessing) != (meta.classes, meta.preprocessing):
            raise MaamError(
                f"{folder.model} has other classes or another preprocessing than "
                f"{folder.meta.name}; {again}"
            )
        classifier = cls(meta, network)
        classifier._check(str(folder.model), again)
        return classifier

    @classmethod
    def _of_file(cls, path: Path) -> Classifier:
        if not path.exists():
            raise MaamError(f"{path} does not exist: name the ONNX file of a run, or its folder")
        network = Network(path)
        if network.meta is None:
            raise MaamError(
                f"{path} is a bare network, without classes and preprocessing: name its run "
                "folder, or what `maam export` has written"
            )
        classifier = cls(network.meta, network)
        classifier._check(str(path), "export it anew")
        return classifier

    def prepare(self, image: Path | bytes | Image.Image | np.ndarray | PackedImage) -> np.ndarray:
        """uint8 (H, W, C) of a file, a file's content, a Pillow image, or an array.

        An array is uint8, (H, W) or (H, W, 1) grey, (H, W, 3) RGB or (H, W, 4) RGBA, of any size.

        Raises:
            UnreadableImage: ``image`` is none of these.
        """
        return fit(open_picture(image, self.size), self.size, self.channels)

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """float32 (N, K) of prepared images uint8 (N, H, W, C)."""
        if not self._network.whole:
            return self._network(self.preprocessing(pixels))
        return self._network(colour(pixels))

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """float32 (N, K) of prepared images uint8 (N, H, W, C); NaN where a logit is not finite."""
        with np.errstate(invalid="ignore"):
            return softmax(self.logits(pixels)).astype(np.float32)

    def classify(
        self, images: Sequence[Path | Image.Image | np.ndarray], batch_size: int = 64
    ) -> np.ndarray:
        """Probabilities float32 (N, K) of N images, ``batch_size`` at a time.

        Raises:
            MaamError: an image can't be read; ``predict`` goes on with the next one instead.
        """
        rows = [np.empty((0, len(self.classes)), np.float32)]
        for start in range(0, len(images), batch_size):
            batch = [self.prepare(image) for image in images[start : start + batch_size]]
            rows.append(self.probabilities(np.stack(batch)))
        return np.concatenate(rows)

    def _check(self, name: str, again: str) -> None:
        """Refuse a network that does not fit its metadata, by its shapes and on a black image."""
        wanted, expected = self._network.image_shape, [self.channels, *self.size]
        # Of a network for images of any size, H and W are names, not numbers.
        named = [w if isinstance(w, int) else e for w, e in zip(wanted, expected, strict=False)]
        if len(wanted) != 3 or named != expected:
            raise MaamError(
                f"{name} takes images {wanted} (C, H, W), meta.json says {expected}; {again}"
            )
        try:  # with two images: a batch size of 1 may have been frozen into the network
            shape = self.logits(np.zeros((2, *self.size, self.channels), np.uint8)).shape
        except Exception as error:  # ONNX Runtime's errors have no common class of their own
            raise MaamError(f"{name} does not run: {one_line(error)[:300]}; {again}") from None
        if shape != (2, len(self.classes)):
            raise MaamError(
                f"{name} gives logits {shape} for 2 images, its metadata names "
                f"{len(self.classes)} classes; {again}"
            )


def colour(images: np.ndarray) -> np.ndarray:
    """Grey images (N, H, W, 1) as RGB, which the file of a run takes; RGB ones as they are."""
    return images if images.shape[3] == 3 else np.repeat(images, 3, axis=3)


def open_picture(
    image: Path | bytes | Image.Image | np.ndarray | PackedImage, size: tuple[int, int]
) -> Image.Image:
    """An image, given as ``Classifier.prepare`` takes it, upright and in RGB.

    Args:
        image: a file, a file's content, a Pillow image, an array, or an image of a pack.
        size: (H, W) that it will be fitted to; see ``decode``.

    Raises:
        UnreadableImage: it is none of these.
    """
    if isinstance(image, (Path, bytes)):
        return decode(image, size=size)
    try:
        image = image.decode() if isinstance(image, PackedImage) else image
        return to_rgb(_from_array(image) if isinstance(image, np.ndarray) else image)
    except Exception as error:  # Pillow reads an opened file only now
        raise UnreadableImage("image", one_line(error)) from error


def one_line(error: Exception) -> str:
    """What an error says, its line breaks left out."""
    return " ".join(str(error).split())


def _from_array(pixels: np.ndarray) -> Image.Image:
    if pixels.dtype != np.uint8:
        raise ValueError(f"an array of {pixels.dtype}: expected uint8, 0 to 255")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if not pixels.size or (pixels.ndim != 2 and pixels.shape[2:] not in ((3,), (4,))):
        raise ValueError(f"an array {pixels.shape}: expected (H, W), or (H, W, C) of 1, 3 or 4")
    return Image.fromarray(pixels)

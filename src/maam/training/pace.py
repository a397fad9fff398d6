"""How many images a training gets through in its time, by timing a few real steps."""

from __future__ import annotations

from collections.abc import Set
from math import isinf

from maam.core.config import TrainConfig
from maam.core.frameworks import Backend
from maam.data import Dataset
from maam.data.augment.resizing import small_size
from maam.models.registry import create_checked
from maam.models.weights import find_run
from maam.training.budget import Budget
from maam.training.run import SETTLING_PASSES, YOUNG_STEPS
from maam.training.small_first import check_small, small_epochs

USED = 0.8  # of the time that is left for steps: other programs run too
SCORING = 0.4  # the time to score an image, as a share of that to train on it

# Scores, export, pictures and report, but for the images to score; and Python's start.
CLOSING_SECONDS = 25.0


class Pace:
    """Images, the time for them, and how fast steps are here.

    Args:
        dataset: the images.
        backend: the framework, with its device set.
        budget: the time.
        batch: images in a timed step, unless fewer are given.
        given: the options that a user gave.
    """

    def __init__(
        self, dataset: Dataset, backend: Backend, budget: Budget, batch: int, given: Set[str]
    ) -> None:
        self.dataset, self.given = dataset, given
        self.backend, self._budget, self._batch = backend, budget, batch
        self._seconds: dict[tuple[str, int, int, int], float] = {}

    def timed_batch(self, config: TrainConfig) -> int:
        """Images in the first timed steps."""
        return min(self._batch, config.batch_size if "batch_size" in self.given else self._batch)

    def seconds(
        self,
        config: TrainConfig,
        batch: int | None = None,
        size: tuple[int, int] | None = None,
    ) -> float:
        """Of training on an image, in steps of ``batch`` of them; of the size they have, or one
        that is given."""
        batch, size = batch or self.timed_batch(config), size or self.dataset.image_shape[:2]
        key = (config.model, batch, *size)
        if key not in self._seconds:
            step = self._time(config.model, config, batch, size)
            if config.teacher:  # it answers, and does not learn
                step += SCORING * self._time(
                    find_run(config.teacher).read_meta().model, config, batch, size
                )
            self._seconds[key] = step / batch
        return self._seconds[key]

    def _time(self, model: str, config: TrainConfig, batch: int, size: tuple[int, int]) -> float:
        height, width, channels = self.dataset.image_shape
        classes = len(self.dataset.classes)
        net = create_checked(self.backend, model, classes, channels, (height, width))
        if size != (height, width):
            name = model if model == config.model else f"the teacher ({model})"
            check_small(name, net, self.dataset.image_shape, self.backend)
        config = config.model_copy(update={"batch_size": batch})
        return self.backend.time_step(net, config, classes, (channels, *size))

    def epochs(
        self, config: TrainConfig, batch: int | None = None, settling: int | None = None
    ) -> float:
        """How many epochs the time allows; below 1 if none.

        Args:
            config: the options.
            batch: images in a step; those of the first timed steps if not given.
            settling: images in one of the batches that settle norms after the first epochs; as in
                a step if not given.
        """
        train = len(self.dataset.train)
        step = min(settling or batch or self.timed_batch(config), train)
        young = (YOUNG_STEPS - 1) // -(-train // step)  # epochs after which norms are settled
        each = train + SCORING * len(self.dataset.val)
        more = SCORING * SETTLING_PASSES * step
        images = self._images(config, batch)
        first = images / (each + more)
        found = first if first <= young else (images - young * more) / each
        return self._with_small(config, batch, found, train / each) if config.small_until else found

    def _with_small(
        self, config: TrainConfig, batch: int | None, whole: float, share: float
    ) -> float:
        """How many epochs there is time for if the first ones see smaller images.

        Args:
            config, batch: as of ``epochs``.
            whole: the same without smaller images.
            share: of an epoch's time that is training.
        """
        if isinf(whole):
            return whole
        size = small_size(self.dataset.image_shape[:2])
        saved = share * (1 - self.seconds(config, batch, size) / self.seconds(config, batch))
        number = max(int(whole), 1)
        while True:
            more = config.model_copy(update={"epochs": number + 1})
            if number + 1 - saved * small_epochs(more) > whole:
                return max(whole, number) if whole >= 1 else whole
            number += 1

    def images(self, config: TrainConfig, batch: int) -> int:
        """How many training images of a single epoch the time allows; below 1 if none."""
        others = len(self.dataset.val) + SETTLING_PASSES * batch
        return int(self._images(config, batch) - SCORING * others)

    def _images(self, config: TrainConfig, batch: int | None) -> float:
        """How many images the time allows to train on."""
        seconds = self.seconds(config, batch)
        left = (self._budget.left() - self.closing(config)) * USED
        return max(left, self._budget.least) / seconds

    def closing(self, config: TrainConfig) -> float:
        """Seconds for what comes after the last epoch."""
        return CLOSING_SECONDS + SCORING * self.seconds(config) * len(self.dataset.test)

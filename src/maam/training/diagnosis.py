"""What a person should doubt about a finished training, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maam.core.metrics import best_epoch

LEARNT, GAP = 0.9, 0.25  # training accuracy from which on a gap to validation means overfitting
WIDE = 0.1  # of an interval


def doubts(
    scores: Mapping[str, Any], history: Sequence[Mapping[str, Any]], copies: int = 0
) -> Iterator[str]:
    """One line a doubt, most serious first.

    Args:
        scores: as ``maam.core.metrics.score`` gives them.
        history: a row an epoch.
        copies: how many of the scored images are also images that the network has learned from.
    """
    low, high = scores["accuracy_interval"]
    counts = [row["images"] for row in scores["per_class"]]
    guessed = max(counts) / sum(counts)
    if low <= guessed < 1:
        yield (
            f"the accuracy ({scores['accuracy']:.1%}) may be no better than that of naming the "
            f"most common class always ({guessed:.1%}): look at plots/batch.png, whether the "
            "classes can be told apart there; give more "
            "images, a larger `image_size` or more `epochs`"
        )
    if copies:
        yield (
            f"{copies:,} of the {scores['images']:,} scored images are copies, pixel for pixel, of "
            "images that it was trained or validated with, so the scores are too good: `maam data` "
            "names the copies; keep one of each"
        )
    kept = best_epoch(history) or history[-1]
    trained, validated = kept["train_accuracy"], kept["val_accuracy"]
    if validated is not None and trained >= LEARNT and trained - validated >= GAP:
        yield (
            f"the training images are learnt ({trained:.0%}), the validation images are not "
            f"({validated:.0%}): add images, begin with `pretrained` weights, or train for "
            "fewer `epochs`"
        )
    if high - low > WIDE:
        yield (
            f"{scores['images']} images are few to score with: the accuracy on others like them "
            f"lies between {low:.0%} and {high:.0%} (95 % interval)"
        )

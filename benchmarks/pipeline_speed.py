"""Is the input pipeline fast enough? Its images per second beside the training's, in turns.

python benchmarks/pipeline_speed.py
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import median

import numpy as np

from maam.core import environment
from maam.core.config import TrainConfig
from maam.core.files import write_atomic
from maam.data.augment import Augmentation
from maam.data.base import ArraySplit
from maam.data.preprocessing import Preprocessing
from maam.mindspore import runtime
from maam.mindspore.loader import train_batches
from maam.mindspore.models import create_model
from maam.mindspore.step import make_optimizer, make_train_step

ROUNDS, STEPS, BATCH, IMAGES = 5, 20, 64, 12_800
HOW = Augmentation("crop-flip")
OUTPUT = Path(__file__).parents[1] / "results" / "pipeline_speed.json"


def main() -> None:
    from mindspore import Tensor  # only now: maam.mindspore sets what MindSpore reads

    runtime.set_device("CPU")
    runtime.set_seed(0)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, 32, 32, 3)).astype(np.uint8)
    labels = rng.integers(0, 10, IMAGES).astype(np.int32)
    split = ArraySplit(images, labels, ("",) * IMAGES)
    preprocessing = Preprocessing.fit(split, "unit")
    config = TrainConfig(epochs=1)
    net = create_model("maam").set_train(True)
    step = make_train_step(net, make_optimizer(net, config), config)
    batch = Tensor(preprocessing(images[:BATCH])), Tensor(labels[:BATCH])
    rate, decay = Tensor(config.learning_rate), Tensor(0.0)

    def train() -> float:
        start = time.perf_counter()
        for _ in range(STEPS):
            loss, _ = step(*batch, rate, decay)
            loss.asnumpy()
        return STEPS * BATCH / (time.perf_counter() - start)

    def load(epoch: int) -> float:
        start = time.perf_counter()
        seen = sum(len(y) for _, y in train_batches(split, preprocessing, BATCH, HOW, (0, epoch)))
        return seen / (time.perf_counter() - start)

    train()  # compiles
    rounds = [(load(number), train()) for number in range(ROUNDS)]
    pipeline, training = (round(median(values)) for values in zip(*rounds, strict=True))
    report = {
        "what": "images/s of the input pipeline (pad 4, crop, flip, [0,1], CHW) and of training "
        "maam on one ready batch; 3x32x32, batch 64, in turns",
        "command": "python benchmarks/pipeline_speed.py",
        "environment": environment.environment(),
        "pipeline_images_per_second": pipeline,
        "training_images_per_second": training,
        "ratio": round(pipeline / training, 1),
        "rounds": [[round(a), round(b)] for a, b in rounds],
    }
    write_atomic(OUTPUT, json.dumps(report, indent=1) + "\n")
    print(f"pipeline {pipeline:,}/s, training {training:,}/s: {pipeline / training:.1f} times")


if __name__ == "__main__":
    main()

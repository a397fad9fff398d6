"""Write a few handwritten digits as PNG files, to have real images to predict.

They come from the fixed test split, so no training run has seen them.

    python examples/save_digits.py FOLDER
"""

import sys
from pathlib import Path

from PIL import Image

from maam.data import load_dataset

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
digits = load_dataset("digits")
for number in range(10):
    image, label = digits.test.pixels()[number, :, :, 0], digits.test.labels[number]
    Image.fromarray(image).save(folder / f"{number}-is-a-{label}.png")

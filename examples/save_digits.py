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
for image, label, _ in zip(digits.test.images[:10, :, :, 0], digits.test.labels, range(10)):
    number = sum(1 for _ in folder.glob(f"{label}-*.png")) + 1
    Image.fromarray(image).save(folder / f"{label}-{number}.png")

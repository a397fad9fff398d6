from __future__ import annotations

from typing import Any

import pytest
from matplotlib.figure import Figure

from maam.report import gallery, plots


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that have been written, for a look at what is on them."""
    figures: list[Figure] = []
    save = plots.save_figure

    def keep(figure: Figure, *args: Any, **options: Any) -> None:
        save(figure, *args, **options)
        figures.append(figure)

    for module in (gallery, plots):
        monkeypatch.setattr(module, "save_figure", keep)
    return figures

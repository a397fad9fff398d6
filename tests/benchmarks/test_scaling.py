"""What several processes are projected to do."""

from __future__ import annotations

import pytest
from scaling import NETWORKS, WORKERS, Network, page, project, projections

ROW = {"framework": "torch", "workers": 1, "step_ms": 100.0, "gradient_bytes": 10**9}


def test_a_ring_sends_nearly_all_gradients_twice():
    network = Network(bandwidth=1e9, latency=0.0)
    assert project(0.1, 10**9, 1, network) == 0.1
    assert project(0.1, 10**9, 2, network) == pytest.approx(1.1)
    assert project(0.1, 10**9, 1024, network) == pytest.approx(0.1 + 2 * 1023 / 1024)
    assert project(0.1, 0, 5, Network(1e9, 0.01)) == pytest.approx(0.18)


def test_the_page_has_a_row_for_each_network():
    two = {**ROW, "workers": 2, "step_ms": 125.0}
    measured = [{**row, "images_per_second": 6400 * row["workers"] / 1.0} for row in (ROW, two)]
    rows = projections(ROW)
    assert len(rows) == len(NETWORKS) * len(WORKERS)
    assert all(0 < row["efficiency"] < 1 for row in rows)
    report = {"command": "it", "what": "a", "measured": measured, "projected": rows}
    text = page(report)
    assert all(name in text for name in NETWORKS)
    assert "| 2.00 |" in text

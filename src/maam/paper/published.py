"""What the paper says, in figures."""

from __future__ import annotations

from maam.paper.runs import METRICS

# Tables 1 and 2, as fractions, under our names of the models.
SCORES: dict[str, dict[str, float]] = {
    model: dict(zip(METRICS, scores, strict=True))
    for model, scores in {
        "maam": (0.870, 0.871, 0.871, 0.871),
        "cnn": (0.583, 0.580, 0.579, 0.584),
        "mlp": (0.496, 0.490, 0.596, 0.490),
        "rnn": (0.319, 0.308, 0.309, 0.319),
        "maam-cnn": (0.314, 0.303, 0.304, 0.313),
        "maam-no-attention": (0.320, 0.316, 0.312, 0.312),
        "maam-no-reduce": (0.255, 0.252, 0.251, 0.254),
    }.items()
}
NAMES = {
    "maam": "MAAM",
    "cnn": "CNN",
    "mlp": "MLP",
    "rnn": "RNN",
    "maam-cnn": "t/CNN",
    "maam-no-attention": "o/Agent Attention",
    "maam-no-reduce": "o/Reduce Layer",
}
PARAMETERS = 2_300_000  # section 3.3: "only 2.3M parameters"
SPEED = 1.3  # section 3.3: "30% faster training speed than traditional frameworks"
FEWER = 0.2  # section 3.3: "reducing computational graph nodes by 20%"


def accuracy(model: str) -> float:
    """The accuracy of a row of Tables 1 and 2."""
    return SCORES[model]["accuracy"]

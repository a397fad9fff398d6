"""Formats results for people: the model card of a run folder, a score table, a metrics CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from maam.core.metrics import best_epoch
from maam.core.run_meta import RunMeta
from maam.report.markdown import UNKNOWN, code, markdown_table, plain
from maam.report.origin import origin
from maam.report.usage import can_predict, interface, own_rows, python_program

# The plots of a run folder, in the order of the model card.
PLOTS = {
    "curves.png": "Loss and accuracy by epoch",
    "agent_weights.png": "Weight of each agent by epoch",
    "confusion.png": "Confusion matrix",
    "mistakes.png": "The most confident mistakes",
    "batch.png": "A training batch as the network sees it",
}

# Score -> name for people. All are fractions, shown in %.
_FRACTIONS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy (mean recall)",
    "top5_accuracy": "Top-5 accuracy",
    "f1_macro": "F1, macro average",
    "precision_macro": "Precision, macro average",
    "recall_macro": "Recall, macro average",
    "ece": "Calibration error (ECE, 15 bins)",
}

MEASURES = ("precision", "recall", "f1")
INTERVAL = "Accuracy, 95 % interval (Wilson)"

# Of more classes than this, the card and the screen show the ones that are told worst.
ALL_CLASSES = 100
WORST_CLASSES = 20


def rows_to_show(per_class: Sequence[Mapping[str, Any]]) -> list[int]:
    """Which rows of a table by class a person can read: all, or those with the lowest F1."""
    if len(per_class) <= ALL_CLASSES:
        return list(range(len(per_class)))
    known = [i for i, row in enumerate(per_class) if row.get("f1") is not None]
    return sorted(known, key=lambda i: per_class[i]["f1"])[:WORST_CLASSES]


def scores_table(scores: Mapping[str, Any]) -> str:
    """Markdown table of the overall scores, in %; a score that is missing is said to be."""
    rows = [("Images", _count(scores.get("images")))]
    for key, name in _FRACTIONS.items():
        if key == "top5_accuracy" and key in scores and scores[key] is None:
            continue  # says nothing when there are five classes or fewer
        rows.append((name, _percent(scores.get(key))))
        if key == "accuracy" and (interval := scores.get("accuracy_interval")):
            rows.append((INTERVAL, " to ".join(map(_percent, interval))))
    counted, known = scores.get("macro_classes"), len(scores.get("per_class", ()))
    if counted is not None and counted < known:
        rows.append(("Classes in the macro averages", f"{counted:,} of {known:,}"))
    loss = scores.get("loss")
    rows.append(("Cross-entropy loss (nats)", UNKNOWN if loss is None else f"{loss:.4f}"))
    return markdown_table(("Score", "Value"), rows)


def model_card(
    meta: RunMeta,
    scores: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    command: str,
) -> str:
    """Markdown model card of a run folder, to be its README.md. Links the files of ``PLOTS``.

    Args:
        meta: of the run.
        scores: from ``maam.core.metrics.score``, of the test split unless
            ``meta.metrics["split"]`` says ``val``; empty if nothing was scored.
        history: the rows of metrics.jsonl.
        command: the command lines that repeat the run.

    Anything missing is written as "not recorded"; nothing raises.
    """
    model, data = plain(meta.model), plain(meta.data)
    own = ", with `net` as it was before the training" if meta.own else ""
    sections = [
        f"# {model} trained on {data}",
        "An image classifier made with `maam`.",
        _summary(meta),
        f"## Results on the {_scored(meta)[0]} images",
        _results(meta, scores),
        *_plots(scores, history),
        "## How it was trained",
        _training(meta, history),
        *_stopped(meta, history),
        f"Given in this folder{own}, this repeats the run in a new one:",
        code("python" if meta.own else "sh", command),
        "## How to use it",
        _usage(meta),
        *(["## How to use it without maam", interface(meta)] if can_predict(meta) else []),
        "## Limits",
        _limits(meta),
    ]
    return "\n\n".join(sections) + "\n"


def _stopped(meta: RunMeta, history: Sequence[Mapping[str, Any]]) -> list[str]:
    """That a repetition trains longer, where minutes or a signal ended the run."""
    wanted, done = meta.config.get("epochs"), history[-1].get("epoch") if history else None
    early = meta.config.get("early_stopping")  # which a repetition would do again
    if early or not (isinstance(wanted, int) and isinstance(done, int) and done < wanted):
        return []
    return [f"It was stopped after epoch {done} of {wanted}; a repetition trains all {wanted}."]


def _summary(meta: RunMeta) -> str:
    classes = meta.classes
    names = ", ".join(plain(name) for name in classes[:100]) or UNKNOWN
    rest = f" and {len(classes) - 100} more, in `meta.json`" if len(classes) > 100 else ""
    images, deployed = meta.images, meta.deployed
    rows = [
        ("Model", plain(meta.model)),
        *own_rows(meta),
        ("Parameters", _count(meta.parameters)),
        ("Multiply-accumulates per image", _count(meta.macs)),
        *(
            (f"{name} of `model.onnx`, folded", _count(deployed.get(key)))
            for key, name in (("parameters", "Parameters"), ("macs", "Multiply-accumulates"))
            if deployed
        ),
        ("Input", _size(meta)),
        (f"Classes ({len(classes)})", names + rest),
        ("Data", plain(meta.data)),
        ("Source of the data", plain(meta.data_source)),
        *((f"Images, {split}", _count(images.get(split))) for split in ("train", "val", "test")),
    ]
    return markdown_table(("Property", "Value"), rows)


def _scored(meta: RunMeta) -> tuple[str, str]:
    """The name of the split that was scored, and what a reader must know about it."""
    if (meta.metrics or {}).get("split") == "val":
        return "validation", (
            "There were no test images. The validation images also chose the best epoch, so these "
            "scores flatter the model."
        )
    return "test", "These images were used neither to train nor to choose the epoch."


def _results(meta: RunMeta, scores: Mapping[str, Any]) -> str:
    if not scores:
        return "No image was held out, so nothing is known about unseen images."
    per_class = scores.get("per_class", ())
    shown = rows_to_show(per_class)
    rows = (
        (
            plain(row.get("class")),
            _count(row.get("images")),
            *("-" if row.get(key) is None else _percent(row[key]) for key in MEASURES),
        )
        for row in (per_class[index] for index in shown)
    )
    by_class = markdown_table(("Class", "Images", "Precision", "Recall", "F1"), rows)
    if len(shown) < len(per_class):
        by_class = (
            f"The {len(shown)} classes with the lowest F1 (all {len(per_class):,} are in "
            f"`meta.json`):\n\n{by_class}"
        )
    return f"{_scored(meta)[1]}\n\n{scores_table(scores)}\n\n{by_class}"


def _plots(scores: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> list[str]:
    """Links to the plots that a run with these results has."""
    drawn = {
        "curves.png": bool(history),
        "agent_weights.png": any(row.get("agent_weights") for row in history),
        "confusion.png": bool(scores),
        "mistakes.png": bool(scores),
        "batch.png": True,
    }
    return [f"![{caption}](plots/{name})" for name, caption in PLOTS.items() if drawn[name]]


def _training(meta: RunMeta, history: Sequence[Mapping[str, Any]]) -> str:
    best = best_epoch(history)
    rows = [
        ("Epochs trained", plain(history[-1].get("epoch")) if history else UNKNOWN),
        (
            "Best validation accuracy",
            f"{_percent(best['val_accuracy'])} at epoch {plain(best.get('epoch'))}"
            if best
            else "no validation images were held out: the last epoch is kept",
        ),
        ("Time spent in training", _duration(meta.seconds)),
    ]
    options = (
        (f"`{key}`", "not set" if value in (None, "") else plain(value))
        for key, value in meta.config.items()
    )
    versions = (
        (plain(key), plain(value) if value != "" else "not set")
        for key, value in meta.environment.items()
    )
    return "\n\n".join(
        (
            markdown_table(("Training", "Value"), rows),
            markdown_table(("Option", "Value"), options),
            markdown_table(("Environment", "Value"), versions),
        )
    )


def _usage(meta: RunMeta) -> str:
    lines = ["maam predict . photo.jpg", "maam evaluate ."] if can_predict(meta) else []
    commands = code("sh", "\n".join(lines)) + "\n\n" if lines else ""
    return (
        f"In this folder (elsewhere, its path stands in place of `.`):\n\n{commands}"
        f"{code('python', python_program(meta, '.'))}\n\n"
        f"Before the network sees an image, `maam` {_preprocessing(meta)}"
    )


def _preprocessing(meta: RunMeta) -> str:
    preprocessing = meta.preprocessing
    colours = {1: "turns it grey", 3: "turns it into RGB colour"}
    channels = preprocessing.get("channels") or 0
    colour = colours.get(channels, "gives it the colours that the network expects")
    mean, std = (preprocessing.get(key) or () for key in ("mean", "std"))
    words = f"{colour}, fits it to {_size(meta)} and divides its values by 255"
    if any(mean) or any(value != 1 for value in std):
        words += f", then subtracts {_numbers(mean)} and divides by {_numbers(std)}, by channel"
    return f"{words}."


def _limits(meta: RunMeta) -> str:
    answers = (
        'Its answer is "unknown" where the best probability is below '
        f"{meta.unknown['threshold']:.4f}, for at most {100 * meta.unknown['share']:g} % of images "
        "of these classes. An image that shows something else may still be given a class."
        if meta.unknown
        else "It answers every image with one of these classes, even if it shows something else."
    )
    return (
        f"- It was trained on {plain(meta.data)}{origin(meta)}, and knows no other classes "
        "than those above.\n"
        f"- {answers}\n"
        "- The scores hold for images like those that were scored. Pictures taken in another way "
        "may do worse: measure with your own before you rely on it.\n"
        "- The licence of the training data, and what it allows you to do with the weights, is "
        "yours to check."
    )


def _count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def _percent(value: float | None) -> str:
    return UNKNOWN if value is None else f"{100 * value:.2f} %"


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _size(meta: RunMeta) -> str:
    preprocessing = meta.preprocessing
    try:
        height, width = preprocessing["size"]
    except (KeyError, TypeError, ValueError):
        return UNKNOWN
    return f"{height} x {width} pixels (height x width)"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return UNKNOWN
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {left:02d} s" if minutes else f"{seconds:.1f} s"

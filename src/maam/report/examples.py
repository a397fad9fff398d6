"""Single images in the report: the worst mistakes, and what the agents add."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maam.report.content import Example, Report
from maam.report.html import paragraph, percent, picture, section, text
from maam.report.pictures import maps_as_pictures

# From this probability of a wrong answer on, one may doubt the label.
DOUBTFUL = 0.95


def mistakes(report: Report) -> str:
    """The wrong answers that the network was surest of."""
    images, wrong = report.scores["images"], _wrong(report)
    if not wrong:
        return section("Mistakes", "mistakes", paragraph("There is none on these images."))
    shown = len(report.mistakes)
    which = "all" if shown == wrong else f"the {shown} that the network was surest of"
    words = [f"{wrong:,} of {images:,} images were given a wrong class. Here are {which}."]
    if any(example.heat for example in report.mistakes):
        words.append(
            "On the right, bright colours show what spoke for the wrong answer"
            + (", pale what the network did not see." if _cropped(report) else ".")
        )
    notes = []
    if any(example.probability >= DOUBTFUL for example in report.mistakes):
        notes.append(
            paragraph(
                "<span class='hint'>perhaps mislabelled?</span> marks wrong answers of "
                f"{percent(DOUBTFUL, 0)} and more. Look at the image: if the network is right, "
                "move the file to its class and train again.",
                "soft",
            )
        )
    if any(example.heat for example in report.mistakes):
        notes.append(paragraph(_method(report.exact), "soft"))
    else:
        notes.append(paragraph("This network has no maps that show where it looks.", "soft"))
    gallery = "".join(_mistake(example) for example in report.mistakes)
    return section(
        "The worst mistakes",
        "mistakes",
        paragraph(" ".join(words)),
        f'<div class="gallery">{gallery}</div>',
        *notes,
    )


def agents(report: Report) -> str:
    """What each agent adds in one layer, and what weight each has in every module."""
    weights = next(
        (row["agent_weights"] for row in reversed(report.history) if row.get("agent_weights")), []
    )
    view = report.agents
    if view is None and not weights:
        return ""
    parts = []
    if view is not None:
        example, shares = view.example, view.maps.mean((1, 2))
        shares = shares / max(float(shares.sum()), 1e-12)
        figures = [
            f"<figure>{picture(example.picture, example.name)}"
            f"<figcaption>the image: {text(example.answer)}, {percent(example.probability, 0)}"
            "</figcaption></figure>"
        ]
        pictures = maps_as_pictures(view.maps, 160)
        for name, share, image in zip(view.names, shares, pictures, strict=True):
            figures.append(
                f"<figure>{picture(image, name).replace('<img ', '<img class=pixels ')}"
                f"<figcaption>{text(name)}: {percent(share, 0)}</figcaption></figure>"
            )
        parts += [
            paragraph(
                "Agents look at the same maps with kernels of their own, and a weighted sum joins "
                "them. So much each adds, place by place, in the last of the modules with the "
                f"finest maps ({view.maps.shape[2]} x {view.maps.shape[1]}). All have one scale."
            ),
            f'<div class="agents">{"".join(figures)}</div>',
        ]
    if weights:
        parts += [
            paragraph("The weight of each agent in every module, after the last epoch:"),
            _weights(weights),
        ]
    return section("What the agents do", "agents", *parts)


def _wrong(report: Report) -> int:
    matrix = np.asarray(report.scores["confusion"])
    return int(matrix.sum() - np.trace(matrix))


def _cropped(report: Report) -> bool:
    height, width = report.meta.preprocessing["size"]
    return any(
        example.whole and abs(example.picture.width * height - example.picture.height * width) > 400
        for example in report.mistakes
    )


def _method(exact: bool) -> str:
    if exact:
        return (
            "The colours are class-activation maps (Zhou et al. 2016): over the whole image they "
            "add up to the network's answer."
        )
    return "The colours are Grad-CAM (Selvaraju et al. 2017), an estimate from gradients."


def _mistake(example: Example) -> str:
    images = picture(example.picture, example.name)
    if example.heat is not None:
        images += picture(example.heat, f"evidence for {example.answer}")
    doubt = example.probability >= DOUBTFUL
    hint = ' <span class="hint">perhaps mislabelled?</span>' if doubt else ""
    small = "" if example.whole else " small"
    return (
        f'<figure class="example{small}"><div class="pair">{images}</div><figcaption>'
        f"<b>{text(example.true)}</b> taken for <b>{text(example.answer)}</b>, "
        f"{percent(example.probability)}{hint}<br>{text(example.name)}</figcaption></figure>"
    )


def _weights(weights: Sequence[Sequence[float]]) -> str:
    most = max(map(len, weights))
    head = "".join(f'<th scope="col">agent {agent}</th>' for agent in range(1, most + 1))
    lines = []
    for number, row in enumerate(weights, 1):
        cells = "".join(
            f'<td style="--share:{weight:.2f}">{percent(weight, 0)}</td>' for weight in row
        )
        lines.append(f'<tr><th scope="row">module {number}</th>{cells}</tr>')
    return (
        f'<div class="scroll"><table class="weights"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )

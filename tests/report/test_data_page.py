"""The page on a data set: it says what is in it, shows any name, and asks for nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny_report import HOSTILE, Reader, make_data_report, shown

from maam.report.data_content import Finding
from maam.report.data_page import data_page


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "Ready to train: 24 images of 2 classes, and nothing stands out."),
        ({"advice": ["one"]}, "Training would take these 24 images of 2 classes, but look at"),
        (
            {"refusals": ["no"], "advice": ["one"]},
            "Training would refuse these 24 images of 2 classes: one thing has to be mended first.",
        ),
        ({"refusals": ["no", "yes"]}, "refuse these 24 images of 2 classes: 2 things have to be"),
    ],
)
def test_the_verdict_in_a_sentence(changes, verdict):
    assert verdict in Reader(data_page(make_data_report(("ant", "bee"), **changes))).text


def test_the_sections():
    report = make_data_report(
        ("ant", "bee"),
        advice=["shrinks: `image_size=96` suits them"],
        unreadable=[("x.png", "empty")],
        findings=[
            Finding("leaks", "Twins", "Keep one.", 7, [[shown("one.png"), shown("two.png")]]),
            Finding("dark", "Dark images", "Look.", 0, []),
        ],
    )
    page = data_page(report)
    text = Reader(page).text
    assert "<code>image_size=96</code> suits them" in page
    assert "ClassTrainingTestSome of its images" in text  # there are no validation images
    assert "Twins: 7Keep one. Here are the first 1 of 7.one.png, trainone.pngtwo.png" in text
    assert "Dark images" not in text
    assert "Unreadable files: 1" in text
    assert page.count("<img ") == 4
    assert page.count('class="absent"') == 0


def test_an_image_without_a_picture_is_still_named():
    gone = replace(shown("gone.png"), picture=None)
    page = data_page(
        make_data_report(("a", "b"), findings=[Finding("dark", "Dark", "Look.", 1, [[gone]])])
    )
    assert '<div class="absent">no picture</div>' in page
    assert "gone.png" in Reader(page).text


def test_many_classes_are_folded_the_smallest_first():
    classes = tuple(f"class {number:03}" for number in range(200))
    report = make_data_report(classes)
    train = {**report.counts["train"], "class 150": 3}
    page = data_page(replace(report, counts={**report.counts, "train": train}))
    text = Reader(page).text
    assert "176 more classes" in text  # 24 and the sum are seen
    assert text.index("class 150") < text.index("class 001")
    assert len(page) < 1_000_000


def test_hostile_names_are_shown_and_nothing_is_loaded():
    classes = (*HOSTILE, "x")
    findings = [Finding("leaks", "Twins", "Look.", 1, [[shown(name) for name in classes]])]
    unreadable = [(name, name) for name in classes]
    report = make_data_report(
        classes, findings=findings, unreadable=unreadable, advice=classes, refusals=classes
    )
    page = data_page(report)
    page.encode("utf-8")
    reader = Reader(page)
    assert "script" not in {tag for tag, _ in reader.tags}
    for tag, attributes in reader.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("data:image/jpeg;base64,", "#"))
    assert "default-src 'none'" in page
    for name in HOSTILE[:2]:
        assert reader.text.count(name) >= 6

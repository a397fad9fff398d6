"""The report: it says how good a network is, shows any name, and asks for nothing else."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_report import HOSTILE, Reader, make_report

from maam.core.footprint import Footprint
from maam.report.chart import training_chart
from maam.report.page import report_page
from maam.report.pictures import colours, heat, maps_as_pictures
from maam.report.verdict import confusions, in_words

MATRIX = np.array([[8, 2, 0], [0, 9, 1], [0, 0, 10]])


def test_the_verdict_in_sentences():
    page = Reader(report_page(make_report(("ant", "bee", "cat"), MATRIX))).text
    assert "Right on 90.0 % of 30 test images: all but about 1 in 10." in page
    assert "Most often ant is taken for bee: 2 of 10 images." in page
    assert "expect between 74.4 % and 96.5 % (95 % confidence" in page
    assert "largest class would be right on 33.3 %" in page
    assert "flatters" not in page


def test_validation_images_are_said_to_flatter():
    report = make_report(("ant", "bee", "cat"), MATRIX)
    assert report.meta.metrics
    meta = replace(report.meta, metrics={**report.meta.metrics, "split": "val"})
    page = Reader(report_page(replace(report, meta=meta))).text
    assert "of 30 validation images" in page
    assert "flatters the network" in page


def test_the_tables():
    page = report_page(make_report(("ant", "bee", "cat"), MATRIX))
    table = page.split('<table class="confusion">')[1].split("</table>")[0]
    assert re.findall(r"<td[^>]*>([^<]*)</td>", table) == ["8", "2", "", "", "9", "1", "", "", "10"]
    text = Reader(page).text
    assert "bee10" in text.replace(" ", "")  # the weakest class comes first
    assert "Training" in text and "Test" in text and "Validation" not in text.split("Data")[1]
    for part in ("93,582; 80,000 folded", "0.34 MB", "1 min 01 s", "module 1", "75 %"):
        assert part in text, part


def test_a_class_that_does_not_occur_comes_last_and_has_no_scores():
    matrix = np.array([[3, 0, 0], [0, 0, 0], [1, 0, 2]])
    page = report_page(make_report(("ant", "bee", "cat"), matrix))
    section = page.split('id="classes"')[1].split("</table>")[0]
    assert [section.index(name) for name in ("cat", "ant", "bee")] == sorted(
        section.index(name) for name in ("cat", "ant", "bee")
    )
    assert "<td>bee</td><td>0</td><td>-</td><td>-</td><td>-</td>" in section


def test_balanced_accuracy_doubts_and_what_is_called_unknown():
    report = make_report(("ant", "bee"), np.array([[6, 2], [0, 2]]))
    page = Reader(report_page(report)).text
    assert "87.5 %balanced accuracy" in page  # the mean of 75 % and 100 %
    assert 'Called "unknown"never: a class is always named' in page
    meta = replace(report.meta, unknown={"threshold": 0.613, "share": 0.02})
    few = "10 images are few to score with: <b>more</b>"
    html = report_page(replace(report, meta=meta, unknown=3, doubts=("a gap: fewer `epochs`", few)))
    page = Reader(html).text
    assert "below a probability of 61.3 %: 3 of the 10 scored images" in page
    assert "A gap: fewer epochs." in page and f"{few}." in page
    assert "<code>epochs</code>" in html


def test_what_it_needs_on_a_microcontroller():
    name = "On a microcontroller, C in int8"
    report = make_report(("ant", "bee", "cat"), MATRIX)
    assert name not in report_page(report)
    page = report_page(replace(report, footprint=Footprint(flash=110_592, ram=41_000)))
    assert f"{name}</th><td>40.1 KiB of RAM and 108 KiB of flash" in page


def test_mistakes_and_the_hint_for_sure_ones():
    page = Reader(report_page(make_report(("ant", "bee", "cat"), MATRIX))).text
    assert "ant taken for bee, 99.0 % perhaps mislabelled? 1.png" in page.replace("?1", "? 1")
    assert "ant taken for bee, 60.0 %2.png" in page
    assert "class-activation maps" in page


def test_no_mistakes_no_agents():
    report = make_report(("ant", "bee"), 5 * np.eye(2, dtype=int))
    page = Reader(report_page(replace(report, mistakes=[], agents=None, history=[]))).text
    assert "Right on 100.0 % of 10 test images: all." in page
    assert "There is none on these images." in page
    assert "What the agents do" not in page


def test_commands_quote_the_folder():
    page = Reader(report_page(make_report(("ant", "bee", "cat"), MATRIX))).text
    for command in (
        "maam predict 'runs/my photos' photo.jpg",
        "maam explain 'runs/my photos' photo.jpg",
        "maam evaluate 'runs/my photos' --data new-photos/ --split all",
        "maam train --recipe 'runs/my photos/config.toml'",
        "maam.predict('runs/my photos', ['photo.jpg'])",
    ):
        assert command in page


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=12), min_size=3, max_size=3, unique=True))
def test_any_name_is_shown_and_nothing_is_loaded(names):
    check(tuple(names))


def test_hostile_names_are_shown_and_nothing_is_loaded():
    check((*HOSTILE, "x"))


def check(classes: tuple[str, ...]) -> None:
    size = len(classes)
    report = make_report(classes, np.full((size, size), 2))
    shown = replace(report.mistakes[0], name=classes[0])
    page = report_page(replace(report, mistakes=[shown]))
    page.encode("utf-8")
    reader = Reader(page)
    assert "script" not in {tag for tag, _ in reader.tags}
    for tag, attributes in reader.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "xlink:href", "data", "action"):
            value = attributes.get(name) or "#"
            assert value.startswith(("data:image/jpeg;base64,", "#")), value
    style = page.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style and "@import" not in style
    assert "default-src 'none'" in page
    for number in range(size):
        if classes[number].isprintable() and not classes[number].isspace():
            assert " ".join(classes[number].split()) in reader.text


def test_two_hundred_classes_are_readable_and_small(rng):
    size = 200
    matrix = 40 * np.eye(size, dtype=int) + rng.poisson(0.05, (size, size))
    matrix[17, 4] += 30
    page = report_page(make_report(tuple(f"class number {n}" for n in range(size)), matrix))
    assert len(page) < 1_500_000
    text = Reader(page).text
    assert "Most often class number 17 is taken for class number 4" in text
    assert "175 more classes" in text
    assert '<table class="confusion">' not in page
    assert "<title>class number 17 taken for class number 4: " in page


def test_accuracy_in_words():
    words = [in_words(correct, 100) for correct in (100, 99, 95, 90, 80, 79, 50, 7, 3, 0)]
    assert words == [
        "all",
        "all but about 1 in 100",
        "all but about 1 in 20",
        "all but about 1 in 10",
        "all but about 1 in 5",
        "about 8 in 10",
        "about 5 in 10",
        "about 1 in 10",
        "hardly any",
        "hardly any",
    ]


def test_confusions_come_in_order():
    found = [(each.true, each.answer, each.count, each.images) for each in confusions(MATRIX)]
    assert found == [(0, 1, 2, 10), (1, 2, 1, 10)]


def test_heat_covers_the_part_that_was_seen():
    picture = Image.new("RGB", (40, 20), (100, 100, 100))
    evidence = np.array([[1.0, -1.0]])
    shown = np.asarray(heat(picture, evidence, (0.25, 0.0, 0.75, 1.0)), int)
    assert shown.shape == (20, 40, 3)
    assert (shown[:, :10] == shown[:, 30:]).all() and shown[0, 0, 0] > 150  # pale, not seen
    assert (shown[:, 29] == 100).all()  # seen, no evidence: as it was
    assert shown[10, 10, 0] - shown[10, 10, 2] > 50  # the hottest place is yellow
    assert (np.asarray(heat(picture, -np.ones((2, 2)))) == 100).all()


def test_maps_share_one_scale():
    bright, dark = maps_as_pictures(np.stack([np.full((2, 3), 4.0), np.full((2, 3), 1.0)]), 30)
    assert bright.size == dark.size == (30, 20)
    assert np.asarray(bright).sum() > np.asarray(dark).sum()
    assert (np.asarray(bright)[0, 0] == colours(np.array(1.0))).all()
    assert len(maps_as_pictures(np.zeros((1, 2, 2)), 10)) == 1


@pytest.mark.parametrize("value", [0.0, 1e-11, 0.5, 1.0])
@pytest.mark.parametrize("other", [0.0, 1.1e-11, 0.5, 1.0])
@pytest.mark.parametrize(("key", "unit"), [("accuracy", "%"), ("loss", "nats")])
def test_curves_without_a_slope_are_drawn(value, other, key, unit):
    history = [{"epoch": 1, f"train_{key}": value, f"val_{key}": other}]
    chart = training_chart(history, key, unit)
    ticks = re.findall(r'text-anchor="end">([^<]+)<', chart)
    assert len(set(ticks)) == len(ticks) >= 2 and "nan" not in chart
    if unit == "%":
        assert all(float(tick) <= 100 for tick in ticks)

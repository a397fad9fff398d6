"""What the page on a data set tells, before it has a form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class Shown:
    """An image of a data set.

    Attributes:
        name: of the image.
        what: its class and split, and what else there is to say of it.
        picture: for people; None if there is none to show.
    """

    name: str
    what: str
    picture: Image.Image | None


@dataclass(frozen=True)
class Finding:
    """Images of one kind that a person should look at.

    Attributes:
        anchor: of the section.
        title: of the section.
        meaning: what is wrong with them, and what to do.
        count: how many groups there are; 0: none was found.
        groups: the first of them. The images of a group belong side by side.
    """

    anchor: str
    title: str
    meaning: str
    count: int
    groups: Sequence[Sequence[Shown]]


@dataclass(frozen=True)
class DataReport:
    """All that the page tells.

    Attributes:
        name: of the data set.
        source: where the images came from, for people.
        counts: split -> class -> number of images.
        examples: class -> some of its images.
        numbers: value and name, the main ones.
        properties: name and value, in plain words.
        findings: what was looked for.
        unreadable: (file, reason).
        refusals: why training would refuse these images.
        advice: what else to mend before training; options stand in backticks.
        commands: what to do next: (purpose, command line).
    """

    name: str
    source: str
    counts: Mapping[str, Mapping[str, int]]
    examples: Mapping[str, Sequence[Shown]]
    numbers: Sequence[tuple[str, str]]
    properties: Sequence[tuple[str, str]]
    findings: Sequence[Finding]
    unreadable: Sequence[tuple[str, str]]
    refusals: Sequence[str]
    advice: Sequence[str]
    commands: Sequence[tuple[str, str]]

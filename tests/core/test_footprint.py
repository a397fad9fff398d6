"""Sizes of memory, as people write them and read them."""

from __future__ import annotations

import pytest

from maam.core.errors import MaamError
from maam.core.footprint import Footprint, Limits, kib, parse_size


@pytest.mark.parametrize(
    ("value", "size"),
    [("64k", 65536), ("128K", 131072), ("1M", 1048576), ("65536", 65536), (65536, 65536)],
)
def test_sizes(value, size):
    assert parse_size("fit_ram", value) == size
    assert parse_size("fit_ram", None) is None


@pytest.mark.parametrize(
    "value", ["", "k", "64kb", "64 k", "-1", "1.5k", "0", "0k", "many", -5, 0, "1e3", "9" * 13]
)
def test_what_is_no_size(value):
    with pytest.raises(MaamError, match=r"`fit_ram=.*` is no size: give bytes") as caught:
        parse_size("fit_ram", value)
    assert "\n" not in str(caught.value)


def test_limits():
    need = Footprint(flash=100, ram=50)
    assert Limits(100, 50).hold(need) and Limits(None, 50).hold(need)
    assert not Limits(99, 50).hold(need) and not Limits(None, 49).hold(need)


def test_kib_is_never_too_few():
    assert [kib(n) for n in (0, 1, 1024, 1025, 65536, 2048000)] == [
        *("0 KiB", "0.1 KiB", "1 KiB", "1.1 KiB", "64 KiB", "2,000 KiB")
    ]
    assert str(Footprint(1024, 65536)) == "64 KiB of RAM and 1 KiB of flash"

"""The drivers, built once."""

from __future__ import annotations

import pytest
from c_programs import FORMS, Program, build_driver


@pytest.fixture(scope="session")
def programs(tmp_path_factory) -> dict[str, Program]:
    """Form of the kernels -> a program that answers images with them."""
    folder = tmp_path_factory.mktemp("drivers")
    return {form: build_driver(folder, form) for form in FORMS}

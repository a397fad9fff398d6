"""Write demo.html, the page of the model that answers by default, for the site: see `make docs`."""

from __future__ import annotations

from pathlib import Path

from maam.core.files import write_atomic
from maam.deploy.web.page import demo_page
from maam.models.weights import DEFAULT

OUTPUT = Path(__file__).with_name("demo.html")

if __name__ == "__main__":
    write_atomic(OUTPUT, demo_page(DEFAULT))

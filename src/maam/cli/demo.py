"""``maam demo``."""

from __future__ import annotations

import threading
import webbrowser
from typing import Annotated

from cyclopts import Parameter

from maam.cli import console
from maam.core.signals import interruptible
from maam.models.weights import DEFAULT


def command(
    run: str = DEFAULT,
    /,
    *,
    open_: Annotated[bool, Parameter(name="--open")] = True,
) -> int:
    """Open a page that classifies pictures: dropped, pasted, chosen, or from the camera.

    Only this machine can reach the page, and it asks for nothing. Ctrl-C ends it.
    `maam export RUN --format html` writes the same page as a file.

    **Examples**

        maam demo
        maam demo runs/photos

    Parameters
    ----------
    run
        A run folder, as `maam train` makes it, or a model that comes with its weights.
    open_
        Open the browser; --no-open: only say where the page is.
    """
    from maam.deploy.web.page import demo_page
    from maam.deploy.web.server import address, page_server

    with interruptible(), page_server(demo_page(run)) as server:
        where = address(server)
        console.out.print(f"The page is at {where} until you press Ctrl-C.")
        if open_:  # in a thread: some browsers end only when they have shown the page
            threading.Thread(target=_open, args=(where,), daemon=True).start()
        server.serve_forever()
    return 0


def _open(where: str) -> None:
    if not webbrowser.open(where):
        console.note("no browser could be opened: open the address yourself")

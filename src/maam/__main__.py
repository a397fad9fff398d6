"""``python -m maam`` is ``maam``."""

from maam.cli import main

main()

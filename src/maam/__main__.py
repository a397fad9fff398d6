"""``python -m maam`` is ``maam``."""

from maam.cli import main

if __name__ == "__main__":
    main()

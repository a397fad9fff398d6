"""The one exception that a person is meant to read."""


class MaamError(Exception):
    """Bad input or a failed run: one line that names the file or option and says what to do.

    The command line prints the line and exits with code 2; Python callers catch it.
    """

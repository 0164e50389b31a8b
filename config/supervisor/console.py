"""The supervisor's few calm lines on the terminal."""

import contextlib
import sys


def say(line: str) -> None:
    """One line; a terminal that has gone away is no reason to stop."""
    with contextlib.suppress(OSError, ValueError):
        print(line, flush=True)


def complain(line: str) -> None:
    """One line about something that went wrong."""
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)

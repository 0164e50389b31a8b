"""What can go wrong with the embedded servers."""

from config.errors import CannotStart


class EmbeddedError(CannotStart):
    """An embedded server cannot be started, or did not answer in time; the message names its log."""


class AlreadyHeld(EmbeddedError):
    """Another live process holds the servers of this data directory."""

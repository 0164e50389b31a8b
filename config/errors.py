"""Why a process of Weir does not start."""


class CannotStart(RuntimeError):
    """Something that has to be there first is not; the message says what, and what to do."""

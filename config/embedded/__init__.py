"""Embedded PostgreSQL and Redis for local and test environments. Imports no Django.

`provide` is for commands, `start` for a process that wants the servers as its own children.
"""

from config.embedded.errors import AlreadyHeld, EmbeddedError
from config.embedded.keeper import Use, use
from config.embedded.provide import provide
from config.embedded.servers import Endpoints, Handle, destroy, running, start

__all__ = [
    "AlreadyHeld",
    "EmbeddedError",
    "Endpoints",
    "Handle",
    "Use",
    "destroy",
    "provide",
    "running",
    "start",
    "use",
]

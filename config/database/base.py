"""The backend that settings name: Django finds `DatabaseWrapper` here."""

import select

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    """A server that restarts or ends a session tells its connections so: nothing to read means that it has not.

    Django asks with a query, a round trip before the first statement of every request.
    """

    def is_usable(self) -> bool:
        if self.connection is None or self.connection.closed:
            return False
        poll = select.poll()
        poll.register(self.connection.fileno(), select.POLLIN)
        return not poll.poll(0) or super().is_usable()

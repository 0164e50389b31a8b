"""The backend that settings name: Django finds `DatabaseWrapper` here."""

import select
from typing import Any

from django.db.backends.postgresql import base
from psycopg.pq import TransactionStatus

ONLY_WHEN_TOLD = 2**62
"""Uses of a statement after which psycopg would prepare it unasked."""


class DatabaseWrapper(base.DatabaseWrapper):
    """Asks less, and lets statements be prepared (`engine_cursor`) where a session is a session."""

    plans_once = False
    """Whether a session plans by no values: true in web processes. PostgreSQL would plan the long statement of accepting
    anew each time, since it takes ten rows for granted where it does not see the arrays. Of a worker's statements only
    those of some transactions are planned so (`tenants.scope.planned_ahead`)."""

    def init_connection_state(self) -> None:
        """Nothing can be prepared past a pooler, which gives each transaction any session. It is known by its number: a
        server tells its own when it is connected to, a pooler one that it made up.
        """
        super().init_connection_state()
        connection: Any = self.connection
        (session,) = connection.execute("SELECT pg_backend_pid()").fetchone()
        if session != connection.info.backend_pid:
            connection.prepare_threshold = None
            return
        connection.prepare_threshold = ONLY_WHEN_TOLD
        if self.plans_once:
            connection.execute("SET plan_cache_mode = force_generic_plan")

    def is_usable(self) -> bool:
        """A server that restarts or ends a session tells its connections so: nothing to read means that it has not.

        Django asks with a query, a round trip before the first statement of every request.
        """
        if self.connection is None or self.connection.closed:
            return False
        if self.connection.info.transaction_status == TransactionStatus.INERROR:
            return False
        poll = select.poll()
        poll.register(self.connection.fileno(), select.POLLIN)
        return not poll.poll(0) or super().is_usable()

"""When a key was last used: written rarely, and never at the cost of a request."""

import threading
import time
import uuid

import structlog
from django.db import Error, connections

from tenants.queries import KeyOwner
from tenants.scope import APP_ALIAS, tenant_scope

NOTE_SECONDS = 60.0
MOST_REMEMBERED = 10_000
_log = structlog.stdlib.get_logger("weir.key_use")
_noted: dict[uuid.UUID, float] = {}
_lock = threading.Lock()

# A row that is locked (its key is being rotated, or another process is noting the same) is left for the next minute.
_NOTE = """
    UPDATE tenants_apikey SET last_used_at = now() WHERE id = (
        SELECT id FROM tenants_apikey
        WHERE tenant_id = %s AND id = %s AND (last_used_at IS NULL OR last_used_at < now() - make_interval(secs => %s))
        FOR NO KEY UPDATE SKIP LOCKED)
"""


def note_use(owner: KeyOwner) -> None:
    """Note that a key is in use: at most once a minute per key and process, and per key in the database.

    Every other request costs a look into a dictionary. A database that cannot note it loses the note and nothing else.
    """
    now = time.monotonic()
    with _lock:
        last = _noted.get(owner.key_id)
        if last is not None and now - last < NOTE_SECONDS:
            return
        if len(_noted) >= MOST_REMEMBERED:
            _noted.clear()
        _noted[owner.key_id] = now
    try:
        with tenant_scope(owner.tenant_id), connections[APP_ALIAS].cursor() as cursor:
            cursor.execute(_NOTE, [owner.tenant_id, owner.key_id, NOTE_SECONDS])
    except Error as error:
        _log.warning("key_use_not_noted", key=owner.hint, error=type(error).__name__)

"""What other apps do when a tenant goes, and the traces of it that are not rows of its own.

Rows are found by the catalogue (`rows_of`), so a new table is erased without anyone adding it here.
"""

import base64
import binascii
import contextlib
import json
import uuid
from collections.abc import Callable, Iterator
from graphlib import TopologicalSorter
from typing import Any

import redis
from django.apps import apps
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.files.storage import Storage, default_storage
from django.db import Error as DatabaseError
from django.db import connections

from tenants.classes import Isolated, owned_tables, table_classes
from tenants.models import Tenant
from tenants.scope import APP_ALIAS, OPS_ALIAS, ops_scope, tenant_scope

Halt = Callable[[uuid.UUID], bool]
Keep = Callable[[Any, uuid.UUID, list[uuid.UUID]], None]

_halts: dict[str, Halt] = {}
_keeps: dict[str, Keep] = {}
_SESSIONS_AT_ONCE = 500
_MESSAGES_AT_ONCE = 500


def halt_with(name: str, halt: Halt) -> None:
    """Register what stops a tenant's work: called outside any scope, again and again, until it returns True for
    "nothing is under way any more"."""
    _halts[name] = halt


def keep_with(table: str, keep: Keep) -> None:
    """Register what is kept of a table's rows: called with an ops cursor, the closed tenant's random id and the ids of
    rows that the same transaction erases afterwards."""
    _keeps[table] = keep


def halted(tenant_id: uuid.UUID) -> bool:
    """Stop what the tenant has under way; False while something still is."""
    still = [name for name, halt in _halts.items() if not halt(tenant_id)]
    return not still


def keep_of(table: str) -> Keep | None:
    return _keeps.get(table)


def rows_of() -> list[Isolated]:
    """Every table with rows of tenants but the tenants' own, those first that point at others."""
    tables = {entry.table: entry for entry in owned_tables()}
    del tables["tenants_tenant"]
    with connections[APP_ALIAS].cursor() as cursor:
        cursor.execute(
            """SELECT DISTINCT child.relname, parent.relname FROM pg_constraint f
               JOIN pg_class child ON child.oid = f.conrelid JOIN pg_class parent ON parent.oid = f.confrelid
               WHERE f.contype = 'f' AND f.conrelid <> f.confrelid
                 AND child.relname = ANY(%s) AND parent.relname = ANY(%s)""",
            [list(tables), list(tables)],
        )
        sorter: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(sorted(tables), ()))
        for child, parent in cursor.fetchall():
            sorter.add(parent, child)
    return [tables[table] for table in sorter.static_order()]


# --- traces outside the tenant's rows -------------------------------------------------------------------------------------


def forget_elsewhere(tenant_id: uuid.UUID) -> None:
    """Remove the tenant from files, Redis, the broker, sessions and the libraries' tables. Harmless twice."""
    forget_files(default_storage, str(tenant_id))
    forget_in_sessions(tenant_id)
    forget_in_libraries(tenant_id)
    for url in {settings.REDIS_URL, settings.CELERY_BROKER_URL}:
        if url.startswith(("redis://", "rediss://")):
            with redis.Redis.from_url(url, socket_timeout=30, socket_connect_timeout=5) as client:
                forget_in_redis(client, tenant_id)


def take_back(name: str, tenant_id: uuid.UUID) -> None:
    """Delete a file that was stored for nothing; with the folder, where the tenant was erased meanwhile.

    For handlers of errors: that the database cannot be asked is no further one.
    """
    default_storage.delete(name)
    with contextlib.suppress(DatabaseError), tenant_scope(tenant_id):
        if not Tenant.objects.filter(pk=tenant_id).exists():
            forget_files(default_storage, str(tenant_id))


def forget_files(storage: Storage, folder: str) -> None:
    """Delete a folder of the storage with everything in it. None is not an error."""
    try:
        folders, files = storage.listdir(folder)
    except FileNotFoundError:
        return
    for name in files:
        storage.delete(f"{folder}/{name}")
    for name in folders:
        forget_files(storage, f"{folder}/{name}")
    storage.delete(folder)


def forget_in_sessions(tenant_id: uuid.UUID) -> None:
    """Let no session remember that it had this tenant open; people stay signed in."""
    last = ""
    while sessions := list(
        Session.objects.filter(session_key__gt=last).order_by("session_key")[:_SESSIONS_AT_ONCE]
    ):
        last = sessions[-1].session_key
        changed = []
        for session in sessions:
            content = session.get_decoded()
            kept = {key: value for key, value in content.items() if str(tenant_id) not in str(value)}
            if len(kept) < len(content):
                session.session_data = SessionStore().encode(kept)
                changed.append(session)
        Session.objects.bulk_update(changed, ["session_data"])


def forget_in_libraries(tenant_id: uuid.UUID) -> None:
    """The console's own log of changes and the results of tasks: what names the tenant or, while they are there, its
    rows."""
    with ops_scope("erasing a tenant"), connections[OPS_ALIAS].cursor() as cursor:
        for kind_id, table, column in _logged_tables():
            cursor.execute(
                f"""DELETE FROM django_admin_log WHERE content_type_id = %s
                    AND object_id IN (SELECT id::text FROM {table} WHERE {column} = %s)""",  # noqa: S608 - of our models
                [kind_id, tenant_id],
            )
        LogEntry.objects.filter(object_id=str(tenant_id)).delete()
        cursor.execute(
            """DELETE FROM django_celery_results_taskresult r WHERE r::text LIKE %s""", [f"%{tenant_id}%"]
        )


def _logged_tables() -> Iterator[tuple[int, str, str]]:
    """(content type, table, tenant column) of the tenant-owned tables that the console's log says something of."""
    types = list(
        LogEntry.objects.order_by()
        .values_list("content_type_id", "content_type__app_label", "content_type__model")
        .distinct()
    )
    by_table = {entry.table: entry for entry in table_classes() if entry.kind == "tenant"}
    for kind_id, app, name in types:
        if kind_id is None or name not in apps.all_models.get(app, {}):
            continue
        table = apps.get_model(app, name)._meta.db_table
        if table in by_table:
            yield kind_id, table, by_table[table].column


def forget_in_redis(client: "redis.Redis", tenant_id: uuid.UUID) -> None:
    """Delete keys whose name has the tenant's id, and messages that carry it; a whole keyspace is scanned."""
    wanted = str(tenant_id)
    for key in client.scan_iter(match=f"*{wanted}*", count=1_000):
        client.unlink(key)
    for key in client.scan_iter(count=1_000, _type="list"):
        _forget_messages(client, key, wanted)
    for field, value in client.hscan_iter("unacked", count=_MESSAGES_AT_ONCE):
        if _mentions(value, wanted):
            client.hdel("unacked", field)


def _forget_messages(client: Any, queue: bytes, wanted: str) -> None:
    start = 0
    while messages := client.lrange(queue, start, start + _MESSAGES_AT_ONCE - 1):
        gone = [message for message in messages if _mentions(message, wanted)]
        for message in gone:
            client.lrem(queue, 1, message)
        start += len(messages) - len(gone)


def _mentions(message: bytes, wanted: str) -> bool:
    """Whether a message of the broker is about the tenant: its body is base64 inside JSON."""
    if wanted.encode() in message:
        return True
    try:
        content = json.loads(message)
        content = content[0] if isinstance(content, list) else content
        return wanted.encode() in base64.b64decode(content["body"])
    except (ValueError, KeyError, TypeError, IndexError, binascii.Error):
        return False

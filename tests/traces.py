"""Looking for words everywhere that something can be left: every row of every table, every file, everything in Redis."""

import base64
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import redis
from django.conf import settings
from django.contrib.sessions.models import Session
from psycopg import sql


def tables() -> list[str]:
    """Every table of the database, partitions as their parents."""
    with _owner() as owner:
        found = owner.execute(
            """SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
               AND NOT relispartition ORDER BY relname"""
        )
        return [row[0] for row in found.fetchall()]


def everything() -> Iterator[tuple[str, str]]:
    """(where, content) of all that there is, as text; what libraries pack is unpacked."""
    with _owner() as owner:
        for table in tables():
            for (row,) in owner.execute(sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(table))):
                yield f"table {table}", row
    for session in Session.objects.all():
        yield "table django_session, unpacked", json.dumps(session.get_decoded(), default=str)
    root = Path(settings.MEDIA_ROOT)
    for path in sorted(root.rglob("*")) if root.exists() else ():
        yield "file name", str(path.relative_to(root))
        if path.is_file():
            yield f"file {path.suffix}", path.read_bytes().decode("utf-8", "replace")
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        for key in client.scan_iter():
            yield "redis key", key.decode("utf-8", "replace")
            for value in _values(client, key):
                yield f"redis value of {key!r}", value.decode("utf-8", "replace")
                yield f"redis value of {key!r}, unpacked", _unpacked(value)


def search(words: Iterable[str]) -> set[tuple[str, str]]:
    """(where, word) of every word that is found: as it is, in capitals or not, in hexadecimal, and JSON-escaped."""
    shapes = [(word, shape) for word in words for shape in _shapes(word)]
    return {
        (where, word)
        for where, content in everything()
        for word, shape in shapes
        if shape in content or shape in content.lower()
    }


def rows_of(tenant_id: Any) -> dict[str, str]:
    """Table -> a hash over the tenant's rows, of every table that says whose its rows are."""
    hashes = {}
    with _owner() as owner:
        for table in tables():
            columns = owner.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attname = 'tenant_id'",
                [f"public.{table}"],
            ).fetchall()
            column = "tenant_id" if columns else "id" if table == "tenants_tenant" else None
            if column:
                query = sql.SQL(
                    "SELECT count(*) || ' ' || md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) "
                    "FROM {} t WHERE t.{} = %s"
                ).format(sql.Identifier(table), sql.Identifier(column))
                hashes[table] = owner.execute(query, [tenant_id]).fetchall()[0][0]
    return hashes


def ids_of(tenant_id: Any) -> dict[str, list[str]]:
    """Table -> the ids of the tenant's rows."""
    found = {}
    with _owner() as owner:
        for table, content in rows_of(tenant_id).items():
            if not content.startswith("0 ") and table != "tenants_tenant":
                query = sql.SQL("SELECT id::text FROM {} WHERE tenant_id = %s").format(sql.Identifier(table))
                found[table] = [row[0] for row in owner.execute(query, [tenant_id])]
    return found


def _owner() -> psycopg.Connection:
    return psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True)


def _values(client: Any, key: bytes) -> Iterator[bytes]:
    kind = client.type(key)
    if kind == b"string":
        yield client.get(key) or b""
    elif kind == b"list":
        yield from client.lrange(key, 0, -1)
    elif kind == b"hash":
        for field, value in client.hgetall(key).items():
            yield from (field, value)
    elif kind == b"set":
        yield from client.smembers(key)
    elif kind == b"zset":
        yield from client.zrange(key, 0, -1)
    else:
        raise AssertionError(f"Nobody looks into a {kind!r} of Redis yet: {key!r}.")


def _unpacked(value: bytes) -> str:
    """The body of a message of the broker."""
    try:
        content = json.loads(value)
        content = content[0] if isinstance(content, list) else content
        return base64.b64decode(content["body"]).decode("utf-8", "replace")
    except (ValueError, KeyError, TypeError, IndexError):
        return ""


def _shapes(word: str) -> set[str]:
    return {word, word.lower(), word.encode().hex(), word.replace("-", ""), json.dumps(word)[1:-1]}

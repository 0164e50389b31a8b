"""The test database: a template that the owner migrates once, cloned for each process, emptied after what commits."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tenants.role_plan import ensure_roles
from tenants.roles import LOGINS, OWNER
from tests.environment import LOGIN_URLS, Claims, passwords, with_database

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE_PREFIX = "weir_template_"
MOST_DELETED = 2_000_000
"""Bytes of a table; more is truncated."""
_BUILD_LOCK = 0x57454954
_sessions: dict[str, psycopg.Connection] = {}
# What migrations put there, and no test may change.
KEPT = ("billing_plan", "django_migrations", "django_content_type", "auth_permission")
_SHAPED_BY = (
    "*/migrations/*.py",
    "*/models.py",
    "*/models/*.py",
    "tenants/*.py",
    "workflows/lanes/partitions.py",
    "*/lookups.py",
    "config/settings.py",  # the libraries with tables, and their classes
)


def create(claims: Claims) -> str:
    """Create this process's database; returns its name."""
    name = _database_name()
    clone(claims, name, first=True)
    return name


def clone(claims: Claims, name: str, *, first: bool = False) -> None:
    """Create a database from the template, which is built first where it is missing or outdated. `first`: this process
    has none yet, and removes those of processes that were killed."""
    admin = claims.admin
    # Whoever forked this process has built the template, which only has to stay; several may clone it at once.
    shared = "_shared" if claims.forked else ""
    admin.execute(f"SELECT pg_advisory_lock{shared}(%s)", (_BUILD_LOCK,))
    try:
        if first and not claims.forked:
            claims.drop_abandoned()
        template = _ensure_template(admin)
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
                sql.Identifier(name), sql.Identifier(template), sql.Identifier(OWNER)
            )
        )
        _guard(admin, name)
    finally:
        admin.execute(f"SELECT pg_advisory_unlock{shared}(%s)", (_BUILD_LOCK,))


def another(claims: Claims) -> str:
    """Create one more database for this process; returns its name."""
    name = claims.another_database()
    clone(claims, name)
    return name


def drop(claims: Claims, name: str = "") -> None:
    """Remove this process's database, or the one of this name."""
    claims.admin.execute(
        sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name or _database_name()))
    )


def empty() -> None:
    """Remove every row that tests committed; what migrations put there stays.

    By the server's administrator, for whom keys and triggers can be left aside: a few rows are deleted in a fiftieth of
    the time that it takes to truncate their tables, with all the tables, indexes and partitions that depend on them.
    """
    admin = _administrator()
    tables = [
        row[0]
        for row in admin.execute(
            """SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
               AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> ALL(%s) ORDER BY 1""",
            (list(KEPT),),
        ).fetchall()
    ]
    probes = sql.SQL(" UNION ALL ").join(
        sql.SQL("(SELECT {} WHERE EXISTS (SELECT 1 FROM {}))").format(sql.Literal(t), sql.Identifier(t))
        for t in tables
    )
    filled = [row[0] for row in admin.execute(probes).fetchall()]
    if filled:
        _patiently(admin, _deletes(filled) if _few(admin, filled) else _truncates(filled))


def leave() -> None:
    """End the administrator's sessions that `empty` kept."""
    while _sessions:
        _sessions.popitem()[1].close()


def _administrator() -> psycopg.Connection:
    """The administrator's session in this process's database, kept from test to test: a new one would have to look up
    all tables first, which takes longer than emptying them."""
    url = _here(os.environ["DATABASE_ADMIN_URL"])
    kept = _sessions.get(url)
    if kept is not None:
        try:
            kept.execute("SELECT 1")
        except psycopg.OperationalError:  # a test ended the session, or its server
            kept.close()
        else:
            return kept
    _sessions[url] = psycopg.connect(url, autocommit=True)
    return _sessions[url]


def _few(admin: psycopg.Connection, tables: list[str]) -> bool:
    """Whether what is there, dead rows included, is so little that deleting is quick and leaves little behind."""
    found = admin.execute(
        """SELECT coalesce(max(pg_relation_size(coalesce(part.relid, name::regclass))), 0)
           FROM unnest(%s::text[]) name LEFT JOIN LATERAL pg_partition_tree(name::regclass) part ON true""",
        (tables,),
    ).fetchone()
    return bool(found and found[0] < MOST_DELETED)


def _deletes(tables: list[str]) -> list[sql.SQL | sql.Composed]:
    """Statements that delete the rows and let what counts begin anew, keys and triggers left aside."""
    restart = sql.SQL(
        """SELECT setval(c.oid::regclass, 1, false) FROM pg_class c
           JOIN pg_depend d ON d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
           JOIN pg_class t ON t.oid = d.refobjid WHERE c.relkind = 'S' AND t.relname <> ALL({})"""
    ).format(sql.Literal(list(KEPT)))
    deletes = [sql.SQL("DELETE FROM {}").format(sql.Identifier(table)) for table in tables]
    return [sql.SQL("SET LOCAL session_replication_role = replica"), *deletes, restart]


def _truncates(tables: list[str]) -> list[sql.SQL | sql.Composed]:
    names = sql.SQL(", ").join(sql.Identifier(name) for name in tables)
    return [sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(names)]


def _patiently(admin: psycopg.Connection, statements: list[sql.SQL | sql.Composed]) -> None:
    """A page of a browser test may ask its last question meanwhile, and locks the tables in another order."""
    for attempt in range(5):
        try:
            with admin.transaction():
                for statement in statements:
                    admin.execute(statement)
        except psycopg.errors.DeadlockDetected:
            if attempt == 4:
                raise
        else:
            return


def _here(url: str) -> str:
    return with_database(url, _database_name())


def _database_name() -> str:
    return urlsplit(os.environ["DATABASE_URL"]).path.strip("/")


def _ensure_template(admin: psycopg.Connection) -> str:
    wanted = TEMPLATE_PREFIX + _shape()
    known = [
        row[0]
        for row in admin.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE %s", (f"{TEMPLATE_PREFIX}%",)
        ).fetchall()
    ]
    if wanted in known:
        return wanted
    building = f"{wanted}_new"
    for stale in known:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(stale)))
    ensure_roles(os.environ["DATABASE_ADMIN_URL"], building, passwords())
    _migrate(building)
    admin.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(building), sql.Identifier(wanted))
    )
    return wanted


def _shape() -> str:
    """A hash of everything that decides what the migrated database looks like."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in _SHAPED_BY for path in ROOT.glob(pattern)}):
        digest.update(path.relative_to(ROOT).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _migrate(name: str) -> None:
    environment = os.environ | {
        variable: with_database(os.environ[variable], name) for variable in LOGIN_URLS.values()
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--no-input", "--skip-checks", "-v", "0"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        raise RuntimeError(f"The template database could not be migrated:\n{done.stdout}{done.stderr}")


def _guard(admin: psycopg.Connection, name: str) -> None:
    """A clone has its template's content, but not its database grants."""
    database = sql.Identifier(name)
    admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    for login in LOGINS:
        admin.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, sql.Identifier(login)))

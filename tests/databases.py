"""The test database: a template that the owner migrates once, cloned for each process, emptied by the owner."""

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
_BUILD_LOCK = 0x57454954
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
    """Create this process's database from the template, which is built first where it is missing or outdated."""
    name = _database_name()
    admin = claims.admin
    # Whoever forked this process has built the template, which only has to stay; several may clone it at once.
    shared = "_shared" if claims.forked else ""
    admin.execute(f"SELECT pg_advisory_lock{shared}(%s)", (_BUILD_LOCK,))
    try:
        if not claims.forked:
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
    return name


def drop(claims: Claims) -> None:
    claims.admin.execute(
        sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(_database_name()))
    )


def empty() -> None:
    """Remove every row that tests committed, as the owner; what migrations put there stays."""
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        tables = [
            row[0]
            for row in owner.execute(
                """SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
                   AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> ALL(%s)""",
                (list(KEPT),),
            ).fetchall()
        ]
        probes = sql.SQL(" UNION ALL ").join(
            sql.SQL("(SELECT {} WHERE EXISTS (SELECT 1 FROM {}))").format(sql.Literal(t), sql.Identifier(t))
            for t in tables
        )
        filled = [row[0] for row in owner.execute(probes).fetchall()]
        if filled:
            _truncate(owner, filled)


def _truncate(owner: psycopg.Connection, tables: list[str]) -> None:
    """A page of a browser test may ask its last question meanwhile, and locks the tables in another order."""
    names = sql.SQL(", ").join(sql.Identifier(name) for name in tables)
    for attempt in range(5):
        try:
            owner.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(names))
        except psycopg.errors.DeadlockDetected:
            if attempt == 4:
                raise
        else:
            return


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

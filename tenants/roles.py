"""The database logins: separate ones, so that what a process may do is decided by how it signed in.

Runs as the server's administrator, once per server or after a restore; safe to run again at any time.
"""

from collections.abc import Mapping

import psycopg
from psycopg import sql

OWNER, APP, OPS, READONLY, BACKUP = "weir_owner", "weir_app", "weir_ops", "weir_readonly", "weir_backup"
LOOKUP = "weir_lookup"
LOGINS = (OWNER, APP, OPS, READONLY, BACKUP)
LOOKUP_SCHEMA = "lookup"

_PLAIN = sql.SQL("NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOREPLICATION INHERIT")
_SETTINGS = {
    READONLY: {"default_transaction_read_only": "on", "statement_timeout": "60s"},
    BACKUP: {"default_transaction_read_only": "on"},
    APP: {"statement_timeout": "30s", "idle_in_transaction_session_timeout": "60s", "lock_timeout": "10s"},
    OPS: {"statement_timeout": "60s", "idle_in_transaction_session_timeout": "60s", "lock_timeout": "10s"},
}


def ensure_roles(admin_dsn: str, database: str, passwords: Mapping[str, str]) -> list[str]:
    """Create or repair the logins and the database that they share; returns what was done, a line each.

    `passwords` is keyed by login name; every name of `LOGINS` must be there. Raises psycopg.Error when the
    administrator may not do this.
    """
    done: list[str] = []
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        for role in (*LOGINS, LOOKUP):
            done += _ensure_role(connection, role, passwords.get(role))
        exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone()
        if not exists:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} ENCODING 'UTF8' TEMPLATE template0").format(
                    sql.Identifier(database), sql.Identifier(OWNER)
                )
            )
            done.append(f"created database {database}")
        dsn = psycopg.conninfo.make_conninfo(admin_dsn, dbname=database)
    with psycopg.connect(dsn, autocommit=True) as connection:
        _ensure_schema(connection, database)
    return done


def _ensure_role(connection: psycopg.Connection, role: str, password: str | None) -> list[str]:
    name = sql.Identifier(role)
    exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
    verb = sql.SQL("ALTER" if exists else "CREATE")
    login = (
        sql.SQL("NOLOGIN") if role == LOOKUP else sql.SQL("LOGIN PASSWORD {}").format(sql.Literal(password))
    )
    connection.execute(sql.SQL("{} ROLE {} {} {}").format(verb, name, login, _PLAIN))
    for setting, value in _SETTINGS.get(role, {}).items():
        connection.execute(
            sql.SQL("ALTER ROLE {} SET {} = {}").format(name, sql.Identifier(setting), sql.Literal(value))
        )
    return [] if exists else [f"created role {role}"]


def _ensure_schema(connection: psycopg.Connection, database: str) -> None:
    ident = sql.Identifier
    statements: list[sql.Composed] = [
        sql.SQL("ALTER DATABASE {} OWNER TO {}").format(ident(database), ident(OWNER)),
        sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(ident(database)),
        sql.SQL("REVOKE ALL ON SCHEMA {} FROM PUBLIC").format(ident("public")),
        sql.SQL("ALTER SCHEMA public OWNER TO {}").format(ident(OWNER)),
        # The owner may act as the lookup role, to create the functions that it owns.
        sql.SQL("GRANT {} TO {}").format(ident(LOOKUP), ident(OWNER)),
        sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}").format(
            ident(LOOKUP_SCHEMA), ident(LOOKUP)
        ),
        sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(ident(LOOKUP)),
    ]
    for role in LOGINS:
        statements.append(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(ident(database), ident(role)))
        statements.append(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(ident(role)))
    statements.append(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(ident(LOOKUP_SCHEMA), ident(APP)))
    for statement in statements:
        connection.execute(statement)

"""Makes and repairs the database roles: the difference between what is wanted and what is there, as statements.

Runs as the server's administrator, before Django, once per server and whenever something may have changed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import psycopg
from psycopg import sql

from tenants.errors import WeirError
from tenants.role_state import (
    PUBLIC,
    Connection,
    Database,
    Role,
    Schema,
    Server,
    fresh_database,
    read_database,
    read_server,
)
from tenants.roles import (
    APP,
    FLAGS,
    HARMFUL_PREFIX,
    HARMFUL_SETTINGS,
    LOGINS,
    LOOKUP,
    LOOKUP_SCHEMA,
    MEMBERSHIPS,
    OWNER,
    SETTINGS,
)

ROLES = (*LOGINS, LOOKUP)
_NOWHERE = Schema("", frozenset())


class AdminRefused(WeirError):
    """The administrator's login may not do what is needed; the message says what it lacks."""

    code = "admin_refused"
    status = 500
    title = "The administrator may not do this"


@dataclass(frozen=True)
class Change:
    """One statement. `shown` is the same text with the password masked; `inside` says in which connection it runs."""

    statement: sql.Composed
    shown: str
    inside: bool


def plan_roles(admin_dsn: str, database: str, passwords: Mapping[str, str]) -> list[Change]:
    """What has to be done so that the roles, the database and its schemas are as they should be; [] when they are.

    `passwords` is keyed by login name; every name of `LOGINS` must be there. Changes nothing. Raises AdminRefused, and
    psycopg.Error when the server does not answer.
    """
    with psycopg.connect(admin_dsn, autocommit=True, connect_timeout=10) as connection:
        server = read_server(connection, database, passwords)
        _refuse(server)
        inside = fresh_database(server)
        if server.owner is not None:
            try:
                with _into(admin_dsn, database) as entered:
                    inside = read_database(entered)
            except psycopg.OperationalError as error:
                raise AdminRefused(f"{server.admin.name} cannot look into {database}: {error}") from error
        of_roles = list(_roles(connection, server, passwords))
        of_database = [_made(connection, *entry) for entry in _database(database, server)]
        within = [*_schemas(inside), *_strays(server, inside)]
        of_database += [_made(connection, *entry, inside=True) for entry in within]
        if of_database and not server.admin.superuser and not inside.acts_as_owner:
            both = sql.SQL(", ").join(map(sql.Identifier, (OWNER, LOOKUP)))
            lend = _change(connection, sql.SQL("GRANT {} TO CURRENT_USER").format(both))
            take = _change(connection, sql.SQL("REVOKE {} FROM CURRENT_USER").format(both))
            of_database = [lend, *of_database, take]
        return of_roles + of_database


def ensure_roles(admin_dsn: str, database: str, passwords: Mapping[str, str]) -> list[str]:
    """Do what `plan_roles` says; returns the statements that were run, passwords masked. Raises as it does."""
    changes = plan_roles(admin_dsn, database, passwords)
    if not changes:
        return []
    entered: Connection | None = None
    with psycopg.connect(admin_dsn, autocommit=True, connect_timeout=10) as connection:
        try:
            for change in changes:
                if change.inside and entered is None:
                    entered = _into(admin_dsn, database)
                (entered if change.inside and entered else connection).execute(change.statement)
        except psycopg.errors.InsufficientPrivilege as error:
            raise AdminRefused(
                f"PostgreSQL refused “{change.shown}”: {error.diag.message_primary}."
            ) from error
        finally:
            if entered is not None:
                entered.close()
    return [change.shown for change in changes]


def left_open(admin_dsn: str, database: str, passwords: Mapping[str, str]) -> list[str]:
    """What is wanted and this administrator may not do, a sentence each; [] for a superuser. Changes nothing."""
    with psycopg.connect(admin_dsn, autocommit=True, connect_timeout=10) as connection:
        server = read_server(connection, database, passwords)
    missing = [
        (name, setting, value)
        for name, settings in SETTINGS.items()
        for setting, value in settings.items()
        if server.fixed.get(setting, value) != value
        and (name not in server.roles or server.roles[name].settings.get(setting) != value)
    ]
    return [
        f"{name} has no {setting} = {value}, which {server.admin.name} may not set. Set it for the whole server, or "
        f"have a superuser run GRANT SET ON PARAMETER {setting} TO {server.admin.name} and run this again."
        for name, setting, value in missing
    ]


def _into(admin_dsn: str, database: str) -> Connection:
    dsn = psycopg.conninfo.make_conninfo(admin_dsn, dbname=database)
    return psycopg.connect(dsn, autocommit=True, connect_timeout=10)


def _refuse(server: Server) -> None:
    admin = server.admin
    if admin.name in ROLES:
        raise AdminRefused(
            f"DATABASE_ADMIN_URL signs in as {admin.name}, which is one of the roles to be made."
        )
    if admin.superuser:
        return
    if not admin.createrole:
        raise AdminRefused(
            f"{admin.name} is neither a superuser nor has CREATEROLE, so it cannot make the roles."
        )
    if server.owner is None and not admin.createdb:
        raise AdminRefused(f"The database is not there, and {admin.name} lacks CREATEDB to make it.")
    powerful = [
        f"{name} {flag}"
        for name, role in server.roles.items()
        for flag in ("SUPERUSER", "BYPASSRLS", "REPLICATION")
        if role.flags[flag]
    ]
    if powerful:
        raise AdminRefused(
            f"Only a superuser can take this away: {', '.join(powerful)}. {admin.name} is none."
        )


def _change(connection: Connection, statement: sql.Composed, *, inside: bool = False) -> Change:
    return Change(statement, statement.as_string(connection), inside)


def _made(connection: Connection, text: str, names: tuple[str, ...], *, inside: bool = False) -> Change:
    """The statement with its names quoted; `text` has a {} for each."""
    return _change(connection, sql.SQL(text).format(*map(sql.Identifier, names)), inside=inside)


# --- Roles ------------------------------------------------------------------------------------------------------------


def _roles(connection: Connection, server: Server, passwords: Mapping[str, str]) -> Iterator[Change]:
    for name in ROLES:
        yield from _role(connection, name, server.roles.get(name), passwords, server.fixed)
    for setting in server.settings:
        if _harmful(setting.role, setting.name, in_database=setting.database is not None):
            subject = "ROLE {}" if setting.role else "DATABASE {}" if setting.database else "ROLE ALL"
            within = " IN DATABASE {}" if setting.role and setting.database else ""
            names = [n for n in (setting.role, setting.database) if n]
            yield _made(connection, f"ALTER {subject}{within} RESET {{}}", (*names, setting.name))
    if server.admin.superuser:
        for name, role in server.parameters:
            whom = () if role == PUBLIC else (role,)
            to = "{}" if whom else PUBLIC
            yield _made(connection, f"REVOKE ALL ON PARAMETER {{}} FROM {to}", (name, *whom))
    known = {(m.member, m.of) for m in server.memberships}
    for membership in server.memberships:
        if (membership.member, membership.of) not in MEMBERSHIPS:
            names = [membership.of, membership.member, membership.grantor]
            yield _made(connection, "REVOKE {} FROM {} GRANTED BY {}", tuple(names))
    for member, of in sorted(MEMBERSHIPS - known):
        yield _made(connection, "GRANT {} TO {}", (of, member))


def _role(
    connection: Connection,
    name: str,
    role: Role | None,
    passwords: Mapping[str, str],
    fixed: Mapping[str, str],
) -> Iterator[Change]:
    login = name != LOOKUP
    words = [sql.SQL(word) for word in _flag_words(role, login=login)]
    shown = list(words)
    if login and (role is None or not role.password_fits):
        # The server, and its log, see the verifier and never the password.
        verifier = connection.pgconn.encrypt_password(
            passwords[name].encode(), name.encode(), b"scram-sha-256"
        ).decode()
        words.append(sql.SQL("PASSWORD {}").format(sql.Literal(verifier)))  # type: ignore[arg-type]
        shown.append(sql.SQL("PASSWORD '****'"))
    if role is None or words:
        start = sql.SQL("ALTER ROLE {}" if role else "CREATE ROLE {}").format(sql.Identifier(name))
        run, told = (sql.SQL(" ").join([start, *parts]) for parts in (words, shown))
        yield Change(run, told.as_string(connection), inside=False)
    for setting, value in SETTINGS.get(name, {}).items():
        if setting not in fixed and (role is None or role.settings.get(setting) != value):
            yield _change(
                connection,
                sql.SQL("ALTER ROLE {} SET {} = {}").format(
                    sql.Identifier(name), sql.Identifier(setting), sql.Literal(value)
                ),
            )


def _flag_words(role: Role | None, *, login: bool) -> list[str]:
    """Only what differs: an administrator who is no superuser may not even name some of them."""
    wanted = FLAGS | {"LOGIN": login}
    there = {"INHERIT": True, "LOGIN": False} if role is None else {**role.flags, "LOGIN": role.login}
    words = [flag if on else f"NO{flag}" for flag, on in wanted.items() if there.get(flag, False) != on]
    return [*words, "VALID UNTIL 'infinity'"] if role is not None and role.expires else words


def _harmful(role: str | None, name: str, *, in_database: bool) -> bool:
    if name in HARMFUL_SETTINGS or name.startswith(HARMFUL_PREFIX):
        return True
    # What is set for the role is ours; the same setting for one database would win over it.
    return in_database and name in SETTINGS.get(role or "", {})


# --- The database and what is in it ------------------------------------------------------------------------------------

Entry = tuple[str, tuple[str, ...]]
"""(statement with a {} for each name, names)."""


def _database(database: str, server: Server) -> Iterator[Entry]:
    if server.owner is None:
        yield "CREATE DATABASE {} OWNER {} ENCODING 'UTF8' TEMPLATE template0", (database, OWNER)
    elif server.owner != OWNER:
        yield "ALTER DATABASE {} OWNER TO {}", (database, OWNER)
    # A new database lets everybody connect and make temporary tables.
    grants = server.grants if server.owner else frozenset({(PUBLIC, "CONNECT"), (PUBLIC, "TEMPORARY")})
    if any(role == PUBLIC for role, _ in grants):
        yield "REVOKE ALL ON DATABASE {} FROM PUBLIC", (database,)
    # An administrator who is no superuser needs to come back, to look.
    others = () if server.admin.superuser else (server.admin.name,)
    for role in (*LOGINS, *others):
        held = {privilege for grantee, privilege in grants if grantee == role}
        if role in LOGINS and role != OWNER and held - {"CONNECT"}:
            yield "REVOKE CREATE, TEMPORARY ON DATABASE {} FROM {}", (database, role)
        if "CONNECT" not in held:
            yield "GRANT CONNECT ON DATABASE {} TO {}", (database, role)


def _schemas(inside: Database) -> Iterator[Entry]:
    yield from _schema("public", inside.schemas.get("public"), OWNER, (*LOGINS, LOOKUP))
    yield from _schema(LOOKUP_SCHEMA, inside.schemas.get(LOOKUP_SCHEMA), LOOKUP, (APP,))


def _schema(name: str, schema: Schema | None, owner: str, users: tuple[str, ...]) -> Iterator[Entry]:
    if schema is None:
        yield "CREATE SCHEMA {} AUTHORIZATION {}", (name, owner)
    elif schema.owner != owner:
        yield "ALTER SCHEMA {} OWNER TO {}", (name, owner)
    grants = (schema or _NOWHERE).grants
    if any(role == PUBLIC for role, _ in grants):
        yield "REVOKE ALL ON SCHEMA {} FROM PUBLIC", (name,)
    for role in ROLES:
        held = {privilege for grantee, privilege in grants if grantee == role}
        wanted = {"USAGE"} if role in users else set()
        if role != owner and held - wanted:
            yield "REVOKE ALL ON SCHEMA {} FROM {}", (name, role)
            held = set()
        if role in users and wanted - held:
            yield "GRANT USAGE ON SCHEMA {} TO {}", (name, role)


def _strays(server: Server, inside: Database) -> Iterator[Entry]:
    for table in inside.strays:  # already quoted by the catalog
        yield f"ALTER TABLE {_escaped(table)} OWNER TO {{}}", (OWNER,)
    for function in inside.stray_functions:
        yield f"ALTER FUNCTION {_escaped(function)} OWNER TO {{}}", (LOOKUP,)
    if server.admin.superuser:  # nobody else may change what belongs to the server itself
        for function, role in inside.open_writers:
            to, names = ("PUBLIC", ()) if role == PUBLIC else ("{}", (role,))
            yield f"REVOKE EXECUTE ON FUNCTION pg_catalog.{_escaped(function)} FROM {to}", names


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")

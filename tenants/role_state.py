"""What a server has of the roles, their database and its schemas, read from the catalogs alone."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

import psycopg

from tenants.roles import FLAGS, LARGE_OBJECT_WRITERS, LOGINS, LOOKUP, LOOKUP_SCHEMA, OWNER, SETTINGS

Connection = psycopg.Connection
PUBLIC = "PUBLIC"
Grants = frozenset[tuple[str, str]]
"""(role or PUBLIC, privilege)."""


@dataclass(frozen=True)
class Role:
    """One role as it is."""

    flags: Mapping[str, bool]
    login: bool
    expires: bool
    settings: Mapping[str, str]
    password_fits: bool


@dataclass(frozen=True)
class Setting:
    """A default that holds in a database: for one role, or (role None) for everybody."""

    database: str | None
    role: str | None
    name: str


@dataclass(frozen=True)
class Membership:
    member: str
    of: str
    grantor: str


@dataclass(frozen=True)
class Admin:
    """Who we are signed in as, and what that allows."""

    name: str
    superuser: bool
    createrole: bool
    createdb: bool


@dataclass(frozen=True)
class Server:
    """What belongs to the server as a whole. `owner` is None where the database is not there yet."""

    admin: Admin
    roles: Mapping[str, Role]
    memberships: tuple[Membership, ...]
    settings: tuple[Setting, ...]
    owner: str | None
    grants: Grants
    large_object_writers: tuple[str, ...]
    parameters: tuple[tuple[str, str], ...]
    """(setting, who of our roles, or PUBLIC, was granted to set it)."""
    fixed: Mapping[str, str]
    """Settings that the administrator may not give to a role -> what the server has them at."""


@dataclass(frozen=True)
class Schema:
    owner: str
    grants: Grants


@dataclass(frozen=True)
class Database:
    """What is inside the database: our two schemas, what is owned by somebody else, what everybody may write."""

    schemas: Mapping[str, Schema]
    strays: tuple[str, ...] = ()
    stray_functions: tuple[str, ...] = ()
    open_writers: tuple[tuple[str, str], ...] = ()
    """(function that writes large objects, who may run it)."""
    acts_as_owner: bool = False


def fresh_database(server: Server) -> Database:
    """A database as CREATE DATABASE leaves it: everybody may use `public` and write large objects."""
    public = Schema("pg_database_owner", frozenset({(PUBLIC, "USAGE")}))
    return Database(
        {"public": public}, open_writers=tuple((name, PUBLIC) for name in server.large_object_writers)
    )


def read_server(connection: Connection, database: str, passwords: Mapping[str, str]) -> Server:
    """What is there, seen by the administrator; a role's password is compared with `passwords`."""
    row = connection.execute(
        "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    assert row is not None
    admin = Admin(*row)
    found = connection.execute(
        """SELECT d.datdba::regrole::text, a.grantee::regrole::text, a.privilege_type
           FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a WHERE d.datname = %s""",
        (database,),
    ).fetchall()
    return Server(
        admin=admin,
        roles=_roles(connection, admin, database, passwords),
        memberships=_memberships(connection),
        settings=_settings(connection, database),
        owner=found[0][0] if found else None,
        grants=_grants(row[1:] for row in found),
        large_object_writers=_writers(connection),
        parameters=_parameters(connection),
        fixed=_fixed(connection),
    )


def _roles(
    connection: Connection, admin: Admin, database: str, passwords: Mapping[str, str]
) -> dict[str, Role]:
    columns = ", ".join("rol" + flag.lower().replace("superuser", "super") for flag in FLAGS)
    rows = connection.execute(
        f"""SELECT rolname, rolcanlogin, coalesce(rolvaliduntil < 'infinity', false), coalesce(s.setconfig, '{{}}'),
                   {columns}
            FROM pg_roles r LEFT JOIN pg_db_role_setting s ON s.setrole = r.oid AND s.setdatabase = 0
            WHERE rolname = ANY(%s)""",  # noqa: S608 - column names of ours alone
        ([*LOGINS, LOOKUP],),
    ).fetchall()
    return {
        name: Role(
            flags=dict(zip(FLAGS, flags, strict=True)),
            login=login,
            expires=expires,
            settings=dict(setting.split("=", 1) for setting in settings),
            password_fits=name == LOOKUP
            or _password_fits(connection, admin, database, name, passwords[name]),
        )
        for name, login, expires, settings, *flags in rows
    }


def _password_fits(connection: Connection, admin: Admin, database: str, role: str, password: str) -> bool:
    if admin.superuser:
        row = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", (role,)).fetchone()
        return bool(row and row[0] and verifier_fits(row[0], password))
    # Only a superuser reads what is stored; anybody else has to try.
    dsn = psycopg.conninfo.make_conninfo(
        connection.info.dsn, user=role, password=password, dbname=database, connect_timeout=5
    )
    try:
        psycopg.connect(dsn).close()
    except psycopg.OperationalError:
        return False
    return True


def verifier_fits(verifier: str, password: str) -> bool:
    """Whether a password belongs to a stored SCRAM-SHA-256 verifier; one in another form never fits."""
    try:
        scheme, setup, keys = verifier.split("$")
        rounds, salt = setup.split(":")
        stored = base64.b64decode(keys.split(":")[0])
    except ValueError:
        return False
    if scheme != "SCRAM-SHA-256":
        return False
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(rounds))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return hmac.compare_digest(hashlib.sha256(client_key).digest(), stored)


def _memberships(connection: Connection) -> tuple[Membership, ...]:
    rows = connection.execute(
        """SELECT pg_get_userbyid(member), pg_get_userbyid(roleid), pg_get_userbyid(grantor)
           FROM pg_auth_members WHERE pg_get_userbyid(member) = ANY(%s) ORDER BY 1, 2, 3""",
        ([*LOGINS, LOOKUP],),
    ).fetchall()
    return tuple(Membership(*row) for row in rows)


def _settings(connection: Connection, database: str) -> tuple[Setting, ...]:
    """Defaults that are bound to this database, or to one of the roles."""
    rows = connection.execute(
        """SELECT d.datname, r.rolname, split_part(setting, '=', 1)
           FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) setting
           LEFT JOIN pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_roles r ON r.oid = s.setrole
           WHERE (s.setdatabase = 0 OR d.datname = %s) AND (s.setrole = 0 OR r.rolname = ANY(%s)) ORDER BY 1, 2, 3""",
        (database, [*LOGINS, LOOKUP]),
    ).fetchall()
    return tuple(Setting(*row) for row in rows)


def _fixed(connection: Connection) -> dict[str, str]:
    """Settings of ours that take a superuser, or GRANT SET ON PARAMETER, which the administrator lacks."""
    names = sorted({name for settings in SETTINGS.values() for name in settings})
    rows = connection.execute(
        """SELECT name, reset_val FROM pg_settings
           WHERE name = ANY(%s) AND context = 'superuser' AND NOT has_parameter_privilege(name, 'SET')""",
        (names,),
    ).fetchall()
    return dict(rows)


def _grants(rows: object) -> Grants:
    return frozenset((PUBLIC if grantee == "-" else grantee, privilege) for grantee, privilege in rows)  # type: ignore[attr-defined]


def _parameters(connection: Connection) -> tuple[tuple[str, str], ...]:
    rows = connection.execute(
        """SELECT DISTINCT p.parname, coalesce(r.rolname::text, %s) FROM pg_parameter_acl p, aclexplode(p.paracl) a
           LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE a.grantee = 0 OR r.rolname = ANY(%s) ORDER BY 1, 2""",
        (PUBLIC, [*LOGINS, LOOKUP]),
    ).fetchall()
    return tuple((name, role) for name, role in rows)


def _writers(connection: Connection) -> tuple[str, ...]:
    rows = connection.execute(
        """SELECT oid::regprocedure::text FROM pg_proc
           WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY(%s) ORDER BY 1""",
        (list(LARGE_OBJECT_WRITERS),),
    ).fetchall()
    return tuple(row[0] for row in rows)


def _open_writers(connection: Connection) -> tuple[tuple[str, str], ...]:
    rows = connection.execute(
        """SELECT p.oid::regprocedure::text, coalesce(r.rolname::text, %s)
           FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
           LEFT JOIN pg_roles r ON r.oid = a.grantee
           WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = ANY(%s)
             AND (a.grantee = 0 OR r.rolname = ANY(%s)) ORDER BY 1, 2""",
        (PUBLIC, list(LARGE_OBJECT_WRITERS), [*LOGINS, LOOKUP]),
    ).fetchall()
    return tuple((name, role) for name, role in rows)


def read_database(connection: Connection) -> Database:
    """What is inside the database that this connection is in."""
    schemas: dict[str, tuple[str, set[tuple[str, str]]]] = {}
    for name, owner, grantee, privilege in connection.execute(
        """SELECT n.nspname, n.nspowner::regrole::text, a.grantee::regrole::text, a.privilege_type
           FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
           WHERE n.nspname IN ('public', %s)""",
        (LOOKUP_SCHEMA,),
    ):
        schemas.setdefault(name, (owner, set()))[1].add((grantee, privilege))
    # Sequences of a column follow their table, an extension's tables stay its own; views are altered as tables are.
    strays = connection.execute(
        """SELECT c.oid::regclass::text FROM pg_class c
           WHERE c.relnamespace = to_regnamespace('public') AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
             AND c.relowner <> coalesce(to_regrole(%s), 0)
             AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass
                             AND (d.deptype = 'e' OR (d.deptype IN ('a', 'i') AND c.relkind = 'S'))) ORDER BY 1""",
        (OWNER,),
    ).fetchall()
    functions = connection.execute(
        """SELECT oid::regprocedure::text FROM pg_proc
           WHERE pronamespace = to_regnamespace(%s) AND proowner <> coalesce(to_regrole(%s), 0) ORDER BY 1""",
        (LOOKUP_SCHEMA, LOOKUP),
    ).fetchall()
    member = connection.execute(
        """SELECT coalesce(bool_and(pg_has_role(oid, 'USAGE')), false) FROM pg_roles WHERE rolname = ANY(%s)
           HAVING count(*) = 2""",
        ([OWNER, LOOKUP],),
    ).fetchone()
    return Database(
        schemas={name: Schema(owner, _grants(grants)) for name, (owner, grants) in schemas.items()},
        strays=tuple(row[0] for row in strays),
        stray_functions=tuple(row[0] for row in functions),
        open_writers=_open_writers(connection),
        acts_as_owner=bool(member and member[0]),
    )

"""Refuses database logins that policies do not hold: a superuser, one with BYPASSRLS, whoever owns the tables."""

from typing import Any

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper

from tenants.errors import WeirError
from tenants.scope import APP_ALIAS

_POWERS = """
    SELECT rolname, ARRAY_REMOVE(ARRAY[
        CASE WHEN rolsuper THEN 'is a superuser' END,
        CASE WHEN rolbypassrls THEN 'has BYPASSRLS' END,
        CASE WHEN pg_has_role(r.oid, (SELECT datdba FROM pg_database WHERE datname = current_database()), 'MEMBER')
             THEN 'may act as the owner of the database' END,
        CASE WHEN EXISTS (SELECT 1 FROM pg_class WHERE relowner = r.oid AND relkind IN ('r', 'p'))
             THEN 'owns tables' END], NULL)
    FROM pg_roles r WHERE rolname = current_user
"""


class LoginTooPowerful(WeirError):
    """A process signs in with a login that row-level security does not hold."""

    code = "login_too_powerful"
    status = 500
    title = "The database login has too many rights"


def refuse_powerful(connection: BaseDatabaseWrapper, **signal: Any) -> None:
    """Close a new connection whose login could get past the policies, and raise LoginTooPowerful.

    Asked of every connection as it is opened, since rights can change while a process lives. Only the commands that
    sign in as the owner, such as migrate, are let through.
    """
    if connection.alias == APP_ALIAS and settings.DATABASE_LOGIN != "app":
        return
    with connection.cursor() as cursor:
        cursor.execute(_POWERS)
        login, powers = cursor.fetchone()
    if powers:
        connection.close()
        raise LoginTooPowerful(
            f"The database login {login} ({connection.alias}) {' and '.join(powers)}, so nothing would keep tenants "
            "apart. Sign in as weir_app and weir_ops; manage.py ensure_roles makes and repairs them."
        )

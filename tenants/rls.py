"""Row-level security, derived from the models and applied after every migrate.

Every table is in exactly one class; a table in none fails the system check. Grants come in the same step as the
policies, so that a table without a policy is unreadable and not open.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.db import models

from tenants.roles import APP, BACKUP, LOOKUP, LOOKUP_SCHEMA, OPS, OWNER, READONLY
from tenants.scope import SETTING

CLASSES = ("tenant", "secret", "junction", "reference", "identity", "system")
CURRENT_TENANT = f"(SELECT current_setting('{SETTING}')::uuid)"

# What the SECURITY DEFINER functions below may read, and nothing else.
# Table -> the columns, where not all of them.
LOOKUP_READS = {
    "tenants_apikey": "",
    "tenants_tenant": "",
    "tenants_membership": "",
    "tenants_invitation": "",
    "tenants_user": "(id, email)",
}

FUNCTIONS: dict[str, str] = {
    "api_key(wanted bytea)": """
        RETURNS TABLE (key_id uuid, tenant_id uuid, tenant_name text, plan text, tenant_status text, livemode boolean,
                       scopes text[], expires_at timestamptz, revoked_at timestamptz, last_used_at timestamptz,
                       hint text)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
            SELECT k.id, k.tenant_id, t.name, t.plan, t.status, k.livemode, k.scopes::text[], k.expires_at,
                   k.revoked_at, k.last_used_at, k.hint
            FROM public.tenants_apikey k JOIN public.tenants_tenant t ON t.id = k.tenant_id
            WHERE k.digest = wanted
        $$""",
    "tenants_of(wanted uuid)": """
        RETURNS TABLE (tenant_id uuid, tenant_name text, plan text, tenant_status text, role text, is_owner boolean)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
            SELECT t.id, t.name, t.plan, t.status, m.role, m.is_owner
            FROM public.tenants_membership m JOIN public.tenants_tenant t ON t.id = m.tenant_id
            WHERE m.user_id = wanted ORDER BY t.name, t.id
        $$""",
    "invitation(wanted bytea)": """
        RETURNS TABLE (invitation_id uuid, tenant_id uuid, tenant_name text, email text, role text, invited_by text,
                       expires_at timestamptz)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
            SELECT i.id, i.tenant_id, t.name, i.email, i.role, coalesce(u.email, ''), i.expires_at
            FROM public.tenants_invitation i JOIN public.tenants_tenant t ON t.id = i.tenant_id
            LEFT JOIN public.tenants_user u ON u.id = i.invited_by_id
            WHERE i.digest = wanted AND i.accepted_at IS NULL AND i.revoked_at IS NULL
              AND i.expires_at > now() AND t.status = 'active'
        $$""",
}


@dataclass(frozen=True)
class Isolated:
    """A table, its class, and the column (or, for a junction, the condition) that ties its rows to a tenant."""

    table: str
    kind: str
    column: str = "tenant_id"
    condition: str = ""
    append_only: bool = False


def table_classes() -> Iterator[Isolated]:
    """Every managed table with its class; `kind` is empty where none was declared."""
    seen = set()
    for model in apps.get_models(include_auto_created=True):
        meta = model._meta
        if meta.proxy or not (meta.managed or hasattr(model, "isolation")) or meta.db_table in seen:
            continue
        seen.add(meta.db_table)
        kind = getattr(model, "isolation", None) or settings.RLS_CLASSES.get(meta.app_label, "")
        if meta.auto_created:
            parent: Any = meta.auto_created
            kind = getattr(parent, "isolation", None) or settings.RLS_CLASSES.get(parent._meta.app_label, "")
            kind = "junction" if kind in ("tenant", "secret") else kind
        yield Isolated(
            table=meta.db_table,
            kind=kind,
            column=getattr(model, "isolation_column", "tenant_id"),
            condition=getattr(model, "isolation_condition", ""),
            append_only=getattr(model, "append_only", False),
        )


def check_classes(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """System check: every table is in one class, and a tenant table has the column that its class needs."""
    problems: list[CheckMessage] = []
    by_table: dict[str, type[models.Model]] = {
        m._meta.db_table: m for m in apps.get_models(include_auto_created=True) if not m._meta.proxy
    }
    for entry in table_classes():
        model = by_table[entry.table]
        if entry.kind not in CLASSES:
            problems.append(
                Error(
                    f"{entry.table} is in no isolation class.",
                    hint="Inherit TenantOwned, set `isolation` on the model, or name its app in RLS_CLASSES.",
                    obj=model,
                    id="weir.E001",
                )
            )
        elif entry.kind in ("tenant", "secret"):
            if entry.column not in {field.column for field in model._meta.local_concrete_fields}:
                problems.append(
                    Error(f"{entry.table} has no column {entry.column}.", obj=model, id="weir.E002")
                )
        elif entry.kind == "junction" and not entry.condition:
            problems.append(Error(f"{entry.table} names no isolation_condition.", obj=model, id="weir.E003"))
    return problems


def statements_for(entry: Isolated) -> list[str]:
    """The SQL that gives one table its policies and grants; running it again changes nothing."""
    table = f'public."{entry.table}"'
    lines = [f"REVOKE ALL ON {table} FROM PUBLIC, {APP}, {OPS}, {READONLY}, {BACKUP}, {LOOKUP}"]
    own = f"{entry.column} = {CURRENT_TENANT}" if entry.kind in ("tenant", "secret") else entry.condition
    policies: list[tuple[str, str, str, str | None]] = []
    if entry.kind in ("tenant", "secret", "junction"):
        lines += [
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        ]
        policies = [
            ("weir_owner_all", OWNER, "ALL", "true"),
            ("weir_app_own", APP, "ALL", own),
            ("weir_backup_read", BACKUP, "SELECT", "true"),
        ]
        if entry.kind != "secret":
            policies += [
                ("weir_ops_all", OPS, "ALL", "true"),
                ("weir_readonly_read", READONLY, "SELECT", "true"),
            ]
        if entry.table in LOOKUP_READS:
            policies.append(("weir_lookup_read", LOOKUP, "SELECT", "true"))
    for name, role, verb, condition in policies:
        check = "" if verb == "SELECT" else f" WITH CHECK ({condition})"
        lines.append(f"DROP POLICY IF EXISTS {name} ON {table}")
        lines.append(
            f"CREATE POLICY {name} ON {table} AS PERMISSIVE FOR {verb} TO {role} USING ({condition}){check}"
        )
    return lines + [f"GRANT {verbs} ON {table} TO {role}" for role, verbs in grants(entry).items() if verbs]


def grants(entry: Isolated) -> dict[str, str]:
    """Which verbs each login gets on a table of this class."""
    all_verbs = "SELECT, INSERT, UPDATE, DELETE"
    # Rows of an append-only table go when their partition or their tenant goes, never by hand of the app login.
    written = "SELECT, INSERT" if entry.append_only else all_verbs
    table = {
        "tenant": {APP: written, OPS: written if entry.append_only else all_verbs, READONLY: "SELECT"},
        "junction": {APP: written, OPS: all_verbs, READONLY: "SELECT"},
        "secret": {APP: all_verbs},
        "reference": {APP: "SELECT", OPS: all_verbs, READONLY: "SELECT"},
        "identity": {APP: all_verbs, OPS: all_verbs},
        "system": {OPS: all_verbs},
    }[entry.kind]
    result = {**table, BACKUP: "SELECT"}
    if entry.table in LOOKUP_READS:
        result[LOOKUP] = f"SELECT {LOOKUP_READS[entry.table]}".strip()
    return result


def function_statements() -> list[str]:
    """The functions that answer before a tenant is known: owned by the lookup role, executable by app alone."""
    lines = [f"SET ROLE {LOOKUP}"]
    for signature, body in FUNCTIONS.items():
        name = signature.split("(")[0]
        types = ", ".join(argument.split()[1] for argument in signature.split("(")[1].rstrip(")").split(","))
        lines += [
            f"CREATE OR REPLACE FUNCTION {LOOKUP_SCHEMA}.{signature} {body}",
            f"REVOKE ALL ON FUNCTION {LOOKUP_SCHEMA}.{name}({types}) FROM PUBLIC",
            f"GRANT EXECUTE ON FUNCTION {LOOKUP_SCHEMA}.{name}({types}) TO {APP}",
        ]
    return [*lines, "RESET ROLE"]


def apply(cursor: Any) -> int:
    """Bring policies, grants and functions of every existing table up to date; returns how many tables.

    Must run as the owner, in one transaction.
    """
    cursor.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r','p')"
    )
    present = {row[0] for row in cursor.fetchall()}
    count = 0
    for entry in table_classes():
        if entry.table in present and entry.kind:
            for statement in statements_for(entry):
                cursor.execute(statement)
            count += 1
    if "django_migrations" in present:
        cursor.execute(f"GRANT SELECT ON public.django_migrations TO {APP}, {OPS}, {READONLY}, {BACKUP}")
    if present.issuperset(LOOKUP_READS):
        for statement in [*_strays(cursor), *function_statements()]:
            cursor.execute(statement)
    return count


def _strays(cursor: Any) -> list[str]:
    """What drops the functions of the lookup schema that are no longer in FUNCTIONS."""
    cursor.execute(
        "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = %s::regnamespace AND proname <> ALL (%s)",
        [LOOKUP_SCHEMA, [signature.split("(")[0] for signature in FUNCTIONS]],
    )
    return [f"DROP FUNCTION {row[0]}" for row in cursor.fetchall()]

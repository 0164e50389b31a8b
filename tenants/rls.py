"""What the database must hold so that tenants stay apart: policies, grants and functions, derived from the models.

`tenants/upkeep.py` applies it after every migrate; `tenants/verdicts.py` compares it with what is there. Grants come in
the same step as the policies, so that a table without a policy is unreadable and not open.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tenants.classes import Isolated
from tenants.roles import APP, BACKUP, LOOKUP, LOOKUP_SCHEMA, OPS, OWNER, READONLY
from tenants.scope import CURRENT_TENANT

READ_ONCE = f"( SELECT {CURRENT_TENANT} AS current_setting)"
"""The same in a query of its own: dearer to plan, and not read again for every row (docs/decisions/0010)."""
_TYPES = {"timestamptz": "timestamp with time zone", "int": "integer", "bool": "boolean"}
SEARCH_PATH = "pg_catalog, public, pg_temp"

# What the SECURITY DEFINER functions below may read, and nothing else.
# Table -> the columns, where not all of them.
LOOKUP_READS = {
    "tenants_apikey": "",
    "tenants_tenant": "",
    "tenants_membership": "",
    "tenants_invitation": "",
    "tenants_user": "(id, email)",
}

OUTSIDE_TENANTS = """
                IF coalesce(current_setting('app.tenant_id', true), '') <> '' THEN
                    RAISE EXCEPTION 'not to be asked inside a tenant' USING ERRCODE = 'insufficient_privilege';
                END IF;"""
"""Begins functions that answer over all tenants: whoever is inside one learns nothing of the others."""

FUNCTIONS: dict[str, str] = {
    "api_keys(wanted bytea[])": """
        RETURNS TABLE (digest bytea, key_id uuid, tenant_id uuid, tenant_name text, plan text, tenant_status text,
                       livemode boolean, scopes text[], expires_at timestamptz, revoked_at timestamptz,
                       last_used_at timestamptz, hint text)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
            SELECT k.digest, k.id, k.tenant_id, t.name, t.plan, t.status, k.livemode, k.scopes::text[], k.expires_at,
                   k.revoked_at, k.last_used_at, k.hint
            FROM public.tenants_apikey k JOIN public.tenants_tenant t ON t.id = k.tenant_id
            WHERE k.digest = ANY (wanted)
        $$""",
    # Asked by processes of the release before, which go on until they are replaced.
    "api_key(wanted bytea)": """
        RETURNS TABLE (key_id uuid, tenant_id uuid, tenant_name text, plan text, tenant_status text, livemode boolean,
                       scopes text[], expires_at timestamptz, revoked_at timestamptz, last_used_at timestamptz,
                       hint text)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
            SELECT k.id, k.tenant_id, t.name, t.plan, t.status, k.livemode, k.scopes::text[], k.expires_at,
                   k.revoked_at, k.last_used_at, k.hint
            FROM public.tenants_apikey k JOIN public.tenants_tenant t ON t.id = k.tenant_id
            WHERE k.digest = wanted
        $$""",
    "tenants_of(wanted uuid)": f"""
        RETURNS TABLE (tenant_id uuid, tenant_name text, plan text, tenant_status text, role text, is_owner boolean)
        LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
            BEGIN{OUTSIDE_TENANTS}
                RETURN QUERY SELECT t.id, t.name::text, t.plan::text, t.status::text, m.role::text, m.is_owner
                FROM public.tenants_membership m JOIN public.tenants_tenant t ON t.id = m.tenant_id
                WHERE m.user_id = wanted ORDER BY t.name, t.id;
            END
        $$""",  # noqa: S608 - of ours alone
    "invitation(wanted bytea)": """
        RETURNS TABLE (invitation_id uuid, tenant_id uuid, tenant_name text, email text, role text, invited_by text,
                       expires_at timestamptz)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
            SELECT i.id, i.tenant_id, t.name, i.email, i.role, coalesce(u.email, ''), i.expires_at
            FROM public.tenants_invitation i JOIN public.tenants_tenant t ON t.id = i.tenant_id
            LEFT JOIN public.tenants_user u ON u.id = i.invited_by_id
            WHERE i.digest = wanted AND i.accepted_at IS NULL AND i.revoked_at IS NULL
              AND i.expires_at > now() AND t.status = 'active'
        $$""",
}


@dataclass(frozen=True)
class Policy:
    """A permissive policy for one login; `condition` holds for rows read and for rows written."""

    name: str
    role: str
    verb: str
    condition: str = "true"

    @property
    def check(self) -> str | None:
        return None if self.verb == "SELECT" else self.condition


@dataclass(frozen=True)
class Definer:
    """A function that runs with its owner's rights. `types` are its arguments'; `digest` is of its body."""

    name: str
    types: str
    digest: str
    owner: str
    caller: str


@dataclass(frozen=True)
class Trigger:
    """A trigger that keeps a promise. `digest` is of its definition, as PostgreSQL prints it, and its function's body."""

    table: str
    name: str
    digest: str


# Made by migrations; what each may do has been read by somebody, and any change of it has to be read again.
REVIEWED_DEFINERS = (
    Definer(
        "public.weir_erase_rows",
        "uuid, regclass, uuid[]",
        "e96317db2e29b9aaab3368aea03d39b6a2eaf43780da2c74d2cd5a1dcfb089ab",
        OWNER,
        OPS,
    ),
    Definer(
        "public.weir_purge_run",
        "uuid, uuid, integer",
        "a46a7482330d90745b1c5d5a3e72da4e69cab1485db76e05af6b247995c22698",
        OWNER,
        OPS,
    ),
    Definer(
        "public.weir_make_step_partitions",
        "integer",
        "870ab4f6b4d0a1f08ed95b4f17ea0102d890060cd16e72ec2587801392e24760",
        OWNER,
        OPS,
    ),
    Definer(
        "public.weir_drop_step_partitions",
        "",
        "cc3a00a23a6fdf0735e7af78fd8540589e14b8ce5604d1379aaf170a4cc429c5",
        OWNER,
        OPS,
    ),
)

TRIGGERS = (
    Trigger(
        "tenants_tenant",
        "weir_closing_is_final",
        "2afe1a8bd9f424b92c2c8547fba217c1481d9625f33ae723b49a0c2b5b1ebc15",
    ),
    Trigger(
        "tenants_user",
        "weir_staff_changed",
        "1e814632ee1aace9a9f3cf30e7a5d5af7e13d96f70bc6d1efb2764b9c980845b",
    ),
    Trigger(
        "tenants_user", "weir_staff_made", "a2cf33e00322d44e7ccd57e8a3ebe83343b08801ed98fe89813181a3096291dd"
    ),
    Trigger(
        "tenants_user_groups",
        "weir_staff_groups",
        "7ce63d56c553e7cd75315b35ad4150a6b0c113693d86d51403f0430d5b17151f",
    ),
    Trigger(
        "tenants_user_user_permissions",
        "weir_staff_rights",
        "be2c9c8d566f46fb2ac52759143037c45aa08289591e77d52f0525a0c4095d3e",
    ),
)
"""Made by migrations, and the only ones."""


def policies(entry: Isolated) -> list[Policy]:
    """The policies of a table, each naming its login; none where rows belong to no tenant."""
    owner, backup = Policy("weir_owner_all", OWNER, "ALL"), Policy("weir_backup_read", BACKUP, "SELECT")
    if entry.kind == "partition":
        # pg_dump reads partitions one by one; everybody else goes through the parent, whose policies apply.
        return [owner, backup]
    if not entry.walled:
        return []
    found = [owner, Policy("weir_app_own", APP, "ALL", own_rows(entry)), backup]
    if entry.kind != "secret":
        found += [Policy("weir_ops_all", OPS, "ALL"), Policy("weir_readonly_read", READONLY, "SELECT")]
    if entry.table in LOOKUP_READS:
        found.append(Policy("weir_lookup_read", LOOKUP, "SELECT"))
    return found


def own_rows(entry: Isolated) -> str:
    """The condition that is true for the open tenant's rows alone, as PostgreSQL prints it back."""
    if entry.kind != "junction":
        return f"({entry.column} = {READ_ONCE if entry.joined else CURRENT_TENANT})"
    # The parents' own policies decide what this login finds in them.
    condition = "(EXISTS ( SELECT 1 FROM {0} p WHERE (p.{1} = {2}.{3})))"
    found = [condition.format(p.table, p.key, entry.table, p.column) for p in entry.parents]
    return found[0] if len(found) == 1 else f"({' AND '.join(found)})"


def grants(entry: Isolated) -> dict[str, frozenset[str]]:
    """By login, the verbs that it has on a table of this class: "SELECT", or "SELECT (column)"."""
    reads, everything = frozenset({"SELECT"}), frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})
    # Rows of an append-only table go when their partition or their tenant goes, never by hand of these logins.
    written = everything - {"UPDATE", "DELETE"} if entry.append_only else everything
    kept = reads if entry.read_only else written
    found = {
        "tenant": {APP: written, OPS: written, READONLY: reads},
        "junction": {APP: written, OPS: written, READONLY: reads},
        "secret": {APP: written},
        "reference": {APP: reads, OPS: kept, READONLY: reads},
        "identity": {APP: written, OPS: written},
        "system": {OPS: written},
        "partition": {},
        "sequence": {},  # the columns that count have it of their own; a dump reads where it stands
    }[entry.kind]
    result = {**found, BACKUP: reads}
    if entry.table in LOOKUP_READS:
        columns = [name.strip() for name in LOOKUP_READS[entry.table].strip("()").split(",") if name.strip()]
        result[LOOKUP] = frozenset(f"SELECT ({name})" for name in columns) or reads
    return result


def statements_for(entry: Isolated, strays: list[str]) -> Iterator[str]:
    """The SQL that gives one table its policies and grants, and takes those policies away that it should not have."""
    revoked, *granted = grant_statements(entry)
    yield revoked
    if entry.kind != "sequence":
        yield from _policy_statements(entry, f'public."{entry.table}"', strays)
    yield from granted


def grant_statements(entry: Isolated) -> Iterator[str]:
    """The SQL that leaves a table with its grants alone."""
    table = f'public."{entry.table}"'
    yield f"REVOKE ALL ON {table} FROM PUBLIC, {APP}, {OPS}, {READONLY}, {BACKUP}, {LOOKUP}"
    for role, verbs in grants(entry).items():
        if verbs:
            yield f"GRANT {', '.join(sorted(verbs))} ON {table} TO {role}"


def _policy_statements(entry: Isolated, table: str, strays: list[str]) -> Iterator[str]:
    walled = bool(policies(entry))
    yield f"ALTER TABLE {table} {'ENABLE' if walled else 'DISABLE'} ROW LEVEL SECURITY"
    yield f"ALTER TABLE {table} {'' if walled else 'NO '}FORCE ROW LEVEL SECURITY"
    for name in strays:
        yield f'DROP POLICY "{name}" ON {table}'
    for policy in policies(entry):
        yield f"DROP POLICY IF EXISTS {policy.name} ON {table}"
        yield policy_made(policy, table)


def policy_made(policy: Policy, table: str) -> str:
    """The statement that makes a policy."""
    return f"CREATE POLICY {policy.name} ON {table} AS PERMISSIVE FOR {policy.verb} {policy_terms(policy)}"


def policy_terms(policy: Policy) -> str:
    """For whom it is and what it asks: the part that ALTER POLICY can change too."""
    check = f" WITH CHECK ({policy.check})" if policy.check else ""
    return f"TO {policy.role} USING ({policy.condition}){check}"


def partition_statements(table: str) -> list[str]:
    """The SQL that closes a new partition: reachable through its parent, and by itself for dumps alone."""
    return list(statements_for(Isolated(table, "partition"), []))


def definers() -> Iterator[Definer]:
    """Every function that may run with its owner's rights: those that answer before a tenant is known, and others."""
    yield from REVIEWED_DEFINERS
    for signature, body in FUNCTIONS.items():
        name, arguments = signature.rstrip(")").split("(")
        types = ", ".join(_type(argument) for argument in arguments.split(",") if argument)
        source = re.search(r"\$\$(.*)\$\$", body, re.DOTALL)
        assert source, f"{name} has no body"
        yield Definer(f"{LOOKUP_SCHEMA}.{name}", types, digest(source.group(1)), LOOKUP, APP)


def digest(source: str) -> str:
    """What tells one body of a function from another."""
    return hashlib.sha256(source.encode()).hexdigest()


def _type(argument: str) -> str:
    """The type of an argument, as PostgreSQL prints it."""
    name = argument.split(maxsplit=1)[1]
    base = name.removesuffix("[]")
    return _TYPES.get(base, base) + name[len(base) :]


def function_statements(present: list[str]) -> Iterator[str]:
    """The SQL that makes the functions: owned by the lookup role, executable by app alone.

    `present` are the signatures of those that are there. They go first: what a function returns cannot be changed.
    """
    yield f"SET ROLE {LOOKUP}"
    for signature in present:
        yield f"DROP FUNCTION {signature}"
    for signature, body in FUNCTIONS.items():
        yield f"CREATE FUNCTION {LOOKUP_SCHEMA}.{signature} {body}"
        yield f"REVOKE ALL ON FUNCTION {LOOKUP_SCHEMA}.{signature} FROM PUBLIC"
        yield f"GRANT EXECUTE ON FUNCTION {LOOKUP_SCHEMA}.{signature} TO {APP}"
    yield "RESET ROLE"

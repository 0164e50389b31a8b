"""Ways to break the wall around a table, each one statement or two; the tests must notice every one of them."""

from collections.abc import Iterator
from dataclasses import dataclass

from tenants.catalogue import Relation
from tenants.classes import REVIEWED_UNIQUES, Isolated
from tenants.roles import APP, LOOKUP, OPS, READONLY
from tests.invariants.isolation import acts
from tests.invariants.isolation.acts import Act


@dataclass(frozen=True)
class Mutant:
    """`act`: what somebody in another tenant's scope notices it by, where rows betray it and not the catalogue alone."""

    table: str
    name: str
    sql: str
    act: Act | None = None


def of_tenants_table(entry: Isolated, found: Relation) -> Iterator[Mutant]:
    """Mutants of a table with rows of tenants."""
    yield from _of_policies(entry, found)
    yield from _of_foreign_keys(entry, found)
    yield from _of_uniques(entry, found)
    yield from _of_grants(entry, found)
    if entry.kind != "junction":
        # Not of a primary key, and not of a key that others refer to.
        keyed = any(entry.column in unique.columns and unique.primary for unique in found.uniques)
        if not keyed:
            yield _mutant(
                found, "tenant may be null", f"ALTER TABLE {{t}} ALTER {entry.column} DROP NOT NULL"
            )


def of_other_table(entry: Isolated, found: Relation) -> Iterator[Mutant]:
    """Mutants of a table of another class, or of a partition."""
    yield from _of_policies(entry, found)
    for role, verb in (("PUBLIC", "SELECT"), (APP, "TRUNCATE"), (LOOKUP, "DELETE")):
        yield _mutant(found, f"grant {verb} to {role}", f"GRANT {verb} ON {{t}} TO {role}")
    if entry.kind in ("identity", "system", "partition"):
        yield _mutant(found, "open to readonly", f"GRANT SELECT ON {{t}} TO {READONLY}")
    if entry.kind in ("reference", "system", "partition"):
        yield _mutant(found, "written by app", f"GRANT UPDATE ON {{t}} TO {APP}")
    if entry.kind != "partition":
        yield _mutant(found, "enable", "ALTER TABLE {t} ENABLE ROW LEVEL SECURITY")


def _mutant(found: Relation, name: str, statement: str, act: Act | None = None) -> Mutant:
    return Mutant(found.name, name, statement.replace("{t}", f'"{found.name}"'), act)


def _of_policies(entry: Isolated, found: Relation) -> Iterator[Mutant]:
    for policy in found.policies:
        own = policy.name == "weir_app_own"
        drop = f"DROP POLICY {policy.name} ON {{t}}"
        yield _mutant(found, f"drop {policy.name}", drop, acts.get if own else None)
        if policy.verb == "ALL":
            # A policy of all rows that is for everybody opens them to app; the app's own, for everybody, does not.
            to_all = f"ALTER POLICY {policy.name} ON {{t}} TO PUBLIC"
            noticed = acts.get if entry.walled and not own else None
            yield _mutant(found, f"{policy.name} for everybody", to_all, noticed)
    if entry.walled:
        for name, change, act in (
            ("all rows", "USING (true) WITH CHECK (true)", acts.lists),
            ("reading all rows", "USING (true)", acts.get),
            ("writing all rows", "WITH CHECK (true)", acts.insert_for_another),
            ("only without a tenant", "USING (current_setting('app.tenant_id', true) IS NULL)", acts.get),
            ("silent without a tenant", f"USING ({_silent(entry)})", acts.without_scope),
        ):
            yield _mutant(found, name, f"ALTER POLICY weir_app_own ON {{t}} {change}", act)
    if found.policies:
        opened, unseen = (acts.copy_out, acts.get) if entry.walled else (None, None)
        more = f"CREATE POLICY more ON {{t}} FOR SELECT TO {APP} USING (true)"
        less = f"CREATE POLICY less ON {{t}} AS RESTRICTIVE TO {APP} USING (false)"
        yield _mutant(found, "no force", "ALTER TABLE {t} NO FORCE ROW LEVEL SECURITY")
        yield _mutant(found, "disable", "ALTER TABLE {t} DISABLE ROW LEVEL SECURITY", opened)
        yield _mutant(found, "one policy more", more, opened)
        yield _mutant(found, "one restriction more", less, unseen)


def _silent(entry: Isolated) -> str:
    if entry.kind == "junction":
        return "current_setting('app.tenant_id', true) IS NOT NULL"
    return f"{entry.column} = (SELECT nullif(current_setting('app.tenant_id', true), '')::uuid)"


def _of_foreign_keys(entry: Isolated, found: Relation) -> Iterator[Mutant]:
    for key in found.foreign_keys:
        if len(key.columns) != 2:
            continue
        column = next(name for name in key.columns if name != entry.column)
        drop = f"ALTER TABLE {{t}} DROP CONSTRAINT {key.name}"
        plain = f"FOREIGN KEY ({column}) REFERENCES {key.target} (id) DEFERRABLE"
        both = f"FOREIGN KEY ({', '.join(key.columns)}) REFERENCES {key.target} ({', '.join(key.target_columns)})"
        yield _mutant(found, f"drop {key.name}", drop, acts.refer)
        for name, statement, noticed in (
            ("without the tenant", f"ADD CONSTRAINT {key.name} {plain}", acts.refer),
            ("under another name, without the tenant", f"ADD CONSTRAINT other {plain}", acts.refer),
            ("with another rule", f"ADD CONSTRAINT {key.name} {both} ON DELETE SET DEFAULT", None),
            ("nulling the tenant", f"ADD CONSTRAINT {key.name} {both} ON DELETE SET NULL", None),
            ("not enforced", f"ADD CONSTRAINT {key.name} {both} NOT ENFORCED", acts.refer),
        ):
            yield _mutant(found, f"{key.name} {name}", f"{drop}; ALTER TABLE {{t}} {statement}", noticed)
        beside = f"ALTER TABLE {{t}} ADD CONSTRAINT beside {plain}"
        yield _mutant(found, f"{key.name} with one beside it that lacks the tenant", beside)
    if any(len(key.columns) == 2 for key in found.foreign_keys):
        yield _mutant(found, "triggers off", "ALTER TABLE {t} DISABLE TRIGGER ALL", acts.refer)


def _of_uniques(entry: Isolated, found: Relation) -> Iterator[Mutant]:
    referred = {key.columns for key in found.foreign_keys if len(key.columns) == 2}
    for unique in found.uniques:
        if unique.primary or unique.name in REVIEWED_UNIQUES:
            continue
        drop = (
            f"ALTER TABLE {{t}} DROP CONSTRAINT IF EXISTS {unique.name} CASCADE;"
            f"DROP INDEX IF EXISTS {unique.name}"
        )
        yield _mutant(found, f"drop {unique.name}", drop)
        rest = [name for name in unique.columns if name != entry.column]
        values = [name for name in rest if not any(name in columns for columns in referred) and name != "id"]
        if rest:
            create = f"CREATE UNIQUE INDEX {unique.name}_x ON {{t}} ({', '.join(rest)})"
            # Where what is left is a row of one's own, nobody else can have the same.
            act = acts.same_values if rest == values else None
            yield _mutant(found, f"{unique.name} without the tenant", f"{drop}; {create}", act)
            last = f"CREATE UNIQUE INDEX {unique.name}_x ON {{t}} ({', '.join([*rest, entry.column])})"
            yield _mutant(found, f"{unique.name} with the tenant last", f"{drop}; {last}")


def _of_grants(entry: Isolated, found: Relation) -> Iterator[Mutant]:
    yield _mutant(found, "truncate", f"GRANT TRUNCATE ON {{t}} TO {APP}", acts.empty)
    if entry.append_only:
        yield _mutant(found, "change history", f"GRANT UPDATE ON {{t}} TO {APP}", acts.update_theirs)
        yield _mutant(found, "delete history", f"GRANT DELETE ON {{t}} TO {APP}", acts.delete_theirs)
        yield _mutant(found, "ops changes history", f"GRANT UPDATE ON {{t}} TO {OPS}")
    if entry.kind == "secret":
        yield _mutant(found, "secrets for ops", f"GRANT SELECT ON {{t}} TO {OPS}")
        yield _mutant(found, "secrets for readonly", f"GRANT SELECT ON {{t}} TO {READONLY}")
        yield _mutant(found, "one column of a secret for ops", f"GRANT SELECT (id) ON {{t}} TO {OPS}")
    for role, verb in (("PUBLIC", "SELECT"), (READONLY, "UPDATE"), (LOOKUP, "INSERT"), (APP, "REFERENCES")):
        yield _mutant(found, f"grant {verb} to {role}", f"GRANT {verb} ON {{t}} TO {role}")
    yield _mutant(found, "grant option", f"GRANT SELECT ON {{t}} TO {APP} WITH GRANT OPTION")
    yield _mutant(found, "revoke", f"REVOKE INSERT ON {{t}} FROM {APP}", acts.insert_for_another)

"""Compares what the database holds with what the models say: each difference is a fault, whoever made it and why."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db import models

from tenants import rls
from tenants.base import SameTenant
from tenants.catalogue import (
    ForeignKey,
    FoundPolicy,
    Function,
    Relation,
    Surroundings,
    relations,
    surroundings,
)
from tenants.classes import (
    REVIEWED_UNIQUES,
    WALLED,
    Isolated,
    class_of,
    models_by_table,
    table_classes,
    tenant_column,
)
from tenants.roles import (
    APP,
    HARMFUL_PREFIX,
    HARMFUL_SETTINGS,
    LOGINS,
    LOOKUP,
    LOOKUP_SCHEMA,
    OWNER,
    SETTINGS,
)

_DELETE_RULES = {"CASCADE": "c", "RESTRICT": "r", "SET NULL": "n"}
_KEEPING = ("a", "r")
"""NO ACTION and RESTRICT, as pg_constraint writes them."""
_TABLES = ("r", "p")
TENANTS = "tenants_tenant"


@dataclass(frozen=True)
class Verdict:
    """What is there of one table, and what is wrong with it; `kind` is empty for what belongs to no class."""

    table: str
    kind: str
    found: Relation | None
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """`beside`: faults of what is no table."""

    tables: list[Verdict]
    beside: list[str]

    @property
    def faults(self) -> list[str]:
        """Every fault on one line, the table's name first."""
        return [f"{v.table}: {fault}" for v in self.tables for fault in v.faults] + self.beside


def report(cursor: Any, only: Iterable[str] | None = None) -> Report:
    """Judge every table, or the named ones alone, and what is beside them. Reads the catalogue and no rows."""
    names = None if only is None else set(only)
    there = relations(cursor, names)
    wanted = {entry.table: entry for entry in table_classes() if names is None or entry.table in names}
    by_table = models_by_table()
    verdicts = []
    for table in sorted(wanted.keys() | there.keys(), key=lambda name: ("." in name, name)):
        found = there.get(table)
        entry = wanted.get(table) or unlisted(found)
        if found is None:
            verdicts.append(Verdict(table, entry.kind if entry else "", None, ["is not there: run migrate"]))
        elif entry is None or not entry.kind:
            verdicts.append(Verdict(table, "", found, list(_outside(found))))
        else:
            verdicts.append(
                Verdict(table, entry.kind, found, table_faults(entry, found, by_table.get(table)))
            )
    return Report(
        verdicts, [] if names is not None else beside_faults(surroundings(cursor, (*LOGINS, LOOKUP)))
    )


def table_faults(entry: Isolated, found: Relation, model: type[models.Model] | None) -> list[str]:
    """What is wrong with a table that is in a class."""
    faults = [*access_faults(entry, found)]
    if found.owner != OWNER:
        faults.append(f"belongs to {found.owner}, not to {OWNER}")
    faults += [f"has the rule {name}" for name in found.rules]
    faults += _trigger_faults(found)
    if model is not None:
        faults += _key_faults(entry, found)
        faults += _relation_faults(model, found)
        faults += _unique_faults(model, found)
    return faults


def access_faults(entry: Isolated, found: Relation) -> Iterator[str]:
    """What `upkeep` mends: policies, the switches that make them hold, and grants."""
    wanted = {policy.name: policy for policy in rls.policies(entry)}
    if wanted and not found.enabled:
        yield "row-level security is off"
    if wanted and not found.forced:
        yield "row-level security is not forced"
    if not wanted and (found.enabled or found.forced):
        yield "has row-level security, which its class has not"
    there = {policy.name: policy for policy in found.policies}
    for name, policy in wanted.items():
        actual = there.get(name)
        if actual is None:
            yield f"lacks the policy {name}"
            continue
        if (actual.roles, actual.verb, actual.permissive) != ((policy.role,), policy.verb, True):
            yield f"policy {name} is for {actual.verb} by {_list(actual.roles)}"
        if (actual.using, actual.check) != (policy.condition, policy.check):
            yield f"policy {name} says {actual.using} / {actual.check}, not {policy.condition} / {policy.check}"
    yield from (f"has a policy too many: {name}" for name in there.keys() - wanted.keys())
    grants = rls.grants(entry)
    for role in sorted(grants.keys() | found.grants.keys()):
        expected, actual_verbs = grants.get(role, frozenset()), found.grants.get(role, frozenset())
        if actual_verbs - expected:
            yield f"{role} has {_list(actual_verbs - expected)}, too many"
        if expected - actual_verbs:
            yield f"{role} lacks {_list(expected - actual_verbs)}"


def policy_holds(policy: rls.Policy, actual: FoundPolicy) -> bool:
    """Whether a policy that is there is the one that is wanted."""
    return (actual.roles, actual.verb, actual.permissive, actual.using, actual.check) == (
        (policy.role,),
        policy.verb,
        True,
        policy.condition,
        policy.check,
    )


def beside_faults(around: Surroundings) -> list[str]:
    """What is wrong with schemas, default privileges, roles and functions."""
    faults = [f"{role} may create in: {where}" for where, role in around.creators]
    faults += [f"new tables of {owner} are open to {role}" for owner, role in around.defaults]
    faults += [f"policies do not hold for {role}" for role, free in around.roles.items() if free]
    faults += [f"the role {role} is missing" for role in (*LOGINS, LOOKUP) if role not in around.roles]
    faults += [
        f"{member} can act as {role}" for member, role in around.members if (member, role) != (OWNER, LOOKUP)
    ]
    faults += [
        f"sessions of {role} can read each other's queries: track_activities is on"
        for role, shown in around.shown.items()
        if shown and "track_activities" in SETTINGS.get(role, {})
    ]
    return faults + _server_faults(around) + function_faults(around)


def _server_faults(around: Surroundings) -> list[str]:
    """What no table shows: settings that sessions begin with or may change, and what was given out beside tables."""
    faults = [f"{role} may use the schema {schema}" for schema, role in around.users if role != APP]
    faults += [f"{role} may set {name}, which was granted" for name, role in around.parameters]
    faults += [
        f"sessions of {role} begin with a value of {name}"
        for name, role in around.session_defaults
        if name in HARMFUL_SETTINGS or name.startswith(HARMFUL_PREFIX)
    ]
    faults += [f"the event trigger {name} is unreviewed" for name in around.event_triggers]
    faults += [f"{role} may write large objects: {name}" for name, role in around.writers]
    return faults + [f"{signature} calls itself leakproof" for signature in around.leakproof]


def function_faults(around: Surroundings) -> list[str]:
    """What is wrong with the functions that run with their owner's rights, and which of them are missing."""
    faults = []
    wanted = {definer.name: definer for definer in rls.definers()}
    for function in around.functions:
        definer = wanted.pop(f"{function.schema}.{function.name}", None)
        if function.leakproof:
            faults.append(f"{function.signature} calls itself leakproof")
        if definer is None:
            if function.definer or function.schema == LOOKUP_SCHEMA:
                faults.append(f"{function.signature} runs with the rights of {function.owner}, unreviewed")
            continue
        if (function.types, rls.digest(function.source)) != (definer.types, definer.digest):
            faults.append(f"{function.signature} is not what was reviewed")
        if not function.definer or not _pinned(function):
            faults.append(f"{function.signature} has no pinned search path")
        if (function.owner, function.executable_by) != (definer.owner, [definer.caller]):
            faults.append(
                f"{function.signature} belongs to {function.owner}, for {_list(function.executable_by)}"
            )
    return faults + [f"the function {name} is missing" for name in wanted]


def _pinned(function: Function) -> bool:
    """Names are looked up where no login but the owner can create, PostgreSQL's own first; temporary tables, which come
    before all where nobody names them, last."""
    paths = [s.partition("=")[2] for s in function.settings if s.startswith("search_path=")]
    names = [name.strip() for path in paths for name in path.split(",")]
    return names in (["pg_catalog", "pg_temp"], ["pg_catalog", "public", "pg_temp"])


def unlisted(found: Relation | None) -> Isolated | None:
    """What has a class though no model names it: a part of a table, and what counts for a column."""
    if found is None or not (found.kind == "S" or (found.partition and found.kind in _TABLES)):
        return None
    return Isolated(found.name, "sequence" if found.kind == "S" else "partition")


def _outside(found: Relation) -> Iterator[str]:
    """What is wrong with what no model knows."""
    if found.kind == "m":
        yield "is a materialised view: it holds rows of all tenants and no policy"
    elif found.kind == "v":
        if not found.invoker:
            yield "is a view without security_invoker: its owner's policies hold, not the reader's"
        if "PUBLIC" in found.grants:
            yield f"everybody has {_list(found.grants['PUBLIC'])}"
    else:
        yield "is in no class: no model makes it"


def _trigger_faults(found: Relation) -> Iterator[str]:
    wanted = {trigger.name: trigger for trigger in rls.TRIGGERS if trigger.table == found.name}
    for trigger in found.triggers:
        reviewed = wanted.pop(trigger.name, None)
        if reviewed is None:
            yield f"has the trigger {trigger.name}, unreviewed"
        elif rls.digest(f"{trigger.definition}\n{trigger.source}") != reviewed.digest:
            yield f"the trigger {trigger.name} is not what was reviewed"
        elif not trigger.live:
            yield f"the trigger {trigger.name} is switched off"
    yield from (f"lacks the trigger {name}" for name in wanted)


def _key_faults(entry: Isolated, found: Relation) -> Iterator[str]:
    if entry.kind in ("tenant", "secret"):
        required, kind = found.columns.get(entry.column, (False, "missing"))
        if not required or kind != "uuid":
            yield f"its column {entry.column} is {kind}{'' if required else ', and may be null'}"
        if entry.table != TENANTS and (default := found.column_defaults.get(entry.column)):
            yield f"its column {entry.column} has the default {default}"
    for key in found.foreign_keys:
        if key.on_update not in _KEEPING:
            yield f"foreign key {key.name} changes its rows with what they point at"
        if entry.append_only and key.on_delete not in _KEEPING:
            yield f"foreign key {key.name} deletes or changes history with what it is about"


def _relation_faults(model: type[models.Model], found: Relation) -> Iterator[str]:
    """Foreign keys: between tenants' tables they must carry the tenant along."""
    kind, by_table = class_of(model), models_by_table()
    for key in found.foreign_keys:
        target = by_table.get(key.target)
        if not key.live:
            yield f"foreign key {key.name} is not enforced"
        if target is None or class_of(target) not in WALLED:
            continue
        if kind not in WALLED:
            yield f"foreign key {key.name} points from {kind} into a tenant's table"
        elif kind != "junction" and not _carries_tenant(model, target, key):
            yield f"foreign key {key.name} can point into another tenant"
    composite = {key.name: key for key in found.foreign_keys}
    for constraint in model._meta.constraints:
        if isinstance(constraint, SameTenant):
            yield from _composite_faults(model, constraint, composite.get(constraint.name))


def _carries_tenant(model: type[models.Model], target: type[models.Model], key: ForeignKey) -> bool:
    return (tenant_column(model), tenant_column(target)) in zip(key.columns, key.target_columns, strict=True)


def _composite_faults(
    model: type[models.Model], constraint: SameTenant, key: ForeignKey | None
) -> Iterator[str]:
    meta: Any = model._meta
    column = meta.get_field(constraint.field).column
    target = meta.apps.get_model(constraint.to)._meta.db_table
    if key is None:
        yield f"lacks the foreign key {constraint.name}"
        return
    if (key.target, key.columns, key.target_columns) != (target, ("tenant_id", column), ("tenant_id", "id")):
        yield f"foreign key {key.name} is ({_list(key.columns)}) to {key.target} ({_list(key.target_columns)})"
    if key.on_delete != _DELETE_RULES[constraint.on_delete]:
        yield f"foreign key {key.name} has another rule for deletion than {constraint.on_delete}"
    if constraint.on_delete == "SET NULL" and key.set_null != (column,):
        yield f"foreign key {key.name} would null {_list(key.set_null) or 'the tenant too'}"


def _unique_faults(model: type[models.Model], found: Relation) -> Iterator[str]:
    """Unique indexes: over what tenants supply they lead with the tenant, or one could feel for another's values."""
    walled = class_of(model) in ("tenant", "secret")
    lead = tenant_column(model)
    for unique in found.uniques:
        if not unique.live:
            yield f"unique index {unique.name} is not finished"
        if not walled or unique.columns[:1] == (lead,) or unique.name in REVIEWED_UNIQUES:
            continue
        if not (unique.primary and [found.columns[name][1] for name in unique.columns] == ["uuid"]):
            yield f"unique index {unique.name} ({_list(unique.columns)}) does not lead with {lead}"
    there = {(unique.columns, unique.partial) for unique in found.uniques}
    for columns, partial in wanted_uniques(model):
        if (columns, partial) not in there:
            yield f"lacks a unique index over ({_list(columns)})"


def wanted_uniques(model: type[models.Model]) -> Iterator[tuple[tuple[str, ...], bool]]:
    """The columns of each unique index that the model asks for, and whether it is partial."""
    meta: Any = model._meta

    def columns(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(meta.get_field(name).column for name in names)

    yield from (((f.column,), False) for f in meta.local_concrete_fields if f.unique)
    yield from ((columns(names), False) for names in meta.unique_together)
    for constraint in meta.constraints:
        if isinstance(constraint, models.UniqueConstraint) and not constraint.expressions:
            yield columns(constraint.fields), constraint.condition is not None


def _list(words: Iterable[str]) -> str:
    return ", ".join(sorted(words) if isinstance(words, set | frozenset) else words)

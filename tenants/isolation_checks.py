"""System checks: a model whose rows could meet another tenant's fails `manage.py check`, before any migration."""

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error
from django.db import models

from tenants.base import SameTenant
from tenants.classes import (
    CLASSES,
    REVIEWED_UNIQUES,
    WALLED,
    class_of,
    models_by_table,
    relations,
    tenant_column,
)

_RULES = {
    models.CASCADE: "CASCADE",
    models.PROTECT: "RESTRICT",
    models.RESTRICT: "RESTRICT",
    models.SET_NULL: "SET NULL",
}


def check_isolation(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E001-E009: classes, tenant columns, junctions, relations, history and unique constraints of every model."""
    every = models_by_table().values()
    return [problem for model in every for problem in (*check_model(model), *check_leaving(model))]


def check_leaving(model: type[models.Model]) -> Iterator[Error]:
    """Whether the model's rows leave with their tenant."""
    if class_of(model) == "junction":
        yield Error(
            f"{model._meta.db_table} is a junction, which neither exports nor deletions know yet.",
            hint="Use a model of its own that inherits TenantOwned, or teach tenants.erasure and tenants.export.",
            obj=model,
            id="weir.E008",
        )


def check_model(model: type[models.Model]) -> Iterator[Error]:
    """What is wrong with one model."""
    kind, table = class_of(model), model._meta.db_table
    targets = [(field, class_of(target), target) for field, target in relations(model)]
    walled = [(field, target) for field, target_kind, target in targets if target_kind in WALLED]
    if kind not in CLASSES:
        yield Error(
            f"{table} is in no isolation class.",
            hint="Inherit TenantOwned, set `isolation` on the model, or name its app in RLS_CLASSES.",
            obj=model,
            id="weir.E001",
        )
    elif kind == "junction":
        if not walled:
            yield Error(
                f"{table} is a junction, and none of its relations leads to a tenant.",
                obj=model,
                id="weir.E003",
            )
    elif kind in WALLED:
        column = tenant_column(model)
        if column not in {field.column for field in model._meta.local_concrete_fields}:
            yield Error(f"{table} has no column {column}.", obj=model, id="weir.E002")
            return
        for field, target in walled:
            if field.column != column:
                yield from _check_relation(model, field, target)
        yield from _check_uniques(model, column)
    else:
        for field, _ in walled:
            yield Error(
                f"{table}.{field.name} points from the class {kind} into a tenant's table.",
                hint="Keep the id as a plain value, or make the table tenant-owned.",
                obj=model,
                id="weir.E007",
            )


def _check_relation(model: type[models.Model], field: Any, target: type[models.Model]) -> Iterator[Error]:
    """A relation to another tenant-owned table carries the tenant along, and is deleted as Django thinks it is."""
    held = [c for c in model._meta.constraints if isinstance(c, SameTenant) and c.field == field.name]
    if field.db_constraint or not held or model._meta.apps.get_model(held[0].to) is not target:
        yield Error(
            f"{model._meta.label}.{field.name} can point into another tenant.",
            hint=f'Use tenant_relation() and SameTenant(field="{field.name}", to="{target._meta.label}", name=…).',
            obj=model,
            id="weir.E004",
        )
    elif held[0].on_delete != _RULES.get(field.remote_field.on_delete, held[0].on_delete):
        yield Error(
            f"{model._meta.label}.{field.name} and {held[0].name} differ on what a deletion does.",
            obj=model,
            id="weir.E006",
        )
    elif getattr(model, "append_only", False) and held[0].on_delete != "RESTRICT":
        yield Error(
            f"{model._meta.label} is append-only, and would go or change with the {field.name} that it is about.",
            hint='Give both on_delete PROTECT and "RESTRICT"; what deletes the parent deletes these rows first.',
            obj=model,
            id="weir.E009",
        )


def _check_uniques(model: type[models.Model], column: str) -> Iterator[Error]:
    """A unique value must not reveal that another tenant has it: the tenant leads, or the name has been reviewed."""
    for name, first in _uniques(model):
        if first != column and name not in REVIEWED_UNIQUES:
            yield Error(
                f"{model._meta.label}: {name} is unique over all tenants.",
                hint="Lead with the tenant; for random values, say so in tenants.classes.REVIEWED_UNIQUES.",
                obj=model,
                id="weir.E005",
            )


def _uniques(model: type[models.Model]) -> Iterator[tuple[str, str]]:
    """Name and first column of each unique constraint, but for random primary keys."""
    meta: Any = model._meta
    for field in meta.local_concrete_fields:
        if field.unique and not (field.primary_key and isinstance(field, models.UUIDField)):
            yield field.name, field.column
    for names in meta.unique_together:
        yield ", ".join(names), meta.get_field(names[0]).column
    for constraint in meta.constraints:
        if isinstance(constraint, models.UniqueConstraint):
            first = constraint.fields[0] if constraint.fields else ""
            yield constraint.name, meta.get_field(first).column if first else "an expression"
        elif type(constraint).__name__ == "ExclusionConstraint":
            yield constraint.name, "an exclusion"

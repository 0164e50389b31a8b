"""Which class each table is in, read from the models. Every table is in exactly one; none is open by omission."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import models

CLASSES = ("tenant", "secret", "junction", "reference", "identity", "system")
WALLED = ("tenant", "secret", "junction")
"""The classes whose rows belong to tenants and are kept apart by policies."""

REVIEWED_UNIQUES = {
    "apikey_digest_key": "SHA-256 of 256 random bits",
    "invitation_digest_key": "SHA-256 of 256 random bits",
    "subscription_customer_key": "Stripe makes the id, for one tenant's customer; no tenant can choose it",
}
"""Unique over all tenants, and why that tells nobody anything. Keys over random UUIDs need no mention."""


@dataclass(frozen=True)
class Parent:
    """A tenant's row that a junction row hangs on: the junction's column, the parent's table and key."""

    column: str
    table: str
    key: str


@dataclass(frozen=True)
class Isolated:
    """A table, its class, and the column (or, for a junction, the parents) that ties its rows to a tenant.

    `kind` is empty where none was declared, "partition" for a part of another table, "sequence" for what counts.
    `joined`: its rows are looked up one by one inside joins, so that its policy must not read the setting for each.
    """

    table: str
    kind: str
    column: str = "tenant_id"
    parents: tuple[Parent, ...] = ()
    append_only: bool = False
    read_only: bool = False
    joined: bool = False

    @property
    def walled(self) -> bool:
        return self.kind in WALLED


# Of no model: every login reads which migrations ran, the owner alone writes it.
MIGRATIONS = Isolated("django_migrations", "reference", read_only=True)


def table_classes() -> Iterator[Isolated]:
    """Every table that the project's migrations make, with its class."""
    for model in models_by_table().values():
        kind = class_of(model)
        yield Isolated(
            table=model._meta.db_table,
            kind=kind,
            column=getattr(model, "isolation_column", "tenant_id"),
            parents=tuple(_parents(model)) if kind == "junction" else (),
            append_only=getattr(model, "append_only", False),
            joined=getattr(model, "looked_up_in_joins", False),
        )
    yield MIGRATIONS


def owned_tables() -> list[Isolated]:
    """The tables with rows of tenants, secrets included: what an export copies and a deletion erases.

    Raises NotImplementedError where there is a junction: its rows name no tenant, and both would pass over them.
    """
    entries = list(table_classes())
    if junctions := [entry.table for entry in entries if entry.kind == "junction"]:
        raise NotImplementedError(f"Exports and deletions do not know junctions yet: {', '.join(junctions)}.")
    return [entry for entry in entries if entry.kind in ("tenant", "secret")]


def models_by_table() -> dict[str, type[models.Model]]:
    """The model of each table, hidden ones of many-to-many relations included."""
    found: dict[str, type[models.Model]] = {}
    for model in apps.get_models(include_auto_created=True):
        meta = model._meta
        if not meta.proxy and (meta.managed or hasattr(model, "isolation")):
            found.setdefault(meta.db_table, model)
    return found


def class_of(model: type[models.Model]) -> str:
    """The class of a model's table; empty where none was declared."""
    meta: Any = model._meta
    if meta.auto_created:
        kind = class_of(meta.auto_created)
        return "junction" if kind in WALLED else kind
    return getattr(model, "isolation", None) or settings.RLS_CLASSES.get(meta.app_label, "")


def relations(model: type[models.Model]) -> Iterator[tuple[Any, type[models.Model]]]:
    """The foreign keys of a model's own table, with the models that they point at."""
    for field in model._meta.local_concrete_fields:
        if field.is_relation and isinstance(field.related_model, type):
            yield field, field.related_model


def tenant_column(model: type[models.Model]) -> str:
    """The column of a tenant-owned table that says whose a row is."""
    return getattr(model, "isolation_column", "tenant_id")


def _parents(model: type[models.Model]) -> Iterator[Parent]:
    for field, target in relations(model):
        if class_of(target) in WALLED:
            yield Parent(field.column, target._meta.db_table, field.target_field.column)

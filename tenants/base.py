"""What every tenant-owned model inherits, and the constraint that keeps relations inside one tenant."""

from typing import Any, Self

from django.db import DEFAULT_DB_ALIAS, models
from django.db.backends.ddl_references import Statement, Table
from django.db.models import sql
from django.db.models.expressions import RawSQL

from tenants.errors import ScopeError
from tenants.ids import uuid7
from tenants.scope import CURRENT_TENANT, OPS_ALIAS, open_tenant_id, ops_reason, require_tenant_id

LONGEST_ACTOR = 300
"""Characters of "user:<e-mail>" and the like; an address alone has up to 254."""


class TenantQuery(sql.Query):
    """A query that refuses to run outside the scope that it was made for."""

    made_for = None

    def get_compiler(self, using: str | None = None, connection: Any = None, elide_empty: bool = True) -> Any:
        require_scope(using or connection.alias, self.made_for)
        return super().get_compiler(using, connection, elide_empty)


def require_scope(alias: str, made_for: Any = None) -> None:
    """Raise ScopeError unless a query on `alias` may run here."""
    if alias == OPS_ALIAS:
        if ops_reason() is None:
            raise ScopeError("The ops login was used outside an ops scope.")
        return
    tenant_id = require_tenant_id()
    if made_for is not None and made_for != tenant_id:
        raise ScopeError("A query made for one tenant was run in another tenant's scope.")


class TenantQuerySet(models.QuerySet):
    """Filters by the open tenant, and raises when it is run outside a scope (not when it is made)."""

    def __init__(
        self, model: Any = None, query: Any = None, using: str | None = None, hints: Any = None
    ) -> None:
        super().__init__(model, query or TenantQuery(model), using, hints)

    def update(self, **kwargs: Any) -> int:
        require_scope(self.db)
        return super().update(**kwargs)

    def delete(self) -> tuple[int, dict[str, int]]:
        require_scope(self.db)
        return super().delete()

    def bulk_create(self, *args: Any, **kwargs: Any) -> list[Any]:
        require_scope(self.db)
        return super().bulk_create(*args, **kwargs)


class TenantManager(models.Manager.from_queryset(TenantQuerySet)):  # type: ignore[misc]
    """`Model.objects`: this tenant's rows inside a tenant scope, all tenants' inside an ops scope."""

    use_in_migrations = False

    def get_queryset(self) -> TenantQuerySet:
        queryset: TenantQuerySet = super().get_queryset()
        tenant_id = open_tenant_id()
        if tenant_id is not None:
            queryset = queryset.filter(tenant_id=tenant_id)
            queryset.query.made_for = tenant_id  # type: ignore[attr-defined]
        return queryset

    def by_policy(self) -> TenantQuerySet:
        """The same rows, asked for in the policy's own words, which PostgreSQL then compares once and not twice.

        For lists that are read all the time. Everything else names the tenant by value: a second lock beside the policy.
        """
        tenant_id = open_tenant_id()
        if tenant_id is None:
            return self.get_queryset()
        queryset: TenantQuerySet = super().get_queryset()
        queryset = queryset.filter(tenant_id=RawSQL(CURRENT_TENANT, (), models.UUIDField()))  # noqa: S611 - a constant
        queryset.query.made_for = tenant_id  # type: ignore[attr-defined]
        return queryset


class TenantOwned(models.Model):
    """A row that belongs to one tenant, for good. Saved under the open tenant unless told otherwise."""

    isolation = "tenant"
    looked_up_in_joins = False
    """Whether statements look rows up one by one: the policy then reads the open tenant once for all of them."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey(
        "tenants.Tenant", on_delete=models.CASCADE, related_name="+", db_index=False, editable=False
    )

    objects = TenantManager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not getattr(self, "tenant_id", None):
            self.tenant_id = require_tenant_id()
        super().save(*args, **kwargs)


def vouched_tenant() -> models.ForeignKey:
    """The tenant's column in a row whose `SameTenant` key vouches for it: a key of its own would lock the tenant's row,
    which every other row that is accepted locks as well."""
    return models.ForeignKey(
        "tenants.Tenant",
        on_delete=models.CASCADE,
        related_name="+",
        db_index=False,
        db_constraint=False,
        editable=False,
    )


def tenant_relation(to: str, **kwargs: Any) -> models.ForeignKey:
    """A foreign key from one tenant-owned table to another; pair it with a `SameTenant` constraint in Meta."""
    kwargs.setdefault("on_delete", models.CASCADE)
    return models.ForeignKey(to, db_constraint=False, **kwargs)


class SameTenant(models.BaseConstraint):
    """`FOREIGN KEY (tenant_id, x_id) REFERENCES x (tenant_id, id)`: a row cannot point into another tenant.

    The target needs a unique constraint over (tenant, id). Deferrable, so that the order of inserts is free.
    `on_delete` is "CASCADE", "RESTRICT" or "SET NULL"; the last nulls the relation alone, never the tenant.
    """

    def __init__(self, *, field: str, to: str, name: str, on_delete: str = "CASCADE") -> None:
        super().__init__(name=name)
        self.field, self.to, self.on_delete = field, to, on_delete

    def deconstruct(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        path = f"{self.__class__.__module__}.{self.__class__.__name__}"
        return path, (), {"field": self.field, "to": self.to, "name": self.name, "on_delete": self.on_delete}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SameTenant) and self.deconstruct() == other.deconstruct()

    __hash__ = models.BaseConstraint.__hash__

    def _target(self, model: type[models.Model]) -> str:
        return model._meta.apps.get_model(self.to)._meta.db_table

    def _statement(self, model: Any, schema_editor: Any) -> Statement:
        quote = schema_editor.quote_name
        column = model._meta.get_field(self.field).column
        action = f"SET NULL ({quote(column)})" if self.on_delete == "SET NULL" else self.on_delete
        return Statement(
            "ALTER TABLE %(table)s ADD CONSTRAINT %(name)s FOREIGN KEY (tenant_id, %(column)s) "
            "REFERENCES %(target)s (tenant_id, id) ON DELETE %(action)s DEFERRABLE INITIALLY IMMEDIATE",
            table=Table(model._meta.db_table, quote),
            name=quote(self.name),
            column=quote(column),
            target=Table(self._target(model), quote),
            action=action,
        )

    # Both ways of adding it wait for the end of the migration: the key that it refers to may come after it.
    def constraint_sql(self, model: Any, schema_editor: Any) -> None:  # type: ignore[override]
        schema_editor.deferred_sql.append(self._statement(model, schema_editor))

    def create_sql(self, model: Any, schema_editor: Any) -> None:  # type: ignore[override]
        schema_editor.deferred_sql.append(self._statement(model, schema_editor))

    def remove_sql(self, model: Any, schema_editor: Any) -> Statement:  # type: ignore[override]
        table = Table(model._meta.db_table, schema_editor.quote_name)
        return Statement(
            "ALTER TABLE %(table)s DROP CONSTRAINT IF EXISTS %(name)s",
            table=table,
            name=schema_editor.quote_name(self.name),
        )

    def validate(self, model: Any, instance: Any, exclude: Any = None, using: str = DEFAULT_DB_ALIAS) -> None:
        """The database checks it: under RLS another tenant's row cannot even be read here."""

    def clone(self) -> Self:
        return type(self)(**self.deconstruct()[2])


def owned_key(table: str) -> models.UniqueConstraint:
    """The (tenant, id) key that `SameTenant` constraints of other tables refer to."""
    return models.UniqueConstraint(fields=["tenant", "id"], name=f"{table}_tenant_id_key")

"""A tenant that has one of everything, with a canary in every text of it: rows for tests of what others can reach."""

import json
import os
import secrets
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Self

import psycopg
from allauth.account.internal.userkit import user_id_to_str
from django.apps import apps
from django.db import models
from django.test import Client
from django.utils import timezone

from integrations.models import WebhookMessage
from tenants.base import TenantOwned
from tenants.ids import uuid7
from tenants.models import ApiKey, Tenant, User
from tenants.scope import tenant_scope
from tests.factories import connect_all, contact, make_key, make_run, make_tenant, make_user
from workflows.models import Upload, Workflow

# What a path's parameter is called -> the model that it names, where that is not <model>_id.
NAMED = {
    "call_id": "ambiguouscall",
    "key_id": "apikey",
    "endpoint_id": "webhookendpoint",
    "delivery_id": "webhookdelivery",
    "member_id": "membership",
    "event_id": "auditevent",
    "export_id": "tenantexport",
}
# Parameters that choose between things of ours.
CHOICES = {"kind": "csv", "verb": "pause"}
TEMPLATE_COLUMNS = ["Name", "Company"]


class World:
    """A tenant, its people and keys, and one row at least of every model that belongs to tenants."""

    def __init__(self, name: str, canary: str) -> None:
        self.canary = canary
        people = make_tenant(f"{name} {canary}", email=f"owner-{canary}@tenant.example")
        self.tenant: Tenant = people.tenant
        self.owner: User = people.owner
        self.people = {
            role: make_user(self.tenant, role=role, email=f"{role}-{canary}@tenant.example")
            for role in ("viewer", "editor", "admin")
        } | {"owner": self.owner}
        self.key = make_key(self.tenant, name=f"first {canary}")
        self._models = {model._meta.model_name or "": model for model in tenant_models()}
        self._chosen: dict[type[models.Model], models.Model] = {}
        self._fill()

    def _fill(self) -> None:
        connect_all(self.tenant)
        with tenant_scope(self.tenant):
            workflow = Workflow.objects.get(slug="email-waterfall")
            workflow.pk, workflow.slug, workflow.name = uuid7(), f"flow-{self.canary}", f"Flow {self.canary}"
            workflow.save(force_insert=True)
            self.upload = Upload.objects.create(
                filename=f"{self.canary}.csv", stored_as="none", size=1, dialect={}, columns=TEMPLATE_COLUMNS, rows=1,
                mapping={"full_name": "Name", "company": "Company"}, created_by=f"user:{self.owner.email}",
            )  # fmt: skip
        self.slug = workflow.slug
        self.run = make_run(
            self.tenant, [contact(1, last_name=self.canary)], name=self.canary, workflow=self.slug
        )
        # The key that a path names is not the one that calls, and reaches no further.
        make_key(self.tenant, name=f"second {self.canary}", scopes=["admin"])

    def fill_every_table(self) -> dict[str, Any]:
        """Model name -> the id of a row of it."""
        return {name: self._seeded(model).pk for name, model in self._models.items()}

    def _seeded(self, model: type[models.Model]) -> models.Model:
        """A row of the model, from now on always the same: the newest, or one made up from its fields."""
        if model not in self._chosen:
            with tenant_scope(self.tenant):
                found = model._default_manager.order_by("pk").last()
                self._chosen[model] = found if found is not None else self._made_up(model)
        return self._chosen[model]

    def renew(self) -> None:
        """Forget the rows that the tenant's own people have deleted: the next that is asked for is another."""
        with tenant_scope(self.tenant):
            for model, row in list(self._chosen.items()):
                if not model._default_manager.filter(pk=row.pk).exists():
                    del self._chosen[model]

    def _made_up(self, model: type[models.Model]) -> models.Model:
        values = {}
        for field in model._meta.local_concrete_fields:
            if field.has_default() or field.has_db_default() or field.name in ("id", "tenant"):
                continue
            if field.null:
                continue
            values[field.name] = self._value(field)
        return model._default_manager.create(**values)

    def _value(self, field: Any) -> Any:
        if isinstance(field, models.ForeignKey):
            related = field.related_model
            return self.owner if related is User else self._seeded(related)
        if field.choices:
            return field.choices[0][0]
        if field.model is WebhookMessage and field.name == "body":
            return json.dumps({"canary": self.canary})
        for kind, value in (
            (models.EmailField, f"made-up-{self.canary}@tenant.example"),
            (models.URLField, f"https://{self.canary}.example/"),
            (models.CharField, self.canary[: field.max_length or 100]),
            (models.TextField, self.canary),
            (models.UUIDField, self.run.pk),
            (models.DateTimeField, timezone.now() + timedelta(days=1)),
            (models.DateField, timezone.now().date()),
            (models.BinaryField, secrets.token_bytes(32)),
            (models.JSONField, {"canary": self.canary}),
            (models.BooleanField, False),
            (models.IntegerField, 1),
            (models.FloatField, 1.0),
            (models.DecimalField, 1),
        ):
            if isinstance(field, kind):
                return value
        raise AssertionError(f"{field} cannot be made up: say how in tests/invariants/world.py")

    # --- What paths name
    def value_of(self, name: str, converter: str) -> Any:
        """The tenant's own object for a path's parameter."""
        if name in CHOICES:
            return CHOICES[name]
        if converter == "slug":
            return self.slug
        if name == "session_id":
            return 2**31 - 2
        model = NAMED.get(name, name.removesuffix("_id"))
        if model not in self._models:
            raise AssertionError(
                f"Which model does “{name}” name? Say it in NAMED or CHOICES (tests/invariants/world.py)."
            )
        return self._seeded(self._models[model]).pk

    def browser(self, role: str) -> Client:
        return browser_of(self.people[role])


def browser_of(user: User) -> Client:
    """A client that the person has just signed in with."""
    client = Client()
    client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    session = client.session
    session["account_authentication_methods_user"] = user_id_to_str(user)
    session["account_authentication_methods"] = [{"method": "password", "at": timezone.now().timestamp()}]
    session.save()
    return client


def nobodys(name: str, converter: str) -> Any:
    """A value of the same kind that names nothing."""
    if name in CHOICES:
        return CHOICES[name]
    if converter == "slug":
        return f"flow-{uuid.uuid4().hex[:12]}"
    return 2**31 - 1 if converter == "int" else uuid7()


def tenant_models() -> list[type[models.Model]]:
    """Every model whose rows belong to a tenant."""
    return sorted(
        (model for model in apps.get_models() if issubclass(model, TenantOwned)),
        key=lambda model: model._meta.label,
    )


def end_key(tenant: Tenant, name: str, **changes: Any) -> None:
    with tenant_scope(tenant):
        ApiKey.objects.filter(name=name).update(**changes)


class Rows:
    """What a tenant's rows are, in every table, as the owner login sees them."""

    def __init__(self, tenant_id: uuid.UUID, users: list[uuid.UUID]) -> None:
        self.connection = psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True)
        columns = self.connection.execute(
            """SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
               WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
                 AND a.attname IN ('tenant_id', 'user_id') AND NOT a.attisdropped ORDER BY 1, 2"""
        ).fetchall()
        wanted = dict(columns[::-1]) | {"tenants_tenant": "id", "tenants_user": "id"}
        parts, self._values = [], []
        for table, column in sorted(wanted.items()):
            of_people = column == "user_id" or table == "tenants_user"
            parts.append(
                f"SELECT '{table}', count(*), md5(coalesce(string_agg(md5(t::text), '' ORDER BY md5(t::text)), '')) "
                f'FROM "{table}" t WHERE {column} = ANY(%s)'
            )
            self._values.append(users if of_people else [tenant_id])
        self._query = " UNION ALL ".join(parts)

    def now(self) -> dict[str, tuple[int, str]]:
        """Table -> (how many rows, a hash over all of them)."""
        found = self.connection.execute(self._query, self._values).fetchall()
        return {table: (count, digest) for table, count, digest in found}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.connection.close()


def combinations(
    route: Any, mine: World, theirs: World
) -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, str]]]:
    """(values with theirs, the same with nobody's, what to call the differing ones) for each choice of parameters."""
    objects = [name for name in route.parameters if name not in CHOICES]
    for bits in range(1, 2 ** len(objects)):
        foreign = {name for number, name in enumerate(objects) if bits & 1 << number}
        asked, random = {}, {}
        for name, converter in route.parameters.items():
            own = mine.value_of(name, converter)
            asked[name] = theirs.value_of(name, converter) if name in foreign else own
            random[name] = nobodys(name, converter) if name in foreign else own
        yield asked, random, {str(asked[n]): n for n in foreign} | {str(random[n]): n for n in foreign}

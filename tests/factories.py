"""Small makers of what most tests need. Each works in the scope that the caller has opened, unless it says otherwise."""

import itertools
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.hashers import PBKDF2PasswordHasher

from integrations.models import Connection
from integrations.operations import create_connection
from tenants.models import Membership, Tenant, User
from tenants.operations.keys import create_api_key
from tenants.operations.people import create_user
from tenants.operations.tenants import create_tenant
from tenants.scope import tenant_scope
from tenants.secret import Secret
from workflows.models import Run, Workflow

PASSWORD = "correct horse battery"
ACTOR = "system:tests"
_numbers = itertools.count(1)


class QuickHasher(PBKDF2PasswordHasher):
    """The product's own hash, with one round: tests make many people."""

    iterations = 1


@dataclass(frozen=True)
class People:
    """A tenant with its owner."""

    tenant: Tenant
    owner: User


def make_tenant(name: str = "", *, plan: str = "pro", email: str = "") -> People:
    """A tenant with its owner (password: PASSWORD) and the workflows that each new tenant has. Opens its own scope."""
    number = next(_numbers)
    owner = create_user(email=email or f"owner{number}@tenant.example", password=PASSWORD)
    tenant = create_tenant(name=name or f"Tenant {number}", plan=plan, owner=owner, actor=ACTOR)
    return People(tenant, owner)


def make_user(tenant: Tenant, *, role: str = Membership.Role.VIEWER, email: str = "") -> User:
    """A person (password: PASSWORD) who belongs to a tenant. Opens its own scope."""
    user = create_user(email=email or f"person{next(_numbers)}@tenant.example", password=PASSWORD)
    with tenant_scope(tenant):
        Membership.objects.create(user=user, role=role)
    return user


def make_key(tenant: Tenant, **options: Any) -> str:
    """The plain text of a new API key; `livemode`, `scopes`, `expires_at` as in create_api_key. Opens its own scope."""
    with tenant_scope(tenant):
        _, plain = create_api_key(**{"name": "Test key", "actor": ACTOR, **options})
    return plain


def make_connection(
    tenant: Tenant, provider: str, *, secret: str = "", mode: str = "sandbox", **options: Any
) -> Connection:
    """A connection with its lane, to the sandbox unless told otherwise. Opens its own scope."""
    with tenant_scope(tenant):
        return create_connection(
            provider=provider,
            secret=Secret(secret or f"{provider}-key-{next(_numbers):04}"),
            mode=mode,
            actor=ACTOR,
            **options,
        )


def connect_all(tenant: Tenant, **options: Any) -> dict[str, Connection]:
    """What the default email waterfall needs: Prospeo, Findymail, ZeroBounce. Opens its own scope."""
    return {
        provider: make_connection(tenant, provider, **options)
        for provider in ("prospeo", "findymail", "zerobounce")
    }


def contact(number: int = 0, **fields: Any) -> dict[str, Any]:
    """A record that the email waterfall accepts; equal numbers are the same person."""
    person = {
        "first_name": f"Ada{number}",
        "last_name": f"Byron{number}",
        "company": "Analytical Engines",
        "domain": "engines.example",
    }
    return person | fields


def make_run(tenant: Tenant, records: Any = 1, *, workflow: str = "email-waterfall", **options: Any) -> Run:
    """A run as the API accepts one: of so many contacts, or of these records. Opens its own scope."""
    from workflows.operations.accept_run import accept_run

    given = [contact(number) for number in range(records)] if isinstance(records, int) else records
    defaults = {"actor": ACTOR, "source": Run.Source.API, "livemode": True}
    with tenant_scope(tenant):
        return accept_run(
            workflow=Workflow.objects.get(slug=workflow), records=given, **{**defaults, **options}
        )

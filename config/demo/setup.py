"""The demo tenant: made once per data directory, found again afterwards."""

import json
import secrets
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from billing import stripe_gateway
from billing.operations import stripe_setup
from integrations.models import Connection
from integrations.operations import create_connection
from tenants.models import User
from tenants.operations.keys import create_api_key
from tenants.operations.people import create_user
from tenants.operations.tenants import create_tenant
from tenants.queries import tenants_of
from tenants.scope import tenant_scope
from tenants.secret import Secret

EMAIL, STAFF_EMAIL = "demo@weir.example", "ops@weir.example"
ACTOR = "system:demo"

# What the demo's keys allow; the sandbox enforces the same numbers.
LIMITS: Mapping[str, Mapping[str, Any]] = {
    "prospeo": {"windows": [{"rate": 10, "period": 1.0}], "parallelism": 6},
    "findymail": {"windows": [], "parallelism": 10},
    "zerobounce": {"windows": [{"rate": 20, "period": 1.0}], "parallelism": 10},
}


@dataclass(frozen=True)
class Demo:
    """Who signs in to the demo, and with what. Kept in the data directory, readable by its owner alone."""

    tenant_id: str
    email: str
    password: str
    staff_email: str
    api_key: str

    def __repr__(self) -> str:
        return f"Demo({self.tenant_id})"


def vendor_key(provider: str) -> str:
    """The sandbox key of the demo for a vendor; the sandbox takes any."""
    return f"demo-{provider}-{provider[:2]}01"


def load() -> Demo:
    """The demo tenant with its sandbox connections, made when it is not there yet."""
    path = settings.DATA_DIR / "demo.json"
    demo = _known(path)
    if demo is None:
        demo = _create()
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(demo)))
    for provider, limits in LIMITS.items():
        tell_sandbox("POST", "keys", {"provider": provider, "key": vendor_key(provider), **limits})
    if stripe_gateway.is_sandbox():
        listener = {"url": f"{settings.BASE_URL}/hooks/stripe", "secret": settings.STRIPE_WEBHOOK_SECRET}
        tell_sandbox("POST", "stripe/endpoint", listener)
        stripe_setup.set_up()
    return demo


def _known(path: Path) -> Demo | None:
    """What the file says, as long as the database still has that person and their tenant (it may have been made anew,
    or the demo was deleted to see what that is like)."""
    try:
        demo = Demo(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    user = User.objects.filter(email=demo.email).first()
    if user is None or not user.check_password(demo.password):
        return None
    active = {str(tenant.tenant_id) for tenant in tenants_of(user.pk) if tenant.tenant_status == "active"}
    return demo if demo.tenant_id in active else None


def _create() -> Demo:
    password = secrets.token_urlsafe(9)
    owner = User.objects.filter(email=EMAIL).first() or create_user(email=EMAIL, password=None, name="Demo")
    staff = User.objects.filter(email=STAFF_EMAIL).first() or User.objects.create_superuser(STAFF_EMAIL)
    for person in (owner, staff):
        person.set_password(password)
        person.save()
    tenant = create_tenant(name="Demo", plan="pro", owner=owner, actor=ACTOR)
    with tenant_scope(tenant):
        for provider, limits in LIMITS.items():
            create_connection(
                provider=provider,
                secret=Secret(vendor_key(provider)),
                actor=ACTOR,
                mode=Connection.Mode.SANDBOX,
                windows=limits["windows"],
                parallelism=limits["parallelism"],
            )
        _, plain = create_api_key(name="Demo key", actor=ACTOR, created_by=owner)
    return Demo(str(tenant.pk), EMAIL, password, STAFF_EMAIL, plain)


def tell_sandbox(method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """One request to the sandbox's control API. Raises OSError when the sandbox does not answer."""
    request = urllib.request.Request(  # noqa: S310 - the sandbox's own address, loopback
        f"{settings.SANDBOX_URL}/_sandbox/{path}",
        method=method,
        data=json.dumps(body).encode() if body is not None else None,
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


def tenant_id(demo: Demo) -> uuid.UUID:
    return uuid.UUID(demo.tenant_id)

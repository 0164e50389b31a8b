"""What the tour does with Weir's own code, in a process beside the running system: `python -m … VERB`, JSON in and out."""

import io
import json
import os
import sys
import uuid
from typing import Any

from config.boot import prepare

prepare("shell")

import django  # noqa: E402

django.setup()

from allauth.mfa.models import Authenticator  # noqa: E402
from celery import current_app  # noqa: E402
from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.utils.module_loading import import_string  # noqa: E402

from integrations import operations  # noqa: E402
from integrations.models import Connection, ConnectionSecret, DataKey  # noqa: E402
from tenants.models import Tenant, User  # noqa: E402
from tenants.operations import export_tenant, invitations  # noqa: E402
from tenants.scope import tenant_scope  # noqa: E402
from tenants.secret import Secret  # noqa: E402
from workflows.models import Workflow  # noqa: E402
from workflows.operations.edit_workflow import create_workflow  # noqa: E402
from workflows.tasks import ring_lane  # noqa: E402

ACTOR = "system:tests"
WHOLE = {"finders": ["prospeo", "findymail", "hunter"], "verifier": "zerobounce", "max_attempts": 1}


def set_up(tenants: list[str], owner: str, staff: str, staff_password: str, factor: str) -> dict[str, Any]:
    """Workflows that ask every vendor, a person of the staff, a second factor, an invitation."""
    for tenant_id in tenants:
        with tenant_scope(_tenant(tenant_id)):
            flow = Workflow.objects.get(slug="email-waterfall")
            flow.config = {**flow.config, **WHOLE}
            flow.save(update_fields=["config"])
            for finder in WHOLE["finders"]:
                config = {"finders": [finder], "verifier": None, "max_attempts": 1}
                create_workflow(
                    template="email-waterfall", name=f"Only {finder}", config=config, actor=ACTOR, slug=finder
                )
    User.objects.create_superuser(email=staff, password=staff_password)
    guest = User.objects.create_user(email="factor@acme.example", password=None)
    sealed = import_string(settings.MFA_ADAPTER)().encrypt(factor)
    Authenticator.objects.create(user=guest, type=Authenticator.Type.TOTP, data={"secret": sealed})
    with tenant_scope(_tenant(tenants[0])):
        invited = invitations.invite(
            email="guest@acme.example",
            role="viewer",
            invited_by=User.objects.get(email=owner),
            actor=f"user:{owner}",
        )
    return {"invitation": invited.token}


def make_tenant(name: str) -> dict[str, Any]:
    out = io.StringIO()
    call_command("create_tenant", name=name, email=f"b@{name}.example", plan="pro", json=True, stdout=out)
    return dict(json.loads(out.getvalue()))


def addresses() -> dict[str, Any]:
    names = ("DATABASE_URL", "DATABASE_OPS_URL", "DATABASE_OWNER_URL", "DATABASE_BACKUP_URL", "REDIS_URL")
    return {name: os.environ[name] for name in names}


def damage_secret(tenant: str, provider: str) -> None:
    with tenant_scope(_tenant(tenant)):
        row = ConnectionSecret.objects.get(connection__provider=provider)
        changed = bytes(row.sealed)[:-1] + bytes([bytes(row.sealed)[-1] ^ 1])
        ConnectionSecret.objects.filter(pk=row.pk).update(sealed=changed)


def replace_secret(tenant: str, provider: str, secret: str) -> None:
    with tenant_scope(_tenant(tenant)):
        connection = Connection.objects.get(provider=provider)
        operations.replace_connection_secret(connection_id=connection.pk, secret=Secret(secret), actor=ACTOR)


def damage_data_key(tenant: str) -> None:
    with tenant_scope(_tenant(tenant)):
        DataKey.objects.update(wrapped=b"\x01" + bytes(60))


def crash_task(word: str) -> None:
    """One that is not there, and one that cannot read its arguments."""
    current_app.send_task(word)
    ring_lane.delay(word, word)


def export(tenant: str) -> None:
    with tenant_scope(_tenant(tenant)):
        made = export_tenant.request_export(actor=ACTOR)
    export_tenant.prepare(made.tenant_id, made.pk)


def rotate() -> None:
    call_command("rotate_secrets", "--data-keys", "--older-than", "0")


def _tenant(tenant_id: str) -> Tenant:
    return Tenant(pk=uuid.UUID(tenant_id))


VERBS = {
    verb.__name__: verb
    for verb in (
        set_up,
        make_tenant,
        addresses,
        damage_secret,
        replace_secret,
        damage_data_key,
        crash_task,
        export,
        rotate,
    )
}

if __name__ == "__main__":
    answer = VERBS[sys.argv[1]](**json.loads(sys.stdin.read()))
    print("ANSWER " + json.dumps(answer))

"""R7: a tenant that took everything with it and was deleted has left no trace but totals without a name.

Both tenants go through the same tour, with words that occur nowhere else. The search looks into every row of every
table, every file, and everything in Redis; it finds each of those words before the deletion.
"""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.cache import cache
from django.db import connections
from django.db.models import Sum
from django.test import Client
from django.utils import timezone

from billing.models import ClosedLedger, UsageEvent
from tenants.models import ClosedTenant, Invitation, Tenant, User
from tenants.operations import delete_tenant, export_tenant
from tenants.operations.keys import create_api_key
from tenants.scope import ops_scope, tenant_scope
from tenants.tasks import erase_closing, prepare_exports
from tests import traces
from tests.client import Api
from tests.factories import ACTOR, PASSWORD, make_connection, make_key, make_tenant, make_user
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import wait
from workflows.lanes.ring import ring_fill
from workflows.lanes.runner import Runner
from workflows.models import Lookup, Record, Run, Step
from workflows.operations.control_lane import pause_lane
from workflows.operations.fill_run import fill_run

PROVIDERS = ("prospeo", "findymail", "zerobounce")
# Where a word of a tenant may still be afterwards: people keep their accounts.
ACCOUNTS = {"table tenants_user", "table account_emailaddress"}


@dataclass
class Toured:
    """A tenant after the tour, and the words that it left everywhere."""

    tenant: Tenant
    owner: User
    words: list[str]
    api: Api
    ids: dict[str, list[str]] = field(default_factory=dict)

    @property
    def every_id(self) -> set[str]:
        return {one for ids in self.ids.values() for one in ids} | {str(self.tenant.pk)}


@pytest.fixture
def runner(committed: None) -> Iterator[Runner]:
    made = Runner()
    made.start()
    yield made
    made.stop()


def tour(word: str, sandbox: Sandbox) -> Toured:
    """Everything that a tenant can do and leave behind, each thing with the word in it."""
    people = make_tenant(f"{word} Holdings", email=f"owner@{word}-people.example")
    tenant = people.tenant
    for provider in PROVIDERS:
        secret = f"sk-{word}-{provider}"
        make_connection(
            tenant, provider, secret=secret, name=f"{word} {provider}", windows=[], parallelism=10
        )
        sandbox.set_key(provider, secret, windows=[{"rate": 100_000, "period": 1}], parallelism=10)
    api = Api(make_key(tenant, name=f"{word} key"))
    _work(tenant, api, word)
    _invite(tenant, people.owner, word)
    _browse(people.owner, make_user(tenant, role="editor", email=f"editor@{word}-people.example"), tenant)
    _staff(tenant)
    cache.set(f"anything:{tenant.pk}", word)
    with tenant_scope(tenant):
        export_tenant.request_export(actor=ACTOR)
    prepare_exports()
    return Toured(tenant, people.owner, [word, f"{word}-firm.example"], api, traces.ids_of(tenant.pk))


def _work(tenant: Tenant, api: Api, word: str) -> None:
    contacts = [
        {"first_name": f"{word}{number}", "last_name": last, "domain": f"{word}-firm.example", "note": word}
        for number, last in enumerate(("Everyone", "Nobody", "Smith"))
    ]
    body = {"workflow": "email-waterfall", "records": contacts, "metadata": {"for": word}}
    answer = api.post("/runs", body, Idempotency_Key=f"{word}-once")
    assert answer.status_code == 202
    with tenant_scope(tenant):
        wait_for = Run.objects.get(pk=answer.json()["id"])
    assert wait(wait_for).status == "completed"
    csv = f"First Name,Last Name,Website\n{word}9,Everyone,{word}-firm.example\n".encode()
    upload = api.upload(csv, f"{word} list.csv").json()
    answer = api.post("/runs", {"workflow": "email-waterfall", "upload": upload["id"]}).json()
    fill_run(tenant.pk, uuid.UUID(answer["id"]))
    ring_fill(tenant.pk, uuid.UUID(answer["id"]))  # a message that no worker took
    with tenant_scope(tenant):
        wait_for = Run.objects.get(pk=answer["id"])
    wait(wait_for)
    # One that is stopped in the middle: it waits for a vendor whose lane is paused.
    for lane in api.get("/lanes").json()["data"]:
        with tenant_scope(tenant):
            pause_lane(lane_id=uuid.UUID(lane["id"]), actor=ACTOR)
    assert (
        api.post(
            "/runs", {**body, "records": [{**contacts[0], "domain": f"{word}-late.example"}]}
        ).status_code
        == 202
    )


def _invite(tenant: Tenant, owner: User, word: str) -> None:
    with tenant_scope(tenant):
        Invitation.objects.create(
            email=f"guest@{word}-people.example",
            digest=uuid.uuid4().bytes * 2,
            invited_by=owner,
            expires_at=timezone.now(),
        )
        create_api_key(
            name=f"{word} other key", actor=f"user:{owner.email}", livemode=False, created_by=owner
        )


def _browse(owner: User, editor: User, tenant: Tenant) -> None:
    for person in (owner, editor):
        client = Client()
        assert client.login(username=person.email, password=PASSWORD)
        assert client.get("/app/runs/").status_code == 200
        session = client.session
        session["tenant_id"] = str(tenant.pk)
        session.save()


def _staff(tenant: Tenant) -> None:
    """What the ops console and the libraries write."""
    staff = User.objects.filter(is_staff=True).first() or User.objects.create_superuser(
        "ops@weir.example", PASSWORD
    )
    with tenant_scope(tenant):
        run = Run.objects.first()
    for row in (tenant, run):
        with ops_scope("test"):
            LogEntry.objects.create(
                user=staff, content_type=ContentType.objects.get_for_model(type(row)), object_id=str(row.pk),
                object_repr=str(row)[:200], action_flag=CHANGE, change_message="",
            )  # fmt: skip
    with ops_scope("test"), connections["ops"].cursor() as cursor:
        cursor.execute(
            """INSERT INTO django_celery_results_taskresult (task_id, status, task_args, date_created, date_done,
                   content_type, content_encoding) VALUES (%s, 'FAILURE', %s, now(), now(), 'json', 'utf-8')""",
            [str(uuid.uuid4()), json.dumps([str(tenant.pk)])],
        )


def totals(tenant: Tenant) -> dict[Any, Any]:
    with tenant_scope(tenant):
        rows = UsageEvent.objects.order_by().values_list("period", "kind", "provider", "livemode")
        return {tuple(row[:4]): row[4:] for row in rows.annotate(q=Sum("quantity"), c=Sum("credits"))}


def test_a_tenant_that_left_has_left_no_trace_and_another_none_of_its_rows(
    committed: None, sandbox: Sandbox, runner: Runner
) -> None:
    gone, stays = tour("ottilienfeld", sandbox), tour("brunhildental", sandbox)
    runner.stop()  # its leases and notes of health would change rows of the other
    accounted = {"tenants_user", "account_emailaddress"}

    # The search finds: the words and the id in each kind of place, and a row of the tenant in nearly every table.
    found = traces.search([*gone.words, str(gone.tenant.pk)])
    places = {where for where, _ in found}
    assert {
        "table record", "table run", "table step", "table lookup", "table upload", "table tenants_auditevent",
        "table tenants_invitation", "table tenants_apikey", "table idempotency_key", "table billing_usageevent",
        "table integrations_datakey", "table integrations_connectionsecret", "table lane_state", "table step_queue",
        "table django_admin_log", "table django_celery_results_taskresult", "table django_session, unpacked",
        "table tenants_tenantexport", "file name", "file .csv", "redis key",
    } <= places, places  # fmt: skip
    assert any(where.startswith("redis value") and "jobs" in where for where in places)
    assert any(where.startswith("redis key") and word == str(gone.tenant.pk) for where, word in found)
    with tenant_scope(gone.tenant):
        assert Record.objects.count() == 5
        assert Step.objects.exists()
        assert Lookup.objects.exists()
    before, of_the_other = totals(gone.tenant), traces.rows_of(stays.tenant.pk)
    files = sorted((Path(settings.MEDIA_ROOT) / str(stays.tenant.pk)).rglob("*"))

    with tenant_scope(gone.tenant):
        delete_tenant.close_tenant(actor=f"user:{gone.owner.email}")
    erase_closing()

    left = {
        (where, word) for where, word in traces.search([*gone.words, *gone.every_id]) if where not in ACCOUNTS
    }
    assert left == set()
    assert not (Path(settings.MEDIA_ROOT) / str(gone.tenant.pk)).exists()
    assert {where.removeprefix("table ") for where, _ in traces.search(gone.words)} <= accounted

    # The other tenant has every row as it was, its files, its messages and its people's sessions.
    assert traces.rows_of(stays.tenant.pk) == of_the_other
    assert sorted((Path(settings.MEDIA_ROOT) / str(stays.tenant.pk)).rglob("*")) == files
    remain = {where for where, _ in traces.search([str(stays.tenant.pk)])}
    assert {"redis key", "table django_session, unpacked", "table django_admin_log", "file name"} <= remain
    assert stays.api.get("/runs").status_code == 200

    # The ledger's totals, record by record what was billed; what was cancelled before any call was given back.
    with ops_scope("test"):
        closed = ClosedTenant.objects.get()
        rows = ClosedLedger.objects.filter(closed_tenant=closed)
        after = {
            tuple(row[:4]): row[4:]
            for row in rows.values_list("period", "kind", "provider", "livemode", "quantity", "credits")
        }
    records = next(key for key in before if key[1] == "record")
    assert after.pop(records) == (before.pop(records)[0] - 1, 0)
    assert after == before
    # What was shredded or cancelled before it was counted is not in the counts.
    assert set(gone.ids) - {"integrations_datakey", "step_queue", "lane_run"} <= set(closed.counts)

    # Those who belonged to it can still sign in; it is simply not there.
    assert User.objects.filter(email=gone.owner.email).exists()
    assert gone.api.get("/runs").status_code in (401, 403)


def test_the_ids_that_are_searched_for_are_those_of_every_table(committed: None) -> None:
    """A table that the deletion forgot would be one whose ids nobody looked for."""
    tenant = make_tenant("Anyone").tenant
    with tenant_scope(tenant):
        held = delete_tenant.rows_held()
    assert {table: len(ids) for table, ids in traces.ids_of(tenant.pk).items()} == held
    assert held["workflow"] >= 1

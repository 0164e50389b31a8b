"""Rows of every table that the console shows, as many as wanted, for one tenant."""

import hashlib
import uuid
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.utils import timezone

from billing.models import BillingNotice, MeterBatch, PlanOverride, StripeEvent, Subscription, UsageEvent
from integrations.models import (
    Connection,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookMessage,
)
from tenants.ids import uuid7
from tenants.models import ApiKey, Invitation, Membership, Tenant, User
from tenants.scope import ops_scope, tenant_scope
from tests.factories import ACTOR, make_connection, make_tenant
from workflows.models import (
    AmbiguousCall,
    Lane,
    LaneRun,
    Lookup,
    Record,
    Run,
    RunEvent,
    RunVendor,
    Step,
    StepQueue,
    Upload,
    Workflow,
)

PERSON = "Ada Lovelace-Private"


@dataclass
class Filled:
    """One row of each kind, and what must never be shown."""

    tenant: Tenant
    owner: User
    connection: Connection
    lane: Lane
    workflow: Workflow
    run: Run
    record: Record
    key: ApiKey
    secrets: list[str]


def fill(number: int, *, name: str = "", email: str = "") -> Filled:
    """A tenant with `number` rows in every table of its own."""
    people = make_tenant(name, email=email)
    tenant = people.tenant
    keys = [_key(number_, people.owner) for number_ in range(number)]
    connections = [
        make_connection(tenant, "prospeo", secret=f"topsecret-{uuid.uuid4()}", mode="live")
        for _ in range(number)
    ]
    with tenant_scope(tenant) as tenant_id:
        own: dict[str, Any] = {"tenant_id": tenant_id}
        ApiKey.objects.bulk_create(keys := [_owned(key, tenant_id) for key in keys])
        members = User.objects.bulk_create(
            User(email=f"{uuid.uuid4()}@people.example", password=f"pbkdf2_hash_{n}") for n in range(number)
        )
        Membership.objects.bulk_create(Membership(user=member, role="viewer", **own) for member in members)
        week = timezone.now() + timedelta(days=7)
        invited = Invitation.objects.bulk_create(
            Invitation(
                email=f"{uuid.uuid4()}@new.example", digest=hashlib.sha256(uuid.uuid4().bytes).digest(), expires_at=week,
                invited_by=people.owner, **own,
            )
            for _ in range(number)
        )  # fmt: skip
        workflows = Workflow.objects.bulk_create(
            Workflow(template="email-verify", name=f"Workflow {n}", slug=f"workflow-{n}", **own)
            for n in range(number)
        )
        uploads = Upload.objects.bulk_create(
            Upload(
                filename=f"contacts{n}.csv",
                stored_as=f"{n}.csv",
                size=10,
                dialect={},
                rows=1,
                created_by=ACTOR,
                **own,
            )
            for n in range(number)
        )
        lanes = list(Lane.objects.order_by("id"))
        runs = Run.objects.bulk_create(
            Run(
                workflow=workflows[n],
                upload=uploads[n],
                template="email-verify",
                config={},
                lanes={"prospeo": str(lanes[n].pk)},
                source="api",
                status="running",
                callback_url="https://hook:callback-password@tenant.example/in?token=callback-token",
                created_by=ACTOR,
                total=2,
                pending=1,
                found=1,
                name=f"Run {n}",
                **own,
            )
            for n in range(number)
        )
        records = Record.objects.bulk_create(
            Record(
                run=runs[0],
                position=n + 1,
                input={"full_name": PERSON},
                output={"email": "ada@private"},
                **own,
            )
            for n in range(number)
        )
        _engine(number, own, lanes, runs, records)
        _webhooks(number, own)
    with ops_scope("tests"):
        StripeEvent.objects.bulk_create(
            StripeEvent(
                event_id=f"evt_{uuid.uuid4().hex}", type="invoice.paid", body="{}", happened_at=timezone.now(),
                state="failed", tenant_id=tenant.pk,
            )
            for _ in range(number)
        )  # fmt: skip
    first = connections[0]
    shown_never = [
        first.key_hash,
        "callback-password",
        "callback-token",
        "hook-path",
        "hook-answer",
        bytes(keys[0].digest).hex(),
        bytes(invited[0].digest).hex(),
        "pbkdf2_",
    ]
    return Filled(
        tenant,
        people.owner,
        first,
        lanes[0],
        workflows[0],
        runs[0],
        records[0],
        keys[0],
        [*shown_never, "topsecret"],
    )


def _billing(number: int, own: dict[str, Any]) -> None:
    now = timezone.now()
    Subscription.objects.create(
        customer_id=f"cus_{uuid.uuid4().hex}", subscription_id="sub_1", status="active", plan="pro", **own
    )
    MeterBatch.objects.bulk_create(
        MeterBatch(
            identifier=f"weir-{uuid7()}", period=date(2026, 11, 1), at=now.replace(second=0) - timedelta(minutes=n),
            quantity=3, state="due" if n else "refused", **own,
        )
        for n in range(number)
    )  # fmt: skip
    BillingNotice.objects.bulk_create(
        BillingNotice(kind="plan_changed", about=f"change {n}", **own) for n in range(number)
    )


def _webhooks(number: int, own: dict[str, Any]) -> None:
    endpoints = WebhookEndpoint.objects.bulk_create(
        WebhookEndpoint(
            url=f"https://hooks.example/hook-path/{n}", events=["run.completed"], status="disabled", reason="gone",
            created_by=ACTOR, **own,
        )
        for n in range(number)
    )  # fmt: skip
    messages = WebhookMessage.objects.bulk_create(
        WebhookMessage(event="run.completed", body=f'{{"who": "{PERSON}"}}', **own) for _ in range(number)
    )
    deliveries = WebhookDelivery.objects.bulk_create(
        WebhookDelivery(
            message=message, endpoint=endpoints[0], lane=endpoints[0].pk, status="held", due_at=None, **own
        )
        for message in messages
    )
    WebhookAttempt.objects.bulk_create(
        WebhookAttempt(
            delivery=delivery, number=1, started_at=timezone.now(), latency_ms=5, http_status=410, error="answered 410",
            answer=f"hook-answer {PERSON}", **own,
        )
        for delivery in deliveries
    )  # fmt: skip


def _key(number: int, owner: User) -> ApiKey:
    digest = hashlib.sha256(uuid.uuid4().bytes).digest()
    return ApiKey(
        name=f"Key {number}",
        hint=f"wk_live_abcd…{number:04}",
        digest=digest,
        scopes=["read"],
        created_by=owner,
    )


def _owned(row: Any, tenant_id: uuid.UUID) -> Any:
    row.tenant_id = tenant_id
    return row


def _engine(
    number: int, own: dict[str, Any], lanes: list[Lane], runs: list[Run], records: list[Record]
) -> None:
    RunVendor.objects.bulk_create(
        RunVendor(run=run, provider="prospeo", operation="find", calls=3, **own) for run in runs
    )
    RunEvent.objects.bulk_create(
        RunEvent(run=runs[0], kind="run.running", actor=ACTOR, record_id=record.pk, **own)
        for record in records
    )
    LaneRun.objects.bulk_create(LaneRun(lane_id=lanes[0].pk, run_id=run.pk, **own) for run in runs)
    Lookup.objects.bulk_create(
        Lookup(
            provider="prospeo", fingerprint=uuid.uuid4().hex, leader=uuid7(), outcome="hit", answer={}, **own
        )
        for _ in range(number)
    )
    PlanOverride.objects.create(
        seats=40, reason="A trial", expires_at=timezone.now() + timedelta(days=30), created_by=ACTOR, **own
    )
    _billing(number, own)
    UsageEvent.objects.bulk_create(
        UsageEvent(
            key=f"record:{record.pk}", kind="record", run_id=runs[0].pk, period=date(2026, 11, 1), **own
        )
        for record in records
    )
    place = {"lane_id": lanes[0].pk, "run_id": runs[0].pk, **own}
    Step.objects.bulk_create(
        Step(
            record_id=record.pk, queue_id=uuid7(), name="find:prospeo", provider="prospeo", operation="find", attempt=1,
            status="done", outcome="hit", answer={"name": PERSON}, http_status=200, latency_ms=12, credits=1500, **place,
        )
        for record in records
    )  # fmt: skip
    AmbiguousCall.objects.bulk_create(
        AmbiguousCall(
            record_id=record.pk, queue_id=uuid7(), attempt=1, provider="findymail", operation="find",
            fingerprint=uuid.uuid4().hex, livemode=True, may_cost=1000, repeat_is_free=False, month=date(2026, 11, 1),
            status="open", **place,
        )
        for record in records
    )  # fmt: skip
    StepQueue.objects.bulk_create(
        StepQueue(
            record_id=record.pk, name="verify:zerobounce", query={}, fingerprint=uuid.uuid4().hex, **place
        )
        for record in records
    )

"""Mails about billing: written down in the transaction of what they tell of, once each, and sent by whoever comes next."""

import uuid
from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from billing.models import BillingNotice, Plan, Subscription
from billing.queries import current_period
from tenants import mails
from tenants.doorbell import send
from tenants.models import Tenant
from tenants.scope import APP_ALIAS, OPS_ALIAS, ops_scope, require_tenant_id, tenant_scope
from tenants.team_queries import addresses_of_admins

TASK = "billing.tasks.mail_notices"
WAIT = timedelta(minutes=2)
MOST_TRIES = 30
AT_ONCE = 100
_log = structlog.stdlib.get_logger("weir.billing")


def note(*, kind: BillingNotice.Kind, about: str, **detail: Any) -> None:
    """Have the open tenant's admins told of something, once for each `about`, when the open transaction has committed."""
    BillingNotice.objects.bulk_create(
        [BillingNotice(tenant_id=require_tenant_id(), kind=kind, about=about, detail=detail)],
        ignore_conflicts=True,
    )
    transaction.on_commit(lambda: send(TASK) and None, using=APP_ALIAS)


def mail_due() -> int:
    """Send what is due; returns how many were settled. A mail server that takes a mail and dies may get it twice."""
    with ops_scope("billing mails"):
        found = list(
            BillingNotice.objects.using(OPS_ALIAS)
            .filter(done_at=None, due_at__lte=timezone.now())
            .order_by("due_at")
            .values_list("tenant_id", "pk")[:AT_ONCE]
        )
    settled = 0
    for tenant_id, notice_id in found:
        try:
            settled += _mail(tenant_id, notice_id)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on, and somebody sees it
            _log.error("notice_broke", tenant_id=str(tenant_id), notice_id=str(notice_id), exc_info=error)
    return settled


def _mail(tenant_id: uuid.UUID, notice_id: uuid.UUID) -> bool:
    with tenant_scope(tenant_id):
        notice = (
            BillingNotice.objects.select_for_update(skip_locked=True)
            .filter(pk=notice_id, done_at=None)
            .first()
        )
        if notice is None or notice.due_at > timezone.now():
            return False
        notice.tries, notice.due_at = notice.tries + 1, timezone.now() + WAIT * (notice.tries + 1)
        notice.save(update_fields=["tries", "due_at"])
        facts = _facts(notice)
        admins = addresses_of_admins()
    sent = facts is not None and mails.send_billing(admins, kind=str(notice.kind), facts=facts)
    if facts is not None and not sent and notice.tries < MOST_TRIES:
        return False
    with tenant_scope(tenant_id):
        BillingNotice.objects.filter(pk=notice_id).update(done_at=timezone.now(), mailed=sent)
    return True


def _facts(notice: BillingNotice) -> dict[str, object] | None:
    """What the mail says; None where nothing is left to tell: what failed was paid meanwhile, what ends has ended."""
    subscription = Subscription.objects.first()
    tenant = Tenant.objects.get(pk=notice.tenant_id)
    names = dict(Plan.objects.values_list("slug", "name"))
    facts: dict[str, object] = {
        "tenant": mails.harmless(tenant.name),
        "plan": names.get(tenant.plan, tenant.plan),
        "link": f"{settings.BASE_URL.rstrip('/')}{reverse('billing')}",
    }
    if notice.kind == BillingNotice.Kind.PLAN_CHANGED:
        was, now = notice.detail["was"], notice.detail["now"]
        return facts | {
            "was": names.get(was, was), "now": names.get(now, now), "reason": notice.detail.get("reason", ""),
        }  # fmt: skip
    if notice.kind == BillingNotice.Kind.QUOTA_WARNING:
        if notice.detail["period"] != f"{current_period():%Y-%m}":
            return None
        return facts | notice.detail | {"link": f"{settings.BASE_URL.rstrip('/')}{reverse('usage')}"}
    if notice.kind == BillingNotice.Kind.PAYMENT_FAILED:
        if subscription is None or subscription.grace_until is None or not subscription.plan:
            return None
        return facts | {"until": subscription.grace_until}
    if notice.kind == BillingNotice.Kind.TRIAL_ENDING:
        if subscription is None or subscription.trial_end is None:
            return None
        return facts | {"until": subscription.trial_end}
    return facts

"""At 80 % and at 100 % of the month's records a tenant is told, once each, by mail and by `quota.warning`."""

import threading
from datetime import timedelta

import pytest
import structlog
from django.core import mail
from django.db import connections
from django.utils import timezone

from billing import quota
from billing.models import QuotaNotice
from billing.operations import notices, quota_notices
from billing.operations.plans import override_plan
from billing.operations.quota_notices import due_notices, tell
from billing.tasks import tell_quotas
from tenants.models import AuditEvent, Tenant
from tenants.scope import require_tenant_id, tenant_scope
from tenants.signals import tenant_event
from tests.factories import ACTOR, make_tenant, make_user

pytestmark = pytest.mark.usefixtures("committed")


@pytest.fixture
def tenant() -> Tenant:
    return make_tenant("Acme", plan="free", email="owner@acme.example").tenant


@pytest.fixture
def heard():
    events = []

    def listen(name, data, key, **kwargs):
        events.append((name, data, key))

    tenant_event.connect(listen)
    yield events
    tenant_event.disconnect(listen)


def use(tenant: Tenant, records: int) -> None:
    with tenant_scope(tenant), connections["default"].cursor() as cursor:
        quota.take(cursor, tenant.pk, records)


def test_nobody_is_told_below_80_per_cent(tenant, heard):
    use(tenant, 799)
    tell_quotas()
    assert (mail.outbox, heard) == ([], [])


def test_80_and_100_per_cent_are_told_once_each_to_the_admins_and_their_servers(tenant, heard):
    make_user(tenant, role="viewer", email="viewer@acme.example")
    use(tenant, 800)
    for _ in range(2):
        tell_quotas()
    use(tenant, 200)
    for _ in range(2):
        tell_quotas()
    assert [(message.to, message.subject) for message in mail.outbox] == [
        (["owner@acme.example"], "Weir: 80 % of the month's records are used"),
        (["owner@acme.example"], "Weir: All of the month's records are used"),
    ]
    assert "used 800 of the 1,000 records that plan Free includes" in mail.outbox[0].body
    assert "New records are refused until the first of next month" in mail.outbox[1].body
    month = timezone.now().strftime("%Y-%m")
    assert heard == [
        (
            "quota.warning",
            {
                "period": month, "percent": percent, "records_used": used, "records_included": 1_000,
                "overage_allowed": False,
            },
            f"quota:{month}:{percent}:1000",
        )
        for percent, used in ((80, 800), (100, 1_000))
    ]  # fmt: skip
    with tenant_scope(tenant):
        assert AuditEvent.objects.filter(verb="quota.warned").count() == 2


def test_who_comes_to_all_at_once_is_told_of_that_alone(tenant):
    use(tenant, 1_000)
    tell_quotas()
    assert [message.subject for message in mail.outbox] == ["Weir: All of the month's records are used"]


def test_a_larger_quota_begins_anew(tenant):
    use(tenant, 1_000)
    tell_quotas()
    with tenant_scope(tenant):
        override_plan(
            actor=ACTOR, reason="more", expires_at=timezone.now() + timedelta(days=1),
            changes={"monthly_records": 1_200, "overage_allowed": True},
        )  # fmt: skip
    tell_quotas()
    assert [message.subject.split()[1] for message in mail.outbox] == ["All", "80"]
    assert "Records beyond them are accepted and billed" in mail.outbox[1].body


def test_two_that_look_at_once_tell_once(tenant):
    use(tenant, 900)
    [due] = due_notices()
    together, told = threading.Barrier(4), []

    def look():
        together.wait(10)
        told.append(tell(due))
        connections.close_all()

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == [False, False, False, True]
    notices.mail_due()
    assert len(mail.outbox) == 1


def test_what_is_rolled_back_is_not_told_and_stops_nobody(tenant, monkeypatch):
    other = make_tenant("Globex", plan="free", email="owner@globex.example").tenant
    for one in (tenant, other):
        use(one, 900)
    emit = quota_notices.events.emit

    def fails(*args, **kwargs):
        if require_tenant_id() == tenant.pk:
            raise KeyError
        return emit(*args, **kwargs)

    monkeypatch.setattr(quota_notices.events, "emit", fails)
    with structlog.testing.capture_logs() as lines:
        tell_quotas()
    monkeypatch.undo()
    assert [message.to for message in mail.outbox] == [["owner@globex.example"]]
    assert [line["tenant_id"] for line in lines if line["event"] == "quota_notice_broke"] == [str(tenant.pk)]
    with tenant_scope(tenant):
        assert not QuotaNotice.objects.exists()
    tell_quotas()
    assert len(mail.outbox) == 2


def test_a_mail_server_that_was_down_gets_the_mail_later(tenant, monkeypatch):
    use(tenant, 900)
    monkeypatch.setattr("tenants.mails._send", lambda messages: False)
    tell_quotas()
    monkeypatch.undo()
    assert notices.mail_due() == 0  # not before its time
    later = timezone.now() + timedelta(minutes=3)
    monkeypatch.setattr("django.utils.timezone.now", lambda: later)
    assert notices.mail_due() == 1
    assert [message.subject for message in mail.outbox] == ["Weir: 80 % of the month's records are used"]


def test_others_are_told_of_their_own(tenant):
    other = make_tenant("Globex", plan="free", email="owner@globex.example").tenant
    use(other, 1_000)
    tell_quotas()
    assert [message.to for message in mail.outbox] == [["owner@globex.example"]]

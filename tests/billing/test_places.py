"""The plan's lanes and seats, where connections are made and people are invited."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from billing.errors import NoLaneLeft, NoSeatLeft
from billing.operations.plans import OverriddenLimits, override_plan
from integrations.connection_changes import remove_connection
from integrations.models import Connection
from tenants.models import Invitation, Membership
from tenants.operations.invitations import invite, revoke_invitation
from tenants.scope import tenant_scope
from tests.api.test_errors import assert_problem
from tests.client import Api
from tests.factories import ACTOR, make_connection, make_key, make_tenant, make_user


def agree(tenant, changes: OverriddenLimits) -> None:
    with tenant_scope(tenant):
        override_plan(
            actor=ACTOR, reason="test", expires_at=timezone.now() + timedelta(days=1), changes=changes
        )


class TestLanes:
    def test_a_live_connection_beyond_the_plan_is_refused_and_one_in_the_sandbox_is_not(self, tenant, api):
        agree(tenant, {"lanes": 2})
        for _ in range(2):
            made = make_connection(tenant, "prospeo", mode="live")
        body = {"provider": "prospeo", "secret": "another-long-key", "mode": "live"}
        problem = assert_problem(api.post("/connections", body), 402, "no_lane_left")
        assert "Plan Pro has 2 lanes for live connections, and 2 are taken." in problem["detail"]
        assert api.post("/connections", {**body, "mode": "sandbox"}).status_code == 201
        with tenant_scope(tenant):
            remove_connection(connection_id=made.pk, actor=ACTOR)
        assert api.post("/connections", body).status_code == 201

    def test_two_at_once_do_not_share_the_last_lane(self, committed):
        tenant = make_tenant().tenant
        agree(tenant, {"lanes": 1})

        def connect(_):
            try:
                make_connection(tenant, "prospeo", mode="live")
            except NoLaneLeft:
                return 0
            finally:
                connections.close_all()
            return 1

        with ThreadPoolExecutor(6) as pool:
            assert sum(pool.map(connect, range(6))) == 1
        with tenant_scope(tenant):
            assert Connection.objects.count() == 1

    def test_the_page_says_so(self, tenant, owner):
        agree(tenant, {"lanes": 0})
        browser = Client()
        browser.force_login(owner)
        form = {
            "currency": "USD",
            "secret": "a-long-live-key",
            "mode": "live",
            "rate": "1",
            "period": "1",
            "parallelism": "1",
        }
        page = browser.post("/app/vendors/new/", {"provider": "prospeo", **form})
        assert "has 0 lanes for live connections" in page.content.decode()


class TestSeats:
    def ask(self, tenant, email, by):
        with tenant_scope(tenant):
            return invite(email=email, role="viewer", invited_by=by, actor=ACTOR)

    def test_members_and_open_invitations_fill_the_seats(self, tenant, owner):
        agree(tenant, {"seats": 3})
        make_user(tenant)
        first = self.ask(tenant, "one@acme.example", owner)
        self.ask(tenant, "one@acme.example", owner)  # in place of the first
        with pytest.raises(NoSeatLeft, match="Plan Pro has 3 seats, and 3 are taken"):
            self.ask(tenant, "two@acme.example", owner)
        with tenant_scope(tenant):
            assert not Invitation.objects.filter(email="two@acme.example").exists()
            revoke_invitation(invitation_id=Invitation.objects.get(revoked_at=None).pk, actor=ACTOR)
        assert first.token
        self.ask(tenant, "two@acme.example", owner)

    def test_an_expired_invitation_takes_no_seat(self, tenant, owner):
        agree(tenant, {"seats": 2})
        self.ask(tenant, "one@acme.example", owner)
        with tenant_scope(tenant):
            Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        self.ask(tenant, "two@acme.example", owner)

    def test_the_page_says_so_and_keeps_what_was_typed(self, tenant, owner):
        agree(tenant, {"seats": 1})
        browser = Client()
        browser.force_login(owner)
        page = browser.post("/app/team/invite/", {"email": "one@acme.example", "role": "viewer"}, follow=True)
        text = page.content.decode()
        assert "Plan Pro has 1 seat, and 1 is taken" in text
        assert "one@acme.example" in text

    def test_who_is_there_stays_when_the_plan_has_fewer_seats(self, tenant, owner):
        make_user(tenant)
        agree(tenant, {"seats": 1})
        with tenant_scope(tenant):
            assert Membership.objects.count() == 2
        assert Api(make_key(tenant)).get("/tenant").status_code == 200

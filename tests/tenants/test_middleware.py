"""Which tenant a signed-in person is in, and the note of when and from where a session was used."""

import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.utils import timezone

from tenants import context, middleware
from tenants.middleware import SEEN_EVERY, SessionSeenMiddleware, TenantMiddleware, chosen
from tenants.queries import TenantOfUser


def member_of(name: str, *, status: str = "active", plan: str = "pro") -> TenantOfUser:
    return TenantOfUser(uuid.uuid4(), name, plan, status, "viewer", False)


ACME, GLOBEX = member_of("Acme"), member_of("Globex", plan="free")
GONE = member_of("Gone", status="suspended")


def a_request(
    path: str = "/app/runs/", *, signed_in: bool = True, tenant: Any = None, htmx: bool = False
) -> Any:
    request: Any = RequestFactory().get(path)
    request.user = SimpleNamespace(is_authenticated=signed_in, pk=uuid.uuid4(), email="ada@acme.example")
    request.session = {} if tenant is None else {"tenant_id": str(tenant.tenant_id)}
    request.htmx = htmx
    return request


def through(monkeypatch: pytest.MonkeyPatch, request: Any, *memberships: TenantOfUser) -> tuple[Any, Any]:
    """The answer to a member of these tenants, and what the context was while the view worked."""
    seen: list[Any] = []

    def view(given: Any) -> HttpResponse:
        assert given is request
        seen.append(context.current())
        return HttpResponse("the page")

    monkeypatch.setattr(middleware, "tenants_of", lambda pk: [*memberships] if pk == request.user.pk else [])
    with context.context():
        answer = TenantMiddleware(view)(request)
    return answer, seen[0] if seen else None


def test_the_first_tenant_is_open_until_another_is_chosen(monkeypatch: pytest.MonkeyPatch):
    request = a_request()
    answer, seen = through(monkeypatch, request, ACME, GLOBEX)
    assert answer.content == b"the page"
    assert (request.membership, request.memberships) == (ACME, [ACME, GLOBEX])
    assert (seen.tenant_id, seen.plan, seen.actor) == (ACME.tenant_id, "pro", "user:ada@acme.example")


def test_the_chosen_tenant_is_open(monkeypatch: pytest.MonkeyPatch):
    request = a_request(tenant=GLOBEX)
    _, seen = through(monkeypatch, request, ACME, GLOBEX)
    assert request.membership == GLOBEX
    assert (seen.tenant_id, seen.plan) == (GLOBEX.tenant_id, "free")


def test_a_suspended_tenant_is_not_open_even_when_chosen(monkeypatch: pytest.MonkeyPatch):
    request = a_request(tenant=GONE)
    through(monkeypatch, request, GONE, ACME)
    assert (request.membership, request.memberships) == (ACME, [ACME])


@pytest.mark.parametrize("memberships", [(), (GONE,)])
def test_who_has_no_tenant_is_told_on_a_page_of_its_own(
    monkeypatch: pytest.MonkeyPatch, db: None, memberships: Any
):
    answer, seen = through(monkeypatch, a_request(), *memberships)
    assert (answer.status_code, answer["Location"], seen) == (302, "/accounts/workspace/", None)
    answer, seen = through(monkeypatch, a_request(htmx=True), *memberships)
    assert (answer["HX-Refresh"], seen) == ("true", None)


@pytest.mark.parametrize(
    "request_",
    [a_request("/accounts/login/"), a_request("/"), a_request("/apps/"), a_request(signed_in=False)],
)
def test_elsewhere_and_for_strangers_no_tenant_is_looked_for(monkeypatch: pytest.MonkeyPatch, request_: Any):
    answer, seen = through(monkeypatch, request_, ACME)
    assert answer.content == b"the page"
    assert seen.tenant_id is None
    assert not hasattr(request_, "membership")


def test_the_choice_holds_while_the_person_belongs_there():
    assert chosen([ACME, GLOBEX], str(GLOBEX.tenant_id)) is GLOBEX
    assert chosen([ACME, GLOBEX], str(uuid.uuid4())) is ACME
    assert chosen([ACME, GLOBEX], None) is ACME
    assert chosen([ACME, GLOBEX], "") is ACME
    assert chosen([], str(ACME.tenant_id)) is None


class TestSessionsSeen:
    def note(self, client: Client, user: Any, path: str = "/app/", ip: str | None = "192.0.2.7") -> None:
        request: Any = RequestFactory().get(path, REMOTE_ADDR="192.0.2.7")
        request.user, request.session = user, client.session
        with context.context(ip=ip):
            answer = SessionSeenMiddleware(lambda given: HttpResponse("page" if given is request else ""))(
                request
            )
        assert answer.content == b"page"

    @pytest.fixture
    def here(self, client: Client, owner: Any) -> Client:
        client.force_login(owner, backend="allauth.account.auth_backends.AuthenticationBackend")
        UserSession.objects.all().delete()
        return client

    @pytest.mark.parametrize("path", ["/app/runs/", "/accounts/sessions/"])
    def test_the_first_use_is_written_down(self, here: Client, owner: Any, path: str):
        self.note(here, owner, path)
        row = UserSession.objects.get()
        assert (row.user, row.session_key, row.ip) == (owner, here.session.session_key, "192.0.2.7")

    @pytest.mark.parametrize(("path", "ip"), [("/api/v1/tenant", "192.0.2.7"), ("/app/", None)])
    def test_elsewhere_or_from_nowhere_nothing_is(self, here: Client, owner: Any, path: str, ip: str | None):
        self.note(here, owner, path, ip)
        assert UserSession.objects.count() == 0

    def test_strangers_leave_nothing(self, here: Client):
        self.note(here, SimpleNamespace(is_authenticated=False, pk=None))
        assert UserSession.objects.count() == 0

    def test_a_later_use_changes_the_same_row_and_only_so_often(
        self, here: Client, owner: Any, monkeypatch: pytest.MonkeyPatch
    ):
        self.note(here, owner)
        self.note(here, owner, ip="192.0.2.8")
        assert UserSession.objects.get().ip == "192.0.2.7"  # noted a moment ago
        kept: list[Any] = []

        def add(key: str, value: object, seconds: int) -> bool:
            kept.append((key, seconds))
            return True

        monkeypatch.setattr(middleware.cache, "add", add)
        began = timezone.now()
        self.note(here, owner, ip="192.0.2.9")
        row = UserSession.objects.get()
        assert row.ip == "192.0.2.9"
        assert row.last_seen_at >= began
        ((key, seconds),) = kept
        assert seconds == SEEN_EVERY == 300
        assert key.startswith("seen:")
        assert here.session.session_key not in key  # whoever reads Redis cannot take a session over

    def test_two_sessions_are_noted_each(self, here: Client, owner: Any):
        self.note(here, owner)
        there = Client()
        there.force_login(owner, backend="allauth.account.auth_backends.AuthenticationBackend")
        UserSession.objects.exclude(session_key=here.session.session_key).delete()
        self.note(there, owner)
        assert UserSession.objects.count() == 2

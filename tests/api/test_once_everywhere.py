"""Every POST there is takes an `Idempotency-Key`: found in the URL map, so that a new one is tried or named here."""

from contextlib import suppress

import pytest
from django.db import connection, connections
from django.db.models.functions import Now

from tenants.api.once import Answer
from tenants.scope import APP_ALIAS, tenant_scope
from tests.client import Api
from tests.invariants.routes import every_route
from tests.invariants.test_routes_foreign_ids import BODIES
from tests.invariants.world import Rows, World
from workflows.models import IdempotencyKey, LaneRun, Record, Run, StepQueue
from workflows.operations import answer_once, try_connection

POSTS = sorted(r.path for r in every_route() if r.kind == "api" and "POST" in r.permissions)
# What is written with every request, whatever it asks for.
OWN = {"idempotency_key", "tenants_apikey"}
FAILED = {"code": "timeout", "message": "No answer."}


def body_of(path):
    return BODIES.get(("POST", path), {})


@pytest.fixture
def mine(committed):
    return World("Acme", "canary-a")


def ready(world, path):
    """The address, with an object that it can be done to."""
    route = next(r for r in every_route() if r.path == path)
    address = route.at({name: world.value_of(name, kind) for name, kind in route.parameters.items()})
    if "/records/" in path or path.endswith("/retry"):
        with tenant_scope(world.tenant):
            StepQueue.objects.all().delete()
            LaneRun.objects.all().delete()
            Record.objects.update(status="failed", error=FAILED, started_at=Now(), finished_at=Now())
            Run.objects.update(status="completed", pending=0, queued=0, failed=1, finished_at=Now())
    api = Api(world.key)
    if path.endswith("/resume") and "/runs/" in path:
        assert api.post(address.replace("/resume", "/pause")).status_code == 200
    return address


@pytest.mark.parametrize("path", POSTS)
def test_a_post_that_is_repeated_is_answered_alike_and_done_once(mine, path):
    api, address = Api(mine.key), ready(mine, path)

    def send():
        if path.endswith("/uploads"):
            return api.upload(b"First Name,Last Name,Website\nAda,Byron,e.example\n", Idempotency_Key="k-1")
        return api.post(address, body_of(path), Idempotency_Key="k-1")

    first = send()
    assert first.status_code in (200, 201, 202), first.content
    with Rows(mine.tenant.pk, []) as rows:
        before = rows.now()
        again = send()
        changed = {table for table, now in rows.now().items() if now != before[table]}
    assert (again.status_code, again["Idempotency-Replayed"]) == (first.status_code, "true")
    assert "Idempotency-Replayed" not in first
    assert changed <= OWN
    shown, repeated = first.json(), again.json()
    secrets = {name for name in shown if shown[name] != repeated[name]}
    assert all(repeated[name] is None for name in secrets)
    assert (
        secrets
        == set(next(r for r in every_route() if r.path == path).view.view_class.shown_once) & shown.keys()
    )
    assert secrets == {"key", "secret"} & shown.keys()
    if not secrets:
        assert again.content == first.content
    with tenant_scope(mine.tenant):
        kept = IdempotencyKey.objects.get(key="k-1")
    for name in secrets:
        assert shown[name] not in str(kept.response)

    other = api.post("/runs", {"workflow": "email-waterfall", "records": [{}]}, Idempotency_Key="k-1")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert api.post(address, body_of(path), Idempotency_Key="").json()["code"] == "invalid_input"


def test_no_transaction_is_open_while_a_post_with_a_key_asks_a_vendor(mine, monkeypatch):
    asked, real = [], try_connection._ask

    def watched(*given):  # where no loop runs yet: inside one, Django would show another connection
        asked.append(connections[APP_ALIAS].in_atomic_block)
        return real(*given)

    monkeypatch.setattr(try_connection, "_ask", watched)
    address = ready(mine, "/api/v1/connections/<uuid:connection_id>/test")
    assert Api(mine.key).post(address, Idempotency_Key="k-4").status_code == 200
    assert asked == [False]


def test_a_twin_of_what_is_answered_apart_is_told_so_and_a_dead_one_gives_way(mine):
    """As the web process leaves it when it is killed while a run is being retried."""
    api = Api(mine.key)
    address = ready(mine, "/api/v1/runs/<uuid:run_id>/retry")
    assert api.post(address, {}, Idempotency_Key="k-2").status_code == 200
    with tenant_scope(mine.tenant):
        IdempotencyKey.objects.filter(key="k-2").update(status=None, response=None)
    assert api.post(address, {}, Idempotency_Key="k-2").json()["code"] == "idempotency_in_progress"
    with tenant_scope(mine.tenant), connection.cursor() as cursor:
        cursor.execute("UPDATE idempotency_key SET created_at = created_at - interval '61 seconds'")
    answer = api.post(address, {}, Idempotency_Key="k-2")
    assert answer.status_code == 200
    assert api.post(address, {}, Idempotency_Key="k-2").content == answer.content


def test_who_comes_back_after_its_minute_leaves_the_key_to_its_twin(mine, monkeypatch):
    def of(status, fails):
        def make():
            with tenant_scope(mine.tenant), connection.cursor() as cursor:
                cursor.execute("UPDATE idempotency_key SET created_at = created_at - interval '61 seconds'")
            twin = answer_once.answer_apart(
                mine.tenant.pk, key="k-5", request_hash=b"h" * 32, make=lambda: Answer(200, '"twin"')
            )
            assert twin.replayed is False
            if fails:
                raise KeyError("a fault")
            return Answer(status, '"late"')

        return make

    for fails in (False, True):
        with tenant_scope(mine.tenant):
            IdempotencyKey.objects.all().delete()
        with suppress(KeyError):
            answer_once.answer_apart(mine.tenant.pk, key="k-5", request_hash=b"h" * 32, make=of(201, fails))
        with tenant_scope(mine.tenant):
            kept = IdempotencyKey.objects.get(key="k-5")
        assert (kept.status, kept.response) == (200, '"twin"')


def test_what_is_refused_apart_gives_its_key_back(mine):
    api = Api(mine.key)
    address = ready(mine, "/api/v1/runs/<uuid:run_id>/retry")
    with tenant_scope(mine.tenant):
        Run.objects.update(status="cancelled")
    assert api.post(address, {}, Idempotency_Key="k-3").json()["code"] == "run_is_final"
    with tenant_scope(mine.tenant):
        assert not IdempotencyKey.objects.filter(key="k-3").exists()

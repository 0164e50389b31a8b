"""One connection: other settings, another key, a test of it, its end."""

import pytest

from integrations.models import Connection, ConnectionSecret
from tenants.models import AuditEvent
from tenants.scope import open_tenant_id, tenant_scope
from tests.api.test_errors import assert_problem
from tests.client import Api
from tests.factories import connect_all, make_connection, make_run
from workflows.models import Lane, LaneState
from workflows.operations import try_connection
from workflows.operations.control_run import cancel_run


@pytest.fixture
def connection(tenant) -> Connection:
    return make_connection(tenant, "prospeo", mode="sandbox")


def verbs(tenant) -> list[str]:
    with tenant_scope(tenant):
        return list(AuditEvent.objects.order_by("id").values_list("verb", flat=True))


def test_one_connection_is_shown_as_in_the_list(api, connection):
    assert api.get(f"/connections/{connection.pk}").json() == api.get("/connections").json()["data"][0]


def test_settings_are_changed_and_the_lane_follows(api, tenant, connection):
    changed = api.patch(
        f"/connections/{connection.pk}",
        {
            "name": "Second",
            "on_ambiguous": "ask",
            "low_balance": 12.5,
            "rate": 3,
            "period": 2,
            "parallelism": 4,
        },
    ).json()
    assert (changed["name"], changed["on_ambiguous"], changed["low_balance"]) == ("Second", "ask", 12.5)
    assert (changed["windows"], changed["parallelism"]) == ([{"rate": 3, "period": 2.0}], 4)
    lane = api.get(f"/lanes/{changed['lane']}").json()
    assert (lane["rate"], lane["period"], lane["parallelism"], lane["pinned"]) == (3, 2.0, 4, False)
    assert api.patch(f"/connections/{connection.pk}", {"low_balance": None}).json()["low_balance"] is None
    assert verbs(tenant).count("connection.changed") == 2
    assert api.patch(f"/connections/{connection.pk}", {"name": "Second"}).status_code == 200
    assert verbs(tenant).count("connection.changed") == 2, "nothing was changed"


def test_limits_that_were_pinned_stay(api, connection):
    lane = api.get(f"/connections/{connection.pk}").json()["lane"]
    api.patch(f"/lanes/{lane}", {"parallelism": 2})
    api.patch(f"/connections/{connection.pk}", {"parallelism": 9})
    assert api.get(f"/lanes/{lane}").json()["parallelism"] == 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"parallelism": 0}, "parallelism"),
        ({"currency": "euro"}, "currency"),
        ({"on_ambiguous": "hope"}, "on_ambiguous"),
        ({"low_balance": -1}, "low_balance"),
        ({"windows": [{"rate": 0, "period": 1}]}, "windows.0.rate"),
        ({"secret": "two words"}, "secret"),
        ({"provider": "hunter"}, "provider"),
        ({"status": "ok"}, "status"),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(api, connection, body, field):
    before = api.get(f"/connections/{connection.pk}").json()
    answer = api.patch(f"/connections/{connection.pk}", {"name": "New", **body})
    assert_problem(answer, 422, "invalid_input")
    assert field in {error["field"] for error in answer.json()["errors"]}
    assert api.get(f"/connections/{connection.pk}").json() == before


def test_another_key_is_taken_and_never_shown(api, connection):
    answer = api.patch(f"/connections/{connection.pk}", {"secret": "pk-another-key-77aa"})
    assert answer.json()["secret_hint"] == "77aa"
    assert "another-key" not in answer.content.decode()


def test_a_key_that_works_clears_an_earlier_fault_and_its_lane_goes_on(api, tenant, connection, sandbox):
    sandbox.set_key("prospeo", "unused", credits=5)
    with tenant_scope(tenant):
        Connection.objects.update(status="no_credits", last_error="none left")
        Lane.objects.update(paused=True, pause_reason="no_credits")
    tested = api.post(f"/connections/{connection.pk}/test").json()
    assert (tested["ok"], tested["message"], tested["connection"]["status"]) == (True, "", "ok")
    assert tested["connection"]["balance"] is not None
    assert tested["connection"]["last_ok_at"]
    assert tested["latency_ms"] >= 0
    with tenant_scope(tenant):
        assert not Lane.objects.get().paused


def test_a_key_that_is_refused_is_marked(api, tenant, sandbox):
    connection = make_connection(tenant, "prospeo", secret="bad-key-0001")
    tested = api.post(f"/connections/{connection.pk}/test").json()
    assert tested["ok"] is False
    assert tested["message"]
    assert tested["connection"]["status"] == "auth_failed"
    with tenant_scope(tenant):
        assert Connection.objects.get().last_error == tested["message"]


def test_a_vendor_out_of_reach_says_nothing_about_the_key(api, connection, settings):
    settings.SANDBOX_URL = "http://127.0.0.1:9"
    tested = api.post(f"/connections/{connection.pk}/test").json()
    assert (tested["ok"], tested["connection"]["status"]) == (False, "ok")
    assert tested["message"]


def test_a_vendor_is_not_asked_twice_in_a_moment(api, tenant, connection, sandbox):
    assert api.post(f"/connections/{connection.pk}/test").status_code == 200
    asked = len(sandbox.calls(provider="prospeo"))
    assert_problem(api.post(f"/connections/{connection.pk}/test"), 409, "conflict")
    assert len(sandbox.calls(provider="prospeo")) == asked
    with tenant_scope(tenant):
        LaneState.objects.update(balance_asked_at=None)
    assert api.post(f"/connections/{connection.pk}/test").status_code == 200


def test_a_removed_connection_is_gone_and_its_key_with_it(api, tenant, connection):
    lane = api.get(f"/connections/{connection.pk}").json()["lane"]
    assert api.delete(f"/connections/{connection.pk}").status_code == 204
    for path in (f"/connections/{connection.pk}", f"/lanes/{lane}"):
        assert_problem(api.get(path), 404, "not_found")
    assert api.get("/connections").json()["data"] == api.get("/lanes").json()["data"] == []
    assert_problem(api.delete(f"/connections/{connection.pk}"), 404, "not_found")
    assert_problem(api.post(f"/connections/{connection.pk}/test"), 404, "not_found")
    assert_problem(api.post(f"/lanes/{lane}/resume"), 404, "not_found")
    with tenant_scope(tenant):
        assert not ConnectionSecret.objects.exists()
        assert Lane.objects.get().paused
    assert verbs(tenant)[-1] == "connection.removed"


def test_the_same_key_may_be_connected_again(api):
    body = {"provider": "prospeo", "secret": "pk-0123456789abcdef", "mode": "sandbox"}
    first = api.post("/connections", body).json()
    assert api.delete(f"/connections/{first['id']}").status_code == 204
    second = api.post("/connections", body)
    assert second.status_code == 201
    assert second.json()["id"] != first["id"]


def test_one_that_runs_will_ask_is_kept(api, tenant, sandbox):
    made = connect_all(tenant)
    run = make_run(tenant)
    verifier = made["zerobounce"].pk
    refused = api.delete(f"/connections/{verifier}")
    assert_problem(refused, 409, "conflict")
    assert "1 run that is under way" in refused.json()["detail"]
    assert api.get(f"/connections/{verifier}").status_code == 200
    with tenant_scope(tenant):
        cancel_run(run_id=run.pk, actor="system:test")
    assert api.delete(f"/connections/{verifier}").status_code == 204


def test_a_test_key_reaches_the_sandboxs_alone(tenant, test_key):
    live = make_connection(tenant, "hunter", mode="live")
    api = Api(test_key)
    for answer in (
        api.get(f"/connections/{live.pk}"),
        api.patch(f"/connections/{live.pk}", {"name": "x"}),
        api.delete(f"/connections/{live.pk}"),
        api.post(f"/connections/{live.pk}/test"),
    ):
        assert_problem(answer, 404, "not_found")


def test_no_transaction_is_open_while_the_vendor_is_asked(api, connection, sandbox, monkeypatch):
    open_then = []
    real = try_connection._ask

    def watched(*given):
        open_then.append(open_tenant_id())
        return real(*given)

    monkeypatch.setattr(try_connection, "_ask", watched)
    assert api.post(f"/connections/{connection.pk}/test").json()["ok"]
    assert open_then == [None]

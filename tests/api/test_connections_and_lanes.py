"""Connections and their lanes."""

import pytest

from tenants.scope import tenant_scope
from tests.api.test_errors import assert_problem
from tests.client import Api
from tests.factories import connect_all, make_connection, make_run
from workflows.models import Lane

SECRET = "pk-0123456789abcdef"
CONNECTION_KEYS = {
    "id", "provider", "name", "mode", "secret_hint", "windows", "parallelism", "price_per_credit", "currency",
    "on_ambiguous", "status", "balance", "balance_at", "low_balance", "runs_out_at", "last_ok_at", "last_error", "lane",
    "created_at",
}  # fmt: skip
LANE_KEYS = {
    "id", "connection", "provider", "key_hint", "windows", "rate", "period", "parallelism", "paused", "pinned",
    "bulk", "waiting", "in_flight", "started_last_period", "oldest_waiting_s", "wait_reason", "breaker",
    "breaker_until",
}  # fmt: skip


def test_a_connection_is_made_with_its_lane(api):
    answer = api.post(
        "/connections",
        {
            "provider": "prospeo", "secret": SECRET, "mode": "sandbox", "parallelism": 4, "currency": "EUR",
            "windows": [{"rate": 10, "period": 1}, {"rate": 100, "period": 60.5, "group": "find"}],
            "price_per_credit": "0.0195", "on_ambiguous": "ask", "name": "Main",
        },
    )  # fmt: skip
    assert answer.status_code == 201
    made = answer.json()
    assert set(made) == CONNECTION_KEYS
    assert SECRET not in answer.content.decode()
    assert made["secret_hint"] == SECRET[-4:]
    assert made["windows"] == [{"rate": 10, "period": 1.0}, {"rate": 100, "period": 60.5, "group": "find"}]
    assert (made["price_per_credit"], made["currency"], made["on_ambiguous"]) == ("0.019500", "EUR", "ask")
    assert (made["status"], made["balance"], made["last_ok_at"]) == ("ok", None, None)
    lane = api.get(f"/lanes/{made['lane']}").json()
    assert set(lane) == LANE_KEYS
    assert (lane["connection"], lane["provider"], lane["key_hint"]) == (made["id"], "prospeo", SECRET[-4:])
    assert (lane["rate"], lane["period"], lane["parallelism"], lane["windows"]) == (
        10,
        1.0,
        4,
        made["windows"],
    )
    assert api.get("/connections").json()["data"] == [made]


def test_rate_and_period_are_short_for_one_window(api):
    made = api.post(
        "/connections", {"provider": "findymail", "secret": SECRET, "rate": 5, "period": 0.5}
    ).json()
    assert made["windows"] == [{"rate": 5, "period": 0.5}]
    assert made["mode"] == "live"


def test_limits_default_to_what_the_vendor_documents(api):
    made = api.post("/connections", {"provider": "prospeo", "secret": SECRET}).json()
    assert made["windows"]
    assert made["parallelism"] > 0


def test_the_same_key_is_connected_once(api):
    body = {"provider": "prospeo", "secret": SECRET}
    assert api.post("/connections", body).status_code == 201
    assert_problem(api.post("/connections", body), 409, "conflict")
    assert api.post("/connections", body | {"mode": "sandbox"}).status_code == 201


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"provider": "nobody"}, "provider"),
        ({"provider": None}, "provider"),
        ({"secret": ""}, "secret"),
        ({"secret": "   "}, "secret"),
        ({"secret": "has\nnewline"}, "secret"),
        ({"secret": "nul\0"}, "secret"),
        ({"secret": "caf\u00e9"}, "secret"),
        ({"secret": "x" * 4_001}, "secret"),
        ({"secret": {"key": 1}}, "secret"),
        ({"mode": "test"}, "mode"),
        ({"rate": 5}, "period"),
        ({"period": 5}, "rate"),
        ({"rate": 5, "period": 1, "windows": []}, "windows"),
        ({"rate": 0, "period": 1}, "rate"),
        ({"rate": 5, "period": 0}, "period"),
        ({"rate": 5, "period": "NaN"}, "period"),
        ({"windows": {}}, "windows"),
        ({"windows": [{"rate": 5}]}, "windows.0.period"),
        ({"windows": [{"rate": 5, "period": 1, "group": "all"}]}, "windows.0.group"),
        ({"windows": [{"rate": 5, "period": 1, "per": "s"}]}, "windows.0.per"),
        ({"windows": [{"rate": 10**20, "period": 1}]}, "windows.0.rate"),
        ({"windows": [5]}, "windows.0"),
        ({"windows": [{"rate": 5, "period": 1}] * 9}, "windows"),
        ({"parallelism": 0}, "parallelism"),
        ({"parallelism": 1_001}, "parallelism"),
        ({"price_per_credit": -1}, "price_per_credit"),
        ({"currency": "euro"}, "currency"),
        ({"currency": "\u20acUR"}, "currency"),
        ({"on_ambiguous": "guess"}, "on_ambiguous"),
        ({"name": "x" * 81}, "name"),
        ({"key": "x"}, "key"),
    ],
)
def test_each_field_that_does_not_fit_is_named_and_the_secret_is_not(api, change, field):
    answer = api.post("/connections", {"provider": "prospeo", "secret": SECRET, **change})
    body = assert_problem(answer, 422, "invalid_input")
    assert field in [error["field"] for error in body["errors"]]
    assert SECRET not in answer.content.decode()
    assert api.get("/connections").json()["data"] == []


def test_connections_and_lanes_page(api, tenant):
    for number in range(5):
        make_connection(tenant, "prospeo", secret=f"key-number-{number}")
    for path in ("/connections", "/lanes"):
        first = api.get(f"{path}?limit=3").json()
        second = api.get(first["next"]).json()
        assert [len(first["data"]), len(second["data"]), second["next"]] == [3, 2, None]
        assert len({row["id"] for row in first["data"] + second["data"]}) == 5
        assert api.get(second["previous"]).json()["data"] == first["data"]


def test_a_lane_tells_what_waits_in_it(api, tenant):
    connect_all(tenant)
    make_run(tenant, 4)
    lanes = {lane["provider"]: lane for lane in api.get("/lanes").json()["data"]}
    assert (lanes["prospeo"]["waiting"], lanes["prospeo"]["in_flight"]) == (4, 0)
    assert lanes["prospeo"]["oldest_waiting_s"] >= 0
    assert (lanes["zerobounce"]["waiting"], lanes["zerobounce"]["oldest_waiting_s"]) == (0, None)


def test_other_limits_are_pinned_while_work_waits(api, tenant):
    make_connection(tenant, "prospeo")
    lane = api.get("/lanes").json()["data"][0]
    changed = api.patch(f"/lanes/{lane['id']}", {"windows": [{"rate": 3, "period": 2}]}).json()
    assert (changed["rate"], changed["period"], changed["pinned"]) == (3, 2.0, True)
    assert changed["parallelism"] == lane["parallelism"]
    assert api.patch(f"/lanes/{lane['id']}", {"parallelism": 2}).json()["parallelism"] == 2
    assert api.patch(f"/lanes/{lane['id']}", {"rate": 9, "period": 1}).json()["windows"] == [
        {"rate": 9, "period": 1.0}
    ]
    for body in ({}, {"parallelism": 0}, {"rate": 1}, {"paused": True}):
        assert_problem(api.patch(f"/lanes/{lane['id']}", body), 422, "invalid_input")


def test_a_lane_asks_several_at_once_where_its_vendor_can(api, tenant):
    make_connection(tenant, "prospeo")
    make_connection(tenant, "findymail")
    lanes = {lane["provider"]: lane for lane in api.get("/lanes").json()["data"]}
    assert {lane["bulk"] for lane in lanes.values()} == {False}
    path = f"/lanes/{lanes['prospeo']['id']}"
    changed = api.patch(path, {"bulk": True}).json()
    assert (changed["bulk"], changed["pinned"]) == (True, False)
    both = api.patch(path, {"bulk": False, "parallelism": 3}).json()
    assert (both["bulk"], both["parallelism"], both["pinned"]) == (False, 3, True)
    other = f"/lanes/{lanes['findymail']['id']}"
    assert_problem(api.patch(other, {"bulk": True, "parallelism": 3}), 422, "invalid_input")
    assert api.get(other).json()["pinned"] is False
    assert api.patch(other, {"bulk": False}).status_code == 200


def test_a_lane_is_paused_and_resumed(api, tenant):
    connect_all(tenant)
    with tenant_scope(tenant):
        lane = Lane.objects.get(provider="prospeo")
    paused = api.post(f"/lanes/{lane.pk}/pause").json()
    assert (paused["paused"], paused["wait_reason"]) == (True, "paused")
    resumed = api.post(f"/lanes/{lane.pk}/resume").json()
    assert (resumed["paused"], resumed["wait_reason"]) == (False, None)


@pytest.mark.parametrize("count", [1, 15])
def test_lists_take_as_many_queries_for_one_as_for_many(api, tenant, count, django_assert_max_num_queries):
    for number in range(count):
        make_connection(tenant, "prospeo", secret=f"key-number-{number}")
    api.get("/tenant")
    for path, queries in (("/connections", 6), ("/lanes", 8), ("/workflows", 5)):
        with django_assert_max_num_queries(queries):
            assert api.get(path).status_code == 200


def test_a_test_key_connects_sandbox_vendors_alone(tenant, test_key):
    body = {"provider": "prospeo", "secret": "sk-12345678"}
    refused = Api(test_key).post("/connections", body)
    assert_problem(refused, 403, "not_allowed")
    assert Api(test_key).post("/connections", {**body, "mode": "sandbox"}).status_code == 201


def test_a_short_secret_is_not_told_by_its_hint(api):
    answer = api.post("/connections", {"provider": "prospeo", "secret": "ab12", "mode": "sandbox"})
    assert answer.json()["secret_hint"] == "****"
    spaced = api.post("/connections", {"provider": "prospeo", "secret": "x y z 123456", "mode": "sandbox"})
    assert_problem(spaced, 422, "invalid_input")


@pytest.mark.parametrize("field", ["provider", "mode", SECRET])
def test_a_secret_in_the_wrong_field_as_well_is_not_echoed(api, field):
    body = {"provider": "prospeo", "secret": SECRET} | {field: SECRET}
    answer = api.post("/connections", body)
    assert answer.status_code in (404, 422)
    assert SECRET not in answer.content.decode()


def test_a_live_key_that_is_too_short_to_be_kept_out_of_logs_is_none(api):
    answer = api.post("/connections", {"provider": "prospeo", "secret": "ab12cd7"})
    assert_problem(answer, 422, "invalid_input")
    assert answer.json()["errors"][0]["field"] == "secret"
    made = api.post("/connections", {"provider": "prospeo", "secret": "ab12cd78"})
    assert (made.status_code, made.json()["secret_hint"]) == (201, "cd78")

"""POST and GET /runs, and what steers them."""

import pytest

from tenants.scope import tenant_scope
from tests.client import Api
from tests.factories import connect_all, contact, make_connection, make_run
from workflows.models import Record, Run, Workflow

SOME_ID = "01a1f977-6974-7578-b646-3639ec331732"
RUN_KEYS = {
    "id", "workflow", "name", "status", "livemode", "source", "priority", "records", "credits", "error",
    "estimated_finish", "created_at", "started_at", "finished_at", "metadata",
}  # fmt: skip


@pytest.fixture
def connected(tenant):
    return connect_all(tenant)


def start(api, records=1, **fields):
    given = [contact(number) for number in range(records)] if isinstance(records, int) else records
    return api.post("/runs", {"workflow": "email-waterfall", "records": given, **fields})


def test_a_run_is_accepted_with_its_records(api, connected, tenant):
    answer = start(api, 3, priority=7, credit_limit=12.345, metadata={"list": "spring"}, name="Spring")
    assert answer.status_code == 202
    run = answer.json()
    assert set(run) == RUN_KEYS
    assert (run["status"], run["livemode"], run["source"], run["priority"]) == ("queued", True, "api", 7)
    assert (run["workflow"], run["name"], run["metadata"]) == (
        "email-waterfall",
        "Spring",
        {"list": "spring"},
    )
    assert run["records"] == {
        "total": 3, "queued": 3, "running": 0, "found": 0, "not_found": 0, "done": 0, "failed": 0, "skipped": 0,
        "cancelled": 0,
    }  # fmt: skip
    assert run["credits"] == {"estimated": 12.0, "reserved": 0.0, "spent": 0.0, "limit": 12.345}
    assert run["estimated_finish"] > run["created_at"]
    with tenant_scope(tenant):
        assert Run.objects.get().credit_limit == 12_345
        assert Record.objects.count() == 3


def test_a_workflow_goes_by_its_id_as_well(api, connected, tenant):
    with tenant_scope(tenant):
        workflow = Workflow.objects.get(slug="email-waterfall")
    assert start(api, workflow=str(workflow.pk)).status_code == 202


def test_a_faulty_record_fails_alone_with_a_named_error(api, connected):
    run = start(api, [contact(1), {"first_name": "Ada"}, {}]).json()
    assert (run["records"]["queued"], run["records"]["failed"]) == (1, 2)
    records = api.get(f"/runs/{run['id']}/records").json()["data"]
    assert [(r["status"], r["error"] and r["error"]["code"]) for r in records] == [
        ("queued", None),
        ("failed", "missing_name"),
        ("failed", "empty"),
    ]


@pytest.mark.parametrize(
    ("record", "code"),
    [
        ({"full_name": "x" * 10_000, "domain": "x.example"}, "too_long"),
        ({"full_name": "Ada\0Byron", "domain": "x.example"}, "nul_byte"),
        ({"full_name": "Ada\ud800Byron", "domain": "x.example"}, "bad_text"),
        ({"full_name": ["Ada"], "domain": "x.example"}, "not_text"),
        ({"full_name": "Ada Byron", "domain": "not a domain"}, "bad_domain"),
        ({"full_name": "Ada Byron", "domain": "x.example", "note\0": "x"}, "bad_text"),
    ],
)
def test_what_cannot_be_used_or_stored_is_named(api, connected, record, code):
    run = start(api, [record, contact(1)]).json()
    (failed,) = api.get(f"/runs/{run['id']}/records?status=failed").json()["data"]
    assert failed["error"]["code"] == code
    assert run["records"]["queued"] == 1


def test_an_unknown_workflow_is_named(api, connected):
    answer = start(api, workflow="no-such\0thing")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    answer = start(api, workflow="no-such-thing")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_workflow")


def test_1001_records_are_too_many_and_1000_are_not(api, connected, tenant):
    answer = start(api, 1_001)
    assert (answer.status_code, answer.json()["code"]) == (422, "too_many_records")
    assert start(api, 1_000).json()["records"]["total"] == 1_000
    with tenant_scope(tenant):
        assert Run.objects.count() == 1


def test_a_missing_connection_is_named(api, tenant):
    make_connection(tenant, "prospeo")
    answer = start(api)
    assert (answer.status_code, answer.json()["code"]) == (422, "missing_connection")
    assert {error["message"] for error in answer.json()["errors"]} == {
        "No connection for Findymail.",
        "No connection for ZeroBounce.",
    }


def test_a_test_key_reaches_sandbox_connections_alone(tenant, test_key):
    connect_all(tenant, mode="live")
    test_api = Api(test_key)
    assert start(test_api).json()["code"] == "missing_connection"
    connect_all(tenant, mode="sandbox")
    assert start(test_api).json()["livemode"] is False


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"priority": 10}, "priority"),
        ({"priority": -1}, "priority"),
        ({"priority": "high"}, "priority"),
        ({"priority": 1.5}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": 10**30}, "priority"),
        ({"credit_limit": -1}, "credit_limit"),
        ({"credit_limit": "many"}, "credit_limit"),
        ({"credit_limit": 0.0001}, "credit_limit"),
        ({"credit_limit": 10**30}, "credit_limit"),
        ({"credit_limit": "NaN"}, "credit_limit"),
        ({"callback_url": "ftp://x.example/"}, "callback_url"),
        ({"callback_url": "https://"}, "callback_url"),
        ({"callback_url": "http://[::1"}, "callback_url"),
        ({"callback_url": "https://x.example:99999999/"}, "callback_url"),
        ({"callback_url": "https://x.example/a b"}, "callback_url"),
        ({"callback_url": "https://x.example/" + "x" * 600}, "callback_url"),
        ({"callback_url": 5}, "callback_url"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"x": "y" * 20_000}}, "metadata"),
        ({"records": {}}, "records"),
        ({"records": []}, "records"),
        ({"records": ["Ada"]}, "records.0"),
        ({"records": None}, "records"),
        ({"workflow": None}, "workflow"),
        ({"workflow": ""}, "workflow"),
        ({"workflow": {"id": 1}}, "workflow"),
        ({"workflow": "x" * 65}, "workflow"),
        ({"upload": SOME_ID}, "records"),
        ({"mapping": {"domain": "Website"}}, "mapping"),
        ({"name": "x" * 201}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"name": "a\ud800"}, "name"),
        ({"credit_limt": 5}, "credit_limt"),
        ({"a\0b\ud800": 5}, "a\ufffdb?"),
    ],
)
def test_each_field_that_does_not_fit_is_named(api, connected, tenant, change, field):
    answer = start(api, **change)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert field in [error["field"] for error in answer.json()["errors"]]
    with tenant_scope(tenant):
        assert not Run.objects.exists()


def test_a_body_without_workflow_or_records_names_both(api, connected):
    answer = api.post("/runs", {})
    assert {error["field"] for error in answer.json()["errors"]} == {"workflow"}
    answer = api.post("/runs", {"workflow": "email-waterfall"})
    assert {error["field"] for error in answer.json()["errors"]} == {"records"}


def test_metadata_comes_back_but_for_what_cannot_be_stored(api, connected):
    given = {"deep": {"list": [1, 2.5, None, True]}, "nul\0": "a\0b", "half": "\ud800", "big": 10**100}
    run = start(api, metadata=given).json()
    assert run["metadata"] == {
        "deep": {"list": [1, 2.5, None, True]},
        "nul\ufffd": "a\ufffdb",
        "half": "\ufffd",
        "big": 10**100,
    }


def ids(page):
    return [run["id"] for run in page["data"]]


def test_the_list_has_the_newest_first_and_pages_both_ways(api, connected, tenant):
    made = [str(make_run(tenant).pk) for _ in range(5)][::-1]
    first = api.get("/runs?limit=2").json()
    second = api.get(first["next"]).json()
    third = api.get(second["next"]).json()
    assert [ids(first), ids(second), ids(third)] == [made[:2], made[2:4], made[4:]]
    assert (first["previous"], third["next"]) == (None, None)
    back = api.get(third["previous"]).json()
    assert ids(back) == made[2:4]
    front = api.get(back["previous"]).json()
    assert ids(front) == made[:2]
    assert front["previous"] is None
    assert ids(api.get(front["next"]).json()) == made[2:4]


def test_pages_stay_stable_while_runs_are_added(api, connected, tenant):
    made = [str(make_run(tenant).pk) for _ in range(3)]
    first = api.get("/runs?limit=2").json()
    make_run(tenant)
    assert [run["id"] for run in api.get(first["next"]).json()["data"]] == [made[0]]


def test_the_list_can_be_narrowed_to_a_status_and_keeps_it_on_the_next_page(api, connected, tenant):
    paused = [str(make_run(tenant).pk) for _ in range(3)]
    make_run(tenant)
    with tenant_scope(tenant):
        Run.objects.filter(pk__in=paused).update(status="paused")
    first = api.get("/runs?status=paused&limit=2").json()
    assert [run["id"] for run in (*first["data"], *api.get(first["next"]).json()["data"])] == paused[::-1]


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=201", "limit=x", "limit=-1", "limit=99999999999", "limit="),
        *("cursor=x", "cursor=YXg", "cursor=%00", "cursor=é", "status=nope", "status="),
    ],
)
def test_a_query_that_makes_no_sense_is_named(api, connected, query):
    answer = api.get(f"/runs?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert answer.json()["errors"][0]["field"] == query.split("=")[0]


@pytest.mark.parametrize(
    ("verb", "status", "then"),
    [("pause", "paused", "running"), ("cancel", "cancelled", None)],
)
def test_a_run_is_paused_resumed_and_cancelled(api, connected, tenant, verb, status, then):
    run = start(api, 2).json()
    with tenant_scope(tenant):
        Run.objects.update(status="running")
    answer = api.post(f"/runs/{run['id']}/{verb}")
    assert (answer.status_code, answer.json()["status"]) == (200, status)
    if then:
        assert api.post(f"/runs/{run['id']}/resume").json()["status"] == then
    else:
        assert answer.json()["records"]["cancelled"] == 2
        again = api.post(f"/runs/{run['id']}/cancel")
        assert (again.status_code, again.json()["code"]) == (409, "run_is_final")


@pytest.mark.parametrize("path", ["", "/records", "/results.csv", "/results.jsonl", f"/records/{SOME_ID}"])
def test_a_run_that_is_not_there_is_not_found(api, connected, path):
    answer = api.get(f"/runs/{SOME_ID}{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("count", [1, 20])
def test_listing_runs_takes_as_many_queries_for_one_as_for_many(
    api, connected, tenant, count, django_assert_max_num_queries
):
    for _ in range(count):
        make_run(tenant)
    api.get("/runs")
    with django_assert_max_num_queries(11):  # the workflows come by themselves: see queries.runs
        assert len(api.get("/runs").json()["data"]) == count


def test_one_run_takes_few_queries(api, connected, tenant, django_assert_max_num_queries):
    run = make_run(tenant)
    api.get("/tenant")  # the first use of a key is noted
    with django_assert_max_num_queries(11):
        api.get(f"/runs/{run.pk}")

"""The same key and body have one effect, however often and however much at once they are sent."""

import threading
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from tenants.api import once
from tenants.scope import tenant_scope
from tests.client import Api
from tests.factories import connect_all, contact, make_key
from workflows.models import IdempotencyKey, Run, Upload, Workflow
from workflows.operations import answer_once
from workflows.operations.accept_run import accept_run

BODY = {"workflow": "email-waterfall", "records": [contact(1)], "metadata": {"b": 1, "a": 2}}
CSV = b"First Name,Last Name,Website\nAda,Byron,engines.example\n"


@pytest.fixture
def connected(tenant):
    return connect_all(tenant)


def test_the_same_key_and_body_get_the_same_answer(api, connected, tenant):
    first = api.post("/runs", BODY, Idempotency_Key="order-1")
    again = api.post("/runs", BODY, Idempotency_Key="order-1")
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.content == first.content
    assert "Idempotency-Replayed" not in first
    assert again["Idempotency-Replayed"] == "true"
    with tenant_scope(tenant):
        assert Run.objects.count() == 1


def test_the_order_of_names_in_the_body_is_of_no_account(api, connected):
    first = api.post("/runs", BODY, Idempotency_Key="order-1")
    again = api.post("/runs", dict(reversed(BODY.items())), Idempotency_Key="order-1")
    assert again.content == first.content


def test_the_same_key_with_another_body_is_refused(api, connected, tenant):
    api.post("/runs", BODY, Idempotency_Key="order-1")
    answer = api.post("/runs", BODY | {"priority": 6}, Idempotency_Key="order-1")
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")
    with tenant_scope(tenant):
        assert Run.objects.count() == 1


def test_another_key_or_none_makes_another_run(api, connected, tenant):
    api.post("/runs", BODY, Idempotency_Key="order-1")
    api.post("/runs", BODY, Idempotency_Key="order-2")
    api.post("/runs", BODY)
    api.post("/runs", BODY)
    with tenant_scope(tenant):
        assert Run.objects.count() == 4


def test_a_refused_request_may_be_put_right_under_its_key(api, tenant):
    assert api.post("/runs", BODY, Idempotency_Key="order-1").json()["code"] == "missing_connection"
    connect_all(tenant)
    answer = api.post("/runs", BODY, Idempotency_Key="order-1")
    assert answer.status_code == 202
    assert "Idempotency-Replayed" not in answer


def test_keys_of_tenants_and_of_modes_are_apart(api, connected, other_tenant, test_key):
    first = api.post("/runs", BODY, Idempotency_Key="order-1").json()
    connect_all(other_tenant)
    theirs = Api(make_key(other_tenant)).post("/runs", BODY, Idempotency_Key="order-1")
    assert theirs.status_code == 202
    assert theirs.json()["id"] != first["id"]
    assert (
        Api(test_key).post("/runs", BODY, Idempotency_Key="order-1").json()["code"] == "idempotency_mismatch"
    )


def test_a_key_is_good_for_a_day(api, connected, tenant):
    first = api.post("/runs", BODY, Idempotency_Key="order-1").json()
    with tenant_scope(tenant):
        IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=24, seconds=1))
    second = api.post("/runs", BODY | {"priority": 1}, Idempotency_Key="order-1")
    assert second.status_code == 202
    assert second.json()["id"] != first["id"]
    assert (
        api.post("/runs", BODY | {"priority": 1}, Idempotency_Key="order-1").json()["id"]
        == second.json()["id"]
    )


@pytest.mark.parametrize("key", ["", " leading", "x" * 256, "tab\there", "caf\u00e9"])
def test_a_key_that_is_none_is_named(api, connected, key):
    answer = api.post("/runs", BODY, Idempotency_Key=key)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


def test_an_upload_is_made_once(api, tenant):
    first = api.upload(CSV, Idempotency_Key="file-1")
    again = api.upload(CSV, Idempotency_Key="file-1")
    other = api.upload(CSV + b"Bo,Li,y.example\n", Idempotency_Key="file-1")
    assert (first.status_code, again.content, again["Idempotency-Replayed"]) == (201, first.content, "true")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    with tenant_scope(tenant):
        assert Upload.objects.count() == 1


def test_twins_at_the_same_time_make_one_run(committed, tenant, connected, api_key):
    barrier = threading.Barrier(8)
    answers = []

    def send():
        try:
            barrier.wait(timeout=10)
            answers.append(Api(api_key).post("/runs", BODY, Idempotency_Key="order-1"))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    with tenant_scope(tenant):
        run = Run.objects.get()
    assert len(answers) == 8
    assert {answer.status_code for answer in answers} <= {202, 409}
    for answer in answers:
        if answer.status_code == 202:
            assert answer.json()["id"] == str(run.pk)
        else:
            assert answer.json()["code"] == "idempotency_in_progress"


def test_a_twin_of_a_request_under_way_is_told_so(committed, tenant, connected, api_key):
    inside, done = threading.Event(), threading.Event()

    def slow():
        def make():
            inside.set()
            assert done.wait(timeout=20)
            return once.Answer(202, "{}")

        try:
            with tenant_scope(tenant):
                answer_once.answer_once(key="order-1", request_hash=b"x" * 32, make=make)
        finally:
            connections.close_all()

    first = threading.Thread(target=slow)
    first.start()
    assert inside.wait(timeout=10)
    answer = Api(api_key).post("/runs", BODY, Idempotency_Key="order-1")
    other = Api(api_key).post("/runs", BODY, Idempotency_Key="order-2")
    done.set()
    first.join(timeout=10)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_in_progress")
    assert other.status_code == 202


def test_a_request_that_died_half_way_leaves_its_key_free(committed, tenant, connected, api_key):
    def die():
        accept_run(
            workflow=Workflow.objects.get(slug="email-waterfall"),
            records=[contact(1)],
            actor="system:tests",
            source="api",
            livemode=True,
        )
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), tenant_scope(tenant):
        answer_once.answer_once(key="order-1", request_hash=b"x" * 32, make=die)
    assert Api(api_key).post("/runs", BODY, Idempotency_Key="order-1").status_code == 202
    with tenant_scope(tenant):
        assert Run.objects.count() == 1

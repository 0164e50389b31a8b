"""Whatever is sent, the answer is a named refusal or a run: never a fault of ours."""

import json
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.client import Api
from tests.factories import connect_all, contact

SLOW = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    database=None,
)
TEXT = st.one_of(
    st.text(st.characters(codec=None, categories=None), max_size=40),
    st.sampled_from(
        ["", " ", "\0", "\ud800", "\udfff\ud800", "x" * 10_000, "=1+1", "é́", "\u202e", "null", "-", "@"]
    ),
)
SCALAR = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**40), 10**40),
    st.floats(),
    st.sampled_from([10**4000, 1e308]),
    TEXT,
)
JSON = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["first_name", "last_name", "full_name", "company", "domain", "linkedin_url", "email", "note"]
)
RECORD = st.dictionaries(FIELDS | TEXT, JSON, max_size=6)


def dumped(value):
    """JSON text as a hostile client writes it: lone surrogates and NaN included."""
    return json.dumps(value).encode()


def assert_answered(answer):
    assert answer.status_code < 500
    if answer.status_code >= 400:
        assert answer["Content-Type"] == "application/problem+json"
        assert answer.json()["code"]


@pytest.fixture
def ready(tenant, api_key):
    connect_all(tenant)
    return Api(api_key)


@SLOW
@given(records=st.lists(RECORD, min_size=1, max_size=4))
def test_any_record_is_taken_or_fails_with_a_name(ready, records):
    answer = ready.send("POST", "/runs", dumped({"workflow": "email-waterfall", "records": records}))
    assert_answered(answer)
    if answer.status_code != 202:
        assert answer.json()["code"] == "invalid_json"
        return
    run = answer.json()
    counts = run["records"]
    assert counts["total"] == len(records) == counts["queued"] + counts["failed"] + counts["not_found"]
    page = ready.get(f"/runs/{run['id']}/records?status=failed").json()["data"]
    assert all(record["error"]["code"] and record["error"]["message"] for record in page)
    for ending in ("csv", "jsonl"):
        assert b"".join(ready.get(f"/runs/{run['id']}/results.{ending}").streaming_content)


@SLOW
@given(body=JSON | st.fixed_dictionaries({}, optional={
    "workflow": JSON | st.just("email-waterfall"), "records": JSON, "upload": JSON, "mapping": JSON,
    "priority": JSON, "credit_limit": JSON, "callback_url": JSON, "metadata": JSON, "name": JSON,
}))  # fmt: skip
def test_any_body_of_a_run_is_answered(ready, body):
    assert_answered(ready.send("POST", "/runs", dumped(body)))


@SLOW
@given(field=st.sampled_from(["priority", "credit_limit", "callback_url", "metadata", "name"]), value=JSON)
def test_any_value_of_one_field_is_answered(ready, field, value):
    body = {"workflow": "email-waterfall", "records": [contact(1)], field: value}
    assert_answered(ready.send("POST", "/runs", dumped(body)))


@SLOW
@given(body=st.fixed_dictionaries({"provider": JSON | st.just("prospeo"), "secret": JSON | st.just("key-12345")}, optional={
    "mode": JSON, "windows": JSON | st.lists(st.dictionaries(st.sampled_from(["rate", "period", "group"]), JSON)),
    "rate": JSON, "period": JSON, "parallelism": JSON, "price_per_credit": JSON, "currency": JSON,
    "on_ambiguous": JSON, "name": JSON,
}))  # fmt: skip
def test_any_connection_is_answered(ready, body):
    assert_answered(ready.send("POST", "/connections", dumped(body)))


@SLOW
@given(
    content=st.binary(max_size=300) | TEXT.map(lambda text: text.encode("utf-8", "surrogatepass")), name=TEXT
)
def test_any_file_is_answered(ready, content, name):
    assert_answered(ready.upload(content, name.encode("utf-8", "replace").decode().replace("/", "_") or "x"))


@SLOW
@given(raw=st.binary(max_size=200))
def test_any_bytes_are_answered(ready, raw):
    for path in ("/runs", "/connections"):
        assert_answered(ready.send("POST", path, raw or b" ", Content_Type="application/json"))


@SLOW
@given(raw=st.binary(max_size=200))
def test_any_form_is_answered(ready, raw):
    content_type = "multipart/form-data; boundary=x"
    assert_answered(ready.send("POST", "/uploads", b"--x\r\n" + raw, Content_Type=content_type))


@SLOW
@given(cursor=TEXT, limit=TEXT, status=TEXT)
def test_any_query_is_answered(ready, cursor, limit, status):
    query = "&".join(
        f"{name}={quote(value.encode('utf-8', 'surrogatepass'))}"
        for name, value in (("cursor", cursor), ("limit", limit), ("status", status))
    )
    assert_answered(ready.get(f"/runs?{query}"))
    assert_answered(ready.get(f"/usage?period={quote(cursor.encode('utf-8', 'surrogatepass'))}"))


def test_nine_megabytes_of_records_are_taken(ready):
    notes = {f"note {number}": "x" * 1_900 for number in range(5)}
    records = [contact(number, **notes) for number in range(1_000)]
    answer = ready.post("/runs", {"workflow": "email-waterfall", "records": records})
    assert answer.status_code == 202
    assert answer.json()["records"]["queued"] == 1_000

"""The suppression list over the API: whom it covers, and that they are neither asked about nor delivered."""

from typing import Any

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from billing.models import UsageEvent
from integrations.outcomes import Done
from integrations.suppression_keys import keys_of, read_entry
from tenants.models import AuditEvent, Tenant
from tenants.scope import tenant_scope
from tests.client import Api
from tests.factories import connect_all, make_run
from tests.workflows.lanes.helpers import again
from tests.workflows.lanes.test_recovery import Hand
from workflows.lanes import settle
from workflows.lanes.outcome import suppressed
from workflows.lanes.work import Batch
from workflows.models import Record, Step, StepQueue

ADA = {"first_name": "Ada", "last_name": "Byron", "domain": "engines.example"}


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("Ada@Engines.EXAMPLE", "address", "ada@engines.example"),
        ("<ada@bücher.example>", "address", "ada@xn--bcher-kva.example"),
        ("https://www.Engines.example/about", "domain", "engines.example"),
        ("@engines.example", "domain", "engines.example"),
        ("https://de.linkedin.com/in/Ada-Byron/?x=1", "person", "linkedin.com/in/ada-byron"),
        ("Ada  Byron, engines.example", "person", "Ada Byron, engines.example"),
        ("Ada Byron, Analytical Engines", "person", "Ada Byron, Analytical Engines"),
    ],
)
def test_a_line_is_read_as_what_it_is(text: str, kind: str, value: str) -> None:
    entry = read_entry(text)
    assert entry is not None
    assert (entry.kind, entry.value) == (kind, value)
    assert read_entry(entry.value) == entry, "what is shown can be entered again"


@pytest.mark.parametrize("text", ["", "Ada", "Ada Byron", "localhost", "ada@", "x" * 501, "a b c"])
def test_what_names_nobody_is_refused(text: str) -> None:
    assert read_entry(text) is None


@pytest.mark.parametrize(
    ("line", "hit"),
    [
        ("engines.example", True),
        ("example", False),
        ("ADA BYRON, engines.example", True),
        ("Ada Byron, other.example", False),
        ("ada@mail.engines.example", True),
        ("linkedin.com/in/ada", True),
    ],
)
def test_whom_an_entry_covers(line: str, hit: bool) -> None:
    values = {**ADA, "email": "ada@mail.engines.example", "linkedin_url": "https://linkedin.com/in/Ada"}
    entry = read_entry(line)
    assert (entry is not None and entry.key in keys_of(values, subdomains=True)) == hit
    below = read_entry("engines.example")
    assert below is not None
    assert (below.key in keys_of({"email": "a@mail.engines.example"}, subdomains=False)) is False


def test_the_list_is_kept_over_the_api(api: Api, other_api: Api, tenant: Tenant) -> None:
    added = api.post("/suppressions", {"values": ["ada@engines.example", "ADA@engines.example", "x.example"]})
    assert (added.status_code, added.json()["added"], added.json()["known"]) == (201, 2, 1)
    assert api.post("/suppressions", {"value": "x.example"}).json()["known"] == 1
    page = api.get("/suppressions?limit=1").json()
    assert [row["value"] for row in page["data"]] == ["ada@engines.example"]
    assert page["next"]
    assert [row["value"] for row in api.get("/suppressions?value=X.example").json()["data"]] == ["x.example"]
    assert api.get("/suppressions?kind=person").json()["data"] == []
    assert other_api.get("/suppressions").json()["data"] == []
    one = page["data"][0]["id"]
    assert other_api.delete(f"/suppressions/{one}").status_code == 404
    assert api.delete(f"/suppressions/{one}").status_code == 204
    assert api.delete("/suppressions?value=x.example").status_code == 204
    assert api.delete("/suppressions?value=x.example").status_code == 404
    faulty = api.post("/suppressions", {"values": ["ok.example", "nobody"]})
    assert (faulty.status_code, faulty.json()["errors"][0]["field"]) == (422, "values.1")
    assert api.get("/suppressions").json()["data"] == [], "none is added where one is faulty"
    with tenant_scope(tenant):
        trail = AuditEvent.objects.filter(verb__startswith="suppressions.")
        assert "engines" not in str([entry.detail for entry in trail])


def test_a_test_key_reads_the_list_and_does_not_change_it(test_key: str, api: Api) -> None:
    api.post("/suppressions", {"value": "x.example"})
    mine = Api(test_key)
    assert len(mine.get("/suppressions").json()["data"]) == 1
    assert mine.post("/suppressions", {"value": "y.example"}).json()["code"] == "live_key_needed"


def test_who_is_on_the_list_is_skipped_when_a_run_is_accepted_and_not_billed(
    api: Api, tenant: Tenant
) -> None:
    connect_all(tenant)
    api.post("/suppressions", {"value": "Ada Byron, engines.example"})
    run = make_run(tenant, [ADA, {**ADA, "first_name": "Grace"}])
    with tenant_scope(tenant):
        records = list(Record.objects.filter(run=run).order_by("position"))
        assert [record.status for record in records] == ["skipped", "queued"]
        assert records[0].error["code"] == "suppressed"
        assert StepQueue.objects.count() == UsageEvent.objects.filter(kind="record").count() == 1
    assert (again(run).skipped, again(run).pending) == (1, 1)


def added_later(api: Api, tenant: Tenant, line: str) -> tuple[Any, Hand, Any]:
    connect_all(tenant)
    run = make_run(tenant, [ADA])
    hand = Hand(tenant)
    [work] = hand.claim()
    api.post("/suppressions", {"value": line})
    return run, hand, work


@pytest.mark.usefixtures("committed")
def test_who_comes_onto_the_list_later_is_not_asked_about(api: Api, tenant: Tenant) -> None:
    run, hand, work = added_later(api, tenant, "engines.example")
    flushed = settle.flush(Batch(stamps=[(work, 30.0, 1_000)]), hand.holder)
    assert (flushed.stamped, flushed.suppressed) == (set(), {work.id})
    hand.settle([suppressed(work)])
    with tenant_scope(tenant):
        record, step = Record.objects.get(), Step.objects.get()
        assert sum(UsageEvent.objects.filter(kind="record").values_list("quantity", flat=True)) == 0
    assert (record.status, record.error["code"]) == ("skipped", "suppressed")
    assert (step.outcome, step.credits) == ("suppressed", 0)
    assert (again(run).status, again(run).credits_spent) == ("completed", 0)


@pytest.mark.usefixtures("committed")
def test_an_address_on_the_list_is_not_delivered_and_not_verified(api: Api, tenant: Tenant) -> None:
    run, hand, work = added_later(api, tenant, "found@elsewhere.example")
    hand.stamp([work])
    found = Done({"email": "found@elsewhere.example", "email_status": "valid"}, credits=1_000)
    hand.settle([hand.answer(work, found)])
    with tenant_scope(tenant):
        record, step = Record.objects.get(), Step.objects.get()
        assert not StepQueue.objects.exists(), "the verifier is not asked"
    assert (record.status, record.output, record.credits) == ("skipped", None, 1_000)
    assert step.answer == {"withheld": True}
    answer = api.get(f"/runs/{run.pk}/records").content.decode() + "".join(
        part.decode() for part in api.get(f"/runs/{run.pk}/results.csv").streaming_content
    )
    assert "found@elsewhere" not in answer


@pytest.mark.usefixtures("committed")
def test_without_a_list_there_is_no_query_for_it(tenant: Tenant) -> None:
    connect_all(tenant)
    make_run(tenant, [ADA])
    hand = Hand(tenant)
    with CaptureQueriesContext(connections["default"]) as queries:
        hand.stamp(hand.claim())
    assert not [q for q in queries if "FROM integrations_suppression WHERE" in q["sql"]]

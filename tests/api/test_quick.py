"""What is read and shown by hand for POST /runs is what the serializers make of it, and none of it grows with the runs."""

import json
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest
from django.db import connections
from hypothesis import given, settings
from hypothesis import strategies as st

from tenants.api.base import read_body
from tenants.errors import InvalidInput
from tenants.scope import APP_ALIAS, tenant_scope
from tests.factories import connect_all, contact, make_run
from workflows import estimates
from workflows.api import quick
from workflows.api.serializers import RunBody, RunSerializer
from workflows.models import LaneRun, Run

USUAL = {"workflow": "email-waterfall", "records": [{"domain": "x.example"}]}
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 12), st.floats(allow_nan=False), st.text(max_size=8),
    st.just([]), st.just({}), st.just({"a": [1, None]}), st.just([{"b": 1}, 2]), st.just("x" * 300),
)  # fmt: skip
BESIDE = ("SELECT set_config", "SAVEPOINT", "RELEASE SAVEPOINT")
FIELDS = (
    "workflow",
    "records",
    "priority",
    "metadata",
    "name",
    "callback_url",
    "credit_limit",
    "upload",
    "unknown",
)


def outcome(read, body):
    try:
        return read(body)
    except InvalidInput as error:
        return error.detail, list(error.errors)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=4), st.booleans())
def test_any_body_reads_as_the_serializer_reads_it(changes, from_a_sound_one):
    body = {**USUAL, **changes} if from_a_sound_one else changes
    assert outcome(quick.read_run_body, body) == outcome(lambda data: read_body(RunBody, data), body)


@pytest.mark.parametrize(
    "body", [USUAL, {**USUAL, "priority": 9, "name": "June", "metadata": {"deep": [1, {"x": None}]}}]
)
def test_the_usual_body_needs_no_serializer(body):
    with patch.object(quick, "read_body", side_effect=AssertionError):
        assert quick.read_run_body(body) == body


@pytest.mark.parametrize("body", [[], None, "x", 5])
def test_what_is_no_object_is_refused_as_before(body):
    with pytest.raises(InvalidInput, match="JSON object"):
        quick.read_run_body(body)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"status": "completed", "found": 2, "failed": 1, "credits_spent": 1_501, "credit_limit": 12_345},
        {"error": "The file is gone.", "name": "Spring", "metadata": {"a": [1, {"b": None}]}, "livemode": False},
        {"finished_at": datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC), "started_at": datetime(2026, 2, 3, tzinfo=UTC)},
    ],
)  # fmt: skip
def test_a_run_is_shown_as_the_serializer_shows_it(tenant, change):
    connect_all(tenant)
    run = make_run(tenant)
    for name, value in change.items():
        setattr(run, name, value)
    finish = run.created_at + timedelta(seconds=3)
    with tenant_scope(tenant):
        slow = RunSerializer(run, context={"finishes": {run.pk: finish}}).data
        assert json.loads(json.dumps(slow)) == quick.run_shape(run, finish)


def test_a_crowded_lane_tells_no_finish_and_is_read_no_further(tenant, monkeypatch):
    connect_all(tenant)
    monkeypatch.setattr(estimates, "_MOST_RIVALS", 3)
    for expected in (True, False):
        estimates._outlooks.clear()
        runs = [make_run(tenant) for _ in range(3)]
        with tenant_scope(tenant):
            assert (estimates.first_finish(runs[-1]) is not None) == expected


def test_new_runs_that_are_alike_are_foreseen_once(tenant, monkeypatch):
    """The one that the lanes were looked at for is in nobody's way but those that come after it."""
    connect_all(tenant)
    estimates._outlooks.clear()
    rivals = []
    forecast = estimates.forecast

    def noted(*args):
        rivals.append(args[3])
        return forecast(*args)

    monkeypatch.setattr(estimates, "forecast", noted)
    runs = [make_run(tenant), make_run(tenant), make_run(tenant), make_run(tenant, priority=9)]
    with tenant_scope(tenant):
        LaneRun.objects.exclude(run_id=runs[0].pk).delete()
        finishes = [estimates.first_finish(run) for run in (*runs, runs[2])]
    assert None not in finishes
    ahead = [{len(there) for there in others.values()} for others in rivals]
    assert ahead == [{0}, {0, 1}, {0, 1}], "the first, those like the second, the urgent one"


def test_a_new_run_starts_level_with_the_least_served_of_its_lane(tenant):
    connect_all(tenant)
    first, second = make_run(tenant), make_run(tenant)
    with tenant_scope(tenant):
        LaneRun.objects.filter(run_id=first.pk).update(vtime=7)
        LaneRun.objects.filter(run_id=second.pk).update(vtime=5)
    third = make_run(tenant)
    with tenant_scope(tenant):
        assert LaneRun.objects.get(run_id=third.pk).vtime == 5
        LaneRun.objects.exclude(run_id=first.pk).update(state="paused")
    fourth = make_run(tenant)
    with tenant_scope(tenant):
        assert LaneRun.objects.get(run_id=fourth.pk).vtime == 7


def test_accepting_takes_two_statements_however_many_records(api, tenant):
    """What there is to know, and everything that is written; beside them the scope is entered."""
    connect_all(tenant)
    for count in (1, 200):
        body = {"workflow": "email-waterfall", "records": [contact(number) for number in range(count)]}
        api.post("/runs", body)
        seen: list[str] = []

        def see(execute, statement, *rest, into=seen):
            into.append(statement)
            return execute(statement, *rest)

        with connections[APP_ALIAS].execute_wrapper(see):
            assert api.post("/runs", body).status_code == 202
        told = [statement for statement in seen if not statement.startswith(BESIDE)]
        assert len(told) == 2, told
    with tenant_scope(tenant):
        assert Run.objects.count() == 4

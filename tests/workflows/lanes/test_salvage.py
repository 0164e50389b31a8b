"""An answer that PostgreSQL does not take ends its own record and holds up nobody else's."""

import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from django.db import (
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
)
from psycopg import errors

from integrations.outcomes import Done
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.chaos.campaign import admin_url
from tests.factories import make_connection, make_tenant
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import again, people, start, wait
from tests.workflows.lanes.test_recovery import Hand
from workflows.lanes import salvage, settle
from workflows.lanes.runner import Runner
from workflows.lanes.work import Batch
from workflows.models import Record, Step, StepQueue

# A character that JSON has and PostgreSQL's text has not.
POISON = Done({"email": "ada@engine.example", "note": "\0"}, credits=1000)


def test_the_others_of_its_batch_are_written_and_its_record_ends(tenant: Tenant, vendors: Sandbox) -> None:
    hand = Hand(tenant)
    run = start(tenant, people(3))
    works = hand.claim()
    hand.stamp(works[:2])
    batch = Batch(
        settlements=[hand.answer(works[0], POISON), hand.answer(works[1])], stamps=[(works[2], 30.0, 1000)]
    )
    with pytest.raises(DataError):
        settle.flush(batch, hand.holder)
    flushed = salvage.flush_apart(batch, hand.holder)
    assert flushed.stamped == {works[2].id}
    with tenant_scope(tenant):
        failed = Record.objects.get(run=run, status="failed")
        assert (failed.pk, failed.error["code"]) == (works[0].record_id, "internal_error")
        assert sorted(Step.objects.values_list("status", "credits")) == [("dead", 1000), ("done", 1000)]
        assert StepQueue.objects.filter(name="verify:zerobounce").count() == 1
    salvage.flush_apart(batch, hand.holder)
    with tenant_scope(tenant):
        assert Step.objects.count() == 2, "written once, however often it is tried"


def test_what_is_refused_even_without_its_answer_is_dropped(tenant: Tenant, vendors: Sandbox) -> None:
    hand = Hand(tenant)
    start(tenant, people(2))
    works = hand.claim()
    hand.stamp(works)
    lost = hand.answer(works[0])
    lost.http_status = 10**9  # no small integer
    flushed = salvage.flush_apart(Batch(settlements=[lost, hand.answer(works[1])]), hand.holder)
    assert flushed.late == 1
    with tenant_scope(tenant):
        assert Step.objects.count() == 1


def test_a_runner_goes_on_with_everything_else(
    tenant: Tenant, vendors: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from integrations.connectors.prospeo import Prospeo

    interpret, asked = Prospeo.interpret, []

    def poisoned(self: Prospeo, operation: str, response: object) -> object:
        asked.append(operation)
        return POISON if len(asked) == 3 else interpret(self, operation, response)  # type: ignore[arg-type]

    monkeypatch.setattr(Prospeo, "interpret", poisoned)
    run = start(tenant, people(12))
    runner = Runner()
    runner.start()
    try:
        run = wait(run, seconds=40)
    finally:
        runner.stop()
    assert (run.failed, run.found + run.not_found) == (1, 11)


TOO_MUCH = 1 << 63  # no bigint


@pytest.fixture
def other(committed: None) -> Tenant:
    """Another tenant with the same vendors, behind the same worker."""
    tenant = make_tenant("Other").tenant
    for provider in ("prospeo", "findymail", "zerobounce"):
        make_connection(
            tenant, provider, secret=f"other-{provider}", mode="sandbox", windows=[], parallelism=20
        )
    return tenant


def test_one_tenants_refused_rows_hold_up_nobody_elses_and_not_its_own_good_ones(
    tenant: Tenant, other: Tenant, vendors: Sandbox
) -> None:
    mine, theirs = Hand(tenant), Hand(other)
    run = start(tenant, people(6))
    start(other, people(4))
    works, others = mine.claim(), theirs.claim()
    theirs.holder = mine.holder  # one worker
    theirs.stamp(others[:2])
    batch = Batch(
        settlements=[theirs.answer(others[0])],
        unstamps=[others[1]],
        stamps=[(work, 30.0, TOO_MUCH if work is works[3] else 1000) for work in works]
        + [(work, 30.0, 1000) for work in others[2:]],
    )
    with pytest.raises(DataError):
        settle.flush(batch, mine.holder)
    flushed = salvage.flush_apart(batch, mine.holder)
    assert flushed.stamped == {work.id for work in [*works, *others[2:]] if work is not works[3]}
    assert flushed.kept == []
    with tenant_scope(other):
        assert StepQueue.objects.get(pk=others[1].id).sent_at is None
        assert Step.objects.get().status == "done"
    with tenant_scope(tenant):
        (failed,) = Record.objects.filter(run=run, status="failed")
        assert (failed.pk, failed.error["code"]) == (works[3].record_id, "internal_error")
        assert not StepQueue.objects.filter(pk=works[3].id).exists()
    assert (again(run).failed, again(run).credits_reserved) == (1, 5000)


@pytest.fixture
def broken(tenant: Tenant) -> Iterator[Callable[[], None]]:
    """Something is wrong with one tenant's rows that is in none of them; what is yielded mends it."""
    with psycopg.connect(admin_url(), autocommit=True) as connection:
        connection.execute(
            f"""CREATE FUNCTION broken_here() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    IF NEW.tenant_id = '{tenant.pk}' THEN RAISE EXCEPTION 'broken'; END IF; RETURN NEW; END $$;
                CREATE TRIGGER broken_here BEFORE INSERT ON step FOR EACH ROW EXECUTE FUNCTION broken_here()"""
        )
        mended: list[object] = []

        def mend() -> None:
            if not mended:
                mended.append(
                    connection.execute("DROP TRIGGER broken_here ON step; DROP FUNCTION broken_here")
                )

        yield mend
        mend()


def test_what_somebody_has_in_hand_holds_up_its_own_tenant_alone(
    tenant: Tenant, other: Tenant, vendors: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settle, "LOCK_WAIT", "100ms")
    mine, theirs = Hand(tenant), Hand(other)
    theirs.holder = mine.holder
    runs = start(tenant, people(1)), start(other, people(1))
    works = [*mine.claim(), *theirs.claim()]
    settle.flush(Batch(stamps=[(work, 30.0, 1000) for work in works]), mine.holder)
    batch = Batch(settlements=[mine.answer(work) for work in works])
    with psycopg.connect(admin_url()) as request:
        request.execute("SELECT 1 FROM run WHERE id = %s FOR UPDATE", [runs[0].pk])
        with pytest.raises(OperationalError) as waited:
            settle.flush(batch, mine.holder)
        assert not salvage.is_away(waited.value), "trying again as a whole would hold up both"
        [left] = salvage.flush_apart(batch, mine.holder).kept
    assert [s.work.run.id for s in left.settlements] == [runs[0].pk]
    assert [again(run).credits_spent for run in runs] == [0, 1000]
    salvage.flush_apart(left, mine.holder)
    assert [again(run).credits_spent for run in runs] == [1000, 1000]


def test_what_is_no_rows_fault_is_tried_again_and_the_other_tenants_go_on(
    tenant: Tenant, other: Tenant, vendors: Sandbox, broken: Callable[[], None], runner: Runner
) -> None:
    held_up = start(tenant, people(5))
    until = time.monotonic() + 20
    while len(vendors.calls(key="key-prospeo")) < 5 and time.monotonic() < until:
        time.sleep(0.05)
    for _ in range(2):
        assert wait(start(other, people(3)), seconds=10).found == 3
    assert (again(held_up).status, again(held_up).pending) == ("running", 5)
    broken()
    held_up = wait(held_up, seconds=20)
    assert (held_up.found, held_up.failed) == (5, 0)
    assert vendors.summary(key="key-prospeo")["prospeo"]["repeated"] == 0, "no answer was lost"


def caused(kind: type[Error], cause: Exception) -> Error:
    error = kind("")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OperationalError("the server closed the connection"), "away"),
        (InterfaceError("the connection is closed"), "away"),
        (caused(OperationalError, errors.AdminShutdown()), "away"),
        (caused(OperationalError, errors.DeadlockDetected()), "away"),
        (caused(OperationalError, errors.DiskFull()), "away"),
        (caused(OperationalError, errors.QueryCanceled()), "away"),
        (DataError("a character that PostgreSQL does not take"), "refused"),
        (caused(IntegrityError, errors.CheckViolation()), "refused"),
        (caused(OperationalError, errors.ProgramLimitExceeded()), "refused"),
        (caused(ProgrammingError, errors.CardinalityViolation()), "refused"),
        (caused(ProgrammingError, errors.InsufficientPrivilege()), "neither"),
        (caused(ProgrammingError, errors.UndefinedColumn()), "neither"),
        (caused(InternalError, errors.InternalError_()), "neither"),
    ],
)
def test_what_an_error_says(error: Error, kind: str) -> None:
    assert (salvage.is_away(error), salvage.is_refused(error)) == (kind == "away", kind == "refused")

"""T8 and T16: a worker that is frozen, or cut off from the database, past its lease: it sends nothing more, what it still
has is fenced, and others take over."""

import signal
import time
from urllib.parse import urlsplit

import psutil
import pytest
from django.conf import settings

from tests.chaos.campaign import PROVIDERS, Books, Field, contacts, hold, show, until
from tests.chaos.crew import Crew
from tests.chaos.proxy import proxy

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]


def _calls_after(field: Field, moment: float) -> list[float]:
    """When vendors were asked after a moment of the monotonic clock, which all processes share."""
    return [call["mono"] for call in field.sandbox.calls() if call["mono"] > moment]


def test_a_worker_that_was_frozen_past_its_lease_sends_nothing_and_its_answers_are_fenced(
    field: Field, crew: Crew, books: Books
) -> None:
    """The vendor answers while it is frozen; when it wakes, another worker has taken the steps over."""
    tenant = field.tenant(parallelism=6)
    for provider in PROVIDERS:
        field.sandbox.fault(provider, "slow", seconds=0.3)
    field.run(tenant, contacts(40))
    frozen = crew.start(call_s=5.0)  # it will not give up by itself what the vendor has long answered
    until(lambda: len(books.stamped(frozen.holder)) >= 4, seconds=20, what="calls are under way")
    frozen.send(signal.SIGSTOP)
    stamped = len(books.stamped(frozen.holder))
    heir = crew.start()
    until(lambda: not books.stamped(frozen.holder), seconds=30, what="its steps are taken over")
    field.sandbox.control("DELETE", "faults")
    until(lambda: books.left() <= 20, seconds=30, what="the other one works on")
    heir.send(signal.SIGSTOP)  # from here on every call would be the frozen one's
    time.sleep(0.2)
    stamped += len(books.stamped(heir.holder))
    woken = time.monotonic()
    frozen.send(signal.SIGCONT)
    time.sleep(0.6)
    sent = _calls_after(field, woken)
    heir.send(signal.SIGCONT)
    until(lambda: books.left() == 0, seconds=40, what="all records end")
    found = field.compare()
    show(
        "T16: a frozen worker",
        {"stamped when they froze": stamped, "calls on waking": len(sent), "late answers": found.late,
         "repeated": found.repeated},
    )  # fmt: skip
    assert sent == []
    assert found.late > 0, "its answers are kept and marked"
    hold(found, bound=stamped)


@pytest.mark.parametrize(
    "cut", [pytest.param(False, marks=pytest.mark.campaign), True], ids=["delivered late", "cut"]
)
def test_a_worker_that_the_database_cannot_hear_writes_no_result(
    field: Field, crew: Crew, books: Books, cut: bool
) -> None:
    with proxy(int(settings.DATABASES["default"]["PORT"])) as link:
        tenant = field.tenant(parallelism=6)
        field.run(tenant, contacts(60))
        cut_off = crew.start(database_port=link.port)
        until(lambda: len(books.stamped(cut_off.holder)) >= 4, seconds=20, what="calls are under way")
        link.swallow()
        swallowed = time.monotonic()
        time.sleep(0.1)  # what was on its way has come
        stamped = len(books.stamped(cut_off.holder))
        crew.start()
        until(lambda: not books.stamped(cut_off.holder), seconds=60, what="its steps are taken over")
        resumed = time.monotonic() - swallowed
        until(lambda: books.left() == 0, seconds=60, what="all records end")
        before = books.rows("SELECT count(*) FROM step WHERE status <> 'late'")[0][0]
        link.pass_on(cut=cut)
        time.sleep(1.5)
        after = books.rows("SELECT count(*) FROM step WHERE status <> 'late'")[0][0]
        found = field.compare()
        show(
            "T8: cut off from PostgreSQL",
            {"stamped then": stamped, "resumed after, s": resumed, "results written afterwards": after - before,
             "late answers": found.late, "repeated": found.repeated},
        )  # fmt: skip
        assert after == before
        hold(found, bound=stamped)


@pytest.mark.parametrize(
    "point",
    [
        "settle.written",
        pytest.param("lane.leased", marks=pytest.mark.campaign),
        pytest.param("sweep.written", marks=pytest.mark.campaign),
    ],
)
def test_a_worker_that_freezes_in_the_middle_of_a_transaction_holds_nobody_up(
    field: Field, crew: Crew, books: Books, point: str
) -> None:
    """Whatever it has locked is free again when the database has waited for it long enough."""
    field.run(field.tenant(), contacts(20))
    frozen = crew.start(failpoint=point, freeze=True)
    until(lambda: psutil.Process(frozen.pid).status() == psutil.STATUS_STOPPED, seconds=20, what="it froze")
    stamped = len(books.stamped(frozen.holder))
    crew.start()
    began = time.monotonic()
    until(lambda: books.left() == 0, seconds=25, what="all records end")
    show(f"T16: frozen at {point}", {"the others were done after, s": time.monotonic() - began})
    frozen.send(signal.SIGCONT)
    time.sleep(0.5)
    found = field.compare()
    hold(found, bound=stamped)


@pytest.mark.campaign
@pytest.mark.timeout(900)
@pytest.mark.parametrize("cut", [False, True], ids=["delivered late", "cut"])
def test_a_worker_cut_off_for_a_minute_comes_back_by_itself(
    field: Field, crew: Crew, books: Books, cut: bool
) -> None:
    """With the product's own lease: a Celery worker that hears neither PostgreSQL nor Redis for 60 s."""
    times = {"lease_s": 10.0, "call_s": 5.0, "grace_s": 5.0, "stalled_s": 10}
    redis_url = urlsplit(settings.REDIS_URL)
    assert redis_url.port is not None
    with proxy(int(settings.DATABASES["default"]["PORT"])) as database, proxy(redis_url.port) as broker:
        through = settings.REDIS_URL.replace(f":{redis_url.port}", f":{broker.port}")
        tenant = field.tenant(parallelism=8, windows=[{"rate": 15, "period": 1}])
        field.run(tenant, contacts(600))
        cut_off = crew.start(celery=True, database_port=database.port, broker=through, **times)
        until(lambda: len(books.stamped(cut_off.holder)) >= 4, seconds=60, what="calls are under way")
        database.swallow()
        broker.swallow()
        swallowed = time.monotonic()
        time.sleep(0.1)  # what was on its way has come
        stamped = len(books.stamped(cut_off.holder))
        heir = crew.start(celery=True, **times)
        until(lambda: not books.stamped(cut_off.holder), seconds=60, what="its steps are taken over")
        resumed = time.monotonic() - swallowed
        time.sleep(max(0.0, swallowed + 60 - time.monotonic()))
        mine = "SELECT count(*) FROM step_queue WHERE holder = %s"
        wrote = "SELECT count(*) FROM step WHERE status = 'late'"
        assert books.rows(mine, (cut_off.holder,))[0][0] == 0
        database.pass_on(cut=cut)
        broker.pass_on(cut=cut)
        time.sleep(5)
        late = books.rows(wrote)[0][0]
        crew.kill(heir)
        field.run(tenant, contacts(20, tag="Afterwards"))
        until(
            lambda: books.left() == 0, seconds=500, what="it does the rest, and what comes afterwards, alone"
        )
        found = field.compare()
        show(
            "T8: cut off from PostgreSQL and Redis for 60 s",
            {"stamped then": stamped, "resumed after, s": resumed, "late answers on return": late,
             "lost": found.lost, "billed twice": found.billed_twice, "repeated": found.repeated,
             "in doubt": found.in_doubt, "over a limit": found.over_limit, "books disagree": len(found.faults)},
        )  # fmt: skip
        assert resumed <= 30
        hold(found, bound=stamped)

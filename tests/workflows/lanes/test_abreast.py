"""Shares of many tenants in one transaction: together on the way, apart in what they see and do."""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import pytest
from django.db import DataError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from integrations.outcomes import Done, Miss, Retry
from tenants.models import Tenant
from tenants.scope import enter_asking, tenant_scope
from tests.factories import make_connection, make_tenant
from tests.sandbox import Sandbox
from tests.workflows.lanes.helpers import again, people, start
from tests.workflows.lanes.test_recovery import Hand
from workflows.lanes import abreast, settle
from workflows.lanes.abreast import Share, write_abreast
from workflows.lanes.work import Batch
from workflows.models import Step

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def three(committed: None) -> list[uuid.UUID]:
    return sorted(make_tenant().tenant.pk for _ in range(3))


def written(shares: list[tuple[uuid.UUID, Callable[[Share], None]]]) -> int:
    """Write them; how many messages it took."""
    with transaction.atomic(), messages() as sent:
        enter_asking(connection, shares[0][0], "SELECT 1")
        write_abreast(connection, shares, entered=shares[0][0])
    return len(sent)


@contextmanager
def messages() -> Iterator[list[int]]:
    sent: list[int] = []
    exchange = abreast.exchange

    def counted(*args: Any) -> Any:
        sent.append(1)
        return exchange(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(abreast, "exchange", counted)
        yield sent


def logged_if(logged: bool) -> Any:
    return CaptureQueriesContext(connection) if logged else nullcontext([])


def names(into: dict[uuid.UUID, list[str]], *, times: int = 1) -> Callable[[Share], None]:
    """A share that reads the names of the tenants that it sees, so many times over."""

    def write(share: Share) -> None:
        for _ in range(times):
            share.execute("SELECT %s::text || id FROM tenants_tenant", ["it is "])
            into.setdefault(share.tenant_id, []).extend(row[0] for row in share.fetchall())

    return write


@pytest.mark.parametrize("logged", [False, True], ids=["", "logged"])
def test_each_sees_its_own_tenant_whoever_goes_beside_it(three: list[uuid.UUID], logged: bool) -> None:
    seen: dict[uuid.UUID, list[str]] = {}
    shares = [(tenant_id, names(seen, times=n)) for n, tenant_id in enumerate(three, 1)]
    with logged_if(logged) as queries:
        assert written(shares) == (0 if logged else 3), "as many round trips as the longest share has"
    assert sum("::text || id" in query["sql"] for query in queries) == (6 if logged else 0)
    assert seen == {tenant_id: [f"it is {tenant_id}"] * n for n, tenant_id in enumerate(three, 1)}


def test_what_nobody_asks_rows_of_is_sent_with_the_next_that_somebody_does(three: list[uuid.UUID]) -> None:
    moved: list[Any] = []

    def write(share: Share) -> None:
        for _ in range(3):
            share.execute("UPDATE tenants_tenant SET retention_days = retention_days + 1")
        share.execute("SELECT retention_days FROM tenants_tenant")
        moved.append(share.fetchone())
        share.execute("UPDATE tenants_tenant SET retention_days = retention_days + 10")

    assert written([(tenant_id, write) for tenant_id in three]) == 2
    days = Tenant._meta.get_field("retention_days").default
    assert moved == [(days + 3,)] * 3
    after: dict[uuid.UUID, list[int]] = {}

    def read(share: Share) -> None:
        share.execute("SELECT retention_days FROM tenants_tenant")
        after[share.tenant_id] = [row[0] for row in share.fetchall()]

    written([(tenant_id, read) for tenant_id in three])
    assert after == {tenant_id: [days + 13] for tenant_id in three}


def test_no_row_at_all_is_none(three: list[uuid.UUID]) -> None:
    found: list[Any] = []

    def write(share: Share) -> None:
        share.execute("SELECT 1 WHERE false")
        found.append(share.fetchone())

    written([(three[0], write)])
    assert found == [None]


@pytest.mark.parametrize("logged", [False, True], ids=["", "logged"])
def test_one_that_is_refused_ends_all(three: list[uuid.UUID], logged: bool) -> None:
    ended: list[uuid.UUID] = []

    def write(share: Share) -> None:
        try:
            share.execute("UPDATE tenants_tenant SET retention_days = 500")
            share.execute("SELECT 1 / (%s::int)", [0 if share.tenant_id == three[1] else 1])
            share.fetchall()
            share.fetchall()
        finally:
            ended.append(share.tenant_id)

    shares: list[tuple[uuid.UUID, Callable[[Share], None]]] = [(tenant_id, write) for tenant_id in three]
    for _ in range(2):  # what was to be prepared by the first is no trouble to the second
        with logged_if(logged), pytest.raises(DataError, match="division by zero"):
            written(shares)
        assert sorted(ended) == three
        ended.clear()
    seen: dict[uuid.UUID, list[str]] = {}
    written([(tenant_id, names(seen)) for tenant_id in three])
    assert len(seen) == 3, "the connection is as good as before"


def test_a_fault_of_ours_in_one_share_ends_the_others_too(three: list[uuid.UUID]) -> None:
    ended: list[uuid.UUID] = []

    def write(share: Share) -> None:
        try:
            share.execute("SELECT 1")
            share.fetchall()
            if share.tenant_id == three[0]:
                raise RuntimeError("ours")
            share.fetchall()
        finally:
            ended.append(share.tenant_id)

    with pytest.raises(RuntimeError, match="ours"):
        written([(tenant_id, write) for tenant_id in three])
    assert sorted(ended) == three


@pytest.mark.parametrize("logged", [False, True], ids=["", "logged"])
def test_nobody_goes_on_before_all_have_come_so_far(three: list[uuid.UUID], logged: bool) -> None:
    """What was sent before is written before what comes after, also where nobody asked for rows of it."""
    order: list[tuple[uuid.UUID, str]] = []

    def write(share: Share) -> None:
        for _ in range(three.index(share.tenant_id)):
            share.execute("SELECT 1")
            share.fetchall()
        share.execute("SELECT set_config('weir.order', current_setting('weir.order', true) || 'a', true)")
        order.append((share.tenant_id, "before"))
        share.wait_for_all()
        order.append((share.tenant_id, "after"))
        share.execute("SELECT set_config('weir.order', current_setting('weir.order', true) || 'b', true)")
        share.fetchall()

    with transaction.atomic():
        enter_asking(connection, three[0], "SELECT set_config('weir.order', '', true)")
        shares = [(tenant_id, write) for tenant_id in three]
        with logged_if(logged):
            write_abreast(connection, shares, entered=three[0])
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('weir.order')")
            assert cursor.fetchone() == ("aaabbb",)
    assert order == [(t, "before") for t in three] + [(t, "after") for t in three]


def found(number: int) -> Done:
    return Done({"email": f"a{number}@engine.example"}, credits=1000)


def two_tenants_with_work() -> list[Tenant]:
    tenants = sorted((make_tenant().tenant for _ in range(2)), key=lambda tenant: tenant.pk)
    for tenant in tenants:
        for provider in ("prospeo", "findymail", "zerobounce"):
            make_connection(
                tenant, provider, secret=f"k-{provider}", mode="sandbox", windows=[], parallelism=20
            )
        start(tenant, people(6))
    return tenants


def test_two_processes_that_write_the_same_runs_do_not_wait_for_each_other(
    committed: None, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has the finders' lanes of two tenants, the other their verifiers'; shares of one are of different length. Each
    stands still once it has written the figures of a run's vendor, which the other writes too."""
    tenants = two_tenants_with_work()
    finders, verifiers = [Hand(t) for t in tenants], [Hand(t, "zerobounce") for t in tenants]
    for hands in (finders, verifiers):
        hands[1].holder = hands[0].holder
    for hand in finders:
        works = hand.claim(3)
        hand.stamp(works)
        hand.settle([hand.answer(work, found(n)) for n, work in enumerate(works)])
    in_hand = {}
    for hand in (*finders, *verifiers):
        works = in_hand[hand] = hand.claim(3)
        assert len(works) == 3
        hand.stamp(works)
    longer = [finders[0].answer(work, found(n)) for n, work in enumerate(in_hand[finders[0]], 3)]
    shorter = [finders[1].answer(work, Retry("error", "away")) for work in in_hand[finders[1]]]
    judged = [
        hand.answer(work, Done({"email": work.query["email"], "email_status": "valid"}, credits=1000))
        for hand in verifiers
        for work in in_hand[hand]
    ]
    both, stood, send = threading.Barrier(2), threading.local(), abreast._Line.send

    def standing_still_once(line: Any, writers: Any) -> None:
        shared = any("INTO run_vendor" in entry.text for writer in writers for entry in writer.share.queued)
        send(line, writers)
        if shared and not getattr(stood, "once", False):
            stood.once = True
            with suppress(threading.BrokenBarrierError):  # the other waits for what this one has written
                both.wait(1)

    monkeypatch.setattr(abreast._Line, "send", standing_still_once)
    came_of_it: dict[str, Any] = {}

    def flush(name: str, batch: Batch, holder: uuid.UUID) -> None:
        try:
            came_of_it[name] = settle.flush(batch, holder).late
        except Exception as error:  # noqa: BLE001 - shown below
            came_of_it[name] = error
        finally:
            connections.close_all()

    threads = [
        threading.Thread(
            target=flush, args=("finders", Batch(settlements=longer + shorter), finders[0].holder)
        ),
        threading.Thread(target=flush, args=("verifiers", Batch(settlements=judged), verifiers[0].holder)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert came_of_it == {"finders": 0, "verifiers": 0}


def test_the_runs_of_all_tenants_are_locked_by_one_message(
    committed: None, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has its counts sooner waits for the others: else two processes would lock runs in different orders."""
    tenants = two_tenants_with_work()
    first, second = (Hand(tenant) for tenant in tenants)
    second.holder = first.holder
    works = {hand: hand.claim(3) for hand in (first, second)}
    for hand, mine in works.items():
        hand.stamp(mine)
    settlements = [first.answer(work, Retry("error", "away")) for work in works[first]]
    settlements += [second.answer(work, Miss()) for work in works[second]]
    together: list[list[int]] = []
    send = abreast._Line.send

    def noted(line: Any, writers: Any) -> None:
        texts = [[entry.text for entry in writer.share.queued] for writer in writers]
        if locking := [n for n, mine in enumerate(texts) if any("UPDATE run SET" in text for text in mine)]:
            together.append(locking)
        send(line, writers)

    monkeypatch.setattr(abreast._Line, "send", noted)
    assert settle.flush(Batch(settlements=settlements), first.holder).late == 0
    assert together == [[0, 1]]


@pytest.mark.parametrize(("was", "becomes"), [(None, 10_000_000), (10_000_000, None)], ids=["comes", "goes"])
def test_a_limit_that_comes_or_goes_while_shares_are_sorted_loses_and_doubles_nothing(
    tenant: Tenant,
    vendors: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    was: int | None,
    becomes: int | None,
) -> None:
    """The runner's loop learns of it on a thread of its own."""
    hand = Hand(tenant)
    run = start(tenant, people(3), credit_limit=was)
    works = hand.claim()
    hand.stamp(works)
    asks = settle._locks_runs_early

    def learns_of_it(part: Batch) -> bool:
        answer = asks(part)
        for work in works:
            work.run.credit_limit = becomes
        return answer

    monkeypatch.setattr(settle, "_locks_runs_early", learns_of_it)
    assert hand.settle([hand.answer(work) for work in works]).late == 0
    with tenant_scope(tenant):
        assert Step.objects.count() == 3
        assert again(run).credits_spent == 3000

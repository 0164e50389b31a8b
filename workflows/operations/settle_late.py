"""What vendors post about calls that nobody waits for any more: kept in the history as late, with its cost."""

import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import date
from typing import Any

from django.db import connections

from integrations.connectors import registry
from integrations.outcomes import Done, Miss, Outcome
from integrations.suppressions import covers_subdomains, suppressed_of
from tenants.ids import uuid7
from tenants.scope import APP_ALIAS, tenant_scope
from workflows.lanes import book
from workflows.lanes.claim import load
from workflows.lanes.month import Month
from workflows.lanes.shield import WITHHELD

AT_ONCE = 50

_WAITING = """
    SELECT c.id, c.entry_id, c.record_id, c.attempt, c.body FROM callback c
    WHERE c.tenant_id = %s AND c.id = ANY(%s) AND c.state = 'new'
      AND NOT EXISTS (SELECT 1 FROM step_queue q WHERE q.id = c.entry_id)
    ORDER BY c.id LIMIT %s FOR UPDATE OF c SKIP LOCKED
"""
_STEPS = """
    SELECT s.queue_id, s.lane_id, s.run_id, s.operation, s.provider, s.attempt, s.status, s.credits, s.started_at,
           r.livemode, p.input
    FROM step s JOIN run r ON r.id = s.run_id AND r.tenant_id = s.tenant_id
    JOIN record p ON p.id = s.record_id AND p.tenant_id = s.tenant_id
    WHERE s.tenant_id = %s AND s.record_id = ANY(%s) AND s.queue_id = ANY(%s) ORDER BY s.id
"""


def settle_late(tenant_id: uuid.UUID, posts: list[uuid.UUID]) -> int:
    """Write down what these posts say; returns how many. Harmless twice. A call is paid once: a post about one that was
    answered, or that came late before, is shown and costs nothing; what one in doubt was booked at is taken back."""
    with tenant_scope(tenant_id), connections[APP_ALIAS].cursor() as cursor:
        month = _month(cursor, tenant_id, posts)
        if month is None:
            return 0
        found = book.rows(cursor, _WAITING, [tenant_id, posts, AT_ONCE])
        steps: dict[uuid.UUID, list[tuple[Any, ...]]] = defaultdict(list)
        if found:
            known = [tenant_id, [row[2] for row in found], [row[1] for row in found]]
            for step in book.rows(cursor, _STEPS, known):
                steps[step[0]].append(step)
        outcomes = {row[0]: _read(steps[row[1]][-1], bytes(row[4])) for row in found if steps[row[1]]}
        told = [(row[1], row[3]) for row in found if isinstance(outcomes.get(row[0]), Done | Miss)]
        doubts = _answered(cursor, tenant_id, told)
        answers = _deliverable(
            cursor, tenant_id,
            {post: (load(steps[entry][-1][10]), outcomes[post]) for post, entry, *_ in found if steps[entry]},
        )  # fmt: skip
        history: list[tuple[Any, ...]] = []
        usage: list[tuple[Any, ...]] = []
        spent: dict[uuid.UUID, Counter[str]] = defaultdict(Counter)
        paid_for: Counter[uuid.UUID] = Counter()
        paid: set[tuple[uuid.UUID, int]] = {
            (entry, step[5])
            for entry, mine in steps.items()
            for step in mine
            if step[6] == "done" or (step[6] == "late" and step[7])
        }
        for post_id, entry_id, record_id, attempt, _ in found:
            if not steps[entry_id]:
                continue  # its history was purged
            _, lane_id, run_id, operation, provider, *_, started_at, livemode, _ = steps[entry_id][-1]
            outcome = outcomes[post_id]
            cost = _cost(outcome) if (entry_id, attempt) not in paid else 0
            again = (entry_id, attempt) in paid
            attempt_id = uuid7()
            history.append(
                (attempt_id, lane_id, run_id, record_id, entry_id, operation, provider, attempt, "late",
                 outcome.name if isinstance(outcome, Done | Miss) else "error", _reason(outcome, again=again),
                 book.dump(answers.get(post_id)), None, None, cost, None, started_at, None)
            )  # fmt: skip
            if cost:
                paid.add((entry_id, attempt))
                spent[run_id]["spent"] += cost
                paid_for[record_id] += cost
                month.move_in(month.today, spent=cost if livemode else 0)
                usage.append(
                    (uuid7(), f"attempt:{attempt_id}", cost, provider, run_id, livemode, str(month.today))
                )
            if booked := doubts.pop((entry_id, attempt), None):
                may_cost, booked_in = booked
                spent[run_id]["spent"] -= may_cost
                paid_for[record_id] -= may_cost
                month.move_in(booked_in, spent=-may_cost if livemode else 0)
                usage.append(
                    (
                        uuid7(),
                        f"doubt-back:{attempt_id}",
                        -may_cost,
                        provider,
                        run_id,
                        livemode,
                        str(booked_in),
                    )
                )
        book.write_history(cursor, tenant_id, history)
        _write_usage(cursor, tenant_id, usage)
        if spent:
            _raise_records(cursor, tenant_id, paid_for)
            book.count_runs(cursor, tenant_id, spent)
        month.write()
        cursor.execute(
            """UPDATE callback SET state = 'late', body = ''::bytea, read_at = now()
               WHERE tenant_id = %s AND id = ANY(%s)""",
            [tenant_id, [row[0] for row in found]],
        )
    return len(found)


def _month(cursor: Any, tenant_id: uuid.UUID, posts: list[uuid.UUID]) -> Month | None:
    """The tenant's month, locked where it has a limit with those in which calls in doubt are booked that these posts tell
    of, and the tenant kept until the end; None where it is gone."""
    cursor.execute(
        """SELECT monthly_credit_limit, date_trunc('month', now() AT TIME ZONE 'utc')::date,
                  ARRAY(SELECT DISTINCT a.month FROM callback c JOIN ambiguous_call a ON a.tenant_id = c.tenant_id
                        AND a.queue_id = c.entry_id AND a.attempt = c.attempt
                        WHERE c.tenant_id = t.id AND c.id = ANY(%s) AND a.released_at IS NULL)
           FROM tenants_tenant t WHERE id = %s FOR KEY SHARE OF t""",
        [posts, tenant_id],
    )
    found = cursor.fetchone()
    if found is None:
        return None
    limit, today, others = found
    month = Month(cursor, tenant_id, limit, today)
    month.lock([], others)
    return month


def _answered(
    cursor: Any, tenant_id: uuid.UUID, told: list[tuple[uuid.UUID, int]]
) -> dict[tuple[uuid.UUID, int], tuple[int, date]]:
    """What these attempts are booked at, and in which month, now that their answers tell what they cost."""
    if not told:
        return {}
    found = book.rows(
        cursor,
        """UPDATE ambiguous_call a SET released_at = now(),
                  status = CASE a.status WHEN 'open' THEN 'answered' ELSE a.status END
           FROM unnest(%s::uuid[], %s::int[]) t(queue_id, attempt)
           WHERE a.tenant_id = %s AND a.queue_id = t.queue_id AND a.attempt = t.attempt AND a.released_at IS NULL
           RETURNING a.queue_id, a.attempt, a.may_cost, a.month""",
        [[entry for entry, _ in told], [attempt for _, attempt in told], tenant_id],
    )
    return {(row[0], row[1]): (row[2], row[3]) for row in found}


def _deliverable(
    cursor: Any, tenant_id: uuid.UUID, posts: Mapping[uuid.UUID, tuple[dict[str, Any], Outcome | None]]
) -> dict[uuid.UUID, dict[str, Any]]:
    """By post, the answer to be kept; nothing of those about somebody on the tenant's suppression list. `posts` has each
    one's record (its input) and what it says."""
    answers = {post: said.answer for post, (_, said) in posts.items() if isinstance(said, Done)}
    subdomains = covers_subdomains(cursor, tenant_id) if answers else None
    if subdomains is None:
        return answers
    about = [posts[post][0] | answer for post, answer in answers.items()]
    hits = suppressed_of(cursor, tenant_id, about, subdomains=subdomains)
    return {
        post: WITHHELD if hit else answer for (post, answer), hit in zip(answers.items(), hits, strict=True)
    }


def _raise_records(cursor: Any, tenant_id: uuid.UUID, paid_for: Counter[uuid.UUID]) -> None:
    cursor.execute(
        """UPDATE record r SET credits = r.credits + t.credits FROM unnest(%s::uuid[], %s::bigint[]) t(id, credits)
           WHERE r.tenant_id = %s AND r.id = t.id""",
        [list(paid_for), list(paid_for.values()), tenant_id],
    )


def _read(step: tuple[Any, ...], body: bytes) -> Outcome | None:
    return registry.get(step[4]).interpret_callback(step[3], "", body)


def _cost(outcome: Outcome | None) -> int:
    return outcome.credits if isinstance(outcome, Done | Miss) else 0


def _reason(outcome: Outcome | None, *, again: bool) -> str:
    if outcome is None:
        return "The vendor posted something that cannot be read, after the step had ended."
    if again:
        return "The vendor posted an answer again; the first one counts."
    return "The vendor posted its answer after the step had ended."


def _write_usage(cursor: Any, tenant_id: uuid.UUID, usage: list[tuple[Any, ...]]) -> None:
    """The call itself was counted when the step ended; what is left is its cost, in the month in which it is told."""
    if not usage:
        return
    cursor.execute(
        """INSERT INTO billing_usageevent (id, tenant_id, key, kind, quantity, credits, provider, run_id, period, livemode)
           SELECT id, %s, key, 'attempt', 0, credits, provider, run_id, month, livemode
           FROM unnest(%s::uuid[], %s::text[], %s::bigint[], %s::text[], %s::uuid[], %s::bool[], %s::date[])
                t(id, key, credits, provider, run_id, livemode, month)
           ON CONFLICT DO NOTHING""",
        [tenant_id, *(list(column) for column in zip(*usage, strict=True))],
    )

"""The sandbox's journal and Weir's own books, compared row by row.

Every call that a vendor answered has to be a row of Weir's history, and every answer in Weir's history a call that the
vendor knows, with the same status and the same credits. What a crash left in doubt is a row that says so.
"""

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import psycopg
from multidict import CIMultiDict

from integrations.connectors import registry
from integrations.sandbox.people import digest
from integrations.sandbox.server import VENDORS
from integrations.sandbox.vendors.base import Ask as SandboxAsk
from integrations.sandbox.vendors.base import Incoming
from workflows.contacts import FIELDS

Question = tuple[str, str]  # provider, the digest that the sandbox's journal names a question by

_STEPS = """
    SELECT s.record_id, s.queue_id, s.provider, s.operation, s.status, s.outcome, s.http_status, s.credits,
           s.answer->>'email', r.input
    FROM step s JOIN record r ON r.id = s.record_id WHERE s.tenant_id = ANY(%s) ORDER BY s.id
"""
_NEVER_ASKED = ("cached", "skipped")


@dataclass
class Comparison:
    """What came of a campaign. `faults` is empty when the books agree."""

    records: int = 0
    lost: int = 0
    """Records that never came to an end."""
    billed_twice: int = 0
    failed: int = 0
    calls: int = 0
    repeated: int = 0
    """Questions that a vendor answered more than once, each time but the first."""
    in_doubt: int = 0
    """Rows of attempts whose answer never came: the process was gone, or it came to nothing on the way."""
    never_made: int = 0
    """Of those, the ones that no vendor ever saw."""
    late: int = 0
    over_limit: int = 0
    faults: list[str] = field(default_factory=list)


def question(provider: str, operation: str, query: Mapping[str, Any]) -> Question:
    """What the sandbox calls this question in its journal."""
    request = registry.get(provider).request(operation, query, "any key")
    incoming = Incoming(
        request.method,
        request.path,
        dict(request.params or {}),
        CIMultiDict(request.headers),
        b"" if request.json is None else orjson.dumps(request.json),
    )
    ask = VENDORS[provider].read(incoming)
    assert isinstance(ask, SandboxAsk), f"the sandbox does not understand {operation} of {provider}"
    return provider, f"{digest(ask.question):016x}"


def compare(
    database: str, tenants: Iterable[object], calls: Iterable[Mapping[str, Any]], *, expected: int
) -> Comparison:
    """`database` is the address for a login that sees every row; `calls` the journal's, of these tenants' keys alone."""
    ids, calls = [uuid.UUID(str(tenant)) for tenant in tenants], list(calls)
    found = Comparison()
    with psycopg.connect(database) as connection:
        steps = connection.execute(_STEPS, (ids,)).fetchall()
        _count_records(connection, ids, found, expected)
        charged = sum(round(call["credits"] * 1000) for call in calls)
        _count_usage(connection, ids, found, charged=charged)
    rows: dict[Question, list[tuple[Any, ...]]] = defaultdict(list)
    for question_of, row in _with_questions(steps):
        rows[question_of].append(row)
    journal: dict[Question, list[Mapping[str, Any]]] = defaultdict(list)
    for call in calls:
        if call["operation"] == "balance":
            continue
        found.calls += 1
        found.over_limit += call["over_limit"]
        journal[call["provider"], call["person"]].append(call)
    for key in sorted(rows.keys() | journal.keys()):
        _match(key, journal.get(key, []), rows.get(key, []), found)
    return found


def _count_records(connection: Any, ids: list[uuid.UUID], found: Comparison, expected: int) -> None:
    total, open_, failed = connection.execute(
        """SELECT count(*), count(*) FILTER (WHERE finished_at IS NULL), count(*) FILTER (WHERE status = 'failed')
           FROM record WHERE tenant_id = ANY(%s)""",
        (ids,),
    ).fetchone()
    found.records, found.failed, found.lost = total, failed, open_ + max(0, expected - total)
    if total > expected:
        found.faults.append(f"{total} records, {expected} were accepted")
    left = connection.execute("SELECT count(*) FROM step_queue WHERE tenant_id = ANY(%s)", (ids,)).fetchone()
    if left[0]:
        found.faults.append(f"{left[0]} steps are left in the queue")
    wrong = connection.execute(
        """SELECT count(*) FROM run r WHERE tenant_id = ANY(%s) AND (pending <> 0 OR credits_reserved <> 0
             OR finished_at IS NULL OR total <> found + not_found + done + failed + skipped + cancelled)""",
        (ids,),
    ).fetchone()
    if wrong[0]:
        found.faults.append(f"the counts of {wrong[0]} runs do not add up")
    twice = connection.execute(
        """SELECT count(*) FROM run_event WHERE tenant_id = ANY(%s) AND kind = 'run.completed'
           GROUP BY run_id HAVING count(*) > 1""",
        (ids,),
    ).fetchall()
    if twice:
        found.faults.append(f"{len(twice)} runs completed more than once")


def _count_usage(connection: Any, ids: list[uuid.UUID], found: Comparison, *, charged: int) -> None:
    """One ledger row per record, one per attempt that may have cost something, and the same credits everywhere; what a
    call in doubt may have cost is booked beside it, under a key of its own. In all it is what the vendors `charged`, and
    no more above it than is in doubt."""
    billed = connection.execute(
        """SELECT coalesce(sum(quantity), 0), count(DISTINCT key) FROM billing_usageevent
           WHERE tenant_id = ANY(%s) AND kind = 'record'""",
        (ids,),
    ).fetchone()
    found.billed_twice = max(0, billed[0] - found.records)
    if billed[0] != found.records:
        found.faults.append(f"{billed[0]} records billed, {found.records} are there")
    counted = connection.execute(
        """SELECT (SELECT coalesce(sum(records), 0) FROM billing_usagecounter WHERE tenant_id = ANY(%(t)s)),
                  (SELECT coalesce(sum(quantity), 0) FROM billing_usageevent
                   WHERE tenant_id = ANY(%(t)s) AND kind = 'record' AND livemode)""",
        {"t": ids},
    ).fetchone()
    if counted[0] != counted[1]:
        found.faults.append(f"counted {counted[0]} records, {counted[1]} are in the ledger")
    unequal = connection.execute(
        """SELECT count(*) FROM
             (SELECT 'attempt:' || id AS key, credits FROM step
              WHERE tenant_id = ANY(%(t)s) AND outcome <> ALL(%(n)s) AND status <> 'late') s
             FULL JOIN
             (SELECT key, credits FROM billing_usageevent u WHERE tenant_id = ANY(%(t)s) AND key LIKE 'attempt:%%'
              AND NOT EXISTS (SELECT 1 FROM step l WHERE l.status = 'late' AND u.key = 'attempt:' || l.id)) u USING (key)
           WHERE s.credits IS DISTINCT FROM u.credits""",
        {"t": ids, "n": list(_NEVER_ASKED)},
    ).fetchone()
    if unequal[0]:
        found.faults.append(f"{unequal[0]} attempts are not in the ledger as they are in the history")
    sums = connection.execute(
        """SELECT (SELECT coalesce(sum(credits), 0) FROM billing_usageevent
                   WHERE tenant_id = ANY(%(t)s) AND kind = 'attempt'),
                  (SELECT coalesce(sum(credits_spent), 0) FROM run WHERE tenant_id = ANY(%(t)s)),
                  (SELECT coalesce(sum(credits), 0) FROM run_vendor WHERE tenant_id = ANY(%(t)s))""",
        {"t": ids},
    ).fetchone()
    if len(set(sums)) != 1:
        found.faults.append(f"credits differ: ledger (with what is in doubt), runs, vendors of runs: {sums}")
    in_doubt = connection.execute(
        """SELECT coalesce(sum(may_cost), 0) FROM ambiguous_call
           WHERE tenant_id = ANY(%s) AND released_at IS NULL""",
        (ids,),
    ).fetchone()
    if not 0 <= sums[0] - charged <= in_doubt[0]:
        found.faults.append(
            f"vendors charged {charged}, the ledger says {sums[0]}, in doubt are {in_doubt[0]}"
        )


def _with_questions(steps: list[tuple[Any, ...]]) -> Iterable[tuple[Question, tuple[Any, ...]]]:
    """Each attempt with the question that it asked, as its record's input and earlier answers say."""
    email: dict[uuid.UUID, str] = {}
    asked: dict[uuid.UUID, Question] = {}
    for row in steps:
        record_id, queue_id, provider, operation, _, outcome, _, _, address, given = row
        if outcome not in _NEVER_ASKED:
            if queue_id not in asked:
                query = (
                    {"email": email[record_id]}
                    if operation == "verify"
                    else {name: given[name] for name in FIELDS if given.get(name)}
                )
                asked[queue_id] = question(provider, operation, query)
            yield asked[queue_id], row
        if operation == "find" and address and row[4] != "late":
            email[record_id] = address


def _match(
    key: Question, calls: list[Mapping[str, Any]], rows: list[tuple[Any, ...]], found: Comparison
) -> None:
    """Pair calls and rows of one question: answers with answers, the rest with attempts that are in doubt."""
    told = Counter((row[6], row[7]) for row in rows if row[6] is not None)
    silent = [row for row in rows if row[6] is None]
    found.in_doubt += len(silent)
    found.late += sum(row[4] == "late" for row in rows)
    answers = [call for call in calls if call["outcome"] in ("hit", "miss")]
    found.repeated += max(0, len(answers) - 1)
    unpaired = 0
    for call in calls:
        fact = (call["status"], round(call["credits"] * 1000))
        if told[fact] > 0:
            told[fact] -= 1
        else:
            unpaired += 1
    if invented := sum(told.values()):
        found.faults.append(f"{key}: {invented} answers that the vendor never gave: {dict(told)}")
    if unpaired > len(silent):
        found.faults.append(f"{key}: {unpaired} calls that Weir does not know of, {len(silent)} are in doubt")
    found.never_made += max(0, len(silent) - unpaired)

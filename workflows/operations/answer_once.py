"""Idempotency keys: a request that is sent again gets the answer that it got before, and has no second effect."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import connections
from django.db.models.functions import Now

from tenants import context
from tenants.api.once import Answer
from tenants.errors import ScopeError
from tenants.scope import APP_ALIAS, require_tenant_id, tenant_scope
from workflows.errors import IdempotencyInProgress, IdempotencyMismatch
from workflows.models import IdempotencyKey

VALID_FOR = timedelta(hours=24)
# For so long does a request that is answered apart from its noting hold its key, if its process dies meanwhile.
UNDER_WAY_FOR = timedelta(seconds=60)


def earlier_answer(key: str | None, request_hash: bytes) -> Answer | None:
    """What this request was answered in the last 24 hours, or None. Raises IdempotencyMismatch. Needs a scope."""
    if key is None:
        return None
    row = IdempotencyKey.objects.filter(key=key, created_at__gt=Now() - VALID_FOR).first()
    if row is None:
        return None
    if bytes(row.body_hash) != request_hash:
        raise IdempotencyMismatch(
            "This idempotency key was used for another request in the last 24 hours. Use a new key for a new request."
        )
    if row.status is None:
        return None  # one that is answered apart; its twin waits in answer_apart
    return Answer(row.status, row.response, replayed=True)


def keep_answers(
    *,
    key: str,
    request_hash: bytes,
    make: Callable[[], Answer],
    together: bool,
    before: Callable[[], None] | None = None,
) -> Answer:
    """What tenants/api/once.py asks for: `answer_once` in the calling key's tenant, or `answer_apart`."""
    tenant_id = context.current().tenant_id
    if tenant_id is None:
        raise ScopeError("An answer is kept for a tenant, and none is known.")
    if not together:
        return answer_apart(tenant_id, key=key, request_hash=request_hash, make=make)
    if before is not None:
        with tenant_scope(tenant_id):
            if earlier := earlier_answer(key, request_hash):
                return earlier
        before()
    with tenant_scope(tenant_id):
        return answer_once(key=key, request_hash=request_hash, make=make)


def answer_once(*, key: str | None, request_hash: bytes, make: Callable[[], Answer]) -> Answer:
    """The earlier answer to this request, else what `make` answers now, in one transaction with the noting of it.

    Only what succeeds is noted: a refused request may be put right and sent again under its key. Raises
    IdempotencyMismatch, and IdempotencyInProgress while a twin of this request is being answered elsewhere. A process
    that dies in between leaves nothing behind.
    """
    if key is None:
        return make()
    tenant_id = require_tenant_id()
    with tenant_scope(tenant_id):
        _lock(tenant_id, key)
        if earlier := earlier_answer(key, request_hash):
            return earlier
        answer = make()
        _note(key, request_hash, answer)
    return answer


def answer_apart(
    tenant_id: uuid.UUID, *, key: str, request_hash: bytes, make: Callable[[], Answer]
) -> Answer:
    """The same for what cannot be one transaction with the noting of it: it asks a vendor, or commits as it goes.

    The key is taken first, in a transaction of its own, and given back where the request is refused. If the process
    dies in between, its twins are told for a minute that it is under way, and then carried out: so this is for what
    may be done twice. One that comes back after its minute gives back and notes nothing where a twin has the key by then.
    """
    with tenant_scope(tenant_id):
        _lock(tenant_id, key)
        if earlier := earlier_answer(key, request_hash):
            return earlier
        if IdempotencyKey.objects.filter(key=key, status=None, created_at__gt=Now() - UNDER_WAY_FOR).exists():
            raise _in_progress()
        _note(key, request_hash, None)
        since = IdempotencyKey.objects.values_list("created_at", flat=True).get(key=key)
    mine = {"key": key, "status": None, "created_at": since}
    try:
        answer = make()
    except BaseException:
        with tenant_scope(tenant_id):
            IdempotencyKey.objects.filter(**mine).delete()
        raise
    with tenant_scope(tenant_id):
        IdempotencyKey.objects.filter(**mine).update(
            status=answer.status, response=_kept(answer), created_at=Now()
        )
    return answer


def _lock(tenant_id: uuid.UUID, key: str) -> None:
    with connections[APP_ALIAS].cursor() as cursor:
        cursor.execute(
            "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [f"idempotency:{tenant_id}:{key}"]
        )
        if not cursor.fetchone()[0]:
            raise _in_progress()


def _in_progress() -> IdempotencyInProgress:
    return IdempotencyInProgress(
        "The first request with this idempotency key is still under way. Try again in a moment."
    )


def _note(key: str, request_hash: bytes, answer: Answer | None) -> None:
    IdempotencyKey.objects.update_or_create(
        key=key,
        defaults={
            "body_hash": request_hash,
            "status": answer and answer.status,
            "response": answer and _kept(answer),
            "created_at": Now(),
        },
    )


def _kept(answer: Answer) -> Any:
    return answer.body if answer.kept is None else answer.kept

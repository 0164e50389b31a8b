"""Idempotency keys: a request that is sent again gets the answer that it got before, and has no second effect."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connections
from django.db.models.functions import Now

from tenants.errors import InvalidInput
from tenants.scope import APP_ALIAS, require_tenant_id, tenant_scope
from workflows.errors import IdempotencyInProgress, IdempotencyMismatch
from workflows.models import IdempotencyKey

VALID_FOR = timedelta(hours=24)
_WELL_FORMED = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it was sent: the body's text is kept, so that it is the same to the byte."""

    status: int
    body: str
    replayed: bool = False


def hash_of(*parts: Any) -> bytes:
    """What two equal requests have in common: 32 bytes over JSON values, in which the order of names is of no account."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).digest()


def check_key(key: str | None) -> str | None:
    """The key if it is one. Raises InvalidInput."""
    if key is None or _WELL_FORMED.fullmatch(key):
        return key
    message = "1 to 255 printable ASCII characters."
    raise InvalidInput(
        f"Idempotency-Key: {message}", errors=[{"field": "Idempotency-Key", "message": message}]
    )


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
    return Answer(row.status, row.response, replayed=True)


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
        with connections[APP_ALIAS].cursor() as cursor:
            cursor.execute(
                "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))",
                [f"idempotency:{tenant_id}:{key}"],
            )
            if not cursor.fetchone()[0]:
                raise IdempotencyInProgress(
                    "The first request with this idempotency key is still under way. Try again in a moment."
                )
        if earlier := earlier_answer(key, request_hash):
            return earlier
        answer = make()
        IdempotencyKey.objects.update_or_create(
            key=key,
            defaults={
                "body_hash": request_hash,
                "status": answer.status,
                "response": answer.body,
                "created_at": Now(),
            },
        )
    return answer

"""Taking what a vendor posts about a call: stored first, read by the engine later, one effect however often it comes."""

import hashlib
import uuid

from django.db import connections

from tenants.ids import uuid7
from tenants.models import Tenant
from tenants.scope import APP_ALIAS, tenant_scope
from workflows.callback_tokens import Token
from workflows.lanes import book
from workflows.lanes.ring import ring_after_commit

MOST_BODIES = 20
"""Different bodies that are kept for one call; whoever has its address cannot fill the disk."""


def receive_callback(*, token: Token, body: bytes) -> bool:
    """Keep a body that was posted to a call's address and wake the step that waits for it; harmless any number of times.

    False when nothing of it is here: the tenant is gone or being deleted, or the record was purged.
    """
    digest = hashlib.sha256(body).hexdigest()
    with tenant_scope(token.tenant_id), connections[APP_ALIAS].cursor() as cursor:
        if book.hold_tenant(cursor, token.tenant_id) in ("", Tenant.Status.CLOSING):
            return False
        # Against the flush that puts the entry to wait: whichever comes second sees the first.
        entry = book.rows(
            cursor,
            "SELECT lane_id FROM step_queue WHERE id = %s AND tenant_id = %s FOR NO KEY UPDATE",
            [token.entry_id, token.tenant_id],
        )
        known = book.rows(
            cursor,
            """SELECT k.count, k.seen FROM record r CROSS JOIN LATERAL (
                   SELECT count(*) AS count, bool_or(c.digest = %s) AS seen FROM callback c
                   WHERE c.tenant_id = r.tenant_id AND c.entry_id = %s) k
               WHERE r.id = %s AND r.tenant_id = %s""",
            [digest, token.entry_id, token.record_id, token.tenant_id],
        )
        if not known:
            return False
        count, seen = known[0]
        if count >= MOST_BODIES and not seen:
            return True
        cursor.execute(
            """INSERT INTO callback AS c (id, tenant_id, entry_id, record_id, attempt, digest, body, posts, state)
               VALUES (%s, %s, %s, %s, %s, %s, %s, 1, 'new')
               ON CONFLICT (tenant_id, entry_id, attempt, digest) DO UPDATE SET posts = c.posts + 1""",
            [uuid7(), token.tenant_id, token.entry_id, token.record_id, token.attempt, digest, body],
        )
        if entry:
            _wake(cursor, token.tenant_id, token.entry_id)
    return True


def _wake(cursor: object, tenant_id: uuid.UUID, entry_id: uuid.UUID) -> None:
    lanes = book.ids(
        cursor,
        """UPDATE step_queue q SET not_before = NULL, reason = ''
           WHERE q.id = %s AND q.tenant_id = %s AND q.reason = 'callback' AND EXISTS (
               SELECT 1 FROM callback c WHERE c.tenant_id = q.tenant_id AND c.entry_id = q.id AND c.state = 'new')
           RETURNING q.lane_id""",
        [entry_id, tenant_id],
    )
    ring_after_commit({(tenant_id, lane_id) for lane_id in lanes})

"""The addresses that vendors post results to: signed, for one queue entry and attempt of one tenant, and for a time."""

import base64
import binascii
import struct
import time
import uuid
from dataclasses import dataclass

from django.conf import settings
from django.core.signing import BadSignature, Signer

from workflows.lanes.work import Work

PATH = "/hooks/callback/"
# Posts that come after the step has given up are still taken, and shown as late.
LATE_S = 24 * 3600
_FIELDS = struct.Struct(">16s16s16sHQ")


@dataclass(frozen=True, slots=True)
class Token:
    """What an address stands for."""

    tenant_id: uuid.UUID
    entry_id: uuid.UUID
    record_id: uuid.UUID
    attempt: int


def address_for(work: Work, lasts_s: float) -> str:
    """The address for a call that is about to be made, good for the time that its job may take and a day."""
    until = int(time.time() + lasts_s + LATE_S)
    token = Token(work.run.tenant_id, work.id, work.record_id, work.attempt)
    return f"{settings.BASE_URL.rstrip('/')}{PATH}{sign(token, until)}"


def sign(token: Token, until: int) -> str:
    """A token in the form that it has in an address; `until` is a Unix time."""
    packed = _FIELDS.pack(
        token.tenant_id.bytes, token.entry_id.bytes, token.record_id.bytes, token.attempt, until
    )
    return _signer().sign(base64.urlsafe_b64encode(packed).rstrip(b"=").decode())


def read(text: str) -> Token | None:
    """The token of an address; None where it was not signed here or its time is over."""
    try:
        plain = _signer().unsign(text)
        packed = base64.urlsafe_b64decode(plain + "=" * (-len(plain) % 4))
        tenant, entry, record, attempt, until = _FIELDS.unpack(packed)
    except (BadSignature, binascii.Error, struct.error, ValueError):
        return None
    if until < time.time():
        return None
    return Token(uuid.UUID(bytes=tenant), uuid.UUID(bytes=entry), uuid.UUID(bytes=record), attempt)


def _signer() -> Signer:
    return Signer(salt="weir.callback", sep=".")

"""What an address for a vendor's post is made of, and what is taken for one. Addresses out there must stay good."""

import base64
import struct
import uuid
from typing import Any

import pytest
from django.core.signing import Signer

from tests.workflows.lanes.pieces import a_step
from workflows import callback_tokens
from workflows.callback_tokens import Token, address_for, read, sign

TENANT, ENTRY, RECORD = (uuid.UUID(int=number) for number in (1, 2, 3))
TOKEN = Token(TENANT, ENTRY, RECORD, 4)
UNTIL = 2_000_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is; may be set."""
    now = [UNTIL - 60.5]
    monkeypatch.setattr(callback_tokens.time, "time", lambda: now[0])
    return now


def signed(plain: str | bytes, *, salt: str = "weir.callback") -> str:
    text = plain if isinstance(plain, str) else base64.urlsafe_b64encode(plain).rstrip(b"=").decode()
    return Signer(salt=salt, sep=".").sign(text)


def packed(until: int = UNTIL) -> bytes:
    return struct.pack(">16s16s16sHQ", TENANT.bytes, ENTRY.bytes, RECORD.bytes, 4, until)


def test_the_form_of_an_address_is_for_good(clock: list[float]):
    assert sign(TOKEN, UNTIL) == signed(packed())
    assert "=" not in sign(TOKEN, UNTIL)
    assert read(signed(packed())) == TOKEN
    padded = base64.urlsafe_b64encode(packed()).decode()
    assert read(signed(padded)) == TOKEN


def test_every_part_is_in_it(clock: list[float]):
    for changed in (
        Token(RECORD, ENTRY, RECORD, 4),
        Token(TENANT, TENANT, RECORD, 4),
        Token(TENANT, ENTRY, TENANT, 4),
        Token(TENANT, ENTRY, RECORD, 5),
    ):
        assert read(sign(changed, UNTIL)) == changed


def test_it_is_good_up_to_its_last_second(clock: list[float]):
    clock[0] = float(UNTIL)
    assert read(sign(TOKEN, UNTIL)) == TOKEN
    clock[0] = UNTIL + 0.1
    assert read(sign(TOKEN, UNTIL)) is None


def test_what_was_signed_for_something_else_is_none(clock: list[float]):
    assert read(signed(packed(), salt="weir.session")) is None
    assert read(Signer(salt="weir.callback", sep=":").sign(signed(packed()).split(".")[0])) is None


def test_a_changed_one_is_none(clock: list[float], settings: Any):
    good = sign(TOKEN, UNTIL)
    body, _, signature = good.partition(".")
    later = base64.urlsafe_b64encode(packed(UNTIL + 1)).rstrip(b"=").decode()
    for text in (f"{later}.{signature}", body, f"{body}.", f".{signature}", f"{good}x", "", "."):
        assert read(text) is None
    settings.SECRET_KEY = "another " * 8
    assert read(good) is None


@pytest.mark.parametrize("plain", ["", "a", "é", "abcd", packed() + b"x", packed()[:-1]])
def test_what_is_signed_and_yet_none_is_none(clock: list[float], plain: str | bytes):
    assert read(signed(plain)) is None


@pytest.mark.parametrize("base", ["https://weir.example", "https://weir.example/", "https://weir.example//"])
def test_the_address_for_a_call_lasts_for_its_job_and_a_day(clock: list[float], settings: Any, base: str):
    settings.BASE_URL = base
    clock[0] = 1_900_000_000.7
    work = a_step(attempt=3)
    address = address_for(work, 90.5)
    assert address.startswith("https://weir.example/hooks/callback/")
    text = address.removeprefix("https://weir.example/hooks/callback/")
    assert read(text) == Token(work.run.tenant_id, work.id, work.record_id, 3)
    end = 1_900_000_000 + 91 + 24 * 3600
    clock[0] = float(end)
    assert read(text) is not None
    clock[0] = end + 0.5
    assert read(text) is None

"""What a key looks like, for good: keys in the hands of tenants must stay valid, and typing errors must be seen."""

import hashlib
import secrets
import zlib

import pytest

from tenants import api_keys
from tenants.api_keys import KEY_LENGTH, digest, new_key, well_formed

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def in_base62(number: int, length: int) -> str:
    text = ""
    for _ in range(length):
        number, rest = number // 62, number % 62
        text = DIGITS[rest] + text
    return text


def number_in(text: str) -> int:
    number = 0
    for digit in text:
        number = number * 62 + DIGITS.index(digit)
    return number


def with_checksum(body: str) -> str:
    """The body with the checksum that it takes: what is wrong with the body alone is left to be seen."""
    return body + in_base62(zlib.crc32(body.encode()), 6)


@pytest.mark.parametrize(("livemode", "prefix"), [(True, "wk_live_"), (False, "wk_test_")])
def test_a_new_key_says_its_mode_and_is_well_formed(livemode: bool, prefix: str):
    key = new_key(livemode=livemode)
    assert key.plain.startswith(prefix)
    assert len(key.plain) == KEY_LENGTH == 57
    assert key.plain == with_checksum(key.plain[:-6])
    assert well_formed(key.plain)


def test_a_hint_tells_the_first_four_and_the_last_four_characters():
    key = new_key(livemode=True)
    assert key.hint == f"wk_live_{key.plain[8:12]}…{key.plain[-4:]}"
    assert repr(key) == f"NewKey({key.hint})"


def test_what_is_stored_is_sha_256_of_the_whole_key():
    key = new_key(livemode=False)
    assert key.digest == digest(key.plain) == hashlib.sha256(key.plain.encode()).digest()


def test_all_256_random_bits_are_in_the_key(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(secrets, "randbits", lambda bits: 2**bits - 1)
    assert number_in(new_key(livemode=True).plain[8:-6]) == 2**256 - 1
    monkeypatch.setattr(secrets, "randbits", lambda bits: 1)
    assert new_key(livemode=True).plain[8:-6] == "0" * 42 + "1"


def test_keys_do_not_repeat():
    assert len({new_key(livemode=True).plain for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "body",
    [
        "wk_prod_" + "a" * 43,  # no such mode
        "kw_live_" + "a" * 43,
        "WK_LIVE_" + "a" * 43,
        "wk_live_" + "a" * 42,
        "wk_live_" + "a" * 44,
        "wk_live_" + "-" + "a" * 42,  # an alphabet of its own, from the first character
        "wk_live_" + "a" * 42 + "_",
        "wk_live_" + "é" + "a" * 42,  # a letter elsewhere
        "wk_test_" + "a" * 42 + "٣",  # a digit elsewhere
    ],
)
def test_a_right_checksum_does_not_make_a_key(body: str):
    assert not well_formed(with_checksum(body))


@pytest.mark.parametrize("prefix", ["wk_live_", "wk_test_"])
def test_each_character_counts(prefix: str):
    plain = with_checksum(prefix + DIGITS[:43])
    assert well_formed(plain)
    for at in range(8, len(plain)):
        other = "x" if plain[at] != "x" else "y"
        assert not well_formed(plain[:at] + other + plain[at + 1 :]), at


def test_the_checksum_has_a_place_for_each_of_its_digits():
    assert api_keys.CHECKSUM_LENGTH == 6
    assert 62**6 > 2**32

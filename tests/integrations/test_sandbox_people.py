"""The people of the sandbox: the same on any machine, found about as often as the vendors find people."""

from collections import Counter

import pytest

from integrations.connectors.identity import is_address
from integrations.sandbox.people import Person, address_of, found_by, seconds_for, verdict_of

CROWD = [Person(f"ada number{number}", f"company{number % 400}.example") for number in range(4000)]
SHARES = {"prospeo": 0.50, "findymail": 0.60, "hunter": 0.45}


@pytest.mark.parametrize(("vendor", "share"), SHARES.items())
def test_each_vendor_finds_its_share(vendor, share):
    found = sum(found_by(vendor, share, person) for person in CROWD)
    assert abs(found / len(CROWD) - share) < 0.03


def test_vendors_do_not_find_the_same_people():
    both = sum(found_by("prospeo", 0.5, person) and found_by("findymail", 0.6, person) for person in CROWD)
    assert abs(both / len(CROWD) - 0.30) < 0.03


def test_answers_are_the_same_on_every_machine():
    person = Person("grace hopper", "navy.example")
    assert address_of(person) == "grace.hopper@navy.example"
    assert [found_by(vendor, share, person) for vendor, share in SHARES.items()] == [True, False, False]
    verdicts = {number: verdict_of(f"user{number}@navy.example").status for number in (0, 1, 35, 58)}
    assert verdicts == {0: "valid", 1: "catch-all", 35: "unknown", 58: "invalid"}


@pytest.mark.parametrize(
    "person",
    [Person("ada nobody", "x.example"), Person("ada", "nobody.example"), Person("", "", "ada-nobody")],
)
def test_nobody_is_never_found(person):
    assert not any(found_by(vendor, 1.0, person) for vendor in SHARES)


@pytest.mark.parametrize(
    "person",
    [Person("ada everyone", "x.example"), Person("ada", "everyone.example"), Person("", "", "ada-everyone")],
)
def test_everyone_is_always_found_at_a_valid_address(person):
    assert all(found_by(vendor, 0.0, person) for vendor in SHARES)
    assert verdict_of(address_of(person)).status == "valid" or person.profile


@pytest.mark.parametrize(
    ("person", "domain"),
    [
        (Person("josé álvarez-núñez", "café-müller.example"), "café-müller.example"),
        (Person("łukasz weiß", "acme.example"), "acme.example"),
        (Person("李 小龙", "acme.example"), "acme.example"),
        (Person("ada lovelace", "analytical engines ltd"), "analyticalenginesltd.example"),
        (Person("plato", "academy.example"), "academy.example"),
    ],
)
def test_addresses_look_like_addresses(person, domain):
    address = address_of(person)
    assert is_address(address)
    assert address.endswith(f"@{domain}")
    assert address.rpartition("@")[0].isascii()


def test_a_profile_alone_leads_to_a_name_and_a_made_up_company():
    address = address_of(Person("", "", "ada-lovelace-4a1b"))
    assert is_address(address)
    assert address.endswith(".example")
    assert "lovelace" in address or address.startswith("ada")


def test_verdicts_have_their_documented_shares():
    counts = Counter(verdict_of(address_of(person)).status for person in CROWD)
    shares = {status: count / len(CROWD) for status, count in counts.items()}
    expected = {"valid": 0.80, "catch-all": 0.08, "invalid": 0.05, "unknown": 0.04, "do_not_mail": 0.03}
    assert set(shares) == set(expected)
    assert all(abs(shares[status] - share) < 0.025 for status, share in expected.items())


def test_thinking_time_is_spread_around_the_median():
    times = sorted(seconds_for("findymail", f"q{number}", 0.9) for number in range(2001))
    assert abs(times[1000] - 0.9) < 0.06
    assert times[100] > 0.3
    assert 1.5 < times[1900] < 2.5
    assert times[-1] <= 0.9 * 6

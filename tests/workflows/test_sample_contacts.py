"""The sample contacts keep the promises that their README makes."""

from collections import Counter
from pathlib import Path

import pytest

from workflows.contacts import clean_contact, contact_identity
from workflows.csv_in import RowIn, inspect, read_rows

SAMPLE = Path(__file__).parents[2] / "config" / "demo" / "contacts.csv"


@pytest.fixture(scope="module")
def rows() -> list[RowIn]:
    with SAMPLE.open("rb") as stream:
        found = inspect(stream, filename=SAMPLE.name, size=SAMPLE.stat().st_size)
        return list(read_rows(stream, found.dialect, found.guessed_mapping))


def test_the_columns_are_guessed_without_help():
    with SAMPLE.open("rb") as stream:
        found = inspect(stream, filename=SAMPLE.name)
    assert found.guessed_mapping == {
        "first_name": "First Name",
        "last_name": "Last Name",
        "company": "Company Name",
        "domain": "Website",
        "linkedin_url": "LinkedIn",
    }
    assert (found.rows, found.error_count, found.blank_lines) == (200, 0, 0)


def test_all_200_rows_are_valid(rows):
    assert len(rows) == 200
    assert [row for row in rows if row.faults or clean_contact(row.values)[1]] == []


def test_ten_rows_are_people_from_further_up_and_190_people_are_left(rows):
    seen = Counter(contact_identity(row.values) for row in rows)
    assert len(seen) == 190
    assert sorted(seen.values())[-10:] == [2] * 10


def test_the_ten_repeated_rows_are_equal_only_once_they_are_cleaned(rows):
    with SAMPLE.open("rb") as stream:
        found = inspect(stream, filename=SAMPLE.name)
        raw = list(read_rows(stream, found.dialect, {}, form_only=True))
    as_written = {
        tuple(row.values[found.guessed_mapping[field]] for field in found.guessed_mapping) for row in raw
    }
    assert len(as_written) == 200


def test_no_address_in_the_file_can_belong_to_anyone(rows):
    for row in rows:
        assert row.values.get("domain", ".example").endswith(".example")
        assert row.values.get("linkedin_url", "/in/example-").startswith(
            ("https://www.linkedin.com/in/example-", "/")
        )
        assert "@" not in "".join(row.values.values())


def test_a_name_alone_tells_the_190_people_apart(rows):
    """The sandbox decides by name, so two people of one name would be told the same."""
    names = {contact_identity(row.values)[0] for row in rows}
    assert len(names) == 190

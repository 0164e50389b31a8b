"""Choosing columns: what is enough, and each mistake by its name."""

import pytest

from workflows.csv_in import check_mapping

COLUMNS = ["First", "Last", "Name", "Company", "Site", "LinkedIn", "Email"]


def codes(mapping, **kwargs):
    return [(fault.code, fault.field) for fault in check_mapping(COLUMNS, mapping, **kwargs)]


@pytest.mark.parametrize(
    "mapping",
    [
        {"full_name": "Name", "company": "Company"},
        {"first_name": "First", "last_name": "Last", "domain": "Site"},
        {"linkedin_url": "LinkedIn"},
        {"full_name": "Name", "company": "Company", "domain": "", "linkedin_url": None},
    ],
)
def test_enough_for_the_waterfall(mapping):
    assert codes(mapping) == []


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({}, [("missing_name_column", "full_name"), ("missing_company_column", "company")]),
        ({"company": "Company"}, [("missing_name_column", "full_name")]),
        ({"first_name": "First", "company": "Company"}, [("missing_name_column", "full_name")]),
        ({"full_name": "Name"}, [("missing_company_column", "company")]),
        ({"full_name": "Name", "company": "Firm"}, [("unknown_column", "company")]),
        ({"full_name": "Name", "company": "Name"}, [("duplicate_column", "company")]),
        ({"linkedin_url": "LinkedIn", "email": "Email"}, [("unknown_field", "email")]),
    ],
)
def test_each_mistake_is_named(mapping, expected):
    assert codes(mapping) == expected


def test_verification_wants_the_address_alone():
    assert codes({"email": "Email"}, template="email-verify") == []
    assert codes({}, template="email-verify") == [("missing_email_column", "email")]
    assert codes({"email": "Email", "company": "Company"}, template="email-verify") == [
        ("unknown_field", "company")
    ]


def test_a_template_that_takes_no_contacts_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="order-to-invoice"):
        check_mapping(COLUMNS, {}, template="order-to-invoice")

"""Cleaning a contact: what it comes out as, and each fault by its name."""

import json
import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.contacts import (
    FIELDS,
    clean_contact,
    clean_email,
    clean_verify_contact,
    contact_identity,
    person_name,
)

ADA = {"full_name": "Ada Lovelace", "company": "Analytical Engines"}


def codes(raw):
    return [(fault.field, fault.code) for fault in clean_contact(raw)[1]]


def cleaned(field, value):
    contact, faults = clean_contact(ADA | {field: value})
    return contact.get(field), [fault.code for fault in faults]


def test_text_is_trimmed_composed_and_has_single_spaces():
    decomposed = unicodedata.normalize("NFD", "Zoë")
    contact, faults = clean_contact(
        {
            "first_name": f"  {decomposed} ",
            "last_name": "van\u00a0 der\tBerg\n",
            "company": "\ufeffAcme\u200b  Ltd ",
        }
    )
    assert contact == {"first_name": "Zoë", "last_name": "van der Berg", "company": "Acme Ltd"}
    assert faults == []


def test_joiners_that_a_script_needs_are_kept():
    assert cleaned("last_name", "می‌خواهم") == ("می‌خواهم", [])


@pytest.mark.parametrize(
    ("written", "domain"),
    [
        ("acme.example", "acme.example"),
        ("ACME.Example", "acme.example"),
        ("www.acme.example", "acme.example"),
        ("www2.acme.example.", "acme.example"),
        ("https://www.acme.example/about?x=1#top", "acme.example"),
        ("http:/acme.example", "acme.example"),
        ("//acme.example:8443/x", "acme.example"),
        ("https://user:secret@shop.acme.example/", "shop.acme.example"),
        ("ada@acme.example", "acme.example"),
        ("mailto:ada@acme.example", "acme.example"),
        ("https://acme.example/@ada", "acme.example"),
        ("https://www.Müller.example/", "xn--mller-kva.example"),
        ("xn--mller-kva.example", "xn--mller-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("acme。example", "acme.example"),
        ("www.example", "www.example"),
        ("linkedin.com", "linkedin.com"),
    ],
)
def test_a_domain_is_found_in_whatever_holds_it(written, domain):
    assert cleaned("domain", written) == (domain, [])


@pytest.mark.parametrize(
    "written",
    [
        "acme",
        "localhost",
        "acme com",
        "acme,com",
        "acme.example; acme.org",
        "10.0.0.1",
        "http://[::1]/",
        "https://",
        "a_b.example",
        "-acme.example",
        "acme..example",
        "x" * 64 + ".example",
        "https://www.linkedin.com/company/acme",
        "facebook.com/acme",
    ],
)
def test_what_is_no_domain_is_named_and_kept(written):
    assert cleaned("domain", written) == (written, ["bad_domain"])


@pytest.mark.parametrize("nothing", ["", "  ", "-", "n/a", "N/A", "null", "#N/A", "none", None])
def test_stand_ins_for_nothing_are_nothing(nothing):
    assert cleaned("domain", nothing) == (None, [])


def test_names_that_look_like_stand_ins_are_names():
    assert cleaned("last_name", "Null") == ("Null", [])


@pytest.mark.parametrize(
    ("written", "slug"),
    [
        ("https://www.linkedin.com/in/ada-lovelace", "ada-lovelace"),
        ("http://linkedin.com/in/Ada-Lovelace/", "ada-lovelace"),
        ("https://de.linkedin.com/in/ada-lovelace/en?trk=x#y", "ada-lovelace"),
        ("LinkedIn.com/in/ada-lovelace", "ada-lovelace"),
        ("m.linkedin.com/in/ada-lovelace", "ada-lovelace"),
        ("in/ada-lovelace", "ada-lovelace"),
        ("/in/ada-lovelace", "ada-lovelace"),
        ("https://www.linkedin.com/in/jos%C3%A9-n", "jos%C3%A9-n"),
        ("https://www.linkedin.com/in/josé-n", "jos%C3%A9-n"),
        ("https://www.linkedin.com/in/ACwAAAbCdEfGhIjK123", "ACwAAAbCdEfGhIjK123"),
    ],
)
def test_a_linkedin_link_comes_out_in_one_form(written, slug):
    assert cleaned("linkedin_url", written) == (f"https://www.linkedin.com/in/{slug}", [])


def test_a_linkedin_link_with_a_long_tail_is_not_too_long():
    assert cleaned("linkedin_url", "https://www.linkedin.com/in/ada?trk=" + "x" * 900)[1] == []


@pytest.mark.parametrize(
    "written",
    [
        "https://www.linkedin.com/company/acme",
        "https://www.linkedin.com/",
        "https://www.linkedin.com/in/",
        "https://www.linkedin.com/in/%ff%fe",
        "https://evil.example/in/ada",
        "https://notlinkedin.com/in/ada",
        "ada-lovelace",
        "https://lnkd.in/abc",
    ],
)
def test_what_is_no_profile_is_named_and_kept(written):
    assert cleaned("linkedin_url", written) == (written, ["bad_linkedin_url"])


def test_a_sales_navigator_link_is_kept_aside_and_is_not_enough():
    link = "https://www.linkedin.com/sales/lead/ACwAAAbCdEf,NAME_SEARCH,x1"
    contact, faults = clean_contact(ADA | {"linkedin_url": link})
    assert contact == ADA | {"sales_navigator_url": link}
    assert faults == []
    contact, faults = clean_contact({"linkedin_url": link})
    assert contact == {"sales_navigator_url": link}
    assert [fault.code for fault in faults] == ["missing_name", "missing_company"]
    assert "Sales Navigator" in faults[0].message


def test_a_sales_navigator_link_takes_no_other_fields_place():
    link = "https://www.linkedin.com/sales/people/x"
    contact, _ = clean_contact(ADA | {"linkedin_url": link, "sales_navigator_url": "mine"})
    assert (contact["sales_navigator_url"], contact["sales_navigator_url (2)"]) == ("mine", link)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Lovelace, Ada", "Ada Lovelace"),
        ("van der Berg,  Ada Maria", "Ada Maria van der Berg"),
        ("Ada Lovelace, PhD", "Ada Lovelace"),
        ("Lovelace, Ada, Ph.D.", "Ada Lovelace"),
        ("Lovelace,", "Lovelace"),
        ("Lovelace, Ada, King", "Lovelace, Ada, King"),
        ("Suharto", "Suharto"),
    ],
)
def test_a_name_written_last_name_first_is_put_in_order(written, name):
    assert cleaned("full_name", written) == (name, [])


@pytest.mark.parametrize(
    "raw",
    [
        {"full_name": "Ada Lovelace", "company": "Acme"},
        {"full_name": "Ada Lovelace", "domain": "acme.example"},
        {"first_name": "Ada", "last_name": "Lovelace", "company": "Acme"},
        {"linkedin_url": "linkedin.com/in/ada"},
        {"first_name": "Ada", "linkedin_url": "linkedin.com/in/ada"},
    ],
)
def test_enough_is_a_name_and_a_company_or_a_profile(raw):
    assert codes(raw) == []


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"company": "Acme"}, [("full_name", "missing_name")]),
        ({"first_name": "Ada", "company": "Acme"}, [("full_name", "missing_name")]),
        ({"full_name": "Ada"}, [("company", "missing_company")]),
        ({"first_name": "Ada"}, [("full_name", "missing_name"), ("company", "missing_company")]),
        ({"full_name": "Ada", "domain": "acme"}, [("domain", "bad_domain")]),
        (
            {"linkedin_url": "x"},
            [("linkedin_url", "bad_linkedin_url"), ("full_name", "missing_name"), ("company", "missing_company")],
        ),
        ({}, [("", "empty")]),
        ({"full_name": " ", "company": None, "domain": "-"}, [("", "empty")]),
        (ADA | {"full_name": "a" * 10_000}, [("full_name", "too_long")]),
        (ADA | {"company": "a" * 201}, [("company", "too_long")]),
        (ADA | {"domain": "a" * 10_000}, [("domain", "too_long")]),
        (ADA | {"Notes": "n" * 2_001}, [("Notes", "too_long")]),
        (ADA | {"n" * 201: "x"}, [("n" * 201, "too_long")]),
        (ADA | {"full_name": "Ada\x00Lovelace"}, [("full_name", "nul_byte")]),
        (ADA | {"Notes": "\x00"}, [("Notes", "nul_byte")]),
        (ADA | {"Notes": "\ud800"}, [("Notes", "bad_text")]),
        (ADA | {"full_name": ["Ada"]}, [("full_name", "not_text")]),
        (ADA | {"full_name": True}, [("full_name", "not_text")]),
        (ADA | {"company": {"name": "Acme"}}, [("company", "not_text")]),
        (ADA | {"Tags": ["a", "b"]}, [("Tags", "not_text")]),
        (ADA | {f"f{n}": "" for n in range(201)}, [("", "too_many_fields")]),
    ],
)  # fmt: skip
def test_each_fault_has_its_field_and_name(raw, expected):
    assert codes(raw) == expected


def test_limits_are_the_last_that_pass():
    fields = {f"f{n}": "x" * 2_000 for n in range(200)}
    assert codes({"full_name": "a" * 200, "company": "b" * 200} | fields) == []


def test_nothing_given_is_thrown_away():
    long = "a" * 10_000
    contact, _ = clean_contact(
        {"full_name": long, "company": ["x"], "Notes": "n" * 3_000, "a\x00b": "1", "a\ufffdb": "2"}
    )
    assert contact["full_name"] == long
    assert contact["company"] == '["x"]'
    assert len(contact["Notes"]) == 3_000
    assert {contact[name] for name in contact if name.startswith("a\ufffdb")} == {"1", "2"}


def test_extra_fields_keep_their_text_to_the_letter():
    extras = {"Notes": "  two\n lines ", "Score": 7, "Share": 0.5, "Empty": None, "Opt in": True, "Blank": ""}
    contact, faults = clean_contact(ADA | extras)
    assert faults == []
    assert contact == ADA | {
        "Notes": "  two\n lines ", "Score": "7", "Share": "0.5", "Empty": "", "Opt in": "true", "Blank": "",
    }  # fmt: skip


def test_numbers_are_text_and_hopeless_numbers_are_named():
    assert cleaned("company", 1664) == ("1664", [])
    assert cleaned("company", 3.5) == ("3.5", [])
    assert cleaned("company", 10**5_000)[1] == ["not_text"]
    assert codes(ADA | {"Score": math.nan}) == []


def test_messages_say_what_happened_and_what_to_do():
    messages = {
        fault.code: fault.message for fault in clean_contact({"full_name": "a" * 10_000, "domain": "acme"})[1]
    }
    assert messages["too_long"] == "The full name is 10,000 characters long; 200 are allowed. Shorten it."
    assert messages["bad_domain"].startswith("“acme” is not a domain.")


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("ada@acme.example", "ada@acme.example"),
        (" Ada@ACME.Example ", "Ada@acme.example"),
        ("Ada Lovelace <ada@acme.example>", "ada@acme.example"),
        ("mailto:ada@acme.example?subject=x", "ada@acme.example"),
        ("ada+tag@sub.acme.example", "ada+tag@sub.acme.example"),
        ("ada@müller.example", "ada@xn--mller-kva.example"),
        ("o'brien@acme.example", "o'brien@acme.example"),
        ("ada@www.acme.example", "ada@www.acme.example"),
    ],
)
def test_an_address_is_cleaned(written, address):
    assert clean_email(written) == (address, [])


@pytest.mark.parametrize(
    ("written", "code"),
    [
        (None, "missing_email"),
        ("", "missing_email"),
        ("n/a", "missing_email"),
        ("ada", "bad_email"),
        ("ada@", "bad_email"),
        ("@acme.example", "bad_email"),
        ("ada@localhost", "bad_email"),
        ("ada@acme..example", "bad_email"),
        ("a..b@acme.example", "bad_email"),
        (".ada@acme.example", "bad_email"),
        ("ada@b@acme.example", "bad_email"),
        ("ada lovelace@acme.example", "bad_email"),
        ("ada@acme.example/x", "bad_email"),
        ("a@x.example, b@x.example", "bad_email"),
        ("a" * 250 + "@acme.example", "too_long"),
        ("ada\x00@acme.example", "nul_byte"),
        (["ada@acme.example"], "not_text"),
    ],
)
def test_what_is_no_address_is_named(written, code):
    assert [fault.code for fault in clean_email(written)[1]] == [code]


def test_a_contact_to_verify_keeps_its_other_fields():
    contact, faults = clean_verify_contact({"email": " ada@ACME.example", "Company": " Acme ", "domain": "x"})
    assert (contact, faults) == ({"email": "ada@acme.example", "Company": " Acme ", "domain": "x"}, [])
    assert [fault.code for fault in clean_verify_contact({"email": "", "x": ""})[1]] == ["empty"]
    assert [fault.code for fault in clean_verify_contact({"email": "", "x": "y"})[1]] == ["missing_email"]


def test_one_person_written_two_ways_is_one_identity():
    one, _ = clean_contact(
        {"first_name": "ADA ", "last_name": "lovelace", "domain": "https://WWW.acme.example/x"}
    )
    other, _ = clean_contact(
        {"first_name": "Ada", "last_name": "Lovelace", "full_name": "Lovelace, A.", "domain": "acme.example"}
    )
    third, _ = clean_contact({"full_name": "Lovelace, Ada", "domain": "acme.example"})
    assert contact_identity(one) == contact_identity(other) == contact_identity(third)
    assert contact_identity(one) != contact_identity(third | {"company": "Acme"})
    assert person_name(one) == "ADA lovelace"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.text(alphabet=st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(), JSON_VALUES, max_size=8))
def test_any_json_object_gets_an_answer_that_can_be_stored(raw):
    contact, faults = clean_contact(raw)
    said = [part for fault in faults for part in (fault.field, fault.message)]
    json.dumps([contact, said], ensure_ascii=False).encode("utf-8")
    assert "\x00" not in "".join([*contact, *contact.values(), *said])
    assert all(isinstance(value, str) for value in contact.values())
    assert {
        name for name in raw if name not in FIELDS and name.isascii() and "\x00" not in name
    } <= contact.keys()


@given(st.dictionaries(st.sampled_from(FIELDS), st.text(max_size=60), min_size=1))
def test_a_clean_contact_cleaned_again_stays_the_same(raw):
    once, faults = clean_contact(raw)
    if not faults:
        assert clean_contact(once) == (once, [])

"""What a contact is, and how it is made clean before any vendor is asked.

Pure functions over plain values: no database, no settings. The same rules serve the API and the CSV upload.

Nothing that a caller gave is thrown away: a value at fault stays in the result, beside the fault that names
it. Two things alone are changed for storage's sake, each named by a fault: a NUL byte and half a Unicode
character become U+FFFD.
"""

import json
import re
import unicodedata
from collections.abc import Container, Mapping
from dataclasses import dataclass

from workflows.links import (
    is_linkedin_company_url,
    is_page_on_social_site,
    is_sales_navigator_url,
    normalise_domain,
    normalise_linkedin_url,
)

FIELDS = ("first_name", "last_name", "full_name", "company", "domain", "linkedin_url")
VERIFY_FIELDS = ("email",)

MAX_FIELD_CHARS = 200
MAX_EXTRA_CHARS = 2_000
MAX_EXTRA_FIELDS = 200
MAX_EMAIL_CHARS = 254
# Cleaning shortens a link, so its raw form may be longer than a field; past this it is not worth parsing.
MAX_LINK_CHARS = 2_000

LABELS = {
    "first_name": "first name",
    "last_name": "last name",
    "full_name": "full name",
    "company": "company",
    "domain": "domain",
    "linkedin_url": "LinkedIn link",
    "email": "e-mail address",
}
SALES_NAVIGATOR_FIELD = "sales_navigator_url"

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# Joiners (U+200C, U+200D) are left alone: names in Persian and several Indic scripts need them.
_INVISIBLE = re.compile(
    "[\x01-\x08\x0e-\x1b\x7f\u0080-\u0084\u0086-\u009f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
)
_PLACEHOLDERS = frozenset(
    ("n/a", "#n/a", "#ref!", "#value!", "#name?", "(none)", "(empty)", "[not provided]", "not provided")
)
_LINK_PLACEHOLDERS = _PLACEHOLDERS | {"na", "none", "null", "nil", "unknown"}
_POST_NOMINALS = frozenset(
    (
        "jr",
        "sr",
        "ii",
        "iii",
        "iv",
        "phd",
        "ph.d",
        "dphil",
        "md",
        "m.d",
        "dds",
        "mba",
        "msc",
        "bsc",
        "esq",
        "cpa",
    )
)
_LOCAL_PART = re.compile(r"^[^\s@<>()\[\]\\,;:\"\x00-\x1f\x7f]{1,64}$")
_ADDRESS_IN_BRACKETS = re.compile(r"^[^<>]*<([^<>]+)>$")


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One thing wrong with one field: `code` for programs, `message` for the person who can put it right."""

    field: str
    code: str
    message: str


def clean_contact(raw: Mapping[str, object]) -> tuple[dict[str, str], list[FieldFault]]:
    """Clean one contact of the template `email-waterfall`; return its fields and what is wrong with them.

    Known fields come trimmed, with single spaces, in Unicode NFC, and are left out when empty. `domain` is a
    bare host in ASCII, `linkedin_url` is `https://www.linkedin.com/in/<slug>`. A Sales Navigator link is
    moved to the extra field `sales_navigator_url`, as no vendor can look it up. Extra fields keep their text
    to the letter. A contact without faults has a name and one of company and domain, or a LinkedIn link.
    Never raises.
    """
    contact: dict[str, str] = {}
    faults: list[FieldFault] = []
    for field in FIELDS:
        text = _known_text(field, raw.get(field), faults)
        if text:
            contact[field] = text
    extras = _clean_extras(raw, FIELDS, faults)
    at_fault = {fault.field for fault in faults}
    if "full_name" in contact:
        contact["full_name"] = _name_in_order(contact["full_name"])
    if "domain" in contact and "domain" not in at_fault:
        _settle_domain(contact, faults)
    sales_link = None
    if "linkedin_url" in contact and "linkedin_url" not in at_fault:
        sales_link = _settle_linkedin_url(contact, faults)
    if sales_link:
        extras[_free_key(SALES_NAVIGATOR_FIELD, extras)] = sales_link
    faults.extend(_missing(contact, faults, only_sales_link=bool(sales_link)))
    return contact | extras, faults


def clean_email(raw: object) -> tuple[str, list[FieldFault]]:
    """Clean one e-mail address for the template `email-verify`; return it and what is wrong with it.

    Takes `Ada <ada@x.example>` and `mailto:` apart. The host comes in ASCII and small letters; the part
    before the @ is left as written, as only its mail server knows whether case counts there. Never raises.
    """
    faults: list[FieldFault] = []
    text = _known_text("email", raw, faults)
    if faults:
        return text, faults
    if not text:
        message = "There is no e-mail address here. Fill it in, or leave this contact out."
        return "", [FieldFault("email", "missing_email", message)]
    inside = _ADDRESS_IN_BRACKETS.match(text)
    address = (inside.group(1) if inside else text).strip()
    if address[:7].casefold() == "mailto:":
        address = address[7:].partition("?")[0]
    local, at, host = address.rpartition("@")
    domain = normalise_domain(host) if at and not re.search(r"[/:?#@\s]", host) else None
    if not domain or not _LOCAL_PART.match(local) or ".." in f".{local}.":
        message = f"“{_shown(text)}” is not an e-mail address. Write it as name@company.com."
        return text, [FieldFault("email", "bad_email", message)]
    # The host keeps its own www. here: in an address that is a different mail server.
    if re.match(r"www\d?\.", host, re.IGNORECASE):
        domain = f"{host.split('.')[0].casefold()}.{domain}"
    return f"{local}@{domain}", []


def clean_verify_contact(raw: Mapping[str, object]) -> tuple[dict[str, str], list[FieldFault]]:
    """Clean one contact of the template `email-verify`: the field `email`, and extra fields untouched."""
    email, faults = clean_email(raw.get("email"))
    extras = _clean_extras(raw, VERIFY_FIELDS, faults)
    if not email and not any(extras.values()):
        faults = [fault for fault in faults if fault.code != "missing_email"]
        faults.append(_empty_fault())
    return ({"email": email} if email else {}) | extras, faults


def person_name(contact: Mapping[str, str]) -> str:
    """The name of a cleaned contact as one string, whichever fields it came in; empty if it has none."""
    first_and_last = f"{contact.get('first_name', '')} {contact.get('last_name', '')}".strip()
    return contact.get("full_name") or first_and_last


def contact_identity(contact: Mapping[str, str]) -> tuple[str, str, str, str]:
    """What two cleaned contacts of one person share: name, domain, company, LinkedIn link, in small letters.

    First and last name win over full name, so that a row with all three equals a row with the first two.
    """
    both = contact.get("first_name", "") and contact.get("last_name", "")
    name = f"{contact['first_name']} {contact['last_name']}" if both else person_name(contact)
    rest = (contact.get("domain", ""), contact.get("company", ""), contact.get("linkedin_url", ""))
    domain, company, linkedin_url = (unicodedata.normalize("NFC", text.casefold()) for text in rest)
    return unicodedata.normalize("NFC", name.casefold()), domain, company, linkedin_url


def storable(text: str) -> str:
    """The same text with what PostgreSQL cannot hold (NUL, half a Unicode character) replaced by U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def _known_text(field: str, value: object, faults: list[FieldFault]) -> str:
    """The tidied text of a known field; what is wrong with it is added to `faults`."""
    if value is None:
        return ""
    text = _as_text(field, value, faults, flags_are_text=False)
    text = text if text.isascii() and text.isprintable() else _composed(text)
    text = " ".join(text.split())
    if not text:
        return ""
    is_link = field in ("domain", "linkedin_url", "email")
    if text.casefold() in (_LINK_PLACEHOLDERS if is_link else _PLACEHOLDERS) or _only_punctuation(text):
        return ""
    limit = MAX_EMAIL_CHARS if field == "email" else MAX_LINK_CHARS if is_link else MAX_FIELD_CHARS
    if len(text) > limit:
        faults.append(_too_long(field, LABELS[field], len(text), limit))
    return text


def _as_text(field: str, value: object, faults: list[FieldFault], *, flags_are_text: bool) -> str:
    """Any JSON value as text that can be stored; what could not be taken as it is, is added to `faults`."""
    if isinstance(value, bool) and flags_are_text:
        return "true" if value else "false"
    if isinstance(value, str):
        text = value
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return str(value)
        except ValueError:  # Python refuses to write out integers of more than 4,300 digits
            text = "a very large number"
            faults.append(_not_text(field, text))
    else:
        text = _as_json(value)
        faults.append(_not_text(field, "a list" if isinstance(value, list | tuple) else f"“{_shown(text)}”"))
    if text.isascii() and "\x00" not in text:
        return text
    if "\x00" in text:
        message = f"The {_label(field)} contains a NUL byte, which no text may hold. Remove it."
        faults.append(FieldFault(field, "nul_byte", message))
    if _SURROGATE.search(text):
        message = f"The {_label(field)} contains characters that could not be read. Save the source as UTF-8."
        faults.append(FieldFault(field, "bad_text", message))
    return storable(text)


def _as_json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, TypeError, RecursionError):
        return f"({type(value).__name__})"


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", _INVISIBLE.sub("", text))


def _only_punctuation(text: str) -> bool:
    return len(text) < 10 and all(unicodedata.category(char)[0] in "PS" for char in text)


def _name_in_order(name: str) -> str:
    """`Lovelace, Ada` becomes `Ada Lovelace`; titles after a comma (`Ada Lovelace, PhD`) are left off."""
    parts = [part.strip() for part in name.split(",") if part.strip()]
    while len(parts) > 1 and parts[-1].casefold().rstrip(".") in _POST_NOMINALS:
        parts.pop()
    if len(parts) == 2:
        return f"{parts[1]} {parts[0]}"
    return parts[0] if len(parts) == 1 else name


def _settle_domain(contact: dict[str, str], faults: list[FieldFault]) -> None:
    text = contact["domain"]
    domain = normalise_domain(text)
    if domain is None:
        message = (
            f"“{_shown(text)}” is not a domain. Give one like company.com, or the company's name instead."
        )
        faults.append(FieldFault("domain", "bad_domain", message))
        return
    if is_page_on_social_site(text, domain):
        message = f"“{_shown(text)}” is a page on {domain}. Give the domain of the company's own site."
        faults.append(FieldFault("domain", "bad_domain", message))
        return
    contact["domain"] = domain


def _settle_linkedin_url(contact: dict[str, str], faults: list[FieldFault]) -> str | None:
    """Put the normal form in place; return a Sales Navigator link in place of keeping it here."""
    text = contact["linkedin_url"]
    url = normalise_linkedin_url(text)
    if url and len(url) <= MAX_LINK_CHARS:
        contact["linkedin_url"] = url
        return None
    if is_sales_navigator_url(text):
        return contact.pop("linkedin_url")
    if is_linkedin_company_url(text):
        message = f"“{_shown(text)}” is a company's page. Give the person's own link: linkedin.com/in/…"
    else:
        message = f"“{_shown(text)}” is not a LinkedIn profile. Give a link like linkedin.com/in/…, or none."
    faults.append(FieldFault("linkedin_url", "bad_linkedin_url", message))
    return None


def _missing(contact: dict[str, str], faults: list[FieldFault], *, only_sales_link: bool) -> list[FieldFault]:
    """The faults of a contact with too little to be looked up. What is at fault is not missing as well."""
    at_fault = {fault.field for fault in faults}
    if "linkedin_url" in contact and "linkedin_url" not in at_fault:
        return []
    if not contact and not faults and not only_sales_link:
        return [_empty_fault()]
    missing = []
    has_name = "full_name" in contact or ("first_name" in contact and "last_name" in contact)
    if not has_name and not at_fault & {"first_name", "last_name", "full_name"}:
        half = "last" if "first_name" in contact else "first" if "last_name" in contact else None
        what = f"There is no {half} name" if half else "There is no name"
        message = f"{what}. Give first and last name, a full name, or a link to the public LinkedIn profile."
        if only_sales_link:
            message += " A Sales Navigator link cannot be looked up."
        missing.append(FieldFault("full_name", "missing_name", message))
    if not contact.keys() & {"company", "domain"} and not at_fault & {"company", "domain"}:
        message = "There is no company or domain. Give one of them, or a link to the public LinkedIn profile."
        missing.append(FieldFault("company", "missing_company", message))
    return missing


def _clean_extras(
    raw: Mapping[str, object], known: tuple[str, ...], faults: list[FieldFault]
) -> dict[str, str]:
    extras: dict[str, str] = {}
    for key, value in raw.items():
        if key in known:
            continue
        name = key
        if len(key) > MAX_FIELD_CHARS or not key.isascii() or "\x00" in key:
            name = _clean_extra_name(key, {*raw, *extras}, faults)
        if type(value) is str and len(value) <= MAX_EXTRA_CHARS and value.isascii() and "\x00" not in value:
            text = value  # nearly every cell of nearly every file
        else:
            text = "" if value is None else _as_text(name, value, faults, flags_are_text=True)
            if len(text) > MAX_EXTRA_CHARS:
                faults.append(_too_long(name, f"field “{_shown(name)}”", len(text), MAX_EXTRA_CHARS))
        extras[name] = text
    if len(extras) > MAX_EXTRA_FIELDS:
        message = f"This contact has {len(extras):,} extra fields; {MAX_EXTRA_FIELDS} are allowed."
        faults.append(FieldFault("", "too_many_fields", message))
    return extras


def _clean_extra_name(name: str, taken: Container[str], faults: list[FieldFault]) -> str:
    clean = storable(name)
    if clean != name:
        message = f"The field name “{_shown(clean)}” contains characters that cannot be stored. Rename it."
        faults.append(FieldFault(clean, "bad_text", message))
    if len(name) > MAX_FIELD_CHARS:
        faults.append(_too_long(clean, f"field name “{_shown(clean)}”", len(name), MAX_FIELD_CHARS))
    return clean if clean == name else _free_key(clean, taken)


def _free_key(wanted: str, taken: Container[str]) -> str:
    key, number = wanted, 2
    while key in taken:
        key, number = f"{wanted} ({number})", number + 1
    return key


def _empty_fault() -> FieldFault:
    return FieldFault("", "empty", "This contact is empty. Fill it in, or leave it out.")


def _not_text(field: str, what: str) -> FieldFault:
    return FieldFault(field, "not_text", f"The {_label(field)} is {what}, not text. Give it as text.")


def _too_long(field: str, label: str, length: int, limit: int) -> FieldFault:
    return FieldFault(
        field, "too_long", f"The {label} is {length:,} characters long; {limit:,} are allowed. Shorten it."
    )


def _label(field: str) -> str:
    return LABELS.get(field) or f"field “{_shown(field)}”"


def _shown(text: str) -> str:
    """As much of a value as fits into a message."""
    text = storable(text)
    return text if len(text) <= 60 else text[:57] + "…"

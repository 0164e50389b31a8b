"""What a contact is, and how it is made clean before any vendor is asked.

Pure functions over plain values: no database, no settings. The same rules serve the API and the CSV upload.

Nothing that a caller gave is thrown away: a value at fault stays in the result, beside the fault that names
it. Two things alone are changed for storage's sake, each named by a fault: a NUL byte and half a Unicode
character become U+FFFD.
"""

import re
import unicodedata
from collections.abc import Mapping

from workflows.field_text import (
    MAX_LINK_CHARS,
    FieldFault,
    clean_extras,
    free_name,
    known_text,
    shown,
    storable,
)
from workflows.links import (
    is_linkedin_company_url,
    is_page_on_social_site,
    is_sales_navigator_url,
    normalise_domain,
    normalise_linkedin_url,
)

__all__ = [
    "FIELDS",
    "VERIFY_FIELDS",
    "FieldFault",
    "clean_contact",
    "clean_email",
    "clean_verify_contact",
    "contact_identity",
    "person_name",
    "storable",
]

FIELDS = ("first_name", "last_name", "full_name", "company", "domain", "linkedin_url")
VERIFY_FIELDS = ("email",)

SALES_NAVIGATOR_FIELD = "sales_navigator_url"

# After a comma these are titles and not the first name of somebody written last name first.
_POST_NOMINALS = frozenset(
    ("jr", "sr", "ii", "iii", "iv", "phd", "ph.d", "dphil", "md", "m.d", "mba", "msc", "bsc", "esq", "cpa"),
)
_LOCAL_PART = re.compile(r"^[^\s@<>()\[\]\\,;:\"\x00-\x1f\x7f]{1,64}$")
_ADDRESS_IN_BRACKETS = re.compile(r"^[^<>]*<([^<>]+)>$")


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
        text = known_text(field, raw.get(field), faults)
        if text:
            contact[field] = text
    extras = clean_extras(raw, FIELDS, faults)
    at_fault = {fault.field for fault in faults}
    if "full_name" in contact:
        contact["full_name"] = _name_in_order(contact["full_name"])
    if "domain" in contact and "domain" not in at_fault:
        _settle_domain(contact, faults)
    sales_link = None
    if "linkedin_url" in contact and "linkedin_url" not in at_fault:
        sales_link = _settle_linkedin_url(contact, faults)
    if sales_link:
        extras[free_name(SALES_NAVIGATOR_FIELD, extras)] = sales_link
    faults.extend(_missing(contact, faults, only_sales_link=bool(sales_link)))
    return contact | extras, faults


def clean_email(raw: object) -> tuple[str, list[FieldFault]]:
    """Clean one e-mail address for the template `email-verify`; return it and what is wrong with it.

    Takes `Ada <ada@x.example>` and `mailto:` apart. The host comes in ASCII and small letters; the part
    before the @ is left as written, as only its mail server knows whether case counts there. Never raises.
    """
    faults: list[FieldFault] = []
    text = known_text("email", raw, faults)
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
        message = f"“{shown(text)}” is not an e-mail address. Write it as name@company.com."
        return text, [FieldFault("email", "bad_email", message)]
    # The host keeps its own www. here: in an address that is a different mail server.
    if re.match(r"www\d?\.", host, re.IGNORECASE):
        domain = f"{host.split('.')[0].casefold()}.{domain}"
    return f"{local}@{domain}", []


def clean_verify_contact(raw: Mapping[str, object]) -> tuple[dict[str, str], list[FieldFault]]:
    """Clean one contact of the template `email-verify`: the field `email`, and extra fields untouched."""
    email, faults = clean_email(raw.get("email"))
    extras = clean_extras(raw, VERIFY_FIELDS, faults)
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
            f"“{shown(text)}” is not a domain. Give one like company.com, or the company's name instead."
        )
        faults.append(FieldFault("domain", "bad_domain", message))
        return
    if is_page_on_social_site(text, domain):
        message = f"“{shown(text)}” is a page on {domain}. Give the domain of the company's own site."
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
        message = f"“{shown(text)}” is a company's page. Give the person's own link: linkedin.com/in/…"
    else:
        message = f"“{shown(text)}” is not a LinkedIn profile. Give a link like linkedin.com/in/…, or none."
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


def _empty_fault() -> FieldFault:
    return FieldFault("", "empty", "This contact is empty. Fill it in, or leave it out.")

"""Cleaning of names, domains, addresses and profile URLs, and the identity of a question."""

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from integrations.connectors.base import Query

PROFILE = re.compile(r"(?:https?://)?(?:[a-z0-9-]+\.)*linkedin\.com/in/([^/?#\s]+)", re.IGNORECASE)
MAX_ADDRESS = 254


@dataclass(frozen=True, slots=True)
class Person:
    """A find query, cleaned. First and last are both there or both empty; the domain is bare and in lower case."""

    first: str
    last: str
    full: str
    company: str
    domain: str
    linkedin: str

    @property
    def name(self) -> str:
        return f"{self.first} {self.last}" if self.first else self.full

    @property
    def place(self) -> str:
        """The domain, which vendors match best, or else the company's name."""
        return self.domain or self.company


def clean(value: Any) -> str:
    """One line without invisible characters, inner and outer spaces collapsed; "" for anything but text."""
    if not isinstance(value, str):
        return ""
    if not value.isprintable():
        value = "".join(char for char in value if char.isprintable() or char.isspace())
    if not value.isascii():
        value = unicodedata.normalize("NFC", value)
    return " ".join(value.split())


def bare_domain(value: Any) -> str:
    """The host of a domain, URL or address in lower case, without www., port and path; "" where there is none."""
    text = clean(value).lower()
    text = text.split("://", 1)[-1]
    for mark in "/?#":
        text = text.split(mark, 1)[0]
    text = text.rsplit("@", 1)[-1].split(":", 1)[0].strip(". ")
    text = text.removeprefix("www.")
    return text if "." in text and " " not in text else ""


def profile_slug(value: Any) -> str:
    """The name part of a public LinkedIn profile URL, percent-decoded and in lower case; "" for any other."""
    found = PROFILE.match(clean(value))
    return clean(unquote(found[1])).lower() if found else ""


def profile_url(value: Any) -> str:
    slug = profile_slug(value)
    return f"https://www.linkedin.com/in/{quote(slug, safe='')}" if slug else ""


def read_person(query: Query) -> Person:
    first, last = clean(query.get("first_name")), clean(query.get("last_name"))
    if not (first and last):
        first = last = ""
    domain = bare_domain(query.get("domain"))
    company = clean(query.get("company")) or ("" if domain else clean(query.get("domain")))
    return Person(
        first=first,
        last=last,
        full=clean(query.get("full_name")),
        company=company,
        domain=domain,
        linkedin=profile_url(query.get("linkedin_url")),
    )


def read_address(query: Query) -> str:
    return clean(query.get("email"))


def is_address(value: Any) -> bool:
    """Whether this is one plausible, unmasked e-mail address."""
    if not isinstance(value, str) or not 3 <= len(value) <= MAX_ADDRESS:
        return False
    local, at, domain = value.rpartition("@")
    if not (local and at) or "@" in local or "*" in value or " " in value or not value.isprintable():
        return False
    return "." in domain.strip(".") and domain == domain.strip(".")


def fingerprint(*parts: str) -> str:
    """32 hex digits of the parts, with case and compatibility forms folded away."""
    text = "\x1f".join(parts)
    folded = text.casefold() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    return hashlib.sha256(folded.encode()).hexdigest()[:32]

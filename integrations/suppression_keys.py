"""What a suppression means and whom it covers. Pure.

Addresses, domains and people are compared by keys: normalised text behind a letter for what it is, so that finding them
is equality on one column. The same text always makes the same key, however it was written.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import idna

from integrations.connectors.identity import bare_domain, clean, is_address, profile_slug, read_person

ADDRESS, DOMAIN, PERSON = "address", "domain", "person"
KINDS = (ADDRESS, DOMAIN, PERSON)
MAX_VALUE = 500
MAX_KEY_BYTES = 800
HELP = (
    "Give an e-mail address, a domain, a LinkedIn profile, or a name with a company or domain: “Ada Lovelace, "
    "engines.example”."
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A suppression as it is kept: its kind, its text as people read it, and the key that it is compared by."""

    kind: str
    value: str
    key: str


def read_entry(text: str, kind: str = "") -> Entry | None:
    """What a line of text names; of this kind alone where one is given. None where it names nothing that can be found.

    A name alone is not enough: it would cover strangers.
    """
    text = clean(text[: MAX_VALUE + 1])
    if not text or len(text) > MAX_VALUE:
        return None
    readers = {ADDRESS: _address, PERSON: _person, DOMAIN: _domain}
    for name, reader in readers.items():
        entry = reader(text) if kind in ("", name) else None
        if entry is not None:
            return entry if len(entry.key.encode()) <= MAX_KEY_BYTES else None
    return None


def keys_of(values: Mapping[str, Any], *, subdomains: bool) -> set[str]:
    """Every key that covers a record's input, a question or an answer. `subdomains`: a domain covers what is below it."""
    keys: set[str] = set()
    domains = {_ascii(bare_domain(values.get("domain")))}
    email = clean(values.get("email"))
    if is_address(email):
        address = _address_text(email)
        keys.add(f"a:{address}")
        domains.add(address.rpartition("@")[2])
    for domain in domains:
        keys |= {f"d:{name}" for name in _covering(domain, subdomains=subdomains)}
    person = read_person(values)
    if person.linkedin:
        keys.add(f"l:{_fold(profile_slug(person.linkedin))}")
    places = {_ascii(person.domain), _fold(person.company)} - {""}
    names = {_fold(name) for name in (person.name, person.full) if name}
    keys |= {_person_key(name, place) for name in names for place in places}
    return keys


def _address(text: str) -> Entry | None:
    bare = text[1:-1] if text.startswith("<") and text.endswith(">") else text.removeprefix("mailto:")
    if not is_address(bare):
        return None
    address = _address_text(bare)
    return Entry(ADDRESS, address, f"a:{address}")


def _domain(text: str) -> Entry | None:
    domain = _ascii(bare_domain(text))
    labels = domain.split(".")
    if len(labels) < 2 or not all(labels) or any(len(label) > 63 for label in labels):
        return None
    return Entry(DOMAIN, domain, f"d:{domain}")


def _person(text: str) -> Entry | None:
    if slug := profile_slug(text):
        return Entry(PERSON, f"linkedin.com/in/{_fold(slug)}", f"l:{_fold(slug)}")
    name, comma, place = text.partition(",")
    name, place = clean(name), clean(place)
    if not comma or " " not in name or not place:
        return None
    domain = _ascii(bare_domain(place))
    return Entry(PERSON, f"{name}, {domain or place}", _person_key(_fold(name), domain or _fold(place)))


def _address_text(text: str) -> str:
    local, _, host = text.rpartition("@")
    return f"{_fold(local)}@{_ascii(host.lower())}"


def _person_key(name: str, place: str) -> str:
    return f"p:{name}|{place}"


def _covering(domain: str, *, subdomains: bool) -> Iterable[str]:
    """The domain and, where a suppression covers what is below it, every domain above it."""
    labels = domain.split(".")
    if len(labels) < 2:
        return []
    return [".".join(labels[start:]) for start in range(len(labels) - 1 if subdomains else 1)]


def _fold(text: str) -> str:
    return clean(unicodedata.normalize("NFKC", text).casefold())


def _ascii(host: str) -> str:
    """A host as it is asked for on the wire; "" where it is none."""
    if host.isascii():
        return host
    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return ""

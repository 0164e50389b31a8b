"""The people of the sandbox: who is found by whom, at which address, and what a verifier says of it.

All of it follows from stable hashes, so the same question gets the same answer on any machine, on any day. A name or
domain with "nobody" in it is never found; one with "everyone" always is, and its address is valid.
"""

import math
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from statistics import NormalDist

NEVER, ALWAYS = "nobody", "everyone"
SPREAD = 0.45
SLOWEST = 6.0
NORMAL = NormalDist()

ADDRESS_FORMS = (
    (0.50, "{first}.{last}"),
    (0.75, "{first[0]}{last}"),
    (0.85, "{first}"),
    (0.95, "{first[0]}.{last}"),
    (1.01, "{first}_{last}"),
)
COMPANY_WORDS = (
    "harbor",
    "cedar",
    "north",
    "lumen",
    "granite",
    "willow",
    "copper",
    "vista",
    "ember",
    "delta",
)
COMPANY_KINDS = ("labs", "works", "foods", "systems", "freight", "studio", "energy", "group")
LETTERS = str.maketrans({"ß": "ss", "ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is true of an address, in ZeroBounce's words; the other vendors say as much as their words allow."""

    status: str
    sub_status: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody asked for: by name and place (a domain or a company's name), or by public profile."""

    name: str
    place: str
    profile: str = ""

    @property
    def identity(self) -> str:
        """Name and place where both are known, so that all vendors mean the same person; else the profile."""
        return f"{self.name}|{self.place}" if self.name and self.place else f"in/{self.profile}"

    @property
    def question(self) -> str:
        return f"{self.name}|{self.place}|{self.profile}"


def digest(*parts: str) -> int:
    return int.from_bytes(blake2b("\x00".join(parts).encode(errors="replace"), digest_size=8).digest())


def fraction(*parts: str) -> float:
    """A stable number in [0, 1)."""
    return (digest(*parts) >> 11) / (1 << 53)


def plain(text: str) -> str:
    return " ".join(text.lower().split())


@lru_cache(maxsize=65_536)
def host(text: str) -> str:
    """The host of a URL or domain; a company's name stays as it is."""
    bare = plain(text).split("//")[-1]
    return bare if " " in bare else re.split(r"[/?#:]", bare)[0].removeprefix("www.").rstrip(".")


def profile(url: str) -> str:
    found = re.search(r"/in/([^/?#]+)", url)
    return plain(found[1] if found else url)


def found_by(vendor: str, share: float, person: Person) -> bool:
    identity = person.identity
    if NEVER in identity:
        return False
    return ALWAYS in identity or fraction(vendor, "found", identity) < share


def address_of(person: Person) -> str:
    """One address for one name and place, whoever asks; people of one company share a form."""
    name, place = person.name, person.place
    if not (name and place):
        name, place = _from_profile(person.profile)
    domain = host(place)
    if "." not in domain:
        domain = (_letters(domain) or "company") + ".example"
    words = [letters for word in name.split() if (letters := _letters(word))]
    words = words or [f"contact{digest(name) % 10_000}"]
    chance = fraction("form", domain)
    form = next(form for bound, form in ADDRESS_FORMS if chance < bound)
    return form.format(first=words[0], last=words[-1]) + "@" + domain


def verdict_of(address: str) -> Verdict:
    address = address.strip().lower()
    if NEVER in address:
        return Verdict("invalid", "mailbox_not_found")
    if ALWAYS in address:
        return Verdict("valid")
    chance, detail = fraction("verdict", address), fraction("detail", address)
    if chance < 0.80:
        return Verdict("valid", "alias_address" if detail < 0.03 else "")
    if chance < 0.88:
        return Verdict("catch-all", "accept_all" if detail < 0.2 else "")
    if chance < 0.93:
        return Verdict("invalid", "mailbox_not_found" if detail < 0.8 else "does_not_accept_mail")
    if chance < 0.97:
        return Verdict("unknown", "greylisted" if detail < 0.5 else "mail_server_did_not_respond")
    return Verdict("do_not_mail", "role_based" if detail < 0.7 else "disposable")


def seconds_for(vendor: str, question: str, median: float) -> float:
    """How long the vendor thinks about this question: log-normal around its median."""
    chance = min(max(fraction(vendor, "seconds", question), 1e-6), 1 - 1e-6)
    return median * min(math.exp(SPREAD * NORMAL.inv_cdf(chance)), SLOWEST)


def _from_profile(slug: str) -> tuple[str, str]:
    words = [word for word in re.split(r"[-_.%\s]+", slug) if word and not any(c.isdigit() for c in word)]
    number = digest("company", slug)
    company = f"{COMPANY_WORDS[number % 10]}-{COMPANY_KINDS[number // 10 % 8]}.example"
    return " ".join(words[:2]) or slug or "somebody", company


def _letters(text: str) -> str:
    text = text.translate(LETTERS)
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
    return "".join(char for char in text if char.isascii() and char.isalnum())

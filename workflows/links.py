"""Web addresses as people write them, brought into the one form that vendors and comparisons need."""

import re
import unicodedata
from functools import lru_cache
from urllib.parse import quote, unquote

import idna

_WEB_SCHEME = re.compile(r"^(?:https?:/*|//)", re.IGNORECASE)
_WWW = re.compile(r"^www\d?\.(?=.+\.)")
_PORT = re.compile(r":\d*$")
_ASCII_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?:[a-z]{2,63}|xn--[a-z0-9-]{1,59})")
SOCIAL_HOSTS = (
    "linkedin.com",
    "facebook.com",
    "instagram.com",
    "twitter.com",
    "x.com",
    "youtube.com",
    "xing.com",
)
_LINKEDIN = re.compile(
    r"^(?:https?:/*|//)?(?:[a-z0-9-]+\.)*linkedin\.com(?::\d+)?/+(.*)$", re.IGNORECASE | re.DOTALL
)
_BARE_PROFILE = re.compile(r"^/?in/(.+)$", re.IGNORECASE | re.DOTALL)
_MEMBER_ID = re.compile(r"^AC[ow]AA[\w-]{10,}$")
_SLUG = re.compile(r"^[^\s/?#<>\"'\\\x00-\x1f\ufffd]{2,150}$")


@lru_cache(maxsize=4096)
def normalise_domain(text: str) -> str | None:
    """The bare host, in ASCII and without `www.`, of a host name, URL or e-mail address, else None."""
    host = _WEB_SCHEME.sub("", text.strip().lower())  # not casefold: ß is a letter of its own in a host
    host = re.split(r"[/?#\\]", host, maxsplit=1)[0]
    host = _PORT.sub("", host.rpartition("@")[2]).rstrip(".")
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii").rstrip(".")
        except (idna.IDNAError, UnicodeError):
            return None
    host = _WWW.sub("", host)
    if len(host) > 253 or not _ASCII_HOST.fullmatch(host):
        return None
    return host


def normalise_linkedin_url(text: str) -> str | None:
    """`https://www.linkedin.com/in/<slug>` for any link to a person's public profile, else None."""
    match = _LINKEDIN.match(text)
    path = match.group(1) if match else text
    profile = _BARE_PROFILE.match(path)
    if not profile:
        return None
    try:
        slug = unquote(re.split(r"[/?#]", profile.group(1), maxsplit=1)[0], errors="strict").strip()
    except UnicodeDecodeError:
        return None
    slug = unicodedata.normalize("NFC", slug)
    # Vanity names ignore case; the opaque member ids that scrapers put in their place do not.
    if not _MEMBER_ID.match(slug):
        slug = unicodedata.normalize("NFC", slug.casefold())
    if not _SLUG.match(slug):
        return None
    return f"https://www.linkedin.com/in/{quote(slug, safe='-_.~')}"


def is_sales_navigator_url(text: str) -> bool:
    """Whether this links to a person inside Sales Navigator or Recruiter, closed to the public."""
    return _linkedin_section(text) in ("sales", "talent", "recruiter")


def is_linkedin_company_url(text: str) -> bool:
    """Whether this links to the LinkedIn page of a company or school and not of a person."""
    return _linkedin_section(text) in ("company", "school", "showcase")


def _linkedin_section(text: str) -> str:
    match = _LINKEDIN.match(text)
    return match.group(1).partition("/")[0].casefold() if match else ""


def is_page_on_social_site(text: str, domain: str) -> bool:
    """Whether a URL with this domain is a page on a social site and not a site of its own."""
    is_social = any(domain == host or domain.endswith("." + host) for host in SOCIAL_HOSTS)
    return is_social and re.search(r"[^/:]/[^/]", text) is not None

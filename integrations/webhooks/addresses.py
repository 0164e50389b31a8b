"""Where a tenant may have us call: addresses of the public internet alone, and never another one than was checked.

A name is resolved once for each attempt, every address that it has is looked at, and the connection goes to the one that
was looked at. So neither a name that changes its mind between two questions, nor a redirect (none is followed), nor a
number that is written in some other way leads inside.
"""

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

LONGEST = 500
PORTS = (443, 8443)
NOT_PUBLIC = "the host is not an address of the public internet"
ODD_HOST = "The host must be a name with a dot, in its usual spelling, or an IP address."
UNKNOWN = "the host name was not found"

CHECK_S = 2.0
_checking = ThreadPoolExecutor(8, thread_name_prefix="webhook-checks")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# What `is_global` of Python 3.11 lets pass, or lets pass in some versions of it.
_INSIDE: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24",
            "192.88.99.0/24", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
            "168.63.129.16/32",  # Azure's host
            "::/8",  # unspecified, loopback, IPv4-mapped and -compatible
            "64:ff9b::/96", "64:ff9b:1::/48",  # NAT64
            "100::/64", "2001::/23", "2001:db8::/32", "2002::/16",  # discard, Teredo and ORCHID, documentation, 6to4
            "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
        ),
    )
)  # fmt: skip


class RefusedAddress(ValueError):
    """An address that is not called; the message says why, in words for whoever entered it, and names nothing of ours."""


@dataclass(frozen=True, slots=True)
class Target:
    """An address in its parts. `host` is in ASCII, without brackets; `path` is what stands in the request."""

    host: str
    port: int
    tls: bool
    path: str


def read(url: str) -> Target:
    """The parts of an address that may be called, as far as that can be told without asking anybody.

    Raises RefusedAddress. The host is taken as it stands: names and numbers in other spellings (decimal, octal, without
    dots, in full-width letters) are refused and not understood, so that nothing understands them otherwise later.
    """
    _refuse_spelling(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise RefusedAddress("This is not an address.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RefusedAddress("The address must start with https:// and name a host.")
    if "@" in parts.netloc:
        raise RefusedAddress("The address must not contain a user name or password.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    tls = parts.scheme == "https"
    target = Target(parts.hostname, port if port is not None else 443 if tls else 80, tls, path)
    _refuse_place(target)
    return target


def _refuse_spelling(url: str) -> None:
    if len(url) > LONGEST:
        raise RefusedAddress(f"The address is longer than {LONGEST} characters.")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise RefusedAddress("The address has characters that no address has.")
    if "#" in url:
        raise RefusedAddress("The address must not contain a #.")
    if not url.lower().startswith(("https://", "http://")):
        raise RefusedAddress("The address must start with https:// and name a host.")


def _refuse_place(target: Target) -> None:
    literal = _literal(target.host)
    if literal is None and not _is_name(target.host):
        raise RefusedAddress(ODD_HOST)
    if _may_be_here(target.host):
        return
    if literal is not None and not is_public(literal):
        raise RefusedAddress(f"This address is refused: {NOT_PUBLIC}.")
    if literal is None and "." not in target.host.removesuffix("."):
        raise RefusedAddress(ODD_HOST)
    if not target.tls:
        raise RefusedAddress("The address must start with https://.")
    if target.port not in PORTS:
        raise RefusedAddress(f"The port must be {' or '.join(map(str, PORTS))}.")


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet, whatever is wrapped in it, and none of our own networks."""
    inside = (*_INSIDE, *settings.OWN_NETWORKS)
    if any(address in network for network in inside if network.version == address.version):
        return False
    if isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped or address.sixtofour or address.teredo
    ):
        return False
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not address.is_private
        and not address.is_link_local
        and not address.is_loopback
    )


async def resolve(target: Target, find: Callable[[str, int], Awaitable[list[str]]]) -> str:
    """The one address to connect to now; `find` gives all that a name has. Raises RefusedAddress when the name is not known
    or has any address that is not public (who mixes them has something in mind), and what `find` raises."""
    literal = _literal(target.host)
    if literal is not None:
        return _checked([str(literal)], target)
    return _checked(await find(target.host, target.port), target)


def check(url: str) -> Target:
    """As `read`, and the name is looked up: for addresses that somebody enters. One that is not known yet, or that nobody
    tells of in time, may be saved: it is looked up for each attempt.

    Takes up to CHECK_S: not inside a transaction. Raises RefusedAddress.
    """
    target = read(url)
    if _literal(target.host) is None:
        asking = _checking.submit(look_up, target.host, target.port)
        try:
            found = asking.result(CHECK_S)
        except (RefusedAddress, TimeoutError):
            asking.cancel()
            return target
        _checked(found, target)
    return target


def look_up(host: str, port: int) -> list[str]:
    """Ask the system's resolver, which may take its time. Raises RefusedAddress when it knows no address."""
    try:
        found: Sequence[Any] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise RefusedAddress(UNKNOWN) from None
    return [entry[4][0] for entry in found]


def _checked(found: list[str], target: Target) -> str:
    """The first of these, when all of them may be called."""
    if not found:
        raise RefusedAddress(UNKNOWN)
    for text in found:
        address = _literal(text)
        if address is None or not (is_public(address) or (address.is_loopback and _may_be_here(target.host))):
            raise RefusedAddress(NOT_PUBLIC)
    return min(found, key=lambda text: ":" in text)  # IPv4 where there is both: it works from more places


def _literal(host: str) -> Address | None:
    """The address that a host is in its usual spelling; None for a name, and for any other spelling."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return None if isinstance(address, ipaddress.IPv6Address) and address.scope_id else address


def _is_name(host: str) -> bool:
    """Letters, digits, hyphens and dots, and a last part that is not a number: that would be an address in disguise."""
    labels = host.removesuffix(".").split(".")
    sound = all(
        label and len(label) <= 63 and label.replace("-", "").replace("_", "").isalnum() and label[0] != "-"
        for label in labels
    )
    last = labels[-1]
    return sound and len(host) <= 253 and not last.isdigit() and not last.lower().startswith("0x")


def _may_be_here(host: str) -> bool:
    """Local and test environments may say that this machine is called, under its own name, so that one can try it out."""
    if not settings.WEBHOOKS_TO_LOOPBACK:
        return False
    literal = _literal(host)
    return host == "localhost" if literal is None else literal.is_loopback

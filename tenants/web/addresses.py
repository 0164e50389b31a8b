"""How an e-mail address is shown: letters of other scripts look like ours, so a domain that has them is spelled twice."""

import idna


def other_spelling(email: str) -> str:
    """The domain as the mail system writes it (xn--…) where it is shown in letters, and in letters where it is shown so.

    Empty for a plain domain, and for one that no letters belong to.
    """
    domain = email.rpartition("@")[2].lower()
    try:
        if not domain.isascii():
            return idna.encode(domain, uts46=True).decode("ascii")
        if any(label.startswith("xn--") for label in domain.split(".")):
            return idna.decode(domain)
    except (idna.IDNAError, UnicodeError):
        return ""
    return ""

"""Mails of ours about a tenant: plain text, short, with nothing in them that a stranger could make act.

Sent when no transaction is open: a mail server that thinks must not hold locks.
"""

import re
import smtplib
import unicodedata
from collections.abc import Iterable

import structlog
from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.template.loader import render_to_string

from tenants.models import Invitation

LONGEST_NAME = 80
SUBJECTS = {
    "payment_failed": "a payment for “{tenant}” failed",
    "trial_ending": "the trial of “{tenant}” ends soon",
    "plan_changed": "“{tenant}” has the plan {now} now",
    "quota_warning": "{share} the month's records are used",
    "disputed": "a payment for “{tenant}” was disputed",
}
_log = structlog.stdlib.get_logger("weir.mails")
# What mail programs turn into a link: a scheme with what follows it, two slashes, and names with dots inside.
_SCHEMES = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*):/+|\b(https?|ftp|mailto|javascript|data|tel|sms):|//+")
_DOTS = re.compile(r"(?<=\w)[.。．｡](?=\w)")


def harmless(name: str) -> str:
    """A name that a tenant or person chose, as it may stand in a mail to a stranger: one line, no links, not long.

    Nothing but the links is lost: "Acme: Berlin" stays, "evil.example/x" becomes "evil[.]example/x".
    """
    printable = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in name)
    words = " ".join(_DOTS.sub("[.]", _SCHEMES.sub(" ", printable)).split())
    return words if len(words) <= LONGEST_NAME else words[: LONGEST_NAME - 1] + "…"


def send_invitation(invitation: Invitation, *, tenant_name: str, invited_by: str, link: str) -> bool:
    """Mail the link to whom it is for; False when the mail server did not take it."""
    facts = {
        "tenant": harmless(tenant_name),
        "invited_by": invited_by,
        "email": invitation.email,
        "role": invitation.role,
        "link": link,
        "expires_at": invitation.expires_at,
    }
    subject = f"{invited_by} invites you to “{facts['tenant']}”"
    return _send([_message(invitation.email, subject, "mail/invitation.txt", facts)])


def send_ownership_moved(*, tenant_name: str, former: str, owner: str, by: str) -> bool:
    """Tell the former owner and the new one; `former`, `owner` and `by` are e-mail addresses."""
    facts = {"tenant": harmless(tenant_name), "former": former, "owner": owner, "by": by}
    subject = f"“{facts['tenant']}” has a new owner"
    return _send(
        [
            _message(to, subject, "mail/ownership_moved.txt", facts | {"you_own_it": to == owner})
            for to in dict.fromkeys((former, owner))
            if to
        ]
    )


def send_lane_paused(
    to: Iterable[str], *, tenant_name: str, vendor: str, key_hint: str, kind: str, why: str, link: str
) -> bool:
    """Tell a tenant's admins that a vendor refuses their key (`kind`: auth_failed) or is out of credits (no_credits)."""
    facts: dict[str, object] = {
        "tenant": harmless(tenant_name),
        "vendor": vendor,
        "key_hint": key_hint,
        "kind": kind,
        "why": harmless(why),
        "link": link,
    }
    what = "is out of credits" if kind == "no_credits" else "refuses your key"
    subject = f"{vendor} {what} …{key_hint}"
    return _send([_message(address, subject, "mail/lane_paused.txt", facts) for address in to])


def send_low_balance(
    to: Iterable[str],
    *,
    tenant_name: str,
    vendor: str,
    key_hint: str,
    credits: str,
    runs_out: object,
    link: str,
) -> bool:
    """Tell a tenant's admins that a key has few of the vendor's credits left; `runs_out`: about when, or None."""
    facts: dict[str, object] = {
        "tenant": harmless(tenant_name), "vendor": vendor, "key_hint": key_hint, "credits": credits,
        "runs_out": runs_out, "link": link,
    }  # fmt: skip
    subject = f"{vendor} …{key_hint} has {credits} credits left"
    return _send([_message(address, subject, "mail/low_balance.txt", facts) for address in to])


def send_webhook_trouble(
    to: Iterable[str], *, tenant_name: str, url: str, kind: str, why: str, since: object, link: str
) -> bool:
    """Tell a tenant's admins that an endpoint of theirs fails (`kind`: failing, since when) or is off (disabled, why)."""
    facts: dict[str, object] = {
        "tenant": harmless(tenant_name), "url": harmless(url.partition("?")[0]), "kind": kind, "why": why, "since": since,
        "link": link,
    }  # fmt: skip
    subject = "a webhook endpoint was switched off" if kind == "disabled" else "a webhook endpoint fails"
    return _send([_message(address, subject, "mail/webhook_trouble.txt", facts) for address in to])


def send_billing(to: Iterable[str], *, kind: str, facts: dict[str, object]) -> bool:
    """Tell a tenant's admins of its billing. `kind` is one of SUBJECTS; its template reads `facts`."""
    subject = SUBJECTS[kind].format(**facts)
    return _send([_message(address, subject, f"mail/billing_{kind}.txt", facts) for address in to])


def _message(to: str, subject: str, template: str, facts: dict[str, object]) -> EmailMessage:
    return EmailMessage(f"Weir: {subject}", render_to_string(template, facts).strip() + "\n", to=[to])


def _send(messages: Iterable[EmailMessage]) -> bool:
    """Hand over to the mail server. Neither addresses nor texts are logged: they are people's, and hold links."""
    messages = list(messages)
    try:
        connection = get_connection(timeout=settings.EMAIL_TIMEOUT)
        return (connection.send_messages(messages) or 0) == len(messages)
    except (smtplib.SMTPException, OSError, ValueError) as error:
        _log.warning("mail_not_sent", error=type(error).__name__, mails=len(messages))
        return False

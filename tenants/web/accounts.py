"""What allauth asks us: who may sign up, where people go after signing in, and how callers are told apart."""

from typing import Any, cast

import structlog
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from allauth.core import context as allauth_context
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.urls import reverse

from tenants import context
from tenants.models import User
from tenants.queries import OpenInvitation, open_invitation
from tenants.web.confirmed import is_confirmed

_log = structlog.stdlib.get_logger("weir.accounts")

INVITATION = "invitation"
"""Session key of somebody who follows an invitation: {"digest": which one, in hex, "proven": whether they came by the
mailed link}. Not the link itself: whoever reads the sessions must not be able to follow it."""


def followed(request: HttpRequest) -> tuple[OpenInvitation | None, bool]:
    """The invitation that this browser follows, while it is open still, and whether its mailed link was opened."""
    kept = request.session.get(INVITATION)
    if not isinstance(kept, dict):
        return None, False
    found = open_invitation(bytes.fromhex(kept["digest"]))
    return found, found is not None and bool(kept["proven"])


class AccountAdapter(DefaultAccountAdapter):
    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": "This e-mail address and password do not belong together. Check both and try again.",
        "too_many_login_attempts": "Too many attempts. Wait a few minutes, then try again or set a new password.",
        "account_inactive": "This account is switched off. Ask whoever runs Weir for you.",
        "incorrect_code": "This is not the code, or it is too old. Check it and try again.",
        "incorrect_password": "This is not your password. Try again, or set a new one.",
        "enter_current_password": "This is not your current password. Nothing was changed.",
        "duplicate_email": "This is your address already.",
        "rate_limited": "Too many attempts. Wait a few minutes, then try again.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """By WEIR_SIGNUP: everybody, whoever follows an invitation, or nobody."""
        if settings.SIGNUP == "invited":
            return followed(request)[0] is not None
        return bool(settings.SIGNUP == "open")

    def is_email_verified(self, request: HttpRequest, email: str) -> bool:
        """At sign-up: the address that a mailed invitation proves needs no code; any other does."""
        found, proven = followed(request)
        return found is not None and proven and found.email == email.lower()

    def save_user(self, request: HttpRequest, user: User, form: Any, commit: bool = True) -> User:
        user.name = form.cleaned_data.get("name", "")
        return cast(User, super().save_user(request, user, form, commit))

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        """Back to the invitation that brought the person here, else to the pages."""
        if INVITATION in request.session:
            return reverse("invitation_followed")
        return str(super().get_login_redirect_url(request))

    def get_signup_redirect_url(self, request: HttpRequest) -> str:
        return self.get_login_redirect_url(request)

    def logout(self, request: HttpRequest) -> None:
        """Who signs out to come back to an invitation as somebody else still follows it."""
        kept = request.session.get(INVITATION)
        super().logout(request)
        if kept and request.POST.get("next") == reverse("invitation_followed"):
            request.session[INVITATION] = kept

    def get_email_verification_redirect_url(self, email_address: EmailAddress) -> str:
        return "/accounts/email/" if self.request.user.is_authenticated else "/accounts/login/"

    def is_reauthentication_required(self, *, app: str, **options: Any) -> bool:
        """allauth's own pages ask again under the same rule as ours: signing in counts."""
        required = super().is_reauthentication_required(app=app, **options)
        return bool(required) and not is_confirmed(allauth_context.request)

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """A mail server that does not answer undoes nothing that the person did; they are told of it.

        Links lead to BASE_URL where it is set, not to the host that the caller names.
        """
        if settings.BASE_URL:
            here = self.request.build_absolute_uri("/")
            base = settings.BASE_URL.rstrip("/") + "/"
            links = {name: value for name, value in context.items() if name.endswith("_url")}
            context = context | {
                name: base + str(value).removeprefix(here) for name, value in links.items() if value
            }
        try:
            super().send_mail(template_prefix, email, context)
        except OSError as error:  # SMTPException is one
            _log.error("mail_not_sent", kind=template_prefix, error=type(error).__name__)
            messages.error(self.request, "The mail could not be sent. Try again in a few minutes.")

    def get_client_ip(self, request: HttpRequest) -> str:
        """The caller as our proxies saw it (config/middleware.py), not as it says itself. Raises PermissionDenied."""
        ip = context.current().ip
        if not ip:
            raise PermissionDenied("Your address could not be told.")
        return ip

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        # By address alone. allauth adds the Host header with its port, which the caller chooses.
        return str(credentials.get("email", "")).lower()


class MFAAdapter(DefaultMFAAdapter):
    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": "This is not the code, or it is too old. Wait for the next one and try again.",
        "unverified_email": "Verify your e-mail address first.",
    }

    def generate_authenticator_name(self, user: Any, type: Any) -> str:
        return "Passkey"

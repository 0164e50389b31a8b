"""What allauth asks us: who may sign up, and where people go after signing in."""

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest


class AccountAdapter(DefaultAccountAdapter):
    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": "This e-mail address and password do not belong together. Check both and try again.",
        "too_many_login_attempts": "Too many attempts. Wait a few minutes, then try again or set a new password.",
        "account_inactive": "This account is switched off. Ask whoever runs Weir for you.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False  # operators create tenants; self-service sign-up comes with e-mail verification

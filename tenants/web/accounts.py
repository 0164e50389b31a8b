"""What allauth asks us: who may sign up, and where people go after signing in."""

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest


class AccountAdapter(DefaultAccountAdapter):
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False  # operators create tenants; self-service sign-up comes with e-mail verification

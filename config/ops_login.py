"""Signing in to the ops console: by e-mail, with the same limit on guesses as everywhere else."""

from typing import Any

from allauth.account.adapter import get_adapter
from unfold.forms import AuthenticationForm


class OpsLoginForm(AuthenticationForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].label = "E-mail address"
        self.fields["username"].widget.input_type = "email"

    def clean(self) -> dict[str, Any]:
        email, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if email and password:
            # The adapter counts failures by address and by e-mail, and refuses (ValidationError) when they are many.
            self.user_cache = get_adapter(self.request).authenticate(
                self.request, email=email.strip().lower(), password=password
            )
            if self.user_cache is None:
                raise self.get_invalid_login_error()
            self.confirm_login_allowed(self.user_cache)
        data: dict[str, Any] = self.cleaned_data
        return data

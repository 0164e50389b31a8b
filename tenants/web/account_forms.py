"""allauth's forms in Weir's words: labels above, help in a sentence, no text inside the fields."""

from typing import Any

from allauth.account import forms as account
from allauth.mfa import app_settings as mfa_settings
from allauth.mfa.base import forms as mfa
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.totp.internal.auth import TOTP
from allauth.mfa.webauthn.forms import AddWebAuthnForm
from django import forms
from django.contrib.auth.hashers import make_password
from django.core.cache import cache
from django.core.validators import MaxLengthValidator
from django.http import HttpRequest

NEW_PASSWORD = "At least 10 characters, and not one of the passwords that everybody uses."
WORDS = {
    "email": ("E-mail", ""),
    "oldpassword": ("Current password", ""),
    "password": ("Password", ""),
    "password1": ("New password", NEW_PASSWORD),
    "password2": ("New password, again", ""),
    "code": ("Code", ""),
}


LONGEST_ADDRESS = 254
"""Characters of an e-mail address, as the tables hold it; allauth would cut a longer one."""


def fits(address: str) -> None:
    """Raises ValidationError for an address that would be cut: lower case can be longer than what was typed."""
    if len(address.lower()) > LONGEST_ADDRESS:
        raise forms.ValidationError(f"An e-mail address has at most {LONGEST_ADDRESS} characters.")


class Plain:
    """Puts our words in the place of allauth's."""

    fields: dict[str, forms.Field]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.widget.attrs.pop("placeholder", None)
            if name in WORDS:
                field.label, field.help_text = WORDS[name]
        if "email" in self.fields:
            rules = self.fields["email"].validators
            kept = [rule for rule in rules if not isinstance(rule, MaxLengthValidator)]
            self.fields["email"].validators = [*kept, fits]
            self.fields["email"].widget.attrs["maxlength"] = str(LONGEST_ADDRESS)
        for name in {"code"} & self.fields.keys():
            self.fields[name].widget.attrs |= {"autocomplete": "one-time-code", "autofocus": True}


class SignUpForm(Plain, account.SignupForm):
    name = forms.CharField(
        label="Your name",
        max_length=120,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )
    field_order = ("name", "email", "password1")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password1"].label = "Password"

    def try_save(self, request: HttpRequest) -> Any:
        if self.account_already_exists:
            # The other way hashes a password; without this its time would tell known addresses from new ones.
            make_password(self.cleaned_data["password1"])
        return super().try_save(request)


class ChangeEmailForm(Plain, account.AddEmailForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["email"].label = "New e-mail"


class ChangePasswordForm(Plain, account.ChangePasswordForm):
    pass


class SetPasswordForm(Plain, account.SetPasswordForm):
    pass


class ResetPasswordForm(Plain, account.ResetPasswordForm):
    pass


class ResetPasswordKeyForm(Plain, account.ResetPasswordKeyForm):
    pass


class ReauthenticateForm(Plain, account.ReauthenticateForm):
    pass


class EmailCodeForm(Plain, account.ConfirmEmailVerificationCodeForm):
    pass


def spend(app: TOTP, code: str) -> None:
    """Note that a code of an app was used, for as long as it would be accepted."""
    steps = 2 * mfa_settings.TOTP_TOLERANCE + 1
    cache.set(app._get_used_cache_key(code), "y", steps * mfa_settings.TOTP_PERIOD)


class Once:
    """Keeps a code of an app from working twice for as long as it is accepted; allauth does so for one step alone."""

    cleaned_data: dict[str, Any]
    authenticator: Authenticator

    def clean_code(self) -> str:
        code: str = super().clean_code()  # type: ignore[misc]
        if self.authenticator.type == Authenticator.Type.TOTP:
            spend(self.authenticator.wrap(), code)
        return code


class CodeForm(Once, Plain, mfa.AuthenticateForm):
    pass


class ConfirmByCodeForm(Once, Plain, mfa.ReauthenticateForm):
    pass


class ActivateAppForm(Plain, ActivateTOTPForm):
    def clean_code(self) -> str:
        """The code that sets the app up has been used as well: it does not sign in a moment later."""
        code: str = super().clean_code()
        spend(TOTP(Authenticator(user=self.user)), code)
        return code


class AddPasskeyForm(Plain, AddWebAuthnForm):
    """Always a passkey: one that signs in alone, and so asks for a finger, a face or a PIN."""

    name = forms.CharField(
        label="Name",
        max_length=60,
        required=False,
        help_text="What you call the device that keeps it, such as “Work laptop”.",
    )
    passwordless = forms.BooleanField(initial=True, required=False, widget=forms.HiddenInput)

"""A form field for what must not be seen again."""

from typing import Any

from django import forms

from tenants.secret import Secret


class SecretField(forms.CharField):
    """A secret typed into a form: cleans to a `Secret`; the page never gets it back."""

    widget = forms.PasswordInput

    def __init__(self, **kwargs: Any) -> None:
        attrs = {"autocomplete": "off", "spellcheck": "false"}
        super().__init__(**{"widget": forms.PasswordInput(attrs=attrs), **kwargs})

    def clean(self, value: Any) -> Any:
        return Secret(super().clean(value))

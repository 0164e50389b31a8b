"""The forms of API keys."""

from datetime import datetime, timedelta

from django import forms
from django.utils import timezone

from tenants.models import ApiKey
from tenants.operations.keys import MAX_NAME, OVERLAP_SECONDS

LIVES = [("", "Never"), ("30", "In 30 days"), ("90", "In 90 days"), ("365", "In a year")]
OVERLAPS = [
    ("3600", "1 hour"),
    (str(OVERLAP_SECONDS), "1 day"),
    ("604800", "7 days"),
    ("0", "Not at all: refuse the old key at once"),
]
SCOPES = [
    (ApiKey.Scope.READ, "Read", "See runs, records, results, vendors and usage."),
    (ApiKey.Scope.WRITE, "Write", "Bring files; start, pause and cancel runs; change workflows."),
    (
        ApiKey.Scope.ADMIN,
        "Admin",
        "Connect vendors, steer lanes, make and end keys, change settings, read the audit trail.",
    ),
]


class KeyForm(forms.Form):
    """A new API key."""

    name = forms.CharField(
        label="Name",
        max_length=MAX_NAME,
        help_text="What will use it, as in “CRM sync”.",
        error_messages={"required": "Give the key a name, so that you know later what uses it."},
    )
    livemode = forms.ChoiceField(
        label="Mode",
        choices=[("live", "Live"), ("test", "Test: reaches the sandbox alone, is not metered")],
        initial="live",
        widget=forms.RadioSelect,
    )
    scopes = forms.MultipleChoiceField(
        label="Scopes",
        choices=[(value, title) for value, title, _ in SCOPES],
        initial=[ApiKey.Scope.READ, ApiKey.Scope.WRITE],
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one scope."},
    )
    life = forms.ChoiceField(
        label="Expires",
        choices=LIVES,
        required=False,
        help_text="An expired key is refused. Rotate it before.",
    )

    def expires_at(self) -> datetime | None:
        days = self.cleaned_data["life"]
        return timezone.now() + timedelta(days=int(days)) if days else None


class RotateForm(forms.Form):
    """How long the old key goes on working beside the new one."""

    overlap = forms.TypedChoiceField(
        label="Keep the old key valid for",
        choices=OVERLAPS,
        coerce=int,
        initial=str(OVERLAP_SECONDS),
        widget=forms.RadioSelect,
    )

"""The forms of webhook endpoints."""

from django import forms

from integrations.webhooks.addresses import LONGEST
from integrations.webhooks.operations import DEFAULT_EVENTS, MAX_DESCRIPTION, OVERLAP_SECONDS
from tenants.events import EVENTS

OVERLAPS = [
    ("3600", "1 hour"),
    (str(OVERLAP_SECONDS), "1 day"),
    ("604800", "7 days"),
    ("0", "Not at all: the old secret signs nothing more"),
]
EVENT_CHOICES = [(name, name) for name in EVENTS]


class EndpointForm(forms.Form):
    """An endpoint, new or changed."""

    url = forms.CharField(
        label="Address",
        max_length=LONGEST,
        help_text="https, at an address of the public internet. Weir posts there.",
        widget=forms.TextInput(attrs={"inputmode": "url", "autocomplete": "off", "spellcheck": "false"}),
        error_messages={"required": "Give the address to be told of events."},
    )
    description = forms.CharField(
        label="Description",
        max_length=MAX_DESCRIPTION,
        required=False,
        help_text="What listens there, as in “CRM”.",
    )
    events = forms.MultipleChoiceField(
        label="Events",
        choices=EVENT_CHOICES,
        initial=list(DEFAULT_EVENTS),
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one event."},
    )


class RotateSecretForm(forms.Form):
    """How long the old secret goes on signing beside the new one."""

    overlap = forms.TypedChoiceField(
        label="Sign with the old secret as well for",
        choices=OVERLAPS,
        coerce=int,
        initial=str(OVERLAP_SECONDS),
        widget=forms.RadioSelect,
    )


class TestForm(forms.Form):
    """Which event to make up."""

    event = forms.ChoiceField(label="Event", choices=EVENT_CHOICES, initial="run.completed")

"""The forms of the team's pages: shape is checked here, meaning by the operations."""

from collections.abc import Sequence
from typing import Any

from django import forms

from tenants.errors import WeirError
from tenants.models import Membership
from tenants.team_queries import Member
from tenants.web.addresses import other_spelling

ROLES = [
    (Membership.Role.VIEWER, "Viewer", "Sees runs, results, vendors and usage."),
    (Membership.Role.EDITOR, "Editor", "Also starts and steers runs, and changes workflows."),
    (Membership.Role.ADMIN, "Admin", "Also connects vendors, makes API keys, and changes the team."),
]
"""Each role with its name and, in a sentence, what it adds to the one before."""


class InviteForm(forms.Form):
    email = forms.CharField(
        label="E-mail",
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        error_messages={"required": "Give the address of whom you invite."},
    )
    role = forms.ChoiceField(
        label="Role",
        choices=[(role, word) for role, word, _ in ROLES],
        initial=Membership.Role.EDITOR,
        widget=forms.RadioSelect,
        error_messages={"required": "Choose a role.", "invalid_choice": "Choose a role."},
    )

    @property
    def choices(self) -> list[tuple[Any, str]]:
        """The radio of each role with the sentence about it."""
        return [(radio, words) for radio, (_, _, words) in zip(list(self["role"]), ROLES, strict=True)]

    def refuse(self, error: WeirError) -> None:
        """Put what an operation refused beside the field that it names, else beside the address."""
        for entry in error.errors or [{"field": "email", "message": error.detail}]:
            self.add_error(entry["field"], entry["message"])


class RenameForm(forms.Form):
    name = forms.CharField(
        label="Name of the tenant",
        max_length=120,
        widget=forms.TextInput(attrs={"autocomplete": "organization"}),
        error_messages={"required": "Give it a name."},
    )


class TransferForm(forms.Form):
    """To whom, and the tenant's name as typed."""

    member = forms.ChoiceField(
        label="New owner",
        widget=forms.RadioSelect,
        error_messages={"required": "Choose an admin.", "invalid_choice": "Choose one of the admins."},
    )
    name = forms.CharField(
        label="Name of the tenant",
        max_length=200,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        error_messages={"required": "Type the name, so that this does not happen by a slip."},
    )

    def __init__(self, *args: Any, heirs: Sequence[Member], tenant_name: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tenant_name = tenant_name
        self.fields["member"].choices = [(str(heir.pk), _named(heir)) for heir in heirs]  # type: ignore[attr-defined]

    def clean_name(self) -> str:
        typed = " ".join(str(self.cleaned_data["name"]).split())
        if typed != " ".join(self.tenant_name.split()):
            raise forms.ValidationError(f"This is not the name. Type “{self.tenant_name}”.")
        return typed


def _named(heir: Member) -> str:
    other = other_spelling(heir.email)
    return f"{heir.email} (the domain is {other})" if other else heir.email

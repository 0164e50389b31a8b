"""The forms of the pages: shape is checked here, meaning by the operations."""

from decimal import Decimal
from typing import Any

from django import forms

from integrations.connectors import registry
from integrations.models import Connection
from tenants.web.secret_field import SecretField

_PERIODS = [("1", "second"), ("60", "minute"), ("3600", "hour"), ("86400", "day")]


_ON_AMBIGUOUS = [
    ("repeat", "Ask again, even if it is charged twice"),
    ("ask", "Let us decide, call by call"),
    ("accept", "Accept the loss and go on"),
]


def _whole_number(most: str) -> dict[str, str]:
    words = f"Give a whole number from 1 to {most}, or leave it empty."
    return dict.fromkeys(("invalid", "min_value", "max_value"), words)


class _Settings(forms.Form):
    """What is said of a vendor's key when it is connected, and later: its name, limits and price."""

    name = forms.CharField(
        label="Name", max_length=80, required=False, help_text="To tell two keys of one vendor apart."
    )
    rate = forms.IntegerField(
        label="Calls",
        min_value=1,
        max_value=1_000_000,
        required=False,
        error_messages=_whole_number("1,000,000"),
    )
    period = forms.ChoiceField(label="Per", choices=_PERIODS, required=False)
    parallelism = forms.IntegerField(
        label="Calls at once",
        min_value=1,
        max_value=1000,
        required=False,
        error_messages=_whole_number("1,000"),
    )
    price_per_credit = forms.DecimalField(
        label="Price per credit", min_value=Decimal(0), max_digits=12, decimal_places=6, required=False
    )
    currency = forms.CharField(label="Currency", max_length=3, required=False, initial="USD")

    def clean_currency(self) -> str:
        currency = (self.cleaned_data.get("currency") or "USD").upper()
        if len(currency) != 3 or not currency.isascii() or not currency.isalpha():
            raise forms.ValidationError("Give the three letters of a currency, as in USD or EUR.")
        return currency


class ConnectForm(_Settings):
    """A vendor's key, with the limits that its plan allows. The key is never sent back to the page."""

    provider = forms.ChoiceField(label="Vendor")
    secret = SecretField(
        label="API key",
        max_length=4000,
        help_text="Stored encrypted; only its last four characters are shown again.",
        error_messages={"required": "Enter the vendor's API key."},
    )
    mode = forms.ChoiceField(
        label="Mode",
        choices=[("live", "Live"), ("sandbox", "Sandbox")],
        initial="live",
        widget=forms.RadioSelect,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        by_title = sorted((c.title, c.provider) for c in registry.offered())
        self.fields["provider"].choices = [(provider, title) for title, provider in by_title]  # type: ignore[attr-defined]

    def options(self) -> dict[str, Any]:
        """What create_connection takes, limits only where some were given."""
        data = self.cleaned_data
        windows = [{"rate": data["rate"], "period": float(data["period"] or 1)}] if data["rate"] else None
        return {
            "provider": data["provider"],
            "secret": data["secret"],
            "name": data["name"],
            "mode": Connection.Mode(data["mode"]),
            "windows": windows,
            "parallelism": data["parallelism"],
            "price_per_credit": data["price_per_credit"],
            "currency": data["currency"],
        }


class ConnectionForm(_Settings):
    """A connection's settings. Limits are those of one window; what has several keeps them while these are empty."""

    low_balance = forms.DecimalField(
        label="Tell us below this balance",
        min_value=Decimal(0),
        max_value=Decimal(1_000_000_000),
        decimal_places=3,
        required=False,
        help_text="In credits, by e-mail to the admins. Leave it empty to be told when waiting work may need more.",
    )
    on_ambiguous = forms.ChoiceField(
        label="When a call was sent and no answer came", choices=_ON_AMBIGUOUS, widget=forms.RadioSelect
    )

    def changes(self) -> dict[str, Any]:
        """What change_connection takes."""
        data = self.cleaned_data
        low = data["low_balance"]
        found = {name: data[name] for name in ("name", "price_per_credit", "currency", "on_ambiguous")}
        found["low_balance"] = None if low is None else int(low * 1000)
        if data["rate"]:
            found["windows"] = [{"rate": data["rate"], "period": float(data["period"] or 1)}]
        if data["parallelism"]:
            found["parallelism"] = data["parallelism"]
        return found


class StartForm(forms.Form):
    """The last word before a run: its name and, where wanted, a limit on what it may spend."""

    name = forms.CharField(label="Name", max_length=200, required=False)
    credit_limit = forms.DecimalField(
        label="Stop at credits",
        min_value=Decimal(0),
        max_value=Decimal(1_000_000_000),
        decimal_places=3,
        required=False,
        help_text="Work waits at the limit; nothing is lost.",
    )

    def limit_in_thousandths(self) -> int | None:
        limit = self.cleaned_data["credit_limit"]
        return None if limit is None else int(limit * 1000)


class LimitForm(forms.Form):
    """What a run may spend in all; nothing for no limit."""

    credit_limit = forms.DecimalField(
        label="Stop at credits",
        min_value=Decimal(0),
        max_value=Decimal(1_000_000_000),
        decimal_places=3,
        required=False,
        help_text="The run's total, with what it has spent already. Leave it empty for no limit.",
    )

    def in_thousandths(self) -> int | None:
        limit = self.cleaned_data["credit_limit"]
        return None if limit is None else int(limit * 1000)


class NewKeyForm(forms.Form):
    """Another key for a vendor that is connected, or the same one again."""

    secret = SecretField(
        label="API key",
        max_length=4000,
        help_text="Stored encrypted; only its last four characters are shown again.",
        error_messages={"required": "Enter the vendor's API key."},
    )

"""How the ops console looks and what its side bar leads to (settings.UNFOLD)."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy

_TEAL = {
    "50": "oklch(97.7% .014 195)",
    "100": "oklch(94.5% .03 195)",
    "200": "oklch(89% .055 195)",
    "300": "oklch(81% .085 195)",
    "400": "oklch(70% .1 195)",
    "500": "oklch(66% .105 195)",
    "600": "oklch(48% .085 197)",
    "700": "oklch(42% .072 199)",
    "800": "oklch(36% .06 201)",
    "900": "oklch(31% .05 203)",
    "950": "oklch(23% .04 205)",
}


def _may_see(permission: str) -> Callable[[HttpRequest], bool]:
    return lambda request: request.user.has_perm(permission)


def _item(title: str, icon: str, model: str) -> dict[str, Any]:
    app, name = model.split(".")
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{name}_changelist"),
        "permission": _may_see(f"{app}.view_{name}"),
    }


def environment(request: HttpRequest) -> list[str]:
    """The badge beside the title: which installation this is, production unmistakable."""
    from django.conf import settings

    return [settings.WEIR_ENV, "danger" if settings.WEIR_ENV == "production" else "info"]


NAVIGATION: list[dict[str, Any]] = [
    {"items": [{"title": "Overview", "icon": "water", "link": reverse_lazy("admin:index")}]},
    {
        "title": "Customers",
        "separator": True,
        "items": [
            _item("Tenants", "apartment", "tenants.tenant"),
            _item("People", "person", "tenants.user"),
            _item("Members", "group", "tenants.membership"),
            _item("Invitations", "mail", "tenants.invitation"),
            _item("API keys", "key", "tenants.apikey"),
            _item("Trail", "history", "tenants.auditevent"),
            _item("Deleted tenants", "delete_sweep", "tenants.closedtenant"),
        ],
    },
    {
        "title": "Work",
        "separator": True,
        "items": [
            _item("Runs", "play_circle", "workflows.run"),
            _item("Records", "contacts", "workflows.record"),
            _item("Steps", "stairs", "workflows.step"),
            _item("Run events", "timeline", "workflows.runevent"),
            _item("Workflows", "account_tree", "workflows.workflow"),
            _item("Uploads", "upload_file", "workflows.upload"),
        ],
    },
    {
        "title": "Engine",
        "separator": True,
        "items": [
            _item("Lanes", "water_lux", "workflows.lane"),
            _item("Queue", "pending_actions", "workflows.stepqueue"),
            _item("Runs in lanes", "alt_route", "workflows.lanerun"),
            _item("Look-ups", "find_in_page", "workflows.lookup"),
            _item("Connections", "cable", "integrations.connection"),
        ],
    },
    {
        "title": "Billing",
        "separator": True,
        "items": [
            _item("Plans", "sell", "billing.plan"),
            _item("Agreed limits", "tune", "billing.planoverride"),
            _item("Subscriptions", "credit_card", "billing.subscription"),
            _item("Stripe's events", "webhook", "billing.stripeevent"),
            _item("Usage told to Stripe", "speed", "billing.meterbatch"),
            _item("Billing mails", "mail", "billing.billingnotice"),
            _item("Usage ledger", "receipt_long", "billing.usageevent"),
            _item("Totals of deleted tenants", "inventory_2", "billing.closedledger"),
        ],
    },
    {
        "title": "Console",
        "separator": True,
        "items": [_item("Groups of staff", "groups", "auth.group")],
    },
]

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Weir operations",
    "SITE_HEADER": "Weir operations",
    "SITE_SYMBOL": "water",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("favicon.svg")}
    ],
    "SITE_URL": "/app/",
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "BORDER_RADIUS": "6px",
    "ENVIRONMENT": "config.ops_theme.environment",
    "DASHBOARD_CALLBACK": "config.ops_dashboard.context",
    "COLORS": {"primary": _TEAL},
    "SIDEBAR": {"show_search": False, "show_all_applications": False, "navigation": NAVIGATION},
}

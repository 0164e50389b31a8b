"""The audit trail in words: who, what, to what."""

from typing import Any

from tenants.models import AuditEvent
from workflows.web import describe

# verb -> what was done, with {…} out of the entry's detail; a verb that is not here is read as it is spelled.
SENTENCES = {
    "billing.checkout_opened": "went to pay for the plan {plan}",
    "billing.customer_created": "became a customer",
    "billing.event_replayed": "took in Stripe's {type} again",
    "billing.portal_opened": "opened Stripe's pages",
    "billing.usage_sent_again": "sent {records} records of usage to Stripe again",
    "billing.price_changed": "changed what is paid for, from {was} to {now}",
    "calls.accept": "accepted the loss of {calls} ambiguous calls",
    "calls.repeat": "asked again for {calls} ambiguous calls",
    "connection.low_balance": "found the balance of {provider} low",
    "suppressions.added": "put {count} on the suppression list",
    "suppressions.removed": "took {count} off the suppression list",
    "connection.created": "connected {provider}",
    "connection.changed": "changed the settings of {provider}",
    "connection.tested": "tested the key for {provider}",
    "connection.removed": "removed {provider}",
    "connection.secret_replaced": "entered the key for {provider} again",
    "invitation.accepted": "accepted an invitation",
    "invitation.resent": "sent the invitation of {email} again",
    "invitation.revoked": "revoked the invitation of {email}",
    "invitation.sent": "invited {email}",
    "key.created": "created the API key “{name}”",
    "key.revoked": "revoked the API key “{name}”",
    "key.rotated": "rotated the API key “{name}”",
    "lane.alone": "let a lane ask one question a call",
    "lane.paused": "paused a lane",
    "lane.recovered": "found a vendor well again",
    "lane.rests": "let a lane rest",
    "lane.pinned": "changed the limits of a lane",
    "lane.resumed": "let a lane go on",
    "lane.together": "let a lane ask several questions in one call",
    "member.changed": "changed the role of {user}",
    "member.left": "left the team",
    "member.removed": "removed {user} from the team",
    "member.second_factors_removed": "removed the second factors of {user}",
    "member.account_switched_off": "switched off the account of {user}",
    "member.account_switched_on": "switched on the account of {user}",
    "member.made_staff": "made {user} staff of Weir",
    "member.staff_no_longer": "made {user} staff of Weir no longer",
    "ops.added": "added a {subject}",
    "ops.changed": "changed a {subject}",
    "ops.viewed": "looked at a {subject}",
    "plan.changed": "changed the plan",
    "plan.overridden": "agreed on other limits than the plan's, until {until}",
    "plan.override_ended": "ended what was agreed beside the plan",
    "quota.warned": "told that {percent} % of the month's records are used",
    "record.discarded": "put a failed record aside",
    "record.retried": "asked for a record again",
    "run.accepted": "started a run",
    "run.cancelled": "cancelled a run",
    "run.changed": "changed the limit or the turn of a run",
    "run.discarded": "put failed records aside",
    "run.paused": "paused a run",
    "run.retried": "asked for failed records again",
    "run.running": "let a run go on",
    "tenant.active": "opened the tenant again",
    "tenant.changed": "changed the settings",
    "tenant.created": "created the tenant",
    "tenant.export_taken": "downloaded the export",
    "tenant.exported": "exported everything",
    "tenant.suspended": "suspended the tenant",
    "tenant.transferred": "handed the tenant over",
    "upload.created": "brought a file",
    "vault.renewed": "renewed the key of the vault",
    "vault.rewrapped": "wrapped the key of the vault anew",
    "vault.shredded": "destroyed the key of the vault",
    "webhook_delivery.resent": "sent a webhook again",
    "webhook_endpoint.changed": "changed the webhook endpoint at {host}",
    "webhook_endpoint.created": "added the webhook endpoint at {host}",
    "webhook_endpoint.deleted": "deleted the webhook endpoint at {host}",
    "webhook_endpoint.disabled": "switched off the webhook endpoint at {host}",
    "webhook_endpoint.enabled": "switched on the webhook endpoint at {host}",
    "webhook_endpoint.rotated": "rotated the secret of the webhook endpoint at {host}",
    "webhook_endpoint.tested": "sent a test event {event}",
    "workflow.created": "created a workflow",
    "workflow.changed": "changed a workflow",
}
NOUNS = {
    "apikey": "API key", "auditevent": "entry of the trail", "runevent": "event of a run", "stepqueue": "waiting step",
    "lanerun": "run in a lane", "usageevent": "entry of the ledger", "tenantexport": "export",
    "ambiguouscall": "ambiguous call", "creditmonth": "month's credits",
}  # fmt: skip
KINDS = [
    ("run.", "Runs"), ("record.", "Records"), ("upload.", "Files"), ("workflow.", "Workflows"),
    ("calls.", "Ambiguous calls"), ("suppressions.", "Suppressions"), ("connection.", "Vendors"), ("lane.", "Lanes"),
    ("webhook_", "Webhooks"), ("billing.", "Billing"), ("plan.", "The plan"), ("quota.", "The month's records"),
    ("key.", "API keys"), ("member.", "Members"), ("invitation.", "Invitations"), ("tenant.", "The tenant"),
    ("ops.", "Weir's staff"),
]  # fmt: skip
MOST_CHARACTERS = 300


class _Named(dict[str, Any]):
    def __missing__(self, name: str) -> str:
        return "somebody" if name in ("email", "user") else "something"


def who(actor: str) -> str:
    """“ada@example.com”, “API key wk_live_Ab…”, “ops@weir.example, staff of Weir”, “Weir itself”."""
    kind, _, name = actor.partition(":")
    words = {"user": name, "key": f"API key {name}", "staff": f"{name}, staff of Weir"}
    return words.get(kind) or (f"Weir itself ({name.replace('_', ' ')})" if kind == "system" else actor)


def noun(model: str) -> str:
    """What a model's rows are called."""
    return NOUNS.get(model, model)


def what(event: AuditEvent) -> str:
    """What was done, as the rest of a sentence that begins with who did it."""
    named = {name: value for name, value in event.detail.items() if isinstance(value, str | int)}
    if "provider" in named:
        named["provider"] = describe.vendor_title(str(named["provider"]))
    sentence = SENTENCES.get(event.verb)
    if sentence is None:
        subject, _, done = event.verb.partition(".")
        return f"{done.replace('_', ' ') or subject}: {noun(event.subject_type)}"
    return sentence.format_map(_Named(named | {"subject": noun(event.subject_type)}))


def more(event: AuditEvent) -> str:
    """The rest of the detail: “plan: free → pro”, “records: 812”."""
    shown = SENTENCES.get(event.verb, "")
    parts = []
    for name, value in event.detail.items():
        if name == "changes" and isinstance(value, dict):
            parts += [f"{_spelled(key)}: {_change(pair)}" for key, pair in value.items()]
        elif f"{{{name}}}" not in shown and value not in (None, "", [], {}):
            parts.append(f"{_spelled(name)}: {_plain(value)}")
    text = "; ".join(parts)
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


def _spelled(name: str) -> str:
    return name.replace("_", " ")


def _change(pair: Any) -> str:
    return " → ".join(_plain(value) for value in pair) if isinstance(pair, list) else _plain(pair)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{_spelled(str(key))} {_plain(item)}" for key, item in value.items())
    return "none" if value is None else str(value)

"""Who may do what: one table, used by the pages, the API, the ops console's texts and the tests.

A person may do what their role in the tenant reaches; a key, what its scopes name. `owner` is the one administrator
who answers for the tenant. A permission without a scope is for people alone: no key can do it.
"""

from dataclasses import dataclass
from typing import Final

from tenants.models import ApiKey, Membership

VIEWER, EDITOR, ADMIN = (
    Membership.Role.VIEWER.value,
    Membership.Role.EDITOR.value,
    Membership.Role.ADMIN.value,
)
OWNER = "owner"
READ, WRITE, ADMINISTER = ApiKey.Scope.READ.value, ApiKey.Scope.WRITE.value, ApiKey.Scope.ADMIN.value

RANKS: Final = (VIEWER, EDITOR, ADMIN, OWNER)


@dataclass(frozen=True, slots=True)
class Permission:
    """The least role that may do a thing, the scope that a key needs for it, and what the thing is called.

    What is `live_only` reaches past the sandbox: no test key can do it, whatever its scopes.
    """

    role: str
    scope: str | None
    what: str
    live_only: bool = False


PERMISSIONS: Final[dict[str, Permission]] = {
    "tenant.read": Permission(VIEWER, READ, "see the tenant and its plan"),
    "tenant.change": Permission(ADMIN, ADMINISTER, "change the tenant's settings", live_only=True),
    "tenant.export": Permission(ADMIN, None, "export everything that the tenant holds"),
    "tenant.transfer": Permission(OWNER, None, "hand the tenant over to another administrator"),
    "tenant.delete": Permission(OWNER, None, "delete the tenant"),
    "members.read": Permission(VIEWER, None, "see who belongs to the tenant"),
    "members.change": Permission(ADMIN, None, "invite people, change their roles and remove them"),
    "audit.read": Permission(ADMIN, ADMINISTER, "read the audit trail", live_only=True),
    "keys.read": Permission(VIEWER, READ, "see the API keys' names and hints"),
    "keys.change": Permission(ADMIN, ADMINISTER, "create, rotate and revoke API keys"),
    "connections.read": Permission(VIEWER, READ, "see the vendors"),
    "connections.change": Permission(ADMIN, ADMINISTER, "connect vendors and change their keys"),
    "suppressions.read": Permission(VIEWER, READ, "see who is never to be looked up"),
    "suppressions.change": Permission(EDITOR, WRITE, "change who is never to be looked up", live_only=True),
    "lanes.read": Permission(VIEWER, READ, "see the lanes"),
    "lanes.steer": Permission(EDITOR, ADMINISTER, "pause and resume lanes"),
    "lanes.change": Permission(ADMIN, ADMINISTER, "change the limits of lanes"),
    "webhooks.read": Permission(VIEWER, READ, "see the webhook endpoints and what was sent", live_only=True),
    "webhooks.send": Permission(
        EDITOR, ADMINISTER, "send webhooks again and send test events", live_only=True
    ),
    "webhooks.change": Permission(
        ADMIN, ADMINISTER, "add, change and delete webhook endpoints and their secrets", live_only=True
    ),
    "workflows.read": Permission(VIEWER, READ, "see the workflows"),
    "workflows.change": Permission(EDITOR, WRITE, "change workflows", live_only=True),
    "runs.read": Permission(VIEWER, READ, "see runs and their results"),
    "runs.change": Permission(EDITOR, WRITE, "start and steer runs"),
    "billing.change": Permission(ADMIN, None, "choose the plan and pay for it"),
    "usage.read": Permission(VIEWER, READ, "see what was used"),
}


def rank_of(role: str, *, is_owner: bool) -> int:
    """How far a member's role reaches, as a place in `RANKS`."""
    return RANKS.index(OWNER if is_owner else role)


def role_allows(role: str, permission: str, *, is_owner: bool = False) -> bool:
    """Whether a member of this role may do it. Raises KeyError for a permission that is not in the table."""
    return rank_of(role, is_owner=is_owner) >= RANKS.index(PERMISSIONS[permission].role)


def scopes_allow(scopes: tuple[str, ...], permission: str) -> bool:
    """Whether a key with these scopes may do it. Raises KeyError for a permission that is not in the table."""
    scope = PERMISSIONS[permission].scope
    return scope is not None and scope in scopes


def added_by(role: str) -> list[str]:
    """What this role may do and the one below it may not, in words; `role` is one of RANKS."""
    return [permission.what for permission in PERMISSIONS.values() if permission.role == role]

"""The database logins: separate ones, so that what a process may do is decided by how it signed in.

What is wanted of each is written here; `role_state` reads what is there, `role_plan` says and does what is missing.
"""

OWNER, APP, OPS, READONLY, BACKUP = "weir_owner", "weir_app", "weir_ops", "weir_readonly", "weir_backup"
LOOKUP = "weir_lookup"
LOGINS = (OWNER, APP, OPS, READONLY, BACKUP)
LOOKUP_SCHEMA = "lookup"

FLAGS = {
    "SUPERUSER": False,
    "CREATEDB": False,
    "CREATEROLE": False,
    "BYPASSRLS": False,
    "REPLICATION": False,
    "INHERIT": True,
}
"""Attributes of every one of the roles. Only LOGIN differs: LOOKUP has none."""

SETTINGS: dict[str, dict[str, str]] = {
    # A migration that waits for a table makes everybody queue behind it: it fails before any request does.
    OWNER: {"lock_timeout": "5s"},
    READONLY: {"default_transaction_read_only": "on", "statement_timeout": "60s"},
    BACKUP: {"default_transaction_read_only": "on"},
    APP: {
        "statement_timeout": "30s",
        "idle_in_transaction_session_timeout": "60s",
        "lock_timeout": "10s",
        "track_activities": "off",
    },
    OPS: {
        "statement_timeout": "60s",
        "idle_in_transaction_session_timeout": "60s",
        "lock_timeout": "10s",
        "track_activities": "off",
    },
}
"""All tenants' sessions share a login, and what a login's session asks, values and all, every other session of that
login could read in pg_stat_activity: so PostgreSQL is told not to show it. Only a superuser may change that one."""

# A default for one of these would decide whose rows are seen, or as whom, before anybody entered a scope.
HARMFUL_SETTINGS = (
    "role",
    "row_security",
    "search_path",
    "session_authorization",
    "session_replication_role",
)
HARMFUL_PREFIX = "app."

MEMBERSHIPS = {(OWNER, LOOKUP)}
"""(member, of): the owner may act as the lookup role, to create the functions that it owns. No others."""

# Everybody may write large objects by default, read-only logins too, and no policy covers them.
LARGE_OBJECT_WRITERS = (
    "lo_creat", "lo_create", "lo_from_bytea", "lo_put", "lo_truncate", "lo_truncate64", "lo_unlink", "lowrite",
)  # fmt: skip

"""Brings policies, grants and lookup functions up to date after a migrate; touches only what differs.

A release does it while the one before is at work. Policies change under the strongest lock there is, and whoever asks
for a table queues behind it: so each table is mended in a short transaction of its own, which gives up soon when it has
to wait, lets the others through and comes back.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

from psycopg import errors

from tenants import rls
from tenants.catalogue import Relation, relations, surroundings
from tenants.classes import Isolated, table_classes
from tenants.roles import LOGINS, LOOKUP, LOOKUP_SCHEMA
from tenants.verdicts import access_faults, function_faults, policy_holds, unlisted

LOCK_TIMEOUT_MS = 500
PAUSE_SECONDS = 1.0
ATTEMPTS = 120
"""Longer than an app or ops session may idle in a transaction, which then ends, or may take for a statement."""


def apply(cursor: Any) -> list[str]:
    """Mend every existing table and the lookup functions; returns the names of the tables that were changed.

    Must run as the owner, and outside a transaction where others are at work. A table that is right is left alone, so
    that a release which changes nothing here takes no lock. Raises psycopg.errors.LockNotAvailable, with a note that
    names the table, when somebody held one for some minutes; what was mended before stays, and it can be run again.
    """
    connection = cursor.connection
    there = relations(cursor)
    entries = [entry for entry in table_classes() if entry.kind and entry.table in there]
    entries += [entry for name, found in there.items() if (entry := unlisted(found)) and "." not in name]
    changed = []
    for entry in entries:
        found = there[entry.table]
        if next(access_faults(entry, found), None) is None:
            continue
        _soon(connection, entry.table, list(_changes(entry, found)))
        changed.append(entry.table)
    if there.keys() >= rls.LOOKUP_READS.keys():
        around = surroundings(cursor, (*LOGINS, LOOKUP))
        if function_faults(around):
            strays = [function.signature for function in around.functions if function.schema == LOOKUP_SCHEMA]
            _soon(connection, "the lookup functions", list(rls.function_statements(strays)))
    return changed


def _soon(
    connection: Any, what: str, statements: list[str], pause: Callable[[float], None] = time.sleep
) -> None:
    for left in reversed(range(ATTEMPTS)):
        try:
            with connection.transaction():
                connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
                for statement in statements:
                    connection.execute(statement)
            return
        except (errors.LockNotAvailable, errors.DeadlockDetected) as error:
            if not left:
                error.add_note(f"Policies and grants of {what} could not be changed: somebody holds it.")
                raise
        pause(PAUSE_SECONDS)


def _changes(entry: Isolated, found: Relation) -> Iterator[str]:
    """The SQL that mends one table. Grants alone lock nobody out; a policy is altered where it can be."""
    table, wanted = f'public."{entry.table}"', {policy.name: policy for policy in rls.policies(entry)}
    if found.enabled != bool(wanted):
        yield f"ALTER TABLE {table} {'ENABLE' if wanted else 'DISABLE'} ROW LEVEL SECURITY"
    if found.forced != bool(wanted):
        yield f"ALTER TABLE {table} {'' if wanted else 'NO '}FORCE ROW LEVEL SECURITY"
    there = {policy.name: policy for policy in found.policies}
    yield from (f'DROP POLICY "{name}" ON {table}' for name in there.keys() - wanted.keys())
    for name, policy in wanted.items():
        actual = there.get(name)
        if actual is not None and policy_holds(policy, actual):
            continue
        if actual is not None and (actual.verb, actual.permissive) == (policy.verb, True):
            yield f"ALTER POLICY {name} ON {table} {rls.policy_terms(policy)}"
            continue
        if actual is not None:
            yield f"DROP POLICY {name} ON {table}"
        yield rls.policy_made(policy, table)
    if found.grants != {role: verbs for role, verbs in rls.grants(entry).items() if verbs}:
        yield from rls.grant_statements(entry)

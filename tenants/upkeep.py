"""Brings policies, grants and lookup functions up to date after a migrate; touches only what differs."""

from typing import Any

from tenants import rls
from tenants.catalogue import relations, surroundings
from tenants.classes import table_classes
from tenants.roles import LOGINS, LOOKUP, LOOKUP_SCHEMA
from tenants.verdicts import access_faults, function_faults, unlisted


def apply(cursor: Any) -> list[str]:
    """Mend every existing table and the lookup functions; returns the names of the tables that were changed.

    Must run as the owner, in one transaction. A table that is right is left alone, so that a release which changes
    nothing here takes no lock.
    """
    there = relations(cursor)
    entries = [entry for entry in table_classes() if entry.kind and entry.table in there]
    entries += [entry for name, found in there.items() if (entry := unlisted(found)) and "." not in name]
    changed = []
    for entry in entries:
        found = there[entry.table]
        if next(access_faults(entry, found), None) is None:
            continue
        strays = [p.name for p in found.policies if p.name not in {w.name for w in rls.policies(entry)}]
        for statement in rls.statements_for(entry, strays):
            cursor.execute(statement)
        changed.append(entry.table)
    if there.keys() >= rls.LOOKUP_READS.keys():
        _mend_functions(cursor)
    return changed


def _mend_functions(cursor: Any) -> None:
    around = surroundings(cursor, (*LOGINS, LOOKUP))
    if function_faults(around):
        strays = [function.signature for function in around.functions if function.schema == LOOKUP_SCHEMA]
        for statement in rls.function_statements(strays):
            cursor.execute(statement)

"""What PostgreSQL's catalogue says is there. Every login may read it, so `manage.py rls` needs no special one.

Left out: PostgreSQL's own schemas, and what belongs to an installed extension.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tenants import catalogue_sql as sql
from tenants.roles import LARGE_OBJECT_WRITERS, LOOKUP_SCHEMA


@dataclass(frozen=True)
class FoundPolicy:
    name: str
    verb: str
    permissive: bool
    roles: tuple[str, ...]
    using: str
    check: str | None


@dataclass(frozen=True)
class ForeignKey:
    """`set_null`: the columns that ON DELETE SET NULL nulls; empty for all of them. `live`: valid and enforced."""

    name: str
    target: str
    on_delete: str
    on_update: str
    columns: tuple[str, ...]
    target_columns: tuple[str, ...]
    set_null: tuple[str, ...]
    live: bool


@dataclass(frozen=True)
class Unique:
    name: str
    primary: bool
    partial: bool
    live: bool
    columns: tuple[str, ...]


@dataclass(frozen=True)
class FoundTrigger:
    """`definition` as PostgreSQL prints it; `source`: the body of its function. `live`: fires for everybody."""

    name: str
    definition: str
    source: str
    live: bool


@dataclass
class Relation:
    """A table, view or sequence; `kind` is pg_class.relkind, `grants` are by login, the owner's left out."""

    name: str
    schema: str
    kind: str
    enabled: bool
    forced: bool
    partition: bool
    owner: str
    invoker: bool
    policies: list[FoundPolicy] = field(default_factory=list)
    grants: dict[str, frozenset[str]] = field(default_factory=dict)
    foreign_keys: list[ForeignKey] = field(default_factory=list)
    uniques: list[Unique] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    triggers: list[FoundTrigger] = field(default_factory=list)
    columns: dict[str, tuple[bool, str]] = field(default_factory=dict)
    """By name: whether NULL is refused, and the type."""
    column_defaults: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Function:
    schema: str
    name: str
    signature: str
    types: str
    definer: bool
    leakproof: bool
    owner: str
    source: str
    settings: list[str]
    executable_by: list[str]


@dataclass(frozen=True)
class Surroundings:
    """What is beside the tables. `creators`: who may create where; `defaults`: whose new tables are open to whom."""

    functions: list[Function]
    creators: list[tuple[str, str]]
    defaults: list[tuple[str, str]]
    roles: dict[str, bool]
    """By login: whether policies do not hold for it."""
    members: list[tuple[str, str]]
    """(login, role that it can act as)."""
    shown: dict[str, bool]
    """By login: whether every session of its can read what the others ask."""
    users: list[tuple[str, str]]
    """(schema of the lookup functions, who may use it)."""
    parameters: list[tuple[str, str]]
    """(setting, who was granted to set it or to change the server's)."""
    session_defaults: list[tuple[str, str]]
    """(setting, whose sessions begin with a value of it)."""
    event_triggers: list[str]
    writers: list[tuple[str, str]]
    """(function that writes large objects, login that was granted it)."""
    leakproof: list[str]
    """PostgreSQL's own functions that may see rows before policies do, and have not as it comes."""


def relations(cursor: Any, only: Iterable[str] | None = None) -> dict[str, Relation]:
    """Tables, views and sequences by name (`schema.name` outside public); `only` limits them to some names."""
    names = None if only is None else ['"' + name.replace(".", '"."') + '"' for name in only]
    result: dict[str, Relation] = {}
    for row in _rows(cursor, sql.RELATIONS, names):
        result[row[0]] = Relation(*row)
    for query, add in _PARTS:
        for name, *values in _rows(cursor, query, names):
            if name in result:
                add(result[name], *values)
    return result


def _rows(cursor: Any, query: str, names: list[str] | None) -> list[tuple[Any, ...]]:
    condition = "true" if names is None else sql.ONLY
    text = query.format(name=sql.NAME, ours=sql.OURS, only=condition)
    cursor.execute(text, None if names is None else [names] * text.count(condition))
    found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def _add_policy(
    to: Relation, name: str, verb: str, permissive: bool, roles: list[str], using: str, check: str | None
) -> None:
    to.policies.append(FoundPolicy(name, _VERBS[verb], permissive, tuple(roles), _flat(using), _flat(check)))


def _add_grant(to: Relation, role: str, verb: str, grantable: bool, column: str | None) -> None:
    text = verb + (f" ({column})" if column else "") + (" WITH GRANT OPTION" if grantable else "")
    to.grants[role] = to.grants.get(role, frozenset()) | {text}


def _add_foreign_key(
    to: Relation,
    name: str,
    target: str,
    deleted: str,
    updated: str,
    columns: Any,
    targets: Any,
    nulled: Any,
    live: bool,
) -> None:
    to.foreign_keys.append(
        ForeignKey(name, target, deleted, updated, tuple(columns), tuple(targets), tuple(nulled), live)
    )


def _add_unique(
    to: Relation, name: str, primary: bool, partial: bool, live: bool, columns: list[str]
) -> None:
    to.uniques.append(Unique(name, primary, partial, live, tuple(columns)))


def _add_column(to: Relation, name: str, required: bool, kind: str, default: str | None) -> None:
    to.columns[name] = (required, kind)
    if default is not None:
        to.column_defaults[name] = default


def _add_rule(to: Relation, name: str) -> None:
    to.rules.append(name)


def _add_trigger(to: Relation, name: str, definition: str, source: str, live: bool) -> None:
    to.triggers.append(FoundTrigger(name, definition, source, live))


_PARTS: tuple[tuple[str, Callable[..., None]], ...] = (
    (sql.POLICIES, _add_policy),
    (sql.GRANTS, _add_grant),
    (sql.FOREIGN_KEYS, _add_foreign_key),
    (sql.UNIQUES, _add_unique),
    (sql.COLUMNS, _add_column),
    (sql.RULES, _add_rule),
    (sql.TRIGGERS, _add_trigger),
)


def surroundings(cursor: Any, roles: Iterable[str]) -> Surroundings:
    """Functions, who may create, default privileges, and what the named roles may do past policies."""
    names = list(roles)

    def rows(query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        cursor.execute(query, parameters or None)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found

    functions = rows(sql.FUNCTIONS.format(ours=sql.OURS))
    return Surroundings(
        functions=[Function(*row) for row in functions],
        creators=[(row[0], row[1]) for row in rows(sql.CREATORS)],
        defaults=[(row[0], row[1]) for row in rows(sql.DEFAULTS)],
        roles=dict(rows(sql.ROLES, names)),
        members=[(row[0], row[1]) for row in rows(sql.MEMBERS, names)],
        shown=dict(rows(sql.SHOWN, names)),
        users=[(row[0], row[1]) for row in rows(sql.USERS, LOOKUP_SCHEMA)],
        parameters=[(row[0], row[1]) for row in rows(sql.PARAMETERS, names)],
        session_defaults=[(row[0], row[1]) for row in rows(sql.SESSION_DEFAULTS, names)],
        event_triggers=[row[0] for row in rows(sql.EVENT_TRIGGERS)],
        writers=[(row[0], row[1]) for row in rows(sql.WRITERS, list(LARGE_OBJECT_WRITERS), names)],
        leakproof=[row[0] for row in rows(sql.LEAKPROOF)],
    )


_VERBS = {"*": "ALL", "r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE"}


def _flat(expression: str | None) -> Any:
    """On one line: PostgreSQL breaks the lines of sub-selects."""
    return None if expression is None else " ".join(expression.split())

"""Rows of two tenants in every table of tenants, made from the catalogue: a new model needs nothing added here."""

import datetime as dt
import itertools
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from tenants.catalogue import Relation, relations
from tenants.classes import Isolated, models_by_table, table_classes
from tenants.ids import uuid7

Values = dict[str, Any]

# (table, column) -> what introspection cannot know.
HINTS: dict[tuple[str, str], Any] = {}

_COLUMNS = """
    SELECT a.attname, a.attnotnull, a.atthasdef, a.attidentity <> '', t.typname,
           CASE WHEN t.typname IN ('varchar', 'bpchar') THEN a.atttypmod - 4 END
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""


def unused(like: Any) -> Any:
    """A value of the same type that no row has: a key, usually."""
    return next(_unused) if isinstance(like, int) else uuid7()


_unused = itertools.count(1_000_000)


class CannotSeed(Exception):
    """A table that introspection cannot fill; says what to add."""


@dataclass(frozen=True)
class Subject:
    """One table with a row of mine, a row of theirs, and one that a newcomer (`values`' tenant) has yet to insert."""

    entry: Isolated
    found: Relation
    key: tuple[str, ...]
    mine: Values
    theirs: Values
    newcomer: uuid.UUID
    fresh: Values

    @property
    def references(self) -> dict[str, str]:
        """The columns that point at rows of tenants, and the column there; without what says whose the row itself is."""
        walled = {entry.table for entry in table_classes() if entry.walled}
        return {
            column: there
            for key in self.found.foreign_keys
            if key.target in walled
            for column, there in zip(key.columns, key.target_columns, strict=True)
            if column != self.entry.column or self.entry.kind == "junction"
        }

    def pointed_at(self, row: Values, column: str) -> Any:
        """What a row of the same tenant points at; itself, where it points into its own table and at nothing yet."""
        return row[column] if row.get(column) is not None else row[self.references[column]]


@dataclass(frozen=True)
class World:
    """`me` and `them` have a row in every table; each subject's newcomer has all but that one."""

    me: uuid.UUID
    them: uuid.UUID
    subjects: dict[str, Subject]


def build(connection: psycopg.Connection, extra: Iterable[Isolated] = ()) -> World:
    """Seed as the owner. `extra`: tables that no model makes, for tests of the tests. Raises CannotSeed."""
    entries = [entry for entry in (*table_classes(), *extra) if entry.walled]
    seeder = _Seeder(connection, {entry.table: entry for entry in entries})
    me, them = uuid7(), uuid7()
    subjects = {}
    for entry in entries:
        newcomer = uuid7()
        subjects[entry.table] = Subject(
            entry=entry,
            found=seeder.found[entry.table],
            key=seeder.key(entry.table),
            mine=seeder.row(entry.table, me),
            theirs=seeder.row(entry.table, them),
            newcomer=newcomer,
            fresh=seeder.values(entry.table, newcomer),
        )
    return World(me, them, subjects)


class _Seeder:
    def __init__(self, connection: psycopg.Connection, entries: dict[str, Isolated]) -> None:
        self.connection, self.entries = connection, entries
        with connection.cursor() as cursor:
            self.found = relations(cursor)
        self.models = models_by_table()
        self.rows: dict[tuple[str, uuid.UUID], Values] = {}
        self.numbers = iter(range(1, 1_000_000))

    def key(self, table: str) -> tuple[str, ...]:
        return next(unique.columns for unique in self.found[table].uniques if unique.primary)

    def row(self, table: str, tenant: uuid.UUID) -> Values:
        """The tenant's row in a table, inserted with all that it hangs on, when it is not there yet."""
        if (table, tenant) not in self.rows:
            values = self.values(table, tenant)
            statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING *").format(
                sql.Identifier(table),
                sql.SQL(", ").join(map(sql.Identifier, values)),
                sql.SQL(", ").join(sql.Placeholder() * len(values)),
            )
            try:
                cursor = self.connection.execute(statement, list(values.values()))
            except psycopg.Error as error:
                raise CannotSeed(
                    f"{table} cannot be filled by introspection ({error.diag.message_primary}): "
                    "add what its columns need to HINTS in tests/invariants/isolation/seeds.py."
                ) from error
            row = cursor.fetchone()
            assert row
            assert cursor.description
            self.rows[table, tenant] = {
                column.name: Jsonb(value) if self.found[table].columns[column.name][1] == "jsonb" else value
                for column, value in zip(cursor.description, row, strict=True)
            }
        return self.rows[table, tenant]

    def values(self, table: str, tenant: uuid.UUID) -> Values:
        """What a row of the tenant needs; the rows that it points at are inserted, it is not."""
        entry = self.entries.get(table)
        values: Values = {}
        if entry and entry.kind != "junction":
            values[entry.column] = tenant
        for key in self.found[table].foreign_keys:
            # A row that points at another of its own table may point at none.
            if key.target != table:
                parent = self.row(key.target, tenant)
                wanted = zip(key.columns, key.target_columns, strict=True)
                values |= {column: parent[target] for column, target in wanted if column not in values}
        for name, required, default, identity, kind, length in self.connection.execute(
            _COLUMNS, [table]
        ).fetchall():
            if (table, name) in HINTS:
                values[name] = HINTS[table, name]
            elif name not in values and required and (name in self.key(table) or not (default or identity)):
                values[name] = self._value(table, name, kind, length)
        return values

    def _value(self, table: str, column: str, kind: str, length: int | None) -> Any:
        model = self.models.get(table)
        for field in model._meta.local_concrete_fields if model else ():
            if field.column == column and field.choices:
                return next(iter(field.flatchoices))[0]
        number = next(self.numbers)
        makers: dict[str, Any] = {
            "uuid": uuid7(),
            "bool": False,
            "jsonb": Jsonb({}),
            "bytea": uuid.uuid4().bytes * 2,
            "timestamptz": dt.datetime.now(dt.UTC),
            "date": dt.date(2000, 1, 1) + dt.timedelta(days=number),
            "inet": "192.0.2.1",
        }
        if kind in makers:
            return makers[kind]
        if kind.startswith("_"):
            return []
        if kind in ("int2", "int4", "int8", "float4", "float8"):
            return number % 30_000
        if kind == "numeric":  # of however few digits
            return number % 900
        text = f"{number}-{uuid.uuid4().hex}"
        return text[:length] if length else text

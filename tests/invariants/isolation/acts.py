"""What somebody in one tenant's scope may try on another tenant's rows, each try beside the same act on one's own.

An act returns what is wrong, or nothing. `act(session, subject, world)` runs in any tenant table; a control that fails
is a fault too, since a wall around nothing proves nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

from psycopg import sql

from tenants.classes import REVIEWED_UNIQUES
from tests.invariants.isolation.logins import Answer, Session
from tests.invariants.isolation.seeds import Subject, Values, World, unused

DENIED = "42501"  # by a grant or by a policy
NO_SUCH_ROW = "23503"  # foreign key
TAKEN = "23505"  # unique
NOT_UNDER_RLS = "0A000"

Act = Callable[[Session, Subject, World], "str | None"]
Step = tuple[Any, Sequence[Any]]


def select(subject: Subject, row: Values, tail: str = "", what: str = "1") -> Step:
    return _on(subject, f"SELECT {what} FROM {{table}} WHERE {{key}} {tail}", row)


def update(subject: Subject, row: Values, **values: Any) -> Step:
    sets = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values)
    step, parameters = _on(subject, "UPDATE {table} SET {sets} WHERE {key}", row, sets=sets)
    return step, [*values.values(), *parameters]


def delete(subject: Subject, row: Values) -> Step:
    return _on(subject, "DELETE FROM {table} WHERE {key}", row)


def insert(subject: Subject, *rows: Values, tail: str = "") -> Step:
    names = list(rows[0])
    one = sql.SQL("({})").format(sql.SQL(", ").join(sql.Placeholder() * len(names)))
    statement = sql.SQL("INSERT INTO {} ({}) VALUES {} {}").format(
        sql.Identifier(subject.entry.table),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join([one] * len(rows)),
        sql.SQL(tail),
    )
    return statement, [row.get(name) for row in rows for name in names]


def _on(subject: Subject, text: str, row: Values, **parts: sql.Composable) -> Step:
    key = sql.SQL(" AND ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in subject.key)
    statement = sql.SQL(text).format(table=sql.Identifier(subject.entry.table), key=key, **parts)
    return statement, [row[name] for name in subject.key]


def _all(subject: Subject, text: str) -> Step:
    first = sql.Identifier(subject.key[0])
    return sql.SQL(text).format(table=sql.Identifier(subject.entry.table), first=first), []


def _rekeyed(subject: Subject, row: Values) -> Values:
    """The same row under another key; a tenant's own row is another tenant's then."""
    return {**row, **{name: unused(row[name]) for name in subject.key}}


def _verbs(subject: Subject) -> frozenset[str]:
    return frozenset(
        {"SELECT", "INSERT"} if subject.entry.append_only else {"SELECT", "INSERT", "UPDATE", "DELETE"}
    )


def _nothing(answer: Answer, what: str) -> str | None:
    """Neither rows nor changes, or a refusal by grant or policy."""
    if answer.error:
        return None if answer.error == DENIED else f"{what}: {answer.error} {answer.text}"
    return f"{what}: reached {answer.count} rows" if answer.count or answer.rows else None


def _refused(answer: Answer, what: str, *states: str) -> str | None:
    if answer.error in (states or (DENIED,)):
        return None
    return f"{what}: {answer.error} {answer.text}" if answer.error else f"{what}: let through"


def _works(answer: Answer, what: str, allowed: bool = True) -> str | None:
    """The control: one's own row is reached, or the verb is not granted at all."""
    if not allowed:
        return _refused(answer, f"{what}, not granted")
    if answer.error:
        return f"control, {what}: {answer.error} {answer.text}"
    return None if answer.count == 1 else f"control, {what}: reached {answer.count} rows"


# --- reading ----------------------------------------------------------------------------------------------------------


def get(session: Session, s: Subject, w: World) -> str | None:
    return _nothing(session.run(w.me, select(s, s.theirs)), "get") or _works(
        session.run(w.me, select(s, s.mine)), "get"
    )


def lists(session: Session, s: Subject, w: World) -> str | None:
    """List, count and aggregate without any condition: exactly one's own row."""
    mine = s.mine[s.key[0]]
    for text, wanted in (
        ("SELECT {first} FROM {table}", mine),
        ("SELECT count(*) FROM {table}", 1),
        ("SELECT max({first}::text) FROM {table}", str(mine)),
        ("WITH all_rows AS MATERIALIZED (SELECT * FROM {table}) SELECT {first} FROM all_rows", mine),
        ("SELECT {first} FROM {table} UNION SELECT {first} FROM {table}", mine),
    ):
        answer = session.run(w.me, _all(s, text))
        if answer.rows != [(wanted,)]:
            return f"{text}: {answer.error or answer.rows}"
    return None


def get_for_update(session: Session, s: Subject, w: World) -> str | None:
    allowed = "UPDATE" in _verbs(s)
    return _nothing(session.run(w.me, select(s, s.theirs, "FOR UPDATE")), "for update") or _works(
        session.run(w.me, select(s, s.mine, "FOR UPDATE")), "for update", allowed
    )


def read_by_error(session: Session, s: Subject, w: World) -> str | None:
    """A condition that fails over a row, and would name what is in it, is not asked of another tenant's."""
    step = _on(s, "SELECT 1 FROM {table} WHERE {key} AND to_jsonb({table})::text::int = 0", s.theirs)
    answer = session.run(w.me, step)
    return f"by error: {answer.text}" if answer.error or answer.rows else None


def copy_out(session: Session, s: Subject, w: World) -> str | None:
    for text in ("COPY {table} ({first}) TO STDOUT", "COPY (SELECT {first} FROM {table}) TO STDOUT"):
        answer = session.run(w.me, _all(s, text))
        # Under policies COPY of a table means that table ONLY: the parts of a partitioned one are left out.
        wanted = [] if s.found.kind == "p" and "SELECT" not in text else [str(s.mine[s.key[0]])]
        if answer.error or [row[0].strip() for row in answer.rows] != wanted:
            return f"{text}: {answer.error or answer.rows}"
    return None


# --- changing ---------------------------------------------------------------------------------------------------------


def insert_for_another(session: Session, s: Subject, w: World) -> str | None:
    return _refused(session.run(w.me, insert(s, s.fresh), keep=True), "insert") or _works(
        session.run(s.newcomer, insert(s, s.fresh)), "insert"
    )


def insert_among_own(session: Session, s: Subject, w: World) -> str | None:
    """One row of another tenant among one's own fails the whole statement."""
    stray = _rekeyed(s, {name: s.theirs[name] for name in s.fresh})
    return _refused(session.run(s.newcomer, insert(s, s.fresh, stray), keep=True), "bulk insert")


def update_theirs(session: Session, s: Subject, w: World) -> str | None:
    name = s.key[0]
    allowed = "UPDATE" in _verbs(s)
    every = session.run(w.me, _all(s, "UPDATE {table} SET {first} = {first}"), keep=True)
    return (
        _nothing(session.run(w.me, update(s, s.theirs, **{name: s.theirs[name]}), keep=True), "update")
        or _works(session.run(w.me, update(s, s.mine, **{name: s.mine[name]})), "update", allowed)
        or _works(every, "update all", allowed)
    )


def delete_theirs(session: Session, s: Subject, w: World) -> str | None:
    allowed = "DELETE" in _verbs(s)
    return (
        _nothing(session.run(w.me, delete(s, s.theirs), keep=True), "delete")
        or _works(session.run(s.newcomer, insert(s, s.fresh), delete(s, s.fresh)), "delete", allowed)
        or _works(
            session.run(s.newcomer, insert(s, s.fresh), _all(s, "DELETE FROM {table}")), "delete all", allowed
        )
    )


def give_away(session: Session, s: Subject, w: World) -> str | None:
    """One's own row moved to another tenant."""
    columns = s.references if s.entry.kind == "junction" else [s.entry.column]
    values = {name: s.theirs[name] for name in columns}
    return _refused(session.run(w.me, update(s, s.mine, **values), keep=True), "give away")


def take(session: Session, s: Subject, w: World) -> str | None:
    """Another tenant's row moved to oneself."""
    columns = s.references if s.entry.kind == "junction" else [s.entry.column]
    values = {name: s.mine[name] for name in columns}
    return _nothing(session.run(w.me, update(s, s.theirs, **values), keep=True), "take")


def refer(session: Session, s: Subject, w: World) -> str | None:
    """A row of one's own that points at another tenant's: refused as one that points at nothing, deferred or not."""
    states = (DENIED,) if s.entry.kind == "junction" else (NO_SUCH_ROW,)
    for name in s.references:
        later: Step = ("SET CONSTRAINTS ALL DEFERRED", [])
        now: Step = ("SET CONSTRAINTS ALL IMMEDIATE", [])
        target, own_target = s.pointed_at(s.theirs, name), s.pointed_at(s.mine, name)
        theirs = {**s.fresh, name: target}
        answers = [
            session.run(s.newcomer, insert(s, theirs), keep=True),
            session.run(s.newcomer, later, insert(s, theirs), now, keep=True),
            session.run(s.newcomer, insert(s, {**s.fresh, name: unused(target)}), keep=True),
        ]
        for answer in answers:
            if fault := _refused(answer, f"refer by {name}", *states):
                return fault
        if "UPDATE" in _verbs(s):
            answer = session.run(w.me, update(s, s.mine, **{name: target}), keep=True)
            own = session.run(w.me, update(s, s.mine, **{name: own_target}))
            if fault := _refused(answer, f"refer by {name}", *states) or _works(own, f"refer by {name}"):
                return fault
    return None


def upsert(session: Session, s: Subject, w: World) -> str | None:
    """An insert that meets another tenant's key neither changes that row nor shows it."""
    key = ", ".join(s.key)
    meets = {**s.fresh, **{name: s.theirs[name] for name in s.key}}
    again = {name: s.mine[name] for name in s.fresh}
    change = f"ON CONFLICT ({key}) DO UPDATE SET {s.key[0]} = excluded.{s.key[0]}"
    return (
        _refused(session.run(s.newcomer, insert(s, meets, tail=change), keep=True), "upsert")
        or _nothing(
            session.run(s.newcomer, insert(s, meets, tail="ON CONFLICT DO NOTHING RETURNING 1"), keep=True),
            "insert or nothing",
        )
        or _works(session.run(w.me, insert(s, again, tail=change)), "upsert", "UPDATE" in _verbs(s))
    )


def merge(session: Session, s: Subject, w: World) -> str | None:
    if not {"UPDATE", "DELETE"} <= _verbs(s):
        return None
    name = s.key[0]
    text = (
        f"MERGE INTO {{table}} t USING (SELECT %s::text AS wanted) AS w ON t.{name}::text = w.wanted "
        f"WHEN MATCHED THEN UPDATE SET {name} = t.{name}"
    )
    steps = [(_all(s, text)[0], [str(row[name])]) for row in (s.theirs, s.mine)]
    return _nothing(session.run(w.me, steps[0], keep=True), "merge") or _works(
        session.run(w.me, steps[1]), "merge"
    )


def same_values(session: Session, s: Subject, w: World) -> str | None:
    """A value that is unique to another tenant is free: no error tells that somebody has it."""
    for unique in s.found.uniques:
        if unique.primary or unique.name in REVIEWED_UNIQUES:
            continue
        kept = {s.entry.column, *s.references}
        values = {name: s.theirs[name] for name in unique.columns if name not in kept and name in s.theirs}
        if set(values) & set(s.key):
            continue
        answer = session.run(s.newcomer, insert(s, {**s.fresh, **values}))
        if fault := _works(answer, f"a value of theirs in {unique.name}"):
            return fault
    return None


def copy_in(session: Session, s: Subject, w: World) -> str | None:
    answer = session.run(w.me, _all(s, "COPY {table} FROM STDIN"), keep=True)
    return _refused(answer, "copy in", NOT_UNDER_RLS, DENIED)


def empty(session: Session, s: Subject, w: World) -> str | None:
    """Neither emptied nor unlocked: that takes the owner."""
    for text in (
        "TRUNCATE {table}",
        "TRUNCATE {table} CASCADE",
        "ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
        "DROP POLICY weir_app_own ON {table}",
        "CREATE POLICY mine ON {table} USING (true)",
        "GRANT TRUNCATE ON {table} TO PUBLIC",
    ):
        answer = session.run(w.me, _all(s, text), keep=True)
        # A GRANT without the right to give is a warning, not an error.
        if not text.startswith("GRANT") and (fault := _refused(answer, text)):
            return fault
    return None


def without_scope(session: Session, s: Subject, w: World) -> str | None:
    """No tenant is an error, and not an empty result: for who never had one as for who left it."""
    forgets: list[list[Step]] = [[], [("SELECT set_config('app.tenant_id', '', true)", [])]]
    for forget in forgets:
        for step in (select(s, s.mine), _all(s, "SELECT {first} FROM {table}"), insert(s, s.fresh)):
            answer = session.run(None, *forget, step)
            # 42704: the setting is unknown. 22P02: it is empty, and no uuid.
            if answer.error not in ("42704", "22P02"):
                return f"without a tenant: {answer.error or answer.rows}"
    return None


ACTS: tuple[Act, ...] = (
    get,
    lists,
    get_for_update,
    read_by_error,
    copy_out,
    insert_for_another,
    insert_among_own,
    update_theirs,
    delete_theirs,
    give_away,
    take,
    refer,
    upsert,
    merge,
    same_values,
    copy_in,
    empty,
    without_scope,
)

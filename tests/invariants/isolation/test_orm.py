"""Invariant 1 through the ORM: with every filter forgotten, a model reaches its own tenant's rows alone."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, models, transaction

from tenants.base import TenantOwned
from tenants.classes import WALLED, class_of, models_by_table
from tenants.errors import ScopeError
from tenants.ids import uuid7
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.invariants.isolation.seeds import Subject, World

MODELS = [model for model in models_by_table().values() if class_of(model) in WALLED]


@pytest.fixture(params=MODELS, ids=lambda model: model._meta.label)
def model(request: pytest.FixtureRequest, orm: None) -> Any:
    return request.param


@pytest.fixture
def subject(model: Any, world: World) -> Subject:
    return world.subjects[model._meta.db_table]


def bare(model: Any) -> models.QuerySet:
    """All rows, as code would ask for them that forgot whose they are: no manager of ours in between."""
    return models.QuerySet(model)


def changing(model: Any, run: Callable[[], Any]) -> Any:
    """What came of a change that is committed: a number, or the error that refused it."""
    try:
        with transaction.atomic():
            return run()
    except DatabaseError as error:
        return error


def refused(answer: Any) -> bool:
    return isinstance(answer, DatabaseError) and not isinstance(answer, IntegrityError)


@pytest.mark.parametrize("manager", ["own", "bare"])
def test_reads_find_ones_own_row_alone(manager: str, model: Any, subject: Subject, world: World) -> None:
    mine, theirs = subject.mine[subject.key[0]], subject.theirs[subject.key[0]]
    with tenant_scope(world.me):
        rows = model._default_manager.all() if manager == "own" else bare(model)
        assert [row.pk for row in rows] == [mine]
        assert [row.pk for row in rows.iterator()] == [mine]
        assert (rows.count(), rows.exists()) == (1, True)
        assert rows.aggregate(found=models.Count("pk"))["found"] == 1
        assert list(rows.values_list("pk", flat=True)) == [mine]
        assert list(rows.in_bulk([mine, theirs])) == [mine]
        assert rows.get(pk=mine).pk == mine
        assert not rows.filter(pk=theirs).exists()
        assert list(rows.filter(pk__in=bare(model).values("pk"))) == list(rows)
        assert (rows | rows).union(rows, all=False).count() == 1
        for missing in (lambda: rows.get(pk=theirs), lambda: model(pk=theirs).refresh_from_db()):
            with pytest.raises(model.DoesNotExist):
                missing()


def test_relations_lead_to_ones_own_rows_alone(model: Any, subject: Subject, world: World) -> None:
    names = [
        f.name for f in model._meta.local_fields if f.is_relation and class_of(f.related_model) in WALLED
    ]
    with tenant_scope(world.me):
        (row,) = bare(model).select_related(*names)
        (again,) = bare(model).prefetch_related(*names)
        for name in names:
            target = getattr(row, name)
            assert target == getattr(again, name)
            assert target is None or getattr(target, "tenant_id", target.pk) == world.me
            # Through the relation, from the other side: nothing of theirs joins.
            assert not bare(model).filter(**{f"{name}__pk": world.them}).exists()


def test_changes_reach_ones_own_row_alone(
    model: Any, subject: Subject, world: World, others: Callable[[Subject], Any]
) -> None:
    before = others(subject)
    theirs, name = subject.theirs[subject.key[0]], model._meta.pk.name
    kept = {name: models.F(name)}
    allowed = not subject.entry.append_only
    with tenant_scope(world.me):
        for rows in (model._default_manager.all(), bare(model)):
            for change in (
                lambda rows=rows: rows.filter(pk=theirs).update(**kept),
                lambda rows=rows: rows.filter(pk=theirs).delete()[0],
                lambda rows=rows: rows.filter(pk=theirs)._raw_delete("default"),
                lambda rows=rows: len(rows.select_for_update().filter(pk=theirs)),
            ):
                answer = changing(model, change)
                assert answer == 0 or (refused(answer) and not allowed)
            own = changing(model, lambda rows=rows: rows.update(**kept))
            assert own == 1 if allowed else refused(own)
    assert others(subject) == before


def test_rows_for_another_tenant_are_refused(
    model: Any, subject: Subject, world: World, others: Callable[[Subject], Any]
) -> None:
    before = others(subject)
    with tenant_scope(world.me):
        their_row = model(**_attributes(model, subject.theirs))
        stray = model(**_attributes(model, {**subject.theirs, **{name: uuid7() for name in subject.key}}))
        for make in (
            lambda: stray.save(force_insert=True),
            lambda: bare(model).bulk_create([stray]),
            lambda: bare(model).bulk_create(
                [their_row],
                update_conflicts=True,
                update_fields=_plain_fields(model),
                unique_fields=[model._meta.pk.name],
            ),
            lambda: their_row.save(force_update=True),
            their_row.save,
        ):
            answer = changing(model, make)
            assert isinstance(answer, DatabaseError), answer
        for make in (
            lambda: bare(model).bulk_create([their_row], ignore_conflicts=True),
            lambda: bare(model).bulk_update([their_row], _plain_fields(model)),
            their_row.delete,
        ):
            answer = changing(model, make)
            assert refused(answer) or answer in (0, None) or answer[0] == 0, answer
    assert others(subject) == before


def test_a_new_row_of_ones_own_is_saved(model: Any, subject: Subject) -> None:
    """The control of the refusals above: the same calls work for a tenant's own row."""
    for save in (
        lambda row: row.save(force_insert=True),
        lambda row: bare(model).bulk_create([row]),
    ):
        with tenant_scope(subject.newcomer), transaction.atomic():
            row = model(**_attributes(model, subject.fresh))
            save(row)
            assert bare(model).filter(pk=row.pk).count() == 1
            transaction.set_rollback(True)


def test_without_a_scope_every_use_is_an_error(model: Any, subject: Subject) -> None:
    """At once in Python for tenant-owned models, in the database for everything else."""
    rows = model._default_manager.all()
    new = model(**_attributes(model, subject.fresh))
    of_its_manager: list[Callable[[], Any]] = [
        lambda: list(rows),
        rows.count,
        rows.exists,
        lambda: rows.aggregate(models.Count("pk")),
        lambda: rows.get(pk=subject.mine[subject.key[0]]),
        lambda: rows.update(**{model._meta.pk.name: models.F(model._meta.pk.name)}),
        rows.delete,
        lambda: rows.bulk_create([new]),
    ]
    forgetful: list[Callable[[], Any]] = [
        lambda: list(bare(model)),
        lambda: bare(model).count(),
        lambda: new.save(force_insert=True),
    ]
    for number, use in enumerate([*of_its_manager, *forgetful]):
        early = issubclass(model, TenantOwned) and number < len(of_its_manager)
        with pytest.raises(ScopeError if early else (ScopeError, DatabaseError)), transaction.atomic():
            use()


def _attributes(model: Any, row: dict[str, Any]) -> dict[str, Any]:
    by_column = {field.column: field for field in model._meta.local_concrete_fields}
    return {by_column[column].attname: getattr(value, "obj", value) for column, value in row.items()}


def _plain_fields(model: Any) -> list[str]:
    """One field that is neither key nor relation."""
    fields = [f.name for f in model._meta.local_concrete_fields if not f.primary_key and not f.is_relation]
    return fields[:1]


def test_every_tenants_table_has_a_model_here() -> None:
    assert Tenant in MODELS
    assert len(MODELS) > 20

"""Which class a table is in, for models that nobody has yet."""

import pytest
from django.db import models
from django.test.utils import isolate_apps

from tenants import classes, erasure
from tenants.classes import (
    Isolated,
    Parent,
    _parents,
    class_of,
    models_by_table,
    owned_tables,
    table_classes,
    tenant_column,
)
from tenants.export.tables import exported
from tenants.isolation_checks import check_leaving
from tenants.models import ApiKey, AuditEvent, Tenant, User


def test_a_model_says_its_class_else_its_library_does_else_nobody():
    assert class_of(ApiKey) == "tenant"
    assert class_of(User) == "identity"
    assert class_of(models_by_table()["django_session"]) == "identity"
    assert class_of(models_by_table()["auth_permission"]) == "reference"
    with isolate_apps("tenants"):

        class Stray(models.Model):
            class Meta:
                app_label = "stray"

        assert class_of(Stray) == ""


def test_what_joins_tenants_rows_is_a_junction_and_what_joins_others_is_as_they_are():
    with isolate_apps("tenants"):

        class Label(models.Model):
            isolation = "tenant"

            class Meta:
                app_label = "tenants"

        class Country(models.Model):
            isolation = "reference"
            beside = models.ManyToManyField("self")

            class Meta:
                app_label = "tenants"

        class Note(models.Model):
            isolation = "tenant"
            labels = models.ManyToManyField(Label, db_table="note_label")
            countries = models.ManyToManyField(Country, db_table="note_country")

            class Meta:
                app_label = "tenants"
                db_table = "note"

        joined = Note.labels.through
        assert class_of(joined) == "junction"
        assert list(_parents(joined)) == [
            Parent("note_id", "note", "id"),
            Parent("label_id", "tenants_label", "id"),
        ]
        # A reference belongs to nobody: the row is the note's alone.
        assert list(_parents(Note.countries.through)) == [Parent("note_id", "note", "id")]
        assert class_of(Country.beside.through) == "reference"


def test_every_table_comes_once_with_what_its_model_says():
    found = list(table_classes())
    by_table = {entry.table: entry for entry in found}
    assert len(by_table) == len(found)
    assert by_table["tenants_apikey"] == Isolated("tenants_apikey", "tenant")
    assert by_table[AuditEvent._meta.db_table].append_only
    assert by_table["tenants_tenant"] == Isolated("tenants_tenant", "tenant", column="id")
    assert by_table["django_migrations"].read_only
    assert by_table["auth_group_permissions"].kind == "reference"
    assert by_table["auth_group_permissions"].parents == ()


def test_the_column_that_says_whose_a_row_is():
    assert tenant_column(ApiKey) == "tenant_id"
    assert tenant_column(Tenant) == "id"


def test_only_rows_of_tenants_are_walled():
    walled = {kind for kind in ("tenant", "secret", "junction", "reference", "identity", "system", "partition", "")
              if Isolated("x", kind).walled}  # fmt: skip
    assert walled == {"tenant", "secret", "junction"}


def test_a_junction_is_not_left_behind_by_exports_and_deletions_unnoticed(monkeypatch: pytest.MonkeyPatch):
    there = [Isolated("run", "tenant"), Isolated("vault", "secret"), Isolated("django_session", "identity")]
    monkeypatch.setattr(classes, "table_classes", lambda: iter(there))
    assert owned_tables() == there[:2]
    there += [Isolated("run_upload", "junction"), Isolated("run_tag", "junction")]
    for asked in (owned_tables, erasure.rows_of, exported):
        with pytest.raises(NotImplementedError) as told:
            asked()
        assert str(told.value) == "Exports and deletions do not know junctions yet: run_upload, run_tag."


def test_a_junction_fails_the_check():
    with isolate_apps("tenants"):

        class Pair(models.Model):
            isolation = "junction"
            key = models.ForeignKey(ApiKey, on_delete=models.CASCADE)

            class Meta:
                app_label = "tenants"

        assert [problem.id for problem in check_leaving(Pair)] == ["weir.E008"]
    assert list(check_leaving(ApiKey)) == list(check_leaving(User)) == []

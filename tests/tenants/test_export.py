"""Exports of everything a tenant holds: complete by the catalogue, without secrets, of one tenant, bounded, resumable."""

import hashlib
import io
import json
import tracemalloc
import uuid
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connections
from django.utils import timezone

from tenants import leaving
from tenants.classes import table_classes
from tenants.errors import Conflict, NotFound
from tenants.export import archive, tables
from tenants.models import AuditEvent, Tenant, TenantExport
from tenants.operations import export_tenant
from tenants.operations.export_tenant import Expired
from tenants.scope import tenant_scope
from tenants.tasks import prepare_exports
from tests.client import Api
from tests.factories import ACTOR, connect_all, make_key, make_run
from workflows.models import Record, Run

CSV = b"First Name,Last Name,Website\nOttilie,Tester,ottilie.example\n"


def ask(tenant: Tenant) -> TenantExport:
    with tenant_scope(tenant):
        return export_tenant.request_export(actor=ACTOR)


def again(export: TenantExport) -> TenantExport:
    with tenant_scope(export.tenant_id):
        return TenantExport.objects.get(pk=export.pk)


def opened(tenant: Tenant, export: TenantExport) -> zipfile.ZipFile:
    with tenant_scope(tenant):
        _, file = export_tenant.open_export(export_id=export.pk, actor=ACTOR)
    with file:
        return zipfile.ZipFile(io.BytesIO(file.read()))


def many_records(run: Run, count: int) -> None:
    """Records of a run in one statement."""
    with tenant_scope(run.tenant_id), connections["default"].cursor() as cursor:
        cursor.execute(
            """INSERT INTO record (id, tenant_id, run_id, position, input, status, credits)
               SELECT gen_random_uuid(), %s, %s, 100 + n, jsonb_build_object('first_name', 'Ada', 'domain', n || '.io'),
                      'not_found', 0 FROM generate_series(1, %s) n""",
            [run.tenant_id, run.pk, count],
        )


def test_an_export_has_every_table_every_file_and_every_result(committed: None, tenant: Tenant) -> None:
    connections_made = connect_all(tenant)
    api = Api(make_key(tenant))
    upload = api.upload(CSV, "../spring ünd list.csv").json()
    run = make_run(tenant, 3, name="October/leads.csv")
    export = ask(tenant)
    prepare_exports()
    export = again(export)
    assert (export.status, export.done) == ("ready", export.total)
    content = opened(tenant, export)
    assert content.testzip() is None
    assert {entry.compress_type for entry in content.infolist()} == {zipfile.ZIP_DEFLATED}
    manifest = json.loads(content.read("manifest.json"))
    expected = {entry.table for entry in table_classes() if entry.kind == "tenant"}
    assert set(manifest["rows"]) == expected
    with tenant_scope(tenant), connections["default"].cursor() as cursor:
        for table in expected - {"tenants_auditevent", "tenants_tenantexport"}:
            cursor.execute(f'SELECT count(*) FROM "{table}"')
            assert manifest["rows"][table] == cursor.fetchone()[0], table
    for path, facts in manifest["files"].items():
        body = content.read(path)
        assert (len(body), hashlib.sha256(body).hexdigest()) == (facts["bytes"], facts["sha256"])
    records = [json.loads(line) for line in content.read("tables/record.jsonl").splitlines()]
    assert [record["input"]["first_name"] for record in records] == ["Ada0", "Ada1", "Ada2"]
    assert content.read(f"results/{run.pk}-October-leads.csv").startswith(b"\xef\xbb\xbffirst_name")
    assert content.read(f"uploads/{upload['id']}-{Path('spring-ünd-list.csv')}") == CSV
    assert b"owner@acme.example" in content.read("people.jsonl")
    assert len(content.read("tables/integrations_connection.jsonl").splitlines()) == len(connections_made)


def test_an_export_has_no_secret_and_no_digest(committed: None, tenant: Tenant) -> None:
    connections_made = connect_all(tenant, secret="sk-never-exported-4711")
    plain = make_key(tenant)
    export = ask(tenant)
    prepare_exports()
    content = opened(tenant, export)
    manifest = json.loads(content.read("manifest.json"))
    hidden = [hashlib.sha256(plain.encode()).hexdigest(), plain, "sk-never-exported-4711"]
    hidden += [connection.key_hash for connection in connections_made.values()]
    whole = "".join(content.read(name).decode("utf-8", "replace") for name in content.namelist())
    assert [word for word in hidden if word in whole] == []
    assert manifest["left_out"]["tenants_apikey"] == ["digest"]
    assert "integrations_connectionsecret" in manifest["not_included"]
    assert "integrations_connectionsecret" in content.read("README.txt").decode()
    assert not any("secret" in name or "datakey" in name for name in content.namelist())


def test_an_export_has_nothing_of_another_tenant(
    committed: None, tenant: Tenant, other_tenant: Tenant
) -> None:
    connect_all(other_tenant)
    make_run(other_tenant, 2)
    export = ask(tenant)
    prepare_exports()
    content = opened(tenant, export)
    whole = b"".join(content.read(name) for name in content.namelist())
    assert str(other_tenant.pk).encode() not in whole
    assert str(tenant.pk).encode() in whole
    with tenant_scope(other_tenant), pytest.raises(NotFound):
        export_tenant.open_export(export_id=export.pk, actor=ACTOR)


def test_one_export_is_prepared_at_a_time_and_asking_is_in_the_trail(committed: None, tenant: Tenant) -> None:
    export = ask(tenant)
    with pytest.raises(Conflict, match="already"):
        ask(tenant)
    with tenant_scope(tenant), pytest.raises(NotFound):
        export_tenant.open_export(export_id=export.pk, actor=ACTOR)
    prepare_exports()
    opened(tenant, export)
    newer = ask(tenant)
    prepare_exports()
    opened(tenant, newer)
    with pytest.raises(Expired):  # the newer one takes its place
        opened(tenant, export)
    with tenant_scope(tenant):
        verbs = list(AuditEvent.objects.filter(subject_type="tenantexport").values_list("verb", flat=True))
    assert sorted(verbs) == ["tenant.export_taken"] * 2 + ["tenant.exported"] * 2


def test_an_expired_export_is_refused_and_its_file_goes(committed: None, tenant: Tenant) -> None:
    export = ask(tenant)
    prepare_exports()
    file = Path(settings.MEDIA_ROOT) / again(export).stored_as
    assert file.is_file()
    with tenant_scope(tenant):
        TenantExport.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(Expired):
        opened(tenant, export)
    prepare_exports()
    assert again(export).status == "expired"
    assert not file.exists()


def test_a_worker_that_fell_silent_is_replaced_and_writes_nothing_more(
    committed: None, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = ask(tenant)
    silent = uuid.uuid4()
    with tenant_scope(tenant):
        TenantExport.objects.update(status="preparing", worker=silent, seen_at=timezone.now())
    prepare_exports()
    assert again(export).status == "preparing"
    with tenant_scope(tenant):
        TenantExport.objects.update(seen_at=timezone.now() - timedelta(seconds=leaving.SILENT_S + 1))
    monkeypatch.setattr(export_tenant, "_SAY_SO_EVERY_S", 0.0)
    real = archive.write_archive

    def taken_over(*args: Any, **options: Any) -> None:
        with tenant_scope(tenant):
            TenantExport.objects.update(worker=silent)
        real(*args, **options)

    monkeypatch.setattr(export_tenant, "write_archive", taken_over)
    assert export_tenant.prepare(tenant.pk, export.pk) is False
    assert (again(export).status, again(export).stored_as) == ("preparing", "")
    assert not list(Path(settings.MEDIA_ROOT).glob(f"{tenant.pk}/exports/*"))


def test_an_export_that_cannot_be_written_says_so_and_may_be_asked_for_again(
    committed: None, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = ask(tenant)
    with monkeypatch.context() as patch:
        patch.setattr(export_tenant, "write_archive", lambda *args, **options: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare_exports()
    assert (again(export).status, bool(again(export).error)) == ("failed", True)
    newer = ask(tenant)
    prepare_exports()
    assert again(newer).status == "ready"


def test_20_000_records_take_little_memory_and_are_all_there(committed: None, tenant: Tenant) -> None:
    connect_all(tenant)
    many_records(make_run(tenant, 1), 20_000)
    export = ask(tenant)
    tracemalloc.start()
    prepare_exports()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    content = opened(tenant, export)
    assert len(content.read("tables/record.jsonl").splitlines()) == 20_001
    with tenant_scope(tenant):
        assert Record.objects.count() == 20_001
    assert peak < 24 * 1024 * 1024, peak


def test_a_new_table_is_exported_without_anyone_adding_it(tenant: Tenant) -> None:
    assert {entry.table for entry in tables.exported()} == {
        entry.table for entry in table_classes() if entry.kind == "tenant"
    }

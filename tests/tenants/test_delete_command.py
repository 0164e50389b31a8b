"""manage.py delete_tenant: says what goes, asks for a reason, may be killed and run again."""

import os
import signal
import subprocess
import sys
import uuid
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from config.env import BASE_DIR
from tenants.models import ClosedTenant, Tenant
from tenants.operations import delete_tenant
from tenants.scope import ops_scope, tenant_scope
from tests import traces
from tests.factories import connect_all, make_run

# Kills its own process at the nth of the places where it may be killed.
KILLED_AT = """
import os, signal, sys, uuid
from config.boot import prepare
prepare("delete_tenant")
import django
django.setup()
from tenants.operations import delete_tenant
delete_tenant.CHUNK = 3
left = int(sys.argv[2])
def die(step):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
while delete_tenant.erase(uuid.UUID(sys.argv[1]), checkpoint=die) is None:
    pass
"""


def run(tenant_id: object, *arguments: str) -> str:
    out = StringIO()
    call_command("delete_tenant", f"--tenant={tenant_id}", "--reason=asked by mail", *arguments, stdout=out)
    return out.getvalue()


def test_a_dry_run_counts_and_changes_nothing(committed: None, tenant: Tenant) -> None:
    connect_all(tenant)
    make_run(tenant, 4)
    before = traces.rows_of(tenant.pk)
    said = run(tenant.pk, "--dry-run")
    assert "Acme (pro, active)" in said
    assert "4  record" in said
    assert "nothing was changed" in said
    assert traces.rows_of(tenant.pk) == before


def test_without_now_the_tenant_is_shut_and_the_workers_do_the_rest(committed: None, tenant: Tenant) -> None:
    assert "workers erase" in run(tenant.pk)
    assert delete_tenant.closing_tenants() == [tenant.pk]
    assert "Erased in" in run(tenant.pk, "--now")  # the same tenant again: it goes on
    with ops_scope("test"):
        closed = ClosedTenant.objects.get()
    assert (closed.closed_by, closed.reason, closed.erasing) == (
        "system:delete_tenant",
        "asked by mail",
        None,
    )


def test_a_tenant_that_there_is_not_is_named_as_such(committed: None) -> None:
    with pytest.raises(CommandError, match="no such tenant"):
        run(uuid.uuid4(), "--now")


@pytest.mark.parametrize("number", [1, 4, 9])
def test_a_killed_process_leaves_what_the_next_one_finishes(
    committed: None, tenant: Tenant, other_tenant: Tenant, number: int
) -> None:
    connect_all(tenant)
    make_run(tenant, 10)
    untouched = traces.rows_of(other_tenant.pk)
    with tenant_scope(tenant):
        delete_tenant.close_tenant(actor="user:owner@acme.example")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AT, str(tenant.pk), str(number)],
        cwd=BASE_DIR,
        env=os.environ,
        timeout=90,
    )
    assert killed.returncode == -signal.SIGKILL
    assert delete_tenant.closing_tenants() == [tenant.pk]
    assert "Erased in" in run(tenant.pk, "--now")
    assert traces.search([str(tenant.pk)]) == set()
    assert traces.rows_of(other_tenant.pk) == untouched

"""The demo tenant may be deleted like any other; the next start makes a new one for the same people."""

from pathlib import Path
from typing import Any

from config.demo import setup
from tenants.operations import delete_tenant
from tenants.scope import tenant_scope


def test_a_deleted_demo_is_made_again(
    committed: None, settings: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    settings.DATA_DIR = tmp_path
    monkeypatch.setattr(setup, "tell_sandbox", lambda *args, **options: None)
    first = setup.load()
    assert setup.load() == first
    with tenant_scope(setup.tenant_id(first)):
        delete_tenant.close_tenant(actor="user:demo@weir.example")
    second = setup.load()
    assert (second.email, second.tenant_id == first.tenant_id) == (first.email, False)
    assert delete_tenant.erase(setup.tenant_id(first))
    assert setup.load() == second

"""The audit trail: every operation that somebody asks for leaves an entry, and nobody can change or remove one."""

import ast
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from django.db import DatabaseError, connections, transaction
from django.test import Client

from tenants import audit, context
from tenants.models import AuditEvent, Tenant
from tenants.scope import ops_scope, tenant_scope
from tests.client import Api
from tests.factories import ACTOR, connect_all, make_run

APPS = ("tenants", "integrations", "billing", "workflows")
# Operations that take an actor and leave no entry, and why.
SILENT = {
    "workflows.operations.control_lane.ensure_lane": "part of connecting a vendor, which is noted",
    "workflows.operations.control_lane.stop_for_good": "part of removing a connection, which is noted",
    "workflows.operations.accept_run.accept_run": "writes it in its own statement: test_every_accepted_run_leaves_an_entry",
    "billing.operations.plans.announce_plan": "tells of a change that its caller notes",
}


def modules() -> Iterator[ModuleType]:
    """Every module of operations, whichever app it is in."""
    for app in APPS:
        for name in (f"{app}.operations", f"{app}.deletion"):
            try:
                module = importlib.import_module(name)
            except ModuleNotFoundError:
                continue
            yield module
            for found in pkgutil.iter_modules(getattr(module, "__path__", ())):
                yield importlib.import_module(f"{name}.{found.name}")


def operations() -> dict[str, Callable[..., Any]]:
    """Every public function of theirs that somebody asks for: that takes an `actor`."""
    return {
        f"{module.__name__}.{name}": function
        for module in modules()
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
        and "actor" in inspect.signature(function).parameters
    }


def leaves_an_entry(function: Callable[..., Any], seen: frozenset[object] = frozenset()) -> bool:
    """Whether the function calls audit.record, itself or through functions of ours that it calls."""
    function = inspect.unwrap(function)
    if function is audit.record:
        return True
    if function in seen or not function.__module__.startswith(APPS):
        return False
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return any(
        leaves_an_entry(called, seen | {function})
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and inspect.isfunction(called := _resolved(node.func, function.__globals__))
    )


def _resolved(node: ast.expr, names: dict[str, Any]) -> Any:
    """What a name, or a name of a module, stands for."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        return getattr(_resolved(node.value, names), node.attr, None)
    return None


def test_every_operation_that_somebody_asks_for_leaves_an_entry():
    found = operations()
    assert len(found) > 12
    silent = {name for name, function in found.items() if not leaves_an_entry(function)}
    assert silent <= SILENT.keys(), "Call audit.record, or say in SILENT why not."


def test_an_operation_without_an_entry_is_found():
    def forget_everything(*, actor: str) -> None:
        """Leaves nothing."""

    assert not leaves_an_entry(forget_everything)


def test_every_accepted_run_leaves_an_entry(tenant: Tenant):
    connect_all(tenant)
    run = make_run(tenant, 2)
    with tenant_scope(tenant):
        entry = AuditEvent.objects.get(verb="run.accepted")
    assert (entry.subject_id, entry.actor, entry.detail["records"]) == (str(run.pk), ACTOR, 2)


def entries(tenant: Tenant) -> int:
    with tenant_scope(tenant):
        return AuditEvent.objects.count()


@pytest.fixture
def entry(committed: None, tenant: Tenant) -> AuditEvent:
    with tenant_scope(tenant):
        return audit.record(actor=ACTOR, verb="run.paused", subject=tenant)


CHANGES = (
    "UPDATE tenants_auditevent SET actor = 'nobody' WHERE id = %s",
    "DELETE FROM tenants_auditevent WHERE id = %s",
    "TRUNCATE tenants_auditevent",
    "INSERT INTO tenants_auditevent SELECT * FROM tenants_auditevent WHERE id = %s ON CONFLICT (id) DO UPDATE SET ip=NULL",
    "MERGE INTO tenants_auditevent a USING (SELECT 1) s ON a.id = %s WHEN MATCHED THEN DELETE",
    "ALTER TABLE tenants_auditevent DISABLE ROW LEVEL SECURITY",
    "DROP TABLE tenants_auditevent",
)


@pytest.mark.parametrize("alias", ["default", "ops"])
@pytest.mark.parametrize("statement", CHANGES)
def test_no_login_of_ours_can_change_or_remove_an_entry(
    entry: AuditEvent, tenant: Tenant, alias: str, statement: str
):
    scope = tenant_scope(tenant) if alias == "default" else ops_scope("test")
    with (
        scope,
        pytest.raises(DatabaseError, match=r"permission denied|must be owner"),
        transaction.atomic(using=alias),
        connections[alias].cursor() as cursor,
    ):
        cursor.execute(statement, [entry.pk] if "%s" in statement else None)
    with tenant_scope(tenant):
        assert AuditEvent.objects.get(pk=entry.pk).verb == "run.paused"


def test_an_entry_goes_with_what_it_is_about_or_not_at_all(tenant: Tenant):
    before = entries(tenant)

    def fail() -> None:
        with tenant_scope(tenant):
            audit.record(actor=ACTOR, verb="run.paused", subject=tenant)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert entries(tenant) == before


@pytest.mark.parametrize(
    ("proxies", "forwarded", "seen"),
    [
        (0, "203.0.113.9", "127.0.0.1"),
        (1, "198.51.100.7, 203.0.113.9", "203.0.113.9"),
        (2, "198.51.100.7, 203.0.113.9", "198.51.100.7"),
        (2, "203.0.113.9", "127.0.0.1"),
        (1, "", "127.0.0.1"),
    ],
)
def test_an_entry_says_from_where_as_our_own_proxies_saw_it(
    tenant: Tenant, api_key: str, settings: Any, proxies: int, forwarded: str, seen: str
):
    settings.TRUSTED_PROXIES = proxies
    Api(api_key).post("/keys", {"name": "x"}, X_Forwarded_For=forwarded, X_Request_Id="audit-test-1")
    with tenant_scope(tenant):
        event = AuditEvent.objects.filter(verb="key.created").order_by("id").last()
    assert event
    assert (event.ip, event.request_id) == (seen, "audit-test-1")


@pytest.mark.parametrize(
    "forwarded", ["nonsense", "1.2.3.4:5678", "[::1]:80", "' OR 1=1", "\u202e1.2.3.4", "a" * 5_000]
)
def test_an_address_that_is_none_costs_the_address_and_not_the_request(
    tenant: Tenant, api_key: str, settings: Any, forwarded: str
):
    settings.TRUSTED_PROXIES = 1
    answer = Api(api_key, raises=False).post("/keys", {"name": "x"}, X_Forwarded_For=forwarded)
    assert answer.status_code == 201


def test_the_trail_names_the_person_the_key_and_the_request(tenant: Tenant, owner: Any, api_key: str):
    client = Client()
    client.force_login(owner, backend="allauth.account.auth_backends.AuthenticationBackend")
    form = {"name": "of a person", "livemode": "live", "scopes": ["read"], "life": ""}
    answer = client.post("/app/developers/", form)
    with tenant_scope(tenant):
        event = AuditEvent.objects.get(detail__name="of a person")
    assert event.actor == f"user:{owner.email}"
    assert event.request_id == answer["X-Request-Id"]
    assert context.current().actor == "system"

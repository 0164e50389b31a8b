"""The settings of a connection, the test of its key and its end, as pages."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client

from integrations.models import Connection
from tenants.scope import tenant_scope
from tests.factories import connect_all, make_connection, make_run

if TYPE_CHECKING:
    from tenants.models import Tenant

FORM = {
    "name": "Team key", "rate": "7", "period": "60", "parallelism": "3", "price_per_credit": "0.05", "currency": "eur",
    "low_balance": "12.5", "on_ambiguous": "ask",
}  # fmt: skip


@pytest.fixture
def connection(tenant: "Tenant") -> Connection:
    return make_connection(tenant, "prospeo", windows=[{"rate": 5, "period": 1}, {"rate": 300, "period": 60}])


def at(connection: Connection, end: str = "") -> str:
    return f"/app/vendors/{connection.pk}/{end}"


def again(tenant: "Tenant") -> Connection:
    with tenant_scope(tenant):
        return Connection.objects.get()


def test_settings_are_shown_and_changed(admin: Client, tenant: "Tenant", connection: Connection):
    assert at(connection) in admin.get("/app/vendors/").content.decode()
    html = admin.get(at(connection)).content.decode()
    assert "5 per second, 300 per minute" in html
    answer = admin.post(at(connection), FORM, follow=True)
    assert "The settings of Prospeo …" in answer.content.decode()
    row = again(tenant)
    assert (row.name, row.windows, row.parallelism) == ("Team key", [{"rate": 7, "period": 60.0}], 3)
    assert (row.price_per_credit, row.currency) == (Decimal("0.05"), "EUR")
    assert (row.low_balance, row.on_ambiguous) == (12_500, "ask")
    html = admin.get(at(connection)).content.decode()
    for value in ('value="7"', 'value="0.05"', 'value="12.5"', 'value="ask" checked'):
        assert value in html


def test_limits_that_are_left_empty_stay(admin: Client, tenant: "Tenant", connection: Connection):
    admin.post(at(connection), FORM | {"rate": "", "parallelism": "", "low_balance": ""})
    row = again(tenant)
    assert [window["rate"] for window in row.windows] == [5, 300]
    assert row.low_balance is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rate": "0"}, "Give a whole number from 1 to 1,000,000"),
        ({"parallelism": "x"}, "Give a whole number from 1 to 1,000,"),
        ({"currency": "€"}, "three letters of a currency"),
        ({"low_balance": "-1"}, "greater than or equal to 0"),
        ({"on_ambiguous": "hope"}, "Select a valid choice"),
    ],
)
def test_what_cannot_be_used_is_named_and_the_rest_kept(
    admin: Client, tenant: "Tenant", connection: Connection, change: dict[str, str], words: str
):
    answer = admin.post(at(connection), FORM | change)
    assert answer.status_code == 422
    html = answer.content.decode()
    assert words in html
    assert 'value="Team key"' in html
    assert again(tenant).name == ""


def test_a_key_is_tested_in_place(admin: Client, tenant: "Tenant", connection: Connection, sandbox: Any):
    html = admin.post(at(connection, "test/"), follow=True).content.decode()
    assert "the key works" in html
    assert again(tenant).balance is not None
    assert "tried a moment ago" in admin.post(at(connection, "test/"), follow=True).content.decode()


def test_a_key_that_is_refused_says_so(admin: Client, tenant: "Tenant", sandbox: Any):
    bad = make_connection(tenant, "prospeo", secret="bad-key-0001")
    assert "did not take the key" in admin.post(at(bad, "test/"), follow=True).content.decode()
    assert again(tenant).status == "auth_failed"


def test_removing_asks_first_and_is_for_good(admin: Client, tenant: "Tenant", connection: Connection):
    assert "cannot be brought back" in admin.get(at(connection, "remove/")).content.decode()
    assert again(tenant).removed_at is None
    html = admin.post(at(connection, "remove/"), follow=True).content.decode()
    assert "is removed, and its key destroyed" in html
    assert "No vendor is connected" in html
    assert admin.get(at(connection)).status_code == 404


def test_one_that_runs_will_ask_is_kept_and_why(admin: Client, tenant: "Tenant"):
    made = connect_all(tenant)
    make_run(tenant)
    answer = admin.post(at(made["zerobounce"], "remove/"))
    assert answer.status_code == 409
    assert "1 run that is under way" in answer.content.decode()


def test_it_is_for_admins(editor: Client, connection: Connection):
    for end in ("", "test/", "remove/"):
        assert editor.post(at(connection, end), FORM).status_code == 403

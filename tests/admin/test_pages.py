"""Every list and every page of the console opens for staff, with two tenants' rows, in a bounded number of queries."""

import html
import re

import pytest
from django.contrib import admin
from django.db import connections
from django.db.models.expressions import RawSQL
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tenants.ops_console import base, paging
from tenants.scope import ops_scope
from tests.admin.rows import PERSON, fill
from workflows.models import Record

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
MOST_ON_A_LIST = 25
MOST_ON_A_PAGE = 30

pytestmark = pytest.mark.usefixtures("committed")


def route(model, name: str) -> str:
    return f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}"


def queries_of(client: Client, url: str) -> tuple[int, str]:
    with (
        CaptureQueriesContext(connections["default"]) as app,
        CaptureQueriesContext(connections["ops"]) as ops,
    ):
        answer = client.get(url)
    assert answer.status_code == 200, url
    return len(app) + len(ops), html.unescape(answer.content.decode())


def test_the_console_shows_the_tables_that_operators_need():
    assert {model._meta.label for model in MODELS} >= {
        "tenants.Tenant", "tenants.User", "tenants.Membership", "tenants.Invitation", "tenants.ApiKey",
        "tenants.AuditEvent", "billing.Plan", "billing.UsageEvent",
        "integrations.Connection", "workflows.Workflow", "workflows.Upload", "workflows.Run", "workflows.Record",
        "workflows.Step", "workflows.StepQueue", "workflows.Lane", "workflows.LaneRun", "workflows.Lookup",
        "workflows.RunEvent",
    }  # fmt: skip


def test_tables_of_libraries_and_of_secrets_stay_out():
    assert not {model._meta.app_label for model in MODELS} - {
        "auth",
        "billing",
        "integrations",
        "tenants",
        "workflows",
    }
    assert not {model._meta.object_name for model in MODELS} & {
        "ConnectionSecret",
        "DataKey",
        "EmailConfirmation",
        "WebhookMessage",
        "WebhookSecret",
    }


def test_lists_and_pages_open_and_a_list_costs_the_same_for_5_rows_and_for_50(console: Client):
    first = fill(5, name="Small Fish")
    lists = {model: queries_of(console, reverse(route(model, "changelist"))) for model in MODELS}
    second = fill(45, name="Big Pond")
    for model in MODELS:
        few, _ = lists[model]
        many, _ = queries_of(console, reverse(route(model, "changelist")))
        assert many <= few, f"{model._meta.label}: {few} queries for a few rows, {many} for many"
        assert many <= MOST_ON_A_LIST, model._meta.label
    for model in MODELS:
        for key in some_keys(model):
            spent, _ = queries_of(console, reverse(route(model, "change"), args=[key]))
            assert spent <= MOST_ON_A_PAGE, f"{model._meta.label}: {spent} queries"
    assert first.tenant.pk != second.tenant.pk


def some_keys(model) -> list[object]:
    with ops_scope("test"):
        rows = model._default_manager.order_by("pk")
        return [row.pk for row in {rows.first(), rows.last()} if row is not None]


def test_lists_cross_tenants_and_show_nothing_of_a_contact(console: Client):
    fill(1, name="Small Fish")
    fill(1, name="Big Pond")
    for model in MODELS:
        _, text = queries_of(console, reverse(route(model, "changelist")))
        assert PERSON not in text, model._meta.label
        if "tenant_link" in admin.site._registry[model].list_display:
            assert "Small Fish" in text, model._meta.label
            assert "Big Pond" in text, model._meta.label


def test_no_page_shows_a_secret_or_a_digest(console: Client):
    filled = fill(3)
    for model in MODELS:
        urls = [reverse(route(model, "changelist"))]
        urls += [reverse(route(model, "change"), args=[key]) for key in some_keys(model)]
        for url in urls:
            _, text = queries_of(console, url)
            for secret in filled.secrets:
                assert secret not in text, f"{url} shows {secret}"


def test_a_record_shows_its_history_and_what_waits(console: Client):
    filled = fill(2)
    _, text = queries_of(console, reverse("admin:workflows_record_change", args=[filled.record.pk]))
    assert "find:prospeo" in text
    assert "verify:zerobounce" in text
    assert PERSON in text


@pytest.mark.parametrize(
    ("page", "target"),
    [
        ("tenants_tenant", "workflows_run"),
        ("workflows_run", "workflows_record"),
        ("workflows_record", "workflows_step"),
        ("integrations_connection", "workflows_lane"),
        ("workflows_lane", "workflows_stepqueue"),
    ],
)
def test_a_list_leads_from_a_row_to_what_belongs_to_it(console: Client, page: str, target: str):
    names = {fill(1, name="Small Fish").tenant.name, fill(1, name="Big Pond").tenant.name}
    _, text = queries_of(console, reverse(f"admin:{page}_changelist"))
    links = re.findall(rf'href="({re.escape(reverse(f"admin:{target}_changelist"))}\?[^"]+)"', text)
    led_to = set()
    for link in set(links):
        _, text = queries_of(console, link)
        table = text[text.index('id="result_list"') :]
        led_to |= (shown := {name for name in names if name in table})
        assert len(shown) == 1, link
    assert led_to == names


def test_a_pasted_id_finds_its_row_alone(console: Client):
    mine, other = fill(2, name="Small Fish"), fill(2, name="Big Pond")
    _, text = queries_of(console, reverse("admin:workflows_run_changelist") + f"?q={mine.run.pk}")
    assert str(mine.run.pk) in text
    assert str(other.run.pk) not in text


def test_people_are_found_by_the_start_of_their_address(console: Client):
    fill(1, email="first@tenant.example")
    fill(1, email="second@tenant.example")
    _, text = queries_of(console, reverse("admin:tenants_user_changelist") + "?q=FIRST@")
    assert "first@tenant.example" in text
    assert "second@tenant.example" not in text


@pytest.mark.parametrize(
    "asked",
    [
        "q=nonsense",
        "q=%00",
        "run_id=nonsense",
        "run_id=%00",
        "made=never",
        "made=%00",
        "p=999",
        "p=%00",
        "q=' OR 1=1",
        "status__exact=%00",
        "status__exact=x%00y",
        "tenant__id__exact=%00",
        "nothing=%00",
    ],
)
def test_a_list_withstands_whatever_is_asked(console: Client, asked: str):
    fill(1)
    for name in (
        "workflows_record",
        "workflows_step",
        "workflows_stepqueue",
        "workflows_run",
        "workflows_lane",
    ):
        answer = console.get(reverse(f"admin:{name}_changelist") + f"?{asked}", follow=True)
        assert answer.status_code == 200, name


def test_the_overview_shows_where_work_stands(console: Client):
    filled = fill(3, name="Small Fish")
    spent, text = queries_of(console, reverse("admin:index"))
    assert spent <= MOST_ON_A_LIST
    assert "Small Fish" in text
    assert str(filled.lane.pk) in text


def test_no_list_counts_the_rows_of_every_choice(console: Client):
    fill(1)
    assert all(admin.site._registry[model].show_facets is admin.ShowFacets.NEVER for model in MODELS)
    url = reverse("admin:workflows_record_changelist")
    plain, _ = queries_of(console, url)
    asked, _ = queries_of(console, f"{url}?_facets=True")
    assert asked <= plain


def test_a_big_table_is_estimated_and_not_counted(console: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(paging, "EXACT_UP_TO", 2)
    fill(4)
    with CaptureQueriesContext(connections["ops"]) as ops:
        text = console.get(reverse("admin:workflows_record_changelist")).content.decode()
    assert "about" in text
    counts = [query["sql"] for query in ops if "COUNT(*)" in query["sql"]]
    assert counts
    assert all("LIMIT 3" in sql for sql in counts)


def test_a_list_that_reads_too_much_says_so_and_goes_on(console: Client, monkeypatch: pytest.MonkeyPatch):
    fill(1)
    monkeypatch.setattr(base, "LIST_MILLISECONDS", 1)
    monkeypatch.setattr(
        admin.site._registry[Record],
        "get_ordering",
        lambda request: [RawSQL("(SELECT pg_sleep(0.05)::text)", ())],
    )
    answer = console.get(reverse("admin:workflows_record_changelist"))
    assert answer.status_code == 302
    with connections["ops"].cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone()[0] == "1min"


def test_the_history_of_a_row_is_its_tenants_trail(console: Client):
    filled = fill(1)
    console.get(reverse("admin:workflows_run_change", args=[filled.run.pk]))
    answer = console.get(reverse("admin:workflows_run_history", args=[filled.run.pk]), follow=True)
    assert answer.redirect_chain
    assert "ops.viewed" in answer.content.decode()

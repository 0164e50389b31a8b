"""GET /audit: the tenant's own trail, for keys with the scope admin, by page and by filter."""

import os
import re

import psycopg
import pytest
from django.db import connection

from tenants import audit, audit_queries
from tenants.scope import tenant_scope
from tests.api.test_errors import assert_problem
from tests.client import Api
from tests.factories import make_key, make_run

SHOWN = {"id", "at", "actor", "verb", "subject_type", "subject_id", "detail", "request_id", "ip"}


@pytest.fixture
def entries(tenant):
    """Seven entries of three actors, oldest first, after those of making the tenant."""
    with tenant_scope(tenant):
        return [
            audit.record(actor=actor, verb=verb, subject=tenant, number=number)
            for number, (actor, verb) in enumerate(
                [
                    ("user:ada@acme.example", "key.created"),
                    ("user:ada@acme.example", "key.revoked"),
                    ("user:bob@acme.example", "run.paused"),
                    ("key:wk_live_Ab12…9xyZ", "run.cancelled"),
                    ("staff:ops@weir.example", "ops.viewed"),
                    ("user:ada@acme.example", "keys_of_another_kind.made"),
                    ("system:engine", "lane.paused"),
                ]
            )
        ]


def numbers(answer) -> list[int]:
    assert answer.status_code == 200
    found = [row["detail"].get("number") for row in answer.json()["data"]]
    return [number for number in found if number is not None]  # the rest is of making the tenant and its key


@pytest.mark.parametrize(
    "filters",
    [
        {"actor": "staff:"}, {"actor": "user:nobody@x.example"}, {"verb": "key.deleted"}, {"verb": "key."},
        {"actor": "user:nobody@x.example", "verb": "lane.paused"}, {"subject": "nothing"},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_rare_is_found_without_reading_the_whole_trail(committed, tenant, filters):
    with tenant_scope(tenant), connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO tenants_auditevent (id, tenant_id, actor, verb, subject_type, subject_id, detail, request_id)
               SELECT gen_random_uuid(), %s, 'key:x', 'run.accepted', 'run', n::text, '{}', ''
               FROM generate_series(1, 8000) n""",
            [tenant.pk],
        )
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        owner.execute("ANALYZE tenants_auditevent")
    with tenant_scope(tenant):
        rows = audit_queries.events(**filters)[:51]
        assert list(rows) == []
        plan = rows.explain(analyze=True, buffers=True, timing=False)
    found = re.search(r"shared hit=(\d+)", plan)
    assert found
    assert int(found[1]) < 50, plan


def test_entries_come_newest_first_with_all_that_is_known(api, entries):
    body = api.get("/audit?limit=7").json()
    assert [row["id"] for row in body["data"]] == [str(entry.pk) for entry in reversed(entries)]
    assert set(body["data"][0]) == SHOWN


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("actor=user:ada@acme.example", [5, 1, 0]),
        ("actor=user:", [5, 2, 1, 0]),
        ("actor=key:", [3]),
        ("actor=staff:", [4]),
        ("actor=user:ada", []),
        ("verb=key.", [1, 0]),
        ("verb=key.created", [0]),
        ("verb=key", []),
        ("verb=run.&actor=user:", [2]),
        ("actor=%25", []),
        ("actor=a%00b", []),
        ("subject=nothing", []),
    ],
)
def test_the_trail_is_filtered(api, entries, query, found):
    assert numbers(api.get(f"/audit?{query}")) == found


def test_the_trail_of_one_object(api, tenant, connect):
    for provider in ("prospeo", "findymail", "zerobounce"):
        connect(provider)
    run = make_run(tenant)
    api.post(f"/runs/{run.pk}/cancel")
    rows = api.get(f"/audit?subject={run.pk}").json()["data"]
    assert [row["verb"] for row in rows] == ["run.cancelled", "run.accepted"]
    assert {row["subject_type"] for row in rows} == {"run"}


def test_pages_hold_every_entry_once_and_keep_the_filter(api, entries):
    seen, address = [], "/audit?actor=user:&limit=2"
    while address:
        body = api.get(address).json()
        seen += [row["detail"]["number"] for row in body["data"]]
        address = body["next"]
    assert seen == [5, 2, 1, 0]


def test_a_page_costs_the_same_however_long_the_trail(api, tenant, entries, django_assert_max_num_queries):
    api.get("/tenant")
    with django_assert_max_num_queries(5):
        api.get("/audit")


@pytest.mark.parametrize("scopes", [["read"], ["write"], ["read", "write"]])
def test_it_takes_the_scope_admin(tenant, scopes):
    assert_problem(Api(make_key(tenant, scopes=scopes)).get("/audit"), 403, "missing_scope")


def test_the_trail_of_another_tenant_is_not_there(other_api, entries):
    assert not {str(entry.pk) for entry in entries} & {
        row["id"] for row in other_api.get("/audit?limit=200").json()["data"]
    }


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "PUT"])
def test_it_can_be_read_and_nothing_else(api, entries, method):
    assert_problem(api.send(method, "/audit", {}), 405, "method_not_allowed")

"""A run's results as CSV and JSON lines."""

import csv
import io
import json
import tracemalloc

import pytest
from django.db import connection

from tenants.scope import open_tenant_id, tenant_scope
from tests.factories import connect_all, make_run
from workflows import exports
from workflows.models import Record, Run
from workflows.operations.fill_run import fill_run

CSV = (
    "Person,E-Mail,Website,status,Notes\n"
    "Ada Byron,old@engines.example,engines.example,lead,=1+1\n"
    '"Grace Hopper",,compilers.example,,"two\nlines, and a comma"\n'
    "Alan Turing,,machines.example,,x,surplus\n"
)


def content(answer):
    return b"".join(answer.streaming_content)


def table(answer):
    text = content(answer).decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text)))


@pytest.fixture
def uploaded(api, tenant):
    connect_all(tenant)
    upload = api.upload(CSV.encode(), "people.csv").json()
    mapping = {"full_name": "Person", "domain": "Website"}
    run = api.post(
        "/runs", {"workflow": "email-waterfall", "upload": upload["id"], "mapping": mapping}
    ).json()
    fill_run(tenant.pk, run["id"])
    with tenant_scope(tenant):
        Record.objects.filter(input__full_name="Ada Byron").update(
            status="found",
            credits=2_500,
            output={
                "email": "ada@engines.example", "email_status": "valid", "found_by": "prospeo",
                "verified_by": "zerobounce",
            },
        )  # fmt: skip
        return Run.objects.get()


def test_the_file_s_columns_stay_in_their_order_before_the_results(api, uploaded):
    head, ada, grace, alan = table(api.get(f"/runs/{uploaded.pk}/results.csv"))
    assert head == [
        "Person", "E-Mail", "Website", "status (input)", "Notes", "Column 6",
        "status", "email", "email_status", "found_by", "verified_by", "credits", "error",
    ]  # fmt: skip
    assert ada == [
        "Ada Byron", "old@engines.example", "engines.example", "lead", "'=1+1", "",
        "found", "ada@engines.example", "valid", "prospeo", "zerobounce", "2.500", "",
    ]  # fmt: skip
    assert grace[:5] == ["Grace Hopper", "", "compilers.example", "", "two\nlines, and a comma"]
    assert alan[5:7] == ["surplus", "failed"]
    assert alan[-1].startswith("too_many_cells: ")


def test_the_file_is_offered_under_a_name_and_opens_in_excel(api, uploaded):
    answer = api.get(f"/runs/{uploaded.pk}/results.csv")
    assert answer["Content-Disposition"] == 'attachment; filename="people-results.csv"'
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    raw = content(answer)
    assert raw.startswith(b"\xef\xbb\xbf")
    assert b"\r\n" in raw


def test_json_lines_hold_the_values_as_they_are(api, uploaded):
    answer = api.get(f"/runs/{uploaded.pk}/results.jsonl")
    assert answer["Content-Type"].startswith("application/jsonl")
    ada, _, alan = [json.loads(line) for line in content(answer).splitlines()]
    assert ada["input"]["Notes"] == "=1+1"
    assert ada["output"]["email"] == "ada@engines.example"
    assert (ada["credits"], ada["status"], ada["error"]) == (2.5, "found", None)
    assert alan["error"]["code"] == "too_many_cells"


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", "＝"])
def test_no_cell_is_a_formula(sign):
    assert exports.neutral(f"{sign}cmd|' /C calc'!A0").startswith("'")
    assert exports.neutral(f"x{sign}") == f"x{sign}"
    assert exports.neutral("") == ""


def test_headings_are_no_formulas_either(api, tenant):
    connect_all(tenant)
    run = make_run(
        tenant, [{"full_name": "Ada Byron", "domain": "e.example", "=HYPERLINK(1)": "x", "-": "y"}]
    )
    head = table(api.get(f"/runs/{run.pk}/results.csv"))[0]
    assert head[2:4] == ["'-", "'=HYPERLINK(1)"]


def test_records_without_a_file_have_the_template_s_fields_first(api, tenant):
    connect_all(tenant)
    run = make_run(
        tenant,
        [
            {"zone": "1", "domain": "a.example", "last_name": "Byron", "first_name": "Ada"},
            {"email": "x@y.example", "full_name": "Alan Turing", "company": "Machines", "age": 41},
        ],
    )
    head, ada, alan = table(api.get(f"/runs/{run.pk}/results.csv"))
    assert head[:8] == [
        "first_name",
        "last_name",
        "full_name",
        "company",
        "domain",
        "age",
        "email (input)",
        "zone",
    ]
    assert ada[:8] == ["Ada", "Byron", "", "", "a.example", "", "", "1"]
    assert alan[:8] == ["", "", "Alan Turing", "Machines", "", "41", "x@y.example", ""]


def test_a_sales_navigator_link_is_not_lost(api, tenant):
    connect_all(tenant)
    link = "https://www.linkedin.com/sales/lead/ACwAAA,NAME"
    run = make_run(tenant, [{"full_name": "Ada Byron", "domain": "a.example", "linkedin_url": link}])
    head, ada = table(api.get(f"/runs/{run.pk}/results.csv"))
    assert ada[head.index("sales_navigator_url")] == link


def test_each_chunk_is_read_in_a_scope_of_its_own(api, tenant, monkeypatch):
    connect_all(tenant)
    run = make_run(tenant, 7)
    monkeypatch.setattr(exports, "CHUNK", 3)
    lines = []
    for part in exports.results_jsonl(tenant.pk, run):
        assert open_tenant_id() is None
        lines.append(part.count(b"\n"))
    assert lines == [3, 3, 1]
    parts = list(exports.results_csv(tenant.pk, run))
    assert len(table_of(parts)) == 8


def table_of(parts):
    return list(csv.reader(io.StringIO(b"".join(parts).decode("utf-8-sig"))))


def test_an_export_of_many_records_takes_little_memory(tenant, monkeypatch):
    monkeypatch.setattr(exports, "CHUNK", 200)
    connect_all(tenant)
    run = make_run(tenant, 1)
    with tenant_scope(tenant), connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO record (id, tenant_id, run_id, position, input, status, credits)
               SELECT gen_random_uuid(), %s, %s, n + 10, jsonb_build_object('note', repeat('x', 5000)), 'queued', 0
               FROM generate_series(1, 4000) n""",
            [tenant.pk, run.pk],
        )
    tracemalloc.start()
    try:
        size = sum(len(part) for part in exports.results_csv(tenant.pk, run))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 20_000_000
    assert peak < 6_000_000


def test_an_export_of_a_run_without_records_has_its_headings(api, tenant):
    connect_all(tenant)
    run = make_run(tenant)
    with tenant_scope(tenant):
        Record.objects.all().delete()
    assert table(api.get(f"/runs/{run.pk}/results.csv")) == [list(exports.RESULT_COLUMNS)]
    assert content(api.get(f"/runs/{run.pk}/results.jsonl")) == b""

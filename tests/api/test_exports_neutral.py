"""S9: what a run was brought comes back in files that no spreadsheet runs; and in constant memory."""

import csv
import io
import itertools
import tracemalloc
from typing import Any

import openpyxl
import pytest
from django.db import connection

from tenants.scope import tenant_scope
from tests.factories import connect_all, make_run
from workflows import exports
from workflows.models import Record

TRIGGERS = tuple("=+-@\t\r\n＝＋－＠")
STARTS = ("=", "+", "-", "@", "\t=", "\r=", "\n=", "＝", "＋", "－", "＠", "==", "=-", "@@")
PAYLOADS = (
    "cmd|' /C calc'!A0",
    'HYPERLINK("https://x.example","y")',
    "1+1",
    "SUM(A1:A9)",
    "IMPORTXML(A1)",
    "2",
)
AROUND = ("{}", "a;{}", "a|{}", "a\t{}", "a\n{}", "a\r\n{}", '"{}', '";{}', "';{}", '"";"{}', 'a"\n{}')
CORPUS = [
    around.format(start + payload) for around, start, payload in itertools.product(AROUND, STARTS, PAYLOADS)
]


def content(answer):
    return b"".join(answer.streaming_content)


@pytest.fixture
def hostile(tenant):
    connect_all(tenant)
    records = [
        {
            "first_name": "Ada",
            "last_name": "Byron",
            "domain": "e.example",
            "note": text,
            f"x{number}\n=y": "z",
        }
        if number % 100 == 0
        else {"first_name": text, "last_name": text, "company": text, "domain": "e.example", "note": text}
        for number, text in enumerate(CORPUS)
    ]
    return make_run(tenant, records)


def rows_of(book) -> Any:
    return list(openpyxl.load_workbook(io.BytesIO(book), read_only=True)["Results"].iter_rows())


def assert_harmless(cells):
    for cell in cells:
        assert not cell.startswith(TRIGGERS), repr(cell)


def test_no_cell_of_a_csv_is_a_formula_whatever_separates_its_cells(api, tenant, hostile):
    assert len(CORPUS) > 900
    text = content(api.get(f"/runs/{hostile.pk}/results.csv")).decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert len(rows) == len(CORPUS) + 1
    for separator in ",;|\t":
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
            assert_harmless(row)


def test_no_cell_of_a_workbook_is_a_formula(api, tenant, hostile):
    answer = api.get(f"/runs/{hostile.pk}/results.xlsx")
    assert answer["Content-Disposition"].endswith('-results.xlsx"')
    rows = rows_of(content(answer))
    assert len(rows) == len(CORPUS) + 1
    texts = [cell.value for row in rows for cell in row if cell.data_type != "n" and cell.value is not None]
    assert {cell.data_type for row in rows for cell in row} <= {"s", "n", "inlineStr"}
    assert_harmless(texts)


def test_a_workbook_has_the_cells_of_the_csv(api, tenant):
    connect_all(tenant)
    run = make_run(
        tenant,
        [
            {"full_name": "Ada Byron", "domain": "e.example", "status": "lead"},
            {"note": "x" * 40_000, "n": "\x01"},
        ],
    )
    with tenant_scope(tenant):
        output = {
            "email": "ada@e.example",
            "email_status": "valid",
            "found_by": "prospeo",
            "verified_by": None,
        }
        Record.objects.filter(position=1).update(status="found", credits=2_500, output=output)
    rows = list(csv.reader(io.StringIO(content(api.get(f"/runs/{run.pk}/results.csv")).decode("utf-8-sig"))))
    book = content(api.get(f"/runs/{run.pk}/results.xlsx"))
    head, ada, odd = [[cell.value for cell in row] for row in rows_of(book)]
    assert head == rows[0]
    assert [str(value or "") for value in ada[:-2]] == rows[1][:-2]
    assert ada[head.index("credits")] == 2.5
    assert len(odd[head.index("note")]) == exports.MOST_CHARACTERS
    assert odd[head.index("note")].endswith("…")


def test_what_does_not_fit_in_a_worksheet_is_said(api, tenant, monkeypatch):
    connect_all(tenant)
    run = make_run(tenant, 2)
    monkeypatch.setattr(exports, "MOST_COLUMNS", 5)
    answer = api.get(f"/runs/{run.pk}/results.xlsx")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


def test_a_workbook_of_many_records_takes_little_memory(tenant, monkeypatch):
    monkeypatch.setattr(exports, "CHUNK", 200)
    connect_all(tenant)
    run = make_run(tenant, 1)
    with tenant_scope(tenant), connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO record (id, tenant_id, run_id, position, input, status, credits)
               SELECT gen_random_uuid(), %s, %s, n + 10, jsonb_build_object('note', repeat(md5(n::text), 150)), 'queued', 0
               FROM generate_series(1, 4000) n""",
            [tenant.pk, run.pk],
        )
    tracemalloc.start()
    try:
        size = sum(len(part) for part in exports.results_xlsx(tenant.pk, run))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 200_000
    assert peak < 6_000_000

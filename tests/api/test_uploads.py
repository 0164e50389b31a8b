"""POST /uploads, and runs over what was brought."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.files.storage import default_storage
from django.core.handlers.wsgi import WSGIHandler
from django.utils import timezone

from tenants.scope import tenant_scope
from tests.api.test_errors import assert_problem
from tests.client import Api
from tests.factories import connect_all, make_key
from workflows.models import Record, Run, Upload
from workflows.operations.fill_run import fill_run

CSV = (
    b"First Name,Last Name,Company,Website,Notes\n"
    b"Ada,Byron,Analytical Engines,engines.example,first\n"
    b"Grace,,Compilers,compilers.example,no last name\n"
    b"\n"
    b"Alan,Turing,Machines,https://www.machines.example/about,last\n"
)


def stored_files() -> list[Path]:
    root = Path(django_settings.MEDIA_ROOT)
    return [path for path in root.rglob("*") if path.is_file()] if root.exists() else []


@pytest.fixture(autouse=True)
def _no_files():
    for path in stored_files():
        path.unlink()


def test_a_file_is_looked_over_and_kept_as_it_came(api, tenant):
    answer = api.upload(CSV, "spring list.csv")
    assert answer.status_code == 201
    body = answer.json()
    assert body["filename"] == "spring list.csv"
    assert body["columns"] == ["First Name", "Last Name", "Company", "Website", "Notes"]
    assert (body["rows"], body["blank_lines"], body["error_count"]) == (3, 1, 1)
    assert body["guessed_mapping"] == {
        "first_name": "First Name", "last_name": "Last Name", "company": "Company", "domain": "Website",
    }  # fmt: skip
    assert body["sample"][0]["Notes"] == "first"
    assert [(error["line"], error["code"]) for error in body["errors"]] == [(3, "missing_name")]
    with tenant_scope(tenant):
        upload = Upload.objects.get()
    assert str(upload.pk) == body["id"]
    assert upload.stored_as == f"{tenant.pk}/{upload.pk}.csv"
    assert upload.size == len(CSV)
    with default_storage.open(upload.stored_as) as stored:
        assert stored.read() == CSV


def test_a_large_file_goes_over_the_disk(api, tenant):
    rows = b"".join(b"Ada%d,Byron,Engines,e%d.example,%s\n" % (n, n, b"x" * 200) for n in range(8_000))
    content = CSV.splitlines(keepends=True)[0] + rows
    assert len(content) > 1_500_000
    assert api.upload(content).json()["rows"] == 8_000
    with tenant_scope(tenant), default_storage.open(Upload.objects.get().stored_as) as stored:
        assert stored.read() == content


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b"\n \n", "empty_file"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "not_csv"),
        (b"PK\x03\x04" + b"\0" * 100, "not_csv"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "not_csv"),
        (b"First Name,Last Name,Website\n", "no_data_rows"),
        (b"Ada,Byron,engines.example\nGrace,Hopper,compilers.example\n", "no_header"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_leaves_nothing(api, tenant, content, code):
    body = assert_problem(api.upload(content, "contacts.csv"), 422, code)
    assert body["errors"][0]["field"] == "file"
    assert stored_files() == []
    with tenant_scope(tenant):
        assert not Upload.objects.exists()


def test_too_many_rows_are_refused(api, settings):
    settings.UPLOAD_MAX_ROWS = 2
    assert_problem(api.upload(CSV), 422, "too_many_rows")


def test_a_file_over_the_limit_is_refused_while_it_comes_in(api, tenant, settings):
    settings.UPLOAD_MAX_BYTES = len(CSV) - 1
    assert_problem(api.upload(CSV), 413, "payload_too_large")
    assert stored_files() == []
    settings.UPLOAD_MAX_BYTES = len(CSV)
    assert api.upload(CSV).status_code == 201


class Endless(io.RawIOBase):
    """A body that never ends, and remembers how much of it was asked for."""

    def __init__(self, head: bytes) -> None:
        self.head, self.taken = head, 0

    def read(self, size: int = -1) -> bytes:
        assert size >= 0, "the whole body was asked for at once"
        chunk = self.head[:size] if self.taken == 0 else b"x" * size
        self.taken += len(chunk)
        assert self.taken < 200_000_000
        return chunk


def post_raw(key: str, body: Endless, length: int) -> tuple[str, bytes]:
    """POST /uploads with a body that the test client would have to hold in memory."""
    environ = {
        "REQUEST_METHOD": "POST", "PATH_INFO": "/api/v1/uploads", "SERVER_NAME": "testserver", "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http", "wsgi.input": body, "wsgi.errors": io.StringIO(),
        "CONTENT_TYPE": "multipart/form-data; boundary=limit", "CONTENT_LENGTH": str(length),
        "HTTP_AUTHORIZATION": f"Bearer {key}",
    }  # fmt: skip
    seen: list[str] = []

    def start(status: str, headers: Any, failure: Any = None) -> Callable[[bytes], object]:
        seen.append(status)
        return seen.append  # type: ignore[return-value]

    response = WSGIHandler()(environ, start)
    return seen[0], b"".join(response)


HEAD = b'--limit\r\nContent-Disposition: form-data; name="file"; filename="contacts.csv"\r\n\r\n'


def test_two_gigabytes_are_refused_before_any_of_them_is_read(committed, api_key):
    body = Endless(HEAD)
    status, answer = post_raw(api_key, body, 2 * 1024**3)
    assert status.startswith("413")
    assert b'"payload_too_large"' in answer
    assert body.taken == 0


def test_a_body_is_read_no_further_than_the_limit(committed, api_key, settings):
    settings.UPLOAD_MAX_BYTES = 3_000_000
    body = Endless(HEAD)
    status, answer = post_raw(api_key, body, settings.UPLOAD_MAX_BYTES + 60_000)
    assert status.startswith("413")
    assert b'"payload_too_large"' in answer
    assert 3_000_000 <= body.taken < 3_200_000


def test_a_tenants_files_together_have_a_limit_until_they_are_deleted(api, tenant, settings):
    content = b"First Name,Last Name,Website\nAda,Byron,e.example\n"
    settings.UPLOADS_MAX_BYTES = 2 * len(content)
    assert [api.upload(content).status_code for _ in range(3)] == [201, 201, 409]
    with tenant_scope(tenant):
        assert Upload.objects.count() == 2
        Upload.objects.filter(pk=Upload.objects.first().pk).update(purged_at=timezone.now())
    assert api.upload(content).status_code == 201


def test_a_form_without_a_file_is_named(api):
    for content_type, body in (
        ("multipart/form-data; boundary=x", b"--x--\r\n"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\ntext\r\n--x--\r\n'),
    ):  # fmt: skip
        answer = api.send("POST", "/uploads", body, Content_Type=content_type)
        assert assert_problem(answer, 422, "invalid_input")["errors"][0]["field"] == "file"


def test_a_name_that_no_file_can_have_is_made_one(api):
    long = api.upload(CSV, "x" * 500 + ".csv").json()["filename"]
    assert len(long) <= 200
    assert long.endswith(".csv")
    assert api.upload(CSV, "a\0b.csv").status_code in (201, 422)
    assert "/" not in api.upload(CSV, "../../etc/passwd").json()["filename"]


def test_the_template_decides_which_columns_count(api):
    content = b"Name,Email\nAda Byron,ada@engines.example\nNo,nonsense\n"
    body = api.upload(content, fields={"template": "email-verify"}).json()
    assert body["guessed_mapping"] == {"email": "Email"}
    assert [error["code"] for error in body["errors"]] == ["bad_email"]
    answer = api.upload(content, fields={"template": "no-such\0"})
    assert assert_problem(answer, 422, "invalid_input")["errors"][0]["field"] == "template"


def test_an_upload_is_run_with_the_guessed_mapping(api, tenant):
    connect_all(tenant)
    upload = api.upload(CSV, "spring.csv").json()
    run = api.post("/runs", {"workflow": "email-waterfall", "upload": upload["id"]}).json()
    assert (run["name"], run["records"]["total"], run["records"]["queued"]) == ("spring.csv", 3, 3)
    with tenant_scope(tenant):
        stored = Run.objects.get()
    fill_run(tenant.pk, stored.pk)
    with tenant_scope(tenant):
        inputs = [record.input for record in Record.objects.order_by("position")]
        assert [record.status for record in Record.objects.order_by("position")] == [
            "queued",
            "failed",
            "queued",
        ]
    assert inputs[2]["domain"] == "machines.example"
    assert inputs[0]["Notes"] == "first"


def test_a_mapping_can_be_given(api, tenant):
    connect_all(tenant)
    upload = api.upload(CSV).json()
    mapping = {"full_name": "Notes", "domain": "Website", "company": None}
    run = api.post(
        "/runs", {"workflow": "email-waterfall", "upload": upload["id"], "mapping": mapping}
    ).json()
    fill_run(tenant.pk, run["id"])
    with tenant_scope(tenant):
        record = Record.objects.order_by("position").first()
    assert (record.input["full_name"], record.input["First Name"]) == ("first", "Ada")


@pytest.mark.parametrize(
    ("mapping", "code"),
    [
        ({"domain": "Website"}, "missing_name_column"),
        ({"full_name": "No such column", "domain": "Website"}, "unknown_column"),
        ({"no_such_field": "Website"}, "unknown_field"),
        ({"full_name": "Website", "domain": "Website"}, "duplicate_column"),
        ({"full_name": 5}, "invalid_input"),
        (["full_name"], "invalid_input"),
        ("full_name", "invalid_input"),
    ],
)
def test_a_mapping_that_cannot_be_used_is_named(api, tenant, mapping, code):
    connect_all(tenant)
    upload = api.upload(CSV).json()
    answer = api.post("/runs", {"workflow": "email-waterfall", "upload": upload["id"], "mapping": mapping})
    assert assert_problem(answer, 422, code)["errors"][0]["field"] == "mapping"


def test_another_tenant_s_upload_is_not_found(api, tenant, other_tenant):
    upload = api.upload(CSV).json()
    connect_all(other_tenant)
    answer = Api(make_key(other_tenant)).post(
        "/runs", {"workflow": "email-waterfall", "upload": upload["id"]}
    )
    assert_problem(answer, 404, "not_found")

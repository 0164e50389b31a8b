"""S8: what is small on the way and large once opened is refused at once, by the web process as production starts it."""

import http.client
import json
import zipfile
import zlib
from io import BytesIO
from urllib.parse import quote, urlsplit

import psutil
import pytest

from tests.api.fuzz import web
from tests.factories import make_key

SECONDS, MEGABYTES = 2.0, 64
MEBIBYTE = 1_048_576


def zeros(gibibytes=1):
    """A gzip file that opens to so many GiB of zeros: one member of 64 MiB, again and again."""
    packer = zlib.compressobj(9, wbits=31)
    member = packer.compress(bytes(64 * MEBIBYTE)) + packer.flush()
    return member * (16 * gibibytes)


def workbook():
    """An XLSX that opens to a quarter of a GiB."""
    held = BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        with archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as sheet:
            for _ in range(16):
                sheet.write(bytes(16 * MEBIBYTE))
    return held.getvalue()


def form(content, name="contacts.csv"):
    head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    return (
        "/api/v1/uploads",
        head + content + b"\r\n--x--\r\n",
        {"Content-Type": "multipart/form-data; boundary=x"},
    )


def body(raw, path="/api/v1/runs", **headers):
    return path, raw, {"Content-Type": "application/json", **headers}


def slow(**fields):
    return body(json.dumps({"workflow": "email-waterfall", "records": [fields]}).encode())


FILL = 9 * MEBIBYTE
QUERIES = ("cursor={}", "limit={}", "status={}", "workflow={}", "created_since={}")


def bombs():
    """What it is -> (what is sent, the statuses that it may be answered with)."""
    row = b"a@b.example," * 1_000_000
    return {
        "gzip of a GiB as a body": (body(zeros(), **{"Content-Encoding": "gzip"}), {400, 413, 415}),
        "gzip of a GiB as a file": (form(zeros()), {413, 422}),
        "a workbook of zeros": (form(workbook(), "people.xlsx"), {413, 422}),
        "a million columns": (form(row + b"\n" + row), {413, 422}),
        "one cell of 40 MiB": (form(b"Name,Company\n" + b"x" * 40 * MEBIBYTE), {422}),
        "an open quote": (form(b'Name,Company\n"' + b"x,\n" * 5_000_000), {201, 413, 422}),
        "ten thousand levels": (body(b'{"a":' * 10_000 + b"1" + b"}" * 10_000), {400}),
        "a million levels": (body(b"[" * 1_000_000), {400, 413}),
        "three million objects": (body(b'{"workflow":"w","records":[' + b"{}," * (FILL // 3) + b"{}]}"), {413}),
        "two million numbers": (body(b"[" + b"1.5," * (FILL // 4) + b"1]"), {413}),
        "two million texts": (body(b"[" + b'"ab",' * (FILL // 5) + b'""]'), {413}),
        "a text of escapes": (body(b'{"workflow":"' + b'\\"' * (FILL // 2) + b'"}'), {413, 422}),
        "a number of a million digits": (body(b'{"workflow":' + b"9" * 1_000_000 + b"}"), {400}),
        "too large by its own word": (body(b"{}", **{"Content-Length": str(10**12)}), {413}),
        "a hundred thousand fields": (body(json.dumps({f"f{n}": n for n in range(100_000)}).encode()), {422}),
        "e-mail without an end": (slow(full_name="a" * 100_000, email="a@" + "a." * 100_000), {202, 422}),
        "spaces without an end": (slow(full_name=" " * 500_000 + "x", company="\t" * 500_000), {202, 422}),
        "a long link": (slow(linkedin_url="https://www.linkedin.com/in/" + "%" * 500_000), {202, 422}),
        "a long domain": (slow(full_name="Ada Byron", domain="a-" * 200_000 + "!"), {202, 422}),
        "a long address to suppress": (
            body(json.dumps({"values": ["a." * 250 + "@" + "b-" * 120] * 1_000}).encode(), "/api/v1/suppressions"),
            {201, 422},
        ),
    }  # fmt: skip


@pytest.fixture(scope="module")
def opened():
    return bombs()


def forget_peaks(process):
    """From now on the most memory is what each has at this moment (proc(5): clear_refs)."""
    for one in [process, *process.children(recursive=True)]:
        with open(f"/proc/{one.pid}/clear_refs", "w") as peaks:  # noqa: PTH123 - no file
            peaks.write("5")


def used(process):
    """(processor seconds, the most memory since `forget_peaks`) of the server and its workers."""
    everyone = [process, *process.children(recursive=True)]
    seconds = sum(sum(one.cpu_times()[:2]) for one in everyone)
    return seconds, sum(peak(one.pid) for one in everyone)


def peak(pid):
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123 - no file
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def ask(url, key, path, raw, headers, method="POST"):
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request(method, path, raw, {**headers, "Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def test_a_bomb_is_refused_at_once_and_takes_little_memory(committed, tenant, tmp_path, opened):
    key = make_key(tenant)
    with web(tmp_path) as (url, pid):
        process = psutil.Process(pid)
        # What the largest body that we take costs is no bomb.
        note = {"full_name": "Ada Byron", "domain": "e.example", "note": "x" * 9_000}
        large = json.dumps({"workflow": "email-waterfall", "records": [note] * 1_000}).encode()
        for _ in range(8):  # in each of the server's threads, which keep what they were given
            assert ask(url, key, *body(large))[0] == 422  # missing_connection, after all of it was read
        ask(url, key, *form(b"Name,Company\n" + b"Ada Byron,Engines\n" * 50_000))
        told = {}
        for name, ((path, raw, headers), statuses) in opened.items():
            forget_peaks(process)
            began, before = used(process)
            status, text, _ = ask(url, key, path, raw, headers)
            seconds, now = used(process)
            told[name] = (status, round(seconds - began, 2), (now - before) // MEBIBYTE)
            assert status in statuses, (name, status, text[:300])
        print(json.dumps(told, indent=1))
        assert max(seconds for _, seconds, _ in told.values()) < SECONDS, told
        assert max(grown for *_, grown in told.values()) < MEGABYTES, told
        for query in QUERIES:
            began, _ = used(process)
            status, *_ = ask(url, key, "/api/v1/runs?" + query.format(quote("a" * 20_000)), b"", {}, "GET")
            assert status in (404, 414, 422, 400), query
            assert used(process)[0] - began < SECONDS, query
        assert ask(url, key, "/api/v1/tenant", b"", {}, "GET")[0] == 200

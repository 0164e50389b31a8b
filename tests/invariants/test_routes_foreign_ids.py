"""Another tenant's objects are not there: not in paths, bodies, queries, forms, files, metadata or headers.

Every route is asked with the other tenant's ids, and then with ids that nobody has. The two answers are the same to the
byte, but for the request's own id and the id that was asked for; no row of the other tenant changes; and no answer holds
a word of what is theirs, each text of which has a canary in it.
"""

import itertools
import json
import re
import time
import uuid
from collections.abc import Iterator
from statistics import median
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from tenants.scope import tenant_scope
from tests.client import Api
from tests.factories import contact
from tests.invariants.routes import EMPTY, Route, every_route
from tests.invariants.world import Rows, World, combinations, nobodys
from workflows.models import IdempotencyKey, Workflow

ROUTES = [route for route in every_route() if route.kind in ("api", "page")]
CALLS = [route for route in ROUTES if route.kind == "api"]
PAGES = [route for route in ROUTES if route.kind == "page"]
# A body that the route takes, so that what is refused is the id in its path.
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("PATCH", "/api/v1/connections/<uuid:connection_id>"): {"name": "Main"},
    ("PATCH", "/api/v1/workflows/<uuid:workflow_id>"): {"name": "Other"},
    ("POST", "/api/v1/workflows"): {"template": "email-waterfall", "name": "Second"},
    ("PATCH", "/api/v1/lanes/<uuid:lane_id>"): {"parallelism": 2},
    ("PATCH", "/api/v1/runs/<uuid:run_id>"): {"priority": 6},
    ("PATCH", "/api/v1/tenant"): {"retention_days": 90},
    ("POST", "/api/v1/connections"): {"provider": "hunter", "secret": "hunter-key-0001", "mode": "sandbox"},
    ("POST", "/api/v1/keys"): {"name": "a key"},
    ("POST", "/api/v1/keys/<uuid:key_id>/rotate"): {"overlap_seconds": 60},
    ("PATCH", "/api/v1/webhook-endpoints/<uuid:endpoint_id>"): {"description": "a description"},
    ("POST", "/api/v1/webhook-endpoints"): {"kind": "callback"},
    ("POST", "/api/v1/webhook-endpoints/<uuid:endpoint_id>/test"): {"event": "run.completed"},
    ("POST", "/api/v1/webhook-endpoints/<uuid:endpoint_id>/rotate"): {"overlap_seconds": 60},
    ("POST", "/api/v1/suppressions"): {"value": "somebody@else.example"},
    ("POST", "/api/v1/runs/<uuid:run_id>/retry"): {"provider": "prospeo"},
    ("POST", "/api/v1/runs/<uuid:run_id>/records/<uuid:record_id>/retry"): {"mode": "resume"},
    ("POST", "/api/v1/runs"): {"workflow": "email-waterfall", "records": [contact(7)]},
}
# What a query or a form might call an id.
NAMES = (
    "actor", "after", "before", "connection", "cursor", "email", "event", "export", "file", "id", "invitation", "key",
    "lane", "member", "membership", "name", "next", "owner", "person", "provider", "q", "record", "role", "run",
    "subject", "tenant", "tenant_id", "token", "upload", "user", "who", "workflow", "workflow_id",
)  # fmt: skip
KNOWN = ("run", "record", "upload", "workflow", "lane", "connection", "apikey", "membership")
HEADERS = (
    "X-Tenant",
    "X-Tenant-Id",
    "Tenant",
    "X-Org-Id",
    "X-Forwarded-User",
    "X-Original-URL",
    "X-Rewrite-URL",
)
# What differs between two answers to the same request.
_OWN = re.compile(
    rb'name="csrfmiddlewaretoken" value="\w+"|nonce="[^"]+"|"request_id": "[^"]*"|<time [^>]*>[^<]*</time>'
)
_ASKED = b"asked"
_numbers = itertools.count(1)
# The last three count the caller's own requests, one by one.
_QUIET_HEADERS = {
    "X-Request-Id", "Content-Security-Policy", "Set-Cookie", "Content-Length",
    "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit",
}  # fmt: skip


@pytest.fixture
def mine(committed):
    return World("Acme", "canary-a")


@pytest.fixture
def theirs(committed):
    world = World("Globex", "canary-b")
    world.fill_every_table()
    return world


@pytest.fixture
def their_rows(theirs) -> Iterator[Rows]:
    with Rows(theirs.tenant.pk, [user.pk for user in theirs.people.values()]) as rows:
        yield rows


def body_of(answer: Any) -> bytes:
    return b"".join(answer.streaming_content) if answer.streaming else answer.content


def normal(answer: Any, called: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers without what is the request's own: its id, its tokens, and the values it named."""
    body = _OWN.sub(b"", body_of(answer))
    # An id that was tried as a secret before is masked for as long as that secret is in memory.
    body = body.replace(b"****", _ASKED)
    headers = {name: value for name, value in answer.items() if name not in _QUIET_HEADERS}
    for value, name in called.items():
        for form in {value, value.replace("-", ""), value.replace("@", "%40")}:
            body = body.replace(form.encode(), name.encode())
            headers = {key: text.replace(form, name) for key, text in headers.items()}
    return answer.status_code, body, headers


def unnamed(
    answer: tuple[int, bytes, dict[str, str]], called: dict[str, str]
) -> tuple[int, bytes, dict[str, str]]:
    """The same, whichever of its values the request named: where one is masked, nobody can tell which it was."""
    status, body, headers = answer
    for name in sorted(called.values(), key=len, reverse=True):
        body = body.replace(name.encode(), _ASKED)
    return status, body, headers


def assert_same(where: str, asked: Any, random: Any, called: dict[str, str], theirs: World) -> int:
    """The two answers tell nothing apart; what was done rather than refused holds nothing of theirs. The status."""
    left, right = normal(asked, called), normal(random, called)
    assert theirs.canary.encode() not in left[1], f"{where} shows something of theirs"
    assert left[0] == right[0], f"{where}: {left[0]} for theirs, {right[0]} for nobody's"
    if left[0] >= 400:
        if _ASKED in left[1] or _ASKED in right[1]:
            left, right = unnamed(left, called), unnamed(right, called)
        assert left == right, where
    assert left[0] < 500, where
    return left[0]


def as_page(client: Client, method: str, address: str, form: dict[str, Any] | None = None) -> Any:
    if method == "GET":
        return client.get(address, form or {})
    return client.post(address, form or {})


def test_the_other_tenant_has_one_of_everything(their_rows: Rows):
    empty = {table for table, (count, _) in their_rows.now().items() if not count}
    # Of people, and made by account code alone; of Stripe, and stored before anybody knows whose it is.
    assert empty <= {
        "account_emailaddress", "account_emailconfirmation", "mfa_authenticator", "tenants_user_groups",
        "tenants_user_user_permissions", "django_admin_log", "usersessions_usersession",
        "billing_stripeevent",
    }  # fmt: skip


def test_every_call_with_a_body_has_one_here():
    schema = SchemaGenerator().get_schema(request=None, public=True)
    wanted = {
        (method.upper(), path)
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    }
    known = {(method, re.sub(r"<\w+:(\w+)>", r"{\1}", path)) for method, path in BODIES}
    assert known == wanted, "Put a body that the route takes into BODIES."


def test_an_id_in_a_path_is_found_by_its_own_tenant_alone(mine: World, theirs: World, their_rows: Rows):
    before = their_rows.now()
    api, page = Api(mine.key), mine.browser("owner")
    asked = 0
    for route in ROUTES:
        for method in route.permissions:
            for wanted, random, called in combinations(route, mine, theirs):
                where = f"{method} {route.at(wanted)}"
                if route.kind == "api":
                    body = BODIES.get((method, route.path), {})
                    pair = [api.send(method, route.at(values), body) for values in (wanted, random)]
                else:
                    pair = [as_page(page, method, route.at(values)) for values in (wanted, random)]
                if pair[0].status_code == 405:
                    continue
                asked += 1
                assert assert_same(where, pair[0], pair[1], called, theirs) == 404, where
                assert their_rows.now() == before, f"{where} changed something of theirs"
    assert asked > 30
    assert_own(theirs)


def assert_own(theirs: World) -> None:
    """Whose it is does find it: what was refused was the tenant, and not the address."""
    api, page = Api(theirs.key), theirs.browser("owner")
    for route in sorted(ROUTES, key=lambda route: ("cancel" in route.path, "GET" not in route.permissions)):
        if not route.parameters or route.path in EMPTY:
            continue
        theirs.renew()
        values = {name: theirs.value_of(name, kind) for name, kind in route.parameters.items()}
        for method in sorted(route.permissions, key=lambda method: method == "DELETE"):
            if route.kind == "api":
                answer = api.send(method, route.at(values), BODIES.get((method, route.path), {}))
            else:
                answer = as_page(page, method, route.at(values))
            assert answer.status_code not in (401, 403, 404), f"{method} {route.path}: {answer.status_code}"


def foreign(theirs: World) -> dict[str, str]:
    """What somebody may know of another tenant: its own id, those of things that requests can name, a slug."""
    ids = theirs.fill_every_table()
    known = {name: str(ids[name]) for name in KNOWN}
    return known | {"tenant": str(theirs.tenant.pk), "user": str(theirs.owner.pk), "slug": theirs.slug}


def natural(theirs: World) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Every name of NAMES with theirs, and with nobody's: of the kind that the name says, then all ids, then all slugs."""
    known = foreign(theirs)
    kinds = {
        "key": "apikey",
        "member": "membership",
        "id": "run",
        "workflow_id": "workflow",
        "tenant_id": "tenant",
    }
    for fallback in ("run", "tenant", "slug"):
        wanted = {
            name: known[
                kinds.get(name, name) if fallback == "run" and kinds.get(name, name) in known else fallback
            ]
            for name in NAMES
        }
        others = {
            value: str(nobodys("id", "slug" if value == theirs.slug else "uuid")) for value in wanted.values()
        }
        yield wanted, {name: others[value] for name, value in wanted.items()}


def called_in(*values: dict[str, str]) -> dict[str, str]:
    return {value: name for given in values for name, value in given.items()}


def without(answer: Any, echoed: dict[str, str]) -> bytes:
    """The body without what the request brought itself."""
    body = body_of(answer)
    for value in echoed.values():
        body = body.replace(value.encode(), b"")
    return body


def random_like(name: str) -> str:
    return str(nobodys("slug", "slug") if name == "slug" else nobodys("id", "uuid"))


def with_value(body: dict[str, Any], name: str, value: str) -> dict[str, Any]:
    changed = {**body, name: value}
    if "secret" in body and name != "secret":
        changed["secret"] = f"hunter-key-{next(_numbers):04}"  # one that is connected already is refused
    if name == "upload":
        changed.pop("records", None)
    return changed


def test_an_id_in_a_body_is_nobody_s(mine: World, theirs: World, their_rows: Rows):
    before = their_rows.now()
    api, known = Api(mine.key), foreign(theirs)
    schema = SchemaGenerator().get_schema(request=None, public=True)
    asked = 0
    with tenant_scope(mine.tenant):
        kept = list(Workflow.objects.values_list("pk", flat=True))
    for (method, path), body in BODIES.items():
        operation = schema["paths"][re.sub(r"<\w+:(\w+)>", r"{\1}", path)][method.lower()]
        shape = operation["requestBody"]["content"]["application/json"]["schema"]
        fields = schema["components"]["schemas"][shape["$ref"].split("/")[-1]]["properties"]
        route = next(route for route in CALLS if route.path == path)
        address = route.at({name: mine.value_of(name, kind) for name, kind in route.parameters.items()})
        for field in (*fields, "tenant", "tenant_id", "id", "created_by"):
            for name in ("run", "workflow", "upload", "tenant", "slug"):
                value, other = known[name], random_like(name)
                called = {value: "asked", other: "asked"}
                pair = []
                for one in (value, other):
                    pair.append(api.send(method, address, with_value(body, field, one)))
                    forget_workflows(mine, kept)
                if "problem" not in pair[0]["Content-Type"]:
                    # It was taken for a name; what came of it is the caller's own.
                    assert pair[0].status_code == pair[1].status_code
                assert_same(f"{method} {path} {field}={name}", pair[0], pair[1], called, theirs)
                asked += 1
    assert asked > 100
    assert their_rows.now() == before


def forget_workflows(world: World, kept: list[uuid.UUID]) -> None:
    """Each of two equal requests finds the same: the slug that the first one took would stop the second."""
    with tenant_scope(world.tenant):
        Workflow.objects.exclude(pk__in=kept).delete()


def test_metadata_records_and_files_that_name_their_ids_reveal_nothing(
    mine: World, theirs: World, their_rows: Rows
):
    before = their_rows.now()
    api = Api(mine.key)
    ids = foreign(theirs)
    ids.pop("slug")
    record = contact(9, **{f"x_{name}": value for name, value in ids.items()})
    body = {"workflow": "email-waterfall", "records": [record], "metadata": ids}
    with tenant_scope(theirs.tenant):
        used = IdempotencyKey.objects.get().key
    run = api.post("/runs", body, Idempotency_Key=used)
    assert (run.status_code, run.get("Idempotency-Replayed")) == (202, None)
    lines = [["First Name", "Last Name", "Website", *ids], ["Ada", "Byron", "engines.example", *ids.values()]]
    file = "\n".join(",".join(line) for line in lines).encode()
    upload = api.upload(file, filename=f"{ids['run']}.csv").json()
    started = api.post("/runs", {"workflow": "email-waterfall", "upload": upload["id"]}).json()
    for found in (run.json(), started):
        for end in ("", "/records", "/results.csv", "/results.jsonl"):
            answer = api.get(f"/runs/{found['id']}{end}")
            assert answer.status_code == 200
            assert theirs.canary.encode() not in body_of(answer), end
    assert their_rows.now() == before


def addresses(world: World) -> Iterator[tuple[Route, str]]:
    for route in ROUTES:
        yield route, route.at({name: world.value_of(name, kind) for name, kind in route.parameters.items()})


def test_an_id_in_a_query_is_nobody_s(mine: World, theirs: World, their_rows: Rows):
    before = their_rows.now()
    api, page = Api(mine.key), mine.browser("owner")
    for route, address in addresses(mine):
        if "GET" not in route.permissions:
            continue
        for queries in natural(theirs):
            pair = [
                api.get(f"{address}?{urlencode(query)}")
                if route.kind == "api"
                else as_page(page, "GET", address, query)
                for query in queries
            ]
            if pair[0].status_code != 405:
                assert_same(f"GET {address} {queries[0]}", pair[0], pair[1], called_in(*queries), theirs)
    assert their_rows.now() == before


def test_a_declared_filter_shows_nothing_of_theirs(mine: World, theirs: World):
    """One by one: what refuses a value hides what the next would have done. A cursor of theirs as well."""
    schema = SchemaGenerator().get_schema(request=None, public=True)
    api, their_api = Api(mine.key), Api(theirs.key)
    for route, address in addresses(mine):
        if route.kind != "api" or "GET" not in route.permissions:
            continue
        operation = schema["paths"][re.sub(r"<\w+:(\w+)>", r"{\1}", route.path)]["get"]
        for parameter in operation.get("parameters", ()):
            if parameter["in"] != "query":
                continue
            values = [*foreign(theirs).values(), f"user:{theirs.owner.email}", "key:", "system:"]
            if parameter["name"] == "cursor":
                their_page = their_api.get(route.at(own_values(route, theirs)) + "?limit=1")
                values.append(cursor_in(their_page.json().get("next")))
            for value in values:
                answer = api.get(f"{address}?{parameter['name']}={value}")
                assert answer.status_code in (200, 404, 422), f"{address} {parameter['name']}={value}"
                if not answer.streaming and value != theirs.slug:
                    shown = answer.content.replace(value.encode(), b"")
                    assert theirs.canary.encode() not in shown, address


def own_values(route: Route, world: World) -> dict[str, Any]:
    return {name: world.value_of(name, kind) for name, kind in route.parameters.items()}


def cursor_in(address: str | None) -> str:
    return address.partition("cursor=")[2].partition("&")[0] if address else ""


def test_an_id_in_a_form_is_nobody_s(mine: World, theirs: World, their_rows: Rows):
    before = their_rows.now()
    for route, address in addresses(mine):
        if route.kind != "page" or "theme" in address:
            continue
        page = mine.browser("owner")
        for forms in natural(theirs):
            pair = [as_page(page, "POST", address, form) for form in forms]
            # What was done is done: the second may be refused for the sake of the first.
            if min(answer.status_code for answer in pair) >= 400:
                assert_same(f"POST {address} {forms[0]}", pair[0], pair[1], called_in(*forms), theirs)
            assert not any(theirs.canary.encode() in without(answer, forms[0]) for answer in pair), address
        assert their_rows.now() == before, address


def test_no_header_and_no_session_value_opens_another_tenant(mine: World, theirs: World):
    their_ids = (str(theirs.tenant.pk), theirs.slug, theirs.tenant.name)
    plain = Api(mine.key).get("/tenant").json()
    for header in HEADERS:
        for value in their_ids:
            assert Api(mine.key).get("/tenant", **{header.replace("-", "_"): value}).json() == plain
    page = mine.browser("owner")
    session = page.session
    session["tenant_id"] = str(theirs.tenant.pk)
    session.save()
    answer = page.get("/app/runs/")
    assert answer.status_code == 200
    assert theirs.canary.encode() not in answer.content


def test_a_mere_look_changes_nothing(mine: World):
    """Not even where the page has a form: a link, or a browser that fetches ahead, cannot act for somebody."""
    mine.fill_every_table()
    api, page = Api(mine.key), mine.browser("owner")
    api.get("/tenant")  # the first use of a key is noted
    noted = {
        "tenants_auditevent",
        "usersessions_usersession",
    }  # what was downloaded, and from where one was seen
    with Rows(mine.tenant.pk, [user.pk for user in mine.people.values()]) as rows:
        before = {table: found for table, found in rows.now().items() if table not in noted}
        for route, address in addresses(mine):
            answer = api.get(address) if route.kind == "api" else page.get(address)
            body_of(answer)
            after = {table: found for table, found in rows.now().items() if table not in noted}
            assert after == before, address


@pytest.mark.parametrize(
    ("times", "most"),
    # Soon, and failed only where nobody could take it for noise; or as it is wanted.
    [(100, 0.5), pytest.param(2_000, 0.05, marks=[pytest.mark.campaign, pytest.mark.timeout(600)])],
)
def test_the_answer_takes_no_longer_for_what_is_somebody_s(
    mine: World, theirs: World, record_property, times, most
):
    api = Api(mine.key)
    run = theirs.fill_every_table()["run"]
    spent: dict[str, list[float]] = {"theirs": [], "nobody's": []}
    for _ in range(times):
        for name, wanted in (("theirs", run), ("nobody's", uuid.uuid4())):
            began = time.perf_counter()
            assert api.get(f"/runs/{wanted}").status_code == 404
            spent[name].append(time.perf_counter() - began)
    medians = {name: median(times) for name, times in spent.items()}
    apart = medians["theirs"] / medians["nobody's"] - 1
    record_property("apart", apart)
    print(json.dumps({name: round(value * 1000, 3) for name, value in medians.items()}), f"{apart:+.1%}")
    assert abs(apart) < most

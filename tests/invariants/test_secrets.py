"""V1: secrets are planted, used, and lost sight of: nothing that Weir says, writes or keeps shows one of them again."""

import base64
import io
import json
import re
import secrets
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, unquote, urlsplit

import pytest

from config.embedded import destroy
from config.embedded.keeper import wait_until_gone
from integrations.vault.masters import LocalKey
from integrations.vault_keys import decode
from tests.integrations.test_vault import new_master
from tests.invariants.secrets_tour.listeners import Listener, tracker, vendors
from tests.invariants.secrets_tour.search import Trace, search
from tests.invariants.secrets_tour.tour import PEOPLE, Tour
from tests.journeys.system import System

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PROVIDERS = ("prospeo", "findymail", "hunter", "zerobounce")
UNKIND = dict(zip(PROVIDERS, ("refuse", "fault", "redirect", "words"), strict=True))
MORE_TENANTS = 3
OWNER, STAFF = "a@acme.example", "staff@weir.example"

CONTROL = "Control-word/+=4711"
ENVIRONMENT = {
    "STRIPE_SECRET_KEY": "rk_test_",
    "STRIPE_WEBHOOK_SECRET": "whsec_",
    "WEIR_METRICS_TOKEN": "",
    "SECRET_KEY": "",
}


def plant(prefix: str = "") -> str:
    """A value that looks different in every encoding, and occurs nowhere else."""
    return f'{prefix}pl+nt/{secrets.token_hex(12)}="q'


@pytest.fixture(scope="module")
def planted() -> dict[str, str]:
    """Name -> secret, of those that are known before the system starts."""
    keys = {f"kind {provider}": plant() for provider in PROVIDERS}
    keys |= {f"unkind {provider}": plant() for provider in PROVIDERS}
    keys |= {f"kind {provider} {number}": plant() for provider in PROVIDERS for number in range(MORE_TENANTS)}
    keys |= {"replaced hunter": plant(), "refused connection": plant(), "typed into the page": plant()}
    keys |= {name: prefix + secrets.token_urlsafe(40) for name, prefix in ENVIRONMENT.items()}
    keys |= {"newest master key": new_master(), "older master key": new_master()}
    keys |= {"staff password": f"pw-{secrets.token_hex(12)}", "new password": f"pw-{secrets.token_hex(12)}"}
    return keys | {"second factor": secrets.token_hex(16).upper()}


@pytest.fixture(scope="module")
def mails(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mails")


@pytest.fixture(scope="module")
def listeners(planted: dict[str, str]) -> Iterator[tuple[Listener, Listener]]:
    with vendors({planted[f"unkind {p}"]: way for p, way in UNKIND.items()}) as called, tracker() as errors:
        yield called, errors


@pytest.fixture(scope="module")
def tour(planted: dict[str, str], mails: Path, listeners: tuple[Listener, Listener]) -> Iterator[Tour]:
    called, errors = listeners
    environment = {name: planted[name] for name in ENVIRONMENT} | {
        "WEIR_VAULT_KEYS": f"{planted['newest master key']},{planted['older master key']}",
        "WEIR_LOG_LEVEL": "DEBUG",
        "SENTRY_DSN": f"http://public@127.0.0.1:{errors.port}/1",
        "EMAIL_URL": f"filemail:///{mails}",
    }
    for provider in PROVIDERS:
        environment[f"WEIR_{provider.upper()}_BASE_URL"] = f"http://127.0.0.1:{called.port}/{provider}"
    with tempfile.TemporaryDirectory(prefix="weir-secrets-") as folder:
        data_dir = Path(folder) / "data"
        system = System(data_dir, **environment)
        try:
            yield Tour(system)
        finally:
            if system.process.poll() is None:
                system.stop()
            wait_until_gone(data_dir, seconds=30)
            destroy(data_dir)


def test_no_planted_secret_is_found_anywhere(
    tour: Tour, planted: dict[str, str], mails: Path, listeners: tuple[Listener, Listener]
):
    called, errors = listeners
    known = dict(planted)
    with tour.watching_redis():
        _go(tour, known, mails, called)
    tour.take_redis(CONTROL)
    assert tour.take_dump() > 100_000
    tour.take_processes()
    tour.until(lambda: errors.saw(CONTROL))
    tour.system.stop()
    tour.take_files()
    tour.traces += [Trace("error tracker", request) for request in errors.requests]

    reached = [name for name in known if name.startswith(("kind", "unkind", "replaced"))]
    assert len(reached) >= 20
    for name in reached:
        assert called.saw(known[name]), f"the {name} key never reached its vendor"
    controls = {where.split(" ")[0] for _, where in search({"control": CONTROL}, tour.traces)}
    assert controls >= {"answer", "database", "commands", "error", "file", "redis"}, controls
    assert search(known, tour.traces) == set()


def _go(tour: Tour, known: dict[str, str], mails: Path, called: Listener) -> None:
    first = tour.system.tenant
    second, *more = (
        tour.inside("make_tenant", name=name)
        for name in ("globex", *(f"more{n}" for n in range(MORE_TENANTS)))
    )
    known |= {"live key": first["api_key"], "second tenant's key": second["api_key"]}
    known["owner's password"] = first["password"]
    for name, url in tour.addresses.items():
        known[f"password of {name}"] = unquote(urlsplit(url).password or "")
    told = tour.inside(
        "set_up",
        tenants=[tenant["tenant_id"] for tenant in (first, second, *more)],
        owner=OWNER,
        staff=STAFF,
        staff_password=known["staff password"],
        factor=known["second factor"],
    )
    known["invitation"] = told["invitation"]
    _integrators(tour, known, called, first, second)
    for number, tenant in enumerate(more):
        _more_keys(tour, known, tenant["api_key"], number)
    _bad_luck(tour, known, called, first, second)
    _people(tour, known, mails)
    tour.inside("export", tenant=first["tenant_id"])
    assert tour.inside("addresses")


def _integrators(
    tour: Tour, known: dict[str, str], called: Listener, first: dict[str, str], second: dict[str, str]
) -> None:
    """Connect, be refused, run, look at everything."""
    api, other = tour.api(first["api_key"]), tour.api(second["api_key"])
    for provider in PROVIDERS:
        for call, kind in ((api, "kind"), (other, "unkind")):
            body = {"provider": provider, "secret": known[f"{kind} {provider}"], "name": CONTROL}
            assert call("POST", "/connections", json=body).status_code == 201
    _refused(api, known)
    run = _run(api, "email-waterfall")
    tour.until(lambda: api("GET", f"/runs/{run}").json()["status"] == "completed")
    for flow in ("prospeo", "findymail", "hunter"):
        _run(other, flow)
    for provider in ("prospeo", "findymail", "hunter"):
        tour.until(lambda provider=provider: called.saw(known[f"unkind {provider}"]))
    other("POST", "/runs", json={"workflow": "email-verify", "records": [{"email": "ada@engines.example"}]})
    tour.until(lambda: called.saw(known["unkind zerobounce"]))
    for path in (
        "/runs",
        "/connections",
        "/lanes",
        "/usage",
        "/keys",
        "/audit",
        "/tenant",
        "/workflows",
        "/templates",
    ):
        assert api("GET", path).status_code == 200, path
        other("GET", path)
    records = api("GET", f"/runs/{run}/records").json()["data"]
    for path in ("", f"/records/{records[0]['id']}", "/results.csv", "/results.jsonl"):
        assert api("GET", f"/runs/{run}{path}").status_code == 200, path
    _webhooks(tour, api, known)
    made = tour.system.call("POST", "/keys", {"name": "once shown", "scopes": ["read"]})
    known["key shown once"] = made["key"]
    assert tour.api(made["key"])("GET", "/runs").status_code == 200
    assert tour.api(made["key"][:-1] + "x")("GET", "/runs").status_code == 401


def _webhooks(tour: Tour, api: Any, known: dict[str, str]) -> None:
    """Secrets that sign, made and rotated under keys that keep answers."""
    told = {"url": "https://8.8.8.8/weir", "events": ["quota.warning"]}  # which does not happen here
    for name, body in (("an endpoint", told), ("callbacks", {"kind": "callback"})):
        made = api("POST", "/webhook-endpoints", json=body, headers={"Idempotency-Key": name})
        assert made.status_code == 201, made.text
        tour.shown_once.append(tour.traces.pop())  # the one answer that shows it
        assert (
            api("POST", "/webhook-endpoints", json=body, headers={"Idempotency-Key": name}).status_code == 201
        )
        path = f"/webhook-endpoints/{made.json()['id']}/rotate"
        rotated = api("POST", path, json={}, headers={"Idempotency-Key": f"{name} again"})
        tour.shown_once.append(tour.traces.pop())
        api("POST", path, json={}, headers={"Idempotency-Key": f"{name} again"})
        known |= {
            f"secret of {name}": made.json()["secret"],
            f"later secret of {name}": rotated.json()["secret"],
        }


def _more_keys(tour: Tour, known: dict[str, str], key: str, number: int) -> None:
    api = tour.api(key)
    for provider in PROVIDERS:
        body = {"provider": provider, "secret": known[f"kind {provider} {number}"], "name": CONTROL}
        assert api("POST", "/connections", json=body).status_code == 201
    run = _run(api, "email-waterfall")
    tour.until(lambda: api("GET", f"/runs/{run}").json()["status"] == "completed")


def _refused(api: Any, known: dict[str, str]) -> None:
    """Every way of sending a secret wrongly."""
    plain, taken = known["refused connection"], known["kind prospeo"]
    assert api("POST", "/connections", json={"provider": "prospeo", "secret": taken}).status_code == 409
    for body in (
        {"provider": "nobody", "secret": plain},
        {"provider": "prospeo", "secret": f"{plain} {plain}"},
        {"provider": "prospeo", "secret": {"key": plain}},
        {"provider": "prospeo", "secret": [plain]},
        {"provider": "prospeo", "secret": plain, "parallelism": 0},
        {"provider": "prospeo", "secret": plain, "windows": [{"rate": 0}]},
        {"provider": "prospeo", "secret": plain * 200},
        [plain],
        plain,
    ):
        assert api("POST", "/connections", json=body).status_code in (400, 422), body
    for content in (f'{{"provider": "prospeo", "secret": "{plain}', f"secret={plain}&provider=prospeo"):
        for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain"):
            answer = api("POST", "/connections", data=content.encode(), headers={"Content-Type": kind})
            assert answer.status_code in (400, 415, 422)
    assert api("DELETE", "/connections", json={"secret": plain}).status_code in (403, 405)


def _run(api: Any, flow: str) -> str:
    answer = api("POST", "/runs", json={"workflow": flow, "records": PEOPLE, "metadata": {"note": CONTROL}})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def _bad_luck(
    tour: Tour, known: dict[str, str], called: Listener, first: dict[str, str], second: dict[str, str]
) -> None:
    """A damaged secret, a damaged data key, a task that crashes, a database that goes away, a rotation."""
    api, other = tour.api(first["api_key"]), tour.api(second["api_key"])
    tour.inside("rotate")
    tour.inside("damage_secret", tenant=first["tenant_id"], provider="hunter")
    tour.until(lambda: not any(lane["in_flight"] for lane in api("GET", "/lanes").json()["data"]))
    _run(api, "hunter")
    tour.until(lambda: _state(api, "hunter") == "auth_failed")
    tour.inside(
        "replace_secret", tenant=first["tenant_id"], provider="hunter", secret=known["replaced hunter"]
    )
    tour.until(lambda: called.saw(known["replaced hunter"]))
    tour.inside("damage_data_key", tenant=second["tenant_id"])
    body = {"provider": "prospeo", "secret": known["refused connection"]}
    assert other("POST", "/connections", json=body).status_code == 500
    tour.inside("crash_task", word=CONTROL)
    assert tour.system.kill_server("postgres") >= 1
    assert api("POST", "/connections", json=body | {"secret": known["refused connection"]}).status_code >= 500
    tour.until(lambda: tour.session().get(f"{tour.base}/readyz", timeout=20).status_code == 200)


def _state(api: Any, provider: str) -> str:
    found = [one for one in api("GET", "/connections").json()["data"] if one["provider"] == provider]
    return str(found[0]["status"])


def _people(tour: Tour, known: dict[str, str], mails: Path) -> None:
    """Sign in, mistype, connect a vendor on the page, reset a password, look at every page and at the console."""
    browser = tour.sign_in(OWNER, known["owner's password"])
    assert tour.walk(browser, "/app/", "/accounts/") > 15
    fields = {"provider": "prospeo", "secret": known["typed into the page"], "name": "", "mode": "live"}
    assert tour.submit(browser, "/app/vendors/new/", **fields, rate="0").status_code == 422
    assert tour.submit(browser, "/app/vendors/new/", **fields | {"secret": "two words"}).status_code == 422
    page = tour.submit(browser, "/app/vendors/new/", **fields)
    assert page.url.endswith("/app/vendors/"), page.text[:2000]
    _reset_password(tour, known, mails)
    console = tour.sign_in(STAFF, known["staff password"])
    assert tour.walk(console, "/admin/") > 20
    with tour.session() as stranger:
        stranger.get(f"{tour.base}/invitations/{known['invitation']}/", timeout=60)
        stranger.get(f"{tour.base}/nowhere/{CONTROL}", timeout=60)
        metrics = {"Authorization": f"Bearer {known['WEIR_METRICS_TOKEN']}"}
        assert stranger.get(f"{tour.base}/metrics", headers=metrics, timeout=60).status_code == 200


def _reset_password(tour: Tour, known: dict[str, str], mails: Path) -> None:
    browser = tour.session()
    tour.submit(browser, "/accounts/password/reset/", email=OWNER)
    found: list[str] = []

    def mailed() -> bool:
        texts = [path.read_text() for path in mails.glob("*")]
        found[:] = re.findall(r"/accounts/password/reset/key/[^\s/]+/", "\n".join(texts))
        return bool(found)

    tour.until(mailed)
    known["reset link"] = found[-1].split("/")[-2].split("-", 1)[1]
    browser.get(tour.base + found[-1], timeout=60)
    changed = tour.submit(browser, found[-1], password1="short", password2=known["new password"])
    tour.submit(browser, changed.url, password1=known["new password"], password2=known["new password"])
    tour.sign_in(OWNER, known["new password"])
    again = tour.session().get(tour.base + found[-1], timeout=60)
    assert "password1" not in again.text


def test_the_search_finds_what_is_there_in_every_form():
    value = plant()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", json.dumps({"a": value}))
    contents = [
        value.encode(), quote_plus(value).encode(), json.dumps([value]).encode(), json.dumps(json.dumps(value)).encode(),
        value.encode().hex().encode(), repr(value).encode(), packed.getvalue(),
        *(base64.b64encode(b"x" * before + value.encode() + b"y" * 5) for before in range(4)),
    ]  # fmt: skip
    for content in contents:
        assert search(
            {"it": value}, [Trace("there", b"before " + content if content[:2] != b"PK" else content)]
        )
    assert not search({"it": value}, [Trace("there", plant().encode())])


def test_the_planted_master_keys_are_the_ones_that_are_used(tour: Tour, planted: dict[str, str]):
    dump = next(trace for trace in tour.traces if trace.where == "database dump")
    assert LocalKey(decode(planted["newest master key"])).id.encode() in dump.content

"""The page of the audit trail: in words, by person, kind and day, and as CSV."""

import csv
import io
import re
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client
from django.utils import timezone

from tenants import audit
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.config.test_house import BASE_DIR
from tests.factories import connect_all, make_key, make_run
from workflows.web import audit_words

if TYPE_CHECKING:
    from tenants.models import Tenant

PAGE = "/app/settings/audit/"


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def entry(tenant: "Tenant", actor: str, verb: str, **detail: Any) -> AuditEvent:
    with tenant_scope(tenant):
        return audit.record(actor=actor, verb=verb, subject=tenant, **detail)


@pytest.fixture
def busy(tenant: "Tenant") -> None:
    connect_all(tenant)
    make_run(tenant, 2, actor="user:owner@acme.example")
    make_key(tenant, name="CRM", actor="key:wk_live_Ab12…9xyZ")
    entry(tenant, "staff:ops@weir.example", "ops.viewed")


def test_entries_are_sentences_with_who_where_and_how(admin: Client, busy: None):
    text = text_of(admin.get(PAGE).content.decode())
    assert "owner@acme.example started a run" in text
    assert "records: 2; livemode: yes" in text
    assert "API key wk_live_Ab12…9xyZ created the API key “CRM”" in text
    assert "ops@weir.example, staff of Weir looked at a tenant" in text
    assert "connected Prospeo" in text


@pytest.mark.parametrize(
    ("query", "seen", "unseen"),
    [
        ("who=user:owner@acme.example", "started a run", "connected"),
        ("who=key:", "created the API key", "started a run"),
        ("who=staff:", "looked at", "started a run"),
        ("what=run.", "started a run", "connected"),
        ("who=user:nobody@x.example", "Nothing fits this filter", "started a run"),
        ("since=2020-01-01", "started a run", "Nothing fits"),
        ("since=2200-01-01", "Nothing fits", "started a run"),
        ("until=2020-01-01", "Nothing fits", "started a run"),
        ("since=never&until=&what=%00&after=x", "started a run", "Nothing fits"),
    ],
)
def test_the_trail_is_narrowed_down(admin: Client, busy: None, query: str, seen: str, unseen: str):
    text = text_of(admin.get(f"{PAGE}?{query}").content.decode())
    assert seen in text
    assert unseen not in text


def test_today_is_the_viewers_and_is_included(admin: Client, busy: None):
    today = f"{timezone.localdate():%Y-%m-%d}"
    assert "started a run" in admin.get(f"{PAGE}?since={today}&until={today}").content.decode()


def test_a_long_trail_has_pages(admin: Client, tenant: "Tenant"):
    for number in range(60):
        entry(tenant, f"system:n{number:02}", "run.paused")
    first = admin.get(PAGE).content.decode()
    assert "(n59)" in first
    assert "(n05)" not in first
    address = re.search(r'href="(\?[^"]*after=[^"]*)"', first)
    assert address
    assert "(n05)" in admin.get(PAGE + address[1]).content.decode()


def test_the_same_entries_come_as_csv_without_formulas(admin: Client, tenant: "Tenant", busy: None):
    entry(tenant, "=HYPERLINK(1)", "run.paused", name="=1+1")
    rows = rows_of(admin.get("/app/settings/audit.csv"))
    with tenant_scope(tenant):
        assert len(rows) == AuditEvent.objects.count()
    assert rows[0]["actor"] == "'=HYPERLINK(1)"
    assert {row["verb"][:4] for row in rows_of(admin.get("/app/settings/audit.csv?what=run."))} == {"run."}


def rows_of(answer: Any) -> list[dict[str, str]]:
    content = b"".join(answer.streaming_content).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(content)))


def test_texts_in_the_trail_are_texts(admin: Client, tenant: "Tenant"):
    entry(tenant, "user:<script>x</script>", "key.created", name="<img src=x>", note={"a": ["<b>"]})
    html = admin.get(PAGE).content.decode()
    assert "<script>x" not in html
    assert "<img src=x>" not in html
    assert "<b>]" not in html


def test_nobody_below_an_admin_sees_it(editor: Client, viewer: Client, admin: Client):
    for client in (editor, viewer):
        assert client.get(PAGE).status_code == 403
        assert PAGE not in client.get("/app/settings/").content.decode()
    assert PAGE in admin.get("/app/settings/").content.decode()


def test_every_verb_of_the_code_has_a_sentence():
    """Those that are spelled out; what is put together reads as it is spelled."""
    spelled = set()
    for app in ("tenants", "integrations", "billing", "workflows"):
        for path in (BASE_DIR / app).rglob("*.py"):
            if "migrations" not in path.parts:
                spelled |= set(re.findall(r'verb="([a-z]+\.[a-z_]+)"', path.read_text()))
    assert len(spelled) > 10
    assert spelled <= audit_words.SENTENCES.keys(), "Say it in workflows/web/audit_words.py."


def test_a_verb_without_a_sentence_is_still_readable(tenant: "Tenant"):
    event = AuditEvent(actor="system:x", verb="lane.turned_over", subject_type="lane", detail={})
    assert audit_words.what(event) == "turned over: lane"
    event = AuditEvent(actor="system:x", verb="member.removed", subject_type="membership", detail={})
    assert audit_words.what(event) == "removed somebody from the team"

"""docs/webhooks.md as written: its receiver gets and verifies what is sent; its figures are those of the code."""

import json
import os
import re
import socket
import subprocess
import sys
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from billing import news
from billing.operations.quota_notices import _told
from billing.signals import plan_changed
from config.embedded.processes import free_port
from config.env import BASE_DIR
from integrations.webhooks import post, schedule
from integrations.webhooks.samples import sample
from integrations.webhooks.sender import send_due
from tenants.events import EVENTS
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.chaos.campaign import until
from tests.client import Api

TEXT = (BASE_DIR / "docs/webhooks.md").read_text()


def block(language: str, number: int = 0) -> str:
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", TEXT, re.MULTILINE | re.DOTALL)
    indent, code = found[number]
    return "\n".join(line.removeprefix(indent) for line in code.splitlines()) + "\n"


def test_the_receiver_of_the_page_verifies_what_the_calls_of_the_page_send(
    api: Api, tenant: Tenant, settings: Any, committed: None, tmp_path: Path
) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = True
    body = json.loads(block("sh").partition("-d '")[2].partition("'")[0])
    port = free_port(None)
    made = api.post("/webhook-endpoints", {**body, "url": f"http://127.0.0.1:{port}/weir"}).json()
    (tmp_path / "hook.py").write_text(block("python"))
    secret = {"WEIR_WEBHOOK_SECRET": made["secret"], "PORT": str(port), "PYTHONUNBUFFERED": "1"}
    hook = subprocess.Popen(
        [sys.executable, str(tmp_path / "hook.py")], env={**os.environ, **secret}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        path = f"/webhook-endpoints/{made['id']}"
        until(lambda: listens(port), seconds=20, what="the page's receiver listens")
        assert api.post(path + "/test").status_code == 202
        send_due()
        assert hook.stdout
        line = hook.stdout.readline()
        assert line.startswith("msg_")
        assert "run.completed" in line
    finally:
        hook.kill()
        hook.wait()
        assert hook.stdout
        hook.stdout.close()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_page_names_every_event_and_what_it_carries() -> None:
    rows = dict(re.findall(r"^\| `([a-z.]+)` \| .* \| (.*) \|$", TEXT, re.MULTILINE))
    assert list(rows) == list(EVENTS)
    for event, fields in rows.items():
        if not event.startswith("run."):
            named = set(re.findall(r"`(\w+)`", fields)) - {"auth_failed", "no_credits", "person"}
            assert named == set(sample(event, "2026-03-02T09:30:00Z")), event


def test_samples_have_the_fields_of_what_is_told(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(news, "emit", lambda name, data, key: told.append(data))
    with tenant_scope(tenant):
        plan_changed.send(sender=None, was="free", now="pro", reason="operator")
    due: Any = SimpleNamespace(period=date(2026, 3, 1), percent=80, used=8, included=10, overage_allowed=True)
    at = "2026-03-02T09:30:00Z"
    assert [set(data) for data in told] == [set(sample("plan.changed", at))]
    assert set(_told(due)) == set(sample("quota.warning", at))


def test_the_page_s_figures_are_the_code_s() -> None:
    assert (schedule.TRIES, post.TIMEOUT_S, schedule.JITTER) == (10, 15, 0.2)
    assert schedule.DELAYS_S == (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
    assert schedule.DISABLE_AFTER.days == 5
    assert schedule.WARN_AFTER.days == 1

"""The sandbox vendors as the other tests use them: a process, a reset before each test, a say over its keys."""

import json
import os
import urllib.request

import pytest
from django.conf import settings

from integrations.queries import base_url


def ask_prospeo(sandbox, key):
    request = urllib.request.Request(
        f"{sandbox.url}/prospeo/enrich-person",
        data=json.dumps({"data": {"full_name": "Ada Byron", "company_website": "engines.example"}}).encode(),
        headers={"X-KEY": key, "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_sandbox_connections_lead_to_it(sandbox, connect):
    assert base_url(connect("prospeo")) == f"{sandbox.url}/prospeo"
    assert settings.SANDBOX_URL == os.environ["WEIR_SANDBOX_URL"] == sandbox.url


@pytest.mark.parametrize("time", ["first", "second"])
def test_each_test_finds_it_without_calls_limits_or_faults(sandbox, time):
    assert sandbox.calls() == []
    key = "key-0001"
    assert ask_prospeo(sandbox, key) != 429
    assert [call["provider"] for call in sandbox.calls()] == ["prospeo"]
    assert sandbox.summary()["prospeo"]["calls"] == 1
    sandbox.set_key("prospeo", key, windows=[{"rate": 1, "period": 60}])
    assert [ask_prospeo(sandbox, key) for _ in range(3)][-1] == 429
    sandbox.fault("prospeo", "status_500", rate=1.0)
    assert ask_prospeo(sandbox, "key-0002") == 500

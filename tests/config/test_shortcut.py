"""Requests to the API pass by what is there for people; pages do not. A connection is asked only when it speaks up."""

from unittest.mock import patch

import pytest
from django.contrib.sessions.middleware import SessionMiddleware
from django.db import connections
from django.db.backends.postgresql import base
from django.test import Client

from tenants.scope import APP_ALIAS


class Met(Exception):
    """A request has come to the middleware of sessions."""


@pytest.fixture
def sessions_met(monkeypatch):
    def meet(self, request):
        raise Met

    monkeypatch.setattr(SessionMiddleware, "process_request", meet)


def test_the_api_needs_no_session(sessions_met, api):
    answer = api.get("/tenant")
    assert answer.status_code == 200
    assert not answer.cookies
    assert {"X-Frame-Options", "X-Request-Id"} <= set(answer.headers)
    assert answer["Content-Security-Policy"].startswith("default-src 'none'")
    assert int(answer["Content-Length"]) == len(answer.content)


@pytest.mark.parametrize("path", ["/app/", "/accounts/login/", "/api/schema/", "/nothing-here"])
def test_pages_go_the_whole_way(sessions_met, db, path):
    with pytest.raises(Met):
        Client().get(path)


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_the_server_ended_is_not_usable_and_one_that_stands_is_not_asked():
    wrapper = connections[APP_ALIAS]
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone()
    with patch.object(base.DatabaseWrapper, "is_usable", side_effect=AssertionError("asked")):
        assert wrapper.is_usable()
    other = wrapper.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 2000)", [pid])
            assert cursor.fetchone()[0]
    finally:
        other.close()
    assert not wrapper.is_usable()
    wrapper.close()
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT 1")
    assert wrapper.is_usable()

"""A broker that takes connections and says nothing: what is posted is kept, and nobody waits for the doorbell."""

import base64
import json
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from kombu import pools

from config.celery import app
from config.embedded.processes import free_port
from tenants.doorbell import _Broker, forget_rest, send
from tests.client import Api
from tests.factories import connect_all, contact
from tests.own_redis import start_redis
from workflows.lanes import ring
from workflows.lanes.bell import Bell


def forget_connections() -> None:
    pools.reset()
    app._pool = app.amqp._producer_pool = None
    forget_rest()


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["subprocess.Popen[bytes]"]:
    """A broker of this test's own, to be stopped."""
    port = free_port(26_700)
    process = start_redis(port, tmp_path)
    monkeypatch.setattr(app.conf, "broker_write_url", f"redis://127.0.0.1:{port}/0")
    forget_connections()
    with redis.Redis(port=port) as client:
        for _ in range(100):
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.05)
    yield process
    process.kill()
    process.wait()
    forget_connections()


def seconds_to_post(api: Api) -> float:
    began = time.monotonic()
    answer = api.post("/runs", {"workflow": "email-waterfall", "records": [contact(1)]})
    assert answer.status_code == 202, answer.content
    return time.monotonic() - began


@pytest.mark.parametrize("connected_before", [True, False])
def test_a_silent_broker_does_not_hold_up_a_run(committed, api, tenant, broker, connected_before):
    connect_all(tenant)
    if connected_before:
        seconds_to_post(api)
        with redis.Redis(port=int(broker.args[-1])) as client:
            assert client.llen("rings"), "the ring goes to this broker"
    broker.send_signal(signal.SIGSTOP)
    assert seconds_to_post(api) < 3
    assert seconds_to_post(api) < 1, "the broker rests after a failure"


def test_the_broker_is_asked_again_after_its_rest(committed, api, tenant, broker):
    connect_all(tenant)
    broker.send_signal(signal.SIGSTOP)
    seconds_to_post(api)
    broker.send_signal(signal.SIGCONT)
    forget_rest()
    seconds_to_post(api)
    with redis.Redis(port=int(broker.args[-1])) as client:
        assert client.llen("rings")


def test_whoever_comes_after_the_first_waits_no_more_until_the_broker_is_back(broker):
    def seconds_to_send() -> tuple[bool, float]:
        began = time.monotonic()
        return send("workflows.tasks.nobody", "x"), time.monotonic() - began

    assert seconds_to_send()[0]
    broker.send_signal(signal.SIGSTOP)
    assert not seconds_to_send()[0]
    for _ in range(5):
        _Broker.rest_until = 0.0
        sent, took = seconds_to_send()
        assert (sent, took < 0.3) == (False, True), took
    broker.send_signal(signal.SIGCONT)
    deadline = time.monotonic() + 20
    while not seconds_to_send()[0]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_rings_of_many_requests_come_in_few_messages_and_none_is_lost(broker):
    """Each lane is told after its last ring: the latest ring of a lane never goes with a message from before it."""
    bell = Bell(ring._send_many)
    lanes = [(uuid.uuid4(), uuid.uuid4()) for _ in range(400)]
    for one in lanes:
        bell.ring({one, lanes[0]})
        time.sleep(0.001)
    with redis.Redis(port=int(broker.args[-1])) as client:
        told: list[list[str]] = []
        messages = 0
        deadline = time.monotonic() + 5
        while len({tuple(pair) for pair in told}) < len(lanes) and time.monotonic() < deadline:
            if raw := client.rpop("rings"):
                body = json.loads(base64.b64decode(json.loads(raw)["body"]))
                told += body[0][0]
                messages += 1
    assert {tuple(pair) for pair in told} == {(str(tenant), str(lane)) for tenant, lane in lanes}
    assert messages < len(lanes) / 5


def test_a_ring_that_cannot_be_sent_does_not_silence_the_bell():
    sent: list[object] = []

    def fails_once(lanes: list[tuple[uuid.UUID, uuid.UUID]]) -> None:
        sent.append(lanes)
        if len(sent) == 1:
            raise RuntimeError("no broker")

    bell = Bell(fails_once)
    one, other = (uuid.uuid4(), uuid.uuid4()), (uuid.uuid4(), uuid.uuid4())
    for lane in (one, other):
        bell.ring({lane})
        deadline = time.monotonic() + 5
        while [lane] not in sent and time.monotonic() < deadline:
            time.sleep(0.005)
    assert sent == [[one], [other]]

"""S7: senders of webhooks that are killed lose no event, and send none under another id."""

import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from standardwebhooks import Webhook

from integrations.models import WebhookDelivery, WebhookMessage
from integrations.webhooks import operations
from integrations.webhooks.signing import message_id
from tenants import failpoints
from tenants.events import emit
from tenants.models import Tenant
from tenants.scope import tenant_scope
from tests.chaos.campaign import show, until
from tests.chaos.crew import Crew, Worker
from tests.factories import ACTOR, make_tenant
from tests.integrations.receiver import Got, Receiver, receiving

SEED = 20_261_128
POINTS = [point for point in failpoints.POINTS if point.startswith("webhook.")]


@pytest.fixture(autouse=True)
def _to_this_machine(settings: Any) -> None:
    settings.WEBHOOKS_TO_LOOPBACK = True


class Told:
    """Tenants whose endpoints are told of events, and a server that takes most of what it gets."""

    def __init__(self, receiver: Receiver, chance: random.Random, tenants: int = 2) -> None:
        self.receiver, self.chance = receiver, chance
        self.secrets: dict[str, str] = {}
        self.tenants: list[Tenant] = [make_tenant().tenant for _ in range(tenants)]
        self.taken: dict[tuple[str, str], list[bytes]] = defaultdict(list)
        self._lock = threading.Lock()
        receiver.answer = self._answer
        for tenant in self.tenants:
            with tenant_scope(tenant):
                for number in range(2):
                    path = f"/{tenant.pk.hex}/{number}"
                    _, secret = operations.create_endpoint(url=receiver.url + path, actor=ACTOR)
                    self.secrets["/hook" + path] = secret.reveal()

    def _answer(self, got: Got) -> tuple[int, dict[str, str], bytes]:
        time.sleep(self.chance.uniform(0, 0.02))
        if self.chance.random() < 0.1:
            return 500, {}, b""
        Webhook(self.secrets[got.path]).verify(got.body, got.headers)
        with self._lock:
            self.taken[got.path, got.id].append(got.body)
        return 200, {}, b""

    def tell(self, count: int) -> None:
        for tenant in self.tenants:
            with tenant_scope(tenant):
                for number in range(count):
                    emit("plan.changed", {"number": number})

    def left(self) -> int:
        left = 0
        for tenant in self.tenants:
            with tenant_scope(tenant):
                left += WebhookDelivery.objects.exclude(status="delivered").count()
        return left

    def hold(self) -> dict[str, Any]:
        """Every event was taken by every endpoint under its one id with its one body, and nothing else was."""
        expected = {}
        for tenant in self.tenants:
            with tenant_scope(tenant):
                for message in WebhookMessage.objects.all():
                    for number in range(2):
                        key = f"/hook/{tenant.pk.hex}/{number}", message_id(message.pk)
                        expected[key] = message.body.encode()
        assert expected.keys() - self.taken.keys() == set()
        assert self.taken.keys() - expected.keys() == set()
        for key, bodies in self.taken.items():
            assert set(bodies) == {expected[key]}
        return {
            "events x endpoints": len(expected),
            "lost": 0,
            "attempts": len(self.receiver.got),
            "taken twice": sum(len(bodies) - 1 for bodies in self.taken.values()),
        }


@contextmanager
def telling(chance: random.Random) -> Iterator[Told]:
    with receiving() as receiver:
        yield Told(receiver, chance)


def storm(told: Told, crew: Crew, chance: random.Random, *, kills: int, senders: int) -> None:
    """Kill senders, some at named points and some whenever, while events go on happening."""
    alive: list[Worker] = []
    for number in range(kills):
        told.tell(5)
        while len(alive) < senders:
            point = (
                {"failpoint": chance.choice(POINTS), "nth": chance.randint(1, 6)}
                if chance.random() < 0.5
                else {}
            )
            alive.append(crew.send(**point))
        time.sleep(chance.uniform(0.05, 0.5))
        doomed = alive.pop(number % len(alive))
        if doomed in crew.alive():
            crew.kill(doomed)
        alive = [worker for worker in alive if worker in crew.alive()]
    crew.send()


@pytest.mark.chaos
def test_a_sender_may_end_at_any_point(crew: Crew) -> None:
    with telling(random.Random(SEED)) as told:
        for point in POINTS:
            told.tell(2)
            assert crew.wait_for_end(crew.send(failpoint=point)) == failpoints.CODE, point
        crew.send()
        until(lambda: not told.left(), seconds=20, what="everything is delivered")
        show("S7: every point of a sender", {"points": len(POINTS), **told.hold()})


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_fifty_kills_of_senders_lose_nothing(crew: Crew) -> None:
    chance = random.Random(SEED)
    with telling(chance) as told:
        storm(told, crew, chance, kills=50, senders=2)
        until(lambda: not told.left(), seconds=60, what="everything is delivered")
        show("S7: kill storm of senders", {"kills": 50, **told.hold()})

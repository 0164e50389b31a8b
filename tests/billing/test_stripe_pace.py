"""S6: at a hundred posts a second the web process, as the Procfile starts it, answers Stripe in time, keeping each once."""

import http.client
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import quantiles
from urllib.parse import urlsplit

import pytest

from billing.models import StripeEvent
from tenants.scope import OPS_ALIAS, ops_scope
from tests.api.fuzz import web
from tests.billing.stripe_rig import HOOK, SECRET
from tests.billing.test_stripe_webhooks import BODY, signed

RATE, SECONDS, EVERY_FORGED, EVERY_REPEATED = 100, 10, 10, 7
P99_S = 0.5


def post(place: str, body: str, header: str, due: float) -> tuple[int, float, str | None]:
    """(status, seconds since it was due, cookies): a post that waits to be sent is late as well."""
    time.sleep(max(0.0, due - time.monotonic()))
    connection = http.client.HTTPConnection(place, timeout=10)
    try:
        connection.request(
            "POST", HOOK, body, {"Stripe-Signature": header, "Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        answer.read()
        return answer.status, time.monotonic() - due, answer.headers["Set-Cookie"]
    finally:
        connection.close()


@pytest.mark.campaign
def test_a_hundred_posts_a_second_are_answered_in_time_and_kept_once(committed, tmp_path):
    keys = {"STRIPE_SECRET_KEY": "sk_test_1", "STRIPE_WEBHOOK_SECRET": SECRET}
    with web(tmp_path, **keys, WEB_CONCURRENCY="2") as (url, _), ThreadPoolExecutor(40) as pool:
        place, asked, wanted = urlsplit(url).netloc, [], set()
        began = time.monotonic() + 0.5
        for number in range(RATE * SECONDS):
            event = f"evt_{number - 1 if number % EVERY_REPEATED == 0 and number else number}"
            body = json.dumps(json.loads(BODY) | {"id": event})
            forged = number % EVERY_FORGED == 5
            if not forged:
                wanted.add(event)
            header = signed(body, secret="whsec_other" if forged else SECRET)
            asked.append(
                (400 if forged else 202, pool.submit(post, place, body, header, began + number / RATE))
            )
        said = [(right, *answer.result()) for right, answer in asked]
    assert [status for right, status, _, _ in said if status != right] == []
    assert {cookie for *_, cookie in said} == {None}
    with ops_scope("tests"):
        kept = list(StripeEvent.objects.using(OPS_ALIAS).values_list("event_id", flat=True))
    assert sorted(kept) == sorted(wanted)
    p99 = quantiles((seconds for _, _, seconds, _ in said), n=100)[98]
    print(f"{len(said)} posts at {RATE} a second: p99 {p99 * 1000:.0f} ms, load {os.getloadavg()[0]:.1f}")
    assert p99 <= P99_S

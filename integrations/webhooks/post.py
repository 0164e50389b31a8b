"""One attempt: to the address that was checked a moment ago, once, within 15 s, and no further than the first answer."""

import asyncio
import functools
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import structlog

from integrations.body import BadAnswer
from integrations.transport import Answer, Lost, NotSent, Origin, Pool
from integrations.webhooks import addresses, signing
from integrations.webhooks.claim import Job
from integrations.webhooks.names import Names, NoTurn
from tenants.failpoints import reach

log = structlog.get_logger(__name__)

TIMEOUT_S = 15.0
KEPT_ANSWER = 4_096
"""Bytes of an answer that are kept for the delivery log."""


@dataclass(slots=True)
class Attempted:
    """What came of an attempt. `error` is a fixed phrase, empty when the receiver took it. `untried`: nobody was asked
    anything, which is not the receiver's affair."""

    job: Job
    started_at: datetime
    latency_ms: int = 0
    http_status: int | None = None
    error: str = ""
    answer: str = ""
    retry_after: float | None = None
    untried: bool = False

    @property
    def ok(self) -> bool:
        return not self.error


async def post(pool: Pool, names: Names, job: Job, *, timeout: float = TIMEOUT_S) -> Attempted:
    """Try a delivery. `names` looks host names up. Never raises but for being cancelled."""
    attempted = Attempted(job, datetime.now(UTC))
    began = time.monotonic()
    try:
        _judge(attempted, await _exchange(pool, names, job, attempted, began + timeout))
    except TimeoutError:
        attempted.error = f"no answer within {timeout:g} s"
    except NoTurn:
        attempted.untried, attempted.error = True, "other host names are being looked up"
    except addresses.RefusedAddress as problem:
        attempted.error = str(problem)[:120]
    except NotSent as problem:
        attempted.error = str(problem).replace(" to the vendor", "")
    except (Lost, BadAnswer) as problem:
        attempted.error = str(problem)
    except Exception as problem:  # whatever it is: an attempt that is not counted is made again for ever
        attempted.error = "the request could not be sent"
        if not isinstance(problem, OSError | ValueError):
            log.exception("webhook_attempt_broken", delivery=str(job.delivery_id))
    attempted.latency_ms = round((time.monotonic() - began) * 1000)
    reach("webhook.answered")
    return attempted


async def _exchange(pool: Pool, names: Names, job: Job, attempted: Attempted, deadline: float) -> Answer:
    target = addresses.read(job.url)
    async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
        address = await addresses.resolve(target, functools.partial(names.find, job.tenant_id))
    origin = Origin(target.host, target.port, target.tls, address)
    headers = {
        "Host": origin.name,
        "User-Agent": "Weir-Webhooks",
        "Content-Type": "application/json",
        "Content-Length": str(len(job.body)),
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Connection": "close",
        **signing.headers(job.message_id, int(attempted.started_at.timestamp()), job.body, job.keys),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    reach("webhook.sending")
    request = f"POST {target.path} HTTP/1.1\r\n{head}\r\n".encode("ascii") + job.body
    return await pool.exchange(origin, request, deadline, lambda: None)


def _judge(attempted: Attempted, answer: Answer) -> None:
    attempted.http_status = answer.status
    attempted.answer = answer.body[:KEPT_ANSWER].decode(errors="replace").replace("\0", "\ufffd")
    if 300 <= answer.status < 400:
        attempted.error = "a redirect, which is not followed"
    elif not 200 <= answer.status < 300:
        attempted.error = f"answered {answer.status}"
    if answer.status in (429, 503):
        attempted.retry_after = _seconds(answer.headers.get("retry-after", ""))


def _seconds(text: str) -> float | None:
    """What a Retry-After header asks for: seconds, or a date."""
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        at = parsedate_to_datetime(text)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return max(0.0, (at - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):  # a year or a zone that no date has
        return None

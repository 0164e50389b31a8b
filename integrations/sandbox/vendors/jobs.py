"""A made-up vendor of long-running jobs: finding is asked for again and again, verifying is posted back.

POST /v1/find and /v1/verify take a job, GET /v1/jobs/<job> tells how far it is, GET /v1/jobs?name=&domain= which job a
question became. A job is charged when it is taken, and given back when it fails.
"""

import asyncio
import ipaddress
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from integrations.sandbox.accounts import Account, Terms
from integrations.sandbox.faults import Fault
from integrations.sandbox.limits import Window
from integrations.sandbox.people import Person, address_of, found_by, host, plain, verdict_of
from integrations.sandbox.vendors.base import Ask, Incoming, Reply, Vendor, reply, words

SHARE = 0.60
CREDIT = 1000
JOB_SECONDS = 0.3
AGAIN_SECONDS = "0.15"
NEVER = 1e9
LOOK_UP = "look up"


@dataclass(slots=True)
class Job:
    """`posts` are the statuses that the posted result was answered with; 0 where nobody answered."""

    name: str
    operation: str
    question: str
    ends_at: float
    result: dict[str, Any] | None
    credits: int
    failed: bool = False
    posts: list[int] = field(default_factory=list)

    @property
    def status(self) -> str:
        if monotonic() < self.ends_at:
            return "running"
        return "failed" if self.failed else "done"

    def state(self) -> dict[str, Any]:
        status = self.status
        return {"job": self.name, "status": status, "result": self.result if status == "done" else None}

    def told(self) -> dict[str, Any]:
        return {"job": self.name, "operation": self.operation, "status": self.status, "posts": self.posts}


class Jobs(Vendor):
    name = "jobs"
    terms = Terms(windows=(Window(1_000, 1),), parallelism=50)
    median_seconds = 0.05

    def __init__(self) -> None:
        self._posting: set[asyncio.Task[None]] = set()

    def read(self, incoming: Incoming) -> Ask | Reply:
        scheme, _, key = incoming.headers.get("Authorization", "").partition(" ")
        key = key.strip() if scheme.lower() == "bearer" else ""
        where = (incoming.method, incoming.path)
        if where == ("GET", "/v1/account"):
            return Ask("balance", key, {})
        if where == ("GET", "/v1/jobs"):
            return Ask("poll", key, dict(incoming.query), _person(incoming.query), LOOK_UP)
        if incoming.method == "GET" and incoming.path.startswith("/v1/jobs/"):
            return Ask("poll", key, {"job": incoming.path.removeprefix("/v1/jobs/")})
        if where not in (("POST", "/v1/find"), ("POST", "/v1/verify")):
            return reply(404, {"error": "no such address"}, "error")
        operation, data = incoming.path.removeprefix("/v1/"), incoming.json()
        return Ask(operation, key, data, _person(data or {}))

    def answer(self, ask: Ask, account: Account) -> Reply:
        if ask.operation == "balance":
            return reply(200, {"credits": account.pools[""] / 1000}, "balance")
        if ask.operation == "poll":
            return self._told(ask, account)
        needed = ("name", "domain") if ask.operation == "find" else ("email", "callback_url")
        data = ask.data or {}
        if not all(words(data.get(name)) for name in needed):
            return reply(422, {"error": f"needs {' and '.join(needed)}"}, "invalid")
        if not account.can_pay(CREDIT):
            return self.no_credits(ask)
        job = self._take(ask, account)
        if ask.operation == "verify":
            self._post_later(job, words(data["callback_url"]), ask.fault)
        outcome, headers = "hit" if job.result else "miss", {"Retry-After": AGAIN_SECONDS}
        return reply(202, {"job": job.name}, outcome, job.credits, headers)

    def bad_key(self, ask: Ask) -> Reply:
        return reply(401, {"error": "unknown key"}, "auth_failed")

    def no_credits(self, ask: Ask) -> Reply:
        return reply(402, {"error": "out of credits"}, "no_credits")

    def over_limit(self, ask: Ask) -> Reply:
        return reply(429, {"error": "too many requests"}, "rate_limited")

    def _told(self, ask: Ask, account: Account) -> Reply:
        data = ask.data or {}
        if ask.group == LOOK_UP:
            found = [job for job in account.jobs.values() if job.question == f"find|{ask.person.question}"]
            job = found[-1] if found else None
        else:
            job = account.jobs.get(data["job"])
        if job is None:
            return reply(404, {"error": "no such job"}, "poll")
        return reply(200, job.state(), "poll", headers={"Retry-After": AGAIN_SECONDS})

    def _take(self, ask: Ask, account: Account) -> Job:
        kind, seconds = (ask.fault.kind, ask.fault.seconds) if ask.fault else ("", 0.0)
        if ask.operation == "find" and kind.startswith("callback_"):
            kind = ""
        lasts = {"job_slow": seconds, "job_never": NEVER, "callback_late": seconds, "callback_early": 0.0}
        result = _result(ask)
        job = Job(
            uuid.uuid4().hex,
            ask.operation,
            f"{ask.operation}|{ask.person.question}",
            monotonic() + lasts.get(kind, JOB_SECONDS),
            result,
            CREDIT if result and kind != "job_fails" else 0,
            failed=kind == "job_fails",
        )
        account.jobs[job.name] = job
        account.pay(job.credits)
        return job

    def _post_later(self, job: Job, address: str, fault: Fault | None) -> None:
        kind = fault.kind if fault else ""
        if kind == "callback_never":
            return
        status = "failed" if job.failed else "done"
        bodies = [orjson.dumps({"job": job.name, "status": status, "result": job.result})]
        if kind == "callback_twice":
            # As vendors do that note when they sent it: the same words, other bytes.
            bodies.append(orjson.dumps({"status": status, "result": job.result, "job": job.name}))
            bodies.append(bodies[0])
        if kind == "callback_garbage":
            bodies.insert(0, b"{\x80 not json")
        task = asyncio.get_running_loop().create_task(_post(job, address, bodies))
        self._posting.add(task)
        task.add_done_callback(self._posting.discard)


async def _post(job: Job, address: str, bodies: list[bytes]) -> None:
    """To this machine alone: the sandbox is nobody's way out."""
    if not _is_loopback(address):
        return
    await asyncio.sleep(max(0.0, job.ends_at - monotonic()))
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        for body in bodies:
            status = 0
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with session.post(
                    address, data=body, headers={"Content-Type": "application/json"}, allow_redirects=False
                ) as response:
                    status = response.status
            job.posts.append(status)


def _is_loopback(address: str) -> bool:
    name = urlsplit(address).hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _person(data: Any) -> Person:
    if "email" in data:
        return Person(plain(words(data["email"])), "")
    return Person(plain(words(data.get("name"))), host(words(data.get("domain"))))


def _result(ask: Ask) -> dict[str, Any] | None:
    if ask.operation == "verify":
        address = words((ask.data or {})["email"])
        return {"email": address, "verdict": verdict_of(address).status}
    if not found_by(Jobs.name, SHARE, ask.person):
        return None
    return {"email": address_of(ask.person)}

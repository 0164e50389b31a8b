"""The bound: the same HTTP calls in a bare loop that decides alike and stores nothing.

By default with aiohttp, as anybody would write it; `--own` makes the calls with the engine's client. Prints JSON:
contacts a second, and CPU seconds in all.
"""

import argparse
import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import orjson
import uvloop
from yarl import URL

from bench.people import people
from integrations.connectors import registry
from integrations.connectors.base import Clarify, VendorResponse
from integrations.http import VendorClient
from integrations.outcomes import Done, Outcome
from tenants.secret import Secret
from workflows.catalog import Ask, Taken
from workflows.lanes.decide import decide

CONFIG = {
    "finders": ["prospeo", "findymail"],
    "verifier": "zerobounce",
    "accept": ["valid"],
    "on_outage": "wait",
}

Call = Callable[[Ask], Awaitable[Outcome]]


@asynccontextmanager
async def with_aiohttp(url: str) -> AsyncIterator[Call]:
    """Calls by a session of aiohttp."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call(plan: Ask) -> Outcome:
            connector = registry.get(plan.provider)
            request = connector.request(plan.operation, plan.query, "bare")
            target = URL(f"{url}/{plan.provider}{request.path}")
            if request.params:
                target = target.with_query(request.params)
            data = None if request.json is None else orjson.dumps(request.json)
            async with session.request(request.method, target, data=data, headers=request.headers) as answer:
                response = VendorResponse(answer.status, answer.headers, await answer.read())
            outcome = connector.interpret(plan.operation, response)
            assert not isinstance(outcome, Clarify)
            return outcome

        yield call


@asynccontextmanager
async def with_own(url: str) -> AsyncIterator[Call]:
    """Calls by the engine's client."""
    secret = Secret("bare")
    async with VendorClient() as client:

        async def call(plan: Ask) -> Outcome:
            connector = registry.get(plan.provider)
            base = f"{url}/{plan.provider}"
            result = await client.call(connector, plan.operation, plan.query, secret=secret, base_url=base)
            return result.outcome

        yield call


async def ask_all(url: str, count: int, ways: int, *, per_vendor: bool, own: bool) -> dict[str, float]:
    """`ways` calls at a time: over all contacts, or (`per_vendor`) of each vendor."""
    waiting = iter(people(count, "Bare"))
    doors: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(ways))

    async def worker(call: Call) -> None:
        for person in waiting:
            taken: list[Taken] = []
            while isinstance(plan := decide("email-waterfall", CONFIG, person, taken)[0], Ask):
                async with doors[plan.provider]:
                    outcome = await call(plan)
                answer = outcome.answer if isinstance(outcome, Done) else {}
                taken.append(Taken(plan.operation, plan.provider, outcome.name, answer))

    began, used = time.perf_counter(), time.process_time()
    async with (with_own if own else with_aiohttp)(url) as call:
        await asyncio.gather(*(worker(call) for _ in range(ways * (4 if per_vendor else 1))))
    return {
        "contacts_per_s": count / (time.perf_counter() - began),
        "cpu_s": time.process_time() - used,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("contacts", type=int)
    parser.add_argument("--ways", type=int, default=64)
    parser.add_argument("--per-vendor", action="store_true")
    parser.add_argument("--own", action="store_true")
    options = parser.parse_args()
    told = ask_all(
        options.url, options.contacts, options.ways, per_vendor=options.per_vendor, own=options.own
    )
    print(json.dumps(uvloop.run(told)))


if __name__ == "__main__":
    main()

"""The bound: the same HTTP calls in a bare loop that decides alike and stores nothing.

python -m bench.bare URL CONTACTS --ways N [--per-vendor]     prints JSON: contacts a second, CPU seconds
"""

import argparse
import asyncio
import json
import time
from collections import defaultdict

import uvloop

from bench.people import people
from integrations.connectors import registry
from integrations.http import VendorClient
from integrations.outcomes import Done
from tenants.secret import Secret
from workflows.catalog import Ask, Taken
from workflows.lanes.decide import decide

CONFIG = {
    "finders": ["prospeo", "findymail"],
    "verifier": "zerobounce",
    "accept": ["valid"],
    "on_outage": "wait",
}


async def ask_all(url: str, count: int, ways: int, *, per_vendor: bool) -> dict[str, float]:
    """`ways` calls at a time: over all contacts, or (`per_vendor`) of each vendor."""
    waiting = iter(people(count, "Bare"))
    secret = Secret("bare")
    doors: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(ways))

    async def worker(client: VendorClient) -> None:
        for person in waiting:
            taken: list[Taken] = []
            while isinstance(plan := decide("email-waterfall", CONFIG, person, taken)[0], Ask):
                async with doors[plan.provider]:
                    result = await client.call(
                        registry.get(plan.provider), plan.operation, plan.query,
                        secret=secret, base_url=f"{url}/{plan.provider}",
                    )  # fmt: skip
                answer = result.outcome.answer if isinstance(result.outcome, Done) else {}
                taken.append(Taken(plan.operation, plan.provider, result.outcome.name, answer))

    began, used = time.perf_counter(), time.process_time()
    async with VendorClient() as client:
        await asyncio.gather(*(worker(client) for _ in range(ways * (4 if per_vendor else 1))))
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
    options = parser.parse_args()
    told = uvloop.run(ask_all(options.url, options.contacts, options.ways, per_vendor=options.per_vendor))
    print(json.dumps(told))


if __name__ == "__main__":
    main()

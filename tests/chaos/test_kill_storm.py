"""T1: kill -9 of workers, of all of them at once, of web and beat, at moments from a seeded source."""

import random
import statistics
import time

import pytest

from tests.chaos.campaign import Books, Field, contacts, hold, show, until
from tests.chaos.crew import Crew
from tests.chaos.whole import Storm, whole_system

SEED = 20_261_128


@pytest.mark.campaign
@pytest.mark.timeout(5_400)
def test_two_hundred_kills_in_a_run_of_twenty_thousand_records() -> None:
    records, kills = 20_000, 200
    chance = random.Random(SEED)
    with whole_system(workers=3) as system:
        system.connect_vendors(windows=[{"rate": 40, "period": 1}], parallelism=16)
        run_id = system.accept(contacts(records))
        storm = Storm(system, chance)
        began = time.monotonic()
        while storm.total < kills and system.left():
            storm.rest(chance.uniform(2.0, 6.0))
            storm.strike()
        until(storm.look, seconds=120, what="every orphan is resumed")
        run = system.wait_for(run_id, seconds=1_800)
        found = system.compare(expected=records)
        show(
            "T1: kill storm",
            {
                "records": found.records, "kills": storm.total, **storm.kills, "seconds": time.monotonic() - began,
                "lost": found.lost, "billed twice": found.billed_twice, "given up after three crashes": found.failed,
                "vendor calls": found.calls, "repeated": found.repeated, "bound: stamped at the kills": storm.in_hand,
                "in doubt": found.in_doubt, "of these never made": found.never_made, "over a limit": found.over_limit,
                "until resumed, median s": statistics.median(storm.resumed), "longest s": max(storm.resumed),
                "books disagree": len(found.faults),
            },
        )  # fmt: skip
        assert storm.total >= kills * 0.9
        assert run["status"] == "completed"
        # Lease and sweep, the calls' own deadlines being shorter here; the longest are those of workers killed all at
        # once, which have to start again first, with the supervisor's pauses between them.
        assert statistics.median(storm.resumed) <= 15.0
        assert max(storm.resumed) <= 90.0
        hold(found, bound=storm.in_hand, failed=kills)


@pytest.mark.chaos
def test_workers_killed_again_and_again(field: Field, crew: Crew, books: Books) -> None:
    """The short form: two workers, killed at random moments, each with calls in flight."""
    chance = random.Random(SEED)
    for _ in range(3):
        field.run(field.tenant(parallelism=4), contacts(60, tag=f"Storm{len(field.tenants)}"))
    in_hand = kills = 0
    crew.start()
    crew.start()
    while books.left() and kills < 8:
        time.sleep(chance.uniform(0.2, 0.8))
        victim = chance.choice(crew.alive())
        crew.kill(victim)
        kills += 1
        in_hand += len(books.stamped(victim.holder))
        crew.start()
    until(lambda: books.left() == 0, seconds=40, what="all records end")
    found = field.compare()
    show(
        "T1, short: kill storm",
        {"kills": kills, "repeated": found.repeated, "bound": in_hand, "lost": found.lost},
    )
    hold(found, bound=in_hand, failed=kills)

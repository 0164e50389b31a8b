"""The whole of Weir under its supervisor, with every process and both servers killed, stopped or emptied in one run."""

import random
import signal

import pytest
import redis

from tests.chaos.campaign import contacts, hold, show
from tests.chaos.whole import Storm, whole_system

RECORDS = 400
# Short enough that a dead worker's lanes and calls are free again in a few seconds.
QUICK = {"lease_s": 3.0, "call_s": 1.5, "grace_s": 1.0}


@pytest.mark.chaos
@pytest.mark.timeout(400)
def test_a_run_completes_though_everything_is_stopped_once() -> None:
    with whole_system(**QUICK) as system:
        system.connect_vendors(windows=[{"rate": 60, "period": 1}], parallelism=10)
        run_id = system.call("POST", "/runs", {"workflow": "email-waterfall", "records": contacts(RECORDS)})[
            "id"
        ]
        storm = Storm(system, random.Random(1))

        def reach(share: float) -> None:
            system.wait_for(run_id, seconds=120, until=int(RECORDS * share))
            storm.look()

        reach(0.1)
        assert storm.kill_workers(system.workers()) == 1
        reach(0.2)
        assert system.kill("granian") >= 1
        assert system.kill("celery", "beat") >= 1
        reach(0.3)
        with redis.Redis.from_url(system.redis_url) as client:
            client.flushall()
        assert system.kill_server("redis-server") >= 1
        reach(0.4)
        system.crash_postgres()
        reach(0.6)
        storm.kill_workers(system.workers(), signal.SIGTERM)
        reach(0.8)
        storm.kill_workers(system.workers(), signal.SIGQUIT)
        run = system.wait_for(run_id, seconds=120)
        found = system.compare(expected=RECORDS)
        show(
            "Everything stopped once",
            {"lost": found.lost, "billed twice": found.billed_twice, "repeated": found.repeated,
             "bound": storm.in_hand, "in doubt": found.in_doubt, "never made": found.never_made},
        )  # fmt: skip
        assert run["status"] == "completed"
        assert run["records"]["found"] + run["records"]["not_found"] == RECORDS
        hold(found, bound=storm.in_hand)
        assert system.call("GET", "/usage")["records"] == RECORDS
        assert len(system.csv_of(run_id)) == RECORDS

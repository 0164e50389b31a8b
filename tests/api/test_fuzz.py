"""S10: every operation of the schema, tried with what fits it and what does not, by schemathesis.

No fault of ours, no status, header or shape that the schema does not say, nothing accepted that it forbids, nothing
answered without a key.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.api.fuzz import Outcome, fuzz, web
from tests.factories import make_key
from tests.invariants.world import World

# What a schema cannot say: a cursor that is one of this list's, an upload that exists, one field or the other.
MEANING = "positive_data_acceptance"
# Hypothesis parses source, which Python 3.11 cannot do in two threads at once ("AST constructor recursion depth mismatch").
ONE_WORKER = ("--workers", "1")
CHECKS = (
    *ONE_WORKER, "--checks", "all", "--exclude-checks", MEANING, "--continue-on-failure", "--max-failures", "50",
)  # fmt: skip


# What ends the very key that asks: tried by itself, on another key.
ENDS_KEYS = ("keys_delete", "keys_rotate")
KEPT = [part for name in ENDS_KEYS for part in ("--exclude-operation-id", name)]
ENDED = [part for name in ENDS_KEYS for part in ("--include-operation-id", name)]


def fuzzed(folder: Path, *options: str, seconds: float, canary: str = "canary-f") -> Outcome:
    world = World("Acme", canary)
    ids = world.fill_every_table()
    named: dict[str, Any] = {"run_id": world.run.pk, "record_id": ids["record"], "lane_id": ids["lane"]}
    with web(folder, WEIR_UNKNOWN_CALLERS_PER_MINUTE="1000000") as (url, _):
        first = fuzz(
            url, world.key, folder, {**named, "key_id": ids["apikey"]}, *CHECKS, *ENDED, "--phases", "examples,coverage",
            seconds=seconds,
        )  # fmt: skip
        rest = fuzz(url, world.key, folder, named, *CHECKS, *KEPT, *options, seconds=seconds)
        # A test key is refused more (some routes know live keys alone), and that as the schema says.
        test = fuzz(
            url, make_key(world.tenant, livemode=False), folder, named, *CHECKS, *KEPT, "--phases", "examples",
            seconds=seconds,
        )  # fmt: skip
    for outcome in (first, rest, test):
        assert outcome.exit_code == 0, outcome.found
    for outcome in (first, rest):
        assert "Authentication failed" not in outcome.output
    return Outcome(0, first.output + rest.output, first.cases + rest.cases)


def test_what_is_answered_is_what_the_schema_says(committed, tmp_path):
    outcome = fuzzed(
        tmp_path,
        "--phases",
        "examples,coverage,stateful",
        "--max-examples",
        "1",
        seconds=110,
    )
    assert outcome.cases > 1_000


@pytest.mark.campaign
@pytest.mark.timeout(3_600)
def test_twenty_thousand_cases(committed, tmp_path):
    cases, seed = 0, 1
    while cases < 20_000:
        outcome = fuzzed(
            tmp_path, "--phases", "examples,coverage,fuzzing,stateful", "--max-time", "600", "--seed", str(seed),
            seconds=3_000, canary=f"canary-{seed}",
        )  # fmt: skip
        cases, seed = cases + outcome.cases, seed + 1
        print(f"{cases:,} cases with {seed - 1} seeds", flush=True)

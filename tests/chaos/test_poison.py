"""T5: a step that takes its worker with it is given up after the third time, and everything else goes on."""

import time

import pytest

from tests.chaos.campaign import Books, Field, contacts, hold, show
from tests.chaos.crew import Crew
from tests.chaos.odds import POISON

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(150)]

OTHERS = 20


@pytest.mark.parametrize("kind", ["kill", "loop", pytest.param("memory", marks=pytest.mark.campaign)])
def test_a_poison_item_is_given_up_after_three_crashes_and_the_others_go_on(
    field: Field, crew: Crew, books: Books, kind: str
) -> None:
    """`loop`: the worker's own watch ends it, here after half a second."""
    poisoned, bystander = field.tenant(parallelism=4), field.tenant(parallelism=4)
    field.run(
        poisoned,
        [{"first_name": POISON, "last_name": "Smith", "domain": "poison.example"}, *contacts(OTHERS)],
    )
    field.run(bystander, contacts(OTHERS, tag="Other"))
    began, crashes, in_hand = time.monotonic(), 0, 0
    worker = crew.start(poison=kind, memory_mb=1_500, watch_s=0.5)
    while books.left():
        assert time.monotonic() - began < 90, f"{crashes} crashes, {books.left()} left\n{crew.tail()}"
        if worker not in crew.alive():
            crashes += 1
            in_hand += len(books.stamped(worker.holder))
            worker = crew.start(poison=kind, memory_mb=1_500, watch_s=0.5)
        time.sleep(0.05)
    found = field.compare()
    [dead] = books.rows(
        "SELECT input->>'first_name', error->>'code' FROM record WHERE status = 'failed'"
    ) or [("", "")]
    show(
        f"T5: poison ({kind})",
        {"crashes": crashes, "failed": found.failed, "others ended": found.records - found.failed},
    )
    assert dead[0] == POISON
    assert crashes == 3
    hold(found, bound=in_hand, failed=1)

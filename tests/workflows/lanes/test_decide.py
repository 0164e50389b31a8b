"""From answers to what follows: who is asked next, who is passed over, and where the record's own cap ends it."""

from typing import Any

import pytest

from integrations.connectors import registry
from tests.workflows.lanes.pieces import ADA, facts
from workflows.catalog import Ask, Final, Taken
from workflows.lanes.decide import decide, fingerprint

ADDRESS = "ada@engines.example"
TOO_LITTLE = {"full_name": "Ada Byron"}


def next_after(*taken: Taken, record: dict[str, str] = ADA, **config: Any) -> tuple[Ask | Final, list[Taken]]:
    return decide("email-waterfall", facts(**config).config, record, taken)


def miss(provider: str, *, credits: int = 0, operation: str = "find") -> Taken:
    return Taken(operation, provider, "miss", {}, credits)


def test_vendors_are_asked_in_their_order() -> None:
    assert next_after() == (Ask("find", "prospeo", ADA), [])
    assert next_after(miss("prospeo")) == (Ask("find", "findymail", ADA), [])
    assert next_after(miss("prospeo"), miss("findymail")) == (Final("not_found"), [])
    found = Taken("find", "prospeo", "hit", {"email": ADDRESS, "email_status": "valid"}, 1000)
    assert next_after(found) == (Ask("verify", "zerobounce", {"email": ADDRESS}), [])


def test_who_cannot_be_asked_is_passed_over_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def can_ask(operation: str, query: Any) -> bool:
        asked.append((operation, query))
        return False

    monkeypatch.setattr(registry.get("prospeo"), "can_ask", can_ask, raising=True)
    plan, skipped = next_after()
    assert plan == Ask("find", "findymail", ADA)
    assert skipped == [Taken("find", "prospeo", "skipped")]
    assert asked == [("find", ADA)]


def test_where_nobody_can_be_asked_the_record_ends_with_all_of_them_named() -> None:
    plan, skipped = next_after(record=TOO_LITTLE)
    assert plan == Final("not_found")
    assert skipped == [Taken("find", "prospeo", "skipped"), Taken("find", "findymail", "skipped")]


def test_a_record_costs_no_more_than_its_cap() -> None:
    """One credit has been spent and Findymail may cost another: two are enough, anything less is not."""
    worst = registry.get("findymail").worst_credits("find")
    assert worst == 1000
    spent = miss("prospeo", credits=1000)
    for cap in (2, 2.0, None):
        assert next_after(spent, max_credits_per_record=cap)[0] == Ask("find", "findymail", ADA)
    plan, skipped = next_after(spent, max_credits_per_record=1.999)
    assert skipped == []
    assert plan == Final(
        "not_found",
        None,
        {
            "code": "record_credit_limit",
            "message": "Asking Findymail could cost more than the 1.999 credits allowed for a record.",
        },
    )
    assert isinstance(next_after(max_credits_per_record=0)[0], Final)


def test_all_that_was_spent_counts_and_the_best_of_it_is_kept() -> None:
    found = Taken("find", "prospeo", "hit", {"email": ADDRESS, "email_status": "valid"}, 1000)
    judged = Taken("verify", "zerobounce", "hit", {"email": ADDRESS, "email_status": "catch_all"}, 1000)
    assert next_after(found, judged, max_credits_per_record=3)[0] == Ask("find", "findymail", ADA)
    plan, _ = next_after(found, judged, max_credits_per_record=2.5)
    assert isinstance(plan, Final)
    assert plan.output == {
        "email": ADDRESS, "email_status": "catch_all", "found_by": "prospeo", "verified_by": "zerobounce",
    }  # fmt: skip
    assert plan.error is not None
    assert "the 2.5 credits" in plan.error["message"]


def test_a_cap_counts_for_those_behind_who_was_passed_over_too() -> None:
    only_findymail = {"full_name": "Ada Byron", "domain": "engines.example"}
    plan, skipped = next_after(record=only_findymail, max_credits_per_record=0.5)
    assert isinstance(plan, Final)
    assert plan.error is not None
    assert plan.error["code"] == "record_credit_limit"
    assert all(step.outcome == "skipped" for step in skipped)


def test_the_same_question_has_the_same_name_and_another_another() -> None:
    one = fingerprint(Ask("find", "prospeo", ADA))
    assert one == registry.get("prospeo").fingerprint("find", ADA)
    assert one == fingerprint(Ask("find", "prospeo", dict(reversed(ADA.items()))))
    assert one != fingerprint(Ask("find", "prospeo", ADA | {"first_name": "Annabella"}))
    verified = Ask("verify", "hunter", {"email": ADDRESS})
    assert fingerprint(verified) == registry.get("hunter").fingerprint("verify", {"email": ADDRESS})

"""The templates as pure functions: every path through a waterfall, without a database."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.connectors import registry
from workflows.catalog import TEMPLATES, Ask, Final, Taken
from workflows.lanes.decide import decide

WATERFALL = TEMPLATES["email-waterfall"]
ADA = {"first_name": "Ada", "last_name": "Lovelace", "domain": "engine.example"}


def config(**changes: Any) -> dict[str, Any]:
    cleaned, faults = WATERFALL.clean_config(changes)
    assert faults == []
    return cleaned


def hit(provider: str, email: str = "ada@engine.example", status: str = "valid") -> Taken:
    return Taken("find", provider, "hit", {"email": email, "email_status": status}, 1000)


def miss(provider: str) -> Taken:
    return Taken("find", provider, "miss")


def verdict(status: str, email: str = "ada@engine.example") -> Taken:
    return Taken("verify", "zerobounce", "hit", {"email": email, "email_status": status}, 1000)


def plan(taken: Sequence[Taken], settings: Mapping[str, Any] | None = None) -> Ask | Final:
    return WATERFALL.advance(settings or config(), ADA, taken)


def test_a_new_record_goes_to_the_first_finder() -> None:
    assert plan([]) == Ask("find", "prospeo", ADA)


def test_a_miss_goes_to_the_next_finder() -> None:
    assert plan([miss("prospeo")]) == Ask("find", "findymail", ADA)


def test_a_hit_goes_to_the_verifier() -> None:
    assert plan([hit("prospeo")]) == Ask("verify", "zerobounce", {"email": "ada@engine.example"})


def test_an_accepted_address_ends_the_record() -> None:
    assert plan([hit("prospeo"), verdict("valid")]) == Final(
        "found",
        {
            "email": "ada@engine.example",
            "email_status": "valid",
            "found_by": "prospeo",
            "verified_by": "zerobounce",
        },
    )


def test_an_unaccepted_address_goes_to_the_next_finder_and_stays_when_nothing_better_comes() -> None:
    taken = [hit("prospeo"), verdict("catch_all")]
    assert plan(taken) == Ask("find", "findymail", ADA)
    final = plan([*taken, miss("findymail")])
    assert isinstance(final, Final)
    assert (final.status, final.output) == (
        "not_found",
        {
            "email": "ada@engine.example",
            "email_status": "catch_all",
            "found_by": "prospeo",
            "verified_by": "zerobounce",
        },
    )


def test_the_best_unaccepted_address_is_the_one_that_stays() -> None:
    final = plan(
        [
            hit("prospeo", "a@x.example"),
            verdict("invalid", "a@x.example"),
            hit("findymail", "b@x.example"),
            verdict("unknown", "b@x.example"),
        ]
    )
    assert isinstance(final, Final)
    assert final.output is not None
    assert final.output["email"] == "b@x.example"
    assert final.output["found_by"] == "findymail"


def test_nothing_found_leaves_no_output() -> None:
    assert plan([miss("prospeo"), miss("findymail")]) == Final("not_found", None)


def test_an_address_that_was_judged_is_not_verified_again() -> None:
    taken = [hit("prospeo"), verdict("catch_all"), hit("findymail")]
    final = plan(taken)
    assert isinstance(final, Final)
    assert final.status == "not_found"


@pytest.mark.parametrize("outcome", ["miss", "invalid"])
def test_an_address_that_the_verifier_said_nothing_of_is_not_verified_again(outcome: str) -> None:
    nothing = Taken("verify", "zerobounce", outcome)
    final = plan([hit("prospeo"), nothing, hit("findymail")])
    assert isinstance(final, Final)
    assert final.status == "not_found"
    other = plan([hit("prospeo"), nothing, hit("findymail", "a.lovelace@engine.example")])
    assert other == Ask("verify", "zerobounce", {"email": "a.lovelace@engine.example"})


def test_accepting_catch_all_ends_the_record_there() -> None:
    final = plan([hit("prospeo"), verdict("catch_all")], config(accept=["valid", "catch_all"]))
    assert isinstance(final, Final)
    assert final.status == "found"


def test_without_a_verifier_a_hit_ends_the_record_with_the_vendors_own_status() -> None:
    final = plan([hit("prospeo", status="unverified")], config(verifier=None))
    assert isinstance(final, Final)
    assert final.output == {
        "email": "ada@engine.example",
        "email_status": "unverified",
        "found_by": "prospeo",
        "verified_by": None,
    }


def test_a_refused_input_is_a_miss() -> None:
    assert plan([Taken("find", "prospeo", "invalid")]) == Ask("find", "findymail", ADA)


@pytest.mark.parametrize("outcome", ["error", "timeout"])
def test_a_dead_step_fails_the_record_or_goes_on_as_the_policy_says(outcome: str) -> None:
    dead = Taken("find", "prospeo", outcome)
    final = plan([dead])
    assert isinstance(final, Final)
    assert final.status == "failed"
    assert final.error is not None
    assert final.error["code"] == f"vendor_{outcome}"
    assert plan([dead], config(on_outage="skip")) == Ask("find", "findymail", ADA)


def test_a_person_who_asked_not_to_be_looked_up_is_skipped() -> None:
    final = plan([Taken("find", "prospeo", "suppressed")])
    assert isinstance(final, Final)
    assert final.status == "skipped"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"finders": []}, "finders"),
        ({"finders": ["nobody"]}, "finders"),
        ({"finders": ["prospeo", "prospeo"]}, "finders"),
        ({"finders": "prospeo"}, "finders"),
        ({"finders": [{"x": 1}]}, "finders"),
        ({"verifier": "findymail"}, "verifier"),
        ({"accept": ["good"]}, "accept"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": True}, "max_attempts"),
        ({"reuse_days": 1.5}, "reuse_days"),
        ({"max_credits_per_record": -1}, "max_credits_per_record"),
        ({"on_outage": "panic"}, "on_outage"),
        ({"speed": 9}, "speed"),
    ],
)
def test_a_faulty_setting_is_named(given: dict[str, Any], field: str) -> None:
    _, faults = WATERFALL.clean_config(given)
    assert [fault.field for fault in faults] == [field]


def test_the_default_configuration_is_the_contracts() -> None:
    assert WATERFALL.default_config() == {
        "finders": ["prospeo", "findymail"],
        "verifier": "zerobounce",
        "accept": ["valid"],
        "max_credits_per_record": None,
        "reuse_days": 0,
        "on_outage": "wait",
        "max_attempts": 3,
        "backoff_s": 2,
        "timeout_s": 60,
    }


def test_email_verify_judges_the_address_and_ends() -> None:
    template = TEMPLATES["email-verify"]
    settings, _ = template.clean_config({})
    record = {"email": "ada@engine.example"}
    assert template.advance(settings, record, []) == Ask(
        "verify", "zerobounce", {"email": "ada@engine.example"}
    )
    final = template.advance(settings, record, [verdict("invalid")])
    assert isinstance(final, Final)
    assert (final.status, final.output and final.output["email_status"]) == ("not_found", "invalid")


def test_a_vendor_that_cannot_be_asked_is_skipped_and_said() -> None:
    only_link = {"linkedin_url": "https://www.linkedin.com/in/ada"}
    following, skipped = decide("email-verify", config(), {"email": ""}, [])
    assert isinstance(following, Final) or skipped
    following, _ = decide("email-waterfall", config(), only_link, [])
    assert isinstance(following, Ask)
    assert registry.get(following.provider).can_ask(following.operation, following.query)


def test_a_record_never_costs_more_than_its_cap() -> None:
    following, _ = decide("email-waterfall", config(max_credits_per_record=1), ADA, [hit("prospeo")])
    assert isinstance(following, Final)
    assert following.error is not None
    assert following.error["code"] == "record_credit_limit"
    assert following.output is not None, "what was paid for is kept"


outcomes = st.sampled_from(["hit", "miss", "invalid", "error", "timeout", "suppressed", "cached"])
statuses = st.sampled_from(
    ["valid", "catch_all", "unknown", "invalid", "abuse", "do_not_mail", "spamtrap", "unverified"]
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(outcomes, statuses, st.sampled_from(["a@x.example", "b@x.example"])),
        min_size=12,
        max_size=12,
    ),
    st.permutations(["prospeo", "findymail", "hunter"]),
    st.sampled_from([None, "zerobounce", "hunter"]),
    st.sampled_from(["wait", "skip"]),
    st.sampled_from([None, 1, 2, 3.5]),
)
def test_every_waterfall_ends_asks_no_finder_twice_and_stays_within_its_cap(
    answers: list[tuple[str, str, str]],
    finders: list[str],
    verifier: str | None,
    on_outage: str,
    cap: float | None,
) -> None:
    settings = config(finders=finders, verifier=verifier, on_outage=on_outage, max_credits_per_record=cap)
    taken: list[Taken] = []
    for outcome, status, email in answers:
        following, skipped = decide("email-waterfall", settings, ADA, taken)
        taken += skipped
        if isinstance(following, Final):
            break
        cost = registry.get(following.provider).worst_credits(following.operation)
        answered = outcome == "hit" or (outcome == "cached" and status != "unknown")
        wanted = following.query["email"] if following.operation == "verify" else email
        answer = {"email": wanted, "email_status": status} if answered else {}
        taken.append(
            Taken(following.operation, following.provider, outcome, answer, cost if outcome == "hit" else 0)
        )
    else:
        raise AssertionError("it never ended")
    asked = [step.provider for step in taken if step.operation == "find"]
    assert len(asked) == len(set(asked))
    if cap is not None:
        assert sum(step.credits for step in taken) <= cap * 1000


def passed_over(operation: str, provider: str) -> Taken:
    return Taken(operation, provider, "skipped", {"why": "outage"})


def test_a_finder_that_was_passed_over_is_said_and_the_record_can_be_retried_where_none_answered() -> None:
    skip = config(on_outage="skip")
    assert plan([passed_over("find", "prospeo")], skip) == Ask("find", "findymail", ADA)
    some = plan([passed_over("find", "prospeo"), miss("findymail")], skip)
    none = plan([passed_over("find", "prospeo"), Taken("find", "findymail", "timeout")], skip)
    assert isinstance(some, Final)
    assert isinstance(none, Final)
    assert (some.status, none.status) == ("not_found", "failed")
    assert some.error is not None
    assert none.error is not None
    assert some.error["code"] == none.error["code"] == "vendor_out_of_service"
    assert "prospeo" in some.error["message"]
    assert "findymail" not in some.error["message"]


@pytest.mark.parametrize(
    "last", [passed_over("verify", "zerobounce"), Taken("verify", "zerobounce", "error")]
)
@pytest.mark.parametrize(("accept", "status"), [(["valid"], "failed"), (["valid", "unverified"], "found")])
def test_a_verifier_out_of_service_leaves_the_address_unverified_and_no_other_is_bought(
    last: Taken, accept: list[str], status: str
) -> None:
    final = plan([hit("prospeo"), last], config(on_outage="skip", accept=accept))
    assert isinstance(final, Final)
    assert final.status == status
    assert final.output == {
        "email": "ada@engine.example",
        "email_status": "unverified",
        "found_by": "prospeo",
        "verified_by": None,
    }


def test_a_better_judged_address_stays_when_the_verifier_goes_out_of_service() -> None:
    taken = [
        hit("prospeo", "a@x.example"),
        verdict("catch_all", "a@x.example"),
        hit("findymail", "b@x.example"),
    ]
    final = plan([*taken, passed_over("verify", "zerobounce")], config(on_outage="skip"))
    assert isinstance(final, Final)
    assert final.output is not None
    assert (final.status, final.output["email"]) == ("failed", "a@x.example")


def test_an_address_check_whose_verifier_is_out_of_service_fails_and_can_be_retried() -> None:
    template = TEMPLATES["email-verify"]
    settings, _ = template.clean_config({"on_outage": "skip"})
    final = template.advance(settings, {"email": "a@x.example"}, [passed_over("verify", "zerobounce")])
    assert isinstance(final, Final)
    assert (final.status, final.output) == ("failed", None)

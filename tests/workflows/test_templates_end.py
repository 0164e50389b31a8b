"""Every template, whatever its settings, its record and the answers: it ends, asks no vendor the same twice, and stays
within its limit. A template that is new is in this test by being in the catalogue."""

from collections.abc import Mapping
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from integrations.connectors import registry
from integrations.outcomes import EMAIL_STATUSES
from workflows.catalog import TEMPLATES, Ask, Taken, Template
from workflows.lanes.decide import decide
from workflows.states import FINAL_RECORD
from workflows.worst_case import most_calls, most_credits

OUTCOMES = ("hit", "hit", "hit", "miss", "cached", "invalid", "skipped", "error", "timeout", "suppressed")
PERSON = {
    "first_name": "Ada", "last_name": "Lovelace", "full_name": "Ada Lovelace", "company": "Engine",
    "domain": "engine.example", "linkedin_url": "https://www.linkedin.com/in/ada", "email": "ada@engine.example",
}  # fmt: skip
MANY_STEPS = 40


def setting(rule: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    match rule["type"]:
        case "choice":
            value: st.SearchStrategy[Any] = st.sampled_from(rule["of"])
        case "list":
            value = st.lists(st.sampled_from(rule["of"]), min_size=1, unique=True)
        case "integer":
            value = st.integers(rule["min"], rule["max"])
        case "credits":
            value = st.sampled_from([0, 0.5, 1, 1.5, 2, 3, 10])
        case _:
            raise AssertionError(f"say here how a setting of type {rule['type']} is drawn")
    return st.one_of(st.none(), value) if rule.get("null") else value


@st.composite
def stories(draw: st.DrawFn) -> tuple[Template, dict[str, Any], dict[str, str], st.DrawFn]:
    template = draw(st.sampled_from(sorted(TEMPLATES.values(), key=lambda one: one.slug)))
    config, faults = template.clean_config(
        {name: draw(setting(rule)) for name, rule in template.config_schema.items()}
    )
    assert faults == []
    fields = [field for field in template.fields if field in PERSON]
    record, faults = template.clean_record(
        {field: PERSON[field] for field in draw(st.lists(st.sampled_from(fields), min_size=1, unique=True))}
    )
    assume(not faults)
    return template, config, record, draw


def answer_to(ask: Ask, draw: st.DrawFn) -> Taken:
    outcome = draw(st.sampled_from(OUTCOMES))
    worst = registry.get(ask.provider).worst_credits(ask.operation)
    answer: dict[str, Any] = {}
    if outcome in ("hit", "cached"):
        email = ask.query.get("email") or draw(st.sampled_from(["a@engine.example", "b@engine.example"]))
        answer = {"email": email, "email_status": draw(st.sampled_from(sorted(EMAIL_STATUSES)))}
    elif outcome == "skipped":
        answer = {"why": "outage"}
    cost = draw(st.integers(0, worst)) if outcome in ("hit", "miss", "error", "timeout") else 0
    return Taken(ask.operation, ask.provider, outcome, answer, cost)


@settings(max_examples=400, deadline=None)
@given(stories())
def test_every_template_ends_repeats_nothing_and_keeps_its_limit(
    story: tuple[Template, dict[str, Any], dict[str, str], st.DrawFn],
) -> None:
    template, config, record, draw = story
    taken: list[Taken] = []
    asked: list[tuple[str, str, str]] = []
    calls = {(operation, provider): most for operation, provider, most in most_calls(template.slug, config)}
    while True:
        plan, skipped = decide(template.slug, config, record, taken)
        taken += skipped
        if not isinstance(plan, Ask):
            break
        asked.append((plan.operation, plan.provider, plan.query.get("email", "")))
        taken.append(answer_to(plan, draw))
        assert len(taken) < MANY_STEPS, "it goes on and on"
    assert len(set(asked)) == len(asked), "the same question twice"
    for operation, provider in {(operation, provider) for operation, provider, _ in asked}:
        times = sum(one[:2] == (operation, provider) for one in asked)
        assert times <= calls[(operation, provider)], f"{operation}:{provider} asked {times} times"
    spent = sum(step.credits for step in taken)
    assert spent <= most_credits(template.slug, config), "more than a record can cost"
    if config.get("max_credits_per_record") is not None:
        assert spent <= config["max_credits_per_record"] * 1_000
    assert plan.status in FINAL_RECORD
    assert (plan.error is None) or set(plan.error) == {"code", "message"}

"""Timers live in columns on the database's clock: a message with a later time was seen to run eight times on Redis."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.env import BASE_DIR

LONGEST_S = 5
APPS = ("bench", "billing", "config", "integrations", "tenants", "workflows")


def timers(source: str) -> Iterator[str]:
    """Calls with `eta`, or with a `countdown` that is not a number of at most LONGEST_S seconds."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        for keyword in node.keywords:
            short = isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, int | float)
            short = short and keyword.value.value <= LONGEST_S
            if keyword.arg == "eta" or (keyword.arg == "countdown" and not short):
                yield f"line {node.lineno}: {keyword.arg}"


def sources() -> list[Path]:
    return [path for app in APPS for path in (BASE_DIR / app).rglob("*.py")]


def test_no_task_is_sent_for_later():
    assert len(sources()) > 200
    found = {str(path): list(timers(path.read_text())) for path in sources()}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("task.apply_async(eta=soon)", 1),
        ("task.apply_async(countdown=6)", 1),
        ("task.retry(countdown=backoff())", 1),
        ("task.apply_async(countdown=5)", 0),
        ("task.delay()", 0),
    ],
)
def test_the_look_finds_what_it_looks_for(source: str, count: int):
    assert len(list(timers(source))) == count

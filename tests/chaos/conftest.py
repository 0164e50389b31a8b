"""Campaigns run real workers as processes beside the test, which is web to them."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.chaos.campaign import Books, Field
    from tests.chaos.crew import Crew
    from tests.sandbox import Sandbox


@pytest.fixture
def field(committed: None, sandbox: "Sandbox") -> "Field":
    from tests.chaos.campaign import Field

    return Field(sandbox)


@pytest.fixture
def books(committed: None) -> "Iterator[Books]":
    from tests.chaos.campaign import Books, admin_url

    made = Books(admin_url())
    yield made
    made.close()


@pytest.fixture
def crew(committed: None, sandbox: "Sandbox", tmp_path: Path) -> "Iterator[Crew]":
    from tests.chaos.crew import Crew

    made = Crew(tmp_path, sandbox.url)
    yield made
    made.stop()

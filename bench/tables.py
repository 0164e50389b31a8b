"""How the benches print."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def show(title: str, figures: Mapping[str, Any]) -> None:
    """A table of figures by name."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("Figure")
    table.add_column("Measured", justify="right")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int | float) else str(value))
    Console().print(table)

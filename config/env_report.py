"""A table of the environment as Weir understands it, secrets left out."""

import os
import sys

from rich.console import Console
from rich.table import Table

from config.env import EnvInvalid, validate
from config.variables import HARDENED, VARIABLES, Variable


def main() -> int:
    """Print the table; 1 when there are faults, each named below it."""
    fault: EnvInvalid | None = None
    try:
        validate(os.environ)
    except EnvInvalid as error:
        fault = error
    faults = fault.faults if fault else {}
    table = Table("variable", "value", "what for")
    for variable in VARIABLES:
        state = f"FAULT: {faults[variable.name]}" if variable.name in faults else _shown(variable)
        table.add_row(variable.name, state, variable.help)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    if fault:
        print(fault.detail, file=sys.stderr)
        return 1
    if os.environ.get("WEIR_ENV") in HARDENED and not os.environ.get("EMAIL_URL"):
        print("Warning: EMAIL_URL is not set, so no mail is sent.")
    print("The environment is valid.")
    return 0


def _shown(variable: Variable) -> str:
    if not os.environ.get(variable.name):
        return "(not set)"
    return "(set)" if variable.secret else os.environ[variable.name]

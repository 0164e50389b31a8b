"""Load the demo tenant and run the sample contacts."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console

from config.demo.sample_run import sample_run
from config.demo.setup import load
from config.env import ENV
from tenants.errors import WeirError


class Command(BaseCommand):
    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        if ENV.hardened:
            raise CommandError("The demo is for local use.")
        try:
            demo = load()
        except (OSError, WeirError) as error:
            raise CommandError(
                f"The sandbox vendors do not answer ({error}). Start Weir with `make run`."
            ) from error
        if not sample_run(demo, Console()):
            sys.exit(1)

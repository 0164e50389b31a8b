"""Run a whole local Weir: embedded servers, sandbox vendors, web, worker and beat, with the demo."""

import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.env import ENV
from config.supervisor.plan import Options
from config.supervisor.supervise import up


class Command(BaseCommand):
    help = __doc__
    requires_system_checks: tuple[str, ...] = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--once", action="store_true", help="Stop after the sample run; 0 when it completed."
        )
        parser.add_argument("--no-demo", action="store_true", help="Load no demo tenant and run no samples.")
        parser.add_argument("--workers", type=int, default=1, help="How many worker processes (1).")

    def handle(self, *args: Any, **options: Any) -> None:
        if ENV.hardened:
            raise CommandError(
                "`up` is for local use; in staging and production run the Procfile's processes."
            )
        if not 1 <= options["workers"] <= 32:
            raise CommandError("--workers must be from 1 to 32.")
        wanted = Options(
            data_dir=ENV.data_dir,
            port=ENV.port,
            workers=options["workers"],
            once=options["once"],
            demo=not options["no_demo"],
        )
        raise SystemExit(up(wanted, dict(os.environ)))

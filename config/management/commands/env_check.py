"""Check the environment and show what Weir makes of it, secrets left out."""

from typing import Any

from django.core.management.base import BaseCommand

from config import env_report


class Command(BaseCommand):
    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        raise SystemExit(env_report.main())

"""Say whether Weir works: database, broker, migrations, and that no work stands without a worker. Fails if not."""

from typing import Any

from django.core.management.base import BaseCommand

from config import health


class Command(BaseCommand):
    help = __doc__
    requires_system_checks: tuple[str, ...] = ()

    def handle(self, *args: Any, **options: Any) -> None:
        parts = health.ask(health.CHECKS | {"work": health.check_work})
        for name, state in parts.items():
            self.stdout.write(f"{name}: {state}")
        if any(state != "ok" for state in parts.values()):
            raise SystemExit(1)

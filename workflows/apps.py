from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class WorkflowsConfig(AppConfig):
    name = "workflows"
    verbose_name = "Workflows and runs"

    def ready(self) -> None:
        from django.conf import settings

        from workflows import wiring

        wiring.connect()
        if settings.WEIR_ENV in ("local", "test"):
            wiring.add_sandbox_only_vendors()
        post_migrate.connect(_ensure_partitions, sender=self, dispatch_uid="weir_partitions")


def _ensure_partitions(using: str, **kwargs: Any) -> None:
    """Make the coming months' partitions of the step history; only the owner can."""
    from django.db import connections, transaction
    from django.utils import timezone

    from tenants.roles import OWNER
    from workflows.lanes import partitions

    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute("SELECT current_user, to_regclass('public.step')")
        user, table = cursor.fetchone()
        if user == OWNER and table:
            partitions.ensure(cursor, timezone.now())

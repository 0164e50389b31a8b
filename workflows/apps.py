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
        post_migrate.connect(ensure_partitions, sender=self, dispatch_uid="weir_partitions")


def ensure_partitions(using: str, **kwargs: Any) -> None:
    """Make the coming months' partitions of the step history; only the owner can.

    A release does not fail for it: the hourly task tries again, and until then rows go to the default partition.
    """
    import structlog
    from django.db import Error as DatabaseError
    from django.db import connections, transaction

    from tenants import roles
    from workflows.lanes import partitions

    with connections[using].cursor() as cursor:
        cursor.execute("SELECT current_user, to_regclass('public.step')")
        user, table = cursor.fetchone()
        if user != roles.OWNER or not table:
            return
        try:
            with transaction.atomic(using=using):
                partitions.ensure(cursor)
        except DatabaseError as error:
            structlog.get_logger(__name__).error("partitions_not_made", error=str(error)[:200])

import time
import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants.errors import WeirError
from tenants.models import ClosedTenant, Tenant
from tenants.operations import delete_tenant
from tenants.scope import tenant_scope

ACTOR = "system:delete_tenant"
PATIENCE_S = 120.0


class Command(BaseCommand):
    help = (
        "Delete a tenant for good: shut it at once, and let the workers erase what it holds. With --now this command "
        "erases it itself and returns when nothing is left. Safe to run again after it was stopped."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", required=True, type=uuid.UUID, help="the tenant's id")
        parser.add_argument("--reason", required=True, help="kept for staff; name nobody in it")
        parser.add_argument(
            "--now", action="store_true", help="erase here instead of leaving it to the workers"
        )
        parser.add_argument("--dry-run", action="store_true", help="print what would go, change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant_id = options["tenant"]
        try:
            with tenant_scope(tenant_id):
                tenant = Tenant.objects.filter(pk=tenant_id).first()
                held = delete_tenant.rows_held() if tenant else {}
            if tenant is None and tenant_id not in delete_tenant.closing_tenants():
                raise CommandError("There is no such tenant.")
            self._show(tenant, held)
            if options["dry_run"]:
                self.stdout.write("Dry run: nothing was changed.")
                return
            if tenant is not None and tenant.status != Tenant.Status.CLOSING:
                with tenant_scope(tenant_id):
                    delete_tenant.close_tenant(actor=ACTOR, reason=options["reason"].strip())
            if options["now"]:
                self._erase(tenant_id)
            else:
                self.stdout.write(
                    "Closed. The workers erase what it holds; this takes a few minutes at most."
                )
        except WeirError as error:
            raise CommandError(error.detail) from error

    def _show(self, tenant: Tenant | None, held: dict[str, int]) -> None:
        if tenant is None:
            self.stdout.write("The tenant's rows are gone already; what is left is being finished.")
            return
        self.stdout.write(f"{tenant.name} ({tenant.plan}, {tenant.status}), {sum(held.values()):,} rows:")
        for table, count in sorted(held.items()):
            self.stdout.write(f"  {count:>12,}  {table}")

    def _erase(self, tenant_id: uuid.UUID) -> None:
        began = time.monotonic()
        closed: ClosedTenant | None = None
        while (closed := delete_tenant.erase(tenant_id)) is None:
            if time.monotonic() - began > PATIENCE_S:
                raise CommandError(
                    "Calls to vendors are still in flight, or Stripe has not taken the last usage. "
                    "Run this again in a minute."
                )
            self.stdout.write("Waiting for calls in flight, and for Stripe to take the last usage …")
            time.sleep(2)
        self.stdout.write(f"Erased in {time.monotonic() - began:.1f} s. Its totals are kept as {closed.pk}.")

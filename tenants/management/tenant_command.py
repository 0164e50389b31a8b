"""The base of commands that work for one tenant: `--tenant ID`, and the body runs in that tenant's scope."""

import uuid
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tenants.context import context
from tenants.models import Tenant
from tenants.scope import tenant_scope


class TenantCommand(BaseCommand):
    """Implement `handle_tenant`; what it does is one transaction, of the actor "system:<the command's name>"."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", required=True, type=uuid.UUID, metavar="ID", help="the tenant's id")

    def handle(self, *args: Any, tenant: uuid.UUID, **options: Any) -> Any:
        name = type(self).__module__.rpartition(".")[2]
        with (
            tenant_scope(tenant),
            context(actor=f"system:{name}", tenant_id=tenant),
        ):
            found = Tenant.objects.filter(pk=tenant).first()
            if found is None:
                raise CommandError(f"There is no tenant {tenant}.")
            return self.handle_tenant(found, **options)

    def handle_tenant(self, tenant: Tenant, **options: Any) -> Any:
        """What the command does for the tenant, whose scope is open."""
        raise NotImplementedError

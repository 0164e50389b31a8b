import json
import secrets
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from tenants.errors import WeirError
from tenants.models import User
from tenants.operations.keys import create_api_key
from tenants.operations.people import create_user
from tenants.operations.tenants import create_tenant
from tenants.scope import tenant_scope


class Command(BaseCommand):
    help = "Create a tenant with its owner and one API key. The password and the key are shown once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", required=True)
        parser.add_argument(
            "--email",
            required=True,
            help="the owner's address; an existing account is reused and keeps its password, which is then printed as null",
        )
        parser.add_argument("--plan", default="free", choices=["free", "pro", "enterprise"])
        parser.add_argument("--password", help="made up when not given")
        parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")

    def handle(self, *args: Any, **options: Any) -> None:
        email = options["email"].strip().lower()
        try:
            with transaction.atomic():
                owner = User.objects.filter(email=email).first()
                if owner and options["password"]:
                    raise CommandError(
                        f"{email} has an account with a password of its own: leave --password out."
                    )
                password = None if owner else options["password"] or secrets.token_urlsafe(12)
                owner = owner or create_user(email=email, password=password)
                tenant = create_tenant(
                    name=options["name"], plan=options["plan"], owner=owner, actor="system:create_tenant"
                )
                with tenant_scope(tenant):
                    _, plain = create_api_key(
                        name="First key", actor="system:create_tenant", created_by=owner
                    )
        except WeirError as error:
            raise CommandError(error.detail) from error
        result = {"tenant_id": str(tenant.pk), "user_email": email, "password": password, "api_key": plain}
        if options["json"]:
            self.stdout.write(json.dumps(result))
            return
        for key, value in result.items():
            self.stdout.write(f"{key:12} {value or '(unchanged: the account existed)'}")

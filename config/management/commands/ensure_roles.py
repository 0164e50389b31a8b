from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.env import ENV
from config.variables import LOGINS
from tenants.errors import WeirError
from tenants.role_plan import ensure_roles, left_open, plan_roles

ROLE_OF_URL = {name: f"weir_{name}" for name in LOGINS if name != "admin"}


class Command(BaseCommand):
    help = (
        "Create or repair the database roles on the server of DATABASE_ADMIN_URL, with the passwords of the other "
        "DATABASE_*_URL values. Prints the statements; --apply runs them."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--apply", action="store_true", help="run the statements")

    def handle(self, *args: Any, **options: Any) -> None:
        database, passwords = wanted(ENV.database_urls)
        admin = ENV.database_urls["admin"]
        try:
            if options["apply"]:
                lines = ensure_roles(admin, database, passwords)
            else:
                lines = [change.shown for change in plan_roles(admin, database, passwords)]
            open_still = left_open(admin, database, passwords)
        except WeirError as error:
            raise CommandError(error.detail) from error
        except psycopg.Error as error:
            raise CommandError(f"The server of DATABASE_ADMIN_URL: {str(error).strip()}") from error
        for sentence in open_still:
            self.stderr.write(f"Not done: {sentence}")
        if not lines and open_still:
            self.stdout.write("There is nothing else to do.")
            return
        if not lines:
            self.stdout.write(f"The roles and the database {database} are as they should be: nothing to do.")
            return
        for line in lines:
            self.stdout.write(f"{line};")
        self.stdout.write(
            f"{len(lines)} statement(s) run."
            if options["apply"]
            else f"{len(lines)} statement(s) to run. Nothing was changed: add --apply to run them."
        )


def wanted(urls: dict[str, str]) -> tuple[str, dict[str, str]]:
    """(the database's name, password by role) out of the addresses. Raises CommandError naming every fault."""
    faults = [f"{LOGINS[name]} is not set" for name in LOGINS if not urls.get(name)]
    passwords, databases = {}, set()
    for name, role in ROLE_OF_URL.items():
        if name not in urls:
            continue
        parts = urlsplit(urls[name])
        databases.add(unquote(parts.path.strip("/")))
        passwords[role] = unquote(parts.password or "")
        if unquote(parts.username or "") != role:
            faults.append(f"{LOGINS[name]} must sign in as {role}")
        if not parts.password:
            faults.append(f"{LOGINS[name]} has no password")
    if len(databases) > 1:
        faults.append(f"the addresses name different databases: {', '.join(sorted(databases))}")
    if len(set(passwords.values())) < len(passwords):
        faults.append("each login needs a password of its own")
    if faults:
        raise CommandError("\n".join(["The roles cannot be made:", *(f"  {fault}" for fault in faults)]))
    return databases.pop(), passwords

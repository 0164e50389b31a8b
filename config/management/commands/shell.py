import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from django.core.management.commands import shell

from tenants.context import context
from tenants.scope import ops_scope as machines_ops_scope

_REMINDER = """Tenants' data needs a scope:
    with tenant_scope(tenant_id):  ...   one tenant, as the app login
    with ops_scope("why"):         ...   across tenants, as the ops login; written to the log with your name
"""
_log = structlog.stdlib.get_logger("weir.shell")


class Command(shell.Command):
    help = f"{shell.Command.help} Scopes are imported; what is done in them bears the name of who is signed in here."

    def get_auto_imports(self) -> list[str] | None:
        models: list[str] | None = super().get_auto_imports()
        scopes = ["tenants.scope.tenant_scope", f"{__name__}.ops_scope"]
        return None if models is None else [*models, *scopes]

    def handle(self, **options: Any) -> None:
        if not options["command"]:
            self.stderr.write(_REMINDER)
        with context(actor=who()):
            super().handle(**options)


def who() -> str:
    """The actor of what is done in a shell."""
    return f"shell:{getpass.getuser()}"


@contextmanager
def ops_scope(reason: str) -> Iterator[None]:
    """`tenants.scope.ops_scope` for a person: who and why go into the log."""
    with machines_ops_scope(f"shell: {reason}"):
        _log.info("ops_scope", actor=who(), reason=reason)
        yield

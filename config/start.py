"""What web and worker processes make sure of before they serve."""

import structlog
from django.db import DatabaseError, connections

from config.errors import CannotStart
from integrations.errors import MasterKeyMissing
from integrations.vault.check import check_masters
from tenants.logins import LoginTooPowerful

_log = structlog.stdlib.get_logger("weir.start")


def check_logins() -> None:
    """Raises CannotStart when a login of this process could get past the policies; while the database is away,
    nothing is known, and each connection is asked when it is opened."""
    for alias in connections:
        try:
            connections[alias].ensure_connection()
        except LoginTooPowerful as error:
            raise CannotStart(f"Weir cannot start: {error.detail}") from error
        except DatabaseError as error:
            _log.warning("login_not_checked", alias=alias, error=type(error).__name__)
        finally:
            connections[alias].close()


def check_vault() -> None:
    """Raises CannotStart when a master key is missing that stored secrets need, or none can be had.

    While the database is away nothing is known and nothing refused: readiness tells about the database, and each
    use of a secret looks for its master key again.
    """
    try:
        check_masters()
    except MasterKeyMissing as error:
        raise CannotStart(f"Weir cannot start: {error.why}") from error
    except DatabaseError as error:
        _log.warning("vault_not_checked", error=type(error).__name__)
    finally:
        connections["default"].close()

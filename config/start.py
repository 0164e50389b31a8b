"""What web and worker processes make sure of before they serve."""

import structlog
from django.db import DatabaseError, connections

from config.errors import CannotStart
from integrations.errors import MasterKeyMissing
from integrations.vault.check import check_masters

_log = structlog.stdlib.get_logger("weir.start")


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

"""How long PostgreSQL waits for a holder of the engine's that has fallen silent in the middle of a transaction.

A holder that was frozen or cut off for so long has lost its lanes; what it had begun must not hold up whoever has them now.
"""

STALLED = "10s"
"""For the next statement of a transaction that has locked rows of the engine's."""
WHOLE = "20s"
"""For the end of a transaction whose statements are sent in a pipeline: in the middle of one, a session is never idle to
PostgreSQL. Known to it from 17 on; to older ones nothing is sent so (abreast.py)."""
SET = "set_config('idle_in_transaction_session_timeout', %s, true)"
"""SQL of one value, to be sent with STALLED."""


def set_both() -> str:
    """SQL of one value, without parameters, for the message that begins a transaction."""
    idle = SET.replace("%s", f"'{STALLED}'")
    whole = f"set_config('transaction_timeout', '{WHOLE}', true)"
    return f"concat({idle}, CASE WHEN current_setting('server_version_num')::int >= 170000 THEN {whole} END)"

"""How long PostgreSQL waits for a holder of the engine's that has fallen silent in the middle of a transaction.

A holder that was frozen or cut off for so long has lost its lanes; what it had begun must not hold up whoever has them now.
"""

STALLED = "10s"
"""For the next statement of a transaction that has locked rows of the engine's."""
WHOLE, READING = "20s", "60s"
"""For the end of a transaction whose statements are sent in a pipeline, and of one that reads and locks nothing: in the
middle of a pipeline a session is never idle to PostgreSQL. Known to it from 17 on; older ones get none (abreast.py)."""
TRANSACTIONS_END_FROM = 170000
"""The first version of PostgreSQL with a time limit for transactions."""
SET = "set_config('idle_in_transaction_session_timeout', %s, true)"
"""SQL of one value, to be sent with STALLED."""


def told(pipelined: bool) -> str:
    """SQL of one value, without parameters, for the message that begins a transaction that writes."""
    return _told(WHOLE if pipelined else "0")


def told_reading() -> str:
    """The same for one that reads, in a pipeline."""
    return _told(READING)


def _told(whole: str) -> str:
    idle = SET.replace("%s", f"'{STALLED}'")
    ends = f"set_config('transaction_timeout', '{whole}', true)"
    knows_it = f"current_setting('server_version_num')::int >= {TRANSACTIONS_END_FROM}"
    return f"concat({idle}, CASE WHEN {knows_it} THEN {ends} END)"

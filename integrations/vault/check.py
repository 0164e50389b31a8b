"""Whether the master keys at hand open everything that is stored."""

from integrations.errors import MasterKeyMissing
from integrations.lookups import data_keys_due
from integrations.vault.masters import ring

MOST_NAMED = 20


def check_masters() -> None:
    """Raises MasterKeyMissing, naming every master key that stored data keys need and the ring lacks.

    A key's id is a hash of it, so that no data key has to be unwrapped to know.
    """
    known, missing = ring().ids, list[str]()
    while len(missing) < MOST_NAMED and (due := data_keys_due(known=[*known, *missing], most=1)):
        missing.append(due[0].master_key_id)
    if missing:
        raise MasterKeyMissing(
            f"Stored secrets need master key(s) that are not at hand: {', '.join(missing)} "
            f"(at hand: {', '.join(known)}). Put them back behind the newest one."
        )

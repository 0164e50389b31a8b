"""Questions that are known to be about somebody on the suppression list, though only their answers said so."""

from workflows.lanes.shield import TOLD_WITHHELD
from workflows.models import Lookup


def forget_withheld() -> None:
    """Ask anew what was withheld, now that the open tenant's list has become shorter: of the answers nothing was kept that
    would tell whom they were about."""
    Lookup.objects.filter(outcome=TOLD_WITHHELD).delete()

"""`python -m tests.chaos.worker …`: celery's own command, in a process that was told to do things differently.

Leaves its runner's name in `run/holders/<process id>`, so that a campaign can tell what a dead worker had in hand.
"""

import json
import os
import sys
from pathlib import Path

from celery.__main__ import main
from celery.signals import celeryd_after_setup, worker_init


def _differently(**kwargs: object) -> None:
    from tests.chaos import odds

    odds.apply(json.loads(os.environ.get("WEIR_CHAOS", "{}")))


def _tell(**kwargs: object) -> None:
    from workflows.lanes import host

    folder = Path(os.environ["WEIR_DATA_DIR"]) / "run" / "holders"
    folder.mkdir(exist_ok=True)
    if host._Hosted.runner is not None:
        (folder / str(os.getpid())).write_text(str(host._Hosted.runner.holder))


worker_init.connect(_differently, weak=False)


def _tell_last(**kwargs: object) -> None:
    # After the product's own receiver, which joins later than this module is read.
    celeryd_after_setup.connect(_tell, weak=False)


worker_init.connect(_tell_last, weak=False)

if __name__ == "__main__":
    sys.exit(main())

"""Named places at which a test can end the process, as a power cut would, or freeze it. Off, one costs a look at a flag.

The list is closed: a place that is not on it cannot be named, and the tests walk all of it.
"""

import os
import signal

# Around every commit, call and acknowledgement, in the order in which a record passes them.
POINTS = (
    "accept.written",  # a run and its first steps, before the commit
    "ring.due",  # after it, before anybody is told
    "ring.sent",
    "fill.written",  # a chunk of an upload's rows, before the commit
    "fill.committed",
    "ring.received",  # a worker has the message
    "ring.handed",  # before it is acknowledged
    "lane.leased",  # before the commit
    "lane.taken",  # after it
    "claim.read",
    "stamp.written",  # starts are marked, before the commit
    "stamp.committed",  # before anything is sent
    "call.starting",
    "call.sending",  # the request's bytes are about to go out
    "call.answering",  # the vendor has done its work, and begins to answer
    "call.answered",  # the answer is in memory alone
    "lost.found",  # a dead holder's step is about to be settled
    "settle.written",  # history, ledger and next steps, before the commit
    "settle.committed",  # before the lanes with new work are told
    "run.completed",  # the flush that ended a run is committed
    "webhook.claimed",  # deliveries are held, nothing is sent
    "webhook.sending",  # the request's bytes are about to go out
    "webhook.answered",  # what came of it is in memory alone
    "webhook.settling",  # it is written, before the commit
    "webhook.settled",
    "lane.released",
    "sweep.written",  # before the commit
    "sweep.committed",  # before the lanes it found are taken
)
CODE = 9

_armed: dict[str, int] = {}
_freezes = False


def arm(point: str, *, nth: int = 1, freeze: bool = False) -> None:
    """End this process, or freeze it, the `nth` time that it comes to this point. Raises ValueError for a point that is
    not listed."""
    global _freezes
    if point not in POINTS:
        raise ValueError(f"no such failpoint: {point}")
    _armed[point], _freezes = nth, freeze


def reach(point: str) -> None:
    """The process has come to this point."""
    if _armed:
        _count(point)


def _count(point: str) -> None:
    left = _armed.get(point)
    if left is None:
        return
    if left > 1:
        _armed[point] = left - 1
        return
    if not _freezes:
        os._exit(CODE)
    del _armed[point]
    os.kill(os.getpid(), signal.SIGSTOP)

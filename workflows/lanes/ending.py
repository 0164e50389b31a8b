"""The end of a step: its template says what comes next for the record. Pure."""

import structlog

from workflows.catalog import Ask, Final, Taken
from workflows.lanes.decide import decide, fingerprint
from workflows.lanes.work import Settlement

log = structlog.get_logger(__name__)

UNDECIDED = {
    "code": "internal_error",
    "message": "Weir could not tell what follows this vendor's answer. The answer was kept; report this error.",
}


def go_on(settlement: Settlement, *, outcome: str = "") -> Settlement:
    """Let the template say what comes next, with this step behind it, as if it had come to another `outcome`."""
    work = settlement.work
    settlement.counts_as = outcome or settlement.counts_as
    last = Taken(
        work.operation,
        work.provider,
        settlement.counts_as or settlement.outcome,
        settlement.answer or {},
        settlement.credits,
    )
    try:
        plan, skipped = decide(
            work.run.template, work.run.config, work.record_input, [*map(Taken.from_json, work.taken), last]
        )
    except Exception:  # a bug of ours in one record must not leave its step in hand for ever
        log.exception("step_not_decided", step=str(work.id), template=work.run.template)
        plan, skipped = Final("failed", None, UNDECIDED), []
    settlement.skipped = skipped
    if isinstance(plan, Ask):
        settlement.ask, settlement.ask_fingerprint = plan, fingerprint(plan)
    else:
        settlement.final = plan
    return settlement


def dead(settlement: Settlement, reason: str, *, status: str = "dead") -> Settlement:
    """No further attempt by itself: listed, and replayed when somebody says so."""
    settlement.status, settlement.reason = status, reason
    return go_on(settlement, outcome="error" if settlement.outcome != "timeout" else "timeout")

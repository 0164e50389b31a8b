"""The suppression list inside a flush: nobody on it is asked about, and no answer about them is delivered.

Made only where the tenant has suppressions; then it is a query for what starts and one for what was found.
"""

import uuid
from collections.abc import Sequence
from typing import Any

from billing import quota
from integrations.suppressions import suppressed_of
from tenants.ids import uuid7
from workflows.catalog import Final
from workflows.lanes.stamp import Stamp
from workflows.lanes.work import Flushed, Settlement, Work

TOLD_WITHHELD = "withheld"
"""What an equal question learns: its answer is about somebody on the list."""
ERROR = {"code": "suppressed", "message": "On your suppression list: not looked up and not delivered."}
WITHHELD = {"withheld": True}


class Shield:
    """One tenant's suppressions. `subdomains`: a suppressed domain covers what is below it."""

    def __init__(self, cursor: Any, tenant_id: uuid.UUID, *, subdomains: bool) -> None:
        self.cursor, self.tenant_id, self.subdomains = cursor, tenant_id, subdomains

    def hold_back(self, stamps: Sequence[Stamp], result: Flushed) -> list[Stamp]:
        """The starts that may be made; the others are named in `result.suppressed`.

        A job that the vendor has begun is paid for: its result is asked for, and withheld when it comes.
        """
        fresh = [work for work, _, _ in stamps if work.job is None]
        about = self._about([_asked(work) for work in fresh])
        held = {work.id for work, hit in zip(fresh, about, strict=True) if hit}
        result.suppressed |= held
        return [stamp for stamp in stamps if stamp[0].id not in held]

    def withhold(self, kept: Sequence[Settlement], late: Sequence[Settlement]) -> None:
        """End records whose answer is about somebody on the list; what was found is not kept with them, nor for equal
        questions, nor where it comes late. Equal questions share it where the question or the answer names who is on
        the list, and not the record alone."""
        self._end_suppressed([s for s in kept if s.outcome == "suppressed" and not s.called])
        found = [s for s in (*kept, *late) if _address(s)]
        told = [{**s.work.query, "email": _address(s)} for s in found]
        about = self._about([*told, *(_asked(s.work) for s in found)])
        for settlement, by_answer, by_record in zip(found, about, about[len(found) :], strict=False):
            if by_answer or by_record:
                settlement.answer = WITHHELD if settlement.answer else None
                settlement.counts_as = TOLD_WITHHELD if by_answer else "suppressed"
                _end(settlement)

    def _end_suppressed(self, settlements: Sequence[Settlement]) -> None:
        """Records that end before a vendor took a question about them are not billed: a correcting entry each."""
        for s in settlements:
            _end(s)
        fresh = [s.work.record_id for s in settlements if not s.work.taken and s.work.run.livemode]
        quota.give_back(
            self.cursor, self.tenant_id, [uuid7() for _ in fresh], fresh,
            only="NOT EXISTS (SELECT 1 FROM step s WHERE s.tenant_id = e.tenant_id AND s.record_id = t.record_id "
            "AND s.outcome NOT IN ('rate_limited', 'auth_failed', 'no_credits', 'suppressed'))",
        )  # fmt: skip

    def _about(self, items: Sequence[dict[str, Any]]) -> list[bool]:
        return suppressed_of(self.cursor, self.tenant_id, items, subdomains=self.subdomains) if items else []


def _asked(work: Work) -> dict[str, Any]:
    """Whom a step is about, by its record and its question."""
    return {**work.record_input, **work.query}


def _end(settlement: Settlement) -> None:
    settlement.ask, settlement.skipped = None, []
    settlement.final = Final("skipped", None, ERROR)


def _address(settlement: Settlement) -> str:
    """The address that would be delivered, or that came with this answer."""
    output = (settlement.final.output if settlement.final else None) or {}
    return str(output.get("email") or (settlement.answer or {}).get("email") or "")

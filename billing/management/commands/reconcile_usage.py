"""Prove that the counters of accepted records and Stripe's meter equal the ledger, to the unit, and say where not.

Exits with 1 when anything differs that was not repaired (`--repair`: the counters move, the ledger never; what Stripe
has is told, and mended by what is still under way, or by people). Stripe is asked where billing is on.
May run beside everything else. Run it with --repair after the release that brought the counters: old processes do not
count.
"""

import json
import sys
from datetime import date, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing import reconcile as stripe_meter
from billing.errors import StripeAway
from billing.operations import reconcile


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--period",
            help="one month as YYYY-MM; when left out all there are, and of Stripe's meter this one and the last",
        )
        parser.add_argument("--repair", action="store_true", help="put the counters right")
        parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")

    def handle(self, *args: Any, **options: Any) -> None:
        month = _month(options["period"])
        found = reconcile.compare(month)
        repaired = 0
        if options["repair"]:
            for one in found.differences:
                repaired += reconcile.repair(one.tenant_id, one.period)
        metered = _metered(month)
        lines = [
            {
                "tenant_id": str(one.tenant_id), "period": f"{one.period:%Y-%m}", "counted": one.counted,
                "ledger": one.ledger, "difference": one.counted - one.ledger,
            }
            for one in found.differences
        ]  # fmt: skip
        if options["json"]:
            summary = {"months": found.months, "records": found.records, "repaired": repaired}
            self.stdout.write(json.dumps({**summary, "differences": lines, "stripe": metered}))
        else:
            for one in found.differences:
                self.stdout.write(
                    f"{one.period:%Y-%m} {one.tenant_id}: counted {one.counted:,}, in the ledger {one.ledger:,}: "
                    f"{one.counted - one.ledger:+,}"
                )
            for line in metered:
                has = "nothing that Stripe would say" if line["metered"] is None else f"{line['metered']:,}"
                self.stdout.write(
                    f"{line['period']} {line['tenant_id']}: Stripe's meter has {has}, told {line['told']:,}, in the ledger "
                    f"{line['ledger']:,}"
                )
            self.stdout.write(
                f"{found.months:,} months of tenants compared, {found.records:,} records: "
                + (f"{len(lines):,} differ" if lines else "counters equal the ledger")
                + (f", {repaired:,} repaired." if options["repair"] and lines else ".")
            )
        if metered or (lines and not options["repair"]):
            sys.exit(1)


def _metered(month: date | None) -> list[dict[str, Any]]:
    """What Stripe's meter has otherwise than the ledger, in this month and the last, or in the one that is named; nothing
    while billing is off."""
    try:
        found = stripe_meter.differences(only=month)
    except StripeAway as error:
        raise CommandError(f"Stripe was not compared: {error.detail}") from error
    return [
        {
            "tenant_id": str(one.tenant_id), "period": f"{one.period:%Y-%m}", "ledger": one.ledger, "told": one.told,
            "metered": one.metered,
        }
        for one in found
    ]  # fmt: skip


def _month(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m").date()  # noqa: DTZ007 - a month, not a moment
    except ValueError:
        raise CommandError("Write the month as YYYY-MM, like 2026-03.") from None

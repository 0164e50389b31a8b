import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from integrations.errors import MasterKeyMissing
from integrations.signals import master_key_rotated
from integrations.vault.check import check_masters
from integrations.vault.masters import ring
from integrations.vault.rotation import Rotation, rotate

REPORT_EVERY_S = 2.0


class Command(BaseCommand):
    help = (
        "Wrap every tenant's data key by the newest master key. Weir may run meanwhile; a run that was stopped is "
        "taken up by the next one. Exits with 1 when a data key could not be opened."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--data-keys",
            action="store_true",
            help="make new data keys as well, and seal every secret again",
        )
        parser.add_argument(
            "--older-than",
            type=float,
            default=24.0,
            metavar="HOURS",
            help="with --data-keys: leave data keys alone that are younger (24), as an interrupted run made them",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["older_than"] < 0:
            raise CommandError("--older-than takes hours, 0 or more.")
        before = None
        if options["data_keys"]:
            before = datetime.now(UTC) - timedelta(hours=options["older_than"])
        began = time.monotonic()
        try:
            check_masters()
            counts = rotate(renew_before=before, progress=self._progress())
            newest = ring().newest.id
            others = sum(int(count or 0) for _, count in master_key_rotated.send(sender=Command))
        except MasterKeyMissing as error:
            raise CommandError(error.why) from error
        self.stdout.write(
            f"Newest master key: {newest}. {_words(counts)}, {others:,} second factors in {time.monotonic() - began:.1f} s."
        )
        for tenant_id, why in counts.failed.items():
            self.stderr.write(f"Tenant {tenant_id}: {why}")
        if counts.unreadable:
            self.stderr.write(f"{counts.unreadable} secret(s) did not open and were left as they are.")
        if counts.failed:
            raise SystemExit(1)

    def _progress(self) -> Any:
        reported = time.monotonic()

        def report(counts: Rotation) -> None:
            nonlocal reported
            if time.monotonic() - reported >= REPORT_EVERY_S:
                reported = time.monotonic()
                self.stdout.write(f"… {_words(counts)}")
                sys.stdout.flush()

        return report


def _words(counts: Rotation) -> str:
    words = f"{counts.keys:,} data keys, {counts.secrets:,} secrets sealed again"
    return f"{words}, {len(counts.failed):,} data keys FAILED" if counts.failed else words

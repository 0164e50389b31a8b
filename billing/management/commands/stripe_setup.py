"""`manage.py stripe_setup [--webhook URL]`: make the meter, products and prices at Stripe, and note them on the plans."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.operations import stripe_setup
from tenants.errors import WeirError


class Command(BaseCommand):
    help = (
        "Makes what an account at Stripe needs for the plans that cost something, and writes the prices' ids on them. "
        "Harmless twice; after a plan's price or quota was changed, run it again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--webhook", metavar="URL", help="have events sent to this address; prints the secret, once"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            done = stripe_setup.set_up()
            if options["webhook"]:
                secret = stripe_setup.listen(options["webhook"])
                done.append(
                    f"STRIPE_WEBHOOK_SECRET={secret}"
                    if secret
                    else "An endpoint listens there already, with the secret that it was made with."
                )
        except WeirError as error:
            raise CommandError(error.detail) from None
        self.stdout.write("\n".join(done) or "Everything is there already.")

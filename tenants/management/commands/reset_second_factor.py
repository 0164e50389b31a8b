from typing import Any

from django.core.mail import send_mail
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template.loader import render_to_string

from tenants.errors import NotFound
from tenants.models import User
from tenants.operations.people import remove_second_factors


class Command(BaseCommand):
    help = (
        "Remove every second factor of somebody who lost them, and sign them out everywhere. Make sure first, by a way "
        "that is not mail, that it is them who ask. They are told by mail."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--email", required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(email=options["email"].strip().lower()).first()
        if user is None:
            raise CommandError("There is no account with this address.")
        try:
            removed = remove_second_factors(user=user, actor="system:reset_second_factor")
        except NotFound as error:
            raise CommandError(f"{user.email} has no second factor.") from error
        self.stdout.write(
            f"Removed {removed} from {user.email}. The password alone signs in until a new one is set up."
        )
        try:
            send_mail(
                "Weir: your second factors were removed",
                render_to_string("mfa/email/removed_by_operator.txt"),
                None,
                [user.email],
            )
        except OSError as error:
            self.stderr.write(
                f"The mail that tells them could not be sent ({type(error).__name__}). Tell them yourself."
            )

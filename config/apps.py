"""Start-up of the composed project."""

from django.apps import AppConfig


class WeirConfig(AppConfig):
    name = "config"
    verbose_name = "Weir"

    def ready(self) -> None:
        # Loaded so that shared tasks find the app, in web and commands as well as in workers.
        from config import celery, observability

        observability.report_errors(celery.app)

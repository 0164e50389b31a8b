"""Start-up of the composed project."""

from importlib import import_module

from django.apps import AppConfig
from django.conf import settings


class WeirConfig(AppConfig):
    name = "config"
    verbose_name = "Weir"

    def ready(self) -> None:
        # Loaded so that shared tasks find the app, in web and commands as well as in workers.
        import_module("config.celery")
        import_module("config.checks").register()
        signals = import_module("integrations.signals")
        second_factors = import_module("config.second_factors")
        second_factors.connect()
        signals.master_key_rotated.connect(second_factors.reseal)
        if settings.SENTRY_DSN:
            import_module("config.error_reports").report_errors()

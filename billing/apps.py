from django.apps import AppConfig
from django.core import checks


class BillingConfig(AppConfig):
    name = "billing"
    verbose_name = "Plans and usage"

    def ready(self) -> None:
        from billing import checks as own
        from billing import limits, news

        limits.register()
        checks.register(own.check_keys)
        news.connect()

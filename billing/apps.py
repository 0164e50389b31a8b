from django.apps import AppConfig


class BillingConfig(AppConfig):
    name = "billing"
    verbose_name = "Plans and usage"

    def ready(self) -> None:
        from billing import news

        news.connect()

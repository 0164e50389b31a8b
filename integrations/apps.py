from django.apps import AppConfig


class IntegrationsConfig(AppConfig):
    name = "integrations"
    verbose_name = "Vendors and connections"

    def ready(self) -> None:
        from integrations import lookups

        lookups.register()

from django.apps import AppConfig


class IntegrationsConfig(AppConfig):
    name = "integrations"
    verbose_name = "Vendors and connections"

    def ready(self) -> None:
        from integrations import lookups
        from integrations.webhooks import outbox

        lookups.register()
        outbox.register()

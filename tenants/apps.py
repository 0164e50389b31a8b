from django.apps import AppConfig
from django.core import checks
from django.db.models.signals import post_migrate


class TenantsConfig(AppConfig):
    name = "tenants"
    verbose_name = "Tenants and people"

    def ready(self) -> None:
        from tenants import rls, signals

        checks.register(rls.check_classes)
        post_migrate.connect(signals.apply_policies, sender=self, dispatch_uid="weir_rls")

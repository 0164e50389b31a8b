from django.apps import AppConfig
from django.core import checks
from django.db.models.signals import post_migrate


class TenantsConfig(AppConfig):
    name = "tenants"
    verbose_name = "Tenants and people"

    def ready(self) -> None:
        from tenants import isolation_checks, signals

        checks.register(isolation_checks.check_isolation)
        post_migrate.connect(signals.apply_policies, sender=self, dispatch_uid="weir_rls")

from django.apps import AppConfig
from django.core import checks
from django.core.signals import request_finished, request_started
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate


class TenantsConfig(AppConfig):
    name = "tenants"
    verbose_name = "Tenants and people"

    def ready(self) -> None:
        from tenants import isolation_checks, logins, scope, signals

        checks.register(isolation_checks.check_isolation)
        post_migrate.connect(signals.apply_policies, sender=self, dispatch_uid="weir_rls")
        connection_created.connect(logins.refuse_powerful, dispatch_uid="weir_logins")
        for moment in (request_started, request_finished):
            moment.connect(scope.drop_leftovers, dispatch_uid="weir_leftovers")

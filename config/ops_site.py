"""The site behind /admin/."""

from collections.abc import Iterable
from typing import Any

from django.contrib.admin import ModelAdmin
from django.db import models
from django.http import HttpRequest, HttpResponse
from unfold.sites import UnfoldAdminSite

from config.ops_login import sign_in
from tenants.ops_console.base import OpsAdmin


class OpsSite(UnfoldAdminSite):
    """Shows what Weir's own admin modules register; what libraries bring along stays out."""

    site_title = "Weir operations"
    site_header = "Weir operations"
    index_title = "Overview"

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return sign_in(request)

    def register(
        self,
        model_or_iterable: type[models.Model] | Iterable[type[models.Model]],
        admin_class: type[ModelAdmin] | None = None,
        **options: Any,
    ) -> None:
        if admin_class is not None and issubclass(admin_class, OpsAdmin):
            super().register(model_or_iterable, admin_class, **options)

"""The ops console: Django admin over the ops login."""

from django.contrib.admin.apps import AdminConfig


class OpsAdminConfig(AdminConfig):
    default_site = "config.ops_site.OpsSite"

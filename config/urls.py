"""Where everything is."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularSwaggerSplitView

from billing import webhook
from config import api_docs, health
from config.api_schema_view import SchemaView
from tenants.web import invitations
from workflows import hooks

urlpatterns = [
    path("api/v1/", include("config.api_urls")),
    path("", RedirectView.as_view(url="/app/")),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", health.metrics),
    path("admin/", admin.site.urls),
    path("accounts/", include("tenants.web.urls")),
    path("accounts/", include("allauth.urls")),
    path("api/schema/", SchemaView.as_view(), name="schema"),
    path("api/docs/", api_docs.page, name="docs"),
    path(
        "api/docs/reference/", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs_reference"
    ),
    path("api/docs/<slug:name>/", api_docs.page, name="docs_page"),
    path("app/", include("workflows.web.urls")),
    path("hooks/stripe", webhook.stripe_hook, name="stripe_hook"),
    path("hooks/callback/<str:token>", hooks.callback, name="callback"),
    path("invitations/", invitations.followed_page, name="invitation_followed"),
    path("invitations/<str:token>/", invitations.invitation_page, name="invitation"),
]

handler400 = "config.problems.bad_request"
handler403 = "config.problems.not_allowed"
handler404 = "config.problems.not_found"
handler500 = "config.problems.server_error"

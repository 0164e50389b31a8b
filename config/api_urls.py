"""The routes of /api/v1/. None ends with a slash."""

from django.urls import path, re_path

from billing.api.views import UsageView
from config.problems import not_found
from integrations.api import webhooks
from integrations.api.suppressions import SuppressionsView, SuppressionView
from integrations.api.views import ConnectionsView
from tenants.api.audit_views import AuditView
from tenants.api.key_views import KeysView, KeyView, RotateKeyView
from tenants.api.views import TenantView
from workflows.api import connections, lanes, records, runs, uploads, workflows
from workflows.lane_queries import lanes_of_connections
from workflows.usage_queries import use_of_workflows

# Django tries them one after the other: what is asked for most comes first.
urlpatterns = [
    path("runs", runs.RunsView.as_view()),
    path("runs/<uuid:run_id>", runs.RunView.as_view()),
    path("runs/<uuid:run_id>/cancel", runs.CancelRunView.as_view()),
    path("runs/<uuid:run_id>/pause", runs.PauseRunView.as_view()),
    path("runs/<uuid:run_id>/resume", runs.ResumeRunView.as_view()),
    path("runs/<uuid:run_id>/retry", runs.RetryRunView.as_view()),
    path("runs/<uuid:run_id>/records", records.RecordsView.as_view()),
    path("runs/<uuid:run_id>/records/<uuid:record_id>", records.RecordView.as_view()),
    path("runs/<uuid:run_id>/records/<uuid:record_id>/retry", records.RetryRecordView.as_view()),
    path("runs/<uuid:run_id>/records/<uuid:record_id>/discard", records.DiscardRecordView.as_view()),
    path("runs/<uuid:run_id>/results.csv", records.ResultsCsvView.as_view()),
    path("runs/<uuid:run_id>/results.jsonl", records.ResultsJsonlView.as_view()),
    path("runs/<uuid:run_id>/results.xlsx", records.ResultsXlsxView.as_view()),
    path("tenant", TenantView.as_view()),
    path("audit", AuditView.as_view()),
    path("keys", KeysView.as_view()),
    path("keys/<uuid:key_id>", KeyView.as_view()),
    path("keys/<uuid:key_id>/rotate", RotateKeyView.as_view()),
    path("usage", UsageView.as_view(workflows_of=use_of_workflows)),
    path("connections", ConnectionsView.as_view(lanes_of=lanes_of_connections)),
    path("connections/<uuid:connection_id>", connections.ConnectionView.as_view()),
    path("connections/<uuid:connection_id>/test", connections.TryConnectionView.as_view()),
    path("suppressions", SuppressionsView.as_view()),
    path("suppressions/<uuid:suppression_id>", SuppressionView.as_view()),
    path("webhook-endpoints", webhooks.WebhookEndpointsView.as_view()),
    path("webhook-endpoints/<uuid:endpoint_id>", webhooks.WebhookEndpointView.as_view()),
    path("webhook-endpoints/<uuid:endpoint_id>/rotate", webhooks.RotateWebhookSecretView.as_view()),
    path("webhook-endpoints/<uuid:endpoint_id>/test", webhooks.TestWebhookView.as_view()),
    path("webhook-endpoints/<uuid:endpoint_id>/deliveries", webhooks.WebhookDeliveriesView.as_view()),
    path(
        "webhook-endpoints/<uuid:endpoint_id>/deliveries/<uuid:delivery_id>",
        webhooks.WebhookDeliveryView.as_view(),
    ),
    path(
        "webhook-endpoints/<uuid:endpoint_id>/deliveries/<uuid:delivery_id>/resend",
        webhooks.ResendWebhookView.as_view(),
    ),
    path("workflows", workflows.WorkflowsView.as_view()),
    path("workflows/<uuid:workflow_id>", workflows.WorkflowView.as_view()),
    path("templates", workflows.TemplatesView.as_view()),
    path("uploads", uploads.UploadsView.as_view()),
    path("lanes", lanes.LanesView.as_view()),
    path("lanes/<uuid:lane_id>", lanes.LaneView.as_view()),
    path("lanes/<uuid:lane_id>/pause", lanes.PauseLaneView.as_view()),
    path("lanes/<uuid:lane_id>/resume", lanes.ResumeLaneView.as_view()),
    re_path(r"^.*$", not_found),
]

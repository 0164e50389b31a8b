"""A bare Django view that inserts one row, and nothing else: what a request costs before there is any product."""

import json

from django.db import models
from django.http import HttpRequest, JsonResponse
from django.urls import path

TABLE = "bench_row"
CREATE = f"""
    CREATE TABLE IF NOT EXISTS {TABLE} (
        id bigserial PRIMARY KEY, body jsonb NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
    GRANT SELECT, INSERT ON {TABLE} TO weir_app; GRANT USAGE ON SEQUENCE {TABLE}_id_seq TO weir_app;
"""


class Row(models.Model):
    body = models.JSONField()
    objects: "models.Manager[Row]" = models.Manager()

    class Meta:
        app_label = "bench"
        managed = False
        db_table = TABLE

    def __str__(self) -> str:
        return str(self.pk)


def insert(request: HttpRequest) -> JsonResponse:
    """Insert the body as one row."""
    row = Row.objects.create(body=json.loads(request.body))
    return JsonResponse({"id": row.pk}, status=201)


def healthz(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"ok": True})


urlpatterns = [path("insert", insert), path("healthz", healthz)]

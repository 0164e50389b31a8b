"""The routes of lanes: what waits in them and why, other limits, a pause."""

import uuid
from collections.abc import Callable

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.models import Connection
from tenants.api.base import ApiView, read_body
from tenants.api.paging import paginate
from tenants.api.schema import PAGING, page_of, problems
from tenants.errors import NotFound
from tenants.scope import tenant_scope
from workflows import queries
from workflows.api.serializers import LanePatch, LaneSerializer, lane_json
from workflows.models import Lane
from workflows.operations import control_lane


def _lanes(*, test_only: bool) -> QuerySet[Lane]:
    """The lanes that a key sees: a test key, those of sandbox connections alone."""
    rows: QuerySet[Lane] = Lane.objects.filter(connection__removed_at=None).only("id")
    return rows.filter(connection__mode=Connection.Mode.SANDBOX) if test_only else rows


def _require_lane(lane_id: uuid.UUID, *, test_only: bool) -> None:
    if not _lanes(test_only=test_only).filter(pk=lane_id).exists():
        raise NotFound("There is no such lane.")


def _answer(lane_id: uuid.UUID) -> Response:
    views = queries.lane_views([lane_id])
    if not views:
        raise NotFound("There is no such lane.")
    return Response(lane_json(views[0]))


class LanesView(ApiView):
    resource = "lanes"

    @extend_schema(
        operation_id="lanes_list",
        tags=["lanes"],
        parameters=PAGING,
        responses={200: page_of(LaneSerializer), **problems(422)},
    )
    def get(self, request: Request) -> Response:
        """The lanes, one per connection, in the order in which they were made."""
        with tenant_scope(self.tenant_id):
            page = paginate(request, _lanes(test_only=self.test_mode), key="id", parse=uuid.UUID)
            views = {view.id: view for view in queries.lane_views([lane.pk for lane in page.items])}
        return Response(page.answer([lane_json(views[lane.pk]) for lane in page.items]))


class LaneView(ApiView):
    resource = "lanes"

    @extend_schema(
        operation_id="lanes_retrieve", tags=["lanes"], responses={200: LaneSerializer, **problems(404)}
    )
    def get(self, request: Request, lane_id: uuid.UUID) -> Response:
        """One lane."""
        with tenant_scope(self.tenant_id):
            _require_lane(lane_id, test_only=self.test_mode)
            return _answer(lane_id)

    @extend_schema(
        operation_id="lanes_update",
        tags=["lanes"],
        request=LanePatch,
        responses={200: LaneSerializer, **problems(400, 404, 415, 422)},
    )
    def patch(self, request: Request, lane_id: uuid.UUID) -> Response:
        """Pin other limits than the connection's, while work waits, or have several questions go in one call (Prospeo: 50,
        ZeroBounce: 100). In effect within 2 s."""
        body = read_body(LanePatch, request.data)
        with tenant_scope(self.tenant_id):
            _require_lane(lane_id, test_only=self.test_mode)
            if "bulk" in body:
                control_lane.ask_together(lane_id=lane_id, on=body["bulk"], actor=self.actor)
            if body.keys() - {"bulk"}:
                control_lane.pin_limits(
                    lane_id=lane_id,
                    windows=body.get("windows"),
                    parallelism=body.get("parallelism"),
                    actor=self.actor,
                )
            return _answer(lane_id)


def _control(name: str, operation: Callable[..., Lane], what: str) -> type[ApiView]:
    """POST without a body: moves the lane and answers with it."""

    @extend_schema(
        operation_id=f"lanes_{name}",
        tags=["lanes"],
        description=what,
        request=None,
        responses={200: LaneSerializer, **problems(404)},
    )
    def post(self: ApiView, request: Request, lane_id: uuid.UUID) -> Response:
        with tenant_scope(self.tenant_id):
            _require_lane(lane_id, test_only=self.test_mode)
            operation(lane_id=lane_id, actor=self.actor)
            return _answer(lane_id)

    permissions = {"POST": "lanes.steer"}
    return type(
        f"{name.capitalize()}LaneView",
        (ApiView,),
        {"post": post, "resource": "lanes", "permissions": permissions},
    )


PauseLaneView = _control(
    "pause", control_lane.pause_lane, "Start no more calls in this lane. In effect within 2 s."
)
ResumeLaneView = _control("resume", control_lane.resume_lane, "Let a paused lane go on.")

"""The routes of API keys. A test key sees and changes test keys alone."""

import uuid

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.api.base import ApiView, read_body
from tenants.api.paging import paginate
from tenants.api.schema import PAGING, page_of, problems
from tenants.api.serializers import KeyBody, KeySerializer, NewKeySerializer, RotateBody
from tenants.models import ApiKey
from tenants.operations.keys import create_api_key, revoke_api_key, rotate_api_key
from tenants.scope import tenant_scope


def _shown_once(key: ApiKey, plain: str) -> Response:
    return Response(NewKeySerializer(key, context={"plain": plain}).data, status=201)


class KeysView(ApiView):
    resource = "keys"
    shown_once = ("key",)

    @extend_schema(
        operation_id="keys_list",
        tags=["keys"],
        parameters=PAGING,
        responses={200: page_of(KeySerializer), **problems(422)},
    )
    def get(self, request: Request) -> Response:
        """The keys, in the order in which they were made, ended ones too."""
        with tenant_scope(self.tenant_id):
            rows = ApiKey.objects.defer("digest")
            if self.test_mode:
                rows = rows.filter(livemode=False)
            page = paginate(request, rows, key="id", parse=uuid.UUID)
        return Response(page.answer(KeySerializer(page.items, many=True).data))

    @extend_schema(
        operation_id="keys_create",
        tags=["keys"],
        request=KeyBody,
        responses={201: NewKeySerializer, **problems(400, 409, 415, 422)},
    )
    def post(self, request: Request) -> Response:
        """Make a key. A key cannot give a scope that it does not have, and a test key makes test keys alone."""
        body = read_body(KeyBody, request.data)
        wanted = {"livemode": self.owner.livemode, "scopes": self.owner.scopes, **body}
        with tenant_scope(self.tenant_id):
            key, plain = create_api_key(actor=self.actor, by=self.owner, **wanted)
        return _shown_once(key, plain)


class KeyView(ApiView):
    resource = "keys"

    @extend_schema(
        operation_id="keys_delete",
        tags=["keys"],
        responses={204: OpenApiResponse(description="Revoked."), **problems(404, 409)},
    )
    def delete(self, request: Request, key_id: uuid.UUID) -> Response:
        """Revoke a key for good. It is refused within a second."""
        with tenant_scope(self.tenant_id):
            revoke_api_key(key_id=key_id, actor=self.actor, by=self.owner)
        return Response(status=204)


class RotateKeyView(ApiView):
    resource = "keys"
    shown_once = ("key",)

    @extend_schema(
        operation_id="keys_rotate",
        tags=["keys"],
        request=RotateBody,
        responses={201: NewKeySerializer, **problems(400, 404, 409, 415, 422)},
    )
    def post(self, request: Request, key_id: uuid.UUID) -> Response:
        """Replace a key, its own too, by a new one with the same name, mode, scopes and length of life.

        Keys prolong nothing: the new one ends when the key that asks was made to end, if not before. The old key stays
        valid for `overlap_seconds`. One that is revoked, expired or replaced already: 409.
        """
        body = read_body(RotateBody, request.data or {})
        with tenant_scope(self.tenant_id):
            key, plain = rotate_api_key(key_id=key_id, actor=self.actor, by=self.owner, **body)
        return _shown_once(key, plain)

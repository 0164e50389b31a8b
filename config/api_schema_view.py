"""/api/schema/: the OpenAPI description, for everybody the same."""

from functools import cache
from typing import Any

from django.http import HttpResponse
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiYamlRenderer
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


class SchemaView(SpectacularAPIView):
    """Making and writing it takes most of a second: each process does it once for each kind."""

    content_negotiation_class = DefaultContentNegotiation

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        """The description as YAML or JSON, by `format` or `Accept`."""
        renderer: BaseRenderer = request.accepted_renderer
        return HttpResponse(
            _written(renderer.format == "json"),
            content_type=renderer.media_type,
            headers={"Content-Disposition": f'inline; filename="weir.{renderer.format}"', "Vary": "Accept"},
        )


@cache
def _written(as_json: bool) -> bytes:
    generator: Any = SpectacularAPIView.generator_class()
    schema = generator.get_schema(request=None, public=True)
    text = (OpenApiJsonRenderer() if as_json else OpenApiYamlRenderer()).render(schema, renderer_context={})
    return text.encode() if isinstance(text, str) else text

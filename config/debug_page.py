"""Django's page for errors while developing (WEIR_DEBUG, local alone), without secrets."""

from collections.abc import ItemsView
from types import FrameType
from typing import Any

from django.http import HttpRequest
from django.views.debug import SafeExceptionReporterFilter

from config.masking import scrub


class MaskedReport(SafeExceptionReporterFilter):
    """Masks what was posted and what local variables hold, as logs are masked; Django does so only where told to."""

    def is_active(self, request: HttpRequest | None) -> bool:
        return True

    def get_post_parameters(self, request: HttpRequest | None) -> dict[str, Any]:
        posted = request.POST.items() if request is not None else ()
        return {name: scrub(value, name=name) for name, value in posted}

    def get_traceback_frame_variables(
        self, request: HttpRequest | None, tb_frame: FrameType
    ) -> ItemsView[str, Any]:
        return {name: scrub(repr(value), name=name) for name, value in tb_frame.f_locals.items()}.items()

"""Django's page for errors while developing (WEIR_DEBUG, local alone), without secrets."""

from collections.abc import ItemsView
from types import FrameType
from typing import Any

from django.http import HttpRequest
from django.views.debug import SafeExceptionReporterFilter

from config.masking import scrub


class MaskedReport(SafeExceptionReporterFilter):
    """Masks what was posted, settings, the environment and local variables, as logs are masked; Django leaves most be."""

    def is_active(self, request: HttpRequest | None) -> bool:
        return True

    def cleanse_setting(self, key: Any, value: Any) -> Any:
        """Of settings, and of a request's META and cookies, one by one."""
        return scrub(super().cleanse_setting(key, value), name=str(key))

    def get_post_parameters(self, request: HttpRequest | None) -> dict[str, Any]:
        posted = request.POST.items() if request is not None else ()
        return {name: scrub(value, name=name) for name, value in posted}

    def get_traceback_frame_variables(
        self, request: HttpRequest | None, tb_frame: FrameType
    ) -> ItemsView[str, Any]:
        return {name: scrub(_shown(value), name=name) for name, value in tb_frame.f_locals.items()}.items()


def _shown(value: Any) -> str:
    """Its repr. A queryset's is a query, which is refused outside a scope or in a broken transaction."""
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - the page must come out whatever an object does
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"
